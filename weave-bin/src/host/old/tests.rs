use serde_json::Value;

use super::*;

/// Rules of Weave Net as recorded, with the table each is in.
fn recorded() -> Vec<(String, String)> {
    let text = include_str!("../../../tests/vectors/host_iptables.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let mut rules = Vec::new();
    for case in all["cases"].as_array().unwrap() {
        let mut table = String::new();
        for line in case["rules"].as_array().unwrap() {
            let line = line.as_str().unwrap();
            if let Some(name) = line.strip_prefix('*') {
                table = name.to_owned();
            }
            if line.starts_with("-A ") {
                rules.push((table.clone(), line.to_owned()));
            }
        }
    }
    rules
}

/// A line of `iptables-save` as either back end would be seen.
fn seen(line: &str) -> Seen {
    let (head, comment) = match line.split_once(" -m comment --comment \"") {
        Some((head, rest)) => {
            let (comment, tail) = rest.rsplit_once('"').unwrap();
            (format!("{head}{tail}"), Some(comment.replace('\\', "")))
        }
        None => (line.to_owned(), None),
    };
    let words: Vec<&str> = head.split(' ').collect();
    let mut seen = Seen {
        chain: words[1].to_owned(),
        input: None,
        output: None,
        is_plain: true,
        matches: Vec::new(),
        comment,
        does: Does::Other,
    };
    for (at, pair) in words.windows(2).enumerate() {
        let inverted = at > 0 && words[at - 1] == "!";
        let interface = || {
            Some(Interface {
                name: pair[1].to_owned(),
                inverted,
            })
        };
        match pair[0] {
            "-i" => seen.input = interface(),
            "-o" => seen.output = interface(),
            "-m" => seen.matches.push(pair[1].to_owned()),
            "-s" | "-d" | "-p" => seen.is_plain = false,
            "-j" => {
                seen.does = match pair[1] {
                    "ACCEPT" => Does::Accept,
                    "DROP" => Does::Drop,
                    target @ ("NFLOG" | "MARK" | "MASQUERADE" | "RETURN") => {
                        Does::Target(target.to_owned())
                    }
                    chain => Does::Jump(chain.to_owned()),
                }
            }
            _ => {}
        }
    }
    seen
}

fn is_in_own_chain(line: &str) -> bool {
    line.starts_with("-A WEAVE")
}

#[test]
fn every_recorded_rule_goes_with_everything() {
    let mut gone = 0;
    for (table, line) in recorded() {
        let rule = seen(&line);
        // What keeps containers of Docker from the router's ports, and lets them use its DNS.
        let about_docker = rule.chain == "INPUT" && line.contains("docker0");
        if is_in_own_chain(&line) {
            assert!(is_chain(&rule.chain, Part::All), "{line}");
        } else {
            assert_eq!(
                is_rule(&rule, "weave", Part::All),
                !about_docker,
                "{table}: {line}"
            );
            gone += usize::from(!about_docker);
        }
    }
    assert!(gone > 30, "{gone}");
}

#[test]
fn the_hooks_of_the_policy_controller_stay_until_it_says_so() {
    let staying: Vec<String> = recorded()
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| !is_in_own_chain(line) && !line.contains("docker0"))
        .filter(|line| !is_rule(&seen(line), "weave", Part::Plumbing))
        .collect();

    assert_eq!(
        staying,
        [
            "-A INPUT -i weave -j WEAVE-NPC-EGRESS",
            "-A FORWARD -i weave -m comment --comment \"NOTE: this must go before \\'-j KUBE-FORWARD\\'\" -j WEAVE-NPC-EGRESS",
            "-A FORWARD -o weave -m comment --comment \"NOTE: this must go before \\'-j KUBE-FORWARD\\'\" -j WEAVE-NPC",
            "-A FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86",
            "-A FORWARD -o weave -j DROP",
        ]
    );
    assert!(!is_chain("WEAVE-NPC-DEFAULT", Part::Plumbing));
    assert!(!is_set("weave-;rGqyMIl1HN^cfDki~Z$3]6!N", Part::Plumbing));
}

#[test]
fn rules_of_others_about_the_bridge_stay() {
    for line in [
        "-A FORWARD -i weave -p tcp -j DROP",
        "-A FORWARD -i weave -j LOG",
        "-A FORWARD -s 10.0.0.0/8 -o weave -j ACCEPT",
        "-A FORWARD -i weave -o weave -m comment --comment \"mine\" -j ACCEPT",
        "-A FORWARD -i weave -o weave -m comment --comment \"weave: between pods\" -j ACCEPT",
        "-A FORWARD -i weave -o weave -m limit -j ACCEPT",
        "-A FORWARD -s 10.0.0.0/8 -o weave -m conntrack --ctstate RELATED -j ACCEPT",
        "-A FORWARD -i weave -j ACCEPT",
        "-A FORWARD -o weave0 -j DROP",
        "-A INPUT -i weave -j DROP",
        "-A INPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 6784 -j DROP",
        "-A OUTPUT -m mark --mark 0x1 -j DROP",
        "-A FORWARD -j KUBE-FORWARD",
        "-A POSTROUTING -j WEAVERS",
    ] {
        assert!(!is_rule(&seen(line), "weave", Part::All), "{line}");
    }
    for chain in ["WEAVERS", "KUBE-FORWARD", "FORWARD"] {
        assert!(!is_chain(chain, Part::All));
    }
    assert!(!is_set("weavers", Part::All));
}
