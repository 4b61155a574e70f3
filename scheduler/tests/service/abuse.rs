//! HTTP/2 abused frame by frame, by strangers and by a member: it is ended, it costs little, and an
//! honest caller does not notice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tengyun_model::Role;
use tengyun_proto::identity::Identity;
use tengyun_proto::{limits, tls, v1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::members::{House, connect};

/// The connections of one attack: as many as a member may have, and more than that of strangers.
const CONNECTIONS: usize = 4;
/// The frames of one attack over one connection.
const FRAMES: usize = 20_000;
/// How long one attack may go on.
const ATTACK_MAX: Duration = Duration::from_secs(3);
/// What an attack may cost in memory, in kibibytes.
const GROWTH_MAX: u64 = 256 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call, each written out.
fn headers() -> Vec<u8> {
    let path = b"/tengyun.v1.OperatorService/Status";
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path);
    block
}

fn stream(number: usize) -> u32 {
    u32::try_from(2 * number + 1).unwrap()
}

type Attack = fn(usize) -> Vec<u8>;

/// Each gives its frames one by one.
const ATTACKS: [(&str, Attack); 6] = [
    ("rapid reset", |n| {
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &headers());
        both.extend(frame(RESET, 0, stream(n), &[0, 0, 0, 8]));
        both
    }),
    ("streams that never end", |n| frame(HEADERS, END_HEADERS, stream(n), &headers())),
    ("headers that never end", |n| match n {
        0 => frame(HEADERS, 0, 1, &headers()),
        _ => frame(CONTINUATION, 0, 1, &[0; 1000]),
    }),
    ("empty data", |n| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &headers()),
        _ => frame(DATA, 0, 1, &[]),
    }),
    ("pings", |_| frame(PING, 0, 0, &[7; 8])),
    ("settings", |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
];

async fn dial(identity: &Identity, shown: bool) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(tls::trust(&identity.authority).unwrap());
    let mut config = if shown {
        let chain = vec![CertificateDer::from(identity.certificate.der.clone())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.private().to_vec()));
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![tls::ALPN.to_vec()];
    let stream = TcpStream::connect(identity.address.as_str()).await?;
    let name = ServerName::try_from(tls::SCHEDULER_NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Attacks over one connection until it is ended, or the frames are, or the time; says if it was.
async fn attack(identity: Identity, shown: bool, frames: Attack) -> bool {
    let Ok(mut stream) = dial(&identity, shown).await else { return true };
    let said = async {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        for number in 0..FRAMES {
            stream.write_all(&frames(number)).await?;
        }
        stream.flush().await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    matches!(timeout(ATTACK_MAX, said).await, Ok(Err(_) | Ok(_)))
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abuse_of_http_2_is_bounded_and_an_honest_caller_does_not_notice() {
    let house = House::open().await;
    let member = house.node("n1").await;
    let honest = connect(&house.person("olga", Role::Operator).await).await;
    let mut honest = limits::operator_client(honest);
    let before = resident();
    for (name, frames) in ATTACKS {
        for shown in [false, true] {
            let attacks: Vec<_> = (0..CONNECTIONS)
                .map(|_| tokio::spawn(attack(member.clone(), shown, frames)))
                .collect();
            let mut waits = Vec::new();
            while !attacks.iter().all(tokio::task::JoinHandle::is_finished) {
                let asked = Instant::now();
                honest.status(v1::StatusRequest {}).await.unwrap();
                waits.push(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let mut ended = 0;
            for attack in attacks {
                ended += usize::from(attack.await.unwrap());
            }
            waits.sort_unstable();
            let most = waits.get(waits.len() * 99 / 100).or(waits.last()).copied();
            let growth = resident().saturating_sub(before);
            println!(
                "{name}, {}: {ended} of {CONNECTIONS} ended, honest p99 {most:?}, {growth} KiB more",
                if shown { "a member" } else { "strangers" },
            );
            assert!(most.unwrap_or_default() < Duration::from_secs(1), "{name}");
            assert!(growth < GROWTH_MAX, "{name}: {growth} KiB");
        }
    }
    house.scheduler.stop().await;
}
