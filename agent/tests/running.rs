//! The running half with real processes: what is assigned runs, ends, restarts and is adopted.

#[path = "running/application.rs"]
mod application;
#[path = "running/artifact.rs"]
mod artifact;
#[path = "running/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, has_cgroups, is_alive, once, shell, skip, until};
use tengyun_model::{Class, FileSpec, Mebibytes, Millis, PortSpec, RestartMode};
use tengyun_proto::v1::exit::How;
use tengyun_proto::v1::{self, Phase, scheduler_message};

fn how(status: &v1::InstanceStatus) -> Option<How> {
    status.exit.as_ref().and_then(|exit| exit.how)
}

#[tokio::test]
async fn what_is_assigned_runs_and_what_is_not_ends() {
    let mut stage = Stage::start();
    stage.assign(&[shell(1, "exec sleep 1000"), shell(2, "exec sleep 1000")]);
    let (one, two) = (stage.pid(1).await, stage.pid(2).await);
    stage.assign(&[shell(2, "exec sleep 1000")]);
    stage.until_gone(1).await;
    assert!(!is_alive(one));
    assert!(is_alive(two), "the other one is left alone");
    stage.end().await;
    assert!(!is_alive(two));
}

#[tokio::test]
async fn a_test_that_fails_leaves_nothing_running() {
    let mut stage = Stage::start();
    // It works in another directory, and its child in a session of its own.
    stage.assign(&[shell(1, "cd /; setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000")]);
    let pid = stage.pid(1).await;
    let hidden =
        until("its child says its number", || stage.stdout(1, 1).trim().parse().ok()).await;
    let groups = stage.groups();
    assert!(is_alive(pid) && is_alive(hidden));
    // As when an assertion fails: nothing is ended before.
    drop(stage);
    assert!(!is_alive(pid) && !is_alive(hidden));
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
}

#[tokio::test]
async fn an_exit_code_and_a_signal_are_reported_as_they_were() {
    let mut stage = Stage::start();
    stage.assign(&[once(1, "exit 3"), once(2, "kill -11 $$"), once(3, "exit 0")]);
    let one = stage.until(1, &[Phase::Failed]).await;
    assert_eq!(how(&one), Some(How::Code(3)));
    let two = stage.until(2, &[Phase::Failed]).await;
    assert_eq!(how(&two), Some(How::Signal(11)));
    let three = stage.until(3, &[Phase::Succeeded]).await;
    assert_eq!(how(&three), Some(How::Code(0)));
    assert_eq!(three.incarnation, 1);
    stage.end().await;
}

#[tokio::test]
async fn a_service_that_ends_starts_again_with_growing_pauses() {
    let mut stage = Stage::start();
    let start = Instant::now();
    stage.assign(&[shell(1, "echo up; exit 1")]);
    let third = |report: &v1::Report| {
        report.instances.iter().find(|s| s.incarnation >= 3).map(|s| s.incarnation)
    };
    stage.report("it was started three times", third).await;
    // 100 ms, then 200 ms.
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    stage.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_reported_in_words() {
    let mut stage = Stage::start();
    let mut absent = once(1, "");
    absent.spec.command = vec!["no-such-program".to_owned()];
    let mut forbidden = once(2, "");
    forbidden.spec.command = vec!["/etc/passwd".to_owned()];
    stage.assign(&[absent, forbidden]);
    let status = stage.until(1, &[Phase::Failed]).await;
    assert_eq!(how(&status), Some(How::NotStarted(true)));
    assert_eq!(status.message, "cannot execute no-such-program: No such file or directory");
    let status = stage.until(2, &[Phase::Failed]).await;
    assert_eq!(status.message, "cannot execute /etc/passwd: Permission denied");
    stage.end().await;
}

#[tokio::test]
async fn a_workload_that_ignores_the_request_to_end_is_killed_after_its_grace() {
    let mut stage = Stage::start();
    let mut stubborn = shell(1, "trap '' TERM; echo deaf; while :; do sleep 0.1; done");
    stubborn.spec.stop.grace = Millis::new(300);
    stage.assign(&[stubborn]);
    let pid = stage.pid(1).await;
    until("it is deaf", || (stage.stdout(1, 1) == "deaf\n").then_some(())).await;
    let start = Instant::now();
    stage.assign(&[]);
    stage.until(1, &[Phase::Stopping]).await;
    stage.until_gone(1).await;
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(!is_alive(pid));
    stage.end().await;
}

#[tokio::test]
async fn no_process_of_a_workload_outlives_it_however_it_hides() {
    let mut stage = Stage::start();
    // A grandchild in a session of its own that holds the output open.
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.3; exit 0";
    stage.assign(&[once(1, script)]);
    stage.until(1, &[Phase::Succeeded]).await;
    let hidden: u32 = stage.stdout(1, 1).trim().parse().unwrap();
    assert!(!is_alive(hidden));
    stage.end().await;
}

#[tokio::test]
async fn what_an_instance_writes_to_disk_is_reported_where_groups_count_it() {
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let counted = std::path::Path::new("/sys/fs/cgroup/blkio/cgroup.procs").exists()
        || unified.split_whitespace().any(|controller| controller == "io");
    if !has_cgroups() || !counted {
        return skip("needs root and a controller of IO");
    }
    let mut stage = Stage::start();
    // Direct, so that the group that writes is the one that pays.
    let write = "dd if=/dev/zero of=big bs=1M count=4 oflag=direct 2>/dev/null";
    stage.assign(&[shell(1, &format!("while {write}; do :; done; echo no; exec sleep 1000"))]);
    let wrote = stage.report("it wrote or could not", |report| {
        let usage = report.usage.as_ref()?.instances.iter().find(|i| i.instance == 1)?;
        usage.io_bytes_per_second.filter(|bytes| *bytes > 0)
    });
    let cannot = tokio::time::timeout(Duration::from_secs(20), wrote).await;
    let unified_counts = unified.split_whitespace().any(|controller| controller == "io");
    if stage.stdout(1, 1) == "no\n" {
        skip("needs a file system that takes direct writes");
    } else if cannot.is_err() && !unified_counts {
        println!("in version 1 this kernel counts the IO of groups only where it is throttled");
    } else {
        let bytes = cannot.expect("what is written is counted");
        assert!(bytes >= 1024, "{bytes} a second");
    }
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_adopts_the_same_processes() {
    let mut stage = Stage::start();
    stage.assign(&[shell(1, "exec sleep 1000"), shell(2, "exec sleep 1000")]);
    let before = (stage.pid(1).await, stage.pid(2).await);
    for _ in 0..3 {
        stage.kill_agent().await;
        stage.scheduler.reports.send_replace(None);
        stage.start_agent();
        assert_eq!((stage.pid(1).await, stage.pid(2).await), before);
        let status = stage.until(1, &[Phase::Healthy]).await;
        assert_eq!(status.incarnation, 1);
    }
    stage.end().await;
}

#[tokio::test]
async fn an_end_without_an_agent_is_not_lost_and_neither_is_the_output() {
    let mut stage = Stage::start();
    let gate = stage.dir.path().join("gate");
    let script =
        format!("while ! [ -e {} ]; do sleep 0.01; done; echo last; exit 7", gate.display());
    stage.assign(&[once(1, &script)]);
    let pid = stage.pid(1).await;
    stage.kill_agent().await;
    std::fs::write(&gate, "").unwrap();
    until("it has ended", || (!is_alive(pid)).then_some(())).await;
    stage.start_agent();
    let status = stage.until(1, &[Phase::Failed]).await;
    assert_eq!(how(&status), Some(How::Code(7)));
    assert_eq!(stage.stdout(1, 1), "last\n");
    stage.end().await;
}

#[tokio::test]
async fn instances_that_were_stopped_with_the_agent_start_again_with_it() {
    let mut stage = Stage::start();
    stage.assign(&[shell(1, "exec sleep 1000"), once(2, "exec sleep 1000")]);
    let (one, two) = (stage.pid(1).await, stage.pid(2).await);
    stage.stop_agent().await.unwrap();
    assert!(!is_alive(one) && !is_alive(two));
    stage.scheduler.reports.send_replace(None);
    stage.start_agent();
    assert_ne!(stage.pid(1).await, one);
    assert_ne!(stage.pid(2).await, two);
    stage.end().await;
}

#[tokio::test]
async fn a_shim_that_is_killed_takes_its_workload_with_it_and_the_service_starts_again() {
    let mut stage = Stage::start();
    stage.assign(&[shell(1, "exec sleep 1000")]);
    let pid = stage.pid(1).await;
    let shim = parent(pid);
    let shim = nix::unistd::Pid::from_raw(i32::try_from(shim).unwrap());
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    let again = |report: &v1::Report| {
        report.instances.iter().find(|s| s.incarnation == 2 && s.pid.is_some()).map(|s| s.pid)
    };
    stage.report("it runs again", again).await;
    assert!(!is_alive(pid), "the first process is left running beside the second");
    stage.end().await;
}

#[cfg(test)]
fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn an_older_assignment_changes_nothing() {
    let mut stage = Stage::start();
    stage.send_assignment(2, 5, &[shell(1, "exec sleep 1000")]);
    let pid = stage.pid(1).await;
    stage.send_assignment(1, 9, &[]);
    stage.send_assignment(2, 4, &[]);
    stage.send_assignment(2, 5, &[]);
    stage.send_assignment(2, 6, &[shell(1, "exec sleep 1000"), shell(2, "exec sleep 1000")]);
    stage.pid(2).await;
    assert_eq!(stage.pid(1).await, pid);
    stage.end().await;
}

#[tokio::test]
async fn without_a_ledger_what_runs_is_left_running_until_there_is_a_word() {
    let mut stage = Stage::start();
    stage.assign(&[shell(1, "exec sleep 1000")]);
    let pid = stage.pid(1).await;
    stage.kill_agent().await;
    let ledger = stage.config.state_dir.join("ledger/assignment");
    std::fs::write(&ledger, "damaged").unwrap();
    // This agent hears nobody.
    let socket = std::mem::replace(&mut stage.config.scheduler_socket, "/nowhere/s".into());
    stage.start_agent();
    until("the ledger is set aside", || {
        ledger.with_file_name("assignment.damaged").exists().then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_alive(pid));
    stage.kill_agent().await;
    stage.config.scheduler_socket = socket;
    stage.start_agent();
    stage.scheduler.reports.send_replace(None);
    assert_eq!(stage.pid(1).await, pid);
    stage.end().await;
}

#[tokio::test]
async fn a_workload_finds_its_files_its_environment_and_nothing_of_ours() {
    let mut stage = Stage::start();
    let mut assigned = once(1, "cat conf/a; env; ls -l /proc/self/fd; pwd; umask; cat /dev/stdin");
    assigned.spec.files.push(FileSpec {
        path: "conf/a".to_owned(),
        content: b"content\n".to_vec(),
        mode: 0o600,
    });
    assigned.spec.env.insert("COLOUR".to_owned(), "blue".to_owned());
    assigned.spec.ports.push(PortSpec { name: "http".parse().unwrap(), number: Some(8123) });
    stage.assign(&[assigned]);
    stage.until(1, &[Phase::Succeeded]).await;
    let stdout = stage.stdout(1, 1);
    for expected in [
        "content\n",
        "COLOUR=blue\n",
        "PORT_HTTP=8123\n",
        "TENGYUN_INSTANCE=1\n",
        "TENGYUN_WORKLOAD=city/tests/run/script\n",
        "TENGYUN_NODE=n1\n",
        "/instances/1.1/work\n",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is not in {stdout}");
    }
    assert!(!stdout.contains("CARGO"), "the agent's environment leaked: {stdout}");
    let open = stdout.lines().filter(|line| line.contains(" -> ")).count();
    assert_eq!(open, 4, "0, 1, 2 and the directory being listed: {stdout}");
    stage.end().await;
}

#[tokio::test]
async fn a_hostile_file_path_is_refused_and_nothing_is_written() {
    let mut stage = Stage::start();
    let mut assigned = once(1, "exit 0");
    let path = "../../../../escaped".to_owned();
    assigned.spec.files.push(FileSpec { path, content: Vec::new(), mode: 0o600 });
    stage.assign(&[assigned]);
    // The conversion from the wire may refuse the whole assignment before the runner does.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!stage.dir.path().join("escaped").exists());
    assert!(!stage.config.state_dir.join("escaped").exists());
    stage.end().await;
}

#[tokio::test]
async fn output_is_bounded_and_its_newest_part_is_kept() {
    let mut stage = Stage::without_agent();
    stage.config.output.file_bytes = 100_000;
    stage.config.output.files = 3;
    stage.start_agent();
    // No line ends, then many, then a last word.
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; seq 50000; echo the end";
    stage.assign(&[once(1, script)]);
    stage.until(1, &[Phase::Succeeded]).await;
    let dir = stage.instance_dir(1, 1);
    let kept = std::fs::read_dir(&dir)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("stdout.log"));
    let sizes: Vec<u64> = kept.map(|entry| entry.metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= 100_000), "{sizes:?}");
    assert!(stage.stdout(1, 1).ends_with("50000\nthe end\n"));
    stage.end().await;
}

#[tokio::test]
async fn a_flood_of_output_is_slowed_and_does_not_hold_up_a_stop() {
    let mut stage = Stage::without_agent();
    stage.config.output.bytes_per_second = 64 * 1024;
    stage.start_agent();
    stage.assign(&[shell(1, "exec cat /dev/zero")]);
    let pid = stage.pid(1).await;
    // The burst of 8 seconds' worth goes through at once, then the pipe fills.
    let file = stage.instance_dir(1, 1).join("stdout.log");
    let size = || std::fs::metadata(&file).map_or(0, |m| m.len());
    until("the burst is through", || (size() >= 512 * 1024).then_some(())).await;
    let start = Instant::now();
    stage.assign(&[]);
    stage.until_gone(1).await;
    assert!(!is_alive(pid));
    assert!(start.elapsed() < Duration::from_secs(10));
    stage.end().await;
}

#[tokio::test]
async fn output_can_be_read_and_followed_through_the_link() {
    let mut stage = Stage::start();
    let gate = stage.dir.path().join("gate");
    let script = format!(
        "echo one; echo two >&2; while ! [ -e {} ]; do sleep 0.01; done; echo three; exec sleep 1000",
        gate.display()
    );
    stage.assign(&[shell(1, &script)]);
    stage.pid(1).await;
    until("it has written", || (stage.stdout(1, 1) == "one\n").then_some(())).await;
    let request = v1::LogRequest { request: 9, instance: 1, tail_lines: 0, follow: true };
    stage.scheduler.send(scheduler_message::Message::LogRequest(request));
    let mut seen = String::new();
    let mut opened = false;
    while !seen.ends_with("three\n") {
        let chunk = stage.scheduler.chunks.recv().await.unwrap();
        assert_eq!((chunk.request, chunk.error.as_str()), (9, ""));
        seen.push_str(std::str::from_utf8(&chunk.data).unwrap());
        if !opened && seen.contains("one") && seen.contains("two") {
            std::fs::write(&gate, "").unwrap();
            opened = true;
        }
    }
    stage.assign(&[]);
    while !stage.scheduler.chunks.recv().await.unwrap().end {}
    stage.end().await;
}

#[tokio::test]
async fn a_new_revision_replaces_the_process() {
    let mut stage = Stage::start();
    stage.assign(&[shell(1, "exec sleep 1000")]);
    let before = stage.pid(1).await;
    let mut revised = shell(1, "echo new; exec sleep 1000");
    revised.revision = revised.revision.next();
    stage.assign(&[revised]);
    let second = |report: &v1::Report| {
        report.instances.iter().find(|s| s.incarnation == 2 && s.pid.is_some()).map(|s| s.pid)
    };
    stage.report("the new revision runs", second).await;
    assert!(!is_alive(before));
    until("it has written", || (stage.stdout(1, 2) == "new\n").then_some(())).await;
    stage.end().await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_refused() {
    let mut stage = Stage::start();
    stage.report("the first one reports", |_| Some(())).await;
    let error = tengyun_agent::run(stage.config.clone(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("another agent uses"), "{error}");
    stage.end().await;
}

#[tokio::test]
async fn a_workload_of_root_runs_as_nobody_who_owns_its_directory_and_nothing_else() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root for users of instances");
    }
    let mut stage = Stage::start();
    let script = "id -u; id -G; touch mine; grep -E '^(NoNewPrivs|CapBnd|CapEff)' /proc/self/status; \
                  cat ../spec.pb; echo x >> ../stdout.log; ls -d /proc/1/root/ 2>&1";
    stage.assign(&[once(5, script)]);
    stage.until(5, &[Phase::Failed, Phase::Succeeded]).await;
    let stdout = stage.stdout(5, 1);
    let mut lines = stdout.lines();
    assert_eq!(lines.next(), Some("200005"));
    assert_eq!(
        lines.next(),
        Some("200005 400000"),
        "its own, and that of its department's services"
    );
    let rest: String = lines.collect::<Vec<_>>().join("\n").replace('\t', " ");
    assert!(rest.contains("CapEff: 0000000000000000"), "{rest}");
    assert!(rest.contains("CapBnd: 0000000000000000"), "{rest}");
    assert!(rest.contains("NoNewPrivs: 1"), "{rest}");
    assert!(!rest.contains("/bin/sh") && !rest.contains("\nx\n"), "{rest}");
    stage.end().await;
}

#[tokio::test]
async fn a_workload_that_takes_too_much_memory_is_reported_as_such() {
    if !has_cgroups() {
        return skip("needs root and a memory controller");
    }
    let mut stage = Stage::start();
    let mut hungry = once(1, "x=0123456789abcdef; while :; do x=$x$x; done");
    hungry.spec.resources.memory = Mebibytes::new(16);
    stage.assign(&[hungry]);
    let status = stage.until(1, &[Phase::Failed]).await;
    assert_eq!(how(&status), Some(How::OutOfMemory(true)));
    stage.end().await;
}

#[tokio::test]
async fn a_fork_bomb_is_contained_and_ends_when_told() {
    if !has_cgroups() {
        return skip("needs root and a pids controller");
    }
    let mut stage = Stage::start();
    let mut bomb =
        shell(1, "f() { f | f & sleep 0.01; f; }; f 2>/dev/null; while :; do sleep 1; done");
    bomb.spec.resources.pids = 40;
    bomb.spec.stop.grace = Millis::new(200);
    bomb.spec.restart.mode = RestartMode::Always;
    stage.assign(&[bomb, shell(2, "exec sleep 1000")]);
    stage.pid(2).await;
    stage
        .report("the bomb went off", |r| r.instances.iter().find(|s| s.instance == 1).map(drop))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    stage.assign(&[shell(2, "exec sleep 1000")]);
    stage.until_gone(1).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    stage.end().await;
}

#[tokio::test]
async fn groups_and_directories_that_nobody_knows_are_cleared_away() {
    if !has_cgroups() {
        return skip("needs root and control groups");
    }
    let mut stage = Stage::start();
    let mut harvest = shell(1, "exec sleep 1000");
    harvest.spec.class = Class::Harvest;
    stage.assign(&[harvest]);
    let pid = stage.pid(1).await;
    stage.kill_agent().await;
    // What it was is lost with its directory; its group and its process are still there.
    std::fs::remove_dir_all(stage.instance_dir(1, 1)).unwrap();
    stage.assign(&[]);
    stage.start_agent();
    until("the stranger is gone", || (!is_alive(pid)).then_some(())).await;
    stage.end().await;
}

#[tokio::test]
async fn a_hundred_instances_start_and_end() {
    let mut stage = Stage::start();
    let all: Vec<_> = (1..=100).map(|id| shell(id, "exec sleep 1000")).collect();
    let start = Instant::now();
    stage.assign(&all);
    let running = |report: &v1::Report| {
        let running = report.instances.iter().filter(|s| s.pid.is_some()).count();
        (running == 100).then_some(())
    };
    stage.report("all run", running).await;
    println!("100 instances after {:?}", start.elapsed());
    let start = Instant::now();
    stage.end().await;
    println!("ended after {:?}", start.elapsed());
}

#[tokio::test]
async fn the_node_says_what_it_is_and_how_well_its_promises_hold() {
    let mut stage = Stage::without_agent();
    stage.config.capacity.cpu = Some(tengyun_model::Millicores::new(700));
    stage.config.labels.insert("rack".to_owned(), "r1".to_owned());
    stage.start_agent();
    stage.report("it reports", |_| Some(())).await;
    let facts = stage.scheduler.hello.borrow().clone().unwrap().facts.unwrap();
    assert_eq!((facts.name.as_str(), facts.labels["rack"].as_str()), ("n1", "r1"));
    assert_eq!(facts.capacity.unwrap().cpu_millicores, 700);
    assert_eq!(facts.enforcement.len(), tengyun_model::Control::ALL.len());
    if has_cgroups() {
        let group = format!("/sys/fs/cgroup/cpu/{}/n1/cpu.cfs_quota_us", stage.config.cgroup_name);
        let quota = std::fs::read_to_string(group).map(|quota| quota.trim().to_owned());
        assert!(quota.is_err() || quota.unwrap() == "70000", "the quota is not set");
    }
    stage.end().await;
}

#[tokio::test]
async fn use_is_measured_and_metered_to_the_last_reading() {
    let mut stage = Stage::start();
    stage.assign(&[once(1, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")]);
    stage.until(1, &[Phase::Succeeded]).await;
    let last = |report: &v1::Report| report.meters.iter().find(|m| m.last).cloned();
    let record = stage.report("the meter is closed", last).await;
    assert_eq!((record.instance, record.incarnation), (1, 1));
    assert!(record.cpu_core_millis > 0);
    let acknowledgement = v1::MeterAcknowledgement { meters: vec![record] };
    stage.scheduler.send(scheduler_message::Message::MeterAcknowledgement(acknowledgement));
    stage.report("it is forgotten", |r| r.meters.is_empty().then_some(())).await;
    stage.end().await;
}

/// Counts the processes whose command line ends in this word.
#[cfg(test)]
fn processes_named(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let word = format!("\0{word}\0");
    lines.filter(|line| line.ends_with(word.as_bytes())).count()
}

#[tokio::test]
async fn an_agent_killed_at_forty_points_leaves_each_instance_running_once() {
    let mut stage = Stage::without_agent();
    let word = |id: u64| format!("1{:07}{id:02}", std::process::id());
    let sleeper = |id| shell(id, &format!("exec sleep {}", word(id)));
    for round in 0..40_u64 {
        let mut agent = stage.agent_process();
        let wanted: Vec<_> = (1..=6).filter(|id| (id + round) % 3 != 0).map(sleeper).collect();
        stage.assign(&wanted);
        // Each round the kill falls at another point of the starts and stops.
        tokio::time::sleep(Duration::from_millis(round * 13 % 211)).await;
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    stage.assign(&[sleeper(1), sleeper(2), sleeper(3)]);
    stage.scheduler.reports.send_replace(None);
    stage.start_agent();
    for id in 1..=3 {
        stage.pid(id).await;
    }
    for id in 4..=6 {
        stage.until_gone(id).await;
    }
    // A process has its number before it has become the program.
    until("all have become their program", || {
        (1..=3).all(|id| processes_named(&word(id)) > 0).then_some(())
    })
    .await;
    for id in 1..=6 {
        assert_eq!(processes_named(&word(id)), usize::from(id <= 3), "instance {id}");
    }
    stage.end().await;
    assert_eq!((1..=6).map(|id| processes_named(&word(id))).sum::<usize>(), 0);
}

#[tokio::test]
async fn an_agent_that_ends_waits_for_no_instance_longer_than_five_seconds() {
    let mut stage = Stage::start();
    // Its own grace is 20 seconds.
    stage.assign(&[shell(1, "trap '' TERM; echo deaf; while :; do sleep 0.1; done")]);
    let pid = stage.pid(1).await;
    until("it is deaf", || (stage.stdout(1, 1) == "deaf\n").then_some(())).await;
    let start = Instant::now();
    stage.end().await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn without_control_groups_everything_runs_and_ends_all_the_same() {
    let mut stage = Stage::without_agent();
    stage.config.cgroup_root = stage.dir.path().to_owned();
    stage.start_agent();
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & \
                  i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000";
    stage.assign(&[shell(1, script)]);
    let pid = stage.pid(1).await;
    let hidden = until("it has written", || stage.stdout(1, 1).trim().parse::<u32>().ok()).await;
    let metered = |r: &v1::Report| r.meters.iter().any(|m| m.cpu_core_millis > 0).then_some(());
    stage.report("its use is metered", metered).await;
    let facts = stage.scheduler.hello.borrow().clone().unwrap().facts.unwrap();
    let held: Vec<_> = facts.enforcement.iter().filter(|e| e.reason.is_empty()).collect();
    assert!(held.len() <= 2, "what is not enforced has no reason: {held:?}");
    stage.assign(&[]);
    stage.until_gone(1).await;
    assert!(!is_alive(pid) && !is_alive(hidden));
    stage.end().await;
}

#[tokio::test]
async fn a_user_that_is_not_there_is_reported_in_words() {
    let mut stage = Stage::start();
    let mut assigned = once(1, "exit 0");
    assigned.spec.user = Some("no-such-user".to_owned());
    stage.assign(&[assigned]);
    let status = stage.until(1, &[Phase::Failed]).await;
    assert_eq!(how(&status), Some(How::NotStarted(true)));
    let words = "cannot run as user no-such-user: this server does not know it";
    assert_eq!(status.message, words);
    stage.end().await;
}

#[tokio::test]
async fn a_state_directory_that_is_none_ends_the_agent_with_its_name() {
    let mut stage = Stage::without_agent();
    stage.config.state_dir = stage.dir.path().join("file");
    std::fs::write(&stage.config.state_dir, "").unwrap();
    let error = tengyun_agent::run(stage.config.clone(), std::future::pending()).await.unwrap_err();
    let words = format!("cannot use {}", stage.config.state_dir.display());
    assert_eq!(error.to_string(), words);
}

/// Runs a shim on a directory by hand.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test starts a shim")]
fn run_shim(dir: &std::path::Path) -> Option<i32> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tengyun-agent"));
    command.arg("shim").arg(dir).status().unwrap().code()
}

#[test]
fn a_shim_that_cannot_start_leaves_words_and_one_that_came_too_late_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spec.pb"), [0xff; 16]).unwrap();
    assert_eq!(run_shim(dir.path()), Some(1));
    let exit = std::fs::read(dir.path().join("exit")).unwrap();
    assert!(String::from_utf8_lossy(&exit).contains("cannot read the specification"));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spec.pb"), "").unwrap();
    std::fs::write(dir.path().join("shim.pid"), "").unwrap();
    assert_eq!(run_shim(dir.path()), Some(1));
    assert!(!dir.path().join("exit").exists() && !dir.path().join("started").exists());
    assert_eq!(run_shim(&dir.path().join("nowhere")), Some(1));
}

#[tokio::test]
async fn starting_and_ending_leaves_no_open_file_behind() {
    let mut stage = Stage::without_agent();
    let mut agent = stage.agent_process();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap().count();
    stage.assign(&[shell(1, "exec sleep 1000")]);
    stage.pid(1).await;
    stage.assign(&[]);
    stage.until_gone(1).await;
    let before = files();
    for _ in 0..5 {
        let all: Vec<_> = (1..=10).map(|id| shell(id, "exec sleep 1000")).collect();
        stage.assign(&all);
        for id in 1..=10 {
            stage.pid(id).await;
        }
        stage.assign(&[]);
        for id in 1..=10 {
            stage.until_gone(id).await;
        }
    }
    assert!(files() <= before + 2, "{before} files were open, {} are", files());
    agent.kill().unwrap();
    agent.wait().unwrap();
    stage.end().await;
}
