//! The almanac: which days people work and on which they rest, as an operator writes it down. A file of
//! plain lines; it knows dates and the name of a time zone, and nothing of clocks.

use std::collections::BTreeMap;

/// The largest almanac that is read, in bytes: a century of holidays with their names.
pub const ALMANAC_BYTES_MAX: usize = 64 * 1024;
/// The most dates it may name.
pub const ALMANAC_DATES_MAX: usize = 4000;
/// The longest name of a time zone.
const ZONE_BYTES_MAX: usize = 64;
/// The longest span of one line, in days.
const SPAN_DAYS_MAX: u32 = 366;
/// How much of what was written wrongly is shown.
const SHOWN_CHARS_MAX: usize = 40;

/// What a day is to those who work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayKind {
    /// People work.
    #[default]
    Working,
    /// A weekend or a holiday.
    Rest,
}

/// A date, counted in days from the beginning of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(u32);

impl Date {
    /// Makes a date from 1970 on; nothing of what is in no calendar.
    pub fn new(year: u32, month: u32, day: u32) -> Option<Self> {
        let leap = |year: u32| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u32::from(leap(year)),
            _ => return None,
        };
        if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
            return None;
        }
        // Years begin in March here, so that the day of a leap year is the last one: the way of
        // Hinnant's days_from_civil.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = year * 365 + year / 4 - year / 100 + year / 400;
        Some(Self(days + (153 * month + 2) / 5 + day - 1 - 719_468))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && part.len() <= 4;
            digits.then(|| part.parse().ok()).flatten()
        });
        let date = Self::new(parts.next()??, parts.next()??, parts.next()??)?;
        parts.next().is_none().then_some(date)
    }

    /// Says whether it is a Saturday or a Sunday.
    const fn is_weekend(self) -> bool {
        // The first day was a Thursday, four days after a Sunday.
        matches!((self.0 + 4) % 7, 0 | 6)
    }
}

/// What is wrong with an almanac, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlmanacFault {
    /// The line, from 1; 0 for the whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for AlmanacFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for AlmanacFault {}

/// Special days, and where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Almanac {
    /// The time zone, by its name such as `Asia/Shanghai`; that of the machine when it is not said.
    pub zone: Option<String>,
    /// Days that are not what their weekday says, and the line that says so.
    special: BTreeMap<Date, (DayKind, usize)>,
}

impl Almanac {
    /// Parses a file: lines `zone NAME`, `rest DATE` and `work DATE`, where a date may be a span as in
    /// `2026-10-01..2026-10-07`; what follows it is a name for people, and what follows `#` is not read.
    ///
    /// # Errors
    /// A line that is none of these, a date that is none or is named twice, or more than is read.
    pub fn parse(text: &str) -> Result<Self, AlmanacFault> {
        if text.len() > ALMANAC_BYTES_MAX {
            let what = format!("it is larger than {} KiB", ALMANAC_BYTES_MAX / 1024);
            return Err(AlmanacFault { line: 0, what });
        }
        let mut almanac = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default();
            let mut words = text.split_whitespace();
            let Some(word) = words.next() else { continue };
            let said = almanac.take(line, (word, words.next()));
            said.map_err(|what| AlmanacFault { line, what })?;
        }
        Ok(almanac)
    }

    fn take(&mut self, line: usize, (word, of): (&str, Option<&str>)) -> Result<(), String> {
        let kind = match word {
            "rest" => DayKind::Rest,
            "work" => DayKind::Working,
            "zone" => return self.take_zone(of),
            other => {
                return Err(format!("it begins with {}, not zone, rest or work", shown(other)));
            }
        };
        let of = of.ok_or_else(|| format!("{word} needs a date such as 2026-10-01"))?;
        let (first, last) = of.split_once("..").unwrap_or((of, of));
        let date = |text| {
            Date::parse(text).ok_or_else(|| format!("{} is no date as in 2026-10-01", shown(text)))
        };
        let (first, last) = (date(first)?, date(last)?);
        if last < first || last.0 - first.0 >= SPAN_DAYS_MAX {
            return Err(format!("{} must go forward, and less than a year", shown(of)));
        }
        for date in (first.0..=last.0).map(Date) {
            if self.special.len() >= ALMANAC_DATES_MAX {
                return Err(format!("more than {ALMANAC_DATES_MAX} dates are named"));
            }
            if let Some((_, before)) = self.special.insert(date, (kind, line)) {
                return Err(format!("{} names a date that line {before} names", shown(of)));
            }
        }
        Ok(())
    }

    fn take_zone(&mut self, name: Option<&str>) -> Result<(), String> {
        let name = name.filter(|name| name.len() <= ZONE_BYTES_MAX && name.is_ascii());
        let name = name.ok_or("zone needs a name such as Asia/Shanghai")?;
        match self.zone.replace(name.to_owned()) {
            Some(_) => Err("the zone was named before".to_owned()),
            None => Ok(()),
        }
    }

    /// Returns what a day is: as it is said, or by its weekday.
    pub fn kind(&self, date: Date) -> DayKind {
        match self.special.get(&date) {
            Some((kind, _)) => *kind,
            None if date.is_weekend() => DayKind::Rest,
            None => DayKind::Working,
        }
    }

    /// Returns how many dates are named.
    pub fn len(&self) -> usize {
        self.special.len()
    }

    /// Says whether none is.
    pub fn is_empty(&self) -> bool {
        self.special.is_empty()
    }
}

/// Shows a part of what was written, without what could steer a terminal.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX);
    format!("{:?}", plain.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::DayKind::{Rest, Working};
    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text).unwrap()
    }

    fn fault(text: &str) -> String {
        Almanac::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn dates_are_counted_from_1970_and_know_their_weekdays() {
        assert_eq!(date("1970-01-01").0, 0);
        assert_eq!(date("2000-03-01").0, 11_017);
        assert_eq!(date("2027-01-04").0, 20_822);
        assert!(date("2026-10-10").is_weekend() && !date("2026-10-09").is_weekend());
        for bad in [
            "2026-02-29",
            "1900-01-01",
            "2026-13-01",
            "2026-1-0",
            "2026-+1-01",
            "1-2",
            "",
            "2026-01-01-1",
        ] {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
        assert!(Date::parse("2028-02-29").is_some());
    }

    #[test]
    fn special_days_go_before_weekdays() {
        let text = "# a year\nzone Asia/Shanghai\nrest 2026-10-01..2026-10-07 国庆节\n\
                    work 2026-10-10 # a Saturday\n\n";
        let almanac = Almanac::parse(text).unwrap();
        assert_eq!(almanac.zone.as_deref(), Some("Asia/Shanghai"));
        assert_eq!(almanac.len(), 8);
        let kinds = ["2026-09-30", "2026-10-01", "2026-10-07", "2026-10-10", "2026-10-11"];
        let kinds = kinds.map(|text| almanac.kind(date(text)));
        assert_eq!(kinds, [Working, Rest, Rest, Working, Rest]);
        assert!(Almanac::parse("").unwrap().is_empty());
    }

    #[test]
    fn the_example_that_ships_is_the_year_2026_of_china() {
        let text = include_str!("../../examples/calendar-china-2026.txt");
        let almanac = Almanac::parse(text).unwrap();
        let of = |kind| almanac.special.values().filter(|(is, _)| *is == kind).count();
        assert_eq!((of(Rest), of(Working)), (33, 6));
        // What is said to be worked on would be rested on, or it need not be said.
        let work = almanac.special.iter().filter(|(_, (kind, _))| *kind == Working);
        assert!(work.into_iter().all(|(date, _)| date.is_weekend()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(
            fault("\nholiday 2026-10-01"),
            "line 2: it begins with \"holiday\", not zone, rest or work"
        );
        assert_eq!(fault("rest"), "line 1: rest needs a date such as 2026-10-01");
        assert_eq!(fault("rest 1.10.2026"), "line 1: \"1.10.2026\" is no date as in 2026-10-01");
        assert!(fault("rest 2026-10-07..2026-10-01").contains("must go forward"));
        assert!(fault("rest 2026-10-01..2099-10-01").contains("less than a year"));
        assert!(
            fault("rest 2026-10-01..2026-10-03\nwork 2026-10-02").contains("that line 1 names")
        );
        assert!(fault("zone Asia/Shanghai\nzone UTC").contains("named before"));
        assert!(fault("zone").contains("such as Asia/Shanghai"));
        let hostile = fault(&format!("\u{1b}[31m{}", "x".repeat(10_000)));
        assert!(hostile.len() < 120 && !hostile.contains('\u{1b}'), "{hostile}");
        let years = (1970..1990).map(|year| format!("rest {year}-01-01..{year}-12-31"));
        let many = years.collect::<Vec<_>>().join("\n");
        assert!(fault(&many).contains("more than 4000 dates"));
        assert!(fault(&"#".repeat(ALMANAC_BYTES_MAX + 1)).contains("larger than 64 KiB"));
    }
}
