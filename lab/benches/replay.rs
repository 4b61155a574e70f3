//! How long replays take, and what they find. One core, release: `cargo bench -p tengyun-lab`.
//!
//! Recorded days need the shared traces (`TENGYUN_LAB_REFERENCE` names the directory that holds
//! `traces`); without them only the synthetic fleet is replayed. An argument chooses by name.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "replay/calibration.rs"]
mod calibration;
#[path = "replay/frontier.rs"]
mod frontier;
#[path = "replay/process.rs"]
mod process;
#[path = "replay/scale.rs"]
mod scale;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tengyun_lab::arrivals;
use tengyun_lab::cloudsim::{self, Detector};
use tengyun_lab::drive::Driver;
use tengyun_lab::fleet::{Fleet, MemoryMode, Shape};
use tengyun_lab::generate::Statistics;
use tengyun_lab::pack::pack;
use tengyun_lab::replay::{Choice, Replay, replay};
use tengyun_lab::rules::Rules;
use tengyun_lab::score::Scores;
use tengyun_lab::trace::{self, Trace};

use process::{forget_peak, mebibytes, user_secs};

const DAYS: [&str; 5] = ["20110303", "20110306", "20110309", "20110322", "20110325"];
const POLICIES: [&str; 9] =
    ["default", "ffd-1", "ffd-4", "nsigma-5", "rc-95", "max", "borg", "oracle-24h", "oracle-1h"];

/// So often a replay is tried that has to be within a bound.
const TRIES_MAX: usize = 3;
/// The most CPU seconds that a replay by our engine may take.
const STACKED_SECS_MAX: f64 = 5.0;
const BITBRAINS_SECS_MAX: f64 = 20.0;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| name.contains(c.as_str()));
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("TENGYUN_LAB_REFERENCE").map_or(beside, PathBuf::from);
    let traces = shared.join("traces");
    let read = |name: &str| trace::read(&traces.join(name), None).ok();
    let days = || DAYS.iter().filter_map(|d| read(&format!("planetlab-{d}"))).collect();
    if wanted("times") {
        let days: Vec<Trace> = days();
        if days.len() == DAYS.len() {
            timed("stacked PlanetLab day", &Trace::stacked(days), STACKED_SECS_MAX);
        }
        if let Some(month) = read("bitbrains-rnd-2013-7") {
            timed("Bitbrains month", &month, BITBRAINS_SECS_MAX);
        }
    }
    if wanted("planetlab") {
        let days: Vec<Trace> = days();
        if days.len() == DAYS.len() {
            table("planetlab stacked, 32/128, no memory", &Trace::stacked(days), MemoryMode::None);
        }
    }
    if wanted("bitbrains")
        && let Some(month) = read("bitbrains-rnd-2013-7")
    {
        table("bitbrains month, 32/128, no memory", &month, MemoryMode::None);
        table("bitbrains month, 32/128, memory used", &month, MemoryMode::Used);
    }
    if wanted("frontier") {
        frontier::frontier(&traces);
    }
    if wanted("calibration") {
        calibration::calibration(&traces);
    }
    if wanted("google")
        && let Some(day) = read("google2011-gcd")
    {
        table("google day, 32/128, no memory", &day, MemoryMode::None);
    }
    if wanted("cloudsim")
        && let Some(day) = read("planetlab-20110303")
    {
        experiment(&day);
    }
    if wanted("openb") {
        openb(&traces.join("openb-order"));
    }
    if wanted("arrivals") {
        come_and_go(&traces.join("azure-v1-arrivals"));
    }
    if wanted("synthetic") {
        synthetic();
    }
    if wanted("limits") {
        scale::limits();
    }
    if wanted("seasons") {
        scale::seasons();
    }
    if chosen.iter().any(|c| c == "ours") {
        ours(&traces);
    }
}

/// Replays a trace by our engine within a bound of time, and says what it took. A neighbour on the
/// same core and caches only ever adds: one of some tries has to be within.
fn timed(name: &str, trace: &Trace, most: f64) {
    let shape = Shape::parse("32/128").expect("a shape");
    let within = (1..=TRIES_MAX).any(|_| {
        forget_peak();
        let before = user_secs();
        let done = replay(trace, &Replay::new(shape, MemoryMode::None)).expect("a replay");
        let took = user_secs() - before;
        let (f, peak) = (done.figures, mebibytes("VmHWM:"));
        println!(
            "{name}: {} instances, {} steps: {took:.2} CPU s of {most}, {:.2} s wall, {peak} MiB at most",
            f.instances, f.steps, f.seconds
        );
        took <= most
    });
    assert!(within, "{name} takes more than the {most} CPU seconds that are allowed");
}

/// Lists of nodes and instances, packed in their order.
fn openb(directory: &Path) {
    println!("\nopenb-order: list, CPU % at the first refusal, CPU %, GPU % in the end, placed, s");
    for list in ["C", "G"] {
        let file = |what: &str| directory.join(format!("{what}_{list}.csv"));
        let Ok(packed) = pack(&file("nodes"), &file("pods"), &BTreeMap::new()) else { continue };
        let f = packed.figures;
        let (first, cpu, gpu) = (f.cpu_first_refusal_pct, f.cpu_final_pct, f.gpu_final_pct);
        println!("{list:<4}{first:>8}{cpu:>8}{gpu:>8}{:>8}{:>9}", f.placed, f.seconds);
    }
}

/// Instances that come and go, with and without moves.
fn come_and_go(directory: &Path) {
    let Ok(list) = arrivals::read(directory) else { return };
    for (shape, consolidate) in [("32/128", 1), ("32/128", 0), ("64/256", 0)] {
        let knobs = BTreeMap::from([("consolidate".to_owned(), consolidate)]);
        let shape = Shape::parse(shape).expect("a shape");
        let figures = arrivals::play("azure", &list, shape, &knobs).expect("arrivals");
        println!("\narrivals, {shape:?}, consolidate {consolidate}: {figures:#?}");
    }
}

fn table(name: &str, trace: &Trace, memory: MemoryMode) {
    println!(
        "\n{name}: policy, nodes, utilisation %, band %, >80 %, >90 %, >100 %, lost %, moves, s"
    );
    let shape = Shape::parse("32/128").expect("a shape");
    for policy in POLICIES {
        let choice = Choice::parse(policy).expect("a policy");
        let done = replay(trace, &Replay { choice, ..Replay::new(shape, memory) });
        let f = done.expect("a replay").figures;
        println!(
            "{policy:<12}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            f.nodes_mean,
            f.utilisation_pct,
            f.in_band_pct,
            f.above80_pct,
            f.above90_pct,
            f.above100_pct,
            f.demand_lost_pct,
            f.moves,
            f.seconds
        );
    }
    println!("peak memory so far: {} MiB", mebibytes("VmHWM:"));
}

fn experiment(day: &Trace) {
    println!("\ncloudsim 20110303: policy, memory honoured, figures, s");
    for name in ["thr-mmt", "iqr-mmt", "mad-mmt", "lr-mmt", "default"] {
        for honour in [false, true] {
            let policy = Detector::parse(name)
                .map_or(cloudsim::Policy::Ours(BTreeMap::new()), cloudsim::Policy::Theirs);
            let began = Instant::now();
            let figures = cloudsim::run(day, &policy, honour).expect("a day");
            println!("{name:<10}{honour:<7}{figures:?} {:.2}", began.elapsed().as_secs_f64());
        }
    }
}

/// Our engine alone over every trace, each in one line of JSON: what a change of the engine changed.
fn ours(traces: &Path) {
    let read = |name: &str| trace::read(&traces.join(name), None).ok();
    let days: Vec<Trace> = DAYS.iter().filter_map(|d| read(&format!("planetlab-{d}"))).collect();
    let stacked = Trace::stacked(days);
    let shape = |text: &str| Shape::parse(text).expect("a shape");
    let play = |trace: &Trace, shape: Shape, memory: MemoryMode, budget_pct: f64| {
        let done =
            replay(trace, &Replay { budget_pct: Some(budget_pct), ..Replay::new(shape, memory) });
        let figures = serde_json::to_string(&done.expect("a replay").figures);
        println!("{}: {}", trace.name, figures.expect("figures"));
    };
    play(&stacked, shape("32/128"), MemoryMode::None, 1.0);
    play(&stacked, shape("64/256"), MemoryMode::None, 5.0);
    play(&stacked, shape("16/16"), MemoryMode::Request, 1.0);
    for name in ["google2011-gcd", "bitbrains-rnd-2013-7"] {
        let Some(trace) = read(name) else { continue };
        play(&trace, shape("32/128"), MemoryMode::Used, 1.0);
        play(&trace, shape("32/128"), MemoryMode::None, 1.0);
    }
    let directory = traces.join("openb-order");
    for list in ["C", "G"] {
        let file = |what: &str| directory.join(format!("{what}_{list}.csv"));
        if let Ok(packed) = pack(&file("nodes"), &file("pods"), &BTreeMap::new()) {
            println!("{list}: {}", serde_json::to_string(&packed.figures).expect("figures"));
        }
    }
}

/// 10,000 nodes and 100,000 instances: virtual hours a second.
fn synthetic() {
    let trace = Statistics { instances: 100_000, ..Statistics::PLANETLAB }.trace(1);
    let fleet = Fleet::new(&trace, Shape::parse("16/64").expect("a shape"), MemoryMode::None);
    drop(trace);
    let steps = fleet.warm + 24;
    let fleet = fleet.cut(steps);
    let (began, begun) = (Instant::now(), user_secs());
    let mut driver =
        Driver::new(&fleet, &BTreeMap::new(), vec![false; fleet.len()], None).expect("an engine");
    let (warm, warmed) = (began.elapsed().as_secs_f64(), user_secs());
    let scores = Scores::of(&fleet, &mut driver, &Rules::FREE);
    let (seconds, wall) = (user_secs() - warmed, began.elapsed().as_secs_f64() - warm);
    let hours = 24.0 / 12.0;
    println!(
        "\nsynthetic, {} instances on {} nodes known: warm-up {:.1} CPU s ({warm:.1} s wall), then \
         {hours} virtual hours in {seconds:.1} CPU s ({wall:.1} s wall), {:.3} hours a CPU second, \
         {:.0} nodes in use, peak memory {} MiB",
        fleet.len(),
        driver.nodes(),
        warmed - begun,
        hours / seconds,
        scores.nodes_mean(),
        mebibytes("VmHWM:")
    );
}
