//! Kinds and rollouts with real daemons: a bad version, a node that joins, a run that is due.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use tengyun_model::{Concurrency, Kind, Millis, MovePolicy, RestartMode, Schedule, WorkloadSpec};
use tengyun_proto::v1;
use tengyun_tests::cluster::{is_healthy, is_running, program, until};
use tengyun_tests::{Cluster, spec};

fn node(cluster: &mut Cluster, name: &str) {
    let options = ["--cpu-millicores", "500", "--memory-mib", "1024"];
    let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "300"];
    cluster.start_agent(name, &[options, quick].concat());
}

async fn tengyun<const N: usize>(socket: PathBuf, words: [&'static str; N]) -> Output {
    let mut command = program("tengyun");
    command.arg("--socket").arg(socket).args(words).env("LC_ALL", "C");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said<const N: usize>(cluster: &Cluster, words: [&'static str; N]) -> String {
    let output = tengyun(cluster.socket(), words).await;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn healthy(views: &[v1::InstanceView]) -> usize {
    views.iter().filter(|view| is_healthy(view)).count()
}

/// A service of three copies with short waits.
fn service(script: &str) -> WorkloadSpec {
    let mut app = spec::shell("app", script);
    app.instances = 3;
    app.rollout.healthy = Millis::from_secs(1);
    app.rollout.deadline = Millis::from_secs(30);
    app
}

/// Says what the rollout of the service does.
async fn stage(cluster: &Cluster) -> String {
    let key = Some((&service("").key).into());
    let mut operator = cluster.operator().await;
    let view = operator.get_rollout(v1::GetRolloutRequest { key }).await.unwrap().into_inner();
    assert_eq!(view.refusal, None);
    view.stage
}

/// Looks until a rollout rests, and asserts at every look that three copies are healthy.
async fn rests(cluster: &Cluster) {
    until("the rollout rests", async || {
        let views = cluster.instances().await;
        assert!(healthy(&views) >= 3, "a healthy copy was lost: {views:#?}");
        (stage(cluster).await == "none").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_version_returns_by_itself_and_no_healthy_copy_is_lost() {
    let mut cluster = Cluster::start();
    node(&mut cluster, "n1");
    cluster.apply(&[service("exec sleep 1000")]).await;
    until("the first revision is good", async || (stage(&cluster).await == "none").then_some(()))
        .await;
    cluster.apply(&[service("exit 3")]).await;
    rests(&cluster).await;
    let views = cluster.instances().await;
    assert!(views.iter().filter(|v| is_running(v)).all(|v| v.revision == 1), "{views:#?}");
    let status = said(&cluster, ["rollout", "status", "app"]).await;
    assert!(status.contains("3 proved healthy"), "{status}");
    let history = said(&cluster, ["rollout", "history", "app"]).await;
    assert!(history.contains("failed") && history.contains("exit code 3"), "{history}");
    let events = said(&cluster, ["history", "app"]).await;
    assert!(events.contains("rollout-returned"), "{events}");
    // A good version takes over in the same way, and an undo brings back the one before.
    cluster.apply(&[service("exec sleep 2000")]).await;
    rests(&cluster).await;
    assert!(cluster.until_running(3).await.iter().all(|v| v.revision == 3));
    said(&cluster, ["rollout", "undo", "app"]).await;
    rests(&cluster).await;
    assert!(cluster.until_running(3).await.iter().all(|v| v.revision == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_per_node_workload_comes_to_a_node_that_joins_and_stays_in_a_drain() {
    let mut cluster = Cluster::start();
    node(&mut cluster, "n1");
    let mut everywhere = spec::command("everywhere", &["/bin/sleep", "1000"]);
    everywhere.kind = Kind::PerNode;
    everywhere.move_policy = MovePolicy::Never;
    cluster.apply(&[everywhere]).await;
    cluster.until_running(1).await;
    node(&mut cluster, "n2");
    let views = cluster.until_running(2).await;
    let mut nodes: Vec<&str> = views.iter().map(|v| v.node_name.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["n1", "n2"]);
    let drained = said(&cluster, ["drain", "n1"]).await;
    assert!(drained.contains("drained and empty"), "{drained}");
    assert!(said(&cluster, ["get", "nodes"]).await.contains("connected, drained"));
    assert_eq!(cluster.until_running(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cron_workload_fires_at_its_time_and_keeps_the_result() {
    let mut cluster = Cluster::start();
    node(&mut cluster, "n1");
    let mut minutely = spec::shell("minutely", "echo done; exit 7");
    minutely.kind = Kind::Cron;
    minutely.move_policy = MovePolicy::Never;
    minutely.restart.mode = RestartMode::Never;
    minutely.schedule = Some(Schedule {
        cron: "* * * * *".to_owned(),
        time_zone: Some("Asia/Shanghai".to_owned()),
        concurrency: Concurrency::Forbid,
        starting_deadline: Millis::from_secs(30),
        runs_kept: 3,
    });
    cluster.apply(&[minutely.clone()]).await;
    assert!(said(&cluster, ["describe", "workload", "minutely"]).await.contains("next run"));
    // The longest wait for a full minute, and some time to run.
    let run = tokio::time::timeout(Duration::from_secs(100), async {
        loop {
            let request = v1::ListRunsRequest { key: None };
            let runs = cluster.operator().await.list_runs(request).await.unwrap().into_inner().runs;
            if let Some(run) = runs.into_iter().find(|run| run.ended_millis > 0) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let run = run.await.expect("a run ends within a minute and some");
    assert_eq!((run.outcome.as_str(), run.why.as_str()), ("failed", "exit code 7"));
    assert_eq!(run.scheduled_millis % 60_000, 0);
    let listed = said(&cluster, ["get", "runs"]).await;
    assert!(listed.contains("minutely") && listed.contains("exit code 7"), "{listed}");
    minutely.schedule.as_mut().unwrap().time_zone = Some("Asia/Nowhere".to_owned());
    let mut operator = cluster.operator().await;
    let items = vec![tengyun_tests::cluster::item(tengyun_tests::cluster::operation(), &minutely)];
    let request = v1::ApplyRequest { items, dry_run: false };
    let answer = operator.apply(request).await.unwrap().into_inner();
    let refusal = answer.results[0].refusal.clone().unwrap();
    assert!(refusal.message.contains("Nowhere"), "{}", refusal.message);
}
