//! Real sockets on the loopback: both protocols, other servers, limits.

use std::net::Ipv4Addr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use weave_mesh::peer::PeerName;

use super::super::answer::{addresses, is_cut, parse_name, question};
use super::super::upstream::exchange;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A server with one name, and these servers to ask.
struct Server {
    service: Arc<Service>,
    stop: CancellationToken,
}

impl Server {
    fn start(upstream: Vec<SocketAddr>, patience: Duration) -> Self {
        let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (names, _channel, unstarted) = Names::new(PeerName::try_from(1).unwrap());
        unstarted.change(|store| {
            for n in 0..40 {
                let id = n.to_string();
                store
                    .add("web.weave.local.", &id, Ipv4Addr::new(10, 32, 0, n))
                    .unwrap();
            }
        });
        let service = Arc::new(Service {
            zone: Zone::new("weave.local", 1).unwrap(),
            names,
            upstream: Upstream::fixed(upstream, patience),
            address: sockets.address(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(serve(sockets, Arc::clone(&service), stop.clone()));
        Self { service, stop }
    }

    async fn ask(&self, name: &str, transport: Transport) -> Vec<u8> {
        let query = question(7, &parse_name(name).unwrap());
        let reply = exchange(self.service.address, &query, transport, LIMIT).await;
        reply.unwrap()
    }

    fn counted(&self) -> crate::status::model::DnsCounters {
        self.service.names.counters().read()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn rcode(reply: &[u8]) -> u8 {
    reply[3] & 15
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

/// A server over UDP that says of every question what `reply` makes of it; the ids it saw.
async fn fake(
    reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<[u8; 2]>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (saw, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = saw.send([buffer[0], buffer[1]]);
            for reply in reply(&buffer[..length]) {
                socket.send_to(&reply, from).await.unwrap();
            }
        }
    });
    (address, seen)
}

/// The answer that an address stands at the end of the question, which has no other record.
fn with_address(query: &[u8]) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply[7] = 1;
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
    reply
}

#[test]
fn a_cut_answer_is_whole_over_tcp_and_a_connection_serves_many_questions() {
    run(async {
        let server = Server::start(Vec::new(), LIMIT);

        let cut = server.ask("web.weave.local.", Transport::Udp).await;
        assert!(is_cut(&cut) && cut.len() <= 512);
        let whole = server.ask("web.weave.local.", Transport::Tcp).await;
        assert_eq!(addresses(&whole).unwrap().len(), 40);

        let mut stream = TcpStream::connect(server.service.address).await.unwrap();
        let query = question(9, &parse_name("web.weave.local.").unwrap());
        for _ in 0..3 {
            write_message(&mut stream, &query).await.unwrap();
            let reply = read_message(&mut stream).await.unwrap();
            assert_eq!(addresses(&reply).unwrap().len(), 40);
        }
        assert_eq!(server.counted().local, 5);
    });
}

#[test]
fn the_rest_is_asked_of_others_in_turn_under_another_id() {
    run(async {
        let (dead, mut asked) = fake(|_| Vec::new()).await;
        let (liar, _) = fake(|query| {
            let mut other = with_address(query);
            other[0] ^= 0xff;
            vec![
                other,
                query.to_vec(),
                vec![1],
                with_address(&question(0, &parse_name("b.").unwrap())),
            ]
        })
        .await;
        let (good, mut seen) = fake(|query| vec![with_address(query)]).await;
        let server = Server::start(vec![dead, liar, good], Duration::from_millis(200));

        let reply = server.ask("a.example.", Transport::Udp).await;

        assert_eq!(addresses(&reply).unwrap(), [Ipv4Addr::new(192, 0, 2, 7)]);
        let (first, last) = (asked.recv().await.unwrap(), seen.recv().await.unwrap());
        assert_eq!(first, last, "one id for one question");
        let mut ids = vec![last];
        for _ in 0..3 {
            let _ = server.ask("a.example.", Transport::Udp).await;
            ids.push(seen.recv().await.unwrap());
        }
        ids.dedup();
        assert!(ids.len() > 1, "ids cannot be guessed: {ids:?}");
        assert_eq!(server.counted().forwarded, 4);
    });
}

#[test]
fn without_an_answer_of_others_it_is_a_failure_in_time() {
    run(async {
        let (dead, _) = fake(|_| Vec::new()).await;
        let server = Server::start(vec![dead], Duration::from_millis(100));
        let begun = Instant::now();

        let udp = server.ask("a.example.", Transport::Udp).await;
        let tcp = server.ask("a.example.", Transport::Tcp).await;

        assert_eq!((rcode(&udp), rcode(&tcp)), (2, 2));
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert_eq!(server.counted().failed, 2);
    });
}

#[test]
fn an_answer_that_is_too_long_is_to_be_asked_for_over_tcp() {
    run(async {
        let (long, _) = fake(|query| {
            let mut reply = with_address(query);
            reply.resize(900, 0);
            vec![reply]
        })
        .await;
        let server = Server::start(vec![long], LIMIT);

        let reply = server.ask("a.example.", Transport::Udp).await;

        assert!(is_cut(&reply) && reply.len() < 100);
    });
}

#[test]
fn questions_over_tcp_are_asked_over_tcp() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let query = read_message(&mut stream).await.unwrap();
            write_message(&mut stream, &with_address(&query))
                .await
                .unwrap();
        });
        let server = Server::start(vec![address], LIMIT);

        let reply = server.ask("a.example.", Transport::Tcp).await;

        assert_eq!(addresses(&reply).unwrap(), [Ipv4Addr::new(192, 0, 2, 7)]);
    });
}

#[test]
fn bad_messages_cost_nobody_else_anything() {
    run(async {
        let server = Server::start(Vec::new(), LIMIT);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for bytes in [&b""[..], b"x", &[0xff; 100], &[0; 12], &[0; 4000]] {
            socket.send_to(bytes, server.service.address).await.unwrap();
        }
        // A connection that promises more than it sends, and many that say nothing.
        let mut half = TcpStream::connect(server.service.address).await.unwrap();
        half.write_all(&[0xff, 0xff, 1, 2]).await.unwrap();
        let mut quiet = Vec::new();
        for _ in 0..CONNECTIONS - 1 {
            quiet.push(TcpStream::connect(server.service.address).await.unwrap());
        }
        let good = server.ask("web.weave.local.", Transport::Udp).await;
        assert_eq!(rcode(&good), 0);

        let mut beyond = TcpStream::connect(server.service.address).await.unwrap();
        assert_eq!(beyond.read(&mut [0]).await.unwrap(), 0, "closed at once");
        assert_eq!(server.counted().busy, 1);
        drop(quiet.pop());
        drop(half);
        let query = question(7, &parse_name("web.weave.local.").unwrap());
        let address = server.service.address;
        // That there is a place is known when the ends of the two have been read.
        let again = async {
            loop {
                if let Ok(reply) = exchange(address, &query, Transport::Tcp, LIMIT).await {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let again = timeout(LIMIT, again).await.unwrap();
        assert_eq!(addresses(&again).unwrap().len(), 40);
    });
}

#[test]
fn more_questions_than_can_wait_are_refused_at_once() {
    run(async {
        let (dead, _) = fake(|_| Vec::new()).await;
        let server = Server::start(vec![dead], Duration::from_secs(20));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server.service.address).await.unwrap();
        let query = question(7, &parse_name("a.example.").unwrap());
        let mut reply = [0; 512];
        let mut sent = 0;
        while server.counted().busy == 0 {
            assert!(sent <= IN_FLIGHT + 64, "all are waiting");
            socket.send(&query).await.unwrap();
            sent += 1;
            tokio::task::yield_now().await;
        }
        let length = timeout(LIMIT, socket.recv(&mut reply))
            .await
            .unwrap()
            .unwrap();

        assert_eq!(rcode(&reply[..length]), 2);
        assert!(sent > IN_FLIGHT, "{sent}");
        let local = server.ask("web.weave.local.", Transport::Udp).await;
        assert_eq!(rcode(&local), 0);
    });
}

#[test]
fn an_address_in_use_is_refused_with_what_to_do() {
    run(async {
        let server = Server::start(Vec::new(), LIMIT);

        let error = Sockets::bind(server.service.address)
            .unwrap_err()
            .to_string();

        assert!(
            error.contains(&server.service.address.to_string()),
            "{error}"
        );
        assert!(
            error.contains("--dns-listen-address") && error.contains("--no-dns"),
            "{error}"
        );
    });
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    run(async {
        let sockets = Sockets::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = sockets.address().port();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client
            .send_to(b"question", ("127.8.8.8", port))
            .await
            .unwrap();
        let mut buffer = [0; 64];

        let (length, caller) = sockets.receive(&mut buffer).await.unwrap();
        sockets.answer(caller, b"answer").unwrap();

        assert_eq!(&buffer[..length], b"question");
        let (_, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from.to_string(), format!("127.8.8.8:{port}"));
    });
}
