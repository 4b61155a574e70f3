//! The clock: the only place of the scheduler that reads the time.
//!
//! Wall time at the start plus monotonic time since, and never before what the journal already
//! holds: a wall clock that is set back cannot make an entry older than the one before it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tengyun_model::{At, Millis};

/// Gives the moments of entries.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    wall: At,
    last: At,
}

impl Clock {
    /// Starts a clock that never gives a moment before `last`.
    pub(crate) fn start(last: At) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = At::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Self { started: Instant::now(), wall, last }
    }

    /// Returns the present moment.
    pub(crate) fn now(&mut self) -> At {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.advance(Millis::new(elapsed))
    }

    fn advance(&mut self, elapsed: Millis) -> At {
        self.last = self.last.max(self.wall.after(elapsed));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_behind_the_journal() {
        let future = At::from_millis(u64::MAX / 2);
        let mut clock = Clock::start(future);
        assert_eq!(clock.now(), future);
        let mut clock = Clock::start(At::default());
        let now = clock.now();
        assert!(now > At::default());
        assert!(clock.advance(Millis::ZERO) >= now);
    }
}
