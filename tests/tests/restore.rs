//! Backup and restore with real daemons: what runs at the nodes outlives the loss of a scheduler's
//! disk, whatever the backup knows of it.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tengyun_proto::v1;
use tengyun_tests::cluster::{is_running, program, until};
use tengyun_tests::{Cluster, spec};

const NODE: &[&str] = &[
    "--cpu-millicores",
    "500",
    "--memory-mib",
    "1024",
    "--sample-interval-millis",
    "200",
    "--report-interval-millis",
    "300",
];

async fn tengyun(cluster: &Cluster, words: &[&str]) -> Output {
    let mut command = program("tengyun");
    command.arg("--state-dir").arg(cluster.path()).args(words).env("LC_ALL", "C");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn must(cluster: &Cluster, words: &[&str]) -> String {
    let output = tengyun(cluster, words).await;
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

async fn status(cluster: &Cluster) -> v1::StatusResponse {
    let status = cluster.operator().await.status(v1::StatusRequest {}).await;
    status.unwrap().into_inner()
}

async fn pids(cluster: &Cluster, count: usize) -> BTreeMap<u64, u32> {
    let views = cluster.until_running(count).await;
    views.iter().map(|v| (v.instance, v.status.as_ref().unwrap().pid.unwrap())).collect()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Loses the scheduler's disk and restores the archive in its place.
async fn restore(cluster: &mut Cluster, archive: &Path) {
    cluster.kill_scheduler();
    let dir = cluster.path().join("scheduler");
    std::fs::rename(&dir, cluster.path().join("lost")).unwrap();
    must(cluster, &["restore", archive.to_str().unwrap()]).await;
    cluster.start_scheduler();
}

async fn both_are_heard(cluster: &Cluster) {
    until("both agents are heard", async || {
        (status(cluster).await.nodes_connected == 2).then_some(())
    })
    .await;
}

async fn start() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::start();
    for name in ["n1", "n2"] {
        cluster.start_agent(name, NODE);
    }
    both_are_heard(&cluster).await;
    let archive = cluster.path().join("archive");
    (cluster, archive)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_scheduler_stops_nothing_until_it_is_told_to() {
    let (mut cluster, archive) = start().await;
    let mut before = spec::command("before", &["/bin/sleep", "1000"]);
    before.instances = 2;
    cluster.apply(&[before]).await;
    let known = pids(&cluster, 2).await;
    must(&cluster, &["backup", archive.to_str().unwrap()]).await;
    // What the backup does not know: another reign, more generations, more instances.
    cluster.kill_scheduler();
    cluster.start_scheduler();
    let mut after = spec::command("after", &["/bin/sleep", "1000"]);
    after.instances = 2;
    cluster.apply(&[after]).await;
    let all = pids(&cluster, 4).await;
    restore(&mut cluster, &archive).await;
    until("what is unknown is shown", async || {
        (status(&cluster).await.strangers.len() == 2).then_some(())
    })
    .await;
    // It is known however often the scheduler starts.
    cluster.kill_scheduler();
    cluster.start_scheduler();
    both_are_heard(&cluster).await;
    cluster.apply(&[spec::command("new", &["/bin/sleep", "1000"])]).await;
    until("what is unknown is shown again", async || {
        (status(&cluster).await.strangers.len() == 2).then_some(())
    })
    .await;
    // Several plans long.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(all.values().all(|pid| lives(*pid)), "an instance was stopped");
    let shown = must(&cluster, &["status"]).await;
    assert!(shown.contains("only observing"), "{shown}");
    assert!(
        all.keys().filter(|id| !known.contains_key(id)).all(|id| shown.contains(&id.to_string()))
    );
    let waiting = cluster.instances().await.into_iter().filter(|v| !is_running(v)).count();
    assert_eq!(waiting, 1, "what was wished meanwhile waits");
    let refused = tengyun(&cluster, &["confirm-restore"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    must(&cluster, &["confirm-restore", "--yes"]).await;
    until("only what is known runs", async || {
        let gone = |(id, pid): (&u64, &u32)| known.contains_key(id) || !lives(*pid);
        all.iter().all(gone).then_some(())
    })
    .await;
    let now = pids(&cluster, 3).await;
    for (id, pid) in &known {
        assert_eq!(now.get(id), Some(pid), "instance {id} was started again");
    }
    let again = tengyun(&cluster, &["confirm-restore"]).await;
    assert_eq!(again.status.code(), Some(1), "nothing waits any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_without_loose_ends_ends_by_itself_and_stops_nothing() {
    let (mut cluster, archive) = start().await;
    let mut app = spec::command("app", &["/bin/sleep", "1000"]);
    app.instances = 3;
    cluster.apply(&[app]).await;
    let before = pids(&cluster, 3).await;
    must(&cluster, &["backup", archive.to_str().unwrap()]).await;
    for _ in 0..3 {
        cluster.kill_scheduler();
        cluster.start_scheduler();
        both_are_heard(&cluster).await;
    }
    restore(&mut cluster, &archive).await;
    both_are_heard(&cluster).await;
    until("nothing is left to find out", async || {
        status(&cluster).await.restore.is_empty().then_some(())
    })
    .await;
    cluster.apply(&[spec::command("new", &["/bin/sleep", "1000"])]).await;
    let after = pids(&cluster, 4).await;
    for (id, pid) in &before {
        assert_eq!(after.get(id), Some(pid), "instance {id} was started again");
    }
    let events = must(&cluster, &["events"]).await;
    for kind in ["restored", "restore-settled"] {
        assert!(events.contains(kind), "no {kind} in\n{events}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_over_a_scheduler_is_refused() {
    let (cluster, archive) = start().await;
    must(&cluster, &["backup", archive.to_str().unwrap()]).await;
    let again = tengyun(&cluster, &["backup", archive.to_str().unwrap()]).await;
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    let refused = tengyun(&cluster, &["restore", archive.to_str().unwrap()]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is not empty"), "{}", text(&refused.stderr));
}
