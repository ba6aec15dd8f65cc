//! `weave attach` and `weave detach`: a network namespace of this host joins the network, or leaves it.
//!
//! What the CNI plugin does for pods, by hand and without a runtime. A failed `attach` gives back what it
//! took and nothing else.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nix::unistd::geteuid;
use weave_datapath::attach::{self, Request, Route, Routes};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{self, Namespace};

use super::expose::{self, Wanted};
use super::run::Outcome;
use super::{Command, Misuse, ps};
use crate::causes::with_causes;
use crate::http::client::{Client, encode_component};

/// A namespace that is to join or to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Under which name its addresses are known.
    id: String,
    /// Where it is.
    path: PathBuf,
}

impl Target {
    /// A process id, the name of a namespace as `ip netns` has it, or a path.
    fn named(word: &str) -> Self {
        let process = |number: &str| Self {
            id: format!("pid-{number}"),
            path: format!("/proc/{number}/ns/net").into(),
        };
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit());
        if is_number(word) {
            return process(word);
        }
        if !word.contains('/') {
            return Self {
                id: word.to_owned(),
                path: netns::named_path(word),
            };
        }
        let inside = word.strip_prefix("/proc/");
        let number = inside.and_then(|rest| rest.strip_suffix("/ns/net"));
        if let Some(number) = number.filter(|text| is_number(text)) {
            return process(number);
        }
        let last = Path::new(word).file_name().unwrap_or_default();
        Self {
            id: last.to_string_lossy().into_owned(),
            path: word.into(),
        }
    }
}

pub(super) fn parse_attach(arguments: &[String]) -> Result<Command, Misuse> {
    let (wanted, rest) = expose::split(arguments);
    let (target, options) = rest.split_first().ok_or(Misuse::Usage)?;
    let multicast = match options {
        [] => true,
        [option] if option == "--no-multicast-route" => false,
        _ => return Err(Misuse::Usage),
    };
    if target.starts_with('-') {
        return Err(Misuse::Usage);
    }
    Ok(Command::Attach {
        wanted,
        target: Target::named(target),
        multicast,
    })
}

pub(super) fn parse_detach(arguments: &[String]) -> Result<Command, Misuse> {
    let (wanted, rest) = expose::leading(arguments);
    match rest {
        [target] if !target.starts_with('-') => Ok(Command::Detach {
            wanted,
            target: Target::named(target),
        }),
        _ => Err(Misuse::Usage),
    }
}

/// Gives the namespace an interface with the addresses, taking them first.
pub(super) async fn attach(
    client: &Client,
    wanted: &[Wanted],
    target: &Target,
    multicast: bool,
) -> Outcome {
    if let Some(refusal) = refuse("attach") {
        return refusal;
    }
    let namespace = match open(target) {
        Ok(namespace) => namespace,
        Err(failure) => return failure,
    };
    let before = match held(client, &target.id).await {
        Ok(before) => before,
        Err(failure) => return failure,
    };
    let mut addresses = Vec::new();
    let mut failure = None;
    for wanted in wanted {
        match expose::obtain(client, &target.id, wanted).await {
            Ok(found) => addresses.extend(found),
            Err(refusal) => {
                failure = Some(refusal);
                break;
            }
        }
    }
    if failure.is_none() {
        failure = connect(target, namespace, &addresses, multicast)
            .await
            .err();
    }
    let Some(failure) = failure else {
        return expose::listed(&addresses);
    };
    for address in addresses.iter().filter(|one| !before.contains(one)) {
        // The failure that led here is the one to tell.
        let _ = client.delete(&free_path(&target.id, address)).await;
    }
    failure
}

async fn connect(
    target: &Target,
    namespace: Namespace,
    addresses: &[IpNet],
    multicast: bool,
) -> Result<(), Outcome> {
    let mut request = Request::new(&target.id, namespace, IFNAME);
    addresses.clone_into(&mut request.addresses);
    let all_groups = Route {
        dst: MULTICAST
            .parse()
            .expect("invariant: the constant is a network"),
        via: None,
    };
    request.routes = Routes::List(if multicast {
        vec![all_groups]
    } else {
        Vec::new()
    });
    let done = attach::attach(&request).await;
    done.map(drop)
        .map_err(|error| Outcome::failure(1, with_causes(&error)))
}

/// Takes the addresses from the namespace, and the interface with the last of them.
pub(super) async fn detach(client: &Client, wanted: &[Wanted], target: &Target) -> Outcome {
    if let Some(refusal) = refuse("detach") {
        return refusal;
    }
    let held = match held(client, &target.id).await {
        Ok(held) => held,
        Err(failure) => return failure,
    };
    // A namespace that is gone has taken its interface along.
    let namespace = Namespace::open(&target.path).ok();
    let leaving: Vec<IpNet> = if wanted.is_empty() {
        held.clone()
    } else {
        let mut leaving = Vec::new();
        for wanted in wanted {
            match expose::held(client, &target.id, wanted).await {
                Ok(found) => leaving.extend(found),
                Err(failure) => return failure,
            }
        }
        leaving
    };
    let stays = held.iter().any(|address| !leaving.contains(address));
    let taken = if stays {
        take(namespace.as_ref(), &leaving).await
    } else {
        let done = attach::detach(&target.id, namespace.as_ref(), IFNAME).await;
        done.map(drop).map_err(|error| with_causes(&error))
    };
    if let Err(reason) = taken {
        return Outcome::failure(1, reason);
    }
    for address in leaving.iter().filter(|address| held.contains(address)) {
        let answer = client.delete(&free_path(&target.id, address)).await;
        if let Err(failure) = Outcome::of(answer).into_body() {
            return failure;
        }
    }
    if leaving.is_empty() {
        return Outcome::success(String::new());
    }
    expose::listed(&leaving)
}

/// Takes addresses off the interface.
async fn take(namespace: Option<&Namespace>, addresses: &[IpNet]) -> Result<(), String> {
    let Some(namespace) = namespace else {
        return Ok(());
    };
    let work = async {
        let netlink = Netlink::open_in(namespace)?;
        let Some(link) = netlink.link_by_name(IFNAME).await? else {
            return Ok(());
        };
        let before = netlink.addresses(link.index).await?;
        for address in addresses {
            netlink.delete_address(link.index, *address).await?;
        }
        // With the first address of a subnet the kernel takes the others of it away.
        for address in before.iter().filter(|one| !addresses.contains(one)) {
            netlink.add_address(link.index, *address).await?;
        }
        Ok(())
    };
    work.await
        .map_err(|error: weave_datapath::netlink::Error| with_causes(&error))
}

/// What the daemon gave to `id`.
async fn held(client: &Client, id: &str) -> Result<Vec<IpNet>, Outcome> {
    let owned = ps::owned(client).await?.into_iter();
    Ok(owned
        .filter(|(holder, _)| holder == id)
        .flat_map(|(_, addresses)| addresses)
        .collect())
}

fn open(target: &Target) -> Result<Namespace, Outcome> {
    let failure = |text: String| Outcome::failure(1, text);
    let namespace = Namespace::open(&target.path).map_err(|error| failure(with_causes(&error)))?;
    let own = Namespace::current().map_err(|error| failure(with_causes(&error)))?;
    if own.is_same_as(&namespace) {
        let text = "that is the network of the host itself: use weave expose".to_owned();
        return Err(failure(text));
    }
    Ok(namespace)
}

fn refuse(command: &str) -> Option<Outcome> {
    let text = format!("weave {command} changes interfaces: run it as root");
    (!geteuid().is_root()).then(|| Outcome::failure(1, text))
}

fn free_path(id: &str, address: &IpNet) -> String {
    format!("/ip/{}/{}", encode_component(id), address.addr())
}

/// Name of the interface in the namespace, as Weave Net's.
const IFNAME: &str = "ethwe";
/// All groups (RFC 5771).
const MULTICAST: &str = "224.0.0.0/4";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_process_a_name_or_a_path() {
        for (word, id, path) in [
            ("4711", "pid-4711", "/proc/4711/ns/net"),
            ("/proc/4711/ns/net", "pid-4711", "/proc/4711/ns/net"),
            ("blue", "blue", "/run/netns/blue"),
            ("/run/netns/blue", "blue", "/run/netns/blue"),
            ("/x/y.z", "y.z", "/x/y.z"),
        ] {
            let target = Target::named(word);
            assert_eq!(target.id, id, "{word}");
            let found = target.path.to_string_lossy().replace("/var/run/", "/run/");
            assert_eq!(found, path, "{word}");
        }
    }
}
