//! A canary: a secret that a program really reads, and that is found nowhere else.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tengyun_model::{FileSpec, Provision, SecretSpec, WorkloadSpec};
use tengyun_proto::token::sha256;
use tengyun_tests::cluster::{is_running, program, until};
use tengyun_tests::openmetrics::scrape;
use tengyun_tests::{Cluster, skip, spec};

/// Draws a value that nothing else has.
fn canary() -> String {
    let mut bytes = [0; 24];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    sha256(&bytes).to_string()
}

async fn tengyun(socket: PathBuf, words: &[&str], input: &str) -> Output {
    let mut command = program("tengyun");
    command.arg("--socket").arg(socket).args(words).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        // A verb that reads nothing may have ended.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Every file below a directory that holds the needle.
fn files_with(dir: &Path, needle: &str, hits: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            files_with(&path, needle, hits);
        } else if found.is_file() && holds(&fs::read(&path).unwrap_or_default(), needle) {
            hits.push(path.display().to_string());
        }
    }
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Every process whose arguments or environment hold the needle.
fn processes_with(needle: &str, hits: &mut Vec<String>) -> usize {
    let mut looked_at = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["environ", "cmdline"] {
            let path = entry.path().join(file);
            let Ok(bytes) = fs::read(&path) else { continue };
            looked_at += 1;
            if holds(&bytes, needle) {
                hits.push(path.display().to_string());
            }
        }
    }
    looked_at
}

/// A workload that tells the digests of what it reads, and never the values.
fn reader() -> WorkloadSpec {
    let script = "
        sum() { sha256sum < \"$1\" | cut -d' ' -f1; }
        echo secret $(sum \"$TENGYUN_SECRETS/db-password\") $(stat -c %a \"$TENGYUN_SECRETS/db-password\")
        echo filled $(sum app.conf)
        exec sleep 1000";
    let from = "db-password".parse().unwrap();
    let content = b"password={{ secret.db-password }}\nnode={{ node }}\n".to_vec();
    let mut spec = spec::shell("reader", script);
    spec.provision = Provision {
        artifacts: Vec::new(),
        templates: vec![FileSpec { path: "app.conf".to_owned(), content, mode: 0o644 }],
        secrets: vec![SecretSpec { from, path: "db-password".to_owned(), mode: 0o400 }],
    };
    spec
}

const NAME: &str = "city/tests/db-password";

/// The place of the node's secrets; gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new(tag: &str) -> Self {
        Self(PathBuf::from(format!("/dev/shm/tengyun-test-{}-{tag}", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It is mounted as root only, and while the agent is there.
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap_or_default();
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits until the newest start has told both digests.
async fn told(cluster: &Cluster, value: &str, start: u32) {
    let log = cluster.agent_dir("n1").join(format!("instances/1.{start}/stdout.log"));
    let filled = format!("password={value}\nnode=n1\n");
    let expected = [
        format!("secret {} 400\n", sha256(value.as_bytes())),
        format!("filled {}\n", sha256(filled.as_bytes())),
    ]
    .concat();
    let said = until("the program has read its secret", async || {
        let said = fs::read_to_string(&log).ok()?;
        said.contains("filled").then_some(said)
    })
    .await;
    assert_eq!(said, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_read_by_its_program_and_found_nowhere_else() {
    if !Path::new("/dev/shm").is_dir() {
        return skip("it needs a file system in memory");
    }
    let place = Place::new("canary");
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &["--secrets-dir", place.0.to_str().unwrap()]);
    drop(cluster.operator().await);
    let (value, socket) = (canary(), cluster.socket());
    let set = tengyun(socket.clone(), &["secret", "set", NAME], &format!("{value}\n")).await;
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    cluster.apply(&[reader()]).await;
    let views = cluster.until_running(1).await;
    told(&cluster, &value, 1).await;
    let file = place.0.join("1.1/secrets/db-password");
    let found = fs::metadata(&file).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o400);
    if nix::unistd::geteuid().is_root() {
        assert!(found.uid() >= 200_000, "it belongs to {}", found.uid());
    }
    let mut hits = Vec::new();
    for words in [
        &["secret", "list"][..],
        &["secret", "list", "-o", "json"],
        &["get", "instances", "-o", "json"],
        &["get", "workloads", "-o", "json"],
        &["describe", "instance", "1"],
        &["describe", "workload", "reader"],
        &["describe", "node", "n1"],
        &["explain", "reader"],
        &["history", "reader"],
        &["logs", "1"],
        &["events"],
        &["meters"],
        &["status"],
        &["policy", "show"],
        &["metrics"],
        &["members"],
        &["top", "nodes"],
    ] {
        let output = tengyun(socket.clone(), words, "").await;
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        if holds(&output.stdout, &value) || holds(&output.stderr, &value) {
            hits.push(format!("{words:?}"));
        }
    }
    let sockets = [
        cluster.path().join("scheduler/metrics.sock"),
        cluster.agent_dir("n1").join("metrics.sock"),
    ];
    for socket in sockets {
        if holds(scrape(&socket).as_bytes(), &value) {
            hits.push(socket.display().to_string());
        }
    }
    let again = tengyun(socket.clone(), &["secret", "delete", NAME], "").await;
    assert_eq!(again.status.code(), Some(1), "what is used was deleted");
    files_with(cluster.path(), &value, &mut hits);
    let looked_at = processes_with(&value, &mut hits);
    assert!(looked_at > 10, "{looked_at} files of processes were read");
    assert_eq!(hits, Vec::<String>::new(), "the canary was found");
    let mut there = Vec::new();
    files_with(&place.0, &value, &mut there);
    assert!(there.len() >= 3, "the search finds it where it must be: {there:?}");
    assert_eq!(views.len(), 1);
    drop(cluster);
    assert!(!file.exists(), "the file outlives its instance");
    let mut left = Vec::new();
    files_with(&place.0, &value, &mut left);
    assert_eq!(left, Vec::<String>::new(), "the node keeps it after its instances");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_starts_again_with_its_secret_while_the_scheduler_is_away() {
    if !Path::new("/dev/shm").is_dir() {
        return skip("it needs a file system in memory");
    }
    let place = Place::new("away");
    let mut cluster = Cluster::start();
    cluster.start_agent("n1", &["--secrets-dir", place.0.to_str().unwrap()]);
    drop(cluster.operator().await);
    let (value, socket) = (canary(), cluster.socket());
    let set = tengyun(socket.clone(), &["secret", "set", NAME], &value).await;
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    cluster.apply(&[reader()]).await;
    let before = cluster.until_running(1).await;
    told(&cluster, &value, 1).await;
    cluster.kill_scheduler();
    cluster.kill_agent("n1");
    let pid = before[0].status.as_ref().and_then(|s| s.pid).unwrap();
    let file = place.0.join("1.1/secrets/db-password");
    assert!(file.exists(), "a running instance keeps its file");
    let raw = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(raw, nix::sys::signal::Signal::SIGKILL).unwrap();
    cluster.restart_agent("n1");
    told(&cluster, &value, 2).await;
    assert!(!file.exists(), "the file outlives its start");
    cluster.start_scheduler();
    until("it is seen running again", async || {
        let views = cluster.instances().await;
        let status = |v: &tengyun_proto::v1::InstanceView| v.status.clone().unwrap_or_default();
        views.iter().any(|v| is_running(v) && status(v).incarnation == 2).then_some(())
    })
    .await;
}
