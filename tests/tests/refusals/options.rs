//! Options of the daemons that cannot be meant.

use std::fs;

use super::{Case, Place, case, nothing};

fn scheduler(what: &'static str, given: &[&str], says: &'static str) -> Case {
    let words = [&["tengyun-scheduler", "--state-dir", "DIR/s"][..], given].concat();
    case(what, nothing, &words, 2, says)
}

fn agent(what: &'static str, given: &[&str], says: &'static str) -> Case {
    let words = [&["tengyun-agent", "--name", "n1", "--state-dir", "DIR/a"][..], given].concat();
    case(what, nothing, &words, 2, says)
}

fn of_the_scheduler() -> Vec<Case> {
    let s = scheduler;
    vec![
        case("no directory", nothing, &["tengyun-scheduler"], 2, "--state-dir <DIR>"),
        s("an unknown option", &["--port", "7443"], "--help"),
        s("a word too many", &["serve"], "--help"),
        s("no port", &["--listen", "10.0.0.1"], "--listen <ADDRESS:PORT>"),
        s("a name to listen on", &["--listen", "localhost:7443"], "--listen <ADDRESS:PORT>"),
        s("a port beyond the last", &["--listen", "127.0.0.1:70000"], "--listen <ADDRESS:PORT>"),
        s("only where it is found", &["--advertise", "a:1"], "--listen <ADDRESS:PORT>"),
        s("found at no port", &["--listen", "127.0.0.1:0", "--advertise", "a"], "HOST:PORT"),
        s("found at port 0", &["--listen", "127.0.0.1:0", "--advertise", "a:0"], "HOST:PORT"),
        s("found nowhere", &["--listen", "127.0.0.1:0", "--advertise", ":1"], "HOST:PORT"),
        s("a socket for nobody", &["--people-socket", "DIR/p.sock"], "--local <UID=ROLE>"),
        s("somebody without a socket", &["--local", "1001=viewer"], "--people-socket <PATH>"),
        s("no number of a user", &["--people-socket", "DIR/p", "--local", "bob=viewer"], "\"bob\""),
        s("nobody", &["--people-socket", "DIR/p", "--local", "65534=viewer"], "stands for others"),
        s("no role", &["--people-socket", "DIR/p", "--local", "1001=root"], "department:PATH"),
        s(
            "no department",
            &["--people-socket", "DIR/p", "--local", "1001=department:"],
            "no department",
        ),
        s("tokens of no time", &["--token-seconds", "0"], "1..=86400"),
        s("certificates of no time", &["--certificate-seconds", "0"], "4..=31622400"),
        s("certificates of a day", &["--certificate-seconds", "1d"], "invalid digit"),
        s("certificates of ages", &["--certificate-seconds", "99999999999"], "4..=31622400"),
        s("reports all the time", &["--report-interval-millis", "0"], "100..=60000"),
        s("reports never", &["--report-interval-millis", "3600000"], "100..=60000"),
        s("no such log", &["--log-format", "xml"], "possible values: auto, text, json, journald"),
    ]
}

fn of_the_agent() -> Vec<Case> {
    let a = agent;
    vec![
        a("another name twice", &["--name", "n2"], "--name"),
        case("a name of capitals", nothing, &["tengyun-agent", "--name", "N1"], 2, "lower-case"),
        case("an empty name", nothing, &["tengyun-agent", "--name", ""], 2, "must not be empty"),
        case("a slash", nothing, &["tengyun-agent", "--name", "web/7"], 2, "lower-case"),
        a("CPU of words", &["--cpu-millicores", "many"], "--cpu-millicores <MILLICORES>"),
        a("CPU below nothing", &["--cpu-millicores=-1"], "--cpu-millicores <MILLICORES>"),
        a("memory with a unit", &["--memory-mib", "4GiB"], "--memory-mib <MIB>"),
        a("a counter without number", &["--counted", "gpu"], "expected NAME=NUMBER"),
        a("a counter of words", &["--counted", "gpu=two"], "two is not a number"),
        a("a counter without name", &["--counted", "=2"], "must not be empty"),
        a("a label without value", &["--label", "rack"], "expected KEY=VALUE"),
        a("a group that goes up", &["--cgroup-name", "../x"], "lower-case"),
        a("a sample each moment", &["--sample-interval-millis", "0"], "10..=60000"),
        a("a report each hour", &["--report-interval-millis", "3600000"], "10..=600000"),
        a("users beyond the last", &["--uid-base", "4294967296"], "--uid-base <UID_BASE>"),
        a("half a token", &["--join", "ty1.abc"], "ty1.<64 digits>.<64 digits>@HOST:PORT"),
        a("a token and a socket", &["--join", TOKEN, "--scheduler-socket", "x"], "cannot be used"),
        a("a token without port", &["--join", PORTLESS], "must be HOST:PORT"),
    ]
}

const TOKEN: &str = "ty1.\
    0000000000000000000000000000000000000000000000000000000000000000.\
    0000000000000000000000000000000000000000000000000000000000000000@127.0.0.1:1";
const PORTLESS: &str = "ty1.\
    0000000000000000000000000000000000000000000000000000000000000000.\
    0000000000000000000000000000000000000000000000000000000000000000@127.0.0.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_option_is_refused_and_named() {
    let mut place = Place::make().await;
    place.run_many(&[of_the_scheduler(), of_the_agent()].concat());
    for left in fs::read_dir(place.cluster.path()).unwrap().flatten() {
        let case = left.file_name().to_string_lossy().starts_with("case-");
        let empty = case && fs::read_dir(left.path()).unwrap().next().is_none();
        assert!(!case || empty, "{} left something behind", left.path().display());
    }
}
