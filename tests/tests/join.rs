//! Servers that join over TLS: the real binaries, over loopback and in network namespaces.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::path::Path;
use std::time::{Duration, Instant};

use tengyun_proto::v1;
use tengyun_tests::cluster::{self, Cluster, until};
use tengyun_tests::{skip, spec};

/// How long a server may take to join and be there.
const JOIN_MAX: Duration = Duration::from_secs(3);

/// Runs the command of the operator, who sits at the scheduler; returns its standard output.
fn operator(cluster: &Cluster, words: &[&str]) -> String {
    let socket = cluster.socket();
    let mut command = cluster::program("tengyun");
    command.env("TENGYUN_STATE_DIR", cluster.path()).arg("--socket").arg(socket).args(words);
    run(&mut command)
}

fn run(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn token(cluster: &Cluster, more: &[&str]) -> String {
    let words = [&["token", "create"], more].concat();
    operator(cluster, &words).trim().to_owned()
}

fn sleepers(instances: u32) -> tengyun_model::WorkloadSpec {
    let mut spec = spec::command("web", &["/bin/sleep", "1000"]);
    spec.instances = instances;
    spec
}

async fn until_connected(cluster: &Cluster, name: &str, connected: bool) {
    let mut operator = cluster.operator().await;
    until("the node is there, or is not", async || {
        let list = operator.list_nodes(v1::ListNodesRequest {}).await.ok()?.into_inner();
        let is = |n: &v1::NodeView| n.facts.as_ref().is_some_and(|f| f.name == name);
        (list.nodes.iter().any(|n| is(n) && n.connected) == connected).then_some(())
    })
    .await;
}

/// Counts the lines of a daemon's log that say something.
fn said(cluster: &Cluster, log: &str, what: &str) -> usize {
    let text = std::fs::read_to_string(cluster.path().join(log)).unwrap();
    text.lines().filter(|line| line.contains(what)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_joins_works_and_is_put_out() {
    let mut cluster = Cluster::start_with(&["--listen", "127.0.0.1:0"]);
    cluster.operator().await;
    let start = Instant::now();
    let text = token(&cluster, &[]);
    cluster.start_member("n1", &["--join", &text]);
    until_connected(&cluster, "n1", true).await;
    let took = start.elapsed();
    println!("joined and attached after {took:?}");
    assert!(took < JOIN_MAX, "{took:?}");
    cluster.apply(&[sleepers(2)]).await;
    cluster.until_running(2).await;

    // The token is used up: another server does not come in by it, and this is logged.
    let dir = cluster.path().join("thief");
    let mut thief = cluster::program("tengyun");
    thief.args(["join", &text, "--name", "thief", "--agent-dir"]).arg(&dir);
    let refused = thief.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("used before"), "{refused:?}");
    assert_eq!(said(&cluster, "scheduler.log", "attempt to join refused"), 1);
    thief.env("LC_ALL", "zh_CN.UTF-8");
    let refused = thief.output().unwrap();
    let chinese = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(chinese.contains("错误：令牌已被使用\n下一步：用 `tengyun token create`"), "{chinese}");
    assert!(!dir.join("identity").exists());

    // It comes back by its identity alone.
    cluster.kill_agent("n1");
    until_connected(&cluster, "n1", false).await;
    cluster.restart_agent("n1");
    until_connected(&cluster, "n1", true).await;

    let start = Instant::now();
    operator(&cluster, &["node", "revoke", "n1"]);
    until_connected(&cluster, "n1", false).await;
    println!("cut {:?} after the revocation", start.elapsed());
    assert!(operator(&cluster, &["members"]).contains("n1"));
    let again = until("the agent says why", async || {
        (said(&cluster, "n1.log", "the certificate was revoked") > 0).then_some(())
    });
    again.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_comes_in_with_a_role() {
    let cluster = Cluster::start_with(&["--listen", "127.0.0.1:0"]);
    cluster.operator().await;
    let text = token(&cluster, &["--person", "vera", "--role", "viewer"]);
    let home = cluster.path().join("vera");
    let vera = |words: &[&str]| {
        let mut command = cluster::program("tengyun");
        command.env("TENGYUN_STATE_DIR", &home).args(words);
        command
    };
    run(&mut vera(&["login", "--name", "vera", &text]));
    let shown = run(&mut vera(&["status"]));
    assert!(shown.contains("identity"), "{shown}");
    let no = vera(&["token", "create"]).output().unwrap();
    assert_eq!(no.status.code(), Some(1));
    let said = String::from_utf8_lossy(&no.stderr).into_owned();
    assert!(said.contains("vera (viewer) may not do this"), "{said}");
    let chinese = |words: &[&str]| {
        let no = vera(words).env("LC_ALL", "zh_CN.UTF-8").output().unwrap();
        assert_eq!(no.status.code(), Some(1), "{no:?}");
        String::from_utf8_lossy(&no.stderr).into_owned()
    };
    let said = chinese(&["token", "create"]);
    assert!(said.contains("错误：vera（观察员）无权进行此操作"), "{said}");
    operator(&cluster, &["person", "revoke", "vera"]);
    let no = vera(&["status"]).output().unwrap();
    assert_eq!(no.status.code(), Some(1), "{no:?}");
    let said = chinese(&["status"]);
    assert!(said.contains("证书已被吊销：请重新加入"), "{said}");
}

/// The reports that the scheduler counts for each instance grow without a gap while certificates of
/// a few seconds are renewed again and again under load.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_under_load_without_a_lost_report() {
    const RENEWALS: usize = 5;
    let mut cluster =
        Cluster::start_with(&["--listen", "127.0.0.1:0", "--certificate-seconds", "4"]);
    cluster.operator().await;
    for name in ["n1", "n2"] {
        let text = token(&cluster, &[]);
        cluster.start_member(name, &["--join", &text, "--report-interval-millis", "100"]);
    }
    cluster.apply(&[sleepers(4)]).await;
    let before = cluster.until_running(4).await;
    let mut operator = cluster.operator().await;
    let mut oldest = 0;
    until("certificates were renewed", async || {
        let list = operator.list_nodes(v1::ListNodesRequest {}).await.ok()?.into_inner();
        for node in &list.nodes {
            assert!(node.connected, "a stream was dropped");
            oldest = oldest.max(list.at_millis.saturating_sub(node.seen_millis));
        }
        let renewed = |name: &str| said(&cluster, name, "certificate renewed");
        (renewed("n1.log") >= RENEWALS && renewed("n2.log") >= RENEWALS).then_some(())
    })
    .await;
    println!("the oldest report at any look was {oldest} ms old");
    assert!(oldest < 1000, "reports were late by {oldest} ms");
    for log in ["n1.log", "n2.log"] {
        assert_eq!(said(&cluster, log, "no link to the scheduler"), 0, "{log}");
        assert_eq!(said(&cluster, log, "attached to the scheduler"), 1, "{log}");
    }
    let pids = |views: &[v1::InstanceView]| {
        let pid = |v: &v1::InstanceView| v.status.as_ref().and_then(|s| s.pid);
        views.iter().map(pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&cluster.until_running(4).await), pids(&before));
}

/// Network namespaces as servers, on one bridge; dropped, they are gone.
struct Servers {
    tag: u32,
    count: u32,
}

impl Servers {
    fn make(count: u32) -> Self {
        let tag = std::process::id() % 10_000;
        let made = Self { tag, count };
        let bridge = made.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["addr", "add", "10.213.77.1/24", "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        for server in 0..count {
            let (space, outer, inner) =
                (made.space(server), format!("tyo{tag}n{server}"), format!("tyi{tag}n{server}"));
            ip(&["netns", "add", &space]);
            ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner]);
            ip(&["link", "set", &outer, "master", &bridge, "up"]);
            ip(&["link", "set", &inner, "netns", &space]);
            let address = format!("10.213.77.{}/24", server + 10);
            ip(&["-n", &space, "addr", "add", &address, "dev", &inner]);
            ip(&["-n", &space, "link", "set", &inner, "up"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
        }
        made
    }

    fn bridge(&self) -> String {
        format!("tyb{}", self.tag)
    }

    fn space(&self, server: u32) -> String {
        format!("tyn{}x{server}", self.tag)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in 0..self.count {
            drop(command("ip").args(["netns", "del", &self.space(server)]).output());
        }
        drop(command("ip").args(["link", "del", &self.bridge()]).output());
    }
}

#[expect(clippy::disallowed_methods, reason = "the test makes network namespaces")]
fn command(program: &str) -> std::process::Command {
    std::process::Command::new(program)
}

fn ip(words: &[&str]) {
    run(command("ip").args(words));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_of_their_own_addresses_join_in_under_three_seconds_each() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to make network namespaces");
    }
    if !Path::new("/usr/sbin/ip").exists() && !Path::new("/sbin/ip").exists() {
        return skip("needs the ip command");
    }
    let servers = Servers::make(3);
    let mut cluster = Cluster::start_with(&["--listen", "10.213.77.1:0"]);
    cluster.operator().await;
    for server in 0..3 {
        let name = format!("s{server}");
        let space = servers.space(server);
        let start = Instant::now();
        let text = token(&cluster, &[]);
        let mut join = command("nsenter");
        join.arg(format!("--net=/run/netns/{space}")).arg(cluster::binary("tengyun"));
        join.args(["join", &text, "--name", &name, "--agent-dir"]).arg(cluster.agent_dir(&name));
        run(&mut join);
        cluster.start_member_in(&space, &name, &[]);
        until_connected(&cluster, &name, true).await;
        let took = start.elapsed();
        println!("{name} joined and attached after {took:?}");
        assert!(took < JOIN_MAX, "{name}: {took:?}");
    }
    let seen =
        |server: u32| said(&cluster, "scheduler.log", &format!("from=10.213.77.{}", server + 10));
    assert!((0..3).all(|server| seen(server) > 0), "each has an address of its own");
    cluster.apply(&[sleepers(6)]).await;
    cluster.until_running(6).await;
}
