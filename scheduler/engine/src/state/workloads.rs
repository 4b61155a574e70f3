//! Wishes about workloads, and the instances that fulfil them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tengyun_model::{
    At, Exit, Incarnation, InstanceId, InstanceStatus, Kind, NodeId, Phase, Revision, Said,
    WorkloadId, WorkloadKey, WorkloadSpec, said,
};

use super::State;
use crate::command::{Effect, Refusal};
use crate::image::{InstanceImage, InstanceWish, WorkloadImage, WorkloadWish};
use crate::plan::StopReason;
use crate::rollout::{Fate, RevisionNote, RolloutImage, Stage, rolls};
use crate::runs::CronImage;

impl State {
    pub(super) fn apply_workload(&mut self, spec: &WorkloadSpec, at: At) -> Effect {
        let Some(id) = self.keys.get(&spec.key).copied() else {
            return self.create_workload(spec, at);
        };
        let workload = self.workloads.get_mut(&id).expect("a keyed workload exists");
        let held = &workload.revisions[&workload.revision];
        if **held == *spec && workload.wish == WorkloadWish::Run {
            return Effect::Unchanged(id, workload.revision);
        }
        if is_of_same_copies(held, spec) {
            workload.revisions.insert(workload.revision, Arc::new(spec.clone()));
        } else {
            self.begin_revision(id, spec, at);
        }
        let workload = self.workloads.get_mut(&id).expect("a keyed workload exists");
        let revision = workload.revision;
        workload.wish = WorkloadWish::Run;
        workload.applied = at;
        self.trim_revisions(id);
        self.scale(id, at);
        Effect::Updated(id, revision)
    }

    fn create_workload(&mut self, spec: &WorkloadSpec, at: At) -> Effect {
        self.next_workload = self.next_workload.next();
        let id = self.next_workload;
        let revision = Revision::new(1);
        let workload = WorkloadImage {
            id,
            revisions: [(revision, Arc::new(spec.clone()))].into(),
            revision,
            wish: WorkloadWish::Run,
            applied: at,
            harms: BTreeMap::new(),
            good: (!rolls(spec.kind)).then_some(revision),
            rollout: rolls(spec.kind).then(|| RolloutImage::begin(Stage::Advancing, at)),
            notes: BTreeMap::from([(revision, Box::new(first_note(spec, at)))]),
            cron: CronImage::default(),
        };
        self.workloads.insert(id, Box::new(workload));
        self.keys.insert(Arc::new(spec.key.clone()), id);
        self.derive_revisions(id);
        self.scale(id, at);
        Effect::Created(id, revision)
    }

    pub(super) fn stop_workload(&mut self, key: &WorkloadKey, at: At) -> Result<Effect, Refusal> {
        let id = self.known(key)?;
        let workload = self.workloads.get_mut(&id).expect("a keyed workload exists");
        if workload.wish == WorkloadWish::Delete {
            return Err(Refusal::Deleting(key.clone()));
        }
        workload.wish = WorkloadWish::Stop;
        self.end_runs(id, &said!(WhyRunStopped), at);
        self.stop_all(id);
        Ok(Effect::Done)
    }

    pub(super) fn delete_workload(&mut self, key: &WorkloadKey) -> Result<Effect, Refusal> {
        let id = self.known(key)?;
        self.workloads.get_mut(&id).expect("a keyed workload exists").wish = WorkloadWish::Delete;
        self.stop_all(id);
        self.forget_if_done(id);
        Ok(Effect::Done)
    }

    fn known(&self, key: &WorkloadKey) -> Result<WorkloadId, Refusal> {
        self.keys.get(key).copied().ok_or_else(|| Refusal::UnknownWorkload(key.clone()))
    }

    fn stop_all(&mut self, id: WorkloadId) {
        let instances: Vec<InstanceId> = self.of_workload(id).collect();
        for instance in instances {
            self.stop_instance(instance, StopReason::NotWanted);
        }
    }

    /// Makes the copies match the present revision: too many stop, missing ones wait, ended ones of
    /// an older revision make place for new ones. Running ones of an older revision are replaced by
    /// plans, a batch at a time. An ended run stays as what it was.
    pub(super) fn scale(&mut self, id: WorkloadId, at: At) {
        let workload = &self.workloads[&id];
        let revision = workload.revision;
        let runs = workload.revisions[&revision].kind == Kind::Cron;
        let wanted = self.ordinals(id);
        let mut homes = BTreeMap::new();
        let copies: Vec<InstanceId> = self.of_workload(id).collect();
        for copy in copies {
            let instance = &self.instances[&copy];
            let waits = instance.node.is_none();
            let ended = instance.status.phase.is_final();
            if runs && ended {
                continue;
            }
            let outdated = instance.revision != revision && (waits || ended);
            if outdated && let Some(home) = instance.home {
                homes.insert(instance.ordinal, home);
            }
            if !wanted.contains(&instance.ordinal) || outdated {
                self.stop_instance(copy, StopReason::NotWanted);
            }
        }
        self.fill_homes(id, &homes, at);
        // The specification of copies that stay may have changed in its number of instances.
        let mut nodes: Vec<_> =
            self.of_workload(id).filter_map(|i| self.instances[&i].node).collect();
        nodes.dedup();
        for node in nodes {
            self.touch(node);
        }
    }

    /// Makes a waiting instance for each copy that has none.
    pub(super) fn fill(&mut self, id: WorkloadId, at: At) {
        self.fill_homes(id, &BTreeMap::new(), at);
    }

    /// Does so, and lets some of them start on the nodes only that they belong to.
    pub(super) fn fill_homes(&mut self, id: WorkloadId, homes: &BTreeMap<u32, NodeId>, at: At) {
        let workload = &self.workloads[&id];
        if workload.wish != WorkloadWish::Run {
            return;
        }
        let revision = workload.revision;
        let kind = workload.revisions[&revision].kind;
        let ordinals = self.ordinals(id);
        // While a copy is being replaced, the one of the two that is not being stopped counts.
        let old_runs =
            |old: InstanceId| self.instances.get(&old).is_some_and(|i| i.wish == InstanceWish::Run);
        let wanted = |i: &InstanceImage| {
            i.wish == InstanceWish::Run && i.replaces.is_none_or(|old| !old_runs(old))
        };
        let present: BTreeSet<u32> = self
            .of_workload(id)
            .map(|i| &self.instances[&i])
            .filter(|i| wanted(i))
            .map(|i| i.ordinal)
            .collect();
        for ordinal in ordinals.into_iter().filter(|o| !present.contains(o)) {
            let home = match kind {
                Kind::PerNode => Some(NodeId::new(ordinal)),
                Kind::Service | Kind::Job | Kind::Cron => homes.get(&ordinal).copied(),
            };
            let instance = self.add_waiting((id, ordinal, revision), home, at);
            if kind == Kind::Cron {
                self.note_run(id, ordinal, instance);
            }
        }
    }

    pub(super) fn add_waiting(
        &mut self,
        (workload, ordinal, revision): (WorkloadId, u32, Revision),
        home: Option<NodeId>,
        at: At,
    ) -> InstanceId {
        self.insert_instance(|id| InstanceImage {
            workload,
            ordinal,
            revision,
            node: None,
            wish: InstanceWish::Run,
            replaces: None,
            status: fresh_status(id, Phase::Waiting, at),
            created: at,
            placed: At::default(),
            moved: None,
            ports: BTreeMap::new(),
            home,
            healthy: None,
            failures: 0,
            failed: None,
            promise: None,
        })
    }

    pub(super) fn insert_instance(
        &mut self,
        make: impl FnOnce(InstanceId) -> InstanceImage,
    ) -> InstanceId {
        self.next_instance = self.next_instance.next();
        let id = self.next_instance;
        let instance = make(id);
        self.index(id, &instance);
        self.instances.insert(id, instance);
        id
    }

    /// Enters an instance into the indexes.
    pub(super) fn index(&mut self, id: InstanceId, instance: &InstanceImage) {
        self.of_workload.entry(instance.workload).or_default().insert(id);
        self.derive(id, instance);
        if let Some(node) = instance.node {
            self.on_node.entry(node).or_default().insert(id);
        }
        if let Some(old) = instance.replaces {
            self.replacements.insert(old, id);
        }
        if let InstanceWish::Stop(StopReason::Drained | StopReason::Renewed) = instance.wish {
            self.turns.insert((instance.workload, instance.ordinal), id);
        }
    }

    /// Wants an instance to stop; one of which nothing can run is gone at once.
    pub(super) fn stop_instance(&mut self, id: InstanceId, reason: StopReason) {
        let instance = self.instances.get_mut(&id).expect("only existing instances are stopped");
        if instance.wish != InstanceWish::Run {
            return;
        }
        instance.wish = InstanceWish::Stop(reason);
        self.derive_leaving(id);
        let instance = &self.instances[&id];
        match instance.node {
            Some(node) if !instance.status.phase.is_final() => self.touch(node),
            Some(_) | None => self.remove_instance(id),
        }
    }

    /// Forgets an instance of which nothing runs any more.
    pub(super) fn remove_instance(&mut self, id: InstanceId) {
        let instance = self.instances.remove(&id).expect("only existing instances are removed");
        if let Some(node) = instance.node {
            self.on_node.entry(node).or_default().remove(&id);
            self.touch(node);
        }
        self.underive(id, &instance);
        if let Some(new) = self.replacements.remove(&id)
            && let Some(new) = self.instances.get_mut(&new)
        {
            new.replaces = None;
        }
        if let Some(old) = instance.replaces {
            self.replacements.remove(&old);
        }
        let turn = (instance.workload, instance.ordinal);
        if self.turns.get(&turn) == Some(&id) {
            self.turns.remove(&turn);
        }
        let copies = self.of_workload.entry(instance.workload).or_default();
        copies.remove(&id);
        if copies.is_empty() {
            self.of_workload.remove(&instance.workload);
        }
        self.trim_revisions(instance.workload);
        self.forget_if_done(instance.workload);
    }

    fn forget_if_done(&mut self, id: WorkloadId) {
        let deleted = self.workloads.get(&id).is_some_and(|w| w.wish == WorkloadWish::Delete);
        if deleted && !self.of_workload.contains_key(&id) {
            let workload = self.workloads.remove(&id).expect("it was there a line ago");
            self.keys.remove(&workload.revisions[&workload.revision].key);
            self.derive_revisions(id);
        }
    }
}

/// Says whether two specifications differ in nothing that a running copy would notice.
pub(super) fn is_of_same_copies(held: &WorkloadSpec, spec: &WorkloadSpec) -> bool {
    let as_held = WorkloadSpec {
        instances: held.instances,
        rollout: held.rollout,
        schedule: held.schedule.clone(),
        window: held.window.clone(),
        depends_on: held.depends_on.clone(),
        gang: held.gang,
        ..spec.clone()
    };
    as_held == *held
}

fn first_note(spec: &WorkloadSpec, at: At) -> RevisionNote {
    let fate = if rolls(spec.kind) { Fate::Rolling } else { Fate::Good };
    RevisionNote { applied: at, fate, why: Said::NOTHING }
}

/// Makes the status of an instance that its node has not spoken of yet.
pub(crate) fn fresh_status(instance: InstanceId, phase: Phase, at: At) -> InstanceStatus {
    InstanceStatus {
        instance,
        incarnation: Incarnation::default(),
        phase,
        since: at,
        pid: None,
        exit: None::<Exit>,
        message: String::new(),
    }
}
