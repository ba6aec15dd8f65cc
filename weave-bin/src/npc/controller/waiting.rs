//! Those who wait: the CNI plugin for the rules of a pod, `/sync` for everything that is written.
//!
//! Invariant: everybody who waits is answered, by success, by the reason why not when the time is
//! over, or not at all if nobody is there any more.

use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};
use weave_npc::engine::Claim;

/// How an asker is told.
pub(super) type Reply = oneshot::Sender<Result<(), String>>;

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiting>);

/// Somebody who waits.
#[derive(Debug)]
struct Waiting {
    what: Awaited,
    until: Instant,
    /// When a pod of the name will do, whatever its identity.
    relax_at: Option<Instant>,
    reply: Reply,
}

/// What is waited for.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The addresses of a pod are in the rules.
    Placed(Claim),
    /// The source has looked so often, and what it found is in the rules.
    Looked(u64),
}

impl Waiters {
    /// Takes somebody in.
    pub(super) fn add(&mut self, now: Instant, what: Awaited, until: Instant, reply: Reply) {
        let is_strict = matches!(&what, Awaited::Placed(claim) if claim.uid.is_some());
        self.0.push(Waiting {
            what,
            until,
            relax_at: is_strict.then(|| now + RELAX),
            reply,
        });
    }

    /// When there is something to do for one of them.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |one: &Waiting| one.relax_at.map_or(one.until, |at| at.min(one.until));
        self.0.iter().map(due).min()
    }

    /// The claims that have waited so long that a pod of the name will do, each with the time its
    /// asker still waits. A static pod is one thing to the kubelet and another to the API server,
    /// with another identity.
    pub(super) fn relax(&mut self, now: Instant) -> Vec<(Claim, Duration)> {
        let mut relaxed = Vec::new();
        for one in &mut self.0 {
            if one.relax_at.is_none_or(|at| at > now) {
                continue;
            }
            one.relax_at = None;
            if let Awaited::Placed(claim) = &one.what {
                let any = Claim::new(claim.pod.clone(), claim.addresses.iter().copied());
                relaxed.push((any, one.until.saturating_duration_since(now)));
            }
        }
        relaxed
    }

    /// Answers those who wait for what `is_there`, or have waited long enough: they get the reason.
    pub(super) fn resolve(
        &mut self,
        now: Instant,
        is_there: impl Fn(&Awaited) -> bool,
        reason: impl Fn(&Awaited) -> String,
    ) {
        for one in std::mem::take(&mut self.0) {
            // An asker that has gone away needs no answer.
            if is_there(&one.what) {
                let _ = one.reply.send(Ok(()));
            } else if one.until <= now {
                let _ = one.reply.send(Err(reason(&one.what)));
            } else if !one.reply.is_closed() {
                self.0.push(one);
            }
        }
    }
}

/// How long a pod with the very identity is waited for.
const RELAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use weave_npc::model::{ObjectName, Uid};

    use super::*;

    fn claim(uid: Option<&str>) -> Claim {
        let mut claim = Claim::new(ObjectName::new("shop", "web"), [[10, 32, 0, 2].into()]);
        claim.uid = uid.map(Uid::new);
        claim
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[tokio::test]
    async fn who_waits_gets_what_there_is_or_the_reason() {
        let now = Instant::now();
        let mut waiters = Waiters::default();
        let (soon, mut first) = oneshot::channel();
        let (late, mut second) = oneshot::channel();
        let (gone, third) = oneshot::channel();
        waiters.add(now, Awaited::Looked(1), now + seconds(9), soon);
        waiters.add(now, Awaited::Looked(5), now + seconds(2), late);
        waiters.add(now, Awaited::Looked(6), now + seconds(9), gone);
        drop(third);
        let is_there = |what: &Awaited| matches!(what, Awaited::Looked(looks) if *looks <= 1);

        waiters.resolve(now, is_there, |_| "too slow".to_owned());

        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert!(second.try_recv().is_err());
        assert_eq!(waiters.due(), Some(now + seconds(2)), "one is left");
        waiters.resolve(now + seconds(2), is_there, |_| "too slow".to_owned());
        assert_eq!(second.try_recv(), Ok(Err("too slow".to_owned())));
        assert_eq!(waiters.due(), None);
    }

    #[tokio::test]
    async fn a_claim_with_an_identity_is_relaxed_once() {
        let now = Instant::now();
        let mut waiters = Waiters::default();
        let (one, _first) = oneshot::channel();
        let (two, _second) = oneshot::channel();
        let until = now + seconds(10);
        waiters.add(now, Awaited::Placed(claim(Some("u1"))), until, one);
        waiters.add(now, Awaited::Placed(claim(None)), until, two);

        assert_eq!(waiters.due(), Some(now + RELAX));
        assert!(waiters.relax(now).is_empty());

        let relaxed = waiters.relax(now + RELAX);
        assert_eq!(relaxed.len(), 1);
        assert_eq!(relaxed[0].0.uid, None);
        assert_eq!(relaxed[0].1, until - (now + RELAX));
        assert!(waiters.relax(now + RELAX).is_empty());
        assert_eq!(waiters.due(), Some(until));
    }
}
