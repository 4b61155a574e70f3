//! Calibration: how many deviations above its mean a node has to be foreseen, so that the share of
//! node-time above the ceiling comes out as the violation budget.
//!
//! Two loops, both of published form (`docs/forecast.md`). The errors of past forecasts, in
//! deviations, give the margin for a share of misses: a conformal quantile. The share asked for moves
//! with the misses that came: adaptive conformal inference (Gibbs and Candès, 2021), so that a quantile
//! that is wrong is put right by what it does. It decides nothing about placement.

use std::collections::BTreeMap;

use tengyun_model::Millicores;

use super::track::Closed;

/// Parts of a deviation that margins are given in.
pub(crate) const PARTS: u64 = 1024;
/// The whole of node-time.
const WHOLE: u64 = 1_000_000;
/// Errors are counted by sixteenths of a deviation, up to eight deviations above the mean.
const STEPS: u64 = 16;
const BINS: usize = 128;
/// Weight of one error.
const ONE: u64 = 1 << 20;
/// As many errors as the shape assumed before any was seen counts for.
const ASSUMED: u64 = 600;
/// Errors count half after so many windows: a week.
const WEEK: u64 = 2016;
/// A debt is paid back, and savings are spent, over so many windows: three quarters of an hour.
const HORIZON: u64 = 9;
/// They are forgotten by this part in a window: a half in ten days.
const FADE: i64 = 4000;
/// Of the budget so much is aimed at, in permille; the rest is kept for what nobody foresaw.
const AIM: u64 = 955;
/// No margin below the capacity is wider than six deviations: what jumps further does so because it is another
/// load, and every node of the class would pay for it. On Bitbrains eight bought 5 % less use at the same budget.
/// One below the ceiling may be as wide as errors are counted: with six a budget of a thousandth was spent 2.6
/// times over there.
const WIDEST: u64 = 6 * PARTS;
/// The share asked for is never below and above these parts of the budget, in permille.
const LEAST: u64 = 300;
const MOST: u64 = 6000;

/// What a node's window came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The use that came, in all.
    pub(crate) actual: u64,
    /// The part of it by what had been foreseen from enough history.
    pub(crate) known: u64,
    /// What had been foreseen of that part, the variance of what evens out in it, and the deviation that
    /// does not.
    pub(crate) mean: u64,
    pub(crate) variance: u64,
    pub(crate) shared: u64,
    /// Whether anything was measured.
    pub(crate) any: bool,
}

impl Sum {
    /// Adds a window of one thing, the mean that was foreseen of it, and the deviation that it shares.
    pub(crate) fn add(&mut self, closed: &Closed, mean: u64, shared: u64) {
        self.any = true;
        self.actual = self.actual.saturating_add(closed.actual);
        if let Some((_, variance)) = closed.foreseen.filter(|_| closed.mature) {
            self.known = self.known.saturating_add(closed.actual);
            self.mean = self.mean.saturating_add(mean);
            let shared = shared.min(variance.isqrt());
            self.shared = self.shared.saturating_add(shared);
            self.variance = self.variance.saturating_add(variance - shared * shared);
        }
    }

    /// Returns one deviation of what had been foreseen: one millicore at least, or a steady node would make
    /// anything a miss.
    fn deviation(&self) -> u64 {
        self.spread().isqrt().max(1)
    }

    /// Returns the variance of what had been foreseen.
    pub(crate) fn spread(&self) -> u64 {
        self.variance.saturating_add(self.shared.saturating_mul(self.shared))
    }

    /// Says whether nearly all of the use had been foreseen from enough history.
    pub(crate) fn is_known(&self) -> bool {
        self.known.saturating_mul(8) >= self.actual.saturating_mul(7)
    }
}

/// The budget of nodes of one size, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The least CPU of the nodes: they have less than twice of it.
    pub from: Millicores,
    /// Node-windows measured.
    pub windows: u64,
    /// Of them above the ceiling.
    pub misses: u64,
    /// Of them above the capacity.
    pub overloads: u64,
    /// Node-windows that were foreseen from enough history.
    pub foreseen: u64,
    /// Of them those whose peak was missed: the use that came was above it.
    pub missed: u64,
    /// Deviations above the mean that nodes are foreseen with now, in 1024ths.
    pub margin: u64,
}

impl Spent {
    /// Returns the deviations above the mean that nodes are foreseen with now, in thousandths.
    pub fn margin_thousandths(&self) -> u64 {
        self.margin.saturating_mul(1000) / PARTS
    }
}

/// What one line may be passed by, in millionths of node-time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The ceiling.
    pub(crate) ceiling: u64,
    /// The capacity.
    pub(crate) capacity: u64,
}

/// Deviations above the mean that a node is foreseen with, in 1024ths: below the ceiling, and below
/// its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Margins {
    pub(crate) ceiling: u64,
    pub(crate) capacity: u64,
}

/// The account of one line.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// What passed it in the newest window.
    misses: u64,
    /// What was saved of the budget, in millionths of a node-window; a debt is negative.
    balance: i64,
    misses_all: u64,
}

impl Account {
    fn note(&mut self, over: bool, is_known: bool) {
        self.misses_all = self.misses_all.saturating_add(u64::from(over));
        if is_known {
            self.misses = self.misses.saturating_add(u64::from(over));
        }
    }

    /// Enters the newest window into the balance.
    fn settle(&mut self, nodes: u64, budget: u64) {
        let balance = self.balance_now(nodes, budget);
        self.balance = balance - balance / FADE;
        self.misses = 0;
    }

    fn balance_now(&self, nodes: u64, budget: u64) -> i64 {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let granted = signed(nodes.saturating_mul(aim(budget)));
        let spent = signed(self.misses.saturating_mul(WHOLE));
        self.balance.saturating_add(granted).saturating_sub(spent)
    }

    /// Returns the share of misses to ask for now, in millionths.
    fn share(&self, (nodes, usual): (u64, u64), budget: u64) -> u64 {
        let usual = i64::try_from(usual.max(1)).unwrap_or(i64::MAX);
        let horizon = i64::try_from(HORIZON).expect("it is small");
        let more = self.balance_now(nodes, budget) / usual.saturating_mul(horizon);
        let wanted = i64::try_from(aim(budget)).unwrap_or(i64::MAX).saturating_add(more);
        let wanted = u64::try_from(wanted).unwrap_or(0);
        wanted.clamp(budget * LEAST / 1000, budget * MOST / 1000).clamp(1, WHOLE)
    }
}

/// What is known of nodes of one size.
#[derive(Clone, Debug)]
struct Class {
    /// The newest window, and how many nodes are known of it so far.
    window: u64,
    nodes: u64,
    /// The nodes of the window before.
    before: u64,
    ceiling: Account,
    capacity: Account,
    /// Errors below the mean, and by how far they were above it.
    below: u64,
    bins: Vec<u64>,
    /// When they were halved last.
    halved: u64,
    windows_all: u64,
    foreseen_all: u64,
    missed_all: u64,
    /// The margin that the newest window began with.
    margin_then: u64,
}

impl Class {
    fn new(window: u64) -> Self {
        Self {
            window,
            nodes: 0,
            before: 0,
            ceiling: Account::default(),
            capacity: Account::default(),
            below: 0,
            bins: vec![0; BINS],
            halved: window,
            windows_all: 0,
            foreseen_all: 0,
            missed_all: 0,
            margin_then: u64::MAX,
        }
    }

    /// Takes in one node's window, and whether its use was above the ceiling and the capacity.
    fn note(
        &mut self,
        (window, assumed): (u64, &[u64; BINS]),
        sum: &Sum,
        over: (bool, bool),
        budget: Budget,
    ) {
        if window > self.window || self.margin_then == u64::MAX {
            self.margin_then = self.margins(assumed, budget).ceiling;
        }
        if window > self.window {
            self.ceiling.settle(self.nodes, budget.ceiling);
            self.capacity.settle(self.nodes, budget.capacity);
            (self.before, self.nodes, self.window) = (self.nodes, 0, window);
            if window.saturating_sub(self.halved) >= WEEK {
                self.halved = window;
                self.below /= 2;
                self.bins.iter_mut().for_each(|bin| *bin /= 2);
            }
        }
        self.windows_all = self.windows_all.saturating_add(1);
        let is_known = sum.is_known();
        self.ceiling.note(over.0, is_known);
        self.capacity.note(over.1, is_known);
        if !is_known {
            return;
        }
        self.nodes = self.nodes.saturating_add(1);
        self.foreseen_all = self.foreseen_all.saturating_add(1);
        match sum.known.checked_sub(sum.mean) {
            None => self.below = self.below.saturating_add(ONE),
            Some(error) => {
                let deviation = sum.deviation();
                let step = error.saturating_mul(STEPS) / deviation;
                let missed =
                    error.saturating_mul(PARTS) > deviation.saturating_mul(self.margin_then);
                self.missed_all = self.missed_all.saturating_add(u64::from(missed));
                let bin = usize::try_from(step).unwrap_or(BINS).min(BINS - 1);
                self.bins[bin] = self.bins[bin].saturating_add(ONE);
            }
        }
    }

    fn margins(&self, assumed: &[u64; BINS], budget: Budget) -> Margins {
        let seen: u64 = self.bins.iter().fold(self.below, |sum, bin| sum.saturating_add(*bin));
        let nodes = (self.nodes, self.before.max(self.nodes));
        let margin = |account: &Account, budget: u64| {
            quantile(&self.bins, assumed, seen, account.share(nodes, budget))
        };
        Margins {
            ceiling: margin(&self.ceiling, budget.ceiling),
            capacity: margin(&self.capacity, budget.capacity).min(WIDEST),
        }
    }
}

fn aim(budget: u64) -> u64 {
    budget * AIM / 1000
}

/// Returns the deviations above the mean that errors pass with this share, in 1024ths.
fn quantile(bins: &[u64], assumed: &[u64; BINS], seen: u64, share: u64) -> u64 {
    let all = u128::from(seen) + u128::from(ASSUMED * ONE);
    let wanted = all * u128::from(share) / u128::from(WHOLE);
    let width = PARTS / STEPS;
    let mut above = 0_u128;
    let mut edge = u64::try_from(BINS).expect("it is small") * width;
    for (bin, assumed) in bins.iter().zip(assumed).rev() {
        let here = u128::from(*bin) + u128::from(*assumed);
        if above + here > wanted {
            // Errors are taken to be spread evenly in their bin.
            let part = (wanted - above) * u128::from(width) / here;
            let margin = edge - u64::try_from(part).expect("it is below the width of a bin");
            return margin;
        }
        above += here;
        edge -= width;
    }
    0
}

/// The calibration of all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Calibration {
    /// By the power of two below the CPU of a node.
    classes: BTreeMap<u32, Class>,
    assumed: [u64; BINS],
}

impl Default for Calibration {
    fn default() -> Self {
        Self { classes: BTreeMap::new(), assumed: assumed() }
    }
}

impl Calibration {
    /// Takes in what a node's window came to, and whether it was above the ceiling and the capacity.
    pub(crate) fn note(
        &mut self,
        (window, cpu): (u64, Millicores),
        sum: &Sum,
        over: (bool, bool),
        budget: Budget,
    ) {
        let class = self.classes.entry(class_of(cpu)).or_insert_with(|| Class::new(window));
        class.note((window, &self.assumed), sum, over, budget);
    }

    /// Returns the margins that a node is to be foreseen with.
    pub(crate) fn margins(&self, cpu: Millicores, budget: Budget) -> Margins {
        if let Some(class) = self.classes.get(&class_of(cpu)) {
            return class.margins(&self.assumed, budget);
        }
        let margin = |budget: u64| quantile(&[0; BINS], &self.assumed, 0, aim(budget).max(1));
        Margins { ceiling: margin(budget.ceiling), capacity: margin(budget.capacity) }
    }

    /// Returns what became of the budget, by size of nodes.
    pub(crate) fn spent(&self, budget: Budget) -> impl Iterator<Item = Spent> {
        self.classes.iter().map(move |(class, of)| Spent {
            from: Millicores::new(1 << class.min(&63)),
            windows: of.windows_all,
            misses: of.ceiling.misses_all,
            overloads: of.capacity.misses_all,
            foreseen: of.foreseen_all,
            missed: of.missed_all,
            margin: of.margins(&self.assumed, budget).ceiling,
        })
    }
}

fn class_of(cpu: Millicores) -> u32 {
    cpu.get().checked_ilog2().unwrap_or(0)
}

/// The shape assumed of errors: 97 % normal with 1.12 deviations, 3 % with 2. Both are summed up by
/// their densities, each of which is the one before times a factor that falls evenly.
fn assumed() -> [u64; BINS] {
    // exp(-(1/16)^2 / 2 / s^2) in 2^-40, and the density of the first bin's middle times its width.
    const HALF: u128 = 1 << 40;
    const NORMAL: (u128, u128) = (1_097_800_999_046, 23_734_198_492);
    const WIDE: (u128, u128) = (1_098_974_887_915, 411_176_376);
    let mut bins = [0; BINS];
    for (factor, density) in [NORMAL, WIDE] {
        let square = factor * factor / HALF;
        let (mut density, mut step) = (density, square);
        for bin in &mut bins {
            let share = density * u128::from(ASSUMED * ONE) / HALF;
            *bin += u64::try_from(share).expect("a share of a few hundred errors");
            density = density * step / HALF;
            step = step * square / HALF;
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Millicores = Millicores::new(32_000);
    /// One percent.
    const BUDGET: Budget = Budget { ceiling: 10_000, capacity: 500 };

    /// A draw from 0 to below 2^32: a linear congruence, its high bits.
    fn draw(seed: &mut u64) -> u64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 32
    }

    /// Twelve draws added up are near a normal one: mean 6, variance 1, in 2^-32.
    fn normal(seed: &mut u64) -> u64 {
        (0..12).map(|_| draw(seed)).sum()
    }

    /// Lets nodes run at the margin: what they are foreseen with just fits. Returns the misses in a
    /// million node-windows and the last margin.
    fn run(budget: u64, spread: u64) -> (u64, u64) {
        let budget = Budget { ceiling: budget, capacity: budget / 20 };
        let (mut calibration, mut seed) = (Calibration::default(), 7);
        let (nodes, windows) = (40, 2000);
        let mut misses = 0;
        for window in 1..=windows {
            let margin = calibration.margins(NODE, budget).ceiling;
            for _ in 0..nodes {
                let deviation = 1000;
                let actual = 10_000 + normal(&mut seed) * deviation * spread / 100 / (1 << 32);
                let mean = 10_000 + 6 * deviation * spread / 100;
                let over = actual > mean + margin * deviation / PARTS;
                misses += u64::from(over);
                let sum =
                    Sum { actual, known: actual, mean, variance: 1_000_000, shared: 0, any: true };
                calibration.note((window, NODE), &sum, (over, false), budget);
            }
        }
        (misses * WHOLE / (nodes * windows), calibration.margins(NODE, budget).ceiling)
    }

    #[test]
    fn the_shape_assumed_is_a_half_of_errors_and_has_the_tail_of_its_formula() {
        let all: u64 = assumed().iter().sum();
        assert!((ASSUMED * ONE / 2).abs_diff(all) < ASSUMED * ONE / 500, "{all}");
        // 1 % of it lies above 2.72 deviations, a thousandth above 3.90.
        let margin = |share| quantile(&[0; BINS], &assumed(), 0, share);
        assert!(margin(10_000).abs_diff(2785) <= 32, "{}", margin(10_000));
        assert!(margin(1000).abs_diff(3994) <= 32, "{}", margin(1000));
    }

    #[test]
    fn what_comes_out_is_the_budget_whatever_the_errors_are_like() {
        for budget in [1000, 10_000, 50_000, 100_000] {
            for spread in [50, 100, 200] {
                let (misses, margin) = run(budget, spread);
                let near = misses * 10 >= budget * 7 && misses * 20 <= budget * 21;
                assert!(near, "{misses} of {budget}, errors times {spread} %, margin {margin}");
            }
        }
    }

    #[test]
    fn a_debt_widens_the_margin_and_savings_narrow_it() {
        let sum = Sum { actual: 10, known: 10, mean: 10, variance: 1, shared: 0, any: true };
        let after = |over: bool| {
            let mut calibration = Calibration::default();
            for window in 1..20 {
                calibration.note((window, NODE), &sum, (over, false), BUDGET);
            }
            calibration.margins(NODE, BUDGET).ceiling
        };
        let fresh = Calibration::default().margins(NODE, BUDGET).ceiling;
        assert!(after(true) > fresh && after(false) < fresh);
    }

    #[test]
    fn peaks_that_were_missed_are_counted_and_those_of_requests_are_not() {
        let mut calibration = Calibration::default();
        let usual = Sum {
            actual: 10_000,
            known: 10_000,
            mean: 10_000,
            variance: 1000,
            shared: 0,
            any: true,
        };
        let burst = Sum { actual: 20_000, known: 20_000, ..usual };
        let unknown = Sum { actual: 20_000, known: 0, mean: 0, variance: 0, shared: 0, any: true };
        for window in 1..=10 {
            let sum = if window == 7 { &burst } else { &usual };
            calibration.note((window, NODE), sum, (false, false), BUDGET);
            calibration.note((window, NODE), &unknown, (true, true), BUDGET);
        }
        let spent: Vec<_> = calibration.spent(BUDGET).collect();
        assert_eq!((spent[0].windows, spent[0].misses), (20, 10));
        assert_eq!((spent[0].foreseen, spent[0].missed), (10, 1));
    }

    #[test]
    fn however_often_a_line_is_passed_by_far_the_margin_is_eight_deviations_or_six_at_most() {
        let mut calibration = Calibration::default();
        let sum = Sum { actual: 99_000, known: 99_000, mean: 1, variance: 1, shared: 0, any: true };
        for window in 1..500 {
            calibration.note((window, NODE), &sum, (true, true), BUDGET);
        }
        let margins = calibration.margins(NODE, BUDGET);
        assert_eq!((margins.ceiling, margins.capacity), (8 * PARTS, 6 * PARTS));
    }

    #[test]
    fn what_was_placed_by_request_calibrates_nothing() {
        let mut calibration = Calibration::default();
        let before = calibration.margins(NODE, BUDGET).ceiling;
        let sum = Sum { actual: 100, known: 10, mean: 1, variance: 1, shared: 0, any: true };
        for window in 1..100 {
            calibration.note((window, NODE), &sum, (true, true), BUDGET);
        }
        assert_eq!(calibration.margins(NODE, BUDGET).ceiling, before);
        assert_eq!(calibration.spent(BUDGET).map(|s| (s.windows, s.misses)).next(), Some((99, 99)));
    }
}
