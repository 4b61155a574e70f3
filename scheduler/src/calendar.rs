//! The calendar: what schedules, windows and days mean in civil time, as moments. It is the only place of
//! the scheduler that knows time zones; what it finds due is journaled, and a replay asks it nothing.
//!
//! Where clocks are put forward, a time that does not exist means the first moment after the gap; where
//! they are put back, a time that comes twice means its first coming. A table that names every hour
//! follows elapsed time instead, so that it neither rests nor crowds then.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tengyun_engine::days::Stretch;
use tengyun_engine::image::WorkloadWish;
use tengyun_engine::{Command, Refusal, State, WorkloadImage};
use tengyun_model::almanac::Date as AlmanacDate;
use tengyun_model::{
    Almanac, At, CronTable, DayKind, Days, Schedule, Window, WorkloadId, WorkloadSpec,
};

use crate::almanac::{self, AlmanacError, AlmanacFile, Kept};

/// How far ahead a firing is looked for: the 29th of February comes after eight years at the latest.
const DAYS_AHEAD_MAX: u32 = 9 * 366;
/// How far back the last firing is looked for, in seconds: an hour, a day, a month, a year, and more.
const LOOKS_BACK: [i64; 5] = [3600, 86_400, 40 * 86_400, 400 * 86_400, 9 * 366 * 86_400];
/// The days among which a window is looked for: it may have begun yesterday, and comes within a week.
const WINDOW_DAYS: i64 = 9;
/// The days that are told: yesterday, which agents remember, today, and as far as is foreseen.
const DAYS_TOLD: usize = 4;

/// Days as a calendar says them, told for a time that is over: what this scheduler would have been told.
#[derive(Clone, Debug)]
pub struct PastDays(Kept);

impl PastDays {
    /// Reads a calendar file; without one weeks have five working days. The zone is the one that is given,
    /// else that of the file, else UTC: what is told of the past is the same on every machine.
    pub fn open(calendar: Option<&Path>, zone: Option<TimeZone>) -> Result<Self, AlmanacError> {
        let plain = || Kept { almanac: Almanac::default(), zone: TimeZone::UTC };
        let mut kept = calendar.map_or_else(|| Ok(plain()), almanac::read)?;
        if kept.almanac.zone.is_none() {
            kept.zone = TimeZone::UTC;
        }
        kept.zone = zone.unwrap_or(kept.zone);
        Ok(Self(kept))
    }

    /// Returns what is told at a moment and whenever a day begins after it, until another moment.
    pub fn told(&self, from: At, until: At) -> Vec<(At, Vec<Stretch>)> {
        let (mut told, mut at) = (Vec::new(), from);
        while at < until {
            let Some((stretches, next)) = stretches(&self.0, at) else { break };
            told.push((at, stretches));
            at = next;
        }
        told
    }
}

/// What was worked out and still holds.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    firings: BTreeMap<WorkloadId, (Schedule, At, Option<At>)>,
    windows: BTreeMap<WorkloadId, (Window, (At, At))>,
    noted: BTreeMap<WorkloadId, (At, At)>,
    almanac: AlmanacFile,
    /// What was told of days, and until when it holds.
    told: Option<(Vec<Stretch>, At)>,
}

impl Calendar {
    /// Makes a calendar in which days are what an almanac says.
    pub(crate) fn of(almanac: AlmanacFile) -> Self {
        Self { almanac, ..Self::default() }
    }

    /// Returns civil time from yesterday on, when a day begins or the almanac changed, if it is not what
    /// was said last.
    pub(crate) fn days(&mut self, now: At) -> Option<Command> {
        let changed = self.almanac.look();
        if !changed && self.told.as_ref().is_some_and(|(_, until)| now < *until) {
            return None;
        }
        let (stretches, until) = stretches(self.almanac.kept(), now)?;
        let same = self.told.as_ref().is_some_and(|(told, _)| *told == stretches);
        self.told = Some((stretches.clone(), until));
        (!same).then_some(Command::NoteDays(stretches))
    }

    /// Decides which runs are due now, at most one for each workload; each is to be journaled.
    pub(crate) fn due(&mut self, state: &State, now: At) -> Vec<Command> {
        let mut due = Vec::new();
        for workload in state.timed().filter(|w| w.wish == WorkloadWish::Run) {
            let spec = &workload.revisions[&workload.revision];
            let Some(schedule) = &spec.schedule else { continue };
            let next = self.next(workload, schedule);
            if next.is_none_or(|next| next > now) {
                continue;
            }
            // Of those that were missed only the last is of interest.
            let Some(scheduled) = last_firing(schedule, now) else { continue };
            let missed = now.since(scheduled) > schedule.starting_deadline;
            due.push(Command::FireRun { workload: workload.id, scheduled, missed });
        }
        let timed: Vec<WorkloadId> = state.timed().map(|w| w.id).collect();
        self.firings.retain(|id, _| timed.binary_search(id).is_ok());
        due
    }

    fn next(&mut self, workload: &WorkloadImage, schedule: &Schedule) -> Option<At> {
        let after = handled(workload);
        match self.firings.get(&workload.id) {
            Some((known, from, next)) if known == schedule && *from == after => *next,
            _ => {
                let next = next_firing(schedule, after);
                self.firings.insert(workload.id, (schedule.clone(), after, next));
                next
            }
        }
    }

    /// Returns the present or next window of every workload, if it is not what was said last.
    pub(crate) fn windows(&mut self, state: &State, now: At) -> Option<Command> {
        let mut all = BTreeMap::new();
        let mut known = BTreeMap::new();
        for workload in state.timed() {
            let spec = &workload.revisions[&workload.revision];
            let Some(window) = &spec.window else { continue };
            let holds = |(of, times): &(Window, (At, At))| {
                (of == window && now < times.1).then_some(*times)
            };
            let times = self.windows.get(&workload.id).and_then(holds);
            let Some(times) = times.or_else(|| next_window(window, now)) else { continue };
            known.insert(workload.id, (window.clone(), times));
            all.insert(workload.id, times);
        }
        self.windows = known;
        if all == self.noted {
            return None;
        }
        self.noted.clone_from(&all);
        Some(Command::NoteWindows(all))
    }
}

/// Refuses a workload whose time zones are not known here.
pub(crate) fn check(spec: &WorkloadSpec) -> Result<(), Refusal> {
    let known = |name: &Option<String>, field| match name {
        Some(name) if TimeZone::get(name).is_err() => {
            let expected = format!("a time zone such as Asia/Shanghai, {name:?} is not known here");
            Err(Refusal::BadField { field, expected })
        }
        Some(_) | None => Ok(()),
    };
    if let Some(schedule) = &spec.schedule {
        known(&schedule.time_zone, "schedule.time_zone")?;
    }
    match &spec.window {
        Some(window) => known(&window.time_zone, "window.time_zone"),
        None => Ok(()),
    }
}

/// Returns when a cron workload starts next, as far as it is known.
pub(crate) fn next_run(workload: &WorkloadImage) -> Option<At> {
    let schedule = workload.revisions[&workload.revision].schedule.as_ref()?;
    let runs = workload.wish == WorkloadWish::Run;
    runs.then(|| next_firing(schedule, handled(workload))).flatten()
}

/// Returns the moment up to which nothing of a workload is due any more.
fn handled(workload: &WorkloadImage) -> At {
    workload.cron.fired.max(workload.applied)
}

fn zone(name: Option<&String>) -> Option<TimeZone> {
    match name {
        Some(name) => TimeZone::get(name).ok(),
        None => Some(TimeZone::system()),
    }
}

/// Returns the first firing after a moment.
fn next_firing(schedule: &Schedule, after: At) -> Option<At> {
    let table = CronTable::parse(&schedule.cron).ok()?;
    let zone = zone(schedule.time_zone.as_ref())?;
    at(next(&table, &zone, timestamp(after)?)?)
}

/// Returns the last firing up to a moment.
fn last_firing(schedule: &Schedule, now: At) -> Option<At> {
    let table = CronTable::parse(&schedule.cron).ok()?;
    let zone = zone(schedule.time_zone.as_ref())?;
    let now = timestamp(now)?;
    let first = |back: i64| {
        let from = now.checked_sub(SignedDuration::from_secs(back)).ok()?;
        next(&table, &zone, from).filter(|firing| *firing <= now)
    };
    let mut last = LOOKS_BACK.into_iter().find_map(first)?;
    while let Some(later) = next(&table, &zone, last).filter(|firing| *firing <= now) {
        last = later;
    }
    at(last)
}

fn next(table: &CronTable, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if table.is_every_hour() {
        next_elapsed(table, zone, after)
    } else {
        next_civil(table, zone, after)
    }
}

/// The first firing after a moment of a table that names single hours.
fn next_civil(table: &CronTable, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    // What clocks do around midnight may reach into the day before.
    let mut date = zone.to_datetime(after).date().yesterday().ok()?;
    for _ in 0..DAYS_AHEAD_MAX {
        if has_date(table, date) {
            let times = table.times().filter_map(|(hour, minute)| {
                let time = date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
                moment(zone, time)
            });
            if let Some(found) = times.filter(|found| *found > after).min() {
                return Some(found);
            }
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// The first firing after a moment of a table that names every hour: each minute that passes is
/// asked what the clocks show.
fn next_elapsed(table: &CronTable, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let minute = after.as_second().div_euclid(60).checked_add(1)?.checked_mul(60)?;
    let mut moment = Timestamp::from_second(minute).ok()?;
    let mut days = 0;
    while days < DAYS_AHEAD_MAX {
        let shown = zone.to_datetime(moment);
        if !has_date(table, shown.date()) {
            // On to the next day; it begins at midnight, or after the gap that midnight is in.
            let midnight = shown.date().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
            moment = self::moment(zone, midnight)?.max(moment.checked_add(1.minute()).ok()?);
            days += 1;
            continue;
        }
        let fits = u8::try_from(shown.minute()).is_ok_and(|minute| table.has_time(0, minute));
        if fits {
            return Some(moment);
        }
        moment = moment.checked_add(1.minute()).ok()?;
    }
    None
}

fn has_date(table: &CronTable, date: Date) -> bool {
    let number = |raw: i8| u8::try_from(raw).unwrap_or_default();
    table.has_day(number(date.month()), number(date.day()), weekday(date.weekday()))
}

fn weekday(day: Weekday) -> u8 {
    u8::try_from(day.to_sunday_zero_offset()).unwrap_or_default()
}

/// Returns the stretches of civil time from yesterday on, and when today ends.
fn stretches(kept: &Kept, now: At) -> Option<(Vec<Stretch>, At)> {
    let today = kept.zone.to_datetime(timestamp(now)?).date();
    let begin = |date: Date| moment(&kept.zone, date.to_datetime(jiff::civil::Time::midnight()));
    let mut date = today.yesterday().ok()?;
    let mut found = Vec::new();
    for _ in 0..DAYS_TOLD {
        let (from, next) = (begin(date)?, begin(date.tomorrow().ok()?)?);
        let changes = kept.zone.following(from).map(|transition| transition.timestamp());
        let changes = changes.take_while(|change| *change < next).take(2);
        for from in std::iter::once(from).chain(changes) {
            let shown = kept.zone.to_datetime(from);
            let minute = i32::from(shown.hour()) * 60 + i32::from(shown.minute());
            let minute = u16::try_from(minute).ok()?;
            found.push(Stretch { from: at(from)?, minute, kind: kind(kept, date) });
        }
        date = date.tomorrow().ok()?;
    }
    Some((found, at(begin(today.tomorrow().ok()?)?)?))
}

fn kind(kept: &Kept, date: Date) -> DayKind {
    let number = |raw: i16| u32::try_from(raw).unwrap_or_default();
    let (month, day) = (number(date.month().into()), number(date.day().into()));
    let date = AlmanacDate::new(number(date.year()), month, day);
    date.map(|date| kept.almanac.kind(date)).unwrap_or_default()
}

/// Returns the present window, or the next one.
fn next_window(window: &Window, now: At) -> Option<(At, At)> {
    let zone = zone(window.time_zone.as_ref())?;
    let today = zone.to_datetime(timestamp(now)?).date();
    let mut date = today.yesterday().ok()?;
    for _ in 0..WINDOW_DAYS {
        if let Some((from, until)) = window_on(window, &zone, date)
            && now < until
        {
            return Some((from, until));
        }
        date = date.tomorrow().ok()?;
    }
    None
}

fn window_on(window: &Window, zone: &TimeZone, date: Date) -> Option<(At, At)> {
    if !Days::has(window.days, weekday(date.weekday())) {
        return None;
    }
    let end = if window.to <= window.from { date.tomorrow().ok()? } else { date };
    let on = |date: Date, minute: u16| {
        let time = date.at(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0);
        at(moment(zone, time)?)
    };
    let (from, until) = (on(date, window.from)?, on(end, window.to)?);
    // Clocks put forward may leave nothing of it.
    (from < until).then_some((from, until))
}

/// Returns the moment that a civil time means.
fn moment(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // By the later offset the time lies before the gap, whose end is the next transition.
            let before_gap = after.to_timestamp(time).ok()?;
            zone.following(before_gap).next().map(|transition| transition.timestamp())
        }
    }
}

fn timestamp(at: At) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.millis()).ok()?).ok()
}

fn at(timestamp: Timestamp) -> Option<At> {
    u64::try_from(timestamp.as_millisecond()).ok().map(At::from_millis)
}

#[cfg(test)]
mod tests;
