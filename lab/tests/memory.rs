//! Memory by use: two weeks of a hosting company whose machines use a fraction of the memory that they were
//! given. What is promised follows what is used: fewer nodes than by request, and no node runs out.

mod shared;

use tengyun_engine::Policy;
use tengyun_lab::fleet::{MemoryMode, Shape};
use tengyun_lab::replay::{Figures, Replay, replay};
use tengyun_lab::trace::{Series, Trace};

/// What nodes run out of memory may not be more than this share of their time, in percent: a hundredth of
/// what may be above the ceiling, for work is killed there.
const ABOVE_PCT: f64 = 0.01;

fn figures(trace: &Trace, memory: MemoryMode) -> Figures {
    let shape = Shape::parse("32/512").expect("a shape");
    replay(trace, &Replay::new(shape, memory)).expect("a replay").figures
}

/// The first steps of a trace.
fn first(trace: &Trace, steps: usize) -> Trace {
    let cut = |series: &Series| {
        let mut cut = Series::empty(trace.instances.len(), steps);
        for row in 0..trace.instances.len() {
            for step in 0..steps {
                if let Some(value) = series.get(row, step) {
                    cut.set(row, step, u64::from(value));
                }
            }
        }
        cut
    };
    let (cpu, memory) = (cut(&trace.cpu), trace.memory.as_ref().map(cut));
    Trace { cpu, memory, ..trace.clone() }
}

#[test]
fn promises_by_use_need_fewer_nodes_and_no_node_runs_out() {
    let Some(month) = shared::trace("bitbrains-rnd-2013-7") else { return };
    let weeks = first(&month, 15 * 288);
    let [request, forecast] =
        [MemoryMode::Request, MemoryMode::Forecast].map(|mode| figures(&weeks, mode));
    let memory = forecast.memory.expect("it was recorded");
    println!("{request:?}\n{forecast:?}");
    assert!(forecast.nodes_mean < 0.85 * request.nodes_mean, "{forecast:?}");
    assert!(memory.above_capacity_pct <= ABOVE_PCT, "{memory:?}");
    let budget = Policy::default().value("oom_budget").expect("a knob");
    let budget = f64::from(u32::try_from(budget).expect("it is small"));
    assert!(memory.misses > 0 && memory.misses_per_1000_instance_days <= budget, "{memory:?}");
    assert!(forecast.above80_pct <= 1.0, "the CPU's budget is kept all the same: {forecast:?}");
}

#[test]
#[ignore = "half a dozen minutes: the figures of lab/benches/README.md"]
fn the_whole_month() {
    let Some(month) = shared::trace("bitbrains-rnd-2013-7") else { return };
    for memory in [MemoryMode::Request, MemoryMode::Used, MemoryMode::Forecast] {
        println!("{memory:?}: {:?}", figures(&month, memory));
    }
}
