//! Forecasts: what an instance and a node are expected to use at most, from what was measured.
//!
//! First form: the peak of an instance is the larger of a decaying percentile and the mean plus some
//! mean deviations, with a margin (N-sigma and percentile predictors of Bashir et al., `EuroSys`'21).
//! The peak of a node is the sum of the means plus the root of the sum of squared spreads, which
//! holds for uses that move independently, and never less than the largest single spread.

mod histogram;

use tengyun_model::{
    At, Class, InstanceId, Kind, Mebibytes, Millicores, Millis, NodeId, NodeUsage, Permille,
    Sequence, WorkloadSpec,
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
    /// What was foreseen after the newest sample, and by which terms: it is asked for far more
    /// often than it changes.
    foreseen: Option<Foreseen>,
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
            foreseen: None,
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
        self.foreseen = None;
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
        ratio(self.weighted_sum, self.weight)
    }

    fn deviation(&self) -> Millicores {
        ratio(self.weighted_deviation, self.weight)
    }

    /// Works out what the present samples foretell.
    pub(crate) fn foresee(&mut self, terms: &Terms) {
        let (mean, peak) = self.work_out(terms);
        let (percentile, deviations) = (terms.percentile, terms.deviations);
        self.foreseen = Some(Foreseen { percentile, deviations, mean, peak });
    }

    /// Returns mean and peak without margin.
    fn forecast(&self, terms: &Terms) -> (Millicores, Millicores) {
        let same =
            |f: &&Foreseen| f.percentile == terms.percentile && f.deviations == terms.deviations;
        match self.foreseen.as_ref().filter(same) {
            Some(foreseen) => (foreseen.mean, foreseen.peak),
            None => self.work_out(terms),
        }
    }

    fn work_out(&self, terms: &Terms) -> (Millicores, Millicores) {
        let mean = self.mean();
        let wide = mean.saturating_add(self.deviation().share(terms.deviations));
        (mean, wide.max(self.histogram.percentile(terms.percentile)))
    }
}

/// What a track foretells by some terms, without margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Foreseen {
    percentile: Permille,
    deviations: Permille,
    mean: Millicores,
    peak: Millicores,
}

/// Divides, and returns nothing for what cannot be. Wide division is slow and seldom needed.
fn ratio(sum: u128, weight: u128) -> Millicores {
    let raw = match (u64::try_from(sum), u64::try_from(weight)) {
        (Ok(sum), Ok(weight)) => sum.checked_div(weight),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => {
            sum.checked_div(weight).and_then(|raw| u64::try_from(raw).ok())
        }
    };
    Millicores::new(raw.unwrap_or(0))
}

/// What the policy says of forecasts, looked up once a forecast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    percentile: Permille,
    deviations: Permille,
    margin: Permille,
    history_min: Millis,
    stale: Millis,
}

impl Terms {
    /// Looks them up.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            percentile: policy.peak_percentile(),
            deviations: policy.peak_deviations(),
            margin: policy.peak_margin(),
            history_min: policy.history_min(),
            stale: policy.data_stale(),
        }
    }
}

/// What forecasts need of one instance, kept beside it so that they look nothing up.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    class: Class,
    /// Whether every node has a copy, so that it says nothing of whether a node is in use.
    everywhere: bool,
    request: Millicores,
    /// What was measured of it.
    pub(crate) track: Option<Track>,
}

impl Profile {
    /// Makes the profile of an instance that was never measured.
    pub(crate) fn of(spec: &WorkloadSpec) -> Self {
        let everywhere = spec.kind == Kind::PerNode;
        Self { class: spec.class, everywhere, request: spec.resources.cpu, track: None }
    }
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

/// What the instances of a node add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crew {
    /// The critical and standard ones.
    pub(crate) load: Load,
    /// How many they are, less those that are on every node.
    pub(crate) others: usize,
    /// What harvest asks for.
    pub(crate) harvest: Millicores,
}

impl Crew {
    /// Adds an instance.
    pub(crate) fn add(&mut self, class: Class, request: Millicores, expected: InstanceForecast) {
        match class {
            Class::Harvest => self.harvest = self.harvest.saturating_add(request),
            Class::Critical | Class::Standard => {
                self.load.add(expected);
                self.others += 1;
            }
        }
    }

    /// Does not count the one added last as a use of the node, if it is of those on every node.
    pub(crate) fn pass_over(&mut self, everywhere: bool) {
        self.others -= usize::from(everywhere);
    }
}

/// The forecasts of all instances and nodes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    base: Sequence,
    instances: Vec<(InstanceId, InstanceForecast)>,
    nodes: Vec<(NodeId, NodeForecast, Crew)>,
}

impl Forecast {
    /// Returns the forecast of an instance; nothing for an unknown one.
    pub fn instance(&self, id: InstanceId) -> InstanceForecast {
        let at = self.instances.binary_search_by_key(&id, |(id, _)| *id);
        at.map(|at| self.instances[at].1).unwrap_or_default()
    }

    /// Returns the forecast of a node; nothing for an unknown one.
    pub fn node(&self, id: NodeId) -> NodeForecast {
        self.place(id).map(|at| self.nodes[at].1).unwrap_or_default()
    }

    /// Returns what the instances of a node add up to, if the forecast was made of this state.
    pub(crate) fn crew(&self, state: &State, id: NodeId) -> Option<Crew> {
        let at = self.place(id).filter(|_| self.base == state.sequence())?;
        Some(self.nodes[at].2)
    }

    fn place(&self, id: NodeId) -> Option<usize> {
        // Nodes are numbered from 1 and never forgotten, so the first look nearly always hits.
        let guess = usize::try_from(id.get()).ok()?.checked_sub(1)?;
        if self.nodes.get(guess).is_some_and(|(node, _, _)| *node == id) {
            return Some(guess);
        }
        self.nodes.binary_search_by_key(&id, |(node, _, _)| *node).ok()
    }
}

/// Forecasts everything in the state as of a moment.
pub fn forecast(state: &State, now: At) -> Forecast {
    let terms = Terms::of(state.policy());
    let nodes = state.nodes().map(|n| (n.id, NodeForecast::default(), Crew::default())).collect();
    let mut forecast = Forecast { base: state.sequence(), instances: Vec::new(), nodes };
    for (instance, profile) in state.profiled() {
        let expected = instance_forecast(profile, &terms, now);
        forecast.instances.push((instance.status.instance, expected));
        let place = instance.node.filter(|_| !instance.status.phase.is_final());
        if let Some(at) = place.and_then(|node| forecast.place(node)) {
            let crew = &mut forecast.nodes[at].2;
            crew.add(profile.class, profile.request, expected);
            crew.pass_over(profile.everywhere);
        }
    }
    for (id, node, crew) in &mut forecast.nodes {
        let foreign = state.foreign(*id);
        let measured = foreign.is_some_and(|t| now.since(t.last()) <= terms.stale);
        let foreign = foreign.map_or(Millicores::ZERO, |t| t.forecast(&terms).1.max(t.cpu));
        let peak = foreign.saturating_add(crew.load.peak());
        *node = NodeForecast { peak, foreign, harvest: crew.harvest, measured };
    }
    forecast
}

fn instance_forecast(profile: &Profile, terms: &Terms, now: At) -> InstanceForecast {
    let request = profile.request;
    let enough = profile.track.as_ref().filter(|t| t.history() >= terms.history_min);
    let Some(track) = enough else {
        return InstanceForecast { mean: request, peak: request, measured: false };
    };
    let (mean, peak) = track.forecast(terms);
    let peak = peak.saturating_add(peak.share(terms.margin));
    let fresh = now.since(track.last()) <= terms.stale;
    match (profile.class, fresh) {
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
        Millicores::new(self.mean.saturating_add(root_up(self.squares)))
    }

    /// Says whether the peak is at most this much, without the cost of a root.
    pub(crate) fn is_within(self, line: Millicores) -> bool {
        let spread = line.get().checked_sub(self.mean);
        // The root, rounded up, is at most n exactly when the square is at most n times n.
        spread.is_some_and(|n| self.squares <= u128::from(n) * u128::from(n))
    }

    /// Returns the sum with one more instance.
    pub(crate) fn with(mut self, forecast: InstanceForecast) -> Self {
        self.add(forecast);
        self
    }

    /// Returns the peak with one more instance.
    pub(crate) fn peak_with(self, forecast: InstanceForecast) -> Millicores {
        self.with(forecast).peak()
    }
}

/// Returns the root, rounded up. Wide roots are slow and seldom needed.
fn root_up(square: u128) -> u64 {
    if let Ok(narrow) = u64::try_from(square) {
        let root = narrow.isqrt();
        return if root * root < narrow { root + 1 } else { root };
    }
    let root = square.isqrt();
    let up = if root * root < square { root + 1 } else { root };
    u64::try_from(up).unwrap_or(u64::MAX)
}

/// Returns the sample of an instance, or of the foreign use, in a report.
pub(crate) fn sample(cpu: Millicores, memory: Mebibytes, usage: &NodeUsage) -> Sample {
    Sample { cpu, memory, held: usage.interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Millis = Millis::from_secs(43200);

    fn terms() -> Terms {
        Terms::of(&Policy::default())
    }

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
        let (mean, peak) = track(&[5; 100]).forecast(&terms());
        assert_eq!((mean, peak), (Millicores::new(5), Millicores::new(5)));
    }

    #[test]
    fn a_peak_is_never_below_the_mean_and_covers_most_of_a_burst() {
        let mut rates = vec![10; 90];
        rates.extend([200; 10]);
        let (mean, peak) = track(&rates).forecast(&terms());
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
        assert_eq!(track.forecast(&terms()).0, Millicores::new(4));
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

    #[test]
    fn a_load_is_within_a_line_exactly_when_its_peak_is() {
        for spread in [0_u64, 1, 2, 7, 40, 41, 1 << 40, u64::MAX / 2] {
            let mut load = Load::default();
            for peak in [spread, spread / 2 + 3] {
                load.add(InstanceForecast {
                    mean: Millicores::ZERO,
                    peak: Millicores::new(peak),
                    measured: true,
                });
            }
            let peak = load.peak().get();
            for line in [peak.saturating_sub(1), peak, peak.saturating_add(1)] {
                let line = Millicores::new(line);
                assert_eq!(load.is_within(line), load.peak() <= line, "{spread}: {line}");
            }
        }
    }
}
