//! The three tables of the daemon's flags.
//!
//! The parser and the usage text read these same tables: a flag that works is explained, and one
//! that is explained works.

use crate::args::flags::Flag;

/// Flags with an effect, each explained.
pub(super) const EFFECTIVE: &[Flag] = &[
    Flag::value("bpf-dir").explained(
        "DIR",
        "/sys/fs/bpf/weave",
        "where BPF programs and maps are pinned; bpffs is mounted if needed",
    ),
    Flag::value("conn-limit").explained("N", "200", "most connections at a time; 0 is no limit"),
    Flag::value("db-prefix").explained("PATH", "/weavedb/weave", "the state file is PATHdata.db"),
    Flag::value("dns-domain").explained(
        "NAME",
        "weave.local.",
        "domain whose names the name server answers for",
    ),
    Flag::value("dns-fallback-timeout").explained(
        "TIME",
        "5s",
        "how long each server of --resolv-conf has to answer",
    ),
    Flag::value("dns-listen-address").explained(
        "IP:PORT",
        "0.0.0.0:53",
        "where the name server listens, over UDP and TCP",
    ),
    Flag::value("dns-ttl").explained("SECONDS", "1", "how long askers keep the answers"),
    Flag::switch("expect-npc").explained(
        "",
        "",
        "leave it to a policy controller what reaches pods",
    ),
    Flag::value("host").explained("IP", "0.0.0.0", "address the mesh listens on"),
    Flag::value("host-root").explained(
        "DIR",
        "/",
        "where the host's / is seen, for its machine id",
    ),
    Flag::value("http-addr").explained(
        "ADDR",
        "127.0.0.1:6784",
        "control HTTP: IP:PORT, a socket's absolute path, or empty for none",
    ),
    Flag::value("ipalloc-cool-down").explained(
        "SECONDS",
        "0",
        "how long a released address rests while there are others",
    ),
    Flag::value("ipalloc-default-subnet").explained(
        "CIDR",
        "",
        "subnet of requests that name none; without it the whole range; two as for the range",
    ),
    Flag::value("ipalloc-init").explained(
        "HOW",
        "",
        "who starts the ring: consensus=N, seed=PEER_NAME,... or observer; else a vote",
    ),
    Flag::value("ipalloc-init-ipv6").explained(
        "HOW",
        "",
        "who starts the IPv6 ring beside an IPv4 one; else as --ipalloc-init",
    ),
    Flag::value("ipalloc-range").explained(
        "CIDR,...",
        "",
        "range of the pods' addresses, or one IPv4 and one IPv6; without it none are allocated",
    ),
    Flag::value("log-format").explained("FORMAT", "text", "text or json; else WEAVE_LOG_FORMAT"),
    Flag::value("log-level").explained(
        "LEVEL",
        "info",
        "least important messages to log: debug, info, warning or error",
    ),
    Flag::value("metrics-addr").explained("ADDR", "", "metrics alone, over HTTP; as --http-addr"),
    Flag::value("min-protocol-version").explained(
        "1|2",
        "2",
        "lowest mesh protocol version to accept; 1 introduces itself in clear",
    ),
    Flag::value("mtu").explained(
        "BYTES",
        "",
        "MTU of the network; else WEAVE_MTU, else 1376 or what the ways to peers allow",
    ),
    Flag::value("name").explained(
        "PEER_NAME",
        "",
        "this peer's name, as aa:bb:cc:dd:ee:ff; else remembered or derived",
    ),
    Flag::value("nickname").explained("NAME", "", "name shown to people; else the host name"),
    Flag::switch("no-discovery").explained("", "", "connect to the peers given only"),
    Flag::switch("no-dns").explained("", "", "run no name server"),
    Flag::switch("no-fastdp").explained("", "", "forward frames in user space alone, by sleeve"),
    Flag::switch("no-overlay").explained("", "", "join the mesh but forward no frames"),
    Flag::switch("no-masq-local").explained(
        "",
        "",
        "keep the source address of traffic to pods of this host",
    ),
    Flag::secret("password").explained(
        "WORD",
        "",
        "encrypt connections with this password; else WEAVE_PASSWORD",
    ),
    Flag::value("password-file").explained(
        "FILE",
        "",
        "as --password, one a line: the first is used, all are accepted; read again on change",
    ),
    Flag::value("port").explained(
        "PORT",
        "6783",
        "mesh TCP port; the tunnel's UDP port is one more",
    ),
    Flag::switch("print-peer-name").explained("", "", "print the peer name and end"),
    Flag::value("resolv-conf").explained(
        "FILE",
        "",
        "other name servers to ask, as /etc/resolv.conf has them; without it none",
    ),
    Flag::switch("resume").explained("", "", "connect to the peers of the state file"),
    Flag::value("status-addr").explained("ADDR", "", "status HTTP, read only; as --http-addr"),
    Flag::value("trusted-subnets").explained(
        "CIDR,...",
        "",
        "networks whose frames need no encryption; mesh messages have it all the same",
    ),
    Flag::switch("version").explained("", "", "print the version and end"),
    Flag::value("weave-bridge").explained("NAME", "weave", "name of the bridge"),
];

/// Flags of Weave Net that change nothing here; old manifests carry them.
pub(super) const IGNORED: &[Flag] = &[
    Flag::value("H"),
    Flag::value("advertise-address"),
    Flag::switch("awsvpc"),
    Flag::value("bufsz"),
    Flag::value("datapath"),
    Flag::value("dns-effective-listen-address"),
    Flag::value("docker-api"),
    Flag::value("docker-bridge"),
    Flag::value("hostname-from-label"),
    Flag::value("hostname-match"),
    Flag::value("hostname-replacement"),
    Flag::switch("no-bridged-fastdp"),
    Flag::switch("no-default-ipalloc"),
    Flag::switch("no-multicast-route"),
    Flag::switch("no-rewrite-hosts"),
    Flag::value("peer-discovery-url"),
    Flag::switch("pkt-debug"),
    Flag::switch("plugin"),
    Flag::value("plugin-mesh-socket"),
    Flag::value("plugin-socket"),
    Flag::switch("plugin-v2"),
    Flag::value("proc-path"),
    Flag::value("profile"),
    Flag::switch("proxy"),
    Flag::switch("rewrite-inspect"),
    Flag::value("tlscacert"),
    Flag::value("tlscert"),
    Flag::value("tlskey"),
    Flag::switch("tls"),
    Flag::switch("tlsverify"),
    Flag::secret("token"),
    Flag::switch("without-dns"),
];
