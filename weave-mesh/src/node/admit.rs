//! From an introduced connection to one of the topology, and back.
//!
//! Order on the way in (Weave Net mesh protocol, section 1.9): name checks, overlays, duplicate
//! resolution, connection limit, own record, initial gossip. Nothing of the remote is read in
//! between, and a refusal undoes what was done. At its limit a peer decides before it introduces
//! itself, so that a remote of this crate that has to go knows it before it lists the connection.

use std::time::Duration;

use super::guard;
use super::routing::pace;
use super::session::{Link, Phase, Session};
use super::{
    ConnectionId, HEARTBEAT, Node, Notice, Novelty, OverlayConnection, OverlayEvent, READ_TIMEOUT,
    Remote, Timer,
};
use crate::connection::{Introduced, Reason};
use crate::overlay::Common;
use crate::peer::{self, PeerRecord};
use crate::wire::intro::Refused;

impl Node {
    /// Makes an introduced connection part of the topology.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        id: ConnectionId,
        mut introduced: Introduced,
    ) -> Result<(), Reason> {
        let admission = self.consider_remote(now, id, &introduced);
        let refused = self.refusal(admission.as_ref().err());
        if let Some(link) = self.links.get_mut(&id) {
            introduced
                .say(refused, &mut link.greeting)
                .map_err(|error| Reason::Incoming(error.into()))?;
            self.ready.push_back(id);
        }
        let (common, novelty) = admission?;
        self.register(now, id, introduced, common, novelty);
        Ok(())
    }

    /// Decides whether a connection may be part of the topology, and what it brings.
    fn consider_remote(
        &mut self,
        now: Duration,
        id: ConnectionId,
        introduced: &Introduced,
    ) -> Result<(Common, Novelty), Reason> {
        let common = self.check_remote(id, introduced)?;
        let name = introduced.features.name;
        let known = self.topology.get(name);
        // Who compares digests and is known only by name is told as one of the mesh.
        let takes_sync = self.config.sync && introduced.features.sync > 0;
        let is_restarted = known.is_some_and(|known| {
            let is_placeholder = known.uid == peer::Uid(0);
            known.uid != introduced.features.uid && !(is_placeholder && takes_sync)
        });
        let effects = self.topology.insert_handshake(introduced.features.record());
        if self.topology.retain(name)
            && let Some(link) = self.links.get_mut(&id)
        {
            link.retained = Some(name);
        }
        if effects.local_changed {
            self.announce_later(now);
        }
        self.resolve_duplicate(now, introduced)?;
        let limit = self.config.connection_limit;
        if limit != 0
            && self.registered.len() >= limit
            && !self.make_room(now, name, introduced.features.needy)
        {
            return Err(Reason::Limit(limit));
        }
        let novelty = if is_restarted {
            Novelty::Restarted
        } else if self.routing.reaches(&self.topology, name) {
            Novelty::Known
        } else {
            Novelty::New
        };
        Ok((common, novelty))
    }

    /// Name and overlay checks, which change nothing.
    fn check_remote(
        &mut self,
        id: ConnectionId,
        introduced: &Introduced,
    ) -> Result<Common, Reason> {
        let features = &introduced.features;
        let Some(link) = self.links.get(&id) else {
            return Err(Reason::Closed("EOF".to_owned()));
        };
        let address = link.remote;
        let accepts_unknown = link
            .dial
            .is_none_or(|dial| self.connector.accepts_unknown(dial, address));
        if !accepts_unknown && self.topology.get(features.name).is_none() {
            return Err(Reason::UnknownName {
                name: features.name,
                address,
            });
        }
        let local = self.topology.local();
        if features.name == local.name {
            if features.uid == local.uid {
                return Err(Reason::Ourself);
            }
            let remote = features.record().to_string();
            return Err(Reason::Collision {
                local: local.to_string(),
                remote,
            });
        }
        if let Some(dial) = link.dial {
            self.connector.handle_introduced(dial, features.name);
        }
        if let Some(Refused { reason, others }) = &features.refused {
            if self.config.discovery {
                self.connector.refer(others);
            }
            return Err(Reason::Refused(reason.clone()));
        }
        let offered = self.config.offered_overlays(link.is_trusted);
        Ok(Common::negotiate(
            &offered.unwrap_or_default(),
            features.overlays.as_deref(),
        )?)
    }

    /// Decides between this connection and an older one with the same peer: the lower connection
    /// uid stays, on both ends. A peer that restarted has one connection only, so the new one
    /// stays whatever the numbers say, and the stale one need not time out first.
    fn resolve_duplicate(&mut self, now: Duration, new: &Introduced) -> Result<(), Reason> {
        let Some(&old_id) = self.registered.get(&new.features.name) else {
            return Ok(());
        };
        let Some(old) = self.links.get(&old_id).and_then(Link::session) else {
            return Ok(());
        };
        let is_other_incarnation = old.uid != new.features.uid;
        let new_stays = is_other_incarnation || new.connection_uid < old.connection_uid;
        let old_stays = !is_other_incarnation && old.connection_uid < new.connection_uid;
        let reason = Reason::Duplicate {
            remote: new.features.record().to_string(),
            local: self.topology.local().to_string(),
        };
        self.counters.duplicate += 1;
        if !old_stays {
            self.end(now, old_id, reason.clone());
        }
        if new_stays { Ok(()) } else { Err(reason) }
    }

    fn register(
        &mut self,
        now: Duration,
        id: ConnectionId,
        introduced: Introduced,
        common: Common,
        novelty: Novelty,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let name = introduced.features.name;
        let version = introduced.version;
        let has_overlay = !common.names().is_empty();
        let (short_id, connection_uid) = (introduced.features.short_id, introduced.connection_uid);
        let session = Session::new(introduced, common, link.is_trusted);
        let overlay = OverlayConnection {
            id: link.id,
            remote: name,
            remote_short_id: short_id,
            local: link.local,
            peer: link.remote,
            outbound: link.is_outbound(),
            connection_uid,
            overlays: session.common.names().to_vec(),
            encrypted: session.data_key.is_some(),
            session_key: session.data_key.clone(),
            compatibility: session.common.is_compatibility(),
        };
        link.phase = Phase::Running(Box::new(session));
        let gossiped = peer::Link {
            address: link.remote.into(),
            outbound: link.is_outbound(),
            established: false,
        };
        let (dial, remote) = (link.dial, link.remote_end());
        self.topology.add_connection(name, gossiped);
        self.registered.insert(name, id);
        self.routing.neighbour_added();
        self.timers.set(Timer::Read(id), now + READ_TIMEOUT);
        self.timers.set(Timer::Heartbeat(id), now + HEARTBEAT);
        self.timers.set(Timer::Targets, now);
        if let Some(dial) = dial {
            self.connector.handle_added(dial);
        }
        if let Some(remote) = remote {
            self.notice(Notice::Ready {
                remote: remote.clone(),
                version,
            });
            self.notice(Notice::Added { remote, novelty });
        }
        if novelty != Novelty::Known {
            let is_restless = self.announcements.restless_until(now).is_some();
            self.greet(id, is_restless && self.registered.len() > 1);
        }
        self.announcements.remotes.insert(name);
        self.announce_later(now);
        self.overlay_event(OverlayEvent::Confirmed(overlay));
        if !has_overlay {
            self.handle_established(now, id);
        }
    }

    /// Ends a connection and forgets it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the reason ends here, with the connection"
    )]
    pub(super) fn end(&mut self, now: Duration, id: ConnectionId, reason: Reason) {
        let Some(mut link) = self.links.remove(&id) else {
            return;
        };
        for timer in [Timer::Read(id), Timer::Write(id), Timer::Heartbeat(id)] {
            self.timers.clear(timer);
        }
        self.part(now, &mut link, &reason);
        let text = reason.to_string();
        self.account(now, &link, &reason);
        if let Some(name) = link.retained {
            self.topology.release(name);
        }
        if let Some(remote) = link.remote_end() {
            self.notice(Notice::Ended {
                remote: remote.clone(),
                reason: text.clone(),
            });
            self.unregister(now, id, remote);
        } else {
            self.notice(Notice::Refused {
                address: link.remote,
                reason: text.clone(),
            });
        }
        if reason != Reason::Ourself {
            self.termination_count += 1;
        }
        if let Some(dial) = link.dial {
            self.connector
                .handle_ended(now, dial, guard::ending(&reason, text));
        }
        self.timers.set(Timer::Targets, now);
    }

    fn unregister(&mut self, now: Duration, id: ConnectionId, remote: Remote) {
        let name = remote.name;
        self.overlay_event(OverlayEvent::Closed { id });
        if self.registered.get(&name) != Some(&id) {
            return;
        }
        self.registered.remove(&name);
        self.knowledge.remove(id);
        self.lagging.remove(&name);
        self.topology.remove_connection(name);
        self.routing.neighbours_changed();
        self.collect_soon(now);
        self.announce_later(now);
        self.notice(Notice::Deleted { remote });
    }

    /// The data overlay of a connection works in both directions.
    pub fn handle_established(&mut self, now: Duration, id: ConnectionId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(session) = link.session_mut() else {
            return;
        };
        if session.is_established {
            return;
        }
        session.is_established = true;
        let name = session.name;
        if let Some(remote) = link.remote_end() {
            self.notice(Notice::Established { remote });
        }
        self.topology.establish(name);
        self.announce_later(now);
    }

    /// Removes unreachable peers now, or a little later if that was done a moment ago: connections
    /// end by dozens, and each time the whole graph is searched.
    fn collect_soon(&mut self, now: Duration) {
        if self.collect_after <= now {
            self.collect_garbage(now);
        } else {
            self.timers.set_earliest(Timer::Collect, self.collect_after);
        }
    }

    /// Removes peers that no path of connections leads to.
    pub(super) fn collect_garbage(&mut self, now: Duration) {
        self.collect_after = now + pace(self.routing.peers());
        let graph = self.routing.graph(&self.topology);
        let collected = self.topology.collect_garbage_by(graph);
        if collected.local_changed {
            self.announce_later(now);
        }
        if collected.removed.is_empty() {
            return;
        }
        let names: Vec<_> = collected.removed.iter().map(|peer| peer.name).collect();
        for channel in self.channels.values_mut() {
            channel.peers_gone(&names);
        }
        for PeerRecord { name, nickname, .. } in collected.removed {
            self.knowledge.forget_peer(name);
            self.notice(Notice::Removed { name, nickname });
        }
        self.recalculate_soon(now);
    }

    /// Has routes recalculated.
    pub(super) fn recalculate_soon(&mut self, now: Duration) {
        let at = self.routing.recalculate_at(now);
        self.timers.set_earliest(Timer::Routes, at);
    }
}
