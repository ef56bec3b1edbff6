//! Histograms of durations.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::shared::counters::{BOUNDS, Histogram, read};

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

    /// Returns how many durations were observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of the durations in seconds, as text with microseconds.
    pub fn sum_seconds(&self) -> String {
        format!("{}.{:06}", self.sum_us / 1_000_000, self.sum_us % 1_000_000)
    }

    /// Returns each bucket's upper bound in seconds (`+Inf` last) and how many durations did not
    /// exceed it, those of the lower buckets included.
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
