//! Jitter: pauses of many are drawn apart, so that they do not all come at once.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Draws a pause between the whole and the whole less so many thousandths of it.
pub(crate) fn shortened(pause: Duration, thousandths_max: u32) -> Duration {
    let draw = RandomState::new().build_hasher().finish();
    let part = draw % (u64::from(thousandths_max) + 1);
    let part = u32::try_from(part).expect("a remainder is below what it was divided by");
    pause.saturating_sub(pause.saturating_mul(part) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shortened_by_no_more_than_its_part() {
        let whole = Duration::from_secs(8);
        for (part, least) in [(125, 7), (500, 4), (0, 8)] {
            for _ in 0..1000 {
                let pause = shortened(whole, part);
                assert!(pause >= Duration::from_secs(least) && pause <= whole, "{pause:?}");
            }
        }
    }
}
