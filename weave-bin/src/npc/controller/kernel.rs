//! The rules in the kernel: committed, tried again, repaired; and connections cut.
//!
//! Invariant: what is in force is either what was in force before or the whole of what is wanted. A
//! refusal changes nothing; it is tried again with a growing pause and shown until it succeeds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use tracing::{debug, info, warn};
use weave_npc::compile::{Options, closed, isolated_in};
use weave_npc::conntrack::{Connection, Conntrack, Filter, is_forbidden};
use weave_npc::engine::Engine;
use weave_npc::netlink::{Changes, Keeper, NetlinkError, Nft, Report, Way};
use weave_npc::ruleset::{IfName, TableId, Transaction, Walk};

use super::counted::{Counted, counted};
use crate::logging::CHANGE;

/// The kernel's side of the controller.
#[derive(Debug)]
pub(super) struct Kernel {
    keeper: Keeper,
    conntrack: Option<Conntrack>,
    /// True if the kernel has what was wanted last.
    is_current: bool,
    retry: Option<Retry>,
    /// What happened so far.
    pub(super) tally: Tally,
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Duration,
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Commits that succeeded.
    pub(super) commits: u64,
    /// Commits that failed.
    pub(super) failures: u64,
    /// Changes of others that were undone.
    pub(super) repairs: u64,
    /// Connections that were cut.
    pub(super) cut: u64,
    /// How long the last commit took.
    pub(super) last: Duration,
    /// How long all commits took.
    pub(super) total: Duration,
    /// What keeps the rules from being as wanted.
    pub(super) fault: Option<String>,
}

impl Kernel {
    /// The kernel of this thread's network namespace.
    ///
    /// # Errors
    /// There is no `nf_tables`, or no right to use it.
    pub(super) fn open(table: TableId) -> Result<Self, NetlinkError> {
        let conntrack = Conntrack::open();
        if let Err(error) = &conntrack {
            warn!("connections that lose permission go on: {error}");
        }
        Ok(Self {
            keeper: Keeper::new(Nft::open()?, table),
            conntrack: conntrack.ok(),
            is_current: false,
            retry: None,
            tally: Tally::default(),
        })
    }

    /// The addresses that the table in the kernel isolates, whoever made it.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn isolated(&mut self) -> Result<BTreeSet<IpAddr>, NetlinkError> {
        let id = self.keeper.id().clone();
        let seen = self.keeper.nft().read(&id)?;
        Ok(seen
            .map(|seen| isolated_in(&seen.table))
            .unwrap_or_default())
    }

    /// What the rules in the kernel have counted. It is read by a connection of its own: what this
    /// one knows of the table stays what it is.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn counted(&self) -> Result<Vec<Counted>, NetlinkError> {
        let seen = Nft::open()?.read(self.keeper.id())?;
        Ok(seen.as_ref().map(counted).unwrap_or_default())
    }

    /// Closes the pods behind `bridge` if there are no rules at all; true if it did.
    ///
    /// # Errors
    /// The table cannot be read or made.
    pub(super) fn close(
        &mut self,
        bridge: IfName,
        options: &Options,
    ) -> Result<bool, NetlinkError> {
        let id = self.keeper.id().clone();
        if self.keeper.nft().read(&id)?.is_some() {
            return Ok(false);
        }
        self.keeper.set(&closed(bridge, options).1)?;
        Ok(true)
    }

    /// Carries out `change`, after which the rules are those of `engine`; true if the kernel has
    /// them.
    pub(super) fn commit(&mut self, engine: &Engine, change: &Transaction) -> bool {
        let started = Instant::now();
        if self.retry.is_some_and(|retry| retry.at > started) {
            return false;
        }
        let outcome = if self.is_current {
            let applied = self.keeper.apply(change);
            applied.or_else(|_| self.keeper.set(engine.table().1))
        } else {
            self.keeper.set(engine.table().1)
        };
        self.note(started, outcome)
    }

    /// Tries again what failed, if it is time; true if the kernel has it then.
    pub(super) fn retry(&mut self, engine: &Engine) -> bool {
        if self.retry.is_none_or(|retry| retry.at > Instant::now()) {
            return false;
        }
        let started = Instant::now();
        let outcome = self.keeper.set(engine.table().1);
        self.note(started, outcome)
    }

    /// Reads the table back and sets it right; true if it had to be.
    pub(super) fn repair(&mut self, engine: &Engine) -> bool {
        if !self.is_current {
            return false;
        }
        let started = Instant::now();
        let outcome = self.keeper.repair();
        let was_wrong = matches!(&outcome, Ok(report) if report.way != Way::Nothing);
        if was_wrong {
            self.tally.repairs += 1;
            warn!(target: CHANGE, "somebody changed table {}: undone", engine.table().0);
        }
        self.note(started, outcome) && was_wrong
    }

    /// When there is something to try again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry.map(|retry| retry.at)
    }

    /// True if the kernel has what was wanted last.
    pub(super) fn is_current(&self) -> bool {
        self.is_current
    }

    /// Whether `changes` are by others, and about our table.
    pub(super) fn concern(&mut self, changes: &Changes) -> bool {
        let own = self.keeper.nft().port();
        self.is_current && changes.concern(self.keeper.id(), own)
    }

    fn note(&mut self, started: Instant, outcome: Result<Report, NetlinkError>) -> bool {
        match outcome {
            Ok(report) => {
                if report.way != Way::Nothing {
                    self.tally.commits += 1;
                    self.tally.last = started.elapsed();
                    self.tally.total += self.tally.last;
                    debug!(changes = report.changes, way = ?report.way, "rules committed");
                }
                if self.tally.fault.take().is_some() {
                    info!("the rules are in force again");
                }
                self.is_current = true;
                self.retry = None;
                true
            }
            Err(error) => {
                self.tally.failures += 1;
                let text = error.to_string();
                if self.tally.fault.as_ref() != Some(&text) {
                    warn!("the rules are not in force, those before stay: {text}");
                }
                self.tally.fault = Some(text);
                self.is_current = false;
                let pause = self.retry.map_or(FIRST_PAUSE, |retry| retry.pause * 2);
                let pause = pause.min(LONGEST_PAUSE);
                self.retry = Some(Retry {
                    at: Instant::now() + pause,
                    pause,
                });
                false
            }
        }
    }

    // ===== connections =====

    /// Cuts the connections that the rules no longer allow.
    pub(super) fn cut(&mut self, engine: &Engine) {
        let Some(conntrack) = &mut self.conntrack else {
            return;
        };
        let own = own_addresses();
        let walk = Walk::new(engine.compiler().ruleset());
        let compiler = engine.compiler();
        let mut lost: Vec<Connection> = Vec::new();
        for filter in [Filter::Ipv4, Filter::Ipv6] {
            let listed = conntrack.each(filter, |connection| {
                let ends = [connection.client(), connection.server()];
                // What begins or ends at the node itself is not forwarded.
                let is_forwarded = !ends.iter().any(|end| own.contains(end));
                let is_isolated = ends.iter().any(|end| compiler.is_isolated(*end));
                if is_forwarded && is_isolated && is_forbidden(&walk, &connection) {
                    lost.push(connection);
                }
            });
            if let Err(error) = listed {
                warn!("connections cannot be listed: {error}");
            }
        }
        for connection in lost {
            let (client, server) = (connection.client(), connection.server());
            match conntrack.delete(&connection) {
                Ok(true) => {
                    self.tally.cut += 1;
                    info!("connection from {client} to {server} cut: it is not allowed any more");
                }
                Ok(false) => {}
                Err(error) => warn!("a connection that lost permission goes on: {error}"),
            }
        }
    }
}

/// The addresses of this node's own devices.
fn own_addresses() -> BTreeSet<IpAddr> {
    let address =
        |storage: SockaddrStorage| match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::from(v4.ip())),
            (None, Some(v6)) => Some(IpAddr::from(v6.ip())),
            (None, None) => None,
        };
    let all = getifaddrs().into_iter().flatten();
    all.filter_map(|device| address(device.address?)).collect()
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
