//! The policy of a live scheduler: set by name and by file without a restart, kept through a kill,
//! and returned to, exactly.

use std::fs;

use serde_json::{Value, json};
use tengyun_model::PortSpec;
use tengyun_proto::v1;
use tengyun_tests::cluster::{program, until};
use tengyun_tests::{Cluster, spec};

/// Runs `tengyun policy` and returns what it answered.
fn policy(cluster: &Cluster, words: &[&str]) -> Result<Value, String> {
    let output = program("tengyun")
        .arg("--socket")
        .arg(cluster.socket())
        .args(["--output", "json", "policy"])
        .args(words)
        .output()
        .expect("our binary starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("it prints JSON"))
}

/// The knobs that differ from their defaults.
fn chosen(shown: &Value) -> Value {
    let knobs = shown["knobs"].as_array().expect("a list of knobs").iter();
    let differs = knobs.filter(|k| k["value"] != k["default"]);
    differs.map(|k| (k["name"].as_str().expect("a name").to_owned(), k["value"].clone())).collect()
}

/// The port that was chosen for a workload.
async fn port(cluster: &Cluster, name: &str) -> u32 {
    let mut app = spec::command(name, &["/bin/sleep", "1000"]);
    app.ports = vec![PortSpec { name: "http".parse().expect("a name"), number: None }];
    cluster.apply(&[app]).await;
    until("its port is chosen", async || {
        let request = v1::ListInstancesRequest { key: None, all: false };
        let mut operator = cluster.operator().await;
        let views = operator.list_instances(request).await.ok()?.into_inner().instances;
        let view = views.into_iter().find(|v| v.key.as_ref().is_some_and(|k| k.name == name))?;
        view.ports.first().map(|port| port.number).filter(|number| *number > 0)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_set_while_the_scheduler_runs_survives_a_kill_and_is_returned_to() {
    let mut cluster = Cluster::start();
    drop(cluster.operator().await);
    cluster.start_agent("n1", &[]);
    assert_eq!(port(&cluster, "before").await, 20_000);
    // By a file: what is placed from now on obeys it, and nothing was started again.
    let epoch = async |cluster: &Cluster| {
        let status = cluster.operator().await.status(v1::StatusRequest {}).await;
        status.expect("it answers").into_inner().epoch
    };
    let began = epoch(&cluster).await;
    let file = cluster.path().join("mine.toml");
    let ports = "[port_first]\nvalue = 25000\nunit = \"port number\"\ndefault = 20000\n\
                 reason = \"the lower ones are the gateway's\"\n";
    fs::write(&file, format!("about = \"ours\"\nmoves_per_pass = 3\n{ports}"))
        .expect("a file can be written");
    let file = file.to_str().expect("a path of ASCII");
    let set = policy(&cluster, &["set", file]).unwrap();
    assert_eq!(chosen(&set), json!({"port_first": 25_000, "moves_per_pass": 3}));
    assert_eq!(port(&cluster, "after").await, 25_000);
    assert_eq!(epoch(&cluster).await, began, "it was started again");
    // By name, then by a knob; a bad file and a bad version change nothing.
    policy(&cluster, &["set", "energy"]).unwrap();
    policy(&cluster, &["set", "consolidate=0"]).unwrap();
    fs::write(file, "moves_per_pass = 4\nband_floor = 1001\n").expect("a file can be written");
    assert!(policy(&cluster, &["set", file]).unwrap_err().contains("must be 0 to 1000"));
    assert!(policy(&cluster, &["rollback", "77"]).unwrap_err().contains("policy history"));
    let history = policy(&cluster, &["history"]).unwrap();
    let versions = history["versions"].as_array().expect("a list");
    let numbers: Vec<_> = versions.iter().map(|v| v["version"].as_u64()).collect();
    assert_eq!(numbers, [Some(3), Some(2), Some(1)]);
    assert_eq!(versions[1]["label"], "energy");
    assert_eq!(versions[2]["values"], chosen(&set));
    let shown = policy(&cluster, &["show"]).unwrap();
    cluster.kill_scheduler();
    cluster.start_scheduler();
    drop(cluster.operator().await);
    assert_eq!(policy(&cluster, &["history"]).unwrap(), history);
    assert_eq!(policy(&cluster, &["show"]).unwrap(), shown);
    // Back to the file, killed once more, and every value is as the file had it.
    let back = policy(&cluster, &["rollback", "1"]).unwrap();
    assert_eq!(chosen(&back), chosen(&set));
    cluster.kill_scheduler();
    cluster.start_scheduler();
    drop(cluster.operator().await);
    let shown = policy(&cluster, &["show"]).unwrap();
    assert_eq!((chosen(&shown), &shown["version"]), (chosen(&set), &json!(4)));
    assert_eq!(shown["label"], "rollback to 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_force_is_written_as_a_file_that_sets_the_same() {
    let cluster = Cluster::start();
    drop(cluster.operator().await);
    let careful = policy(&cluster, &["set", "careful"]).unwrap();
    let list = policy(&cluster, &["list"]).unwrap();
    let in_force: Vec<_> = list["policies"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|p| p["in_force"] == json!(true))
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(in_force, [json!("careful")]);
    let written = policy(&cluster, &["show", "--toml"]).unwrap();
    policy(&cluster, &["set", "default"]).unwrap();
    let file = cluster.path().join("again.toml");
    fs::write(&file, written["toml"].as_str().expect("a text")).expect("a file can be written");
    let again = policy(&cluster, &["set", file.to_str().expect("a path of ASCII")]).unwrap();
    assert_eq!(chosen(&again), chosen(&careful));
}
