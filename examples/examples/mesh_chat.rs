//! A chat room without a server: run it in two or more terminals.
//!
//! ```text
//! cargo run --example mesh_chat -- 1 ada
//! cargo run --example mesh_chat -- 2 bob
//! ```
//!
//! A third word is the password of the room: `… -- 1 ada "open sesame"`. Then everything is sealed,
//! and who does not know it stays outside.
//!
//! Number `n` listens on 127.0.0.n and dials 127.0.0.1; the rest they find by themselves. What is
//! typed goes to everybody, and who joins later is told what was said before.
//!
//! The state is a set of lines, each named by its author and a number. Sets merge by union, so it
//! does not matter in which order, or how often, lines arrive.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use weave_mesh::crypto::{Keyring, Password};
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::{Config, Mesh, start};

const CHANNEL: &str = "example-chat";
const PORT: u16 = 16784;
/// Lines that are kept; the oldest are forgotten.
const MAX_LINES: usize = 500;
/// Bytes of one line.
const MAX_TEXT: usize = 1000;

/// Time after which somebody should be there.
const ARRIVING: Duration = Duration::from_secs(3);
/// Time between the last line and the end.
const LEAVING: Duration = Duration::from_millis(500);

/// When a line was said, in milliseconds of the author's clock, and by whom.
type Key = (u64, u8);

/// One peer's copy of the room, shared with the mesh.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<BTreeMap<Key, String>>>);

impl Room {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<Key, String>> {
        self.0.lock().expect("invariant: no holder panics")
    }

    /// Adds a line and returns whether it is new.
    fn add(&self, key: Key, text: String) -> bool {
        let mut lines = self.lines();
        let is_full = lines.len() >= MAX_LINES;
        if is_full
            && lines
                .first_key_value()
                .is_some_and(|(oldest, _)| *oldest > key)
        {
            return false;
        }
        let is_new = lines.insert(key, text).is_none();
        if lines.len() > MAX_LINES {
            lines.pop_first();
        }
        is_new
    }
}

impl Channel for Room {
    fn state(&mut self) -> Option<Bytes> {
        let lines = self.lines();
        let mut state = BytesMut::new();
        for ((time, author), text) in lines.iter() {
            state.put_u64(*time);
            state.put_u8(*author);
            state.put_u16(u16::try_from(text.len()).ok()?);
            state.put_slice(text.as_bytes());
        }
        (!state.is_empty()).then(|| state.freeze())
    }

    fn handle_gossip(&mut self, mut payload: &[u8]) -> Result<Relay, ChannelError> {
        let mut is_news = false;
        while !payload.is_empty() {
            let (key, text) = line(&mut payload).ok_or_else(|| ChannelError::new("not a line"))?;
            if self.add(key, text.clone()) {
                println!("{text}");
                is_news = true;
            }
        }
        Ok(Relay::state_if(is_news))
    }

    fn handle_broadcast(&mut self, _: PeerName, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.handle_gossip(payload)
    }

    fn handle_unicast(&mut self, _: PeerName, _: &[u8]) -> Result<(), ChannelError> {
        Ok(())
    }
}

/// Reads one line of a state; never more than is there.
fn line(payload: &mut &[u8]) -> Option<(Key, String)> {
    let key = (payload.try_get_u64().ok()?, payload.try_get_u8().ok()?);
    let length = usize::from(payload.try_get_u16().ok()?);
    let (text, rest) = payload.split_at_checked(length.min(MAX_TEXT))?;
    let text = std::str::from_utf8(text).ok()?.to_owned();
    *payload = rest;
    (length <= MAX_TEXT && !text.chars().any(char::is_control)).then_some((key, text))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: mesh_chat NUMBER NAME [PASSWORD], with a number from 1 to 254";
    let number: u8 = words.next().and_then(|n| n.parse().ok()).ok_or(usage)?;
    let nickname = words.next().ok_or(usage)?;
    let keyring = Keyring::new(words.next().map(Password::new))?;
    let room = Room::default();
    let config = Config::default()
        .name(PeerName::from_bytes([2, 0, 0, 0, 1, number]))
        .nickname(&nickname)
        .listen(SocketAddr::from(([127, 0, 0, number], PORT)))
        .keyring(keyring)
        .peers((number != 1).then(|| format!("127.0.0.1:{PORT}")));
    let (mesh, _overlay_events) =
        start(config, vec![(CHANNEL.to_owned(), Box::new(room.clone()))]).await?;
    println!("you are in; type a line, end with Ctrl-D");

    tokio::spawn(explain(mesh.clone()));
    let mut typed = typed_lines();
    while let Some(text) = typed.recv().await {
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let said = format!("{nickname}: {text}");
        if said.len() > MAX_TEXT {
            println!("that is too long");
            continue;
        }
        room.add((u64::try_from(time)?, number), said);
        mesh.broadcast(CHANNEL).await;
    }
    // The last line may still be on its way.
    tokio::time::sleep(LEAVING).await;
    mesh.shutdown().await;
    Ok(())
}

/// Says why nobody is there, if that is so after a while.
async fn explain(mesh: Mesh) {
    tokio::time::sleep(ARRIVING).await;
    let connections = mesh.report().await.connections;
    if connections
        .iter()
        .any(|connection| connection.remote.is_some())
    {
        return;
    }
    for connection in connections {
        let error = connection.error.unwrap_or_default();
        eprintln!("nobody is there yet: {} {error}", connection.address);
    }
}

/// Lines from the terminal. Reading them blocks, so a thread of its own does it.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let text: String = line.chars().filter(|c| !c.is_control()).collect();
            if !text.is_empty() && sender.blocking_send(text).is_err() {
                return;
            }
        }
    });
    lines
}
