//! Recordings of existing servers: `sadf -j`, Prometheus range queries, plain CSV.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::grid::{Grid, Sample};
use super::text::{files, json, lines, name, number};
use super::{Trace, TraceError, fault};

/// What `sadf -j -- -u -r` writes, as far as it is used.
#[derive(Debug, Deserialize)]
struct Sadf {
    sysstat: Sysstat,
}

#[derive(Debug, Deserialize)]
struct Sysstat {
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize)]
struct Host {
    nodename: String,
    #[serde(rename = "number-of-cpus", default)]
    cpus: u32,
    #[serde(default)]
    statistics: Vec<Statistic>,
}

#[derive(Debug, Deserialize)]
struct Statistic {
    timestamp: Option<Timestamp>,
    #[serde(rename = "cpu-load", default)]
    cpu: Vec<CpuLoad>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
struct Timestamp {
    date: String,
    time: String,
}

#[derive(Debug, Deserialize)]
struct CpuLoad {
    cpu: String,
    idle: f64,
    #[serde(default)]
    iowait: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Memory {
    pub(super) memfree: Option<f64>,
    pub(super) avail: Option<f64>,
    pub(super) memused: Option<f64>,
    #[serde(rename = "memused-percent")]
    pub(super) share: Option<f64>,
}

/// Reads files of `sadf -j -- -u -r`: one server a file or several. Idle time and waiting for disks
/// are not use; memory that the kernel could give back is not use either.
pub fn sadf(path: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    for path in json_files(path)? {
        let Ok(recording) = json::<Sadf>(&path) else {
            grid.rows.count(false);
            continue;
        };
        for host in recording.sysstat.hosts {
            let place = grid.instance(&path, &host.nodename)?;
            let capacity = f64::from(host.cpus.max(1)) * 1000.0;
            for statistic in host.statistics {
                let secs = statistic.timestamp.as_ref().and_then(moment);
                let busy = |c: &CpuLoad| (100.0 - c.idle - c.iowait).clamp(0.0, 100.0);
                let all = statistic.cpu.iter().find(|c| c.cpu == "all");
                let cpu = all.map(|c| busy(c) / 100.0 * capacity);
                let memory = statistic.memory.as_ref().and_then(Memory::used);
                let total = statistic.memory.as_ref().and_then(Memory::total);
                grid.ask(place, capacity, total.unwrap_or(0.0));
                let secs = secs.unwrap_or(f64::NAN);
                grid.sample(&path, place, Sample { secs, cpu, memory })?;
            }
        }
    }
    grid.finish(path, "what `sadf -j -- -u -r` writes, one file a server")
}

impl Memory {
    /// Returns the mebibytes that the server has.
    pub(super) fn total(&self) -> Option<f64> {
        let used = self.memused?;
        // Newer versions count neither buffers nor caches as used, so that what is free and what is
        // used no longer add up to the whole; its share of the whole is written beside it.
        let whole = match self.share.filter(|share| *share > 0.0) {
            Some(share) => used * 100.0 / share,
            None => self.memfree? + used,
        };
        Some(whole / 1024.0)
    }

    /// Returns the mebibytes that the kernel could not give back.
    pub(super) fn used(&self) -> Option<f64> {
        match (self.avail, self.total()) {
            (Some(avail), Some(total)) if avail <= total * 1024.0 => Some(total - avail / 1024.0),
            _ => self.memused.map(|kib| kib / 1024.0),
        }
    }
}

fn moment(timestamp: &Timestamp) -> Option<f64> {
    let text = format!("{}T{}", timestamp.date, timestamp.time.trim_end_matches('Z'));
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let moment = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    u64::try_from(moment.as_second()).ok().map(crate::number::real)
}

/// What a Prometheus range query answers, as far as it is used.
#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Matrix>,
}

#[derive(Debug, Deserialize)]
struct Matrix {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Reads a directory of answers to range queries: `cpu*.json` in cores used, `memory*.json` in bytes
/// used, and, where known, `cpu_request*.json` and `memory_request*.json`.
pub fn prometheus(directory: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    for path in json_files(directory)? {
        let name = name(&path);
        let (memory, request) = (name.starts_with("memory"), name.contains("request"));
        if !memory && !name.starts_with("cpu") {
            continue;
        }
        let Ok(answer) = json::<Answer>(&path) else {
            grid.rows.count(false);
            continue;
        };
        for row in answer.data.result {
            let place = grid.instance(&path, &label(&row.metric))?;
            if let Some(group) =
                row.metric.get("namespace").or_else(|| row.metric.get("department"))
            {
                grid.belongs(place, group);
            }
            for (secs, value) in row.values {
                let value = number(&value);
                let mebibytes = value.filter(|_| memory).map(|v| v / 1_048_576.0);
                let millicores = value.filter(|_| !memory).map(|v| v * 1000.0);
                if request {
                    grid.rows.count(value.is_some());
                    grid.ask(place, millicores.unwrap_or(0.0), mebibytes.unwrap_or(0.0));
                } else {
                    let sample = Sample { secs, cpu: millicores, memory: mebibytes };
                    grid.sample(&path, place, sample)?;
                }
            }
        }
    }
    grid.finish(directory, "a directory with cpu.json and memory.json of range queries")
}

/// Names what was measured: the label that tells instances apart, or all of them.
fn label(metric: &BTreeMap<String, String>) -> String {
    let known = ["instance", "pod", "vm", "name", "host", "node"];
    if let Some(name) = known.iter().find_map(|l| metric.get(*l)) {
        return name.clone();
    }
    let labels: Vec<String> = metric.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.join(",")
}

/// Reads one or more CSV files with a line of names: `id`, `t_s` (seconds), `cpu_millicores`, and, where
/// known, `mem_mib`, `group`, `cpu_request_millicores`, `mem_request_mib`.
pub fn plain(path: &Path) -> Result<Trace, TraceError> {
    let mut grid = Grid::default();
    let paths = if path.is_dir() {
        files(path, |n| n.to_ascii_lowercase().ends_with(".csv"))?
    } else {
        vec![path.to_owned()]
    };
    for path in paths {
        let mut names: Option<Vec<String>> = None;
        lines(&path, |line| {
            let fields: Vec<&str> =
                line.unwrap_or_default().split(',').map(|f| f.trim().trim_matches('"')).collect();
            let Some(names) = &names else {
                names = Some(fields.iter().map(|f| (*f).to_owned()).collect());
                return Ok(());
            };
            plain_row(&mut grid, &path, names, &fields)
        })?;
        let names = names.unwrap_or_default();
        let wanted = ["id", "t_s", "cpu_millicores"];
        if let Some(missing) = wanted.iter().find(|w| !names.iter().any(|n| n == *w)) {
            return Err(fault(&path, &format!("its first line names no column {missing}")));
        }
    }
    grid.finish(path, "CSV with the columns id, t_s, cpu_millicores")
}

fn plain_row(
    grid: &mut Grid,
    path: &Path,
    names: &[String],
    fields: &[&str],
) -> Result<(), TraceError> {
    let field = |name: &str| {
        let at = names.iter().position(|n| n == name)?;
        fields.get(at).copied().filter(|f| !f.is_empty())
    };
    let value = |name: &str| field(name).and_then(number);
    let (Some(id), Some(secs)) = (field("id"), value("t_s")) else {
        grid.rows.count(false);
        return Ok(());
    };
    let place = grid.instance(path, id)?;
    let asked = |name: &str| value(name).filter(|v| *v >= 0.0).unwrap_or(0.0);
    grid.ask(place, asked("cpu_request_millicores"), asked("mem_request_mib"));
    if let Some(group) = field("group") {
        grid.belongs(place, group);
    }
    let memory = value("mem_mib");
    grid.sample(path, place, Sample { secs, cpu: value("cpu_millicores"), memory })
}

fn json_files(path: &Path) -> Result<Vec<PathBuf>, TraceError> {
    if path.is_dir() {
        files(path, |n| n.to_ascii_lowercase().ends_with(".json"))
    } else {
        Ok(vec![path.to_owned()])
    }
}
