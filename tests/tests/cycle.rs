//! The loop: an agent measures, the scheduler packs, processes run, fewer nodes are in use.

use std::collections::BTreeSet;

use tengyun_model::{Class, Kind, Mebibytes, Millicores};
use tengyun_proto::v1;
use tengyun_tests::cluster::{item, operation, until};
use tengyun_tests::{Cluster, spec};

/// Sets knobs so that history of seconds is enough; a real cloud wants minutes.
async fn hurry(cluster: &Cluster, consolidate: u64) {
    let values = [
        ("history_min_seconds", 3),
        ("consolidate", consolidate),
        ("consolidate_interval_seconds", 1),
        ("moves_per_workload_interval_seconds", 1),
    ];
    let values =
        values.map(|(name, value)| v1::KnobValue { name: name.to_owned(), value }).to_vec();
    let request = v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
    let response = cluster.operator().await.set_policy(request).await;
    let response = response.expect("the scheduler answers").into_inner();
    assert_eq!(response.refusal, None);
}

/// Two nodes of half a core each; the control groups enforce it where the test is root.
fn two_nodes(cluster: &mut Cluster) {
    for name in ["n1", "n2"] {
        let options = ["--cpu-millicores", "500", "--memory-mib", "1024"];
        let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "500"];
        cluster.start_agent(name, &[options, quick].concat());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_idle_workloads_are_packed_onto_one_node_and_never_both_copies_are_away() {
    let mut cluster = Cluster::start();
    two_nodes(&mut cluster);
    hurry(&cluster, 0).await;
    let mut one = spec::command("one", &["/bin/sleep", "1000"]);
    let mut two = spec::command("two", &["/bin/sleep", "1000"]);
    one.constraints.anti_affinity = vec![two.key.clone()];
    two.resources.cpu = Millicores::new(200);
    cluster.apply(&[one.clone(), two.clone()]).await;
    let views = cluster.until_running(2).await;
    assert_eq!(nodes_of(&views).len(), 2, "apart while they must not share a node");
    one.constraints.anti_affinity.clear();
    cluster.apply(&[one]).await;
    hurry(&cluster, 1).await;
    until("both run on one node", async || {
        let running: Vec<_> = cluster.instances().await.into_iter().filter(is_live).collect();
        let names: BTreeSet<_> =
            running.iter().map(|v| v.key.as_ref().unwrap().name.clone()).collect();
        assert_eq!(names.len(), 2, "a workload was away during its move");
        (running.len() == 2 && nodes_of(&running).len() == 1).then_some(())
    })
    .await;
}

fn is_live(view: &v1::InstanceView) -> bool {
    tengyun_tests::cluster::is_running(view)
}

fn nodes_of(views: &[v1::InstanceView]) -> BTreeSet<Option<u32>> {
    views.iter().map(|v| v.node).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_with_its_code_and_its_output_can_be_read() {
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &[]);
    let mut job = spec::shell("greet", "echo hello; echo oops >&2; exit 3");
    job.kind = Kind::Job;
    job.restart.mode = tengyun_model::RestartMode::Never;
    cluster.apply(&[job]).await;
    let view = until("the job ended", async || {
        let ended = |v: &v1::InstanceView| v.status.as_ref().is_some_and(|s| s.exit.is_some());
        cluster.instances().await.into_iter().find(ended)
    })
    .await;
    let exit = view.status.unwrap().exit.unwrap();
    assert_eq!(exit.how, Some(v1::exit::How::Code(3)));
    let request = v1::LogsRequest { instance: view.instance, tail_lines: 0, follow: false };
    let mut stream = cluster.operator().await.logs(request).await.unwrap().into_inner();
    let mut output = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        output.extend(chunk.data);
    }
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains("hello") && output.contains("oops"), "got {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_waits_and_explain_says_why_with_numbers() {
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &["--cpu-millicores", "500", "--memory-mib", "256"]);
    let mut big = spec::command("big", &["/bin/sleep", "1000"]);
    big.class = Class::Critical;
    big.resources.memory = Mebibytes::new(100_000);
    cluster.apply(&[big.clone()]).await;
    let explanation = until("the refusal is explained", async || {
        let key = Some(v1::WorkloadKey::from(&big.key));
        let request = v1::ExplainRequest { instance: None, key };
        let response = cluster.operator().await.explain(request).await.ok()?.into_inner();
        response.explanations.into_iter().find(|e| !e.nodes.is_empty())
    })
    .await;
    let node = &explanation.nodes[0];
    assert!(!node.feasible);
    assert!(
        node.reason.contains("100000 MiB") && node.reason.contains("256 MiB"),
        "{}",
        node.reason
    );
    assert!(explanation.remedy.contains("memory"), "{}", explanation.remedy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_workload_leaves_no_process_and_its_meters_stay() {
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &[]);
    let spec = spec::shell("gone", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000");
    cluster.apply(std::slice::from_ref(&spec)).await;
    let views = cluster.until_running(1).await;
    let pid = views[0].status.as_ref().unwrap().pid.unwrap();
    let request = v1::DeleteRequest { operation_id: operation(), key: Some((&spec.key).into()) };
    cluster.operator().await.delete(request).await.unwrap();
    until("it is gone", async || {
        let none = cluster.instances().await.is_empty();
        let dead = !std::path::Path::new(&format!("/proc/{pid}")).exists();
        (none && dead).then_some(())
    })
    .await;
    let mut operator = cluster.operator().await;
    until("its last reading is kept", async || {
        let request = v1::ListMetersRequest { instance: Some(views[0].instance) };
        let meters = operator.list_meters(request).await.ok()?.into_inner().meters;
        let record = meters.first()?.record.clone()?;
        (record.last && record.cpu_core_millis > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_wish_is_applied_once_and_another_wish_under_its_id_is_refused() {
    let cluster = Cluster::start();
    let mut operator = cluster.operator().await;
    let spec = spec::command("once", &["/bin/true"]);
    let id = operation();
    for _ in 0..3 {
        let items = vec![item(id.clone(), &spec)];
        let response = operator.apply(v1::ApplyRequest { items, dry_run: false }).await.unwrap();
        let result = &response.into_inner().results[0];
        assert_eq!((result.effect.as_str(), result.revision), ("created", 1));
    }
    let other = spec::command("other", &["/bin/true"]);
    let items = vec![item(id, &other)];
    let response = operator.apply(v1::ApplyRequest { items, dry_run: false }).await.unwrap();
    let refusal = response.into_inner().results[0].refusal.clone().unwrap();
    assert_eq!(refusal.code, "operation-reused");
}
