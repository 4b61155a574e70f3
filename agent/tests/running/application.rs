//! What an application is given: health checks, ports, volumes, and where other workloads are.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tengyun_model::{
    AssignedInstance, CopyKey, HealthCheck, HealthProbe, Mebibytes, Millis, OnUnhealthy, PortSpec,
    VolumeSpec,
};
use tengyun_proto::v1::exit::How;
use tengyun_proto::v1::{self, Phase, scheduler_message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::how;
use crate::stage::{Stage, has_cgroups, shell, skip, until};

/// A check ten times a second that fails after two failures.
fn check(probe: HealthProbe) -> HealthCheck {
    HealthCheck {
        probe,
        interval: Millis::new(100),
        timeout: Millis::from_secs(10),
        passes: 1,
        failures: 2,
        on_unhealthy: OnUnhealthy::Restart,
    }
}

fn command(script: &str) -> HealthProbe {
    HealthProbe::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
}

fn http() -> HealthProbe {
    HealthProbe::Http { port: "web".parse().unwrap(), path: "/healthy".to_owned() }
}

/// A port that nobody listens on.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// An instance that occupies a port on which the test itself answers, and is only told of.
fn with_port(instance: u64, port: u16, probe: HealthProbe) -> AssignedInstance {
    let mut assigned = shell(instance, "exec sleep 1000");
    assigned.spec.ports = vec![PortSpec { name: "web".parse().unwrap(), number: Some(port) }];
    assigned.spec.health = Some(check(probe));
    assigned.spec.health.as_mut().unwrap().on_unhealthy = OnUnhealthy::Report;
    assigned
}

/// Answers every request on a port with the present status; 0 answers nothing.
async fn serve(port: u16, status: Arc<AtomicU16>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut silent = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let status = status.load(Ordering::SeqCst);
        if status == 0 {
            silent.push(stream);
            continue;
        }
        let mut request = [0; 1024];
        let count = stream.read(&mut request).await.unwrap_or_default();
        let asked = String::from_utf8_lossy(&request[..count]).into_owned();
        if count > 0 {
            assert!(asked.starts_with("GET /healthy HTTP/1.1\r\n"), "{asked}");
        }
        // A redirect away from here must not be followed.
        let answer = format!("HTTP/1.1 {status} x\r\nLocation: http://192.0.2.1/\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap_or_default();
    }
}

#[tokio::test]
async fn a_check_that_fails_restarts_its_instance_as_a_failure() {
    let mut stage = Stage::start();
    let mut assigned = shell(1, "touch fine; exec sleep 1000");
    assigned.spec.health = Some(check(command("test -e fine")));
    stage.assign(&[assigned]);
    stage.until(1, &[Phase::Healthy]).await;
    fs::remove_file(stage.instance_dir(1, 1).join("work/fine")).unwrap();
    let ended = stage.until(1, &[Phase::BackingOff]).await;
    assert_eq!(how(&ended), Some(How::Unhealthy(true)));
    assert_eq!(ended.message, "the command ended with exit code 1");
    let again = |report: &v1::Report| {
        let second = |s: &&v1::InstanceStatus| s.incarnation == 2 && s.phase() == Phase::Healthy;
        report.instances.iter().find(second).cloned()
    };
    stage.report("it is healthy again", again).await;
    stage.end().await;
}

#[tokio::test]
async fn an_instance_is_not_healthy_before_its_check_passes_and_has_its_time_to_start() {
    let mut stage = Stage::start();
    let mut slow = shell(1, "while [ ! -e go ]; do sleep 0.02; done; touch fine; exec sleep 1000");
    slow.spec.startup = Millis::from_secs(600);
    slow.spec.health = Some(check(command("echo >> asked; test -e fine")));
    let mut never = shell(2, "exec sleep 1000");
    never.spec.health = Some(check(command("exit 7")));
    stage.assign(&[slow, never]);
    // The one fails again and again without harm while it may be starting, the other may not.
    let asked = stage.instance_dir(1, 1).join("work/asked");
    until("it was asked often", || {
        let text = fs::read_to_string(&asked).unwrap_or_default();
        (text.lines().count() >= 5).then_some(())
    })
    .await;
    stage.until(2, &[Phase::BackingOff]).await;
    let starting = stage.until(1, &[Phase::Running, Phase::Healthy, Phase::Unhealthy]).await;
    assert_eq!((starting.phase(), starting.incarnation), (Phase::Running, 1));
    fs::write(stage.instance_dir(1, 1).join("work/go"), []).unwrap();
    assert_eq!(stage.until(1, &[Phase::Healthy]).await.incarnation, 1);
    stage.end().await;
}

#[tokio::test]
async fn http_and_tcp_checks_ask_the_port_of_the_instance() {
    let mut stage = Stage::start();
    let (one, two) = (free_port().await, free_port().await);
    let tcp = HealthProbe::Tcp { port: "web".parse().unwrap() };
    stage.assign(&[with_port(1, one, http()), with_port(2, two, tcp)]);
    for instance in [1, 2] {
        let refused = stage.until(instance, &[Phase::Unhealthy]).await;
        assert!(refused.message.contains("refused"), "{}", refused.message);
    }
    let status = Arc::new(AtomicU16::new(200));
    let server = tokio::spawn(serve(one, Arc::clone(&status)));
    stage.until(1, &[Phase::Healthy]).await;
    let listener = TcpListener::bind(("127.0.0.1", two)).await.unwrap();
    stage.until(2, &[Phase::Healthy]).await;
    status.store(503, Ordering::SeqCst);
    let bad = stage.until(1, &[Phase::Unhealthy]).await;
    assert_eq!((bad.message.as_str(), bad.incarnation), ("status 503 of /healthy", 1));
    status.store(302, Ordering::SeqCst);
    stage.until(1, &[Phase::Healthy]).await;
    drop(listener);
    server.abort();
    stage.end().await;
}

#[tokio::test]
async fn checks_that_hang_hold_up_no_other() {
    let mut stage = Stage::start();
    let port = free_port().await;
    let mut all = vec![with_port(1, port, http())];
    all[0].spec.health.as_mut().unwrap().timeout = Millis::new(200);
    let mut hung = shell(2, "exec sleep 1000");
    hung.spec.health = Some(check(command("sleep 1000")));
    let health = hung.spec.health.as_mut().unwrap();
    (health.timeout, health.on_unhealthy) = (Millis::new(200), OnUnhealthy::Report);
    let mut fine = shell(3, "exec sleep 1000");
    fine.spec.health = Some(check(command("true")));
    all.extend([hung, fine]);
    stage.assign(&all);
    stage.until(3, &[Phase::Healthy]).await;
    let status = Arc::new(AtomicU16::new(200));
    let server = tokio::spawn(serve(port, Arc::clone(&status)));
    stage.until(1, &[Phase::Healthy]).await;
    status.store(0, Ordering::SeqCst);
    for instance in [1, 2] {
        let silent = stage.until(instance, &[Phase::Unhealthy]).await;
        assert_eq!(silent.message, "no answer within 200 ms");
    }
    stage.until(3, &[Phase::Healthy]).await;
    server.abort();
    stage.end().await;
}

#[tokio::test]
async fn a_check_runs_as_its_instance_does() {
    if !has_cgroups() {
        return skip("needs root and control groups");
    }
    let mut stage = Stage::start();
    let say = "id -u; id -g; cat /proc/self/cgroup; pwd; echo $COLOUR";
    let mut assigned = shell(1, &format!("({say}) > own; exec sleep 1000"));
    assigned.spec.env.insert("COLOUR".to_owned(), "blue".to_owned());
    assigned.spec.health = Some(check(command(&format!("({say}) > asked"))));
    stage.assign(&[assigned]);
    stage.until(1, &[Phase::Healthy]).await;
    let work = stage.instance_dir(1, 1).join("work");
    // Its check may be asked before it has said everything.
    let own = until("it said who it is", || {
        let own = fs::read_to_string(work.join("own")).ok()?;
        own.ends_with("blue\n").then_some(own)
    })
    .await;
    assert!(own.starts_with("200001\n"), "{own}");
    assert_eq!(fs::read_to_string(work.join("asked")).unwrap(), own);
    stage.end().await;
}

#[tokio::test]
async fn what_was_healthy_is_so_when_an_agent_takes_it_over() {
    let mut stage = Stage::start();
    let mut assigned = shell(1, "exec sleep 1000");
    assigned.spec.health = Some(check(command("test ! -e ../../../slow || sleep 1000")));
    stage.assign(&[assigned]);
    stage.until(1, &[Phase::Healthy]).await;
    let mark = stage.instance_dir(1, 1).join("healthy");
    until("it is remembered", || mark.exists().then_some(())).await;
    stage.kill_agent().await;
    // No answer of the new agent's own comes before its first reports.
    fs::write(stage.config.state_dir.join("slow"), []).unwrap();
    stage.scheduler.reports.send_replace(None);
    stage.start_agent();
    let all = [Phase::Starting, Phase::Running, Phase::Healthy, Phase::Unhealthy];
    assert_eq!(stage.until(1, &all).await.phase(), Phase::Healthy);
    fs::remove_file(stage.config.state_dir.join("slow")).unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_port_that_another_program_listens_on_is_reported() {
    let mut stage = Stage::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut assigned = with_port(1, port, http());
    assigned.spec.health = None;
    stage.assign(&[assigned]);
    let refused = stage.until(1, &[Phase::BackingOff]).await;
    assert_eq!(how(&refused), Some(How::PortTaken(u32::from(port))));
    assert!(refused.message.contains("another program"), "{}", refused.message);
    drop(listener);
    stage.until(1, &[Phase::Healthy]).await;
    stage.end().await;
}

fn with_volume(instance: u64, script: &str) -> AssignedInstance {
    let mut assigned = shell(instance, script);
    assigned.spec.volumes = vec![VolumeSpec {
        name: "data".parse().unwrap(),
        path: "var/data".to_owned(),
        size: Mebibytes::new(1),
    }];
    assigned
}

#[tokio::test]
async fn a_volume_is_the_next_instance_s_and_stays_until_it_is_to_be_removed() {
    let mut stage = Stage::start();
    let script = "echo here >> var/data/log; wc -l < var/data/log; exec sleep 1000";
    for instance in [1, 2] {
        stage.assign(&[with_volume(instance, script)]);
        let lines = || {
            let said = stage.stdout(instance, 1);
            (!said.is_empty()).then(|| said.trim().to_owned())
        };
        assert_eq!(until("it wrote", lines).await, instance.to_string());
        stage.assign(&[]);
        stage.until_gone(instance).await;
    }
    let home = stage.config.state_dir.join("volumes/city.tests.run.script.0");
    assert!(home.join("data/log").exists());
    let copy = CopyKey { workload: "city/tests/run/script".parse().unwrap(), ordinal: 0 };
    stage.remove_volumes(vec![copy]);
    let gone = |report: &v1::Report| {
        let usage = report.usage.clone().unwrap_or_default();
        (report.generation == 5 && usage.volumes.is_empty()).then_some(())
    };
    stage.report("the volumes are gone", gone).await;
    assert!(!home.exists());
    stage.end().await;
}

fn services(at: u64, services: &[(&str, &str, u32)]) -> scheduler_message::Message {
    let service = |(key, address, port): &(&str, &str, u32)| {
        let key: tengyun_model::WorkloadKey = key.parse().unwrap();
        let endpoint = v1::Endpoint {
            address: (*address).to_owned(),
            ports: vec![v1::PortSpec { name: "http".to_owned(), number: *port }],
            instance: 7,
        };
        v1::Service { key: Some((&key).into()), endpoints: vec![endpoint] }
    };
    let services = services.iter().map(service).collect();
    scheduler_message::Message::Services(v1::Services { at_millis: at, services })
}

#[tokio::test]
async fn an_instance_finds_the_services_of_its_department_and_of_no_other() {
    let mut stage = Stage::start();
    let script = "while ! grep -q 81 $TENGYUN_SERVICES/app/web; do sleep 0.05; done
        cat $TENGYUN_SERVICES/app/web; cat $TENGYUN_SERVICES/../city.other/app/web 2>&1
        exec sleep 1000";
    stage.assign(&[shell(1, script)]);
    stage.pid(1).await;
    let both =
        |port| [("city/tests/app/web", "10.0.0.7", port), ("city/other/app/web", "10.0.0.8", 99)];
    stage.scheduler.send(services(5, &both(80)));
    stage.scheduler.send(services(6, &both(81)));
    let said = until("it found them", || {
        let said = stage.stdout(1, 1);
        // Its last line is written in parts.
        (said.matches('\n').count() >= 3).then_some(said)
    })
    .await;
    assert!(said.starts_with("# city/tests/app/web since 6 ms\nhttp 10.0.0.7:81 7\n"), "{said}");
    if nix::unistd::geteuid().is_root() {
        assert!(said.contains("Permission denied") && !said.contains("10.0.0.8"), "{said}");
    }
    // A hostile list changes nothing.
    let other = [("city/tests/app/web", "not an address", 80)];
    stage.scheduler.send(services(7, &other));
    stage.kill_agent().await;
    let file = stage.config.state_dir.join("services/city.tests/app/web");
    assert!(fs::read_to_string(&file).unwrap().contains("10.0.0.7:81"));
    assert!(Path::new(&file).exists(), "it stays when the agent is gone");
    stage.end().await;
}

#[tokio::test]
async fn an_instance_that_was_stopped_is_not_called_unhealthy() {
    let mut stage = Stage::start();
    let mut assigned = shell(1, "exec sleep 1000");
    assigned.spec.health = Some(check(command("true")));
    stage.assign(&[assigned]);
    stage.until(1, &[Phase::Healthy]).await;
    stage.assign(&[]);
    stage.until_gone(1).await;
    tokio::time::timeout(Duration::from_mins(1), stage.end()).await.unwrap();
}
