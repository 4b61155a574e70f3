//! Real agents behind wires that fail; the form of full length is
//! `cargo bench -p tengyun-tests --bench partition`.

use std::time::Duration;

use tengyun_tests::partition::{Fleet, Scale};

/// Agents that come back at once would come within a moment of a few hundred milliseconds.
const SPREAD_MIN: Duration = Duration::from_millis(800);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_stop_nothing_start_nothing_twice_and_heal() {
    let scale = Scale::BRIEF;
    let mut fleet = Fleet::start(scale).await;
    for healed in fleet.suffer_all().await {
        println!("{healed:?}");
    }
    let storm = fleet.storm().await;
    println!("{storm:?}");
    assert!(storm.spread >= SPREAD_MIN, "the agents came back all at once: {storm:?}");
    assert!(storm.most_at_once <= scale.nodes / 2, "too many came back at once: {storm:?}");
    println!("resident KiB of the scheduler and the largest agent: {:?}", fleet.resident_kib());
}
