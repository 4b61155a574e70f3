//! The guard: how much CPU harvest may use now. Pure.
//!
//! Harvest gets what the others leave below the band's target. It shrinks at once when they need
//! more, and grows slowly when they need less, as Koordinator's CPU suppression does (65 % threshold,
//! growth of 10 % of the node a step); the peak of the last seconds, not the last second, is what the
//! others are taken to need.
//!
//! The allowance is a quota inside the node's own. The two never add up to more than the target, so in
//! every 100 ms period the others find their recent peak and all that lies above the target still
//! unspent, however early in the period harvest has spent its part.

use std::collections::VecDeque;

use tengyun_model::{Band, Millicores, Millis, Permille};

/// The seconds whose peak counts for the others.
const WINDOW: Millis = Millis::from_secs(10);
/// The most readings kept of the window, whatever the interval.
const READINGS_MAX: usize = 64;
/// Growth in one second, as a share of the node.
const GROWTH_A_SECOND: Permille = Permille::new(100);
/// The longest time that counts as growth: after a longer gap nobody knows what the others needed
/// meanwhile, so it earns nothing.
const GROWTH_TIME_MAX: Millis = Millis::from_secs(2);
/// Even a full node leaves harvest this much, so that it can end and answer signals. It is the least
/// quota that the kernel takes, 1 ms in a period of 100 ms.
const FLOOR: Millicores = Millicores::new(10);

/// Holds harvest to what the others leave.
///
/// A new guard begins at the floor: without a history nothing is known of the others' peaks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Peaks of the others and how long ago they were read: oldest and highest first.
    peaks: VecDeque<(Millicores, Millis)>,
    allowance: Millicores,
    /// Thousandths of a millicore that growth has not made a whole one of yet.
    rest: u64,
}

impl Guard {
    /// Takes in what the others used over the last interval and says what harvest may use next.
    ///
    /// Invariant: the answer is at least the floor, and with the others' recent peak at most the
    /// target, unless the floor is above that (`an_allowance_keeps_its_bounds_whatever_happens`).
    pub(crate) fn step(
        &mut self,
        capacity: Millicores,
        band: Band,
        others: Millicores,
        elapsed: Millis,
    ) -> Millicores {
        let peak = self.peak(others, elapsed);
        let left = capacity.share(band.target).saturating_sub(peak);
        let reachable = self.allowance.saturating_add(self.growth(capacity, elapsed));
        self.allowance = left.min(reachable).max(FLOOR.min(capacity));
        self.allowance
    }

    /// Returns the highest reading of the window, this one included.
    fn peak(&mut self, others: Millicores, elapsed: Millis) -> Millicores {
        for (_, age) in &mut self.peaks {
            *age = age.saturating_add(elapsed);
        }
        while self.peaks.front().is_some_and(|(_, age)| *age > WINDOW) {
            self.peaks.pop_front();
        }
        // A reading that is older and not higher will never be the peak again.
        while self.peaks.back().is_some_and(|(used, _)| *used <= others) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((others, Millis::ZERO));
        if self.peaks.len() > READINGS_MAX {
            // The two oldest become one that is as high as the one and as young as the other.
            let highest = self.peaks.pop_front().map_or(others, |(used, _)| used);
            if let Some((used, _)) = self.peaks.front_mut() {
                *used = highest.max(*used);
            }
        }
        self.peaks.front().map_or(others, |(used, _)| *used)
    }

    /// Returns how much harvest may grow in this time.
    fn growth(&mut self, capacity: Millicores, elapsed: Millis) -> Millicores {
        let time = elapsed.min(GROWTH_TIME_MAX).get();
        let thousandths = capacity.share(GROWTH_A_SECOND).get().saturating_mul(time);
        let thousandths = thousandths.saturating_add(self.rest);
        self.rest = thousandths % 1000;
        Millicores::new(thousandths / 1000)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    const CAPACITY: Millicores = Millicores::new(1000);
    const SECOND: Millis = Millis::from_secs(1);

    fn check(others: &[u64], expected: &Expect) {
        let mut guard = Guard::default();
        let mut table = String::from("others allowed\n");
        for used in others {
            let allowed = guard.step(CAPACITY, Band::DEFAULT, Millicores::new(*used), SECOND);
            writeln!(table, "{used:>6} {:>7}", allowed.get()).unwrap();
        }
        expected.assert_eq(&table);
    }

    #[test]
    fn an_idle_node_is_filled_to_the_target_step_by_step() {
        check(
            &[0; 9],
            &expect![[r"
                others allowed
                     0     100
                     0     200
                     0     300
                     0     400
                     0     500
                     0     600
                     0     700
                     0     790
                     0     790
            "]],
        );
    }

    #[test]
    fn a_burst_shrinks_harvest_at_once_and_it_grows_back_slowly() {
        // For ten seconds the burst is remembered; then growth is a tenth of the node a second.
        check(
            &[0, 0, 0, 0, 500, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &expect![[r"
                others allowed
                     0     100
                     0     200
                     0     300
                     0     400
                   500     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     290
                     0     390
                     0     490
            "]],
        );
    }

    #[test]
    fn a_ramp_of_the_others_is_followed_down_to_the_floor() {
        check(
            &[100, 100, 100, 100, 100, 200, 400, 600, 785, 5000, 300],
            &expect![[r"
                others allowed
                   100     100
                   100     200
                   100     300
                   100     400
                   100     500
                   200     590
                   400     390
                   600     190
                   785      10
                  5000      10
                   300      10
            "]],
        );
    }

    #[test]
    fn a_node_smaller_than_the_floor_is_not_overdrawn() {
        let tiny = Millicores::new(5);
        let mut guard = Guard::default();
        let allowed = guard.step(tiny, Band::DEFAULT, Millicores::ZERO, SECOND);
        assert_eq!(allowed, tiny);
    }

    #[test]
    fn a_long_gap_earns_no_growth() {
        let mut guard = Guard::default();
        let hour = Millis::from_secs(3600);
        let allowed = guard.step(CAPACITY, Band::DEFAULT, Millicores::ZERO, hour);
        assert_eq!(allowed, Millicores::new(200));
    }

    #[test]
    fn short_intervals_grow_as_fast_as_long_ones() {
        let (mut guard, capacity) = (Guard::default(), Millicores::new(500));
        let mut allowed = Millicores::ZERO;
        for _ in 0..200 {
            allowed = guard.step(capacity, Band::DEFAULT, Millicores::ZERO, Millis::new(10));
        }
        // The floor and two seconds of 50 m each.
        assert_eq!(allowed, Millicores::new(110));
    }

    proptest! {
        #[test]
        fn an_allowance_keeps_its_bounds_whatever_happens(
            steps in prop::collection::vec((0..2_000_u64, 0..4_000_u64), 1..300),
            capacity in 0..100_000_u64,
        ) {
            let capacity = Millicores::new(capacity);
            let (mut guard, mut before) = (Guard::default(), Millicores::ZERO);
            let (mut now, mut readings) = (0_u64, Vec::new());
            for (others, elapsed) in steps {
                now += elapsed;
                readings.push((now, others));
                let elapsed = Millis::new(elapsed);
                let others = Millicores::new(others);
                let allowed = guard.step(capacity, Band::DEFAULT, others, elapsed);
                let floor = FLOOR.min(capacity);
                prop_assert!(allowed >= floor);
                let recent = readings.iter().filter(|(at, _)| now - at <= WINDOW.get());
                let peak = recent.map(|(_, used)| *used).max().unwrap();
                let target = capacity.share(Band::DEFAULT.target);
                prop_assert!(
                    allowed == floor || allowed.get() + peak <= target.get(),
                    "{} beside {}", allowed, peak
                );
                let growth = capacity.get() * elapsed.get() / 10_000 + 1;
                prop_assert!(allowed.get() <= before.max(floor).get() + growth);
                prop_assert!(guard.peaks.len() <= READINGS_MAX);
                before = allowed;
            }
        }
    }
}
