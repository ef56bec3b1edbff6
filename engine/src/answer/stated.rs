//! What is stated of a token that locations judge it by: who issued it and for whom (RFC 7519 §4.1.1
//! and §4.1.3, RFC 7662 §2.2), how its user was authenticated, and when (RFC 9470 §6).

use zeroize::Zeroizing;

use crate::answer::json::{Object, Value};
use crate::answer::jwt;

/// What the answer and the JWT in it say together: a claim is the answer's, else the JWT's. One that
/// is `null` is left out; one of another type, or with a control byte, states nothing.
#[derive(Default)]
pub struct Stated {
    issuer: Option<Zeroizing<String>>,
    two_issuers: bool,
    /// Each with a NUL behind it, which none has in it.
    audiences: Zeroizing<String>,
    acr: Option<Zeroizing<String>>,
    auth_time: Option<u64>,
}

/// What answer and JWT say of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One that is wanted.
    Wanted,
    /// None, or another.
    Unwanted,
    /// The answer names one and the JWT another.
    Contradiction,
}

impl Stated {
    /// Reads the server's JSON answer and the JWT it gave. Either may be empty, and both were read by
    /// [`crate::answer::read`] before.
    pub fn read(answer: &[u8], jwt: &[u8]) -> Stated {
        let payload = jwt::payload_of_checked(jwt);
        let answer = Object::of_checked(answer);
        let jwt = payload.as_ref().and_then(|payload| Object::of_checked(payload));
        let both = |name| {
            [&answer, &jwt].map(|claims| {
                let value = claims.as_ref()?.get(name)?;
                (!value.is_null()).then_some(value)
            })
        };
        let claim = |name| {
            let [answer, jwt] = both(name);
            answer.or(jwt)
        };
        let two_issuers = match both("iss") {
            [Some(one), Some(other)] => one.as_str() != other.as_str(),
            _ => false,
        };
        Stated {
            issuer: claim("iss").and_then(text),
            two_issuers,
            audiences: claim("aud").and_then(audiences).unwrap_or_default(),
            acr: claim("acr").and_then(text),
            auth_time: claim("auth_time").and_then(seconds),
        }
    }

    /// Judges the issuer, byte for byte.
    pub fn issuer(&self, is_wanted: impl Fn(&str) -> bool) -> Verdict {
        match &self.issuer {
            _ if self.two_issuers => Verdict::Contradiction,
            Some(issuer) if is_wanted(issuer) => Verdict::Wanted,
            _ => Verdict::Unwanted,
        }
    }

    /// Tells whether the token is for an audience, byte for byte: `aud` is that string, or an array of
    /// strings with it. An empty one is nobody's.
    pub fn is_for(&self, audience: &str) -> bool {
        !audience.is_empty() && self.audiences.split('\0').any(|stated| stated == audience)
    }

    /// Returns the class of the authentication, the string `acr`; `None` where none is stated.
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref().map(String::as_str)
    }

    /// Tells whether the authentication is at most `max_age` seconds ago, at `now` in seconds since
    /// the Unix epoch. One that is not stated is not, nor is one ahead of `now` by more than `skew`
    /// seconds.
    pub fn is_recent(&self, max_age: u64, skew: u64, now: u64) -> bool {
        self.auth_time
            .is_some_and(|at| at <= now.saturating_add(skew) && now.saturating_sub(at) <= max_age)
    }

    /// Returns how many bytes of memory the texts take.
    pub fn size(&self) -> usize {
        let text =
            |text: &Option<Zeroizing<String>>| text.as_ref().map_or(0, |text| text.capacity());
        text(&self.issuer) + self.audiences.capacity() + text(&self.acr)
    }
}

fn text(value: Value<'_>) -> Option<Zeroizing<String>> {
    let text = value.as_str()?;
    let is_plain = !text.bytes().any(|byte| byte.is_ascii_control());
    is_plain.then(|| Zeroizing::new(text.into_owned()))
}

fn audiences(value: Value<'_>) -> Option<Zeroizing<String>> {
    let each = value.as_array().unwrap_or_else(|| vec![value]);
    // No longer than it was written: quotes and commas are left out. It never moves.
    let mut joined = Zeroizing::new(String::with_capacity(value.text().len()));
    for audience in each {
        joined.push_str(&text(audience)?);
        joined.push('\0');
    }
    Some(joined)
}

/// A number of whole seconds since the Unix epoch; a fraction is dropped.
fn seconds(value: Value<'_>) -> Option<u64> {
    let number = value.as_number()?;
    number.parse().ok().or_else(|| {
        let seconds: f64 = number.parse().ok()?;
        // `as` saturates: beyond 2^64 is as good as never.
        (seconds.is_finite() && !seconds.is_sign_negative()).then_some(seconds as u64)
    })
}

#[cfg(test)]
mod tests;
