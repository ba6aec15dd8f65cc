//! The connection: opening it in a namespace, sending one request, collecting its answer.

use std::io;

use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::RouteNetlinkMessage,
};

use super::Error;
use crate::netns::Namespace;

/// A route netlink socket of one network namespace. Clones share it.
///
/// The task that serves the socket ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread and serves it on the current runtime.
    ///
    /// # Errors
    /// [`Error::Open`] outside a tokio runtime, or when no socket can be had.
    ///
    /// # Panics
    /// When the runtime was built without I/O.
    pub fn open() -> Result<Self, Error> {
        let runtime = runtime()?;
        let (connection, handle) = connect()?;
        runtime.spawn(connection);
        Ok(Self { handle })
    }

    /// Opens a socket inside `namespace` and serves it here.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Namespace`].
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        let runtime = runtime()?;
        let (connection, handle) = namespace.visit(|| {
            let _inside = runtime.enter();
            connect()
        })??;
        runtime.spawn(connection);
        Ok(Self { handle })
    }

    /// Sends one change and waits for the acknowledgement. `flags` beyond request and ack.
    pub(super) async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: What<'_>,
    ) -> Result<(), Error> {
        match self
            .exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .await
        {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.about(&what)),
        }
    }

    /// Asks for one object. An absent object is the kernel's error.
    pub(super) async fn query(
        &self,
        message: RouteNetlinkMessage,
        what: What<'_>,
    ) -> Result<Option<RouteNetlinkMessage>, Error> {
        match self.exchange(message, NLM_F_REQUEST).await {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(failure) => Err(failure.about(&what)),
        }
    }

    /// Lists all objects, again from the start when the kernel says the list changed meanwhile.
    pub(super) async fn dump(
        &self,
        message: RouteNetlinkMessage,
        what: What<'_>,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut failure = Failure::Interrupted;
        for _ in 0..DUMP_ATTEMPTS {
            match self
                .exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)
                .await
            {
                Ok(answers) => return Ok(answers),
                Err(Failure::Interrupted) => {}
                Err(other) => {
                    failure = other;
                    break;
                }
            }
        }
        Err(failure.about(&what))
    }

    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|_| Failure::Closed)?;
        let mut collected = Vec::new();
        let mut interrupted = false;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => collected.push(inner),
                NetlinkPayload::Error(error) => {
                    if let Some(code) = error.code {
                        return Err(Failure::Errno(code.get().abs()));
                    }
                    return Ok(collected);
                }
                NetlinkPayload::Overrun(_) => interrupted = true,
                NetlinkPayload::Done(_) => {
                    return if interrupted {
                        Err(Failure::Interrupted)
                    } else {
                        Ok(collected)
                    };
                }
                _ => {}
            }
        }
        // Requests without a dump end by closing the channel after their one answer, and so does a
        // connection that stopped; acknowledged requests always see an `Error` payload before.
        if flags & NLM_F_ACK != 0 || collected.is_empty() {
            return Err(Failure::Closed);
        }
        if interrupted {
            Err(Failure::Interrupted)
        } else {
            Ok(collected)
        }
    }
}

/// What a request is about, for messages: a verb and its object.
pub(super) struct What<'a>(pub(super) &'static str, pub(super) Object<'a>);

/// The object of a request.
pub(super) enum Object<'a> {
    Index(u32),
    Name(&'a str),
    All,
}

impl Object<'_> {
    fn text(&self) -> String {
        match self {
            Self::Index(index) => format!("interface {index}"),
            Self::Name(name) => format!("interface {name}"),
            Self::All => "of this namespace".to_owned(),
        }
    }
}

enum Failure {
    Errno(i32),
    Interrupted,
    Closed,
}

impl Failure {
    fn about(self, What(operation, object): &What<'_>) -> Error {
        let object = object.text();
        match self {
            Self::Errno(code) => {
                let source = io::Error::from_raw_os_error(code);
                Error::Refused {
                    operation,
                    object,
                    source,
                }
            }
            Self::Interrupted => Error::Unstable { operation, object },
            Self::Closed => Error::Closed { operation, object },
        }
    }
}

type Connection = rtnetlink::proto::Connection<RouteNetlinkMessage>;

fn connect() -> Result<(Connection, Handle), Error> {
    let (mut connection, handle, _unsolicited) =
        rtnetlink::new_connection().map_err(|source| Error::Open { source })?;
    // The end of a dump carries the flag that says it was interrupted, and an acknowledgement is
    // what tells success from a connection that stopped.
    connection.set_forward_done(true);
    connection.set_forward_ack(true);
    Ok((connection, handle))
}

pub(super) fn runtime() -> Result<tokio::runtime::Handle, Error> {
    tokio::runtime::Handle::try_current().map_err(|error| Error::Open {
        source: io::Error::other(error),
    })
}

/// How often a dump is repeated when the list changes under it.
const DUMP_ATTEMPTS: usize = 16;
