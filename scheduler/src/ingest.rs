//! What an agent says becomes commands: durable ones for what changed, volatile ones for the rest.
//!
//! A report is the agent's full state, so each is compared with the scheduler's own; nothing here
//! depends on an earlier report having arrived.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::image::InstanceWish;
use tengyun_engine::{Command, InstanceImage, State};
use tengyun_model::{
    At, InstanceId, InstanceStatus, MeterRecord, Millis, NodeFacts, NodeId, Phase, Report,
};
use tracing::debug;

/// How often the growing meters of a node are journaled: at 10 s a thousand nodes cost a hundred
/// small rows a second, and an agent keeps what is not journaled yet.
const METERS_INTERVAL: Millis = Millis::from_secs(10);

/// What comes of one report.
#[derive(Debug)]
pub(crate) struct Intake {
    /// What was used.
    pub usage: Command,
    /// Marks that are durable already: their acknowledgement was lost.
    pub kept: Vec<MeterRecord>,
    /// Meters to be journaled; before the instances, because one that ended is forgotten by those.
    pub meters: Option<Command>,
    /// Instances that changed.
    pub observed: Option<Command>,
}

/// Remembers when the meters of each node were journaled.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    meters_at: BTreeMap<NodeId, At>,
}

impl Ingest {
    /// Takes a report apart.
    pub(crate) fn report(
        &mut self,
        state: &State,
        node: NodeId,
        report: &Report,
        now: At,
    ) -> Intake {
        let observed = observed(state, node, report);
        let (kept, grown) = sort_meters(state, node, &report.meters);
        let ends = observed.as_ref().is_some_and(ends_something);
        let due = self.is_due(node, &grown, ends, now);
        Intake {
            usage: Command::ReportUsage { node, usage: report.usage.clone() },
            kept,
            meters: due.then_some(Command::AcknowledgeMeters { node, meters: grown }),
            observed,
        }
    }

    fn is_due(&mut self, node: NodeId, grown: &[MeterRecord], ends: bool, now: At) -> bool {
        let last = self.meters_at.get(&node).copied().unwrap_or_default();
        let waited = now.since(last) >= METERS_INTERVAL;
        let due = waited || ends || grown.iter().any(|record| record.last);
        if grown.is_empty() || !due {
            return false;
        }
        self.meters_at.insert(node, now);
        true
    }
}

/// Sorts readings into the marks that cover those journaled already, and those to be journaled. One
/// of an instance that was never on the node is neither: nobody would pay for it.
fn sort_meters(
    state: &State,
    node: NodeId,
    records: &[MeterRecord],
) -> (Vec<MeterRecord>, Vec<MeterRecord>) {
    let (mut kept, mut grown) = (Vec::new(), Vec::new());
    for record in records {
        match state.meter(node, record.key).map(|meter| meter.record) {
            Some(mark) if covers(&mark, record) => kept.push(mark),
            Some(_) => grown.push(*record),
            None if is_here(state, node, record.key.instance) => grown.push(*record),
            None => debug!(%node, instance = %record.key.instance, "meter of a stranger"),
        }
    }
    (kept, grown)
}

fn is_here(state: &State, node: NodeId, id: InstanceId) -> bool {
    state.instance(id).is_some_and(|instance| instance.node == Some(node))
}

/// Returns true when a journaled mark says all that a reading says.
fn covers(mark: &MeterRecord, record: &MeterRecord) -> bool {
    mark.cpu >= record.cpu && mark.memory >= record.memory && (mark.last || !record.last)
}

/// Returns true when an observation lets an instance be forgotten.
fn ends_something(observed: &Command) -> bool {
    match observed {
        Command::ObserveInstances { instances, gone, .. } => {
            !gone.is_empty() || instances.iter().any(|status| status.phase.is_final())
        }
        _ => false,
    }
}

fn observed(state: &State, node: NodeId, report: &Report) -> Option<Command> {
    let here: BTreeMap<InstanceId, &InstanceImage> = state
        .on_node(node)
        .filter_map(|id| state.instance(id).map(|instance| (id, instance)))
        .collect();
    let instances: Vec<InstanceStatus> = report
        .instances
        .iter()
        .filter(|said| here.get(&said.instance).is_some_and(|known| differs(&known.status, said)))
        .cloned()
        .collect();
    let gone = gone(state, node, report, &here);
    if instances.is_empty() && gone.is_empty() {
        return None;
    }
    Some(Command::ObserveInstances { node, generation: report.generation, instances, gone })
}

/// Returns true when a status is news worth a journal entry: a later start, or a later phase of the
/// same one. An ended start does not run again, and only the scheduler lets an instance wait.
fn differs(known: &InstanceStatus, said: &InstanceStatus) -> bool {
    let order = said.incarnation.cmp(&known.incarnation);
    let follows = order.is_gt() || (order.is_eq() && !known.phase.is_final());
    let facts = |s: &InstanceStatus| (s.phase, s.incarnation, s.exit, s.pid);
    follows && said.phase != Phase::Waiting && facts(known) != facts(said)
}

/// An instance that is to stop is gone when an agent that knows it is not wanted any more does not
/// list it. One that is wanted is never gone: an agent that lost it will be told to run it.
fn gone(
    state: &State,
    node: NodeId,
    report: &Report,
    here: &BTreeMap<InstanceId, &InstanceImage>,
) -> Vec<InstanceId> {
    let current = state.node(node).is_some_and(|known| known.generation <= report.generation);
    if !current || report.epoch != state.epoch() {
        return Vec::new();
    }
    let listed: BTreeSet<InstanceId> = report.instances.iter().map(|said| said.instance).collect();
    here.iter()
        .filter(|(id, known)| known.wish != InstanceWish::Run && !listed.contains(id))
        .map(|(id, _)| *id)
        .collect()
}

/// Returns true when facts changed in a way that is worth a journal entry; free disk space changes
/// all the time and is not.
pub(crate) fn facts_differ(known: &NodeFacts, said: &NodeFacts) -> bool {
    let lasting = |facts: &NodeFacts| {
        let mut facts = facts.clone();
        for disk in &mut facts.inventory.disks {
            disk.free = disk.total;
        }
        facts
    };
    lasting(known) != lasting(said)
}
