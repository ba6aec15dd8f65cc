//! `weave attach-bridge` and `weave bridge-type`: the bridge of this host and others beside it.
//!
//! Another bridge is joined by a pair of interfaces with the names that Weave Net gives it, so that one
//! that is joined is known, whoever did it. Doing it again changes nothing.

use nix::unistd::geteuid;
use weave_datapath::netlink::{self, NAME_LIMIT, Netlink};

use super::run::{BRIDGE, Outcome};
use super::{Command, Misuse};
use crate::launch::utility;

pub(super) fn parse_attach(arguments: &[String]) -> Result<Command, Misuse> {
    let bridge = match arguments {
        [] => "docker0",
        [name] if !name.starts_with('-') => name,
        _ => return Err(Misuse::Usage),
    };
    Ok(Command::AttachBridge(bridge.to_owned()))
}

/// Joins the bridge called `other` and ours into one segment.
pub(super) async fn attach(other: &str) -> Outcome {
    let failure = |text: String| Outcome::failure(1, text);
    if !geteuid().is_root() {
        return failure("weave attach-bridge changes interfaces: run it as root".to_owned());
    }
    let [ours, theirs] = ["vethwebl", "vethwebg"].map(|prefix| format!("{prefix}{other}"));
    if ours.len() > NAME_LIMIT {
        let longest = NAME_LIMIT - "vethwebl".len();
        return failure(format!(
            "the name {other} is too long: the ends of the pair are called after it, so it may have \
             {longest} characters"
        ));
    }
    match join(other, &ours, &theirs).await {
        Ok(()) => Outcome::success(String::new()),
        Err(error) => failure(format!("cannot join bridge {other}: {error}")),
    }
}

async fn join(other: &str, ours: &str, theirs: &str) -> Result<(), netlink::Error> {
    let netlink = Netlink::open()?;
    let weave = netlink.require_link(BRIDGE).await?;
    let other = netlink.require_link(other).await?;
    if netlink.link_by_name(ours).await?.is_none() {
        netlink.create_veth(ours, theirs, weave.mtu).await?;
    }
    for (end, bridge) in [(ours, weave.index), (theirs, other.index)] {
        let end = netlink.require_link(end).await?;
        netlink.set_master(end.index, Some(bridge)).await?;
        netlink.set_up(end.index).await?;
    }
    Ok(())
}

/// What the bridge is made of, in Weave Net's words.
pub(super) async fn kind() -> Outcome {
    match utility::kind_of_bridge(BRIDGE, "datapath").await {
        Ok("none") => Outcome::failure(1, String::new()),
        Ok(kind) => Outcome::success(format!("{kind}\n")),
        Err(error) => Outcome::failure(1, error.to_string()),
    }
}
