//! A daemon in miniature: engine and device in one namespace, driven by the test.

use std::{
    path::PathBuf,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use weave_datapath::{
    PeerName,
    bpf::{Config, Damage, Device, Opened, inspect},
    fastdp::{Connection, Engine, EngineConfig, Event, Routes, Transmit},
    netlink::Netlink,
    netns::Namespace,
};

use crate::lab::MTU;

type Question = Box<dyn FnOnce(&mut Device, &mut Engine) + Send>;

enum Command {
    Connect(Connection),
    Close(u64),
    Control(u64, Vec<u8>),
    Routes(Routes),
    Ports(Option<u16>, mpsc::Sender<()>),
    Ask(Question),
    Repair(mpsc::Sender<(Vec<Damage>, Opened)>),
}

/// What a daemon tells the mesh of the test.
pub(crate) enum Output {
    Control {
        from: usize,
        id: u64,
        inner: Vec<u8>,
    },
    Event {
        from: usize,
        event: Event,
    },
}

pub(crate) struct Daemon {
    commands: Option<UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) opened: Opened,
}

pub(crate) struct Start {
    pub(crate) host: usize,
    pub(crate) us: PeerName,
    pub(crate) namespace: Namespace,
    pub(crate) config: Config,
    pub(crate) port: u16,
    pub(crate) outputs: mpsc::Sender<Output>,
}

impl Daemon {
    pub(crate) fn start(start: Start) -> Self {
        let (commands, receiver) = unbounded_channel();
        let (ready, opened) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            start.namespace.enter_current_thread().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run(start, receiver, ready));
        });
        let opened = opened.recv().expect("the device opens");
        Self {
            commands: Some(commands),
            thread: Some(thread),
            opened,
        }
    }

    pub(crate) fn connect(&self, connection: Connection) {
        self.send(Command::Connect(connection));
    }

    pub(crate) fn close(&self, id: u64) {
        self.send(Command::Close(id));
    }

    pub(crate) fn control(&self, id: u64, inner: Vec<u8>) {
        self.send(Command::Control(id, inner));
    }

    pub(crate) fn routes(&self, routes: Routes) {
        self.send(Command::Routes(routes));
    }

    /// Opens the tunnel at a port, and closes it at those that no frame takes.
    pub(crate) fn ports(&self, open: Option<u16>) {
        let (sender, answer) = mpsc::channel();
        self.send(Command::Ports(open, sender));
        answer.recv().expect("ports open and close");
    }

    /// Looks for damage and opens the device again, as a daemon does; what was found.
    pub(crate) fn repair(&self) -> (Vec<Damage>, Opened) {
        let (sender, answer) = mpsc::channel();
        self.send(Command::Repair(sender));
        answer.recv().expect("the device opens again")
    }

    /// Runs `question` in the daemon and returns its answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Device, &mut Engine) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = mpsc::channel();
        self.send(Command::Ask(Box::new(move |device, engine| {
            sender.send(question(device, engine)).unwrap();
        })));
        answer.recv().expect("the daemon answers")
    }

    fn send(&self, command: Command) {
        let commands = self.commands.as_ref().expect("running");
        assert!(commands.send(command).is_ok(), "the daemon runs");
    }
}

/// Ends the user-space part alone, as a kill would.
impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.commands.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// Removes the pins' file system of a test.
pub(crate) fn unmount(dir: &PathBuf) {
    let _ = nix::mount::umount(dir);
    let _ = std::fs::remove_dir(dir);
}

async fn run(start: Start, mut commands: UnboundedReceiver<Command>, ready: mpsc::Sender<Opened>) {
    let netlink = Netlink::open().unwrap();
    let mut device = Device::open(&start.config, &netlink).await.unwrap();
    let mut engine = Engine::new(EngineConfig {
        us: start.us,
        mtu: MTU,
        port: start.port,
    });
    let begin = Instant::now();
    if let Some(tables) = device.adopted() {
        engine.adopt(begin.elapsed(), tables.clone());
    }
    ready.send(device.opened()).unwrap();
    loop {
        let due = engine.poll_timeout().unwrap_or(Duration::from_secs(3600));
        let wait = due.saturating_sub(begin.elapsed());
        tokio::select! {
            heartbeat = device.next_event() => {
                engine.handle_heartbeat(begin.elapsed(), &heartbeat.unwrap());
            }
            command = commands.recv() => match command {
                None => return,
                Some(Command::Connect(connection)) => {
                    device.open_port(connection.port, &netlink).await.unwrap();
                    engine.handle_connection(begin.elapsed(), connection);
                }
                Some(Command::Ports(open, done)) => {
                    if let Some(port) = open {
                        device.open_port(port, &netlink).await.unwrap();
                    }
                    let but = open.into_iter().collect();
                    device.close_ports(&but, &netlink).await.unwrap();
                    done.send(()).unwrap();
                }
                Some(Command::Close(id)) => engine.handle_closed(begin.elapsed(), id),
                Some(Command::Control(id, inner)) => {
                    engine.handle_control(begin.elapsed(), id, &inner);
                }
                Some(Command::Routes(routes)) => engine.handle_routes(begin.elapsed(), routes),
                Some(Command::Ask(question)) => question(&mut device, &mut engine),
                Some(Command::Repair(answer)) => {
                    let damage = inspect(&start.config, &netlink).await.unwrap();
                    let mut again = Device::open(&start.config, &netlink).await.unwrap();
                    again.restore(device.tables()).unwrap();
                    device = again;
                    answer.send((damage, device.opened())).unwrap();
                }
            },
            () = tokio::time::sleep(wait) => engine.handle_timeout(begin.elapsed()),
        }
        drain(&start, &mut engine, &mut device, begin.elapsed());
    }
}

fn drain(start: &Start, engine: &mut Engine, device: &mut Device, now: Duration) {
    if let Some(update) = engine.poll_update(now) {
        device.apply(&update).unwrap();
        assert_eq!(device.tables(), engine.tables());
    }
    let from = start.host;
    while let Some(transmit) = engine.poll_transmit() {
        match transmit {
            Transmit::Heartbeat {
                local,
                remote,
                port,
                payload,
                ..
            } => match device.send(local, remote, port, &payload) {
                Err(error) if error.is_too_big() => {}
                outcome => outcome.unwrap(),
            },
            Transmit::Control { id, inner } => {
                let _ = start.outputs.send(Output::Control { from, id, inner });
            }
        }
    }
    while let Some(event) = engine.poll_event() {
        let _ = start.outputs.send(Output::Event { from, event });
    }
}
