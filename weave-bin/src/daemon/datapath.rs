//! Which data path the daemon has: the fast one in the kernel, sleeve alone, or none.

use std::pin::Pin;

use weave_mesh::peer::{PeerName, ShortId};

use super::error::StartError;
#[cfg(feature = "bpf")]
use super::fast::Fast;
use super::host::Host;
use super::slow::Slow;
use crate::actor::overlay::{Overlay, SLEEVE, Surroundings};
use crate::args::daemon::Settings;

/// The data path, before the mesh runs.
pub(super) enum Datapath {
    /// Frames cross in kernel VXLAN, or by sleeve where that does not lead.
    #[cfg(feature = "bpf")]
    Fast(Box<Fast>),
    /// Frames cross by sleeve alone.
    Slow(Box<Slow>),
    /// Frames stay on this host.
    None,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Datapath {
    /// Finds out whether [`Datapath::open`] has what it needs besides the bridge.
    ///
    /// # Errors
    /// The directory for programs and maps cannot be used.
    #[cfg_attr(
        not(feature = "bpf"),
        expect(clippy::unnecessary_wraps, reason = "nothing to check")
    )]
    pub(super) fn check(settings: &Settings, host: &Host) -> Result<(), StartError> {
        #[cfg(feature = "bpf")]
        if host.netlink().is_some() && settings.fastdp && settings.overlay {
            return weave_datapath::bpf::prepare_dir(&settings.bpf_dir)
                .map_err(|error| StartError::Datapath(error.to_string()));
        }
        let _ = (settings, host);
        Ok(())
    }

    /// Opens or adopts what `settings` ask for.
    pub(super) async fn open(
        settings: &Settings,
        host: &Host,
        name: PeerName,
    ) -> Result<Self, StartError> {
        let Some(netlink) = host.netlink().filter(|_| settings.overlay) else {
            tracing::warn!("no data path: pods of other hosts cannot be reached");
            return Ok(Self::None);
        };
        let why = if settings.fastdp {
            #[cfg(feature = "bpf")]
            match Fast::open(settings, netlink, name).await {
                Ok(fast) => return Ok(Self::Fast(Box::new(fast))),
                Err(StartError::Kernel(why)) => {
                    tracing::warn!("no fast data path, frames go by sleeve alone: {why}");
                    format!("no fastdp: {why}")
                }
                Err(error) => return Err(error),
            }
            #[cfg(not(feature = "bpf"))]
            "no fastdp: this program is built without it".to_owned()
        } else {
            "no fastdp: switched off by --no-fastdp".to_owned()
        };
        let slow = Slow::open(settings, netlink, name, why).await?;
        Ok(Self::Slow(Box::new(slow)))
    }

    /// What the mesh offers to other peers.
    pub(super) fn overlays(&self) -> Vec<String> {
        match self {
            #[cfg(feature = "bpf")]
            Self::Fast(fast) => fast.overlays(),
            Self::Slow(_) => vec![SLEEVE.to_owned()],
            Self::None => Vec::new(),
        }
    }

    /// The short id that frames under way carry, from an earlier run.
    pub(super) fn short_id(&self) -> Option<ShortId> {
        match self {
            #[cfg(feature = "bpf")]
            Self::Fast(fast) => fast.short_id(),
            Self::Slow(_) | Self::None => None,
        }
    }

    /// The task to be spawned, and a handle when there is something to ask.
    pub(super) fn start(self, around: Surroundings) -> (Option<Overlay>, Task) {
        match self {
            #[cfg(feature = "bpf")]
            Self::Fast(fast) => {
                let (overlay, task) = fast.start(around);
                (Some(overlay), Box::pin(task))
            }
            Self::Slow(slow) => {
                let (overlay, task) = slow.start(around);
                (Some(overlay), Box::pin(task))
            }
            Self::None => (None, Box::pin(ignore(around))),
        }
    }
}

/// Takes the mesh's events, so that it never waits, and does nothing about them.
async fn ignore(mut around: Surroundings) {
    loop {
        tokio::select! {
            () = around.stop.cancelled() => return,
            event = around.events.recv() => if event.is_none() { return },
        }
    }
}
