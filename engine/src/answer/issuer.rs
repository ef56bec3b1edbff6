//! Who issued a token: `iss` of the server's answer and of the JWT it gave (RFC 7662 §2.2, RFC 7519
//! §4.1.1).

use crate::answer::json::{Object, Value};
use crate::answer::jwt;

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

/// Judges the issuer, byte for byte: the answer's `iss`, else the JWT's. Either text may be empty, and
/// both were read by [`crate::answer::read`] before. One that is `null` is left out; one that is no
/// string is no issuer that could be wanted.
pub fn judge(answer: &[u8], jwt: &[u8], is_wanted: impl Fn(&str) -> bool) -> Verdict {
    let payload = jwt::payload_of_checked(jwt);
    let answer = Object::of_checked(answer);
    let jwt = payload.as_ref().and_then(|payload| Object::of_checked(payload));
    let [answer, jwt] = [&answer, &jwt].map(|claims| {
        let issuer = claims.as_ref()?.get("iss")?;
        (!issuer.is_null()).then_some(issuer)
    });
    if let (Some(one), Some(other)) = (answer, jwt)
        && one.as_str() != other.as_str()
    {
        return Verdict::Contradiction;
    }
    match answer.or(jwt).and_then(Value::as_str) {
        Some(issuer) if is_wanted(&issuer) => Verdict::Wanted,
        _ => Verdict::Unwanted,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{Verdict, judge};

    fn jwt(payload: &str) -> Vec<u8> {
        let segments = [r#"{"alg":"RS256"}"#, payload, "signature"];
        segments.map(|segment| URL_SAFE_NO_PAD.encode(segment)).join(".").into_bytes()
    }

    #[test]
    fn the_answers_issuer_counts_and_else_the_jwts() {
        let (good, other) = (r#"{"iss":"https://good"}"#, r#"{"iss":"https://other"}"#);
        let none = "{}";
        for (answer, payload, verdict) in [
            (good, good, Verdict::Wanted),
            (good, none, Verdict::Wanted),
            (none, good, Verdict::Wanted),
            ("", good, Verdict::Wanted),
            (r#"{"iss":null}"#, good, Verdict::Wanted),
            (good, r#"{"iss":null}"#, Verdict::Wanted),
            (other, other, Verdict::Unwanted),
            (other, none, Verdict::Unwanted),
            (none, other, Verdict::Unwanted),
            (none, none, Verdict::Unwanted),
            ("", "", Verdict::Unwanted),
            (r#"{"iss":"https://good/"}"#, none, Verdict::Unwanted),
            (r#"{"iss":"HTTPS://good"}"#, none, Verdict::Unwanted),
            (r#"{"iss":["https://good"]}"#, none, Verdict::Unwanted),
            (r#"{"iss":7}"#, none, Verdict::Unwanted),
            (r#"{"ISS":"https://good"}"#, none, Verdict::Unwanted),
            (good, other, Verdict::Contradiction),
            (other, good, Verdict::Contradiction),
            (r#"{"iss":7}"#, good, Verdict::Contradiction),
            (good, r#"{"iss":["https://good"]}"#, Verdict::Contradiction),
        ] {
            let said = judge(answer.as_bytes(), &jwt(payload), |issuer| issuer == "https://good");
            assert_eq!(said, verdict, "{answer} {payload}");
        }
    }

    #[test]
    fn what_is_no_jws_names_no_issuer() {
        for jwt in [&b""[..], b"a.b.c.d.e", b"a.b"] {
            assert_eq!(judge(b"{}", jwt, |_| true), Verdict::Unwanted);
        }
    }

    #[test]
    fn escapes_are_read() {
        let answer = br#"{"iss":"https:\/\/g\u006fod"}"#;
        assert_eq!(judge(answer, b"", |issuer| issuer == "https://good"), Verdict::Wanted);
    }
}
