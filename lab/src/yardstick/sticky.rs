//! Sticky consolidation by a predicted peak: relieve what is predicted above the line, then try to
//! empty the least loaded nodes, and leave everything else where it is.

use super::fit::descending;
use super::number;
use crate::fleet::{Fleet, SLACK};
use crate::number::{length, mean, percentile, wide};
use crate::rules::Honest;
use crate::score::{NOWHERE, Planner};

/// The most instances taken from one node in one round.
const RELIEF_MAX: usize = 200;

/// How the peak of a node is predicted from the past of its instances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Predictor {
    /// Mean and so many standard deviations of the node's sum.
    Sigma(f64),
    /// The sum of each instance's percentile, as in Resource Central.
    Percentile(f64),
    /// The larger of the two.
    Larger(f64, f64),
    /// A fixed share of the requests, as in Borg's default.
    Request(f64),
}

impl Predictor {
    /// Parses `nsigma-N`, `rc-P`, `max` or `borg`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(sigmas) = text.strip_prefix("nsigma-") {
            return number(sigmas, 0.0, 100.0).map(Self::Sigma);
        }
        if let Some(pct) = text.strip_prefix("rc-") {
            return number(pct, 0.0, 100.0).map(Self::Percentile);
        }
        match text {
            "max" => Some(Self::Larger(5.0, 99.0)),
            "borg" => Some(Self::Request(0.9)),
            _ => None,
        }
    }

    fn percentile(self) -> Option<f64> {
        match self {
            Self::Percentile(pct) | Self::Larger(_, pct) => Some(pct),
            Self::Sigma(_) | Self::Request(_) => None,
        }
    }

    fn peak(self, node: &Node, variance: f64) -> f64 {
        let wide = |sigmas: f64| node.mean + sigmas * variance.sqrt();
        match self {
            Self::Sigma(sigmas) => wide(sigmas).min(node.request),
            Self::Percentile(_) => node.percentile.min(node.request),
            Self::Larger(sigmas, _) => wide(sigmas).max(node.percentile).min(node.request),
            Self::Request(share) => share * node.request,
        }
    }
}

/// What the past says of one instance.
#[derive(Clone, Debug, Default)]
struct Past {
    mean: f64,
    variance: f64,
    percentile: f64,
    /// Demand less its mean.
    centred: Vec<f64>,
}

/// What the past says of one node.
#[derive(Clone, Debug, Default)]
struct Node {
    count: usize,
    mean: f64,
    request: f64,
    percentile: f64,
    memory: f64,
    variance: f64,
    centred: Vec<f64>,
}

impl Node {
    fn empty(window: usize) -> Self {
        Self { centred: vec![0.0; window], ..Self::default() }
    }

    fn vary(&mut self) {
        let squares: Vec<f64> = self.centred.iter().map(|v| v * v).collect();
        self.variance = mean(&squares);
    }
}

/// A sticky planner.
#[derive(Clone, Debug)]
pub struct Sticky {
    predictor: Predictor,
    every: usize,
    window: usize,
    limit: f64,
    on: Vec<usize>,
    past: Vec<Past>,
    nodes: Vec<Node>,
    /// A number for each node that stays with it, and the seats seats.
    labels: Vec<usize>,
    seats: Vec<usize>,
    honest: Option<Honest>,
    /// Instances that never move once they are placed.
    immovable: Vec<bool>,
    moves: u64,
}

impl Sticky {
    /// Makes a planner that decides `every` so many steps on a `window` of the past.
    pub fn new(
        fleet: &Fleet,
        predictor: Predictor,
        (every, window): (usize, usize),
        target: f64,
    ) -> Self {
        Self {
            predictor,
            every: every.max(1),
            window: window.max(1),
            limit: target * fleet.capacity,
            on: Vec::new(),
            past: Vec::new(),
            nodes: Vec::new(),
            labels: Vec::new(),
            seats: Vec::new(),
            honest: None,
            immovable: Vec::new(),
            moves: 0,
        }
    }

    /// Holds it to honest rules: some instances never move, and the others in the window only.
    #[must_use]
    pub fn held(mut self, honest: Option<Honest>, immovable: Vec<bool>) -> Self {
        (self.honest, self.immovable) = (honest, immovable);
        self
    }

    fn look_back(&mut self, fleet: &Fleet, step: usize) {
        let from = step.saturating_sub(self.window);
        let percentile = self.predictor.percentile();
        let past = |instance: usize| Past::of(&fleet.demand(instance)[from..step], percentile);
        self.past = (0..fleet.len()).map(past).collect();
    }

    fn pack(&mut self, fleet: &Fleet, window: usize) {
        self.nodes.clear();
        self.on = vec![NOWHERE; fleet.len()];
        let sizes: Vec<f64> = self.past.iter().map(Past::size).collect();
        for instance in descending(&sizes) {
            let at = self.best(fleet, instance, None).unwrap_or_else(|| self.open(window));
            self.put(fleet, instance, at);
        }
    }

    fn open(&mut self, window: usize) -> usize {
        self.nodes.push(Node::empty(window));
        let label = (0..=self.labels.len()).find(|label| !self.labels.contains(label));
        self.labels.push(label.expect("so many labels cannot all be taken"));
        self.nodes.len() - 1
    }

    /// Sums up the nodes anew, in the order of instances.
    fn sum_up(&mut self, fleet: &Fleet, window: usize) {
        let count = self.on.iter().max().map_or(0, |last| last + 1);
        self.nodes = vec![Node::empty(window); count];
        for (instance, seat) in self.on.iter().enumerate() {
            let (node, past) = (&mut self.nodes[*seat], &self.past[instance]);
            node.count += 1;
            node.mean += past.mean;
            node.request += fleet.request[instance];
            node.percentile += past.percentile;
            node.memory += fleet.memory[instance];
            for (sum, value) in node.centred.iter_mut().zip(&past.centred) {
                *sum += value;
            }
        }
        for node in &mut self.nodes {
            node.vary();
        }
    }

    /// Returns the node in use that would end fullest below the line.
    fn best(&self, fleet: &Fleet, instance: usize, except: Option<usize>) -> Option<usize> {
        let past = &self.past[instance];
        let window = length(past.centred.len());
        let mut best: Option<(usize, f64)> = None;
        for (at, node) in self.nodes.iter().enumerate() {
            let usable = node.request > 0.0 && Some(at) != except;
            if !usable || !fleet.memory_fits(node.memory, instance) {
                continue;
            }
            let together: f64 = node.centred.iter().zip(&past.centred).map(|(a, b)| a * b).sum();
            let variance = (node.variance + past.variance + 2.0 * together / window).max(0.0);
            let with = Node {
                mean: node.mean + past.mean,
                request: node.request + fleet.request[instance],
                percentile: node.percentile + past.percentile,
                ..Node::default()
            };
            let peak = self.predictor.peak(&with, variance);
            if peak <= self.limit + SLACK && best.is_none_or(|(_, b)| peak > b) {
                best = Some((at, peak));
            }
        }
        best.map(|(at, _)| at)
    }

    fn put(&mut self, fleet: &Fleet, instance: usize, at: usize) {
        let (node, past) = (&mut self.nodes[at], &self.past[instance]);
        node.count += 1;
        node.mean += past.mean;
        node.request += fleet.request[instance];
        node.percentile += past.percentile;
        node.memory += fleet.memory[instance];
        for (sum, value) in node.centred.iter_mut().zip(&past.centred) {
            *sum += value;
        }
        node.vary();
        self.on[instance] = at;
    }

    fn take(&mut self, fleet: &Fleet, instance: usize) {
        let at = self.on[instance];
        let (node, past) = (&mut self.nodes[at], &self.past[instance]);
        if node.count <= 1 {
            *node = Node::empty(node.centred.len());
        } else {
            node.count -= 1;
            node.mean -= past.mean;
            node.request -= fleet.request[instance];
            node.percentile -= past.percentile;
            node.memory -= fleet.memory[instance];
            for (sum, value) in node.centred.iter_mut().zip(&past.centred) {
                *sum -= value;
            }
            node.vary();
        }
        self.on[instance] = NOWHERE;
    }

    fn over(&self, at: usize) -> Option<f64> {
        let node = &self.nodes[at];
        let over = self.predictor.peak(node, node.variance) - self.limit;
        (node.request > 0.0 && node.count > 1 && over > 0.0).then_some(over)
    }

    fn guests(&self, at: usize) -> Vec<usize> {
        (0..self.on.len()).filter(|i| self.on[*i] == at).collect()
    }

    fn is_movable(&self, instance: usize) -> bool {
        !self.immovable.get(instance).copied().unwrap_or(false)
    }

    /// Takes the smallest sufficient instances from every node above the line.
    fn relieve(&mut self, fleet: &Fleet, window: usize) {
        for at in 0..self.nodes.len() {
            for _ in 0..RELIEF_MAX {
                let Some(over) = self.over(at) else { break };
                let there = self.guests(at).into_iter().filter(|i| self.is_movable(*i));
                let Some(instance) = self.smallest_sufficient(there, over) else { break };
                self.take(fleet, instance);
                let to = self.best(fleet, instance, Some(at)).unwrap_or_else(|| {
                    let unused = |n: &usize| self.nodes[*n].request <= 0.0 && *n != at;
                    (0..self.nodes.len()).find(unused).unwrap_or_else(|| self.open(window))
                });
                self.put(fleet, instance, to);
                self.moves += 1;
            }
        }
    }

    fn smallest_sufficient(&self, there: impl Iterator<Item = usize>, over: f64) -> Option<usize> {
        let mut best: Option<(bool, f64, usize)> = None;
        for instance in there {
            let size = self.past[instance].size();
            let enough = size >= over;
            let better = best.is_none_or(|(known_enough, known, _)| match (known_enough, enough) {
                (true, true) => size < known,
                (true, false) => false,
                (false, true) => true,
                (false, false) => size > known,
            });
            if better {
                best = Some((enough, size, instance));
            }
        }
        best.map(|(_, _, instance)| instance)
    }

    /// Empties the least loaded nodes whose instances all fit elsewhere: half of them at most.
    fn evacuate(&mut self, fleet: &Fleet) {
        let mut order: Vec<usize> =
            (0..self.nodes.len()).filter(|n| self.nodes[*n].request > 0.0).collect();
        order.sort_by(|a, b| self.nodes[*a].mean.total_cmp(&self.nodes[*b].mean));
        order.truncate((order.len() / 2).max(1));
        for at in order {
            let used = self.nodes.iter().filter(|n| n.request > 0.0).count();
            if self.nodes[at].request <= 0.0 || used <= 1 {
                continue;
            }
            let there = self.guests(at);
            if there.iter().any(|i| !self.is_movable(*i)) {
                continue;
            }
            let sizes: Vec<f64> = there.iter().map(|i| self.past[*i].size()).collect();
            let leaving = descending(&sizes).into_iter().map(|i| there[i]);
            let before = (self.nodes.clone(), self.on.clone());
            let emptied = leaving.into_iter().all(|instance| {
                self.take(fleet, instance);
                let to = self.best(fleet, instance, Some(at));
                if let Some(to) = to {
                    self.put(fleet, instance, to);
                }
                to.is_some()
            });
            if emptied {
                self.moves += wide(there.len());
            } else {
                (self.nodes, self.on) = before;
            }
        }
    }

    /// Numbers the nodes in use from 0, in their order.
    fn renumber(&mut self) {
        let mut used = self.on.clone();
        used.sort_unstable();
        used.dedup();
        self.labels = used.iter().map(|node| self.labels[*node]).collect();
        for seat in &mut self.on {
            *seat = used.binary_search(seat).expect("it was collected from the seats");
        }
        self.seats = self.on.iter().map(|seat| self.labels[*seat]).collect();
    }
}

impl Past {
    fn of(history: &[f64], pct: Option<f64>) -> Self {
        let middle = mean(history);
        let centred: Vec<f64> = history.iter().map(|v| v - middle).collect();
        let squares: Vec<f64> = centred.iter().map(|v| v * v).collect();
        let percentile = pct.map_or(0.0, |pct| percentile(&mut history.to_vec(), pct));
        Self { mean: middle, variance: mean(&squares), percentile, centred }
    }

    /// What it is packed and chosen by.
    fn size(&self) -> f64 {
        self.mean + 2.0 * self.variance.sqrt()
    }
}

impl Planner for Sticky {
    fn before(&mut self, fleet: &Fleet, step: usize) -> u64 {
        if !(step - fleet.warm).is_multiple_of(self.every) || fleet.is_empty() {
            return 0;
        }
        self.moves = 0;
        self.look_back(fleet, step);
        let window = self.past.first().map_or(0, |p| p.centred.len());
        if self.on.is_empty() {
            self.pack(fleet, window);
        } else if self.honest.is_none_or(|honest| honest.may_move(fleet, step)) {
            self.sum_up(fleet, window);
            self.relieve(fleet, window);
            self.evacuate(fleet);
        }
        self.renumber();
        self.moves
    }

    fn seats(&self) -> &[usize] {
        &self.seats
    }
}
