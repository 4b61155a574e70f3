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

/// What one address did.
#[derive(Clone, Copy, Debug)]
struct Made {
    count: u32,
    at: At,
}

impl Made {
    /// Forgets an attempt for each pause that has passed.
    fn rested(self, now: At) -> Self {
        let pauses = now.since(self.at).get() / PAUSE.get();
        let forgotten = u32::try_from(pauses).unwrap_or(u32::MAX);
        let at = self.at.after(PAUSE.saturating_mul(pauses));
        Self { count: self.count.saturating_sub(forgotten), at }
    }
}

impl Attempts {
    /// Counts an attempt; false when it comes too soon after others.
    pub(super) fn take(&self, from: IpAddr, now: At) -> bool {
        let mut made = self.lock();
        if made.len() >= ADDRESSES_MAX && !made.contains_key(&from) {
            made.retain(|_, known| known.rested(now).count > 0);
            if made.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let known = made.entry(from).or_insert(Made { count: 0, at: now });
        *known = known.rested(now);
        if known.count >= BURST {
            return false;
        }
        known.count += 1;
        true
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
        let passed = (0..1000).filter(|_| attempts.take(one, now)).count();
        assert_eq!(passed, usize::try_from(BURST).unwrap());
        assert!(attempts.take(other, now), "another address waits with it");
        for _ in 0..10 {
            now = now.after(PAUSE);
            assert!(attempts.take(one, now) && !attempts.take(one, now));
        }
        attempts.give_back(one);
        assert!(attempts.take(one, now), "who came in counts as a guess");
    }

    #[test]
    fn addresses_are_bounded_and_the_rested_ones_forgotten() {
        let attempts = Attempts::default();
        let now = At::from_millis(1_000_000);
        let ip = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..ADDRESSES_MAX {
            assert!(attempts.take(ip(n), now));
        }
        assert!(!attempts.take(ip(ADDRESSES_MAX), now));
        assert!(attempts.take(ip(ADDRESSES_MAX), now.after(PAUSE)));
        assert_eq!(attempts.lock().len(), 1);
    }
}
