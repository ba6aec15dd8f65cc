//! What the controller says about itself and about connections.

use weave_npc::model::World;
use weave_npc::verdict::{Answer, ask};

use super::request::Question;
use super::settings::Source;
use super::status::{Counts, Objects, Status};
use super::task::Task;
use crate::npc::input;

impl Task {
    /// How things are.
    pub(super) fn status(&self) -> Status {
        let engine = &self.engine;
        let texts = |faults: &mut dyn Iterator<Item = String>| faults.collect::<Vec<_>>();
        let guard = self.guard.as_ref();
        let faults = self
            .source_faults
            .iter()
            .chain(&self.kernel.tally.fault)
            .chain(&self.ears.log_fault)
            .chain(&self.sysctl_faults)
            .chain(guard.and_then(|guard| guard.fault.as_ref()));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.settings.node.to_string(),
            source: match &self.settings.source {
                Source::Files(path) => format!("files of {}", path.display()),
                Source::Cluster => "the cluster's API server".to_owned(),
            },
            synced: engine.is_synced(),
            missing: texts(&mut engine.missing().map(|kind| kind.to_string())),
            programmed: self.kernel.is_current() && engine.is_settled(),
            revision: engine.revision(),
            faults: faults.cloned().collect(),
            refused: texts(&mut engine.refused().map(ToString::to_string)),
            notices: notices(engine.world()),
            objects: self.objects(),
            held: texts(&mut engine.held().map(|address| address.to_string())),
            claimed: texts(&mut engine.claimed().map(ToString::to_string)),
            guarded: texts(&mut guard.iter().flat_map(|g| g.ports()).map(str::to_owned)),
            counts: self.counts(),
        }
    }

    fn objects(&self) -> Objects {
        let world = self.engine.world();
        Objects {
            namespaces: world.namespaces().count(),
            nodes: world.nodes().count(),
            pods: world.pods().count(),
            local_pods: self.engine.compiler().local_pods(),
            policies: world.policies().count(),
            cluster_policies: world.cluster_policies().count(),
        }
    }

    fn counts(&self) -> Counts {
        let (tally, journal) = (&self.kernel.tally, &self.journal);
        Counts {
            events: self.engine.events(),
            commits: tally.commits,
            failed_commits: tally.failures,
            repairs: tally.repairs,
            source_errors: self.source_errors,
            last_commit_us: u64::try_from(tally.last.as_micros()).unwrap_or(u64::MAX),
            commit_seconds: tally.total.as_secs_f64(),
            cut_connections: tally.cut,
            latency: self.latency,
            scrapes: self.scrapes,
            blocked: journal.total(),
            audited: journal.audited,
            log_suppressed: journal.suppressed,
            log_passed_over: journal.passed_over,
            log_lost: journal.lost,
        }
    }

    /// Whether a connection is allowed, in each family that both ends have.
    ///
    /// # Errors
    /// An end is not known, or both have no family in common.
    pub(super) fn explain(&self, question: &Question) -> Result<Vec<Answer>, String> {
        let world = self.engine.world();
        let end = |text: &str| input::end(world, text).map_err(|error| error.to_string());
        let (from, to) = (end(&question.from)?, end(&question.to)?);
        let options = self.settings.options.verdict;
        let ends = (std::slice::from_ref(&from), std::slice::from_ref(&to));
        let answers = ask(world, ends.0, ends.1, &[question.port], options);
        if answers.is_empty() {
            let (from, to) = (&from.name, &to.name);
            return Err(format!("{from} and {to} have no address of one family"));
        }
        Ok(answers)
    }
}

/// What is odd about the policies of `world`.
fn notices(world: &World) -> Vec<String> {
    let mut notices = Vec::new();
    for policy in world.cluster_policies() {
        let name = &policy.name;
        let found = policy.notices.iter();
        notices.extend(found.map(|n| format!("ClusterNetworkPolicy {name}: {n}")));
    }
    notices
}
