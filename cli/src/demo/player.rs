//! The player: replays a usage series as real CPU time, so that the demo's load is work the kernel
//! counts. It never sleeps its way to an average and never works off an unbounded debt.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};

/// The stretch of time over which the target is met: short enough that a second shows no wave, long
/// enough that waking up costs nothing beside it.
const WINDOW: Duration = Duration::from_millis(20);

/// The most CPU time a thread owes: after a pause by a quota it catches up this much, not more.
const DEBT_MAX: Duration = WINDOW;

/// The rounds between two looks at the clock: some microseconds.
const ROUNDS: u64 = 2000;

/// The most points a series may have: a year of five-minute points is 105,120.
pub const POINTS_MAX: usize = 200_000;

/// The most CPU a point may ask for: 1024 cores, beyond which a file is in another unit.
pub const MILLICORES_MAX: u64 = 1_024_000;

/// The departments of the generated set, in the order of [`generated`].
pub const DEPARTMENTS: [&str; 4] = ["finance", "health", "transport", "education"];

/// Tells why a series cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// There is no point in it.
    #[error("the series has no point")]
    Empty,
    /// There are more points than the player takes.
    #[error("the series has more than {POINTS_MAX} points")]
    TooLong,
    /// A line's last column is not a whole number of millicores.
    #[error("line {line}: {text:?} is not a whole number of millicores")]
    NotANumber {
        /// The line, counted from one.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A line asks for more than any node has.
    #[error("line {line}: {millicores} millicores are more than {MILLICORES_MAX}")]
    TooMuch {
        /// The line, counted from one.
        line: usize,
        /// What stands there.
        millicores: u64,
    },
}

/// Replays a series of CPU use in millicores, one point a `step`, spread over `threads` threads.
///
/// Returns after the last point, or never when it repeats.
pub fn play(series_millicores: &[u64], step: Duration, threads: u32, repeat: bool) {
    if series_millicores.is_empty() || step.is_zero() {
        return;
    }
    let threads = u64::from(threads.max(1));
    let start = Instant::now();
    thread::scope(|scope| {
        for index in 0..threads {
            scope.spawn(move || {
                play_thread(|| {
                    let at = point(start.elapsed(), step, series_millicores.len(), repeat)?;
                    series_millicores.get(at).map(|whole| share(*whole, threads, index))
                });
            });
        }
    });
}

/// Returns the day of one department: 96 points of 15 minutes, in millicores, the same in each run.
///
/// Every point is below 10 % of a node of 500 millicores. Finance is the quietest by 25 millicores,
/// so that the critical service fits beside it under the same 10 %.
pub fn generated(department: u32) -> Vec<u64> {
    // (night, height of the day, first quarter of an hour of the day, quarters it lasts)
    let (night, height, opens, lasts) = match department % 4 {
        0 => (10, 8, 32, 36),
        1 => (34, 8, 24, 56),
        2 => (24, 18, 22, 52),
        _ => (22, 16, 30, 32),
    };
    (0..96_u64)
        .map(|quarter| night + hill(quarter, opens, lasts, height) + ripple(quarter))
        .collect()
}

/// Reads a series: a line a point, the last column its millicores; a first line of words is a title.
pub fn parse_csv(text: &str) -> Result<Vec<u64>, SeriesError> {
    let mut series = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let field = content.rsplit([',', ';', '\t']).next().unwrap_or_default().trim();
        let title = line == 1 && field.starts_with(|c: char| c.is_ascii_alphabetic());
        if content.trim().is_empty() || title {
            continue;
        }
        let Ok(millicores) = field.parse::<u64>() else {
            return Err(SeriesError::NotANumber { line, text: field.chars().take(40).collect() });
        };
        if millicores > MILLICORES_MAX {
            return Err(SeriesError::TooMuch { line, millicores });
        }
        if series.len() == POINTS_MAX {
            return Err(SeriesError::TooLong);
        }
        series.push(millicores);
    }
    if series.is_empty() { Err(SeriesError::Empty) } else { Ok(series) }
}

/// Is busy for ever: harvest work that takes whatever it is given.
pub fn burn() -> ! {
    let mut state = 1;
    loop {
        state = spin(state);
    }
}

/// Returns the CPU time the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("the kernel keeps a CPU clock of every thread");
    Duration::from_nanos(u64::try_from(used.num_nanoseconds()).unwrap_or(0))
}

/// Burns what `rate` (millicores now, or `None` at the end) asks for; returns the CPU time used.
fn play_thread(rate: impl Fn() -> Option<u64>) -> Duration {
    let first = thread_cpu();
    let mut pace = Pace::default();
    let mut before = Instant::now();
    let mut used = first;
    while let Some(millicores) = rate() {
        let now = Instant::now();
        let cpu = thread_cpu();
        let due = pace.due(now - before, cpu.saturating_sub(used), millicores);
        (before, used) = (now, cpu);
        let target = cpu + due;
        let mut state = 1;
        while thread_cpu() < target {
            state = spin(state);
        }
        thread::sleep(WINDOW.saturating_sub(now.elapsed()));
    }
    thread_cpu().saturating_sub(first)
}

/// What a thread still has to burn. Invariant: never more than [`DEBT_MAX`]; held by
/// `a_long_pause_leaves_a_debt_of_one_window`.
#[derive(Debug, Default)]
struct Pace {
    owed: Duration,
    ahead: Duration,
}

impl Pace {
    /// Takes what has passed since the last call and returns what to burn now.
    fn due(&mut self, elapsed: Duration, used: Duration, millicores: u64) -> Duration {
        let credit = part(elapsed, millicores);
        let have = self.owed + credit;
        let spent = self.ahead + used;
        self.owed = have.saturating_sub(spent).min(DEBT_MAX);
        self.ahead = spent.saturating_sub(have).min(DEBT_MAX);
        self.owed
    }
}

/// Returns `millicores` thousandths of a duration.
fn part(whole: Duration, millicores: u64) -> Duration {
    let nanos = whole.as_nanos().saturating_mul(u128::from(millicores)) / 1000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns the index of the point at `elapsed`, or `None` after the last.
fn point(elapsed: Duration, step: Duration, points: usize, repeat: bool) -> Option<usize> {
    let passed = elapsed.as_nanos() / step.as_nanos().max(1);
    let passed = usize::try_from(passed).unwrap_or(usize::MAX);
    if passed < points {
        return Some(passed);
    }
    repeat.then(|| passed.checked_rem(points)).flatten()
}

/// Returns the part of `whole` that one of `threads` takes; the parts add up to the whole.
fn share(whole: u64, threads: u64, index: u64) -> u64 {
    whole / threads + u64::from(index < whole % threads)
}

/// Returns the height of a parabola over the hours in which a department works.
fn hill(quarter: u64, opens: u64, lasts: u64, height: u64) -> u64 {
    let Some(inside) = quarter.checked_sub(opens).filter(|inside| *inside < lasts) else {
        return 0;
    };
    height * 4 * inside * (lasts - inside) / (lasts * lasts)
}

/// Returns a small unevenness, 0 to 2.
fn ripple(quarter: u64) -> u64 {
    (quarter * 7 + quarter / 5) % 3
}

/// Burns a few microseconds in a way the compiler keeps.
fn spin(mut state: u64) -> u64 {
    for _ in 0..ROUNDS {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_window_owes_its_share_and_corrects_the_last_one() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(millis(20), Duration::ZERO, 500), millis(10));
        assert_eq!(pace.due(millis(20), millis(12), 500), millis(8), "2 ms too much are taken off");
        assert_eq!(pace.due(millis(20), millis(5), 500), millis(13), "3 ms too little are added");
    }

    #[test]
    fn a_long_pause_leaves_a_debt_of_one_window() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(millis(10_000), Duration::ZERO, 900), DEBT_MAX);
        assert_eq!(pace.due(millis(10_000), Duration::ZERO, 900), DEBT_MAX);
        assert_eq!(pace.due(millis(20), DEBT_MAX, 500), millis(10), "nothing older is remembered");
    }

    #[test]
    fn a_thread_uses_the_cpu_time_it_is_asked_for() {
        // The wall clock is this test's argument: each of 25 calls is a window of 20 ms at 200 m.
        let calls = std::cell::Cell::new(0);
        let start = Instant::now();
        let used = play_thread(|| {
            calls.set(calls.get() + 1);
            (calls.get() <= 26).then_some(200)
        });
        // A busy machine stretches the windows and the debt is bounded, so the target is a range.
        let asked = part(start.elapsed(), 200);
        assert!(used <= asked + millis(1), "{used:?} of {asked:?}");
        assert!(used >= millis(25) * 4 * 9 / 10, "{used:?} of {asked:?}");
    }

    #[test]
    fn the_generated_set_is_small_and_the_same_each_time() {
        for department in 0..4 {
            let series = generated(department);
            assert_eq!(series.len(), 96);
            assert_eq!(series, generated(department));
            assert!(series.iter().all(|m| (10..=46).contains(m)), "{department}: {series:?}");
            assert!(series.iter().max() > series.iter().min());
        }
        assert!(generated(0).iter().all(|m| *m <= 20), "the critical service fits beside finance");
    }

    #[test]
    fn a_series_ends_or_starts_again() {
        assert_eq!(point(millis(250), millis(100), 3, false), Some(2));
        assert_eq!(point(millis(300), millis(100), 3, false), None);
        assert_eq!(point(millis(300), millis(100), 3, true), Some(0));
        play(&[], millis(1), 1, true);
        play(&[10, 10], millis(1), 2, false);
    }

    #[test]
    fn the_shares_of_threads_add_up() {
        assert_eq!((0..4).map(|i| share(43, 4, i)).sum::<u64>(), 43);
    }

    #[test]
    fn a_csv_gives_its_last_column() {
        assert_eq!(parse_csv("t_s,cpu_millicores\n0,20\n300, 45\n\n"), Ok(vec![20, 45]));
        assert_eq!(parse_csv("7\n8\n"), Ok(vec![7, 8]));
    }

    #[test]
    fn a_csv_that_is_no_series_is_refused_with_its_line() {
        let not = |line, text: &str| Err(SeriesError::NotANumber { line, text: text.to_owned() });
        assert_eq!(parse_csv(""), Err(SeriesError::Empty));
        assert_eq!(parse_csv("cpu\n"), Err(SeriesError::Empty));
        assert_eq!(parse_csv("1\nmany\n"), not(2, "many"));
        assert_eq!(parse_csv("1\n-3\n"), not(2, "-3"));
        assert_eq!(parse_csv("1.5\n"), not(1, "1.5"));
        let much = SeriesError::TooMuch { line: 1, millicores: 9_999_999 };
        assert_eq!(parse_csv("9999999"), Err(much));
        assert_eq!(parse_csv(&"1\n".repeat(POINTS_MAX + 1)), Err(SeriesError::TooLong));
    }
}
