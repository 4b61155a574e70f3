//! Peaks: the highest working sets of one instance, forgotten slowly. Agent and scheduler keep them by this
//! same code, so that what one forgot is known by the other. They must never let go of what was not
//! measured for long, and decide nothing.
//!
//! A peak holds for a day in full and fades by a half in a week after it. Memory that is not there kills, so
//! a peak is asked for and no percentile, as Autopilot does (Rzadca et al., 2020); its half-life is
//! two days, with which a fleet that works by the week is missed each Monday.

use crate::unit::{At, Mebibytes, Millis};

/// So many slots are kept: a day that ended, beside the open one.
pub const PEAK_SLOTS: usize = 9;
/// What is older is forgotten by this part in a slot: a half in a week.
const FADE: u32 = 81;

/// The highest working sets of one instance, in mebibytes; by default nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    /// Since when, less what was not measured meanwhile; `None` before the first sample, and then nothing
    /// else says anything.
    pub began: Option<At>,
    /// When the open slot began, a multiple of [`Peaks::SLOT`].
    pub open_from: At,
    /// The highest of each slot that was measured, the open one first, before it the newer ones.
    pub slots_mib: [u32; PEAK_SLOTS],
    /// What came before, faded.
    pub highest_mib: u32,
}

impl Peaks {
    /// Peaks are kept by parts of a day.
    pub const SLOT: Millis = Millis::from_secs(3 * 3600);

    /// Returns when the slot began that a moment lies in, or ends.
    pub fn slot_of(at: At) -> At {
        let number = at.millis().saturating_sub(1) / Self::SLOT.get();
        At::from_millis(number.saturating_mul(Self::SLOT.get()))
    }

    /// Takes in a working set that was measured at the end of an interval; none is no measurement.
    pub fn note(&mut self, at: At, memory: Mebibytes, held: Millis) {
        if memory.is_zero() {
            return;
        }
        if self.began.is_none() {
            let began = At::from_millis(at.millis().saturating_sub(held.get()));
            *self = Self { began: Some(began), open_from: Self::slot_of(at), ..Self::default() };
        }
        self.open(Self::slot_of(at));
        self.began = self.began.map(|began| began.min(at));
        let value = u32::try_from(memory.get()).unwrap_or(u32::MAX);
        self.slots_mib[0] = self.slots_mib[0].max(value);
    }

    /// Opens the slot that begins at a moment, unless a newer one is open. What was not seen before it is
    /// no history, and nothing is forgotten in it.
    fn open(&mut self, from: At) {
        if from <= self.open_from {
            return;
        }
        let unseen = from.since(self.open_from).saturating_sub(Self::SLOT);
        self.began = self.began.map(|began| began.after(unseen));
        let faded = self.highest_mib - self.highest_mib.div_ceil(FADE);
        self.highest_mib = faded.max(self.slots_mib[PEAK_SLOTS - 1]);
        self.slots_mib.rotate_right(1);
        (self.open_from, self.slots_mib[0]) = (from, 0);
    }

    /// Adds what somebody else saw of the same instance: the higher of both counts, and the longer history.
    pub fn join(&mut self, mut other: Self) {
        let (Some(_), Some(_)) = (self.began, other.began) else {
            if self.began.is_none() {
                *self = other;
            }
            return;
        };
        self.open(other.open_from);
        other.open(self.open_from);
        self.began = self.began.min(other.began);
        for (own, told) in self.slots_mib.iter_mut().zip(other.slots_mib) {
            *own = told.max(*own);
        }
        self.highest_mib = self.highest_mib.max(other.highest_mib);
    }

    /// Returns the highest working set that still counts.
    pub fn peak(&self) -> Mebibytes {
        let highest = self.slots_mib.iter().copied().fold(self.highest_mib, u32::max);
        Mebibytes::new(u64::from(highest))
    }

    /// Returns for how long it was measured as of its newest sample.
    pub fn history(&self, last: At) -> Millis {
        self.began.map(|began| last.since(began)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const REPORT: Millis = Millis::from_secs(60);

    fn note(peaks: &mut Peaks, hours: std::ops::Range<u64>, memory: u64) {
        for hour in hours {
            let at = At::from_millis((hour + 1) * HOUR);
            peaks.note(at, Mebibytes::new(memory), REPORT);
        }
    }

    #[test]
    fn a_peak_holds_a_day_and_fades_by_a_half_in_a_week_after() {
        let mut peaks = Peaks::default();
        note(&mut peaks, 0..1, 1000);
        note(&mut peaks, 1..24, 10);
        assert_eq!(peaks.peak().get(), 1000, "within a day");
        note(&mut peaks, 24..28, 10);
        assert_eq!(peaks.peak().get(), 1000, "it only begins to fade");
        note(&mut peaks, 28..27 + 168, 10);
        let half = peaks.peak().get();
        assert!((480..=520).contains(&half), "{half}");
        note(&mut peaks, 195..2000, 10);
        assert_eq!(peaks.peak().get(), 10, "in the end it is forgotten");
    }

    #[test]
    fn what_was_not_seen_is_no_history_and_forgets_nothing() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.history(At::from_millis(HOUR)), Millis::ZERO);
        peaks.note(At::from_millis(HOUR), Mebibytes::ZERO, REPORT);
        assert_eq!(peaks, Peaks::default(), "no working set is no measurement");
        note(&mut peaks, 0..3, 500);
        note(&mut peaks, 240..243, 20);
        assert_eq!(peaks.peak().get(), 500);
        let history = peaks.history(At::from_millis(243 * HOUR)).get();
        assert!((5 * HOUR..=9 * HOUR).contains(&history), "{history}");
    }

    #[test]
    fn of_what_two_saw_the_higher_counts_and_the_longer_history() {
        let (mut whole, mut early, mut late) =
            (Peaks::default(), Peaks::default(), Peaks::default());
        note(&mut whole, 0..50, 100);
        note(&mut whole, 50..51, 400);
        note(&mut early, 0..48, 100);
        note(&mut late, 48..50, 100);
        note(&mut late, 50..51, 400);
        for (mut one, other) in
            [(early, late), (late, early), (whole, late), (Peaks::default(), whole)]
        {
            one.join(other);
            assert_eq!((one.peak(), one.began), (whole.peak(), whole.began));
            assert_eq!(one.slots_mib[..2], whole.slots_mib[..2]);
            let once = one;
            one.join(other);
            one.join(Peaks::default());
            assert_eq!(one, once, "what is told again changes nothing");
        }
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let most = At::from_millis(u64::MAX);
        let told = [At::default(), At::from_millis(HOUR), most].map(|at| Peaks {
            began: Some(at),
            open_from: at,
            slots_mib: [u32::MAX; PEAK_SLOTS],
            highest_mib: u32::MAX,
        });
        for mut one in told {
            for other in told {
                one.join(other);
            }
            one.note(most, Mebibytes::MAX, Millis::MAX);
            one.note(At::default(), Mebibytes::MAX, Millis::MAX);
            assert_eq!(one.peak().get(), u64::from(u32::MAX));
        }
    }
}
