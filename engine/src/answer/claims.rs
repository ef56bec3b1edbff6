//! Claims as text, for `$phantom_token_claim_NAME`.

use crate::answer::json::{Object, Value};
use crate::answer::jwt;

/// A claim as the value of a variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimValue {
    /// There is no such claim, or it is `null`.
    Absent,
    /// Its text.
    Text(Vec<u8>),
    /// A control byte stands in it: it could end a header field.
    Unprintable,
}

/// Looks a claim up in the server's JSON answer, then in the payload of the JWT it gave. Either
/// may be empty, and both were read by [`crate::answer::read`] before.
///
/// Names match in any case, since NGINX writes names of variables in lower case; where several
/// do, one that matches exactly is preferred, then the first.
///
/// A string gives its text, a number or a boolean the text it was written in, an array of strings
/// those joined by single spaces (but JSON where one of them holds a space), any other array or an
/// object compact JSON.
pub fn lookup(claims_json: &[u8], jwt: &[u8], name: &[u8]) -> ClaimValue {
    let Ok(name) = std::str::from_utf8(name) else { return ClaimValue::Absent };
    if let Some(text) = find(claims_json, name) {
        return text;
    }
    jwt::payload_of_checked(jwt)
        .and_then(|payload| find(&payload, name))
        .unwrap_or(ClaimValue::Absent)
}

fn find(claims: &[u8], name: &str) -> Option<ClaimValue> {
    let claims = Object::of_checked(claims)?;
    let value = claims.get(name).or_else(|| {
        claims.members().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })?;
    let text = text(value)?;
    if text.iter().any(u8::is_ascii_control) {
        return Some(ClaimValue::Unprintable);
    }
    Some(ClaimValue::Text(text))
}

/// The text of a value; `None` for `null`.
fn text(value: Value<'_>) -> Option<Vec<u8>> {
    if value.is_null() {
        return None;
    }
    if let Some(string) = value.as_str() {
        return Some(string.into_owned().into_bytes());
    }
    if let Some(joined) = value.as_array().as_deref().and_then(join) {
        return Some(joined);
    }
    let mut out = Vec::new();
    value.write_compact(&mut out);
    Some(out)
}

/// Strings joined by spaces, where they can be told apart again.
fn join(elements: &[Value<'_>]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let string = element.as_str().filter(|text| !text.contains(' '))?;
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(string.as_bytes());
    }
    Some(out)
}

#[cfg(test)]
mod tests;
