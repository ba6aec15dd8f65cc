//! What becomes of containers.
//!
//! The addresses of an ident that was given as a container are released when the container is
//! destroyed, or some time after it died. Other idents hold theirs until they are released.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Allocator;

impl Allocator {
    /// A container stopped. What it holds is released after [`Config::dead_hold`], unless it
    /// starts again or asks again; requests that wait for it are cancelled.
    ///
    /// [`Config::dead_hold`]: crate::Config::dead_hold
    pub fn container_died(&mut self, now: Duration, ident: &str) {
        for ticket in self.pending.of_ident(ident) {
            self.cancel_with_error(ticket);
        }
        if self.is_container(ident) {
            let until = now + self.config.dead_hold;
            self.dead.insert(ident.to_owned(), until);
        }
        self.commit(now);
    }

    /// A container runs again.
    pub fn container_started(&mut self, ident: &str) {
        self.dead.remove(ident);
    }

    /// A container is gone for good: what it holds is released at once.
    pub fn container_destroyed(&mut self, now: Duration, ident: &str) {
        if self.is_container(ident) {
            self.release_all(now, ident);
            self.retry_allocations(now);
        }
        self.commit(now);
    }

    /// Releases what containers hold that are not in the list of those that exist; to be called at
    /// the start. Returns their idents.
    pub fn prune(&mut self, now: Duration, existing: &BTreeSet<String>) -> Vec<String> {
        let gone: Vec<String> = self
            .ledger
            .holdings()
            .filter(|(ident, holding)| holding.is_container && !existing.contains(*ident))
            .map(|(ident, _)| ident.to_owned())
            .collect();
        for ident in &gone {
            self.release_all(now, ident);
        }
        self.retry_allocations(now);
        self.commit(now);
        gone
    }

    /// Releases what the dead hold whose time is over.
    pub(super) fn bury(&mut self, now: Duration) {
        let due: Vec<String> = self
            .dead
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(ident, _)| ident.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        for ident in due {
            self.release_all(now, &ident);
        }
        self.retry_allocations(now);
    }

    fn is_container(&self, ident: &str) -> bool {
        let holding = self.ledger.holding(ident);
        holding.is_some_and(|holding| holding.is_container)
    }
}
