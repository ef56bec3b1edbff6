//! The claims that decide something, read alike from an answer and from a JWT.
//!
//! A claim that is `null` is taken as left out, but for `exp`: a token that might have an end is
//! not to be kept as one that has none.

use crate::answer::Cause;
use crate::json::{Object, Value};
use crate::scope as scopes;

/// `exp` (RFC 7519 §4.1.4, RFC 7662 §2.2), in whole seconds since the Unix epoch; a fraction is
/// dropped. `Err` where it is not a number, `null` included, or negative.
pub fn exp(claims: &Object<'_>) -> Result<Option<u64>, Cause> {
    let Some(value) = claims.get("exp") else { return Ok(None) };
    let digits = value.as_number().ok_or(Cause::Exp)?;
    if let Ok(seconds) = digits.parse() {
        return Ok(Some(seconds));
    }
    let seconds: f64 = digits.parse().map_err(|_| Cause::Exp)?;
    if seconds.is_finite() && !seconds.is_sign_negative() {
        // `as` saturates: beyond 2^64 is as good as never.
        Ok(Some(seconds as u64))
    } else {
        Err(Cause::Exp)
    }
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
        ] {
            assert_eq!(with(&format!("{{\"exp\":{value}}}"), exp), Ok(Some(expected)), "{value}");
        }
        assert_eq!(with("{}", exp), Ok(None));
        for value in ["\"1700000000\"", "-1", "-0.5", "-1e300", "true", "null", "[1]", "{}", "\"\""]
        {
            assert_eq!(with(&format!("{{\"exp\":{value}}}"), exp), Err(Cause::Exp), "{value}");
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
