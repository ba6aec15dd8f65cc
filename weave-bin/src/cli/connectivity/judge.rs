//! From what was measured to a result and an advice. No I/O.

use std::net::{IpAddr, SocketAddr};

use super::model::Found;
use super::targets::Link;

/// What packets of two sizes did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Echo {
    /// The round trip of a small packet, in milliseconds.
    pub(super) small: Option<f64>,
    /// Whether one of the full size came back too; `None` was not tried.
    pub(super) full: Option<bool>,
    /// That size, in bytes.
    pub(super) size: u16,
}

/// A result with its advice.
pub(super) type Judged = (Found, Option<String>);

/// What a TCP connection to the mesh of a peer came to: milliseconds, or why not.
pub(super) fn mesh(address: SocketAddr, tried: Result<f64, String>) -> Judged {
    match tried {
        Ok(ms) => (ok(Some(ms), None), None),
        Err(why) => {
            let (host, port) = (address.ip(), address.port());
            let advice = if why.contains("refused") {
                format!(
                    "{host}: nothing listens on TCP {port}; start weave there, or weave forget {host} if it is gone"
                )
            } else {
                format!(
                    "{host}: open TCP {port} from this host in the firewalls between, or weave forget {host} if it is gone"
                )
            };
            (Found::Failed { why }, Some(advice))
        }
    }
}

/// What the daemon says about the overlay to the peer `label` at `address`.
pub(super) fn overlay(label: &str, address: Option<SocketAddr>, link: &Link) -> Judged {
    match link {
        Link::Up {
            overlay,
            mtu,
            is_fast: true,
            ..
        } => {
            let note = Some(overlay.clone());
            (
                Found::Ok {
                    ms: None,
                    mtu: *mtu,
                    note,
                },
                None,
            )
        }
        Link::Up {
            overlay,
            mtu,
            reason: None,
            ..
        } => {
            let why = overlay.clone();
            (Found::Slow { why, mtu: *mtu }, None)
        }
        Link::Up {
            overlay,
            mtu,
            reason: Some(reason),
            ..
        } => {
            let why = format!("{overlay}: {reason}");
            let advice = address.map(|address| {
                let port = address.port().saturating_add(1);
                format!("{label}: frames go by {overlay} because {reason}; open UDP {port} both ways for the fast path")
            });
            (Found::Slow { why, mtu: *mtu }, advice)
        }
        Link::Through(via) => {
            let why = format!("no connection of its own, frames go through {via}");
            (Found::Slow { why, mtu: None }, None)
        }
        Link::Down { why } => {
            let advice = format!("{label}: weave status connections says: {why}");
            (Found::Failed { why: why.clone() }, Some(advice))
        }
    }
}

/// What a host did with echo requests past the overlay. `path` is what the kernel knows to fit on
/// the way, `needed` what a full frame of the overlay takes. A host need not answer at all.
pub(super) fn host(label: &str, echo: Echo, path: Option<u16>, needed: Option<u16>) -> Judged {
    let Some(ms) = echo.small else {
        let why = "no answer to echo requests, which many hosts do not give".to_owned();
        return (Found::Unknown { why }, None);
    };
    let is_narrow = path.zip(needed).is_some_and(|(path, needed)| path < needed);
    if is_narrow || echo.full == Some(false) {
        let size = if is_narrow {
            path.unwrap_or(echo.size)
        } else {
            echo.size
        };
        let why = if is_narrow {
            format!("the way carries packets of {size} bytes")
        } else {
            format!("packets of {size} bytes are lost")
        };
        let advice = format!(
            "{label}: {why}, and full frames need {}; raise the MTU of the way, or set a smaller --mtu on all hosts",
            needed.unwrap_or(size)
        );
        return (
            Found::Slow {
                why,
                mtu: path.filter(|_| is_narrow),
            },
            Some(advice),
        );
    }
    (ok(Some(ms), path), None)
}

/// What an address in the overlay did. `is_sure`: somebody is there. `has_policies`: a policy
/// controller may forbid the answer.
pub(super) fn pod(
    label: &str,
    at: IpAddr,
    echo: Echo,
    is_sure: bool,
    has_policies: bool,
) -> Judged {
    match (echo.small, echo.full) {
        (Some(ms), None | Some(true)) => (ok(Some(ms), echo.full.map(|_| echo.size)), None),
        (Some(_), Some(false)) => {
            let size = echo.size;
            let why = format!("small packets pass, packets of {size} bytes do not");
            let advice = format!(
                "{label}: {why}; the way between the hosts is narrower than the overlay thinks: set --mtu on all hosts below {size}"
            );
            (Found::Failed { why }, Some(advice))
        }
        (None, _) if !is_sure => {
            let why = "no address of it is known, and its first ones do not answer".to_owned();
            (Found::Unknown { why }, None)
        }
        (None, _) if has_policies => {
            let why = "no answer; a policy may forbid it".to_owned();
            let advice =
                format!("{label}: weave npc explain tells whether policies let {at} answer");
            (Found::Unknown { why }, Some(advice))
        }
        (None, _) => {
            let why = "no answer".to_owned();
            let advice = format!(
                "{label}: {at} is there and does not answer; weave doctor looks at rules and forwarding here, run it there too"
            );
            (Found::Failed { why }, Some(advice))
        }
    }
}

/// What a TCP connection to a Service came to.
pub(super) fn service(name: &str, tried: Result<f64, String>) -> Judged {
    match tried {
        Ok(ms) => (ok(Some(ms), None), None),
        Err(why) => {
            let advice =
                format!("{name}: {why}; look whether kube-proxy runs on this node, and at its log");
            (Found::Failed { why }, Some(advice))
        }
    }
}

/// What the name server of this host answered to a question.
pub(super) fn names(tried: Result<f64, String>) -> Judged {
    match tried {
        Ok(ms) => (ok(Some(ms), None), None),
        Err(why) => {
            let advice = format!("name server: {why}; weave status dns tells where it listens");
            (Found::Failed { why }, Some(advice))
        }
    }
}

fn ok(ms: Option<f64>, mtu: Option<u16>) -> Found {
    Found::Ok {
        ms,
        mtu,
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 40, 0, 1));

    fn echo(small: Option<f64>, full: Option<bool>) -> Echo {
        Echo {
            small,
            full,
            size: 1376,
        }
    }

    fn word(judged: &Judged) -> &'static str {
        match judged.0 {
            Found::Ok { .. } => "ok",
            Found::Slow { .. } => "slow",
            Found::Failed { .. } => "failed",
            Found::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn a_guess_that_does_not_answer_proves_nothing() {
        let silent = echo(None, None);

        assert_eq!(word(&pod("p", AT, silent, false, false)), "unknown");
        assert_eq!(word(&pod("p", AT, silent, true, true)), "unknown");
        let failed = pod("p", AT, silent, true, false);
        assert_eq!(word(&failed), "failed");
        assert!(failed.1.unwrap().contains("weave doctor"));
        assert_eq!(
            word(&pod("p", AT, echo(Some(0.2), Some(true)), false, false)),
            "ok"
        );
    }

    #[test]
    fn large_packets_that_are_lost_are_a_failure_in_the_overlay() {
        let (found, advice) = pod("p", AT, echo(Some(0.2), Some(false)), true, true);

        assert_eq!(
            found,
            Found::Failed {
                why: "small packets pass, packets of 1376 bytes do not".to_owned()
            }
        );
        assert!(
            advice
                .unwrap()
                .contains("set --mtu on all hosts below 1376")
        );
    }

    #[test]
    fn a_narrow_way_between_hosts_is_slow() {
        let answers = echo(Some(0.2), Some(true));

        assert_eq!(word(&host("p", answers, Some(1500), Some(1426))), "ok");
        assert_eq!(word(&host("p", answers, Some(1400), Some(1426))), "slow");
        assert_eq!(
            word(&host(
                "p",
                echo(Some(0.2), Some(false)),
                Some(1500),
                Some(1426)
            )),
            "slow"
        );
        assert_eq!(word(&host("p", echo(None, None), None, None)), "unknown");
    }

    #[test]
    fn what_is_to_be_done_depends_on_what_went_wrong() {
        let address: SocketAddr = "192.0.2.7:6783".parse().unwrap();

        let refused = mesh(address, Err("connection refused".to_owned()))
            .1
            .unwrap();
        let silent = mesh(address, Err("no answer within 2 s".to_owned()))
            .1
            .unwrap();

        assert!(refused.starts_with("192.0.2.7: nothing listens on TCP 6783; start weave there"));
        assert!(silent.starts_with("192.0.2.7: open TCP 6783"));
        let link = Link::Up {
            overlay: "sleeve".to_owned(),
            mtu: Some(1414),
            reason: Some("fastdp: no heartbeat for 2.5 s".to_owned()),
            is_fast: false,
        };
        let (found, advice) = overlay("host-2", Some(address), &link);
        assert!(matches!(
            found,
            Found::Slow {
                mtu: Some(1414),
                ..
            }
        ));
        assert!(
            advice
                .unwrap()
                .ends_with("open UDP 6784 both ways for the fast path")
        );
        assert_eq!(
            word(&overlay("x", None, &Link::Through("host-3".to_owned()))),
            "slow"
        );
        assert_eq!(
            word(&overlay(
                "x",
                None,
                &Link::Down {
                    why: "failed".to_owned()
                }
            )),
            "failed"
        );
    }
}
