//! Before you move: from the history of existing servers, how many servers are needed at a stated risk,
//! what binds each of them, which workload goes where in what order, and what that saves.
//!
//! Every existing server is one workload here. It refuses when the history is thin: a plan made of gaps
//! would be a guess.

mod report;

use std::collections::BTreeMap;

use serde::Serialize;

pub use report::html;

use crate::energy::PowerCurve;
use crate::fleet::{Fleet, MemoryMode, Shape};
use crate::note::Note;
use crate::number::{decimals, floor_index, length, percent, real, wide};
use crate::trace::{STEP_SECS, Trace};

/// Hours of a year.
const YEAR_HOURS: f64 = 8760.0;
/// A shorter history has not seen a whole week, and says so.
const WEEK_STEPS: usize = 7 * crate::trace::DAY_STEPS;

/// What keeps a plan from being made.
#[derive(Debug, thiserror::Error)]
pub enum BeforeError {
    /// Too much is missing.
    #[error(
        "the history covers {coverage_pct} % of its time, {wanted_pct} % are wanted: record longer, or close the gaps, and try again"
    )]
    Thin {
        /// What is covered.
        coverage_pct: f64,
        /// What is wanted.
        wanted_pct: f64,
    },
    /// Nothing fits.
    #[error("no workload fits on a server of this size: choose a larger one")]
    NothingFits,
}

/// A plan to be made.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The servers to move to.
    pub shape: Shape,
    /// How memory counts: by request, or by each workload's own peak and 10 %.
    pub memory: MemoryMode,
    /// Share of time that a server may be above the ceiling, in percent.
    pub risk_pct: f64,
    /// The ceiling of a server's CPU, in percent.
    pub ceiling_pct: f64,
    /// Coverage below which the plan is refused, in percent.
    pub coverage_min_pct: f64,
    /// What a server of today and of tomorrow draws.
    pub curve: PowerCurve,
    /// Money for one kWh.
    pub price_kwh: f64,
    /// Money for one server and year, without energy.
    pub price_server: f64,
}

impl Wish {
    /// A plan at 1 % above 80 %, by used memory, refused below 70 % of coverage.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            memory: MemoryMode::Used,
            risk_pct: 1.0,
            ceiling_pct: 80.0,
            coverage_min_pct: 70.0,
            curve: PowerCurve::G5,
            price_kwh: 0.0,
            price_server: 0.0,
        }
    }
}

/// The fewest servers that each resource alone would need, if workloads could be cut in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// By the highest CPU demand of all together, below the ceiling.
    pub cpu: u64,
    /// By each workload's own memory peak and 10 %; `None` where no memory was recorded.
    pub memory_used: Option<u64>,
    /// By the memory that was provisioned.
    pub memory_requested: u64,
}

/// One server of the plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Server {
    /// From 1.
    pub number: u64,
    /// The resource that is fuller.
    pub binding: &'static str,
    /// Mean CPU demand.
    pub cpu_mean_pct: f64,
    /// CPU demand that is passed for the stated risk of the time only.
    pub cpu_at_risk_pct: f64,
    /// Memory taken.
    pub memory_pct: f64,
    /// How many workloads go there.
    pub workloads: u64,
}

/// One move.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// From 1: servers are filled one after the other, the largest workload first.
    pub order: u64,
    /// What moves.
    pub workload: String,
    /// Whose it is; empty where that is not recorded.
    pub department: String,
    /// Where to.
    pub server: u64,
}

/// What one department gets and pays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Department {
    /// Its name; empty where none is recorded.
    pub name: String,
    /// How many workloads it has.
    pub workloads: u64,
    /// What they use.
    pub core_hours_per_day: f64,
    /// Its share of the servers, by the fuller resource of each.
    pub servers: f64,
    /// Its share of servers and energy.
    pub money_per_year: f64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BeforeYouMove {
    /// Servers of today.
    pub servers_now: u64,
    /// Servers needed.
    pub servers_needed: u64,
    /// Servers released.
    pub servers_released: u64,
    /// Workloads that fit on no server and stay where they are.
    pub stays: Vec<String>,
    /// Share of the history that was recorded.
    pub coverage_pct: f64,
    /// Rows that could not be used.
    pub bad_rows: u64,
    /// Length of the history.
    pub hours: f64,
    /// The risk that was asked for.
    pub risk_pct: f64,
    /// The share of a server's CPU that may be passed at that risk only.
    pub ceiling_pct: f64,
    /// The resource that sets the number of servers.
    pub binding: &'static str,
    /// The fewest servers by each resource.
    pub bounds: Bounds,
    /// Mean CPU utilisation of the servers of the plan.
    pub utilisation_pct: f64,
    /// Energy of today's servers.
    pub kwh_per_year_now: f64,
    /// Energy of the plan's.
    pub kwh_per_year_then: f64,
    /// Money today, by the prices given.
    pub money_per_year_now: f64,
    /// Money with the plan.
    pub money_per_year_then: f64,
    /// Every server.
    pub servers: Vec<Server>,
    /// Every move.
    pub moves: Vec<Step>,
    /// Every department.
    pub departments: Vec<Department>,
    /// What a reader should know.
    pub notes: Vec<Note>,
}

/// A server while workloads are put on it.
#[derive(Clone, Debug)]
struct Seat {
    demand: Vec<f64>,
    memory: f64,
    guests: Vec<usize>,
}

/// Makes a plan of a history.
pub fn plan(trace: &Trace, wish: &Wish) -> Result<BeforeYouMove, BeforeError> {
    let coverage_pct = trace.coverage_pct();
    if coverage_pct < wish.coverage_min_pct {
        let coverage_pct = decimals(coverage_pct, 1);
        return Err(BeforeError::Thin { coverage_pct, wanted_pct: wish.coverage_min_pct });
    }
    let mut fleet = Fleet::new(trace, wish.shape, wish.memory);
    // All of the history counts, there is nothing to warm up.
    fleet.warm = 0;
    if fleet.is_empty() {
        return Err(BeforeError::NothingFits);
    }
    let seats = pack(&fleet, wish);
    Ok(describe(trace, &fleet, &seats, wish))
}

/// Packs by best fit, the largest share of a server first.
fn pack(fleet: &Fleet, wish: &Wish) -> Vec<Seat> {
    let line = fleet.capacity * wish.ceiling_pct / 100.0;
    let allowed = floor_index(length(fleet.steps) * wish.risk_pct / 100.0);
    let peak = |at: usize| fleet.demand(at).iter().fold(0.0_f64, |peak, v| peak.max(*v));
    let size = |at: usize| (peak(at) / line).max(fleet.memory[at] / fleet.memory_capacity);
    let sizes: Vec<f64> = (0..fleet.len()).map(size).collect();
    let mut order: Vec<usize> = (0..fleet.len()).collect();
    order.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]).then(a.cmp(b)));
    let mut seats: Vec<Seat> = Vec::new();
    for guest in order {
        let mut best: Option<(usize, f64)> = None;
        for (at, seat) in seats.iter().enumerate() {
            if !fleet.memory_fits(seat.memory, guest) {
                continue;
            }
            let Some(mean) = mean_with(seat, fleet.demand(guest), line, allowed) else { continue };
            let memory = (seat.memory + fleet.memory[guest]) / fleet.memory_capacity;
            let filled = (mean / line).max(memory);
            if best.is_none_or(|(_, known)| filled > known) {
                best = Some((at, filled));
            }
        }
        let at = best.map_or(seats.len(), |(at, _)| at);
        if at == seats.len() {
            seats.push(Seat { demand: vec![0.0; fleet.steps], memory: 0.0, guests: Vec::new() });
        }
        let seat = &mut seats[at];
        for (sum, used) in seat.demand.iter_mut().zip(fleet.demand(guest)) {
            *sum += used;
        }
        seat.memory += fleet.memory[guest];
        seat.guests.push(guest);
    }
    seats
}

/// Returns the mean of a sum, unless it passes the line in more steps than allowed.
fn mean_with(seat: &Seat, wanted: &[f64], line: f64, allowed: usize) -> Option<f64> {
    let (mut above, mut sum) = (0, 0.0);
    for (there, used) in seat.demand.iter().zip(wanted) {
        let with = there + used;
        sum += with;
        if with > line {
            above += 1;
            if above > allowed {
                return None;
            }
        }
    }
    Some(sum / length(seat.demand.len().max(1)))
}

fn describe(trace: &Trace, fleet: &Fleet, seats: &[Seat], wish: &Wish) -> BeforeYouMove {
    let servers: Vec<Server> =
        seats.iter().enumerate().map(|(at, seat)| server(fleet, seat, at, wish)).collect();
    let (now, then) = (kwh_now(trace, wish), kwh_then(fleet, seats, wish));
    let placed: std::collections::BTreeSet<usize> = fleet.source.iter().copied().collect();
    let stays: Vec<String> = (0..trace.instances.len())
        .filter(|at| !placed.contains(at))
        .map(|at| trace.instances[at].name.clone())
        .collect();
    let servers_now = wide(trace.instances.len());
    let servers_needed = wide(seats.len() + stays.len());
    let money = |servers: u64, kwh: f64| real(servers) * wish.price_server + kwh * wish.price_kwh;
    let bounds = bounds(trace, fleet, wish);
    let memory_bound = match wish.memory {
        MemoryMode::None => 0,
        MemoryMode::Request | MemoryMode::Forecast => bounds.memory_requested,
        MemoryMode::Used => bounds.memory_used.unwrap_or(bounds.memory_requested),
    };
    let money_then = money(servers_needed, then);
    BeforeYouMove {
        servers_now,
        servers_needed,
        servers_released: servers_now.saturating_sub(servers_needed),
        coverage_pct: decimals(trace.coverage_pct(), 2),
        bad_rows: trace.rows.bad,
        hours: decimals(length(fleet.steps) * real(STEP_SECS) / 3600.0, 2),
        risk_pct: wish.risk_pct,
        ceiling_pct: wish.ceiling_pct,
        binding: if memory_bound > bounds.cpu { "memory" } else { "cpu" },
        bounds,
        utilisation_pct: decimals(
            servers.iter().map(|s| s.cpu_mean_pct).sum::<f64>() / length(servers.len().max(1)),
            2,
        ),
        kwh_per_year_now: decimals(now, 0),
        kwh_per_year_then: decimals(then, 0),
        money_per_year_now: decimals(money(servers_now, now), 2),
        money_per_year_then: decimals(money_then, 2),
        departments: departments(trace, fleet, seats, money_then),
        moves: moves(trace, fleet, seats),
        notes: notes(trace, &stays),
        servers,
        stays,
    }
}

fn server(fleet: &Fleet, seat: &Seat, at: usize, wish: &Wish) -> Server {
    let mut sorted = seat.demand.clone();
    let at_risk = crate::number::percentile(&mut sorted, 100.0 - wish.risk_pct.clamp(0.0, 100.0));
    let cpu_at_risk_pct = percent(at_risk, fleet.capacity);
    let memory_pct = percent(seat.memory, fleet.memory_capacity);
    let by_memory = memory_pct / 100.0 > cpu_at_risk_pct / wish.ceiling_pct;
    Server {
        number: wide(at) + 1,
        binding: if by_memory { "memory" } else { "cpu" },
        cpu_mean_pct: decimals(percent(crate::number::mean(&seat.demand), fleet.capacity), 2),
        cpu_at_risk_pct: decimals(cpu_at_risk_pct, 2),
        memory_pct: decimals(memory_pct, 2),
        workloads: wide(seat.guests.len()),
    }
}

fn bounds(trace: &Trace, fleet: &Fleet, wish: &Wish) -> Bounds {
    let line = fleet.capacity * wish.ceiling_pct / 100.0;
    let peak = fleet.aggregate().iter().fold(0.0_f64, |peak, v| peak.max(*v));
    let by = |mode| crate::number::nearest(Fleet::new(trace, wish.shape, mode).memory_bound());
    Bounds {
        cpu: crate::number::nearest((peak / line).ceil()),
        memory_used: trace.memory.as_ref().map(|_| by(MemoryMode::Used)),
        memory_requested: by(MemoryMode::Request),
    }
}

/// Energy of today's servers: each by its own utilisation.
fn kwh_now(trace: &Trace, wish: &Wish) -> f64 {
    let mut watts = 0.0;
    for (at, instance) in trace.instances.iter().enumerate() {
        let cores = real(instance.cpu_request.get()).max(1.0);
        let steps = length(trace.steps().max(1));
        let drawn = trace.cpu.held(at).map(|used| wish.curve.watts(f64::from(used) / cores));
        watts += drawn.sum::<f64>() / steps;
    }
    watts * YEAR_HOURS / 1000.0
}

fn kwh_then(fleet: &Fleet, seats: &[Seat], wish: &Wish) -> f64 {
    let drawn = |seat: &Seat| {
        let watts = seat.demand.iter().map(|used| wish.curve.watts(used / fleet.capacity));
        watts.sum::<f64>() / length(seat.demand.len().max(1))
    };
    seats.iter().map(drawn).sum::<f64>() * YEAR_HOURS / 1000.0
}

fn moves(trace: &Trace, fleet: &Fleet, seats: &[Seat]) -> Vec<Step> {
    let guests =
        seats.iter().enumerate().flat_map(|(s, seat)| seat.guests.iter().map(move |g| (s, g)));
    let step = |(order, (server, guest)): (usize, (usize, &usize))| {
        let instance = &trace.instances[fleet.source[*guest]];
        Step {
            order: wide(order) + 1,
            workload: instance.name.clone(),
            department: instance.group.clone(),
            server: wide(server) + 1,
        }
    };
    guests.enumerate().map(step).collect()
}

/// Shares the servers out: each by the fuller of its two resources.
fn departments(trace: &Trace, fleet: &Fleet, seats: &[Seat], money: f64) -> Vec<Department> {
    let mut all: BTreeMap<&str, (u64, f64, f64)> = BTreeMap::new();
    let mean = |guest: usize| crate::number::mean(fleet.demand(guest));
    for seat in seats {
        let cpu: f64 = seat.guests.iter().map(|g| mean(*g)).sum();
        let by_memory = seat.memory / fleet.memory_capacity > cpu / fleet.capacity;
        for guest in &seat.guests {
            let group = trace.instances[fleet.source[*guest]].group.as_str();
            let (part, whole) =
                if by_memory { (fleet.memory[*guest], seat.memory) } else { (mean(*guest), cpu) };
            let entry = all.entry(group).or_default();
            entry.0 += 1;
            entry.1 += mean(*guest) / 1000.0 * 24.0;
            entry.2 += if whole > 0.0 { part / whole } else { 1.0 / length(seat.guests.len()) };
        }
    }
    let servers = length(seats.len().max(1));
    let one = |(name, (workloads, core_hours, share)): (&str, (u64, f64, f64))| Department {
        name: name.to_owned(),
        workloads,
        core_hours_per_day: decimals(core_hours, 2),
        servers: decimals(share, 3),
        money_per_year: decimals(money * share / servers, 2),
    };
    all.into_iter().map(one).collect()
}

fn notes(trace: &Trace, stays: &[String]) -> Vec<Note> {
    let mut notes = Vec::new();
    if trace.steps() < WEEK_STEPS {
        notes.push(Note::new(
            "历史不足一周，看不到每周的高峰",
            "the history is shorter than a week: weekly peaks are not in it",
        ));
    }
    if trace.memory.is_none() {
        notes.push(Note::new(
            "没有内存记录，内存按申请量计",
            "no memory was recorded: it counts as requested",
        ));
    }
    if !stays.is_empty() {
        let count = stays.len();
        notes.push(Note::new(
            format!("有 {count} 个负载放不进这种规格的服务器，留在原处"),
            format!("{count} workloads fit on no server of this size and stay"),
        ));
    }
    notes.push(Note::new(
        "历史看不到 5 分钟以内的尖峰，由各节点自身的保护应对",
        "peaks within 5 minutes are not in the history; the nodes' own guard covers them",
    ));
    notes
}
