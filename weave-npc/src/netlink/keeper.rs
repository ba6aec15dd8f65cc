//! Keeps one table of the kernel equal to a value.
//!
//! Invariant: after a call that succeeded the kernel's table equals [`Keeper::installed`]; at no
//! moment between is there a state that is neither the one before nor the one after.

use super::nft::Nft;
use crate::nfnetlink::NetlinkError;
use crate::ruleset::{Change, Ruleset, Table, TableId, Transaction};

/// One table of ours in the kernel.
///
/// [`Keeper::set`] sends the difference to what is installed in one batch that the kernel refuses
/// if anybody changed anything since. Then, or if an object is there that should not be or the other
/// way round, the table is read back and the difference to that is sent; if that does not help, the
/// table is made anew, still in one batch.
#[derive(Debug)]
pub struct Keeper {
    nft: Nft,
    id: TableId,
    /// One table, or none as long as the kernel's is not known.
    installed: Option<Ruleset>,
}

/// What a [`Keeper`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many changes were committed.
    pub changes: usize,
    /// In which way.
    pub way: Way,
}

/// In which way a table was brought to its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It had them.
    Nothing,
    /// By the difference to what was installed.
    Delta,
    /// By the difference to what was read back from the kernel.
    ReadBack,
    /// Made anew as a whole; counters begin at 0.
    Replaced,
}

impl Keeper {
    /// Takes charge of a table; the kernel is not asked yet.
    pub fn new(nft: Nft, id: TableId) -> Self {
        Self {
            nft,
            id,
            installed: None,
        }
    }

    /// The table's family and name.
    pub fn id(&self) -> &TableId {
        &self.id
    }

    /// The connection, for reading counters or comparing ports.
    pub fn nft(&mut self) -> &mut Nft {
        &mut self.nft
    }

    /// What the kernel has, as far as is known.
    pub fn installed(&self) -> Option<&Table> {
        self.installed.as_ref()?.tables.get(&self.id)
    }

    /// Makes the kernel's table equal to `wanted`, which must pass [`Table::check`].
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Refused`] with the object that the kernel does not take;
    /// [`NetlinkError::Stale`] if others change rulesets without pause. The kernel's table is what it
    /// was.
    pub fn set(&mut self, wanted: &Table) -> Result<Report, NetlinkError> {
        let wanted = Ruleset::new().with(self.id.clone(), wanted.clone());
        if let Some(installed) = &self.installed {
            let transaction = Ruleset::diff(installed, &wanted);
            match self.nft.commit(&transaction) {
                Ok(()) => {
                    self.installed = Some(wanted);
                    return Ok(Report::of(&transaction, Way::Delta));
                }
                Err(error) if error.is_stale() => self.installed = None,
                Err(error) => {
                    self.installed = None;
                    return Err(error);
                }
            }
        }
        self.converge(wanted)
    }

    /// Carries out changes whose outcome the caller knows to be right; the fast way for a few
    /// elements of large sets. Without knowledge of the kernel's table the table is read first.
    ///
    /// # Errors
    ///
    /// As [`Keeper::set`]; [`NetlinkError::Stale`] also if the changes do not fit what is installed:
    /// call [`Keeper::set`] with the whole table then.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<Report, NetlinkError> {
        let mut installed = match self.installed.take() {
            Some(installed) => installed,
            None => self.read()?,
        };
        let mut result = self.nft.commit(transaction);
        if let Err(error) = &result
            && error.is_stale()
        {
            // Others change their own tables, too: go on if ours is what it was.
            let seen = self.read()?;
            if seen == installed {
                result = self.nft.commit(transaction);
            }
        }
        result?;
        if installed.step(transaction).is_err() {
            return Err(NetlinkError::Stale);
        }
        self.installed = Some(installed);
        Ok(Report::of(transaction, Way::Delta))
    }

    /// Reads the kernel's table and sets it right if it is not what was installed; to be called when
    /// somebody else changed it.
    ///
    /// # Errors
    ///
    /// As [`Keeper::set`]; afterwards nothing is known to be installed.
    pub fn repair(&mut self) -> Result<Report, NetlinkError> {
        match self.installed.take() {
            Some(wanted) => self.converge(wanted),
            None => Ok(Report {
                changes: 0,
                way: Way::Nothing,
            }),
        }
    }

    /// Deletes the table, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Keeper::set`].
    pub fn remove(&mut self) -> Result<Report, NetlinkError> {
        self.converge(Ruleset::new())
    }

    fn read(&mut self) -> Result<Ruleset, NetlinkError> {
        let seen = self.nft.read(&self.id)?.map(|seen| seen.table);
        Ok(seen.into_iter().fold(Ruleset::new(), |all, table| {
            all.with(self.id.clone(), table)
        }))
    }

    fn converge(&mut self, wanted: Ruleset) -> Result<Report, NetlinkError> {
        let mut failure = NetlinkError::Stale;
        for attempt in 0..ATTEMPTS {
            let seen = self.nft.read(&self.id)?;
            let is_strange = seen.as_ref().is_some_and(|seen| !seen.strangers.is_empty());
            let seen = seen.into_iter().fold(Ruleset::new(), |all, seen| {
                all.with(self.id.clone(), seen.table)
            });
            let (transaction, way) = if is_strange || attempt >= ATTEMPTS / 2 {
                (self.anew(&seen, &wanted), Way::Replaced)
            } else {
                (Ruleset::diff(&seen, &wanted), Way::ReadBack)
            };
            match self.nft.commit(&transaction) {
                Ok(()) => {
                    self.installed = Some(wanted);
                    return Ok(Report::of(&transaction, way));
                }
                Err(error) if error.is_stale() => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// The table made anew whatever it holds.
    fn anew(&self, seen: &Ruleset, wanted: &Ruleset) -> Transaction {
        let mut transaction = Ruleset::diff(&Ruleset::new(), wanted);
        if !seen.tables.is_empty() {
            transaction
                .changes
                .insert(0, Change::DeleteTable(self.id.clone()));
        }
        transaction
    }
}

impl Report {
    fn of(transaction: &Transaction, way: Way) -> Self {
        let changes = transaction.changes.len();
        Self {
            changes,
            way: if changes == 0 { Way::Nothing } else { way },
        }
    }
}

/// Differences first, then as a whole.
const ATTEMPTS: usize = 8;
