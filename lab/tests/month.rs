//! A recorded month of a hosting company under the default policy, with what a real move costs: memory
//! binds, and the nodes in use come near its bound though a third of the instances never moves.
//!
//! It needs the shared traces, which may not be shipped; without them it says so and is skipped.
//! `TENGYUN_LAB_REFERENCE` names the directory that holds `traces` and turns a skip into a failure.

use std::path::Path;

use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::replay::{Replay, replay};
use tengyun_lab::rules::Honest;
use tengyun_lab::trace::parquet;

#[test]
fn memory_binds_and_its_bound_is_reached_though_a_third_never_moves() {
    let forced = std::env::var_os("TENGYUN_LAB_REFERENCE");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = forced.clone().map_or(beside, Into::into);
    let directory = shared.join("traces/bitbrains-rnd-2013-7");
    if !directory.is_dir() {
        assert!(forced.is_none(), "{} is missing", directory.display());
        println!("skipped: the shared traces are not here");
        return;
    }
    let month = parquet::read(&directory).expect("a recorded month");
    let shape = Shape::parse("32/128").expect("a shape");
    let plain = Replay::new(shape, MemoryMode::Used);
    let wish = Replay { honest: Some(Honest::DEFAULT), immovable_pct: 30.0, ..plain };
    let f = replay(&month, &wish).expect("a replay").figures;
    assert_eq!(f.binding, "memory");
    assert!(f.nodes_mean <= 1.05 * f.lower_bound_nodes_mean, "{f:?}");
    assert!(f.moves_per_instance_day * 7.0 <= 1.0, "{f:?}");
    assert!(f.above80_pct <= 1.0, "{f:?}");
}
