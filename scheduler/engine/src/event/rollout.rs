//! What is told of rollouts and of the runs of cron workloads.

use tengyun_model::{At, Revision, Said, WorkloadId, WorkloadKey, said};

use super::{EventKind, Glance, Made};
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

    fn judged(&mut self, (id, revision): (WorkloadId, Revision), verdict: Verdict, why: &Said) {
        let Some(workload) = self.state.workload(id) else { return };
        let key = workload.revisions[&workload.revision].key.clone();
        let (kind, message) = match verdict {
            Verdict::Complete => (EventKind::RolloutComplete, said!(EventRevision, revision)),
            Verdict::Return => {
                let to = workload.revision;
                (EventKind::RolloutReturned, said!(EventReturned, revision, to, why.clone()))
            }
            Verdict::Halt => (EventKind::RolloutHalted, said!(EventHalted, revision, why.clone())),
        };
        self.of_key(kind, &key, message);
    }

    fn steered(&mut self, key: &WorkloadKey, steer: Steer) {
        let (kind, message) = match steer {
            Steer::Pause => (EventKind::RolloutPaused, Said::NOTHING),
            Steer::Resume => (EventKind::RolloutResumed, Said::NOTHING),
            Steer::Undo(_) => {
                let revision = self.state.workload_keyed(key).map(|w| w.revision);
                let to = revision.unwrap_or_default();
                (EventKind::RolloutUndone, said!(EventUndone, to))
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
            RunOutcome::UnderWay => EventKind::RunDue,
            RunOutcome::Skipped => EventKind::RunSkipped,
            RunOutcome::Missed => EventKind::RunMissed,
            RunOutcome::Succeeded | RunOutcome::Failed | RunOutcome::Stopped => return,
        };
        let message = if run.why.is_empty() {
            said!(EventRun, run.number)
        } else {
            said!(EventRunWhy, run.number, run.why.clone())
        };
        self.of_key(kind, &key, message);
    }
}
