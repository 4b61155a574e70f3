//! Garbage at every call, by everybody: a clear refusal, no panic, and what was there is there.
//!
//! The calls and the messages come from the descriptors, so a new call is covered by itself. The
//! scheduler is the real one, in a process of its own: its log would say that it panicked.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]
#![expect(clippy::print_stdout, reason = "what was tried is shown where the result is read")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::bytes::{Buf as _, BufMut as _};
use tengyun_model::Grant;
use tengyun_proto::{limits, tls, v1};
use tengyun_tests::frames::{self, END_HEADERS, END_STREAM, HEAD_BYTES};
use tengyun_tests::garbage::{Call, Schema};
use tengyun_tests::{Cluster, members, spec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// The seed of this run; the same one gives the same garbage.
const SEED: u64 = 20_261_126;
/// How long a call may take; one that follows something goes on after that, and is left.
const CALL_MAX: Duration = Duration::from_secs(15);
/// How long a call that only watches is listened to.
const WATCH_MAX: Duration = Duration::from_millis(50);
/// The longest refusal that a person reads.
const REFUSAL_CHARS_MAX: usize = 2000;
/// What garbage may cost in memory, in kibibytes.
const GROWTH_MAX: u64 = 256 * 1024;
/// How often a call is made whose connection is ended under it.
const TRIES: usize = 20;
/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(50);
/// The services whose words are ours; reflection repeats to the caller what the caller said.
const OURS: &str = "/tengyun.v1.";
/// The greeting of a stream whose later messages are garbage.
const AGENT_MESSAGE: &str = ".tengyun.v1.AgentMessage";

/// Sends bytes as they are, and counts those that come back.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let count = buffer.remaining();
        buffer.advance(count);
        Ok(Some(count))
    }
}

/// Says whether the connection was ended under a call: the server ends one on which too many calls were
/// wrong, whoever made them.
fn is_cut(status: &Status) -> bool {
    ["h2 protocol error", "transport error"].iter().any(|words| status.message().contains(words))
}

/// Makes a call; once more where the connection was ended under it, because it had brought so much
/// garbage before.
async fn say(channel: &Channel, path: &str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    for _ in 1..TRIES {
        let said = say_once(channel, path, messages.clone()).await;
        if !matches!(&said, Err(status) if status.code() == Code::Cancelled || is_cut(status)) {
            return said;
        }
        // The channel needs a moment to connect again.
        tokio::time::sleep(PAUSE).await;
    }
    say_once(channel, path, messages).await
}

/// Makes a call with these messages and listens to its end.
async fn say_once(channel: &Channel, path: &str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    let limit = if path.ends_with("/Watch") { WATCH_MAX } else { CALL_MAX };
    let mut client = tonic::client::Grpc::new(channel.clone())
        .max_decoding_message_size(limits::SENT_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let path = path.parse().unwrap();
    let said = async {
        client.ready().await.map_err(|e| Status::unavailable(format!("{e:?}")))?;
        let request = Request::new(tokio_stream::iter(messages));
        let mut answers = client.streaming(request, path, Bytes).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    };
    match timeout(limit, said).await {
        Ok(ended) => ended,
        Err(_) if limit == WATCH_MAX => Ok(()),
        Err(_) => Err(Status::deadline_exceeded("no end came")),
    }
}

/// Says what is unclear about an answer; nothing when it is a plain one.
fn unclear(path: &str, answer: &Result<(), Status>) -> Option<String> {
    let Err(status) = answer else { return None };
    let said = status.message();
    let known = match status.code() {
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::Unimplemented => true,
        // What the library says of bytes that are no message.
        Code::Internal => said.starts_with("failed to decode Protobuf message"),
        _ => false,
    };
    let steers = said.chars().any(|c| c.is_control() && c != '\n');
    let readable = !said.is_empty() && said.chars().count() <= REFUSAL_CHARS_MAX && !steers;
    let ours = path.starts_with(OURS);
    (!known || ours && !readable).then(|| format!("{:?}: {said:.300?}", status.code()))
}

/// What became of the garbage at one call.
#[derive(Default)]
struct Tally {
    sent: usize,
    refused: usize,
    unclear: Vec<String>,
}

impl Tally {
    fn add(&mut self, path: &str, what: &str, answer: &Result<(), Status>) {
        self.sent += 1;
        self.refused += usize::from(answer.is_err());
        if let Some(problem) = unclear(path, answer) {
            self.unclear.push(format!("{what}: {problem}"));
        }
    }
}

/// Says everything to one call: garbage alone, and in the midst of an honest stream.
async fn try_call(schema: Arc<Schema>, channel: Channel, call: Call) -> (String, Tally) {
    let mut tally = Tally::default();
    for honest in schema.honest(&call.input) {
        tally.add(&call.path, "honest", &say(&channel, &call.path, vec![honest]).await);
    }
    let greeting = schema.honest(&call.input).into_iter().next().unwrap_or_default();
    for garbage in schema.garbage(&call.input, SEED) {
        let alone = say(&channel, &call.path, vec![garbage.bytes.clone()]).await;
        tally.add(&call.path, &garbage.what, &alone);
        if call.input == AGENT_MESSAGE {
            let report = schema.honest(&call.input).into_iter().nth(1).unwrap_or_default();
            let messages = vec![greeting.clone(), report.clone(), garbage.bytes, report];
            let midst = say(&channel, &call.path, messages).await;
            tally.add(&call.path, &format!("in the midst: {}", garbage.what), &midst);
        }
    }
    (call.path, tally)
}

/// Says everything to every call over one channel, and prints what came of it.
async fn try_all(schema: &Arc<Schema>, channel: &Channel, who: &str, only: &[&str]) -> usize {
    let mut calls = JoinSet::new();
    let asked = schema.calls().iter().filter(|c| only.is_empty() || only.contains(&&*c.path));
    for call in asked {
        calls.spawn(try_call(Arc::clone(schema), channel.clone(), call.clone()));
    }
    let (mut sent, mut problems) = (0, String::new());
    while let Some(tried) = calls.join_next().await {
        let (path, tally) = tried.unwrap();
        println!("{who}: {path}: {} said, {} refused", tally.sent, tally.refused);
        sent += tally.sent;
        for problem in tally.unclear.iter().take(5) {
            writeln!(problems, "{who}: {path}: {problem}").unwrap();
        }
    }
    assert!(problems.is_empty(), "unclear answers:\n{problems}");
    sent
}

fn log(cluster: &Cluster) -> String {
    std::fs::read_to_string(cluster.path().join("scheduler.log")).unwrap()
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::of(&[
        tengyun_proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_at_every_call_is_refused_and_harms_nothing() {
    let mut cluster = Cluster::start_with(members::LISTEN);
    let local = members::local(&cluster).await;
    cluster.apply(&[spec::command("kept", &["/bin/sleep", "1000"])]).await;
    let identity = members::node(&cluster, "n1").await;
    let member = tls::connect(&identity).await.unwrap();
    let token = members::token(&cluster, &Grant::NewNode, "").await;
    let before = cluster.scheduler_resident_kib();
    let schema = schema();
    let mut sent = try_all(&schema, &local, "local", &[]).await;
    let calls = ["/tengyun.v1.AgentService/Attach", "/tengyun.v1.IdentityService/Renew"];
    sent += try_all(&schema, &member, "node n1", &calls).await;
    let (stranger, _) = tls::connect_unknown(&token).await.unwrap();
    sent += try_all(&schema, &stranger, "stranger", &["/tengyun.v1.IdentityService/Join"]).await;
    let growth = cluster.scheduler_resident_kib().saturating_sub(before);
    println!("{sent} messages, {growth} KiB more");
    assert!(growth < GROWTH_MAX, "{growth} KiB");
    assert!(sent > 3000, "{sent} messages are few");
    // It goes on, and what it journaled meanwhile can be replayed.
    let sequence = sequence(&cluster).await;
    cluster.kill_scheduler();
    cluster.start_scheduler();
    assert!(self::sequence(&cluster).await > sequence, "a new reign is journaled");
    let kept = cluster.instances().await.into_iter().filter(|view| view.wanted);
    assert!(kept.filter_map(|view| view.key).any(|key| key.name == "kept"));
    let log = log(&cluster);
    assert!(!log.contains("panicked"), "it panicked");
}

async fn sequence(cluster: &Cluster) -> u64 {
    let status = cluster.operator().await.status(v1::StatusRequest {}).await;
    status.unwrap().into_inner().sequence
}

/// What is wrong with a call, its headers, and its data if it has some.
type Spelt = (&'static str, Vec<u8>, Option<Vec<u8>>);

/// One call, spelt wrongly in HTTP/2 or gRPC in every way.
fn spelt_wrongly(path: &str) -> Vec<Spelt> {
    let call = |more: &[(&str, &str)]| frames::call(path, more);
    let plain = || call(&[]);
    let long = "x".repeat(60_000);
    vec![
        ("no data", plain(), None),
        ("half a prefix", plain(), Some(vec![0, 0, 0])),
        ("4 GiB announced", plain(), Some(vec![0, 0xff, 0xff, 0xff, 0xff, 1])),
        ("less than announced", plain(), Some(vec![0, 0, 0, 1, 0, 1, 2, 3])),
        ("compressed, it says", plain(), Some(vec![1, 0, 0, 0, 2, 8, 1])),
        ("a flag that is none", plain(), Some(vec![0xff, 0, 0, 0, 0])),
        ("gzip that is none", call(&[("grpc-encoding", "gzip")]), Some(vec![1, 0, 0, 0, 1, 7])),
        ("an unknown encoding", call(&[("grpc-encoding", "tar")]), Some(vec![1, 0, 0, 0, 1, 7])),
        ("an odd timeout", call(&[("grpc-timeout", "99999999999H")]), None),
        ("no timeout at all", call(&[("grpc-timeout", "soon")]), None),
        ("a timeout of nothing", call(&[("grpc-timeout", "0n")]), Some(vec![0; 5])),
        ("binary that is none", call(&[("x-bin", "%%%")]), Some(vec![0; 5])),
        ("much too long headers", call(&[("x", &long[..15_000]), ("y", &long[..15_000])]), None),
        ("another content", frames::request("POST", path, "text/plain"), Some(vec![0; 5])),
        ("another method", frames::request("GET", path, "application/grpc"), None),
        ("no such method", frames::request("PRI", path, "application/grpc"), None),
        ("a path up", frames::request("POST", "/../../etc", "application/grpc"), None),
        ("a path of nothing", frames::request("POST", "", "application/grpc"), None),
    ]
}

/// Says one call over a connection of its own; returns the kinds of frames that come back on it.
async fn spell(socket: &Path, headers: &[u8], data: Option<&[u8]>) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let end = if data.is_none() { END_STREAM } else { 0 };
    let mut said =
        [frames::PREFACE, &frames::frame(frames::HEADERS, END_HEADERS | end, 1, headers)].concat();
    if let Some(data) = data {
        said.extend(frames::frame(frames::DATA, END_STREAM, 1, data));
    }
    // It may end the connection before it has read everything.
    drop(stream.write_all(&said).await);
    let mut kinds = Vec::new();
    let answered = async {
        let mut head = [0; HEAD_BYTES];
        while stream.read_exact(&mut head).await.is_ok() {
            let head = frames::head(head);
            let ends = head.stream == 1 || head.kind == frames::GOAWAY;
            if ends {
                kinds.push(head.kind);
            }
            let mut payload = vec![0; head.length];
            if stream.read_exact(&mut payload).await.is_err() || ends {
                return;
            }
        }
    };
    timeout(CALL_MAX, answered).await.expect("an answer comes or the connection ends");
    kinds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_spelt_wrongly_are_answered_or_ended() {
    let cluster = Cluster::start();
    let mut operator = cluster.operator().await;
    let socket = cluster.socket();
    for call in schema().calls() {
        for (what, headers, data) in spelt_wrongly(&call.path) {
            let kinds = spell(&socket, &headers, data.as_deref()).await;
            let known = [frames::HEADERS, frames::RESET, frames::GOAWAY];
            assert!(kinds.iter().all(|k| known.contains(k)), "{}: {what}: {kinds:?}", call.path);
            operator.status(v1::StatusRequest {}).await.unwrap();
        }
    }
    let log = log(&cluster);
    assert!(!log.contains("panicked"), "it panicked");
}
