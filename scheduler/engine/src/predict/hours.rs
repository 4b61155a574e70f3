//! The violation budget by hour of the week: when nodes were above the ceiling, and how much of the time
//! of critical and standard instances that was. It decides nothing.
//!
//! Hours are those of UTC; whoever shows them says which hour of the local week each is.

use std::collections::BTreeMap;

use tengyun_model::At;

/// Hours of a week.
pub const WEEK_HOURS: usize = 168;
/// So many weeks are kept, the present one included: an hour of the week is judged by four of its kind.
const WEEKS: u64 = 4;
const KEPT: u64 = WEEK.saturating_mul(WEEKS);
const WEEK: u64 = 168;
const HOUR_MILLIS: u64 = 3_600_000;
/// Time began on a Thursday, which is the fourth day of the week.
const FIRST_HOUR: u64 = 72;

/// What became of the budget in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// Node-windows measured.
    pub windows: u64,
    /// Of them above the ceiling.
    pub above: u64,
    /// Of them above the capacity.
    pub overloads: u64,
    /// Windows of critical and standard instances that were measured.
    pub instances: u64,
    /// Of them those on nodes that were above the ceiling.
    pub affected: u64,
}

impl Violations {
    fn add(&mut self, other: &Self) {
        self.windows = self.windows.saturating_add(other.windows);
        self.above = self.above.saturating_add(other.above);
        self.overloads = self.overloads.saturating_add(other.overloads);
        self.instances = self.instances.saturating_add(other.instances);
        self.affected = self.affected.saturating_add(other.affected);
    }

    /// Makes what one window of a node is, with so many critical and standard instances on it, which
    /// was or was not above the ceiling and the capacity.
    pub(crate) fn of_window(instances: u64, (above, overload): (bool, bool)) -> Self {
        Self {
            windows: 1,
            above: u64::from(above),
            overloads: u64::from(overload),
            instances,
            affected: if above { instances } else { 0 },
        }
    }

    /// Returns the share of node-windows above the ceiling, in millionths.
    pub fn share(&self) -> u64 {
        millionths(self.above, self.windows)
    }

    /// Returns the share of the instances' windows that were on nodes above the ceiling, in millionths.
    pub fn weighted(&self) -> u64 {
        millionths(self.affected, self.instances)
    }
}

fn millionths(part: u64, whole: u64) -> u64 {
    let share = (u128::from(part) * 1_000_000).checked_div(u128::from(whole));
    share.map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

/// The budget by hour, over the present week and the three before it.
#[derive(Clone, Debug, Default)]
pub struct Hours {
    kept: BTreeMap<u64, Violations>,
    all: Violations,
}

impl Hours {
    /// Enters what was measured at a moment. What is older than what is kept is passed over.
    pub(crate) fn note(&mut self, at: At, more: &Violations) {
        self.all.add(more);
        let hour = at.millis() / HOUR_MILLIS;
        let newest = self.kept.last_key_value().map_or(hour, |(newest, _)| hour.max(*newest));
        let oldest = newest.saturating_sub(KEPT - 1);
        if hour < oldest {
            return;
        }
        if hour == newest && !self.kept.contains_key(&hour) {
            self.kept = self.kept.split_off(&oldest);
        }
        self.kept.entry(hour).or_default().add(more);
    }

    /// Returns what became of the budget since this reign began.
    pub fn all(&self) -> &Violations {
        &self.all
    }

    /// Returns it by hour of the week, from Monday 00:00 UTC on.
    pub fn by_week(&self) -> Vec<Violations> {
        let mut week = vec![Violations::default(); WEEK_HOURS];
        for (hour, of) in &self.kept {
            let place = usize::try_from(hour.saturating_add(FIRST_HOUR) % WEEK);
            if let Some(sum) = place.ok().and_then(|place| week.get_mut(place)) {
                sum.add(of);
            }
        }
        week
    }

    /// Returns the hour of the week with the largest share above the ceiling, and what became of it;
    /// nothing while no hour has any.
    pub fn worst(&self) -> Option<(usize, Violations)> {
        let week = self.by_week().into_iter().enumerate();
        let any = week.filter(|(_, of)| of.above > 0);
        any.max_by_key(|(hour, of)| (of.share(), of.above, std::cmp::Reverse(*hour)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOVE: (bool, bool) = (true, false);
    const BELOW: (bool, bool) = (false, false);

    /// The first Monday after time began.
    fn hour(n: u64) -> At {
        At::from_millis((96 + n) * HOUR_MILLIS)
    }

    #[test]
    fn a_window_counts_in_its_hour_of_the_week_and_by_the_instances_that_were_there() {
        let mut hours = Hours::default();
        hours.note(hour(0), &Violations::of_window(3, BELOW));
        hours.note(hour(25), &Violations::of_window(9, ABOVE));
        hours.note(hour(25 + WEEK), &Violations::of_window(3, BELOW));
        let week = hours.by_week();
        assert_eq!(week.len(), WEEK_HOURS);
        assert_eq!((week[0].windows, week[0].above), (1, 0));
        let tuesday = week[25];
        assert_eq!((tuesday.windows, tuesday.above, tuesday.share()), (2, 1, 500_000));
        assert_eq!((tuesday.instances, tuesday.affected, tuesday.weighted()), (12, 9, 750_000));
        assert_eq!(hours.worst(), Some((25, tuesday)));
        assert_eq!((hours.all().windows, hours.all().weighted()), (3, 600_000));
    }

    #[test]
    fn four_weeks_are_kept_and_what_is_older_is_forgotten_and_not_taken_in() {
        let mut hours = Hours::default();
        for week in 0..5 {
            hours.note(hour(7 + week * WEEK), &Violations::of_window(1, ABOVE));
        }
        assert_eq!(hours.by_week()[7].windows, 4);
        hours.note(hour(7), &Violations::of_window(1, ABOVE));
        assert_eq!((hours.by_week()[7].windows, hours.all().windows), (4, 6));
        hours.note(At::from_millis(u64::MAX), &Violations::of_window(1, BELOW));
        assert_eq!(hours.kept.len(), 1, "a moment far off leaves nothing of before");
    }

    #[test]
    fn of_equal_shares_the_hour_with_more_of_them_is_worst_and_then_the_first() {
        let mut hours = Hours::default();
        assert_eq!(hours.worst(), None);
        hours.note(hour(3), &Violations::of_window(1, BELOW));
        assert_eq!(hours.worst(), None, "an hour without a violation is not bad");
        for n in [9, 5, 8, 8] {
            hours.note(hour(n), &Violations::of_window(1, ABOVE));
        }
        assert_eq!(hours.worst().unwrap().0, 8);
        hours.note(hour(5), &Violations::of_window(1, ABOVE));
        assert_eq!(hours.worst().unwrap().0, 5);
    }
}
