//! Servers that join over TLS: the real binaries, over loopback and in network namespaces.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]
#![expect(clippy::print_stdout, reason = "what was measured is shown where the result is read")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use tengyun_model::Member;
use tengyun_proto::identity::Key;
use tengyun_proto::token::{Secret, Token};
use tengyun_proto::{limits, tls, v1};
use tengyun_tests::cluster::{self, Cluster, until};
use tengyun_tests::openmetrics::{figure, scrape};
use tengyun_tests::servers::Servers;
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

#[expect(clippy::disallowed_methods, reason = "the test runs a command in a network namespace")]
fn command(program: &str) -> std::process::Command {
    std::process::Command::new(program)
}

/// How many reports the agents made and the scheduler did not count; some are on their way.
fn missing(cluster: &Cluster, names: &[&str]) -> u64 {
    let agent = |name: &&str| scrape(&cluster.agent_dir(name).join("metrics.sock"));
    let made = |name: &&str| figure(&agent(name), "tengyun_agent_reports_total");
    let made: u64 = names.iter().map(made).sum();
    let came = scrape(&cluster.path().join("scheduler/metrics.sock"));
    made.saturating_sub(figure(&came, "tengyun_reports_total"))
}

/// Users of the scheduler's machine, by the kernel's word: each in its role, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_machine_come_in_by_their_numbers() {
    const FINANCE: u32 = 61_001;
    const LOOKS: u32 = 61_002;
    const NOBODY: u32 = 61_003;
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to become other users");
    }
    let place = tempfile::Builder::new().prefix("tengyun-people").tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let socket = place.path().join("people/p.sock");
    let finance = format!("{FINANCE}=department:city/tests");
    let looks = format!("{LOOKS}=viewer");
    let cluster = Cluster::start_with(&[
        "--people-socket",
        socket.to_str().unwrap(),
        "--local",
        &finance,
        "--local",
        &looks,
    ]);
    cluster.operator().await;
    cluster.apply(&[sleepers(1)]).await;
    let ask = |user: u32, words: &[&str]| {
        let mut command = cluster::program("tengyun");
        command.uid(user).gid(user).env("HOME", "/nowhere").env("LC_ALL", "C");
        command.arg("--socket").arg(&socket).args(words).output().unwrap()
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for user in [FINANCE, LOOKS] {
        let output = ask(user, &["get", "workloads"]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("web"), "{output:?}");
    }
    let no = said(&ask(FINANCE, &["get", "nodes"]));
    assert!(no.contains("user 61001 (department city/tests) may not do this"), "{no}");
    let no = said(&ask(LOOKS, &["stop", "city/tests/e2e/web"]));
    assert!(no.contains("user 61002 (viewer) may not do this"), "{no}");
    assert!(!ask(NOBODY, &["get", "workloads"]).status.success());
    let stopped = ask(FINANCE, &["stop", "web"]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    let history = operator(&cluster, &["history", "web"]);
    assert!(history.contains("uid:61001"), "{history}");
}

/// Looks at nodes until something is true; at every look each of them is there, and was heard of less
/// than a second ago.
async fn heard_until(cluster: &Cluster, names: &[&str], mut done: impl FnMut() -> bool) {
    let mut operator = cluster.operator().await;
    let mut oldest = 0;
    until("it is so, and every report came", async || {
        let list = operator.list_nodes(v1::ListNodesRequest {}).await.ok()?.into_inner();
        let named = |n: &&v1::NodeView| {
            n.facts.as_ref().is_some_and(|facts| names.contains(&facts.name.as_str()))
        };
        for node in list.nodes.iter().filter(named) {
            assert!(node.connected, "a stream was dropped");
            oldest = oldest.max(list.at_millis.saturating_sub(node.seen_millis));
        }
        done().then_some(())
    })
    .await;
    println!("the oldest report at any look was {oldest} ms old");
    assert!(oldest < 1000, "reports were late by {oldest} ms");
}

/// Lets servers of their own addresses join, each in less than three seconds.
async fn join_all(cluster: &mut Cluster, servers: &Servers, names: &[&str], options: &[&str]) {
    for (server, name) in (0..).zip(names) {
        let space = servers.space(server);
        let start = Instant::now();
        let text = token(cluster, &[]);
        let mut join = command("nsenter");
        join.arg(format!("--net=/run/netns/{space}")).arg(cluster::binary("tengyun"));
        join.args(["join", &text, "--name", name, "--agent-dir"]).arg(cluster.agent_dir(name));
        run(&mut join);
        cluster.start_member_in(&space, name, options);
        until_connected(cluster, name, true).await;
        let took = start.elapsed();
        println!("{name} joined and attached after {took:?}");
        assert!(took < JOIN_MAX, "{name}: {took:?}");
        let from = format!("from={}", servers.address(server));
        assert!(said(cluster, "scheduler.log", &from) > 0, "{name} has an address of its own");
    }
}

/// As on servers of their own addresses, where there is no root to make these.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_under_load_without_a_lost_report() {
    const RENEWALS: usize = 5;
    const NAMES: [&str; 2] = ["n1", "n2"];
    let mut cluster =
        Cluster::start_with(&["--listen", "127.0.0.1:0", "--certificate-seconds", "4"]);
    cluster.operator().await;
    for name in NAMES {
        let text = token(&cluster, &[]);
        cluster.start_member(name, &["--join", &text, "--report-interval-millis", "100"]);
    }
    cluster.apply(&[sleepers(4)]).await;
    cluster.until_running(4).await;
    let unsent = missing(&cluster, &NAMES);
    let renewed = |name: &str| said(&cluster, &format!("{name}.log"), "certificate renewed");
    heard_until(&cluster, &NAMES, || NAMES.iter().all(|name| renewed(name) >= RENEWALS)).await;
    let lost = missing(&cluster, &NAMES).saturating_sub(unsent);
    assert!(lost <= 2, "{lost} reports were lost");
    for log in ["n1.log", "n2.log"] {
        assert_eq!(said(&cluster, log, "attached to the scheduler"), 1, "{log}");
    }
}

/// Three servers join; their certificates of a few seconds are renewed again and again under load, and
/// one is put out, without a report of the others that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn three_servers_of_their_own_addresses_join_renew_and_are_put_out_without_a_lost_report() {
    const RENEWALS: usize = 5;
    const NAMES: [&str; 3] = ["s0", "s1", "s2"];
    let servers = match Servers::make(3) {
        Ok(servers) => servers,
        Err(missing) => return skip(missing),
    };
    let listen = format!("{}:0", servers.here());
    let mut cluster = Cluster::start_with(&["--listen", &listen, "--certificate-seconds", "4"]);
    cluster.operator().await;
    let often = ["--report-interval-millis", "100"];
    join_all(&mut cluster, &servers, &NAMES, &often).await;
    cluster.apply(&[sleepers(6)]).await;
    let before = cluster.until_running(6).await;

    // What was made before an agent was greeted is not sent.
    let unsent = missing(&cluster, &NAMES);
    let renewed = |name: &str| said(&cluster, &format!("{name}.log"), "certificate renewed");
    heard_until(&cluster, &NAMES, || NAMES.iter().all(|name| renewed(name) >= RENEWALS)).await;
    let lost = missing(&cluster, &NAMES).saturating_sub(unsent);
    // One of each may be on its way.
    assert!(lost <= 3, "{lost} reports were lost while certificates were renewed");
    let pids = |views: &[v1::InstanceView]| {
        let pid = |v: &v1::InstanceView| v.status.as_ref().and_then(|s| s.pid);
        views.iter().map(pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&cluster.until_running(6).await), pids(&before));

    operator(&cluster, &["node", "revoke", "s2"]);
    let out = || said(&cluster, "s2.log", "the certificate was revoked") > 0;
    heard_until(&cluster, &NAMES[..2], out).await;
    until_connected(&cluster, "s2", false).await;
    for name in &NAMES[..2] {
        let log = format!("{name}.log");
        assert_eq!(said(&cluster, &log, "no link to the scheduler"), 0, "{log}");
        assert_eq!(said(&cluster, &log, "attached to the scheduler"), 1, "{log}");
    }
}

/// A cable that is pulled and put back stops nothing and starts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_cable_was_pulled_comes_back_as_it_was() {
    const NAMES: [&str; 2] = ["s0", "s1"];
    let servers = match Servers::make(2) {
        Ok(servers) => servers,
        Err(missing) => return skip(missing),
    };
    let listen = format!("{}:0", servers.here());
    let mut cluster = Cluster::start_with(&["--listen", &listen]);
    cluster.operator().await;
    join_all(&mut cluster, &servers, &NAMES, &[]).await;
    cluster.apply(&[sleepers(6)]).await;
    let known = |views: Vec<v1::InstanceView>| {
        let known = |v: v1::InstanceView| (v.instance, v.status.and_then(|status| status.pid));
        views.into_iter().map(known).collect::<Vec<_>>()
    };
    let before = known(cluster.until_running(6).await);
    servers.cut(1);
    until_connected(&cluster, "s1", false).await;
    servers.heal(1);
    let start = Instant::now();
    until_connected(&cluster, "s1", true).await;
    println!("back {:?} after the cable was", start.elapsed());
    assert_eq!(known(cluster.until_running(6).await), before);
}

/// Each attempt to come in by a token that does not hold is refused and logged.
#[tokio::test(flavor = "multi_thread")]
async fn expired_foreign_and_guessed_tokens_are_refused_and_logged() {
    const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];
    let cluster = Cluster::start_with(&[&LISTEN[..], &["--token-seconds", "1"]].concat());
    cluster.operator().await;
    let logged = |what: &str| said(&cluster, "scheduler.log", what);
    let join = |token: &Token| {
        let mut join = cluster::program("tengyun");
        let dir = cluster.path().join("thief");
        join.args(["join", &token.to_string(), "--name", "thief", "--agent-dir"]).arg(dir);
        let output = join.output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let own: Token = token(&cluster, &[]).parse().unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let no = join(&own);
    assert!(no.contains("time is over"), "{no}");
    assert_eq!(logged("time is over"), 1);

    let elsewhere = Cluster::start_with(&LISTEN);
    elsewhere.operator().await;
    let foreign: Token = token(&elsewhere, &[]).parse().unwrap();
    // It is told to no other scheduler than its own, which this one does not pretend to be.
    let no = join(&Token { address: own.address.clone(), ..foreign.clone() });
    assert!(no.contains("not the scheduler that the token is of"), "{no}");
    let no = join(&Token { secret: foreign.secret.clone(), ..own.clone() });
    assert!(no.contains("no such token"), "{no}");
    assert_eq!(logged("no such token"), 1);

    // Guesses come faster than they are looked at; each is counted in a line.
    let before = logged("attempt to join refused");
    let (channel, _) = tls::connect_unknown(&own).await.unwrap();
    let mut identities = limits::identity_client(channel);
    let public_key = Key::make().unwrap().public().to_vec();
    let member = Some((&Member::Node("n1".parse().unwrap())).into());
    let mut guesses = 0;
    until("all guesses so far are logged", async || {
        for _ in 0..50 {
            let secret = Secret::draw().unwrap().bytes().to_vec();
            let (member, public_key) = (member.clone(), public_key.clone());
            let guess = v1::JoinRequest { secret, member, public_key, ..Default::default() };
            assert!(identities.join(guess).await.is_err());
            guesses += 1;
        }
        let log = std::fs::read_to_string(cluster.path().join("scheduler.log")).unwrap();
        let fast = log.lines().filter(|line| line.contains("they come too fast"));
        let count = |line: &str| -> Option<usize> {
            line.split("count=").nth(1)?.split(' ').next()?.parse().ok()
        };
        let fast: usize = fast.filter_map(count).sum();
        let told = fast + logged("attempt to join refused") - before;
        // Those of the last second are told with the next one.
        (guesses >= 200 && told > 150).then_some(())
    })
    .await;
}
