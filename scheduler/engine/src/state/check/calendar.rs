//! What the kinds, gangs, rollouts, schedules and windows of a specification must be.

use std::collections::BTreeSet;

use tengyun_model::workload::{GANG_MIN, INSTANCES_MAX};
use tengyun_model::{Class, CronTable, Kind, MovePolicy, WorkloadSpec};

use super::bad;
use crate::command::Refusal;

/// Checks them.
pub(super) fn check(spec: &WorkloadSpec) -> Result<(), Refusal> {
    match spec.kind {
        Kind::Service | Kind::Job => {}
        Kind::Cron => check_cron(spec)?,
        Kind::PerNode => check_per_node(spec)?,
    }
    if spec.kind != Kind::Cron && spec.schedule.is_some() {
        return Err(bad("schedule", "left out, unless the kind is cron"));
    }
    match (spec.move_policy, &spec.window) {
        (MovePolicy::Window, None) => Err(bad("window", "given, for move: window"))?,
        (MovePolicy::Never | MovePolicy::Any, Some(_)) => {
            Err(bad("window", "left out, unless move is window"))?;
        }
        (MovePolicy::Window, Some(_)) | (MovePolicy::Never | MovePolicy::Any, None) => {}
    }
    let rollout = &spec.rollout;
    if rollout.batch == 0 || rollout.batch > INSTANCES_MAX {
        return Err(bad("rollout.batch", "from 1 to 10000"));
    }
    if rollout.failure_limit == 0 {
        return Err(bad("rollout.failure_limit", "at least 1"));
    }
    let different: BTreeSet<_> = spec.depends_on.iter().collect();
    if different.len() != spec.depends_on.len() {
        return Err(bad("depends_on", "different workloads"));
    }
    check_gang(spec)
}

fn check_gang(spec: &WorkloadSpec) -> Result<(), Refusal> {
    match spec.kind {
        _ if !spec.gang => Ok(()),
        Kind::Cron | Kind::PerNode => {
            Err(bad("gang", "left out, unless the kind is service or job"))
        }
        Kind::Service | Kind::Job if spec.instances < GANG_MIN => {
            Err(bad("gang", &format!("left out, unless there are {GANG_MIN} instances or more")))
        }
        Kind::Service | Kind::Job => Ok(()),
    }
}

fn check_cron(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let schedule = spec.schedule.as_ref();
    let schedule = schedule.ok_or_else(|| bad("schedule", "given, for the kind cron"))?;
    CronTable::parse(&schedule.cron).map_err(|what| bad("schedule.cron", &what.to_string()))?;
    if spec.instances != 1 {
        return Err(bad("instances", "1 for the kind cron: each run is one instance"));
    }
    if spec.constraints.spread.is_some() {
        return Err(bad("constraints.spread", "left out for the kind cron"));
    }
    if !spec.volumes.is_empty() {
        return Err(bad("volumes", "left out for the kind cron: each run is another copy"));
    }
    Ok(())
}

fn check_per_node(spec: &WorkloadSpec) -> Result<(), Refusal> {
    if spec.move_policy != MovePolicy::Never {
        return Err(bad("move", "never for the kind per-node: each copy belongs to its node"));
    }
    if spec.class == Class::Harvest {
        return Err(bad("class", "critical or standard for the kind per-node"));
    }
    if spec.instances != 1 {
        return Err(bad("instances", "1 for the kind per-node: one copy on each node"));
    }
    if spec.constraints.spread.is_some() {
        return Err(bad("constraints.spread", "left out for the kind per-node"));
    }
    Ok(())
}
