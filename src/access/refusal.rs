//! Refusing a request: status, challenge and body, and what NGINX needs around them.
//!
//! The access handler returns a status, so that `satisfy`, `error_page` and `auth_delay` work as
//! with NGINX's own access modules. The body is put in by the filter of the module's second half,
//! only where the response is still the one this refusal gave.

use core::mem;

use phantom_token_engine::token::challenge;

use crate::access::ctx::{Ctx, Reply};
use crate::conf::Policy;
use crate::nginx::log::info;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

// Statics, since the module knows its own headers by where their names lie.
static WWW_AUTHENTICATE: [u8; 16] = *b"WWW-Authenticate";
static RETRY_AFTER: [u8; 11] = *b"Retry-After";

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
                info!(r.log(), "the access token is refused: {}{}", ctx.reason, ctx.detail);
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
    if mem::replace(&mut ctx.refused, true) {
        r.hide_header_out(&WWW_AUTHENTICATE);
        r.hide_header_out(&RETRY_AFTER);
    }
    if let Some(challenge) = challenge {
        // The challenge is made with the configuration and lives as long as its cycle.
        let value = ngx_str_t { len: challenge.len(), data: challenge.as_ptr().cast_mut() };
        let header = r.set_header_out(&WWW_AUTHENTICATE, value)?;
        // SAFETY: an element of the response's header list; "satisfy any" hides it through this.
        unsafe { pt_set_www_authenticate(r.as_ptr(), header.as_ptr()) };
    }
    if let Refusal::Unavailable { retry_after } = refusal {
        // SAFETY: a live pool.
        let value = unsafe { pool_copy(r.pool(), retry_after.to_string().as_bytes()) };
        r.set_header_out(&RETRY_AFTER, value.ok_or(NoMemory)?)?;
    }
    // SAFETY: a live request. NGINX drops the connection of every 500, and would turn an outage of
    // the authorization server into a storm of reconnections.
    ctx.keepalive = status == NGX_HTTP_INTERNAL_SERVER_ERROR
        && unsafe { pt_request_keepalive(r.as_ptr()) != 0 };
    ctx.reply = Some(Reply { status, body, sending: false, sent: false });
    Ok(status as ngx_int_t)
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
pub(crate) fn hide_challenge(r: Request, ctx: &Ctx) {
    if ctx.refused {
        r.hide_header_out(&WWW_AUTHENTICATE);
    }
}
