//! The move ledger: how much of what may be moved for the sake of order has been moved. It bounds moves
//! over days and never holds back what relieves a node; of this reign only.

use tengyun_model::At;

/// Parts of a move.
const PARTS: u128 = 1_000_000;
const DAY_MILLIS: u128 = 86_400_000;
/// This part of a day's moves may be made at once, and so many in any case: a small cloud is put in
/// order by a handful.
const AT_ONCE: u64 = 4;
const AT_ONCE_MIN: u64 = 64;
const HOUR_MILLIS: u64 = 3_600_000;
/// Hours of a day.
const DAY_HOURS: u64 = 24;

/// What was moved lately, and paid back since by the passing of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    owed: u128,
    at: At,
    /// All moves by hour: which hour it was, and how many.
    made: [(u64, u64); 24],
}

impl Ledger {
    /// Enters one move, while so many a day are paid back.
    pub(super) fn enter(&mut self, at: At, daily: u64) {
        self.owed = self.owed_at(at, daily).saturating_add(PARTS);
        self.at = self.at.max(at);
    }

    /// Counts one move, owed or not.
    pub(super) fn count(&mut self, at: At) {
        let hour = at.millis() / HOUR_MILLIS;
        let place = usize::try_from(hour % DAY_HOURS).expect("it is small");
        let (of, made) = &mut self.made[place];
        if *of != hour {
            (*of, *made) = (hour, 0);
        }
        *made = made.saturating_add(1);
    }

    /// Returns how many moves were made in the last 24 hours, whole hours of the clock.
    pub(super) fn last_day(&self, at: At) -> u64 {
        let hour = at.millis() / HOUR_MILLIS;
        let lately = |(of, _): &&(u64, u64)| *of <= hour && hour - *of < DAY_HOURS;
        self.made.iter().filter(lately).map(|(_, made)| *made).fold(0, u64::saturating_add)
    }

    /// Returns how many moves may be made now, and how many after a long rest.
    pub(super) fn left(&self, at: At, daily: u64) -> (u64, u64) {
        let most = daily.div_ceil(AT_ONCE).max(AT_ONCE_MIN);
        let owed = self.owed_at(at, daily).div_ceil(PARTS);
        (most.saturating_sub(u64::try_from(owed).unwrap_or(u64::MAX)), most)
    }

    fn owed_at(&self, at: At, daily: u64) -> u128 {
        let passed = u128::from(at.since(self.at).get());
        let paid = passed.saturating_mul(u128::from(daily)).saturating_mul(PARTS) / DAY_MILLIS;
        self.owed.saturating_sub(paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_days_moves_may_be_made_at_once_and_time_pays_them_back() {
        let mut ledger = Ledger::default();
        let hour = |n: u64| At::from_millis(n * 3_600_000);
        assert_eq!(ledger.left(hour(1), 480), (120, 120));
        for _ in 0..120 {
            ledger.enter(hour(1), 480);
        }
        assert_eq!(ledger.left(hour(1), 480), (0, 120));
        assert_eq!((ledger.left(hour(3), 480).0, ledger.left(hour(100), 480).0), (40, 120));
    }

    #[test]
    fn what_had_to_be_moved_all_the_same_is_owed() {
        let mut ledger = Ledger::default();
        for _ in 0..600 {
            ledger.enter(At::from_millis(0), 480);
        }
        assert_eq!(ledger.left(At::from_millis(24 * 3_600_000), 480).0, 0);
        assert_eq!(ledger.left(At::from_millis(30 * 3_600_000), 480).0, 120);
    }

    #[test]
    fn the_moves_of_the_last_day_are_counted_and_older_ones_forgotten() {
        let mut ledger = Ledger::default();
        let hour = |n: u64| At::from_millis(n * HOUR_MILLIS + 1);
        for n in [100, 100, 110] {
            ledger.count(hour(n));
        }
        assert_eq!([110, 123, 124, 134].map(|n| ledger.last_day(hour(n))), [3, 3, 1, 0]);
        ledger.count(hour(124));
        assert_eq!(ledger.last_day(hour(124)), 2, "an hour of yesterday is counted anew");
        assert_eq!(ledger.last_day(hour(5)), 0, "what is still to come is not made");
    }

    #[test]
    fn a_small_cloud_is_put_in_order_at_once() {
        assert_eq!(Ledger::default().left(At::from_millis(0), 3), (64, 64));
        assert_eq!(
            Ledger::default().left(At::from_millis(u64::MAX), u64::MAX).0,
            u64::MAX.div_ceil(4)
        );
    }
}
