use super::expose::Wanted;
use super::*;

fn parsed(line: &str) -> Result<Command, Misuse> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn status_pages_are_known_and_others_are_named() {
    let page = |page, json| Ok(Command::Status { page, json });

    assert_eq!(parsed("status"), page(Page::Overview, false));
    assert_eq!(parsed("status ipam"), page(Page::Ipam, false));
    assert_eq!(parsed("status peers --json"), page(Page::Peers, true));
    let text = "Invalid 'weave status' sub-command: endpoints".to_owned();
    assert_eq!(parsed("status endpoints"), Err(Misuse::Said(text)));
}

#[test]
fn no_command_and_an_unknown_one_get_the_usage() {
    assert_eq!(parsed(""), Err(Misuse::Usage));
    let text = "Unknown weave command 'bogus'".to_owned();
    assert_eq!(parsed("bogus"), Err(Misuse::Said(text)));
}

#[test]
fn help_is_found_before_and_after_a_command() {
    for line in ["help", "--help", "connect --help"] {
        assert_eq!(parsed(line), Ok(Command::Help), "{line}");
    }
}

#[test]
fn commands_removed_in_2_0_say_so() {
    let Err(Misuse::Removed(text)) = parsed("launch-router") else {
        panic!("launch-router is a removed command");
    };
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("removed in version 2.0"), "{text}");
}

#[test]
fn peers_are_required() {
    for line in [
        "connect",
        "connect --replace",
        "forget",
        "rmpeer",
        "forget --x",
    ] {
        assert_eq!(parsed(line), Err(Misuse::Usage), "{line}");
    }
    let connect = Command::Connect {
        peers: words("a b:1"),
        replace: true,
    };
    assert_eq!(parsed("connect --replace a b:1"), Ok(connect));
}

#[test]
fn a_report_takes_one_template() {
    assert_eq!(parsed("report"), Ok(Command::Report));
    assert_eq!(
        parsed("report -f {{.Version}}"),
        Ok(Command::Template("{{.Version}}".into()))
    );
    assert_eq!(parsed("report -f"), Err(Misuse::Usage));
}

#[test]
fn expose_takes_addresses_before_options() {
    let address = Wanted::Exactly("10.2.1.1/24".parse().unwrap());
    let subnet = Wanted::FromSubnet("10.2.0.0/16".parse().unwrap());

    assert_eq!(
        parsed("expose"),
        Ok(Command::Expose {
            addresses: vec![Wanted::FromDefault],
            masquerade: true,
            name: None
        })
    );
    assert_eq!(
        parsed("expose ip:10.2.1.1/24 net:10.2.0.0/16 net:default --without-masquerade"),
        Ok(Command::Expose {
            addresses: vec![address.clone(), subnet, Wanted::FromDefault],
            masquerade: false,
            name: None
        })
    );
    assert_eq!(
        parsed("expose -h host.weave.local --without-masquerade"),
        Ok(Command::Expose {
            addresses: vec![Wanted::FromDefault],
            masquerade: false,
            name: Some("host.weave.local".into())
        })
    );
    assert_eq!(parsed("expose -h"), Err(Misuse::Usage));
    assert_eq!(parsed("hide 10.2.1.1/24"), Ok(Command::Hide(vec![address])));
    assert_eq!(
        parsed("expose --without-masquerade 10.2.1.1/24"),
        Err(Misuse::Usage)
    );
    assert_eq!(parsed("hide nonsense"), Err(Misuse::Usage));
}

#[test]
fn attach_and_detach_take_addresses_before_the_target() {
    for line in [
        "attach blue",
        "attach 10.2.1.1/24 net:default 4711 --no-multicast-route",
        "detach blue",
        "detach net:default blue",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
    }
    for line in [
        "attach",
        "attach 10.2.1.1/24",
        "attach --no-multicast-route",
        "attach blue red",
        "detach",
        "detach blue 10.2.1.1/24",
    ] {
        assert_eq!(parsed(line), Err(Misuse::Usage), "{line}");
    }
    // All addresses go unless some are named.
    let Ok(Command::Detach { wanted, .. }) = parsed("detach blue") else {
        panic!("a detach")
    };
    assert!(wanted.is_empty());
}

#[test]
fn every_command_is_in_the_usage_text() {
    for line in [
        "ps",
        "attach x",
        "detach x",
        "expose",
        "hide",
        "prime",
        "setup",
        "bridge-type",
        "launch",
        "stop",
        "reset",
        "report",
        "status",
        "connect x",
        "forget x",
        "rmpeer x",
        "version",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
        let name = line.split(' ').next().unwrap();
        let shown = format!("\n  {name} ");
        assert!(usage::text().contains(&shown), "{name}");
    }
    let ps = Command::Ps(ps::Asked {
        ids: words("a b"),
        pods: false,
        json: true,
    });
    assert_eq!(parsed("ps a --json b"), Ok(ps));
    assert!(matches!(
        parsed("docker-bridge-ip"),
        Err(Misuse::Removed(_))
    ));
    let bogus = parsed("launch --bogus");
    assert!(
        matches!(&bogus, Err(Misuse::Removed(text)) if text.contains("--bogus")),
        "{bogus:?}"
    );
}
