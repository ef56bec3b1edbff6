//! The module's second half: puts our own body into our own refusals.
//!
//! NGINX makes an HTML page for the status the access handler returned. The header filter turns it
//! into our JSON reply where the response is still ours: the context is in the request's slot (an
//! `error_page` clears it) and the status is the one we gave.

use core::cell::UnsafeCell;
use core::ptr;

use crate::access::ctx::{Ctx, Reply};
use crate::access::pass;
use crate::access::refusal;
use crate::nginx::guard;
use crate::nginx::parser::Cf;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

const CONTENT_TYPE: &[u8] = b"application/json";

/// The filters that came before ours, called after it.
struct Next {
    header: UnsafeCell<ngx_http_output_header_filter_pt>,
    body: UnsafeCell<ngx_http_output_body_filter_pt>,
}

// SAFETY: NGINX reads configurations and runs filters on one thread, and pool threads do neither.
unsafe impl Sync for Next {}

static NEXT: Next = Next { header: UnsafeCell::new(None), body: UnsafeCell::new(None) };

/// Puts the filters on top of NGINX's chains, which every configuration builds anew. What has to come
/// before NGINX's rewrite module is registered here too, since this half of the module comes after it.
pub(crate) unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: NGINX builds the chains on one thread, the one that runs them.
    unsafe {
        *NEXT.header.get() = ngx_http_top_header_filter;
        ngx_http_top_header_filter = Some(header_filter);
        *NEXT.body.get() = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body_filter);
    }
    guard::entry("the filters", guard::cycle_log, ERROR, || {
        // SAFETY: NGINX passes a live parser.
        let mut cf = unsafe { Cf::new(cf) };
        pass::precede_rewrites(&mut cf);
        OK
    })
}

unsafe extern "C" fn header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let request = unsafe { Request::new(r) };
    let ready = guard::entry(
        "the header filter",
        || request.log(),
        Err(Unready::Panic),
        || match !request.is_main() || take_over_headers(request).is_ok() {
            true => Ok(()),
            false => Err(Unready::NoMemory),
        },
    );
    match ready {
        Ok(()) => {}
        // SAFETY: a live request whose headers are not sent; the 500 comes by this filter too, but
        // not again to this place.
        Err(Unready::Panic) if unsafe { pt_request_filter_finalize(r) } == 0 => unsafe {
            return ngx_http_filter_finalize_request(r, ptr::null_mut(), INTERNAL_SERVER_ERROR);
        },
        Err(_) => return ERROR,
    }
    // SAFETY: set by `postconfiguration`; the next filter takes the same request.
    unsafe {
        match *NEXT.header.get() {
            Some(next) => next(r),
            None => ERROR,
        }
    }
}

/// Why headers cannot go out.
enum Unready {
    NoMemory,
    Panic,
}

fn take_over_headers(r: Request) -> Result<(), NoMemory> {
    let Some(ctx) = Ctx::in_slot(r) else {
        // An `error_page` of our 500 in a location that runs no access phase.
        if let Some(ctx) = Ctx::earlier(r) {
            keep_connection(r, ctx);
        }
        return Ok(());
    };
    let status = r.raw().headers_out.status as u32;
    // SAFETY: a live request.
    let (in_access, error) = unsafe {
        (pt_request_in_access(r.as_ptr()) != 0, pt_request_err_status(r.as_ptr()) as u32)
    };
    // The same status from the upstream is not ours: "satisfy any" may have let the request in.
    let ours = |reply: &&mut Reply| {
        in_access && error == status && reply.status == status && !reply.sending
    };
    let Some(reply) = ctx.reply.as_mut().filter(ours) else {
        if !matches!(error, NGX_HTTP_UNAUTHORIZED | NGX_HTTP_FORBIDDEN) {
            refusal::hide_challenge(r, ctx);
        }
        return Ok(());
    };
    reply.sending = true;
    let len = reply.body.len();
    r.add_header_out(b"Cache-Control", str_of(b"no-store"))?;
    // SAFETY: a live request; the strings are constants of this binary.
    unsafe {
        let out = &raw mut (*r.as_ptr()).headers_out;
        (*out).content_type = str_of(CONTENT_TYPE);
        (*out).content_type_len = CONTENT_TYPE.len();
        (*out).content_type_lowcase = ptr::null_mut();
        (*out).charset = ngx_str_t { len: 0, data: ptr::null_mut() };
        (*out).content_length_n = len as off_t;
    }
    keep_connection(r, ctx);
    Ok(())
}

/// Keeps the connection after our 500, but where NGINX had to give up the request's body: what is
/// left of that one must not be read as another request.
fn keep_connection(r: Request, ctx: &mut Ctx) {
    // SAFETY: a live request.
    if unsafe { pt_request_body_is_settled(r.as_ptr()) } != 0 {
        refusal::keep_connection(r, ctx);
    }
}

unsafe extern "C" fn body_filter(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request and its chain.
    let request = unsafe { Request::new(r) };
    let chain = guard::entry(
        "the body filter",
        || request.log(),
        Err(NoMemory),
        || {
            match Ctx::in_slot(request).and_then(|ctx| ctx.reply.as_mut()) {
                Some(reply) if reply.sending && request.is_main() && !chain.is_null() => {
                    // SAFETY: the chain NGINX made for its own page, or a filter before of it.
                    unsafe { swallow(chain) };
                    if reply.sent {
                        return Ok(ptr::null_mut());
                    }
                    reply.sent = true;
                    own_chain(request, reply.body)
                }
                _ => Ok(chain),
            }
        },
    );
    let Ok(chain) = chain else { return ERROR };
    // SAFETY: set by `postconfiguration`; the next filter takes a chain or none.
    unsafe {
        match *NEXT.body.get() {
            Some(next) => next(r, chain),
            None => ERROR,
        }
    }
}

/// Marks buffers as consumed, as a filter that passes none of them on has to.
///
/// # Safety
/// `chain` must be NULL or a live chain.
unsafe fn swallow(mut chain: *mut ngx_chain_t) {
    // SAFETY: the caller vouches for the chain.
    unsafe {
        while let Some(link) = chain.as_ref() {
            (*link.buf).pos = (*link.buf).last;
            (*link.buf).file_pos = (*link.buf).file_last;
            chain = link.next;
        }
    }
}

fn own_chain(r: Request, body: &'static [u8]) -> Result<*mut ngx_chain_t, NoMemory> {
    // SAFETY: a live pool; the body is a constant, which NGINX only reads.
    unsafe {
        let link = ngx_alloc_chain_link(r.pool());
        let buf = pt_reply_buf(r.pool(), body.as_ptr().cast_mut(), body.len(), 1);
        if link.is_null() || buf.is_null() {
            return Err(NoMemory);
        }
        (*link).buf = buf;
        (*link).next = ptr::null_mut();
        Ok(link)
    }
}
