//! The claims that decide something, read alike from an answer and from a JWT.
//!
//! A claim that is `null` is taken as left out.

use std::borrow::Cow;

use crate::answer::Cause;
use crate::json::{Object, Value};
use crate::scope as scopes;

/// `exp` (RFC 7519 §4.1.4, RFC 7662 §2.2), in whole seconds since the Unix epoch; a fraction is
/// dropped. A string of digits counts as the number. `Err` where it is neither, or negative.
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

/// [`exp`] of an active answer, in which 0 is none: so write servers whose tokens have no end.
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

/// Whether `cnf.jkt` (RFC 9449 §6) binds the token to a DPoP key. `Err` where `cnf` is not an
/// object.
pub fn dpop_bound(claims: &Object<'_>) -> Result<bool, Cause> {
    let Some(cnf) = present(claims, "cnf") else { return Ok(false) };
    Ok(present(&cnf.as_object().ok_or(Cause::Cnf)?, "jkt").is_some())
}

/// `scope` (RFC 8693 §4.2), else `scp`, in the form of [`scopes::normalise`].
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
    fn only_a_dpop_key_binds() {
        for (claims, expected) in [
            ("{}", Ok(false)),
            ("{\"cnf\":null}", Ok(false)),
            ("{\"cnf\":{}}", Ok(false)),
            ("{\"cnf\":{\"x5t#S256\":\"a\"}}", Ok(false)),
            ("{\"cnf\":{\"x5t#S256\":\"a\",\"jkt\":null}}", Ok(false)),
            ("{\"cnf\":{\"jkt\":\"a\"}}", Ok(true)),
            ("{\"cnf\":{\"x5t#S256\":\"a\",\"jkt\":\"b\"}}", Ok(true)),
            ("{\"cnf\":{\"jkt\":\"\"}}", Ok(true)),
            ("{\"cnf\":{\"jkt\":1}}", Ok(true)),
            ("{\"cnf\":\"jkt\"}", Err(Cause::Cnf)),
            ("{\"cnf\":[{\"jkt\":\"a\"}]}", Err(Cause::Cnf)),
            ("{\"cnf\":true}", Err(Cause::Cnf)),
            ("{\"jkt\":\"a\"}", Ok(false)),
        ] {
            assert_eq!(with(claims, dpop_bound), expected, "{claims}");
        }
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
