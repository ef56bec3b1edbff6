//! Refusing a request: status, challenge and body, and what NGINX needs around them.
//!
//! The access handler returns a status, so that `satisfy`, `error_page` and `auth_delay` work as
//! with NGINX's own access modules. The body is put in by the filter of the module's second half,
//! only where the response is still the one this refusal gave.

use core::mem;
use core::ptr::NonNull;

use phantom_token_core::challenge;

use crate::conf::Policy;
use crate::ctx::{Ctx, Reply};
use crate::log::info;
use crate::request::{NoMemory, Request};
use crate::sys::*;

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 401: no Bearer token. The challenge has no error code (RFC 6750 §3.1).
    Missing,
    /// 401: a token that is unusable, inactive or bound.
    InvalidToken,
    /// 403.
    InsufficientScope,
    /// 500: the token could not be judged.
    ServerError,
    /// 503: try again in so many seconds.
    Unavailable { retry_after: u32 },
}

/// Gives the status to NGINX, and readies what goes with it.
pub(crate) fn give(
    r: Request,
    ctx: &mut Ctx,
    policy: &Policy,
    refusal: Refusal,
) -> Result<ngx_int_t, NoMemory> {
    let (status, body, challenge) = match refusal {
        Refusal::Missing => {
            info!(r.log(), "no access token in the request");
            (NGX_HTTP_UNAUTHORIZED, challenge::UNAUTHORIZED_BODY, Some(policy.challenge.missing()))
        }
        Refusal::InvalidToken => {
            if ctx.reason != "inactive" {
                info!(r.log(), "the access token is refused: {}", ctx.reason);
            }
            (
                NGX_HTTP_UNAUTHORIZED,
                challenge::UNAUTHORIZED_BODY,
                Some(policy.challenge.invalid_token()),
            )
        }
        Refusal::InsufficientScope => {
            info!(r.log(), "the access token lacks a required scope");
            (
                NGX_HTTP_FORBIDDEN,
                challenge::FORBIDDEN_BODY,
                Some(policy.challenge.insufficient_scope()),
            )
        }
        Refusal::ServerError => {
            (NGX_HTTP_INTERNAL_SERVER_ERROR, challenge::SERVER_ERROR_BODY, None)
        }
        Refusal::Unavailable { .. } => {
            (NGX_HTTP_SERVICE_UNAVAILABLE, challenge::SERVER_ERROR_BODY, None)
        }
    };

    // What a refusal of an earlier pass said is not what this one says.
    hide(ctx.challenge);
    hide(ctx.retry_after);
    if let Some(challenge) = challenge {
        // The challenge is made with the configuration and lives as long as its cycle.
        let value = ngx_str_t { len: challenge.len(), data: challenge.as_ptr().cast_mut() };
        let header = set_header(r, &mut ctx.challenge, b"WWW-Authenticate", value)?;
        // SAFETY: an element of the response's header list; "satisfy any" hides it through this.
        unsafe { pt_set_www_authenticate(r.as_ptr(), header.as_ptr()) };
    }
    if let Refusal::Unavailable { retry_after } = refusal {
        // SAFETY: a live pool.
        let value = unsafe { pool_copy(r.pool(), retry_after.to_string().as_bytes()) };
        set_header(r, &mut ctx.retry_after, b"Retry-After", value.ok_or(NoMemory)?)?;
    }
    // SAFETY: a live request. NGINX drops the connection of every 500, and would turn an outage of
    // the authorization server into a storm of reconnections.
    ctx.keepalive = status == NGX_HTTP_INTERNAL_SERVER_ERROR
        && unsafe { pt_request_keepalive(r.as_ptr()) != 0 };
    ctx.reply = Some(Reply { status, body, sending: false, sent: false });
    Ok(status as ngx_int_t)
}

/// Adds a header, or changes the value a refusal of an earlier pass gave it.
fn set_header(
    r: Request,
    known: &mut Option<NonNull<ngx_table_elt_t>>,
    name: &'static [u8],
    value: ngx_str_t,
) -> Result<NonNull<ngx_table_elt_t>, NoMemory> {
    match *known {
        Some(header) => {
            // SAFETY: elements of the response's header list keep their place in its pool.
            unsafe {
                (*header.as_ptr()).hash = 1;
                (*header.as_ptr()).value = value;
            }
            Ok(header)
        }
        None => {
            let header = r.add_header_out(name, value)?;
            *known = Some(header);
            Ok(header)
        }
    }
}

/// After our 500 NGINX has decided to drop the connection: keeps it as it was going to be. Once for
/// each 500, since NGINX may find a better reason to drop it later.
pub(crate) fn keep_connection(r: Request, ctx: &mut Ctx) {
    if mem::take(&mut ctx.keepalive) {
        // SAFETY: a live request.
        unsafe { pt_request_set_keepalive(r.as_ptr(), 1) };
    }
}

/// While a request waits, notices when its client leaves (as ngx_http_limit_req_module.c does).
pub(crate) fn watch_client(r: Request) -> Result<(), NoMemory> {
    // SAFETY: a live request and its connection.
    unsafe {
        let read = (*(*r.as_ptr()).connection).read;
        if pt_event_ready(read) != 0 {
            pt_post_event(read);
        } else if ngx_handle_read_event(read, 0) != OK {
            return Err(NoMemory);
        }
        (*r.as_ptr()).read_event_handler = Some(ngx_http_test_reading);
    }
    Ok(())
}

/// The request goes on: what its client sends is read by whoever comes next.
pub(crate) fn stop_watching_client(r: Request) -> Result<(), NoMemory> {
    // SAFETY: a live request and its connection.
    unsafe {
        let read = (*(*r.as_ptr()).connection).read;
        if ngx_handle_read_event(read, 0) != OK {
            return Err(NoMemory);
        }
        (*r.as_ptr()).read_event_handler = Some(ngx_http_block_reading);
    }
    Ok(())
}

/// Hides the challenge of a request that was let in on other grounds ("satisfy any" hides only the
/// last module's), or that ends in a failure: a token would not help.
pub(crate) fn hide_challenge(ctx: &Ctx) {
    hide(ctx.challenge);
}

fn hide(header: Option<NonNull<ngx_table_elt_t>>) {
    if let Some(header) = header {
        // SAFETY: elements of the response's header list keep their place in its pool.
        unsafe { (*header.as_ptr()).hash = 0 };
    }
}
