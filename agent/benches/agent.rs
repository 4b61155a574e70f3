//! Measures an agent with 100 instances: from assignment to running, resident memory and CPU.
//!
//! Not a test: nothing fails when the machine is slow. `cargo bench -p tengyun-agent --bench agent`,
//! as root for control groups. Floors and peers are those of `performance.md` §3.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[expect(dead_code, reason = "the bench needs a part of the stage")]
#[path = "../tests/running/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, shell};
use tengyun_model::{AssignedInstance, Millis};
use tengyun_proto::v1;

/// Instances that sleep all the time.
const RESIDENTS: u64 = 100;
/// Measured starts beside them.
const STARTS: u64 = 100;
/// How long the agent is watched.
const WATCHED: Duration = Duration::from_secs(30);
/// The kernel's clock ticks in a second, on every architecture it is asked on.
const TICKS_A_SECOND: f64 = 100.0;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let mut stage = Stage::without_agent();
    stage.config.sample_interval = Millis::from_secs(1);
    stage.config.report_interval = Some(Millis::from_secs(5));
    let mut agent = stage.agent_process();
    let mut all: Vec<AssignedInstance> = (1..=RESIDENTS).map(sleeper).collect();
    let start = Instant::now();
    stage.assign(&all);
    running(&mut stage, RESIDENTS).await;
    println!("{RESIDENTS} instances at once: all run after {:.0} ms", millis(start.elapsed()));
    watch(agent.id(), &mut stage).await;
    let mut times = Vec::new();
    for id in RESIDENTS + 1..=RESIDENTS + STARTS {
        all.push(sleeper(id));
        let start = Instant::now();
        stage.assign(&all);
        stage.until(id, &[v1::Phase::Running, v1::Phase::Healthy]).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
    println!(
        "assignment to running, one at a time: p50 {:.1} ms, p99 {:.1} ms (goal p50 15 ms)",
        millis(at(50)),
        millis(at(99))
    );
    agent.kill().expect("our child can be killed");
    agent.wait().expect("our child can be waited for");
    stage.assign(&[]);
    stage.end().await;
}

fn sleeper(id: u64) -> AssignedInstance {
    let mut assigned = shell(id, "");
    assigned.spec.command = ["/bin/sleep", "100000"].map(str::to_owned).to_vec();
    assigned
}

async fn running(stage: &mut Stage, count: u64) {
    let all = |report: &v1::Report| {
        let running = report.instances.iter().filter(|s| s.pid.is_some()).count();
        (u64::try_from(running) == Ok(count)).then_some(())
    };
    stage.report("all run", all).await;
}

/// Prints what the agent and the shims cost.
async fn watch(pid: u32, stage: &mut Stage) {
    let before = ticks(pid);
    tokio::time::sleep(WATCHED).await;
    let used = f64::from(ticks(pid) - before) / TICKS_A_SECOND / WATCHED.as_secs_f64() * 100.0;
    println!("agent CPU {used:.2} % of one core (goal 0.5 %; floor 0.10 to 0.24 %)");
    println!("agent resident {:.1} MiB (goal 16 MiB; floor 2.2 MB)", kib(pid, "status", "VmRSS:"));
    let workload = stage.pid(1).await;
    let shim = kib_number(workload, "status", "PPid:");
    let rss = kib(shim, "status", "VmRSS:");
    let private = kib(shim, "smaps_rollup", "Private_Dirty:");
    println!("a shim resident {rss:.1} MiB, of that {private:.2} MiB private");
}

fn ticks(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the agent runs");
    let rest = stat.rsplit_once(')').expect("the name is in brackets").1;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| words[index].parse::<u32>().expect("ticks are a number");
    number(11) + number(12)
}

fn kib(pid: u32, file: &str, name: &str) -> f64 {
    f64::from(kib_number(pid, file, name)) / 1024.0
}

fn kib_number(pid: u32, file: &str, name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
