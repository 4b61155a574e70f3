//! A node with fifty instances is drained, with real daemons and real processes: at no time do fewer
//! copies run than were asked for.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tengyun_proto::v1;
use tengyun_tests::cluster::{is_healthy, operation, program, until};
use tengyun_tests::{Cluster, spec};

/// The copies that were asked for.
const COPIES: usize = 50;
/// How often the processes are counted.
const LOOK: Duration = Duration::from_millis(20);
/// How long the drain may take: seven rounds of eight, on a machine that does other things too.
const DRAIN_MAX: Duration = Duration::from_secs(90);

/// A command that nobody else on the machine runs, so that its processes can be counted.
fn own_sleep(cluster: &Cluster) -> PathBuf {
    let path = cluster.path().join(format!("tyd{}", std::process::id()));
    fs::copy("/bin/sleep", &path).unwrap();
    path
}

/// Counts the processes of a command by the kernel's word.
fn living(command: &Path) -> usize {
    let name = command.file_name().unwrap().to_string_lossy().into_owned();
    let comm = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).ok();
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(comm);
    all.filter(|comm| comm.trim_end() == name).count()
}

/// The fewest processes seen until it is told to stop.
fn fewest(command: &Path, stop: &AtomicBool) -> (usize, usize) {
    let (mut fewest, mut looks) = (usize::MAX, 0);
    while !stop.load(Ordering::Acquire) {
        fewest = fewest.min(living(command));
        looks += 1;
        std::thread::sleep(LOOK);
    }
    (fewest, looks)
}

async fn tengyun(socket: PathBuf, words: &'static [&'static str]) -> Output {
    let mut command = program("tengyun");
    command.arg("--socket").arg(socket).args(words).env("LC_ALL", "C");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn node(cluster: &mut Cluster, name: &str) {
    let size = ["--cpu-millicores", "4000", "--memory-mib", "8192"];
    let quick = ["--sample-interval-millis", "500", "--report-interval-millis", "500"];
    cluster.start_agent(name, &[size, quick].concat());
}

async fn keep_in_place(cluster: &Cluster) {
    let values = vec![v1::KnobValue { name: "consolidate".to_owned(), value: 0 }];
    let request = v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
    let response = cluster.operator().await.set_policy(request).await.unwrap().into_inner();
    assert_eq!(response.refusal, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_of_fifty_real_instances_never_leaves_fewer_copies_than_asked() {
    let mut cluster = Cluster::start();
    node(&mut cluster, "n1");
    keep_in_place(&cluster).await;
    let command = own_sleep(&cluster);
    let mut app = spec::command("app", &[&command.display().to_string(), "1000"]);
    app.instances = u32::try_from(COPIES).unwrap();
    cluster.apply(&[app]).await;
    cluster.until_running(COPIES).await;
    node(&mut cluster, "n2");
    node(&mut cluster, "n3");
    let mut operator = cluster.operator().await;
    until("all nodes are there", async || {
        let status = operator.status(v1::StatusRequest {}).await.ok()?.into_inner();
        (status.nodes_connected == 3).then_some(())
    })
    .await;
    assert_eq!(living(&command), COPIES);
    until("all copies are healthy", async || {
        let healthy = cluster.instances().await.into_iter().filter(is_healthy).count();
        (healthy == COPIES).then_some(())
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let counting = {
        let (command, stop) = (command.clone(), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || fewest(&command, &stop))
    };
    let start = Instant::now();
    let drain = tokio::spawn(tengyun(cluster.socket(), &["drain", "n1"]));
    while !drain.is_finished() {
        let healthy = cluster.instances().await.into_iter().filter(is_healthy).count();
        assert!(healthy >= COPIES, "{healthy} healthy copies are fewer than asked");
        assert!(start.elapsed() < DRAIN_MAX, "the drain takes {:?}", start.elapsed());
        tokio::time::sleep(LOOK).await;
    }
    let took = start.elapsed();
    let output = drain.await.unwrap();
    stop.store(true, Ordering::Release);
    let (fewest, looks) = counting.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!(
        "{COPIES} instances left n1 in {took:?}; never fewer than {fewest} lived ({looks} looks)"
    );
    assert!(fewest >= COPIES, "{fewest} copies are fewer than asked");
    let after = cluster.until_running(COPIES).await;
    assert!(after.iter().all(|view| view.node_name != "n1"));
    until("every old process is gone", async || (living(&command) == COPIES).then_some(())).await;
}
