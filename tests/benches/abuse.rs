//! Abuse at full size: a thousand connections, each kind for a minute, and honest reports timed.
//!
//! It fails when fewer than a thousand were up, when an honest report took too long or a stream of an honest
//! agent broke, and when the scheduler grew too much. Arguments choose kinds by parts of their names.
//! `tests/benches/README.md` has the command.

use std::time::Duration;

use tengyun_tests::abuse::{ATTACKS, Siege, Size};

/// How many connections of members are up before each kind begins.
const MEMBERS: usize = 1000;
/// How many strangers come on top.
const STRANGERS: usize = 250;
/// How long each kind goes on, unless `TENGYUN_ABUSE_SECONDS` says otherwise.
const SECONDS: u64 = 60;
/// How long 99 % of the honest reports may take until they are acknowledged.
const WAIT_GOAL: Duration = Duration::from_secs(1);
/// By how much the scheduler may grow, in kibibytes: under one kind, and under all of them together.
const GROWTH_GOAL_KIB: u64 = 256 * 1024;

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    let seconds = std::env::var("TENGYUN_ABUSE_SECONDS").ok().and_then(|s| s.parse().ok());
    let lasting = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let size = Size { members: MEMBERS, strangers: STRANGERS, lasting };
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| name.contains(c.as_str()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        println!("{size:?}; goals: p99 {WAIT_GOAL:?}, {GROWTH_GOAL_KIB} KiB more, 0 broken");
        let siege = Siege::begin(size).await;
        let mut missed = Vec::new();
        for attack in ATTACKS.iter().filter(|attack| wanted(attack.name)) {
            let damage = siege.endure(attack).await;
            println!("{}", damage.line());
            let up = damage.up.unwrap_or(MEMBERS);
            let late = damage.permille(990) > WAIT_GOAL;
            if up < MEMBERS || late || damage.broken > 0 || damage.growth_kib > GROWTH_GOAL_KIB {
                missed.push(damage.attack);
            }
        }
        let growth = siege.growth_kib();
        println!("{growth} KiB more after all of them");
        siege.end();
        assert!(growth <= GROWTH_GOAL_KIB, "it grew by {growth} KiB");
        assert!(missed.is_empty(), "goals missed: {missed:?}");
    });
}
