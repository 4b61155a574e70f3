//! `tengyun up` and the verbs as a person meets them: what is printed, exit codes, and what is left.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tengyun_tests::cluster::{PATIENCE, binary};
use tengyun_tests::skip;

/// The ordinary user of these tests, who owns nothing.
const NOBODY: u32 = 65534;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A node that is a share of the machine: what else runs on it is not counted.
const SHARE: &[&str] = &["--node-cpu", "500"];

const MANIFEST: &str = "
application: greeting
department: city/digital-office
name: hello
kind: service
command: [/bin/sh, -c, 'while :; do echo good morning; sleep 0.2; done']
resources: {cpu: 1m, memory: 16Mi, pids: 16}
startup_s: 0
";

/// A running `tengyun up`; dropped, it is stopped.
struct Up {
    dir: tempfile::TempDir,
    program: PathBuf,
    user: Option<u32>,
    child: Option<Child>,
}

impl Up {
    /// Starts it as this user or as another one, and waits until it says that it is up.
    fn start(user: Option<u32>, options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("tengyun-up").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let copy = open_to_all(dir.path());
        let mut up = Self { dir, program: copy, user, child: None };
        let log = fs::File::create(up.log()).unwrap();
        let mut command = up.command("C");
        command.arg("up").args(options).stderr(log);
        up.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while !up.said().contains("Ctrl-C stops everything") {
            assert!(start.elapsed() < PATIENCE, "it is not up:\n{}", up.said());
            std::thread::sleep(LOOK_AGAIN);
        }
        up
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    #[expect(clippy::disallowed_methods, reason = "the harness starts the command")]
    fn command(&self, locale: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TENGYUN_STATE_DIR", self.state_dir()).env("LC_ALL", locale);
        command.env("HOME", self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs one verb.
    fn run(&self, words: &[&str]) -> Output {
        self.command("C").args(words).stderr(Stdio::piped()).output().unwrap()
    }

    /// Runs one verb that must succeed and returns what it printed.
    fn text(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}\n{}", self.said());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs one verb that must succeed and returns its JSON.
    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[words, &["--output", "json"]].concat())).unwrap()
    }

    /// Runs one verb that must fail and returns its exit code and error.
    fn failure(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn apply(&self, manifest: &str) {
        let file = self.dir.path().join("manifest.yaml");
        fs::write(&file, manifest).unwrap();
        self.text(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// Waits until a workload has an instance in this phase, and returns it.
    fn until(&self, phase: &str) -> Value {
        let start = Instant::now();
        loop {
            let all = self.json(&["get", "instances", "--all"]);
            let found = all.as_array().unwrap().iter().find(|i| i["phase"] == phase);
            if let Some(found) = found {
                return found.clone();
            }
            assert!(start.elapsed() < PATIENCE, "none is {phase}: {all:#}\n{}", self.said());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends it as Ctrl-C does and says whether it ended well.
    fn interrupt(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        child.wait().unwrap().success()
    }

    /// Processes whose command line names the directory.
    fn processes(&self) -> Vec<String> {
        let mark = self.dir.path().to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
        let lines = lines.map(|l| String::from_utf8_lossy(&l).replace('\0', " "));
        lines.filter(|line| line.contains(&mark)).collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.interrupt();
        }
    }
}

/// Puts the command where every user may run it; the folder of the build may be closed to others.
///
/// A link where that is possible: a copy that is being written, while another test starts a process,
/// is busy for a moment and cannot be run.
fn open_to_all(dir: &Path) -> PathBuf {
    let copy = dir.join("tengyun");
    if fs::hard_link(binary("tengyun"), &copy).is_err() {
        fs::copy(binary("tengyun"), &copy).unwrap();
    }
    copy
}

/// Every control group of ours, wherever it is mounted.
fn groups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for root in roots.map(|e| e.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        let below = fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
        let ours = |path: &PathBuf| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("tengyun-"))
        };
        found.extend(below.filter(ours));
    }
    found
}

fn own_group(up: &Up) -> Vec<PathBuf> {
    // The group is named after the state directory, as `up` does it.
    let digest =
        up.state_dir().to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let name = format!("tengyun-{digest:016x}");
    groups().into_iter().filter(|g| g.ends_with(&name)).collect()
}

fn mounts() -> usize {
    fs::read_to_string("/proc/self/mounts").unwrap().lines().count()
}

fn a_session(user: Option<u32>) {
    let before = mounts();
    let mut up = Up::start(user, &["--nodes", "2"]);
    let root = user.is_none() && nix::unistd::geteuid().is_root();
    let said = up.said();
    assert!(root || said.contains("not everything is enforced here"), "{said}");
    up.apply(MANIFEST);
    let instance = up.until("healthy");
    let id = instance["instance"].to_string();
    assert!(up.text(&["explain", "hello"]).contains("is healthy on node"));
    let start = Instant::now();
    while !up.text(&["logs", "hello"]).contains("good morning") {
        assert!(start.elapsed() < PATIENCE, "the output does not come");
        std::thread::sleep(LOOK_AGAIN);
    }
    for words in [
        ["get", "nodes"],
        ["get", "departments"],
        ["get", "workloads"],
        ["describe", "node"],
        ["describe", "workload"],
        ["describe", "instance"],
        ["top", "nodes"],
        ["top", "instances"],
        ["policy", "show"],
    ] {
        let name = match words {
            ["describe", "node"] => Some("node1"),
            ["describe", "workload"] => Some("hello"),
            ["describe", "instance"] => Some(id.as_str()),
            ["top", _] => Some("--once"),
            _ => None,
        };
        let words: Vec<&str> = words.into_iter().chain(name).collect();
        assert!(!up.text(&words).trim().is_empty(), "{words:?}");
        assert!(up.json(&words).is_array() || up.json(&words).is_object(), "{words:?}");
    }
    up.text(&["stop", "hello"]);
    up.text(&["delete", "hello"]);
    assert!(up.interrupt(), "it did not end well:\n{}", up.said());
    assert_eq!(up.processes(), Vec::<String>::new(), "processes are left");
    assert_eq!(own_group(&up), Vec::<PathBuf>::new(), "control groups are left");
    assert_eq!(mounts(), before, "mounts are left");
}

#[test]
fn a_session_leaves_no_process_no_group_and_no_mount() {
    a_session(None);
}

#[test]
fn an_ordinary_user_has_the_same_session() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to become an ordinary user");
    }
    a_session(Some(NOBODY));
}

#[test]
fn a_second_up_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let up = Up::start(None, &[]);
    let (code, error) = up.failure(&["up"]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("another"), "{error}");
    assert!(up.text(&["status"]).contains("read and write"));
}

#[test]
fn what_ran_before_a_kill_runs_again_and_nothing_is_left_of_the_first() {
    let mut up = Up::start(None, SHARE);
    up.apply(MANIFEST);
    let before = up.until("healthy")["pid"].as_u64().unwrap();
    let mut child = up.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(Path::new(&format!("/proc/{before}")).exists(), "it outlives the agent");
    let log = fs::File::create(up.log()).unwrap();
    up.child = Some(up.command("C").arg("up").args(SHARE).stderr(log).spawn().unwrap());
    let start = Instant::now();
    while !up.said().contains("Ctrl-C stops everything") {
        assert!(start.elapsed() < PATIENCE, "it is not up again:\n{}", up.said());
        std::thread::sleep(LOOK_AGAIN);
    }
    assert_eq!(up.until("healthy")["pid"].as_u64(), Some(before), "the same process");
    assert!(up.interrupt());
    assert_eq!(up.processes(), Vec::<String>::new());
}

#[test]
fn exit_codes_and_errors_say_what_to_do() {
    let up = Up::start(None, &[]);
    let (code, error) = up.failure(&["explain", "nothing"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("no workload is called nothing"), "{error}");
    let (code, error) = up.failure(&["apply", "-f", "/no/such/file"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("/no/such/file"), "{error}");
    let file = up.dir.path().join("bad.yaml");
    fs::write(&file, MANIFEST.replace("kind: service", "kind: servce")).unwrap();
    let (code, error) = up.failure(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("bad.yaml:5") && error.contains("service"), "{error}");
    let (code, error) = up.failure(&["policy", "set", "consolidat=1"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("did you mean consolidate"), "{error}");
    let (code, error) = up.failure(&["policy", "set", "moves_per_pass=0"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("1 to 1000"), "{error}");
    let (code, _) = up.failure(&["gte", "nodes"]);
    assert_eq!(code, 2);
    let (code, error) = up.failure(&["--socket", "/no/such/socket", "status"]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("tengyun up"), "{error}");
}

#[test]
fn a_chinese_locale_reads_chinese_headings() {
    let up = Up::start(None, &[]);
    let output = up.command("zh_CN.UTF-8").args(["get", "nodes"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("节点"));
    assert!(up.text(&["get", "nodes"]).contains("NODE"));
}

#[test]
fn a_demo_without_root_says_what_it_cannot_show() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to become an ordinary user");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = open_to_all(dir.path());
    #[expect(clippy::disallowed_methods, reason = "the harness starts the command")]
    let mut command = Command::new(&copy);
    command.uid(NOBODY).gid(NOBODY).env("HOME", dir.path()).args(["demo", "--output", "json"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("not shown") && error.contains("root"), "{error}");
}
