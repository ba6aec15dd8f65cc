//! `weave-ipam`: the daemon's allocation as an address plugin for other interface plugins.
//!
//! It touches no interface: ADD takes an address and prints it, DEL gives it back and succeeds
//! also when there is nothing left to give back.

use super::Scene;
use super::daemon::Released;
use super::error::Error;
use super::lease::Lease;
use super::result::Attachment;

/// ADD.
///
/// # Errors
/// When there is no address to be had.
pub(super) async fn add<E>(scene: &Scene<'_, E>) -> Result<Attachment, Error> {
    let mut ipam = scene.network.settings()?.ipam;
    // Whatever name this plugin is installed under, it never delegates.
    ipam.kind.clear();
    let mut attachment = Lease::take(scene, &ipam).await?.granted;
    for address in &mut attachment.addresses {
        let is_v4 = address.address.addr().is_ipv4();
        address.gateway = ipam.gateway.filter(|via| via.is_ipv4() == is_v4);
    }
    attachment.routes = ipam.routes.unwrap_or_default();
    Ok(attachment)
}

/// DEL.
///
/// # Errors
/// When the daemon could neither be asked nor be told later.
pub(super) async fn del<E>(scene: &mut Scene<'_, E>) -> Result<(), Error> {
    if let Released::Nothing(words) = scene.release().await? {
        scene.log(words);
    }
    Ok(())
}
