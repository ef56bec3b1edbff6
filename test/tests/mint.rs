//! JWTs that the gateway signs for servers that give none (`phantom_token_forward mint`).

use std::time::{SystemTime, UNIX_EPOCH};

use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::nginx::Builder;
use phantom_token_test::{Gateway, Rig, Script, jwt};
use serde_json::{Value, json};

const ISSUER: &str = "https://gateway.example";
const AUDIENCE: &str = "https://api.example";

/// What every minting location has.
fn minting(builder: Builder, key: &PemKey) -> Builder {
    builder
        .file("mint.key", key.private.as_bytes())
        .http(&format!(
            "phantom_token_forward mint;\nphantom_token_mint_key mint.key;\n\
             phantom_token_mint_issuer {ISSUER};\nphantom_token_mint_audience {AUDIENCE};"
        ))
        .location("= /jwks", "phantom_token_publish_jwks;")
        .location("/metrics", "phantom_token_status;")
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(minting(builder, &PemKey::p256())))
}

fn key_set(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.get("/jwks", &[]).body).expect("a key set")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// The JWT that came last to the API: checked by the key set that the gateway shows.
#[track_caller]
fn last_jwt(rig: &Rig) -> String {
    let last = rig.api.last();
    let [authorization] = last.authorization()[..] else { panic!("{last:?}") };
    let jwt = authorization.strip_prefix("Bearer ").expect("a JWT").to_owned();
    assert!(keys::verifies(&key_set(&rig.gateway), &jwt), "{jwt}");
    jwt
}

#[test]
fn an_active_answer_becomes_a_jwt_of_the_gateways() {
    let rig = rig(|builder| builder);
    let exp = now() + 120;
    let answer = json!({
        "active": true, "sub": "alice", "client_id": "app", "scope": "read write", "exp": exp,
        "username": "Alice", "iss": "https://server.example", "aud": "app", "jti": "theirs",
        "token_type": "Bearer",
    });
    rig.server.script("opaque", Script::json(&answer));
    assert_eq!(rig.get_as("opaque").status, 200);
    let jwt = last_jwt(&rig);
    let header = keys::header(&jwt).expect("a header");
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("at+jwt")));
    let mut claims = jwt::payload(&jwt).expect("claims");
    let (iat, jti) = (claims["iat"].take(), claims["jti"].take());
    assert!(iat.as_u64().is_some_and(|iat| now().abs_diff(iat) < 60), "{iat}");
    assert!(jti.as_str().is_some_and(|jti| jti.len() >= 22), "{jti}");
    let expected = json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": null, "exp": exp, "jti": null,
        "sub": "alice", "client_id": "app", "scope": "read write",
    });
    assert_eq!(claims, expected);
    // It is the token's, not the request's.
    assert_eq!(rig.get_as("opaque").status, 200);
    assert_eq!(last_jwt(&rig), jwt);
    assert_eq!(rig.gateway.metrics().get("mints_total"), 1.0);
    let seen = rig.server.seen();
    assert_eq!(seen.last().expect("a call").head.headers.get("accept"), Some("application/json"));
}
