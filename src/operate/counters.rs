//! Counting, from the event loop, into the state zone.

use std::time::Duration;

use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::shared::counters::ConnectionCount;
pub(crate) use phantom_token_engine::shared::counters::{
    CallResult, RefreshResult, RequestResult, StorePurge, UncachedReason,
};
use phantom_token_engine::shared::counters::{StoreErrorReason, StoreResult, StoreWrite};
use phantom_token_engine::shared::endpoint::EndpointId;

use crate::nginx::sys::pid;
use crate::worker::Worker;

/// The share of the totals this worker counts in.
fn share(worker: &Worker) -> u8 {
    worker.slot.unwrap_or(pid() as u8)
}

/// A request met the module and came out so.
pub(crate) fn request(worker: &Worker, outcome: RequestResult) {
    worker.state.shard(share(worker)).count_request(outcome);
}

/// A call to the authorization server ended so.
pub(crate) fn introspection(worker: &Worker, endpoint: Option<EndpointId>, result: CallResult) {
    worker.state.calls(endpoint).count(result);
}

/// A call failed or could not be made.
pub(crate) fn failure(worker: &Worker, endpoint: Option<EndpointId>, kind: FailureKind) {
    if let Some(reason) = kind.label() {
        worker.state.calls(endpoint).count_failure(reason);
    }
}

/// A token was called inactive before its time.
pub(crate) fn ended_early(worker: &Worker, endpoint: Option<EndpointId>) {
    worker.state.calls(endpoint).count_ended_early();
}

/// An active answer was not kept.
pub(crate) fn uncached(worker: &Worker, reason: UncachedReason) {
    worker.state.shard(share(worker)).count_uncached(reason);
}

/// An entry was to be asked for anew before its end, and this became of it.
pub(crate) fn refresh(worker: &Worker, result: RefreshResult) {
    worker.state.shard(share(worker)).count_refresh(result);
}

/// A JWT of the gateway's own was made.
pub(crate) fn minted(worker: &Worker) {
    worker.state.shard(share(worker)).count_mint();
}

/// How long a call waited for a thread.
pub(crate) fn queued(worker: &Worker, waited: Duration) {
    worker.state.shard(share(worker)).observe_queue(waited);
}

/// How long a call took.
pub(crate) fn observe_call(worker: &Worker, took: Duration) {
    worker.state.shard(share(worker)).observe_call(took);
}

/// A purge was told to the store of the fleet.
pub(crate) fn store_purged(worker: &Worker, direction: StorePurge) {
    worker.state.shard(share(worker)).count_store_purge(direction);
}

/// The store of the fleet was asked about a token, or would have been.
pub(crate) fn store_asked(worker: &Worker, result: StoreResult) {
    worker.state.shard(share(worker)).count_store_request(result);
}

/// How long the store took.
pub(crate) fn store_took(worker: &Worker, took: Duration) {
    worker.state.shard(share(worker)).observe_store(took);
}

/// The store, or what it holds, is not as it should be.
pub(crate) fn store_failed(worker: &Worker, reason: StoreErrorReason) {
    worker.state.shard(share(worker)).count_store_error(reason);
}

/// An answer was to be left in the store.
pub(crate) fn store_written(worker: &Worker, result: StoreWrite) {
    worker.state.shard(share(worker)).count_store_write(result);
}

/// Where connections to an endpoint are counted.
pub(crate) fn connections(
    worker: &Worker,
    endpoint: Option<EndpointId>,
) -> Option<&'static ConnectionCount> {
    worker.slot.map(|slot| worker.state.slots().connections(slot, endpoint))
}

/// Calls queued or running.
pub(crate) fn pending(worker: &Worker, delta: i64) {
    if let Some(slot) = worker.slot {
        worker.state.slots().pending_add(slot, delta);
    }
}

/// Requests that wait for an answer.
pub(crate) fn waiting(worker: &Worker, delta: i64) {
    if let Some(slot) = worker.slot {
        worker.state.slots().waiting_add(slot, delta);
    }
}
