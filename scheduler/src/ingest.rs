//! What an agent says becomes commands: durable ones for what changed, volatile ones for the rest.
//!
//! A report is the agent's full state, so each is compared with the scheduler's own; nothing here
//! depends on an earlier report having arrived.

mod news;

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::image::{HomeFate, InstanceWish};
use tengyun_engine::{Command, InstanceImage, State};
use tengyun_model::{
    At, CopyKey, InstanceId, InstanceStatus, MeterRecord, Millis, NodeFacts, NodeId, Phase, Report,
};
use tracing::debug;

use news::News;

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
    /// Volumes that the node has removed.
    pub removed: Option<Command>,
}

/// Remembers when the meters of each node were journaled, and how much news it had.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    meters_at: BTreeMap<NodeId, At>,
    news: News,
}

/// The meters of one report.
#[derive(Debug, Default)]
struct Sorted {
    /// Marks that cover what was said.
    kept: Vec<MeterRecord>,
    /// What the journal lacks.
    grown: Vec<MeterRecord>,
    /// Whether one of those ended just now.
    ends: bool,
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
        let observed = self.observed(state, node, report, now);
        let Sorted { kept, grown, ends } = self.sort_meters(state, node, &report.meters, now);
        let ends = ends || observed.as_ref().is_some_and(ends_something);
        let due = self.is_due(node, &grown, ends, now);
        Intake {
            usage: Command::ReportUsage { node, usage: report.usage.clone() },
            kept,
            meters: due.then_some(Command::AcknowledgeMeters { node, meters: grown }),
            observed,
            removed: removed(state, node, report),
        }
    }

    fn is_due(&mut self, node: NodeId, grown: &[MeterRecord], ends: bool, now: At) -> bool {
        let last = self.meters_at.get(&node).copied().unwrap_or_default();
        let waited = now.since(last) >= METERS_INTERVAL;
        if grown.is_empty() || !(waited || ends) {
            return false;
        }
        self.meters_at.insert(node, now);
        true
    }

    /// Sorts readings into the marks that cover those journaled already, and those to be journaled. One
    /// of an instance that was never on the node is neither: nobody would pay for it.
    fn sort_meters(
        &mut self,
        state: &State,
        node: NodeId,
        records: &[MeterRecord],
        now: At,
    ) -> Sorted {
        let mut sorted = Sorted::default();
        for record in records {
            let mark = state.meter(node, record.key).map(|meter| meter.record);
            if let Some(mark) = mark {
                if covers(&mark, record) {
                    sorted.kept.push(mark);
                    continue;
                }
            } else if !is_here(state, node, record.key.instance) {
                debug!(%node, instance = %record.key.instance, "meter of a stranger");
                continue;
            } else if self.news.take(node, 1, now) == 0 {
                continue;
            }
            // One that had ended and grows all the same does not hurry.
            sorted.ends |= record.last && mark.is_none_or(|mark| !mark.last);
            sorted.grown.push(*record);
        }
        sorted
    }

    fn observed(
        &mut self,
        state: &State,
        node: NodeId,
        report: &Report,
        now: At,
    ) -> Option<Command> {
        let here: BTreeMap<InstanceId, &InstanceImage> = state
            .on_node(node)
            .filter_map(|id| state.instance(id).map(|instance| (id, instance)))
            .collect();
        let known = |said: &InstanceStatus| here.get(&said.instance);
        let mut instances: Vec<InstanceStatus> = report
            .instances
            .iter()
            .filter(|said| known(said).is_some_and(|known| differs(&known.status, said)))
            .cloned()
            .collect();
        instances.truncate(self.news.take(node, instances.len(), now));
        let gone = gone(state, node, report, &here);
        if instances.is_empty() && gone.is_empty() {
            return None;
        }
        Some(Command::ObserveInstances { node, generation: report.generation, instances, gone })
    }
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
    if !is_current(state, node, report) {
        return Vec::new();
    }
    let listed: BTreeSet<InstanceId> = report.instances.iter().map(|said| said.instance).collect();
    here.iter()
        .filter(|(id, known)| known.wish != InstanceWish::Run && !listed.contains(id))
        .map(|(id, _)| *id)
        .collect()
}

/// Says whether an agent works by the newest assignment of its node.
fn is_current(state: &State, node: NodeId, report: &Report) -> bool {
    let current = state.node(node).is_some_and(|known| known.generation <= report.generation);
    current && report.epoch == state.epoch()
}

/// Volumes that are to be removed are when an agent that was told so has them no more.
fn removed(state: &State, node: NodeId, report: &Report) -> Option<Command> {
    if !is_current(state, node, report) {
        return None;
    }
    let there: BTreeSet<&CopyKey> = report.usage.volumes.iter().map(|v| &v.copy).collect();
    let gone = state.homes_on(node).filter(|home| home.fate == HomeFate::Removing);
    let gone = gone.map(|home| &home.copy).filter(|copy| !there.contains(copy));
    let copies: Vec<CopyKey> = gone.cloned().collect();
    (!copies.is_empty()).then_some(Command::ForgetVolumes { node, copies })
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

#[cfg(test)]
mod tests {
    use tengyun_engine::{Entry, Move, Plan};

    use super::*;
    use crate::commit;
    use crate::fixture::{apply, facts, meter, report, spec, status};

    const NODE: NodeId = NodeId::new(1);

    fn enter(state: &mut State, command: Command) {
        let at = At::from_millis(1);
        commit::apply(state, &Entry { at, by: None, command });
    }

    /// Two instances started on one node.
    fn started() -> State {
        let mut state = State::new();
        enter(&mut state, Command::BeginEpoch);
        enter(&mut state, Command::RegisterNode(facts("n1")));
        enter(&mut state, apply(1, spec("web", 2)));
        let start = |id| Move::Start { instance: InstanceId::new(id), node: NODE };
        plan(&mut state, vec![start(1), start(2)]);
        state
    }

    fn plan(state: &mut State, moves: Vec<Move>) {
        let base = state.sequence();
        enter(state, Command::CommitPlan(Plan { base, moves }));
    }

    fn at(secs: u64) -> At {
        At::default().after(Millis::from_secs(secs))
    }

    fn both() -> Vec<InstanceStatus> {
        vec![status(1, Phase::Running), status(2, Phase::Running)]
    }

    #[test]
    fn only_what_changed_is_journaled() {
        let mut state = started();
        let mut ingest = Ingest::default();
        let first = ingest.report(&state, NODE, &report(&state, 1, both()), at(100));
        enter(&mut state, first.observed.expect("both are news"));
        let again = ingest.report(&state, NODE, &report(&state, 1, both()), at(102));
        assert_eq!(again.observed, None);
        let changed = vec![status(1, Phase::Healthy), status(2, Phase::Running)];
        let third = ingest.report(&state, NODE, &report(&state, 1, changed), at(104));
        let Some(Command::ObserveInstances { instances, gone, .. }) = third.observed else {
            panic!("a change is news")
        };
        assert_eq!((instances.len(), gone.len()), (1, 0));
    }

    #[test]
    fn an_agent_cannot_speak_of_what_is_not_on_its_node() {
        let state = started();
        let stranger = vec![status(99, Phase::Failed)];
        let intake = Ingest::default().report(&state, NODE, &report(&state, 1, stranger), at(100));
        assert_eq!(intake.observed, None);
    }

    #[test]
    fn a_stopped_instance_is_gone_only_for_an_agent_that_knows_it_is_to_stop() {
        let mut state = started();
        let mut stale = report(&state, 1, both());
        let seen = Ingest::default().report(&state, NODE, &stale, at(100));
        enter(&mut state, seen.observed.unwrap());
        let key = spec("web", 2).key;
        let operation = tengyun_model::OperationId::new(2);
        enter(&mut state, Command::StopWorkload { operation, key });
        stale.instances.pop();
        let intake = Ingest::default().report(&state, NODE, &stale, at(100));
        assert_eq!(intake.observed, None, "an older generation says nothing of it");
        let current = report(&state, 1, vec![status(1, Phase::Running)]);
        let mut other_reign = current.clone();
        other_reign.epoch = tengyun_model::Epoch::new(99);
        let intake = Ingest::default().report(&state, NODE, &other_reign, at(100));
        assert_eq!(intake.observed, None, "another reign says nothing of it");
        let intake = Ingest::default().report(&state, NODE, &current, at(100));
        let Some(Command::ObserveInstances { gone, .. }) = intake.observed else {
            panic!("it is gone")
        };
        assert_eq!(gone, [InstanceId::new(2)]);
    }

    #[test]
    fn a_wanted_instance_that_is_not_listed_is_not_gone() {
        let state = started();
        let intake = Ingest::default().report(&state, NODE, &report(&state, 1, vec![]), at(100));
        assert_eq!(intake.observed, None);
    }

    #[test]
    fn growing_meters_are_journaled_now_and_then_and_last_ones_at_once() {
        let state = started();
        let mut ingest = Ingest::default();
        let mut said = report(&state, 1, vec![]);
        said.meters = vec![meter(1, 10)];
        assert!(ingest.report(&state, NODE, &said, at(100)).meters.is_some());
        said.meters = vec![meter(1, 20)];
        assert!(ingest.report(&state, NODE, &said, at(105)).meters.is_none(), "too soon");
        assert!(ingest.report(&state, NODE, &said, at(110)).meters.is_some());
        said.meters[0].last = true;
        assert!(ingest.report(&state, NODE, &said, at(111)).meters.is_some());
    }

    #[test]
    fn a_meter_that_ended_and_grows_all_the_same_does_not_hurry() {
        let mut state = started();
        let ended = |cpu| MeterRecord { last: true, ..meter(1, cpu) };
        let meters = vec![ended(10)];
        enter(&mut state, Command::AcknowledgeMeters { node: NODE, meters });
        let mut ingest = Ingest::default();
        let mut said = report(&state, 1, vec![]);
        said.meters = vec![ended(11)];
        assert!(ingest.report(&state, NODE, &said, at(100)).meters.is_some());
        said.meters = vec![ended(12)];
        assert!(ingest.report(&state, NODE, &said, at(101)).meters.is_none());
        assert!(ingest.report(&state, NODE, &said, at(110)).meters.is_some());
    }

    #[test]
    fn starts_that_never_were_are_journaled_within_bounds() {
        let state = started();
        let mut ingest = Ingest::default();
        let mut journaled = 0;
        for round in 0..10 {
            let mut said = report(&state, 1, vec![]);
            said.meters = (0..20_000)
                .map(|n| {
                    let mut invented = meter(1, 1);
                    let incarnation = round * 20_000 + n + 2;
                    invented.key.incarnation = tengyun_model::Incarnation::new(incarnation);
                    MeterRecord { last: true, ..invented }
                })
                .collect();
            let intake = ingest.report(&state, NODE, &said, at(100 + u64::from(round)));
            if let Some(Command::AcknowledgeMeters { meters, .. }) = intake.meters {
                journaled += meters.len();
            }
        }
        assert!((20_000..21_000).contains(&journaled), "{journaled}");
    }

    #[test]
    fn meters_are_journaled_with_the_end_of_an_instance() {
        let state = started();
        let mut ingest = Ingest::default();
        let mut said = report(&state, 1, both());
        said.meters = vec![meter(1, 10)];
        ingest.report(&state, NODE, &said, at(100));
        said.instances[1].phase = Phase::Failed;
        said.meters = vec![meter(1, 20)];
        let intake = ingest.report(&state, NODE, &said, at(101));
        assert!(intake.meters.is_some() && intake.observed.is_some());
    }

    #[test]
    fn a_journaled_mark_is_acknowledged_again_and_not_journaled_again() {
        let mut state = started();
        let kept = meter(1, 30);
        enter(&mut state, Command::AcknowledgeMeters { node: NODE, meters: vec![kept] });
        let mut said = report(&state, 1, vec![]);
        said.meters = vec![meter(1, 30)];
        let intake = Ingest::default().report(&state, NODE, &said, at(100));
        assert_eq!((intake.kept, intake.meters), (vec![kept], None));
        said.meters = vec![meter(1, 29)];
        let intake = Ingest::default().report(&state, NODE, &said, at(100));
        assert_eq!(intake.kept, [kept], "an older reading is covered by the mark");
    }

    #[test]
    fn the_meter_of_a_stranger_is_neither_journaled_nor_acknowledged() {
        let state = started();
        let mut said = report(&state, 1, vec![]);
        said.meters = vec![meter(99, 10)];
        let intake = Ingest::default().report(&state, NODE, &said, at(100));
        assert_eq!((intake.kept.len(), intake.meters), (0, None));
    }

    #[test]
    fn free_disk_space_is_no_news_and_capacity_is() {
        let disk = |free| tengyun_model::Disk {
            device: "sda".to_owned(),
            mount: "/".to_owned(),
            total: tengyun_model::Mebibytes::new(100),
            free: tengyun_model::Mebibytes::new(free),
        };
        let (mut known, mut said) = (facts("n1"), facts("n1"));
        known.inventory.disks = vec![disk(10)];
        said.inventory.disks = vec![disk(20)];
        assert!(!facts_differ(&known, &said));
        said.capacity.cpu = tengyun_model::Millicores::new(1);
        assert!(facts_differ(&known, &said));
    }
}
