//! The guard: how much CPU harvest may use now. Pure.
//!
//! Harvest gets what the others leave below the band's target. It shrinks at once when they need
//! more, and grows slowly when they need less, as Koordinator's CPU suppression does (65 % threshold,
//! growth of 10 % of the node a step); the peak of the last seconds, not the last second, is what the
//! others are taken to need.

use std::collections::VecDeque;

use tengyun_model::{Band, Millicores, Millis, Permille};

/// The seconds whose peak counts for the others.
const WINDOW: Millis = Millis::from_secs(10);
/// The most readings kept of the window, whatever the interval.
const READINGS_MAX: usize = 64;
/// Growth in one second, as a share of the node.
const GROWTH_A_SECOND: Permille = Permille::new(100);
/// Even a full node leaves harvest this much, so that it can end and answer signals.
const FLOOR: Millicores = Millicores::new(10);

/// Holds harvest to what the others leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Use of the others and how long ago it was read, newest last.
    others: VecDeque<(Millicores, Millis)>,
    allowance: Option<Millicores>,
}

impl Guard {
    /// Takes in what the others used over the last interval and says what harvest may use next.
    pub(crate) fn step(
        &mut self,
        capacity: Millicores,
        band: Band,
        others: Millicores,
        elapsed: Millis,
    ) -> Millicores {
        for (_, age) in &mut self.others {
            *age = age.saturating_add(elapsed);
        }
        self.others.push_back((others, Millis::ZERO));
        while self.others.len() > READINGS_MAX
            || self.others.front().is_some_and(|(_, age)| *age > WINDOW)
        {
            self.others.pop_front();
        }
        let peak = self.others.iter().map(|(used, _)| *used).max().unwrap_or(others);
        let most = capacity.share(band.target);
        let left = most.saturating_sub(peak);
        let growth = Millicores::new(
            capacity.share(GROWTH_A_SECOND).get().saturating_mul(elapsed.get()) / 1000,
        );
        let reachable = self.allowance.map_or(left, |now| now.saturating_add(growth));
        let allowance = left.min(reachable).max(FLOOR.min(capacity));
        self.allowance = Some(allowance);
        allowance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Millicores = Millicores::new(1000);

    fn follow(others: &[u64]) -> Vec<u64> {
        let mut guard = Guard::default();
        let mut step = |used: &u64| {
            let second = Millis::from_secs(1);
            guard.step(CAPACITY, Band::DEFAULT, Millicores::new(*used), second).get()
        };
        others.iter().map(&mut step).collect()
    }

    #[test]
    fn an_idle_node_is_filled_to_the_target() {
        assert_eq!(follow(&[0, 0]), [720, 720]);
    }

    #[test]
    fn a_burst_shrinks_harvest_at_once_and_it_grows_back_slowly() {
        let mut others = vec![0, 500];
        others.extend([0; 14]);
        let allowed = follow(&others);
        assert_eq!(allowed[..2], [720, 220]);
        // For ten seconds the burst is remembered; then growth is a tenth of the node a second.
        assert!(allowed[2..12].iter().all(|a| *a == 220), "{allowed:?}");
        assert_eq!(allowed[12..], [320, 420, 520, 620]);
    }

    #[test]
    fn a_full_node_leaves_harvest_the_floor() {
        assert_eq!(follow(&[1000, 5000]), [10, 10]);
    }

    #[test]
    fn harvest_and_the_others_together_never_pass_the_target_but_by_the_floor() {
        let allowed = follow(&[100, 300, 200, 700, 719, 10, 10]);
        for (others, allowed) in [100, 300, 200, 700, 719, 10, 10].iter().zip(allowed) {
            assert!(others + allowed <= 720 + 10, "{others} + {allowed}");
        }
    }

    #[test]
    fn a_node_smaller_than_the_floor_is_not_overdrawn() {
        let tiny = Millicores::new(5);
        let mut guard = Guard::default();
        let allowed = guard.step(tiny, Band::DEFAULT, Millicores::ZERO, Millis::from_secs(1));
        assert_eq!(allowed, tiny);
    }
}
