//! A trace: the recorded use of a fleet's instances on a grid of 5-minute steps.
//!
//! Readers turn what publishers give into a [`Trace`]. They never drop a row silently: every row that
//! cannot be used is counted in [`Rows`], and what was not recorded stays visible as coverage.

mod grid;
mod packed;
pub mod parquet;
pub mod public;
mod sar;
pub mod servers;
pub(crate) mod text;

use std::path::{Path, PathBuf};

use tengyun_model::{Mebibytes, Millicores};

use crate::number::{length, percent, real};

/// The length of a step in seconds.
pub const STEP_SECS: u64 = 300;
/// The same as a real number.
const STEP_SECS_F: f64 = 300.0;
/// Steps of one day.
pub const DAY_STEPS: usize = 288;
/// For so many steps (30 minutes) the last value stands in for missing ones; then it is nothing.
pub const HOLD_STEPS: usize = 6;
/// The most instances of one trace: ten times the largest public one that fits a laboratory.
pub const INSTANCES_MAX: usize = 1_000_000;
/// The most steps of one trace: ten years.
pub const STEPS_MAX: usize = 3660 * DAY_STEPS;
/// The most samples (instances times steps) of one trace; 4 bytes each make 4 GiB.
pub const CELLS_MAX: usize = 1 << 30;

/// So many files of a directory are opened to see what they are.
const LOOKED_AT_MAX: usize = 64;

/// What keeps a trace from being read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A file cannot be read at all.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// It would pass a bound.
    #[error("{path} has more than {limit} {what}; cut it into smaller pieces")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Nothing in it can be used.
    #[error("{path} holds no sample that can be used ({bad} bad rows); is it {expected}?")]
    Empty {
        /// Which.
        path: PathBuf,
        /// Rows that could not be used.
        bad: u64,
        /// The layout that was expected.
        expected: &'static str,
    },
}

/// One recorded instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name in the trace.
    pub name: String,
    /// What it belongs to: a slice, a tenant, a department.
    pub group: String,
    /// The CPU it asked for.
    pub cpu_request: Millicores,
    /// The memory it asked for.
    pub memory_request: Mebibytes,
}

/// How many rows a reader saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rows {
    /// All.
    pub read: u64,
    /// Of those, the ones that could not be used.
    pub bad: u64,
}

impl Rows {
    /// Adds the rows of another file.
    pub(crate) fn add(&mut self, other: Self) {
        self.read = self.read.saturating_add(other.read);
        self.bad = self.bad.saturating_add(other.bad);
    }

    /// Counts one row.
    pub(crate) fn count(&mut self, good: bool) {
        self.read = self.read.saturating_add(1);
        self.bad = self.bad.saturating_add(u64::from(!good));
    }
}

/// What stands for a sample that was not recorded.
const MISSING: u32 = u32::MAX;

/// Samples on the grid: one row an instance, one column a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    steps: usize,
    cells: Vec<u32>,
}

impl Series {
    /// Makes a grid without samples.
    pub fn empty(rows: usize, steps: usize) -> Self {
        Self { steps, cells: vec![MISSING; rows.saturating_mul(steps)] }
    }

    /// Returns the number of columns.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Records a sample; values that do not fit are held at the largest.
    ///
    /// # Panics
    /// When the row or the step lies outside.
    pub fn set(&mut self, row: usize, step: usize, value: u64) {
        assert!(step < self.steps, "a sample lies on the grid");
        let value = u32::try_from(value).unwrap_or(MISSING).min(MISSING - 1);
        self.cells[row * self.steps + step] = value;
    }

    /// Returns a sample as it was recorded.
    pub fn get(&self, row: usize, step: usize) -> Option<u32> {
        self.row(row).get(step).copied().filter(|v| *v != MISSING)
    }

    /// Returns a row with gaps closed: the last value for up to 30 minutes, then nothing.
    pub fn held(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        let mut last = None;
        let mut age = 0;
        self.row(row).iter().map(move |value| {
            if *value == MISSING {
                age += 1;
                if age > HOLD_STEPS {
                    last = None;
                }
            } else {
                (last, age) = (Some(*value), 0);
            }
            last.unwrap_or(0)
        })
    }

    /// Returns how many samples were recorded.
    pub fn recorded(&self) -> usize {
        self.cells.iter().filter(|v| **v != MISSING).count()
    }

    fn row(&self, row: usize) -> &[u32] {
        &self.cells[row * self.steps..][..self.steps]
    }
}

/// The recorded use of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What it was read from.
    pub name: String,
    /// Who was recorded.
    pub instances: Vec<Instance>,
    /// CPU rates in millicores, means over each step.
    pub cpu: Series,
    /// Active memory in mebibytes, where it was recorded.
    pub memory: Option<Series>,
    /// Rows read, and rows that could not be used.
    pub rows: Rows,
    /// The moment of the first step in seconds since 1970, where the trace states it: by UTC, or by the
    /// servers' own clock where times are written out.
    pub begin_secs: Option<u64>,
}

impl Trace {
    /// Returns the number of steps.
    pub fn steps(&self) -> usize {
        self.cpu.steps()
    }

    /// Returns the share of cells that were recorded, in percent.
    pub fn coverage_pct(&self) -> f64 {
        percent(length(self.cpu.recorded()), length(self.instances.len() * self.steps()))
    }

    /// Returns the highest active memory of an instance, if any was recorded.
    pub fn memory_peak(&self, instance: usize) -> Option<u32> {
        self.memory.as_ref()?.held(instance).max()
    }

    /// Returns the steps before the measurement: a day of a longer trace, else 3 hours.
    pub fn warm_up(&self) -> usize {
        if self.steps() > DAY_STEPS { DAY_STEPS } else { 36.min(self.steps() / 2) }
    }

    /// Overlays traces: all begin together, every instance is one of its own.
    pub fn stacked(traces: Vec<Self>) -> Self {
        let steps = traces.iter().map(Self::steps).max().unwrap_or(0);
        let count = traces.iter().map(|t| t.instances.len()).sum();
        let with_memory = traces.iter().any(|t| t.memory.is_some());
        let mut all = Self {
            name: names(&traces, " + "),
            begin_secs: agreed(traces.iter().map(|t| t.begin_secs)),
            cpu: Series::empty(count, steps),
            memory: with_memory.then(|| Series::empty(count, steps)),
            ..Self::default()
        };
        for trace in traces {
            let base = all.instances.len();
            for row in 0..trace.instances.len() {
                copy(&trace.cpu, row, &mut all.cpu, (base + row, 0));
                if let (Some(from), Some(to)) = (&trace.memory, &mut all.memory) {
                    copy(from, row, to, (base + row, 0));
                }
            }
            all.instances.extend(trace.instances);
            all.rows.add(trace.rows);
        }
        all
    }

    /// Joins traces one after the other; an instance of the same name is the same one.
    pub fn following(traces: &[Self]) -> Self {
        let steps = traces.iter().map(Self::steps).sum();
        let mut places = std::collections::BTreeMap::new();
        let mut instances: Vec<Instance> = Vec::new();
        for instance in traces.iter().flat_map(|t| &t.instances) {
            places.entry(instance.name.clone()).or_insert_with(|| {
                instances.push(instance.clone());
                instances.len() - 1
            });
        }
        let with_memory = traces.iter().any(|t| t.memory.is_some());
        let mut all = Self {
            name: names(traces, ", "),
            cpu: Series::empty(instances.len(), steps),
            memory: with_memory.then(|| Series::empty(instances.len(), steps)),
            instances,
            rows: Rows::default(),
            begin_secs: continued(traces),
        };
        let mut begin = 0;
        for trace in traces {
            for (row, instance) in trace.instances.iter().enumerate() {
                let to = places[&instance.name];
                let known = &mut all.instances[to];
                known.cpu_request = known.cpu_request.max(instance.cpu_request);
                known.memory_request = known.memory_request.max(instance.memory_request);
                copy(&trace.cpu, row, &mut all.cpu, (to, begin));
                if let (Some(from), Some(into)) = (&trace.memory, &mut all.memory) {
                    copy(from, row, into, (to, begin));
                }
            }
            begin += trace.steps();
            all.rows.add(trace.rows);
        }
        all
    }

    /// Returns the mean CPU of the whole fleet in millicores over all steps.
    pub fn cpu_mean(&self) -> f64 {
        let all = (0..self.instances.len()).flat_map(|i| self.cpu.held(i));
        let sum: u64 = all.map(u64::from).sum();
        if self.steps() == 0 { 0.0 } else { real(sum) / length(self.steps()) }
    }
}

/// The layouts that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The parquet layout of the shared traces.
    Parquet,
    /// A `PlanetLab` day.
    PlanetLab,
    /// Bitbrains GWA-T-12.
    Bitbrains,
    /// Azure V1 or V2.
    Azure,
    /// Alibaba 2018.
    Alibaba,
    /// Google 2011.
    Google,
    /// `sadf -j`.
    Sadf,
    /// What `sar -u` and `sar -r` print.
    Sar,
    /// Prometheus range queries.
    Prometheus,
    /// CSV with a line of names.
    Csv,
}

impl Format {
    /// Every format with its name on the command line.
    pub const ALL: [(&'static str, Self); 10] = [
        ("parquet", Self::Parquet),
        ("planetlab", Self::PlanetLab),
        ("bitbrains", Self::Bitbrains),
        ("azure", Self::Azure),
        ("alibaba", Self::Alibaba),
        ("google", Self::Google),
        ("sadf", Self::Sadf),
        ("sar", Self::Sar),
        ("prometheus", Self::Prometheus),
        ("csv", Self::Csv),
    ];

    /// Parses a name of the command line.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format)
    }

    /// Guesses the layout of a path by the names of its files, and of a lone file by its beginning.
    pub fn guess(path: &Path) -> Option<Self> {
        if !path.is_dir() {
            let name = text::name(path).to_ascii_lowercase();
            return match name.rsplit_once('.').map(|(_, end)| end) {
                Some("json") => Some(Self::Sadf),
                Some("csv") => Some(Self::Csv),
                Some(_) | None => sar::is_one(path).then_some(Self::Sar),
            };
        }
        if path.join("usage.parquet").exists() {
            return Some(Self::Parquet);
        }
        if text::named(path, "container_usage").is_some() {
            return Some(Self::Alibaba);
        }
        if path.join("task_usage").exists() {
            return Some(Self::Google);
        }
        if path.join("vm_cpu_readings").exists() {
            return Some(Self::Azure);
        }
        let files = text::files(path, |_| true).ok()?;
        let names: Vec<String> = files.iter().map(|f| text::name(f)).collect();
        let any = |start: &str, end: &str| {
            names.iter().any(|n| n.starts_with(start) && n.to_ascii_lowercase().ends_with(end))
        };
        if any("vm_cpu_readings", ".csv") {
            return Some(Self::Azure);
        }
        if any("task_usage", ".csv") {
            return Some(Self::Google);
        }
        if any("cpu", ".json") {
            return Some(Self::Prometheus);
        }
        if any("", ".json") {
            return Some(Self::Sadf);
        }
        if let Some(first) = names.iter().position(|n| n.to_ascii_lowercase().ends_with(".csv")) {
            return Some(if is_bitbrains(&files[first]) { Self::Bitbrains } else { Self::Csv });
        }
        if files.iter().take(LOOKED_AT_MAX).any(|f| sar::is_one(f)) {
            return Some(Self::Sar);
        }
        (!names.is_empty()).then_some(Self::PlanetLab)
    }

    /// Reads a path in this layout.
    pub fn read(self, path: &Path) -> Result<Trace, TraceError> {
        match self {
            Self::Parquet => parquet::read(path),
            Self::PlanetLab => public::planetlab(path),
            Self::Bitbrains => public::bitbrains(path),
            Self::Azure => public::azure(path),
            Self::Alibaba => public::alibaba(path),
            Self::Google => public::google(path),
            Self::Sadf => servers::sadf(path),
            Self::Sar => sar::read(path),
            Self::Prometheus => servers::prometheus(path),
            Self::Csv => servers::plain(path),
        }
    }
}

fn is_bitbrains(path: &Path) -> bool {
    text::first_line(path).is_some_and(|line| line.contains(';'))
}

/// Reads a path in a layout, or in the one that its files look like.
pub fn read(path: &Path, format: Option<Format>) -> Result<Trace, TraceError> {
    let unknown = || {
        let names: Vec<&str> = Format::ALL.iter().map(|(name, _)| *name).collect();
        let reason = format!("its layout is not known; name one of {}", names.join(", "));
        TraceError::File { path: path.to_owned(), reason }
    };
    if !path.exists() {
        return Err(fault(path, &"there is nothing of this name"));
    }
    format.or_else(|| Format::guess(path)).ok_or_else(unknown)?.read(path)
}

pub(crate) fn fault(path: &Path, error: &dyn std::fmt::Display) -> TraceError {
    TraceError::File { path: path.to_owned(), reason: error.to_string() }
}

pub(crate) fn too_large(path: &Path, what: &'static str, limit: usize) -> TraceError {
    TraceError::TooLarge { path: path.to_owned(), what, limit }
}

/// The beginning that all state; none where they differ.
fn agreed(mut begins: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let first = begins.next()??;
    begins.all(|begin| begin == Some(first)).then_some(first)
}

/// The beginning of the first of traces each of which begins where the one before it ended.
fn continued(traces: &[Trace]) -> Option<u64> {
    let ends = |t: &Trace| {
        let steps = u64::try_from(t.steps()).ok()?;
        t.begin_secs?.checked_add(steps.checked_mul(STEP_SECS)?)
    };
    let joined = |pair: &[Trace]| ends(&pair[0]).is_some_and(|end| pair[1].begin_secs == Some(end));
    traces.windows(2).all(joined).then(|| traces.first()?.begin_secs).flatten()
}

fn names(traces: &[Trace], between: &str) -> String {
    let names: Vec<&str> = traces.iter().map(|t| t.name.as_str()).collect();
    names.join(between)
}

fn copy(from: &Series, row: usize, to: &mut Series, (to_row, begin): (usize, usize)) {
    for step in 0..from.steps() {
        if let Some(value) = from.get(row, step) {
            to.set(to_row, begin + step, u64::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(name: &str, samples: &[&[Option<u64>]]) -> Trace {
        let steps = samples.iter().map(|s| s.len()).max().unwrap_or(0);
        let mut cpu = Series::empty(samples.len(), steps);
        for (row, values) in samples.iter().enumerate() {
            for (step, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    cpu.set(row, step, *value);
                }
            }
        }
        let instance = |row| Instance {
            name: format!("{name}{row}"),
            group: String::new(),
            cpu_request: Millicores::new(1000),
            memory_request: Mebibytes::new(100),
        };
        let instances = (0..samples.len()).map(instance).collect();
        Trace { name: name.to_owned(), instances, cpu, memory: None, ..Trace::default() }
    }

    #[test]
    fn a_gap_holds_the_last_value_for_half_an_hour() {
        let mut samples = vec![Some(7)];
        samples.extend([None; 8]);
        samples.push(Some(3));
        let held: Vec<u32> = trace("a", &[&samples]).cpu.held(0).collect();
        assert_eq!(held, [7, 7, 7, 7, 7, 7, 7, 0, 0, 3]);
    }

    #[test]
    fn coverage_counts_what_was_recorded() {
        let t = trace("a", &[&[Some(1), None], &[Some(0), Some(2)]]);
        assert!((t.coverage_pct() - 75.0).abs() < 1e-9);
    }

    #[test]
    fn stacked_traces_begin_together_and_following_ones_do_not() {
        let (one, two) = (trace("a", &[&[Some(1), Some(2)]]), trace("a", &[&[Some(5)]]));
        let stacked = Trace::stacked(vec![one.clone(), two.clone()]);
        assert_eq!((stacked.instances.len(), stacked.steps()), (2, 2));
        assert_eq!(stacked.cpu.get(1, 0), Some(5));
        let following = Trace::following(&[one, two]);
        assert_eq!((following.instances.len(), following.steps()), (1, 3));
        assert_eq!(following.cpu.held(0).collect::<Vec<_>>(), [1, 2, 5]);
    }

    #[test]
    fn joined_traces_have_a_beginning_only_where_the_clock_goes_on() {
        let at = |begin_secs| Trace { begin_secs, ..trace("a", &[&[Some(1), Some(2)]]) };
        let (one, next, later) = (at(Some(600)), at(Some(1200)), at(Some(1500)));
        let following = |traces: &[&Trace]| {
            Trace::following(&traces.iter().copied().cloned().collect::<Vec<_>>()).begin_secs
        };
        assert_eq!(following(&[&one, &next]), Some(600));
        assert_eq!(following(&[&one, &later]), None);
        assert_eq!(following(&[&one, &at(None)]), None);
        assert_eq!(Trace::stacked(vec![one.clone(), one.clone()]).begin_secs, Some(600));
        assert_eq!(Trace::stacked(vec![one, next]).begin_secs, None);
    }
}
