//! A request that waits for a flight.

use core::ptr::{self, NonNull};

use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::shared::counters::UncachedReason;
use phantom_token_engine::token::key::Key;

use crate::flight::desk;
use crate::flight::finding::Finding;
use crate::flight::{Calls, Flight};
use crate::nginx::guard;
use crate::nginx::log::HasLog;
use crate::nginx::pinned::Pinned;
use crate::nginx::request::Request;
use crate::nginx::sys::*;

/// One request's wait. It is owned by the request's context, and dropped with it or once the
/// request goes on; dropping it unlinks it from its flight, its timer and NGINX's queue.
pub(crate) struct Wait {
    /// Timer of the deadline, and the event that resumes the request.
    event: ngx_event_t,
    request: *mut ngx_http_request_t,
    /// `None` once the flight has told the outcome, or the deadline has passed.
    flight: Option<NonNull<Flight>>,
    index: usize,
    deadline: u64,
    began: u64,
    /// This request caused the call.
    first: bool,
    key: Key,
    outcome: Option<Finding>,
    uncached: Option<UncachedReason>,
    /// The flight's calls, once it is over for this request.
    calls: Calls,
}

impl Wait {
    /// NGINX's timers and queues point into it, and so does its flight.
    pub(crate) fn new(
        flight: NonNull<Flight>,
        index: usize,
        key: Key,
        deadline: u64,
        first: bool,
    ) -> Pinned<Self> {
        Pinned::new(Self {
            // SAFETY: NGINX itself begins with zeroed events.
            event: unsafe { core::mem::zeroed() },
            request: ptr::null_mut(),
            flight: Some(flight),
            index,
            deadline,
            began: now_ms(),
            first,
            key,
            outcome: None,
            uncached: None,
            calls: Calls::default(),
        })
    }

    /// The outcome, once there is one.
    pub(crate) fn take(&mut self) -> Option<Finding> {
        self.outcome.take()
    }

    /// Why the answer was not kept, where this worker had it and did not.
    pub(crate) fn uncached(&self) -> Option<UncachedReason> {
        self.uncached
    }

    /// The calls made for it so far, of this worker.
    pub(crate) fn calls(&self) -> Calls {
        match self.flight {
            // SAFETY: a flight lives as long as a waiter is linked to it.
            Some(flight) => unsafe { flight.as_ref().calls.clone() },
            None => self.calls.clone(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    pub(crate) fn is_first(&self) -> bool {
        self.first
    }

    /// What the request asked about.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// How long the request has waited, in milliseconds.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        now_ms().saturating_sub(self.began)
    }

    pub(super) fn deadline(&self) -> u64 {
        self.deadline
    }

    pub(super) fn set_index(&mut self, index: usize) {
        self.index = index;
    }

    /// The flight tells the outcome; the request goes on with an event of its own.
    ///
    /// # Safety
    /// `this` must be live, and linked to the flight that calls.
    pub(super) unsafe fn resolve(
        this: NonNull<Self>,
        outcome: Finding,
        uncached: Option<UncachedReason>,
        calls: &Calls,
    ) {
        let this = this.as_ptr();
        // SAFETY: the caller vouches for it. The event is taken out of timers and queues before it is
        // freed; NGINX gets the pointer it already has, and none made from a passing reference.
        unsafe {
            (*this).flight = None;
            (*this).outcome = Some(outcome);
            (*this).uncached = uncached;
            (*this).calls = calls.clone();
            if (*this).request.is_null() {
                // Not suspended yet: whoever asked sees the outcome at once.
                return;
            }
            pt_stop_timer(&raw mut (*this).event);
            pt_post_event(&raw mut (*this).event);
        }
    }

    /// Leaves the flight, if it is still linked to one: because its time is over, or its client has
    /// gone.
    fn unlink(&mut self, out_of_time: bool) {
        self.calls = self.calls();
        if out_of_time {
            self.calls.out_of_time();
        }
        if let Some(flight) = self.flight.take() {
            let index = self.index;
            // SAFETY: a flight lives as long as a waiter is linked to it.
            desk::with(|desk| unsafe {
                Flight::with(flight, |flight| {
                    flight.leave(desk, index, out_of_time);
                });
            });
        }
    }
}

impl Pinned<Wait> {
    /// Sets the deadline's timer and names the request to resume.
    pub(crate) fn suspend(&mut self, r: Request) {
        let this = self.pointer().as_ptr();
        // SAFETY: the event never moves, and is taken out of the timers and queues before it is freed.
        unsafe {
            (*this).request = r.as_ptr();
            (*this).event.data = this.cast();
            (*this).event.handler = Some(resume);
            (*this).event.log = r.log();
            let left = (*this).deadline.saturating_sub(now_ms());
            pt_add_timer(&raw mut (*this).event, left as ngx_msec_t);
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: an event of ours, among NGINX's timers and in its queue, or not.
        unsafe {
            pt_stop_timer(&mut self.event);
            pt_unpost_event(&mut self.event);
        }
        self.unlink(false);
    }
}

/// The answer is there, or the deadline has passed: the request's phases run on.
unsafe extern "C" fn resume(event: *mut ngx_event_t) {
    // SAFETY: `suspend` set the data; the wait is unlinked from timers and queues before it is
    // freed, so it is live here, and so is its request, whose end drops the wait.
    let wait = unsafe { (*event).data.cast::<Wait>() };
    // SAFETY: as above.
    let r = unsafe { (*wait).request };
    let ready = guard::entry("resuming a request", guard::cycle_log, false, || {
        // SAFETY: as above; one callback runs at a time.
        unsafe {
            if pt_take_timedout(event) != 0 {
                (*wait).unlink(true);
                (*wait).outcome = Some(Finding::Failed(Failure::from(FailureKind::Timeout)));
            }
        }
        true
    });
    // SAFETY: as above. Either may end the request: nothing of it is touched after, but its
    // connection's posted requests, as everywhere in NGINX.
    unsafe {
        let c = (*r).connection;
        pt_set_log_request((*c).log, r);
        match (*r).write_event_handler {
            Some(handler) if ready => handler(r),
            _ => ngx_http_finalize_request(r, INTERNAL_SERVER_ERROR),
        }
        ngx_http_run_posted_requests(c);
    }
}
