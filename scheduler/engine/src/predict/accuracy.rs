//! Accuracy: how good the forecasts of one thing were lately. It is shown and decides nothing; what an
//! error costs is decided by the variance that it adds to.

use super::calibrate::PARTS;

/// When so many windows were counted, all counts are halved: a fortnight, so that the last one or two
/// weeks are told.
const HALVED_AT: u16 = 4032;

/// How good forecasts were: of one thing, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Windows that were foreseen from enough history.
    pub windows: u64,
    /// Of them those whose use was above the peak that was foreseen, at the margin of that time.
    pub missed: u64,
    /// The sum of what the means were wrong by, in millicores.
    wrong: u64,
    /// The sum of what was used, in millicores.
    used: u64,
}

impl Accuracy {
    /// Returns the share of windows above the foreseen peak, in millionths.
    pub fn missed_millionths(&self) -> u64 {
        part(self.missed, self.windows, 1_000_000)
    }

    /// Returns the mean absolute error of the means in thousandths of the use.
    pub fn error_thousandths(&self) -> u64 {
        part(self.wrong, self.used, 1000)
    }

    /// Returns that of several together: each counts by what it used.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            windows: self.windows.saturating_add(other.windows),
            missed: self.missed.saturating_add(other.missed),
            wrong: self.wrong.saturating_add(other.wrong),
            used: self.used.saturating_add(other.used),
        }
    }
}

fn part(part: u64, whole: u64, of: u128) -> u64 {
    let share = (u128::from(part) * of).checked_div(u128::from(whole));
    share.map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

/// What was counted of one thing; there are a million of them, so it is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    windows: u16,
    missed: u16,
    wrong: u32,
    used: u32,
}

impl Tally {
    /// Counts a window: what came, the mean and variance that were foreseen, and the deviations above
    /// the mean that the peak was at, in 1024ths.
    pub(crate) fn note(&mut self, actual: u64, (mean, variance): (u64, u64), margin: u64) {
        if self.windows >= HALVED_AT {
            self.windows /= 2;
            self.missed /= 2;
            self.wrong /= 2;
            self.used /= 2;
        }
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.windows += 1;
        self.missed += u16::from(is_above(actual, (mean, variance), margin));
        self.wrong = self.wrong.saturating_add(narrow(actual.abs_diff(mean)));
        self.used = self.used.saturating_add(narrow(actual));
    }

    /// Returns it for people.
    pub(crate) fn accuracy(self) -> Accuracy {
        Accuracy {
            windows: self.windows.into(),
            missed: self.missed.into(),
            wrong: self.wrong.into(),
            used: self.used.into(),
        }
    }
}

/// Says whether a use is above the mean by more than so many deviations, and by a millicore at least.
fn is_above(actual: u64, (mean, variance): (u64, u64), margin: u64) -> bool {
    let Some(error) = actual.checked_sub(mean).filter(|error| *error > 0) else { return false };
    let square = |n: u64| u128::from(n).saturating_mul(u128::from(n));
    // No root is needed: both sides are squared.
    let error = square(error).saturating_mul(square(PARTS));
    error > u128::from(variance.max(1)).saturating_mul(square(margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_above_the_margin_is_counted_and_the_error_is_that_of_the_means() {
        let mut tally = Tally::default();
        // A mean of 100 and a deviation of 10: two of them reach 120.
        for actual in [100, 120, 121, 59] {
            tally.note(actual, (100, 100), 2 * PARTS);
        }
        let accuracy = tally.accuracy();
        assert_eq!((accuracy.windows, accuracy.missed), (4, 1));
        assert_eq!(accuracy.missed_millionths(), 250_000);
        assert_eq!(accuracy.error_thousandths(), (20 + 21 + 41) * 1000 / 400);
    }

    #[test]
    fn a_steady_use_is_not_missed_by_a_rounding() {
        let mut tally = Tally::default();
        tally.note(100, (100, 0), 0);
        tally.note(101, (100, 0), 2 * PARTS);
        assert_eq!(tally.accuracy().missed, 0);
        tally.note(103, (100, 0), 2 * PARTS);
        assert_eq!(tally.accuracy().missed, 1);
    }

    #[test]
    fn what_was_long_ago_is_forgotten_and_nothing_overflows() {
        let mut tally = Tally::default();
        for _ in 0..HALVED_AT {
            tally.note(u64::MAX, (0, 0), 0);
        }
        assert_eq!(tally.accuracy().missed_millionths(), 1_000_000);
        for _ in 0..20 * u64::from(HALVED_AT) {
            tally.note(100, (100, 100), 2 * PARTS);
        }
        let accuracy = tally.accuracy();
        assert!(accuracy.windows <= u64::from(HALVED_AT), "{accuracy:?}");
        assert_eq!((accuracy.missed, accuracy.error_thousandths()), (0, 0), "{accuracy:?}");
    }

    #[test]
    fn several_count_by_what_they_used() {
        let mut large = Tally::default();
        large.note(900, (800, 0), 0);
        let mut small = Tally::default();
        small.note(100, (100, 0), 0);
        let both = large.accuracy().with(&small.accuracy());
        assert_eq!((both.windows, both.missed, both.error_thousandths()), (2, 1, 100));
    }
}
