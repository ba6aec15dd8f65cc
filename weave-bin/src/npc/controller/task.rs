//! The loop that owns the engine and the kernel's side of it.
//!
//! ```text
//! files ─┐                                  ┌─▶ Kernel   rules, connections
//! watches┼─ Input ─▶ Engine ─ Transaction ──┤
//! HTTP ──┘      monitor, log ─▶ repair      └─▶ Guard, Journal
//! ```
//!
//! Invariant: nothing that comes in ends the loop; what cannot be done is noted, shown and tried
//! again.

use std::time::{Duration, Instant as Moment, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use weave_npc::engine::{Engine, Event, Kind, may_tighten};
use weave_npc::model::{Key, Object};
use weave_npc::nflog::Logged;
use weave_npc::ruleset::IfName;

use super::blocked::Journal;
use super::ears::{Ears, Heard};
use super::guard::Guard;
use super::kernel::Kernel;
use super::latency::Latency;
use super::line::print;
use super::request::Request;
use super::settings::{Settings, Source};
use super::waiting::{Awaited, Waiters};
use super::{old, sysctl};

/// What comes in.
#[derive(Debug)]
pub(super) enum Input {
    /// A source says something about objects.
    Event(Event),
    /// A source looked and found nothing new.
    Looked,
    /// What does not work at a source, all of it.
    Faults(Vec<String>),
    /// A source saw something that is still changing.
    Moving,
    /// Somebody asks.
    Request(Request),
}

/// The task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) settings: Settings,
    pub(super) engine: Engine,
    pub(super) kernel: Kernel,
    pub(super) guard: Option<Guard>,
    pub(super) journal: Journal,
    pub(super) source_faults: Vec<String>,
    pub(super) source_errors: u64,
    pub(super) sysctl_faults: Vec<String>,
    pub(super) ears: Ears,
    inbox: mpsc::Receiver<Input>,
    stop: CancellationToken,
    started: Moment,
    repair_due: Option<Instant>,
    cut_due: Option<Instant>,
    check_at: Instant,
    verify_at: Instant,
    waiters: Waiters,
    /// Looks of the source that found nothing new.
    looks: u64,
    is_programmed: bool,
    /// When the first news came that the kernel does not have yet.
    news_at: Option<Instant>,
    pub(super) latency: Latency,
    /// How often metrics were asked for.
    pub(super) scrapes: u64,
}

enum Wake {
    Stop,
    Input(Input),
    Heard(Heard),
    Time,
}

impl Task {
    /// A task with the kernel's side of it, in the network namespace of this thread.
    pub(super) fn new(
        settings: Settings,
        kernel: Kernel,
        inbox: mpsc::Receiver<Input>,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let engine = Engine::new(settings.node.clone(), settings.options.clone());
        let mut task = Self {
            settings,
            engine,
            kernel,
            guard: None,
            journal: Journal::default(),
            source_faults: Vec::new(),
            source_errors: 0,
            sysctl_faults: Vec::new(),
            ears: Ears::default(),
            inbox,
            stop,
            started: Moment::now(),
            repair_due: None,
            cut_due: None,
            check_at: now,
            verify_at: now + VERIFY,
            waiters: Waiters::default(),
            looks: 0,
            is_programmed: false,
            news_at: None,
            latency: Latency::default(),
            scrapes: 0,
        };
        task.carry();
        if task.settings.fails_closed {
            task.close();
        }
        task
    }

    /// Runs until it is stopped. The rules stay in force.
    pub(super) async fn run(mut self) {
        loop {
            match self.wait().await {
                Wake::Stop => return,
                Wake::Input(input) => self.handle(input),
                Wake::Heard(heard) => self.heed(heard),
                Wake::Time => {}
            }
            for _ in 0..AT_ONCE {
                match self.inbox.try_recv() {
                    Ok(input) => self.handle(input),
                    Err(_) => break,
                }
            }
            self.turn();
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = self.due();
        tokio::select! {
            () = self.stop.cancelled() => Wake::Stop,
            input = self.inbox.recv() => input.map_or(Wake::Stop, Wake::Input),
            heard = self.ears.hear() => Wake::Heard(heard),
            () = sleep_until(due) => Wake::Time,
        }
    }

    fn due(&self) -> Instant {
        let engine = self.engine.poll_timeout().map(|due| self.moment(due));
        let retry = self.kernel.retry_at().map(Instant::from_std);
        let waiting = self.waiters.due();
        let due = [engine, retry, self.repair_due, self.cut_due, waiting];
        let due = due.into_iter().flatten().min();
        let first = self.check_at.min(self.verify_at);
        due.map_or(first, |due| due.min(first))
    }

    fn moment(&self, since_start: Duration) -> Instant {
        Instant::from_std(self.started + since_start)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    // ===== what comes in =====

    fn handle(&mut self, input: Input) {
        match input {
            Input::Event(event) => {
                self.tell(&event);
                self.news_at.get_or_insert_with(Instant::now);
                self.engine.handle_event(self.now(), event);
            }
            Input::Looked => {
                self.source_faults.clear();
                self.looks += 1;
            }
            Input::Faults(faults) => self.note_faults(faults),
            Input::Moving => {}
            Input::Request(request) => self.answer(request),
        }
    }

    fn heed(&mut self, heard: Heard) {
        match heard {
            Heard::Changes(changes) => {
                let is_ours = self.kernel.concern(&changes);
                let guard = self.guard.as_mut();
                if is_ours || guard.is_some_and(|guard| guard.concern(&changes)) {
                    let due = Instant::now() + SETTLE;
                    self.repair_due.get_or_insert(due);
                }
            }
            Heard::Packets(packets, lost) => self.show(&packets, lost),
            // The next check opens another ear.
            Heard::Nothing => {}
        }
    }

    fn note_faults(&mut self, faults: Vec<String>) {
        for fault in faults
            .iter()
            .filter(|one| !self.source_faults.contains(one))
        {
            warn!("{fault}; what is known stays in force");
            self.source_errors += 1;
        }
        self.source_faults = faults;
    }

    /// Says in the log what comes, as far as it is about policies, and what cannot be used.
    fn tell(&self, event: &Event) {
        let mut refused: &[_] = &[];
        match event {
            Event::Refused(error) => refused = std::slice::from_ref(error),
            Event::Listed(listing) => {
                debug!("{} objects listed", listing.objects.len());
                refused = &listing.refused;
            }
            Event::Applied(Object::Policy(policy)) => info!("policy {} applied", policy.name),
            Event::Applied(Object::ClusterPolicy(policy)) => {
                info!("cluster policy {} applied", policy.name);
            }
            Event::Removed(Key::Policy(name)) => info!("policy {name} removed"),
            Event::Removed(Key::ClusterPolicy(name)) => info!("cluster policy {name} removed"),
            _ => {}
        }
        for error in refused {
            if !self.engine.refused().any(|known| known == error) {
                warn!("{error}: not used; what was known of it stays in force");
            }
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Place(claim, until, reply) => {
                let hold = until.saturating_duration_since(Instant::now()) + HOLD;
                self.engine.handle_claim(self.now(), claim.clone(), hold);
                let what = Awaited::Placed(claim);
                self.waiters.add(Instant::now(), what, until, reply);
            }
            Request::Release(claim) => {
                let (pod, addresses) = (&claim.pod, &claim.addresses);
                self.engine.handle_release(self.now(), pod, addresses);
            }
            Request::Guard(port, reply) => {
                let outcome = match &mut self.guard {
                    Some(guard) => guard.add(&port.name, port.ether, port.addresses),
                    None => Ok(()),
                };
                // An asker that has gone away needs no answer, here and below.
                let _ = reply.send(outcome);
            }
            Request::Sync(until, reply) => {
                // The look that is under way may have begun before the question.
                let looks = match self.settings.source {
                    Source::Files(_) => self.looks + 2,
                    Source::Cluster => self.looks,
                };
                let what = Awaited::Looked(looks);
                self.waiters.add(Instant::now(), what, until, reply);
            }
            Request::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Request::Metrics(reply) => {
                let page = super::metrics::page(&self.status(), &self.journal.counts);
                self.scrapes += 1;
                let _ = reply.send(page);
            }
            Request::Explain(question, reply) => {
                let _ = reply.send(self.explain(&question));
            }
            Request::Counted(reply) => {
                let counted = self.kernel.counted();
                let _ = reply.send(counted.map_err(|error| error.to_string()));
            }
            Request::Blocked(since, reply) => {
                let _ = reply.send(self.journal.since(wall(), since));
            }
        }
    }

    fn show(&mut self, packets: &[Logged], lost: u64) {
        self.journal.lost += lost;
        let (now, options) = (self.now(), self.settings.options.verdict);
        for packet in packets {
            let record = self
                .journal
                .note(now, wall(), packet, &self.engine, options);
            if let Some(record) = record {
                print(record, self.settings.style);
            }
        }
    }

    // ===== what is done =====

    fn turn(&mut self) {
        let now = Instant::now();
        self.relax(now);
        let was_current = self.kernel.is_current();
        let mut is_cut_wanted = false;
        let change = self.engine.poll_change(self.now());
        let was_changed = change.is_some() || !was_current;
        if let Some(change) = change {
            let done = self.kernel.commit(&self.engine, &change);
            is_cut_wanted = done && (!was_current || may_tighten(&change));
        }
        is_cut_wanted |= self.kernel.retry(&self.engine);
        self.clock(was_changed);
        if self.repair_due.is_some_and(|due| due <= now) || self.verify_at <= now {
            self.repair_due = None;
            self.verify_at = now + VERIFY;
            is_cut_wanted |= self.kernel.repair(&self.engine);
            if let Some(guard) = &mut self.guard {
                guard.repair();
            }
        }
        if is_cut_wanted && !self.settings.keeps_connections {
            self.cut_due.get_or_insert(now);
        }
        if self.cut_due.is_some_and(|due| due <= now) {
            self.cut_due = None;
            self.kernel.cut(&self.engine);
        }
        if self.check_at <= now {
            self.check_at = now + CHECK;
            self.check();
        }
        if self.kernel.is_current() && !self.is_programmed {
            self.is_programmed = true;
            info!("policies are in force");
            old::remove(self.settings.bridge.clone());
        }
        self.resolve(now);
    }

    /// Takes the time once the kernel has what follows from news; news without effect takes none.
    fn clock(&mut self, was_changed: bool) {
        if !self.kernel.is_current() {
            return;
        }
        let began = self.news_at.take();
        if let Some(began) = began.filter(|_| was_changed && self.is_programmed) {
            self.latency.note(began.elapsed());
        }
    }

    /// Opens what is not open, and looks at the switches.
    fn check(&mut self) {
        let faults = sysctl::ensure();
        for fault in faults
            .iter()
            .filter(|one| !self.sysctl_faults.contains(one))
        {
            warn!("{fault}");
        }
        self.sysctl_faults = faults;
        if self.ears.open(&self.settings.options) {
            // What happened before nobody told.
            self.repair_due = Some(Instant::now());
        }
        if self.guard.is_none() && self.settings.guards {
            match Guard::open() {
                Ok(mut guard) => {
                    guard.write();
                    self.guard = Some(guard);
                }
                Err(error) => warn!("no source guard: {error}"),
            }
        }
    }

    /// Closes what an earlier controller isolated and nobody is known to have.
    fn carry(&mut self) {
        match self.kernel.isolated() {
            Ok(addresses) => {
                let now = self.now();
                self.engine.handle_carried(now, addresses, HOLD);
            }
            Err(error) => warn!("the rules of an earlier controller cannot be read: {error}"),
        }
    }

    /// Closes the node if nothing is in force. Bridged packets pass the rules only if the switches
    /// are set, so these come first.
    fn close(&mut self) {
        self.sysctl_faults = sysctl::ensure();
        let bridge = match IfName::new(&self.settings.bridge) {
            Ok(bridge) => bridge,
            Err(error) => return warn!("not closed: bridge {:?}: {error}", self.settings.bridge),
        };
        match self.kernel.close(bridge, &self.settings.options) {
            Ok(true) => info!("no new connection passes until policies are known"),
            Ok(false) => {}
            Err(error) => warn!("not closed: {error}"),
        }
    }

    /// Lets claims that have waited go to a pod of the name.
    fn relax(&mut self, now: Instant) {
        let since_start = self.now();
        for (claim, left) in self.waiters.relax(now) {
            self.engine.handle_claim(since_start, claim, left + HOLD);
        }
    }

    /// Answers those who wait for what is there, or have waited long enough.
    fn resolve(&mut self, now: Instant) {
        let mut waiters = std::mem::take(&mut self.waiters);
        let is_there = |what: &Awaited| self.is_there(what);
        waiters.resolve(now, is_there, |what| self.reason(what));
        self.waiters = waiters;
    }

    fn is_there(&self, what: &Awaited) -> bool {
        self.kernel.is_current()
            && match what {
                Awaited::Placed(claim) => self.engine.is_placed(&claim.pod, &claim.addresses),
                Awaited::Looked(wanted) => self.engine.is_settled() && self.looks >= *wanted,
            }
    }

    /// Why somebody has waited in vain.
    fn reason(&self, what: &Awaited) -> String {
        if !self.engine.is_synced() {
            let missing: Vec<&str> = self.engine.missing().map(Kind::as_str).collect();
            return format!("no list so far of {}", missing.join(", "));
        }
        if let Some(fault) = &self.kernel.tally.fault {
            return format!("the kernel refuses the rules: {fault}");
        }
        match what {
            Awaited::Placed(claim) => format!("pod {} is not known", claim.pod),
            Awaited::Looked(_) => "the objects go on changing".to_owned(),
        }
    }
}

fn wall() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Inputs taken over before anything is done about them.
const AT_ONCE: usize = 10_000;
/// Programs change rules in several steps; repairs wait for the rest of them.
const SETTLE: Duration = Duration::from_millis(20);
/// Between looks at what nobody tells of.
const CHECK: Duration = Duration::from_secs(10);
/// Between comparisons of the whole table.
const VERIFY: Duration = Duration::from_secs(30);
/// How long an address stays closed whose pod is not known.
const HOLD: Duration = Duration::from_secs(60);
