//! Recalling: what an agent remembers of one use becomes the track that a scheduler which had been
//! there would have. It is taken in by the same code as reports are, and believed no further than it
//! can be true: nothing of the future, and nothing older than an agent can remember.

use tengyun_model::{
    At, Mebibytes, Millicores, Millis, PEAK_SLOTS, Peaks, Permille, SKETCH_WINDOWS_MAX, Sketch,
    UsageHistory,
};

use super::track::{Sample, Terms, Track};
use crate::days::Days;

/// When the windows of a history were, by the scheduler's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recall {
    now: At,
    /// The length of a remembered window.
    length: Millis,
    /// How many windows the agent's clock is ahead or behind. What is less than half a window is how
    /// long the message took, or not worth giving up that windows begin together everywhere.
    ahead: u64,
    behind: u64,
    /// The oldest and the newest window that can be: the newest one is still open.
    bounds: (u64, u64),
}

/// One remembered window that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    end: At,
    held: Millis,
    cpu: Millicores,
}

impl Recall {
    /// Prepares to recall a history that came at a moment.
    pub(crate) fn of(history: &UsageHistory, now: At) -> Self {
        let length = history.window.get().max(1);
        let whole = |time: Millis| time.get().saturating_add(length / 2) / length;
        let newest = now.millis() / length;
        // The open one comes beside those that ended.
        let oldest = newest.saturating_sub(u64::try_from(SKETCH_WINDOWS_MAX).unwrap_or(u64::MAX));
        Self {
            now,
            length: Millis::new(length),
            ahead: whole(history.at.since(now)),
            behind: whole(now.since(history.at)),
            bounds: (oldest, newest),
        }
    }

    /// Returns since when a sketch says what was used; nothing when it says nothing.
    pub(crate) fn since(&self, sketch: &Sketch) -> Option<At> {
        self.windows(sketch).next().map(start)
    }

    /// Makes a track of a sketch; nothing when it says nothing. `most` is what the thing may be
    /// expected to use at most; what nobody can be asked of, what it used. Of what it used a season is
    /// learnt where there are days.
    pub(crate) fn track(
        &self,
        sketch: &Sketch,
        (window, days): (Millis, Option<&Days>),
        most: Option<Millicores>,
    ) -> Option<Track> {
        let mut track = Track::start(self.since(sketch)?);
        for seen in self.windows(sketch) {
            let sample = Sample { cpu: seen.cpu, memory: sketch.memory, held: seen.held };
            // What ended was foreseen by nobody, so it teaches nothing of forecasts.
            let most = most.unwrap_or(seen.cpu);
            let _closed = track.observe(seen.end, sample, Terms { window, most, days });
        }
        // Of memory a sketch has the newest, not the highest: peaks are told beside it.
        track.peaks = Peaks::default();
        Some(track)
    }

    /// Returns the highest working sets that an agent tells of an instance, by the scheduler's clock:
    /// measured since it was placed, and none higher than what its node has. Nothing when they say nothing,
    /// are of the future, or all older than the instance.
    pub(crate) fn peaks(&self, told: &Peaks, placed: At, most: Mebibytes) -> Option<Peaks> {
        let most = u32::try_from(most.get()).unwrap_or(u32::MAX);
        let (mut slots_mib, highest_mib) =
            (told.slots_mib.map(|peak| peak.min(most)), told.highest_mib.min(most));
        let (slot, length) = (Peaks::SLOT.get(), self.length.get());
        let [ahead, behind] =
            [self.ahead, self.behind].map(|windows| windows.saturating_mul(length));
        // A slot that lies in two of this clock's counts as the newer one: no peak ends early.
        let open = told.open_from.millis() / slot;
        let open = open.saturating_add(behind.div_ceil(slot)).saturating_sub(ahead / slot);
        let newest = Peaks::slot_of(self.now);
        let future = open.saturating_sub(newest.millis() / slot);
        if future > 1 {
            return None;
        }
        if future == 1 {
            slots_mib[1] = slots_mib[0].max(slots_mib[1]);
            slots_mib.rotate_left(1);
            slots_mib[PEAK_SLOTS - 1] = 0;
        }
        let open_from = At::from_millis(open.saturating_mul(slot)).min(newest);
        if open_from < Peaks::slot_of(placed) {
            return None;
        }
        let began = told.began?.millis().saturating_add(behind).saturating_sub(ahead);
        let began = At::from_millis(began).max(placed).min(self.now);
        Some(Peaks { began: Some(began), open_from, slots_mib, highest_mib })
    }

    /// Returns the windows that were measured and can have been, the oldest first.
    fn windows(&self, sketch: &Sketch) -> impl Iterator<Item = Remembered> {
        let Self { now, length, ahead, behind, bounds: (oldest, newest) } = *self;
        let first = sketch.from.millis() / length.get();
        let first = first.saturating_add(behind).saturating_sub(ahead);
        let numbered = (first..=newest).zip(&sketch.windows);
        let possible = numbered.filter(move |(number, _)| *number >= oldest);
        possible.filter(|(_, seen)| seen.covered > Permille::ZERO).map(move |(number, seen)| {
            let end = number.saturating_add(1).saturating_mul(length.get());
            let held = length.share(seen.covered.min(Permille::WHOLE));
            Remembered { end: At::from_millis(end).min(now), held, cpu: seen.cpu }
        })
    }
}

/// Returns when the measured part of a window began, as far as is known.
fn start(seen: Remembered) -> At {
    At::from_millis(seen.end.millis().saturating_sub(seen.held.get()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use tengyun_model::SketchWindow;

    use super::*;

    const WINDOW: Millis = Millis::from_secs(300);
    const MOST: Millicores = Millicores::new(1000);

    fn window(number: u64) -> At {
        At::from_millis(number * WINDOW.get())
    }

    fn sketch(first: u64, windows: &[(u64, u32)]) -> Sketch {
        let of = |(cpu, covered): &(u64, u32)| SketchWindow {
            cpu: Millicores::new(*cpu),
            covered: Permille::new(*covered),
        };
        let windows = windows.iter().map(of).collect();
        Sketch { from: window(first), windows, memory: Mebibytes::new(7) }
    }

    fn recall(at: At, now: At) -> Recall {
        let instances = Vec::new();
        Recall::of(&UsageHistory { at, window: WINDOW, foreign: None, instances }, now)
    }

    fn ends(recall: &Recall, sketch: &Sketch) -> Vec<u64> {
        recall.windows(sketch).map(|seen| seen.end.millis() / WINDOW.get()).collect()
    }

    #[test]
    fn windows_become_the_track_that_reports_would_have_made() {
        let rates = [100_u64, 300, 200, 900, 50, 120];
        let mut live = Track::start(window(1000));
        for (number, rate) in (1000..).zip(rates) {
            for part in 1..=60 {
                let at = window(number).after(Millis::from_secs(5 * part));
                let cpu = Millicores::new(rate);
                let sample = Sample { cpu, memory: Mebibytes::new(7), held: Millis::from_secs(5) };
                live.observe(at, sample, Terms { window: WINDOW, most: MOST, days: None });
            }
        }
        let now = window(1006);
        let told: Vec<_> = rates.iter().map(|rate| (*rate, 1000)).collect();
        let track = recall(now, now).track(&sketch(1000, &told), (WINDOW, None), Some(MOST));
        // The highest working set is told beside it.
        live.peaks = Peaks::default();
        assert_eq!(track, Some(live));
    }

    #[test]
    fn a_gap_is_forgotten_time_and_no_use_of_nothing() {
        let now = window(1005);
        let told = [(400, 1000), (0, 0), (999, 0), (400, 250), (400, 1000)];
        let recall = recall(now, now);
        let track = recall.track(&sketch(1000, &told), (WINDOW, None), Some(MOST)).unwrap();
        assert_eq!(track.foresee(MOST).unwrap().0.get(), 400);
        assert_eq!(ends(&recall, &sketch(1000, &told)), [1001, 1004, 1005]);
        assert_eq!(track.history(), Millis::from_secs(1500));
        assert_eq!(recall.track(&sketch(1000, &[(9, 0); 5]), (WINDOW, None), Some(MOST)), None);
    }

    #[test]
    fn the_open_window_goes_on_where_it_was() {
        let now = window(1001).after(Millis::from_secs(150));
        let told = [(100, 1000), (700, 500)];
        let track =
            recall(now, now).track(&sketch(1000, &told), (WINDOW, None), Some(MOST)).unwrap();
        assert_eq!((track.foresee(MOST).unwrap().0.get(), track.last()), (100, now));
        assert_eq!(track.lately(WINDOW).get(), 700);
    }

    #[test]
    fn a_clock_that_is_wrong_by_hours_moves_whole_windows_and_one_by_seconds_none() {
        let now = window(1010).after(Millis::from_secs(10));
        let told = sketch(1000, &[(1, 1000); 10]);
        assert_eq!(ends(&recall(now, now), &told)[0], 1001);
        let late = now.after(Millis::from_secs(140));
        assert_eq!(ends(&recall(late, now), &told)[0], 1001);
        let behind = window(1000).after(Millis::from_secs(10));
        assert_eq!(ends(&recall(behind, now), &sketch(990, &[(1, 1000); 10]))[0], 1001);
        let ahead = window(1020).after(Millis::from_secs(10));
        assert_eq!(ends(&recall(ahead, now), &sketch(1010, &[(1, 1000); 10]))[0], 1001);
    }

    #[test]
    fn nothing_of_the_future_and_nothing_older_than_can_be_remembered_is_believed() {
        let now = window(1000).after(Millis::from_secs(10));
        let recall = recall(now, now);
        assert_eq!(recall.since(&sketch(1001, &[(5, 1000); 144])), None);
        assert_eq!(recall.since(&sketch(10, &[(5, 1000); 144])), None);
        assert_eq!(recall.since(&sketch(0, &[])), None);
        let many = sketch(0, &vec![(5, 1000); 1_000_000]);
        assert_eq!(recall.windows(&many).count(), 145);
        let last = recall.track(&many, (WINDOW, None), Some(MOST)).unwrap().last();
        assert_eq!(last, now, "a window that has not ended ends now");
    }

    const SLOT: u64 = Peaks::SLOT.get();
    const MIB: Mebibytes = Mebibytes::new(1000);

    fn peaks(began: u64, open_from: u64) -> Peaks {
        let [began, open_from] = [began, open_from].map(|slot| At::from_millis(slot * SLOT));
        Peaks { began: Some(began), open_from, slots_mib: [7; 9], highest_mib: 9 }
    }

    #[test]
    fn peaks_are_believed_as_far_as_they_can_be_true() {
        let now = At::from_millis(100 * SLOT + 5);
        let recall = recall(now, now);
        let early = At::from_millis(SLOT);
        let told = peaks(90, 100);
        assert_eq!(recall.peaks(&told, early, MIB), Some(told));
        assert_eq!(recall.peaks(&Peaks::default(), early, MIB), None);
        assert_eq!(recall.peaks(&peaks(90, 102), early, MIB), None, "of the future");
        // At the edge of two slots its clock may be a moment ahead.
        let edge = Peaks { slots_mib: [8, 7, 7, 7, 7, 7, 7, 7, 5], ..peaks(90, 101) };
        let slots_mib = [8, 7, 7, 7, 7, 7, 7, 5, 0];
        assert_eq!(recall.peaks(&edge, early, MIB), Some(Peaks { slots_mib, ..told }));
        let placed = At::from_millis(95 * SLOT);
        let later = recall.peaks(&told, placed, MIB).unwrap();
        assert_eq!(
            later,
            Peaks { began: Some(placed), ..told },
            "before it was placed nobody looked"
        );
        assert_eq!(recall.peaks(&peaks(90, 93), placed, MIB), None, "not of this instance");
        let never = recall.peaks(&peaks(200, 100), early, MIB).unwrap();
        assert_eq!(never.history(now), Millis::ZERO);
        let huge = Peaks { slots_mib: [u32::MAX; 9], highest_mib: u32::MAX, ..told };
        assert_eq!(recall.peaks(&huge, early, MIB).unwrap().peak(), MIB);
    }

    #[test]
    fn peaks_of_a_clock_that_is_wrong_are_moved_and_none_of_them_ends_early() {
        let now = At::from_millis(100 * SLOT + SLOT / 2);
        let open = |clock: At, slot: u64| {
            let told =
                recall(clock, now).peaks(&peaks(slot - 10, slot), At::default(), MIB).unwrap();
            (told.open_from.millis() / SLOT, told.history(now).get() / SLOT)
        };
        let hours = |n: u64| Millis::from_secs(3600 * n);
        assert_eq!(open(now, 98), (98, 12));
        // Its clock is 31 hours behind: what ended there an hour and a half ago did so here in this slot.
        let behind = At::from_millis(now.millis() - hours(31).get());
        assert_eq!(
            (open(behind, 90), open(behind, 89), open(behind, 88)),
            ((100, 10), (100, 11), (99, 12))
        );
        assert_eq!(
            (open(now.after(hours(29)), 110), open(now.after(hours(29)), 108)),
            ((100, 10), (99, 12))
        );
    }

    proptest! {
        /// Whatever was used when, and whenever the scheduler starts anew.
        #[test]
        fn recalled_peaks_are_those_of_one_that_never_stopped(
            uses in vec((1..40_u64, 1..1000_u64), 1..200), restart in any::<Index>(),
        ) {
            let (mut now, restart) = (At::from_millis(100 * SLOT), restart.index(uses.len()));
            let (placed, held) = (now, Millis::from_secs(60));
            let (mut live, mut new) = <(Peaks, Peaks)>::default();
            for (number, (hours, memory)) in uses.into_iter().enumerate() {
                // Mostly every hour, now and then much later.
                now = now.after(Millis::from_secs(3600 * if hours < 35 { 1 } else { hours }));
                live.note(now, Mebibytes::new(memory), held);
                new.note(now, Mebibytes::new(memory), held);
                if number == restart {
                    new = recall(now, now).peaks(&live, placed, MIB).unwrap();
                }
                prop_assert_eq!(new, live);
            }
        }

        /// A clock may be wrong by minutes or days: of a peak that fades at most one part more is lost,
        /// and what does not fade yet is whole.
        #[test]
        fn a_clock_that_is_wrong_makes_no_peak_lower(
            uses in vec(1..1000_u64, 1..200), restart in any::<Index>(), off in -3600..3600_i64,
        ) {
            let (start, restart) = (1000 * SLOT, restart.index(uses.len()));
            let (mut live, mut told, mut new) = <(Peaks, Peaks, Peaks)>::default();
            for (number, memory) in uses.into_iter().enumerate() {
                let now = At::from_millis(start + 3_600_000 * u64::try_from(number).unwrap());
                let there = At::from_millis(now.millis().saturating_add_signed(off * 60_000));
                let noted = (Mebibytes::new(memory), Millis::from_secs(60));
                live.note(now, noted.0, noted.1);
                told.note(there, noted.0, noted.1);
                new.note(now, noted.0, noted.1);
                if number == restart {
                    new = recall(there, now).peaks(&told, At::default(), MIB).unwrap();
                }
                if number < restart {
                    continue;
                }
                let peak = u32::try_from(live.peak().get()).unwrap();
                let least = if live.highest_mib < peak { peak } else { peak - peak.div_ceil(81) - 2 };
                prop_assert!(new.peak().get() >= u64::from(least), "{:?} for {:?}", new, live);
                prop_assert!(new.history(now) <= live.history(now).saturating_add(Peaks::SLOT));
            }
        }
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        for (at, now) in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (0, 0)] {
            let history = UsageHistory {
                at: At::from_millis(at),
                window: Millis::new(at.max(1)),
                foreign: None,
                instances: Vec::new(),
            };
            let recall = Recall::of(&history, At::from_millis(now));
            let mut told = sketch(0, &[(u64::MAX, u32::MAX); 144]);
            for from in [0, 1, u64::MAX / 2, u64::MAX] {
                told.from = At::from_millis(from);
                let track = recall.track(&told, (WINDOW, None), None);
                assert!(track.is_none_or(|t| t.last() <= At::from_millis(now)));
                let at = At::from_millis(from);
                let told = Peaks { began: Some(at), open_from: at, ..peaks(0, 0) };
                let told = recall.peaks(&told, at, Mebibytes::MAX);
                assert!(told.is_none_or(|told| told.open_from <= At::from_millis(now)));
            }
        }
    }
}
