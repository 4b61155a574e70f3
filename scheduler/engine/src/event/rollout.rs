//! What is told of rollouts and of the runs of cron workloads.

use tengyun_model::{At, Revision, WorkloadId, WorkloadKey};

use super::{Glance, Made};
use crate::command::Command;
use crate::rollout::{Steer, Verdict};
use crate::runs::RunOutcome;

impl Made<'_> {
    pub(super) fn of_life(&mut self, glance: &Glance, command: &Command) {
        match command {
            Command::JudgeRollout { workload, revision, verdict, why } => {
                self.judged((*workload, *revision), *verdict, why);
                self.queued(glance);
            }
            Command::SteerRollout { key, steer, .. } => {
                self.steered(key, *steer);
                self.queued(glance);
            }
            Command::FireRun { workload, scheduled, .. } => {
                self.fired(*workload, *scheduled);
                self.queued(glance);
            }
            other => unreachable!("{other:?} is told of with the others"),
        }
    }

    fn judged(&mut self, (id, revision): (WorkloadId, Revision), verdict: Verdict, why: &str) {
        let Some(workload) = self.state.workload(id) else { return };
        let key = workload.revisions[&workload.revision].key.clone();
        let (kind, message) = match verdict {
            Verdict::Complete => ("rollout-complete", format!("revision {revision}")),
            Verdict::Return => {
                let to = workload.revision;
                ("rollout-returned", format!("from revision {revision} to {to}: {why}"))
            }
            Verdict::Halt => ("rollout-halted", format!("revision {revision}: {why}")),
        };
        self.of_key(kind, &key, message);
    }

    fn steered(&mut self, key: &WorkloadKey, steer: Steer) {
        let (kind, message) = match steer {
            Steer::Pause => ("rollout-paused", String::new()),
            Steer::Resume => ("rollout-resumed", String::new()),
            Steer::Undo(_) => {
                let revision = self.state.workload_keyed(key).map(|w| w.revision);
                let to = revision.unwrap_or_default();
                ("rollout-undone", format!("to revision {to}: an operator said so"))
            }
        };
        self.of_key(kind, key, message);
    }

    /// Tells of a run that was due.
    fn fired(&mut self, id: WorkloadId, scheduled: At) {
        let Some(workload) = self.state.workload(id) else { return };
        let run = workload.cron.runs.iter().rev().find(|run| run.scheduled == scheduled);
        let Some(run) = run else { return };
        let key = workload.revisions[&workload.revision].key.clone();
        let kind = match run.outcome {
            RunOutcome::UnderWay => "run-due",
            RunOutcome::Skipped => "run-skipped",
            RunOutcome::Missed => "run-missed",
            RunOutcome::Succeeded | RunOutcome::Failed | RunOutcome::Stopped => return,
        };
        let message = match run.why.as_str() {
            "" => format!("run {}", run.number),
            why => format!("run {}: {why}", run.number),
        };
        self.of_key(kind, &key, message);
    }
}
