//! Partitions at full length: 60 real agents, minutes of faults.
//!
//! It fails when an instance stops or starts twice, or when a fault is not healed in time.
//! `tests/benches/README.md` has the command.

use std::time::Instant;

use tengyun_tests::partition::{CONSISTENT_MAX, Fleet, Scale};

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let scale = Scale::FULL;
        println!("{scale:?}; goals: 0 stopped, 0 started twice, as before within {CONSISTENT_MAX:?}");
        let start = Instant::now();
        let mut fleet = Fleet::start(scale).await;
        println!("{} agents joined and run after {:.1?}", scale.nodes, start.elapsed());
        for healed in fleet.suffer_all().await {
            println!(
                "{:<18} {:>6.1?}: {:>2} silent, 0 of {} instances stopped, 0 started twice, as before \
                 after {:.1?}",
                healed.what, healed.lasted, healed.silent, healed.instances, healed.consistent
            );
        }
        println!("{:?}", fleet.storm().await);
        let (scheduler, agent) = fleet.resident_kib();
        println!("resident: scheduler {scheduler} KiB, largest agent {agent} KiB");
    });
}
