//! What one worker keeps for itself: its own small cache, its flights, its slot in the state zone.
//!
//! Everything here runs on the worker's event loop. Nothing in it calls back into NGINX's request
//! processing, so it is never entered twice: requests are resumed by posted events.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr::NonNull;

use phantom_token_engine::arena::Record;
use phantom_token_engine::local::Local;
use phantom_token_engine::shared::state::State;
use phantom_token_engine::token::key::{HashKey, Key};

use crate::conf::MainConf;
use crate::flight::own_calls::{self, OwnCalls};
use crate::flight::{Failures, Flight, Idle, Poller};
use crate::nginx::sys::*;
use crate::nginx::zone::{self, Owed, ZoneRef};

/// Entries each worker keeps, where `phantom_token_worker_cache` does not say.
const WORKER_CACHE: usize = 1024;
/// Bytes those entries may take together.
const WORKER_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Calls queued or running in one worker, where `phantom_token_max_pending` does not say.
const MAX_PENDING: usize = 1024;

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// A worker's own state.
pub(crate) struct Worker {
    pub(crate) state: State,
    /// This worker's slot in the state zone; `None` where all are taken: such a worker counts
    /// nothing in gauges and shares no calls with others.
    pub(crate) slot: Option<u8>,
    pub(crate) local: Local,
    /// Where the zone's answers are copied to.
    pub(crate) record: Record,
    /// The flights that requests of this worker may join.
    pub(crate) flights: HashMap<Key, NonNull<Flight>, BuildHasherDefault<KeyHasher>>,
    /// Those that follow another worker's call.
    pub(crate) followers: Vec<NonNull<Flight>>,
    /// Zones to which something is owed.
    debtors: Vec<ZoneRef>,
    /// Calls queued or running.
    pub(crate) pending: usize,
    pub(crate) max_pending: usize,
    pub(crate) poller: Poller,
    pub(crate) failures: Failures,
    pub(crate) idle: Idle,
    pub(crate) own_calls: OwnCalls,
    /// For keys of locations without a cache.
    pub(crate) hash_key: HashKey,
}

impl Worker {
    /// Makes a change in a zone, now or as soon as its lock can be had.
    pub(crate) fn settle(&mut self, zone: &ZoneRef, owed: Owed) {
        if !zone.settle(owed) {
            self.owe(zone, owed);
        }
    }

    /// Makes a change in a zone as soon as its lock can be had.
    pub(crate) fn owe(&mut self, zone: &ZoneRef, owed: Owed) {
        zone.owe(owed);
        // Without memory for it, whoever of this worker locks the zone next pays.
        if !self.debtors.contains(zone) && self.debtors.try_reserve(1).is_ok() {
            self.debtors.push(zone.clone());
        }
        self.poller.run();
    }

    /// Makes what is owed to zones whose lock is free; `wait`: or can be waited for.
    pub(crate) fn pay(&mut self, wait: bool) {
        self.debtors.retain(|zone| !zone.pay(wait));
    }

    pub(crate) fn owes(&self) -> bool {
        !self.debtors.is_empty()
    }
}

/// Keys are keyed hashes already: any eight bytes of them will do.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // Lengths are the same for all keys.
    fn write_usize(&mut self, _: usize) {}
}

/// Runs `work` with this worker's state. `None` outside a worker, or where the module is unused.
pub(crate) fn with<T>(work: impl FnOnce(&mut Worker) -> T) -> Option<T> {
    WORKER.with(|worker| worker.try_borrow_mut().ok()?.as_mut().map(work))
}

/// Takes up a worker's work: called once in each new worker process.
pub(crate) fn start(conf: &MainConf) {
    let Some(state) = conf.cache.state.as_ref().and_then(|zone| zone.state()) else {
        return;
    };
    // Shown from the start: what is first seen when it fails is no alert's rise.
    for endpoint in conf.endpoints() {
        endpoint.id(&state);
    }
    let record_room = 4096;
    let worker = Worker {
        state,
        slot: state.slots().claim(here()),
        local: Local::new(conf.cache.worker_cache.or(WORKER_CACHE), WORKER_CACHE_BYTES),
        record: Record::with_room(record_room),
        flights: HashMap::default(),
        followers: Vec::new(),
        debtors: Vec::new(),
        pending: 0,
        max_pending: conf.calls.max_pending.or(MAX_PENDING),
        poller: Poller::new(),
        failures: Failures::new(),
        idle: Idle::new(),
        own_calls: OwnCalls::new(),
        hash_key: HashKey(zone::worker_key()),
    };
    WORKER.with(|slot| *slot.borrow_mut() = Some(worker));
    // Those that rested before the worker began.
    with(|worker| {
        for (policy, index) in &conf.endpoints {
            own_calls::look_after(worker, policy, *index);
        }
    });
}

/// Says what is yet to be said and gives up the worker's slot: called when the worker process ends.
pub(crate) fn stop() {
    with(|worker| {
        worker.failures.sum_up(true);
        worker.pay(true);
        if let Some(slot) = worker.slot {
            worker.state.slots().release(slot, pid());
        }
    });
}
