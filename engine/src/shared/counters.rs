//! What is counted, in the state zone: so it is the same from any worker and outlives a reload.
//!
//! What nearly every request touches is counted in a share of the worker's own ([`Shard`]) and
//! summed when it is shown ([`crate::metrics`]). Every addition is one relaxed atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod connections;
mod histogram;
mod labels;
mod store;

pub use connections::ConnectionCount;
pub(crate) use connections::Counted;
pub(crate) use histogram::{BOUNDS, Histogram};
pub use labels::{
    CallResult, ConnectionState, FailureReason, OwnResult, RefreshResult, RequestResult,
    UncachedReason,
};
pub(crate) use store::StoreShard;
pub use store::{StoreErrorReason, StoreGap, StorePeer, StorePurge, StoreResult, StoreWrite};

/// One worker's share of the totals.
#[repr(C)]
pub struct Shard {
    pub(crate) requests: [AtomicU64; RequestResult::ALL.len()],
    pub(crate) uncached: [AtomicU64; UncachedReason::ALL.len()],
    pub(crate) refreshes: [AtomicU64; RefreshResult::ALL.len()],
    pub(crate) mints: AtomicU64,
    pub(crate) calls: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) store: StoreShard,
}

/// What is counted of the calls to one endpoint, by all workers together.
#[repr(C, align(128))]
pub struct EndpointCalls {
    pub(crate) results: [AtomicU64; CallResult::ALL.len()],
    pub(crate) failures: [AtomicU64; FailureReason::ALL.len()],
    pub(crate) ended_early: AtomicU64,
    pub(crate) own: [AtomicU64; OwnResult::ALL.len()],
}

impl Shard {
    /// Counts a request that met the module.
    pub fn count_request(&self, outcome: RequestResult) {
        add(&self.requests[outcome as usize]);
    }

    /// Counts an active answer that was not kept.
    pub fn count_uncached(&self, reason: UncachedReason) {
        add(&self.uncached[reason as usize]);
    }

    /// Counts an entry that was to be asked for anew before it ended.
    pub fn count_refresh(&self, result: RefreshResult) {
        add(&self.refreshes[result as usize]);
    }

    /// Counts a JWT that the gateway signed.
    pub fn count_mint(&self) {
        add(&self.mints);
    }

    /// Counts how long a call took, from when a thread began it to its end.
    pub fn observe_call(&self, took: Duration) {
        self.calls.observe(took);
    }

    /// Counts how long a call waited for a thread of the pool.
    pub fn observe_queue(&self, waited: Duration) {
        self.queue.observe(waited);
    }
}

impl EndpointCalls {
    /// Counts a call about a client's token that has ended.
    pub fn count(&self, result: CallResult) {
        add(&self.results[result as usize]);
    }

    /// Counts a call that failed, or could not be made.
    pub fn count_failure(&self, reason: FailureReason) {
        add(&self.failures[reason as usize]);
    }

    /// Counts a token that was called inactive although its answer still stood in a zone and its
    /// `exp` had not come: it was revoked, or the server has lost what it knew.
    pub fn count_ended_early(&self) {
        add(&self.ended_early);
    }

    /// Counts a call of the gateway's own that has ended. It is counted nowhere else.
    pub fn count_own(&self, result: OwnResult) {
        add(&self.own[result as usize]);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
