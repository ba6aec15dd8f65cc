//! A controller that is killed and started again and again, while everybody talks.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weave_datapath::netns::Namespace;

use crate::node::Node;
use crate::{POLICY, WORLD};

/// Counts what arrives.
fn count(server: &UdpSocket, stop: &AtomicBool, seen: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        if server.recv_from(&mut [0; 64]).is_ok() {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends from a new port each time, so that each packet is a connection of its own; how many.
fn talk(from: &Namespace, to: SocketAddr, stop: &AtomicBool) -> u64 {
    let work = || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            sent += u64::from(socket.send_to(b"x", to).is_ok());
            std::thread::sleep(Duration::from_micros(300));
        }
        sent
    };
    from.run(work).unwrap()
}

/// `WEAVE_STORM` sets how often the controller is killed.
#[test]
fn restarts_open_nothing_and_close_nothing() {
    let Some(mut node) = Node::new("storm", &[]) else {
        return;
    };
    let [web, db, other] = ["10.32.0.2", "10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", POLICY);
    node.start(&["--log-level=error"]);
    let rounds = std::env::var("WEAVE_STORM").ok();
    let rounds: u32 = rounds.and_then(|text| text.parse().ok()).unwrap_or(12);
    let servers = ["10.32.0.3:70", "10.32.0.3:71"].map(|address| {
        let server = db.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        server
    });
    let [good, bad] = servers
        .each_ref()
        .map(|server| server.local_addr().unwrap());
    let (quiet, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let seen = [AtomicU64::new(0), AtomicU64::new(0)];

    let (sent, tried) = std::thread::scope(|scope| {
        let counters: Vec<_> = servers.iter().zip(&seen).collect();
        for (server, seen) in counters {
            scope.spawn(|| count(server, &stop, seen));
        }
        let allowed = scope.spawn(|| talk(&web, good, &quiet));
        let forbidden = scope.spawn(|| talk(&other, bad, &quiet));
        for round in 0..rounds {
            // Some are killed before they know anything, some at work, some at rest.
            std::thread::sleep(Duration::from_millis(u64::from(round % 5) * 20));
            node.kill();
            node.spawn(&["--log-level=error"]);
            if round % 3 == 0 {
                node.sync();
            }
        }
        node.sync();
        quiet.store(true, Ordering::Relaxed);
        let counts = (allowed.join().unwrap(), forbidden.join().unwrap());
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        counts
    });

    println!("{rounds} restarts: {sent} allowed and {tried} forbidden packets sent");
    assert!(sent > 100 && tried > 100);
    assert_eq!(
        seen[1].load(Ordering::Relaxed),
        0,
        "forbidden packets got through"
    );
    assert_eq!(
        seen[0].load(Ordering::Relaxed),
        sent,
        "allowed packets were lost"
    );
}
