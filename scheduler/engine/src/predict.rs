//! Forecasts: what an instance and a node are expected to use in the next window, from what was measured.
//!
//! An instance has a mean and a deviation of the errors of that mean, part of which it may share with all
//! others. A node has the sum of the means, and the deviation of the sum times a margin, which is
//! calibrated by the errors of past forecasts so that the violation budget comes out (`docs/forecast.md`). What was not measured
//! counts its request; what is stale never overcommits.

mod accuracy;
mod calibrate;
mod comovement;
mod drift;
mod horizon;
mod hours;
mod load;
pub(crate) mod memory;
mod recall;
mod season;
mod siblings;
mod track;

use std::collections::BTreeMap;

use tengyun_model::{
    At, Class, InstanceId, Kind, Mebibytes, Millicores, Millis, NodeId, NodeUsage, Sequence,
    WorkloadSpec,
};

use crate::image::{InstanceImage, NodeImage};
use crate::place::feasible::Room;
use crate::state::{Live, State};
pub use accuracy::Accuracy;
pub(crate) use accuracy::Tally;
pub use calibrate::Spent;
pub(crate) use calibrate::{Budget, Calibration, Sum};
pub(crate) use comovement::{Comovement, Part};
pub(crate) use drift::Drift;
pub use hours::{Hours, Violations, WEEK_HOURS};
pub(crate) use load::{Crew, Lines, Load};
pub(crate) use recall::Recall;
pub(crate) use season::DayShape;
pub(crate) use track::{Sample, Terms as Seen, Track, window_of};

/// Deviations that the peak of a single instance is shown with, and reservations are compared with.
const DEVIATIONS: u64 = 3;

/// What the policy says of forecasts, looked up once a forecast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    history_min: Millis,
    stale: Millis,
    window: Millis,
    /// How much more or less than its average everything uses now.
    drift: u64,
    /// The deviation that all share.
    shared: u64,
}

impl Terms {
    /// Looks them up.
    pub(crate) fn of(state: &State) -> Self {
        let policy = state.policy();
        Self {
            history_min: policy.history_min(),
            stale: policy.data_stale(),
            window: policy.window(),
            drift: state.drift_ratio(),
            shared: state.shared_deviation(),
        }
    }
}

/// What forecasts need of one instance, kept beside it so that they look nothing up.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) class: Class,
    /// Whether every node has a copy, so that it says nothing of whether a node is in use.
    pub(crate) everywhere: bool,
    pub(crate) request: Millicores,
    /// Where the copy was that this one replaced when it was moved; of this reign only.
    pub(crate) came_from: Option<NodeId>,
    /// The memory that it asks for.
    pub(crate) memory: Mebibytes,
    /// Whether it used more memory than it is promised.
    pub(crate) missed: bool,
    /// What was measured of it.
    pub(crate) track: Option<Box<Track>>,
}

impl Profile {
    /// Makes the profile of an instance that was never measured.
    pub(crate) fn of(spec: &WorkloadSpec) -> Self {
        let everywhere = spec.kind == Kind::PerNode;
        Self {
            class: spec.class,
            everywhere,
            request: spec.resources.cpu,
            came_from: None,
            memory: spec.resources.memory,
            missed: false,
            track: None,
        }
    }
}

/// What an instance is expected to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceForecast {
    /// On average.
    pub mean: Millicores,
    /// One deviation of what comes from that mean.
    pub deviation: Millicores,
    /// The part of that deviation which is shared with all others: it does not even out among them.
    pub shared: Millicores,
    /// At most, nearly always: the mean and three deviations.
    pub peak: Millicores,
    /// By how much a season lifts the mean within an hour; nothing where none has a say.
    pub rise: Millicores,
    /// True when it rests on measurements, false when on the request.
    pub measured: bool,
}

impl InstanceForecast {
    fn new(mean: Millicores, deviation: Millicores, measured: bool) -> Self {
        let more = Millicores::new(deviation.get().saturating_mul(DEVIATIONS));
        let (peak, rise) = (mean.saturating_add(more), Millicores::ZERO);
        let shared = Millicores::ZERO;
        Self { mean, deviation, shared, peak, rise, measured }
    }

    /// Returns the same with a mean of no less than a request that nothing is known against.
    pub(crate) fn at_least(self, request: Millicores) -> Self {
        let rise = self.rise.saturating_sub(request.saturating_sub(self.mean));
        let raised = Self::new(self.mean.max(request), self.deviation, self.measured);
        Self { rise, ..raised.sharing(self.shared) }
    }

    /// Returns the same with a part of the deviation that is shared with all others.
    fn sharing(self, shared: Millicores) -> Self {
        Self { shared: shared.min(self.deviation), ..self }
    }

    /// Returns the same with no less than a reservation: what is reserved covers deviations, too.
    fn reserved(self, request: Millicores, measured: bool) -> Self {
        let mean = self.mean.max(request);
        let deviation = self.peak.saturating_sub(mean).get() / DEVIATIONS;
        let deviation = Millicores::new(deviation).min(self.deviation);
        let above = mean.saturating_sub(self.mean);
        Self { rise: self.rise.saturating_sub(above), ..Self::new(mean, deviation, measured) }
    }
}

/// What a node is expected to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeForecast {
    /// At most, by everything but harvest; the violation budget says how often more.
    pub peak: Millicores,
    /// Of that, what is above the mean.
    pub margin: Millicores,
    /// Deviations above the mean that the peak is at, in 1024ths.
    pub deviations: u64,
    /// By processes that are not ours, at most.
    pub foreign: Millicores,
    /// What harvest instances there ask for.
    pub harvest: Millicores,
    /// False when its use is not known or stale.
    pub measured: bool,
}

/// The forecasts of all instances and nodes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    base: Sequence,
    instances: Vec<(InstanceId, InstanceForecast)>,
    nodes: Vec<(NodeId, NodeForecast, Crew)>,
    /// The variances that were measured of all instances, and those that are foreseen.
    variances: (u128, u128),
}

impl Forecast {
    /// Returns the forecast of an instance; nothing for an unknown one.
    pub fn instance(&self, id: InstanceId) -> InstanceForecast {
        // Ids are given one after the other, so none is further on than where it would be if all
        // that came before it were still there.
        let most = usize::try_from(id.get()).unwrap_or(usize::MAX).min(self.instances.len());
        if let Some((_, found)) = self.instances[..most].last().filter(|(last, _)| *last == id) {
            return *found;
        }
        let at = self.instances[..most].binary_search_by_key(&id, |(id, _)| *id);
        at.map(|at| self.instances[at].1).unwrap_or_default()
    }

    /// Returns what is added to the mean of an instance where it is: as many of its deviations as
    /// past errors demand there, or three while it is nowhere.
    pub fn margin(&self, id: InstanceId, node: Option<NodeId>) -> Millicores {
        let expected = self.instance(id);
        let Some(node) = node else { return expected.peak.saturating_sub(expected.mean) };
        let wide = u128::from(expected.deviation.get()) * u128::from(self.node(node).deviations);
        let margin = wide.div_ceil(u128::from(calibrate::PARTS));
        Millicores::new(u64::try_from(margin).unwrap_or(u64::MAX))
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

    /// Returns the CPU of a node that harvest may use in the next window: what the others are foreseen
    /// to leave below the target in one window of six. In the other five harvest gives back within a
    /// second what they need after all.
    pub fn harvest_room(&self, state: &State, id: NodeId) -> Millicores {
        let load = self.place(id).map(|at| self.nodes[at].2.load).unwrap_or_default();
        state.capacity(id).share(state.policy().band().target).saturating_sub(load.seldom_less())
    }

    /// Adds an instance to the node that it is on.
    fn enter(&mut self, instance: &InstanceImage, profile: &Profile, expected: InstanceForecast) {
        let place = instance.node.filter(|_| !instance.status.phase.is_final());
        if let Some(at) = place.and_then(|node| self.place(node)) {
            let crew = &mut self.nodes[at].2;
            crew.add(profile.class, profile.request, expected);
            crew.pass_over(profile.class, profile.everywhere);
        }
    }

    /// Returns the part of a deviation that was measured and is not put on for what is not known yet.
    pub(crate) fn measured_part(&self, deviation: u64) -> u64 {
        let (measured, foreseen) = self.variances;
        let square = u128::from(deviation) * u128::from(deviation);
        let part = square.checked_mul(measured).map_or(square, |part| part / foreseen.max(1));
        u64::try_from(part.isqrt()).unwrap_or(u64::MAX).min(deviation)
    }

    /// Counts the variance of an instance.
    fn count(&mut self, profile: &Profile, expected: InstanceForecast) {
        let track = profile.track.as_ref().filter(|_| expected.measured);
        let Some(track) = track.filter(|_| profile.class != Class::Harvest) else { return };
        let foreseen = expected.deviation.get().saturating_mul(expected.deviation.get());
        self.variances.0 += u128::from(track.measured_variance().min(foreseen));
        self.variances.1 += u128::from(foreseen);
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
    let terms = Terms::of(state);
    let mut lines: BTreeMap<Millicores, Lines> = BTreeMap::new();
    let node = |(node, live, _): (&NodeImage, Option<&Live>, &Room)| {
        let cpu = node.facts.capacity.cpu;
        let track = live.and_then(Live::foreign);
        let foreign = foreign_forecast(track, &terms);
        let mut load = Load::on(*lines.entry(cpu).or_insert_with(|| state.lines(cpu)));
        load.add(foreign);
        let expected = NodeForecast {
            foreign: foreign.peak.min(cpu),
            // What its agent remembers is no report: nothing is rebalanced by it alone.
            measured: live.and_then(Live::usage).is_some()
                && track.is_some_and(|t| now.since(t.last()) <= terms.stale),
            ..NodeForecast::default()
        };
        (node.id, expected, Crew { load, ..Crew::default() })
    };
    let nodes = state.surveyed().map(node).collect();
    let mut forecast = Forecast { base: state.sequence(), nodes, ..Forecast::default() };
    let mut cold = Vec::new();
    for (at, (instance, profile)) in state.profiled().enumerate() {
        let expected = instance_forecast(profile, &terms, now);
        forecast.instances.push((instance.status.instance, expected));
        forecast.count(profile, expected);
        if is_cold(profile, &terms) && siblings::may_have_some(state, instance) {
            cold.push((at, instance, profile));
        } else {
            forecast.enter(instance, profile, expected);
        }
    }
    let mut known = BTreeMap::new();
    for (at, instance, profile) in cold {
        let of = (instance.workload, instance.revision);
        let found = || siblings::by_siblings((state, &forecast), instance, (&terms, now));
        if let Some(expected) = *known.entry(of).or_insert_with(found) {
            forecast.instances[at].1 = expected;
        }
        forecast.enter(instance, profile, forecast.instances[at].1);
    }
    for (_, node, crew) in &mut forecast.nodes {
        node.peak = crew.load.peak();
        node.margin = node.peak.saturating_sub(crew.load.mean());
        node.deviations = crew.load.lines().margins.ceiling;
        node.harvest = crew.harvest;
    }
    forecast
}

/// Forecasts a copy that is not there yet: by its siblings or by its request, as it will be once it is.
pub(crate) fn newcomer(
    (state, forecast): (&State, &Forecast),
    copy: &InstanceImage,
    spec: &WorkloadSpec,
    now: At,
) -> InstanceForecast {
    let terms = Terms::of(state);
    let by_siblings = || siblings::by_siblings((state, forecast), copy, (&terms, now));
    let siblings = is_cold(&Profile::of(spec), &terms).then(by_siblings).flatten();
    let by_request = || InstanceForecast::new(spec.resources.cpu, Millicores::ZERO, false);
    siblings.unwrap_or_else(by_request)
}

/// Returns what a node carries without any instance: what is not ours, and the margin of its kind.
pub(crate) fn empty_crew(state: &State, node: NodeId, terms: &Terms) -> Crew {
    let mut load = Load::on(state.lines(state.capacity(node)));
    load.add(foreign_forecast(state.foreign(node), terms));
    Crew { load, ..Crew::default() }
}

/// Forecasts what is not ours on a node. Nobody can be asked how much it may become, so the newest
/// quarter of a window counts at once when it is higher.
fn foreign_forecast(track: Option<&Track>, terms: &Terms) -> InstanceForecast {
    let Some(track) = track else { return InstanceForecast::default() };
    let Some((mean, deviation)) = track.foresee(track.cpu) else {
        return InstanceForecast::default();
    };
    InstanceForecast::new(mean.max(track.lately(terms.window)), deviation, true)
}

/// Says whether so little is known of an instance that its siblings say more: a standard one that was not
/// measured for long enough. What is reserved is not lent out, and harvest counts what it asks for.
fn is_cold(profile: &Profile, terms: &Terms) -> bool {
    let measured = profile.track.as_ref().is_some_and(|t| t.history() >= terms.history_min);
    profile.class == Class::Standard && !measured
}

/// What an instance is expected to use within a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HorizonForecast {
    /// How far ahead.
    pub horizon: Millis,
    /// The highest mean of a window that is expected within it, and what is added to it: the root of
    /// the mean square of what highest windows were above it, and three times that at the peak.
    pub expected: InstanceForecast,
    /// Whether errors over this horizon were measured; else those of the horizon before it stand for
    /// them.
    pub judged: bool,
}

/// Forecasts an instance for the next window, an hour, six hours and a day, and says whether a season has
/// its say in it; nothing for one that is not measured.
pub fn horizons(state: &State, id: InstanceId, now: At) -> Option<(Vec<HorizonForecast>, bool)> {
    let terms = Terms::of(state);
    let profile = state.profile(id)?;
    let next = instance_forecast(profile, &terms, now);
    let track = profile.track.as_ref().filter(|_| next.measured)?;
    let mut all = vec![HorizonForecast { horizon: terms.window, expected: next, judged: true }];
    let mut before = next;
    for (horizon, ahead) in
        horizon::HORIZONS.into_iter().zip(track.ahead(terms.window, state.days()))
    {
        if horizon <= terms.window {
            continue;
        }
        let mean = drifted(Millicores::new(ahead.mean), terms.drift).max(before.mean);
        // Within a longer time it can only be further above, and what was measured can be too little.
        let measured = ahead.variance.map(|square| Millicores::new(square.isqrt()));
        let peak = before.peak.saturating_sub(mean).get() / DEVIATIONS;
        let deviation = measured.unwrap_or(before.deviation).max(Millicores::new(peak));
        let expected = InstanceForecast::new(mean, deviation, true);
        before = expected;
        all.push(HorizonForecast { horizon, expected, judged: measured.is_some() });
    }
    Some((all, track.is_seasonal()))
}

fn instance_forecast(profile: &Profile, terms: &Terms, now: At) -> InstanceForecast {
    let request = profile.request;
    let by_request = InstanceForecast::new(request, Millicores::ZERO, false);
    let enough = profile.track.as_ref().filter(|t| t.history() >= terms.history_min);
    let Some((track, (mean, deviation))) = enough.and_then(|t| Some((t, t.foresee(request)?)))
    else {
        return by_request;
    };
    let rise = drifted(track.rise(), terms.drift);
    let expected = InstanceForecast::new(drifted(mean, terms.drift), deviation, true);
    let expected = InstanceForecast { rise, ..expected };
    let shared = Millicores::new(track.part.shared(terms.shared, deviation.get()));
    let fresh = now.since(track.last()) <= terms.stale;
    let expected = match (profile.class, fresh) {
        // A critical reservation is never lent out.
        (Class::Critical, _) => expected.reserved(request, fresh),
        (Class::Standard | Class::Harvest, true) => expected,
        // Stale measurements never overcommit.
        (Class::Standard | Class::Harvest, false) => expected.reserved(request, false),
    };
    expected.sharing(shared)
}

/// Corrects a mean by the drift of all.
pub(crate) fn drifted(mean: Millicores, ratio: u64) -> Millicores {
    let half = u128::from(drift::PARTS / 2);
    let raw = u128::from(mean.get()) * u128::from(ratio) + half;
    Millicores::new(u64::try_from(raw / u128::from(drift::PARTS)).unwrap_or(u64::MAX))
}

/// Returns the sample of an instance, or of the foreign use, in a report.
pub(crate) fn sample(cpu: Millicores, memory: Mebibytes, usage: &NodeUsage) -> Sample {
    Sample { cpu, memory, held: usage.interval }
}
