//! Attempts to join, counted by address: some at once, then one a second.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tengyun_model::{At, Millis};

/// How many attempts may come at once from one address: a rack behind one address joins together.
const BURST: u32 = 20;
/// How long until another attempt may be made.
const PAUSE: Millis = Millis::from_secs(1);
/// The most addresses remembered; beyond it, those are forgotten that waited long enough.
const ADDRESSES_MAX: usize = 10_000;

/// Attempts of late.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<BTreeMap<IpAddr, Made>>);

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is looked at.
    Taken,
    /// It comes too soon after others.
    TooSoon,
    /// So do so many, of which none was told yet: now is the time.
    TooMany(u32),
}

/// What one address did.
#[derive(Clone, Copy, Debug)]
struct Made {
    count: u32,
    at: At,
    /// How many came too soon and were not told.
    untold: u32,
    told: Option<At>,
}

impl Made {
    /// Forgets an attempt for each pause that has passed.
    fn rested(self, now: At) -> Self {
        let pauses = now.since(self.at).get() / PAUSE.get();
        let forgotten = u32::try_from(pauses).unwrap_or(u32::MAX);
        let at = self.at.after(PAUSE.saturating_mul(pauses));
        Self { count: self.count.saturating_sub(forgotten), at, ..self }
    }

    /// Counts one that comes too soon; such ones are told once in each pause, so that nobody fills the
    /// log with guesses.
    fn too_soon(&mut self, now: At) -> Attempt {
        self.untold = self.untold.saturating_add(1);
        if self.told.is_some_and(|told| now.since(told) < PAUSE) {
            return Attempt::TooSoon;
        }
        self.told = Some(now);
        Attempt::TooMany(std::mem::take(&mut self.untold))
    }
}

impl Attempts {
    /// Counts an attempt.
    pub(super) fn take(&self, from: IpAddr, now: At) -> Attempt {
        let mut made = self.lock();
        if made.len() >= ADDRESSES_MAX && !made.contains_key(&from) {
            made.retain(|_, known| known.rested(now).count > 0);
            if made.len() >= ADDRESSES_MAX {
                return Attempt::TooSoon;
            }
        }
        let first = Made { count: 0, at: now, untold: 0, told: None };
        let known = made.entry(from).or_insert(first);
        *known = known.rested(now);
        if known.count >= BURST {
            return known.too_soon(now);
        }
        known.count += 1;
        Attempt::Taken
    }

    /// Takes an attempt back that was none: somebody came in.
    pub(super) fn give_back(&self, from: IpAddr) {
        if let Some(known) = self.lock().get_mut(&from) {
            known.count = known.count.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_come_at_one_a_second_after_the_first_ones() {
        let attempts = Attempts::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut now = At::from_millis(1_000_000);
        let taken = |from, now| attempts.take(from, now) == Attempt::Taken;
        let passed = (0..1000).filter(|_| taken(one, now)).count();
        assert_eq!(passed, usize::try_from(BURST).unwrap());
        assert!(taken(other, now), "another address waits with it");
        for _ in 0..10 {
            now = now.after(PAUSE);
            assert!(taken(one, now) && !taken(one, now));
        }
        attempts.give_back(one);
        assert!(taken(one, now), "who came in counts as a guess");
    }

    #[test]
    fn every_guess_that_comes_too_soon_is_counted_and_told_once_a_second() {
        let attempts = Attempts::default();
        let one = IpAddr::from([10, 0, 0, 1]);
        let mut now = At::from_millis(1_000_000);
        let mut told = Vec::new();
        for _ in 0..3 {
            for _ in 0..1000 {
                if let Attempt::TooMany(count) = attempts.take(one, now) {
                    told.push(count);
                }
            }
            now = now.after(PAUSE);
        }
        // 20 were looked at first, then one a second; what came after is told with what comes next.
        assert_eq!(told, [1, 980, 999]);
    }

    #[test]
    fn addresses_are_bounded_and_the_rested_ones_forgotten() {
        let attempts = Attempts::default();
        let now = At::from_millis(1_000_000);
        let ip = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..ADDRESSES_MAX {
            assert_eq!(attempts.take(ip(n), now), Attempt::Taken);
        }
        assert_eq!(attempts.take(ip(ADDRESSES_MAX), now), Attempt::TooSoon);
        assert_eq!(attempts.take(ip(ADDRESSES_MAX), now.after(PAUSE)), Attempt::Taken);
        assert_eq!(attempts.lock().len(), 1);
    }
}
