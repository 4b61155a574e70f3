//! What `sar -u` and `sar -r` print, in the words of `LC_ALL=C`, by a clock of 12 or 24 hours: a file a
//! server and day, or many days one after the other. Times are taken as they are written, in the
//! server's own time zone.

use std::path::Path;

use super::grid::{Grid, Sample};
use super::servers::Memory;
use super::text::{files, first_line, lines, number};
use super::{Trace, TraceError};

const DAY_SECS: f64 = 86_400.0;

/// Says whether a file begins as one of these reports does.
pub(super) fn is_one(path: &Path) -> bool {
    first_line(path).is_some_and(|line| Banner::parse(&line).is_some())
}

/// Reads a report, or every report of a directory.
pub(super) fn read(path: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    let directory = path.is_dir();
    let paths = if directory { files(path, |n| !n.starts_with('.'))? } else { vec![path.into()] };
    for path in paths {
        let mut report = Report::default();
        lines(&path, |line| report.line(&mut grid, &path, line))?;
    }
    grid.finish(path, "what `sar -u` and `sar -r` print, by LC_ALL=C, one file a server or day")
}

/// What stands above a report: `Linux RELEASE (HOST) DATE _ARCH_ (N CPU)`.
struct Banner {
    host: String,
    midnight: Option<f64>,
    cores: f64,
}

impl Banner {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("Linux ")?.split_whitespace().skip(1);
        let host = words.next()?.strip_prefix('(')?.strip_suffix(')')?.to_owned();
        let midnight = words.next().and_then(midnight);
        Some(Self { host, midnight, cores: cores(line)? })
    }
}

fn cores(line: &str) -> Option<f64> {
    let (_, count) = line.strip_suffix(" CPU)")?.rsplit_once('(')?;
    number(count).filter(|count| *count >= 1.0)
}

/// Seconds of the midnight that a date begins with: 11/26/26, 11/26/2026 or 2026-11-26.
fn midnight(date: &str) -> Option<f64> {
    let parts: Vec<i16> = date.split(['/', '-']).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [first, second, third] = parts.try_into().ok()?;
    let (year, month, day) =
        if date.contains('-') { (first, second, third) } else { (third, first, second) };
    let year = if year < 100 { year + 2000 } else { year };
    let (month, day) = (month.try_into().ok()?, day.try_into().ok()?);
    let civil = jiff::civil::Date::new(year, month, day).ok()?.at(0, 0, 0, 0);
    let moment = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    u64::try_from(moment.as_second()).ok().map(crate::number::real)
}

/// Where a reader is in a report.
#[derive(Default)]
struct Report {
    /// The place of the server in the grid, its midnight and its cores.
    server: Option<(usize, Option<f64>, f64)>,
    /// The names of the columns after the time.
    columns: Vec<String>,
    /// The last time of this section, and what days that passed since its date add.
    last: f64,
    passed: f64,
}

impl Report {
    fn line(&mut self, grid: &mut Grid, path: &Path, line: Option<&str>) -> Result<(), TraceError> {
        let Some(line) = line else {
            grid.rows.count(false);
            return Ok(());
        };
        if let Some(banner) = Banner::parse(line) {
            let place = grid.instance(path, &banner.host)?;
            *self = Self::default();
            self.server = Some((place, banner.midnight, banner.cores));
            return Ok(());
        }
        if line.starts_with("Average:") {
            // What follows is another section of the same day.
            (self.last, self.passed) = (0.0, 0.0);
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            return Ok(());
        }
        if line.contains("LINUX RESTART") {
            if let (Some(server), Some(cores)) = (&mut self.server, cores(line)) {
                server.2 = cores;
            }
            return Ok(());
        }
        let Some((secs, rest)) = clock(&words) else {
            grid.rows.count(false);
            return Ok(());
        };
        if rest.iter().all(|word| number(word).is_none()) {
            self.columns = rest.iter().map(|word| (*word).to_owned()).collect();
            return Ok(());
        }
        self.row(grid, path, secs, rest)
    }

    /// Takes in a row of CPU or memory; one of a single core, or of anything else, is not wanted.
    fn row(
        &mut self,
        grid: &mut Grid,
        path: &Path,
        secs: f64,
        fields: &[&str],
    ) -> Result<(), TraceError> {
        let text = |name: &str| {
            let at = self.columns.iter().position(|c| c == name)?;
            fields.get(at).copied()
        };
        let has = |name: &str| self.columns.iter().any(|c| c == name);
        let (of_cpu, of_memory) = (has("%idle"), has("kbmemused"));
        if !self.columns.is_empty() && !of_cpu && !of_memory
            || of_cpu && text("CPU").is_some_and(|cpu| cpu != "all" && number(cpu).is_some())
        {
            return Ok(());
        }
        let Some((place, midnight, cores)) =
            self.server.filter(|_| fields.len() == self.columns.len())
        else {
            grid.rows.count(false);
            return Ok(());
        };
        let value = |name: &str| text(name).and_then(number);
        let share = |name: &str| value(name).filter(|v| (0.0..=100.0).contains(v));
        let waits = if has("%iowait") { share("%iowait") } else { Some(0.0) };
        let busy = share("%idle").zip(waits).map(|(idle, waits)| (100.0 - idle - waits).max(0.0));
        let memory = Memory {
            memfree: value("kbmemfree"),
            avail: value("kbavail"),
            memused: value("kbmemused"),
            share: value("%memused"),
        };
        grid.ask(place, cores * 1000.0, memory.total().unwrap_or(0.0));
        // A time before the last one is of the next day.
        self.passed += if secs < self.last { DAY_SECS } else { 0.0 };
        self.last = secs;
        let secs = midnight.map_or(f64::NAN, |midnight| midnight + self.passed + secs);
        let cpu = busy.map(|busy| busy * cores * 10.0);
        grid.sample(path, place, Sample { secs, cpu, memory: memory.used() })
    }
}

/// Parses the time of a row and returns what follows: `13:05:00`, or `01:05:00 PM`.
fn clock<'a>(words: &'a [&'a str]) -> Option<(f64, &'a [&'a str])> {
    let (time, rest) = words.split_first()?;
    let time: Vec<u32> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hour, minute, second] = time.try_into().ok()?;
    let half = rest.first().and_then(|word| match *word {
        "AM" => Some(0),
        "PM" => Some(12),
        _ => None,
    });
    let (hour, rest) = match half {
        Some(half) if (1..=12).contains(&hour) => (hour % 12 + half, &rest[1..]),
        Some(_) => return None,
        None => (hour, rest),
    };
    (hour < 24 && minute < 60 && second < 61)
        .then(|| (f64::from(hour * 3600 + minute * 60 + second), rest))
}
