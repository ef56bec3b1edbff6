//! Handlers that NGINX calls for a request, with safe faces: of a phase, of content, of a body.

use core::ffi::c_void;

use crate::nginx::guard;
use crate::nginx::parser::Cf;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// A phase's handler, or a location's content handler.
pub(crate) trait Handler {
    /// What the line of a panic in it calls it.
    const WHAT: &'static str;

    /// Gives a status of NGINX's. Where there is no memory, or it panics, that is 500.
    fn handle(r: Request) -> Result<ngx_int_t, NoMemory>;
}

/// What NGINX calls in place of [`Handler::handle`].
pub(crate) unsafe extern "C" fn handle<H: Handler>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    r.enter(H::WHAT, H::handle)
}

/// What ends a request whose body has been read.
pub(crate) trait Ending {
    /// What the line of a panic in it calls it.
    const WHAT: &'static str;

    /// Gives what the request ends with, a status of NGINX's; `None`: it waits for what a suspension of
    /// the request tells, or for its end, and this is called again then. Where there is no memory, or it
    /// panics, that is 500.
    fn end(r: Request) -> Result<Option<ngx_int_t>, NoMemory>;
}

/// What NGINX calls once a request's body is there, and whenever it may go on after that.
unsafe extern "C" fn end_with<E: Ending>(r: *mut ngx_http_request_t) {
    // SAFETY: NGINX passes a live request, whose body it has read. It ends as NGINX's own content handlers
    // end theirs, once: what waits counts among the request's users as the reading of its body did
    // (ngx_http_read_client_request_body), and nothing of it is touched after its end.
    unsafe {
        let request = Request::new(r);
        let ended = guard::entry(E::WHAT, request, Err(NoMemory), || E::end(request));
        match ended.unwrap_or(Some(INTERNAL_SERVER_ERROR)) {
            Some(rc) => ngx_http_finalize_request(r, rc),
            None => (*r).write_event_handler = Some(end_with::<E>),
        }
    }
}

/// Registers a handler of a phase, which runs before those of it that are registered already.
pub(crate) fn add_to_phase<H: Handler>(cf: &mut Cf<'_>, phase: ngx_http_phases) -> ngx_int_t {
    // SAFETY: the parser is live and inside `http`, and the phase is one that NGINX names.
    unsafe { pt_add_phase_handler(cf.as_ptr(), phase as ngx_uint_t, Some(handle::<H>)) }
}

impl Request {
    /// Runs `body`, NGINX's call of the entry `what`: 500 where there is no memory, or it panics.
    #[inline]
    pub(crate) fn enter(
        self,
        what: &str,
        body: impl FnOnce(Self) -> Result<ngx_int_t, NoMemory>,
    ) -> ngx_int_t {
        guard::entry(what, self, Err(NoMemory), || body(self)).unwrap_or(INTERNAL_SERVER_ERROR)
    }

    /// Answers GET and HEAD, and no other method, with what `content` sends. A body of the request is
    /// thrown away.
    pub(crate) fn show(
        self,
        content: impl FnOnce(Self) -> Result<ngx_int_t, NoMemory>,
    ) -> Result<ngx_int_t, NoMemory> {
        if self.method() & (NGX_HTTP_GET | NGX_HTTP_HEAD) == 0 {
            self.add_header_out(b"Allow", str_of(b"GET, HEAD"))?;
            return Ok(NGX_HTTP_NOT_ALLOWED as ngx_int_t);
        }
        match self.discard_body() {
            OK => content(self),
            rc => Ok(rc),
        }
    }

    /// Reads the request's body into memory alone; the request then ends with what `E` gives. Returns
    /// what a content handler is to give.
    pub(crate) fn read_body<E: Ending>(self) -> ngx_int_t {
        // SAFETY: a live request; NGINX calls back once the body is there.
        let rc = unsafe {
            pt_request_body_in_memory(self.as_ptr());
            ngx_http_read_client_request_body(self.as_ptr(), Some(end_with::<E>))
        };
        if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t { rc } else { NGX_DONE as ngx_int_t }
    }
}

/// What runs before a handler of another module, in its place.
pub(crate) trait Precede {
    /// What the line of a panic in it calls it.
    const WHAT: &'static str;

    /// Prepares a redirected request for the handler. An error is 500, without the handler.
    fn prepare(r: Request) -> Result<(), NoMemory>;

    /// The handler whose place it has.
    fn displaced(r: &Request) -> &Displaced;
}

/// A handler of another module, in whose place one of ours stands.
#[derive(Default)]
pub(crate) struct Displaced(ngx_http_handler_pt);

impl Displaced {
    /// Puts `P` in the place of a handler.
    pub(crate) fn by<P: Precede>(place: &mut ngx_http_handler_pt) -> Self {
        Self(place.replace(precede::<P>))
    }
}

/// What NGINX calls. Subrequests go on as they were begun.
unsafe extern "C" fn precede<P: Precede>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    if r.is_main() && r.is_internal() {
        let prepared = guard::entry(P::WHAT, r, Err(NoMemory), || P::prepare(r));
        if prepared.is_err() {
            return INTERNAL_SERVER_ERROR;
        }
    }
    match P::displaced(&r).0 {
        // SAFETY: NGINX would have called it just now: it stood where `P` does.
        Some(handler) => unsafe { handler(r.as_ptr()) },
        None => DECLINED,
    }
}

/// A handler's address, by which handlers are told apart; 0: none.
pub(crate) fn address(handler: &ngx_http_handler_pt) -> usize {
    handler.map_or(0, |handler| handler as *const c_void as usize)
}
