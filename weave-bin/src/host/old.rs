//! Which rules, chains and sets a Weave Net left on the host, and which of them may go.
//!
//! Both back ends are told here in one way, [`Seen`], so that one function decides. Invariant: only
//! what has the exact form of a rule of Weave Net goes (datapath specification, iptables of the
//! router, encryption of fastdp; network policy specification, hooks); anything else, even about the
//! bridge `weave`, is somebody's own.

use std::io;
use std::thread;
use std::time::Duration;

use weave_datapath::leftover;
use weave_datapath::xtables::Interface;

/// Whose rules are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the daemon does itself now; hooks and chains of the policy controller stay until that
    /// one has rules of its own.
    Plumbing,
    /// Everything.
    All,
}

/// A rule as both back ends can tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The chain it is in.
    pub chain: String,
    /// Incoming interface.
    pub input: Option<Interface>,
    /// Outgoing interface.
    pub output: Option<Interface>,
    /// Whether it asks for nothing else, but for its matches.
    pub is_plain: bool,
    /// Names of the matches it uses beside those, comments not counted.
    pub matches: Vec<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// What it does.
    pub does: Does,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// Accepts.
    Accept,
    /// Drops.
    Drop,
    /// Goes on in a chain.
    Jump(String),
    /// A target by this name.
    Target(String),
    /// Something else.
    Other,
}

/// Whether a chain of this name is Weave Net's.
pub fn is_chain(name: &str, part: Part) -> bool {
    let is_policy = POLICY.contains(&name);
    ROUTER.contains(&name) || (part == Part::All && is_policy)
}

/// Whether the rule is Weave Net's, in a table that is not its own.
pub fn is_rule(seen: &Seen, bridge: &str, part: Part) -> bool {
    if let Does::Jump(to) = &seen.does {
        return is_chain(to, part);
    }
    match seen.chain.as_str() {
        "INPUT" => seen.comment.as_deref() == Some(CONTROL_PORT) && seen.does == Does::Drop,
        "OUTPUT" => seen.does == Does::Drop && is_ipsec_guard(seen),
        "FORWARD" => is_forward(seen, bridge, part),
        _ => false,
    }
}

/// Whether a set of this name is Weave Net's.
pub fn is_set(name: &str, part: Part) -> bool {
    name == "weaver-no-masq-local" || (part == Part::All && name.starts_with("weave-"))
}

/// Destroys the IP sets of `part`, with what came of each. Rules that used one must be gone, which the
/// kernel may take a moment to notice.
pub fn destroy_sets(part: Part) -> Vec<(String, io::Result<bool>)> {
    // Without the right to look there is nothing to destroy either.
    let names = leftover::ip_sets().unwrap_or_default().into_iter();
    let unwanted = names.filter(|name| is_set(name, part));
    unwanted
        .map(|name| {
            let outcome = destroy(&name);
            (name, outcome)
        })
        .collect()
}

fn destroy(name: &str) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        match leftover::destroy_ip_set(name) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    leftover::destroy_ip_set(name)
}

fn is_forward(seen: &Seen, bridge: &str, part: Part) -> bool {
    // Weave Net commented its jumps only; ours are all commented.
    if seen.comment.is_some() {
        return false;
    }
    let is = |interface: &Option<Interface>| *interface == Some(Interface::is(bridge));
    let is_not = |interface: &Option<Interface>| *interface == Some(Interface::is_not(bridge));
    let (from, to) = (is(&seen.input), is(&seen.output));
    let matches: Vec<&str> = seen.matches.iter().map(String::as_str).collect();
    match (&seen.does, matches.as_slice()) {
        (Does::Accept, []) if seen.is_plain => from && (to || is_not(&seen.output)),
        (Does::Accept, ["conntrack" | "state"]) if seen.is_plain => seen.input.is_none() && to,
        // Default deny of the policy hooks, and isolation from the Docker bridge.
        (Does::Drop, []) if seen.is_plain => {
            let isolation = seen.input.as_ref().is_some_and(|input| !input.inverted);
            to && !from && (isolation || part == Part::All)
        }
        (Does::Target(target), ["conntrack" | "state"]) if seen.is_plain => {
            part == Part::All && target == "NFLOG" && seen.input.is_none() && to
        }
        _ => false,
    }
}

/// `! -p esp -m policy --dir out --pol none -m mark --mark 0x20000/0x20000 -j DROP`; the mark match
/// may have been turned into something without a name.
fn is_ipsec_guard(seen: &Seen) -> bool {
    let names: Vec<&str> = seen.matches.iter().map(String::as_str).collect();
    let interfaces = seen.input.is_some() || seen.output.is_some();
    !interfaces && seen.comment.is_none() && matches!(names.as_slice(), ["policy", "mark"])
}

const CONTROL_PORT: &str = "Block non-local access to Weave Net control port";

/// For the kernel to notice that no rule uses a set.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Chains of the router.
const ROUTER: [&str; 8] = [
    "WEAVE",
    "WEAVE-CANARY",
    "WEAVE-EXPOSE",
    "WEAVE-IPSEC-IN",
    "WEAVE-IPSEC-IN-MARK",
    "WEAVE-IPSEC-OUT",
    "WEAVE-IPSEC-OUT-MARK",
    "WEAVE-KUBE-TEST",
];

/// Chains of the policy controller.
const POLICY: [&str; 7] = [
    "WEAVE-NPC",
    "WEAVE-NPC-DEFAULT",
    "WEAVE-NPC-INGRESS",
    "WEAVE-NPC-EGRESS",
    "WEAVE-NPC-EGRESS-ACCEPT",
    "WEAVE-NPC-EGRESS-CUSTOM",
    "WEAVE-NPC-EGRESS-DEFAULT",
];

#[cfg(test)]
#[path = "old/tests.rs"]
mod tests;
