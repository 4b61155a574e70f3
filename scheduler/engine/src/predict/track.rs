//! What was measured of one thing's CPU, in windows: a mean that follows it, and how far from that
//! mean the next window was. It keeps no samples, and must never count what was not measured.
//!
//! The mean is a blend of exponential averages with memories from one window to six hours; each has a
//! say by how small its own errors were, and so has a season that has earned one. The variance is that of
//! the errors which this very mean made, one window ahead (`docs/forecast.md`).

use tengyun_model::{At, Mebibytes, Millicores, Millis, Peaks};

use super::Part;
use super::accuracy::Tally;
use super::horizon::{HORIZONS, Horizons};
use super::season::{DayShape, Place, SLOT, Season};
use crate::days::Days;

/// A sample counts for at most this long, however late the report came.
const SAMPLE_MAX: Millis = Millis::from_secs(300);
/// Windows that the averages remember, from the last one alone to six hours.
const MEMORIES: [u64; AVERAGES] = [1, 4, 12, 36, 72];
const AVERAGES: usize = 5;
/// Windows that the variance remembers: six hours.
const NOISE: u64 = 72;
/// Windows that the errors of each average are remembered for: half a day.
const RECORD: u16 = 144;
/// From so many windows on, errors say how good forecasts are and not how young the track is.
const MATURE: u16 = 12;
/// Parts of a millicore, and of its square, that averages are kept to.
pub(super) const PARTS: u64 = 1024;
pub(super) const SQUARE_PARTS: u64 = 16;
/// A season is looked for where the highest use is so much of the most above the mean: what hardly
/// varies has none.
const VARIES: u64 = 64;
/// So many windows pass before a season that was of no use is looked for again: three days.
const REST: u16 = 864;
/// How far a season is looked at to see a rise.
const RISE: Millis = HORIZONS[0];
/// The highest rate is forgotten by this part in a window: a half in sixteen hours.
const FADE: u32 = 288;
/// The say of the average with the least errors.
const SAY: u64 = 1 << 16;
/// No node has more than two million cores; with this bound nothing below overflows.
const RATE_MAX: u64 = (1 << 31) - 1;

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The mean rate.
    pub(crate) cpu: Millicores,
    /// The working set.
    pub(crate) memory: Mebibytes,
    /// For how long it held.
    pub(crate) held: Millis,
}

/// A window that ended: what was foreseen for it, and what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Its number.
    pub(crate) window: u64,
    /// The mean rate that came.
    pub(crate) actual: u64,
    /// The mean that was foreseen, and the variance of its errors; `None` for the first window.
    pub(crate) foreseen: Option<(u64, u64)>,
    /// Whether enough was known to foresee anything well.
    pub(crate) mature: bool,
}

/// What samples are seen by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// The length of a window.
    pub(crate) window: Millis,
    /// What the thing may be expected to use at most, which bounds how little is known of it at first.
    pub(crate) most: Millicores,
    /// Civil time, where seasons are to be learnt.
    pub(crate) days: Option<&'a Days>,
}

/// What is expected of a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// The highest mean that is expected.
    pub(crate) mean: u64,
    /// The variance of what came above it; nothing when none was measured.
    pub(crate) variance: Option<u64>,
}

/// What was measured of one thing. There are a million of them, so no number is wider than it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    first: At,
    last: At,
    /// The open window, how much of it was measured, and the rate times that.
    window: u64,
    weight: u64,
    sum: u64,
    /// Windows that the averages hold, at most as many as the longest memory.
    count: u16,
    averages: [u64; AVERAGES],
    /// The mean square of what each average was wrong by.
    records: [u64; AVERAGES],
    /// What the averages say together, and how wrong that was.
    mean: u32,
    variance: u64,
    /// The highest rate, forgotten slowly.
    highest: u32,
    /// What its errors have to do with those of all others.
    pub(crate) part: Part,
    /// How good its forecasts were.
    pub(crate) tally: Tally,
    horizons: Horizons,
    /// How the use goes through the day, once it may be worth knowing.
    season: Option<Box<Season>>,
    /// Windows until a season is looked for again.
    rest: u16,
    /// The newest rate.
    pub(crate) cpu: Millicores,
    /// The newest working set.
    pub(crate) memory: Mebibytes,
    /// The highest ones.
    pub(crate) peaks: Peaks,
}

impl Track {
    /// Starts at a moment.
    pub(crate) fn start(at: At) -> Self {
        Self {
            first: at,
            last: at,
            window: 0,
            weight: 0,
            sum: 0,
            count: 0,
            averages: [0; AVERAGES],
            records: [0; AVERAGES],
            mean: 0,
            variance: 0,
            highest: 0,
            part: Part::default(),
            tally: Tally::default(),
            horizons: Horizons::default(),
            season: None,
            rest: 0,
            cpu: Millicores::ZERO,
            memory: Mebibytes::ZERO,
            peaks: Peaks::default(),
        }
    }

    /// Takes in one sample; says what came of a window that it ended.
    pub(crate) fn observe(&mut self, at: At, sample: Sample, terms: Terms<'_>) -> Option<Closed> {
        let window = terms.window.get().max(1);
        let held = sample.held.min(SAMPLE_MAX).get().max(1);
        let index = window_of(at, window);
        let mut closed = None;
        if index != self.window {
            closed = self.close(window, terms);
            self.window = index;
        }
        // What was not seen is forgotten as fast as it was learnt.
        let unseen = at.since(self.last).get().saturating_sub(held) / window;
        self.count = self.count.saturating_sub(u16::try_from(unseen).unwrap_or(u16::MAX));
        let rate = sample.cpu.get().min(RATE_MAX);
        self.weight = self.weight.saturating_add(held);
        self.sum = self.sum.saturating_add(rate.saturating_mul(held));
        self.cpu = sample.cpu;
        self.memory = sample.memory;
        self.peaks.note(at, sample.memory, Millis::new(held));
        self.last = at;
        if at.millis().is_multiple_of(window) {
            closed = self.close(window, terms).or(closed);
        }
        closed
    }

    /// Ends the open window. One that was hardly measured says nothing.
    fn close(&mut self, window: u64, terms: Terms<'_>) -> Option<Closed> {
        let most = terms.most;
        let rate = self.open_mean();
        let enough = self.weight.saturating_mul(4) >= window;
        (self.weight, self.sum) = (0, 0);
        let rate = rate.filter(|_| enough)?;
        let foreseen = (self.count > 0).then(|| (self.mean(), self.bounded(most)));
        let mature = self.count >= MATURE;
        let closed = Closed { window: self.window, actual: rate, foreseen, mature };
        let error = match foreseen {
            Some((mean, _)) => square(rate.abs_diff(mean)),
            None => unknown(rate, most),
        };
        self.count = (self.count + 1).min(RECORD);
        let count = u64::from(self.count);
        for (at, memory) in MEMORIES.into_iter().enumerate() {
            if foreseen.is_some() {
                let wrong = square(rate.abs_diff(self.averages[at] / PARTS));
                let record = &mut self.records[at];
                blend(record, wrong.saturating_mul(SQUARE_PARTS), count - 1);
            }
            blend(&mut self.averages[at], rate * PARTS, count.min(memory));
        }
        self.mean = narrow(self.agreed(None));
        blend(&mut self.variance, error.saturating_mul(SQUARE_PARTS), count.min(NOISE));
        self.highest = narrow(rate).max(self.highest - self.highest / FADE);
        match terms.days {
            Some(days) => self.learn_season((window, most), rate, days),
            None => self.season = None,
        }
        let noted = (self.window, window);
        let mut horizons = self.horizons;
        horizons.note(noted, rate, |horizon| self.at_most(horizon, noted, terms.days));
        self.horizons = horizons;
        Some(closed)
    }

    /// Lets the season learn from a window that ended, and lets it have its say in the next one.
    fn learn_season(&mut self, (window, most): (u64, Millicores), rate: u64, days: &Days) {
        self.rest = self.rest.saturating_sub(1);
        let Some(mut season) = self.season.take() else {
            let varies = u64::from(self.highest).saturating_sub(self.mean()) > most.get() / VARIES;
            let fits = window <= SLOT.get();
            if self.count >= RECORD && self.rest == 0 && varies && fits {
                self.season = Some(Box::new(Season::start(self.mean())));
            }
            return;
        };
        season.learn(place(days, self.window, window), rate);
        if season.is_hopeless() {
            self.rest = REST;
            return;
        }
        season.note_averages(self.mean());
        let best = self.records.iter().min().copied().unwrap_or(0);
        let next = self.window.saturating_add(1);
        let said = season.earned(best).zip(season.expect(place(days, next, window)));
        season.speaks = said.is_some();
        if said.is_some() {
            self.mean = narrow(self.agreed(said));
        }
        season.rise = 0;
        self.season = Some(season);
        let highest = self.at_most(RISE, (self.window, window), Some(days));
        let rise = highest.saturating_sub(self.mean());
        if let Some(season) = &mut self.season {
            season.rise = narrow(rise);
        }
    }

    /// Returns the highest mean that is expected within a horizon after a window: that of the next window
    /// unless a season has a say and knows better.
    fn at_most(&self, horizon: Millis, (last, window): (u64, u64), days: Option<&Days>) -> u64 {
        let season = self.season.as_ref().filter(|season| season.speaks);
        let Some((season, days)) = season.zip(days) else { return self.mean() };
        let from = At::from_millis(last.saturating_add(1).saturating_mul(window));
        let later = |ahead: u64| {
            let at = from.after(Millis::new(ahead.saturating_mul(SLOT.get())));
            season.expect_later(Place::of(days.civil(at)), ahead).map(|mean| mean / PARTS)
        };
        let slots = horizon.get() / SLOT.get();
        (1..=slots).filter_map(later).fold(self.mean(), u64::max)
    }

    /// Returns what is expected within each horizon beyond the next window, by what is known until now.
    pub(crate) fn ahead(&self, window: Millis, days: &Days) -> [Ahead; HORIZONS.len()] {
        let window = window.get().max(1);
        let last = window_of(self.last, window);
        // A window that is open still is the next one.
        let ended = self.last.millis().is_multiple_of(window);
        let last = if ended { last } else { last.saturating_sub(1) };
        let squares = self.horizons.squares();
        let mut ahead = [Ahead { mean: self.mean(), variance: None }; HORIZONS.len()];
        for (at, ahead) in ahead.iter_mut().enumerate() {
            ahead.mean = self.at_most(HORIZONS[at], (last, window), Some(days));
            ahead.variance = squares[at];
        }
        ahead
    }

    /// Returns by how much the highest mean of the next hour is above that of the next window, where a
    /// season says so.
    pub(crate) fn rise(&self) -> Millicores {
        let rise = self.season.as_ref().filter(|season| season.speaks).map_or(0, |s| s.rise);
        Millicores::new(u64::from(rise))
    }

    /// Returns the day of the season, where one has a say.
    pub(crate) fn day_shape(&self) -> Option<DayShape> {
        self.season.as_ref().filter(|season| season.speaks).map(|season| season.shape())
    }

    /// Says whether a season has a say in what is foreseen.
    pub(crate) fn is_seasonal(&self) -> bool {
        self.season.as_ref().is_some_and(|season| season.speaks)
    }

    /// Returns what the averages say together.
    fn mean(&self) -> u64 {
        self.mean.into()
    }

    /// Returns the mean of the open window; nothing while nothing was measured in it.
    fn open_mean(&self) -> Option<u64> {
        self.sum.saturating_add(self.weight / 2).checked_div(self.weight)
    }

    /// Returns the variance, of which only so much counts as there is room for above the mean: what
    /// already uses the most that it may, or ever did lately, can hardly use more.
    fn bounded(&self, most: Millicores) -> u64 {
        let most = most.get().min(RATE_MAX).max(self.highest.into());
        (self.variance / SQUARE_PARTS).min(square(most.saturating_sub(self.mean())))
    }

    /// Returns what the averages say together, and a season with its record and what it expects. The say
    /// of each falls with the eighth power of its mean square error: a batch that is either on or off
    /// follows its last window, noise its long average.
    fn agreed(&self, season: Option<(u64, u64)>) -> u64 {
        let records = self.records.iter().copied().chain(season.map(|(record, _)| record));
        let least = records.clone().min().map_or(0, |least| least.saturating_add(SQUARE_PARTS));
        let averages = self.averages.iter().copied().chain(season.map(|(_, expected)| expected));
        let (mut sum, mut all) = (0_u64, 0_u64);
        for (average, record) in averages.zip(records) {
            let own = u128::from(record.saturating_add(SQUARE_PARTS));
            let part = u128::from(least) * u128::from(SAY) / own;
            let part = u64::try_from(part).expect("the least is the least");
            let power = |p: u64| p * p / SAY;
            let say = power(power(power(part)));
            all += say;
            sum += average * say;
        }
        // The best has a full say, so there is something to divide by.
        (sum / all + PARTS / 2) / PARTS
    }

    /// Returns the mean and the deviation that the next window is foreseen with; nothing without
    /// samples. Until a window ended, the open one has to do.
    pub(crate) fn foresee(&self, most: Millicores) -> Option<(Millicores, Millicores)> {
        let (mean, variance) = if self.count > 0 {
            (self.mean(), self.bounded(most))
        } else {
            let mean = self.open_mean()?;
            (mean, unknown(mean, most))
        };
        let root = variance.isqrt();
        // To the nearest: many small deviations add up.
        let deviation = if variance - root * root > root { root + 1 } else { root };
        Some((Millicores::new(mean), Millicores::new(deviation)))
    }

    /// Returns the variance that was measured: that of the best average's errors. What a young track is
    /// given on top for what it has not seen yet is not in it.
    pub(crate) fn measured_variance(&self) -> u64 {
        self.records.iter().min().map_or(0, |least| least / SQUARE_PARTS)
    }

    /// Returns the mean of the open window once a quarter of it was measured.
    pub(crate) fn lately(&self, window: Millis) -> Millicores {
        let enough = self.weight.saturating_mul(4) >= window.get();
        Millicores::new(self.open_mean().filter(|_| enough).unwrap_or(0))
    }

    /// Returns for how long it has been measured.
    pub(crate) fn history(&self) -> Millis {
        self.last.since(self.first)
    }

    /// Returns since when it has been measured.
    pub(crate) fn first(&self) -> At {
        self.first
    }

    /// Returns when it was measured last.
    pub(crate) fn last(&self) -> At {
        self.last
    }
}

/// Returns the number of the window that a moment ends or lies in.
pub(crate) fn window_of(at: At, window: u64) -> u64 {
    at.millis().saturating_sub(1) / window.max(1)
}

/// Returns where in the season a window is: where it begins.
fn place(days: &Days, number: u64, window: u64) -> Place {
    Place::of(days.civil(At::from_millis(number.saturating_mul(window))))
}

/// Returns a rate as it is kept; none that is taken in is wider.
pub(super) fn narrow(rate: u64) -> u32 {
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// Moves an average by a share of what is missing; the first value is the average.
pub(super) fn blend(average: &mut u64, value: u64, memory: u64) {
    let sum = u128::from(*average) * u128::from(memory - 1) + u128::from(value);
    *average = u64::try_from(sum / u128::from(memory)).unwrap_or(u64::MAX);
}

pub(super) fn square(value: u64) -> u64 {
    value.saturating_mul(value)
}

/// What the variance may be of something seen once: an eighth of that of a use which is either nothing
/// or the most, with this mean, and never less than if it moved by a sixteenth of the most.
fn unknown(mean: u64, most: Millicores) -> u64 {
    let most = most.get().min(RATE_MAX).max(mean);
    (mean.saturating_mul(most - mean) / 8).max(square(most / 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Millis = Millis::from_secs(300);
    const MOST: Millicores = Millicores::new(1000);

    fn sample(cpu: u64, secs: u64) -> Sample {
        let held = Millis::from_secs(secs);
        Sample { cpu: Millicores::new(cpu), memory: Mebibytes::ZERO, held }
    }

    const TERMS: Terms<'static> = Terms { window: WINDOW, most: MOST, days: None };

    fn track(rates: impl IntoIterator<Item = u64>) -> Track {
        let mut at = At::from_millis(0);
        let mut track = Track::start(at);
        for rate in rates {
            at = at.after(WINDOW);
            track.observe(at, sample(rate, 300), TERMS);
        }
        track
    }

    fn foreseen(track: &Track) -> (u64, u64) {
        let (mean, deviation) = track.foresee(MOST).unwrap();
        (mean.get(), deviation.get())
    }

    #[test]
    fn a_track_is_small() {
        assert!(size_of::<Track>() <= 328, "{}", size_of::<Track>());
    }

    #[test]
    fn a_steady_use_is_foreseen_exactly_and_ever_more_surely() {
        let (mean, young) = foreseen(&track([5]));
        let (same, old) = foreseen(&track([5; 1000]));
        assert_eq!((mean, same), (5, 5));
        assert!(young > 50 && old <= 3, "{young} then {old}");
    }

    #[test]
    fn white_noise_is_seen_as_noise_around_its_mean() {
        let rates = (0..600_u64).map(|i| if i.is_multiple_of(2) { 100 } else { 300 });
        let (mean, deviation) = foreseen(&track(rates));
        assert!(mean.abs_diff(200) < 15, "{mean}");
        assert!(deviation.abs_diff(105) < 10, "{deviation}");
    }

    #[test]
    fn samples_of_a_window_are_averaged_by_how_long_they_held() {
        let mut at = At::from_millis(0);
        let mut track = Track::start(at);
        let mut closed = Vec::new();
        for (rate, secs) in [(100, 100), (400, 200), (7, 5)] {
            at = at.after(Millis::from_secs(secs));
            closed.extend(track.observe(at, sample(rate, secs), TERMS));
        }
        let window = closed.first().map_or(9, |closed| closed.window);
        assert_eq!(closed, [Closed { window, actual: 300, foreseen: None, mature: false }]);
    }

    #[test]
    fn a_window_that_was_hardly_seen_says_nothing() {
        let mut track = Track::start(At::from_millis(0));
        let late = At::from_millis(299_000);
        assert_eq!(track.observe(late, sample(900, 5), TERMS), None);
        let later = At::from_millis(304_000);
        assert_eq!(track.observe(later, sample(10, 5), TERMS), None);
        assert_eq!(foreseen(&track).0, 10);
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten() {
        let mut track = track([1000; 100]);
        let late = track.last().after(Millis::from_secs(7 * 24 * 3600));
        let at = At::from_millis(late.millis().next_multiple_of(300_000));
        track.observe(at, sample(4, 300), TERMS);
        assert_eq!(foreseen(&track).0, 4);
    }

    const MONDAY: u64 = 1_799_020_800_000;

    /// A draw from 0 to 39: a linear congruence, its high bits.
    fn noise(seed: &mut u64) -> u64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % 40
    }

    /// Plays windows from a Monday on, by a use that knows the day and the hour; with and without
    /// seasons. Returns what was foreseen before each window, and what came.
    fn play(
        windows: u64,
        days: Option<&Days>,
        mut used: impl FnMut(u64, u64) -> u64,
    ) -> (Vec<(u64, u64)>, Vec<u64>, Track) {
        let mut track = Track::start(At::from_millis(MONDAY));
        let (mut foreseen_all, mut came) = (Vec::new(), Vec::new());
        for window in 0..windows {
            let rate = used(window / 288, window % 288 / 12);
            foreseen_all.push(if window == 0 { (0, 0) } else { foreseen(&track) });
            came.push(rate);
            let at = At::from_millis(MONDAY + (window + 1) * WINDOW.get());
            track.observe(at, sample(rate, 300), Terms { days, ..TERMS });
        }
        (foreseen_all, came, track)
    }

    fn is_office(day: u64, hour: u64) -> bool {
        day % 7 < 5 && (9..18).contains(&hour)
    }

    #[test]
    fn white_noise_and_a_single_day_have_no_season_and_are_foreseen_as_before() {
        let days = Days::default();
        let both = |windows: u64, used: &dyn Fn(u64, u64, u64) -> u64| {
            let [with, without] = [Some(&days), None].map(|days| {
                let mut seed = 7;
                play(windows, days, |day, hour| used(day, hour, noise(&mut seed)))
            });
            assert_eq!(with.0, without.0);
            assert!(!with.2.is_seasonal() && with.2.rise().is_zero());
            with.2
        };
        let noisy = both(8 * 288, &|_, _, noise| 100 + noise * 5);
        assert!(noisy.season.is_none(), "it was forgotten");
        let single = both(288, &|day, hour, noise| {
            if is_office(day, hour) { 500 + noise } else { 50 + noise }
        });
        assert!(single.season.is_some(), "it began to learn");
        both(28 * 288, &|_, _, noise| 100 + noise * 5);
        both(28 * 288, &|_, _, _| 100);
    }

    #[test]
    fn office_hours_are_foreseen_by_their_season_and_better_than_by_averages() {
        let used = |seed: &mut u64, day, hour| {
            if is_office(day, hour) { 500 + noise(seed) } else { 50 + noise(seed) }
        };
        let days = Days::default();
        let [with, without] = [Some(&days), None].map(|days| {
            let mut seed = 7;
            play(21 * 288, days, |day, hour| used(&mut seed, day, hour))
        });
        let wrong = |(foreseen, came, _): &(Vec<(u64, u64)>, Vec<u64>, Track)| {
            let last = foreseen.iter().zip(came).skip(14 * 288);
            last.map(|((mean, _), came)| square(mean.abs_diff(*came))).sum::<u64>()
        };
        assert!(wrong(&with) * 3 < wrong(&without), "{} {}", wrong(&with), wrong(&without));
        assert!(with.2.is_seasonal());
        // Monday midnight: within an hour nothing, within a day the office.
        let [hour, _, day] = with.2.ahead(WINDOW, &days).map(|ahead| ahead.mean);
        assert!(hour < 100 && day > 450, "{hour} {day}");
        let [_, _, day] = without.2.ahead(WINDOW, &days).map(|ahead| ahead.mean);
        assert!(day < 100, "{day}");
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let huge = Sample {
            cpu: Millicores::new(u64::MAX),
            memory: Mebibytes::ZERO,
            held: Millis::new(u64::MAX),
        };
        let mut track = Track::start(At::from_millis(0));
        let days = Days::default();
        let most = Millicores::new(u64::MAX);
        let terms = Terms { window: Millis::new(1), most, days: Some(&days) };
        for at in [1, 2, u64::MAX / 2, u64::MAX] {
            track.observe(At::from_millis(at), huge, terms);
        }
        assert!(foreseen(&track).0 <= RATE_MAX);
    }
}
