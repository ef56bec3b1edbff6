//! All numbers at one moment.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{HistogramSnapshot, StoreSnapshot};
use crate::shared::counters::{
    CallResult, ConnectionState, FailureReason, OwnResult, RefreshResult, RequestResult,
    UncachedReason, read,
};
use crate::shared::endpoint::EndpointId;
use crate::shared::process::Here;
use crate::shared::state::State;

/// What there is to say about the module, read once. Serialized, it is the JSON form.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot<'a> {
    /// What is running; left out where `server_tokens` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build<'a>>,
    /// Requests by outcome.
    pub requests: Counts,
    /// Calls by endpoint, in the order of the labels.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Active answers that were not kept, by reason.
    pub uncached: Counts,
    /// Entries that were to be asked for anew before they ended, by what became of it.
    pub refreshes: Counts,
    /// JWTs that the gateway signed.
    pub mints: u64,
    /// How long calls took.
    pub introspection_duration_seconds: HistogramSnapshot,
    /// How long calls waited for a thread.
    pub queue_duration_seconds: HistogramSnapshot,
    /// Calls queued or running.
    pub introspections_pending: u64,
    /// Requests that wait for an answer.
    pub requests_waiting: u64,
    /// The cache zones.
    pub caches: &'a [ZoneFacts<'a>],
    /// The endpoints of servers that have a name.
    pub providers: Vec<ProviderEndpoint<'a>>,
    /// The fleet's store, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSnapshot>,
}

/// An endpoint of a server that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProviderEndpoint<'a> {
    /// The server's name.
    pub provider: &'a str,
    /// scheme://host:port/path.
    pub endpoint: &'a str,
}

/// The versions of what is running.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Build<'a> {
    /// The module's version.
    pub version: &'a str,
    /// NGINX's version.
    pub nginx: &'a str,
}

/// What is known of one cache zone.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ZoneFacts<'a> {
    /// The zone's name.
    #[serde(rename = "zone")]
    pub name: &'a str,
    /// Entries in it.
    pub entries: ZoneEntries,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes there are for entries.
    pub size_bytes: u64,
    /// Entries that were pushed out since the zone was made.
    pub evictions: u64,
}

/// Entries of a cache zone by kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ZoneEntries {
    /// Active tokens.
    pub active: u64,
    /// Inactive tokens.
    pub inactive: u64,
}

/// The numbers of one endpoint: all that share its label, together.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointSnapshot {
    /// scheme://host:port/path; empty for endpoints that found no place in the state zone.
    pub endpoint: String,
    /// Whether it may be called: false while it rests. Of several addresses behind one URL, one
    /// is enough.
    pub up: bool,
    /// How long ago it last answered a call, in seconds, and only while it rests: else it is no
    /// news, and differs at each look. `Some(None)`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_seconds: Option<Option<f64>>,
    /// Whether the gate of any client's credentials there is shut.
    pub gate_shut: bool,
    /// Calls by result.
    pub introspections: Counts,
    /// Failures by reason.
    pub failures: Counts,
    /// Tokens called inactive before their time.
    pub ended_early: u64,
    /// Calls of the gateway's own by result.
    pub own_calls: Counts,
    /// Connections that running workers have open, by what they are doing.
    pub connections: Counts,
}

/// Counts of one kind, each under the fixed word its label shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    pub(super) fn zero(words: impl Iterator<Item = &'static str>) -> Counts {
        Counts(words.map(|word| (word, 0)).collect())
    }

    pub(super) fn add(&mut self, counters: &[AtomicU64]) {
        self.add_each(counters.iter().map(read));
    }

    pub(super) fn add_each(&mut self, more: impl Iterator<Item = u64>) {
        for ((_, sum), more) in self.0.iter_mut().zip(more) {
            *sum += more;
        }
    }

    /// Returns words and counts, in the order they are shown.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Returns the sum of all counts.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (word, count) in &self.0 {
            map.serialize_entry(word, count)?;
        }
        map.end()
    }
}

impl EndpointSnapshot {
    fn new(label: &str) -> EndpointSnapshot {
        EndpointSnapshot {
            endpoint: label.to_owned(),
            up: false,
            answered_seconds: None,
            gate_shut: false,
            introspections: Counts::zero(CallResult::ALL.iter().map(|one| one.word())),
            failures: Counts::zero(FailureReason::ALL.iter().map(|one| one.word())),
            ended_early: 0,
            own_calls: Counts::zero(OwnResult::ALL.iter().map(|one| one.word())),
            connections: Counts::zero(ConnectionState::ALL.iter().map(|one| one.word())),
        }
    }

    /// Adds what all have counted, and what `slots` of running workers have open.
    fn add(&mut self, state: &State, id: Option<EndpointId>, slots: &[u8]) {
        for slot in slots {
            let count = state.slots().connections(*slot, id);
            self.connections.add_each(ConnectionState::ALL.iter().map(|one| count.get(*one)));
        }
        let calls = state.calls(id);
        self.introspections.add(&calls.results);
        self.failures.add(&calls.failures);
        self.ended_early += read(&calls.ended_early);
        self.own_calls.add(&calls.own);
    }

    fn total(&self) -> u64 {
        self.introspections.total()
            + self.failures.total()
            + self.own_calls.total()
            + self.connections.total()
            + self.ended_early
    }
}

impl<'a> Snapshot<'a> {
    /// Reads all numbers. Workers go on counting meanwhile, so numbers that belong together may
    /// differ by what happened in between. `in_use` tells of an endpoint whether anybody asks it
    /// still: one that nobody does is left out, and would rest for ever. `store` is the label of the
    /// fleet's store, where there is one.
    pub fn take(
        state: &State,
        zones: &'a [ZoneFacts<'a>],
        build: Option<Build<'a>>,
        store: Option<&str>,
        in_use: impl Fn(EndpointId) -> bool,
        here: Here<'_>,
    ) -> Snapshot<'a> {
        let mut requests = Counts::zero(RequestResult::ALL.iter().map(|one| one.word()));
        let mut uncached = Counts::zero(UncachedReason::ALL.iter().map(|one| one.word()));
        let mut refreshes = Counts::zero(RefreshResult::ALL.iter().map(|one| one.word()));
        let mut mints = 0;
        for shard in state.slots().shards() {
            requests.add(&shard.requests);
            uncached.add(&shard.uncached);
            refreshes.add(&shard.refreshes);
            mints += read(&shard.mints);
        }
        if store.is_none() {
            requests.0.retain(|(word, n)| *word != RequestResult::Store.word() || *n > 0);
        }
        let running = running(state, here);
        let slots: Vec<_> = running.iter().map(|(slot, _)| *slot).collect();
        let is_running = |pid| running.iter().any(|(_, running)| *running == pid);
        let gauges = state.slots().gauges(Here { alive: &is_running, ..here });
        Snapshot {
            build,
            requests,
            endpoints: endpoints(state, &slots, in_use, here.now_ms),
            uncached,
            refreshes,
            mints,
            introspection_duration_seconds: HistogramSnapshot::sum(
                state.slots().shards().map(|shard| &shard.calls),
            ),
            queue_duration_seconds: HistogramSnapshot::sum(
                state.slots().shards().map(|shard| &shard.queue),
            ),
            introspections_pending: gauges.pending,
            requests_waiting: gauges.waiting,
            caches: zones,
            providers: Vec::new(),
            store: store.map(|node| StoreSnapshot::take(state, node, here)),
        }
    }

    /// Writes the numbers as JSON, in one line.
    pub fn json(&self) -> String {
        // Nothing in it can fail to be JSON: keys are strings and numbers are finite.
        let mut text = serde_json::to_string(self).unwrap_or_else(|_| String::from("{}"));
        text.push('\n');
        text
    }
}

/// The numbers and the owners of the slots whose workers run.
pub(super) fn running(state: &State, here: Here<'_>) -> Vec<(u8, u32)> {
    state.slots().owned().filter(|(_, pid)| here.runs(*pid)).collect()
}

fn endpoints(
    state: &State,
    slots: &[u8],
    in_use: impl Fn(EndpointId) -> bool,
    now_ms: u64,
) -> Vec<EndpointSnapshot> {
    // Under one label there may be several, and some that were in use before a reload.
    let mut by_label = BTreeMap::<String, (EndpointSnapshot, bool)>::new();
    let shut: Vec<EndpointId> = state.gates().shut(now_ms).collect();
    for (id, label, up) in state.endpoints().labels(now_ms) {
        let (one, used) =
            by_label.entry(label).or_insert_with_key(|label| (EndpointSnapshot::new(label), false));
        one.add(state, Some(id), slots);
        if in_use(id) {
            *used = true;
            one.up |= up;
            one.gate_shut |= shut.contains(&id);
            // Of several addresses behind one URL, the last to have answered.
            let ago = state.endpoints().last_answered(id).map(|ms| now_ms.saturating_sub(ms));
            let ago = ago.map(|ms| ms as f64 / 1000.0);
            let known = one.answered_seconds.flatten();
            one.answered_seconds = Some(known.into_iter().chain(ago).reduce(f64::min));
        }
        if one.up {
            one.answered_seconds = None;
        }
    }
    let mut rest = EndpointSnapshot::new("");
    rest.add(state, None, slots);
    rest.up = true;
    let used = rest.total() > 0;
    by_label.insert(String::new(), (rest, used));
    by_label.into_values().filter(|(_, used)| *used).map(|(one, _)| one).collect()
}
