//! One check: a request, a connection or a command, bounded in time and bytes.
//!
//! It speaks with this machine's own loopback only and follows nothing that it is told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tengyun_model::{Exit, HealthCheck, HealthProbe};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::act::{blocking, chain};
use crate::health::Answer;
use crate::run::{RunKey, RunReply, RunRequest, Runner, ShimHandle};

/// The most bytes read of an answer: a status line is far shorter.
const ANSWER_BYTES_MAX: usize = 1024;
/// How often an end is looked for where the kernel cannot wake us, before 5.3.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Asks once.
pub(super) async fn ask(
    runner: &Runner,
    key: RunKey,
    check: &HealthCheck,
    port: Option<u16>,
) -> Answer {
    let patience = Duration::from_millis(check.timeout.get());
    let asked = match (&check.probe, port) {
        (HealthProbe::Http { path, .. }, Some(port)) => timeout(patience, http(port, path)).await,
        (HealthProbe::Tcp { .. }, Some(port)) => {
            timeout(patience, async { connect(port).await.map(drop) }).await
        }
        (HealthProbe::Command(words), _) => return command(runner, key, words, patience).await,
        (HealthProbe::Http { port, .. } | HealthProbe::Tcp { port }, None) => {
            return Answer::Failed(format!("port {port} has no number"));
        }
    };
    match asked {
        Ok(Ok(())) => Answer::Passed,
        Ok(Err(reason)) => Answer::Failed(reason),
        Err(_) => Answer::Late,
    }
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    let own: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut said = String::new();
    for address in own {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if said.is_empty() => said = plain(&error),
            Err(_) => {}
        }
    }
    Err(format!("port {port}: {said}"))
}

/// Says an error of the system without its number.
fn plain(error: &io::Error) -> String {
    error.kind().to_string()
}

async fn http(port: u16, path: &str) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {}", plain(&error));
    let mut stream = connect(port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: tengyun-agent\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(failed("cannot ask"))?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    let mut have = 0;
    // The status line is all that is wanted.
    while have < answer.len() && !answer[..have].contains(&b'\n') {
        let count = stream.read(&mut answer[have..]).await.map_err(failed("no answer"))?;
        if count == 0 {
            break;
        }
        have += count;
    }
    match status(&answer[..have]) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("status {status} of {path}")),
        None => Err(format!("port {port} does not speak HTTP")),
    }
}

/// Reads the status out of the first line of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (digit, rest) = rest.split_first()?;
    let digits = rest.strip_prefix(b" ")?.get(..3)?;
    let plain = digit.is_ascii_digit() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

async fn command(runner: &Runner, key: RunKey, words: &[String], patience: Duration) -> Answer {
    let (words, hands) = (words.to_vec(), runner.clone());
    let started = blocking(move || hands.handle(RunRequest::StartCheck(key, words))).await;
    let ShimHandle { pid, start_ticks, pidfd, .. } = match started {
        Ok(RunReply::Started(handle)) => handle,
        Ok(_) => unreachable!("a check that starts answers started"),
        Err(error) => return Answer::Failed(chain(&error)),
    };
    let mut process = Process { runner, pid, given_up: true };
    let over = timeout(patience, wait(pid, start_ticks, pidfd)).await.is_ok();
    process.given_up = false;
    let hands = runner.clone();
    let ended = blocking(move || hands.handle(RunRequest::EndCheck { pid, kill: !over })).await;
    match ended {
        Ok(RunReply::CheckEnded(_)) if !over => Answer::Late,
        Ok(RunReply::CheckEnded(exit)) if exit.is_success() => Answer::Passed,
        Ok(RunReply::CheckEnded(Exit::NotStarted)) => {
            Answer::Failed("the command cannot be started".to_owned())
        }
        Ok(RunReply::CheckEnded(exit)) => Answer::Failed(format!("the command ended with {exit}")),
        Ok(_) => unreachable!("the end of a check answers how it ended"),
        Err(error) => Answer::Failed(chain(&error)),
    }
}

/// A command under way; dropped while it is, it is killed.
struct Process<'a> {
    runner: &'a Runner,
    pid: u32,
    given_up: bool,
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if self.given_up {
            // The instance that it asks is ending: what is said of it counts no more.
            drop(self.runner.handle(RunRequest::EndCheck { pid: self.pid, kill: true }));
        }
    }
}

async fn wait(pid: u32, start_ticks: u64, pidfd: Option<std::os::fd::OwnedFd>) {
    let registered = pidfd.and_then(crate::watch::register);
    if let Some(pidfd) = &registered
        && AsyncFd::readable(pidfd).await.is_ok()
    {
        return;
    }
    while crate::shim::record::start_ticks(pid) == Some(start_ticks) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_line_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        let bad: [&[u8]; 7] = [
            b"",
            b"HTTP/1.1",
            b"HTTP/1.1 2",
            b"HTTP/2 200",
            b"HTTP/1.1 +20 OK",
            b"SSH-2.0-OpenSSH\r\nHTTP/1.1 200",
            b"HTTP/1.x 200",
        ];
        for bad in bad {
            assert_eq!(status(bad), None, "{bad:?} passed");
        }
    }
}
