//! The part of a flight a pool thread touches: one attempt at one endpoint.
//!
//! NGINX's thread pool runs it in one of its threads, and hands it back on the event loop. The thread
//! sees nothing but [`Work`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use phantom_token_engine::answer::Terms;
use phantom_token_engine::attempt::{Done, End};
use phantom_token_engine::lookup::{self, Minter, Source};

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
    /// Its deadline shows when it begins.
    source: Mutex<Source>,
    terms: Terms,
    /// Makes the phantom token; `None` where the server does.
    minter: Option<Arc<Minter>>,
    time: Time,
    queued: Instant,
    done: Mutex<Option<Done>>,
}

/// How long an attempt may take: what the pool's queue has left of the flight's time is shared with
/// the endpoints still to come.
pub(crate) struct Time {
    /// When the flight's time is over.
    pub(crate) end: Instant,
    /// Endpoints still to come.
    pub(crate) others: u32,
    /// What making a connection may take.
    pub(crate) connect: Duration,
    /// With less than this an endpoint is not to blame for having not answered.
    pub(crate) blame_after: Duration,
    /// How long the endpoint usually takes to answer.
    pub(crate) typical_latency: Duration,
}

impl Time {
    /// How much of what is left is this attempt's: never less than it may take to connect, unless
    /// that would leave the others nothing.
    fn share(&self, left: Duration) -> Duration {
        let least = if self.connect < left { self.connect } else { Duration::ZERO };
        (left / (self.others + 1)).max(least)
    }

    /// Whether the queue has left too little for an answer. In a flood such calls would keep all
    /// threads busy, one after the other, and nobody would be answered. Twice the usual, since a
    /// younger call always follows; but what has hardly waited is made, however long it may take.
    fn is_hopeless(&self, queued: Duration, share: Duration) -> bool {
        queued * 3 > share && share < self.typical_latency * 2
    }
}

impl Work {
    pub(super) fn new(
        flight: FlightId,
        source: Source,
        terms: Terms,
        minter: Option<Arc<Minter>>,
        time: Time,
    ) -> Self {
        Self {
            flight,
            state: AtomicU8::new(QUEUED),
            source: Mutex::new(source),
            terms,
            minter,
            time,
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
        };
        self.done.lock().take().unwrap_or(nothing)
    }

    /// In a pool thread.
    pub(super) fn run(&self) {
        let queued = self.queued.elapsed();
        let begun =
            self.state.compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        let started = Instant::now();
        let left = self.time.end.saturating_duration_since(started);
        let share = self.time.share(left);
        let end = if begun.is_ok() && self.time.is_hopeless(queued, share) && !left.is_zero() {
            End::Skipped
        } else if begun.is_ok() && !left.is_zero() {
            // The connection a panic interrupts is closed: it must not answer anybody else.
            guard::catch("an introspection", || self.attempt(started + share))
                .unwrap_or_else(End::Panicked)
        } else {
            End::Unsent
        };
        let took = match end {
            End::Unsent | End::Skipped => Duration::ZERO,
            _ => started.elapsed(),
        };
        let had_time = share >= self.time.blame_after;
        *self.done.lock() = Some(Done { end, queued, took, began: started, had_time });
    }

    fn attempt(&self, deadline: Instant) -> End {
        let mut source = self.source.lock();
        match lookup::ask(
            core::slice::from_mut(&mut source),
            self.terms,
            self.minter.as_deref(),
            deadline,
        ) {
            Ok(Some(found)) => End::Answered(found),
            // There is always one that answers or fails.
            Ok(None) => End::Unsent,
            Err(error) => End::Failed(error),
        }
    }
}
