//! Rehearsal: what would become of copies that a department is about to ask for, by the very code that
//! would place them. Nothing is changed, and no copy of the state is made.
//!
//! It sees the cloud as it is and the new copies before all others that wait: what is measured, wished or
//! waits meanwhile may lead to something else.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{
    At, Class, InstanceId, Kind, NodeId, Phase, Revision, WorkloadId, WorkloadSpec,
};

use super::pack::{Party, Tried, seat, start, would_fit};
use super::problem::{Guest, Problem, lives};
use crate::image::{InstanceImage, InstanceWish};
use crate::plan::{Move, StopReason};
use crate::predict::{Forecast, InstanceForecast, newcomer};
use crate::state::{State, fresh_status};

/// So many copies are rehearsed at most; what comes of the others is not said.
pub const COPIES_MAX: u32 = 10_000;

/// What would become of new copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// Copies that would start at once, by node.
    pub starts: BTreeMap<NodeId, u32>,
    /// Copies that would start once harvest has left, by node.
    pub after: BTreeMap<NodeId, u32>,
    /// The harvest that would be evicted for them, each queued again.
    pub victims: Vec<InstanceId>,
    /// Copies that would wait.
    pub waits: u32,
    /// Copies beyond those that are rehearsed.
    pub untold: u32,
}

/// Says what would become of the copies that this specification asks for beyond those there are.
pub fn rehearse(state: &State, forecast: &Forecast, spec: &WorkloadSpec, now: At) -> Rehearsal {
    let mut problem = Problem::new(state, forecast, now);
    if spec.kind == Kind::PerNode {
        return everywhere(&problem, spec);
    }
    let (copies, untold) = missing(state, spec);
    let images: Vec<InstanceImage> =
        copies.into_iter().map(|copy| image(state, spec, copy, now)).collect();
    let Some(first) = images.first() else { return Rehearsal::default() };
    let expected = newcomer((state, forecast), first, spec, now);
    let gang = spec.gang && images.len() > 1;
    let size = if gang { images.len() } else { 1 };
    let mut waiting: Vec<Party<'_>> = Vec::new();
    for together in images.chunks(size) {
        waiting
            .push(together.iter().map(|one| (one, guest(state, (spec, expected), one))).collect());
    }
    let mut stage = Stage { passes: 0, cleared: BTreeSet::new(), told: Rehearsal::default() };
    stage.told.untold = untold;
    while !waiting.is_empty() && stage.pass(&mut problem, &mut waiting) {}
    stage.told.waits = waiting.iter().map(|party| small(party.len())).fold(0, u32::saturating_add);
    stage.told
}

/// Returns the ordinals of copies that are still to be made, and how many more there are.
fn missing(state: &State, spec: &WorkloadSpec) -> (Vec<u32>, u32) {
    let known = state.workload_keyed(&spec.key);
    let there = known.into_iter().flat_map(|known| state.of_workload(known.id));
    let there = there.filter_map(|id| state.instance(id)).filter(|i| lives(i));
    let there: BTreeSet<u32> = there.map(|i| i.ordinal).collect();
    let wanted = match spec.kind {
        Kind::Cron => 1,
        Kind::Service | Kind::Job | Kind::PerNode => spec.instances,
    };
    let mut missing: Vec<u32> = (0..wanted).filter(|copy| !there.contains(copy)).collect();
    let most = usize::try_from(COPIES_MAX).expect("it is small");
    let untold = small(missing.len().saturating_sub(most));
    missing.truncate(most);
    (missing, untold)
}

/// Returns a copy as a guest that is expected to use so much.
fn guest<'a>(
    state: &State,
    (spec, expected): (&'a WorkloadSpec, InstanceForecast),
    copy: &InstanceImage,
) -> Guest<'a> {
    let (volumes, memory) = (state.volume_need(copy, spec), spec.resources.memory);
    Guest { spec, expected, memory, replaces: None, volumes, home: copy.home, presses: false }
}

/// Makes what a copy would be that waits.
fn image(state: &State, spec: &WorkloadSpec, ordinal: u32, at: At) -> InstanceImage {
    let known = state.workload_keyed(&spec.key);
    let first = (WorkloadId::new(u32::MAX), Revision::new(1));
    let (workload, revision) =
        known.map_or(first, |known| (known.id, state.revision_after(known, spec)));
    let last = state.next_instance().get();
    let instance = InstanceId::new(last.saturating_add(1).saturating_add(ordinal.into()));
    InstanceImage {
        workload,
        ordinal,
        revision,
        node: None,
        wish: InstanceWish::Run,
        replaces: None,
        status: fresh_status(instance, Phase::Waiting, at),
        created: at,
        placed: At::default(),
        moved: None,
        ports: BTreeMap::new(),
        home: None,
        healthy: None,
        failures: 0,
        failed: None,
        promise: None,
    }
}

/// What was rehearsed so far.
struct Stage {
    passes: u32,
    /// Nodes from which harvest was evicted.
    cleared: BTreeSet<NodeId>,
    told: Rehearsal,
}

impl Stage {
    /// Lets what waits find nodes once, as one plan would; says whether anything came of it. Afterwards
    /// what was evicted has left.
    fn pass<'a>(&mut self, problem: &mut Problem<'a>, waiting: &mut Vec<Party<'a>>) -> bool {
        let mut tried = Tried::default();
        tried.evicted.clone_from(&self.cleared);
        let mut moves = Vec::new();
        let later = self.passes > 0;
        self.passes += 1;
        for party in waiting.iter() {
            match party.as_slice() {
                [(_, guest), ..] if guest.spec.class == Class::Harvest => {
                    start(problem, party, &mut moves);
                }
                party => seat(problem, party, &mut tried, &mut moves),
            }
        }
        let mut started = BTreeSet::new();
        for step in &moves {
            match *step {
                Move::Start { instance, node } => {
                    started.insert(instance);
                    let told = if later { &mut self.told.after } else { &mut self.told.starts };
                    let count = told.entry(node).or_default();
                    *count = count.saturating_add(1);
                }
                Move::Stop { instance, reason: StopReason::Evicted } => {
                    self.told.victims.push(instance);
                }
                Move::Stop { .. } | Move::Shift { .. } | Move::Promise { .. } => {}
            }
        }
        let begun =
            |party: &Party<'_>| party.iter().any(|(one, _)| started.contains(&one.status.instance));
        waiting.retain(|party| !begun(party));
        let before = std::mem::replace(&mut self.cleared, tried.evicted);
        for node in self.cleared.difference(&before) {
            clear(problem, *node);
        }
        !moves.is_empty() || self.cleared.len() > before.len()
    }
}

/// Sees a node without its harvest, and without what leaves it.
fn clear(problem: &mut Problem<'_>, node: NodeId) {
    let state = problem.state;
    let at = problem.seat_of(node);
    let stays =
        |i: &InstanceImage| i.wish == InstanceWish::Run && state.spec(i).class != Class::Harvest;
    let room = problem.room(at, stays);
    problem.seats.make(at, room);
}

/// Says what would become of copies on every node.
fn everywhere<'a>(problem: &Problem<'a>, spec: &'a WorkloadSpec) -> Rehearsal {
    let state = problem.state;
    let (ceiling, mut told) = (state.policy().band().ceiling, Rehearsal::default());
    let known = state.workload_keyed(&spec.key).map(|known| known.id);
    for at in 0..problem.seats.len() {
        let node = problem.seats[at].node;
        let there = state.on_node(node.id).filter_map(|id| state.instance(id));
        let mut there = there.filter(|i| lives(i) && Some(i.workload) == known);
        let labels = spec.constraints.labels.iter();
        let mut labels = labels.map(|(name, value)| node.facts.labels.get(name) == Some(value));
        if there.next().is_some() || !labels.all(|is| is) {
            continue;
        }
        let copy = image(state, spec, node.id.get(), problem.now);
        let expected = newcomer((state, problem.forecast), &copy, spec, problem.now);
        let guest = guest(state, (spec, expected), &copy);
        let whom = (&guest, &problem.evenness(&guest));
        if problem.fits(at, &guest, ceiling).is_ok() {
            told.starts.insert(node.id, 1);
        } else if spec.class != Class::Harvest && would_fit(problem, at, whom) {
            told.after.insert(node.id, 1);
            let here = state.on_node(node.id).filter_map(|id| state.instance(id));
            let harvest = here.filter(|i| lives(i) && state.spec(i).class == Class::Harvest);
            told.victims.extend(harvest.map(|i| i.status.instance));
        } else {
            told.waits = told.waits.saturating_add(1);
        }
    }
    told
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
