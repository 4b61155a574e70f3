//! A decaying histogram of CPU rates: where a percentile is wanted and memory is not.
//!
//! Buckets are exact below 8 and grow by an eighth of an octave above, so a percentile is at most
//! 12.5 % too high and never too low. Weights halve with each half-life that passes (as in Autopilot,
//! `EuroSys`'20, and the Kubernetes VPA, which grow the weights of new samples instead).

use tengyun_model::{Millicores, Millis, Permille};

/// Exact values and parts of an octave: 2 to the power of this.
const PARTS_LOG2: u32 = 3;
const PARTS: u64 = 1 << PARTS_LOG2;

/// Weights of CPU rates; empty buckets cost nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// Bucket and weight, ascending by bucket.
    buckets: Vec<(u32, u64)>,
}

impl Histogram {
    /// Adds a rate that held for some time.
    pub(crate) fn add(&mut self, rate: Millicores, held: Millis) {
        let bucket = bucket_of(rate.get());
        match self.buckets.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(held.get()),
            Err(at) => self.buckets.insert(at, (bucket, held.get())),
        }
    }

    /// Halves every weight and drops what has none left.
    pub(crate) fn halve(&mut self) {
        for (_, weight) in &mut self.buckets {
            *weight /= 2;
        }
        self.buckets.retain(|(_, weight)| *weight > 0);
    }

    /// Returns the rate that was not passed for this share of the time; nothing without samples.
    pub(crate) fn percentile(&self, share: Permille) -> Millicores {
        let total: u128 = self.buckets.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let scaled = total.saturating_mul(u128::from(share.get()));
        // Wide division is slow and seldom needed.
        let wanted = match u64::try_from(scaled) {
            Ok(narrow) => u128::from(narrow.div_ceil(1000)),
            Err(_) => scaled.div_ceil(1000),
        };
        let mut covered = 0;
        for (bucket, weight) in &self.buckets {
            covered += u128::from(*weight);
            if covered >= wanted {
                return Millicores::new(highest_in(*bucket));
            }
        }
        Millicores::ZERO
    }
}

fn bucket_of(value: u64) -> u32 {
    if value < PARTS {
        return u32::try_from(value).expect("below 8");
    }
    let octave = value.ilog2() - PARTS_LOG2;
    let part = (value >> octave) - PARTS;
    (octave + 1) * 8 + u32::try_from(part).expect("below 8")
}

fn highest_in(bucket: u32) -> u64 {
    if u64::from(bucket) < PARTS {
        return u64::from(bucket);
    }
    let octave = bucket / 8 - 1;
    let part = u64::from(bucket % 8) + PARTS;
    // The last value before the next bucket; the topmost bucket ends with the largest number.
    let next = u128::from(part + 1) << octave;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_its_bucket_and_the_bucket_is_narrow() {
        for value in (0..4096).chain([u64::MAX - 1, u64::MAX]) {
            let highest = highest_in(bucket_of(value));
            assert!(highest >= value);
            assert!(highest - value <= value / 8, "{value} reads as {highest}");
        }
    }

    #[test]
    fn a_percentile_covers_its_share_of_the_time() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(Permille::new(950)), Millicores::ZERO);
        histogram.add(Millicores::new(4), Millis::new(95));
        histogram.add(Millicores::new(7), Millis::new(5));
        assert_eq!(histogram.percentile(Permille::new(950)), Millicores::new(4));
        assert_eq!(histogram.percentile(Permille::new(951)), Millicores::new(7));
    }

    #[test]
    fn old_samples_fade() {
        let mut histogram = Histogram::default();
        histogram.add(Millicores::new(7), Millis::new(1));
        histogram.halve();
        assert_eq!(histogram, Histogram::default());
    }
}
