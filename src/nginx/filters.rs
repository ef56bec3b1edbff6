//! A response's filters, with a safe face.

use core::cell::UnsafeCell;
use core::ptr;

use crate::nginx::guard;
use crate::nginx::parser::Cf;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// What the module does to the responses of main requests, before NGINX's other filters see them.
pub(crate) trait Filter {
    /// The headers are to go out. An error ends the response.
    fn headers(r: Request) -> Result<(), NoMemory>;

    /// A part of the body is to go out.
    fn body(r: Request) -> Body;
}

/// What goes out in place of a part of a body.
pub(crate) enum Body {
    /// The part itself.
    AsItIs,
    /// This, which ends the body.
    Instead(&'static [u8]),
    /// Nothing.
    Nothing,
}

/// The filters that came before ours, called after it.
struct Next {
    header: UnsafeCell<ngx_http_output_header_filter_pt>,
    body: UnsafeCell<ngx_http_output_body_filter_pt>,
}

// SAFETY: NGINX reads configurations and runs filters on one thread, and pool threads do neither.
unsafe impl Sync for Next {}

static NEXT: Next = Next { header: UnsafeCell::new(None), body: UnsafeCell::new(None) };

/// Puts `F` on top of NGINX's chains. Each configuration builds them anew, and may do this once.
pub(crate) fn install<F: Filter>(_: &mut Cf<'_>) {
    // SAFETY: NGINX builds the chains on one thread, the one that runs them, while it reads a
    // configuration: a parser is there.
    unsafe {
        *NEXT.header.get() = ngx_http_top_header_filter;
        ngx_http_top_header_filter = Some(header_filter::<F>);
        *NEXT.body.get() = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body_filter::<F>);
    }
}

unsafe extern "C" fn header_filter<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let request = unsafe { Request::new(r) };
    let done = guard::entry("the header filter", request, None, || {
        Some(if request.is_main() { F::headers(request) } else { Ok(()) })
    });
    match done {
        Some(Ok(())) => {}
        Some(Err(NoMemory)) => return ERROR,
        // A panic. The 500 comes by this filter too, but not again to this place.
        None => {
            // SAFETY: a live request whose headers are not sent.
            return unsafe {
                match pt_request_filter_finalize(r) {
                    0 => {
                        ngx_http_filter_finalize_request(r, ptr::null_mut(), INTERNAL_SERVER_ERROR)
                    }
                    _ => ERROR,
                }
            };
        }
    }
    // SAFETY: set by `install`; the next filter takes the same request.
    unsafe {
        match *NEXT.header.get() {
            Some(next) => next(r),
            None => ERROR,
        }
    }
}

unsafe extern "C" fn body_filter<F: Filter>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let request = unsafe { Request::new(r) };
    let chain = guard::entry("the body filter", request, Err(NoMemory), || {
        if !request.is_main() || chain.is_null() {
            return Ok(chain);
        }
        match F::body(request) {
            Body::AsItIs => Ok(chain),
            instead => {
                // SAFETY: the chain NGINX made for its own page, or a filter before of it.
                unsafe { swallow(chain) };
                match instead {
                    Body::Instead(body) => own_chain(request, body),
                    _ => Ok(ptr::null_mut()),
                }
            }
        }
    });
    let Ok(chain) = chain else { return ERROR };
    // SAFETY: set by `install`; the next filter takes a chain or none.
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
