//! Volatile state: who is there and what was measured. None of it is in an image.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{At, Class, InstanceId, Millicores, Millis, NodeId, NodeUsage, Permille};

use super::State;
use crate::liveness;
use crate::occupancy::{Dimension, Occupancy, Occupied};
use crate::policy::Policy;
use crate::predict::{
    Accuracy, Budget, Hours, Lines, Seen, Spent, Sum, Tally, Track, Violations, drifted, sample,
    window_of,
};

/// What is known of a node in this reign.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    connected: bool,
    seen: Option<At>,
    usage: Option<NodeUsage>,
    foreign: Option<Track>,
    /// How busy its disks and links are; most of a cloud may not measure it.
    occupancy: Option<Box<Occupancy>>,
    /// How good the forecasts of the whole node were.
    tally: Tally,
}

impl Live {
    pub(super) fn connect(&mut self, at: At) {
        self.connected = true;
        self.seen = Some(at);
    }

    pub(super) fn disconnect(&mut self) {
        self.connected = false;
    }

    pub(crate) fn connected(&self) -> bool {
        self.connected
    }

    pub(super) fn seen(&self) -> Option<At> {
        self.seen
    }

    pub(crate) fn usage(&self) -> Option<&NodeUsage> {
        self.usage.as_ref()
    }

    pub(crate) fn occupied(&self, policy: &Policy, now: At) -> Option<Occupied> {
        self.occupancy.as_ref()?.occupied(policy, now)
    }

    pub(crate) fn foreign(&self) -> Option<&Track> {
        self.foreign.as_ref()
    }

    pub(super) fn recall_foreign(&mut self, track: Track) {
        self.foreign = Some(track);
    }
}

/// Where the move ledger stands, in this reign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Moves made in the last 24 hours, whatever for, but for new revisions.
    pub last_day: u64,
    /// Moves that may be made now for the sake of order.
    pub left: u64,
    /// As many as may be made after a long rest.
    pub at_once: u64,
    /// As many as flow in a day.
    pub daily: u64,
}

/// The longest pause between two looks that is no pause of the scheduler itself: it looks every
/// second, and a commit to a slow disk may take a few.
const LOOKS_APART_MAX: Millis = Millis::from_secs(5);

/// What the scheduler knows of its own listening.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Since when it listens without a pause.
    pub(super) since: At,
    looked: At,
    /// Nodes that had not been heard for long at the last look.
    pub(super) suspects: BTreeSet<NodeId>,
    /// Those of them whose loss was held because too many were silent, and until when it was.
    held: BTreeMap<NodeId, At>,
}

impl Watch {
    /// A reign begins: nobody was heard yet.
    pub(super) fn begin(&mut self, at: At) {
        *self = Self { since: at, looked: at, ..Self::default() };
    }
}

impl State {
    /// Looks who was heard lately. A scheduler that did not look for long was paused itself, and
    /// then the silence is its own.
    pub(super) fn look_around(&mut self, at: At) {
        if at.since(self.watch.looked) > LOOKS_APART_MAX {
            self.watch.since = at;
        }
        self.watch.looked = at;
        self.watch.suspects = liveness::silent(self, at).collect();
        let held = liveness::held(self, &self.watch.suspects, at);
        let before = std::mem::take(&mut self.watch.held);
        let still = before.into_iter().filter(|(node, _)| self.watch.suspects.contains(node));
        self.watch.held = still.collect();
        self.watch.held.extend(held.into_iter().map(|node| (node, at)));
    }

    /// Returns when the loss of a silent node was last held because too many were silent.
    pub(crate) fn held_at(&self, node: NodeId) -> Option<At> {
        self.watch.held.get(&node).copied()
    }

    /// Returns how busy the disks or links of a node were over the last window; nothing where that was not
    /// measured lately.
    pub fn occupancy(&self, node: NodeId, what: Dimension, now: At) -> Option<Permille> {
        self.live.get(&node)?.occupancy.as_ref()?.level(what, &self.policy, now)
    }

    /// Says why a node is so busy that nothing new should come to it, if it is.
    pub fn occupied(&self, node: NodeId, now: At) -> Option<Occupied> {
        self.live.get(&node)?.occupied(&self.policy, now)
    }

    /// Takes in what a node used. Instances that are not on it are passed over.
    pub(super) fn report_usage(&mut self, node: NodeId, usage: &NodeUsage, at: At) {
        let window = self.policy.window();
        let live = self.live.entry(node).or_default();
        live.seen = Some(at);
        let foreign = sample(usage.cpu_foreign, usage.memory_foreign, usage);
        let most = foreign.cpu;
        let track = live.foreign.get_or_insert_with(|| Track::start(at));
        let (mut sum, mut ours) = (Sum::default(), (0_u64, 0_u64));
        let comovement = self.comovement;
        let (shared, mut errors) = (comovement.shared(), Errors::default());
        let number = window_of(at, window.get());
        if let Some(closed) = track.observe(at, foreign, Seen { window, most, days: None }) {
            sum.add(&closed, closed.foreseen.map_or(0, |(mean, _)| mean), 0);
        }
        if usage.io.disk_busy.is_some() || usage.io.network_busy.is_some() {
            live.occupancy.get_or_insert_default().observe(at, usage.io, usage.interval, window);
        }
        live.usage = Some(usage.clone());
        let drift = self.drift.ratio_before(number);
        // Only where a window may have ended is anything held against the margin.
        let margin = sum.any.then(|| self.lines(self.capacity(node)).margins.ceiling);
        let mut instances = 0_u64;
        // Lent while instances learn by them.
        let days = std::mem::take(&mut self.days);
        let seasons = self.policy.has_seasons().then_some(&days);
        for used in &usage.instances {
            let here = self.instances.get(&used.instance).filter(|i| i.node == Some(node));
            let Some(instance) = here else { continue };
            let missed =
                instance.promise.as_ref().is_some_and(|promise| used.memory > promise.memory);
            let profile = self.profile_mut(used.instance).expect("every instance has one");
            profile.missed |= missed;
            let (harvest, request) = (profile.class == Class::Harvest, profile.request);
            let track = profile.track.get_or_insert_with(|| Box::new(Track::start(at)));
            let sample = sample(used.cpu, used.memory, usage);
            let terms = Seen { window, most: request, days: seasons };
            let closed = track.observe(at, sample, terms);
            let Some(closed) = closed.filter(|_| !harvest) else { continue };
            instances += 1;
            let (foreseen, variance) = closed.foreseen.unwrap_or_default();
            let mean = drifted(Millicores::new(foreseen), drift).get();
            sum.add(&closed, mean, track.part.shared(shared, u64::MAX));
            if let Some(margin) = margin.filter(|_| closed.mature) {
                track.tally.note(closed.actual, (mean, variance), margin);
            }
            if closed.mature {
                let error = signed(closed.actual).saturating_sub(signed(mean));
                let windows = track.history().get() / window.get().max(1);
                track.part.learn((closed.window, error), &comovement, windows);
                errors.add(closed.window, error);
                ours = (ours.0.saturating_add(closed.actual), ours.1.saturating_add(foreseen));
            }
        }
        self.days = days;
        if let Some((window, sum, squares)) = errors.all {
            self.comovement.note(window, (sum, squares));
        }
        self.calibrate(node, (number, &sum), ours);
        let began = At::from_millis(at.millis().saturating_sub(window.get()));
        self.judge(node, &sum, (began, instances, margin.unwrap_or(0)));
    }

    /// Enters a node's window that ended where it is shown: nothing is decided by it.
    fn judge(&mut self, node: NodeId, sum: &Sum, (began, instances, margin): (At, u64, u64)) {
        if sum.actual == 0 {
            return;
        }
        let over = self.passed(self.capacity(node), sum);
        self.hours.note(began, &Violations::of_window(instances, over));
        if let Some(live) = self.live.get_mut(&node).filter(|_| sum.is_known()) {
            live.tally.note(sum.known, (sum.mean, sum.spread()), margin);
        }
    }

    /// Says whether what a node used was above its ceiling, and above its capacity.
    fn passed(&self, cpu: Millicores, sum: &Sum) -> (bool, bool) {
        let above = |line: Millicores| sum.actual > line.get();
        (above(cpu.share(self.policy.band().ceiling)), above(cpu))
    }

    /// Learns from a node's window that ended: how far off the forecast was, and whether the ceiling
    /// was passed.
    fn calibrate(&mut self, node: NodeId, (window, sum): (u64, &Sum), ours: (u64, u64)) {
        let Some(image) = self.nodes.get(&node).filter(|_| sum.any) else { return };
        if ours.1 > 0 {
            self.drift.note(window, ours.0, ours.1);
        }
        let cpu = image.facts.capacity.cpu;
        let over = self.passed(cpu, sum);
        let budget = self.budget();
        if sum.actual > 0 {
            self.calibration.note((window, cpu), sum, over, budget);
        }
    }

    /// Returns how much more or less than its averages everything uses now, in 65536ths.
    pub(crate) fn drift_ratio(&self) -> u64 {
        self.drift.ratio()
    }

    /// Returns the deviation that all instances share, in millicores.
    pub(crate) fn shared_deviation(&self) -> u64 {
        self.comovement.shared()
    }

    /// Returns how many moves may be made now for the sake of order.
    pub(crate) fn moves_left(&self, now: At) -> (usize, usize) {
        let (left, all) = self.ledger.left(now, self.daily_moves());
        let wide = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        (wide(left), wide(all))
    }

    /// Returns where the move ledger stands.
    pub fn moves(&self, now: At) -> Moves {
        let daily = self.daily_moves();
        let (left, at_once) = self.ledger.left(now, daily);
        Moves { last_day: self.ledger.last_day(now), left, at_once, daily }
    }

    /// Returns how many moves a day all instances together may make.
    pub(super) fn daily_moves(&self) -> u64 {
        let instances = u64::try_from(self.instances.len()).unwrap_or(u64::MAX);
        instances.saturating_mul(self.policy.daily_moves()) / 100
    }

    fn budget(&self) -> Budget {
        let (ceiling, capacity) = (self.policy.violation_budget(), self.policy.overload_budget());
        Budget { ceiling, capacity }
    }

    /// Returns what a node of so much CPU is foreseen with.
    pub(crate) fn lines(&self, cpu: Millicores) -> Lines {
        let margins = self.calibration.margins(cpu, self.budget());
        Lines { margins, ceiling: self.policy.band().ceiling }
    }

    /// Returns the CPU of a node; none of an unknown one.
    pub(crate) fn capacity(&self, node: NodeId) -> Millicores {
        self.nodes.get(&node).map_or(Millicores::ZERO, |n| n.facts.capacity.cpu)
    }

    /// Returns what became of the violation budget in this reign, by size of nodes.
    pub fn spent(&self) -> Vec<Spent> {
        self.calibration.spent(self.budget()).collect()
    }

    /// Returns what became of the violation budget in this reign, by hour of the week.
    pub fn hours(&self) -> &Hours {
        &self.hours
    }

    /// Returns how good the forecasts of an instance were lately; harvest has none.
    pub fn accuracy(&self, id: InstanceId) -> Accuracy {
        let track = self.profile(id).and_then(|profile| profile.track.as_ref());
        track.map(|track| track.tally.accuracy()).unwrap_or_default()
    }

    /// Returns how good the forecasts of a node were lately.
    pub fn node_accuracy(&self, node: NodeId) -> Accuracy {
        self.live.get(&node).map(|live| live.tally.accuracy()).unwrap_or_default()
    }

    /// Lets a replacement start from what was measured of the copy that it replaces on another node.
    pub(super) fn inherit_track(&mut self, from: InstanceId, to: InstanceId) {
        let came_from = self.instances.get(&from).and_then(|old| old.node);
        let track = self.profile_mut(from).and_then(|p| p.track.clone());
        if let Some(profile) = self.profile_mut(to) {
            profile.track = track.or_else(|| profile.track.take());
            profile.came_from = came_from;
        }
    }

    /// Returns where an instance was before it was moved to where it is, as far as this reign knows.
    pub(crate) fn came_from(&self, id: InstanceId) -> Option<NodeId> {
        self.profile(id).and_then(|profile| profile.came_from)
    }
}

/// The errors of a node's instances in its newest window: their sum and the sum of their squares.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    all: Option<(u64, i64, u128)>,
}

impl Errors {
    fn add(&mut self, window: u64, error: i64) {
        let (newest, sum, squares) =
            self.all.filter(|(of, _, _)| *of >= window).unwrap_or((window, 0, 0));
        if newest == window {
            let size = u128::from(error.unsigned_abs());
            self.all =
                Some((window, sum.saturating_add(error), squares.saturating_add(size * size)));
        }
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
