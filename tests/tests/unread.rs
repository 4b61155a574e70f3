//! A person who asks for much and reads nothing: what is kept for her is bounded, and others do not
//! notice.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeSet;
use std::time::Duration;

use tengyun_model::Role;
use tengyun_proto::identity::Identity;
use tengyun_proto::v1::{ListWorkloadsRequest, ListWorkloadsResponse};
use tengyun_proto::{limits, tls};
use tengyun_tests::abuse::secure;
use tengyun_tests::cluster::until;
use tengyun_tests::frames::{self, END_HEADERS, END_STREAM, HEAD_BYTES, PREFACE, frame, stream};
use tengyun_tests::{Cluster, members, spec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tonic::Status;

/// The workloads that make an answer large, and the bytes of each.
const WORKLOADS: usize = 8;
const BYTES: usize = 480_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// What all of it may cost in memory: what may wait, and answers that are made at the same time.
/// Without the bound it were 64 answers, which is 240 MiB.
const GROWTH_KIB_MAX: u64 = 96 * 1024;

/// Opens a connection, asks as often at once as is allowed, and gives no window for any answer.
async fn ask(identity: &Identity) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(identity.address.as_str()).await.unwrap();
    let mut connection = secure(stream, &identity.authority, Some(identity)).await.unwrap();
    // The first window of every stream is nothing.
    let mut said = [PREFACE, &frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat();
    let headers = frames::call("/tengyun.v1.OperatorService/ListWorkloads", &[]);
    for call in 0..usize::try_from(limits::STREAMS_MAX).unwrap() {
        said.extend(frame(frames::HEADERS, END_HEADERS, self::stream(call), &headers));
        said.extend(frame(frames::DATA, END_STREAM, self::stream(call), &[0; 5]));
    }
    connection.write_all(&said).await.unwrap();
    connection.flush().await.unwrap();
    connection
}

/// Waits until every call was answered; returns how many answers wait and how many were refused.
async fn answered(connection: &mut TlsStream<TcpStream>) -> (usize, usize) {
    let (mut begun, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let all = usize::try_from(limits::STREAMS_MAX).unwrap();
    // One that is kept says nothing more, so all that come are waited for, and a moment longer.
    let mut patience = PATIENCE;
    while let Ok(head) = timeout(patience, next(connection)).await {
        if head.kind == frames::HEADERS {
            begun.insert(head.stream);
            if head.flags & END_STREAM != 0 {
                refused.insert(head.stream);
            }
        }
        if begun.len() == all {
            patience = Duration::from_secs(2);
        }
    }
    assert_eq!(begun.len(), all, "every call is answered");
    (all - refused.len(), refused.len())
}

async fn next(connection: &mut TlsStream<TcpStream>) -> frames::Head {
    let mut bytes = [0; HEAD_BYTES];
    connection.read_exact(&mut bytes).await.unwrap();
    let head = frames::head(bytes);
    connection.read_exact(&mut vec![0; head.length]).await.unwrap();
    head
}

async fn list(identity: &Identity) -> Result<ListWorkloadsResponse, Status> {
    let channel = tls::connect(identity).await.map_err(|e| Status::unavailable(e.to_string()))?;
    let mut operator = limits::operator_client(channel);
    Ok(operator.list_workloads(ListWorkloadsRequest::default()).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_a_person_does_not_read_are_bounded() {
    let cluster = Cluster::start_with(members::LISTEN);
    for number in 0..WORKLOADS {
        let mut large = spec::command(&format!("large-{number}"), &["/bin/sleep", "1000"]);
        large.env.insert("LARGE".to_owned(), "x".repeat(BYTES));
        cluster.apply(&[large]).await;
    }
    let anna = members::person(&cluster, "anna", Role::Operator).await;
    let bert = members::person(&cluster, "bert", Role::Viewer).await;
    assert_eq!(list(&anna).await.unwrap().workloads.len(), WORKLOADS);
    let before = cluster.scheduler_resident_kib();

    let mut connections = Vec::new();
    for _ in 0..limits::CONNECTIONS_OF_MEMBER_MAX {
        connections.push(ask(&anna).await);
    }
    let (mut kept, mut refused) = (0, 0);
    for connection in &mut connections {
        let (more_kept, more_refused) = answered(connection).await;
        (kept, refused) = (kept + more_kept, refused + more_refused);
    }
    let growth = cluster.scheduler_resident_kib().saturating_sub(before);
    println!("{kept} answers wait, {refused} were refused, {growth} KiB more");
    assert_eq!(kept, limits::UNREAD_BYTES_OF_MEMBER_MAX / (WORKLOADS * BYTES), "{refused}");
    assert!(growth <= GROWTH_KIB_MAX, "{growth} KiB more");

    let others = list(&bert).await.unwrap();
    assert_eq!(others.workloads.len(), WORKLOADS, "others are answered meanwhile");
    drop(connections);
    until("there is room again", || async { list(&anna).await.ok() }).await;
}
