//! Drift: what moves the use of the whole cloud together. A city wakes up everywhere at once, and
//! averages of single instances see it only later; the sum of all has little noise and shows it early.

/// Windows that it remembers.
const MEMORY: u64 = 10;
/// Parts of the whole that the ratio is given in.
pub(crate) const PARTS: u64 = 1 << 16;
/// The ratio is believed up to a tenth.
const MOST: u64 = PARTS / 10;

/// Sums of what came and of what was foreseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    actual: u128,
    foreseen: u128,
}

impl Pair {
    fn ratio(self) -> u64 {
        let raw = self.actual.saturating_mul(u128::from(PARTS)).checked_div(self.foreseen);
        let raw = raw.map_or(PARTS, |raw| u64::try_from(raw).unwrap_or(u64::MAX));
        raw.clamp(PARTS - MOST, PARTS + MOST)
    }
}

/// How much more or less is used than averages say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drift {
    window: u64,
    /// The newest window so far.
    newest: Pair,
    /// The windows before, weighted, in 1024ths.
    past: Pair,
    count: u64,
}

impl Drift {
    /// Takes in what instances used in a window, and what had been foreseen of them.
    pub(crate) fn note(&mut self, window: u64, actual: u64, foreseen: u64) {
        if window > self.window {
            self.past = self.with_newest();
            self.count = (self.count + u64::from(self.newest.foreseen > 0)).min(MEMORY - 1);
            self.newest = Pair::default();
            self.window = window;
        }
        self.newest.actual = self.newest.actual.saturating_add(u128::from(actual));
        self.newest.foreseen = self.newest.foreseen.saturating_add(u128::from(foreseen));
    }

    /// Returns the ratio by all that is known.
    pub(crate) fn ratio(&self) -> u64 {
        self.with_newest().ratio()
    }

    /// Returns the ratio that was known before the newest window.
    pub(crate) fn ratio_before(&self, window: u64) -> u64 {
        if window > self.window { self.ratio() } else { self.past.ratio() }
    }

    /// A window of which only a part was reported counts for that part.
    fn with_newest(&self) -> Pair {
        let memory = u128::from(self.count + 1);
        let blend = |past: u128, newest: u128| {
            (past.saturating_mul(memory - 1)).saturating_add(newest.saturating_mul(1024)) / memory
        };
        if self.newest.foreseen == 0 {
            return self.past;
        }
        Pair {
            actual: blend(self.past.actual, self.newest.actual),
            foreseen: blend(self.past.foreseen, self.newest.foreseen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_known_nothing_is_corrected() {
        assert_eq!(Drift::default().ratio(), PARTS);
    }

    #[test]
    fn what_all_use_more_is_seen_and_what_comes_to_rest_is_forgotten() {
        let mut drift = Drift::default();
        for window in 1..=30 {
            drift.note(window, 1050, 1000);
        }
        assert_eq!(drift.ratio(), PARTS + PARTS / 20);
        for window in 31..=130 {
            drift.note(window, 1000, 1000);
        }
        assert!(drift.ratio().abs_diff(PARTS) < PARTS / 1000);
    }

    #[test]
    fn a_ratio_beyond_belief_is_not_believed() {
        let mut drift = Drift::default();
        drift.note(1, u64::MAX, 1);
        assert_eq!(drift.ratio(), PARTS + MOST);
        assert_eq!(drift.ratio_before(1), PARTS);
    }
}
