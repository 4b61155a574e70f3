//! Latencies: every sample of a phase, so that a percentile is exact and not a bucket's edge.

use std::time::Duration;

/// The latencies of one or more segments of a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    samples: Vec<Duration>,
}

impl Latencies {
    /// Adds one sample.
    pub fn record(&mut self, latency: Duration) {
        self.samples.push(latency);
    }

    /// Adds all samples of another segment.
    pub fn merge(&mut self, other: Self) {
        self.samples.extend(other.samples);
    }

    /// Returns the samples in the order in which they were added.
    pub fn samples(&self) -> &[Duration] {
        &self.samples
    }

    /// Returns how many samples there are.
    pub const fn count(&self) -> usize {
        self.samples.len()
    }

    /// Returns the nearest-rank percentile: the smallest sample that at least `percent` % of all do
    /// not exceed. `None` without samples.
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * usize::from(percent.min(100))).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// Returns the median.
    pub fn p50(&self) -> Option<Duration> {
        self.percentile(50)
    }

    /// Returns the 99th percentile.
    pub fn p99(&self) -> Option<Duration> {
        self.percentile(99)
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self { samples: samples.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Latencies {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let hundred = of((1..=100).rev());
        assert_eq!(hundred.p50(), Some(Duration::from_millis(50)));
        assert_eq!(hundred.p99(), Some(Duration::from_millis(99)));
        assert_eq!(hundred.percentile(100), Some(Duration::from_millis(100)));
        assert_eq!(hundred.percentile(0), Some(Duration::from_millis(1)));
        assert_eq!(of(1..=101).p99(), Some(Duration::from_millis(100)));
        assert_eq!(of([7]).p99(), Some(Duration::from_millis(7)));
        assert_eq!(of([]).p99(), None);
    }

    #[test]
    fn merging_is_having_measured_both() {
        let mut first = of([3, 1]);
        first.merge(of([2]));
        assert_eq!((first.count(), first.p50()), (3, Some(Duration::from_millis(2))));
    }
}
