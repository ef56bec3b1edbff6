//! The part of a flight a pool thread touches: one attempt at one endpoint.
//!
//! NGINX's thread pool runs it in one of its threads, and hands it back on the event loop. The thread
//! sees nothing but [`Work`].

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use phantom_token_engine::attempt::{Done, End};
use phantom_token_engine::lookup::Lookup;

use crate::flight::flights::FlightId;
use crate::nginx::guard;

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const DROPPED: u8 = 2;

/// One attempt: what to ask, and what came of it. The event loop makes it and drops it: memory that
/// one thread takes and another gives back is dearer.
pub(crate) struct Work {
    /// Whose attempt it is.
    pub(super) flight: FlightId,
    state: AtomicU8,
    lookup: Mutex<Lookup>,
    queued: Instant,
    done: Mutex<Option<Done>>,
}

impl Work {
    pub(super) fn new(flight: FlightId, lookup: Lookup) -> Self {
        Self {
            flight,
            state: AtomicU8::new(QUEUED),
            lookup: Mutex::new(lookup),
            queued: Instant::now(),
            done: Mutex::new(None),
        }
    }

    /// Drops the work where no thread has begun it. Whether it did.
    pub(crate) fn drop_unsent(&self) -> bool {
        self.state.compare_exchange(QUEUED, DROPPED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// What the thread brought back; on the event loop, after completion.
    pub(crate) fn take(&self) -> Done {
        let nothing = Done {
            end: End::Unsent,
            queued: Duration::ZERO,
            took: Duration::ZERO,
            began: self.queued,
            had_time: false,
            fleet: None,
        };
        self.done.lock().take().unwrap_or(nothing)
    }

    /// In a pool thread.
    pub(super) fn run(&self) {
        let queued = self.queued.elapsed();
        let begun =
            self.state.compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        let mut lookup = self.lookup.lock();
        let done = match begun {
            // The connection a panic interrupts is closed: it must not answer anybody else.
            Ok(_) => guard::catch("an introspection", || lookup.ask(queued))
                .unwrap_or_else(|site| lookup.panicked(site, queued)),
            Err(_) => lookup.dropped(queued),
        };
        *self.done.lock() = Some(done);
    }
}
