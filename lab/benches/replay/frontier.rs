//! The frontier of a month of jumping batches: what use each budget buys and what demand it loses, beside
//! every online policy of the reference at the same node-time above the ceiling.

use std::collections::BTreeMap;
use std::path::Path;

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::replay::{Choice, Figures, Replay, replay};
use tengyun_lab::trace;

/// Budgets in percent.
const BUDGETS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 18.0, 19.0, 20.0];
/// Other ceilings in permille of CPU, and budgets in percent: two of the peers have no ceiling of 80 %.
const CEILINGS: [(u64, f64); 3] = [(900, 10.0), (900, 20.0), (990, 38.0)];
/// Harvest fills to so much below the ceiling, as by default.
const TARGET_BELOW: u64 = 10;
/// The online policies of the reference.
const PEERS: [&str; 9] = [
    "borg",
    "max",
    "nsigma-5",
    "rc-99",
    "nsigma-3",
    "rc-95",
    "nsigma-2",
    "short-nsigma-2@85",
    "short-nsigma-2",
];
/// The most moves of an instance and day that are asked for.
const MOVES_MAX: f64 = 1.0;

pub(super) fn frontier(traces: &Path) {
    let Ok(month) = trace::read(&traces.join("bitbrains-rnd-2013-7"), None) else { return };
    let shape = Shape::parse("32/128").expect("a shape");
    let play = |choice: Choice, budget_pct: Option<f64>| {
        let wish = Replay { choice, budget_pct, ..Replay::new(shape, MemoryMode::None) };
        replay(&month, &wish).expect("a replay").figures
    };
    println!(
        "\nbitbrains month, 32/128, no memory: policy, utilisation %, >80 %, >100 %, lost %, moves"
    );
    let own = |name: String, knobs: BTreeMap<String, u64>, budget: f64| {
        let f = play(Choice::Engine(knobs), Some(budget));
        print(&name, &f);
        assert!(f.moves_per_instance_day <= MOVES_MAX, "too many moves: {f:?}");
        f
    };
    let ours = BUDGETS.map(|budget| own(format!("ours, {budget} %"), BTreeMap::new(), budget));
    let higher = CEILINGS.map(|(ceiling, budget)| {
        let band = [("band_ceiling", ceiling), ("band_target", ceiling - TARGET_BELOW)];
        let knobs = band.map(|(knob, value)| (knob.to_owned(), value));
        let name = format!("ours below {} %, {budget} %", ceiling / 10);
        own(name, BTreeMap::from(knobs), budget)
    });
    for peer in PEERS {
        let f = play(Choice::parse(peer).expect("a policy"), None);
        print(peer, &f);
        let (lost, above) = (f.demand_lost_pct, f.above80_pct);
        let same = at(&ours, above, |f| f.above80_pct);
        let said = same.map_or_else(
            || "ours never has so much".to_owned(),
            |(use_pct, lost)| format!("ours {use_pct:.2} %, {lost:.3} % lost"),
        );
        let best = at(&ours, lost, |f| f.demand_lost_pct).map(|(use_pct, _)| use_pct);
        let best = best.unwrap_or_else(|| ours.last().map_or(0.0, |f| f.utilisation_pct));
        println!("    at {above:.3} % above 80 %: {said}; at {lost:.3} % lost: ours {best:.2} %");
        // Beaten is a policy where one budget of ours uses more, and no more time above 80 %, and loses
        // no more.
        let beats = |o: &Figures| {
            o.utilisation_pct > f.utilisation_pct
                && o.above80_pct <= above
                && o.demand_lost_pct <= lost
        };
        let by_default = ours.iter().any(beats);
        let beaten = by_default || higher.iter().any(beats);
        let ceiling = if by_default { "the ceiling of 80 %" } else { "another ceiling" };
        println!("    beaten on all three at once by {ceiling}: {beaten}");
        assert!(beaten, "{peer} is better in something than every budget of ours");
    }
}

fn print(name: &str, f: &Figures) {
    println!(
        "{name:<24}{:>9}{:>9}{:>9}{:>9}{:>9}",
        f.utilisation_pct,
        f.above80_pct,
        f.above100_pct,
        f.demand_lost_pct,
        f.moves_per_instance_day
    );
}

/// Returns the use and the loss where ours would have this much of something, between two budgets.
fn at(ours: &[Figures], much: f64, of: impl Fn(&Figures) -> f64) -> Option<(f64, f64)> {
    ours.windows(2).find_map(|pair| {
        let [low, high] = pair else { return None };
        let (from, to) = (of(low), of(high));
        let within = from <= much && much <= to && to > from;
        let share = (much - from) / (to - from);
        let between = |of: fn(&Figures) -> f64| of(low) + share * (of(high) - of(low));
        within.then(|| (between(|f| f.utilisation_pct), between(|f| f.demand_lost_pct)))
    })
}
