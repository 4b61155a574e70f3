//! Packing a list in order: how full nodes are when the first instance finds no place, and in the end.
//!
//! Columns as in `openb-order`: nodes (sn, `cpu_milli`, `memory_mib`, gpu, model), instances (name,
//! `cpu_milli`, `memory_mib`, `num_gpu`, `gpu_milli`, `gpu_spec`). Requests are promises: every instance
//! is critical, and a node is filled to the last millicore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tengyun_model::{Class, Name};

use crate::cloud::{Cloud, DriveError, Guest, Place};
use crate::number::{decimals, percent, real, wide};
use crate::trace::text::{lines, number};
use crate::trace::{Rows, TraceError};

/// The most nodes or instances of a list.
const ROWS_MAX: usize = 2_000_000;
/// One device, in thousandths.
const DEVICE: u64 = 1000;

/// What keeps a list from being packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The engine could not be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// The figures of a packing: the fields of `lab pack --output json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PackFigures {
    /// CPU promised when the first instance found no node.
    pub cpu_first_refusal_pct: f64,
    /// CPU promised in the end.
    pub cpu_final_pct: f64,
    /// GPU promised in the end.
    pub gpu_final_pct: f64,
    /// Instances placed.
    pub placed: u64,
    /// How long it took.
    pub seconds: f64,
}

/// A list that was packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packed {
    /// Its figures.
    pub figures: PackFigures,
    /// Rows of both lists. None is bad: an order with a row that cannot be used means nothing, and is
    /// refused.
    pub rows: Rows,
}

#[derive(Clone, Debug)]
struct NodeRow {
    cpu: u64,
    memory: u64,
    devices: Vec<u64>,
    model: String,
}

#[derive(Clone, Debug)]
struct InstanceRow {
    cpu: u64,
    memory: u64,
    devices: u64,
    share: u64,
    models: String,
}

/// Packs the instances of one file on the nodes of another, one after the other, by our engine.
///
/// The list's own rules come before the policy's: nodes are filled whole, and nothing is moved.
pub fn pack(
    nodes: &Path,
    instances: &Path,
    policy: &BTreeMap<String, u64>,
) -> Result<Packed, PackError> {
    let began = Instant::now();
    let mut nodes = read_nodes(nodes)?;
    let wanted = read_instances(instances)?;
    let specs: BTreeSet<String> =
        wanted.iter().map(|i| i.models.clone()).filter(|m| !m.is_empty()).collect();
    let places = nodes.iter().map(|n| place(n, &specs));
    let mut cloud = Cloud::new(&knobs(policy), places.collect::<Vec<_>>())?;
    let cpu_all: u64 = nodes.iter().map(|n| n.cpu).sum();
    let gpu_all: u64 = nodes.iter().flat_map(|n| &n.devices).sum();
    let (mut cpu, mut gpu, mut placed) = (0_u64, 0_u64, 0_u64);
    let mut first = None;
    for (at, row) in wanted.iter().enumerate() {
        cloud.apply(&guest(row, &specs))?;
        cloud.plan_once()?;
        let seat = cloud.seat_of(at);
        // The engine counts devices together; whether they can be handed out is seen on the node.
        let taken = seat.is_some_and(|node| nodes[node].take(row.devices, row.share));
        if taken {
            cpu += row.cpu;
            gpu += row.devices * row.share;
            placed += 1;
        } else {
            first.get_or_insert(cpu);
            cloud.stop(at)?;
        }
    }
    let share = |part: u64, whole: u64| decimals(percent(real(part), real(whole)), 2);
    let figures = PackFigures {
        cpu_first_refusal_pct: share(first.unwrap_or(cpu), cpu_all),
        cpu_final_pct: share(cpu, cpu_all),
        gpu_final_pct: share(gpu, gpu_all),
        placed,
        seconds: decimals(began.elapsed().as_secs_f64(), 3),
    };
    let rows = Rows { read: wide(nodes.len() + wanted.len()), bad: 0 };
    Ok(Packed { figures, rows })
}

fn knobs(policy: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut knobs = policy.clone();
    knobs.extend(["band_floor", "band_target", "band_ceiling"].map(|k| (k.to_owned(), 1000)));
    knobs.insert("consolidate".to_owned(), 0);
    knobs
}

impl NodeRow {
    /// Hands out devices: whole ones, or a share of the fullest that has it.
    fn take(&mut self, devices: u64, share: u64) -> bool {
        let mut free: Vec<usize> =
            (0..self.devices.len()).filter(|d| self.devices[*d] >= share).collect();
        free.sort_by_key(|d| (self.devices[*d], *d));
        let wanted = usize::try_from(devices).unwrap_or(usize::MAX);
        if free.len() < wanted {
            return false;
        }
        for device in free.into_iter().take(wanted) {
            self.devices[device] -= share;
        }
        true
    }
}

fn counter() -> Name {
    "gpu".parse().expect("three letters")
}

/// The label that a node has when its model is among those that an instance names.
fn label(specs: &BTreeSet<String>, models: &str) -> String {
    format!("gpu-spec-{}", specs.iter().position(|s| s == models).unwrap_or(0))
}

fn place(node: &NodeRow, specs: &BTreeSet<String>) -> Place {
    let fits = |spec: &&String| spec.split('|').any(|model| model == node.model);
    let labels = specs.iter().filter(fits).map(|s| (label(specs, s), "yes".to_owned()));
    Place {
        cpu: node.cpu,
        memory: node.memory,
        labels: labels.collect(),
        counted: BTreeMap::from([(counter(), node.devices.iter().sum())]),
    }
}

fn guest(row: &InstanceRow, specs: &BTreeSet<String>) -> Guest {
    let mut guest =
        Guest { cpu: row.cpu, memory: row.memory, class: Class::Critical, ..Guest::default() };
    if row.devices > 0 {
        guest.counted.insert(counter(), row.devices * row.share);
    }
    if !row.models.is_empty() {
        guest.labels.insert(label(specs, &row.models), "yes".to_owned());
    }
    guest
}

fn read_nodes(path: &Path) -> Result<Vec<NodeRow>, TraceError> {
    let mut nodes = Vec::new();
    rows(path, |fields| {
        let node = NodeRow {
            cpu: whole(fields, 1)?,
            memory: whole(fields, 2)?,
            devices: vec![DEVICE; usize::try_from(whole(fields, 3)?.min(1024)).ok()?],
            model: fields.get(4).copied().unwrap_or_default().to_owned(),
        };
        nodes.push(node);
        Some(())
    })?;
    Ok(nodes)
}

fn read_instances(path: &Path) -> Result<Vec<InstanceRow>, TraceError> {
    let mut instances = Vec::new();
    rows(path, |fields| {
        let devices = whole(fields, 3).unwrap_or(0).min(1024);
        instances.push(InstanceRow {
            cpu: whole(fields, 1)?,
            memory: whole(fields, 2)?,
            devices,
            share: if devices > 0 { whole(fields, 4)?.min(DEVICE) } else { 0 },
            models: fields.get(5).copied().unwrap_or_default().to_owned(),
        });
        Some(())
    })?;
    Ok(instances)
}

fn whole(fields: &[&str], at: usize) -> Option<u64> {
    let value = fields.get(at).and_then(|f| number(f)).filter(|v| (0.0..1e12).contains(v))?;
    Some(crate::number::nearest(value))
}

/// Hands over every row after the first; an order with a row that cannot be used means nothing.
fn rows(path: &Path, mut each: impl FnMut(&[&str]) -> Option<()>) -> Result<(), TraceError> {
    let mut count = 0;
    lines(path, |line| {
        count += 1;
        let what = format!("row {count} cannot be used");
        let line = line.ok_or_else(|| crate::trace::fault(path, &what))?;
        if count == 1 || line.is_empty() {
            return Ok(());
        }
        if count > ROWS_MAX {
            return Err(crate::trace::too_large(path, "rows", ROWS_MAX));
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        each(&fields).ok_or_else(|| crate::trace::fault(path, &what))
    })
}
