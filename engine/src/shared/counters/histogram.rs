//! Counters of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::add;

/// The buckets' upper bounds: in microseconds, and in seconds as the label `le` shows them.
pub(crate) const BOUNDS: [(u64, &str); 13] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// One worker's share of a histogram.
#[repr(C)]
pub(crate) struct Histogram {
    /// Durations in each bucket alone, the last one for those over the greatest bound.
    pub(crate) buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Sum of all durations in microseconds.
    pub(crate) sum_us: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        // Rounded up: what took longer than a bound does not count as within it.
        let us = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|(bound, _)| us <= *bound).unwrap_or(BOUNDS.len());
        add(&self.buckets[bucket]);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}
