//! The name server's place in the daemon: its sockets before anything is changed, its channel before
//! the mesh, its tasks after it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weave_mesh::gossip::Channel;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::Mesh;

use super::error::StartError;
use crate::args::daemon::{DnsSettings, Settings};
use crate::dns::server::{self, Service};
use crate::dns::upstream::Upstream;
use crate::dns::{Names, Sockets, Unstarted, channel};

/// The sockets, unless the name server is off.
pub(super) fn bind(settings: &Settings) -> Result<Option<(Sockets, DnsSettings)>, StartError> {
    let Some(dns) = &settings.dns else {
        return Ok(None);
    };
    let sockets = Sockets::bind(dns.listen).map_err(StartError::Dns)?;
    Ok(Some((sockets, dns.clone())))
}

/// A name server without a mesh.
pub(super) struct NameServer {
    sockets: Sockets,
    settings: DnsSettings,
    names: Names,
    unstarted: Unstarted,
}

/// The name server of the peer `us`, whose channel is put to the others.
pub(super) fn prepare(
    (sockets, settings): (Sockets, DnsSettings),
    us: PeerName,
    channels: &mut Vec<(String, Box<dyn Channel>)>,
) -> NameServer {
    let (names, channel, unstarted) = Names::new(us);
    channels.push((channel::NAME.to_owned(), Box::new(channel)));
    NameServer {
        sockets,
        settings,
        names,
        unstarted,
    }
}

impl NameServer {
    /// What requests work on, and the two tasks: the one that owns the names, the one that answers.
    pub(super) fn start(
        self,
        mesh: Mesh,
        stop: &CancellationToken,
    ) -> (
        Arc<Service>,
        impl Future<Output = ()> + Send + use<>,
        impl Future<Output = ()> + Send + use<>,
    ) {
        let address = self.sockets.address();
        let DnsSettings {
            zone,
            fallback_timeout,
            resolv_conf,
            ..
        } = self.settings;
        let service = Arc::new(Service {
            zone,
            names: self.names,
            upstream: Upstream::new(resolv_conf, address, fallback_timeout),
            address,
        });
        let tell = self.unstarted.run(mesh, stop.clone());
        let serve = server::serve(self.sockets, Arc::clone(&service), stop.clone());
        (service, tell, serve)
    }
}
