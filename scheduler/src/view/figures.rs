//! Figures: the state in numbers that do not grow with it.

use std::collections::BTreeMap;

use tengyun_engine::image::WorkloadWish;
use tengyun_engine::liveness::{self, Mode};
use tengyun_engine::predict::{Spent, Violations};
use tengyun_engine::state::Moves;
use tengyun_model::{Band, Mebibytes, Millicores, Millis};

use super::View;

/// The state in numbers.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub epoch: u64,
    pub sequence: u64,
    pub read_only: bool,
    pub observing: bool,
    pub strangers: usize,
    pub band: Band,
    /// The violation budget in millionths, and what became of it.
    pub budget: u64,
    pub spent: Vec<Spent>,
    /// The same, weighted by instances, and in the worst hour of the week.
    pub violations: Violations,
    pub worst: Option<(usize, Violations)>,
    pub ledger: Moves,
    pub nodes: BTreeMap<&'static str, u64>,
    pub wishes: BTreeMap<&'static str, u64>,
    pub occupied: BTreeMap<&'static str, u64>,
    pub in_use: usize,
    pub cpu: [(&'static str, Millicores); 3],
    pub memory: [(&'static str, Mebibytes); 2],
    pub report_age: Millis,
    pub meter_lag: Millis,
    pub losses_held: usize,
    pub instances: BTreeMap<(&'static str, &'static str), u64>,
    pub longest_wait: Millis,
    pub workloads: BTreeMap<&'static str, u64>,
    pub held: usize,
    pub moves: u64,
}

impl View<'_> {
    /// Counts everything once.
    pub(crate) fn figures(&self) -> Figures {
        let state = self.state;
        let mut figures = Figures {
            epoch: state.epoch().get(),
            sequence: state.sequence().get(),
            read_only: self.read_only.is_some(),
            observing: state.observes(),
            strangers: self.links.reported().strangers(state).count(),
            band: state.policy().band(),
            budget: state.policy().violation_budget(),
            spent: state.spent(),
            violations: *state.hours().all(),
            worst: state.hours().worst(),
            ledger: state.moves(self.now),
            nodes: ["connected", "returned", "away", "suspect", "lost"].map(|s| (s, 0)).into(),
            wishes: ["serve", "cordon", "drain", "drain-by-force"].map(|w| (w, 0)).into(),
            occupied: ["disk", "network"].map(|what| (what, 0)).into(),
            in_use: self.nodes_in_use(),
            cpu: ["capacity", "used", "foreign"].map(|of| (of, Millicores::ZERO)),
            memory: ["capacity", "used"].map(|of| (of, Mebibytes::ZERO)),
            report_age: Millis::ZERO,
            meter_lag: Millis::ZERO,
            losses_held: self.losses_held(),
            instances: BTreeMap::new(),
            longest_wait: Millis::ZERO,
            workloads: ["running", "stopped", "deleting"].map(|w| (w, 0)).into(),
            held: state.workloads().filter(|w| w.is_held()).count(),
            moves: state.moves_total(),
        };
        self.count_nodes(&mut figures);
        self.count_instances(&mut figures);
        for workload in state.workloads() {
            let wish = match workload.wish {
                WorkloadWish::Run => "running",
                WorkloadWish::Stop => "stopped",
                WorkloadWish::Delete => "deleting",
            };
            add(&mut figures.workloads, wish);
        }
        figures
    }

    fn count_nodes(&self, figures: &mut Figures) {
        let state = self.state;
        for node in state.nodes() {
            add(&mut figures.nodes, liveness::condition(state, node, self.now).as_str());
            add(&mut figures.wishes, node.wish.as_str());
            if let Some(occupied) = state.occupied(node.id, self.now) {
                add(&mut figures.occupied, occupied.what.as_str());
            }
            if !state.connected(node.id) {
                continue;
            }
            let capacity = &node.facts.capacity;
            let usage = state.usage(node.id).cloned().unwrap_or_default();
            let cpu = [capacity.cpu, usage.cpu, usage.cpu_foreign];
            for ((_, sum), amount) in figures.cpu.iter_mut().zip(cpu) {
                *sum = sum.saturating_add(amount);
            }
            for ((_, sum), amount) in figures.memory.iter_mut().zip([capacity.memory, usage.memory])
            {
                *sum = sum.saturating_add(amount);
            }
            let age = state.seen(node.id).map_or(Millis::ZERO, |seen| self.now.since(seen));
            figures.report_age = figures.report_age.max(age);
            let metered = self.links.metered(node.id);
            if self.holds(node.id).next().is_some() {
                let lag = metered.map_or(Millis::ZERO, |metered| self.now.since(metered));
                figures.meter_lag = figures.meter_lag.max(lag);
            }
        }
    }

    fn count_instances(&self, figures: &mut Figures) {
        for instance in self.state.instances() {
            let class = self.state.spec(instance).class.as_str();
            add(&mut figures.instances, (class, instance.status.phase.as_str()));
            if instance.node.is_none() {
                let waits = self.now.since(instance.created);
                figures.longest_wait = figures.longest_wait.max(waits);
            }
        }
    }

    fn losses_held(&self) -> usize {
        let standing = liveness::standing(self.state, self.now);
        match standing.mode {
            Mode::Held => standing.silent,
            Mode::Usual | Mode::Slow | Mode::Grace(_) => standing.held.len(),
        }
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}
