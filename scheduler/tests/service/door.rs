//! The door against strangers: no other protocol, no other authority, bounded handshakes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tengyun_model::Grant;
use tengyun_proto::identity::{Identity, Key};
use tengyun_proto::{limits, tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::members::{House, connect, node};
use crate::world::{Agent, PATIENCE, hello, report};
use tengyun_proto::v1;

/// Reads until the other side ends; returns what came.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    match timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection ends") {
        Ok(_) | Err(_) => bytes,
    }
}

#[tokio::test]
async fn nothing_but_tls_is_spoken() {
    let house = House::open().await;
    let address = house.token(&Grant::NewNode).await.address;
    for said in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice(),
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(address.as_str()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let answer = rest(&mut stream).await;
        // At most a TLS alert comes back.
        assert!(answer.len() <= 7 && answer.first().is_none_or(|b| *b == 21), "{answer:?}");
    }
    // A greeting of TLS 1.2 that offers no newer version.
    let mut hello = vec![22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    hello[4] = u8::try_from(hello.len() - 5).unwrap();
    hello[8] = u8::try_from(hello.len() - 9).unwrap();
    let mut stream = TcpStream::connect(address.as_str()).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.first() == Some(&21), "a TLS alert was expected: {answer:?}");
    house.scheduler.stop().await;
}

/// Says whether somebody with this certificate can speak as the node n1.
async fn gets_in(identity: &Identity) -> bool {
    match tls::connect(identity).await {
        Ok(channel) => Agent::greet(&channel, hello("n1")).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_certificates_of_the_authority_for_their_own_key_get_in() {
    let (house, elsewhere) = (House::open().await, House::open().await);
    let good = house.node("n1").await;
    let foreign = elsewhere.node("n1").await;
    // One of another authority, shown here.
    let shown = Identity {
        address: good.address.clone(),
        authority: good.authority.clone(),
        ..foreign.clone()
    };
    assert!(!gets_in(&shown).await);
    // The right certificate with another key, and a broken one.
    let key = Key::make().unwrap();
    assert!(!gets_in(&Identity { key, ..good.clone() }).await);
    let mut broken = good.clone();
    let last = broken.certificate.der.len() - 1;
    broken.certificate.der[last] ^= 1;
    assert!(!gets_in(&broken).await);
    // A member does not speak with another scheduler.
    let misled = Identity { address: foreign.address.clone(), ..good.clone() };
    assert!(tls::connect(&misled).await.is_err());
    assert!(gets_in(&good).await);
    house.scheduler.stop().await;
    elsewhere.scheduler.stop().await;
}

#[tokio::test]
async fn a_member_s_certificate_is_no_scheduler_s() {
    let house = House::open().await;
    let thief = house.node("n1").await;
    let victim = house.node("n2").await;
    // A server that shows the node's certificate, signed by the right authority.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let chain = vec![
        CertificateDer::from(thief.certificate.der.clone()),
        CertificateDer::from(thief.authority.clone()),
    ];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(thief.key.private().to_vec()));
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.is_ok()
    });
    let misled = Identity { address, ..victim };
    assert!(tls::connect(&misled).await.is_err());
    assert!(!server.await.unwrap());
    house.scheduler.stop().await;
}

/// Connects without a certificate, and with another protocol if one is named.
async fn stranger(identity: &Identity, alpn: &[u8]) -> std::io::Result<Vec<u8>> {
    let roots = tls::trust(&identity.authority).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(identity.address.as_str()).await?;
    let name = ServerName::try_from(tls::SCHEDULER_NAME).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let mut bytes = Vec::new();
    let read = timeout(limits::UNKNOWN_AGE_MAX + PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("the connection ends").map(|_| bytes)
}

#[tokio::test]
async fn a_peer_without_a_certificate_does_not_stay() {
    let house = House::open().await;
    let identity = house.node("n1").await;
    let start = Instant::now();
    assert!(stranger(&identity, b"http/1.1").await.is_err(), "another protocol was accepted");
    assert!(start.elapsed() < limits::UNKNOWN_AGE_MAX);
    let start = Instant::now();
    // That it ends is what counts; the settings of HTTP/2 may come before.
    drop(stranger(&identity, tls::ALPN).await);
    let stayed = start.elapsed();
    assert!(stayed >= limits::UNKNOWN_AGE_MAX.mul_f64(0.9), "it left by itself after {stayed:?}");
    assert!(stayed < limits::UNKNOWN_AGE_MAX + Duration::from_secs(5), "{stayed:?}");
    house.scheduler.stop().await;
}

#[tokio::test]
async fn a_member_has_a_few_connections_and_no_more() {
    let house = House::open().await;
    let identity = house.node("n1").await;
    let mut held = Vec::new();
    for _ in 0..limits::CONNECTIONS_OF_MEMBER_MAX {
        held.push(connect(&identity).await);
    }
    let one_more = async { gets_in(&identity).await };
    assert!(!one_more.await);
    drop(held);
    crate::world::until("there is room again", async || gets_in(&identity).await.then_some(()))
        .await;
    house.scheduler.stop().await;
}

#[tokio::test]
async fn slow_handshakes_are_ended_and_disturb_no_member() {
    const STRANGERS: usize = 300;
    let house = House::open().await;
    let identity = house.node("n1").await;
    let mut agent = Agent::attach(&connect(&identity).await, "n1").await;
    let assignment = agent.assignment(0).await;
    let start = Instant::now();
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        strangers.push(TcpStream::connect(identity.address.as_str()).await.unwrap());
    }
    // Those beyond the bound of one address are turned away at once, the others in a few seconds.
    let mut worst = Duration::ZERO;
    for mut stranger in strangers {
        let sent = Instant::now();
        agent.report(report(&assignment, v1::Phase::Running)).await;
        worst = worst.max(sent.elapsed());
        assert!(rest(&mut stranger).await.is_empty());
    }
    let all = start.elapsed();
    assert!(all < limits::HANDSHAKE_TIMEOUT + Duration::from_secs(5), "{all:?}");
    assert!(worst < Duration::from_secs(1), "a report waited {worst:?}");
    println!("{STRANGERS} strangers gone after {all:?}; the slowest report took {worst:?}");
    // And there is room for who joins.
    let token = house.token(&Grant::NewNode).await;
    house.join(&token, &node("n2")).await.unwrap();
    house.scheduler.stop().await;
}
