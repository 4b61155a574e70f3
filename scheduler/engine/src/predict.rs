//! Forecasts: what an instance and a node are expected to use at most, from what was measured.
//!
//! First form: the peak of an instance is the larger of a decaying percentile and the mean plus some
//! mean deviations, with a margin (N-sigma and percentile predictors of Bashir et al., `EuroSys`'21).
//! The peak of a node is the sum of the means plus the root of the sum of squared spreads, which
//! holds for uses that move independently, and never less than the largest single spread.

mod histogram;

use std::collections::BTreeMap;

use tengyun_model::{
    At, Class, InstanceId, Mebibytes, Millicores, Millis, NodeId, NodeUsage, WorkloadSpec,
};

use crate::policy::Policy;
use crate::state::State;
use histogram::Histogram;

/// A sample counts for at most this long, however late the report came.
const SAMPLE_MAX: Millis = Millis::from_secs(300);

/// What was measured of one thing's CPU rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    first: At,
    last: At,
    halved: At,
    weight: u128,
    weighted_sum: u128,
    weighted_deviation: u128,
    histogram: Histogram,
    /// The newest rate.
    pub(crate) cpu: Millicores,
    /// The newest working set.
    pub(crate) memory: Mebibytes,
}

impl Track {
    /// Starts at a moment.
    pub(crate) fn start(at: At) -> Self {
        Self {
            first: at,
            last: at,
            halved: at,
            weight: 0,
            weighted_sum: 0,
            weighted_deviation: 0,
            histogram: Histogram::default(),
            cpu: Millicores::ZERO,
            memory: Mebibytes::ZERO,
        }
    }

    /// Takes in one sample.
    pub(crate) fn observe(&mut self, at: At, sample: Sample, half_life: Millis) {
        let held = sample.held.min(SAMPLE_MAX);
        let held = if held.is_zero() { Millis::new(1) } else { held };
        while at.since(self.halved) >= half_life && !half_life.is_zero() {
            self.halved = self.halved.after(half_life);
            self.weight /= 2;
            self.weighted_sum /= 2;
            self.weighted_deviation /= 2;
            self.histogram.halve();
            if self.weight == 0 {
                self.halved = at;
            }
        }
        let (weight, rate) = (u128::from(held.get()), u128::from(sample.cpu.get()));
        self.weight += weight;
        self.weighted_sum += weight * rate;
        let deviation = rate.abs_diff(u128::from(self.mean().get()));
        self.weighted_deviation += weight * deviation;
        self.histogram.add(sample.cpu, held);
        self.cpu = sample.cpu;
        self.memory = sample.memory;
        self.last = at;
    }

    /// Returns for how long it has been measured.
    pub(crate) fn history(&self) -> Millis {
        self.last.since(self.first)
    }

    /// Returns when it was measured last.
    pub(crate) fn last(&self) -> At {
        self.last
    }

    fn mean(&self) -> Millicores {
        millicores(self.weighted_sum.checked_div(self.weight))
    }

    fn deviation(&self) -> Millicores {
        millicores(self.weighted_deviation.checked_div(self.weight))
    }

    /// Returns mean and peak without margin.
    fn forecast(&self, policy: &Policy) -> (Millicores, Millicores) {
        let mean = self.mean();
        let wide = mean.saturating_add(self.deviation().share(policy.peak_deviations()));
        (mean, wide.max(self.histogram.percentile(policy.peak_percentile())))
    }
}

fn millicores(raw: Option<u128>) -> Millicores {
    Millicores::new(raw.and_then(|r| u64::try_from(r).ok()).unwrap_or(0))
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The mean rate.
    pub(crate) cpu: Millicores,
    /// The working set.
    pub(crate) memory: Mebibytes,
    /// For how long it held.
    pub(crate) held: Millis,
}

/// What an instance is expected to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceForecast {
    /// On average.
    pub mean: Millicores,
    /// At most, with margin; never below `mean`.
    pub peak: Millicores,
    /// True when it rests on measurements, false when on the request.
    pub measured: bool,
}

/// What a node is expected to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeForecast {
    /// At most, by everything but harvest.
    pub peak: Millicores,
    /// Of that, by processes that are not ours.
    pub foreign: Millicores,
    /// What harvest instances there ask for.
    pub harvest: Millicores,
    /// False when its use is not known or stale.
    pub measured: bool,
}

/// The forecasts of all instances and nodes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    instances: BTreeMap<InstanceId, InstanceForecast>,
    nodes: BTreeMap<NodeId, NodeForecast>,
}

impl Forecast {
    /// Returns the forecast of an instance; nothing for an unknown one.
    pub fn instance(&self, id: InstanceId) -> InstanceForecast {
        self.instances.get(&id).copied().unwrap_or_default()
    }

    /// Returns the forecast of a node; nothing for an unknown one.
    pub fn node(&self, id: NodeId) -> NodeForecast {
        self.nodes.get(&id).copied().unwrap_or_default()
    }
}

/// Forecasts everything in the state as of a moment.
pub fn forecast(state: &State, now: At) -> Forecast {
    let policy = state.policy();
    let mut forecast = Forecast::default();
    for instance in state.instances() {
        let spec = state.spec(instance);
        let track = state.track(instance.status.instance);
        let expected = instance_forecast(spec, track, policy, now);
        forecast.instances.insert(instance.status.instance, expected);
    }
    for node in state.nodes() {
        let foreign = state.foreign(node.id);
        let measured = foreign.is_some_and(|t| now.since(t.last()) <= policy.data_stale());
        let foreign = foreign.map_or(Millicores::ZERO, |t| t.forecast(policy).1.max(t.cpu));
        let mut load = Load::default();
        let mut harvest = Millicores::ZERO;
        for id in state.on_node(node.id) {
            let expected = forecast.instance(id);
            let instance = state.instance(id).expect("the index names instances that exist");
            if instance.status.phase.is_final() {
                continue;
            }
            match state.spec(instance).class {
                Class::Harvest => {
                    harvest = harvest.saturating_add(state.spec(instance).resources.cpu);
                }
                Class::Critical | Class::Standard => load.add(expected),
            }
        }
        let peak = foreign.saturating_add(load.peak());
        forecast.nodes.insert(node.id, NodeForecast { peak, foreign, harvest, measured });
    }
    forecast
}

fn instance_forecast(
    spec: &WorkloadSpec,
    track: Option<&Track>,
    policy: &Policy,
    now: At,
) -> InstanceForecast {
    let request = spec.resources.cpu;
    let enough = track.filter(|t| t.history() >= policy.history_min());
    let Some(track) = enough else {
        return InstanceForecast { mean: request, peak: request, measured: false };
    };
    let (mean, peak) = track.forecast(policy);
    let peak = peak.saturating_add(peak.share(policy.peak_margin()));
    let fresh = now.since(track.last()) <= policy.data_stale();
    match (spec.class, fresh) {
        // A critical reservation is never lent out.
        (Class::Critical, _) => {
            InstanceForecast { mean: mean.max(request), peak: peak.max(request), measured: fresh }
        }
        (Class::Standard | Class::Harvest, true) => InstanceForecast { mean, peak, measured: true },
        // Stale measurements never overcommit.
        (Class::Standard | Class::Harvest, false) => {
            InstanceForecast { mean: mean.max(request), peak: peak.max(request), measured: false }
        }
    }
}

/// The sum of forecasts: means add, spreads add by their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    mean: u64,
    squares: u128,
}

impl Load {
    /// Adds one instance.
    pub(crate) fn add(&mut self, forecast: InstanceForecast) {
        let spread = u128::from(forecast.peak.saturating_sub(forecast.mean).get());
        self.mean = self.mean.saturating_add(forecast.mean.get());
        self.squares = self.squares.saturating_add(spread.saturating_mul(spread));
    }

    /// Returns the peak of the sum.
    pub(crate) fn peak(self) -> Millicores {
        let root = self.squares.isqrt();
        let rounded_up = if root * root < self.squares { root + 1 } else { root };
        Millicores::new(self.mean.saturating_add(u64::try_from(rounded_up).unwrap_or(u64::MAX)))
    }

    /// Returns the peak with one more instance.
    pub(crate) fn peak_with(mut self, forecast: InstanceForecast) -> Millicores {
        self.add(forecast);
        self.peak()
    }
}

/// Returns the sample of an instance, or of the foreign use, in a report.
pub(crate) fn sample(cpu: Millicores, memory: Mebibytes, usage: &NodeUsage) -> Sample {
    Sample { cpu, memory, held: usage.interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Millis = Millis::from_secs(43200);

    fn track(rates: &[u64]) -> Track {
        let mut at = At::from_millis(1_000_000);
        let mut track = Track::start(at);
        for rate in rates {
            at = at.after(Millis::from_secs(5));
            let held = Millis::from_secs(5);
            let sample = Sample { cpu: Millicores::new(*rate), memory: Mebibytes::ZERO, held };
            track.observe(at, sample, HALF_LIFE);
        }
        track
    }

    #[test]
    fn a_steady_use_is_its_own_mean_and_peak() {
        let (mean, peak) = track(&[5; 100]).forecast(&Policy::default());
        assert_eq!((mean, peak), (Millicores::new(5), Millicores::new(5)));
    }

    #[test]
    fn a_peak_is_never_below_the_mean_and_covers_most_of_a_burst() {
        let mut rates = vec![10; 90];
        rates.extend([200; 10]);
        let (mean, peak) = track(&rates).forecast(&Policy::default());
        assert!(mean > Millicores::new(10) && mean < Millicores::new(40), "{mean}");
        assert!(peak >= Millicores::new(200), "{peak}");
    }

    #[test]
    fn after_many_half_lives_old_use_is_forgotten() {
        let mut track = track(&[1000; 10]);
        let late = At::from_millis(1_000_000).after(HALF_LIFE.saturating_mul(60));
        let sample =
            Sample { cpu: Millicores::new(4), memory: Mebibytes::ZERO, held: Millis::from_secs(5) };
        track.observe(late, sample, HALF_LIFE);
        assert_eq!(track.forecast(&Policy::default()).0, Millicores::new(4));
    }

    #[test]
    fn spreads_add_by_their_squares_and_one_alone_counts_whole() {
        let one = InstanceForecast {
            mean: Millicores::new(10),
            peak: Millicores::new(40),
            measured: true,
        };
        let other = InstanceForecast {
            mean: Millicores::new(10),
            peak: Millicores::new(50),
            measured: true,
        };
        let mut load = Load::default();
        load.add(one);
        assert_eq!(load.peak(), one.peak);
        assert_eq!(load.peak_with(other), Millicores::new(20 + 50));
    }
}
