//! Where a worker's flights are kept, and what looks after them.
//!
//! Everything here runs on the worker's event loop. Nothing in it calls back into NGINX's request
//! processing, so it is never entered twice: requests are resumed by posted events.

use core::ptr::NonNull;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use phantom_token_engine::token::key::Key;

use crate::conf::MainConf;
use crate::flight::{Failures, Flight, Idle, OwnCalls, Poller};
use crate::nginx::zone;
use crate::worker::Worker;

/// Calls queued or running in one worker, where `phantom_token_max_pending` does not say.
const MAX_PENDING: usize = 1024;

thread_local! {
    /// Made once, and never dropped: when a process ends, what flights and timers point to may be gone.
    static DESK: OnceCell<&'static RefCell<Desk>> = const { OnceCell::new() };
}

/// A worker's flights.
pub(crate) struct Desk {
    pub(crate) worker: Worker,
    /// The flights that requests of this worker may join.
    pub(super) flights: HashMap<Key, NonNull<Flight>, BuildHasherDefault<KeyHasher>>,
    /// Those that follow another worker's call.
    pub(super) followers: Vec<NonNull<Flight>>,
    /// Calls queued or running.
    pub(super) pending: usize,
    pub(super) max_pending: usize,
    pub(super) poller: Poller,
    pub(super) failures: Failures,
    pub(super) idle: Idle,
    pub(super) own_calls: OwnCalls,
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

/// Runs `work` with this worker's desk. `None` outside a worker, or where the module is unused.
pub(crate) fn with<T>(work: impl FnOnce(&mut Desk) -> T) -> Option<T> {
    DESK.with(|desk| Some(work(&mut *desk.get()?.try_borrow_mut().ok()?)))
}

/// Sets it up: called once in each new worker process.
pub(super) fn open(conf: &MainConf) {
    let Some(worker) = Worker::new(conf) else { return };
    // Shown from the start: what is first seen when it fails is no alert's rise.
    for endpoint in conf.endpoints() {
        endpoint.id(&worker.state);
    }
    let desk = Desk {
        worker,
        flights: HashMap::default(),
        followers: Vec::new(),
        pending: 0,
        max_pending: conf.calls.max_pending.or(MAX_PENDING),
        poller: Poller::new(),
        failures: Failures::new(),
        idle: Idle::new(),
        own_calls: OwnCalls::new(),
    };
    let desk = Box::leak(Box::new(RefCell::new(desk)));
    let first = DESK.with(|slot| slot.set(desk).is_ok());
    debug_assert!(first, "a process is one worker");
}

/// Closes connections while that can still be said to servers: the worker process ends.
pub(crate) fn close_connections() {
    with(|desk| desk.idle.close_all());
}

/// Says what is yet to be said and gives up the worker's slot: the worker process ends.
pub(crate) fn stop() {
    with(|desk| {
        desk.failures.sum_up(true);
        zone::pay_all();
        desk.worker.end();
    });
}
