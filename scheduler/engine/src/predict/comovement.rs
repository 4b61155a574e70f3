//! Co-movement: what forecasts are wrong by together. A batch that seventy instances begin at once is no
//! chance that evens out over a node, so it must not be summed up as if it were.
//!
//! It is the single-index model (Sharpe, *Management Science* 9, 1963), with the error of all instances
//! together as its index. The covariance of an instance's error with those of all others says how much
//! of its deviation is shared; the shared parts of a node's instances add up as they are, the rest adds by
//! its squares (`docs/forecast.md`). It foresees nothing itself.

/// Windows that it remembers: a day.
const MEMORY: u64 = 288;
/// What is shared counts from the moment on that it is this part of the variance of a node's own, and
/// until it is less than half of that: below it is hardly more than the noise of its own estimate.
const COUNTS_FROM: u128 = 2;
const COUNTS_TO: u128 = 4;

/// What the errors of one instance have to do with those of all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The last window, and what was used in it beyond what was foreseen, in millicores.
    window: u64,
    error: i64,
    /// The mean product of its error and the sum of all others'.
    covariance: i64,
}

impl Part {
    /// Takes in the error of a window, and learns from the one before, which is known of all by now.
    /// The instance was measured for so many windows.
    pub(crate) fn learn(&mut self, (window, error): (u64, i64), all: &Comovement, windows: u64) {
        if let Some(sum) = all.error_of(self.window) {
            let count = windows.clamp(1, MEMORY);
            let others = sum.saturating_sub(self.error);
            let product = i128::from(self.error) * i128::from(others);
            let sum = i128::from(self.covariance) * i128::from(count - 1) + product;
            let mean = sum / i128::from(count);
            self.covariance =
                i64::try_from(mean).unwrap_or(if mean < 0 { i64::MIN } else { i64::MAX });
        }
        (self.window, self.error) = (window, error);
    }

    /// Returns how much of a deviation is shared with all others, in millicores. What falls when others
    /// rise shares nothing: that it goes on doing so is not relied on.
    pub(crate) fn shared(&self, all: u64, deviation: u64) -> u64 {
        let covariance = u64::try_from(self.covariance).unwrap_or(0);
        covariance.checked_div(all).unwrap_or(0).min(deviation)
    }
}

/// The errors of all instances together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Comovement {
    /// The newest window: the sum of the errors, the sum of their squares, and the nodes they are from.
    window: u64,
    sum: i64,
    squares: u128,
    nodes: u64,
    /// The window before, and the sum of its errors.
    before: (u64, i64),
    /// The mean square of the sums, and the mean sum of the squares; over so many windows.
    together: u128,
    apart: u128,
    count: u64,
    /// The nodes of the window before.
    fleet: u64,
    /// Whether what is shared counts.
    counts: bool,
}

impl Comovement {
    /// Takes in the errors of a node's instances in a window: their sum and the sum of their squares.
    pub(crate) fn note(&mut self, window: u64, (sum, squares): (i64, u128)) {
        if window > self.window {
            self.settle();
            self.before = (self.window, self.sum);
            (self.window, self.sum, self.squares, self.nodes) = (window, 0, 0, 0);
        }
        // What comes late is of a window that was settled.
        if window == self.window {
            self.sum = self.sum.saturating_add(sum);
            self.squares = self.squares.saturating_add(squares);
            self.nodes = self.nodes.saturating_add(1);
        }
    }

    /// Enters the newest window into the averages.
    fn settle(&mut self) {
        if self.nodes == 0 {
            return;
        }
        self.count = (self.count + 1).min(MEMORY);
        let count = u128::from(self.count);
        let blend =
            |mean: u128, new: u128| mean.saturating_mul(count - 1).saturating_add(new) / count;
        let sum = u128::from(self.sum.unsigned_abs());
        self.together = blend(self.together, sum.saturating_mul(sum));
        self.apart = blend(self.apart, self.squares);
        self.fleet = self.nodes;
        let part = if self.counts { COUNTS_TO } else { COUNTS_FROM };
        // A node has one of so many parts of what is apart, and the square of one of what is shared.
        let apart = self.apart.saturating_mul(u128::from(self.fleet));
        let shared = self.together.saturating_sub(self.apart);
        self.counts = shared > 0 && shared.saturating_mul(part) >= apart;
    }

    /// Returns the sum of the errors of a window, if it is one of the last two.
    fn error_of(&self, window: u64) -> Option<i64> {
        let known = [(self.window, self.sum), self.before];
        known.into_iter().find(|(of, _)| *of == window && window > 0).map(|(_, sum)| sum)
    }

    /// Returns the deviation that all instances share, in millicores; none while it does not count.
    pub(crate) fn shared(&self) -> u64 {
        let shared = if self.counts { self.together.saturating_sub(self.apart) } else { 0 };
        u64::try_from(shared.isqrt()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// So many instances are on a node.
    const A_NODE: usize = 10;

    /// Lets instances err together by a draw times their weight, and each for itself; returns what is
    /// found to be shared of all, and of each.
    fn learn(weights: &[i64], own: i64, windows: u64) -> (u64, Vec<u64>) {
        let (mut all, mut random) = (Comovement::default(), Random(3));
        let mut parts = vec![Part::default(); weights.len()];
        let mut draw = |most: i64| {
            let range = u64::try_from(2 * most + 1).unwrap();
            i64::try_from(random.below(range)).unwrap() - most
        };
        for window in 1..=windows {
            let together = draw(10);
            let before = all;
            for (parts, weights) in parts.chunks_mut(A_NODE).zip(weights.chunks(A_NODE)) {
                let (mut sum, mut squares) = (0, 0);
                for (part, weight) in parts.iter_mut().zip(weights) {
                    let error = together * weight + draw(own);
                    part.learn((window, error), &before, window);
                    sum += error;
                    squares += u128::from((error * error).unsigned_abs());
                }
                all.note(window, (sum, squares));
            }
        }
        let shared = all.shared();
        (shared, parts.iter().map(|part| part.shared(shared, u64::MAX)).collect())
    }

    #[test]
    fn what_is_wrong_together_is_found_and_whose_it_is() {
        let mut weights = vec![0; 40];
        weights[..10].fill(100);
        let (all, each) = learn(&weights, 300, 500);
        // A draw from -10 to 10 has a deviation of 6: ten instances share 100 times that each.
        assert!(all.abs_diff(6_055) < 900, "{all}");
        for (at, shared) in each.iter().enumerate() {
            let expected = if at < 10 { 605 } else { 0 };
            assert!(shared.abs_diff(expected) < 120, "{at}: {shared}");
        }
    }

    #[test]
    fn what_is_wrong_each_for_itself_shares_nothing() {
        assert_eq!(learn(&[0; 200], 300, 500).0, 0);
    }

    #[test]
    fn what_falls_when_others_rise_shares_nothing() {
        let mut weights = vec![100; 10];
        weights.push(-100);
        let (_, each) = learn(&weights, 30, 500);
        assert_eq!(each[10], 0);
        assert!(each[0] > 400, "{each:?}");
    }

    #[test]
    fn what_comes_late_or_is_beyond_measure_overflows_nothing() {
        let mut all = Comovement::default();
        let mut part = Part::default();
        for window in [5, 6, 3, 7, u64::MAX, 1] {
            part.learn((window, i64::MIN), &all, u64::MAX);
            all.note(window, (i64::MIN, u128::MAX));
            part.learn((window, i64::MAX), &all, 0);
            all.note(window, (i64::MIN, u128::MAX));
        }
        assert!(part.shared(all.shared(), 7) <= 7);
    }
}
