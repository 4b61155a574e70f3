//! Does the budget come out? Every budget on every recorded fleet, with the interval of what came out, and
//! what one node more or less is where there are few.

use std::path::Path;

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::interval;
use tengyun_lab::replay::{Replay, replay};
use tengyun_lab::score::StepScore;
use tengyun_lab::trace::{self, Trace};

use super::DAYS;

/// Budgets in percent.
const BUDGETS: [f64; 4] = [0.1, 1.0, 5.0, 10.0];
/// So many events have to be expected before chance decides of too little.
const EVENTS: f64 = 50.0;
/// Steps of the six days that follow the one that every longer trace is warmed up with.
const SIX_DAYS: usize = 6 * 288;

pub(super) fn calibration(traces: &Path) {
    println!(
        "\ncalibration, 32/128, no memory: fleet, budget %, above 80 % of node-time, 95 % interval, \
         times the budget, events expected, one node is % of the fleet, holds"
    );
    let read = |name: &str| trace::read(&traces.join(name), None).ok();
    let days: Vec<Trace> = DAYS.iter().filter_map(|d| read(&format!("planetlab-{d}"))).collect();
    let mut all_hold = true;
    if days.len() == DAYS.len() {
        all_hold &= budgets("stacked", &Trace::stacked(days.clone()), 0, (0.6, 1.5));
    }
    if let Some(month) = read("bitbrains-rnd-2013-7") {
        budgets("bitbrains, all", &month, 0, (0.0, 2.0));
        all_hold &= budgets("bitbrains, later", &month, SIX_DAYS, (0.0, 2.0));
    }
    // One node is so much of a small fleet that its share is no promise.
    for (day, trace) in DAYS.iter().zip(&days) {
        budgets(day, trace, 0, (0.0, 1.5));
    }
    if let Some(day) = read("google2011-gcd") {
        budgets("google", &day, 0, (0.0, 1.5));
    }
    assert!(all_hold, "a budget did not come out: see the lines that say false");
}

/// Plays every budget; says whether all come out between `least` and `most` times what was asked for
/// where enough events are expected, and elsewhere may by their interval.
fn budgets(name: &str, trace: &Trace, learning: usize, (least, most): (f64, f64)) -> bool {
    let mut all_hold = true;
    for budget_pct in BUDGETS {
        let shape = Shape::parse("32/128").expect("a shape");
        let wish = Replay { budget_pct: Some(budget_pct), ..Replay::new(shape, MemoryMode::None) };
        let scores = replay(trace, &wish).expect("a replay").scores;
        let steps = scores.steps.get(learning..).unwrap_or(&[]);
        let sum = |of: fn(&StepScore) -> u64| real(steps.iter().map(of).sum());
        let (above, nodes) = (sum(|s| s.above80), sum(|s| s.nodes));
        let share = 100.0 * above / nodes;
        let (low, high) = interval::above80_pct(steps);
        let expected = nodes * budget_pct / 100.0;
        let ratio = share / budget_pct;
        let comes_out = if expected >= EVENTS { ratio <= most } else { low <= budget_pct };
        let holds = comes_out && ratio >= least;
        all_hold &= holds;
        let one = 100.0 * real(steps.iter().map(|_| 1).sum()) / nodes;
        println!(
            "{name:<18}{budget_pct:>6}{share:>9.3}  {low:>7.3} to {high:<7.3}{ratio:>7.2}{expected:>9.0}\
             {one:>7.1}  {holds}"
        );
    }
    all_hold
}

fn real(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a trace has fewer node-steps"))
}
