//! The world of the experiment: 800 nodes of two kinds, instances with interpolated demand, moves that
//! take time and cost speed, energy by measured curves, and the two measures of service.
//!
//! It knows no policy. Nodes keep their instances in the order they came, because sums of floats and
//! ties between equals depend on it.

use crate::energy::PowerCurve;
use crate::number::{floor_index, real};
use crate::trace::Trace;

/// Nodes of the experiment.
pub(crate) const NODES: usize = 800;
/// Seconds between two decisions.
pub(crate) const INTERVAL: f64 = 300.0;
/// Samples of one day, the last one repeated.
const SAMPLES: usize = 289;
/// Seconds of the experiment.
pub(crate) const END: f64 = 86_400.0;
/// When the first event happens; everything is placed at 0 and starts at 0.1 s.
const START: f64 = 0.1;
/// Values of the past that a policy may look at.
pub(crate) const HISTORY: usize = 30;
/// MiB a second of the half of a 1 Gbit/s link that moves may use: 1,000,000 / (2 x 8,000).
const MOVE_RATE: f64 = 62.5;
/// Links of 100 Mbit/s that one node's link carries when instances are placed first.
const LINKS: usize = 10;
/// Memory of every node in MiB.
pub(crate) const MEMORY: f64 = 4096.0;

/// A kind of node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind {
    /// MIPS of one of its two cores.
    pub(crate) core: f64,
    /// MIPS of both.
    pub(crate) mips: f64,
    /// What it draws.
    pub(crate) curve: PowerCurve,
}

impl Kind {
    const G4: Self = Self { core: 1860.0, mips: 3720.0, curve: PowerCurve::G4 };
    const G5: Self = Self { core: 2660.0, mips: 5320.0, curve: PowerCurve::G5 };

    /// Returns the kind of a node: they alternate.
    pub(crate) fn of(node: usize) -> Self {
        if node.is_multiple_of(2) { Self::G4 } else { Self::G5 }
    }
}

/// One instance.
#[derive(Clone, Debug)]
pub(crate) struct Vm {
    /// MIPS it asked for.
    pub(crate) mips: f64,
    /// Memory it asked for, in MiB.
    pub(crate) memory: f64,
    samples: Vec<f64>,
    /// Newest first.
    pub(crate) history: Vec<f64>,
    /// MIPS it demands now.
    pub(crate) requested: f64,
    /// The node it serves from.
    pub(crate) node: Option<usize>,
    moving: bool,
    entry: Option<VmEntry>,
    asked: f64,
    lost: f64,
}

#[derive(Clone, Copy, Debug)]
struct VmEntry {
    time: f64,
    allocated: f64,
    requested: f64,
    moving: bool,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Instances in the order they came; those moving in among them.
    pub(crate) vms: Vec<usize>,
    moving_in: Vec<usize>,
    /// MIPS in use since the last look, and before it.
    pub(crate) used: f64,
    used_before: f64,
    /// Whether it was on since the last look, and before it.
    on: bool,
    on_before: bool,
    entry: Option<NodeEntry>,
}

#[derive(Clone, Copy, Debug)]
struct NodeEntry {
    time: f64,
    on: bool,
    used: f64,
    requested: f64,
}

/// The world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) vms: Vec<Vm>,
    now: f64,
    honour_memory: bool,
    joules: f64,
    active: f64,
    short: f64,
    pub(crate) migrations: u64,
}

/// What is measured in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) energy_kwh: f64,
    pub(crate) slatah: f64,
    pub(crate) pdm: f64,
    pub(crate) active_mean: f64,
}

impl World {
    /// Makes the world of a recorded day.
    pub(crate) fn new(trace: &Trace, honour_memory: bool) -> Self {
        let node = |at| Node {
            kind: Kind::of(at),
            vms: Vec::new(),
            moving_in: Vec::new(),
            used: 0.0,
            used_before: 0.0,
            on: false,
            on_before: false,
            entry: None,
        };
        let vms = (0..trace.instances.len()).map(|at| Vm::new(trace, at)).collect();
        Self {
            nodes: (0..NODES).map(node).collect(),
            vms,
            now: 0.0,
            honour_memory,
            joules: 0.0,
            active: 0.0,
            short: 0.0,
            migrations: 0,
        }
    }

    /// Says whether an instance may be placed first: there is room for all that it asked for.
    pub(crate) fn takes_first(&self, node: usize, vm: usize) -> bool {
        let (there, wanted) = (&self.nodes[node], &self.vms[vm]);
        let sum =
            |of: &dyn Fn(&Vm) -> f64| there.vms.iter().map(|v| of(&self.vms[*v])).sum::<f64>();
        there.kind.core >= wanted.mips
            && there.kind.mips - sum(&|v| v.mips) >= wanted.mips
            && MEMORY - sum(&|v| v.memory) >= wanted.memory
            && there.vms.len() < LINKS
    }

    /// Places an instance at the beginning.
    pub(crate) fn place(&mut self, vm: usize, node: usize) {
        self.nodes[node].vms.push(vm);
        self.vms[vm].node = Some(node);
    }

    /// Returns the moments of decisions; the last is the end itself.
    pub(crate) fn moments() -> Vec<f64> {
        let mut moments = Vec::new();
        let mut at = START + INTERVAL;
        while at < END {
            moments.push(at);
            at += INTERVAL;
        }
        moments.push(END);
        moments
    }

    /// Lets time pass: every node takes up the demand of the moment and energy is counted. By the
    /// original rules an instance that demands nothing has ended; where memory counts it stays.
    pub(crate) fn pass(&mut self, now: f64) {
        for node in 0..NODES {
            self.look(node, now);
        }
        let span = now - self.now;
        if span > 0.0 {
            self.joules += self.nodes.iter().map(|n| n.joules(span)).sum::<f64>();
        }
        self.now = now;
        if self.honour_memory {
            return;
        }
        for node in 0..NODES {
            let vms = &self.vms;
            let ended = |v: &usize| !vms[*v].moving && vms[*v].requested == 0.0;
            let gone: Vec<usize> = self.nodes[node].vms.iter().copied().filter(ended).collect();
            for vm in gone {
                self.nodes[node].vms.retain(|v| *v != vm);
                self.vms[vm].node = None;
            }
        }
    }

    /// A node takes up the demand of the moment.
    fn look(&mut self, node: usize, now: f64) {
        for vm in self.nodes[node].vms.clone() {
            self.vms[vm].remember(now);
        }
        let host = &mut self.nodes[node];
        let grants = grants(host, &self.vms);
        host.used_before = host.used;
        host.used = 0.0;
        let mut requested = 0.0;
        for (vm, granted) in host.vms.iter().zip(grants) {
            let vm_moves_in = host.moving_in.contains(vm);
            let vm = &mut self.vms[*vm];
            let mut granted = granted;
            if !vm_moves_in {
                vm.enter(VmEntry {
                    time: now,
                    allocated: granted,
                    requested: vm.requested,
                    moving: vm.moving,
                });
                if vm.moving {
                    granted /= 0.9;
                }
            }
            host.used += granted;
            requested += vm.requested;
        }
        host.on_before = host.on;
        // By the original rules a node that serves nothing is off; where memory counts, one that
        // holds any must stay on.
        host.on = host.used > 0.0 || (self.honour_memory && !host.vms.is_empty());
        let entry = NodeEntry { time: now, on: host.on, used: host.used, requested };
        let before = host.entry.replace(entry);
        if let Some(before) = before.filter(|b| b.on) {
            let span = now - before.time;
            self.active += span;
            if before.used < before.requested {
                self.short += span;
            }
        }
    }

    /// Carries out moves decided at a moment: all begin at once, and each ends when its memory is
    /// copied.
    pub(crate) fn move_all(&mut self, moves: &[(usize, usize)], now: f64) {
        for (vm, to) in moves {
            self.migrations += 1;
            self.vms[*vm].moving = true;
            if !self.nodes[*to].moving_in.contains(vm) {
                self.nodes[*to].moving_in.push(*vm);
                self.nodes[*to].vms.push(*vm);
                self.look(*to, now);
                if let Some(from) = self.vms[*vm].node {
                    self.look(from, now);
                }
            }
        }
        let mut ends: Vec<(f64, usize, usize)> = moves
            .iter()
            .map(|(vm, to)| (now + self.vms[*vm].memory / MOVE_RATE, *vm, *to))
            .collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut at = 0;
        while let Some((time, _, _)) = ends.get(at).copied() {
            if time > END {
                break;
            }
            self.pass(time);
            while let Some((same, vm, to)) = ends.get(at).copied()
                && same <= time
            {
                self.arrive(vm, to);
                at += 1;
            }
            self.pass(time);
        }
    }

    fn arrive(&mut self, vm: usize, to: usize) {
        if let Some(from) = self.vms[vm].node {
            self.nodes[from].vms.retain(|v| *v != vm);
        }
        self.nodes[to].moving_in.retain(|v| *v != vm);
        self.nodes[to].vms.retain(|v| *v != vm);
        self.nodes[to].vms.push(vm);
        self.vms[vm].node = Some(to);
        self.vms[vm].moving = false;
    }

    /// Returns what was measured until now.
    pub(crate) fn measured(&self) -> Measured {
        let sum = |of: &dyn Fn(&Vm) -> f64| self.vms.iter().map(of).sum::<f64>();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Measured {
            energy_kwh: self.joules / 3_600_000.0,
            slatah: share(self.short, self.active),
            pdm: share(sum(&|v| v.lost), sum(&|v| v.asked)),
            active_mean: self.active / (END - START - INTERVAL),
        }
    }
}

impl Node {
    fn joules(&self, span: f64) -> f64 {
        if !self.on_before {
            return 0.0;
        }
        let before = self.kind.curve.watts(self.used_before / self.kind.mips);
        let after = self.kind.curve.watts(self.used / self.kind.mips);
        (before + (after - before) / 2.0) * span
    }

    /// Returns the share of its MIPS in use since the last look.
    pub(crate) fn utilisation(&self) -> f64 {
        let share = self.used / self.kind.mips;
        if share > 1.0 && share < 1.01 { 1.0 } else { share }
    }
}

/// Returns the MIPS that each instance of a node is granted, in their order. A move costs a tenth: the
/// old node grants nine tenths of the demand, the new one a tenth. A node that is short grants all in
/// proportion, in whole MIPS.
fn grants(node: &Node, vms: &[Vm]) -> Vec<f64> {
    let part = |vm: &usize| if node.moving_in.contains(vm) { 0.1 } else { 1.0 };
    let capped = |vm: &usize| vms[*vm].requested.min(node.kind.core);
    let needed: f64 = node.vms.iter().map(|vm| capped(vm) * part(vm)).sum();
    let scale = node.kind.mips / needed;
    let grant = |vm: &usize| {
        let slowed = if node.moving_in.contains(vm) {
            capped(vm) * 0.1
        } else if vms[*vm].moving {
            capped(vm) * 0.9
        } else {
            capped(vm)
        };
        if needed <= node.kind.mips { slowed } else { (slowed * scale).floor() }
    };
    node.vms.iter().map(grant).collect()
}

impl Vm {
    fn new(trace: &Trace, at: usize) -> Self {
        let instance = &trace.instances[at];
        let mips = real(instance.cpu_request.get());
        let mut samples: Vec<f64> = trace.cpu.held(at).map(|u| f64::from(u) / mips).collect();
        samples.truncate(SAMPLES - 1);
        let last = samples.last().copied().unwrap_or(0.0);
        samples.resize(SAMPLES, last);
        Self {
            mips,
            memory: real(instance.memory_request.get()),
            samples,
            history: Vec::new(),
            requested: 0.0,
            node: None,
            moving: false,
            entry: None,
            asked: 0.0,
            lost: 0.0,
        }
    }

    /// Returns the share of its MIPS that it demands at a moment: straight lines between samples.
    fn share(&self, now: f64) -> f64 {
        let at = now / INTERVAL;
        let low = floor_index(at).min(SAMPLES - 1);
        let (first, second) = (self.samples[low], self.samples[(low + 1).min(SAMPLES - 1)]);
        let delta = (second - first) / INTERVAL;
        first + delta * (now - crate::number::length(low) * INTERVAL)
    }

    /// Takes up the demand of a moment; at a moment of decision it is remembered.
    fn remember(&mut self, now: f64) {
        let share = self.share(now);
        self.requested = share * self.mips;
        let tick = (now - START) % INTERVAL == 0.0;
        if tick && self.entry.is_none_or(|e| now > e.time) {
            self.history.insert(0, share);
            self.history.truncate(HISTORY);
        }
    }

    /// Closes the last stretch and opens the next.
    fn enter(&mut self, entry: VmEntry) {
        if let Some(before) = self.entry.replace(entry) {
            let span = entry.time - before.time;
            self.asked += before.requested * span;
            if before.allocated < before.requested && before.moving {
                self.lost += (before.requested - before.allocated) * span;
            }
        }
    }
}
