//! What somebody takes away on a running host comes back while pods talk.

use std::time::{Duration, Instant};

use serde_json::Value;
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

use crate::bed::{Lab, can_run};
use crate::overlays::{overlay, stream};

/// How long pods may be apart. Somebody looks every second and the repair takes half a second of
/// processor time, which may be long on a busy machine.
const LIMIT: Duration = Duration::from_secs(15);

/// What is done to host 1.
enum Harm {
    Delete(&'static str),
    Down(&'static str),
    Part(&'static str),
    Unpin(&'static str),
}

#[test]
fn what_is_taken_from_the_fast_path_comes_back() {
    let harms = [
        Harm::Delete("vxlan-6784"),
        Harm::Down("vxlan-6784"),
        Harm::Part("vxlan-6784"),
        Harm::Unpin("link_bridge"),
        Harm::Unpin("link_tunnel"),
        Harm::Unpin("weave_tunnel"),
        Harm::Unpin("config"),
    ];
    suffers("damage-fast", &["--overlay", "fastdp"], &harms);
}

#[test]
fn what_is_taken_from_the_bridge_comes_back() {
    let harms = [
        Harm::Down("weave"),
        Harm::Delete("weave"),
        Harm::Delete("vethwe-bridge"),
        Harm::Part("vethwe-bridge"),
    ];
    suffers("damage-bridge", &["--overlay", "fastdp"], &harms);
}

#[test]
fn what_is_taken_from_sleeve_comes_back() {
    let harms = [
        Harm::Delete("vethwe-sleeve"),
        Harm::Down("vethwe-sleeve"),
        Harm::Part("vethwe-sleeve"),
        Harm::Delete("weave"),
    ];
    suffers("damage-slow", &["--overlay", "sleeve"], &harms);
    let harms = [
        Harm::Delete("vethwe-sleeve"),
        Harm::Down("vethwe-sleeve"),
        Harm::Delete("vxlan-6784"),
    ];
    suffers("damage-sealed", &["--password", "secret"], &harms);
}

/// Does each harm under traffic; afterwards pods must reach each other by the overlay they had.
fn suffers(name: &str, words: &[&str], harms: &[Harm]) {
    if !can_run() {
        return;
    }
    let lab = Lab::new(name);
    lab.ok(&[&["up", "--hosts", "2", "--pods", "1"], words].concat());
    // Streams ask for addresses until they are answered, and the overlay settles meanwhile.
    stream(&lab, "1/1", "2/1", "1");
    let carried = overlay(&lab);
    for harm in harms {
        let before = undone(&lab);
        let what = do_harm(&lab, harm);
        let begun = Instant::now();
        let in_time = || assert!(begun.elapsed() < LIMIT, "{what}\n{}", log(&lab));
        while undone(&lab) == before {
            in_time();
            std::thread::sleep(Duration::from_millis(20));
        }
        while !answers(&lab) {
            in_time();
        }
        println!("{what}: pods are together after {:?}", begun.elapsed());
        while overlay(&lab) != carried {
            in_time();
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether ten echo requests within a tenth of a second are all answered.
fn answers(lab: &Lab) -> bool {
    let words = [
        "ping",
        "1/1",
        "2/1",
        "--count",
        "10",
        "--interval",
        "10",
        "--json",
    ];
    let tally: Value = serde_json::from_slice(&lab.run(&words).stdout).unwrap();
    tally["received"] == tally["sent"] && tally["lost"] == 0
}

fn do_harm(lab: &Lab, harm: &Harm) -> String {
    let on = |name: &str, work: Work| {
        let namespace = Namespace::open(named_path(&lab.namespace("1"))).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let netlink = Netlink::open_in(&namespace).unwrap();
            let index = netlink.require_link(name).await.unwrap().index;
            match work {
                Work::Delete => netlink.delete_link(index).await.unwrap(),
                Work::Down => netlink.set_down(index).await.unwrap(),
                Work::Part => netlink.set_master(index, None).await.unwrap(),
            }
        });
    };
    match harm {
        Harm::Delete(name) => {
            on(name, Work::Delete);
            format!("{name} deleted")
        }
        Harm::Down(name) => {
            on(name, Work::Down);
            format!("{name} down")
        }
        Harm::Part(name) => {
            on(name, Work::Part);
            format!("{name} taken off the bridge")
        }
        Harm::Unpin(name) => {
            std::fs::remove_file(lab.state_dir().join("bpf/host-1").join(name)).unwrap();
            format!("{name} unpinned")
        }
    }
}

enum Work {
    Delete,
    Down,
    Part,
}

/// How often the daemon says that it has undone what somebody did.
fn undone(lab: &Lab) -> usize {
    let says = [
        "fast data path repaired",
        "somebody changed",
        "somebody removed",
    ];
    let log = log(lab);
    let lines = log.lines();
    lines
        .filter(|line| says.iter().any(|text| line.contains(text)))
        .count()
}

fn log(lab: &Lab) -> String {
    std::fs::read_to_string(lab.state_dir().join("host-1/daemon.log")).unwrap()
}
