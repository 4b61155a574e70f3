//! The calendar of a workload: when a cron workload starts, and when instances may be moved.
//!
//! Civil times only: what they mean as moments depends on a time zone and is worked out elsewhere.

use std::fmt;

use crate::unit::Millis;

/// The most ended runs of a cron workload that are kept.
pub const RUNS_KEPT_MAX: u32 = 100;
/// The longest text of five fields, and of the name of a time zone.
pub const CALENDAR_TEXT_MAX: usize = 256;
/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// When a cron workload starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Minute, hour, day, month and day of the week; see [`CronTable`].
    pub cron: String,
    /// The time zone, such as Asia/Shanghai; `None` is the scheduler's.
    pub time_zone: Option<String>,
    /// What happens when a run is due and the one before has not ended.
    pub concurrency: Concurrency,
    /// How late a run may start that was missed.
    pub starting_deadline: Millis,
    /// How many ended runs are kept.
    pub runs_kept: u32,
}

/// What happens when a run is due and the one before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concurrency {
    /// The new run is skipped.
    #[default]
    Forbid,
    /// The earlier run is stopped, then the new one starts.
    Replace,
    /// Both run.
    Allow,
}

impl Concurrency {
    /// Returns the word used in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Replace => "replace",
            Self::Allow => "allow",
        }
    }
}

/// When instances may be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days on which it begins.
    pub days: Days,
    /// Its begin, in minutes of the day.
    pub from: u16,
    /// Its end, in minutes of the day; not after its begin means on the next day.
    pub to: u16,
    /// The time zone, such as Asia/Shanghai; `None` is the scheduler's.
    pub time_zone: Option<String>,
}

/// Days of the week, Sunday the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days(u8);

impl Days {
    /// All of them.
    pub const ALL: Self = Self(0x7f);

    /// Makes days of bits, Sunday the lowest; none are no days.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits == 0 || bits > Self::ALL.0 { None } else { Some(Self(bits)) }
    }

    /// Returns them as bits, Sunday the lowest.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Says whether a day is one of them; Sunday is 0.
    pub const fn has(self, weekday: u8) -> bool {
        weekday < 7 && self.0 & (1 << weekday) != 0
    }
}

/// The five fields of a cron table, as a set of civil times.
///
/// Each field is `*`, a number, a range or a list of these, each with a step: `0`, `1-5`, `*/15`,
/// `mon-fri`. Where both the day and the day of the week are limited, either makes a day right, as
/// with cron since Vixie's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CronTable {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

/// What is wrong with a cron table; in English it goes on from "must have".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronFault {
    /// There are more or fewer fields than five: so many.
    Fields(usize),
    /// A field names something outside its range.
    Range {
        /// The field.
        field: CronField,
        /// The least it may name.
        least: u8,
        /// The most it may name.
        most: u8,
        /// What it says.
        text: String,
    },
    /// None of the months has one of the days.
    NoDate,
}

/// A field of a cron table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CronField {
    /// The minute of the hour.
    Minute,
    /// The hour of the day.
    Hour,
    /// The day of the month.
    Day,
    /// The month of the year.
    Month,
    /// The day of the week.
    Weekday,
}

impl fmt::Display for CronFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(count) => write!(f, "five fields, not {count}"),
            Self::Range { field, least, most, text } => {
                write!(f, "a {field} from {least} to {most}, not {text:?}")
            }
            Self::NoDate => f.write_str("a day that its months have"),
        }
    }
}

impl std::error::Error for CronFault {}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Weekday => "day of the week",
        })
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The most days of each month.
const LENGTHS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const EVERY_HOUR: u64 = (1 << 24) - 1;

impl CronTable {
    /// Reads five fields, or says what is wrong with them.
    pub fn parse(text: &str) -> Result<Self, CronFault> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronFault::Fields(fields.len()));
        };
        let weekdays = field(CronField::Weekday, weekday, (0, 7), &WEEKDAYS, 0)?;
        let table = Self {
            minutes: field(CronField::Minute, minute, (0, 59), &[], 0)?,
            hours: field(CronField::Hour, hour, (0, 23), &[], 0)?,
            days: field(CronField::Day, day, (1, 31), &[], 0)?,
            months: field(CronField::Month, month, (1, 12), &MONTHS, 1)?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        let limited_by_weekday = !table.any_weekday && !table.any_day;
        if !limited_by_weekday && !table.has_any_date() {
            return Err(CronFault::NoDate);
        }
        Ok(table)
    }

    fn has_any_date(&self) -> bool {
        (1..=12).zip(LENGTHS).any(|(month, length)| {
            has(self.months, month) && (1..=length).any(|day| has(self.days, day))
        })
    }

    /// Says whether it names every hour; such a table follows elapsed time and not the clock.
    pub const fn is_every_hour(&self) -> bool {
        self.hours == EVERY_HOUR
    }

    /// Says whether a day is one of its days; months and days count from 1, Sunday is 0.
    pub fn has_day(&self, month: u8, day: u8, weekday: u8) -> bool {
        let (by_date, by_week) = (has(self.days, day), has(self.weekdays, weekday));
        let right =
            if self.any_day || self.any_weekday { by_date && by_week } else { by_date || by_week };
        has(self.months, month) && right
    }

    /// Says whether a time of day is one of its times.
    pub fn has_time(&self, hour: u8, minute: u8) -> bool {
        has(self.hours, hour) && has(self.minutes, minute)
    }

    /// Returns its times of day as hour and minute, in order.
    pub fn times(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours
            .flat_map(|hour| (0..60).map(move |minute| (hour, minute)))
            .filter(|(_, minute)| has(self.minutes, *minute))
    }
}

fn has(set: u64, number: u8) -> bool {
    number < 64 && set & (1 << number) != 0
}

/// Reads one field as a set of numbers.
fn field(
    field: CronField,
    text: &str,
    (least, most): (u8, u8),
    words: &[&str],
    first: u8,
) -> Result<u64, CronFault> {
    let wrong = || CronFault::Range { field, least, most, text: text.to_owned() };
    let number = |text: &str| -> Option<u8> {
        let named = words.iter().position(|word| *word == text);
        let named = named.and_then(|at| u8::try_from(at).ok()).map(|at| at.saturating_add(first));
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let plain = || text.parse().ok().filter(|_| digits);
        named.or_else(plain).filter(|n| (least..=most).contains(n))
    };
    let mut set = 0_u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let digits = step.bytes().all(|b| b.is_ascii_digit());
                let step = step.parse().ok().filter(|step: &u8| digits && *step > 0);
                (range, Some(step.ok_or_else(wrong)?))
            }
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => {
                (number(from).ok_or_else(wrong)?, number(to).ok_or_else(wrong)?)
            }
            (one, None) => {
                let one = number(one).ok_or_else(wrong)?;
                // A step from one number goes on to the last.
                (one, if step.is_some() { most } else { one })
            }
        };
        if from > to {
            return Err(wrong());
        }
        for number in (from..=to).step_by(usize::from(step.unwrap_or(1))) {
            set |= 1 << number;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str) -> Vec<(u8, u8)> {
        CronTable::parse(text).unwrap().times().collect()
    }

    #[test]
    fn fields_are_lists_ranges_steps_and_names() {
        assert_eq!(times("30 2 * * *"), [(2, 30)]);
        assert_eq!(times("0,30 1-2 * * *"), [(1, 0), (1, 30), (2, 0), (2, 30)]);
        assert_eq!(times("*/30 3 * * *"), [(3, 0), (3, 30)]);
        assert_eq!(times("50/5 3 * * *"), [(3, 50), (3, 55)]);
        let week = CronTable::parse("0 0 * jan,jul mon-fri").unwrap();
        assert!(week.has_day(1, 31, 1) && week.has_day(7, 1, 5));
        assert!(!week.has_day(2, 1, 1) && !week.has_day(1, 1, 0));
        assert!(CronTable::parse("0 0 * * 7").unwrap().has_day(1, 1, 0));
    }

    #[test]
    fn of_a_day_and_a_weekday_either_is_enough() {
        let either = CronTable::parse("0 0 13 * fri").unwrap();
        assert!(either.has_day(3, 13, 1) && either.has_day(3, 14, 5));
        assert!(!either.has_day(3, 14, 1));
        let both = CronTable::parse("0 0 */2 * fri").unwrap();
        assert!(both.has_day(3, 13, 5) && !both.has_day(3, 13, 1) && !both.has_day(3, 14, 5));
    }

    #[test]
    fn what_never_comes_or_means_nothing_is_refused() {
        for wrong in [
            "0 0 30 feb *",
            "0 0 31 4,6 *",
            "60 0 * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "5-1 0 * * *",
            "*/0 0 * * *",
            "+1 0 * * *",
            "1, 0 * * *",
            "",
            "* * * *",
            "- 0 * * *",
            "a 0 * * *",
            "0 0 * * mon-",
            "1/ * * * *",
        ] {
            assert!(CronTable::parse(wrong).is_err(), "{wrong:?} passed");
        }
        assert!(CronTable::parse("0 0 29 feb *").is_ok(), "every four years");
        assert!(CronTable::parse("0 0 30 feb mon").is_ok(), "every Monday of February");
    }
}
