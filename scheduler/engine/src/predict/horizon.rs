//! Horizons: how much more than foreseen a use comes to within an hour, six hours and a day. Time is cut
//! into blocks of each; when one begins, what is expected at most in it is noted, and when it ends, by
//! how much the highest window was above that. It keeps two numbers a horizon, and no windows.

use tengyun_model::Millis;

use super::track::{SQUARE_PARTS, blend, narrow, square};

/// The horizons beyond the next window.
pub(crate) const HORIZONS: [Millis; COUNT] =
    [Millis::from_secs(3600), Millis::from_secs(6 * 3600), Millis::from_secs(24 * 3600)];
const COUNT: usize = 3;
/// Blocks of each that errors are remembered for: a day, three days, a week.
const MEMORIES: [u8; COUNT] = [24, 12, 7];

/// One horizon of one use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Block {
    /// Whether its beginning was seen, and what was expected at most then.
    begun: bool,
    expected: u32,
    highest: u32,
    /// Windows seen of it.
    windows: u16,
    /// Blocks judged, at most as many as are remembered.
    judged: u8,
}

/// The horizons of one use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Horizons {
    blocks: [Block; COUNT],
    /// The mean squares of their errors, apart because they are wider.
    squares: [u64; COUNT],
    /// The window that is to come next.
    next: u64,
}

impl Horizons {
    /// Takes in a window that ended. `expected` gives what is then expected at most within a horizon.
    pub(crate) fn note(
        &mut self,
        (window, length): (u64, u64),
        rate: u64,
        expected: impl Fn(Millis) -> u64,
    ) {
        let next = window.saturating_add(1);
        for (at, (block, square_mean)) in self.blocks.iter_mut().zip(&mut self.squares).enumerate()
        {
            let horizon = HORIZONS[at].get();
            let number = |window: u64| window.saturating_mul(length) / horizon;
            if number(window) != number(self.next) {
                // Its beginning was not seen.
                *block = Block { judged: block.judged, ..Block::default() };
            }
            block.highest = block.highest.max(narrow(rate));
            block.windows = block.windows.saturating_add(1);
            if number(next) == number(window) {
                continue;
            }
            let seen = u64::from(block.windows).saturating_mul(length) >= horizon / 2;
            if block.begun && seen {
                block.judged = (block.judged + 1).min(MEMORIES[at]);
                let more = u64::from(block.highest.saturating_sub(block.expected));
                let wrong = square(more).saturating_mul(SQUARE_PARTS);
                blend(square_mean, wrong, u64::from(block.judged));
            }
            *block = Block {
                begun: true,
                expected: narrow(expected(HORIZONS[at])),
                judged: block.judged,
                ..Block::default()
            };
        }
        self.next = next;
    }

    /// Returns the mean square of what highest windows were above what was expected at most, by
    /// horizon; nothing where none was judged.
    pub(crate) fn squares(&self) -> [Option<u64>; COUNT] {
        let known = |at: usize| self.blocks[at].judged > 0;
        std::array::from_fn(|at| known(at).then_some(self.squares[at] / SQUARE_PARTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 300_000;

    fn seen(rates: impl Iterator<Item = u64>, expected: u64) -> [Option<u64>; 3] {
        let mut horizons = Horizons::default();
        for (window, rate) in (0_u64..).zip(rates) {
            horizons.note((window, WINDOW), rate, |_| expected);
        }
        horizons.squares()
    }

    #[test]
    fn the_highest_window_of_each_block_is_compared_with_what_was_expected() {
        // One window of 500 a day, in windows of 100 of which 100 is expected.
        let rates = (0..5 * 288_u64).map(|window| if window % 288 == 200 { 500 } else { 100 });
        let [hour, six, day] = seen(rates, 100).map(|square| square.unwrap().isqrt());
        assert_eq!(day, 400);
        assert!(six > 150 && six < 260, "{six}");
        assert!(hour > 60 && hour < 110, "{hour}");
    }

    #[test]
    fn horizons_are_small() {
        assert_eq!(size_of::<Horizons>(), 72);
    }

    #[test]
    fn what_was_expected_and_came_is_no_error() {
        assert_eq!(seen([100; 1000].into_iter(), 100), [Some(0); 3]);
        assert_eq!(seen([100; 1000].into_iter(), 300), [Some(0); 3]);
    }

    #[test]
    fn a_block_whose_beginning_was_not_seen_is_not_judged() {
        assert_eq!(seen([9; 12].into_iter(), 0), [None; 3]);
        assert_eq!(seen([9; 24].into_iter(), 0)[0], Some(81));
        let mut horizons = Horizons::default();
        for window in [0, 11, 30, 35] {
            horizons.note((window, WINDOW), 9, |_| 0);
        }
        assert_eq!(horizons.squares(), [None; 3], "hardly seen");
        horizons.note((u64::MAX, u64::MAX), u64::MAX, |_| 0);
    }
}
