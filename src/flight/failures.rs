//! Failed calls in the error log: the first of each kind one by one, the rest summed up each minute,
//! in each worker ([`Repeats`]).

use core::ptr;

use phantom_token_core::repeats::Repeats;

use crate::guard;
use crate::log::error;
use crate::sys::*;
use crate::worker;

/// The failures of this worker's calls, and the timer that sums them up.
pub(crate) struct Failures {
    event: ngx_event_t,
    /// By what the line says: the endpoint's label and the cause, in fixed words.
    repeats: Repeats<String>,
}

impl Failures {
    /// Boxed, since NGINX's timers point into it.
    pub(crate) fn new() -> Box<Self> {
        // SAFETY: NGINX itself begins with zeroed events.
        Box::new(Self { event: unsafe { core::mem::zeroed() }, repeats: Repeats::default() })
    }

    /// Logs that a call failed, or counts it.
    pub(super) fn say(&mut self, what: String) {
        if self.repeats.happened(what.clone(), now_ms()) {
            error!(guard::cycle_log(), "{what}");
        }
        self.wait();
    }

    /// Logs what was counted and not said, of all kinds where `all`.
    pub(crate) fn sum_up(&mut self, all: bool) {
        for (what, more) in self.repeats.ended(now_ms(), all) {
            error!(guard::cycle_log(), "{more} more times within a minute: {what}");
        }
        if !all {
            self.wait();
        }
    }

    /// Makes sure that the timer runs while there is something to sum up.
    fn wait(&mut self) {
        let Some(left) = self.repeats.next_end(now_ms()) else { return };
        // SAFETY: the event is boxed in the worker's state, which lives as long as the process.
        unsafe {
            if pt_timer_is_set(&mut self.event) != 0 {
                return;
            }
            self.event.data = ptr::from_mut(self).cast();
            self.event.handler = Some(minute_is_over);
            self.event.log = guard::cycle_log();
            // A worker that ends does not wait for it.
            pt_event_cancelable(&mut self.event);
            pt_add_timer(&mut self.event, left.max(1) as ngx_msec_t);
        }
    }
}

unsafe extern "C" fn minute_is_over(_: *mut ngx_event_t) {
    guard::entry("summing up failures", guard::cycle_log, (), || {
        worker::with(|worker| worker.failures.sum_up(false));
    });
}
