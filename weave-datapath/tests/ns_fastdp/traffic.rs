//! Traffic between pods, and what came of it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::lab::Pod;

/// One request and its answer, from `a` to `b` and back; `None` when either is lost.
pub(crate) fn round_trip(a: &Pod, b: &Pod) -> Option<Duration> {
    let server = b.udp(7000);
    let client = a.udp(7001);
    let begin = Instant::now();
    client.send_to(b"ping", (b.address, 7000)).unwrap();
    let mut buffer = [0; 64];
    let (len, from) = server.recv_from(&mut buffer).ok()?;
    assert_eq!(&buffer[..len], b"ping");
    assert_eq!(from.ip(), a.address, "no address is rewritten on the way");
    server.send_to(b"pong", from).unwrap();
    let len = client.recv(&mut buffer).ok()?;
    assert_eq!(&buffer[..len], b"pong");
    Some(begin.elapsed())
}

/// A request every millisecond, answered by an echo, until stopped.
pub(crate) struct Pings {
    stop: Arc<AtomicBool>,
    echo: JoinHandle<()>,
    sender: JoinHandle<usize>,
    answered: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    receiver: JoinHandle<()>,
}

impl Pings {
    pub(crate) fn start(from: &Pod, to: &Pod) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (server, client) = (to.udp(7002), from.udp(7003));
        let target = (to.address, 7002);
        let received = Arc::new(AtomicUsize::new(0));
        let answered = Arc::new(AtomicBool::new(false));
        let receiver = std::thread::spawn({
            let (client, received) = (client.try_clone().unwrap(), Arc::clone(&received));
            let answered = Arc::clone(&answered);
            move || count(&client, &received, &answered)
        });
        let echo = std::thread::spawn({
            let answered = Arc::clone(&answered);
            move || echo(&server, &answered)
        });
        let sender = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.send_to(&[0; 56], target).unwrap();
                    sent += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                sent
            }
        });
        Self {
            stop,
            echo,
            sender,
            answered,
            received,
            receiver,
        }
    }

    /// Stops and returns how many requests were sent and how many answers came. A busy machine has
    /// time for late ones.
    pub(crate) fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        let deadline = Instant::now() + LATE;
        let received = || self.received.load(Ordering::Relaxed);
        while received() < sent && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.answered.store(true, Ordering::Relaxed);
        self.receiver.join().unwrap();
        self.echo.join().unwrap();
        (sent, self.received.load(Ordering::Relaxed))
    }
}

fn echo(server: &UdpSocket, answered: &AtomicBool) {
    server.set_read_timeout(Some(SLICE)).unwrap();
    let mut buffer = [0; 2048];
    while !answered.load(Ordering::Relaxed) {
        if let Ok((len, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..len], from).unwrap();
        }
    }
}

fn count(client: &UdpSocket, received: &AtomicUsize, answered: &AtomicBool) {
    client.set_read_timeout(Some(SLICE)).unwrap();
    let mut buffer = [0; 2048];
    while !answered.load(Ordering::Relaxed) {
        if client.recv(&mut buffer).is_ok() {
            received.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const SLICE: Duration = Duration::from_millis(100);
/// How late a frame may be on a busy machine.
const LATE: Duration = Duration::from_secs(5);

/// How many copies of one broadcast of `from` reach each of `others`.
pub(crate) fn broadcast(from: &Pod, others: &[&Pod]) -> Vec<usize> {
    let sockets: Vec<UdpSocket> = others.iter().map(|pod| pod.udp(7004)).collect();
    from.udp(0)
        .send_to(b"all", ("10.32.255.255", 7004))
        .unwrap();
    // Everybody has one, however late; then there is time for a second.
    let deadline = Instant::now() + LATE;
    let has_one = |socket: &UdpSocket| {
        socket.set_nonblocking(true).unwrap();
        socket.peek(&mut [0; 1]).is_ok()
    };
    while !sockets.iter().all(has_one) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    let copies = |socket: &UdpSocket| {
        let mut buffer = [0; 16];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
    };
    sockets.iter().map(copies).collect()
}

/// Sends `len` bytes by TCP and returns how many arrive as they were sent.
pub(crate) fn stream(from: &Pod, to: &Pod, len: usize) -> usize {
    stream_to(from, to, (to.address, 7006).into(), len)
}

/// As [`stream`], to the address `address` of `to`.
pub(crate) fn stream_to(from: &Pod, to: &Pod, address: SocketAddr, len: usize) -> usize {
    let pattern = |at: usize| u8::try_from(at % 251).unwrap();
    let listener = to.scratch.namespace.run(|| TcpListener::bind(address));
    let listener = listener.unwrap().unwrap();
    let client = from.scratch.namespace.run(|| TcpStream::connect(address));
    let mut client = client.unwrap().unwrap();
    let sender = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..len).map(pattern).collect();
        client.write_all(&bytes).unwrap();
    });
    let mut received = Vec::with_capacity(len);
    listener
        .accept()
        .unwrap()
        .0
        .read_to_end(&mut received)
        .unwrap();
    sender.join().unwrap();
    received
        .iter()
        .enumerate()
        .filter(|(at, byte)| **byte == pattern(*at))
        .count()
}
