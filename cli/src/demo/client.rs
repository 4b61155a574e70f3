//! The load generator: Poisson arrivals that do not wait for answers. A latency counts from the
//! moment at which the request was due, so that a stall is seen by every request it delayed.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::prctl;

use crate::demo::histogram::Latencies;
use crate::demo::service::MESSAGE_BYTES;

/// Connections, each with a thread: so many requests can be under way before an arrival waits.
pub const LANES: usize = 8;

/// The longest wait for one answer: a service that is silent for so long is broken, not slow.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How far a sleep may overshoot, in nanoseconds: the least the kernel offers.
const TIMER_SLACK_NANOS: u64 = 1;

/// The weight of the client's threads among all others. Not a real-time priority: on a virtual machine
/// each wake-up of one costs the hypervisor's time, and three times the CPU was used.
const NICENESS: i32 = -20;

/// Sends `rate_per_s` requests a second on average for `duration`; the same seed is the same load.
pub fn run(socket: &Path, rate_per_s: u32, duration: Duration, seed: u64) -> io::Result<Latencies> {
    let streams = (0..LANES).map(|_| connect(socket)).collect::<io::Result<Vec<_>>>()?;
    let arrivals = Mutex::new(Arrivals::new(rate_per_s, duration, seed));
    let start = Instant::now();
    thread::scope(|scope| {
        let next = || arrivals.lock().unwrap_or_else(PoisonError::into_inner).next();
        let lanes: Vec<_> = streams
            .into_iter()
            .map(|stream| scope.spawn(move || send(stream, start, next)))
            .collect();
        let mut all = Latencies::default();
        for lane in lanes {
            all.merge(lane.join().map_err(|_| io::Error::other("a lane of the client panicked"))??);
        }
        Ok(all)
    })
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

/// Sends the arrivals this lane gets, one after the other.
fn send(
    mut stream: UnixStream,
    start: Instant,
    next: impl Fn() -> Option<Duration>,
) -> io::Result<Latencies> {
    prctl::set_timerslack(TIMER_SLACK_NANOS)?;
    stand_apart();
    let mut latencies = Latencies::default();
    while let Some(due) = next() {
        thread::sleep(due.saturating_sub(start.elapsed()));
        let mut message: [u8; MESSAGE_BYTES] =
            u64::try_from(due.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        latencies.record(start.elapsed().saturating_sub(due));
    }
    Ok(latencies)
}

/// Lets this thread run soon after it has something to do, as a client on a machine of its own would:
/// the nodes are measured, not how long the client waits for one of their CPUs. Without root it stays
/// an ordinary thread, and the figures hold its waits too.
#[expect(unsafe_code, reason = "the scheduling call has no safe form in nix")]
fn stand_apart() {
    // SAFETY: the call takes plain numbers and concerns this thread only.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

/// The moments at which requests are due, from the start: exponential gaps.
#[derive(Debug)]
struct Arrivals {
    random: u64,
    mean: Duration,
    at: Duration,
    end: Duration,
}

impl Arrivals {
    fn new(rate_per_s: u32, duration: Duration, seed: u64) -> Self {
        let mean = Duration::from_secs(1) / rate_per_s.max(1);
        Self { random: seed, mean, at: Duration::ZERO, end: duration }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // 32 random bits plus one half: strictly between 0 and 1, so the logarithm is finite.
        let bits = u32::try_from(splitmix64(&mut self.random) >> 32).unwrap_or(u32::MAX);
        let uniform = (f64::from(bits) + 0.5) / (f64::from(u32::MAX) + 1.0);
        self.at += self.mean.mul_f64(-uniform.ln());
        (self.at < self.end).then_some(self.at)
    }
}

/// Steps the generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// OOPSLA 2014.
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::service;

    #[test]
    fn arrivals_keep_their_rate_and_their_seed() {
        let of = |seed| Arrivals::new(170, Duration::from_secs(100), seed).collect::<Vec<_>>();
        let arrivals = of(1);
        assert!((16_500..17_500).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.is_sorted());
        assert_eq!(arrivals, of(1));
        assert_ne!(arrivals, of(2));
        // Of exponential gaps 1/e are longer than the mean: 36.8 %.
        let mean = Duration::from_secs(1) / 170;
        let long = arrivals.windows(2).filter(|w| w[1].saturating_sub(w[0]) > mean).count();
        assert!((350..385).contains(&(long * 1000 / arrivals.len())), "{long}");
    }

    #[test]
    fn every_arrival_is_answered_and_timed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let path = socket.clone();
        thread::spawn(move || service::serve(&path, 1000));
        while UnixStream::connect(&socket).is_err() {
            thread::yield_now();
        }
        let duration = Duration::from_millis(200);
        let latencies = run(&socket, 1000, duration, 7).unwrap();
        assert_eq!(latencies.count(), Arrivals::new(1000, duration, 7).count());
        assert!(latencies.p50() > Some(Duration::ZERO));
    }

    #[test]
    fn a_missing_service_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let error = run(&socket, 1, Duration::from_millis(1), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_service_that_hangs_up_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        thread::spawn(move || listener.incoming().for_each(drop));
        run(&socket, 1000, Duration::from_millis(100), 1).unwrap_err();
    }
}
