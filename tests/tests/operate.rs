//! Operations with real daemons: a drain, a cut-off node, a scheduler that stands still.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;

use tengyun_model::OnLost;
use tengyun_proto::v1;
use tengyun_tests::cluster::{is_running, operation, program, until};
use tengyun_tests::{Cluster, spec};

/// Nodes of half a core each, that report twice a second.
fn nodes(cluster: &mut Cluster, names: &[&str]) {
    for name in names {
        let options = ["--cpu-millicores", "500", "--memory-mib", "1024"];
        let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "500"];
        cluster.start_agent(name, &[options, quick].concat());
    }
}

/// Waits of seconds instead of minutes.
async fn hurry(cluster: &Cluster) {
    let values = [
        ("consolidate", 0),
        ("suspect_after_seconds", 2),
        ("lost_after_seconds", 4),
        ("return_grace_seconds", 3),
        ("loss_interval_seconds", 1),
    ];
    let knob = |(name, value): (&str, u64)| v1::KnobValue { name: name.to_owned(), value };
    let values = values.map(knob).to_vec();
    let request = v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
    let response = cluster.operator().await.set_policy(request).await.unwrap().into_inner();
    assert_eq!(response.refusal, None);
}

async fn tengyun(socket: PathBuf, words: &[&str]) -> Output {
    let mut command = program("tengyun");
    command.arg("--socket").arg(socket).args(words).env("LC_ALL", "C");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn places(cluster: &Cluster) -> BTreeSet<(u64, String)> {
    let views = cluster.instances().await.into_iter().filter(|v| v.wanted && is_running(v));
    views.map(|v| (v.instance, v.node_name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_drains_a_node_and_tells_what_happened() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1"]);
    hurry(&cluster).await;
    let mut app = spec::command("app", &["/bin/sleep", "1000"]);
    app.instances = 3;
    cluster.apply(&[app]).await;
    let before = cluster.until_running(3).await;
    nodes(&mut cluster, &["n2"]);
    let socket = cluster.socket();
    until("both nodes are there", async || {
        let request = v1::StatusRequest {};
        let status = cluster.operator().await.status(request).await.ok()?.into_inner();
        (status.nodes_connected == 2).then_some(())
    })
    .await;
    let told = text(&tengyun(socket.clone(), &["drain", "n1", "--dry-run"]).await.stdout);
    assert!(told.contains("n1: 3 would go to other nodes, 0 be queued again, 0 stay"), "{told}");
    assert_eq!(told.matches(" n2").count(), 3, "{told}");
    let drain = tokio::spawn(tengyun_owned(socket.clone(), ["drain", "n1"]));
    while !drain.is_finished() {
        let healthy = cluster.instances().await.into_iter().filter(is_running).count();
        assert!(healthy >= 3, "{healthy} copies are fewer than asked");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let output = drain.await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("n1: drained and empty"), "{}", text(&output.stdout));
    let after = cluster.until_running(3).await;
    assert!(after.iter().all(|v| v.node_name == "n2"));
    let nodes = text(&tengyun(socket.clone(), &["get", "nodes"]).await.stdout);
    assert!(nodes.contains("connected, drained"), "{nodes}");
    let history = text(&tengyun(socket.clone(), &["history", "app"]).await.stdout);
    for kind in ["workload-created", "placed", "healthy", "moving", "moved", "stopped"] {
        assert!(history.contains(kind), "no {kind} in\n{history}");
    }
    let moved = before[0].instance.to_string();
    let refused = tengyun(socket.clone(), &["move", &moved, "--to", "n1"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let opened = tengyun(socket.clone(), &["uncordon", "n1"]).await;
    assert!(opened.status.success());
    let back = after[0].instance.to_string();
    let moving = tengyun(socket, &["move", &back, "--to", "n1"]).await;
    assert!(moving.status.success(), "{}", text(&moving.stderr));
    until("one copy is back on n1", async || {
        places(&cluster).await.iter().any(|(_, node)| node == "n1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_asks_before_an_only_copy_runs_twice() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1"]);
    hurry(&cluster).await;
    cluster.apply(&[spec::command("only", &["/bin/sleep", "1000"])]).await;
    cluster.until_running(1).await;
    nodes(&mut cluster, &["n2"]);
    let asks = tengyun(cluster.socket(), &["drain", "n1"]).await;
    let said = text(&asks.stderr);
    assert_eq!(asks.status.code(), Some(1), "{said}");
    assert!(said.contains("only copy") && said.contains("city/tests/e2e/only"), "{said}");
    assert!(said.contains("drain n1 --yes"), "{said}");
    assert_eq!(places(&cluster).await.first().unwrap().1, "n1", "nothing has moved");
    let nodes = text(&tengyun(cluster.socket(), &["get", "nodes"]).await.stdout);
    assert!(!nodes.contains("drain"), "{nodes}");
    let drained = tengyun(cluster.socket(), &["drain", "n1", "--yes"]).await;
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    assert_eq!(places(&cluster).await.first().unwrap().1, "n2");
}

async fn tengyun_owned<const N: usize>(socket: PathBuf, words: [&'static str; N]) -> Output {
    tengyun(socket, &words).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_restart_runs_once_after_its_node_was_cut_off_and_came_back() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1"]);
    hurry(&cluster).await;
    let mut moves = spec::command("moves", &["/bin/sleep", "1000"]);
    moves.on_lost = OnLost::Restart;
    moves.instances = 2;
    let waits = spec::command("waits", &["/bin/sleep", "1000"]);
    cluster.apply(&[moves, waits]).await;
    cluster.until_running(3).await;
    nodes(&mut cluster, &["n2", "n3"]);
    // The agent is gone, and what it started goes on, as behind a cut network.
    cluster.kill_agent("n1");
    let elsewhere = |views: &[v1::InstanceView]| {
        let runs = |v: &&v1::InstanceView| v.wanted && is_running(v) && v.node_name != "n1";
        views.iter().filter(runs).count()
    };
    until("only what may runs elsewhere", async || {
        (elsewhere(&cluster.instances().await) == 2).then_some(())
    })
    .await;
    let explained = text(&tengyun(cluster.socket(), &["explain", "waits"]).await.stdout);
    assert!(explained.contains("acknowledge-loss n1 --dead"), "{explained}");
    cluster.restart_agent("n1");
    until("each runs once", async || {
        let views = cluster.instances().await;
        let all = views.len() == 3 && views.iter().all(|v| v.wanted && is_running(v));
        all.then_some(())
    })
    .await;
    // That it returned is declared when the scheduler looks around next.
    until("all of it is told", async || {
        let events = text(&tengyun(cluster.socket(), &["events", "--node", "n1"]).await.stdout);
        let kinds = ["node-lost", "instance-lost", "node-returned"];
        kinds.iter().all(|kind| events.contains(kind)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_stood_still_declares_nothing_lost() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1", "n2"]);
    hurry(&cluster).await;
    let mut app = spec::command("app", &["/bin/sleep", "1000"]);
    app.on_lost = OnLost::Restart;
    app.instances = 2;
    cluster.apply(&[app]).await;
    cluster.until_running(2).await;
    let before = places(&cluster).await;
    cluster.pause_scheduler(true);
    // Longer than suspicion, loss and grace together.
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    cluster.pause_scheduler(false);
    let request = v1::StatusRequest {};
    until("both agents are heard", async || {
        let status = cluster.operator().await.status(request).await.ok()?.into_inner();
        (status.nodes_connected == 2).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(places(&cluster).await, before, "0 instances stopped, 0 started twice");
    let events = text(&tengyun(cluster.socket(), &["events"]).await.stdout);
    assert!(!events.contains("node-lost"), "{events}");
}

/// Runs a command in a locale and returns what it prints, on both streams.
async fn said(socket: PathBuf, locale: &str, words: &[&str]) -> String {
    let mut command = program("tengyun");
    command.arg("--socket").arg(socket).args(words).env("LC_ALL", locale);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

/// A node on which one workload runs, and another that waits because it is too large.
async fn waiting_and_running() -> Cluster {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1"]);
    hurry(&cluster).await;
    let mut large = spec::command("large", &["/bin/sleep", "1000"]);
    large.resources.cpu = tengyun_model::Millicores::new(64_000);
    cluster.apply(&[large, spec::command("app", &["/bin/sleep", "1000"])]).await;
    cluster
}

/// A manifest that asks for something that is not there yet.
const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello.yaml");

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| matches!(c, '\u{4e00}'..='\u{9fff}'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_said_in_chinese_in_a_chinese_locale_and_json_is_not() {
    const CHINESE: &str = "zh_CN.UTF-8";
    let cluster = waiting_and_running().await;
    cluster.until_running(1).await;
    let uid = format!("uid:{}", nix::unistd::geteuid());
    let by = ["events", "--by", &uid];
    for (words, chinese, english) in [
        (&["explain", "large"][..], "需要 CPU 64000 m", "wants 64000 m CPU"),
        (&["move", "1", "--to", "n1"], "需要 CPU 64000 m", "wants 64000 m CPU"),
        (&["explain", "nobody"], "没有名为 nobody 的工作负载", "no workload is called nobody"),
        (&["forget", "n1"], "代理在线", "is there"),
        (&["drain", "n1", "--dry-run"], "个将迁往其他节点", "would go to other nodes"),
        (&["status"], "读写", "read and write"),
        (&["status"], "现在可再迁移 64 次中的 64 次", "64 of 64 may be made now"),
        (&["explain", "large"], "不可容纳的原因", "WHY NOT"),
        (&["explain", "app"], "：放置到 n1；当时预计", "placed on n1; expected then"),
        (&["get", "workloads", "--wide"], "余量", "MARGIN"),
        (&["apply", "--dry-run", "-f", HELLO], "将立即启动：n1（", "would start at once: n1 ("),
        (&["history", "app"], "工作负载创建", "workload-created"),
        (&by, "操作人 uid:", "by uid:"),
    ] {
        let there = said(cluster.socket(), CHINESE, words).await;
        assert!(there.contains(chinese), "{words:?}: {there}");
        assert!(!there.contains(english), "{words:?}: {there}");
        let here = said(cluster.socket(), "C", words).await;
        assert!(here.contains(english) && !is_chinese(&here), "{words:?}: {here}");
    }
    let machines = [
        &["explain", "large"][..],
        &["status"],
        &["events"],
        &["history", "app"],
        &["get", "instances"],
        &["members"],
        &["doctor"],
        &["describe", "node", "nobody"],
    ];
    for words in machines {
        let json = said(cluster.socket(), CHINESE, &[words, &["-o", "json"]].concat()).await;
        assert!(!is_chinese(&json), "{json}");
    }
    let large = said(cluster.socket(), CHINESE, &["explain", "large", "-o", "json"]).await;
    assert!(large.contains("wants 64000 m CPU"), "{large}");
}

/// Words that Chinese readers know as they are.
const SAME: [&str; 5] = ["GiB", "MiB", "Schema", "Linux", "root"];

/// Finds a line with two English words in a row. Commands, which stand in backquotes or begin with
/// `tengyun`, and the upper-case names of values are the same in every language.
fn english(text: &str) -> Option<&str> {
    let is_word = |word: &str| {
        let letters = word.len() > 1 && word.chars().all(|c| c.is_ascii_alphabetic());
        letters && word.contains(|c: char| c.is_ascii_lowercase()) && !SAME.contains(&word)
    };
    text.lines().find(|line| {
        let spoken = line.split('`').step_by(2).map(|part| {
            let (before, command) = part.split_once("tengyun ").unwrap_or((part, ""));
            let after = command.find(|c: char| !c.is_ascii()).map_or("", |at| &command[at..]);
            [before, after]
        });
        spoken.flatten().any(|part| {
            let words: Vec<&str> =
                part.split(|c: char| " (),:;[]<>|：，；（）".contains(c)).collect();
            words.windows(2).any(|pair| pair.iter().all(|word| is_word(word)))
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_verb_says_english_in_a_chinese_locale() {
    const CHINESE: &str = "zh_CN.UTF-8";
    assert!(english("错误：cannot read `tengyun get nodes`").is_some(), "it is found");
    let cluster = waiting_and_running().await;
    let app = cluster.until_running(1).await[0].instance.to_string();
    let socket = cluster.socket();
    let mut lines = Vec::new();
    for words in [
        &["--help"][..],
        &["get", "--help"],
        &["token", "create", "--help"],
        &["get", "nonsense"],
        &["get", "nodes"],
        &["get", "departments"],
        &["get", "workloads"],
        &["get", "instances", "--all"],
        &["get", "nodes", "--wide"],
        &["get", "workloads", "--wide"],
        &["get", "instances", "--wide"],
        &["apply", "--dry-run", "-f", HELLO],
        &["get", "volumes"],
        &["get", "runs"],
        &["describe", "node", "n1"],
        &["describe", "workload", "app"],
        &["describe", "instance", &app],
        &["describe", "node", "nobody"],
        &["explain", "app"],
        &["explain", "large"],
        &["logs", "large"],
        &["logs", "999999"],
        &["top", "--once"],
        &["events"],
        &["history", "app"],
        &["rollout", "status", "app"],
        &["rollout", "history", "app"],
        &["policy", "list"],
        &["policy", "show"],
        &["policy", "history"],
        &["policy", "set", "consolidate=7"],
        &["policy", "set", "consolidat=1"],
        &["policy", "rollback", "99"],
        &["meters"],
        &["status"],
        &["members"],
        &["secret", "list"],
        &["doctor"],
        &["token", "create"],
        &["login", "nonsense", "--name", "dora"],
        &["volume", "delete", "app", "--copy", "0"],
        &["drain", "n1", "--dry-run"],
        &["lab", "replay", "--trace", "/nowhere", "--node", "8/32", "--zone", "Mars/Base"],
        &["cordon", "n1"],
        &["get", "nodes"],
        &["uncordon", "n1"],
        &["stop", "app"],
        &["delete", "app"],
    ] {
        let text = said(socket.clone(), CHINESE, words).await;
        assert!(is_chinese(&text), "{words:?}: {text}");
        lines.extend(english(&text).map(|line| format!("{words:?}: {line}")));
    }
    assert!(lines.is_empty(), "English in {lines:#?}");
}

/// What is wrong in a manifest is found before anybody is called, so no scheduler is needed.
#[tokio::test]
async fn a_bad_manifest_is_refused_in_the_language_of_the_locale_and_for_json_in_english() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "application: web\nkind: servise\nreplicas: 2\n").unwrap();
    let apply = ["apply", "-f", file.to_str().unwrap()];
    let socket = dir.path().join("nobody");
    let chinese = said(socket.clone(), "zh_CN.UTF-8", &apply).await;
    for part in [
        "bad.yaml:2: 第 1 个文档：kind：应为 service、job、cron 或 per-node，而不是文本 \"servise\"；是否指 service？",
        "bad.yaml:3: 第 1 个文档：replicas：没有这个字段；是否指 instances？",
        "bad.yaml:1: 第 1 个文档：name：缺少此字段：工作负载的名称，在应用内唯一",
    ] {
        assert!(chinese.contains(part), "{part}: {chinese}");
    }
    let english = said(socket.clone(), "C", &apply).await;
    assert!(english.contains("did you mean instances?") && !is_chinese(&english), "{english}");
    let json = [&apply[..], &["-o", "json"]].concat();
    assert_eq!(said(socket, "zh_CN.UTF-8", &json).await, english);
}

/// What operators say rarely, and then it has to work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_rarely_is_done_too() {
    let mut cluster = Cluster::start();
    nodes(&mut cluster, &["n1", "n2"]);
    hurry(&cluster).await;
    let socket = cluster.socket();
    let said = async |words: &[&str]| {
        let output = tengyun(socket.clone(), words).await;
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };

    let doctor = tengyun(socket.clone(), &["doctor", "-o", "json"]).await;
    assert!(matches!(doctor.status.code(), Some(0 | 4)), "{}", text(&doctor.stderr));
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let level = |check: &str| {
        let findings = found.as_array().unwrap();
        findings.iter().find(|f| f["check"] == check).unwrap()["result"].clone()
    };
    assert_eq!((level("scheduler"), level("clock-skew")), ("pass".into(), "pass".into()));

    let value = cluster.path().join("value");
    std::fs::write(&value, "word").unwrap();
    said(&["secret", "set", "city/tests/key", "--from-file", value.to_str().unwrap()]).await;
    let before = said(&["secret", "list", "city/tests"]).await;
    said(&["secret", "rotate"]).await;
    assert_eq!(said(&["secret", "list", "city/tests"]).await, before, "what is kept stays");

    let mut follow = program("tengyun");
    follow.arg("--socket").arg(&socket).args(["events", "-f"]).env("LC_ALL", "C");
    let mut follow = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut told = std::io::BufReader::new(follow.stdout.take().unwrap());
    cluster.apply(&[spec::command("late", &["/bin/sleep", "1000"])]).await;
    let followed = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while !(line.contains("workload-created") && line.contains("late")) {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0, "it ended");
        }
    });
    tokio::time::timeout(std::time::Duration::from_mins(1), followed).await.unwrap().unwrap();
    follow.kill().unwrap();
    follow.wait().unwrap();

    cluster.kill_agent("n2");
    until("n2 can be given up", async || {
        let given = tengyun(socket.clone(), &["acknowledge-loss", "n2", "--dead"]).await;
        given.status.success().then_some(())
    })
    .await;
    assert!(said(&["get", "nodes"]).await.contains("lost"));
    said(&["forget", "n2", "--dead"]).await;
    assert!(!said(&["get", "nodes"]).await.contains("n2"), "it left the register");
}
