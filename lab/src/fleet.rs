//! The fleet of an experiment: instances with their recorded demand, and identical nodes under the
//! free-move rules: empty nodes are off at once, nodes come on at once, moves are free but counted.

use std::collections::BTreeMap;

use tengyun_engine::days::Stretch;
use tengyun_model::{At, Mebibytes, Millicores, Millis};

use crate::cloud::BEGIN;
use crate::number::{length, real, wide};
use crate::trace::{STEP_SECS, Trace};

/// Steps of one hour.
pub const HOUR_STEPS: usize = 12;
/// Hours of a week.
pub const WEEK_HOURS: usize = 168;
/// The first Monday after the beginning of 1970, in seconds.
const MONDAY_SECS: u64 = 4 * 86_400;
/// Added to every capacity before comparing, as the reference does, against rounding only.
pub(crate) const SLACK: f64 = 1e-6;
/// What a lack of memory records is sized with at least, in MiB.
const MEMORY_USED_MIN: f64 = 64.0;

/// The nodes of an experiment: all alike, as many as are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// CPU of one node.
    pub cpu: Millicores,
    /// Memory of one node.
    pub memory: Mebibytes,
}

impl Shape {
    /// Parses `CORES/GIB`, such as `32/128`.
    pub fn parse(text: &str) -> Option<Self> {
        let (cores, gib) = text.split_once('/')?;
        let (cores, gib): (u64, u64) = (cores.trim().parse().ok()?, gib.trim().parse().ok()?);
        let cpu = Millicores::new(cores.checked_mul(1000)?);
        let memory = Mebibytes::new(gib.checked_mul(1024)?);
        (!cpu.is_zero() && !memory.is_zero()).then_some(Self { cpu, memory })
    }
}

/// How memory counts in an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMode {
    /// Not at all.
    None,
    /// The sum of requests must fit.
    Request,
    /// The sum of each instance's own recorded peak and 10 % must fit.
    Used,
    /// What the engine promises by what was used so far must fit; at first that is the request.
    Forecast,
}

impl MemoryMode {
    /// Parses `none`, `request`, `used` or `forecast`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "request" => Some(Self::Request),
            "used" => Some(Self::Used),
            "forecast" => Some(Self::Forecast),
            _ => None,
        }
    }
}

/// Instances and nodes, ready for policies. Demand is clipped at each instance's request.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Instances of the trace that fit on no node and were left out.
    pub unfit: usize,
    /// Steps before the measurement.
    pub warm: usize,
    /// Steps in all, with the warm-up.
    pub steps: usize,
    /// The nodes.
    pub shape: Shape,
    /// How memory counts.
    pub memory_mode: MemoryMode,
    /// Places of the instances in the trace.
    pub source: Vec<usize>,
    /// The moment of the first step in seconds since 1970, where the trace states it.
    pub begin_secs: Option<u64>,
    /// What is told of days before the step of each; nothing where none is.
    days: BTreeMap<usize, Vec<Stretch>>,
    pub(crate) capacity: f64,
    pub(crate) memory_capacity: f64,
    pub(crate) demand: Vec<f64>,
    pub(crate) request: Vec<f64>,
    pub(crate) memory: Vec<f64>,
    /// Active memory of every instance in each step, where memory counts and was recorded.
    used_memory: Option<Vec<u32>>,
}

impl Fleet {
    /// Lays civil time over a fleet, as it was told at each moment of its time; the engine's clock has
    /// another beginning. It says whether that can be done: the trace must state when it begins.
    pub fn lay_days(&mut self, told: &[(At, Vec<Stretch>)]) -> bool {
        let Some(begin) = self.begin_secs else { return false };
        let begin = Millis::from_secs(begin);
        let step = |at: &At| at.since(At::default().after(begin)).get() / (STEP_SECS * 1000);
        let shifted = |stretch: &Stretch| {
            let from = BEGIN.millis().saturating_add(stretch.from.millis());
            Stretch { from: At::from_millis(from.saturating_sub(begin.get())), ..*stretch }
        };
        let laid = told.iter().map(|(at, stretches)| {
            let step = usize::try_from(step(at)).unwrap_or(usize::MAX);
            (step, stretches.iter().map(shifted).collect())
        });
        self.days = laid.collect();
        true
    }

    /// Returns what is told of days before a step.
    pub(crate) fn days_told(&self, step: usize) -> Option<&Vec<Stretch>> {
        self.days.get(&step)
    }

    /// Makes the fleet of a trace. An instance that fits on no node is left out and counted.
    pub fn new(trace: &Trace, shape: Shape, memory_mode: MemoryMode) -> Self {
        let capacity = real(shape.cpu.get());
        let memory_capacity = real(shape.memory.get());
        let mut fleet = Self {
            unfit: 0,
            warm: trace.warm_up(),
            steps: trace.steps(),
            shape,
            memory_mode,
            source: Vec::new(),
            begin_secs: trace.begin_secs,
            days: BTreeMap::new(),
            capacity,
            memory_capacity,
            demand: Vec::with_capacity(trace.instances.len() * trace.steps()),
            request: Vec::new(),
            memory: Vec::new(),
            used_memory: None,
        };
        let recorded = trace.memory.as_ref().filter(|_| memory_mode != MemoryMode::None);
        let mut used_memory = Vec::new();
        for (at, instance) in trace.instances.iter().enumerate() {
            let request = real(instance.cpu_request.get());
            let memory = memory_of(trace, at, memory_mode);
            if request > capacity || memory > memory_capacity {
                fleet.unfit += 1;
                continue;
            }
            fleet.source.push(at);
            fleet.request.push(request);
            fleet.memory.push(memory);
            fleet.demand.extend(trace.cpu.held(at).map(|used| f64::from(used).min(request)));
            if let Some(series) = recorded {
                let most = u32::try_from(instance.memory_request.get()).unwrap_or(u32::MAX);
                used_memory.extend(series.held(at).map(|used| used.min(most)));
            }
        }
        fleet.used_memory = recorded.map(|_| used_memory);
        fleet
    }

    /// Cuts every demand to the first steps.
    #[must_use]
    pub fn cut(mut self, steps: usize) -> Self {
        let steps = steps.min(self.steps);
        if steps < self.steps {
            let rows = self.demand.chunks_exact(self.steps);
            self.demand = rows.flat_map(|row| &row[..steps]).copied().collect();
            let cut = |used: Vec<u32>| {
                used.chunks_exact(self.steps).flat_map(|row| &row[..steps]).copied().collect()
            };
            self.used_memory = self.used_memory.map(cut);
            self.steps = steps;
        }
        self
    }

    /// Returns the number of instances.
    pub fn len(&self) -> usize {
        self.request.len()
    }

    /// Returns true without instances.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty()
    }

    /// Returns the demand of an instance in each step.
    pub fn demand(&self, instance: usize) -> &[f64] {
        &self.demand[instance * self.steps..][..self.steps]
    }

    /// Returns the memory that an instance uses in a step; what it counts where that was not recorded.
    pub fn used_memory(&self, instance: usize, step: usize) -> f64 {
        let used = self.used_memory.as_ref().map(|used| used[instance * self.steps + step]);
        used.map_or(self.memory[instance], f64::from)
    }

    /// Says whether it was recorded what memory is used.
    pub fn knows_memory(&self) -> bool {
        self.used_memory.is_some()
    }

    /// Returns the measured days.
    pub fn days(&self) -> f64 {
        length(self.steps - self.warm) / length(crate::trace::DAY_STEPS)
    }

    /// Returns the hour of the week that a step begins in: by civil time, from Monday's midnight, where
    /// the beginning is stated, else from the beginning.
    pub fn hour_of_week(&self, step: usize) -> usize {
        let secs = self.begin_secs.unwrap_or(MONDAY_SECS).saturating_sub(MONDAY_SECS);
        let hours = secs.saturating_add(STEP_SECS.saturating_mul(wide(step))) / 3600;
        usize::try_from(hours % wide(WEEK_HOURS)).unwrap_or(0)
    }

    /// Returns the demand of all instances in each measured step.
    pub fn aggregate(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.steps - self.warm];
        for instance in 0..self.len() {
            for (sum, used) in sums.iter_mut().zip(&self.demand(instance)[self.warm..]) {
                *sum += used;
            }
        }
        sums
    }

    /// Returns the nodes that memory alone needs.
    pub fn memory_bound(&self) -> f64 {
        (self.memory.iter().sum::<f64>() / self.memory_capacity).ceil()
    }

    /// Returns the same for each measured step: what is really used where the engine promises by use.
    fn memory_bounds(&self) -> Vec<f64> {
        let used = |step: usize| (0..self.len()).map(|at| self.used_memory(at, step)).sum::<f64>();
        match self.memory_mode {
            MemoryMode::None | MemoryMode::Request | MemoryMode::Used => {
                vec![self.memory_bound(); self.steps - self.warm]
            }
            MemoryMode::Forecast => (self.warm..self.steps)
                .map(|step| (used(step) / self.memory_capacity).ceil())
                .collect(),
        }
    }

    /// Returns the fewest nodes for which no node need pass a share of its CPU, on average over
    /// time, if instances could be cut in pieces and moved at every step.
    pub fn lower_bound(&self, share: f64) -> f64 {
        let aggregate = self.aggregate();
        let memory = self.memory_bounds();
        let nodes = |(sum, memory): (&f64, f64)| (sum / (share * self.capacity)).ceil().max(memory);
        let all = aggregate.iter().zip(memory).map(nodes).sum::<f64>();
        all / length(aggregate.len().max(1))
    }

    /// Returns the resource that sets the lower bound most of the time.
    pub fn binding(&self, share: f64) -> &'static str {
        let aggregate = self.aggregate();
        let memory = self.memory_bounds();
        let bound =
            |(sum, memory): &(&f64, f64)| *memory > (**sum / (share * self.capacity)).ceil();
        let by_memory = aggregate.iter().zip(memory).filter(bound).count();
        if by_memory * 2 > aggregate.len() { "memory" } else { "cpu" }
    }

    /// Says whether one more instance fits into memory that is taken to this much.
    pub(crate) fn memory_fits(&self, taken: f64, instance: usize) -> bool {
        taken + self.memory[instance] <= self.memory_capacity + SLACK
    }
}

fn memory_of(trace: &Trace, at: usize, mode: MemoryMode) -> f64 {
    let request = real(trace.instances[at].memory_request.get());
    match mode {
        MemoryMode::None => 0.0,
        MemoryMode::Request | MemoryMode::Forecast => request,
        MemoryMode::Used => match trace.memory_peak(at) {
            Some(peak) => request.min((f64::from(peak) * 1.1).max(MEMORY_USED_MIN)),
            None => request,
        },
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::DayKind;

    use super::*;
    use crate::generate::Statistics;

    const OFFICES: Statistics = Statistics::OFFICES;

    #[test]
    fn an_hour_of_the_week_is_civil_where_the_trace_says_when_it_begins() {
        let trace = Statistics { instances: 1, ..OFFICES }.trace(1);
        let of = |begin_secs| {
            let trace = Trace { begin_secs, ..trace.clone() };
            Fleet::new(&trace, Shape::parse("4/16").unwrap(), MemoryMode::None)
        };
        // 2026-11-26 12:34:56 was a Thursday.
        let stated = of(Some(1_795_696_496));
        assert_eq!((stated.hour_of_week(0), stated.hour_of_week(6)), (3 * 24 + 12, 3 * 24 + 13));
        let counted = of(None);
        assert_eq!((counted.hour_of_week(0), counted.hour_of_week(12 * 168 + 13)), (0, 1));
    }

    #[test]
    fn days_are_laid_over_the_time_of_the_engine() {
        let trace = Statistics { instances: 1, ..OFFICES }.trace(1);
        // 2026-09-30 at 10:00 in Shanghai; told of are yesterday, today, and tomorrow when it begins.
        let begin = 1_790_733_600;
        let trace = Trace { begin_secs: Some(begin), ..trace };
        let mut fleet = Fleet::new(&trace, Shape::parse("4/16").unwrap(), MemoryMode::None);
        let hours = |count: i64| {
            let millis = i64::try_from(begin * 1000).unwrap() + count * 3_600_000;
            At::from_millis(u64::try_from(millis).unwrap())
        };
        let stretch = |from| Stretch { from, minute: 0, kind: DayKind::Rest };
        let now = vec![stretch(hours(-34)), stretch(hours(-10))];
        assert!(fleet.lay_days(&[(hours(0), now), (hours(14), vec![stretch(hours(14))])]));
        let told = |step| fleet.days_told(step).map(|all| all.iter().map(|s| s.from).collect());
        let after = |hours: u64| BEGIN.after(Millis::from_secs(hours * 3600));
        let before = |hours: u64| At::from_millis(BEGIN.millis() - hours * 3_600_000);
        assert_eq!(told(0), Some(vec![before(34), before(10)]));
        assert_eq!(told(14 * HOUR_STEPS), Some(vec![after(14)]));
        assert_eq!(told(1), None);
    }

    #[test]
    fn a_shape_is_cores_and_gib() {
        let shape = Shape::parse("32/128").unwrap();
        assert_eq!((shape.cpu.get(), shape.memory.get()), (32_000, 131_072));
        for bad in ["", "32", "0/1", "32/0", "-1/1", "1/99999999999999999999", "a/b"] {
            assert_eq!(Shape::parse(bad), None, "{bad}");
        }
    }
}
