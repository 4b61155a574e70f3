//! The yardsticks on a generated fleet: figures that must not drift, and what must hold of them.

use expect_test::expect;
use tengyun_lab::fleet::{Fleet, MemoryMode, Shape};
use tengyun_lab::generate::Statistics;
use tengyun_lab::rules::Rules;
use tengyun_lab::score::Scores;
use tengyun_lab::yardstick::Yardstick;

fn fleet(memory: MemoryMode) -> Fleet {
    let trace = Statistics { instances: 300, ..Statistics::PLANETLAB }.trace(42);
    Fleet::new(&trace, Shape::parse("16/64").expect("a shape"), memory)
}

fn scores(fleet: &Fleet, name: &str) -> Scores {
    let mut planner = Yardstick::parse(name).expect("a yardstick").planner(fleet);
    Scores::of(fleet, planner.as_mut(), &Rules::FREE)
}

#[test]
fn figures_of_a_generated_fleet_do_not_drift() {
    let fleet = fleet(MemoryMode::None);
    let mut lines = Vec::new();
    for name in ["ffd-1", "ffd-4", "nsigma-5", "rc-95", "max", "borg", "oracle-24h", "oracle-1h"] {
        let scores = scores(&fleet, name);
        let figures = scores.figures().map(|f| format!("{f:.2}")).join(" ");
        let (nodes, moves) = (scores.nodes_mean(), scores.moves);
        lines.push(format!("{name}: {nodes:.2} nodes, {figures}, {moves} moves\n"));
    }
    expect![["
        ffd-1: 27.00 nodes, 10.59 0.00 0.00 0.00 0.00 0.00, 0 moves
        ffd-4: 7.00 nodes, 40.85 0.51 0.00 0.00 0.00 0.00, 0 moves
        nsigma-5: 4.43 nodes, 64.56 63.71 11.47 1.34 0.00 0.00, 149 moves
        rc-95: 5.86 nodes, 48.82 12.80 0.00 0.00 0.00 0.00, 219 moves
        max: 6.29 nodes, 45.49 2.15 0.00 0.00 0.00 0.00, 161 moves
        borg: 25.00 nodes, 11.44 0.00 0.00 0.00 0.00 0.00, 0 moves
        oracle-24h: 5.00 nodes, 57.19 50.56 0.00 0.00 0.00 0.00, 0 moves
        oracle-1h: 4.43 nodes, 64.56 77.42 0.00 0.00 0.00 0.00, 2004 moves
    "]]
    .assert_eq(&lines.concat());
}

#[test]
fn an_oracle_never_passes_its_line_and_nobody_beats_the_lower_bound() {
    let fleet = fleet(MemoryMode::None);
    let bound = fleet.lower_bound(0.8);
    for name in ["oracle-24h", "oracle-1h", "oracle-15min"] {
        let scores = scores(&fleet, name);
        assert!(scores.figures()[2] < 1e-9, "{name} was above 80 %");
        assert!(scores.nodes_mean() >= bound, "{name} beat the bound");
    }
}

#[test]
fn memory_that_counts_is_never_promised_twice() {
    let fleet = fleet(MemoryMode::Request);
    for name in ["ffd-4", "nsigma-2", "oracle-1h"] {
        let scores = scores(&fleet, name);
        assert!(scores.nodes_mean() >= fleet.memory_bound(), "{name}");
    }
}

#[test]
fn the_same_input_gives_the_same_figures() {
    let fleet = fleet(MemoryMode::None);
    let (one, two) = (scores(&fleet, "nsigma-3"), scores(&fleet, "nsigma-3"));
    assert_eq!(one.steps, two.steps);
}
