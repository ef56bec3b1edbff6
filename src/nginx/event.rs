//! Events of NGINX's: among its timers, in its queue, or neither.

use core::ptr;

use crate::nginx::pinned::Pinned;
use crate::nginx::sys::*;

/// An event, with what its handler needs.
pub(super) struct Event<T>(Pinned<Inner<T>>);

struct Inner<T> {
    event: ngx_event_t,
    data: T,
}

/// What NGINX calls when an event's time has come, or its turn in the queue.
pub(super) type Handler = unsafe extern "C" fn(*mut ngx_event_t);

impl<T> Event<T> {
    /// An event that NGINX does not know yet; `handler` finds `data` by [`Self::data`].
    pub(super) fn new(data: T, handler: Handler) -> Self {
        // SAFETY: NGINX itself begins with zeroed events.
        let mut event: ngx_event_t = unsafe { core::mem::zeroed() };
        event.handler = Some(handler);
        let this = Self(Pinned::new(Inner { event, data }));
        // SAFETY: made just now, and known to nobody else.
        unsafe { (*this.raw()).data = this.0.pointer().as_ptr().cast() };
        this
    }

    fn raw(&self) -> *mut ngx_event_t {
        // SAFETY: only the field's address is taken, of what lives as long as `self`.
        unsafe { &raw mut (*self.0.pointer().as_ptr()).event }
    }

    /// The data of an event, in its handler.
    ///
    /// # Safety
    /// `event` must be what NGINX passed to the handler of such an event. The data must not be used
    /// once the event may have been dropped.
    pub(super) unsafe fn data<'a>(event: *mut ngx_event_t) -> &'a T {
        // SAFETY: `new` set the data; an event is taken from timers and queue before it is freed, so
        // that its handler runs for live ones only. NGINX knows the other field alone.
        unsafe { &*ptr::addr_of!((*(*event).data.cast::<Inner<T>>()).data) }
    }

    /// Puts it among the timers, to run in so many milliseconds. `log` must live until then.
    pub(super) fn set(&self, ms: u64, log: *mut ngx_log_t) {
        // SAFETY: a live event of this worker's, which is not among the timers.
        unsafe {
            pt_stop_timer(self.raw());
            (*self.raw()).log = log;
            pt_add_timer(self.raw(), ms as ngx_msec_t);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        // SAFETY: a live event.
        unsafe { pt_timer_is_set(self.raw()) != 0 }
    }

    /// A worker that is to end does not wait for it.
    pub(super) fn make_cancelable(&self) {
        // SAFETY: a live event.
        unsafe { pt_event_cancelable(self.raw()) };
    }

    /// Puts it in the queue, to run in this turn of the event loop, and takes it out of the timers.
    pub(super) fn post(&self) {
        // SAFETY: a live event of this worker's, whose handler and log are set.
        unsafe {
            pt_stop_timer(self.raw());
            pt_post_event(self.raw());
        }
    }
}

impl<T> Drop for Event<T> {
    fn drop(&mut self) {
        // SAFETY: a live event, among NGINX's timers and in its queue, or not.
        unsafe {
            pt_stop_timer(self.raw());
            pt_unpost_event(self.raw());
        }
    }
}
