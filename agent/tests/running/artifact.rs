//! Artifacts from a server that behaves as servers do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tengyun_model::{Artifact, AssignedInstance, Digest, FileSpec, Millis, Origin};
use tengyun_proto::v1::Phase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{Stage, is_alive, once, shell, skip, until};

/// What a server does with a request.
#[derive(Clone, Debug)]
enum Answer {
    /// Answers with these bytes.
    Whole(Vec<u8>),
    /// Breaks off half-way so many times, then answers.
    Half(usize, Vec<u8>),
    /// Sends a byte now and then.
    Drip(Vec<u8>),
    /// Sends half and then nothing, with the connection open.
    Hang(Vec<u8>),
    /// Sends elsewhere.
    Redirect(String),
    /// Has no such thing.
    Gone,
}

/// A server that counts what it is asked for.
struct Server {
    address: String,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Server {
    async fn start(answers: &[(&str, Answer)]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let answers: BTreeMap<String, Answer> =
            answers.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone())).collect();
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, answers.clone(), Arc::clone(&count)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().expect("nobody panicked").get(path).copied().unwrap_or_default()
    }

    /// An artifact of this server with the digest of these bytes.
    fn artifact(&self, path: &str, bytes: &[u8], to: &str) -> Artifact {
        Artifact {
            origin: Origin::Url(format!("{}{path}", self.address)),
            digest: Digest::new(Sha256::digest(bytes).into()),
            to: to.to_owned(),
            mode: 0o755,
            unpack: false,
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    answers: BTreeMap<String, Answer>,
    count: Arc<Mutex<BTreeMap<String, usize>>>,
) {
    let mut request = [0; 4096];
    let Ok(read) = stream.read(&mut request).await else { return };
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let asked = {
        let mut count = count.lock().expect("nobody panicked");
        let asked = count.entry(path.clone()).or_default();
        *asked += 1;
        *asked
    };
    let head = |bytes: &[u8]| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
    match answers.get(&path).cloned().unwrap_or(Answer::Gone) {
        Answer::Half(times, bytes) if asked <= times => {
            drop(stream.write_all(head(&bytes).as_bytes()).await);
            drop(stream.write_all(&bytes[..bytes.len() / 2]).await);
        }
        Answer::Whole(bytes) | Answer::Half(_, bytes) => {
            drop(stream.write_all(head(&bytes).as_bytes()).await);
            drop(stream.write_all(&bytes).await);
        }
        Answer::Drip(bytes) => {
            drop(stream.write_all(head(&bytes).as_bytes()).await);
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Answer::Hang(bytes) => {
            drop(stream.write_all(head(&bytes).as_bytes()).await);
            drop(stream.write_all(&bytes[..bytes.len() / 2]).await);
            // Until the other side gives up.
            drop(stream.read(&mut request).await);
        }
        Answer::Redirect(to) => {
            let found =
                format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            drop(stream.write_all(found.as_bytes()).await);
        }
        Answer::Gone => {
            let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            drop(stream.write_all(gone.as_bytes()).await);
        }
    }
}

/// A stage whose agent loses patience soon.
fn hasty() -> Stage {
    let mut stage = Stage::without_agent();
    let limits = &mut stage.config.artifacts;
    limits.stall = Millis::new(2500);
    limits.pause = Millis::new(20);
    limits.tries = 2;
    stage.start_agent();
    stage
}

fn with(mut assigned: AssignedInstance, artifacts: Vec<Artifact>) -> AssignedInstance {
    assigned.spec.provision.artifacts = artifacts;
    assigned
}

const SCRIPT: &[u8] = b"#!/bin/sh\necho fetched by $(id -u)\nexec sleep 1000\n";

/// Waits until an instance could not be started, and returns why.
async fn trouble(stage: &mut Stage, instance: u64) -> String {
    stage.until(instance, &[Phase::BackingOff, Phase::Failed]).await.message
}

#[tokio::test]
async fn two_instances_share_one_download_and_a_restarted_agent_needs_none() {
    let server = Server::start(&[("/run", Answer::Whole(SCRIPT.to_vec()))]).await;
    // Not a hasty one: on a slow machine it would ask again.
    let mut stage = Stage::start();
    let run =
        |id| with(shell(id, "exec ./bin/run"), vec![server.artifact("/run", SCRIPT, "bin/run")]);
    stage.assign(&[run(1), run(2)]);
    let pids = (stage.pid(1).await, stage.pid(2).await);
    until("both have spoken", || {
        let said = |id| stage.stdout(id, 1).starts_with("fetched by ");
        (said(1) && said(2)).then_some(())
    })
    .await;
    assert_eq!(server.asked("/run"), 1, "one download serves both");
    stage.kill_agent().await;
    stage.start_agent();
    stage.assign(&[run(1), run(2), run(3)]);
    stage.pid(3).await;
    assert_eq!((stage.pid(1).await, stage.pid(2).await), pids);
    assert_eq!(server.asked("/run"), 1, "the cache outlives the agent");
    stage.end().await;
}

#[tokio::test]
async fn other_bytes_than_those_asked_for_never_run() {
    let server = Server::start(&[("/run", Answer::Whole(SCRIPT.to_vec()))]).await;
    let mut stage = hasty();
    let artifact = server.artifact("/run", b"something else", "run");
    stage.assign(&[with(shell(1, "exec ./run"), vec![artifact])]);
    let said = trouble(&mut stage, 1).await;
    assert!(said.contains("its SHA-256 is") && said.contains("correct the manifest"), "{said}");
    // It is tried again, and not asked for again.
    let again = |report: &tengyun_proto::v1::Report| {
        report.instances.iter().any(|s| s.incarnation >= 4).then_some(())
    };
    stage.report("it was tried four times", again).await;
    assert_eq!(server.asked("/run"), 1, "a wrong file is not fetched again and again");
    assert_eq!(stage.stdout(1, 1), "");
    assert_eq!(cached(&stage), 0, "what is wrong is kept");
    stage.end().await;
}

/// How many bytes of whole artifacts the cache has.
fn cached(stage: &Stage) -> u64 {
    let entries = fs::read_dir(stage.config.state_dir.join("artifacts")).expect("the cache");
    let whole = entries.flatten().filter(|entry| entry.path().extension().is_none());
    whole.map(|entry| entry.metadata().map_or(0, |m| m.len())).sum()
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why_and_holds_up_nobody() {
    let bytes = vec![7; 200_000];
    let server = Server::start(&[
        ("/loop", Answer::Redirect("/loop".to_owned())),
        ("/out", Answer::Redirect("http://192.0.2.1/x".to_owned())),
        ("/drip", Answer::Drip(bytes.clone())),
        ("/hang", Answer::Hang(bytes.clone())),
        ("/half", Answer::Half(usize::MAX, bytes.clone())),
    ])
    .await;
    let mut stage = hasty();
    let paths = ["/loop", "/out", "/drip", "/hang", "/half", "/none"];
    let mut all: Vec<AssignedInstance> = paths
        .iter()
        .zip(1..)
        .map(|(path, id)| with(shell(id, "true"), vec![server.artifact(path, &bytes, "x")]))
        .collect();
    let mut file = server.artifact("", &bytes, "x");
    file.origin = Origin::Path("/dev/zero".to_owned());
    all.push(with(shell(7, "true"), vec![file.clone()]));
    file.origin = Origin::Path("/nowhere".to_owned());
    all.push(with(shell(8, "true"), vec![file]));
    all.push(shell(9, "exec sleep 1000"));
    let begin = Instant::now();
    stage.assign(&all);
    stage.pid(9).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "the loop waited for a server");
    for (id, expected) in [
        (1, "more than 5 redirects"),
        (2, "asked in plain text, which its operators do not trust"),
        (3, "bytes came in"),
        (4, "bytes came in"),
        (5, "broke off half-way"),
        (6, "404"),
        (7, "not a plain file"),
        (8, "cannot be read"),
    ] {
        let said = trouble(&mut stage, id).await;
        assert!(said.contains(expected), "{id}: {said}");
    }
    assert_eq!(cached(&stage), 0);
    stage.end().await;
}

#[tokio::test]
async fn a_server_that_goes_away_half_way_and_returns_is_asked_again() {
    let server = Server::start(&[("/run", Answer::Half(3, SCRIPT.to_vec()))]).await;
    let mut stage = hasty();
    stage.assign(&[with(shell(1, "exec ./run"), vec![server.artifact("/run", SCRIPT, "run")])]);
    stage.pid(1).await;
    assert_eq!(server.asked("/run"), 4, "two tries of two starts");
    stage.end().await;
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_no_longer_fetched() {
    let server = Server::start(&[("/hang", Answer::Hang(vec![7; 1000]))]).await;
    let mut stage = Stage::start();
    stage.assign(&[with(shell(1, "true"), vec![server.artifact("/hang", b"x", "x")])]);
    let status = stage.until(1, &[Phase::Starting]).await;
    assert_eq!(status.message, "fetches 1 artifacts");
    until("it is asked for", || (server.asked("/hang") > 0).then_some(())).await;
    let begin = Instant::now();
    stage.assign(&[]);
    stage.until_gone(1).await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    let parts = stage.config.state_dir.join("artifacts");
    until("nothing of it is left", || fs::read_dir(&parts).ok()?.next().is_none().then_some(()))
        .await;
    stage.end().await;
}

#[tokio::test]
async fn an_agent_killed_half_way_leaves_no_role_and_fetches_again() {
    let server = Server::start(&[
        ("/run", Answer::Half(0, SCRIPT.to_vec())),
        ("/hang", Answer::Hang(vec![7; 100_000])),
    ])
    .await;
    let mut stage = Stage::without_agent();
    let mut agent = stage.agent_process();
    let hang = with(shell(1, "true"), vec![server.artifact("/hang", b"x", "x")]);
    stage.assign(std::slice::from_ref(&hang));
    let cache = stage.config.state_dir.join("artifacts");
    let part = until("a part is there", || {
        let mut entries = fs::read_dir(&cache).ok()?.flatten();
        entries.find(|e| e.metadata().is_ok_and(|m| m.len() > 0)).map(|e| e.path())
    })
    .await;
    let roles = roles_of(agent.id());
    assert_eq!(roles.len(), 1, "one role fetches");
    agent.kill().expect("our child");
    agent.wait().expect("our child");
    until("the role has ended with its parent", || (!is_alive(roles[0])).then_some(())).await;
    assert!(part.exists(), "a kill leaves what was on its way");
    stage.start_agent();
    let run = with(shell(2, "exec ./run"), vec![server.artifact("/run", SCRIPT, "run")]);
    stage.assign(&[run]);
    stage.pid(2).await;
    assert!(!part.exists(), "what was on its way is left");
    assert_eq!(cached(&stage), u64::try_from(SCRIPT.len()).expect("a length fits"));
    stage.end().await;
}

/// The children of a process.
fn roles_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().to_owned());
        rest.and_then(|rest| rest.split(' ').nth(1)?.parse().ok()) == Some(parent)
    };
    numbers.filter(child).collect()
}

#[tokio::test]
async fn the_one_who_fetches_has_no_privilege() {
    if !nix::unistd::geteuid().is_root() {
        return skip("it needs root to have any");
    }
    let server = Server::start(&[("/hang", Answer::Hang(vec![7; 100_000]))]).await;
    let mut stage = Stage::without_agent();
    let secret = stage.dir.path().join("secret");
    fs::write(&secret, "of root").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("our file");
    let mut file = server.artifact("", b"of root", "x");
    file.origin = Origin::Path(secret.to_str().expect("a path").to_owned());
    let mut agent = stage.agent_process();
    let hang = with(shell(2, "true"), vec![server.artifact("/hang", b"x", "x")]);
    stage.assign(&[with(shell(1, "cat x; sleep 1000"), vec![file]), hang]);
    let said = trouble(&mut stage, 1).await;
    assert!(said.contains("cannot be read: Permission denied"), "{said}");
    until("it is asked for", || (server.asked("/hang") > 0).then_some(())).await;
    let roles = roles_of(agent.id());
    assert!(!roles.is_empty());
    for role in roles {
        let status = fs::read_to_string(format!("/proc/{role}/status")).expect("it runs");
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        // The id between those of instances and those of volumes.
        assert_eq!(line("Uid:"), ["299999"; 4].join("\t"));
        assert_eq!((line("CapEff:").as_str(), line("CapBnd:").as_str()), (NONE, NONE));
        assert_eq!((line("NoNewPrivs:").as_str(), line("Groups:").as_str()), ("1", ""));
    }
    agent.kill().expect("our child");
    agent.wait().expect("our child");
    stage.assign(&[]);
    stage.end().await;
}

const NONE: &str = "0000000000000000";

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    for (name, data) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(u64::try_from(data.len()).expect("a length fits"));
        let gnu = header.as_gnu_mut().expect("of this kind");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *data).expect("memory takes everything");
    }
    builder.into_inner().expect("it ends").finish().expect("it ends")
}

#[tokio::test]
async fn an_archive_is_unpacked_by_its_user_and_a_hostile_one_is_not() {
    let good = archive(&[("bin/run", SCRIPT), ("conf", b"of the archive")]);
    let climbs = archive(&[("ok", b"x"), ("../../climbed", b"x")]);
    let server = Server::start(&[
        ("/good.tar.gz", Answer::Whole(good.clone())),
        ("/climbs.tar.gz", Answer::Whole(climbs.clone())),
        ("/plain.tar.gz", Answer::Whole(SCRIPT.to_vec())),
    ])
    .await;
    let mut stage = hasty();
    let unpack = |path: &str, bytes: &[u8], to: &str| Artifact {
        unpack: true,
        ..server.artifact(path, bytes, to)
    };
    let script = "cat app/conf; stat -c %u app/bin/run; exec app/bin/run";
    let mut one = with(shell(1, script), vec![unpack("/good.tar.gz", &good, "app")]);
    one.spec.files.push(FileSpec {
        path: "app/conf".to_owned(),
        content: b"of the manifest\n".to_vec(),
        mode: 0o644,
    });
    stage.assign(&[
        one,
        with(once(2, "true"), vec![unpack("/climbs.tar.gz", &climbs, "")]),
        with(once(3, "true"), vec![unpack("/plain.tar.gz", SCRIPT, "")]),
    ]);
    stage.pid(1).await;
    let said = until("it has spoken", || {
        let said = stage.stdout(1, 1);
        said.contains("fetched by").then_some(said)
    })
    .await;
    let user = nix::unistd::geteuid();
    let user = if user.is_root() { 200_001 } else { user.as_raw() };
    assert_eq!(said, format!("of the manifest\n{user}\nfetched by {user}\n"));
    let said = trouble(&mut stage, 2).await;
    assert!(said.contains("../../climbed") && said.contains("is refused"), "{said}");
    let said = trouble(&mut stage, 3).await;
    assert!(said.contains("no tar or tar.gz archive"), "{said}");
    assert!(!climbed(&stage.config.state_dir), "something climbed out");
    stage.end().await;
}

fn climbed(dir: &Path) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        entry.file_name() == "climbed" || entry.path().is_dir() && climbed(&entry.path())
    })
}

#[tokio::test]
async fn the_cache_keeps_its_bound_and_what_is_used() {
    const BYTES: usize = 400_000;
    let paths = ["/0", "/1", "/2", "/3", "/4", "/5"];
    let bytes: Vec<Vec<u8>> = (0..6).map(|n| vec![n; BYTES]).collect();
    let answers: Vec<(&str, Answer)> =
        paths.iter().zip(&bytes).map(|(path, b)| (*path, Answer::Whole(b.clone()))).collect();
    let server = Server::start(&answers).await;
    let mut stage = Stage::without_agent();
    stage.config.artifacts.cache_bytes = 1_000_000;
    stage.config.artifacts.tries = 1;
    stage.start_agent();
    let uses = |id: u64, number: usize| {
        let artifact = server.artifact(paths[number], &bytes[number], "x");
        with(shell(id, "exec sleep 1000"), vec![artifact])
    };
    let mut asked = 0;
    for number in 1..5 {
        let id = u64::try_from(number).expect("a small number") + 1;
        stage.assign(&[uses(1, 0), uses(id, number)]);
        stage.pid(1).await;
        stage.pid(id).await;
        asked += 1;
        assert!(cached(&stage) <= 1_000_000, "{} bytes", cached(&stage));
    }
    assert_eq!(server.asked("/0"), 1, "what is used was removed");
    assert_eq!((1..5).map(|n| server.asked(paths[n])).sum::<usize>(), asked);
    stage.assign(&[uses(1, 0), uses(5, 4), uses(6, 5)]);
    let said = trouble(&mut stage, 6).await;
    assert!(
        said.contains("use all of the cache") && said.contains("--artifact-cache-mib"),
        "{said}"
    );
    assert!(cached(&stage) <= 1_000_000);
    stage.end().await;
}

#[tokio::test]
async fn a_damaged_copy_is_not_used_and_is_fetched_again() {
    let server = Server::start(&[("/run", Answer::Whole(SCRIPT.to_vec()))]).await;
    let mut stage = hasty();
    let artifact = server.artifact("/run", SCRIPT, "run");
    let digest = artifact.digest;
    stage.assign(&[with(shell(1, "exec ./run"), vec![artifact.clone()])]);
    stage.pid(1).await;
    let copy = stage.config.state_dir.join(format!("artifacts/{digest}"));
    fs::write(&copy, "#!/bin/sh\necho evil\n").expect("a file");
    stage.assign(&[with(shell(2, "exec ./run"), vec![artifact])]);
    stage.pid(2).await;
    assert_eq!(server.asked("/run"), 2);
    assert!(!stage.stdout(2, 1).contains("evil") && !stage.stdout(2, 2).contains("evil"));
    stage.end().await;
}
