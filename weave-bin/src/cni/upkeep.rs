//! STATUS and GC: the commands that are not about one pod.
//!
//! STATUS promises that an ADD right after it would be served. GC frees what pods had that the
//! runtime does not know any more, and nothing of another network, or that no plugin asked for.

use super::check::require;
use super::edge::Edge;
use super::error::{Code, Error};
use super::version::Version;
use super::{Plugin, Scene, delegate};

/// STATUS of `plugin`.
///
/// # Errors
/// [`Code::Limited`] when the daemon is down: pods that run go on. [`Code::Unavailable`] when it
/// cannot serve an ADD.
pub(super) async fn status<E: Edge>(scene: &Scene<'_, E>, plugin: Plugin) -> Result<(), Error> {
    require(scene.network, Version::V110, "STATUS")?;
    let settings = scene.network.settings()?;
    let unavailable = |text: String| Error::new(Code::Unavailable, text);
    let page = scene.daemon.status().await?;
    if plugin == Plugin::Net {
        let name = &settings.bridge;
        match scene.edge.bridge(name).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(unavailable(format!("bridge {name:?} not present"))),
            Err(reason) => return Err(unavailable(format!("bridge {name:?}: {reason}"))),
        }
        if let Some(kind) = settings.ipam.delegate() {
            return delegate::forward(scene.call, kind, scene.input).await;
        }
    }
    let states: Vec<&str> = ["Service: ipam", "Service: ipam6"]
        .iter()
        .filter_map(|service| allocator(&page, service))
        .collect();
    if states.is_empty() {
        return Err(unavailable("the daemon allocates no addresses".to_owned()));
    }
    // An idle allocator looks for the others when it is first asked; a family that this host cannot
    // have is off.
    let can_serve = |state: &str| matches!(state, "ready" | "idle") || state.starts_with("off: ");
    match states.into_iter().find(|state| !can_serve(state)) {
        None => Ok(()),
        Some(state) => Err(unavailable(format!("no address can be given: {state}"))),
    }
}

/// The state of an allocator on the daemon's status page.
fn allocator<'p>(page: &'p str, service: &str) -> Option<&'p str> {
    let mut lines = page.lines().map(str::trim);
    lines.find(|line| *line == service)?;
    lines.next()?.strip_prefix("Status: ")
}

/// GC of `plugin`.
///
/// # Errors
/// Everything that could not be cleaned up, in one; the rest is.
pub(super) async fn collect<E: Edge>(
    scene: &mut Scene<'_, E>,
    plugin: Plugin,
) -> Result<(), Error> {
    require(scene.network, Version::V110, "GC")?;
    // A runtime that gives no list says nothing of any pod.
    let Some(valid) = scene.network.attachments()? else {
        return Ok(());
    };
    let settings = scene.network.settings()?;
    let mut failed = Vec::new();
    match settings.ipam.delegate() {
        Some(kind) if plugin == Plugin::Net => {
            if let Err(error) = delegate::forward(scene.call, kind, scene.input).await {
                failed.push(error.to_string());
            }
        }
        _ => match scene.daemon.collect(scene.network.name(), &valid).await {
            Ok(freed) => {
                for id in freed {
                    scene.log(format!("freed the addresses of {id}"));
                    // A pod that lives has it in its own namespace, where nobody looks for it.
                    if plugin == Plugin::Net
                        && let Err(reason) = scene.edge.detach(&id, None, ANY).await
                    {
                        failed.push(reason);
                    }
                }
            }
            Err(error) => failed.push(error.to_string()),
        },
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::Refused, failed.join("; ")))
}

/// The host's end is found by the container's id alone.
const ANY: &str = "eth0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_the_allocator_is_read_from_the_page() {
        let page = "        Version: 3.0\n\n        Service: router\n       Protocol: weave 1..2\n\n\
                    \x20       Service: ipam\n         Status: awaiting consensus (quorum: 2, known: 1)\n\
                    \x20         Range: 10.32.0.0/12\n";

        let state = allocator(page, "Service: ipam");

        assert_eq!(state, Some("awaiting consensus (quorum: 2, known: 1)"));
        assert_eq!(allocator(page, "Service: ipam6"), None);
    }
}
