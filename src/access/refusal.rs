//! Refusing a request: status, challenge and body, and what NGINX needs around them.
//!
//! The access handler returns a status, so that `satisfy`, `error_page` and `auth_delay` work as
//! with NGINX's own access modules. The body is put in by the filter of the module's second half,
//! only where the response is still the one this refusal gave.

use core::mem;
use std::rc::Rc;

use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::challenge::{self, Challenge, ChallengeError, Unmet};
use phantom_token_engine::token::key::hash_of;

use crate::access::ctx::{Ctx, Reply};
use crate::conf::Policy;
use crate::conf::challenge::Text;
use crate::flight::desk::{self, Desk};
use crate::nginx::log::{error, info};
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

// Statics, since the module knows its own headers by where their names lie.
static WWW_AUTHENTICATE: [u8; 16] = *b"WWW-Authenticate";
static RETRY_AFTER: [u8; 11] = *b"Retry-After";

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 401: no Bearer token. The challenge has no error code (RFC 6750 §3.1).
    Missing,
    /// 401: a token that the authorization server does not call active.
    Inactive,
    /// 401: a token that is unusable, or that the location does not take.
    InvalidToken,
    /// 401: whoever the token is of must be authenticated anew (RFC 9470).
    StepUp(StepUp),
    /// 403: the token lacks this scope, or part of it. It is named, with single spaces between its
    /// values.
    InsufficientScope(Rc<Vec<u8>>),
    /// 403: the token does not meet what no challenge can ask for.
    Requirement,
    /// 500: the token could not be judged.
    ServerError,
    /// 503: try again in so many seconds.
    Unavailable { retry_after: u32 },
}

/// What the challenge of a step-up asks for: what is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepUp {
    /// Values of `acr`, joined by single spaces; empty: any.
    pub(crate) acr_values: Rc<Vec<u8>>,
    /// In seconds.
    pub(crate) max_age: Option<u64>,
    /// The required scope, where the token lacks that too.
    pub(crate) scope: Option<Rc<Vec<u8>>>,
}

impl Refusal {
    fn status(&self) -> u32 {
        match self {
            Self::Missing | Self::Inactive | Self::InvalidToken | Self::StepUp(_) => {
                NGX_HTTP_UNAUTHORIZED
            }
            Self::InsufficientScope(_) | Self::Requirement => NGX_HTTP_FORBIDDEN,
            Self::ServerError => NGX_HTTP_INTERNAL_SERVER_ERROR,
            Self::Unavailable { .. } => NGX_HTTP_SERVICE_UNAVAILABLE,
        }
    }

    fn body(&self) -> &'static [u8] {
        match self {
            Self::Missing | Self::Inactive | Self::InvalidToken | Self::StepUp(_) => {
                challenge::UNAUTHORIZED_BODY
            }
            Self::InsufficientScope(_) => challenge::FORBIDDEN_BODY,
            Self::Requirement => challenge::UNMET_BODY,
            Self::ServerError | Self::Unavailable { .. } => challenge::SERVER_ERROR_BODY,
        }
    }

    /// What the client is told to present; `None`: a token would not help.
    fn unmet(&self) -> Option<Unmet<'_>> {
        Some(match self {
            Self::Missing => Unmet::Token,
            Self::Inactive | Self::InvalidToken => Unmet::Validity,
            Self::InsufficientScope(_) => Unmet::Scope,
            Self::StepUp(StepUp { acr_values, max_age, scope }) => {
                Unmet::Authentication(challenge::StepUp {
                    acr_values,
                    max_age: *max_age,
                    lacks_scope: scope.is_some(),
                })
            }
            Self::Requirement | Self::ServerError | Self::Unavailable { .. } => return None,
        })
    }

    /// The challenge's value, in the request's pool. It may evaluate variables.
    fn challenge(&self, r: Request, policy: &Policy) -> Result<Option<ngx_str_t>, NoMemory> {
        let Some(unmet) = self.unmet() else { return Ok(None) };
        let own = &policy.challenge;
        let scope = match self {
            Self::InsufficientScope(scope) | Self::StepUp(StepUp { scope: Some(scope), .. }) => {
                scope
            }
            _ => &own.scope,
        };
        let metadata = own.resource_metadata.as_ref();
        let metadata = metadata.map(|url| {
            text(r, url, "phantom_token_resource_metadata", challenge::check_resource_metadata)
        });
        let challenge = Challenge {
            realm: text(r, &own.realm, "phantom_token_realm", challenge::check_realm)?,
            scope,
            resource_metadata: metadata.transpose()?.unwrap_or_default(),
        };
        Ok(Some(r.copy(&challenge.for_unmet(unmet)?)?))
    }

    /// Writes the log line of what a client did. Failures have lines of their own.
    fn log(&self, r: Request, ctx: &Ctx) {
        match self {
            Self::Missing => info!(r, "no access token in the request"),
            Self::Inactive => info!(r, "the access token is not active"),
            Self::InvalidToken => {
                info!(r, "the access token is refused: {}{}", ctx.reason.word(), ctx.detail);
            }
            Self::StepUp(_) => {
                info!(r, "the access token is refused: its user must be authenticated anew");
            }
            Self::InsufficientScope(_) => info!(r, "the access token lacks a required scope"),
            Self::Requirement => info!(r, "the access token does not meet a requirement"),
            Self::ServerError | Self::Unavailable { .. } => {}
        }
    }
}

/// A value of a challenge; empty where it cannot stand in one.
fn text<'a>(
    r: Request,
    text: &'a Text,
    directive: &str,
    check: fn(&[u8]) -> Result<(), ChallengeError>,
) -> Result<&'a [u8], NoMemory> {
    let (value, source) = match text {
        Text::Fixed(value) => return Ok(value),
        Text::Made(value) => (r.complex_value(*value)?, value.source()),
    };
    match check(value) {
        Ok(()) => Ok(value),
        Err(_) if value.is_empty() => Ok(b""),
        Err(error) => {
            say_unfit(r, directive, source, error);
            Ok(b"")
        }
    }
}

/// Once a minute for each directive and what it says: another location's is another's.
fn say_unfit(r: Request, directive: &str, source: &[u8], error: ChallengeError) {
    let hash = hash_of(&[directive.as_bytes(), source]);
    let once = |desk: &mut Desk| {
        desk.worker.state.once(Notice::UnfitChallenge, hash, now_ms(), Some(60_000))
    };
    if desk::with(once) == Some(true) {
        error!(r, "a value of \"{directive}\" is left out of challenges: {error}");
    }
}

/// Gives the status to NGINX, and readies what goes with it. The context must not be held: the
/// challenge may hold variables.
pub(crate) fn give(r: Request, policy: &Policy, refusal: &Refusal) -> Result<ngx_int_t, NoMemory> {
    let challenge = refusal.challenge(r, policy)?;
    let mut ctx = Ctx::of(&r)?;
    refusal.log(r, &ctx);
    // What a refusal of an earlier pass said is not what this one says.
    if mem::replace(&mut ctx.refused, true) {
        r.hide_header_out(&WWW_AUTHENTICATE);
        r.hide_header_out(&RETRY_AFTER);
    }
    if let Some(challenge) = challenge {
        let header = r.set_header_out(&WWW_AUTHENTICATE, challenge)?;
        r.link_www_authenticate(header);
    }
    if let Refusal::Unavailable { retry_after } = *refusal {
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
