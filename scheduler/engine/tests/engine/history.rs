//! What agents remember makes a new scheduler know what the one before it knew, and no more than that.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tengyun_engine::explain::memory::{self, Counted};
use tengyun_engine::predict::InstanceForecast;
use tengyun_engine::{Command, Entry, Move, Outcome, Plan, State, check, place, predict};
use tengyun_model::{
    At, InstanceId, InstanceSketch, InstanceUsage, Mebibytes, Millicores, Millis, NodeId,
    NodeUsage, OperationId, PEAK_SLOTS, Peaks, Permille, SKETCH_WINDOWS_MAX, Sketch, SketchWindow,
    UsageHistory,
};

use crate::cloud::{Cloud, REPORT, spec};

const NODES: u32 = 6;
const WINDOW: Millis = Millis::from_secs(300);
const DAY: Millis = Millis::from_secs(24 * 3600);
/// So much that no two fit on a node by their requests, and any two by their use.
const REQUEST: Millicores = Millicores::new(500);
/// The kinds of use, and how far the mean and the deviation of a forecast may be from what a scheduler
/// knows that was there all day, in millicores: half a day is remembered, and it knew a whole one. For
/// each that rises another falls, as in a large cloud: drift, which begins anew, is nearly none.
const KINDS: [(&str, u64, u64); 5] =
    [("steady", 0, 8), ("noisy", 4, 8), ("contrary", 4, 8), ("day", 1, 16), ("night", 1, 16)];

/// What a workload uses at a moment.
fn used(name: &str, at: At) -> u64 {
    let window = (at.millis() - 1) / WINDOW.get();
    let noise = window.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
    match name {
        "steady" => 200,
        "noisy" => 100 + noise,
        "contrary" => 227 - noise,
        _ if (window / 12).is_multiple_of(2) == (name == "day") => 250,
        _ => 20,
    }
}

/// The working set of a workload at a moment: that of the first was high for the first hour.
fn held(name: &str, at: At, began: At) -> Mebibytes {
    let hour = at.since(began).get().saturating_sub(1) / 3_600_000;
    Mebibytes::new(match name {
        "steady" if hour == 0 => 300,
        "noisy" | "contrary" => 100 + used(name, at),
        "day" if hour.is_multiple_of(5) => 250,
        _ => 64,
    })
}

/// The rates times the time that they held, and that time, in each window.
type Windows = BTreeMap<u64, (u64, u64)>;

/// A cloud with one workload of each kind on a node of its own, and its agents.
struct World {
    state: State,
    now: At,
    /// What the agents remember; what is not ours is under no instance.
    windows: BTreeMap<(NodeId, Option<InstanceId>), Windows>,
    peaks: BTreeMap<InstanceId, Peaks>,
    began: At,
    operations: u128,
}

impl World {
    /// One in which nothing may move until it is told to.
    fn new() -> Self {
        let mut cloud = Cloud::of(NODES);
        cloud.set(&[("consolidate", 0)]);
        for (name, ..) in KINDS {
            let mut app = spec(name);
            app.resources.cpu = REQUEST;
            cloud.apply(app);
            cloud.settle();
        }
        cloud.pass(Millis::from_secs(60));
        assert_eq!(cloud.layout().len(), KINDS.len());
        let (windows, peaks, operations) = (BTreeMap::new(), BTreeMap::new(), 1 << 64);
        // Only what the agents say from now on is known.
        let state = State::from_image(cloud.state.image()).unwrap();
        let began = cloud.now;
        let mut world = Self { state, now: began, windows, peaks, began, operations };
        world.begin();
        world
    }

    fn enter(&mut self, command: Command) {
        let outcome = self.state.apply(&Entry { at: self.now, by: None, command });
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
    }

    fn begin(&mut self) {
        self.enter(Command::BeginEpoch);
        for node in nodes() {
            self.enter(Command::ConnectNode(node));
        }
    }

    /// The same cloud with a scheduler that starts now and knows the journal only.
    fn restarted(&self) -> Self {
        let state = State::from_image(self.state.image()).unwrap();
        let (windows, peaks) = (self.windows.clone(), self.peaks.clone());
        let mut world = Self { state, windows, peaks, ..*self };
        world.begin();
        world
    }

    fn usage(&self, node: NodeId) -> NodeUsage {
        let used = |id: InstanceId| {
            let name = self.state.spec(self.state.instance(id).unwrap()).key.name.to_string();
            let cpu = Millicores::new(used(&name, self.now));
            let memory = held(&name, self.now, self.began);
            InstanceUsage { instance: id, cpu, memory, io_bytes: None }
        };
        let instances: Vec<_> = self.state.on_node(node).map(used).collect();
        let cpu_foreign = Millicores::new(30);
        let cpu = instances.iter().map(|i| i.cpu).sum::<Millicores>().saturating_add(cpu_foreign);
        let (at, interval) = (self.now, REPORT);
        NodeUsage { at, interval, cpu, cpu_foreign, instances, ..NodeUsage::default() }
    }

    fn report(&mut self, node: NodeId) {
        let usage = self.usage(node);
        self.enter(Command::ReportUsage { node, usage });
    }

    /// Lets time pass in reports, which agents remember.
    fn pass(&mut self, time: Millis) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(REPORT);
            for node in nodes() {
                let usage = self.usage(node);
                let foreign = (None, usage.cpu_foreign);
                let ours = usage.instances.iter().map(|i| (Some(i.instance), i.cpu));
                for (of, cpu) in ours.chain([foreign]) {
                    let window = (self.now.millis() - 1) / WINDOW.get();
                    let windows = self.windows.entry((node, of)).or_default();
                    let (sum, held) = windows.entry(window).or_default();
                    *sum += cpu.get() * REPORT.get();
                    *held += REPORT.get();
                }
                for used in &usage.instances {
                    let peaks = self.peaks.entry(used.instance).or_default();
                    peaks.note(self.now, used.memory, REPORT);
                }
                self.enter(Command::ReportUsage { node, usage });
            }
        }
    }

    fn sketch(&self, node: NodeId, of: Option<InstanceId>) -> Sketch {
        let windows = &self.windows[&(node, of)];
        let newest = *windows.keys().next_back().unwrap();
        let first = newest - u64::try_from(SKETCH_WINDOWS_MAX).unwrap() + 1;
        let told = (first..=newest).map(|window| {
            let (sum, held) = windows.get(&window).copied().unwrap_or_default();
            let cpu = Millicores::new((sum + held / 2).checked_div(held).unwrap_or(0));
            SketchWindow { cpu, covered: Millis::new(held).share_of(WINDOW) }
        });
        let from = At::from_millis(first * WINDOW.get());
        Sketch { from, windows: told.collect(), memory: Mebibytes::new(64) }
    }

    fn history(&self, node: NodeId) -> UsageHistory {
        let of = |id| {
            let (sketch, peaks) = (self.sketch(node, Some(id)), self.peaks[&id]);
            InstanceSketch { instance: id, sketch, peaks }
        };
        UsageHistory {
            at: self.now,
            window: WINDOW,
            foreign: Some(self.sketch(node, None)),
            instances: self.state.on_node(node).map(of).collect(),
        }
    }

    fn recall(&mut self) {
        for node in nodes() {
            let history = self.history(node);
            self.enter(Command::ReportHistory { node, history });
        }
    }

    fn forecasts(&self) -> BTreeMap<String, InstanceForecast> {
        let forecast = predict::forecast(&self.state, self.now);
        let all = self.state.instances();
        let of = |i: &tengyun_engine::InstanceImage| {
            let name = self.state.spec(i).key.name.to_string();
            (name, forecast.instance(i.status.instance))
        };
        all.map(of).collect()
    }

    fn moves(&self) -> Vec<Move> {
        let forecast = predict::forecast(&self.state, self.now);
        let plan = place::plan(&self.state, &forecast, self.now);
        assert_eq!(check::check(&self.state, &plan), [], "the second opinion differs");
        plan.moves
    }

    fn consolidate(&mut self) {
        self.set(&[]);
    }

    fn set(&mut self, knobs: &[(&str, u64)]) {
        self.operations += 1;
        let operation = OperationId::new(self.operations);
        let values = knobs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.enter(Command::SetPolicy { operation, values, label: String::new() });
    }

    /// What is known of the memory of each instance, and what it counts.
    fn counted(&self) -> Vec<Counted> {
        let ids = self.state.instances().map(|i| i.status.instance);
        ids.map(|id| memory::counted(&self.state, id, self.now).unwrap()).collect()
    }

    /// Plans and does it; returns what was promised to whom.
    fn promise(&mut self) -> BTreeMap<InstanceId, Mebibytes> {
        let moves = self.moves();
        let step = |step: &Move| match *step {
            Move::Promise { instance, memory, .. } => (instance, memory),
            Move::Start { .. } | Move::Stop { .. } | Move::Shift { .. } => panic!("{step:?}"),
        };
        let promised = moves.iter().map(step).collect();
        self.enter(Command::CommitPlan(Plan { base: self.state.sequence(), moves }));
        promised
    }
}

fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=NODES).map(NodeId::new)
}

#[test]
fn a_new_scheduler_forecasts_what_the_one_before_it_did_after_one_report_of_each() {
    let mut old = World::new();
    // In the middle of a window.
    old.pass(DAY.saturating_add(Millis::from_secs(140)));
    let mut new = old.restarted();
    assert!(new.forecasts().values().all(|f| !f.measured && f.mean == REQUEST));
    new.recall();
    for world in [&mut old, &mut new] {
        world.pass(REPORT);
    }
    let (before, after) = (old.forecasts(), new.forecasts());
    for (name, mean, deviation) in KINDS {
        let (before, after) = (before[name], after[name]);
        assert!(before.measured && after.measured, "{name}");
        let off =
            |of: fn(&InstanceForecast) -> Millicores| of(&before).get().abs_diff(of(&after).get());
        assert!(off(|f| f.mean) <= mean, "{name}: {before:?} then {after:?}");
        assert!(off(|f| f.deviation) <= deviation, "{name}: {before:?} then {after:?}");
    }
    let node = |world: &World| predict::forecast(&world.state, world.now).node(NodeId::new(NODES));
    assert_eq!(node(&new).foreign, node(&old).foreign);
}

/// Who leaves which node, and where to.
fn emptied(moves: &[Move]) -> (BTreeSet<(InstanceId, NodeId)>, BTreeSet<NodeId>) {
    let step = |step: &Move| match *step {
        Move::Shift { instance, from, to, .. } => ((instance, from), to),
        Move::Start { .. } | Move::Stop { .. } | Move::Promise { .. } => {
            panic!("{step:?} moves nothing")
        }
    };
    moves.iter().map(step).unzip()
}

#[test]
fn a_new_scheduler_plans_what_the_one_before_it_would_have() {
    let mut old = World::new();
    old.pass(DAY);
    let mut new = old.restarted();
    let mut cold = old.restarted();
    new.recall();
    for world in [&mut old, &mut new, &mut cold] {
        world.consolidate();
        world.pass(REPORT);
    }
    // The same instances leave the same nodes for the same others. Which of these takes which is a matter
    // of margins, and those begin anew.
    let (before, after) = (emptied(&old.moves()), emptied(&new.moves()));
    assert_eq!(before.0.len(), 3, "there is something to plan");
    assert_eq!(after, before);
    assert_eq!(cold.moves(), [], "by requests all is well");
}

/// Memory counts by its use, and nothing else moves anything.
const BY_USE: [(&str, u64); 3] = [("memory_by_use", 1), ("memory_margin", 100), ("consolidate", 0)];

#[test]
fn a_new_scheduler_promises_memory_as_the_one_before_it_did() {
    let mut old = World::new();
    old.pass(DAY.saturating_add(Millis::from_secs(3700)));
    let (mut new, mut cold) = (old.restarted(), old.restarted());
    new.recall();
    for world in [&mut old, &mut new, &mut cold] {
        world.set(&BY_USE);
        world.pass(REPORT);
    }
    assert_eq!(new.counted(), old.counted());
    let peaks: Vec<u64> = old.counted().iter().map(|counted| counted.peak.get()).collect();
    assert_eq!(peaks, [300, 327, 327, 250, 64], "the first was so high a day ago");
    // The margin begins sixteen times as wide as the policy says.
    let promised = old.promise();
    assert_eq!(promised.len(), 1, "the others' margins leave nothing");
    assert_eq!(new.promise(), promised);
    assert_eq!(cold.promise(), BTreeMap::new(), "of a minute nothing is believed");
    // They agree for a week, in which the margin narrows and the first peak fades.
    for _ in 0..7 {
        for world in [&mut old, &mut new] {
            world.pass(DAY);
            world.promise();
        }
        assert_eq!(new.counted(), old.counted());
    }
    assert!(old.counted().iter().all(|counted| counted.promised < counted.request));
}

#[test]
fn a_promise_is_kept_and_raised_by_what_is_remembered() {
    let mut old = World::new();
    old.pass(Millis::from_secs(7200));
    old.set(&[BY_USE.as_slice(), &[("memory_history_min_seconds", 300)]].concat());
    old.pass(REPORT);
    assert!(!old.promise().is_empty());
    let mut new = old.restarted();
    // It grew while there was no scheduler, and only its agent saw it.
    let (id, peaks) = new.peaks.iter_mut().next_back().unwrap();
    let id = *id;
    peaks.note(new.now, Mebibytes::new(200), REPORT);
    let before = new.state.promised(new.state.instance(id).unwrap());
    new.recall();
    new.pass(REPORT);
    let raised = new.promise()[&id];
    assert!(raised > before && raised >= Mebibytes::new(200), "{before:?} then {raised:?}");
}

#[test]
fn peaks_that_are_told_again_or_by_an_older_agent_change_nothing() {
    let mut old = World::new();
    old.pass(DAY);
    let before = old.counted();
    for _ in 0..3 {
        old.recall();
    }
    assert_eq!(old.counted(), before);
    // A track that goes back further replaces one, and its peaks stay.
    let mut new = old.restarted();
    new.pass(Millis::from_secs(60));
    let known = new.counted();
    old.pass(Millis::from_secs(60));
    for node in nodes() {
        let mut history = old.history(node);
        history.instances.iter_mut().for_each(|each| each.peaks = Peaks::default());
        new.enter(Command::ReportHistory { node, history });
    }
    assert!(new.forecasts().values().all(|forecast| forecast.measured));
    assert_eq!(new.counted(), known);
}

#[test]
fn what_is_remembered_is_no_report() {
    let mut old = World::new();
    old.pass(DAY);
    let mut new = old.restarted();
    new.consolidate();
    new.recall();
    assert_eq!(new.moves(), [], "nobody has reported");
    for node in nodes().take(5) {
        new.report(node);
        assert_eq!(new.moves(), [], "fewer than 90 % have reported");
    }
    new.report(NodeId::new(NODES));
    assert_ne!(new.moves(), []);
}

#[test]
fn what_was_seen_here_for_as_long_is_not_replaced() {
    let mut old = World::new();
    old.pass(Millis::from_secs(2 * 3600));
    let before = old.forecasts();
    let mut history = old.history(NodeId::new(1));
    for window in &mut history.instances[0].sketch.windows {
        window.cpu = Millicores::new(900);
    }
    old.enter(Command::ReportHistory { node: NodeId::new(1), history });
    assert_eq!(old.forecasts(), before);
    old.recall();
    assert_eq!(old.forecasts(), before);
}

#[test]
fn a_younger_track_gives_way_to_what_goes_back_further() {
    let mut old = World::new();
    old.pass(DAY);
    let mut new = old.restarted();
    new.pass(Millis::from_secs(600));
    let young = new.forecasts();
    old.pass(Millis::from_secs(600));
    new.windows = old.windows.clone();
    new.recall();
    let (before, after) = (old.forecasts(), new.forecasts());
    let off = |of: &BTreeMap<String, InstanceForecast>| {
        before["noisy"].mean.get().abs_diff(of["noisy"].mean.get())
    };
    assert!(off(&after) <= 4 && off(&young) > 4, "{young:?} then {after:?}");
}

#[test]
fn no_forecast_is_judged_by_what_is_remembered() {
    let mut old = World::new();
    old.pass(DAY);
    assert!(old.state.spent().iter().any(|s| s.windows > 0));
    let mut new = old.restarted();
    new.recall();
    assert!(new.state.spent().iter().all(|s| s.windows == 0 && s.foreseen == 0));
}

#[test]
fn hostile_histories_change_nothing() {
    let mut old = World::new();
    old.pass(DAY);
    let now = old.now;
    let mut new = old.restarted();
    let before = new.forecasts();
    let ids: Vec<InstanceId> = new.state.instances().map(|i| i.status.instance).collect();
    let of = |from: u64, count: usize, cpu: u64, covered: u32| {
        let window = SketchWindow { cpu: Millicores::new(cpu), covered: Permille::new(covered) };
        let windows = vec![window; count];
        let sketch = Sketch { from: At::from_millis(from), windows, memory: Mebibytes::MAX };
        let at = At::from_millis(from);
        let (slots_mib, highest_mib) = ([u32::MAX; PEAK_SLOTS], u32::MAX);
        let peaks = Peaks { began: Some(at), open_from: at, slots_mib, highest_mib };
        let each =
            |id: &InstanceId| InstanceSketch { instance: *id, sketch: sketch.clone(), peaks };
        let instances = ids.iter().map(each).collect();
        UsageHistory { at: now, window: WINDOW, foreign: None, instances }
    };
    let day = now.millis() - DAY.get() / 2;
    // The last node has none of them.
    let strangers = (NodeId::new(NODES), of(day, 144, 900, 1000));
    let future = (NodeId::new(1), of(now.millis() + 2 * WINDOW.get(), 144, 900, 1000));
    let gaps = (NodeId::new(1), of(day, 144, 900, 0));
    let ancient = (NodeId::new(1), of(0, 144, 900, 1000));
    let last = (NodeId::new(1), of(u64::MAX, 144, u64::MAX, u32::MAX));
    for (node, history) in [strangers, future, gaps, ancient, last] {
        new.enter(Command::ReportHistory { node, history });
        assert_eq!(new.forecasts(), before);
        assert_eq!(check::check_state(&new.state), []);
    }
    // Nor do they where something is known.
    new.pass(REPORT);
    let known = new.counted();
    let strangers = (NodeId::new(NODES), of(day, 144, 900, 1000));
    let future = (NodeId::new(1), of(now.millis() + DAY.get(), 144, 900, 1000));
    let ancient = (NodeId::new(1), of(0, 144, 900, 1000));
    let last = (NodeId::new(1), of(u64::MAX, 144, u64::MAX, u32::MAX));
    for (node, history) in [strangers, future, ancient, last] {
        new.enter(Command::ReportHistory { node, history });
        assert_eq!(new.counted(), known);
    }
    // Whoever lies about what is its own is believed, as in reports; only within bounds.
    let lies = of(day, 1_000_000, u64::MAX, u32::MAX);
    new.enter(Command::ReportHistory { node: NodeId::new(1), history: lies });
    new.pass(REPORT);
    let moved = new.moves().len();
    assert!(moved <= ids.len(), "{moved}");
    let peaks: Vec<u64> = new.counted().iter().map(|counted| counted.peak.get()).collect();
    assert!(peaks.iter().all(|peak| *peak <= 4096), "more than a node has: {peaks:?}");
    let nobody = NodeId::new(99);
    let history = of(day, 1, 1, 1000);
    let command = Command::ReportHistory { node: nobody, history };
    let outcome = new.state.apply(&Entry { at: now, by: None, command });
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

/// Any history, however senseless, for the properties of all commands.
pub(crate) fn any_history() -> impl Strategy<Value = Command> {
    let moment = || {
        let near = 1_799_960_000_000..1_800_040_000_000_u64;
        prop_oneof![4 => near, 1 => any::<u64>()].prop_map(At::from_millis)
    };
    let windows = prop::collection::vec((any::<u64>(), any::<u32>()), 0..200);
    let sketch = (moment(), windows).prop_map(|(from, windows)| {
        let of = |(cpu, covered)| SketchWindow {
            cpu: Millicores::new(cpu),
            covered: Permille::new(covered),
        };
        Sketch { from, windows: windows.into_iter().map(of).collect(), memory: Mebibytes::MAX }
    });
    let peaks = (prop::option::of(moment()), moment(), any::<[u32; PEAK_SLOTS]>(), any::<u32>())
        .prop_map(|(began, open_from, slots_mib, highest_mib)| Peaks {
            began,
            open_from,
            slots_mib,
            highest_mib,
        });
    let each = (0..12_u64, sketch.clone(), peaks).prop_map(|(id, sketch, peaks)| InstanceSketch {
        instance: InstanceId::new(id),
        sketch,
        peaks,
    });
    let length = prop_oneof![Just(WINDOW), any::<u64>().prop_map(Millis::new)];
    let instances = prop::collection::vec(each, 0..4);
    (0..5_u32, moment(), length, prop::option::of(sketch), instances).prop_map(
        |(node, at, window, foreign, instances)| Command::ReportHistory {
            node: NodeId::new(node),
            history: UsageHistory { at, window, foreign, instances },
        },
    )
}
