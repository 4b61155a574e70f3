//! The laboratory on what real daemons and real tools left: a scheduler's journal and recording, and
//! the history of a server as `sar` writes it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tengyun_model::Millicores;
use tengyun_proto::v1;
use tengyun_tests::cluster::{operation, program, until};
use tengyun_tests::{Cluster, spec};

/// Runs `tengyun` and returns what it printed as JSON.
fn tengyun(args: &[&str]) -> (Output, Value) {
    let output = program("tengyun").args(args).args(["--output", "json"]).output();
    let output = output.expect("our binary starts");
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

async fn policy(cluster: &Cluster, values: &[(&str, u64)]) {
    let value =
        |(name, value): &(&str, u64)| v1::KnobValue { name: (*name).to_owned(), value: *value };
    let values = values.iter().map(value).collect();
    let request = v1::SetPolicyRequest { operation_id: operation(), values, ..Default::default() };
    let response = cluster.operator().await.set_policy(request).await;
    let response = response.expect("the scheduler answers").into_inner();
    assert_eq!(response.refusal, None);
}

/// Two nodes that hold one idle workload each, because nothing is consolidated.
async fn apart(recording: &Path) -> Cluster {
    let mut cluster = Cluster::start_with(&["--record-volatile", text(recording)]);
    for name in ["n1", "n2"] {
        let size = ["--cpu-millicores", "500", "--memory-mib", "1024"];
        let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "500"];
        cluster.start_agent(name, &[size, quick].concat());
    }
    policy(&cluster, &[("history_min_seconds", 3), ("consolidate", 0)]).await;
    let mut one = spec::command("one", &["/bin/sleep", "1000"]);
    let mut two = spec::command("two", &["/bin/sleep", "1000"]);
    two.resources.cpu = Millicores::new(200);
    one.constraints.anti_affinity = vec![two.key.clone()];
    cluster.apply(&[one.clone(), two]).await;
    cluster.until_running(2).await;
    one.constraints.anti_affinity.clear();
    cluster.apply(&[one]).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_a_live_and_of_a_killed_scheduler_is_replayed() {
    let recording = tempfile::tempdir().unwrap();
    let mut cluster = apart(recording.path()).await;
    let directory = cluster.path().join("scheduler");
    let replay = || tengyun(&["lab", "journal", text(&directory)]);
    let (output, live) = replay();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        (&live["fault"], &live["nodes"], &live["workloads"]),
        (&Value::Null, &json!(2), &json!(2))
    );
    cluster.kill_scheduler();
    let ((_, one), (output, two)) = (replay(), replay());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(one, two, "reading changed what is read");
    assert!(two["entries"].as_u64() >= live["entries"].as_u64());
    // What a scheduler that starts again and ends well keeps as its snapshot is the very same state.
    cluster.start_scheduler();
    drop(cluster.operator().await);
    cluster.stop_scheduler();
    let (output, ended) = replay();
    assert!(output.status.success(), "{output:?}");
    let snapshot = &ended["snapshots"][0];
    assert_eq!((&snapshot["same"], &snapshot["sha256"]), (&json!(true), &ended["state_sha256"]));
    assert_eq!(snapshot["sequence"], ended["entries"]);
    // A backup is read as what it was made of, and none of it is left lying about.
    let archive = recording.path().join("archive");
    let state_dir = ["--state-dir", text(cluster.path())];
    let (output, _) = tengyun(&[&state_dir[..], &["backup", text(&archive)]].concat());
    assert!(output.status.success(), "{output:?}");
    let (output, backed_up) = tengyun(&["lab", "journal", text(&archive)]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(backed_up, ended);
    std::fs::write(&archive, &std::fs::read(&archive).unwrap()[..1000]).unwrap();
    let (output, _) = tengyun(&["lab", "journal", text(&archive)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("no whole backup"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_while_is_planned_anew_by_another_policy() {
    let recording = tempfile::tempdir().unwrap();
    let cluster = apart(recording.path()).await;
    let directory = cluster.path().join("scheduler");
    let knobs = recording.path().join("quick.policy");
    std::fs::write(
        &knobs,
        "history_min_seconds = 3\nconsolidate_interval_seconds = 1\n\
         moves_per_workload_interval_seconds = 1\n",
    )
    .unwrap();
    let volatile = ["--volatile", text(recording.path()), "--replan", "--step", "2"];
    let compared = until("enough is recorded", async || {
        let args = ["lab", "journal", text(&directory), "--policy", text(&knobs)];
        let (output, json) = tengyun(&[&args[..], &volatile].concat());
        assert!(output.status.success(), "{output:?}");
        (json["volatile_entries"].as_u64() > Some(20)).then_some(json)
    })
    .await;
    assert_eq!(compared["sides"][0]["name"], "what happened");
    assert_eq!(compared["sides"][0]["nodes_max"], 2, "{compared}");
    assert!(compared["sides"][1]["nodes_mean"].as_f64() <= Some(2.0), "{compared}");
    let page = recording.path().join("page.html");
    let args = ["lab", "journal", text(&directory), "--remove-node", "n1", "--add-node", "2/4"];
    // Both nodes have joined by then, and soon the recording goes on beyond it.
    let more = ["--at", "+3s", "--report", text(&page)];
    let json = until("three seconds are recorded", async || {
        let (output, json) = tengyun(&[&args[..], &volatile, &more].concat());
        output.status.success().then_some(json)
    })
    .await;
    assert_eq!(json["sides"].as_array().map(Vec::len), Some(2));
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));
    let (output, _) = tengyun(&["lab", "journal", text(&directory), "--replan"]);
    assert_eq!(output.status.code(), Some(2), "without a recording there is nothing to plan by");
}

/// Runs a tool of the system; nothing where it is not installed.
#[expect(clippy::disallowed_methods, reason = "sysstat is a package of programs")]
fn tool(name: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(name).args(args).env("LC_ALL", "C").env("TZ", "UTC").output().ok()?;
    assert!(output.status.success(), "{name}: {output:?}");
    Some(output.stdout)
}

/// Measures this very machine for some seconds, as its administrators would over months.
fn measured(directory: &Path) -> Option<Value> {
    let file = directory.join("sa");
    tool("sar", &["-o", text(&file), "1", "6"])?;
    let json = tool("sadf", &["-j", text(&file), "--", "-u", "-r"])?;
    Some(serde_json::from_slice(&json).expect("sadf -j writes JSON"))
}

/// The same samples as if they had been taken every five minutes on some server.
fn spread(measured: &Value, server: &str, keep: impl Fn(usize) -> bool) -> Value {
    let mut spread = measured.clone();
    let host = &mut spread["sysstat"]["hosts"][0];
    host["nodename"] = json!(server);
    let samples = host["statistics"].as_array_mut().expect("samples");
    for (at, sample) in samples.iter_mut().enumerate() {
        sample["timestamp"]["time"] = json!(format!("08:{:02}:00", at * 5));
    }
    let mut at = 0;
    samples.retain(|_| {
        at += 1;
        keep(at - 1)
    });
    spread
}

#[test]
fn a_history_that_sar_recorded_becomes_a_plan_and_half_of_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let Some(measured) = measured(directory.path()) else {
        return tengyun_tests::skip("sysstat");
    };
    let history = directory.path().join("history");
    std::fs::create_dir(&history).unwrap();
    let plan = || tengyun(&["plan", "--history", text(&history), "--node", "64/512"]);
    std::fs::write(history.join("raw.json"), measured.to_string()).unwrap();
    let (output, json) = plan();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&json["servers_now"], &json["bad_rows"]), (&json!(1), &json!(0)), "{json}");
    assert!(json["utilisation_pct"].as_f64() > Some(0.0), "{json}");
    std::fs::remove_file(history.join("raw.json")).unwrap();
    // The same samples as sar prints them itself.
    let file = directory.path().join("sa");
    let printed = tool("sar", &["-u", "-r", "-f", text(&file)]).expect("it ran before");
    std::fs::write(history.join("sar26"), printed).unwrap();
    let (output, by_text) = plan();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&by_text["servers_now"], &by_text["bad_rows"]), (&json!(1), &json!(0)));
    assert_eq!(by_text["utilisation_pct"], json["utilisation_pct"], "{by_text}");
    std::fs::remove_file(history.join("sar26")).unwrap();
    for server in ["tax", "court", "water"] {
        let whole = spread(&measured, server, |_| true);
        std::fs::write(history.join(format!("{server}.json")), whole.to_string()).unwrap();
    }
    let (output, json) = plan();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&json["servers_now"], &json["servers_needed"]), (&json!(3), &json!(1)), "{json}");
    assert!((json["coverage_pct"].as_f64().unwrap() - 100.0).abs() < 1e-9);
    for server in ["court", "water"] {
        let thin = spread(&measured, server, |at| at == 0 || at == 5);
        std::fs::write(history.join(format!("{server}.json")), thin.to_string()).unwrap();
    }
    let (output, _) = plan();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Ten samples of eighteen.
    assert!(said.contains("covers 55.6 % of its time, 70 % are wanted"), "{said}");
}

/// Runs `tengyun` for a person.
fn table(args: &[&str]) -> String {
    let output = program("tengyun").args(args).output().expect("our binary starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn fields(json: &Value) -> Vec<&str> {
    json.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn tables_say_how_much_was_used_and_objects_have_the_fields_promised() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: String| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    let nodes = write("n.csv", "sn,cpu_milli,memory_mib,gpu,model\na,4000,8192,0,\n".to_owned());
    let head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec";
    let list = write("i.csv", format!("{head}\n1,3000,1024,0,0,\n2,3000,1024,0,0,\n"));
    let pack = ["lab", "pack", "--nodes", text(&nodes), "--instances", text(&list)];
    assert!(table(&pack).contains("3 of 3 rows (0 bad rows)"), "{}", table(&pack));
    let (_, json) = tengyun(&pack);
    let wanted = ["cpu_final_pct", "cpu_first_refusal_pct", "gpu_final_pct", "placed", "seconds"];
    assert_eq!(fields(&json), wanted);
    for (name, first) in [("a_x_y", "10"), ("b_x_y", "rubbish")] {
        write(&format!("day/{name}"), format!("{first}\n{}", "10\n".repeat(287)));
    }
    let day = directory.path().join("day");
    let cloudsim = ["lab", "cloudsim", "--trace", text(&day), "--policy", "lr-mmt"];
    assert!(table(&cloudsim).contains("99.83 % (1 bad rows)"), "{}", table(&cloudsim));
    let (_, json) = tengyun(&cloudsim);
    let wanted =
        ["active_hosts_mean", "energy_kwh", "esv", "migrations", "pdm_pct", "slatah_pct", "slav"];
    assert_eq!(fields(&json), wanted);
    let replay = ["lab", "replay", "--trace", text(&day), "--node", "8/32", "--honest"];
    let (said, (_, json)) = (table(&replay), tengyun(&replay));
    assert!(said.contains("99.83 % (1 bad rows)") && said.contains("above the lower bound"));
    assert_eq!(fields(&json).len(), 17, "{json}");
    let plan = ["plan", "--history", text(&day), "--node", "8/32"];
    let with =
        |more: &[&str]| program("tengyun").args(plan).args(more).output().expect("it starts");
    assert!(with(&["--ceiling", "60", "--power", "9,9,9,9,9,9,9,9,9,9,9"]).status.success());
    let refused = with(&["--power", "9,9"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("eleven watts"), "{refused:?}");
}
