//! The commands, explained: one table that the usage text, the shell completions and the manual page are
//! written from.

/// A command as it is explained to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The command.
    pub(crate) name: &'static str,
    /// What follows it.
    pub(crate) form: &'static str,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// Options it knows, each with what it does.
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// Words it knows as its first one.
    pub(crate) words: &'static [&'static str],
}

impl Usage {
    const fn new(name: &'static str, form: &'static str, about: &'static str) -> Self {
        Self {
            name,
            form,
            about,
            options: &[],
            words: &[],
        }
    }

    const fn options(self, options: &'static [(&'static str, &'static str)]) -> Self {
        Self { options, ..self }
    }

    const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }
}

const JSON: (&str, &str) = ("--json", "print JSON");

/// What asks the daemon of this host, or changes it.
pub(crate) const COMMANDS: &[Usage] = &[
    Usage::new(
        "status",
        "[targets | connections | peers | dns | ipam] [--json]",
        "what this peer knows, all of it or one page",
    )
    .options(&[JSON])
    .words(&["targets", "connections", "peers", "dns", "ipam"]),
    Usage::new(
        "report",
        "[-f TEMPLATE | --html]",
        "everything as JSON, what a Go template makes of it, or the status page",
    )
    .options(&[
        ("-f", "a Go template over the report"),
        ("--html", "the status page, one file for a browser"),
    ]),
    Usage::new(
        "connectivity",
        "[--json]",
        "try the ways to peers, pods and Services, and say what to do",
    )
    .options(&[JSON]),
    Usage::new(
        "top",
        "[--once] [--json] [--interval SECONDS]",
        "connections, overlays and rates, read again each second",
    )
    .options(&[
        JSON,
        ("--once", "one table, and an end"),
        ("--interval", "seconds between readings"),
    ]),
    Usage::new(
        "connect",
        "[--replace] PEER...",
        "connect to more peers, or to these only",
    )
    .options(&[("--replace", "forget the peers that were given before")]),
    Usage::new("forget", "PEER...", "no longer try these peers"),
    Usage::new("prime", "", "wait until addresses can be allocated"),
    Usage::new(
        "rmpeer",
        "PEER_NAME...",
        "take over the addresses of peers that are gone for good",
    ),
    Usage::new(
        "ps",
        "[ID...] [--pods] [--json]",
        "who has which addresses; the bridge first",
    )
    .options(&[
        (
            "--pods",
            "also the names of pods, where the runtime noted them",
        ),
        JSON,
    ]),
    Usage::new(
        "attach",
        "[ADDR...] TARGET [--no-multicast-route]",
        "join a network namespace to the network",
    )
    .options(&[(
        "--no-multicast-route",
        "give it no route to multicast groups",
    )]),
    Usage::new(
        "detach",
        "[ADDR...] TARGET",
        "take these addresses from it, or all and its interface",
    ),
    Usage::new(
        "expose",
        "[ADDR...] [-h FQDN] [--without-masquerade]",
        "join this host itself, by an address on the bridge",
    )
    .options(&[
        ("-h", "name the address"),
        ("--without-masquerade", "leave source addresses as they are"),
    ]),
    Usage::new("hide", "[ADDR...]", "take addresses off the bridge again"),
    Usage::new(
        "dns-add",
        "[IP...] ID [-h FQDN] | IP... -h FQDN",
        "name a container, or addresses that belong to none",
    )
    .options(&[("-h", "the full name")]),
    Usage::new(
        "dns-remove",
        "[IP...] ID [-h FQDN] | IP... -h FQDN",
        "take names away again",
    )
    .options(&[("-h", "the full name")]),
    Usage::new(
        "dns-args",
        "[OPTION...]",
        "print the options with which a container asks the name server",
    ),
    Usage::new(
        "dns-lookup",
        "NAME [--json]",
        "ask for the addresses of a name",
    )
    .options(&[JSON]),
    Usage::new(
        "doctor",
        "[--json] [--evidence | --from=FILE] [--db-prefix=PATH] [--host-root=DIR]",
        "what is wrong on this host, why it matters, and what to type",
    )
    .options(&[
        JSON,
        (
            "--evidence",
            "print what was looked at instead of judging it",
        ),
        ("--from", "judge what was looked at before, from this file"),
        (
            "--db-prefix",
            "where the state file is, if the daemon is down",
        ),
        (
            "--host-root",
            "where the host's / is seen, if the daemon is down",
        ),
    ]),
    Usage::new(
        "ipam",
        "audit [--json] | release ID...",
        "whose every address is and which are off, or take back what containers have",
    )
    .options(&[JSON])
    .words(&["audit", "release"]),
    Usage::new(
        "reset",
        "[--force] [--bridge-only | --cni[=ROOT]] [--db-prefix=PATH] [--bpf-dir=DIR]",
        "leave the network and remove every trace of it",
    )
    .options(&[
        ("--force", "do not hand the addresses to another peer first"),
        (
            "--bridge-only",
            "remove the bridge and what joins it to other hosts only",
        ),
        ("--cni", "also the CNI plugins and their configuration"),
    ]),
    Usage::new(
        "launch",
        "[--log-file=FILE] [FLAG...] [PEER...]",
        "start the daemon in the background",
    ),
    Usage::new(
        "stop",
        "[--db-prefix=PATH]",
        "end the daemon; what is attached stays connected",
    ),
    Usage::new("setup", "", "install the CNI plugins on this host"),
    Usage::new(
        "attach-bridge",
        "[BRIDGE]",
        "join another bridge to the network, docker0 if none is named",
    ),
    Usage::new("bridge-type", "", "what the bridge is made of"),
    Usage::new(
        "completion",
        "bash | zsh | fish",
        "print what completes these commands in a shell",
    )
    .words(&["bash", "zsh", "fish"]),
    Usage::new("version", "", "print the version"),
    Usage::new("help", "", "print this"),
];

/// The programs that are in this one, each with a usage text of its own.
pub(crate) const PROGRAMS: &[Usage] = &[
    Usage::new("weaver", "[FLAG...] [PEER...]", "run the daemon"),
    Usage::new("render", "[OPTION...]", "print the manifest for Kubernetes"),
    Usage::new("lab", "COMMAND", "try the network on this machine"),
    Usage::new(
        "npc",
        "COMMAND",
        "ask what network policies mean, and what the controller here does",
    ),
    Usage::new("weave-npc", "[FLAG...]", "run the policy controller"),
];

/// What the words in capitals mean.
pub(crate) const WORDS: &[(&str, &str)] = &[
    (
        "PEER",
        "host or address, with an optional port: HOST[:PORT]",
    ),
    ("ADDR", "[ip:]CIDR, net:CIDR or net:default"),
    (
        "TARGET",
        "process id, name (ip netns) or path of a network namespace",
    ),
    (
        "ID",
        "a container, as it is known to whoever gave it an address",
    ),
    (
        "FQDN",
        "a full name in the domain of the name server, such as web.weave.local",
    ),
];

/// What `weave help` prints.
pub(super) fn text() -> String {
    let mut text = "Usage: weave [--local] COMMAND\n\n".to_owned();
    text.extend(COMMANDS.iter().map(line));
    text.push('\n');
    text.extend(PROGRAMS.iter().map(line));
    text.push('\n');
    text.extend(
        WORDS
            .iter()
            .map(|(word, meaning)| format!("{word:8}{meaning}\n")),
    );
    text + "\nCommands talk to the daemon at WEAVE_HTTP_ADDR (127.0.0.1:6784)."
}

/// The command and what it does, beside each other where there is room.
fn line(usage: &Usage) -> String {
    let left = format!("{} {}", usage.name, usage.form);
    let left = left.trim_end();
    let about = usage.about;
    if left.len() < WIDTH {
        format!("  {left:WIDTH$}{about}\n")
    } else {
        format!("  {left}\n  {:WIDTH$}{about}\n", "")
    }
}

/// Columns for a command before what it does.
const WIDTH: usize = 32;
