//! Collecting samples in any order into a trace: bounded, with bad rows counted.

use std::collections::BTreeMap;
use std::path::Path;

use tengyun_model::{Mebibytes, Millicores};

use super::{
    CELLS_MAX, INSTANCES_MAX, Instance, Rows, STEP_SECS, STEPS_MAX, Series, Trace, TraceError,
    too_large,
};
use crate::number::{length, nearest};

/// The longest name of an instance that is kept whole.
const NAME_BYTES_MAX: usize = 200;

/// From this moment on, 2000-01-01, seconds are those since 1970; earlier ones are counted from some
/// beginning that is not stated.
const STATED_FROM_SECS: u64 = 946_684_800;

/// One sample of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Seconds, from any beginning; it covers the step it lies in.
    pub(crate) secs: f64,
    /// CPU rate in millicores.
    pub(crate) cpu: Option<f64>,
    /// Active memory in mebibytes.
    pub(crate) memory: Option<f64>,
}

/// A trace in the making. Samples of one instance and step are averaged.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    instances: Vec<Instance>,
    places: BTreeMap<String, usize>,
    cpu: Vec<Vec<(u32, f32)>>,
    memory: Vec<Vec<(u32, f32)>>,
    count: usize,
    /// Rows read and rows that could not be used.
    pub(crate) rows: Rows,
}

impl Grid {
    /// Returns the place of an instance, which is made when it is new.
    pub(crate) fn instance(&mut self, path: &Path, name: &str) -> Result<usize, TraceError> {
        if let Some(at) = self.places.get(name) {
            return Ok(*at);
        }
        if self.instances.len() >= INSTANCES_MAX {
            return Err(too_large(path, "instances", INSTANCES_MAX));
        }
        self.places.insert(name.to_owned(), self.instances.len());
        self.instances.push(Instance {
            name: name.chars().take(NAME_BYTES_MAX).collect(),
            group: String::new(),
            cpu_request: Millicores::ZERO,
            memory_request: Mebibytes::ZERO,
        });
        self.cpu.push(Vec::new());
        self.memory.push(Vec::new());
        Ok(self.instances.len() - 1)
    }

    /// Returns the place of an instance that is known.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Raises what an instance asked for to at least this much.
    pub(crate) fn ask(&mut self, place: usize, cpu: f64, memory: f64) {
        let instance = &mut self.instances[place];
        instance.cpu_request = instance.cpu_request.max(Millicores::new(nearest(cpu)));
        instance.memory_request = instance.memory_request.max(Mebibytes::new(nearest(memory)));
    }

    /// Says what an instance belongs to.
    pub(crate) fn belongs(&mut self, place: usize, group: &str) {
        self.instances[place].group = group.chars().take(NAME_BYTES_MAX).collect();
    }

    /// Returns the millicores that an instance asked for.
    pub(crate) fn cpu_request(&self, place: usize) -> f64 {
        crate::number::real(self.instances[place].cpu_request.get())
    }

    /// Returns the mebibytes that an instance asked for.
    pub(crate) fn memory_request(&self, place: usize) -> f64 {
        crate::number::real(self.instances[place].memory_request.get())
    }

    /// Takes in a sample, or counts the row as bad.
    pub(crate) fn sample(
        &mut self,
        path: &Path,
        place: usize,
        sample: Sample,
    ) -> Result<(), TraceError> {
        let good = |v: f64| v.is_finite() && (0.0..4e9).contains(&v);
        let step = (sample.secs / super::STEP_SECS_F).floor();
        let step = (0.0..4e9).contains(&step).then(|| u32::try_from(nearest(step)).ok()).flatten();
        let values = [sample.cpu, sample.memory];
        let any = values.iter().flatten().count() > 0;
        let (Some(step), true) = (step, any && values.iter().flatten().all(|v| good(*v))) else {
            self.rows.count(false);
            return Ok(());
        };
        self.rows.count(true);
        for (value, series) in values.into_iter().zip([&mut self.cpu, &mut self.memory]) {
            if let Some(value) = value {
                self.count += 1;
                series[place].push((step, narrow(value)));
            }
        }
        if self.count > CELLS_MAX {
            return Err(too_large(path, "samples", CELLS_MAX));
        }
        Ok(())
    }

    /// Makes the trace; its first step is that of the earliest sample. Instances without a request
    /// are taken to have asked for their peak.
    pub(crate) fn finish(self, path: &Path, expected: &'static str) -> Result<Trace, TraceError> {
        let steps = || self.cpu.iter().flatten().map(|(step, _)| *step);
        let (Some(first), Some(last)) = (steps().min(), steps().max()) else {
            return Err(TraceError::Empty { path: path.to_owned(), bad: self.rows.bad, expected });
        };
        let steps = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
        let fits = steps <= STEPS_MAX && self.instances.len().saturating_mul(steps) <= CELLS_MAX;
        if !fits {
            // A single stray moment can stretch a trace; the reader cannot tell which one it is.
            return Err(too_large(path, "steps of 5 minutes", STEPS_MAX.min(CELLS_MAX)));
        }
        let cpu = lay(&self.cpu, (first, steps));
        let with_memory = self.memory.iter().any(|m| !m.is_empty());
        let memory = with_memory.then(|| lay(&self.memory, (first, steps)));
        let mut instances = self.instances;
        for (row, instance) in instances.iter_mut().enumerate() {
            if instance.cpu_request.is_zero() {
                let peak = cpu.held(row).max().unwrap_or(0);
                instance.cpu_request = Millicores::new(u64::from(peak).max(1));
            }
            if let (true, Some(memory)) = (instance.memory_request.is_zero(), &memory) {
                let peak = memory.held(row).max().unwrap_or(0);
                instance.memory_request = Mebibytes::new(u64::from(peak));
            }
        }
        let name = path
            .file_name()
            .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let secs = u64::from(first).saturating_mul(STEP_SECS);
        let begin_secs = (secs >= STATED_FROM_SECS).then_some(secs);
        Ok(Trace { name, instances, cpu, memory, rows: self.rows, begin_secs })
    }
}

/// Lays samples on the grid; those of one cell are averaged.
fn lay(samples: &[Vec<(u32, f32)>], (first, steps): (u32, usize)) -> Series {
    let mut series = Series::empty(samples.len(), steps);
    for (row, samples) in samples.iter().enumerate() {
        let mut samples: Vec<(u32, f32)> = samples.clone();
        samples.sort_by_key(|(step, _)| *step);
        for cell in samples.chunk_by(|a, b| a.0 == b.0) {
            let Some(step) = cell[0].0.checked_sub(first) else { continue };
            let step = usize::try_from(step).unwrap_or(usize::MAX);
            if step < steps {
                let sum: f64 = cell.iter().map(|(_, v)| f64::from(*v)).sum();
                series.set(row, step, nearest(sum / length(cell.len())));
            }
        }
    }
    series
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "24 bits are far finer than what was measured"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Returns the seconds of a step, to place samples that are numbered.
pub(crate) fn secs_of(step: usize) -> f64 {
    length(step) * crate::number::real(STEP_SECS)
}
