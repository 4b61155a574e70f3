//! Public traces as their publishers give them, packed or not: `PlanetLab`, Bitbrains, Azure, Alibaba,
//! Google.

use std::path::{Path, PathBuf};

use super::grid::{Grid, Sample, secs_of};
use super::text::{files, lines, name, named, number};
use super::{Trace, TraceError, fault};

/// `CloudSim`'s types of instances, by quarter of the sorted list: MIPS and MiB.
const CLOUDSIM_TYPES: [(f64, f64); 4] =
    [(2500.0, 870.0), (2000.0, 1740.0), (1000.0, 1740.0), (500.0, 613.0)];
/// Google and Alibaba hide the size of their largest machine: it is taken as 32 cores and 128 GiB.
const UNIT_MILLICORES: f64 = 32_000.0;
const UNIT_MEBIBYTES: f64 = 131_072.0;
/// Moments above this are milliseconds, not seconds.
const MILLIS_FROM: f64 = 1e11;

/// Reads a `PlanetLab` day: one file an instance, one whole percentage a line, 5 minutes apart.
pub fn planetlab(directory: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    let files = files(directory, |name| !name.starts_with('.'))?;
    let quarter = files.len().div_ceil(4).max(1);
    for (number_of, path) in files.iter().enumerate() {
        let name = name(path);
        let place = grid.instance(path, &name)?;
        let (mips, memory) = CLOUDSIM_TYPES[(number_of / quarter).min(3)];
        grid.ask(place, mips, memory);
        // The slice that it belonged to is the end of the name.
        let slice: Vec<&str> = name.rsplit('_').take(2).collect();
        grid.belongs(place, &slice.join("_"));
        let mut step = 0;
        lines(path, |line| {
            let share = line.and_then(number).filter(|s| (0.0..=100.0).contains(s));
            let cpu = share.map(|s| s / 100.0 * mips);
            let sample = Sample { secs: secs_of(step), cpu, memory: None };
            step += 1;
            grid.sample(path, place, sample)
        })?;
    }
    grid.finish(directory, "a PlanetLab directory: a file an instance, a percentage a line")
}

/// Reads Bitbrains GWA-T-12: one file an instance, columns by semicolon.
pub fn bitbrains(directory: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    for path in files(directory, |name| has_end(name, ".csv"))? {
        let name = name(&path);
        let place = grid.instance(&path, name.rsplit_once('.').map_or(&name, |(stem, _)| stem))?;
        let mut first = true;
        lines(&path, |line| {
            let header =
                std::mem::take(&mut first) && line.is_some_and(|l| l.contains("Timestamp"));
            if header {
                return Ok(());
            }
            let fields: Vec<Option<f64>> =
                line.unwrap_or_default().split(';').map(number).collect();
            let field = |at: usize| fields.get(at).copied().flatten();
            // Moment, cores, MHz provisioned, MHz used, percent used, KiB provisioned, KiB used.
            let (Some(at), Some(cores), Some(share)) = (field(0), field(1), field(4)) else {
                grid.rows.count(false);
                return Ok(());
            };
            let secs = if at > MILLIS_FROM { at / 1000.0 } else { at };
            let memory = field(6).map(|kib| kib / 1024.0);
            grid.ask(place, cores * 1000.0, field(5).unwrap_or(0.0) / 1024.0);
            grid.sample(&path, place, Sample { secs, cpu: Some(share * cores * 10.0), memory })
        })?;
    }
    grid.finish(directory, "a Bitbrains directory: N.csv with columns by semicolon")
}

/// Reads Azure V1 or V2: `vmtable.csv` and `vm_cpu_readings*.csv`, each in a folder of its kind or both
/// in one directory.
pub fn azure(directory: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    for path in parts(directory, "vmtable")? {
        lines(&path, |line| {
            let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
            // A bucket such as ">24" is read as its bound.
            let size = |at: usize| {
                fields.get(at).and_then(|f| number(f.trim().trim_start_matches(['>', '<', '='])))
            };
            let (Some(cores), Some(gib), Some(name)) = (size(9), size(10), fields.first()) else {
                grid.rows.count(false);
                return Ok(());
            };
            grid.rows.count(true);
            let place = grid.instance(&path, name)?;
            grid.ask(place, cores * 1000.0, gib * 1024.0);
            grid.belongs(place, fields.get(1).unwrap_or(&""));
            Ok(())
        })?;
    }
    for path in parts(directory, "vm_cpu_readings")? {
        lines(&path, |line| {
            let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
            let field = |at: usize| fields.get(at).and_then(|f| number(f));
            // Moment, instance, least, most and mean share.
            let (Some(secs), Some(name), Some(share)) = (field(0), fields.get(1), field(4)) else {
                grid.rows.count(false);
                return Ok(());
            };
            let known = grid.place(name);
            let place = grid.instance(&path, name)?;
            if known.is_none() {
                grid.ask(place, 1000.0, 0.0);
            }
            let cores = grid.cpu_request(place) / 1000.0;
            let cpu = Some(share * cores * 10.0);
            grid.sample(&path, place, Sample { secs, cpu, memory: None })
        })?;
    }
    grid.finish(directory, "an Azure directory: vmtable.csv and vm_cpu_readings*.csv")
}

/// Reads Alibaba 2018: `container_meta.csv` and `container_usage.csv`.
pub fn alibaba(directory: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    if let Some(meta) = named(directory, "container_meta") {
        lines(&meta, |line| {
            let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
            let field = |at: usize| fields.get(at).and_then(|f| number(f));
            // Container, machine, moment, application, state, hundredths of cores, limit, memory.
            let (Some(name), Some(cpu)) = (fields.first(), field(5)) else {
                grid.rows.count(false);
                return Ok(());
            };
            grid.rows.count(true);
            let place = grid.instance(&meta, name)?;
            let memory = field(7).unwrap_or(0.0) / 100.0 * UNIT_MEBIBYTES;
            grid.ask(place, cpu * 10.0, memory);
            grid.belongs(place, fields.get(3).unwrap_or(&""));
            Ok(())
        })?;
    }
    let missing = || fault(directory, &"there is no container_usage.csv, .csv.gz or .tar.gz in it");
    let usage = named(directory, "container_usage").ok_or_else(missing)?;
    lines(&usage, |line| {
        let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
        let field = |at: usize| fields.get(at).and_then(|f| number(f));
        let (Some(name), Some(secs), Some(share)) = (fields.first(), field(2), field(3)) else {
            grid.rows.count(false);
            return Ok(());
        };
        let known = grid.place(name);
        let place = grid.instance(&usage, name)?;
        if known.is_none() {
            grid.ask(place, 1000.0, 0.0);
        }
        let cpu = Some(share / 100.0 * grid.cpu_request(place));
        let memory = field(4).map(|m| m / 100.0 * grid.memory_request(place));
        grid.sample(&usage, place, Sample { secs, cpu, memory })
    })?;
    grid.finish(directory, "an Alibaba 2018 directory: container_meta.csv, container_usage.csv")
}

/// Reads Google 2011: `task_events/part-*.csv` and `task_usage/part-*.csv`, or both in one directory.
pub fn google(directory: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    for path in parts(directory, "task_events")? {
        lines(&path, |line| {
            let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
            let field = |at: usize| fields.get(at).and_then(|f| number(f));
            let (Some(name), Some(cpu)) = (task(&fields, 2), field(9)) else {
                grid.rows.count(false);
                return Ok(());
            };
            grid.rows.count(true);
            let place = grid.instance(&path, &name)?;
            let memory = field(10).unwrap_or(0.0) * UNIT_MEBIBYTES;
            grid.ask(place, cpu * UNIT_MILLICORES, memory);
            grid.belongs(place, fields.get(6).unwrap_or(&""));
            Ok(())
        })?;
    }
    for path in parts(directory, "task_usage")? {
        lines(&path, |line| {
            let fields: Vec<&str> = line.unwrap_or_default().split(',').collect();
            let field = |at: usize| fields.get(at).and_then(|f| number(f));
            // Microseconds from and until, job, task, machine, cores, memory.
            let (Some(from), Some(name), Some(rate)) = (field(0), task(&fields, 2), field(5))
            else {
                grid.rows.count(false);
                return Ok(());
            };
            let place = grid.instance(&path, &name)?;
            let memory = field(6).map(|m| m * UNIT_MEBIBYTES);
            let cpu = Some(rate * UNIT_MILLICORES);
            grid.sample(&path, place, Sample { secs: from / 1e6, cpu, memory })
        })?;
    }
    grid.finish(directory, "a Google 2011 directory: task_usage/part-*.csv")
}

/// Returns the files of a kind: those of its folder, or those that are named after it.
fn parts(directory: &Path, kind: &str) -> Result<Vec<PathBuf>, TraceError> {
    let inside = directory.join(kind);
    if inside.is_dir() {
        return files(&inside, |name| has_end(name, ".csv"));
    }
    files(directory, |name| has_end(name, ".csv") && name.starts_with(kind))
}

fn task(fields: &[&str], at: usize) -> Option<String> {
    let (job, index) = (fields.get(at)?, fields.get(at + 1)?);
    (!job.is_empty() && !index.is_empty()).then(|| format!("{job}-{index}"))
}

fn has_end(name: &str, end: &str) -> bool {
    name.to_ascii_lowercase().ends_with(end)
}
