//! Our engine on the virtual clock: the very `State::apply`, `forecast`, `plan` and `check` of the
//! daemon, fed with entries made of a recorded fleet. Agents obey at once, and report each step's use
//! at its end. The driver decides nothing: what moves, the engine moved.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::{
    Command, Effect, Entry, Move, Outcome, Plan, Policy, State, check, place, predict,
};
use tengyun_model::{
    At, Capacity, Class, Constraints, Generation, Incarnation, InstanceId, InstanceStatus,
    InstanceUsage, Inventory, Kind, Mebibytes, Millicores, Millis, MovePolicy, NodeFacts, NodeId,
    NodeUsage, OperationId, Phase, Resources, Restart, RestartMode, Stop, WorkloadSpec,
};

use crate::fleet::{Fleet, MemoryMode};
use crate::number::{length, nearest, real, wide};
use crate::rules::Honest;
use crate::score::{NOWHERE, Planner};
use crate::trace::STEP_SECS;

/// The moment of step 0: 2027-01-04, a Monday at midnight.
const BEGIN: At = At::from_millis(1_799_020_800_000);
/// Between two planning passes of one step.
const PASS: Millis = Millis::from_secs(1);
/// The most planning passes of one step; a daemon would plan more often in 5 minutes.
const PASSES_MAX: u64 = 50;
/// Nodes beyond what requests need: best fit may waste some.
const SPARE_SHARE: f64 = 1.05;
/// Knobs that pace moves, lifted during the warm-up: by the rules of the measurement, placement
/// starts after it, settled, from its history.
const UNPACED: [(&str, u64); 3] = [
    ("moves_per_pass", 1000),
    ("consolidate_interval_seconds", 0),
    ("moves_per_workload_interval_seconds", 0),
];

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

/// What the driver saw of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Planning passes.
    pub passes: u64,
    /// Plans that the second opinion would not have carried out.
    pub violations: u64,
    /// Moves that were stale when they were applied.
    pub stale: u64,
}

/// The engine, and the fleet that obeys it.
#[derive(Debug)]
pub struct Driver {
    state: State,
    now: At,
    policy: BTreeMap<String, u64>,
    nodes: Vec<NodeId>,
    seats: Vec<usize>,
    operations: u128,
    moved_before: u64,
    seen: Seen,
    honest: Option<Honest>,
    empties: bool,
}

impl Driver {
    /// Registers the nodes and applies the workloads of a fleet, and plays through its warm-up.
    /// Those instances never move of which `immovable` holds.
    pub fn new(
        fleet: &Fleet,
        policy: &BTreeMap<String, u64>,
        immovable: impl Fn(usize) -> bool,
    ) -> Result<Self, DriveError> {
        let mut driver = Self {
            state: State::new(),
            now: BEGIN,
            policy: policy.clone(),
            nodes: Vec::new(),
            seats: vec![NOWHERE; fleet.len()],
            operations: 0,
            moved_before: 0,
            seen: Seen::default(),
            honest: None,
            empties: true,
        };
        driver.must("a new reign", Command::BeginEpoch)?;
        driver.set_policy(fleet.warm > 0)?;
        driver.register(fleet)?;
        for instance in 0..fleet.len() {
            let spec = spec(fleet, instance, immovable(instance));
            let operation = driver.operation();
            driver.must("a workload", Command::ApplyWorkload { operation, spec })?;
        }
        driver.settle()?;
        for step in 0..fleet.warm {
            driver.report(fleet, step)?;
            driver.settle()?;
        }
        if fleet.warm > 0 {
            driver.set_policy(false)?;
        }
        driver.moved_before = driver.state.moves_total();
        Ok(driver)
    }

    /// Holds it to honest rules: nodes are emptied in the window only, by the engine's own knob.
    #[must_use]
    pub fn held(mut self, honest: Option<Honest>) -> Self {
        self.honest = honest;
        self
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
        match self.state.apply(&Entry { at: self.now, command }) {
            Outcome::Applied(effect) => Ok(effect),
            Outcome::Refused(refusal) => {
                Err(DriveError::Refused { what, refusal: refusal.to_string() })
            }
        }
    }

    fn set_policy(&mut self, unpaced: bool) -> Result<(), DriveError> {
        let mut values = self.policy.clone();
        if unpaced {
            values.extend(UNPACED.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        }
        if !self.empties {
            values.insert("consolidate".to_owned(), 0);
        }
        // A report comes once a step; within the step it is as fresh as it gets.
        values.entry("data_stale_seconds".to_owned()).or_insert(STEP_SECS);
        let operation = self.operation();
        self.must("the policy", Command::SetPolicy { operation, values }).map(drop)
    }

    fn register(&mut self, fleet: &Fleet) -> Result<(), DriveError> {
        for number in 0..nodes_wanted(fleet) {
            let facts = facts(fleet, number);
            if let Effect::Node(id) = self.must("a node", Command::RegisterNode(facts))? {
                self.nodes.push(id);
                self.must("a connection", Command::ConnectNode(id))?;
            }
        }
        Ok(())
    }

    /// Reports what every node used during a step, and moves the clock to its end.
    fn report(&mut self, fleet: &Fleet, step: usize) -> Result<(), DriveError> {
        let end = STEP_SECS.saturating_mul(wide(step) + 1);
        self.now = BEGIN.after(Millis::from_secs(end));
        for node in self.nodes.clone() {
            let on = self.state.on_node(node);
            let instances: Vec<InstanceUsage> =
                on.filter_map(|id| self.used(fleet, id, step)).collect();
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

    fn used(&self, fleet: &Fleet, id: InstanceId, step: usize) -> Option<InstanceUsage> {
        let at = place_of(&self.state, id)?;
        let cpu = Millicores::new(nearest(fleet.demand(at)[step]));
        Some(InstanceUsage { instance: id, cpu, memory: Mebibytes::new(nearest(fleet.memory[at])) })
    }

    /// Plans, commits and lets the agents obey, until nothing moves any more.
    fn settle(&mut self) -> Result<(), DriveError> {
        for _ in 0..PASSES_MAX {
            self.seen.passes += 1;
            let forecast = predict::forecast(&self.state, self.now);
            let plan = place::plan(&self.state, &forecast, self.now);
            if plan.moves.is_empty() {
                break;
            }
            if !check::check(&self.state, &plan).is_empty() {
                self.seen.violations += 1;
                break;
            }
            let changes = Changes::of(&self.state, &plan);
            let effect = self.must("a plan", Command::CommitPlan(plan))?;
            if let Effect::Planned { stale, .. } = effect {
                self.seen.stale += u64::from(stale);
            }
            self.obey(changes)?;
            self.now = self.now.after(PASS);
        }
        self.look();
        Ok(())
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
}

impl Planner for Driver {
    fn before(&mut self, fleet: &Fleet, step: usize) -> u64 {
        if step > fleet.warm {
            // The engine saw its own commands through the warm-up: it refuses none of these.
            let empties = self.honest.is_none_or(|h| h.may_empty(step));
            if empties != self.empties {
                self.empties = empties;
                self.set_policy(false).expect("the knobs were taken before");
            }
            self.report(fleet, step - 1).expect("reports of registered nodes are taken");
            self.settle().expect("plans and observations are taken");
        }
        let moves = self.state.moves_total() - self.moved_before;
        self.moved_before = self.state.moves_total();
        moves
    }

    fn seats(&self) -> &[usize] {
        &self.seats
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
                Move::Shift { instance, .. } => changes.shifted.push(instance),
                Move::Stop { instance, reason: _reason } => {
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
    // Workloads were applied in the order of the fleet, and the state numbers them from 1.
    usize::try_from(state.instance(id)?.workload.get()).ok()?.checked_sub(1)
}

/// As many nodes as requests need when nothing is measured yet, and some.
fn nodes_wanted(fleet: &Fleet) -> u32 {
    let target = real(u64::from(Policy::default().band().target.get())) / 1000.0;
    let packed = crate::yardstick::first_fit(fleet, target);
    let needed = length(packed.iter().max().map_or(0, |last| last + 1));
    u32::try_from(nearest((needed * SPARE_SHARE).ceil())).unwrap_or(u32::MAX).max(1)
}

fn facts(fleet: &Fleet, number: u32) -> NodeFacts {
    NodeFacts {
        name: format!("node-{number:05}").parse().expect("letters, digits and a dash"),
        labels: BTreeMap::new(),
        capacity: Capacity {
            cpu: fleet.shape.cpu,
            memory: match fleet.memory_mode {
                MemoryMode::None => Mebibytes::new(u64::from(u32::MAX)),
                MemoryMode::Request | MemoryMode::Used => fleet.shape.memory,
            },
            disk: Mebibytes::MAX,
            pids: u64::MAX,
            counted: BTreeMap::new(),
        },
        inventory: Inventory::default(),
        enforcement: Vec::new(),
    }
}

fn spec(fleet: &Fleet, instance: usize, immovable: bool) -> WorkloadSpec {
    WorkloadSpec {
        key: format!("lab/all/i{instance:07}").parse().expect("letters, digits and slashes"),
        kind: Kind::Service,
        class: Class::Standard,
        command: vec!["/bin/true".to_owned()],
        files: Vec::new(),
        env: BTreeMap::new(),
        user: None,
        ports: Vec::new(),
        resources: Resources {
            cpu: Millicores::new(nearest(fleet.request[instance])),
            cpu_limit: None,
            memory: Mebibytes::new(nearest(fleet.memory[instance].ceil()).max(1)),
            disk: Mebibytes::ZERO,
            pids: 1,
        },
        counted: BTreeMap::new(),
        constraints: Constraints::default(),
        instances: 1,
        restart: Restart {
            mode: RestartMode::Always,
            backoff: Millis::from_secs(1),
            backoff_max: Millis::from_secs(60),
        },
        stop: Stop { signal: 15, grace: Millis::from_secs(5) },
        move_policy: if immovable { MovePolicy::Never } else { MovePolicy::Any },
        startup: Millis::from_secs(1),
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
