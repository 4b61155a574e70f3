//! The agent's clocks: wall time that never goes back, and the kernel's monotonic time.

use tengyun_model::{At, Millis};

use crate::shim::record;

/// Tells the time: the wall time of its making plus what has passed since on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: At,
    monotonic: Millis,
}

impl Clock {
    /// Reads both clocks once.
    pub(crate) fn start() -> Self {
        Self { wall: record::wall(), monotonic: record::monotonic() }
    }

    /// Returns the moment now.
    pub(crate) fn now(&self) -> At {
        self.at(record::monotonic())
    }

    /// Returns the time on the monotonic clock, in milliseconds since boot.
    #[expect(clippy::unused_self, reason = "time is asked of a clock")]
    pub(crate) fn monotonic(&self) -> Millis {
        record::monotonic()
    }

    /// Translates a monotonic time of this boot.
    pub(crate) fn at(&self, monotonic: Millis) -> At {
        let before = self.monotonic.saturating_sub(monotonic);
        let wall = At::from_millis(self.wall.millis().saturating_sub(before.get()));
        wall.after(monotonic.saturating_sub(self.monotonic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_times_translate_both_ways_from_the_start() {
        let clock = Clock { wall: At::from_millis(1_000_000), monotonic: Millis::new(500) };
        assert_eq!(clock.at(Millis::new(500)), At::from_millis(1_000_000));
        assert_eq!(clock.at(Millis::new(700)), At::from_millis(1_000_200));
        assert_eq!(clock.at(Millis::new(100)), At::from_millis(999_600));
    }
}
