//! The rules in the kernel, and what was found out about them.

use tracing::{info, warn};
use weave_npc::netlink::{Changes, Keeper, Nft, Way};
use weave_npc::ruleset::{Family, Name, TableId};

use super::accepts::accepts;
use super::backend::{self, Backend};
use super::foreign::{Foreign, ForeignError, Forward, LegacyPrint};
use super::old::{self, Part};
use super::table;
use super::task::FirewallError;
use super::view::View;
use super::wanted::Wanted;
use crate::logging::CHANGE;

/// Our table, our accepts, and what is wanted of both.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) wanted: Wanted,
    pub(super) view: View,
    keeper: Keeper,
    /// Away while a thread works with it.
    foreign: Option<Foreign>,
    foreign_port: u32,
    backend: Backend,
    /// Whether `backend` was asked for: the other one is left alone then.
    is_asked: bool,
    legacy: LegacyPrint,
}

impl Rules {
    /// Reads what an earlier daemon left, and chooses the back end. Nothing is changed yet.
    ///
    /// # Errors
    /// The kernel has no `nf_tables`, or does not answer.
    pub(super) fn open(mut wanted: Wanted, asked: Option<Backend>) -> Result<Self, FirewallError> {
        let failed = |error: &dyn std::fmt::Display| FirewallError(error.to_string());
        let mut nft = Nft::open().map_err(|error| failed(&error))?;
        let left = nft.read(&table::id()).map_err(|error| failed(&error))?;
        if let Some(left) = left {
            let bare = table::bare(&left.table);
            for (address, masquerade) in &mut wanted.exposed {
                *masquerade &= !bare.contains(&address.addr());
            }
            // An earlier daemon found that the host's rules ask conntrack.
            wanted.untracked = wanted
                .untracked
                .filter(|_| table::is_untracked(&left.table));
        }
        let mut foreign = Foreign::open().map_err(|error| failed(&error))?;
        let mut signs = |backend| foreign.signs(backend).map_err(|error| failed(&error));
        let (nft_signs, legacy_signs) = (signs(Backend::Nft)?, signs(Backend::Legacy)?);
        let (backend, reason) = backend::choose(asked, nft_signs, legacy_signs);
        info!("iptables backend mode: {backend} ({reason})");
        Ok(Self {
            wanted,
            view: View {
                backend: Some((backend, reason)),
                ..View::default()
            },
            keeper: Keeper::new(nft, table::id()),
            foreign_port: foreign.port(),
            foreign: Some(foreign),
            backend,
            is_asked: asked == Some(backend),
            legacy: LegacyPrint::default(),
        })
    }

    /// Brings the kernel to what is wanted.
    ///
    /// # Errors
    /// What could not be written. It is noted as a fault, and tried again.
    pub(super) async fn write(&mut self) -> Result<(), FirewallError> {
        self.view.untracked = self.wanted.untracked;
        self.view.exposed = self.wanted.exposed.iter().map(|(a, m)| (*a, *m)).collect();
        let table = self.keeper.set(&table::table(&self.wanted));
        let table = table.map(drop).map_err(|error| error.to_string());
        let accepts = self.ensure_accepts().await.map(drop);
        self.judge(table, accepts)
    }

    /// Puts back what others changed, and counts it.
    pub(super) async fn repair(&mut self) {
        let table = match self.keeper.installed() {
            Some(_) => self.keeper.repair(),
            None => self.keeper.set(&table::table(&self.wanted)),
        };
        let table = match table {
            Ok(report) => {
                if report.way != Way::Nothing {
                    self.repaired(format!(
                        "{} changes of {} undone",
                        report.changes,
                        table::id()
                    ));
                }
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        let accepts = match self.ensure_accepts().await {
            Ok(written) => {
                for backend in written {
                    self.repaired(format!("accepts put back in FORWARD ({backend})"));
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        // What is wrong is in the faults.
        let _ = self.judge(table, accepts);
    }

    /// Removes what a Weave Net left in both back ends.
    pub(super) async fn remove_old(&mut self, part: Part) {
        let bridge = self.wanted.bridge.clone();
        for backend in [Backend::Nft, Backend::Legacy] {
            let bridge = bridge.clone();
            let removed = self
                .with_foreign(move |foreign| foreign.remove_old(backend, &bridge, part))
                .await;
            match removed {
                Ok(0) => {}
                Ok(count) => {
                    info!("removed {count} iptables rules and chains of Weave Net ({backend})");
                }
                Err(error) => warn!("rules of Weave Net stay in iptables ({backend}): {error}"),
            }
        }
        let removed = tokio::task::spawn_blocking(move || old::destroy_sets(part)).await;
        for (name, outcome) in removed.unwrap_or_default() {
            match outcome {
                Ok(_) => info!("removed the IP set {name} of Weave Net"),
                Err(error) => warn!("the IP set {name} of Weave Net stays: {error}"),
            }
        }
    }

    /// Whether `changes` are by others, and about what we look after.
    pub(super) fn concern(&mut self, changes: &Changes) -> bool {
        let own = self.keeper.nft().port();
        let iptables = [Family::Ip, Family::Ip6].map(|family| TableId::new(family, filter()));
        let concern = |table: &TableId| changes.concern(table, self.foreign_port);
        changes.concern(self.keeper.id(), own) || iptables.iter().any(concern)
    }

    /// Whether there is something to try again.
    pub(super) fn has_fault(&self) -> bool {
        !self.view.faults.is_empty()
    }

    /// Whether a legacy filter table is another than at the last look.
    pub(super) async fn legacy_changed(&mut self) -> bool {
        let print = self
            .with_foreign(|foreign| Ok(foreign.legacy_fingerprint()))
            .await;
        let print = print.unwrap_or_default();
        let changed = print != self.legacy;
        self.legacy = print;
        changed
    }

    fn repaired(&mut self, text: String) {
        warn!(target: CHANGE, "[firewall] somebody changed the rules: {text}");
        self.view.rule_repairs += 1;
        self.view.note(text);
    }

    /// The back ends that had to be written.
    async fn ensure_accepts(&mut self) -> Result<Vec<Backend>, String> {
        let wanted = [Family::Ip, Family::Ip6].map(|one| (one, accepts(&self.wanted, one)));
        let (backend, is_asked) = (self.backend, self.is_asked);
        let work = move |foreign: &mut Foreign| {
            let mut written = Vec::new();
            for one in [Backend::Nft, Backend::Legacy] {
                for (family, wanted) in &wanted {
                    // The other back end matters only where it drops, and only if nobody said which.
                    let matters =
                        one == backend || (!is_asked && foreign.forward_drops(one, *family)?);
                    if matters && foreign.ensure(one, *family, wanted)? == Forward::Written {
                        written.push(one);
                    }
                }
            }
            Ok((written, foreign.legacy_fingerprint(), foreign.droppers()?))
        };
        let (written, print, droppers) = self.with_foreign(work).await?;
        self.legacy = print;
        for chain in droppers
            .iter()
            .filter(|one| !self.view.droppers.contains(one))
        {
            warn!("[firewall] {chain} drops forwarded packets: it must accept the bridge");
        }
        self.view.droppers = droppers;
        Ok(written)
    }

    /// Runs `work` on a thread that may block.
    async fn with_foreign<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Foreign) -> Result<T, ForeignError> + Send + 'static,
    ) -> Result<T, String> {
        let mut foreign = match self.foreign.take() {
            Some(foreign) => foreign,
            None => Foreign::open().map_err(|error| error.to_string())?,
        };
        self.foreign_port = foreign.port();
        let done = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut foreign);
            (foreign, outcome)
        });
        let (foreign, outcome) = done.await.map_err(|error| error.to_string())?;
        self.foreign = Some(foreign);
        outcome.map_err(|error| error.to_string())
    }

    /// Notes what went wrong, and gives the first of it.
    fn judge(
        &mut self,
        table: Result<(), String>,
        accepts: Result<(), String>,
    ) -> Result<(), FirewallError> {
        let faults: Vec<String> = [table, accepts]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        for fault in faults
            .iter()
            .filter(|fault| !self.view.faults.contains(fault))
        {
            warn!("[firewall] {fault}");
        }
        self.view.faults = faults;
        match self.view.faults.first() {
            Some(fault) => Err(FirewallError(fault.clone())),
            None => Ok(()),
        }
    }
}

fn filter() -> Name {
    Name::new("filter").expect("invariant: a name")
}
