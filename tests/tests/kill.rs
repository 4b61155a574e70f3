//! Kills: what is acknowledged survives the scheduler, what runs and is metered survives the agent.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tengyun_proto::v1::operator_service_client::OperatorServiceClient;
use tengyun_proto::v1::{self, ApplyRequest};
use tengyun_tests::cluster::{is_running, item, operation, until};
use tengyun_tests::{Cluster, skip, spec};

/// How often each daemon is killed.
const KILLS: u32 = 50;

/// Submits with one operation id until a scheduler acknowledges it.
async fn submit(socket: PathBuf, number: u32) -> v1::ApplyResult {
    let spec = spec::command(&format!("w{number}"), &["/bin/sleep", "1000"]);
    let wish = item(operation(), &spec);
    until("the submission is acknowledged", || async {
        let channel = tengyun_proto::uds::connect(&socket).await.ok()?;
        let request = ApplyRequest { items: vec![wish.clone()], dry_run: false };
        let response = OperatorServiceClient::new(channel).apply(request).await.ok()?;
        response.into_inner().results.into_iter().next()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_submission_is_lost_or_applied_twice_over_50_kills() {
    let mut cluster = Cluster::start();
    cluster.operator().await;
    for number in 0..KILLS {
        let submission = submit(cluster.socket(), number);
        // The kill falls at another point of the submission each time.
        let kill = async {
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 200)).await;
            cluster.kill_scheduler();
            cluster.start_scheduler();
        };
        let (result, ()) = tokio::join!(submission, kill);
        assert_eq!(result.refusal, None);
        assert_eq!(result.revision, 1, "submission {number} was applied twice");
    }
    let request = v1::ListWorkloadsRequest { department: String::new() };
    let list = cluster.operator().await.list_workloads(request).await.unwrap().into_inner();
    let mut found = BTreeMap::new();
    for view in list.workloads {
        assert_eq!(view.waiting, 1, "one submission makes one instance");
        *found.entry(view.spec.unwrap().key.unwrap().name).or_insert(0) += 1;
    }
    let wanted: BTreeMap<String, i32> = (0..KILLS).map(|n| (format!("w{n}"), 1)).collect();
    assert_eq!(found, wanted);
}

/// Finds the control group of each instance below the agent's and returns its CPU counter.
fn kernel_counters(group: &str) -> BTreeMap<u64, PathBuf> {
    let mut found = BTreeMap::new();
    for root in ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"] {
        walk(Path::new(root), group, false, &mut found);
        if !found.is_empty() {
            break;
        }
    }
    found
}

fn walk(dir: &Path, group: &str, inside: bool, found: &mut BTreeMap<u64, PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        let id = name.split_once('.').and_then(|(id, _)| id.parse().ok());
        match id {
            Some(id) if inside => {
                found.insert(id, path);
            }
            Some(_) | None => walk(&path, group, inside || name == group, found),
        }
    }
}

/// Reads the kernel's own CPU counter of a group in core-milliseconds, rounded down.
fn kernel_core_millis(group: &Path) -> u64 {
    if let Ok(text) = fs::read_to_string(group.join("cpuacct.usage")) {
        return text.trim().parse::<u64>().unwrap() / 1_000_000;
    }
    let stat = fs::read_to_string(group.join("cpu.stat")).unwrap();
    let line = stat.lines().find_map(|l| l.strip_prefix("usage_usec ")).unwrap();
    line.parse::<u64>().unwrap() / 1000
}

/// The instances by id with their pids, once all of them run.
async fn running_pids(cluster: &Cluster, count: usize) -> BTreeMap<u64, u32> {
    let views = cluster.until_running(count).await;
    views
        .iter()
        .map(|v| (v.instance, v.status.as_ref().unwrap().pid.expect("a running one has a pid")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_of_the_agent_change_no_pid_and_lose_no_core_millisecond() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip("needs root for control groups");
    }
    let mut cluster = Cluster::start();
    cluster
        .start_agent("n1", &["--sample-interval-millis", "200", "--report-interval-millis", "200"]);
    // Two burn and pause, one sleeps: counters that move, and one that does not.
    let burn = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.05; done";
    let specs =
        [spec::shell("burn1", burn), spec::shell("burn2", burn), spec::shell("idle", "sleep 1000")];
    cluster.apply(&specs).await;
    let pids = running_pids(&cluster, 3).await;
    for _ in 0..KILLS {
        cluster.kill_agent("n1");
        cluster.restart_agent("n1");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(running_pids(&cluster, 3).await, pids, "an instance was started again");
    for (instance, pid) in &pids {
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "instance {instance} is gone");
    }
    // Freeze what burns, so that the kernel's counter and ours can be compared exactly.
    let counters = kernel_counters(&cluster.group("n1"));
    assert_eq!(counters.keys().collect::<Vec<_>>(), pids.keys().collect::<Vec<_>>());
    for pid in pids.values() {
        stop_group(*pid);
    }
    let kernel: BTreeMap<u64, u64> = until("the counters stand still", || async {
        let read = || -> BTreeMap<u64, u64> {
            counters.iter().map(|(id, path)| (*id, kernel_core_millis(path))).collect()
        };
        let before = read();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (before == read()).then_some(before)
    })
    .await;
    let mut operator = cluster.operator().await;
    until("every meter reads what the kernel reads", async || {
        let request = v1::ListMetersRequest { instance: None };
        let meters = operator.list_meters(request).await.ok()?.into_inner().meters;
        let mut ours: BTreeMap<u64, u64> = BTreeMap::new();
        for meter in meters {
            let record = meter.record.unwrap();
            *ours.entry(record.instance).or_default() += record.cpu_core_millis;
        }
        (ours == kernel).then_some(())
    })
    .await;
}

/// Stops every process of a process group, and of the groups its shell made.
fn stop_group(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_the_agent_is_away_is_reported_with_its_exit_code_and_output() {
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &[]);
    let mut job =
        spec::shell("away", "while [ ! -e go ]; do sleep 0.02; done; echo the end; exit 7");
    job.kind = tengyun_model::Kind::Job;
    job.restart.mode = tengyun_model::RestartMode::Never;
    cluster.apply(&[job]).await;
    let pids = running_pids(&cluster, 1).await;
    cluster.kill_agent("n1");
    let pid = pids.values().next().unwrap();
    fs::write(format!("/proc/{pid}/cwd/go"), "").unwrap();
    until("the job ends", || async {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })
    .await;
    cluster.restart_agent("n1");
    let view = until("the exit is known", || async {
        cluster
            .instances()
            .await
            .into_iter()
            .find(|v| !is_running(v) && v.status.as_ref().is_some_and(|s| s.exit.is_some()))
    })
    .await;
    let exit = view.status.unwrap().exit.unwrap();
    assert_eq!(exit.how, Some(v1::exit::How::Code(7)));
    let request = v1::LogsRequest { instance: view.instance, tail_lines: 10, follow: false };
    let mut stream = cluster.operator().await.logs(request).await.unwrap().into_inner();
    let mut output = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        output.extend(chunk.data);
    }
    assert!(String::from_utf8_lossy(&output).contains("the end"), "the output was lost");
}
