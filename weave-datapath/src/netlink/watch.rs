//! Being told that links or addresses changed.

use futures_util::{FutureExt, StreamExt};
use rtnetlink::{
    Handle, MulticastGroup, packet_core::NetlinkMessage, packet_route::RouteNetlinkMessage,
};

use super::Error;

/// Tells that links or IPv4 addresses of one network namespace changed, not what changed: whoever
/// listens looks at what there is.
pub struct Watch {
    messages: Messages,
    /// The connection ends when the last handle does.
    _handle: Handle,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Listens in the namespace of the calling thread, served on the current runtime.
    ///
    /// # Errors
    /// [`Error::Open`] outside a tokio runtime, or when no socket can be had.
    ///
    /// # Panics
    /// When the runtime was built without I/O.
    pub fn open() -> Result<Self, Error> {
        let runtime = super::socket::runtime()?;
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&groups)
            .map_err(|source| Error::Open { source })?;
        runtime.spawn(connection);
        Ok(Self {
            messages: messages.map(|(message, _)| message).boxed(),
            _handle: handle,
        })
    }

    /// Waits for a change; all that happened until then is one.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection has ended.
    ///
    /// # Cancel safety
    /// No change is lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<(), Error> {
        if self.messages.next().await.is_none() {
            return Err(Error::Closed {
                operation: "watch",
                object: "links".to_owned(),
            });
        }
        while let Some(Some(_)) = self.messages.next().now_or_never() {}
        Ok(())
    }
}

type Messages = futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;
