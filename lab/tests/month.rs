//! A recorded month of a hosting company under the default policy, with what a real move costs: memory
//! binds, and the nodes in use come near its bound though a third of the instances never moves.

mod shared;

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::replay::{Replay, replay};
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
