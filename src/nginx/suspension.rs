//! Requests that wait for something of ours.

use std::rc::Weak;

use crate::nginx::event::Event;
use crate::nginx::guard;
use crate::nginx::log::{Cycle, HasLog};
use crate::nginx::request::Request;
use crate::nginx::sys::*;

/// What a request waits for.
pub(crate) trait Awaited {
    /// The request waits no longer: its time is over.
    fn time_is_over(&self);
}

/// A suspended request, which goes on where it stopped (NGINX runs its phases on): when told so, or when
/// its time is over. It must be dropped before its request is freed.
pub(crate) struct Suspension(Event<Suspended>);

struct Suspended {
    request: *mut ngx_http_request_t,
    awaited: Weak<dyn Awaited>,
}

impl Suspension {
    /// Suspends a request for so many milliseconds at most.
    pub(crate) fn new(r: Request, ms: u64, awaited: Weak<dyn Awaited>) -> Self {
        let event = Event::new(Suspended { request: r.as_ptr(), awaited }, resume);
        event.set(ms, r.log());
        Self(event)
    }

    /// The request goes on in this turn of the event loop.
    pub(crate) fn end(&self) {
        self.0.post();
    }
}

/// What was waited for is there, or the time is over: the request's phases run on.
unsafe extern "C" fn resume(event: *mut ngx_event_t) {
    // SAFETY: NGINX's own call, for the event of a suspension, which is not dropped before the request's
    // phases run on.
    let suspended = unsafe { Event::<Suspended>::data(event) };
    let r = suspended.request;
    let ready = guard::entry("resuming a request", Cycle, false, || {
        // SAFETY: as above.
        if unsafe { pt_take_timedout(event) } != 0
            && let Some(awaited) = suspended.awaited.upgrade()
        {
            awaited.time_is_over();
        }
        true
    });
    // SAFETY: the request is live, since its end drops the suspension. Either may end the request:
    // nothing of it is touched after, but its connection's posted requests, as everywhere in NGINX.
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
