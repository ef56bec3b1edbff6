//! `application/json`: an introspection answer (RFC 7662 §2.2), with the phantom token in a member of
//! its own.

use zeroize::Zeroizing;

use crate::answer::cause::Cause;
use crate::answer::grant::{Grant, Judged};
use crate::answer::json::{self, Object, Value};
use crate::answer::jwt::{Compact, Jwt};
use crate::answer::nature::Nature;
use crate::answer::subjects::Named;
use crate::answer::terms::{Forward, Terms};
use crate::answer::{registered, scope};

pub(super) fn read(body: &[u8], terms: Terms) -> Result<Judged, Cause> {
    of(&Object::parse(body)?, terms)
}

/// Reads the answer's object, from whatever it came out of.
pub(super) fn of(answer: &Object<'_>, terms: Terms) -> Result<Judged, Cause> {
    let active = answer.get("active").ok_or(Cause::NoActive)?;
    if !active.as_bool().ok_or(Cause::ActiveType)? {
        return Ok(Judged::Inactive);
    }
    let (text, jwt) = match (phantom_token(answer), terms.forward) {
        (Some(text), Forward::Jwt) => {
            let jwt = Compact::parse(text.as_bytes())?;
            (text, Some(jwt))
        }
        (None, Forward::Jwt) => return Err(Cause::NoJwt),
        // Where it is not forwarded a JWT only adds what it says, if it can be read.
        (Some(text), Forward::None | Forward::Mint) => match Compact::parse(text.as_bytes()) {
            Ok(jwt) => (text, Some(jwt)),
            Err(_) => Default::default(),
        },
        (None, Forward::None | Forward::Mint) => Default::default(),
    };
    Ok(Judged::Active(Grant {
        scope: granted_scope(answer, jwt.as_ref())?,
        claims: without_phantom_token(answer),
        exp: earlier(registered::exp_unless_0(answer)?, jwt.as_ref().map_or(Ok(None), Jwt::exp)?),
        nature: registered::nature(answer)?
            .and(jwt.as_ref().map_or(Ok(Nature::default()), Jwt::nature)?),
        jwt: text.as_bytes().to_vec(),
        is_endless: false,
        signer: None,
        subjects: terms
            .subjects(&Named::read(answer), &jwt.as_ref().map(Jwt::named).unwrap_or_default()),
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
