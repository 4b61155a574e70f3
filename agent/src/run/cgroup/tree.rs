//! The control groups of one node: its own, its classes', its departments', its instances'.
//!
//! Every name in the tree is made from a class, a checked department or numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tengyun_model::{CgroupVersion, Class, DepartmentPath, Mebibytes, Millicores, Name, NodeName};

use super::{CgroupError, Controller, Group, GroupPath, Limits, control, v1, v2};
use crate::run::RunKey;

/// The longest name of a department's group; the kernel takes 255 bytes, suffixes need a few.
pub(super) const GROUP_NAME_BYTES_MAX: usize = 200;
/// How deep below the node's group a scan goes: class, department, instance.
const SCAN_DEPTH: usize = 3;
/// The most groups a scan lists in one directory; a bound against a tree that others fill.
const SCAN_ENTRIES_MAX: usize = 100_000;
/// The group of the shims, beside the classes.
const SHIMS: &str = "shims";

/// The control groups of one node.
#[derive(Debug)]
pub(crate) struct Cgroups {
    node: Option<Group>,
    home: Option<Group>,
    reason: String,
    idle: bool,
    /// The quota of the node: no instance's may be above it, or a v1 kernel refuses it.
    bound: Option<Millicores>,
    weights: Mutex<Weights>,
}

/// What the instances of each department ask for: a department weighs as much as they do together.
#[derive(Debug, Default)]
struct Weights(BTreeMap<(Class, DepartmentPath), BTreeMap<RunKey, Millicores>>);

impl Weights {
    fn insert(&mut self, class: Class, of: &DepartmentPath, key: RunKey, weight: Millicores) {
        // One that asks for nothing still counts as there.
        let weight = weight.max(Millicores::new(1));
        self.0.entry((class, of.clone())).or_default().insert(key, weight);
    }

    fn remove(&mut self, class: Class, of: &DepartmentPath, key: RunKey) {
        if let Some(weights) = self.0.get_mut(&(class, of.clone())) {
            weights.remove(&key);
        }
        self.0.retain(|_, weights| !weights.is_empty());
    }

    fn sum(&self, class: Class, of: &DepartmentPath) -> Millicores {
        let weights = self.0.get(&(class, of.clone()));
        weights.into_iter().flat_map(BTreeMap::values).copied().sum()
    }
}

impl Cgroups {
    /// Works without control groups, for this reason.
    pub(crate) fn none(reason: impl Into<String>) -> Self {
        Self {
            node: None,
            home: None,
            reason: reason.into(),
            idle: false,
            bound: None,
            weights: Mutex::default(),
        }
    }

    /// Looks for a hierarchy below `root` and makes the group `<name>/<node>` and its classes there,
    /// on the unified hierarchy below `parent`.
    ///
    /// What the agent may not use is left out; [`Cgroups::reason`] says why.
    pub(crate) fn probe(
        root: &Path,
        parent: Option<&GroupPath>,
        name: &Name,
        node: &NodeName,
    ) -> Self {
        let found = if root.join("cgroup.controllers").exists() {
            let delegated = parent.map(|parent| root.join(parent.path()));
            v2::Group::root(delegated.as_deref().unwrap_or(root)).map(Group::V2)
        } else {
            // Nobody but systemd looks after its own groups of version 1: others are left alone.
            v1::Group::root(root, name.as_str()).map(Group::V1)
        };
        let top = match found {
            Ok(top) => top,
            Err(reason) => return Self::none(reason),
        };
        match Self::build(&top, name, node) {
            Ok(cgroups) => cgroups,
            Err(error) => Self::none(error.reason()),
        }
    }

    fn build(top: &Group, name: &Name, node: &NodeName) -> Result<Self, CgroupError> {
        let home = top.child(name.as_str());
        let node = home.child(node.as_str());
        for group in [&home, &node] {
            group.create()?;
            group.open_to_children()?;
        }
        if node.is_unified() {
            node.child(SHIMS).create()?;
        }
        let mut idle = false;
        for class in Class::ALL {
            let group = node.child(class.as_str());
            group.create()?;
            group.open_to_children()?;
            match class {
                Class::Critical => group.set_weight(control::CRITICAL_WEIGHT)?,
                Class::Standard => group.set_weight(control::STANDARD_WEIGHT)?,
                Class::Harvest => {
                    group.set_weight(Millicores::ZERO)?;
                    idle = group.set_idle().unwrap_or(false);
                }
            }
        }
        let (node, home, reason) = (Some(node), Some(home), String::new());
        Ok(Self { node, home, reason, idle, bound: None, weights: Mutex::default() })
    }

    /// Holds the node as a whole to its capacity; returns why that was not possible.
    pub(crate) fn bound(
        &mut self,
        cpu: Option<Millicores>,
        memory: Option<Mebibytes>,
    ) -> Result<(), String> {
        let Some(node) = &self.node else { return Err(self.reason.clone()) };
        self.bound = cpu;
        let cpu = node.set_quota(cpu);
        let memory = memory.map_or(Ok(()), |limit| node.set_memory(limit));
        cpu.and(memory).map_err(|error| error.reason())
    }

    /// Returns which kind of control groups is in use.
    pub(crate) fn version(&self) -> CgroupVersion {
        match &self.node {
            None => CgroupVersion::None,
            Some(group) if group.is_unified() => CgroupVersion::V2,
            Some(_) => CgroupVersion::V1,
        }
    }

    /// Returns why control groups are not used; empty when they are.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns true when groups have this controller.
    pub(crate) fn controls(&self, controller: Controller) -> bool {
        self.node.as_ref().is_some_and(|node| node.controls(controller))
    }

    /// Returns true when the kernel holds harvest back by its idle class.
    pub(crate) const fn idle_class(&self) -> bool {
        self.idle
    }

    /// Returns the node's group.
    pub(crate) const fn node(&self) -> Option<&Group> {
        self.node.as_ref()
    }

    /// Names the group of a class.
    pub(crate) fn class(&self, class: Class) -> Option<Group> {
        self.node.as_ref().map(|node| node.child(class.as_str()))
    }

    /// Names the group of one start of an instance; nothing is made.
    pub(crate) fn instance(
        &self,
        key: RunKey,
        class: Class,
        department: &DepartmentPath,
    ) -> Option<Group> {
        Some(self.department(class, department)?.child(&key.to_string()))
    }

    /// Makes the group of one start of an instance with its limits.
    pub(crate) fn create(
        &self,
        key: RunKey,
        class: Class,
        department: &DepartmentPath,
        limits: &Limits,
    ) -> Result<Option<Group>, CgroupError> {
        let Some(above) = self.department(class, department) else { return Ok(None) };
        let group = above.child(&key.to_string());
        {
            let mut weights = self.weights();
            above.create()?;
            above.open_to_children()?;
            group.create()?;
            weights.insert(class, department, key, limits.weight);
            above.set_weight(weights.sum(class, department))?;
        }
        // A v1 kernel refuses a quota below that of a child, so harvest has the quota of its class
        // only, which the guard moves each second.
        let cpu = limits.cpu.filter(|_| class != Class::Harvest);
        let cpu = cpu.map(|limit| self.bound.map_or(limit, |bound| limit.min(bound)));
        group.limit(&Limits { cpu, ..*limits })?;
        Ok(Some(group))
    }

    /// Takes a shim out of the group of the agent that started it, into one beside its instances.
    ///
    /// On the unified hierarchy the agent's group is that of its service: a shim in it would be
    /// stopped with it by whoever stops all of a service, and count as what a service left behind.
    pub(crate) fn house_shim(&self, pid: u32) -> Result<(), CgroupError> {
        let Some(node) = self.node.as_ref().filter(|node| node.is_unified()) else { return Ok(()) };
        let files = node.child(SHIMS).procs_files();
        files.iter().try_for_each(|file| control::write(file, &pid.to_string()))
    }

    /// Removes the group of one start, and its department's when that is empty.
    pub(crate) fn remove(
        &self,
        key: RunKey,
        class: Class,
        department: &DepartmentPath,
    ) -> Result<(), CgroupError> {
        let Some(above) = self.department(class, department) else { return Ok(()) };
        let mut weights = self.weights();
        above.child(&key.to_string()).remove()?;
        weights.remove(class, department, key);
        let sum = weights.sum(class, department);
        if sum.is_zero() {
            // It may hold a group that failed to start: the last one to go removes it.
            drop(above.remove());
            return Ok(());
        }
        above.set_weight(sum)
    }

    /// Counts an adopted instance in the weight of its department.
    pub(crate) fn adopt(
        &self,
        key: RunKey,
        class: Class,
        department: &DepartmentPath,
        weight: Millicores,
    ) -> Result<(), CgroupError> {
        let Some(above) = self.department(class, department) else { return Ok(()) };
        let mut weights = self.weights();
        weights.insert(class, department, key, weight);
        above.set_weight(weights.sum(class, department))
    }

    fn department(&self, class: Class, department: &DepartmentPath) -> Option<Group> {
        Some(self.class(class)?.child(&department_name(department)))
    }

    /// Held while a department's group is made or removed, so that neither meets the other.
    fn weights(&self) -> MutexGuard<'_, Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists every group of an instance below the node's, known or not.
    pub(crate) fn found(&self) -> Vec<(RunKey, Group)> {
        let Some(node) = &self.node else { return Vec::new() };
        let mut level = vec![node.clone()];
        for _ in 0..SCAN_DEPTH {
            level = level.iter().flat_map(children).collect();
        }
        let keyed = level.into_iter().filter_map(|group| {
            let dir = group.any_directory()?;
            Some((RunKey::parse(dir.file_name()?.to_str()?)?, group))
        });
        keyed.collect()
    }

    /// Removes the node's group and all below it that have no process.
    pub(crate) fn remove_all(&self) {
        let Some(node) = &self.node else { return };
        let mut levels = vec![vec![node.clone()]];
        for depth in 0..SCAN_DEPTH {
            levels.push(levels[depth].iter().flat_map(children).collect());
        }
        for group in levels.iter().rev().flatten() {
            if let Err(error) = group.remove() {
                tracing::warn!(reason = error.reason(), "control group stays");
            }
        }
        if let Some(home) = &self.home {
            // Other nodes of this machine may still be in it: the last one removes it.
            drop(home.remove());
        }
    }
}

/// Lists the groups directly below one, on whichever hierarchy they were left.
fn children(group: &Group) -> Vec<Group> {
    let mut names = BTreeSet::new();
    for (_, dir) in group.directories() {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        for entry in entries.take(SCAN_ENTRIES_MAX) {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                names.extend(entry.file_name().into_string());
            }
        }
    }
    names.iter().map(|name| group.child(name)).collect()
}

/// Returns the name of a department's group: its path with dots, or a digest when that is too long.
pub(super) fn department_name(department: &DepartmentPath) -> String {
    group_name(department.as_str())
}

/// Returns a path of names as one name: with dots, or a digest when that is too long.
pub(crate) fn group_name(path: &str) -> String {
    let name = path.replace('/', ".");
    if name.len() <= GROUP_NAME_BYTES_MAX {
        return name;
    }
    let digest = Sha256::digest(path.as_bytes());
    // An underscore is in no name, so a digest is never another department's path.
    digest.iter().take(16).fold(String::from("_"), |text, byte| format!("{text}{byte:02x}"))
}
