//! A recorded month of a hosting company under the default policy, with what a real move costs: memory
//! binds, and the nodes in use come near its bound though a third of the instances never moves.

mod shared;

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::replay::{Choice, Replay, replay};
use tengyun_lab::rules::Honest;

#[test]
fn memory_binds_and_its_bound_is_reached_though_a_third_never_moves() {
    let Some(month) = shared::trace("bitbrains-rnd-2013-7") else { return };
    let shape = Shape::parse("32/128").expect("a shape");
    let plain = Replay::new(shape, MemoryMode::Used);
    let wish = Replay { honest: Some(Honest::DEFAULT), immovable_pct: 30.0, ..plain };
    let f = replay(&month, &wish).expect("a replay").figures;
    assert_eq!(f.binding, "memory");
    assert!(f.nodes_mean <= 1.05 * f.lower_bound_nodes_mean, "{f:?}");
    assert!(f.moves_per_instance_day * 7.0 <= 1.0, "{f:?}");
    assert!(f.above80_pct <= 1.0, "{f:?}");
}

#[test]
fn a_budget_of_five_percent_beats_what_decides_by_the_hour_on_use_and_loss_at_once() {
    let Some(month) = shared::trace("bitbrains-rnd-2013-7") else { return };
    let shape = Shape::parse("32/128").expect("a shape");
    let plain = Replay::new(shape, MemoryMode::None);
    let ours = Replay { budget_pct: Some(5.0), ..plain.clone() };
    let ours = replay(&month, &ours).expect("a replay").figures;
    assert!(ours.moves_per_instance_day <= 1.0, "{ours:?}");
    for peer in ["borg", "nsigma-5", "nsigma-2"] {
        let choice = Choice::parse(peer).expect("a policy");
        let theirs = replay(&month, &Replay { choice, ..plain.clone() }).expect("a replay").figures;
        let beaten = ours.utilisation_pct > theirs.utilisation_pct
            && ours.above80_pct <= theirs.above80_pct
            && ours.demand_lost_pct <= theirs.demand_lost_pct;
        assert!(beaten, "{peer}: {theirs:?}, ours {ours:?}");
    }
}
