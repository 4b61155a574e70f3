//! Occupancy: how busy a node's disks and links were over the last window, where agents measure that, and
//! whether the node is so busy that it gets nothing new.
//!
//! It is volatile, like all that was measured: a plan is made by it, and never checked or replayed by it.
//! What was not measured lately keeps nobody out.

use tengyun_model::{At, Millis, NodeIo, Permille, Said, said};

use crate::policy::Policy;

/// What of a node may be busy besides CPU and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The busiest of its disks.
    Disk,
    /// The fullest of its links.
    Network,
}

impl Dimension {
    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Network => "network",
        }
    }
}

/// Why a node gets nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// What is busy.
    pub what: Dimension,
    /// How busy it was over the last window.
    pub share: Permille,
    /// Above how much nothing new comes.
    pub ceiling: Permille,
}

impl Occupied {
    /// Says it of a node.
    pub(crate) fn said(self) -> Said {
        match self.what {
            Dimension::Disk => said!(DiskBusy, self.share, self.ceiling),
            Dimension::Network => said!(NetworkBusy, self.share, self.ceiling),
        }
    }
}

/// How busy the disks and links of one node were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Occupancy {
    disk: Sliding,
    network: Sliding,
}

impl Occupancy {
    /// Takes in what was measured; what was not says nothing.
    pub(crate) fn observe(&mut self, at: At, io: NodeIo, held: Millis, window: Millis) {
        for (sliding, share) in
            [(&mut self.disk, io.disk_busy), (&mut self.network, io.network_busy)]
        {
            if let Some(share) = share {
                sliding.observe(at, share, (held, window));
            }
        }
    }

    /// Returns how busy a dimension was over the last window; nothing where that is not known, or stale.
    pub(crate) fn level(&self, what: Dimension, policy: &Policy, now: At) -> Option<Permille> {
        let sliding = match what {
            Dimension::Disk => &self.disk,
            Dimension::Network => &self.network,
        };
        let fresh = now.since(sliding.last) <= policy.data_stale();
        sliding.level(policy.window()).filter(|_| fresh)
    }

    /// Says why nothing new should come, if that is so.
    pub(crate) fn occupied(&self, policy: &Policy, now: At) -> Option<Occupied> {
        [Dimension::Disk, Dimension::Network].into_iter().find_map(|what| {
            let ceiling = policy.occupancy_ceiling(what)?;
            let share = self.level(what, policy, now)?;
            (share > ceiling).then_some(Occupied { what, share, ceiling })
        })
    }
}

/// The mean of one share over the last window: of the open window, and of so much of the one before it as
/// the open one is short of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sliding {
    window: u64,
    /// How much of the open window was measured, and the shares times that.
    weight: u64,
    sum: u64,
    /// The mean of the window before, if it was measured.
    before: Option<u64>,
    last: At,
}

impl Sliding {
    fn observe(&mut self, at: At, share: Permille, (held, window): (Millis, Millis)) {
        let window = window.get().max(1);
        let index = crate::predict::window_of(at, window);
        if index != self.window {
            let follows = index == self.window.saturating_add(1);
            self.before = self.known(window).filter(|_| follows);
            (self.window, self.weight, self.sum) = (index, 0, 0);
        }
        // A report that comes late covers no more than the window.
        let held = held.get().clamp(1, window);
        self.weight = self.weight.saturating_add(held);
        let share = u64::from(share.min(Permille::WHOLE).get());
        self.sum = self.sum.saturating_add(share.saturating_mul(held));
        self.last = at;
    }

    /// Returns the mean of the open window once a quarter of it was measured.
    fn known(&self, window: u64) -> Option<u64> {
        let enough = self.weight.saturating_mul(4) >= window;
        self.sum.checked_div(self.weight).filter(|_| enough)
    }

    fn level(&self, window: Millis) -> Option<Permille> {
        let window = window.get().max(1);
        let Some(before) = self.before else {
            return self.known(window).map(permille);
        };
        let rest = window.saturating_sub(self.weight);
        let sum = u128::from(self.sum) + u128::from(before) * u128::from(rest);
        let mean = sum.checked_div(u128::from(self.weight.saturating_add(rest)))?;
        Some(permille(u64::try_from(mean).unwrap_or(u64::MAX)))
    }
}

fn permille(mean: u64) -> Permille {
    Permille::new(u32::try_from(mean).unwrap_or(u32::MAX)).min(Permille::WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Millis = Millis::from_secs(300);
    const REPORT: u64 = 10;

    /// Reports every ten seconds for so many windows of each share.
    fn slide(shares: &[(u32, u64)]) -> Sliding {
        let (mut sliding, mut second) = (Sliding::default(), 3_000_000);
        for (share, seconds) in shares {
            for _ in 0..seconds / REPORT {
                second += REPORT;
                let at = At::from_millis(second * 1000);
                let held = (Millis::from_secs(REPORT), WINDOW);
                sliding.observe(at, Permille::new(*share), held);
            }
        }
        sliding
    }

    fn level(shares: &[(u32, u64)]) -> Option<u32> {
        slide(shares).level(WINDOW).map(Permille::get)
    }

    #[test]
    fn a_burst_is_smoothed_and_a_long_one_is_seen_whole() {
        assert_eq!(level(&[(1000, 60)]), None, "less than a quarter of a window says nothing");
        assert_eq!(level(&[(1000, 80)]), Some(1000));
        assert_eq!(level(&[(100, 300), (1000, 60)]), Some(280));
        assert_eq!(level(&[(100, 300), (1000, 300)]), Some(1000));
        assert_eq!(level(&[(900, 300), (0, 30)]), Some(810));
        assert_eq!(level(&[(900, 300), (0, 40)]), Some(780), "it calms within the window");
    }

    #[test]
    fn what_was_before_a_gap_is_forgotten() {
        let mut sliding = slide(&[(900, 300)]);
        let late = At::from_millis(3_000_000_000 + 3 * 300_000);
        sliding.observe(late, Permille::new(10), (Millis::from_secs(10), WINDOW));
        assert_eq!(sliding.level(WINDOW), None);
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let mut sliding = Sliding::default();
        for at in [0, 1, u64::MAX / 2, u64::MAX] {
            for window in [0, 1, u64::MAX] {
                let held = (Millis::new(u64::MAX), Millis::new(window));
                sliding.observe(At::from_millis(at), Permille::new(u32::MAX), held);
                assert!(sliding.level(Millis::new(window)).is_none_or(|l| l <= Permille::WHOLE));
            }
        }
    }
}
