//! Volumes: which copy has its home on which node, and what becomes of it.
//!
//! A home is made when a copy with volumes is placed and outlives its instances, its revisions and
//! its workload. While it is kept, the copy starts nowhere else; it is given up only by an
//! operator's word, that its node is off or that the volumes are to be removed.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{At, CopyKey, InstanceId, Mebibytes, NodeId, WorkloadId, WorkloadSpec};

use super::State;
use crate::command::{Command, Effect, Past, Refusal};
use crate::image::{HomeFate, HomeImage, InstanceImage};

/// All homes.
#[derive(Clone, Debug, Default)]
pub(super) struct Homes {
    on_node: BTreeMap<NodeId, BTreeMap<CopyKey, HomeImage>>,
    /// Where copies have to start.
    kept: BTreeMap<CopyKey, NodeId>,
    removing: BTreeSet<(CopyKey, NodeId)>,
}

impl Homes {
    /// Takes homes out of an image.
    pub(super) fn new(homes: Vec<HomeImage>) -> Self {
        let mut all = Self::default();
        for home in homes {
            all.insert(home);
        }
        all
    }

    fn insert(&mut self, home: HomeImage) {
        let (copy, node) = (home.copy.clone(), home.node);
        match home.fate {
            HomeFate::Kept => drop(self.kept.insert(copy.clone(), node)),
            HomeFate::Abandoned => self.release(&copy, node),
            HomeFate::Removing => {
                self.release(&copy, node);
                self.removing.insert((copy.clone(), node));
            }
        }
        self.on_node.entry(node).or_default().insert(copy, home);
    }

    fn release(&mut self, copy: &CopyKey, node: NodeId) {
        if self.kept.get(copy) == Some(&node) {
            self.kept.remove(copy);
        }
    }

    fn get(&self, copy: &CopyKey, node: NodeId) -> Option<&HomeImage> {
        self.on_node.get(&node)?.get(copy)
    }

    fn remove(&mut self, copy: &CopyKey, node: NodeId) {
        self.release(copy, node);
        self.removing.remove(&(copy.clone(), node));
        if let Some(here) = self.on_node.get_mut(&node) {
            here.remove(copy);
            if here.is_empty() {
                self.on_node.remove(&node);
            }
        }
    }

    /// Returns every home by ascending node and copy.
    pub(super) fn all(&self) -> impl Iterator<Item = &HomeImage> {
        self.on_node.values().flat_map(BTreeMap::values)
    }
}

/// What the volumes of a copy ask of the node that it starts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VolumeNeed {
    /// The only node that will do, where there is one.
    pub(crate) home: Option<NodeId>,
    /// The disk space that they take beyond what they take already.
    pub(crate) space: Mebibytes,
}

impl State {
    /// Returns every home by ascending node and copy.
    pub fn homes(&self) -> impl Iterator<Item = &HomeImage> {
        self.homes.all()
    }

    /// Returns the homes on a node by ascending copy.
    pub fn homes_on(&self, node: NodeId) -> impl Iterator<Item = &HomeImage> {
        self.homes.on_node.get(&node).into_iter().flat_map(BTreeMap::values)
    }

    /// Returns the node that a copy has to start on.
    pub fn home(&self, copy: &CopyKey) -> Option<NodeId> {
        self.homes.kept.get(copy).copied()
    }

    /// Returns the instance that uses a home: one of its copy that is there and may run.
    pub fn user_of(&self, home: &HomeImage) -> Option<&InstanceImage> {
        let workload = self.workload_keyed(&home.copy.workload)?;
        let copies = self.of_workload(workload.id).filter_map(|id| self.instance(id));
        let uses = |i: &&InstanceImage| {
            i.ordinal == home.copy.ordinal
                && i.node == Some(home.node)
                && !i.status.phase.is_final()
        };
        copies.filter(uses).last()
    }

    /// Says what the volumes of an instance ask of its node, if the specification has any.
    pub(crate) fn volume_need(
        &self,
        instance: &InstanceImage,
        spec: &WorkloadSpec,
    ) -> Option<VolumeNeed> {
        if spec.volumes.is_empty() {
            return None;
        }
        let copy = copy_of(instance, spec);
        let home = self.home(&copy);
        let known = home.and_then(|node| self.homes.get(&copy, node));
        let beyond = |volume: &tengyun_model::VolumeSpec| {
            let there = known.and_then(|home| home.volumes.get(&volume.name).copied());
            volume.size.saturating_sub(there.unwrap_or_default())
        };
        Some(VolumeNeed { home, space: spec.volumes.iter().map(beyond).sum() })
    }

    /// Says whether a workload has volumes now.
    fn keeps_volumes(&self, id: WorkloadId) -> bool {
        let workload = self.workloads.get(&id);
        workload.is_some_and(|w| !w.revisions[&w.revision].volumes.is_empty())
    }

    /// Says whether an instance and the one that follows it must not run beside each other.
    pub(crate) fn renews_by_stopping(&self, instance: &InstanceImage) -> bool {
        self.keeps_volumes(instance.workload) || !self.spec(instance).volumes.is_empty()
    }

    /// Refuses to start a copy whose volumes another instance of it still holds, or of which some
    /// are being removed.
    pub(super) fn check_alone(&self, instance: &InstanceImage) -> Result<(), Refusal> {
        let spec = self.spec(instance);
        if spec.volumes.is_empty() || instance.node.is_some() {
            return Ok(());
        }
        let others = self.of_workload(instance.workload).filter_map(|id| self.instance(id));
        let holds = |other: &&InstanceImage| {
            other.ordinal == instance.ordinal
                && other.node.is_some()
                && !other.status.phase.is_final()
                && !self.is_surely_off(other)
        };
        if others.into_iter().any(|other| holds(&other)) {
            return Err(Refusal::Stale(Past::HolderOfVolumes));
        }
        let copy = copy_of(instance, spec);
        let lost = |node: &NodeId| self.nodes.get(node).is_some_and(|n| n.loss.is_some());
        let mut removing = self.homes.removing.iter();
        if removing.any(|(other, node)| *other == copy && !lost(node)) {
            return Err(Refusal::Stale(Past::Removal));
        }
        Ok(())
    }

    /// Makes the home of a copy that was just placed.
    pub(super) fn settle(&mut self, id: InstanceId, at: At) {
        let instance = &self.instances[&id];
        let spec = self.spec(instance);
        let Some(node) = instance.node.filter(|_| !spec.volumes.is_empty()) else { return };
        let copy = copy_of(instance, spec);
        let mut home = self.homes.get(&copy, node).cloned().unwrap_or(HomeImage {
            copy,
            node,
            volumes: BTreeMap::new(),
            fate: HomeFate::Kept,
            since: at,
        });
        home.fate = HomeFate::Kept;
        home.volumes.extend(spec.volumes.iter().map(|v| (v.name.clone(), v.size)));
        self.homes.insert(home);
        self.sum_up_room(node);
    }

    /// An operator knows that a node is off: what has its home there may start elsewhere, empty.
    pub(super) fn abandon(&mut self, node: NodeId) {
        let here: Vec<HomeImage> = self.homes_on(node).cloned().collect();
        for home in here.into_iter().filter(|home| home.fate == HomeFate::Kept) {
            self.homes.insert(HomeImage { fate: HomeFate::Abandoned, ..home });
        }
    }

    /// Forgets what has its home on a node that is forgotten.
    pub(super) fn forget_homes(&mut self, node: NodeId) {
        let here: Vec<CopyKey> = self.homes_on(node).map(|home| home.copy.clone()).collect();
        for copy in here {
            self.homes.remove(&copy, node);
        }
    }

    pub(super) fn check_volumes(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::DeleteVolumes { operation, .. } if self.operations.contains_key(operation) => {
                Ok(())
            }
            Command::DeleteVolumes { copy, node, .. } => {
                let home = self.homes.get(copy, *node);
                let home = home.ok_or_else(|| Refusal::UnknownVolumes(Box::new(copy.clone())))?;
                match self.user_of(home) {
                    Some(user) => Err(Refusal::VolumesInUse(user.status.instance)),
                    None => Ok(()),
                }
            }
            Command::ForgetVolumes { node, .. } => self.check_node(*node),
            other => unreachable!("{other:?} is not about volumes"),
        }
    }

    pub(super) fn delete_volumes(&mut self, copy: &CopyKey, node: NodeId) -> Effect {
        if let Some(home) = self.homes.get(copy, node).cloned() {
            self.homes.insert(HomeImage { fate: HomeFate::Removing, ..home });
            self.touch(node);
        }
        Effect::Done
    }

    /// A node has removed volumes; those that are not to be removed are passed over.
    pub(super) fn forget_volumes(&mut self, node: NodeId, copies: &[CopyKey]) -> Effect {
        for copy in copies {
            let home = self.homes.get(copy, node);
            if home.is_some_and(|home| home.fate == HomeFate::Removing) {
                self.homes.remove(copy, node);
            }
        }
        self.sum_up_room(node);
        self.touch(node);
        Effect::Done
    }

    /// Says whether the indexes of homes follow from them.
    pub(super) fn homes_drift(&self) -> bool {
        let again = Homes::new(self.homes.all().cloned().collect());
        again.kept != self.homes.kept || again.removing != self.homes.removing
    }
}

fn copy_of(instance: &InstanceImage, spec: &WorkloadSpec) -> CopyKey {
    CopyKey { workload: spec.key.clone(), ordinal: instance.ordinal }
}
