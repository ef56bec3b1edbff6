//! A compact JWT as `serde_json` reads it, to judge by what was read.

use serde_json::Value;

use crate::answer::binding::{Binding, Bound};
use crate::answer::nature::{Nature, TokenKind};
use crate::answer::subjects::{Subject, Subjects};
use crate::token::key::HashKey;

/// The parts of a compact JWS or JWE that can be read.
pub(crate) struct Jose {
    pub(crate) header: Value,
    /// A JWS's; `None` for a JWE.
    pub(crate) payload: Option<Value>,
}

/// Takes a compact JWT apart; `None` where it is none.
pub(crate) fn read(text: &[u8]) -> Option<Jose> {
    let segments: Vec<_> = text.split(|byte| *byte == b'.').collect();
    let of_json = |segment: &[u8]| {
        serde_json::from_slice::<Value>(&decode(segment)?).ok().filter(Value::is_object)
    };
    if !text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)) {
        return None;
    }
    let header = of_json(segments[0])?;
    match segments[..] {
        [_, payload, signature] if !signature.is_empty() => {
            Some(Jose { header, payload: Some(of_json(payload)?) })
        }
        // Only where a key is agreed on is none sent.
        [_, key, iv, text, tag] if ![iv, text, tag].contains(&&b""[..]) => {
            let agreed = header["alg"] == "dir" || header["alg"] == "ECDH-ES";
            (!key.is_empty() || agreed).then_some(Jose { header, payload: None })
        }
        _ => None,
    }
}

impl Jose {
    /// Panics where this must not be forwarded as an access token.
    pub(crate) fn assert_phantom_token(&self) {
        let alg = self.header["alg"].as_str().expect("an alg");
        assert!(!alg.trim().is_empty() && !alg.trim().eq_ignore_ascii_case("none"));
        assert!(!self.is_token_introspection());
        if let Some(payload) = &self.payload {
            assert!(
                payload.get("active").is_none() && payload.get("token_introspection").is_none()
            );
        }
    }

    /// Whether `typ` says RFC 9701, in its two plain forms.
    pub(crate) fn is_token_introspection(&self) -> bool {
        let typ = self.header["typ"].as_str().unwrap_or_default().to_ascii_lowercase();
        ["token-introspection+jwt", "application/token-introspection+jwt"].contains(&&*typ)
    }
}

/// `exp` of claims, `None` where it is missing or no number of seconds.
pub(crate) fn exp(claims: &Value) -> Option<u64> {
    let exp = claims.get("exp")?;
    match exp.as_str() {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
        }
        Some(_) => None,
        None => exp.as_u64().or_else(|| exp.as_f64().map(|seconds| seconds as u64)),
    }
}

/// `exp` of an active answer, in which 0 is none.
pub(crate) fn answer_exp(answer: &Value) -> Option<u64> {
    let is_0 = |text: &str| text.parse() == Ok(0.0);
    let said_0 = match &answer["exp"] {
        Value::String(digits) => is_0(digits),
        exp => exp.as_f64() == Some(0.0),
    };
    exp(answer).filter(|_| !said_0)
}

/// Whether two readings of a number of seconds agree: beyond whole numbers of 64 bits they may
/// differ in the last bit of a double.
pub(crate) fn same_seconds(one: Option<u64>, other: Option<u64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= 1 + one / (1 << 50),
        (one, other) => one == other,
    }
}

/// The values of a scope, as they are to be joined.
pub(crate) fn scope(value: &Value) -> Option<String> {
    let values: Vec<&str> = match value {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
            texts?.into_iter().filter(|text| !text.contains(' ')).collect()
        }
        _ => return None,
    };
    Some(values.into_iter().filter(|value| !value.is_empty()).collect::<Vec<_>>().join(" "))
}

/// The scope that claims name, by either name.
pub(crate) fn scope_of(claims: &Value) -> Option<String> {
    let named = |name| claims.get(name).filter(|value| !value.is_null());
    named("scope").or_else(|| named("scp")).map(|value| scope(value).expect("a scope"))
}

/// What claims say of the token's kind and of what it is bound to.
pub(crate) fn nature(claims: &Value) -> Nature {
    let cnf = claims["cnf"].as_object();
    let has = |wanted: &dyn Fn(&str) -> bool| {
        cnf.is_some_and(|cnf| cnf.iter().any(|(name, value)| !value.is_null() && wanted(name)))
    };
    let called = claims["token_type"].as_str().unwrap_or_default().to_ascii_lowercase();
    let bound = |name| match cnf.and_then(|cnf| cnf.get(name)).filter(|value| !value.is_null()) {
        None => Bound::No,
        Some(value) => thumbprint(value).map_or(Bound::Nobody, Bound::To),
    };
    let dpop = match bound("jkt") {
        Bound::No if called == "dpop" => Bound::Unsaid,
        bound => bound,
    };
    let other = has(&|name| name != "jkt" && name != "x5t#S256");
    let binding = Binding { dpop, certificate: bound("x5t#S256"), other };
    let named: Vec<String> = ["typ", "token_class", "token_type", "token_usage", "token_use"]
        .iter()
        .filter_map(|name| claims[name].as_str())
        .map(|named| named.to_ascii_lowercase().replace(['_', '-'], ""))
        .collect();
    let others = "refresh refreshtoken id idtoken offline offlinetoken logout logouttoken code \
                  authorizationcode usercode devicecode";
    let is_other = |named: &String| {
        let bare = named.strip_prefix("urn:ietf:params:oauth:tokentype:").unwrap_or(named);
        others.split(' ').any(|other| other == bare)
    };
    let kind = match named.is_empty() {
        true => TokenKind::Unnamed,
        false if named.iter().any(is_other) => TokenKind::Other,
        false => TokenKind::Named,
    };
    Nature { kind, binding }
}

/// What both together bind a token to.
pub(crate) fn both(one: Binding, other: Binding) -> Binding {
    let both = |one: Bound, other: Bound| match (one, other) {
        _ if one == other => one,
        (Bound::No, bound) | (bound, Bound::No) => bound,
        (Bound::Unsaid, bound) | (bound, Bound::Unsaid) => bound,
        _ => Bound::Nobody,
    };
    Binding {
        dpop: both(one.dpop, other.dpop),
        certificate: both(one.certificate, other.certificate),
        other: one.other | other.other,
    }
}

/// What subjects are hashed with.
pub(crate) const SUBJECT_KEY: HashKey = HashKey(*b"whom it is about");

/// Panics where the subjects are not the answer's, else the JWT's.
pub(crate) fn assert_subjects(subjects: &Subjects, answer: &Value, jwt: Option<&Value>) {
    let named = |name: &str| {
        let names = |claims: &Value| match &claims[name] {
            Value::String(text) if !text.is_empty() => Some(Ok(text.clone())),
            // Digits beyond what a number of `serde_json`'s keeps are another text.
            Value::Number(number) if number.is_f64() => Some(Err(())),
            Value::Number(number) => Some(Ok(number.to_string())),
            _ => None,
        };
        names(answer).or_else(|| names(jwt?))
    };
    for (subject, named) in [
        (Subject::Sub, named("sub")),
        (Subject::ClientId, named("client_id").or_else(|| named("azp"))),
        (Subject::Sid, named("sid")),
        (Subject::Jti, named("jti")),
    ] {
        let hash = subjects.get(subject);
        match named {
            Some(Ok(text)) => {
                assert_eq!(hash, Some(subject.hash(&SUBJECT_KEY, text.as_bytes())));
            }
            named => assert_eq!(hash.is_some(), named.is_some(), "{subject:?}"),
        }
    }
}

/// The 32 bytes that 43 characters of base64url are, the last two bits 0.
fn thumbprint(value: &Value) -> Option<[u8; 32]> {
    let text = value.as_str()?.as_bytes();
    let canonical = b"AEIMQUYcgkosw048".contains(text.last()?);
    decode(text)?.try_into().ok().filter(|_| canonical && text.len() == 43)
}

/// base64url without padding, whatever its last bits.
fn decode(segment: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut word, mut out) = (0, 0u32, Vec::new());
    for byte in segment {
        let digit = ALPHABET.iter().position(|known| known == byte)?;
        word = word << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    (!segment.is_empty()).then_some(out)
}
