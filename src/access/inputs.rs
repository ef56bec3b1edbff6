//! What a decision reads of a request: the token, and what the operator's expressions make of it.
//!
//! The expressions may hold the module's own variables, which look into the context: it must not be
//! held while they are evaluated.

use phantom_token_engine::directive;
use phantom_token_engine::memory;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::bearer::{self, Credentials, TokenSyntax};
use phantom_token_engine::token::key::hash_of;

use crate::conf::Policy;
use crate::conf::access::AllowOptions;
use crate::conf::request::{Extra, Values};
use crate::flight::desk;
use crate::nginx::log::warning;
use crate::nginx::parser::ComplexValue;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// The token that the client presents.
pub(crate) fn token(r: Request, policy: &Policy) -> Result<Credentials<'static>, NoMemory> {
    let Some(index) = policy.token else {
        return Ok(bearer::from_authorization(r.authorization(), policy.syntax));
    };
    let value = r.variable(index);
    if policy.syntax == TokenSyntax::B64token && value.contains(&b'%') {
        let decoded = bearer::percent_decoded(value, r.room(value.len())?);
        return Ok(
            decoded.map_or(Credentials::Unusable, |token| bearer::from_bare(token, policy.syntax))
        );
    }
    Ok(bearer::from_bare(value, policy.syntax))
}

/// Whether any of the values is non-empty and not `0`, as NGINX's own `*_bypass` directives have it.
pub(crate) fn any_set(r: Request, values: &[ComplexValue]) -> Result<bool, NoMemory> {
    for value in values {
        let text = r.complex_value(*value)?;
        if !text.is_empty() && text != b"0" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the request passes unjudged, by its method (`phantom_token_allow_options`).
pub(crate) fn passes_as_options(r: Request, policy: &Policy) -> bool {
    if r.method() != NGX_HTTP_OPTIONS {
        return false;
    }
    match policy.allow_options {
        AllowOptions::On => true,
        AllowOptions::Preflight => {
            r.header(b"origin").is_some() && r.header(b"access-control-request-method").is_some()
        }
        AllowOptions::Off => false,
    }
}

/// The values of extra headers and parameters; `None` where a client's value cannot be sent.
pub(crate) fn extra_values(
    r: Request,
    policy: &Policy,
) -> Result<Option<(Values, Values)>, NoMemory> {
    let introspection = &policy.introspection;
    let mut headers = memory::with_room(introspection.extras.headers.len())?;
    for header in introspection.extras.headers.iter() {
        let mut value = r.complex_value(header.value)?;
        if !is_sendable(r, value, "phantom_token_introspection_header", header) {
            if header.keyed {
                return Ok(None);
            }
            // What only accompanies the call may be missing.
            value = b"";
        }
        headers.push(memory::copied(value)?);
    }
    let mut params = memory::with_room(introspection.extras.params.len())?;
    for param in introspection.extras.params.iter() {
        let value = r.complex_value(param.value)?;
        if !is_sendable(r, value, "phantom_token_introspection_param", param) {
            return Ok(None);
        }
        params.push(memory::copied(value)?);
    }
    Ok(Some((headers, params)))
}

/// Whether a value holds no control byte: one could end the field it is sent in. That it does is
/// said once a minute, since it is most often a client's doing.
fn is_sendable(r: Request, value: &[u8], directive: &str, extra: &Extra) -> bool {
    if directive::is_header_value(value) {
        return true;
    }
    let name = &extra.name;
    let hash = hash_of(&[directive.as_bytes(), name.as_bytes()]);
    let first = desk::with(|desk| {
        desk.worker.state.once(Notice::UnsendableValue, hash, now_ms(), Some(60_000))
    });
    if first == Some(true) {
        warning!(
            r,
            "the value of \"{directive} {name}\" holds a control byte, which a client may have sent: a header with nokey is left out, else the answer is 500"
        );
    }
    false
}
