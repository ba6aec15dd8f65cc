//! What somebody takes away while the daemon runs is noticed and comes back.

use weave_datapath::bpf::{Damage, Opened, self_test};

use crate::{
    lab::{Lab, Scratch},
    root,
    traffic::round_trip,
};

const TUNNEL: &str = "vxlan-6784";

/// Two hosts with a pod each, whose frames cross.
fn lab() -> Lab {
    let lab = Lab::new(2, &[(0, 1)], 1);
    assert!(crosses(&lab));
    assert_eq!(lab.daemon(0).repair(), (vec![], Opened::Adopted));
    lab
}

fn crosses(lab: &Lab) -> bool {
    round_trip(&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]).is_some()
}

#[test]
fn a_tunnel_device_that_was_deleted_comes_back() {
    if !root() {
        return;
    }
    let lab = lab();
    lab.hosts[0].scratch.with(|netlink| async move {
        let tunnel = netlink.require_link(TUNNEL).await.unwrap();
        netlink.delete_link(tunnel.index).await.unwrap();
    });
    assert!(!crosses(&lab));

    let (damage, opened) = lab.daemon(0).repair();

    let name = TUNNEL.to_owned();
    assert_eq!(damage, [Damage::TunnelGone { name }]);
    assert_eq!(opened, Opened::Fresh);
    assert!(crosses(&lab));
    assert_eq!(lab.daemon(0).repair(), (vec![], Opened::Adopted));
}

#[test]
fn a_tunnel_device_that_is_down_apart_or_another_one_is_put_in_order() {
    if !root() {
        return;
    }
    let lab = lab();
    let name = || TUNNEL.to_owned();
    lab.hosts[0].scratch.with(|netlink| async move {
        let tunnel = netlink.require_link(TUNNEL).await.unwrap();
        netlink.set_down(tunnel.index).await.unwrap();
        netlink.set_master(tunnel.index, None).await.unwrap();
    });

    let (damage, opened) = lab.daemon(0).repair();

    let apart = Damage::TunnelApart { name: name() };
    assert_eq!(damage, [Damage::TunnelDown { name: name() }, apart]);
    assert_eq!(opened, Opened::Adopted);
    assert!(crosses(&lab));

    lab.hosts[0].scratch.with(|netlink| async move {
        let tunnel = netlink.require_link(TUNNEL).await.unwrap();
        netlink.delete_link(tunnel.index).await.unwrap();
        let made = netlink.create_vxlan_external(TUNNEL, 6784, 1376).await;
        made.unwrap();
    });
    let (damage, opened) = lab.daemon(0).repair();
    assert_eq!(damage, [Damage::TunnelReplaced { name: name() }]);
    assert_eq!(opened, Opened::Fresh);
    assert!(crosses(&lab));
}

#[test]
fn pins_that_were_removed_come_back() {
    if !root() {
        return;
    }
    let lab = lab();
    let gone = |name| Damage::PinGone { name };
    let detached = |name| Damage::ProgramDetached { name };
    let cases = [
        ("weave_tunnel", gone("weave_tunnel"), Opened::Replaced),
        ("link_bridge", detached("weave_bridge"), Opened::Replaced),
        ("link_tunnel", detached("weave_tunnel"), Opened::Replaced),
        ("macs", gone("macs"), Opened::Fresh),
        ("config", gone("config"), Opened::Fresh),
    ];
    for (pin, expected, opened) in cases {
        std::fs::remove_file(lab.hosts[0].dir.join(pin)).unwrap();

        let repaired = lab.daemon(0).repair();

        assert_eq!(repaired, (vec![expected], opened), "{pin}");
        assert!(crosses(&lab), "{pin}");
        assert_eq!(lab.daemon(0).repair(), (vec![], Opened::Adopted), "{pin}");
    }
}

#[test]
fn this_kernel_has_what_the_fast_path_needs() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("probe");
    let dir = std::env::temp_dir().join(format!("wfd-probe-{}", std::process::id()));

    let findings = scratch.namespace.run(|| self_test(&dir)).unwrap();

    let entries = std::fs::read_dir(&dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with("trial")).collect();
    crate::daemon::unmount(&dir);
    assert_eq!(findings, []);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_directory_that_cannot_hold_pins_is_named() {
    if !root() {
        return;
    }
    let findings = self_test(std::path::Path::new("/proc/no-such"));

    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        texts.len() == 1 && texts[0].starts_with("the BPF file system cannot be used: "),
        "{texts:?}"
    );
}
