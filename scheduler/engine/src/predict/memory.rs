//! Memory: what an instance is promised by the highest working sets that were measured of it (the model's
//! `Peaks`). It decides nothing: a promise is journaled.

use tengyun_model::{Mebibytes, Millis};

use crate::policy::Policy;

/// Nothing is promised less: a process of any use has as much, and a shell that idles may start one.
pub(crate) const FLOOR: Mebibytes = Mebibytes::new(64);
/// How wide a margin is beyond what the policy says is counted in millionths of a doubling.
const DOUBLING: u64 = 1_000_000;
/// A margin is doubled so often at most; a week without a miss takes all of it back, a week's budget of
/// misses, as far as it is aimed at, adds as much.
pub(crate) const WIDEST: u64 = 4 * DOUBLING;
/// So much of the budget is aimed at, in thousandths: misses are few and come in heaps.
const AIM: u64 = 800;
const WEEK: Millis = Millis::from_secs(7 * 86_400);
const WEEK_DAYS: u64 = 7;

/// Returns how wide a margin is after so much time without a miss.
pub(crate) fn narrowed(width: u64, time: Millis) -> u64 {
    let back = u128::from(WIDEST) * u128::from(time.get()) / u128::from(WEEK.get());
    width.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX))
}

/// Returns how wide a margin is after so many misses of as many instances as are promised memory by use.
pub(crate) fn widened(width: u64, misses: u32, promised: u64, policy: &Policy) -> u64 {
    let granted = promised.saturating_mul(WEEK_DAYS).saturating_mul(policy.oom_budget());
    let granted = granted.saturating_mul(AIM) / 1000;
    let more = u128::from(WIDEST) * u128::from(misses) * 1000 / u128::from(granted.max(1000));
    width.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(WIDEST)
}

/// What the policy and past misses say of memory, looked up once a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryTerms {
    /// Whether anything may be promised less than it asks for.
    pub(crate) by_use: bool,
    /// What is added to a peak, in thousandths of it.
    pub(crate) margin: u64,
    pub(crate) history_min: Millis,
    pub(crate) stale: Millis,
}

impl MemoryTerms {
    /// Looks them up, for margins that are so wide by now.
    pub(crate) fn of(policy: &Policy, width: u64) -> Self {
        // Between two doublings the margin grows evenly, which is as good as any curve.
        let (doubled, part) = (width / DOUBLING, width % DOUBLING);
        let least = u128::from(policy.memory_margin()) << doubled.min(WIDEST / DOUBLING);
        let margin = least + least * u128::from(part) / u128::from(DOUBLING);
        Self {
            by_use: policy.memory_by_use(),
            margin: u64::try_from(margin).unwrap_or(u64::MAX),
            history_min: policy.memory_history_min(),
            stale: policy.data_stale(),
        }
    }

    /// Returns the margin of one that missed so often in a row, in thousandths.
    pub(crate) fn margin_of(&self, misses: u32) -> u64 {
        self.margin.saturating_mul(u64::from(misses).saturating_add(1))
    }

    /// Returns what a peak asks for: the margin once for all, and once more for each miss in a row of its
    /// own. Never less than the floor, never more than the request.
    pub(crate) fn wanted(&self, peak: Mebibytes, misses: u32, request: Mebibytes) -> Mebibytes {
        let share = u128::from(self.margin_of(misses).saturating_add(1000));
        let wanted = (u128::from(peak.get()) * share).div_ceil(1000);
        let wanted = Mebibytes::new(u64::try_from(wanted).unwrap_or(u64::MAX));
        wanted.max(FLOOR).min(request)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn policy() -> Policy {
        let knobs = [("memory_by_use", 1), ("memory_margin", 100), ("oom_budget", 10)];
        let values: BTreeMap<_, _> = knobs.map(|(name, value)| (name.to_owned(), value)).into();
        Policy::new(values).expect("knobs")
    }

    #[test]
    fn a_week_of_misses_within_the_budget_leaves_a_margin_as_it_is() {
        // 125 instances in 7 days at 10 of 1000, of which four fifths are aimed at: 7 misses, one a day.
        let day = Millis::from_secs(86_400);
        let after = |misses_a_day: u32| {
            let width = |width, _| widened(narrowed(width, day), misses_a_day, 125, &policy());
            (0..30).fold(DOUBLING, width)
        };
        assert_eq!((after(0), after(1), after(2)), (0, DOUBLING, WIDEST));
        assert_eq!(narrowed(WIDEST, WEEK), 0);
        assert_eq!(widened(0, 1, 1, &policy()), WIDEST, "more than a small cloud has in a year");
    }

    #[test]
    fn a_peak_gets_the_margin_of_all_and_more_for_its_own_misses() {
        let margin = |width| MemoryTerms::of(&policy(), width).margin;
        let widths = [0, DOUBLING / 2, DOUBLING, 3 * DOUBLING / 2, WIDEST];
        assert_eq!(widths.map(margin), [100, 150, 200, 300, 1600]);
        let wanted = |peak, misses| {
            let request = Mebibytes::new(4096);
            MemoryTerms::of(&policy(), 0).wanted(Mebibytes::new(peak), misses, request).get()
        };
        assert_eq!(wanted(1000, 0), 1100);
        assert_eq!(wanted(1000, 2), 1300);
        assert_eq!(wanted(1, 0), FLOOR.get());
        assert_eq!(wanted(4000, 0), 4096, "never more than it asks for");
        let small = Mebibytes::new(16);
        assert_eq!(MemoryTerms::of(&policy(), 0).wanted(Mebibytes::new(5), 0, small), small);
    }
}
