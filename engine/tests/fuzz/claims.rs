//! A JWT and what it says.
//!
//! ```text
//! sub                           a claim's name
//! read write                    a required scope, and a path to a claim
//! <{"alg":"ES256"}>.<{"sub":"me","scope":"read"}>.sig
//! ```

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::input::{expand, line};
use super::jose;
use crate::answer::claims::{self, ClaimValue, Path, Wanted};
use crate::answer::jwt::{self, Compact};
use crate::answer::scope;
use crate::answer::stated::{Stated, Verdict};

/// A JWT that is taken says what `serde_json` reads in it; a claim's text ends no header field.
pub fn claims(input: &[u8]) {
    let mut rest = input;
    let name = line(&mut rest);
    let required = line(&mut rest);
    let text = expand(rest);

    let Ok(jwt) = Compact::parse(&text) else {
        // What cannot be a phantom token may yet be an answer; it says nothing by chance.
        if let Ok(compact) = Compact::decode(&text) {
            let payload = jose::read(&text).expect("a compact JWT").payload.unwrap_or_default();
            assert_eq!(compact.says_inactive(), payload["active"] == Value::Bool(false));
            if let Ok(answer) = compact.token_introspection() {
                let members = payload["token_introspection"].as_object().expect("an object");
                assert!(answer.members().all(|(name, _)| members.contains_key(name)));
            }
        }
        return;
    };
    let jose = jose::read(&text).expect("a compact JWT");
    jose.assert_phantom_token();
    assert_eq!(jwt.payload().is_some(), jose.payload.is_some());
    assert_eq!(jwt.payload(), jwt::payload_of_checked(&text).as_deref().map(Vec::as_slice));

    let said = jose.payload.unwrap_or_default();
    if let Ok(exp) = jwt.exp() {
        assert!(jose::same_seconds(exp, jose::exp(&said)));
        assert_eq!(exp.is_some(), said["exp"].is_number() || said["exp"].is_string());
    }
    if let Ok(nature) = jwt.nature() {
        assert_eq!(nature, jose::nature(&said));
    }
    if let Ok(granted) = jwt.scope() {
        assert_eq!(granted.is_some(), jose::scope_of(&said).is_some());
        let granted = granted.unwrap_or_default();
        assert_eq!(granted, jose::scope_of(&said).unwrap_or_default().as_bytes());
        assert!(!granted.iter().any(u8::is_ascii_control));
        covers(&granted, required);
    }
    covers(name, required);
    looked_up(&said, &text, name);
    at_path(&said, &text, required, name);
    all(&said, &text);
    stated(&said, &text);
}

fn covers(granted: &[u8], required: &[u8]) {
    let values = |scope: &[u8]| -> HashSet<Vec<u8>> {
        scope.split(|b| *b == b' ').filter(|v| !v.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let enough = values(required).is_subset(&values(granted));
    assert_eq!(scope::covers(granted, required), enough);
}

/// What locations judge by is what `serde_json` reads, and is no longer than the JWT.
fn stated(said: &Value, jwt: &[u8]) {
    let stated = Stated::read(b"", jwt);
    let text = |value: &Value| {
        let text = value.as_str().filter(|text| !text.bytes().any(|byte| byte.is_ascii_control()));
        text.map(str::to_owned)
    };
    let issuer = text(&said["iss"]);
    assert_eq!(
        stated.issuer(|named| Some(named) == issuer.as_deref()) == Verdict::Wanted,
        issuer.is_some()
    );
    assert_eq!(stated.acr().map(str::to_owned), text(&said["acr"]));
    let audiences: Option<Vec<String>> = match &said["aud"] {
        Value::Array(all) => all.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    };
    for audience in audiences.iter().flatten() {
        assert_eq!(stated.is_for(audience), !audience.is_empty());
    }
    assert!(!stated.is_for("") && !stated.is_for("an audience that nobody has"));
    // Late enough in time, it is any number that is not negative.
    let at = &said["auth_time"];
    let at =
        at.as_u64().or_else(|| at.as_f64().filter(|at| !at.is_sign_negative()).map(|at| at as u64));
    let now = u64::MAX - 1;
    assert_eq!(stated.is_recent(u64::MAX, 0, now), at.is_some_and(|at| at <= now));
    assert!(stated.size() <= jwt.len());
}

fn looked_up(said: &Value, jwt: &[u8], name: &[u8]) {
    let found = claims::lookup(b"", jwt, Wanted::Named(name));
    if let ClaimValue::Text(text) = &found {
        assert!(!text.iter().any(u8::is_ascii_control));
        let text = std::str::from_utf8(text).expect("text");
        let name = std::str::from_utf8(name).expect("a name");
        let value = said.get(name);
        // Another's case is looked for only where nothing matches exactly.
        let of_claim = |value: &Value| match value {
            Value::Null => false,
            Value::String(string) => string == text,
            Value::Bool(truth) => truth.to_string() == text,
            Value::Array(values) => {
                let strings: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
                let joined = strings.filter(|all| !all.iter().any(|one| one.contains(' ')));
                joined.map_or_else(
                    || serde_json::from_str::<Value>(text).is_ok_and(|read| read == *value),
                    |all| all.join(" ") == text,
                )
            }
            value => serde_json::from_str::<Value>(text).is_ok_and(|read| read == *value),
        };
        match value {
            Some(value) => assert!(of_claim(value)),
            None => {
                let members = said.as_object().expect("an object");
                let alike = |known: &String| known.eq_ignore_ascii_case(name);
                assert!(members.iter().any(|(known, value)| alike(known) && of_claim(value)));
            }
        }
    } else if let Some(value) = std::str::from_utf8(name).ok().and_then(|name| said.get(name)) {
        // Left out only where it has no text, or none that can be sent.
        assert!(value.is_null() || found == ClaimValue::Unprintable);
    }
    // The server's own answer comes first.
    let own = claims::lookup(br#"{"sub":"own"}"#, jwt, Wanted::Named(b"sub"));
    assert_eq!(own, ClaimValue::Text(b"own".to_vec()));
}

/// The second line's words are a path, the first line a value that a claim may have.
fn at_path(said: &Value, jwt: &[u8], words: &[u8], value: &[u8]) {
    let (Ok(words), Ok(value)) = (std::str::from_utf8(words), std::str::from_utf8(value)) else {
        return;
    };
    let names: Vec<&str> = words.split(' ').collect();
    let claim = names.iter().try_fold(said, |said, name| said.as_object()?.get(*name));
    let claim = claim.unwrap_or(&Value::Null);
    let alone = said.get(names[0]).map_or(b"{}".to_vec(), |first| {
        serde_json::json!({ names[0]: first }).to_string().into_bytes()
    });

    let look_up = |claims: &[u8], jwt: &[u8], has: Option<&str>| {
        claims::lookup(claims, jwt, Wanted::At(&Path::new(&names, has)))
    };
    let found = look_up(b"", jwt, None);
    assert_eq!(found == ClaimValue::Absent, claim.is_null());
    if let (ClaimValue::Text(text), Value::String(string)) = (&found, claim) {
        assert_eq!(text, string.as_bytes());
    }
    // The same of an answer; numbers may be written otherwise there.
    if !claim.is_number() && !claim.is_array() && !claim.is_object() {
        assert_eq!(look_up(&alone, b"", None), found);
        assert_eq!(look_up(&alone, jwt, None), found);
    }

    let mut values = vec![value];
    values.extend(claim.as_str());
    values.extend(claim.as_array().into_iter().flatten().filter_map(Value::as_str));
    for value in values {
        let holds =
            claim == value || claim.as_array().is_some_and(|all| all.iter().any(|v| v == value));
        match look_up(b"", jwt, Some(value)) {
            ClaimValue::Text(text) => assert_eq!(text, [b'0' + u8::from(holds)]),
            tested => {
                assert_eq!((tested, &found), (ClaimValue::Unprintable, &ClaimValue::Unprintable))
            }
        }
    }
}

/// All claims are those of the JWT, less what is null, and the answer's before them.
fn all(said: &Value, jwt: &[u8]) {
    let members = said.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let members: serde_json::Map<_, _> = members.map(|(k, v)| (k.clone(), v.clone())).collect();
    for (answer, sub) in
        [("", members.get("sub").cloned()), (r#"{"sub":"own"}"#, Some("own".into()))]
    {
        let ClaimValue::Text(text) = claims::lookup(answer.as_bytes(), jwt, Wanted::All) else {
            assert!(answer.is_empty() && said.is_null());
            continue;
        };
        let json = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let mut expected = members.clone();
        sub.and_then(|sub| expected.insert("sub".to_owned(), sub));
        assert_eq!(serde_json::from_slice::<Value>(&json).expect("JSON"), Value::Object(expected));
    }
}
