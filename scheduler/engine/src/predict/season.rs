//! A season: how the use of one instance goes through a day of people who work and a day of rest. It is
//! learnt only from what came, and says nothing until it was right: it must have foreseen a whole day of
//! windows better than the averages did, and lately, too.
//!
//! A level for every half hour of both kinds of day, and beside it how much each five minutes of an
//! hour are above theirs, alike for all hours: what people do follows the day, what machines do begins
//! on the hour. Both are lifted or lowered by how far the last hour was off (`docs/forecast.md`).

use tengyun_model::{DayKind, Millis};

use super::track::{PARTS, SQUARE_PARTS, blend, narrow, square};
use crate::days::Civil;

/// Half hours of a day, and how long one is.
pub(crate) const SLOTS: usize = 48;
pub(crate) const SLOT: Millis = Millis::from_secs(1800);
/// Parts of an hour.
const HOUR_PARTS: usize = 12;
const HOUR_PART: Millis = Millis::from_secs(300);
const HOUR: Millis = Millis::from_secs(3600);
/// Days that a level remembers, and hours that the parts of an hour are learnt from: as many.
const DAYS: u8 = 4;
const HOURS: u64 = 96;
/// A kind of day is known once so many were seen: one may be a holiday that nobody told of.
const DAYS_KNOWN: u8 = 2;
/// A day counts as seen with so many of its half hours.
const DAY_SLOTS: u8 = 24;
/// Windows that the correction by what came lately remembers: an hour.
const LATELY: i64 = 12;
/// Windows that errors are judged by: half a day as those of the averages, and two days.
const RECORD: u16 = 144;
const LONG: u16 = 576;
/// It has no say before so many of its forecasts were judged: a day of them.
const JUDGED: u16 = 288;
/// Its mean square error must be less than that of the averages by this factor.
const BETTER: (u64, u64) = (9, 8);
/// What is no better after so many windows, a week, is forgotten.
const PATIENCE: u32 = 2016;
/// Parts of a millicore that levels are kept to, and those of an hour.
const LEVEL_PARTS: u64 = 16;
const HOUR_SCALE: i64 = 64;

/// The mean of each eighth of a day, in millicores.
pub(crate) type DayShape = [u64; 8];

/// A number of 11 bits and a power of two: a level in two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Short(u16);

impl Short {
    const UNKNOWN: Self = Self(u16::MAX);
    const BITS: u32 = 11;

    fn of(value: u64) -> Self {
        let whole = 1_u64 << Self::BITS;
        // Numbers below twice the whole have no power to be rounded by.
        let power = value.checked_ilog2().unwrap_or(0).saturating_sub(Self::BITS);
        let rounded = value.saturating_add((1_u64 << power) >> 1);
        let power = rounded.checked_ilog2().unwrap_or(0).saturating_sub(Self::BITS);
        let digits = rounded >> power;
        let code = if digits < whole { digits } else { whole * u64::from(power) + digits };
        Self(u16::try_from(code).unwrap_or(u16::MAX - 1).min(u16::MAX - 1))
    }

    fn get(self) -> Option<u64> {
        let whole = 1_u64 << Self::BITS;
        let code = u64::from(self.0);
        if self == Self::UNKNOWN {
            return None;
        }
        let Some(power) = (code / whole).checked_sub(1) else { return Some(code) };
        Some((whole + code % whole) << power)
    }
}

/// Where in the season a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    kind: DayKind,
    slot: u8,
    part: u8,
}

impl Place {
    /// Finds the place of a time of day.
    pub(crate) fn of(civil: Civil) -> Self {
        let place = |number: u64, most: usize| {
            let number = usize::try_from(number).unwrap_or(0).min(most - 1);
            u8::try_from(number).expect("a day has few half hours")
        };
        let since = civil.since.get();
        Self {
            kind: civil.kind,
            slot: place(since / SLOT.get(), SLOTS),
            part: place(since % HOUR.get() / HOUR_PART.get(), HOUR_PARTS),
        }
    }

    fn slot(self) -> usize {
        usize::from(self.slot)
    }

    fn part(self) -> usize {
        usize::from(self.part)
    }
}

/// Returns the place of what is kept of a kind of day.
const fn of_kind(kind: DayKind) -> usize {
    match kind {
        DayKind::Working => 0,
        DayKind::Rest => 1,
    }
}

/// A half hour that is being learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    place: Place,
    /// The sum and the number of its windows.
    sum: u64,
    count: u32,
}

/// The season of one instance. There may be a million of them, so no number is wider than it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Season {
    levels: [[Short; SLOTS]; 2],
    /// How many days of each kind were seen, at most as many as are remembered.
    days: [u8; 2],
    /// Half hours learnt of the present day.
    learnt: u8,
    /// How much each part of an hour is above its half hour, and hours that it was learnt from.
    parts: [i32; HOUR_PARTS],
    hours: [u8; HOUR_PARTS],
    /// The half hour that is being learnt.
    open: Option<Open>,
    /// How far what came lately was above the season.
    lately: i64,
    /// The mean square of what it was wrong by, over half a day and two, and that of the averages.
    record: u64,
    own: u64,
    plain: u64,
    judged: u16,
    /// Windows since it began to learn.
    age: u32,
    /// What the averages alone foresaw for the next window.
    averages: u32,
    /// What the highest mean of the next hour is above that of the next window, while it has a say.
    pub(crate) rise: u32,
    /// Whether it had a say in the newest forecast.
    pub(crate) speaks: bool,
}

impl Season {
    /// Begins to learn; `averages` is what they foresaw for the next window.
    pub(crate) fn start(averages: u64) -> Self {
        Self {
            levels: [[Short::UNKNOWN; SLOTS]; 2],
            days: [0; 2],
            learnt: 0,
            parts: [0; HOUR_PARTS],
            hours: [0; HOUR_PARTS],
            open: None,
            lately: 0,
            record: 0,
            own: 0,
            plain: 0,
            judged: 0,
            age: 0,
            averages: narrow(averages),
            rise: 0,
            speaks: false,
        }
    }

    /// Takes in what the averages alone foresee for the next window.
    pub(crate) fn note_averages(&mut self, averages: u64) {
        self.averages = narrow(averages);
    }

    /// Returns the level of a half hour in parts of a millicore; nothing until its kind of day is known.
    fn level(&self, place: Place) -> Option<u64> {
        let kind = of_kind(place.kind);
        let known = self.days[kind] >= DAYS_KNOWN;
        let level = self.levels[kind][place.slot()].get().filter(|_| known)?;
        Some(level.saturating_mul(PARTS / LEVEL_PARTS))
    }

    /// Returns what is usual in a window, in parts of a millicore.
    fn usual(&self, place: Place) -> Option<i64> {
        let part = i64::from(self.parts[place.part()]).saturating_mul(signed(PARTS) / HOUR_SCALE);
        Some(signed(self.level(place)?).saturating_add(part))
    }

    /// Returns what it expects of a window soon, in parts of a millicore.
    pub(crate) fn expect(&self, place: Place) -> Option<u64> {
        let expected = self.usual(place)?.saturating_add(self.lately);
        Some(u64::try_from(expected).unwrap_or(0))
    }

    /// Returns what it expects of a half hour that begins so many half hours from now. How far the last
    /// hour was off says ever less of those that are later.
    pub(crate) fn expect_later(&self, place: Place, ahead: u64) -> Option<u64> {
        let lately = self.lately / signed(ahead / 2 + 1);
        let expected = signed(self.level(place)?).saturating_add(lately);
        Some(u64::try_from(expected).unwrap_or(0))
    }

    /// Returns the day of people who work, or that of rest while it alone is known.
    pub(crate) fn shape(&self) -> DayShape {
        let kind = usize::from(self.days[0] < DAYS_KNOWN);
        let mut shape = DayShape::default();
        let eighth = SLOTS / shape.len();
        for (part, slots) in shape.iter_mut().zip(self.levels[kind].chunks(eighth)) {
            let known = slots.iter().filter_map(|slot| slot.get());
            let (sum, count) = known.fold((0, 0), |(sum, count), level| (sum + level, count + 1));
            *part = sum / LEVEL_PARTS / u64::max(count, 1);
        }
        shape
    }

    /// Takes in a window that ended.
    pub(crate) fn learn(&mut self, place: Place, rate: u64) {
        let came = signed(rate.saturating_mul(PARTS));
        self.age = self.age.saturating_add(1);
        if let (Some(expected), Some(usual)) = (self.expect(place), self.usual(place)) {
            let off = came.saturating_sub(usual);
            if self.judged == 0 {
                self.lately = off;
            } else {
                self.judge(rate, expected / PARTS);
                self.lately += off.saturating_sub(self.lately) / LATELY;
            }
            self.judged = (self.judged + 1).min(LONG);
        }
        self.learn_part(place, rate);
        self.learn_level(place, rate);
    }

    /// Compares what it expected of a window, and what the averages did, with what came.
    fn judge(&mut self, rate: u64, expected: u64) {
        let wrong = |of: u64| square(rate.abs_diff(of)).saturating_mul(SQUARE_PARTS);
        let judged = u64::from(self.judged);
        blend(&mut self.record, wrong(expected), judged.min(RECORD.into()));
        blend(&mut self.own, wrong(expected), judged);
        blend(&mut self.plain, wrong(self.averages.into()), judged);
    }

    fn learn_part(&mut self, place: Place, rate: u64) {
        let Some(level) = self.level(place) else { return };
        let hours = &mut self.hours[place.part()];
        *hours = hours.saturating_add(1).min(u8::try_from(HOURS).unwrap_or(u8::MAX));
        let above = signed(rate).saturating_mul(HOUR_SCALE);
        let above = above.saturating_sub(signed(level) / (signed(PARTS) / HOUR_SCALE));
        let part = &mut self.parts[place.part()];
        let next = i64::from(*part) + above.saturating_sub(i64::from(*part)) / i64::from(*hours);
        *part = i32::try_from(next).unwrap_or(if next > 0 { i32::MAX } else { i32::MIN });
    }

    /// Adds a window to its half hour, and ends the one before.
    fn learn_level(&mut self, place: Place, rate: u64) {
        let (sum, count) = match self.open {
            Some(Open { place: open, sum, count })
                if (open.kind, open.slot) == (place.kind, place.slot) =>
            {
                (sum, count)
            }
            Some(Open { place: open, sum, count }) => {
                let count = u64::from(count.max(1));
                self.end_slot(open, sum.saturating_mul(LEVEL_PARTS) / count);
                if place.slot < open.slot || place.kind != open.kind {
                    self.end_day(open.kind);
                }
                (0, 0)
            }
            None => (0, 0),
        };
        let (sum, count) = (sum.saturating_add(rate), count.saturating_add(1));
        self.open = Some(Open { place, sum, count });
    }

    fn end_slot(&mut self, place: Place, came: u64) {
        let kind = of_kind(place.kind);
        let memory = u64::from(self.days[kind].saturating_add(1).min(DAYS));
        let level = &mut self.levels[kind][place.slot()];
        let mut mean = level.get().unwrap_or(came);
        blend(&mut mean, came, memory);
        *level = Short::of(mean);
        self.learnt = self.learnt.saturating_add(1);
    }

    fn end_day(&mut self, kind: DayKind) {
        if self.learnt >= DAY_SLOTS {
            let days = &mut self.days[of_kind(kind)];
            *days = days.saturating_add(1).min(DAYS);
        }
        self.learnt = 0;
    }

    /// Returns its record if it has earned a say beside averages of which the best has this one.
    pub(crate) fn earned(&self, best: u64) -> Option<u64> {
        let own = self.own.saturating_add(SQUARE_PARTS).saturating_mul(BETTER.0);
        let plain = self.plain.saturating_add(SQUARE_PARTS).saturating_mul(BETTER.1);
        let earned = self.judged >= JUDGED && own < plain && self.record < best;
        earned.then_some(self.record)
    }

    /// Says whether it was given its time and is no better than the averages alone.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.age >= PATIENCE && self.own >= self.plain
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_number_is_near_its_value_and_is_read_as_it_was_written() {
        let mut value = 0_u64;
        while value < 1 << 36 {
            let read = Short::of(value).get().unwrap();
            assert!(read.abs_diff(value) <= value >> 12, "{value} is read as {read}");
            assert_eq!(Short::of(read).get(), Some(read), "{value}");
            value += 1 + value / 97;
        }
        assert!(Short::of(u64::MAX).get().is_some());
        assert_eq!(Short::UNKNOWN.get(), None);
    }

    #[test]
    fn a_season_is_small() {
        assert_eq!(size_of::<Season>(), 320);
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let mut season = Season::start(u64::MAX);
        for step in 0..3000_u64 {
            let since = Millis::new(step * 300_000 % 86_400_000);
            let place = Place::of(Civil { kind: DayKind::Working, since });
            season.learn(place, if step % 2 == 0 { u64::MAX } else { 0 });
            season.expect(place);
            season.expect_later(place, u64::MAX);
        }
        season.earned(u64::MAX);
    }
}
