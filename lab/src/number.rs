//! Crossing between integers and floats: the one place of the laboratory where a number changes its
//! kind, so that every loss is on purpose. It must never be used on the way into a decision of the
//! engine without saying how it rounds.

/// Returns a count as a real number; exact below 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts of the laboratory are far below 2^53, and a report rounds anyway"
)]
pub(crate) const fn real(count: u64) -> f64 {
    count as f64
}

/// Returns a length as a real number.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "lengths are bounded by memory and far below 2^53"
)]
pub(crate) const fn length(count: usize) -> f64 {
    count as f64
}

/// Returns the nearest whole number; below zero and not-a-number give zero, too large the largest.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates and takes not-a-number to zero"
)]
pub(crate) fn nearest(value: f64) -> u64 {
    value.round() as u64
}

/// Returns a whole, small, not negative number as an index, rounded down.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates and takes not-a-number to zero"
)]
pub(crate) fn floor_index(value: f64) -> usize {
    value.floor() as usize
}

/// Returns a length as a wide integer.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Rounds to some decimals, so that results read well and compare byte for byte.
pub(crate) fn decimals(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    let rounded = (value * scale).round() / scale;
    // Nothing is printed as "-0".
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// Returns a part of a whole in percent; nothing of nothing.
pub(crate) fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

/// Sums in the order of numpy's pairwise summation, so that yardsticks decide as `sim.py` does.
pub(crate) fn pairwise_sum(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    const BLOCK: usize = 128;
    if values.len() < LANES {
        return values.iter().fold(0.0, |sum, v| sum + v);
    }
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (front, back) = values.split_at(half - half % LANES);
        return pairwise_sum(front) + pairwise_sum(back);
    }
    let mut lanes = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    let pair = |at: usize| lanes[at] + lanes[at + 1];
    let lanes = (pair(0) + pair(2)) + (pair(4) + pair(6));
    rest.iter().fold(lanes, |sum, v| sum + v)
}

/// Returns the mean, summed pairwise.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { pairwise_sum(values) / length(values.len()) }
}

/// Returns a percentile between samples, as numpy does by default. Sorts its copy of the samples.
pub(crate) fn percentile(samples: &mut [f64], pct: f64) -> f64 {
    let Some(last) = samples.len().checked_sub(1) else { return 0.0 };
    samples.sort_unstable_by(f64::total_cmp);
    let at = pct / 100.0 * length(last);
    let low = floor_index(at).min(last);
    let (a, b) = (samples[low], samples[(low + 1).min(last)]);
    let part = at - length(low);
    // The two forms keep the result between its neighbours whatever is lost in rounding.
    if part < 0.5 { a + (b - a) * part } else { b - (b - a) * (1.0 - part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(percentile(&mut [4.0, 1.0, 3.0, 2.0], 50.0), 2.5));
        assert!(close(percentile(&mut [1.0, 2.0], 99.0), 1.99));
        assert!(close(percentile(&mut [], 99.0), 0.0));
    }

    #[test]
    fn a_pairwise_sum_of_whole_numbers_is_exact() {
        let values: Vec<f64> = (0..1000_u32).map(f64::from).collect();
        assert_eq!(nearest(pairwise_sum(&values)), 499_500);
        assert_eq!(nearest(pairwise_sum(&values[..7])), 21);
    }

    #[test]
    fn rounding_never_prints_minus_nothing() {
        assert_eq!(decimals(-0.001, 2).to_string(), "0");
        assert_eq!(decimals(70.654_9, 2).to_string(), "70.65");
    }
}
