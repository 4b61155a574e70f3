//! Measures the time from submission to running, with 100 instances on one node.
//!
//! Not a test: nothing fails when the machine is slow. `tests/benches/README.md` has the command.

use std::time::{Duration, Instant};

use tengyun_proto::v1::{self, ApplyRequest};
use tengyun_tests::cluster::{Operator, is_running, item, operation};
use tengyun_tests::{Cluster, spec};

/// Instances that run on the node all the time.
const RESIDENTS: u32 = 100;
/// Measured submissions; the 99th percentile rests on two of them being slower.
const SUBMISSIONS: u32 = 200;
/// How often the bench asks whether it runs: the resolution of the figures.
const ASK_AGAIN: Duration = Duration::from_millis(1);

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut times = runtime.block_on(measure());
    times.sort_unstable();
    let at = |permille: usize| times[(times.len() * permille).div_ceil(1000) - 1];
    println!("submit to running, {RESIDENTS} instances on the node, {SUBMISSIONS} submissions");
    println!("p50 {:>7.1} ms", at(500).as_secs_f64() * 1e3);
    println!("p90 {:>7.1} ms", at(900).as_secs_f64() * 1e3);
    println!("p99 {:>7.1} ms   (goal 150 ms)", at(990).as_secs_f64() * 1e3);
    println!("max {:>7.1} ms", at(1000).as_secs_f64() * 1e3);
}

async fn measure() -> Vec<Duration> {
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &["--cpu-millicores", "64000", "--memory-mib", "65536"]);
    let mut residents = spec::command("resident", &["/bin/sleep", "100000"]);
    residents.instances = RESIDENTS;
    cluster.apply(&[residents]).await;
    cluster.until_running(usize::try_from(RESIDENTS).expect("a small number")).await;
    let mut operator = cluster.operator().await;
    let mut times = Vec::new();
    for number in 0..SUBMISSIONS {
        times.push(submit(&mut operator, number).await);
    }
    times
}

/// Submits one workload, times it until it runs, and deletes it.
async fn submit(operator: &mut Operator, number: u32) -> Duration {
    let spec = spec::command(&format!("s{number}"), &["/bin/sleep", "100000"]);
    let key = Some(v1::WorkloadKey::from(&spec.key));
    let start = Instant::now();
    let request = ApplyRequest { items: vec![item(operation(), &spec)], dry_run: false };
    operator.apply(request).await.expect("apply answers");
    loop {
        let request = v1::ListInstancesRequest { key: key.clone(), all: false };
        let views = operator.list_instances(request).await.expect("list answers").into_inner();
        if views.instances.iter().any(is_running) {
            break;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    let time = start.elapsed();
    let request = v1::DeleteRequest { operation_id: operation(), key };
    operator.delete(request).await.expect("delete answers");
    time
}
