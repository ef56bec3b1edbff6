//! The numbers of the fleet's store at one moment.

use serde::Serialize;

use super::snapshot::running;
use super::{Counts, HistogramSnapshot};
use crate::shared::counters::{
    ConnectionState, StoreErrorReason, StoreGap, StorePeer, StorePurge, StoreResult, StoreWrite,
};
use crate::shared::process::Here;
use crate::shared::state::State;

/// What is counted and known of the store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreSnapshot {
    /// Questions about a token by result.
    pub requests: Counts,
    /// What it failed by.
    pub errors: Counts,
    /// Answers to be kept there by result.
    pub writes: Counts,
    /// Purges by direction.
    pub purges: Counts,
    /// Gaps in what was heard by reason.
    pub gaps: Counts,
    /// Other gateways by how they compare.
    pub peers: Counts,
    /// How long questions took.
    pub duration_seconds: HistogramSnapshot,
    /// Connections that running workers have open.
    pub connections: u64,
    /// Its nodes.
    pub nodes: Vec<StoreNode>,
    /// Whether all purges up to now are known.
    pub in_sync: bool,
    /// How long ago it was heard, in seconds; `None`: never.
    pub heard_seconds: Option<f64>,
}

/// One node of the store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreNode {
    /// scheme://host:port, or the path of a socket.
    pub node: String,
    /// Whether it may be asked: false while it rests.
    pub up: bool,
}

impl StoreSnapshot {
    /// Reads all numbers of the store whose only node has this label.
    pub fn take(state: &State, node: &str, here: Here<'_>) -> StoreSnapshot {
        let mut requests = Counts::zero(StoreResult::ALL.iter().map(|one| one.word()));
        let mut errors = Counts::zero(StoreErrorReason::ALL.iter().map(|one| one.word()));
        let mut writes = Counts::zero(StoreWrite::ALL.iter().map(|one| one.word()));
        let mut purges = Counts::zero(StorePurge::ALL.iter().map(|one| one.word()));
        let mut gaps = Counts::zero(StoreGap::ALL.iter().map(|one| one.word()));
        for shard in state.slots().shards() {
            requests.add(&shard.store.requests);
            errors.add(&shard.store.errors);
            writes.add(&shard.store.writes);
            purges.add(&shard.store.purges);
            gaps.add(&shard.store.gaps);
        }
        let connections = running(state, here).into_iter().flat_map(|(slot, _)| {
            let count = state.slots().store_connections(slot);
            ConnectionState::ALL.iter().map(|one| count.get(*one))
        });
        let store = state.store();
        let mut peers = Counts::zero(StorePeer::ALL.iter().map(|one| one.word()));
        peers.add_each(StorePeer::ALL.iter().map(|one| store.peers(*one)));
        let heard = store.last_heard().map(|heard| here.now_ms.saturating_sub(heard));
        StoreSnapshot {
            requests,
            errors,
            writes,
            purges,
            gaps,
            peers,
            duration_seconds: HistogramSnapshot::sum(
                state.slots().shards().map(|shard| &shard.store.questions),
            ),
            connections: connections.sum(),
            nodes: vec![StoreNode { node: node.to_owned(), up: !store.is_resting() }],
            in_sync: store.is_in_sync(here.now_ms),
            heard_seconds: heard.map(|ms| ms as f64 / 1000.0),
        }
    }
}
