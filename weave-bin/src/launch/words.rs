//! The daemon's command line from the environment, in the order that decides who wins.
//!
//! The last of a repeated flag counts: the container's own arguments beat what is computed here,
//! and that beats `EXTRA_ARGS` (Weave Net Kubernetes add-on, "Weave container").

use super::environment::Environment;

/// What is found out before the daemon starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The peer name, when it is known.
    pub name: Option<String>,
    /// How the ring starts, when it is known.
    pub init: Option<String>,
    /// How the IPv6 ring beside one of IPv4 starts, when that is known.
    pub init6: Option<String>,
    /// Whom to connect to.
    pub peers: Vec<String>,
}

/// The words for the daemon; `arguments` are the container's own.
pub fn daemon_words(env: &Environment, found: &Found, arguments: &[String]) -> Vec<String> {
    let mut words = env.extra_args.clone();
    if env.debug {
        words.push("--log-level=debug".to_owned());
    }
    words.extend(["--port=6783", "--datapath=datapath"].map(str::to_owned));
    if let Some(mtu) = env.mtu {
        words.push(format!("--mtu={mtu}"));
    }
    if env.no_fastdp {
        words.push("--no-fastdp".to_owned());
    }
    if let Some(name) = &found.name {
        words.push(format!("--name={name}"));
    }
    words.push(format!("--http-addr={}", env.http_addr));
    words.push(format!("--metrics-addr={}", env.metrics_addr));
    if !env.status_addr.is_empty() {
        words.push(format!("--status-addr={}", env.status_addr));
    }
    words.extend(["--docker-api=", "--no-dns"].map(str::to_owned));
    words.push(format!("--db-prefix={}", env.db_prefix));
    words.push(format!("--host-root={}", env.host_root));
    let ranges: Vec<String> = env.ranges.iter().map(ToString::to_string).collect();
    words.push(format!("--ipalloc-range={}", ranges.join(",")));
    if !env.hostname.is_empty() {
        words.push(format!("--nickname={}", env.hostname));
    }
    if let Some(init) = env.ipalloc_init.as_ref().or(found.init.as_ref()) {
        words.push(format!("--ipalloc-init={init}"));
    }
    if let (None, Some(init6)) = (&env.ipalloc_init, &found.init6) {
        words.push(format!("--ipalloc-init-ipv6={init6}"));
    }
    words.push(format!("--conn-limit={}", env.conn_limit));
    if env.expect_npc {
        words.push("--expect-npc".to_owned());
    }
    if env.no_masq_local {
        words.push("--no-masq-local".to_owned());
    }
    words.extend(arguments.iter().cloned());
    words.extend(found.peers.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::daemon::Settings;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    #[test]
    fn the_words_have_the_recorded_order() {
        let env = env(&[("HOSTNAME", "host-1"), ("INIT_CONTAINER", "true")]);
        let found = Found {
            name: Some("d6:4a:61:1c:09:ff".to_owned()),
            init: Some("consensus=4".to_owned()),
            init6: None,
            peers: vec!["192.168.77.1".to_owned()],
        };

        let words = daemon_words(&env, &found, &["--log-level=debug".to_owned()]);

        let expected = "--port=6783 --datapath=datapath --name=d6:4a:61:1c:09:ff \
            --http-addr=127.0.0.1:6784 --metrics-addr=0.0.0.0:6782 --docker-api= --no-dns \
            --db-prefix=/weavedb/weave-net --host-root=/host --ipalloc-range=10.32.0.0/12 \
            --nickname=host-1 --ipalloc-init=consensus=4 --conn-limit=200 --expect-npc \
            --no-masq-local --log-level=debug 192.168.77.1";
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn arguments_beat_the_computed_and_those_beat_extra_args() {
        let env = env(&[
            (
                "EXTRA_ARGS",
                "--conn-limit=1 --nickname=extra --log-level=debug",
            ),
            ("HOSTNAME", "n"),
            ("CONN_LIMIT", "7"),
        ]);

        let words = daemon_words(&env, &Found::default(), &["--conn-limit=9".to_owned()]);
        let settings = Settings::read(&words, |_| None).unwrap();

        assert_eq!(settings.connection_limit, 9);
        assert_eq!(settings.nickname.as_deref(), Some("n"));
        assert_eq!(settings.log_level, "debug".parse().unwrap());
    }

    #[test]
    fn what_is_switched_off_is_not_there() {
        let env = env(&[
            ("EXPECT_NPC", "0"),
            ("NO_MASQ_LOCAL", "0"),
            ("WEAVE_NO_FASTDP", "1"),
            ("WEAVE_MTU", "1337"),
            ("IPALLOC_INIT", "observer"),
        ]);
        let found = Found {
            init: Some("consensus=3".to_owned()),
            init6: Some("seed=::1".to_owned()),
            ..Found::default()
        };

        let words = daemon_words(&env, &found, &[]).join(" ");

        assert!(!words.contains("expect-npc") && !words.contains("no-masq-local"));
        assert!(words.contains("--mtu=1337 --no-fastdp"));
        assert!(words.contains("--ipalloc-init=observer"));
        assert!(
            !words.contains("--ipalloc-init-ipv6"),
            "given by hand for both"
        );
    }
}
