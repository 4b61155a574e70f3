//! A histogram of durations that any thread may add to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Value, line};

/// The upper bounds of the buckets in microseconds: from a fast disk's fsync to a stuck one.
const BOUNDS: [(u64, &str); 14] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (10_000_000, "10.0"),
];

/// Durations, counted by how long they were.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many fell into each bucket and no smaller one; the last are longer than any bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Adds one duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        let bucket = bucket.unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn write(&self, name: &str, text: &mut String) {
        let mut below = 0_u64;
        for (index, (_, bound)) in BOUNDS.iter().enumerate() {
            below = below.saturating_add(self.buckets[index].load(Ordering::Relaxed));
            line(text, format_args!("{name}_bucket{{le=\"{bound}\"}} {below}"));
        }
        let all = below.saturating_add(self.buckets[BOUNDS.len()].load(Ordering::Relaxed));
        line(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {all}"));
        line(text, format_args!("{name}_count {all}"));
        let sum = Value::Millionths(self.sum_micros.load(Ordering::Relaxed));
        line(text, format_args!("{name}_sum {sum}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_its_bucket_and_all_that_are_larger() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut text = String::new();
        histogram.write("x_seconds", &mut text);
        for line in [
            "x_seconds_bucket{le=\"0.0001\"} 2",
            "x_seconds_bucket{le=\"0.00025\"} 3",
            "x_seconds_bucket{le=\"10.0\"} 4",
            "x_seconds_bucket{le=\"+Inf\"} 5",
            "x_seconds_count 5",
            "x_seconds_sum 20.000202",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
