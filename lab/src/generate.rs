//! A generator of traces with stated statistics, for tests and examples that ship with the project:
//! recorded traces may not be shipped. The same statistics and seed give the same trace everywhere.

use tengyun_model::{Mebibytes, Millicores};

use crate::number::{length, nearest, wide};
use crate::trace::{DAY_STEPS, Instance, Rows, Series, Trace};

/// Sizes of instances: millicores and mebibytes, taken in turn by hash.
const SIZES: [(u64, u64); 4] = [(2500, 870), (2000, 1740), (1000, 1740), (500, 613)];

/// What a generated trace looks like on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// How many instances.
    pub instances: usize,
    /// How many whole days.
    pub days: usize,
    /// Mean use as a share of the request; each instance has its own, from 0 to twice this.
    pub mean: f64,
    /// Standard deviation of the white noise of an instance, as a share of its mean.
    pub noise: f64,
    /// How far the day swings about the mean, as a share of it: 0 for a flat day.
    pub swing: f64,
    /// Share of samples that are missing.
    pub missing: f64,
}

impl Statistics {
    /// Something like a `PlanetLab` day: a tenth of the request, noisy, nearly flat.
    pub const PLANETLAB: Self =
        Self { instances: 1000, days: 1, mean: 0.108, noise: 0.55, swing: 0.1, missing: 0.0 };
    /// Something like offices: quiet nights, busy days, a few gaps.
    pub const OFFICES: Self =
        Self { instances: 200, days: 7, mean: 0.12, noise: 0.3, swing: 0.7, missing: 0.01 };

    /// Generates a trace.
    pub fn trace(&self, seed: u64) -> Trace {
        let steps = self.days * DAY_STEPS;
        let mut cpu = Series::empty(self.instances, steps);
        let mut memory = Series::empty(self.instances, steps);
        let mut instances = Vec::with_capacity(self.instances);
        for row in 0..self.instances {
            let mut random = Random::new(seed, wide(row));
            let (request, memory_request) = SIZES[usize::try_from(random.next() % 4).unwrap_or(0)];
            let mean = 2.0 * self.mean * random.unit() * crate::number::real(request);
            let phase = random.unit() * 0.2;
            for step in 0..steps {
                let day = self.swing * wave(length(step) / length(DAY_STEPS) + phase);
                let used = mean * (1.0 + day + self.noise * random.normal());
                let used = used.clamp(0.0, crate::number::real(request));
                let kept = random.unit() >= self.missing;
                if kept {
                    cpu.set(row, step, nearest(used));
                    memory.set(row, step, memory_request / 3 + nearest(used) / 16);
                }
            }
            instances.push(Instance {
                name: format!("generated-{row:05}"),
                group: format!("department-{}", row % 10),
                cpu_request: Millicores::new(request),
                memory_request: Mebibytes::new(memory_request),
            });
        }
        let read = wide(cpu.recorded());
        let rows = Rows { read, bad: 0 };
        Trace {
            name: format!("generated-{seed}"),
            instances,
            cpu,
            memory: Some(memory),
            rows,
            begin_secs: None,
        }
    }
}

/// A wave of one period a turn between -1 and 1 with mean 0, made of straight lines: it needs no
/// function of the platform's mathematics library, whose last digit differs between machines.
fn wave(turns: f64) -> f64 {
    let at = turns - turns.floor();
    if at < 0.5 { 4.0 * at - 1.0 } else { 3.0 - 4.0 * at }
}

/// A splitmix64 sequence.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Starts the sequence of one thing under a seed.
    pub(crate) fn new(seed: u64, thing: u64) -> Self {
        let mut random = Self { state: seed ^ thing.wrapping_mul(0x9E37_79B9_7F4A_7C15) };
        random.next();
        random
    }

    /// Returns the next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        crate::number::real(self.next() >> 11) / 9_007_199_254_740_992.0
    }

    /// Returns a nearly normal number of mean 0 and deviation 1: twelve uniform ones summed.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_trace_has_the_statistics_stated() {
        let stated = Statistics { instances: 400, ..Statistics::PLANETLAB };
        let trace = stated.trace(1);
        let request: u64 = trace.instances.iter().map(|i| i.cpu_request.get()).sum();
        let mean = trace.cpu_mean() / crate::number::real(request);
        assert!((mean - stated.mean).abs() < 0.01, "{mean}");
        assert!((trace.coverage_pct() - 100.0).abs() < 1e-9);
        let gappy = Statistics { missing: 0.25, ..stated }.trace(1);
        assert!((gappy.coverage_pct() - 75.0).abs() < 1.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
        let stated = Statistics { instances: 5, ..Statistics::OFFICES };
        assert_eq!(stated.trace(7), stated.trace(7));
        assert_ne!(stated.trace(7), stated.trace(8));
    }
}
