//! The frontier of a month of jumping batches: what use each budget buys and what demand it loses, beside
//! every online policy of the reference at the same node-time above the ceiling.

use std::path::Path;

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::replay::{Choice, Figures, Replay, replay};
use tengyun_lab::trace;

/// Budgets in percent.
const BUDGETS: [f64; 9] = [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 18.0, 19.0, 20.0];
/// The online policies of the reference, and whether they decide every five minutes.
const PEERS: [(&str, bool); 9] = [
    ("borg", false),
    ("max", false),
    ("nsigma-5", false),
    ("rc-99", false),
    ("nsigma-3", false),
    ("rc-95", false),
    ("nsigma-2", false),
    ("short-nsigma-2@85", true),
    ("short-nsigma-2", true),
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
    let ours: Vec<Figures> = BUDGETS
        .iter()
        .map(|budget| {
            let f = play(Choice::Engine(std::collections::BTreeMap::new()), Some(*budget));
            print(&format!("ours, {budget} %"), &f);
            assert!(f.moves_per_instance_day <= MOVES_MAX, "too many moves: {f:?}");
            f
        })
        .collect();
    for (peer, often) in PEERS {
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
        let beats = |o: &&Figures| {
            o.utilisation_pct > f.utilisation_pct
                && o.above80_pct <= above
                && o.demand_lost_pct <= lost
        };
        let beaten = ours.iter().find(beats).is_some();
        println!(
            "    {}",
            if beaten { "beaten on all three at once" } else { "not beaten on all three" }
        );
        assert!(beaten || often, "{peer} is better in something than every budget of ours");
    }
}

fn print(name: &str, f: &Figures) {
    println!(
        "{name:<18}{:>9}{:>9}{:>9}{:>9}{:>9}",
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
