//! What an introspection answer means (RFC 7662 §2.2, RFC 9701 §5, and the Phantom Token
//! pattern's `application/jwt`).
//!
//! The answer decides, not what was asked for: its status and content type say how the body is
//! read. Whatever is not understood is a [`NoVerdict`], never a grant.

pub mod binding;
pub mod cause;
pub mod claims;
pub mod facts;
pub mod failure;
pub mod grant;

pub mod json;
mod json_body;
pub mod jwt;
mod jwt_body;
pub mod nature;
pub mod registered;
pub mod scope;
mod signed_body;
pub mod stated;
pub mod subjects;
pub mod terms;

pub use cause::Cause;
pub use failure::NoVerdict;
pub use terms::{Forward, Terms};

use crate::answer::grant::{Grant, Judged};
use crate::answer::json::{JsonError, Object, Value};
use crate::http::response::{MAX_BODY, Response};

/// How long ago the `exp` of a token that the server calls active passed, in seconds: the two
/// clocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew(pub u64);

/// What the authorization server said of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The token is good, within the grant's own limits.
    Active(Grant),
    /// The token is not good; with a [`Skew`] where the server thought otherwise.
    Inactive(Option<Skew>),
    /// Nothing was learnt about the token.
    Failed(NoVerdict),
}

/// Reads an answer. `now` is in seconds since the Unix epoch.
///
/// ```
/// use phantom_token_engine::answer::{Answer, Forward, read};
/// use phantom_token_engine::http::response::Response;
///
/// let mut response = Response::default();
/// response.status = 200;
/// response.content_type = Some(b"application/json".to_vec());
/// response.body = br#"{"active":false}"#.to_vec();
/// assert!(matches!(read(&response, Forward::Jwt, 0), Answer::Inactive(_)));
/// ```
pub fn read(response: &Response, terms: impl Into<Terms>, now: u64) -> Answer {
    let terms = terms.into();
    let outcome = match response.status {
        200 => read_ok(response, terms),
        204 => Ok(Judged::Inactive),
        400..=499 => read_refusal(response, terms, now),
        503 => Err(NoVerdict::Unavailable {
            retry_after: failure::retry_after(response.retry_after.as_deref(), now),
        }),
        status => Err(NoVerdict::Status(status)),
    };
    match outcome {
        Ok(Judged::Active(grant)) => match grant.exp {
            Some(exp) if exp <= now => Answer::Inactive(Some(Skew(now - exp))),
            _ => Answer::Active(grant),
        },
        Ok(Judged::Inactive) => Answer::Inactive(None),
        Err(failure) => Answer::Failed(failure),
    }
}

/// Reads a body, blanks around it trimmed.
type Reader = fn(&[u8], Terms) -> Result<Judged, Cause>;

/// The content types an answer is read in. A new one is a file and a line.
const FORMATS: [(&[u8], Reader); 3] = [
    (b"application/jwt", jwt_body::read),
    (b"application/json", json_body::read),
    (b"application/token-introspection+jwt", signed_body::read),
];

/// Finds what reads a `Content-Type`, its parameters ignored; `None` for one that is not read.
fn format(content_type: &[u8]) -> Option<Reader> {
    let essence = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
    FORMATS.into_iter().find(|(name, _)| essence.eq_ignore_ascii_case(name)).map(|(_, read)| read)
}

fn read_ok(response: &Response, terms: Terms) -> Result<Judged, NoVerdict> {
    if !is_identity(response.content_encoding.as_deref()) {
        return Err(Cause::ContentEncoding.into());
    }
    if response.body.len() > MAX_BODY {
        return Err(Cause::TooLarge.into());
    }
    let content_type = response.content_type.as_deref().ok_or(Cause::NoContentType)?;
    let read = format(content_type).ok_or(Cause::ContentType)?;
    let body = trim(&response.body);
    if body.is_empty() {
        return Err(Cause::Empty.into());
    }
    Ok(read(body, terms)?)
}

/// 4xx: most say nothing about the token, but some servers say there that it is inactive.
fn read_refusal(response: &Response, terms: Terms, now: u64) -> Result<Judged, NoVerdict> {
    let readable =
        is_identity(response.content_encoding.as_deref()) && response.body.len() <= MAX_BODY;
    let answer =
        Some(&response.body).filter(|_| readable).and_then(|body| Object::parse(body).ok());
    let member = |name| answer.as_ref().and_then(|answer| answer.get(name));
    if member("active").and_then(Value::as_bool) == Some(false) {
        return Ok(Judged::Inactive);
    }
    let error = member("error").and_then(Value::as_str);
    // RFC 7009 §2.2.1: `oidc-provider` says so of a token that is a JWT, others of a hint.
    let unsupported = error.as_deref() == Some("unsupported_token_type");
    match response.status {
        400 if unsupported && !terms.other_hint => Ok(Judged::Inactive),
        status @ (400 | 401 | 403) if unsupported && terms.other_hint => {
            Err(NoVerdict::Hint(status))
        }
        status @ (401 | 403) => Err(NoVerdict::Credentials(status)),
        // RFC 6749 §5.2 asks for 401 only where Basic was used.
        400 if matches!(error.as_deref(), Some("invalid_client" | "unauthorized_client")) => {
            Err(NoVerdict::Credentials(400))
        }
        429 => Err(NoVerdict::RateLimited {
            retry_after: failure::retry_after(response.retry_after.as_deref(), now),
        }),
        status => Err(NoVerdict::Status(status)),
    }
}

fn is_identity(content_encoding: Option<&[u8]>) -> bool {
    content_encoding.is_none_or(|codings| {
        codings.split(|byte| *byte == b',').all(|coding| {
            let coding = coding.trim_ascii();
            coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
        })
    })
}

/// Drops blanks and line ends around a body; JSON's own white space.
fn trim(mut body: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..]
    | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = body
    {
        body = rest;
    }
    body
}

impl From<JsonError> for NoVerdict {
    fn from(error: JsonError) -> NoVerdict {
        NoVerdict::NotUnderstood(error.into())
    }
}

#[cfg(test)]
mod tests;
