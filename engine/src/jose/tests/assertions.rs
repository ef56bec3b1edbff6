//! Client assertions.

use std::collections::HashSet;

use serde_json::json;

use super::{PRIVATE, key, open, verifies};
use crate::jose::assertion::{Assertion, AssertionKey};
use crate::jose::key::KeyError;
use crate::jose::primitives::hmac_sha256;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn assertion() -> Assertion {
    Assertion {
        client_id: "the \"client\"".into(),
        audience: "https://as.example".into(),
        valid: 60,
        typ: None,
        kid: None,
    }
}

#[test]
fn an_assertion_says_who_asks_whom_and_when() {
    for (name, ..) in PRIVATE {
        let key = key(name);
        let algorithm = key.algorithm();
        let public = key.public().clone();
        let jws = assertion().sign(&key.into(), 1_700_000_000).expect("an assertion");
        assert!(verifies(&public, &jws), "{name}");
        let (header, mut claims, ..) = open(&jws);
        assert_eq!(header, json!({ "alg": algorithm.name() }));
        let jti = claims.as_object_mut().expect("claims").remove("jti").expect("jti");
        // 128 bits.
        assert_eq!(jti.as_str().expect("text").len(), 22);
        assert_eq!(
            claims,
            json!({
                "iss": "the \"client\"",
                "sub": "the \"client\"",
                "aud": "https://as.example",
                "iat": 1_699_999_995,
                "exp": 1_700_000_060,
            })
        );
    }
}

#[test]
fn type_and_key_id_stand_where_they_were_asked_for() {
    let asked = Assertion {
        typ: Some("client-authentication+jwt".into()),
        kid: Some("key \"1\"".into()),
        ..assertion()
    };
    let jws = asked.sign(&key("p256").into(), 0).expect("an assertion");
    let (header, claims, ..) = open(&jws);
    assert_eq!(
        header,
        json!({ "alg": "ES256", "typ": "client-authentication+jwt", "kid": "key \"1\"" })
    );
    // Times have bounds.
    assert_eq!(claims["iat"], 0);
    let jws = asked.sign(&key("p256").into(), u64::MAX).expect("an assertion");
    assert_eq!(open(&jws).1["exp"], u64::MAX);
}

#[test]
fn a_secret_signs_by_hs256_if_it_is_long_enough() {
    for short in [&b""[..], &SECRET[..31]] {
        assert_eq!(AssertionKey::from_secret(short).err(), Some(KeyError::ShortSecret));
    }
    let secret = AssertionKey::from_secret(SECRET).expect("a secret");
    assert!(secret.public().is_none());
    assert_eq!(format!("{secret:?}"), "Secret");
    let jws = assertion().sign(&secret, 1_700_000_000).expect("an assertion");
    let (header, _, text, made) = open(&jws);
    assert_eq!(header, json!({ "alg": "HS256" }));
    assert_eq!(made, hmac_sha256(SECRET, &[&text]));
}

#[test]
fn no_two_assertions_have_one_id() {
    let secret = AssertionKey::from_secret(SECRET).expect("a secret");
    let ids: HashSet<String> = (0..100_000)
        .map(|_| {
            let (_, claims, ..) = open(&assertion().sign(&secret, 0).expect("an assertion"));
            claims["jti"].as_str().expect("text").to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 100_000);
}

#[test]
fn nothing_secret_is_printed() {
    let key = key("p256");
    let printed = format!("{:?}{:?}", AssertionKey::from(key.clone()), key);
    let pem = std::str::from_utf8(PRIVATE[0].2).expect("text");
    for line in pem.lines().filter(|line| !line.starts_with('-')) {
        assert!(!printed.contains(line));
    }
    assert!(printed.contains("SigningKey") && printed.contains("Es256"));
}
