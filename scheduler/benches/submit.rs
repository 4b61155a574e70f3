//! How long from a submission until the agent has the assignment, with 100 instances on its node.
//!
//! Goal: the scheduler's share of submit-to-running stays below 50 ms at the 99th percentile.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench shows and may fail")]

#[path = "../tests/service/world.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod world;

use std::time::{Duration, Instant};

use tengyun_proto::v1::{self, Phase};
use world::{Agent, Scheduler, spec};

/// Instances that are there already.
const INSTANCES: u32 = 100;
/// Submissions measured.
const SUBMISSIONS: usize = 300;

#[tokio::main]
async fn main() {
    let dir = world::dir();
    let mut scheduler = Scheduler::start(dir.path()).await;
    let mut agent = Agent::attach(&scheduler.channel, "n1").await;
    scheduler.apply(spec("base", INSTANCES)).await;
    let mut count = usize::try_from(INSTANCES).unwrap();
    let assignment = agent.assignment(count).await;
    agent.report(world::report(&assignment, Phase::Healthy)).await;
    let (mut answered, mut assigned) = (Vec::new(), Vec::new());
    for i in 0..SUBMISSIONS {
        let began = Instant::now();
        let result = scheduler.apply(spec(&format!("w{i}"), 1)).await;
        assert_eq!(result.refusal, None);
        answered.push(began.elapsed());
        count += 1;
        let assignment = agent.assignment(count).await;
        assigned.push(began.elapsed());
        agent.report(world::report(&assignment, Phase::Healthy)).await;
        if i % 10 == 9 {
            // Keep the node at its size.
            for w in i - 9..=i {
                delete(&mut scheduler, &format!("w{w}")).await;
            }
            count -= 10;
            let assignment = agent.assignment(count).await;
            agent.report(world::report(&assignment, Phase::Healthy)).await;
        }
    }
    println!("{{\"instances\": {INSTANCES}, \"submissions\": {SUBMISSIONS},");
    println!(" \"answered_ms\": {},", percentiles(answered));
    println!(" \"assigned_ms\": {}}}", percentiles(assigned));
    scheduler.stop().await;
}

async fn delete(scheduler: &mut Scheduler, name: &str) {
    let key = Some(world::key(name));
    let request = v1::DeleteRequest { operation_id: world::operation(), key };
    let response = scheduler.operator.delete(request).await.unwrap().into_inner();
    assert_eq!(response.refusal, None);
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| {
        let time = times[(times.len() - 1) * percent / 100];
        format!("{}.{:03}", time.as_millis(), time.as_micros() % 1000)
    };
    format!("{{\"p50\": {}, \"p90\": {}, \"p99\": {}}}", at(50), at(90), at(99))
}
