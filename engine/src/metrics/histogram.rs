//! Histograms of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use super::{add, read};

/// The buckets' upper bounds: in microseconds, and in seconds as the label `le` shows them.
const BOUNDS: [(u64, &str); 13] = [
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
pub(super) struct Histogram {
    /// Durations in each bucket alone, the last one for those over the greatest bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Sum of all durations in microseconds.
    sum_us: AtomicU64,
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

/// A histogram's numbers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Durations in each bucket alone.
    buckets: [u64; BOUNDS.len() + 1],
    sum_us: u64,
}

impl HistogramSnapshot {
    pub(super) fn sum<'a>(shares: impl Iterator<Item = &'a Histogram>) -> HistogramSnapshot {
        let mut whole = HistogramSnapshot::default();
        for share in shares {
            for (sum, bucket) in whole.buckets.iter_mut().zip(&share.buckets) {
                *sum += read(bucket);
            }
            whole.sum_us = whole.sum_us.wrapping_add(read(&share.sum_us));
        }
        whole
    }

    /// How many durations were observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the durations in seconds, as text with microseconds.
    pub fn sum_seconds(&self) -> String {
        format!("{}.{:06}", self.sum_us / 1_000_000, self.sum_us % 1_000_000)
    }

    /// Upper bound in seconds (`+Inf` last) and how many durations were no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        bounds.zip(&self.buckets).scan(0, |sum, (bound, bucket)| {
            *sum += bucket;
            Some((bound, *sum))
        })
    }
}

impl Serialize for HistogramSnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Buckets<'a>(&'a HistogramSnapshot);
        impl Serialize for Buckets<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(BOUNDS.len() + 1))?;
                for (bound, count) in self.0.cumulative() {
                    map.serialize_entry(bound, &count)?;
                }
                map.end()
            }
        }
        let mut whole = serializer.serialize_struct("Histogram", 3)?;
        whole.serialize_field("count", &self.count())?;
        whole.serialize_field("sum", &(self.sum_us as f64 / 1e6))?;
        whole.serialize_field("buckets", &Buckets(self))?;
        whole.end()
    }
}
