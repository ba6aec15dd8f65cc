//! Pins: adopted when they belong to these devices, replaced when they do not.

use std::path::Path;

use aya::maps::{Array, Map, MapData};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use weave_datapath::{
    bpf::{self, Config, Counter, Device, Hook, Opened},
    netlink::Netlink,
};

use crate::{
    counters,
    lab::{Lab, MTU},
    root,
    traffic::{Pings, round_trip},
};

type RawConfig = Array<MapData, [u8; 48]>;

/// Overwrites bytes of the pinned configuration.
fn patch(dir: &Path, at: usize, bytes: &[u8]) {
    let map = MapData::from_pin(dir.join("config")).unwrap();
    let mut config = RawConfig::try_from(Map::from_map_data(map).unwrap()).unwrap();
    let mut value = config.get(&0, 0).unwrap();
    value[at..at + bytes.len()].copy_from_slice(bytes);
    config.set(0, value, 0).unwrap();
}

const LAYOUT: usize = 0;
const OBJECT: usize = 24;

#[test]
fn programs_of_another_version_are_replaced_under_traffic() {
    if !root() {
        return;
    }
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut lab = Lab::with_hook(2, &[(0, 1)], 1, hook);
        assert_eq!(lab.daemon(0).ask(|device, _| device.hook()), hook);
        let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
        assert!(round_trip(a, b).is_some());
        let pings = Pings::start(a, b);
        let macs = |lab: &Lab| lab.daemon(0).ask(|device, _| device.macs().unwrap().len());
        let learned = macs(&lab);
        assert!(learned >= 2);

        lab.kill(0);
        patch(&lab.hosts[0].dir, OBJECT, &[0; 8]);
        lab.start(0);

        assert_eq!(lab.daemon(0).opened, Opened::Replaced, "{hook}");
        assert!(macs(&lab) >= learned);
        let (sent, received) = pings.stop();
        assert_eq!(received, sent, "{hook}");
    }
}

#[test]
fn maps_of_another_layout_are_replaced_by_empty_ones() {
    if !root() {
        return;
    }
    let mut lab = Lab::new(2, &[(0, 1)], 1);
    let pods = |lab: &Lab| round_trip(&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(pods(&lab).is_some());

    lab.kill(0);
    patch(&lab.hosts[0].dir, LAYOUT, &[0xff]);
    lab.start(0);

    assert_eq!(lab.daemon(0).opened, Opened::Fresh);
    assert_eq!(
        lab.daemon(0).ask(|device, _| device.adopted().cloned()),
        None
    );
    assert_eq!(counters(&lab, 0).get(Counter::Sent), 0);
    lab.connect((0, 1));
    lab.settle();
    assert!(pods(&lab).is_some());
}

#[test]
fn pins_of_a_deleted_namespace_do_not_confuse_a_new_one() {
    if !root() {
        return;
    }
    let mut old = Lab::new(2, &[(0, 1)], 1);
    let pods = |lab: &Lab| round_trip(&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(pods(&old).is_some());
    old.kill(0);
    // Same construction, same interface indices: only the addresses of the devices differ.
    let mut new = Lab::new(2, &[(0, 1)], 1);
    new.kill(0);
    std::mem::swap(&mut old.hosts[0].dir, &mut new.hosts[0].dir);
    drop(old.hosts.remove(1));
    old.hosts[0].pods.clear();

    new.start(0);

    assert_eq!(new.daemon(0).opened, Opened::Fresh);
    assert_eq!(new.daemon(0).ask(|device, _| device.macs().unwrap()), []);
    new.connect((0, 1));
    new.settle();
    assert!(pods(&new).is_some());
}

#[test]
fn the_hook_can_change_between_runs_without_loss() {
    if !root() {
        return;
    }
    let mut lab = Lab::with_hook(2, &[(0, 1)], 1, Hook::Clsact);
    let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(round_trip(a, b).is_some());
    let pings = Pings::start(a, b);
    for hook in [Hook::Tcx, Hook::Clsact, Hook::Tcx] {
        lab.kill(0);
        let config = lab.config(0).hook(hook);
        lab.start_with(0, config);
        assert_eq!(lab.daemon(0).opened, Opened::Replaced);
    }
    let (sent, received) = pings.stop();
    assert_eq!(received, sent);
    lab.kill(0);
    let config = lab.config(0).hook(Hook::Tcx);
    lab.start_with(0, config);
    assert_eq!(lab.daemon(0).opened, Opened::Adopted);
}

#[test]
fn removal_leaves_nothing() {
    if !root() {
        return;
    }
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut lab = Lab::with_hook(2, &[(0, 1)], 1, hook);
        let config = lab.config(0);
        lab.kill(0);

        let links = lab.hosts[0].scratch.with(|netlink| async move {
            bpf::remove(&config, &netlink).await.unwrap();
            bpf::remove(&config, &netlink).await.unwrap();
            netlink.links().await.unwrap()
        });

        assert!(links.iter().all(|link| link.name != "vxlan-6784"));
        let port = links.iter().find(|link| link.name == "vethwe-bridge");
        assert_eq!(port.unwrap().flood, Some(true), "as it was before");
        let dir = lab.hosts[0].dir.read_dir().unwrap();
        let names = dir.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kernels = ["maps.debug", "progs.debug"];
        let left: Vec<String> = names.filter(|n| !kernels.contains(&&n[..])).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_tunnel_that_was_taken_off_the_bridge_joins_again() {
    if !root() {
        return;
    }
    let mut lab = Lab::new(2, &[(0, 1)], 1);
    let pods = |lab: &Lab| round_trip(&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(pods(&lab).is_some());
    lab.hosts[0].scratch.with(|netlink| async move {
        let find = |name| netlink.link_by_name(name);
        let tunnel = find("vxlan-6784").await.unwrap().unwrap();
        let pair = find("vethwe-bridge").await.unwrap().unwrap();
        assert_eq!((tunnel.master, tunnel.flood), (pair.master, Some(true)));
        assert_eq!(pair.flood, Some(false));
        netlink.set_master(tunnel.index, None).await.unwrap();
        netlink.set_flood(pair.index, true).await.unwrap();
    });
    assert!(pods(&lab).is_none(), "nothing leads to other hosts");

    lab.kill(0);
    lab.start(0);

    assert_eq!(lab.daemon(0).opened, Opened::Adopted);
    assert!(pods(&lab).is_some());
}

/// In a mount namespace of its own, so that no file system stays mounted on the machine.
#[test]
fn the_standard_directory_gets_its_file_system_if_it_has_none() {
    if !root() {
        return;
    }
    let mut lab = Lab::new(1, &[], 0);
    lab.kill(0);
    let host = lab.hosts[0].scratch.namespace.clone();
    let dir = Path::new("/sys/fs/bpf").join(lab.hosts[0].dir.file_name().unwrap());
    let opened = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
        let _ = nix::mount::umount("/sys/fs/bpf");
        host.enter_current_thread().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let netlink = Netlink::open().unwrap();
            let config = Config::new(&dir, "vethwe-datapath")
                .mtu(MTU)
                .hook(Hook::Tcx);
            let first = Device::open(&config, &netlink).await.unwrap().opened();
            let second = Device::open(&config, &netlink).await.unwrap().opened();
            assert!(dir.join("link_bridge").exists());
            bpf::remove(&config, &netlink).await.unwrap();
            assert!(!dir.exists());
            (first, second)
        })
    });
    assert_eq!(opened.join().unwrap(), (Opened::Fresh, Opened::Adopted));
}

#[test]
fn what_cannot_work_is_said() {
    if !root() {
        return;
    }
    let lab = Lab::new(1, &[], 0);
    let dir = &lab.hosts[0].dir.with_extension("other");
    let host = &lab.hosts[0].scratch;

    let error = host.with(|netlink| async move {
        let config = Config::new(dir, "no-such-device").mtu(MTU).port(6785);
        open(&config, &netlink).await
    });
    assert_eq!(
        error,
        "interface no-such-device does not exist; create the bridge before the fast path"
    );

    let error = host.with(|netlink| async move {
        netlink
            .create_veth("vxlan-6785", "other", 1500)
            .await
            .unwrap();
        let config = Config::new(dir, "vethwe-datapath").mtu(MTU).port(6785);
        open(&config, &netlink).await
    });
    assert_eq!(
        error,
        "interface vxlan-6785 exists but is no VXLAN device of ours; remove it"
    );

    let taken = host
        .namespace
        .run(|| std::net::UdpSocket::bind("0.0.0.0:6786").unwrap());
    let error = host.with(|netlink| async move {
        let config = Config::new(dir, "vethwe-datapath").mtu(MTU).port(6786);
        open(&config, &netlink).await
    });
    assert!(
        error.starts_with("VXLAN device vxlan-6786 cannot be brought up on UDP port 6786: "),
        "{error}"
    );
    drop(taken);
    crate::daemon::unmount(dir);
}

async fn open(config: &Config, netlink: &Netlink) -> String {
    match Device::open(config, netlink).await {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    }
}
