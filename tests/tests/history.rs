//! What agents remember: a scheduler that was killed is warm after one report from each.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::time::{Duration, Instant};

use tengyun_model::{Mebibytes, Millicores};
use tengyun_proto::v1::{self, KnobValue};
use tengyun_tests::cluster::{operation, until};
use tengyun_tests::{Cluster, spec};

/// How long an instance is measured until that counts: longer than a restart takes.
const HISTORY_SECONDS: u64 = 30;
const REQUEST: u64 = 300;
/// Holds some 50 MB until it has measured that, and nearly nothing afterwards.
const SWELLS: &str =
    "{ head -c 50000000 /dev/zero; sleep 4; } | tail -c 40000000 >/dev/null; exec sleep 1000";
/// Less than it holds at first, in MiB, and far more than it does later.
const PEAK: u64 = 30;

async fn remember_by_the_second(cluster: &Cluster) {
    let knob = |name: &str, value| KnobValue { name: name.to_owned(), value };
    let request = v1::SetPolicyRequest {
        operation_id: operation(),
        values: vec![knob("window_seconds", 1), knob("history_min_seconds", HISTORY_SECONDS)],
        ..v1::SetPolicyRequest::default()
    };
    let response = cluster.operator().await.set_policy(request).await.unwrap().into_inner();
    assert_eq!(response.refusal, None);
}

/// What the only instance is expected to use, as soon as its node has reported to this scheduler.
async fn expected(cluster: &Cluster) -> v1::Expected {
    let mut operator = cluster.operator().await;
    until("the node has reported", async || {
        let nodes = operator.list_nodes(v1::ListNodesRequest {}).await.ok()?.into_inner().nodes;
        nodes.into_iter().find(|node| node.connected)?.usage
    })
    .await;
    let views = cluster.instances().await;
    views.into_iter().next().expect("there is one").expected.expect("it is always said")
}

/// The highest working set of the only instance that the scheduler knows of.
async fn peak(cluster: &Cluster) -> u64 {
    let instance = cluster.instances().await.first().map(|view| view.instance);
    let request = v1::ExplainRequest { instance, key: None };
    let explained = cluster.operator().await.explain(request).await.unwrap().into_inner();
    let memory = explained.explanations.into_iter().next().and_then(|one| one.memory);
    memory.map_or(0, |memory| memory.peak_mib)
}

/// What it holds at the moment.
async fn holds(cluster: &Cluster) -> u64 {
    let views = cluster.instances().await;
    views.first().map_or(u64::MAX, |view| view.memory_used_mib)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_scheduler_knows_after_one_report_what_instances_use() {
    let mut cluster = Cluster::start();
    remember_by_the_second(&cluster).await;
    let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "200"];
    cluster.start_agent("n1", &quick);
    let mut idle = spec::command("idle", &["/bin/sh", "-c", SWELLS]);
    idle.resources.cpu = Millicores::new(REQUEST);
    idle.resources.memory = Mebibytes::new(256);
    cluster.apply(&[idle]).await;
    cluster.until_running(1).await;
    let young = expected(&cluster).await;
    assert_eq!((young.measured, young.mean_millicores), (false, REQUEST));
    until("it was measured while it was large", async || {
        (peak(&cluster).await >= PEAK).then_some(())
    })
    .await;
    until("it was measured for long enough", async || {
        expected(&cluster).await.measured.then_some(())
    })
    .await;
    // The first window of an agent may be too short to be remembered: some more are let pass.
    let measured = Instant::now();
    until("some windows more are remembered", async || {
        (measured.elapsed() >= Duration::from_secs(3)).then_some(())
    })
    .await;

    cluster.kill_scheduler();
    let killed = Instant::now();
    cluster.start_scheduler();
    let known = expected(&cluster).await;
    assert!(
        killed.elapsed() < Duration::from_secs(HISTORY_SECONDS),
        "it may have been learnt anew"
    );
    assert!(known.measured && known.mean_millicores < REQUEST / 10, "{known:?}");
    assert!(holds(&cluster).await < PEAK / 2, "it holds so much still");
    let peak = peak(&cluster).await;
    assert!(peak >= PEAK, "{peak} MiB");

    // An agent remembers in memory only: where it ends too, everything is learnt anew.
    cluster.kill_agent("n1");
    cluster.kill_scheduler();
    cluster.start_scheduler();
    cluster.restart_agent("n1");
    let forgotten = expected(&cluster).await;
    assert_eq!((forgotten.measured, forgotten.mean_millicores), (false, REQUEST));
    assert!(self::peak(&cluster).await < PEAK / 2);
}
