//! Which back end of `iptables` this host uses: decided once, said once.
//!
//! Two back ends may both hold rules in one kernel. Rules we add go where the host's other programs
//! look; the order of evidence is that of Weave Net's Kubernetes notes, iptables backend.

use std::fmt;

/// A back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Rules are `nf_tables` rules in tables named as iptables names them.
    Nft,
    /// Rules are tables of the older kernel interface.
    Legacy,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        })
    }
}

/// What can be seen of one back end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    /// Whether the kernel has it.
    pub is_there: bool,
    /// Whether kubelet's marker chains are in its mangle table.
    pub has_kubelet: bool,
    /// Whether chains of Weave Net are in it.
    pub has_weave: bool,
    /// Rules in all its tables, ours not counted.
    pub rules: usize,
}

/// The back end to use, and why.
pub fn choose(asked: Option<Backend>, nft: Signs, legacy: Signs) -> (Backend, &'static str) {
    use Backend::{Legacy, Nft};
    let usable = |backend| match backend {
        Nft => nft.is_there,
        Legacy => legacy.is_there,
    };
    let signs: [(bool, Backend, &str); 7] = [
        (asked == Some(Nft), Nft, "IPTABLES_BACKEND says so"),
        (asked == Some(Legacy), Legacy, "IPTABLES_BACKEND says so"),
        (nft.has_kubelet, Nft, "kubelet's chains are there"),
        (legacy.has_kubelet, Legacy, "kubelet's chains are there"),
        (nft.has_weave, Nft, "chains of Weave Net are there"),
        (legacy.has_weave, Legacy, "chains of Weave Net are there"),
        (
            legacy.rules >= MANY || (legacy.rules > 0 && legacy.rules >= nft.rules),
            Legacy,
            "most rules are there",
        ),
    ];
    let found = signs
        .into_iter()
        .find(|(is_so, backend, _)| *is_so && usable(*backend));
    match found {
        Some((_, backend, reason)) => (backend, reason),
        None if !nft.is_there && legacy.is_there => (Legacy, "the kernel has no other"),
        None => (Nft, "nothing speaks for the other"),
    }
}

/// Rules in the legacy back end from which on it counts as the one in use.
const MANY: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Signs = Signs {
        is_there: true,
        has_kubelet: false,
        has_weave: false,
        rules: 0,
    };

    fn chosen(asked: Option<Backend>, nft: Signs, legacy: Signs) -> Backend {
        choose(asked, nft, legacy).0
    }

    #[test]
    fn evidence_counts_in_its_order() {
        let kubelet = Signs {
            has_kubelet: true,
            ..THERE
        };
        let weave = Signs {
            has_weave: true,
            rules: 30,
            ..THERE
        };

        assert_eq!(chosen(None, THERE, THERE), Backend::Nft);
        assert_eq!(chosen(None, weave, kubelet), Backend::Legacy);
        assert_eq!(chosen(None, kubelet, weave), Backend::Nft);
        assert_eq!(
            chosen(Some(Backend::Legacy), kubelet, THERE),
            Backend::Legacy
        );
        assert_eq!(chosen(Some(Backend::Nft), THERE, kubelet), Backend::Nft);
    }

    #[test]
    fn else_rules_are_counted() {
        let with = |rules| Signs { rules, ..THERE };

        assert_eq!(chosen(None, with(50), with(10)), Backend::Legacy);
        assert_eq!(chosen(None, with(5), with(4)), Backend::Nft);
        assert_eq!(chosen(None, with(4), with(4)), Backend::Legacy);
    }

    #[test]
    fn a_back_end_the_kernel_lacks_is_never_chosen() {
        let absent = Signs {
            is_there: false,
            has_kubelet: true,
            has_weave: true,
            rules: 99,
        };

        assert_eq!(chosen(Some(Backend::Legacy), THERE, absent), Backend::Nft);
        assert_eq!(chosen(Some(Backend::Nft), absent, THERE), Backend::Legacy);
    }
}
