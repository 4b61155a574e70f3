//! Applications with real daemons: found where they are, kept where their data is, restarted when
//! they answer no more.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tengyun_model::{
    HealthCheck, HealthProbe, Mebibytes, Millis, OnUnhealthy, PortSpec, VolumeSpec, WorkloadSpec,
};
use tengyun_proto::v1;
use tengyun_tests::cluster::{binary, is_running, operation, program, until};
use tengyun_tests::{Cluster, spec};

fn nodes(cluster: &mut Cluster, names: &[&str]) {
    for name in names {
        let options = ["--cpu-millicores", "500", "--memory-mib", "1024"];
        let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "300"];
        cluster.start_agent(name, &[options, quick].concat());
    }
}

/// Nothing is moved, and ports are of a range that no other test of this process has: their servers
/// are on the same machine, and one would answer for another.
async fn stay(cluster: &Cluster) {
    static TESTS: AtomicU64 = AtomicU64::new(0);
    let first = 20_000 + 100 * TESTS.fetch_add(1, Ordering::Relaxed);
    let knob = |name: &str, value: u64| v1::KnobValue { name: name.to_owned(), value };
    let values =
        vec![knob("consolidate", 0), knob("port_first", first), knob("port_last", first + 99)];
    let request = v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
    let response = cluster.operator().await.set_policy(request).await.unwrap().into_inner();
    assert_eq!(response.refusal, None);
}

async fn tengyun(socket: PathBuf, words: &[&str]) -> Output {
    let mut command = program("tengyun");
    command.arg("--socket").arg(socket).args(words).env("LC_ALL", "C");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(cluster: &Cluster, words: &[&str]) -> String {
    let output = tengyun(cluster.socket(), words).await;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A server on a port that the scheduler chooses, asked for its health five times a second.
fn server(name: &str) -> WorkloadSpec {
    let server = binary("tengyun-test-server");
    let mut spec = spec::command(name, &[server.to_str().unwrap()]);
    spec.resources.memory = Mebibytes::new(64);
    spec.ports = vec![PortSpec { name: "http".parse().unwrap(), number: None }];
    spec.startup = Millis::from_secs(30);
    spec.health = Some(HealthCheck {
        probe: HealthProbe::Http { port: "http".parse().unwrap(), path: "/healthy".to_owned() },
        interval: Millis::new(200),
        timeout: Millis::from_secs(5),
        passes: 1,
        failures: 2,
        on_unhealthy: OnUnhealthy::Restart,
    });
    spec
}

/// Reads where instances are: their addresses and numbers.
fn endpoints(file: &Path) -> Vec<(SocketAddr, u64)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words.len(), words[0]), (3, "http"), "{text}");
        (words[1].parse().unwrap(), words[2].parse().unwrap())
    };
    lines.map(parse).collect()
}

/// Asks a server who it is.
fn ask(address: SocketAddr) -> Option<u64> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.parse().ok())?
}

async fn healthy(cluster: &Cluster, name: &str) -> v1::InstanceView {
    until("it is healthy", async || {
        let views = cluster.instances().await.into_iter();
        let named = |v: &v1::InstanceView| v.key.as_ref().is_some_and(|key| key.name == name);
        let is_healthy = |v: &v1::InstanceView| {
            v.status.as_ref().is_some_and(|s| s.phase() == v1::Phase::Healthy)
        };
        views.filter(|v| v.wanted && named(v)).find(is_healthy)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_follows_a_workload_that_moves() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1", "n2"]);
    stay(&cluster).await;
    // A client on each node, so that both learn of the department's services.
    let mut client = spec::command("client", &["/bin/sleep", "1000"]);
    client.instances = 2;
    client.constraints.anti_affinity = vec![client.key.clone()];
    cluster.apply(&[client, server("web")]).await;
    cluster.until_running(3).await;
    let old = healthy(&cluster, "web").await;
    let files: Vec<PathBuf> = ["n1", "n2"]
        .map(|name| cluster.agent_dir(name).join("services/city.tests/e2e/web"))
        .to_vec();
    let names = |file: &Path, instance: u64| {
        let all = endpoints(file);
        matches!(all[..], [(_, id)] if id == instance).then(|| all[0].0)
    };
    for file in &files {
        let address = until("the service is known", async || names(file, old.instance)).await;
        assert_eq!(ask(address), Some(old.instance));
        assert_eq!(u32::from(address.port()), old.ports[0].number);
    }
    let to = if old.node_name == "n1" { "n2" } else { "n1" };
    let moving = said(&cluster, &["move", &old.instance.to_string(), "--to", to]).await;
    let mut switched = 0;
    let mut asked = 0;
    while switched < 100 {
        for file in &files {
            let Some((address, instance)) = endpoints(file).last().copied() else {
                panic!("nothing is known of the service: {moving}")
            };
            let answer = tokio::task::spawn_blocking(move || ask(address)).await.unwrap();
            asked += 1;
            if instance != old.instance {
                assert_eq!(answer, Some(instance), "request {asked} failed after the switch");
                switched += 1;
            }
        }
        assert!(asked < 20_000, "it was never told: {moving}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let new = healthy(&cluster, "web").await;
    assert_eq!(new.node_name, to);
    for file in &files {
        until("only the new one is known", async || names(file, new.instance)).await;
    }
    // What was told last stays while nobody can say better.
    cluster.kill_scheduler();
    let [address] = [names(&files[0], new.instance).unwrap()];
    assert_eq!(ask(address), Some(new.instance));
    cluster.start_scheduler();
    healthy(&cluster, "web").await;
    assert_eq!(names(&files[0], new.instance), Some(address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_volume_holds_survives_revisions_a_cordon_and_a_stop_until_it_is_deleted() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1", "n2"]);
    stay(&cluster).await;
    let script = "echo $TENGYUN_INSTANCE >> data/log; exec sleep 1000";
    let mut keeper = spec::shell("keeper", script);
    let volume = |name: &str| VolumeSpec {
        name: name.parse().unwrap(),
        path: name.to_owned(),
        size: Mebibytes::new(10),
    };
    keeper.volumes = vec![volume("data")];
    cluster.apply(std::slice::from_ref(&keeper)).await;
    let first = healthy(&cluster, "keeper").await;
    let home = first.node_name.clone();
    let log = cluster.agent_dir(&home).join("volumes/city.tests.e2e.keeper.0/data/log");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    until("it wrote", async || (lines() == 1).then_some(())).await;
    keeper.env.insert("REVISION".to_owned(), "2".to_owned());
    cluster.apply(std::slice::from_ref(&keeper)).await;
    until("the new revision runs with what the old one left", async || {
        (lines() == 2).then_some(())
    })
    .await;
    assert_eq!(healthy(&cluster, "keeper").await.node_name, home);
    assert!(said(&cluster, &["cordon", &home]).await.contains("cordoned"));
    said(&cluster, &["stop", "keeper"]).await;
    until("it stopped", async || cluster.instances().await.is_empty().then_some(())).await;
    cluster.apply(std::slice::from_ref(&keeper)).await;
    until("it waits for its node and says so", async || {
        let explained = said(&cluster, &["explain", "keeper"]).await;
        explained.contains(&format!("waits for {home}, where its volumes are")).then_some(())
    })
    .await;
    said(&cluster, &["uncordon", &home]).await;
    until("it is back", async || (lines() == 3).then_some(())).await;
    let listed = said(&cluster, &["get", "volumes"]).await;
    assert!(listed.contains("city/tests/e2e/keeper") && listed.contains("kept"), "{listed}");
    let delete = ["volume", "delete", "keeper", "--copy", "0"];
    let refused = said(&cluster, &delete).await;
    assert!(refused.contains("uses the volumes"), "{refused}");
    said(&cluster, &["delete", "keeper"]).await;
    until("it is gone", async || cluster.instances().await.is_empty().then_some(())).await;
    assert_eq!(lines(), 3, "its data is not");
    let deleted = said(&cluster, &delete).await;
    assert!(deleted.contains("being removed"), "{deleted}");
    until("the volumes are gone", async || {
        let listed = said(&cluster, &["-o", "json", "get", "volumes"]).await;
        (listed.trim() == "[]" && !log.exists()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_badly_is_restarted_and_healthy_again() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1"]);
    stay(&cluster).await;
    cluster.apply(&[server("web")]).await;
    let first = healthy(&cluster, "web").await;
    let incarnation = first.status.as_ref().unwrap().incarnation;
    let start = format!("instances/{}.{incarnation}/work/sick", first.instance);
    fs::write(cluster.agent_dir("n1").join(start), []).unwrap();
    let again = until("it was started again and is healthy", async || {
        let view = healthy(&cluster, "web").await;
        view.status.as_ref().is_some_and(|s| s.incarnation > incarnation).then_some(view)
    })
    .await;
    assert!(is_running(&again));
    let history = said(&cluster, &["history", "web"]).await;
    assert!(history.contains("unhealthy") && history.contains("status 503"), "{history}");
    assert!(history.contains("restarting") && history.contains("not healthy"), "{history}");
}
