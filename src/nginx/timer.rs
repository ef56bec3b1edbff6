//! Timers of the event loop, for what a worker does by itself.

use crate::nginx::guard;
use crate::nginx::pinned::Pinned;
use crate::nginx::sys::*;
use crate::worker::{self, Worker};

/// A timer that does one thing, each time it is set.
pub(crate) struct Timer {
    event: ngx_event_t,
    /// What it does, as the line of a panic in it says.
    what: &'static str,
    run: fn(&mut Worker),
}

impl Timer {
    /// NGINX points into it.
    pub(crate) fn new(what: &'static str, run: fn(&mut Worker)) -> Pinned<Self> {
        // SAFETY: NGINX itself begins with zeroed events.
        Pinned::new(Self { event: unsafe { core::mem::zeroed() }, what, run })
    }
}

impl Pinned<Timer> {
    /// Sets it, unless it is set, in so many milliseconds. A worker that is to end waits for it.
    pub(crate) fn set(&mut self, ms: u64) {
        self.set_event(ms, false);
    }

    /// Sets it as [`Self::set`] does; a worker that is to end does not wait for it.
    pub(crate) fn set_cancelable(&mut self, ms: u64) {
        self.set_event(ms, true);
    }

    /// Sets it as [`Self::set_cancelable`] does, also where it is set to another time.
    pub(crate) fn reset_cancelable(&mut self, ms: u64) {
        // SAFETY: the timer's own event, among NGINX's timers or not.
        unsafe { pt_stop_timer(&raw mut (*self.pointer().as_ptr()).event) };
        self.set_event(ms, true);
    }

    fn set_event(&mut self, ms: u64, cancelable: bool) {
        let this = self.pointer().as_ptr();
        // SAFETY: the timer is in the worker's state, which lives as long as the process.
        unsafe {
            let event = &raw mut (*this).event;
            if pt_timer_is_set(event) != 0 {
                return;
            }
            (*event).data = this.cast();
            (*event).handler = Some(fired);
            (*event).log = guard::cycle_log();
            if cancelable {
                pt_event_cancelable(event);
            }
            pt_add_timer(event, ms as ngx_msec_t);
        }
    }
}

unsafe extern "C" fn fired(event: *mut ngx_event_t) {
    // SAFETY: `set_event` put the timer there, which lives as long as the process.
    let (what, run) = unsafe {
        let timer = (*event).data.cast::<Timer>();
        ((*timer).what, (*timer).run)
    };
    guard::entry(what, guard::cycle_log, (), || {
        worker::with(run);
    });
}
