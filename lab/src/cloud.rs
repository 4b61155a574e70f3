//! A cloud on the virtual clock: the very `State::apply`, `forecast`, `plan` and `check` of the daemon,
//! fed with entries. Agents obey at once and report what they are told. It decides nothing: what moves,
//! the engine moved.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::days::Stretch;
use tengyun_engine::{
    Command, Effect, Entry, Move, Outcome, Plan, PromiseReason, ShiftReason, State, check, place,
    predict,
};
use tengyun_model::{
    At, Capacity, Class, Constraints, Days, Generation, Incarnation, InstanceId, InstanceStatus,
    InstanceUsage, Inventory, Mebibytes, Millicores, Millis, MovePolicy, Name, NodeFacts, NodeId,
    NodeUsage, OperationId, Phase, Resources, Stop, Window, WorkloadId, WorkloadKey, WorkloadSpec,
};

use crate::number::{real, wide};
use crate::score::NOWHERE;
use crate::trace::STEP_SECS;

/// The moment of second 0: 2027-01-04, a Monday at midnight.
pub(crate) const BEGIN: At = At::from_millis(1_799_020_800_000);
/// Between two planning passes.
const PASS: Millis = Millis::from_secs(1);
/// The most planning passes in a row; a daemon would plan more often in 5 minutes.
const PASSES_MAX: u64 = 50;

/// What keeps the engine from being driven.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The engine refused a command that must hold.
    #[error("the engine refused {what}: {refusal}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        refusal: String,
    },
}

/// What was seen of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Planning passes.
    pub passes: u64,
    /// Plans that the second opinion would not have carried out.
    pub violations: u64,
    /// Moves that were stale when they were applied.
    pub stale: u64,
    /// How often an instance used more memory than it was promised.
    pub misses: u64,
    /// Instances moved because their node had too little memory.
    pub relieved: u64,
}

/// A node to be registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// CPU in millicores.
    pub cpu: u64,
    /// Memory in mebibytes.
    pub memory: u64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Named counters.
    pub counted: BTreeMap<Name, u64>,
}

/// An instance to be applied, as a workload of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// CPU request in millicores.
    pub cpu: u64,
    /// Memory request in mebibytes.
    pub memory: u64,
    /// Labels that its node must have.
    pub labels: BTreeMap<String, String>,
    /// Named counters that it takes.
    pub counted: BTreeMap<Name, u64>,
    /// What is promised to it.
    pub class: Class,
    /// Whether it moves only while a window is open, which [`Cloud::open`] says.
    pub windowed: bool,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            cpu: 0,
            memory: 1,
            labels: BTreeMap::new(),
            counted: BTreeMap::new(),
            class: Class::Standard,
            windowed: false,
        }
    }
}

/// The engine, and nodes that obey it.
#[derive(Debug)]
pub struct Cloud {
    state: State,
    now: At,
    nodes: Vec<NodeId>,
    seats: Vec<usize>,
    operations: u128,
    seen: Seen,
}

impl Cloud {
    /// Sets a policy and registers nodes; they are numbered from 0 in this order.
    pub fn new(
        knobs: &BTreeMap<String, u64>,
        places: impl IntoIterator<Item = Place>,
    ) -> Result<Self, DriveError> {
        let mut cloud = Self {
            state: State::new(),
            now: BEGIN,
            nodes: Vec::new(),
            seats: Vec::new(),
            operations: 0,
            seen: Seen::default(),
        };
        cloud.must("a new reign", Command::BeginEpoch)?;
        cloud.set(knobs.clone())?;
        for place in places {
            let facts = facts(cloud.nodes.len(), place);
            if let Effect::Node(id) = cloud.must("a node", Command::RegisterNode(facts))? {
                cloud.nodes.push(id);
                cloud.must("a connection", Command::ConnectNode(id))?;
            }
        }
        Ok(cloud)
    }

    /// Sets the knobs; others return to their defaults.
    pub fn set(&mut self, mut values: BTreeMap<String, u64>) -> Result<(), DriveError> {
        // A report comes once a step; within the step it is as fresh as it gets.
        values.entry("data_stale_seconds".to_owned()).or_insert(STEP_SECS);
        let operation = self.operation();
        self.must("the policy", Command::SetPolicy { operation, values, label: String::new() })
            .map(drop)
    }

    /// Applies an instance; they are numbered from 0 in this order. It waits until the next plan.
    pub fn apply(&mut self, guest: &Guest) -> Result<(), DriveError> {
        let spec = spec(self.seats.len(), guest);
        let operation = self.operation();
        self.must("a workload", Command::ApplyWorkload { operation, spec: Box::new(spec) })?;
        self.seats.push(NOWHERE);
        Ok(())
    }

    /// Opens the windows of some from one second until another, and closes those of all others. Of
    /// instances without a window nothing changes.
    pub fn open(
        &mut self,
        (from, until): (u64, u64),
        which: impl Fn(usize) -> bool,
    ) -> Result<(), DriveError> {
        let [from, until] = [from, until].map(|second| BEGIN.after(Millis::from_secs(second)));
        let place = |id: WorkloadId| usize::try_from(id.get()).unwrap_or(NOWHERE).wrapping_sub(1);
        let opened = self.state.workloads().filter(|w| which(place(w.id)));
        let windows = opened.map(|w| (w.id, (from, until))).collect();
        self.must("windows", Command::NoteWindows(windows)).map(drop)
    }

    /// Tells civil time from now on.
    pub fn tell_days(&mut self, stretches: Vec<Stretch>) -> Result<(), DriveError> {
        self.must("civil time", Command::NoteDays(stretches)).map(drop)
    }

    /// Moves the clock to a second and reports what every node used in the step that ends there:
    /// `used` gives the CPU in millicores and the memory in mebibytes of an instance.
    pub fn report(
        &mut self,
        second: u64,
        used: impl Fn(usize) -> (u64, u64),
    ) -> Result<(), DriveError> {
        self.now = BEGIN.after(Millis::from_secs(second));
        for at in 0..self.nodes.len() {
            let node = self.nodes[at];
            let usage_of = |instance: InstanceId| {
                let (cpu, memory) = used(place_of(&self.state, instance)?);
                let (cpu, memory) = (Millicores::new(cpu), Mebibytes::new(memory));
                Some(InstanceUsage { instance, cpu, memory, io_bytes: None })
            };
            let instances: Vec<InstanceUsage> =
                self.state.on_node(node).filter_map(usage_of).collect();
            let usage = NodeUsage {
                at: self.now,
                interval: Millis::from_secs(STEP_SECS),
                cpu: instances.iter().map(|i| i.cpu).sum(),
                memory: instances.iter().map(|i| i.memory).sum(),
                instances,
                ..NodeUsage::default()
            };
            self.must("a report", Command::ReportUsage { node, usage })?;
        }
        Ok(())
    }

    /// Plans, commits and lets the agents obey, until nothing moves any more.
    pub fn settle(&mut self) -> Result<(), DriveError> {
        for _ in 0..PASSES_MAX {
            if !self.pass()? {
                break;
            }
        }
        self.look();
        Ok(())
    }

    /// Plans once and lets the agents obey.
    pub fn plan_once(&mut self) -> Result<(), DriveError> {
        self.pass().map(drop)
    }

    /// Stops an instance for good.
    pub fn stop(&mut self, at: usize) -> Result<(), DriveError> {
        let key = key(at);
        let operation = self.operation();
        self.must("a stop", Command::StopWorkload { operation, key })?;
        // A copy and the one that is to replace it.
        let copies: Vec<InstanceId> = self.instances_of(at).collect();
        for id in copies {
            let Some(node) = self.state.instance(id).and_then(|i| i.node) else { continue };
            let generation = Generation::default();
            let gone = vec![id];
            let instances = Vec::new();
            let command = Command::ObserveInstances { node, generation, instances, gone };
            self.must("an observation", command)?;
        }
        Ok(())
    }

    /// Returns the node of an instance as of now.
    pub fn seat_of(&self, at: usize) -> Option<usize> {
        let node = self.state.instance(self.instances_of(at).next()?)?.node?;
        usize::try_from(node.get()).ok()?.checked_sub(1)
    }

    fn instances_of(&self, at: usize) -> impl Iterator<Item = InstanceId> + '_ {
        let workload = u32::try_from(at).ok().and_then(|at| at.checked_add(1));
        workload.into_iter().flat_map(|id| self.state.of_workload(WorkloadId::new(id)))
    }

    /// Plans once; says whether anything was to be done.
    fn pass(&mut self) -> Result<bool, DriveError> {
        self.seen.passes += 1;
        let forecast = predict::forecast(&self.state, self.now);
        let plan = place::plan(&self.state, &forecast, self.now);
        if plan.moves.is_empty() {
            return Ok(false);
        }
        if !check::check(&self.state, &plan).is_empty() {
            self.seen.violations += 1;
            return Ok(false);
        }
        let missed =
            |step: &&Move| matches!(step, Move::Promise { reason: PromiseReason::Missed, .. });
        let relieves =
            |step: &&Move| matches!(step, Move::Shift { reason: ShiftReason::Memory, .. });
        self.seen.misses += wide(plan.moves.iter().filter(missed).count());
        self.seen.relieved += wide(plan.moves.iter().filter(relieves).count());
        let changes = Changes::of(&self.state, &plan);
        let effect = self.must("a plan", Command::CommitPlan(plan))?;
        if let Effect::Planned { stale, .. } = effect {
            self.seen.stale += u64::from(stale);
        }
        self.obey(changes)?;
        self.now = self.now.after(PASS);
        Ok(true)
    }

    /// The agents of the nodes concerned start and stop what they should.
    fn obey(&mut self, mut changes: Changes) -> Result<(), DriveError> {
        changes.find_replacements(&self.state);
        for (node, (started, gone)) in changes.nodes {
            let healthy = |id: &InstanceId| healthy(*id, self.now);
            let instances = started.iter().map(healthy).collect();
            let gone = gone.into_iter().collect();
            let generation = Generation::default();
            let command = Command::ObserveInstances { node, generation, instances, gone };
            self.must("an observation", command)?;
        }
        Ok(())
    }

    /// Looks where everything is now.
    fn look(&mut self) {
        self.seats.fill(NOWHERE);
        for instance in self.state.instances() {
            let Some(node) = instance.node else { continue };
            let seat = usize::try_from(node.get()).unwrap_or(NOWHERE) - 1;
            let at = usize::try_from(instance.workload.get()).unwrap_or(NOWHERE) - 1;
            // While a copy is being replaced the older one, which has the lower id, does the work.
            if let Some(known) = self.seats.get_mut(at).filter(|s| **s == NOWHERE) {
                *known = seat;
            }
        }
    }

    /// Returns what harvest may use on each node until the next report, as a share of its CPU.
    pub fn harvest_rooms(&self) -> Vec<f64> {
        let forecast = predict::forecast(&self.state, self.now);
        let room = |node: &tengyun_engine::NodeImage| {
            let room = real(forecast.harvest_room(&self.state, node.id).get());
            room / real(node.facts.capacity.cpu.get().max(1))
        };
        self.state.nodes().map(room).collect()
    }

    /// Returns the node of each instance as of the last settling; [`NOWHERE`] while it waits.
    pub fn seats(&self) -> &[usize] {
        &self.seats
    }

    /// Returns the state that the engine is in.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns what was seen of the engine.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    fn operation(&mut self) -> OperationId {
        self.operations += 1;
        OperationId::new(self.operations)
    }

    fn must(&mut self, what: &'static str, command: Command) -> Result<Effect, DriveError> {
        match self.state.apply(&Entry { at: self.now, by: None, command }) {
            Outcome::Applied(effect) => Ok(effect),
            Outcome::Refused(refusal) => {
                Err(DriveError::Refused { what, refusal: refusal.to_string() })
            }
        }
    }
}

/// What the agents have to do after a plan.
#[derive(Debug, Default)]
struct Changes {
    nodes: BTreeMap<NodeId, (BTreeSet<InstanceId>, BTreeSet<InstanceId>)>,
    shifted: Vec<InstanceId>,
}

impl Changes {
    fn of(state: &State, plan: &Plan) -> Self {
        let mut changes = Self::default();
        for step in &plan.moves {
            match *step {
                Move::Start { instance, node } => {
                    changes.nodes.entry(node).or_default().0.insert(instance);
                }
                Move::Promise { .. } => {}
                Move::Shift { instance, .. } => changes.shifted.push(instance),
                Move::Stop { instance, .. } => {
                    if let Some(node) = state.instance(instance).and_then(|i| i.node) {
                        changes.nodes.entry(node).or_default().1.insert(instance);
                    }
                }
            }
        }
        changes
    }

    fn find_replacements(&mut self, state: &State) {
        for old in self.shifted.drain(..) {
            let new = state.replacement_of(old);
            if let Some(node) = new.and_then(|n| state.instance(n)).and_then(|i| i.node) {
                self.nodes.entry(node).or_default().0.extend(new);
            }
        }
    }
}

fn place_of(state: &State, id: InstanceId) -> Option<usize> {
    // Workloads were applied in the order of the instances, and the state numbers them from 1.
    usize::try_from(state.instance(id)?.workload.get()).ok()?.checked_sub(1)
}

fn facts(number: usize, place: Place) -> NodeFacts {
    NodeFacts {
        name: format!("node-{number:06}").parse().expect("letters, digits and a dash"),
        labels: place.labels,
        capacity: Capacity {
            cpu: Millicores::new(place.cpu),
            memory: Mebibytes::new(place.memory),
            disk: Mebibytes::MAX,
            pids: u64::MAX,
            counted: place.counted,
        },
        inventory: Inventory::default(),
        enforcement: Vec::new(),
    }
}

fn key(number: usize) -> WorkloadKey {
    format!("lab/all/i{number:07}").parse().expect("letters, digits and slashes")
}

fn spec(number: usize, guest: &Guest) -> WorkloadSpec {
    let plain = WorkloadSpec::service(key(number), vec!["/bin/true".to_owned()]);
    // Only the windows that are noted count; which days they are of does not matter.
    let window = Window { days: Days::ALL, from: 0, to: 1, time_zone: None };
    WorkloadSpec {
        class: guest.class,
        resources: Resources {
            cpu: Millicores::new(guest.cpu),
            memory: Mebibytes::new(guest.memory.max(1)),
            pids: 1,
            ..plain.resources
        },
        counted: guest.counted.clone(),
        constraints: Constraints { labels: guest.labels.clone(), ..Constraints::default() },
        stop: Stop { grace: Millis::from_secs(5), ..plain.stop },
        move_policy: if guest.windowed { MovePolicy::Window } else { MovePolicy::Any },
        window: guest.windowed.then_some(window),
        startup: Millis::from_secs(1),
        ..plain
    }
}

fn healthy(instance: InstanceId, since: At) -> InstanceStatus {
    InstanceStatus {
        instance,
        incarnation: Incarnation::new(1),
        phase: Phase::Healthy,
        since,
        pid: Some(1),
        exit: None,
        message: String::new(),
    }
}
