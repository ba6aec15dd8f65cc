//! A host and a daemon in memory, for calls that touch no kernel.
//!
//! The daemon is reached over real HTTP on a loopback socket, so that the client, its limits and
//! its errors are part of every test.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ipnet::IpNet;

use crate::cni::edge::{Attached, Bridge, Edge, End, Seen, Wish};

/// The host: namespaces by path, one bridge, interfaces by namespace and name.
#[derive(Default)]
pub(super) struct Host {
    pub(super) namespaces: BTreeSet<String>,
    pub(super) bridge_addresses: RefCell<Vec<IpNet>>,
    pub(super) interfaces: RefCell<BTreeSet<(String, String)>>,
    /// What every wish asked for, in order.
    pub(super) wishes: RefCell<Vec<String>>,
    pub(super) attach_fails: bool,
    /// What an interface of a pod looks like.
    pub(super) seen: RefCell<Seen>,
    /// Containers whose host's ends were removed.
    pub(super) swept: RefCell<Vec<String>>,
}

impl Host {
    /// Namespaces pod1 to pod3 and a bridge at 10.32.0.1/12.
    pub(super) fn with_bridge() -> Self {
        Self {
            namespaces: (1..=3).map(|n| format!("/var/run/netns/pod{n}")).collect(),
            bridge_addresses: RefCell::new(vec!["10.32.0.1/12".parse().unwrap()]),
            ..Self::default()
        }
    }
}

impl Edge for Host {
    type Netns = String;

    fn open(&self, path: &str) -> Result<String, String> {
        if self.namespaces.contains(path) || path == "/proc/1/ns/net" {
            Ok(path.to_owned())
        } else {
            Err("no such file or directory".to_owned())
        }
    }

    fn is_own(&self, netns: &String) -> Result<bool, String> {
        Ok(netns == "/proc/1/ns/net")
    }

    async fn bridge(&self, name: &str) -> Result<Option<Bridge>, String> {
        let addresses = self.bridge_addresses.borrow().clone();
        Ok((name == "weave").then_some(Bridge { addresses }))
    }

    async fn attach(&self, wish: Wish<'_, String>) -> Result<Attached, String> {
        self.wishes.borrow_mut().push(format!(
            "mtu {:?} gateways {:?} routes {:?} hairpin {}",
            wish.mtu, wish.gateways, wish.routes, wish.hairpin
        ));
        if self.attach_fails {
            return Err("no buffer space available".to_owned());
        }
        self.interfaces
            .borrow_mut()
            .insert((wish.netns, wish.ifname.to_owned()));
        let short: String = wish.container_id.chars().take(7).collect();
        Ok(Attached {
            host: End {
                name: format!("vethwepl{short}"),
                mac: "02:00:00:00:00:01".to_owned(),
            },
            pod: End {
                name: wish.ifname.to_owned(),
                mac: "02:00:00:00:00:02".to_owned(),
            },
            mtu: 1376,
        })
    }

    async fn inspect(&self, netns: &String, ifname: &str, _: &str) -> Result<Option<Seen>, String> {
        let is_there = self
            .interfaces
            .borrow()
            .contains(&(netns.clone(), ifname.to_owned()));
        Ok(is_there.then(|| self.seen.borrow().clone()))
    }

    async fn detach(&self, id: &str, netns: Option<String>, ifname: &str) -> Result<bool, String> {
        let Some(netns) = netns else {
            self.swept.borrow_mut().push(id.to_owned());
            return Ok(false);
        };
        Ok(self
            .interfaces
            .borrow_mut()
            .remove(&(netns, ifname.to_owned())))
    }
}

/// What the daemon knows.
#[derive(Default)]
pub(super) struct Book {
    /// The address each id gets, decided beforehand.
    pub(super) grants: BTreeMap<String, String>,
    pub(super) owned: BTreeMap<String, String>,
    pub(super) requests: Vec<String>,
    /// Allocate, but never answer.
    pub(super) silent: bool,
    /// Do not say whether an address is fresh, as Weave Net's daemon.
    pub(super) is_old: bool,
    /// Where the policy controller answers, if one is expected. The fake is one itself.
    pub(super) controller: Option<String>,
    /// What the controller was told, as forms.
    pub(super) told: Vec<String>,
    /// Say so often that the pod is not known.
    pub(super) unknown: usize,
    /// The state of the allocator on the status page.
    pub(super) state: String,
}

/// A daemon on a loopback port; it serves until the test process ends.
pub(super) struct FakeDaemon {
    pub(super) address: String,
    pub(super) book: Arc<Mutex<Book>>,
}

impl FakeDaemon {
    pub(super) fn start(grants: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let grants = grants
            .iter()
            .map(|(id, a)| ((*id).to_owned(), (*a).to_owned()))
            .collect();
        let book = Arc::new(Mutex::new(Book {
            grants,
            ..Book::default()
        }));
        let shared = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let book = Arc::clone(&shared);
                std::thread::spawn(move || exchange(stream.unwrap(), &book));
            }
        });
        Self { address, book }
    }

    pub(super) fn owned(&self, id: &str) -> Option<String> {
        self.book.lock().unwrap().owned.get(id).cloned()
    }
}

/// An address where nothing listens.
pub(super) fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

fn exchange(mut stream: TcpStream, book: &Mutex<Book>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut form = vec![0; length];
    stream.read_exact(&mut form).unwrap();
    let mut words = head.split_whitespace();
    let (verb, path) = (words.next().unwrap(), words.next().unwrap());
    let (status, body, silent, fresh) = {
        let mut book = book.lock().unwrap();
        book.requests.push(format!("{verb} {path}"));
        if verb == "POST" && !form.is_empty() {
            let form = String::from_utf8(form).unwrap();
            book.told.push(format!("{path} {form}"));
        }
        let before = book.owned.len();
        let bare = path.split('?').next().unwrap();
        let (status, body) = book.answer(verb, bare);
        let fresh = book.owned.len() > before && !book.is_old;
        (status, body, book.silent && verb == "POST", fresh)
    };
    if silent {
        // Until the caller gives up.
        let _closed = stream.read(&mut byte);
        return;
    }
    let fresh = if fresh { "weave-fresh: true\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {status}\r\n{fresh}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _gone = stream.write_all(text.as_bytes());
}

impl Book {
    fn answer(&mut self, verb: &str, path: &str) -> (&'static str, String) {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (verb, segments.as_slice()) {
            ("GET", ["ip", id, ..]) => ("200 OK", self.owned.get(*id).cloned().unwrap_or_default()),
            ("POST", ["ip", id, ..]) => match self.grants.get(*id).cloned() {
                Some(address) => {
                    self.owned.insert((*id).to_owned(), address.clone());
                    ("200 OK", address)
                }
                None => (
                    "400 Bad Request",
                    "range 1.2.3.0/24 out of bounds\n".to_owned(),
                ),
            },
            ("POST", ["expose", ..]) => ("204 No Content", String::new()),
            ("GET", ["npc"]) => match &self.controller {
                Some(address) => ("200 OK", format!("{address}\n")),
                None => ("404 Not Found", "404 page not found\n".to_owned()),
            },
            ("POST", ["pod"]) if self.unknown > 0 => {
                self.unknown -= 1;
                (
                    "504 Gateway Timeout",
                    "pod shop/db is not known\n".to_owned(),
                )
            }
            ("GET", ["status"]) => {
                let state = &self.state;
                (
                    "200 OK",
                    format!("        Service: ipam\n         Status: {state}\n"),
                )
            }
            ("POST", ["gc"]) => {
                let valid = self.told.last().cloned().unwrap_or_default();
                let freed: Vec<String> = self
                    .owned
                    .keys()
                    .filter(|id| !valid.contains(&format!("valid={id}")))
                    .cloned()
                    .collect();
                self.owned.retain(|id, _| !freed.contains(id));
                ("200 OK", freed.iter().map(|id| format!("{id}\n")).collect())
            }
            ("POST", ["pod" | "guard"]) => ("200 OK", String::new()),
            ("DELETE", ["ip", id, ..]) => match self.owned.remove(*id) {
                Some(_) => ("204 No Content", String::new()),
                None => (
                    "400 Bad Request",
                    format!("Delete: no addresses for {id}\n"),
                ),
            },
            _ => ("404 Not Found", "404 page not found\n".to_owned()),
        }
    }
}
