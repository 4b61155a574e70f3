//! Loads: what the instances of a node add up to. Means add, so do the deviations that are shared with all
//! others, the rest of them adds by its squares, and the margin of the node says how many deviations count.

use tengyun_model::{Class, Millicores, Permille};

use super::InstanceForecast;
use super::calibrate::{Margins, PARTS};

/// What a node is foreseen with: how far above the mean below which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The deviations that are to stay below the ceiling, and below the capacity.
    pub(crate) margins: Margins,
    /// The ceiling.
    pub(crate) ceiling: Permille,
}

impl Default for Lines {
    fn default() -> Self {
        Self { margins: Margins::default(), ceiling: Permille::WHOLE }
    }
}

/// The sum of forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    mean: u64,
    /// Of what evens out.
    variance: u128,
    /// The deviation that does not.
    shared: u64,
    lines: Lines,
}

impl Load {
    /// Makes an empty sum.
    pub(crate) fn on(lines: Lines) -> Self {
        Self { lines, ..Self::default() }
    }

    /// Adds one instance.
    pub(crate) fn add(&mut self, forecast: InstanceForecast) {
        self.mean = self.mean.saturating_add(forecast.mean.get());
        self.variance = self.variance.saturating_add(own_variance(forecast));
        self.shared = self.shared.saturating_add(forecast.shared.get());
    }

    /// Takes away one instance that was added.
    pub(crate) fn remove(&mut self, forecast: InstanceForecast) {
        self.mean = self.mean.saturating_sub(forecast.mean.get());
        self.variance = self.variance.saturating_sub(own_variance(forecast));
        self.shared = self.shared.saturating_sub(forecast.shared.get());
    }

    /// Adds another sum; the lines stay.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.mean = self.mean.saturating_add(other.mean);
        self.variance = self.variance.saturating_add(other.variance);
        self.shared = self.shared.saturating_add(other.shared);
    }

    /// Returns what the node is foreseen with.
    pub(crate) fn lines(self) -> Lines {
        self.lines
    }

    /// Returns the same sum on a node of other lines.
    pub(crate) fn with_lines(self, lines: Lines) -> Self {
        Self { lines, ..self }
    }

    /// Returns one deviation of the sum.
    pub(crate) fn deviation(self) -> Millicores {
        Millicores::new(root_up(self.variance_of_all()))
    }

    /// Returns the deviation of what evens out, and the one that does not.
    pub(crate) fn deviations(self) -> (Millicores, Millicores) {
        (Millicores::new(root_up(self.variance)), Millicores::new(self.shared))
    }

    /// Returns the mean of the sum.
    pub(crate) fn mean(self) -> Millicores {
        Millicores::new(self.mean)
    }

    /// Returns what it is seldom below: less in one window of six.
    pub(crate) fn seldom_less(self) -> Millicores {
        self.mean().saturating_sub(self.deviation())
    }

    /// Returns the peak of the sum: what must be below the ceiling, so that neither it nor the capacity
    /// is passed more often than its budget says.
    pub(crate) fn peak(self) -> Millicores {
        let (soft, hard) = self.peaks();
        soft.max(hard)
    }

    /// Says whether the capacity, and not the ceiling, is what the peak is nearer to.
    pub(crate) fn is_bound_by_capacity(self) -> bool {
        let (soft, hard) = self.peaks();
        hard > soft
    }

    /// Returns the peak that is to stay below the ceiling, and the share that counts there of the one that
    /// is to stay below the capacity.
    fn peaks(self) -> (Millicores, Millicores) {
        let Margins { ceiling, capacity } = self.lines.margins;
        let above = |margin| Millicores::new(self.mean.saturating_add(self.spread(margin)));
        (above(ceiling), above(capacity).share(self.lines.ceiling))
    }

    /// Returns the peak that a share of this sum has, with the variance divided alike: what a node of
    /// this part of all capacity is at when everything is level.
    pub(crate) fn peak_of_part(self, part: u64, whole: u64) -> Millicores {
        let cut = |n: u128| n.saturating_mul(u128::from(part)).checked_div(u128::from(whole));
        let narrow = |n: u64| u64::try_from(cut(u128::from(n)).unwrap_or(0)).unwrap_or(u64::MAX);
        let (mean, shared) = (narrow(self.mean), narrow(self.shared));
        Self { mean, shared, variance: cut(self.variance).unwrap_or(0), ..self }.peak()
    }

    /// Says whether the peak is at most this much, without the cost of a root.
    pub(crate) fn is_within(self, line: Millicores) -> bool {
        let Lines { margins, ceiling } = self.lines;
        // The most whose share, rounded down, is still at most the line.
        let above = line.get().saturating_add(1).saturating_mul(1000) - 1;
        let hard = above.checked_div(u64::from(ceiling.get())).unwrap_or(u64::MAX);
        self.reaches(margins.ceiling, line.get()) && self.reaches(margins.capacity, hard)
    }

    /// Says whether so many deviations above the mean are at most a line.
    fn reaches(self, margin: u64, line: u64) -> bool {
        let spread = line.checked_sub(self.mean);
        // The root, rounded up, is at most n exactly when the square is at most n times n.
        spread.is_some_and(|n| {
            let n = u128::from(n) * u128::from(PARTS);
            self.square(margin) <= n.saturating_mul(n)
        })
    }

    /// Returns the sum with one more instance.
    pub(crate) fn with(mut self, forecast: InstanceForecast) -> Self {
        self.add(forecast);
        self
    }

    /// Returns the sum with a higher mean.
    pub(crate) fn risen(mut self, rise: Millicores) -> Self {
        self.mean = self.mean.saturating_add(rise.get());
        self
    }

    /// Returns the sum with one instance less.
    pub(crate) fn without(mut self, forecast: InstanceForecast) -> Self {
        self.remove(forecast);
        self
    }

    fn spread(self, margin: u64) -> u64 {
        root_up(self.square(margin)).div_ceil(PARTS)
    }

    fn square(self, margin: u64) -> u128 {
        self.variance_of_all().saturating_mul(u128::from(margin) * u128::from(margin))
    }

    fn variance_of_all(self) -> u128 {
        self.variance.saturating_add(square(self.shared))
    }
}

/// What the instances of a node add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crew {
    /// The critical and standard ones, and what is not ours.
    pub(crate) load: Load,
    /// How many critical and standard ones there are, less those that are on every node.
    pub(crate) others: usize,
    /// What harvest asks for.
    pub(crate) harvest: Millicores,
    /// How many harvest instances there are; one may ask for nothing.
    pub(crate) harvests: usize,
    /// By how much seasons lift the mean of the others within an hour.
    pub(crate) rise: Millicores,
}

impl Crew {
    /// Adds an instance.
    pub(crate) fn add(&mut self, class: Class, request: Millicores, expected: InstanceForecast) {
        match class {
            Class::Harvest => {
                self.harvest = self.harvest.saturating_add(request);
                self.harvests += 1;
            }
            Class::Critical | Class::Standard => {
                self.load.add(expected);
                self.rise = self.rise.saturating_add(expected.rise);
                self.others += 1;
            }
        }
    }

    /// Does not count the one added last as a use of the node, if it is of those on every node.
    pub(crate) fn pass_over(&mut self, class: Class, everywhere: bool) {
        self.others -= usize::from(everywhere && class != Class::Harvest);
    }

    /// Says whether there is any harvest.
    pub(crate) fn has_harvest(&self) -> bool {
        self.harvests > 0
    }

    /// Takes away a critical or standard instance that was added.
    pub(crate) fn remove(&mut self, expected: InstanceForecast) {
        self.load.remove(expected);
        self.rise = self.rise.saturating_sub(expected.rise);
        self.others = self.others.saturating_sub(1);
    }
}

/// Returns the variance of what an instance does not share.
fn own_variance(forecast: InstanceForecast) -> u128 {
    square(forecast.deviation.get()).saturating_sub(square(forecast.shared.get()))
}

fn square(n: u64) -> u128 {
    u128::from(n) * u128::from(n)
}

/// Returns the root, rounded up. Wide roots are slow and seldom needed.
fn root_up(square: u128) -> u64 {
    if let Ok(narrow) = u64::try_from(square) {
        let root = narrow.isqrt();
        return if root * root < narrow { root + 1 } else { root };
    }
    let root = square.isqrt();
    let up = if root * root < square { root + 1 } else { root };
    u64::try_from(up).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(mean: u64, deviation: u64) -> InstanceForecast {
        InstanceForecast::new(Millicores::new(mean), Millicores::new(deviation), true)
    }

    fn on(ceiling: u64, capacity: u64) -> Load {
        let margins = Margins { ceiling, capacity };
        Load::on(Lines { margins, ceiling: Permille::new(800) })
    }

    #[test]
    fn deviations_add_by_their_squares() {
        let mut load = on(PARTS, 0);
        load.add(forecast(100, 30));
        load.add(forecast(100, 40));
        assert_eq!(load.peak(), Millicores::new(250));
        assert_eq!(on(0, 0).with(forecast(100, 30)).peak(), Millicores::new(100));
    }

    #[test]
    fn what_is_shared_adds_up_as_it_is() {
        let shared = Millicores::new(40);
        let jumps = InstanceForecast { shared, ..forecast(100, 50) };
        // Two share 80 and have 30 each of their own: the root of 80 squared and twice 30 squared.
        assert_eq!(on(PARTS, 0).with(jumps).with(jumps).peak(), Millicores::new(291));
        assert_eq!(
            on(PARTS, 0).with(forecast(100, 50)).with(forecast(100, 50)).peak(),
            Millicores::new(271)
        );
        assert_eq!(on(5, 5).with(jumps).with(jumps).without(jumps), on(5, 5).with(jumps));
        let whole = on(PARTS, 0).with(jumps).with(jumps);
        assert!(
            whole.peak_of_part(1, 2) > Millicores::new(145),
            "a half has half of what is shared"
        );
    }

    #[test]
    fn what_is_within_a_line_has_its_peak_there() {
        for (margin, hard) in [(0, 0), (1, 2), (999, 1024), (1024, 999), (2693, 4000), (9, 9000)] {
            for deviation in [0, 1, 7, 1000] {
                let load = on(margin, hard).with(forecast(10, deviation));
                let peak = load.peak();
                assert!(load.is_within(peak), "{margin} {deviation}");
                let below = peak.saturating_sub(Millicores::new(1));
                assert!(!load.is_within(below) || peak.is_zero(), "{margin} {deviation}");
            }
        }
    }

    #[test]
    fn the_capacity_counts_where_its_margin_is_much_the_wider() {
        let load = on(PARTS, 2 * PARTS).with(forecast(100, 100));
        assert_eq!(load.peak(), Millicores::new(240));
        assert_eq!(on(PARTS, PARTS + 200).with(forecast(100, 100)).peak(), Millicores::new(200));
    }

    #[test]
    fn what_is_added_and_taken_away_leaves_nothing() {
        let load = on(5, 5).with(forecast(3, 4));
        assert_eq!(load.with(forecast(9, 8)).without(forecast(9, 8)), load);
    }

    #[test]
    fn a_half_of_a_sum_has_half_the_mean_and_half_the_variance() {
        let load = on(PARTS, 0).with(forecast(100, 0));
        let load = load.with(forecast(0, 100)).with(forecast(0, 100));
        assert_eq!(load.peak_of_part(1, 2), Millicores::new(150));
    }
}
