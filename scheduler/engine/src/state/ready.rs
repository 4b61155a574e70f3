//! Readiness: what must be so before an instance starts, besides room.
//!
//! Durable state alone decides, so that a start that is checked again in a replay has the same answer.

use tengyun_model::{
    At, Concurrency, Kind, MovePolicy, Phase, WorkloadId, WorkloadKey, WorkloadSpec,
};

use super::State;
use crate::command::{Lack, Past, Refusal};
use crate::image::{InstanceImage, WorkloadImage, WorkloadWish};
use crate::runs::RunOutcome;

/// The most workloads that are looked at for a circle; a chain this long has none that ends.
const CHAIN_MAX: usize = 10_000;

impl State {
    /// Refuses to place anywhere what must not start now, or must start where it belongs; of one that
    /// runs, what nodes were lost under.
    pub(crate) fn check_held(&self, instance: &InstanceImage) -> Result<(), Refusal> {
        if let Some(home) = self.bound_to(instance) {
            return Err(Refusal::OnlyThere(home));
        }
        self.check_ready(instance)
    }

    /// Refuses to start what nodes were lost under, what still stops elsewhere and must not run twice,
    /// and what depends on something that is not ready.
    pub(crate) fn check_ready(&self, instance: &InstanceImage) -> Result<(), Refusal> {
        let before = self.turns.get(&(instance.workload, instance.ordinal));
        let before = before.and_then(|id| self.instances.get(id));
        if instance.node.is_none() && before.is_some_and(|before| !self.is_surely_off(before)) {
            return Err(Refusal::Stale(Past::EarlierCopy));
        }
        self.check_alone(instance)?;
        let workload = self.workloads.get(&instance.workload).expect("its workload outlives it");
        if workload.is_held() {
            let key = self.spec(instance).key.clone();
            return Err(Refusal::Held { key, nodes: workload.harms.len() });
        }
        if instance.node.is_none() {
            let spec = self.spec(instance);
            self.check_run(instance, spec)?;
            spec.depends_on.iter().try_for_each(|key| self.check_dependency(key))?;
        }
        Ok(())
    }

    /// Refuses to start a run beside an earlier one that still runs.
    fn check_run(&self, instance: &InstanceImage, spec: &WorkloadSpec) -> Result<(), Refusal> {
        let alone = spec.schedule.as_ref().is_some_and(|s| s.concurrency != Concurrency::Allow);
        if spec.kind != Kind::Cron || !alone {
            return Ok(());
        }
        let runs = |other: &InstanceImage| {
            let earlier = other.ordinal < instance.ordinal;
            earlier && !other.status.phase.is_final() && !self.is_surely_off(other)
        };
        let mut others = self.of_workload(instance.workload).map(|id| &self.instances[&id]);
        if others.any(runs) { Err(Refusal::Stale(Past::EarlierRun)) } else { Ok(()) }
    }

    /// Says whether a workload that others depend on is ready: a service has a healthy copy, a job has
    /// ended well, a cron workload has had a run that did.
    fn check_dependency(&self, key: &WorkloadKey) -> Result<(), Refusal> {
        let lacks = |lacks: Lack| Refusal::DependsOn { key: key.clone(), lacks };
        let workload = self.workload_keyed(key).ok_or_else(|| lacks(Lack::Existence))?;
        if workload.wish != WorkloadWish::Run {
            return Err(lacks(Lack::Wish));
        }
        let spec = &workload.revisions[&workload.revision];
        let phases = || self.of_workload(workload.id).map(|id| self.instances[&id].status.phase);
        match spec.kind {
            Kind::Service | Kind::PerNode => {
                let healthy = phases().any(|phase| phase == Phase::Healthy);
                if healthy { Ok(()) } else { Err(lacks(Lack::HealthyCopy)) }
            }
            Kind::Job => {
                let ended = spec.instances > 0 && phases().all(|phase| phase == Phase::Succeeded);
                if ended { Ok(()) } else { Err(lacks(Lack::GoodEnd)) }
            }
            Kind::Cron => {
                let mut runs = workload.cron.runs.iter();
                let ended = runs.any(|run| run.outcome == RunOutcome::Succeeded);
                if ended { Ok(()) } else { Err(lacks(Lack::GoodRun)) }
            }
        }
    }

    /// Refuses a workload that would depend on itself.
    pub(super) fn check_circle(&self, spec: &WorkloadSpec) -> Result<(), Refusal> {
        let mut seen: std::collections::BTreeSet<&WorkloadKey> = std::collections::BTreeSet::new();
        let mut next: Vec<&WorkloadKey> = spec.depends_on.iter().collect();
        while let Some(key) = next.pop() {
            if *key == spec.key {
                let first = spec.depends_on.first().unwrap_or(key);
                return Err(Refusal::Circle(first.clone()));
            }
            if !seen.insert(key) || seen.len() > CHAIN_MAX {
                continue;
            }
            let workload = self.workload_keyed(key);
            let spec = workload.and_then(|w| w.revisions.get(&w.revision));
            next.extend(spec.into_iter().flat_map(|spec| &spec.depends_on));
        }
        Ok(())
    }

    /// Says whether instances of a workload may be moved at a moment, by its policy and its window.
    pub(crate) fn may_move_now(&self, id: WorkloadId, now: At) -> bool {
        let Some(workload) = self.workloads.get(&id) else { return false };
        match workload.revisions[&workload.revision].move_policy {
            MovePolicy::Never => false,
            MovePolicy::Any => true,
            MovePolicy::Window => {
                self.window(id).is_some_and(|(from, until)| from <= now && now < until)
            }
        }
    }

    /// Returns the present or next window of a workload, if the shell has told it.
    pub fn window(&self, id: WorkloadId) -> Option<(At, At)> {
        self.windows.get(&id).copied()
    }

    /// Returns the workloads that a calendar is kept for, by ascending id.
    pub fn timed(&self) -> impl Iterator<Item = &WorkloadImage> {
        self.timed_ids().filter_map(|id| self.workload(id))
    }
}
