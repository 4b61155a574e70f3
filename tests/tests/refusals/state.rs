//! State that is damaged, open to others, of somebody else or of another version.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tengyun_tests::cluster::{program, until};
use tengyun_tests::members;

use super::{Case, Place, case, nothing};

fn scheduler(what: &'static str, prepare: fn(&Path), says: &'static str) -> Case {
    case(what, prepare, &["tengyun-scheduler", "--state-dir", "DIR/s"], 1, says)
}

fn listening(what: &'static str, prepare: fn(&Path), says: &'static str) -> Case {
    let words = ["tengyun-scheduler", "--state-dir", "DIR/s", "--listen", "127.0.0.1:0"];
    case(what, prepare, &words, 1, says)
}

fn agent(what: &'static str, prepare: fn(&Path), says: &'static str) -> Case {
    let words = ["tengyun-agent", "--name", "n1", "--state-dir", "DIR/a"];
    case(what, prepare, &words, 1, says)
}

fn person(what: &'static str, prepare: fn(&Path), says: &'static str) -> Case {
    case(what, prepare, &["tengyun", "--identity", "DIR/identity", "status"], 2, says)
}

/// Makes a directory that only we may enter.
fn private(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
}

/// Makes a state directory with one file in it.
fn file(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for made in path.parent().unwrap().ancestors().take_while(|made| *made != dir) {
        fs::set_permissions(made, Permissions::from_mode(0o700)).unwrap();
    }
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

/// Makes a directory where a file belongs.
fn directory(dir: &Path, name: &str) {
    file(dir, &format!("{name}/x"), b"");
}

fn of_the_scheduler() -> Vec<Case> {
    let s = scheduler;
    let damaged = "restore it from a backup";
    vec![
        s("a file for a directory", |d| fs::write(d.join("s"), "").unwrap(), "--state-dir"),
        s("below a file", |d| fs::write(d.join("s"), "").unwrap(), "--state-dir"),
        s("open to others", |d| fs::create_dir(d.join("s")).unwrap(), "chmod 700"),
        s("no database", |d| file(d, "s/journal.db", b"no database at all, but long"), damaged),
        s("half a database", |d| file(d, "s/journal.db", b"SQLite format 3\0\x10\0"), damaged),
        s("a directory for a journal", |d| directory(d, "s/journal.db"), damaged),
        s("a directory for a lock", |d| directory(d, "s/journal.lock"), "move it away"),
        s("a newer journal", newer, "install"),
        s("another database", foreign, damaged),
        s("a file for a socket", |d| file(d, "s/scheduler.sock", b""), "move it away"),
        listening("no key", |d| file(d, "s/authority/authority.crt", b"x"), "restore it"),
        listening("a broken key", |d| file(d, "s/authority/authority.key", b"x"), "from a backup"),
        listening("an open key", open_key, "chmod 600"),
        listening("a broken certificate", broken_certificate, "from a backup"),
        listening("a file for keys", |d| file(d, "s/authority", b""), "move it away"),
        case(
            "somebody else's address",
            |d| private(&d.join("s")),
            &["tengyun-scheduler", "--state-dir", "DIR/s", "--listen", "203.0.113.1:7443"],
            1,
            "--listen",
        ),
        case(
            "every address and no name",
            |d| private(&d.join("s")),
            &["tengyun-scheduler", "--state-dir", "DIR/s", "--listen", "0.0.0.0:0"],
            1,
            "--advertise HOST:PORT",
        ),
        case(
            "a socket in no directory",
            nothing,
            &["tengyun-scheduler", "--state-dir", "DIR/s", "--socket", "/proc/none/x.sock"],
            1,
            "--socket",
        ),
        case(
            "a socket with too long a name",
            nothing,
            &["tengyun-scheduler", "--state-dir", "DIR/s", "--socket", LONG],
            1,
            "its last part must be a name",
        ),
        case(
            "a socket that another serves",
            nothing,
            &["tengyun-scheduler", "--state-dir", "DIR/s", "--socket", "SOCKET"],
            1,
            "choose another",
        ),
    ]
}

const LONG: &str = "/tmp/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// A journal of a version that is not there yet.
fn newer(dir: &Path) {
    file(dir, "s/journal.db", b"");
    let journal = rusqlite::Connection::open(dir.join("s/journal.db")).unwrap();
    journal.pragma_update(None, "user_version", 1000).unwrap();
}

/// A database of somebody else, with a table of our name.
fn foreign(dir: &Path) {
    file(dir, "s/journal.db", b"");
    let journal = rusqlite::Connection::open(dir.join("s/journal.db")).unwrap();
    journal.execute_batch("CREATE TABLE batches (x); INSERT INTO batches VALUES (1)").unwrap();
}

fn open_key(dir: &Path) {
    file(dir, "s/authority/authority.key", b"x");
    let key = dir.join("s/authority/authority.key");
    fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
}

/// The key of an authority, and a certificate that is none.
fn broken_certificate(dir: &Path) {
    let key = tengyun_proto::identity::Key::make().unwrap();
    file(dir, "s/authority/authority.key", key.private());
    file(dir, "s/authority/authority.crt", b"x");
}

fn of_the_agent() -> Vec<Case> {
    let a = agent;
    vec![
        a("a file for a directory", |d| fs::write(d.join("a"), "").unwrap(), "--state-dir"),
        a("a file for instances", |d| file(d, "a/instances", b""), "move it away"),
        a("a file for the ledger", |d| file(d, "a/ledger", b""), "move it away"),
        a("a directory for a ledger", |d| directory(d, "a/ledger/assignment"), "move it away"),
        a("a directory for meters", |d| directory(d, "a/meters"), "move it away"),
        a("a directory for a lock", |d| directory(d, "a/lock"), "move it away"),
        a("an identity of nothing", |d| file(d, "a/identity", b""), "join again"),
        a("an identity of noise", |d| file(d, "a/identity", b"\xff\xfe\x01"), "join again"),
        a("a huge identity", |d| file(d, "a/identity", &[0; 70_000]), "join again"),
        a("a directory for an identity", |d| directory(d, "a/identity"), "`tengyun join` makes"),
        a("an identity open to others", open_identity, "chmod 600"),
    ]
}

fn open_identity(dir: &Path) {
    file(dir, "a/identity", b"x");
    fs::set_permissions(dir.join("a/identity"), Permissions::from_mode(0o644)).unwrap();
}

fn of_people() -> Vec<Case> {
    let p = person;
    vec![
        p("no identity", |_| {}, "tengyun login"),
        p("an identity of noise", |d| file(d, "identity", b"\xff\xfe\x01"), "join again"),
        p("a directory for an identity", |d| directory(d, "identity"), "tengyun login"),
        p(
            "an identity open to others",
            |d| fs::write(d.join("identity"), "x").unwrap(),
            "chmod 600",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_state_is_refused_and_says_how_to_go_on() {
    let mut place = Place::make().await;
    place.run_all(&[of_the_scheduler(), of_the_agent(), of_people()].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_one_directory_is_refused() {
    let mut place = Place::make().await;
    place.cluster.start_agent("n1", &[]);
    let lock = place.cluster.agent_dir("n1").join("lock");
    until("the agent has its directory", async || lock.exists().then_some(())).await;
    let of = |path: &Path| path.display().to_string();
    let scheduler = of(&place.cluster.path().join("scheduler"));
    let words = ["tengyun-scheduler", "--state-dir", &scheduler];
    let one = case("a journal in use", nothing, &words, 1, "choose another --state-dir");
    let agent = of(&place.cluster.agent_dir("n1"));
    let words = ["tengyun-agent", "--name", "n1", "--state-dir", &agent];
    let other = case("a directory in use", nothing, &words, 1, "choose another --state-dir");
    place.run_all(&[one, other]);
}

/// What an agent can do without is set aside and named, and it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_can_do_without_is_set_aside_and_named() {
    let cases: [(&str, fn(&Path), &str, Option<&str>); 4] = [
        (
            "ledger",
            |d| file(d, "a/ledger/assignment", b"noise"),
            "the ledger is damaged",
            Some("a/ledger/assignment.damaged"),
        ),
        (
            "meters",
            |d| file(d, "a/meters", b"noise"),
            "the meters on disk are damaged",
            Some("a/meters.damaged"),
        ),
        ("record", |d| file(d, "a/instances/7.1/assigned", b"noise"), "", None),
        ("stranger", |d| file(d, "a/instances/no-number/x", b"noise"), "", None),
    ];
    let mut place = Place::make().await;
    for (what, prepare, says, aside) in cases {
        let dir = place.dir();
        prepare(&dir);
        let mut command = program("tengyun-agent");
        command.args(["--name", &format!("n-{what}")]).arg("--state-dir").arg(dir.join("a"));
        command.arg("--scheduler-socket").arg(place.cluster.socket());
        command.args(["--cgroup-name", &place.cluster.group(what)]);
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        until("the agent goes on", async || {
            let text = fs::read_to_string(dir.join("log")).ok()?;
            text.contains("attached to the scheduler").then_some(())
        })
        .await;
        let text = fs::read_to_string(dir.join("log")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(text.contains(says) && !text.contains("panicked"), "{what}: {text}");
        assert!(aside.is_none_or(|aside| dir.join(aside).exists()), "{what} was not set aside");
    }
}

/// An identity is of one node: it cannot be started under another name, nor by a person's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_is_not_used_under_another_name() {
    let mut place = Place::make().await;
    let listening = tengyun_tests::Cluster::start_with(members::LISTEN);
    let identity = members::node(&listening, "n1").await;
    let dir = place.dir();
    fs::create_dir(dir.join("a")).unwrap();
    identity.save(&dir.join("a/identity")).unwrap();
    let state = dir.join("a").display().to_string();
    let words = ["tengyun-agent", "--name", "n2", "--state-dir", &state];
    place.run_all(&[case("another name", nothing, &words, 1, "say --name n1")]);
}

/// A journal that was cut short in the middle of a row is found, wherever it was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_journal_is_refused_wherever_it_was_cut() {
    let mut place = Place::make().await;
    let whole = {
        let mut cluster = tengyun_tests::Cluster::start();
        cluster.apply(&[tengyun_tests::spec::command("web", &["/bin/true"])]).await;
        let journal = cluster.path().join("scheduler/journal.db");
        cluster.stop_scheduler();
        fs::read(journal).unwrap()
    };
    for tenth in 1..10 {
        let dir = place.dir();
        private(&dir.join("s"));
        let mut file = fs::File::create(dir.join("s/journal.db")).unwrap();
        file.write_all(&whole[..whole.len() * tenth / 10]).unwrap();
        let state = dir.join("s").display().to_string();
        let words = ["tengyun-scheduler", "--state-dir", &state];
        place.run_all(&[case("cut", nothing, &words, 1, "restore it from a backup")]);
    }
}
