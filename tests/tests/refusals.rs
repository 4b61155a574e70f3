//! Bad policies, configurations and state: each is refused in words that say what to do, and at once.
//!
//! Every case runs the real program in a directory of its own. What it must say is the remedy: the
//! option, the command or the change that helps.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]
#![expect(clippy::print_stdout, reason = "what was tried is shown where the result is read")]

#[path = "refusals/options.rs"]
mod options;
#[path = "refusals/policies.rs"]
mod policies;
#[path = "refusals/state.rs"]
mod state;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use tengyun_tests::Cluster;
use tengyun_tests::cluster::program;

/// How long a program may take to refuse.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest refusal that a person reads.
const SAID_BYTES_MAX: usize = 3000;

/// The fewest kinds of bad policies, and of bad options.
const KINDS_MIN: usize = 34;

/// One thing that is wrong.
#[derive(Clone)]
struct Case {
    /// What is wrong.
    what: &'static str,
    /// Makes it so, in the case's own directory.
    prepare: fn(&Path),
    /// The program and its words; `DIR` is the case's directory and `SOCKET` a scheduler that runs.
    words: Vec<String>,
    /// How it ends.
    code: i32,
    /// What it must say.
    says: &'static str,
}

fn case(
    what: &'static str,
    prepare: fn(&Path),
    words: &[&str],
    code: i32,
    says: &'static str,
) -> Case {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Case { what, prepare, words, code, says }
}

/// Prepares nothing.
fn nothing(_: &Path) {}

/// A cluster whose scheduler runs, and a directory for each case.
struct Place {
    cluster: Cluster,
    cases: usize,
}

impl Place {
    async fn make() -> Self {
        let cluster = Cluster::start();
        cluster.operator().await;
        Self { cluster, cases: 0 }
    }

    fn dir(&mut self) -> PathBuf {
        self.cases += 1;
        let dir = self.cluster.path().join(format!("case-{}", self.cases));
        fs::create_dir(&dir).unwrap();
        dir
    }

    /// Runs a case; returns what was not as it should be.
    fn run(&mut self, case: &Case) -> Option<String> {
        let dir = self.dir();
        (case.prepare)(&dir);
        let (dir, socket) =
            (dir.display().to_string(), self.cluster.socket().display().to_string());
        let words: Vec<String> = case
            .words
            .iter()
            .map(|word| word.replace("DIR", &dir).replace("SOCKET", &socket))
            .collect();
        let mut command = program(&words[0]);
        command.args(&words[1..]).env("LC_ALL", "C").env_remove("TENGYUN_STATE_DIR");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = end(command.spawn().unwrap());
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let shown = said.replace(&dir, "DIR").replace(&socket, "SOCKET");
        println!("--- {}: {:?}\n{shown}", case.what, output.status.code());
        let steers = shown.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        let good = output.status.code() == Some(case.code)
            && said.replace('\n', " ").contains(case.says)
            && said.len() < SAID_BYTES_MAX
            && !said.contains("panicked")
            && !steers;
        let (code, says) = (case.code, case.says);
        (!good).then(|| {
            let ended = output.status.code();
            format!("{}: {ended:?} instead of {code} and {says:?}:\n{shown}", case.what)
        })
    }

    fn run_many(&mut self, cases: &[Case]) {
        assert!(cases.len() >= KINDS_MIN, "only {} cases", cases.len());
        self.run_all(cases);
    }

    fn run_all(&mut self, cases: &[Case]) {
        let bad: Vec<String> = cases.iter().filter_map(|case| self.run(case)).collect();
        println!("{} cases", cases.len());
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }
}

/// Waits for the end of a program; one that does not end is none that refused.
fn end(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("it refused nothing and went on: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}
