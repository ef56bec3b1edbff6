//! Timers of the event loop, for what a worker does by itself.

use core::mem::ManuallyDrop;

use crate::nginx::event::Event;
use crate::nginx::guard;
use crate::nginx::log::{Cycle, HasLog};
use crate::nginx::sys::ngx_event_t;

/// A timer that does one thing, each time it is set. It lasts as long as the process, wherever its
/// owner goes: when a process ends, what stands beside it among NGINX's timers may be gone.
pub(crate) struct Timer(ManuallyDrop<Event<Job>>);

struct Job {
    /// What it does, as the line of a panic in it says.
    what: &'static str,
    run: fn(),
}

impl Timer {
    pub(crate) fn new(what: &'static str, run: fn()) -> Self {
        Self(ManuallyDrop::new(Event::new(Job { what, run }, fired)))
    }

    /// Sets it, unless it is set, in so many milliseconds. A worker that is to end waits for it.
    pub(crate) fn set(&self, ms: u64) {
        if !self.0.is_set() {
            self.0.set(ms, Cycle.log());
        }
    }

    /// Sets it as [`Self::set`] does; a worker that is to end does not wait for it.
    pub(crate) fn set_cancelable(&self, ms: u64) {
        if !self.0.is_set() {
            self.reset_cancelable(ms);
        }
    }

    /// Sets it as [`Self::set_cancelable`] does, also where it is set to another time.
    pub(crate) fn reset_cancelable(&self, ms: u64) {
        self.0.make_cancelable();
        self.0.set(ms, Cycle.log());
    }
}

unsafe extern "C" fn fired(event: *mut ngx_event_t) {
    // SAFETY: NGINX's own call, for an event that `Timer::new` made and nobody drops.
    let job = unsafe { Event::<Job>::data(event) };
    guard::entry(job.what, Cycle, (), job.run);
}
