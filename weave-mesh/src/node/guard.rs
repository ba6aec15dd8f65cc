//! What strangers may cost, and what becomes of passwords.
//!
//! Invariant: at most [`MAX_INTRODUCTIONS`] accepted connections are being introduced. Over that
//! the one that goes is the oldest of the host that has the most, so that a host that opens many
//! takes no place from others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::session::{Link, Phase};
use super::{ConnectionId, DialId, MAX_INTRODUCTIONS, Node, Reason, RefusalReport};
use crate::connection::HandshakeError;
use crate::connector::Ending;
use crate::crypto::session::Sender;
use crate::crypto::{AgreementError, Credentials, KeySource, Keyring, KeyringError};
use crate::wire::intro::{FeaturesError, IntroError};

impl Node {
    /// Changes the passwords. Connections stay as they are, also those with a password that is no
    /// longer accepted; attempts under way end with the passwords they began with.
    ///
    /// # Errors
    /// [`KeyringError::Switched`] if there was no password and now is one, or the other way round,
    /// and [`KeyringError::NoSeed`]; the keyring in use stays.
    pub fn set_keyring(&mut self, keyring: Keyring) -> Result<(), KeyringError> {
        if keyring.is_empty() != self.config.keyring.is_empty() {
            return Err(KeyringError::Switched);
        }
        if self.config.keyring != keyring {
            self.connector.forget_passwords();
            self.config.keyring = keyring;
        }
        Ok(())
    }

    /// What a connection that begins needs to have a password; `None` if there is none.
    pub(super) fn credentials(&mut self, dial: Option<DialId>) -> Option<Credentials> {
        if self.config.keyring.is_empty() {
            return None;
        }
        let secret = self.keys.as_mut().map(KeySource::draw)?;
        let keyring = self.config.keyring.clone();
        Some(match dial {
            Some(dial) => Credentials {
                keyring,
                choice: self.connector.password(dial),
                secret,
                role: Sender::Dialler,
            },
            None => Credentials {
                keyring,
                choice: 0,
                secret,
                role: Sender::Acceptor,
            },
        })
    }

    /// Ends an introduction if there are too many.
    pub(super) fn bound_introductions(&mut self, now: Duration) {
        if self.links.len() - self.registered.len() <= MAX_INTRODUCTIONS {
            return;
        }
        let strangers = self.links.iter().filter(|(_, link)| is_stranger(link));
        let strangers: Vec<_> = strangers
            .map(|(id, link)| (*id, link.remote.ip()))
            .collect();
        if strangers.len() <= MAX_INTRODUCTIONS {
            return;
        }
        if let Some(id) = oldest_of_the_most(&strangers) {
            self.counters.introduction_refused += 1;
            self.end(now, id, Reason::Busy);
        }
    }

    /// Counts why a connection ended, and remembers who was refused.
    pub(super) fn account(&mut self, now: Duration, link: &Link, reason: &Reason) {
        self.counters.note(reason);
        // Two peers that dial each other at once keep one connection, and nobody was refused.
        let is_chance = matches!(reason, Reason::Duplicate { .. } | Reason::Ourself);
        if is_stranger(link) && !is_chance {
            let text = reason.to_string();
            self.refusals.note(now, link.remote.ip(), text);
        }
    }

    pub(super) fn refusals(&self, now: Duration) -> Vec<RefusalReport> {
        self.refusals.report(now)
    }
}

/// What an end means for the target it came from.
pub(super) fn ending(reason: &Reason, text: String) -> Ending {
    match reason.password() {
        Some(refusal) => Ending::Password(text, refusal),
        None if reason.is_final() => Ending::Never(text),
        None if matches!(reason, Reason::Refused(_)) => Ending::Full(text),
        None => Ending::Closed(text),
    }
}

impl super::Counters {
    fn note(&mut self, reason: &Reason) {
        let counter = match reason {
            Reason::Handshake(HandshakeError::Password(AgreementError::UnusableKey)) => {
                &mut self.introduction_failed
            }
            Reason::Handshake(HandshakeError::Password(_) | HandshakeError::Unanswered(_)) => {
                &mut self.password_refused
            }
            Reason::Handshake(HandshakeError::Intro(
                IntroError::RemoteWithPassword | IntroError::RemoteWithoutPassword,
            )) => &mut self.password_missing,
            Reason::Handshake(
                HandshakeError::Frame(_) | HandshakeError::Features(FeaturesError::TooLong(_)),
            ) => &mut self.message_oversized,
            Reason::Handshake(_) => &mut self.introduction_failed,
            Reason::Incoming(crate::connection::IncomingError::Seal(_)) => {
                &mut self.message_not_opened
            }
            Reason::Incoming(_) => &mut self.message_oversized,
            Reason::Message(_) | Reason::Topology(_) => &mut self.message_malformed,
            _ => return,
        };
        *counter += 1;
    }
}

/// Accepted and not introduced.
fn is_stranger(link: &Link) -> bool {
    link.dial.is_none() && matches!(link.phase, Phase::Introducing(_))
}

fn oldest_of_the_most(strangers: &[(ConnectionId, IpAddr)]) -> Option<ConnectionId> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (_, host) in strangers {
        *counts.entry(*host).or_default() += 1;
    }
    let (worst, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    let mut ids = strangers.iter().filter(|(_, host)| host == worst);
    ids.next().map(|(id, _)| *id)
}

/// Hosts whose connections were refused during the introduction.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    hosts: BTreeMap<IpAddr, Refused>,
}

#[derive(Debug)]
struct Refused {
    reason: String,
    count: u64,
    last: Duration,
}

impl Refusals {
    fn note(&mut self, now: Duration, host: IpAddr, reason: String) {
        if !self.hosts.contains_key(&host) && self.hosts.len() >= MAX_REFUSED {
            let oldest = self.hosts.iter().min_by_key(|(_, refused)| refused.last);
            if let Some(host) = oldest.map(|(host, _)| *host) {
                self.hosts.remove(&host);
            }
        }
        let count = self.hosts.get(&host).map_or(0, |refused| refused.count) + 1;
        let last = now;
        self.hosts.insert(
            host,
            Refused {
                reason,
                count,
                last,
            },
        );
    }

    fn report(&self, now: Duration) -> Vec<RefusalReport> {
        let mut hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, refused)| RefusalReport {
                address: *host,
                reason: refused.reason.clone(),
                count: refused.count,
                ago: now.saturating_sub(refused.last),
            })
            .collect();
        hosts.sort_by_key(|host| host.ago);
        hosts
    }
}

/// Hosts that are remembered for having been refused.
const MAX_REFUSED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn the_oldest_connection_of_the_host_with_the_most_goes_first() {
        let strangers: Vec<_> = [1, 2, 3, 2, 1, 2]
            .into_iter()
            .enumerate()
            .map(|(id, n)| (ConnectionId::from(id as u64), host(n)))
            .collect();

        let goes = oldest_of_the_most(&strangers);

        assert_eq!(goes, Some(ConnectionId::from(1)));
    }

    #[test]
    fn refused_hosts_are_counted_and_the_longest_ago_is_forgotten() {
        let mut refusals = Refusals::default();
        let at = |n: u8| Duration::from_secs(n.into());
        for n in 0..=32 {
            refusals.note(at(n), host(n), "first".to_owned());
        }
        refusals.note(at(40), host(5), "second".to_owned());

        let report = refusals.report(at(41));

        assert_eq!(report.len(), MAX_REFUSED);
        assert!(report.iter().all(|refused| refused.address != host(0)));
        let newest = &report[0];
        assert_eq!((newest.address, newest.count), (host(5), 2));
        assert_eq!((newest.reason.as_str(), newest.ago), ("second", at(1)));
    }
}
