//! What an introspection answer means (RFC 7662 §2.2, RFC 9701 §5, and the Phantom Token
//! pattern's `application/jwt`).
//!
//! The answer decides, not what was asked for: its status and content type say how the body is
//! read. Whatever is not understood is a [`NoVerdict`], never a grant.

pub mod cause;
pub mod claims;
pub mod facts;
pub mod failure;
pub mod grant;
pub mod json;
pub mod jwt;
pub mod nature;
pub mod registered;
pub mod scope;

use zeroize::Zeroizing;

pub use cause::Cause;
pub use failure::NoVerdict;

use crate::answer::grant::Grant;
use crate::answer::json::{JsonError, Object, Value};
use crate::answer::jwt::{Compact, Jwt};
use crate::answer::nature::Nature;
use crate::http::response::{MAX_BODY, Response};

/// What the location sends upstream (`phantom_token_forward`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Forward {
    /// The phantom token: an active answer without one is a failure.
    #[default]
    Jwt,
    /// Nothing: active is enough.
    None,
}

/// What an answer is read for, as far as its meaning depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What the location sends upstream.
    pub forward: Forward,
    /// Another token type hint than `access_token` was sent.
    other_hint: bool,
}

impl Terms {
    /// What the location sends upstream, and the `token_type_hint` that was sent.
    pub fn new(forward: Forward, hint: Option<&[u8]>) -> Terms {
        Terms { forward, other_hint: hint.is_some_and(|hint| hint != b"access_token") }
    }
}

impl From<Forward> for Terms {
    /// Without a hint.
    fn from(forward: Forward) -> Terms {
        Terms::new(forward, None)
    }
}

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
        200 => read_ok(response, terms.forward),
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

/// What the server says, before the clock is asked.
enum Judged {
    Active(Grant),
    Inactive,
}

/// The content types an answer is read in.
enum MediaType {
    Jwt,
    Json,
    TokenIntrospectionJwt,
}

impl MediaType {
    /// Reads a `Content-Type`, its parameters ignored.
    fn of(content_type: &[u8]) -> Option<MediaType> {
        let essence = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
        let known: [(&[u8], MediaType); 3] = [
            (b"application/jwt", MediaType::Jwt),
            (b"application/json", MediaType::Json),
            (b"application/token-introspection+jwt", MediaType::TokenIntrospectionJwt),
        ];
        known.into_iter().find(|(name, _)| essence.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }
}

fn read_ok(response: &Response, forward: Forward) -> Result<Judged, NoVerdict> {
    if !is_identity(response.content_encoding.as_deref()) {
        return Err(Cause::ContentEncoding.into());
    }
    if response.body.len() > MAX_BODY {
        return Err(Cause::TooLarge.into());
    }
    let content_type = response.content_type.as_deref().ok_or(Cause::NoContentType)?;
    let media_type = MediaType::of(content_type).ok_or(Cause::ContentType)?;
    let body = trim(&response.body);
    if body.is_empty() {
        return Err(Cause::Empty.into());
    }
    let judged = match media_type {
        MediaType::Jwt => read_jwt(body, forward),
        MediaType::Json => read_json(&Object::parse(body)?, forward),
        MediaType::TokenIntrospectionJwt => {
            let answer = Compact::decode(body)?;
            read_json(&answer.token_introspection()?, forward)
        }
    };
    Ok(judged?)
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

/// `application/jwt`: the body is the phantom token, or an introspection answer as the drafts
/// before RFC 9701 had it, which is enough where no JWT is forwarded.
fn read_jwt(body: &[u8], forward: Forward) -> Result<Judged, Cause> {
    let compact = Compact::decode(body)?;
    if compact.says_inactive() {
        return Ok(Judged::Inactive);
    }
    if compact.is_introspection() {
        return match forward {
            Forward::Jwt => Err(Cause::IntrospectionAnswer),
            Forward::None => read_json(&compact.introspection()?, forward),
        };
    }
    let jwt = compact.phantom_token()?;
    Ok(Judged::Active(Grant {
        jwt: body.to_vec(),
        scope: jwt.scope()?.unwrap_or_default(),
        claims: Vec::new(),
        exp: jwt.exp()?,
        nature: jwt.nature()?,
    }))
}

/// RFC 7662 §2.2, with the phantom token in a member of its own.
fn read_json(answer: &Object<'_>, forward: Forward) -> Result<Judged, Cause> {
    let active = answer.get("active").ok_or(Cause::NoActive)?;
    if !active.as_bool().ok_or(Cause::ActiveType)? {
        return Ok(Judged::Inactive);
    }
    let (text, jwt) = match (phantom_token(answer), forward) {
        (Some(text), Forward::Jwt) => {
            let jwt = Compact::parse(text.as_bytes())?;
            (text, Some(jwt))
        }
        (None, Forward::Jwt) => return Err(Cause::NoJwt),
        // Where none is forwarded a JWT only adds what it says, if it can be read.
        (Some(text), Forward::None) => match Compact::parse(text.as_bytes()) {
            Ok(jwt) => (text, Some(jwt)),
            Err(_) => Default::default(),
        },
        (None, Forward::None) => Default::default(),
    };
    Ok(Judged::Active(Grant {
        scope: granted_scope(answer, jwt.as_ref())?,
        claims: without_phantom_token(answer),
        exp: earlier(registered::exp_unless_0(answer)?, jwt.as_ref().map_or(Ok(None), Jwt::exp)?),
        nature: registered::nature(answer)?
            .and(jwt.as_ref().map_or(Ok(Nature::default()), Jwt::nature)?),
        jwt: text.as_bytes().to_vec(),
    }))
}

/// Members of a JSON answer that may hold the phantom token, the first that is a string counts.
const PHANTOM_TOKEN_MEMBERS: [&str; 2] = ["phantom_token", "jwt"];

fn phantom_token(answer: &Object<'_>) -> Option<Zeroizing<String>> {
    PHANTOM_TOKEN_MEMBERS
        .into_iter()
        .find_map(|name| answer.get(name)?.as_str())
        .map(|text| Zeroizing::new(text.into_owned()))
}

/// The answer as one compact JSON object, less the members that hold tokens.
fn without_phantom_token(answer: &Object<'_>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, value) in answer.members() {
        if PHANTOM_TOKEN_MEMBERS.contains(&name) && value.as_str().is_some() {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        json::write_string(&mut out, name);
        out.push(b':');
        value.write_compact(&mut out);
    }
    out.push(b'}');
    out
}

/// The answer's own scope where it has one, else the JWT's; never both together.
fn granted_scope(answer: &Object<'_>, jwt: Option<&Jwt>) -> Result<Vec<u8>, Cause> {
    if let Some(value) = answer.get("scope").filter(|value| !Value::is_null(*value)) {
        return scope::normalise(value);
    }
    Ok(jwt.map_or(Ok(None), Jwt::scope)?.unwrap_or_default())
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
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
