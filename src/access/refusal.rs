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
    /// 401: a token that the authorization server does not call active.
    Inactive,
    /// 401: a token that is unusable, or that the location does not take.
    InvalidToken,
    /// 403.
    InsufficientScope,
    /// 500: the token could not be judged.
    ServerError,
    /// 503: try again in so many seconds.
    Unavailable { retry_after: u32 },
}

impl Refusal {
    fn status(self) -> u32 {
        match self {
            Self::Missing | Self::Inactive | Self::InvalidToken => NGX_HTTP_UNAUTHORIZED,
            Self::InsufficientScope => NGX_HTTP_FORBIDDEN,
            Self::ServerError => NGX_HTTP_INTERNAL_SERVER_ERROR,
            Self::Unavailable { .. } => NGX_HTTP_SERVICE_UNAVAILABLE,
        }
    }

    fn body(self) -> &'static [u8] {
        match self {
            Self::Missing | Self::Inactive | Self::InvalidToken => challenge::UNAUTHORIZED_BODY,
            Self::InsufficientScope => challenge::FORBIDDEN_BODY,
            Self::ServerError | Self::Unavailable { .. } => challenge::SERVER_ERROR_BODY,
        }
    }

    /// What the client is told to present; `None`: a token would not help.
    fn challenge(self, policy: &Policy) -> Option<&[u8]> {
        match self {
            Self::Missing => Some(policy.challenge.missing()),
            Self::Inactive | Self::InvalidToken => Some(policy.challenge.invalid_token()),
            Self::InsufficientScope => Some(policy.challenge.insufficient_scope()),
            Self::ServerError | Self::Unavailable { .. } => None,
        }
    }

    /// Writes the log line of what a client did. Failures have lines of their own.
    fn log(self, r: Request, ctx: &Ctx) {
        match self {
            Self::Missing => info!(r, "no access token in the request"),
            Self::Inactive => info!(r, "the access token is not active"),
            Self::InvalidToken => {
                info!(r, "the access token is refused: {}{}", ctx.reason.word(), ctx.detail);
            }
            Self::InsufficientScope => info!(r, "the access token lacks a required scope"),
            Self::ServerError | Self::Unavailable { .. } => {}
        }
    }
}

/// Gives the status to NGINX, and readies what goes with it.
pub(crate) fn give(
    r: Request,
    ctx: &mut Ctx,
    policy: &Policy,
    refusal: Refusal,
) -> Result<ngx_int_t, NoMemory> {
    refusal.log(r, ctx);
    // What a refusal of an earlier pass said is not what this one says.
    if mem::replace(&mut ctx.refused, true) {
        r.hide_header_out(&WWW_AUTHENTICATE);
        r.hide_header_out(&RETRY_AFTER);
    }
    if let Some(challenge) = refusal.challenge(policy) {
        // The challenge is made with the configuration and lives as long as its cycle.
        let value = ngx_str_t { len: challenge.len(), data: challenge.as_ptr().cast_mut() };
        let header = r.set_header_out(&WWW_AUTHENTICATE, value)?;
        r.link_www_authenticate(header);
    }
    if let Refusal::Unavailable { retry_after } = refusal {
        r.set_header_out(&RETRY_AFTER, r.copy(retry_after.to_string().as_bytes())?)?;
    }
    let status = refusal.status();
    // NGINX drops the connection of every 500, and would turn an outage of the authorization server into
    // a storm of reconnections.
    ctx.keepalive = status == NGX_HTTP_INTERNAL_SERVER_ERROR && r.keepalive();
    ctx.reply = Some(Reply { status, body: refusal.body(), sending: false, sent: false });
    Ok(status as ngx_int_t)
}

/// After our 500 NGINX has decided to drop the connection: keeps it as it was going to be. Once for
/// each 500, since NGINX may find a better reason to drop it later.
pub(crate) fn keep_connection(r: Request, ctx: &mut Ctx) {
    if mem::take(&mut ctx.keepalive) {
        r.set_keepalive();
    }
}

/// Hides the challenge of a request that was let in on other grounds ("satisfy any" hides only the
/// last module's), or that ends in a failure: a token would not help.
pub(crate) fn hide_challenge(r: Request, ctx: &Ctx) {
    if ctx.refused {
        r.hide_header_out(&WWW_AUTHENTICATE);
    }
}
