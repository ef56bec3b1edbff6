//! How what is counted is shown.
//!
//! [`Snapshot`] reads all [`counters`](crate::shared::counters) once and gives Prometheus' text
//! format or JSON with the same numbers.

mod histogram;
mod prometheus;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

pub use histogram::HistogramSnapshot;
pub use snapshot::{
    Build, Counts, EndpointSnapshot, ProviderEndpoint, Snapshot, ZoneEntries, ZoneFacts,
};
pub use store::{StoreNode, StoreSnapshot};
