//! Days: which time of the day the clocks of the people show, and whether they work then. The engine
//! knows no time zones and no holidays: it is told stretches of civil time, and nothing else of them.

use tengyun_model::{At, DayKind, Millis};

use crate::command::Refusal;

/// The most stretches that are told at once: some days, each cut by a clock change or two.
pub const STRETCHES_MAX: usize = 32;
/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

const MINUTE: Millis = Millis::from_secs(60);
const DAY: Millis = Millis::from_secs(24 * 3600);
/// The day that moments are counted from was a Thursday, four days after a Sunday.
const FIRST_WEEKDAY: u64 = 4;

/// A stretch of civil time without a clock change: a day, or a part of one. It lasts until the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first moment.
    pub from: At,
    /// What the clocks show then, in minutes after midnight.
    pub minute: u16,
    /// The kind of its day.
    pub kind: DayKind,
}

/// The time of day at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) kind: DayKind,
    /// Since midnight by the clocks.
    pub(crate) since: Millis,
}

/// Civil time as far as it was told; before and without that, days of UTC and weeks without holidays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Days(Vec<Stretch>);

impl Days {
    /// Takes stretches that were checked.
    pub(crate) fn of(stretches: &[Stretch]) -> Self {
        Self(stretches.to_vec())
    }

    /// Returns what was told.
    pub(crate) fn stretches(&self) -> &[Stretch] {
        &self.0
    }

    /// Returns the time of day at a moment. What comes after the last stretch goes on like it.
    pub(crate) fn civil(&self, at: At) -> Civil {
        let next = self.0.partition_point(|stretch| stretch.from <= at);
        let Some(stretch) = next.checked_sub(1).map(|last| self.0[last]) else { return plain(at) };
        let begun = u64::from(stretch.minute).saturating_mul(MINUTE.get());
        let since = begun.saturating_add(at.since(stretch.from).get()) % DAY.get();
        Civil { kind: stretch.kind, since: Millis::new(since) }
    }
}

/// The time of day in UTC, by a week of five working days.
fn plain(at: At) -> Civil {
    let (day, since) = (at.millis() / DAY.get(), at.millis() % DAY.get());
    let kind = match (day + FIRST_WEEKDAY) % 7 {
        0 | 6 => DayKind::Rest,
        _ => DayKind::Working,
    };
    Civil { kind, since: Millis::new(since) }
}

/// Says whether stretches can be told: few, in order, and each at a minute of the day.
pub(crate) fn check(stretches: &[Stretch]) -> Result<(), Refusal> {
    let bad = |expected: &str| Refusal::BadField { field: "days", expected: expected.to_owned() };
    if stretches.len() > STRETCHES_MAX {
        return Err(bad("at most 32 stretches of civil time"));
    }
    if stretches.iter().any(|stretch| stretch.minute >= DAY_MINUTES) {
        return Err(bad("a minute of the day below 1440"));
    }
    let ordered = stretches.windows(2).all(|pair| pair[0].from < pair[1].from);
    if ordered { Ok(()) } else { Err(bad("stretches of civil time one after the other")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: At = At::from_millis(1_799_020_800_000);

    fn after(hours: u64) -> At {
        MONDAY.after(Millis::from_secs(hours * 3600))
    }

    #[test]
    fn without_a_word_days_are_those_of_utc_and_weeks_have_five_working_ones() {
        let kinds = (0..7).map(|day| Days::default().civil(after(day * 24 + 5)));
        let kinds: Vec<_> = kinds.map(|civil| (civil.kind, civil.since.get())).collect();
        let five = 5 * 3_600_000;
        assert_eq!(kinds[4], (DayKind::Working, five));
        assert_eq!(kinds[5..], [(DayKind::Rest, five); 2]);
    }

    #[test]
    fn a_clock_change_in_a_day_is_followed() {
        // Clocks are put forward at two: a day of 23 hours.
        let stretch = |hours, minute| Stretch { from: after(hours), minute, kind: DayKind::Rest };
        let days = Days::of(&[stretch(0, 0), stretch(2, 180), stretch(23, 0)]);
        let hour = |hours| days.civil(after(hours)).since.get() / 3_600_000;
        assert_eq!([hour(1), hour(2), hour(8), hour(22), hour(23), hour(24)], [1, 3, 9, 23, 0, 1]);
        assert_eq!(days.civil(At::default()).kind, DayKind::Working, "what is before is plain");
        assert_eq!(days.civil(At::from_millis(u64::MAX)).kind, DayKind::Rest);
    }

    #[test]
    fn what_is_no_civil_time_is_refused() {
        let stretch = |hours, minute| Stretch { from: after(hours), minute, kind: DayKind::Rest };
        assert_eq!(check(&[stretch(0, 0), stretch(24, 1439)]), Ok(()));
        assert!(check(&[stretch(0, 1440)]).is_err());
        assert!(check(&[stretch(1, 0), stretch(1, 0)]).is_err());
        let many: Vec<_> = (0..33).map(|day| stretch(day * 24, 0)).collect();
        assert!(check(&many).is_err());
    }
}
