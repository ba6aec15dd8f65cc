//! What can be read on the cable between two hosts.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use weave_datapath::netns::{Namespace, named_path};

use crate::bed::{Lab, can_run};
use crate::overlays::stream;

/// Bytes that `weave lab stream` sends over and over: long enough that chance does not make them.
const MARK: [u8; 32] = [0x57; 32];

/// Packets on the cable of a host, counted until it is stopped.
struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    packets: usize,
    readable: usize,
}

impl Capture {
    /// Listens on `eth0` of host 1.
    fn start(lab: &Lab) -> Self {
        let host = Namespace::open(named_path(&lab.namespace("1"))).unwrap();
        let opened = host.run(|| {
            let protocol = SockProtocol::EthAll;
            let flags = SockFlag::SOCK_CLOEXEC;
            let raw = socket(AddressFamily::Packet, SockType::Raw, flags, protocol);
            (raw.unwrap(), if_nametoindex("eth0").unwrap())
        });
        let (raw, device) = opened.unwrap();
        setsockopt(&raw, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000)).unwrap();
        setsockopt(&raw, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            let mut buffer = vec![0; 65_600];
            while !flag.load(Ordering::Relaxed) {
                let Ok((length, Some(from))) = recvfrom::<LinkAddr>(raw.as_raw_fd(), &mut buffer)
                else {
                    continue;
                };
                if u32::try_from(from.ifindex()) != Ok(device) {
                    continue;
                }
                seen.packets += 1;
                let packet = &buffer[..length];
                seen.readable += usize::from(packet.windows(MARK.len()).any(|part| part == MARK));
            }
            seen
        });
        Self { stop, thread }
    }

    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn nothing_of_an_encrypted_connection_can_be_read_on_the_cable() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("cable");
    lab.ok(&["up", "--hosts", "2", "--pods", "1", "--password", "secret"]);
    let capture = Capture::start(&lab);

    stream(&lab, "1/1", "2/1", "3");
    // Frames go on by what a dead daemon left in the kernel, if anything does.
    lab.ok(&["kill", "2"]);
    let _cut_off = lab.run(&["ping", "1/1", "2/1", "--count", "20", "--interval", "10"]);
    lab.ok(&["start", "2"]);
    let _until_back = lab.run(&["ping", "1/1", "2/1", "--count", "400", "--interval", "10"]);
    lab.ok(&["block", "1", "2", "--port", "6783"]);
    let _cut_off = lab.run(&["ping", "1/1", "2/1", "--count", "400", "--interval", "10"]);
    lab.ok(&["unblock", "1", "2", "--port", "6783"]);
    let _until_back = lab.run(&["ping", "1/1", "2/1", "--count", "400", "--interval", "10"]);
    stream(&lab, "2/1", "1/1", "3");

    let seen = capture.stop();
    println!("{seen:?}");
    assert!(seen.packets > 200, "{seen:?}");
    assert_eq!(seen.readable, 0);
}

/// The same capture reads what is not encrypted.
#[test]
fn what_is_not_encrypted_can_be_read_on_the_cable() {
    if !can_run() {
        return;
    }
    for overlay in ["fastdp", "sleeve"] {
        let lab = Lab::new("clear");
        lab.ok(&["up", "--hosts", "2", "--pods", "1", "--overlay", overlay]);
        let capture = Capture::start(&lab);

        // A pod that asks for another before the hosts know all of their mesh asks again a second later.
        stream(&lab, "1/1", "2/1", "3");

        let seen = capture.stop();
        assert!(seen.readable > 0, "{overlay}: {seen:?}");
        lab.ok(&["down"]);
    }
}
