//! What is counted, and how it is shown.
//!
//! Counters live in the state zone, so they are the same from any worker and survive a reload.
//! What nearly every request touches is counted in a share of the worker's own and summed when it
//! is shown; every addition is one relaxed atomic. [`Snapshot`] reads them all once and gives
//! Prometheus' text format or JSON with the same numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::shared::health::{ENDPOINTS, EndpointId};
use crate::shared::state::State;

mod connections;
mod histogram;
mod labels;
mod prometheus;
mod snapshot;
#[cfg(test)]
mod tests;

pub use connections::ConnectionCount;
pub(crate) use connections::{ConnectionCounts, Counted};
use histogram::Histogram;
pub use histogram::HistogramSnapshot;
pub use labels::{CallResult, ConnectionState, FailureReason, Outcome, OwnResult, UncachedReason};
pub use snapshot::{Build, Counts, EndpointSnapshot, Snapshot, ZoneEntries, ZoneFacts};

/// One worker's share of the totals.
#[repr(C)]
pub(crate) struct Shard {
    requests: [AtomicU64; Outcome::ALL.len()],
    uncached: [AtomicU64; UncachedReason::ALL.len()],
    introspection: Histogram,
    queue: Histogram,
}

/// What is counted of each endpoint's calls. The last place is for those that have no id.
#[repr(C)]
pub(crate) struct Calls([EndpointCalls; ENDPOINTS + 1]);

#[repr(C, align(128))]
struct EndpointCalls {
    results: [AtomicU64; CallResult::ALL.len()],
    failures: [AtomicU64; FailureReason::ALL.len()],
    ended_early: AtomicU64,
    own: [AtomicU64; OwnResult::ALL.len()],
}

/// Totals are counted in the share of any slot: a worker without one uses some other number, its
/// process id for instance.
impl State {
    /// A request met the module and came out so.
    pub fn count_request(&self, slot: u8, outcome: Outcome) {
        add(&self.slot(slot).shard.requests[outcome as usize]);
    }

    /// An active answer was not kept.
    pub fn count_uncached(&self, slot: u8, reason: UncachedReason) {
        add(&self.slot(slot).shard.uncached[reason as usize]);
    }

    /// A call to the authorization server ended so.
    pub fn count_introspection(&self, endpoint: impl Into<Option<EndpointId>>, result: CallResult) {
        add(&self.calls(endpoint.into()).results[result as usize]);
    }

    /// A call failed, or could not be made, for this reason.
    pub fn count_failure(&self, endpoint: impl Into<Option<EndpointId>>, reason: FailureReason) {
        add(&self.calls(endpoint.into()).failures[reason as usize]);
    }

    /// An endpoint called a token inactive whose answer still stood in a zone, and whose `exp` had
    /// not come: it was revoked, or the server has lost what it knew.
    pub fn count_ended_early(&self, endpoint: impl Into<Option<EndpointId>>) {
        add(&self.calls(endpoint.into()).ended_early);
    }

    /// A call of the gateway's own ended so. It is counted nowhere else.
    pub fn count_own_call(&self, endpoint: impl Into<Option<EndpointId>>, result: OwnResult) {
        add(&self.calls(endpoint.into()).own[result as usize]);
    }

    /// A call took so long, from when a thread began it to its end.
    pub fn observe_introspection(&self, slot: u8, took: Duration) {
        self.slot(slot).shard.introspection.observe(took);
    }

    /// A call waited so long for a thread of the pool.
    pub fn observe_queue(&self, slot: u8, waited: Duration) {
        self.slot(slot).shard.queue.observe(waited);
    }

    fn calls(&self, endpoint: Option<EndpointId>) -> &'static EndpointCalls {
        let place = endpoint.map_or(ENDPOINTS, |EndpointId(index)| usize::from(index));
        &self.layout().calls.0[place]
    }

    fn shards(&self) -> impl Iterator<Item = &'static Shard> {
        self.layout().slots.iter().map(|slot| &slot.shard)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
