//! Rollouts and runs as operators see them.

use tengyun_engine::explain::no_room;
use tengyun_engine::rollout::{copies, summary};
use tengyun_engine::{Refusal, Stage, WorkloadImage};
use tengyun_model::{At, InstanceId, Revision, Said, WorkloadKey, said};
use tengyun_proto::convert::said::to_wire;
use tengyun_proto::v1;

use super::{View, refusal, small};

impl View<'_> {
    /// Says where a workload's rollout stands, and what became of its revisions.
    pub(crate) fn rollout(&self, key: &WorkloadKey) -> v1::GetRolloutResponse {
        let Some(workload) = self.state.workload_keyed(key) else {
            let refusal = Some(refusal(&Refusal::UnknownWorkload(key.clone())));
            return v1::GetRolloutResponse { refusal, ..v1::GetRolloutResponse::default() };
        };
        let copies = copies(self.state, workload, self.now);
        let spec = &workload.revisions[&workload.revision];
        let rollout = workload.rollout.as_ref();
        let stuck = no_room(self.state, &self.forecast(), workload.id, self.now);
        let mut summary = summary(self.state, workload, self.now);
        let mut remedy = Said::NOTHING;
        if let Some(stuck) = stuck {
            let tail = said!(RolloutNoRoom, stuck.copies, stuck.remedy.clone());
            summary = said!(Joined, summary, tail);
            remedy = stuck.remedy;
        }
        v1::GetRolloutResponse {
            stage: rollout.map_or("none", |rollout| Stage::as_str(rollout.stage)).to_owned(),
            revision: workload.revision.get(),
            good: workload.good.map_or(0, Revision::get),
            wanted: small(copies.wanted),
            renewed: small(copies.renewed),
            proven: small(copies.proven),
            old: small(copies.old),
            failures: rollout.map_or(0, |rollout| rollout.failures),
            failure_limit: spec.rollout.failure_limit,
            summary: summary.to_string(),
            summary_said: to_wire(&summary),
            remedy: remedy.to_string(),
            remedy_said: to_wire(&remedy),
            revisions: self.revisions(workload),
            refusal: None,
        }
    }

    fn revisions(&self, workload: &WorkloadImage) -> Vec<v1::RevisionView> {
        let of = |revision: Revision| {
            let all = self.state.of_workload(workload.id).filter_map(|id| self.state.instance(id));
            all.filter(|i| i.revision == revision && !i.status.phase.is_final()).count()
        };
        let view = |revision: Revision, note: &tengyun_engine::RevisionNote| v1::RevisionView {
            revision: revision.get(),
            applied_millis: note.applied.millis(),
            fate: note.fate.as_str().to_owned(),
            why: note.why.to_string(),
            why_said: to_wire(&note.why),
            present: revision == workload.revision,
            instances: small(of(revision)),
        };
        let each = workload.notes.iter();
        each.map(|(revision, note)| view(*revision, note)).collect()
    }

    /// Returns the kept runs of one workload or of all.
    pub(crate) fn runs(&self, key: Option<&WorkloadKey>) -> Vec<v1::RunView> {
        let of = |workload: &WorkloadImage| {
            let wanted = &workload.revisions[&workload.revision].key;
            key.is_none_or(|key| key == wanted)
        };
        let runs = self.state.workloads().filter(|workload| of(workload)).flat_map(|workload| {
            let key = &workload.revisions[&workload.revision].key;
            workload.cron.runs.iter().map(move |run| v1::RunView {
                key: Some(key.into()),
                number: run.number,
                scheduled_millis: run.scheduled.millis(),
                began_millis: run.began.millis(),
                ended_millis: run.ended.map_or(0, At::millis),
                outcome: run.outcome.as_str().to_owned(),
                instance: run.instance.map(InstanceId::get),
                why: run.why.to_string(),
                why_said: to_wire(&run.why),
            })
        });
        runs.collect()
    }
}
