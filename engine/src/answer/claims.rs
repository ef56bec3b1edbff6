//! Claims as text, for variables.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::answer::json::{self, Object, Value};
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

/// What is asked for as a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted<'a> {
    /// The claim of a name, which matches in any case: NGINX writes names of variables in lower
    /// case. Where several do, one that matches exactly is preferred, then the first.
    Named(&'a [u8]),
    /// What the configuration names.
    At(&'a Path),
    /// All claims, as [`all`] gives them.
    All,
}

/// A claim by its name, or a path of names into objects (`phantom_token_claim_set`). Each matches
/// exactly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    names: Vec<Box<str>>,
    has: Option<Box<str>>,
}

impl Path {
    /// A claim; with `has` whether it is that string, or an array with it.
    pub fn new(names: &[&str], has: Option<&str>) -> Path {
        Path { names: names.iter().map(|name| (*name).into()).collect(), has: has.map(Into::into) }
    }

    /// Whether it only says whether a claim has a value.
    pub fn is_test(&self) -> bool {
        self.has.is_some()
    }

    /// Names and value in bytes.
    pub fn size(&self) -> usize {
        self.names.iter().chain(&self.has).map(|text| text.len()).sum()
    }

    /// The text of the claim where it leads to; `None` where the claims have none of its first name.
    fn find(&self, claims: &Object<'_>) -> Option<ClaimValue> {
        let (first, rest) = self.names.split_first()?;
        let mut value = Some(claims.get(first).filter(|value| !value.is_null())?);
        for name in rest {
            value = value.and_then(Value::as_object).and_then(|object| object.get(name));
        }
        Some(match (&self.has, value) {
            (None, value) => value.map_or(ClaimValue::Absent, text),
            (Some(wanted), Some(value)) => has(value, wanted),
            (Some(_), None) => test(false),
        })
    }
}

/// Looks a claim up in the server's JSON answer, then in the payload of the JWT it gave. Either
/// may be empty, and both were read by [`crate::answer::read`] before. The answer decides where it
/// has a claim of that name (the first of a path) that is not `null`: the JWT is not asked then.
///
/// A string gives its text, a number or a boolean the text it was written in, an array of strings
/// those joined by single spaces (but JSON where one of them holds a space), any other array or an
/// object compact JSON. A test gives `1` or `0`.
pub fn lookup(claims_json: &[u8], jwt: &[u8], wanted: Wanted<'_>) -> ClaimValue {
    let find = |claims: &Object<'_>| match wanted {
        Wanted::Named(name) => named(claims, name),
        Wanted::At(path) => path.find(claims),
        Wanted::All => None,
    };
    if wanted == Wanted::All {
        return all(claims_json, jwt);
    }
    let of_answer = Object::of_checked(claims_json).as_ref().and_then(find);
    let of_jwt = || {
        let payload = jwt::payload_of_checked(jwt)?;
        find(&Object::of_checked(&payload)?)
    };
    of_answer.or_else(of_jwt).unwrap_or(match wanted {
        Wanted::At(path) if path.is_test() => test(false),
        _ => ClaimValue::Absent,
    })
}

/// All claims as one JSON object, in base64url without padding: the answer's members, and then those
/// of the JWT's payload that the answer has none of. Members that are `null` are none.
fn all(claims_json: &[u8], jwt: &[u8]) -> ClaimValue {
    let answer = Object::of_checked(claims_json);
    let payload = jwt::payload_of_checked(jwt);
    let payload = payload.as_deref().and_then(|payload| Object::of_checked(payload));
    if answer.is_none() && payload.is_none() {
        return ClaimValue::Absent;
    }
    let mut out = vec![b'{'];
    let is_answered =
        |name: &str| answer.iter().any(|answer| answer.get(name).is_some_and(|v| !v.is_null()));
    let of_answer = answer.iter().flat_map(Object::members);
    let of_payload = payload.iter().flat_map(Object::members);
    let lacking = of_payload.filter(|(name, _)| !is_answered(name));
    for (name, value) in of_answer.chain(lacking).filter(|(_, value)| !value.is_null()) {
        if out.len() > 1 {
            out.push(b',');
        }
        json::write_string(&mut out, name);
        out.push(b':');
        value.write_compact(&mut out);
    }
    out.push(b'}');
    let out = Zeroizing::new(out);
    ClaimValue::Text(URL_SAFE_NO_PAD.encode(&*out).into_bytes())
}

fn named(claims: &Object<'_>, name: &[u8]) -> Option<ClaimValue> {
    let name = std::str::from_utf8(name).ok()?;
    let alike = |known: &str| known.eq_ignore_ascii_case(name);
    let value = claims
        .get(name)
        .or_else(|| claims.members().find(|(known, _)| alike(known)).map(|(_, value)| value))?;
    (!value.is_null()).then(|| text(value))
}

/// Whether a claim is a string, or an array with it.
fn has(value: Value<'_>, wanted: &str) -> ClaimValue {
    let is_wanted = |value: &Value<'_>| value.as_str().is_some_and(|text| text == wanted);
    // What is left out as a variable counts for nothing as a test.
    match (text(value), value.as_array()) {
        (ClaimValue::Unprintable, _) => ClaimValue::Unprintable,
        (_, Some(elements)) => test(elements.iter().any(is_wanted)),
        _ => test(is_wanted(&value)),
    }
}

fn test(holds: bool) -> ClaimValue {
    ClaimValue::Text(vec![if holds { b'1' } else { b'0' }])
}

/// The text of a value.
fn text(value: Value<'_>) -> ClaimValue {
    if value.is_null() {
        return ClaimValue::Absent;
    }
    let text = match value.as_str() {
        Some(string) => string.into_owned().into_bytes(),
        None => value.as_array().as_deref().and_then(join).unwrap_or_else(|| {
            let mut out = Vec::new();
            value.write_compact(&mut out);
            out
        }),
    };
    if text.iter().any(u8::is_ascii_control) {
        return ClaimValue::Unprintable;
    }
    ClaimValue::Text(text)
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
