//! The claims that decide something, read alike from an answer and from a JWT.
//!
//! A claim that is `null` is taken as left out.

use std::borrow::Cow;

use crate::answer::binding::{Binding, Bound};
use crate::answer::cause::Cause;
use crate::answer::json::{Object, Value};
use crate::answer::nature::{Nature, TokenKind};
use crate::answer::scope as scopes;

/// Reads `exp` (RFC 7519 §4.1.4, RFC 7662 §2.2) in whole seconds since the Unix epoch; `None` where
/// it is absent. A fraction is dropped. A string of digits counts as the number.
///
/// # Errors
/// The value is neither, or negative.
pub fn exp(claims: &Object<'_>) -> Result<Option<u64>, Cause> {
    let Some(number) = seconds(claims)? else { return Ok(None) };
    if let Ok(seconds) = number.parse() {
        return Ok(Some(seconds));
    }
    let seconds: f64 = number.parse().map_err(|_| Cause::Exp)?;
    if seconds.is_finite() && !seconds.is_sign_negative() {
        // `as` saturates: beyond 2^64 is as good as never.
        Ok(Some(seconds as u64))
    } else {
        Err(Cause::Exp)
    }
}

/// Reads [`exp`] of an active answer, in which 0 is none: servers write so whose tokens have no
/// end.
///
/// # Errors
/// As [`exp`].
pub fn exp_unless_0(answer: &Object<'_>) -> Result<Option<u64>, Cause> {
    let is_0 = seconds(answer)?.is_some_and(|number| number.parse() == Ok(0.0));
    Ok(exp(answer)?.filter(|_| !is_0))
}

/// `exp` as it was written, a number or a string of digits.
fn seconds<'a>(claims: &Object<'a>) -> Result<Option<Cow<'a, str>>, Cause> {
    let Some(value) = present(claims, "exp") else { return Ok(None) };
    if let Some(number) = value.as_number() {
        return Ok(Some(Cow::Borrowed(number)));
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    value.as_str().filter(|text| is_digits(text)).map(Some).ok_or(Cause::Exp)
}

/// Reads what kind of token it is, and to what `cnf` (RFC 7800 §3.1) binds it.
///
/// # Errors
/// `cnf` is not an object.
pub fn nature(claims: &Object<'_>) -> Result<Nature, Cause> {
    let token_type = claims.get("token_type").and_then(Value::as_str);
    let mut binding = Binding::default();
    // RFC 9449 §5: so a token is called that is bound, whatever else is said of it.
    if token_type.is_some_and(|named| named.eq_ignore_ascii_case("dpop")) {
        binding.dpop = Bound::Unsaid;
    }
    if let Some(cnf) = present(claims, "cnf") {
        let cnf = cnf.as_object().ok_or(Cause::Cnf)?;
        for (name, value) in cnf.members().filter(|(_, value)| !value.is_null()) {
            match name {
                "jkt" => binding.dpop = Bound::read(value),
                "x5t#S256" => binding.certificate = Bound::read(value),
                _ => binding.other = true,
            }
        }
    }
    Ok(Nature { kind: TokenKind::read(claims), binding })
}

/// Reads `scope` (RFC 8693 §4.2), else `scp`, in the form of [`scopes::normalise`]; `None` where
/// there is neither.
///
/// # Errors
/// As [`scopes::normalise`].
pub fn scope(claims: &Object<'_>) -> Result<Option<Vec<u8>>, Cause> {
    present(claims, "scope").or_else(|| present(claims, "scp")).map(scopes::normalise).transpose()
}

fn present<'a>(claims: &Object<'a>, name: &str) -> Option<Value<'a>> {
    claims.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, read: impl FnOnce(&Object<'_>) -> T) -> T {
        read(&Object::parse(text.as_bytes()).expect("an object"))
    }

    #[test]
    fn exp_is_a_number_of_seconds() {
        for (value, expected) in [
            ("0", 0),
            ("1700000000", 1_700_000_000),
            ("1700000000.9", 1_700_000_000),
            ("1.7e9", 1_700_000_000),
            ("18446744073709551615", u64::MAX),
            ("18446744073709551616", u64::MAX),
            ("1e300", u64::MAX),
            ("0.4", 0),
            ("\"1700000000\"", 1_700_000_000),
            ("\"01\"", 1),
            ("\"\\u0031\"", 1),
            ("\"99999999999999999999999\"", u64::MAX),
        ] {
            assert_eq!(with(&format!("{{\"exp\":{value}}}"), exp), Ok(Some(expected)), "{value}");
        }
        for claims in ["{}", "{\"exp\":null}"] {
            assert_eq!(with(claims, exp), Ok(None));
            assert_eq!(with(claims, exp_unless_0), Ok(None));
        }
        for value in [
            "-1",
            "-0.5",
            "-0",
            "-1e300",
            "true",
            "[1]",
            "{}",
            "\"\"",
            "\"-1\"",
            "\"+1\"",
            "\" 1\"",
            "\"1.5\"",
            "\"1e9\"",
            "\"\u{661}\"",
            "\"never\"",
        ] {
            assert_eq!(with(&format!("{{\"exp\":{value}}}"), exp), Err(Cause::Exp), "{value}");
            let unless_0 = with(&format!("{{\"exp\":{value}}}"), exp_unless_0);
            assert_eq!(unless_0, Err(Cause::Exp), "{value}");
        }
    }

    #[test]
    fn nothing_but_0_is_0() {
        for (value, expected) in [
            ("0", None),
            ("0.0", None),
            ("0e9", None),
            ("\"0\"", None),
            ("\"000\"", None),
            ("0.4", Some(0)),
            ("1e-300", Some(0)),
            ("1", Some(1)),
            ("\"1700000000\"", Some(1_700_000_000)),
        ] {
            let read = with(&format!("{{\"exp\":{value}}}"), exp_unless_0);
            assert_eq!(read, Ok(expected), "{value}");
        }
    }

    #[test]
    fn every_member_of_cnf_binds() {
        use Bound::{No, Nobody, Unsaid};
        let to = Bound::To([0; 32]);
        let bound = |dpop, certificate, other| Ok(Binding { dpop, certificate, other });
        for (claims, expected) in [
            ("{}", bound(No, No, false)),
            ("{\"cnf\":null}", bound(No, No, false)),
            ("{\"cnf\":{}}", bound(No, No, false)),
            ("{\"cnf\":{\"x5t#S256\":\"Z\"}}", bound(No, to, false)),
            ("{\"cnf\":{\"x5t#S256\":\"a\"}}", bound(No, Nobody, false)),
            ("{\"cnf\":{\"x5t#S256\":null}}", bound(No, No, false)),
            ("{\"cnf\":{\"x5t#S256\":\"Z\",\"jkt\":null}}", bound(No, to, false)),
            ("{\"cnf\":{\"x5t\":\"Z\"}}", bound(No, No, true)),
            ("{\"cnf\":{\"jwk\":{}}}", bound(No, No, true)),
            ("{\"cnf\":{\"kid\":\"\"}}", bound(No, No, true)),
            ("{\"cnf\":{\"JKT\":\"Z\"}}", bound(No, No, true)),
            ("{\"cnf\":{\"jkt\":\"Z\"}}", bound(to, No, false)),
            ("{\"cnf\":{\"x5t#S256\":\"Z\",\"jkt\":\"b\"}}", bound(Nobody, to, false)),
            ("{\"cnf\":{\"x5t#S256\":\"Z\",\"jkt\":\"Z\",\"kid\":1}}", bound(to, to, true)),
            ("{\"cnf\":{\"jkt\":\"\"}}", bound(Nobody, No, false)),
            ("{\"cnf\":{\"jkt\":1}}", bound(Nobody, No, false)),
            ("{\"cnf\":\"jkt\"}", Err(Cause::Cnf)),
            ("{\"cnf\":[{\"jkt\":\"a\"}]}", Err(Cause::Cnf)),
            ("{\"cnf\":true}", Err(Cause::Cnf)),
            ("{\"jkt\":\"Z\"}", bound(No, No, false)),
            // The type alone says so, too.
            ("{\"token_type\":\"DPoP\"}", bound(Unsaid, No, false)),
            ("{\"token_type\":\"dpop\",\"cnf\":{}}", bound(Unsaid, No, false)),
            ("{\"token_type\":\"DPoP\",\"cnf\":{\"jkt\":\"Z\"}}", bound(to, No, false)),
            ("{\"token_type\":\"DPoP\",\"cnf\":{\"kid\":\"a\"}}", bound(Unsaid, No, true)),
            ("{\"token_type\":\"Bearer\"}", bound(No, No, false)),
            ("{\"token_type\":[\"DPoP\"]}", bound(No, No, false)),
            ("{\"typ\":\"DPoP\"}", bound(No, No, false)),
        ] {
            let claims = &claims.replace('Z', &"A".repeat(43));
            assert_eq!(with(claims, nature).map(|nature| nature.binding), expected, "{claims}");
        }
        let refresh = with("{\"token_type\":\"refresh_token\"}", nature).expect("a nature");
        assert_eq!(refresh.kind, TokenKind::Other);
    }

    #[test]
    fn scope_comes_before_scp() {
        for (claims, expected) in [
            ("{}", None),
            ("{\"scope\":null}", None),
            ("{\"scope\":\"a b\"}", Some("a b")),
            ("{\"scp\":[\"a\",\"b\"]}", Some("a b")),
            ("{\"scope\":\"a\",\"scp\":\"b\"}", Some("a")),
            ("{\"scope\":\"\",\"scp\":\"b\"}", Some("")),
            ("{\"scope\":null,\"scp\":\"b\"}", Some("b")),
        ] {
            let scope = with(claims, scope).expect("scope");
            assert_eq!(scope.as_deref(), expected.map(str::as_bytes), "{claims}");
        }
        assert_eq!(with("{\"scope\":1,\"scp\":\"b\"}", scope), Err(Cause::Scope));
    }
}
