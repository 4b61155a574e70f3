//! Runs in the state: one begins when it is due, ends with its instance, and is kept for a while.

use tengyun_model::{
    At, Concurrency, InstanceId, Kind, Phase, Said, WorkloadId, WorkloadSpec, said,
};

use super::State;
use crate::command::{Effect, Past, Refusal};
use crate::event::ended;
use crate::image::WorkloadWish;
use crate::plan::StopReason;
use crate::runs::{RUNS_UNDER_WAY_MAX, RunImage, RunOutcome};

impl State {
    /// Says whether a run of a workload may be due.
    pub(super) fn check_fire(&self, id: WorkloadId, scheduled: At) -> Result<(), Refusal> {
        let workload = self.workloads.get(&id).ok_or(Refusal::Stale(Past::Workload))?;
        let spec = &workload.revisions[&workload.revision];
        if spec.kind != Kind::Cron || workload.wish != WorkloadWish::Run {
            return Err(Refusal::Stale(Past::WorkloadWish));
        }
        if scheduled <= workload.cron.fired {
            return Err(Refusal::Stale(Past::Scheduled));
        }
        Ok(())
    }

    pub(super) fn fire_run(
        &mut self,
        id: WorkloadId,
        scheduled: At,
        missed: bool,
        at: At,
    ) -> Result<Effect, Refusal> {
        self.check_fire(id, scheduled)?;
        let concurrency = self.concurrency(id);
        let workload = self.workloads.get_mut(&id).expect("it was checked a line ago");
        let cron = &mut workload.cron;
        let live = cron.runs.iter().filter(|run| run.outcome == RunOutcome::UnderWay).count();
        cron.fired = scheduled;
        cron.total = cron.total.saturating_add(1);
        let full = live >= RUNS_UNDER_WAY_MAX;
        let (outcome, why) = match concurrency {
            _ if missed => (RunOutcome::Missed, said!(WhyRunMissed)),
            Concurrency::Forbid if live > 0 => (RunOutcome::Skipped, said!(WhyRunBefore)),
            Concurrency::Allow if full => (RunOutcome::Skipped, said!(WhyRunsMany)),
            Concurrency::Forbid | Concurrency::Replace | Concurrency::Allow => {
                (RunOutcome::UnderWay, Said::NOTHING)
            }
        };
        let begins = outcome == RunOutcome::UnderWay;
        let run = RunImage {
            number: cron.total,
            scheduled,
            began: at,
            ended: (!begins).then_some(at),
            outcome,
            instance: None,
            why,
        };
        if begins && concurrency == Concurrency::Replace {
            self.end_runs(id, &said!(WhyRunReplaced), at);
            self.stop_unwanted(id);
        }
        let workload = self.workloads.get_mut(&id).expect("it was checked above");
        workload.cron.runs.push(run);
        self.fill(id, at);
        self.drop_old_runs(id);
        Ok(Effect::Done)
    }

    fn concurrency(&self, id: WorkloadId) -> Concurrency {
        let workload = &self.workloads[&id];
        let schedule = workload.revisions[&workload.revision].schedule.as_ref();
        schedule.map(|schedule| schedule.concurrency).unwrap_or_default()
    }

    /// Ends every run under way; their instances are stopped by whoever asks for it.
    pub(super) fn end_runs(&mut self, id: WorkloadId, why: &Said, at: At) {
        let Some(workload) = self.workloads.get_mut(&id) else { return };
        for run in &mut workload.cron.runs {
            if run.outcome == RunOutcome::UnderWay {
                run.outcome = RunOutcome::Stopped;
                run.ended = Some(at);
                run.why = why.clone();
            }
        }
    }

    /// Stops the living instances of runs that are not under way.
    fn stop_unwanted(&mut self, id: WorkloadId) {
        let wanted = self.ordinals(id);
        let unwanted = |i: &InstanceId| {
            let instance = &self.instances[i];
            !wanted.contains(&instance.ordinal) && !instance.status.phase.is_final()
        };
        let stopping: Vec<InstanceId> = self.of_workload(id).filter(unwanted).collect();
        for instance in stopping {
            self.stop_instance(instance, StopReason::NotWanted);
        }
    }

    /// Notes the instance of a run.
    pub(super) fn note_run(&mut self, id: WorkloadId, number: u32, instance: InstanceId) {
        let workload = self.workloads.get_mut(&id).expect("an instance's workload exists");
        if let Some(run) = workload.cron.runs.iter_mut().find(|run| run.number == number) {
            run.instance = Some(instance);
        }
    }

    /// Notes how a run ended whose instance did.
    pub(super) fn end_run(&mut self, instance: InstanceId, at: At) {
        let Some(instance) = self.instances.get(&instance) else { return };
        if self.spec(instance).kind != Kind::Cron {
            return;
        }
        let (id, number, status) = (instance.workload, instance.ordinal, instance.status.clone());
        let workload = self.workloads.get_mut(&id).expect("an instance's workload exists");
        let mut live = workload.cron.runs.iter_mut();
        let run = live.find(|r| r.number == number && r.outcome == RunOutcome::UnderWay);
        if let Some(run) = run {
            let well = status.phase == Phase::Succeeded;
            run.outcome = if well { RunOutcome::Succeeded } else { RunOutcome::Failed };
            run.ended = Some(at);
            run.why = crate::rollout::bounded(ended(status.exit, &status.message));
        }
        self.drop_old_runs(id);
    }

    /// Forgets the oldest ended runs beyond the number that is kept, and their instances.
    fn drop_old_runs(&mut self, id: WorkloadId) {
        let workload = self.workloads.get_mut(&id).expect("an instance's workload exists");
        let spec = &workload.revisions[&workload.revision];
        let kept = kept(spec);
        let mut ended: Vec<u32> =
            workload.cron.runs.iter().filter(|r| r.ended.is_some()).map(|run| run.number).collect();
        ended.truncate(ended.len().saturating_sub(kept));
        workload.cron.runs.retain(|run| !ended.contains(&run.number));
        let of_ended = |i: &InstanceId| {
            let instance = &self.instances[i];
            ended.contains(&instance.ordinal) && instance.status.phase.is_final()
        };
        let forgotten: Vec<InstanceId> = self.of_workload(id).filter(of_ended).collect();
        for instance in forgotten {
            self.stop_instance(instance, StopReason::NotWanted);
        }
    }
}

fn kept(spec: &WorkloadSpec) -> usize {
    let kept = spec.schedule.as_ref().map_or(1, |schedule| schedule.runs_kept);
    usize::try_from(kept).unwrap_or(usize::MAX)
}
