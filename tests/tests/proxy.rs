//! The proxy of faults itself: what the other tests rest on.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tengyun_tests::proxy::{Proxy, Wires};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// How long nothing must come through cut wires before a test believes it.
const QUIET: Duration = Duration::from_millis(200);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 7);

/// A proxy in front of a listener.
async fn place() -> (Proxy, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), FROM).await.unwrap();
    (proxy, listener)
}

/// The two ends of one connection through a proxy.
async fn ends(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, from) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(from.ip(), IpAddr::V4(FROM), "the target sees the address that it was given");
    (client, server)
}

async fn hears(stream: &mut TcpStream, text: &[u8]) {
    let mut bytes = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes, text);
}

async fn hears_nothing(stream: &mut TcpStream) {
    assert!(timeout(QUIET, stream.read_u8()).await.is_err(), "something came through");
}

#[tokio::test]
async fn whole_wires_carry_both_ways_and_tell_the_end() {
    let (proxy, listener) = place().await;
    let (mut client, mut server) = ends(&proxy, &listener).await;
    client.write_all(b"up").await.unwrap();
    hears(&mut server, b"up").await;
    server.write_all(b"down").await.unwrap();
    hears(&mut client, b"down").await;
    assert_eq!(proxy.open(), 1);
    drop(client);
    assert_eq!(timeout(PATIENCE, server.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn what_was_said_in_a_cut_arrives_after_it_in_order() {
    let (proxy, listener) = place().await;
    let (mut client, mut server) = ends(&proxy, &listener).await;
    proxy.set(Wires::CUT);
    client.write_all(b"one ").await.unwrap();
    server.write_all(b"answer").await.unwrap();
    hears_nothing(&mut server).await;
    hears_nothing(&mut client).await;
    client.write_all(b"two").await.unwrap();
    proxy.set(Wires::WHOLE);
    hears(&mut server, b"one two").await;
    hears(&mut client, b"answer").await;
}

#[tokio::test]
async fn wires_can_be_cut_in_one_direction() {
    let (proxy, listener) = place().await;
    let (mut client, mut server) = ends(&proxy, &listener).await;
    proxy.set(Wires::DEAF);
    client.write_all(b"up").await.unwrap();
    server.write_all(b"down").await.unwrap();
    hears(&mut client, b"down").await;
    hears_nothing(&mut server).await;
    proxy.set(Wires::MUTE);
    hears(&mut server, b"up").await;
    server.write_all(b"more").await.unwrap();
    hears_nothing(&mut client).await;
    proxy.set(Wires::WHOLE);
    hears(&mut client, b"more").await;
}

#[tokio::test]
async fn slow_wires_carry_late_and_lose_nothing() {
    const DELAY: Duration = Duration::from_millis(150);
    let (proxy, listener) = place().await;
    let (mut client, mut server) = ends(&proxy, &listener).await;
    proxy.set(Wires::slow(DELAY));
    let start = Instant::now();
    client.write_all(b"one").await.unwrap();
    hears(&mut server, b"one").await;
    assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
    server.write_all(b"two").await.unwrap();
    hears(&mut client, b"two").await;
    assert!(start.elapsed() >= 2 * DELAY, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_reset_is_a_reset_at_both_ends() {
    let (proxy, listener) = place().await;
    let (mut client, mut server) = ends(&proxy, &listener).await;
    client.write_all(b"x").await.unwrap();
    hears(&mut server, b"x").await;
    proxy.reset();
    for end in [&mut client, &mut server] {
        let error = timeout(PATIENCE, end.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    // The next connection is whole.
    let (mut client, mut server) = ends(&proxy, &listener).await;
    client.write_all(b"y").await.unwrap();
    hears(&mut server, b"y").await;
}

#[tokio::test]
async fn an_end_in_a_cut_is_told_after_it_and_a_beginning_never_was() {
    let (proxy, listener) = place().await;
    let (client, mut server) = ends(&proxy, &listener).await;
    proxy.set(Wires::CUT);
    drop(client);
    hears_nothing(&mut server).await;
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    late.write_all(b"late").await.unwrap();
    assert!(timeout(QUIET, listener.accept()).await.is_err(), "it began in a cut");
    proxy.set(Wires::WHOLE);
    let ended = timeout(PATIENCE, server.read(&mut [0; 8])).await.unwrap();
    assert!(ended.is_ok_and(|count| count == 0));
    assert!(timeout(PATIENCE, late.read_u8()).await.unwrap().is_err());
    assert!(timeout(QUIET, listener.accept()).await.is_err(), "it came after the cut");
}
