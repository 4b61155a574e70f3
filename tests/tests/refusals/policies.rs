//! Policies that are none.

use std::fs;
use std::path::Path;

use super::{Case, Place, case, nothing};

const SHOW: &str = "next: tengyun policy show";

fn file(what: &'static str, prepare: fn(&Path), code: i32, says: &'static str) -> Case {
    let words = ["tengyun", "--socket", "SOCKET", "policy", "set", "--file", "DIR/p.toml"];
    case(what, prepare, &words, code, says)
}

fn words(what: &'static str, given: &[&str], code: i32, says: &'static str) -> Case {
    let words = [&["tengyun", "--socket", "SOCKET", "policy", "set"][..], given].concat();
    case(what, nothing, &words, code, says)
}

/// Writes the policy of a case.
macro_rules! toml {
    ($text:expr) => {
        |dir| fs::write(dir.join("p.toml"), $text).unwrap()
    };
}

fn files() -> Vec<Case> {
    vec![
        file("no name", toml!("= 1"), 2, SHOW),
        file("no value", toml!("consolidate ="), 2, SHOW),
        file("yaml", toml!("consolidate: 1\n"), 2, SHOW),
        file(
            "a negative number",
            toml!("consolidate = -1"),
            2,
            "consolidate must be a whole number",
        ),
        file("a fraction", toml!("consolidate = 0.5"), 2, "consolidate must be a whole number"),
        file("a text", toml!("consolidate = \"1\""), 2, "consolidate must be a whole number"),
        file("yes", toml!("consolidate = true"), 2, "consolidate must be a whole number"),
        file("a day", toml!("consolidate = 2026-11-26"), 2, "consolidate must be a whole number"),
        file("a list", toml!("consolidate = [1]"), 2, "consolidate must be a whole number"),
        file("a table", toml!("[band]\nfloor = 1"), 2, "did you mean"),
        file("an unknown knob", toml!("band_flor = 1"), 2, "did you mean band_floor?"),
        file("an empty name", toml!("\"\" = 1"), 2, SHOW),
        file("a knob twice", toml!("consolidate = 1\nconsolidate = 1"), 2, SHOW),
        file("beyond 64 bits", toml!("consolidate = 99999999999999999999"), 2, SHOW),
        file("no UTF-8", toml!(b"consolidate = \xff"), 2, SHOW),
        file("a zero byte", toml!("\0"), 2, SHOW),
        file("what steers a terminal", toml!("\x1b[2J = 1"), 2, SHOW),
        file("too large", toml!("# x\n".repeat(20_000)), 2, SHOW),
        file("very deep", toml!(format!("consolidate = {}", "[".repeat(30_000))), 2, SHOW),
        file("below the range", toml!("moves_per_pass = 0"), 1, "must be 1 to 1000"),
        file("above the range", toml!("band_floor = 1001"), 1, "must be 0 to 1000"),
        file(
            "a band out of order",
            toml!("band_floor = 800\nband_target = 700"),
            1,
            "in the order band_floor, band_target, band_ceiling",
        ),
        file("missing", |_| {}, 2, SHOW),
        file("a directory", |dir| fs::create_dir(dir.join("p.toml")).unwrap(), 2, SHOW),
        file("a pipe", |dir| pipe(&dir.join("p.toml")), 2, SHOW),
        file("a device", |dir| link("/dev/zero", &dir.join("p.toml")), 2, SHOW),
        file("a link to nowhere", |dir| link("nowhere", &dir.join("p.toml")), 2, SHOW),
    ]
}

fn pipe(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

fn link(to: &str, path: &Path) {
    std::os::unix::fs::symlink(to, path).unwrap();
}

fn lines() -> Vec<Case> {
    vec![
        words("nothing", &[], 2, SHOW),
        words("no value", &["consolidate"], 2, "expected KNOB=VALUE with a whole number"),
        words("a negative number", &["consolidate=-1"], 2, "expected KNOB=VALUE"),
        words("a fraction", &["consolidate=0.5"], 2, "expected KNOB=VALUE"),
        words("a number with a unit", &["lost_after_seconds=60s"], 2, "expected KNOB=VALUE"),
        words("an unknown knob", &["lost_after=60"], 2, "did you mean lost_after_seconds?"),
        words("no name", &["=1"], 2, SHOW),
        words("below the range", &["lost_after_seconds=3"], 1, "must be 4 to 86400"),
        words("above the range", &["history_min_seconds=700000"], 1, "must be 1 to 604800"),
        words("a file and words", &["consolidate=1", "--file", "DIR/p.toml"], 2, "--file <FILE>"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_policy_is_refused_and_says_what_would_be_a_good_one() {
    let mut place = Place::make().await;
    let cases = [files(), lines()].concat();
    place.run_many(&cases);
    // None of them changed anything.
    let mut operator = place.cluster.operator().await;
    let request = tengyun_proto::v1::GetPolicyRequest {};
    let policy = operator.get_policy(request).await.unwrap().into_inner();
    assert!(policy.knobs.iter().all(|knob| knob.value == knob.default_value));
}
