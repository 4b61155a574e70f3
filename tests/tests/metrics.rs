//! Metrics of real daemons: strictly read, sufficient for the documented alerts, and for the owner only.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tengyun_tests::cluster::{program, until};
use tengyun_tests::openmetrics::{parse, scrape};
use tengyun_tests::{Cluster, skip, spec};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A scheduler that listens, an agent, and one service that runs; and both texts.
async fn texts() -> (Cluster, String, String) {
    let mut cluster = Cluster::start_with(&["--listen", "127.0.0.1:0"]);
    let quick = ["--sample-interval-millis", "200", "--report-interval-millis", "300"];
    cluster.start_agent("n1", &quick);
    cluster.apply(&[spec::command("app", &["/bin/sleep", "1000"])]).await;
    cluster.until_running(1).await;
    let (scheduler, agent) = (
        cluster.path().join("scheduler/metrics.sock"),
        cluster.agent_dir("n1").join("metrics.sock"),
    );
    for socket in [&scheduler, &agent] {
        let mode = std::fs::metadata(socket).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", socket.display());
    }
    let texts = until("what runs is told", async || {
        let (scheduler, agent) = (scrape(&scheduler), scrape(&agent));
        let told = scheduler.contains("tengyun_instances{class=\"standard\",phase=\"healthy\"} 1");
        let told = told && agent.contains("tengyun_agent_instances{phase=\"healthy\"} 1");
        (told && scheduler.contains("tengyun_node_time_seconds_total"))
            .then_some((scheduler, agent))
    })
    .await;
    (cluster, texts.0, texts.1)
}

/// The names of metrics in the alerts' expressions.
fn named_in_alerts() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("docs/alerts.yaml")).unwrap();
    let mut names = BTreeSet::new();
    for part in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        if part.starts_with("tengyun_") {
            names.insert(part.to_owned());
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_strict_openmetrics_and_hold_what_the_alerts_need() {
    let (cluster, scheduler, agent) = texts().await;
    let (of_scheduler, of_agent) = (parse(&scheduler).unwrap(), parse(&agent).unwrap());
    let all = || of_scheduler.iter().chain(&of_agent);
    // Annotations name whole families.
    let mut exported: BTreeSet<String> = all().map(|(name, _)| name.clone()).collect();
    exported.extend(all().flat_map(|(_, f)| f.samples.iter().map(|(name, ..)| name.clone())));
    for name in named_in_alerts() {
        assert!(exported.contains(&name), "{name} is in docs/alerts.yaml and is not exported");
    }
    let of = |name: &str| of_scheduler[name].samples.iter().map(|(_, l, v)| (l.clone(), *v));
    let states: f64 = of("tengyun_nodes").map(|(_, value)| value).sum();
    assert!((states - 1.0).abs() < f64::EPSILON, "one node in all states together");
    let entries = of("tengyun_journal_entries").next().unwrap().1;
    assert!(entries >= 4.0, "{entries} entries");
    let authority = of("tengyun_certificate_expiry_seconds").find(|(l, _)| l["of"] == "authority");
    let days = authority.unwrap().1 / 86_400.0;
    assert!((7319.0..=7321.0).contains(&days), "the authority holds for {days} days");
    for families in [&of_scheduler, &of_agent] {
        let resident = families["process_resident_memory_bytes"].samples[0].2;
        assert!(resident > 1e6, "{resident} bytes");
    }
    // The same text comes over the socket of the operators.
    let mut command = program("tengyun");
    command.arg("--socket").arg(cluster.socket()).arg("metrics");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), of_scheduler.keys().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parser_of_prometheus_reads_the_metrics() {
    let Some(python) = std::env::var_os("TENGYUN_METRICS_PYTHON") else {
        return skip("needs TENGYUN_METRICS_PYTHON with prometheus_client");
    };
    let (_cluster, scheduler, agent) = texts().await;
    for text in [scheduler, agent] {
        let read = "import sys\n\
            from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
            print(len(list(read(sys.stdin.read()))))";
        let (code, said) = run(Path::new(&python), &["-c", read], &text);
        assert!(code, "{said}\n{text}");
        let families: usize = said.trim().parse().unwrap();
        assert_eq!(families, parse(&text).unwrap().len());
    }
}

/// Runs a program on an input; says whether it ended well, and what it said.
#[expect(clippy::disallowed_methods, reason = "a test runs the tools of Prometheus")]
fn run(program: &Path, words: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_alerts_pass_the_rule_checker_and_their_unit_tests() {
    let Some(promtool) = std::env::var_os("TENGYUN_PROMTOOL") else {
        return skip("needs TENGYUN_PROMTOOL");
    };
    let docs = root().join("docs");
    let path = |name: &str| docs.join(name).to_str().unwrap().to_owned();
    for words in
        [["check", "rules", &path("alerts.yaml")], ["test", "rules", &path("alerts_test.yaml")]]
    {
        let (well, said) = run(Path::new(&promtool), &words, "");
        assert!(well, "{words:?}: {said}");
    }
}

#[test]
fn every_alert_has_a_unit_test() {
    let read = |name: &str| std::fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (alerts, tests) = (read("alerts.yaml"), read("alerts_test.yaml"));
    let names = alerts.lines().filter_map(|l| l.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 15, "{names:?}");
    for name in names {
        let tested = |line: &str| line.trim().ends_with(&format!("alertname: {name}"));
        assert!(tests.lines().any(tested), "{name} has no test in docs/alerts_test.yaml");
    }
}
