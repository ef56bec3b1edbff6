//! What tests of minting share: locations that mint and show it, and JWTs checked by the set that
//! the gateway shows.

use std::time::{SystemTime, UNIX_EPOCH};

use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::nginx::Builder;
use phantom_token_test::{Gateway, Response, Rig, Script, jwt};
use serde_json::{Value, json};

pub(crate) use phantom_token_test::rig::shown;

pub(crate) const ISSUER: &str = "https://gateway.example";
pub(crate) const AUDIENCE: &str = "https://api.example";

/// What every minting location inherits, but for the key.
pub(crate) const TERMS: &str = "phantom_token_forward mint;\n\
    phantom_token_mint_issuer https://gateway.example;\n\
    phantom_token_mint_audience https://api.example;";

/// A gateway whose locations mint, `/shown` among them, with this key; `/jwks` shows it.
pub(crate) fn rig_with(key: &PemKey, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| {
        let builder = builder
            .file("mint.key", key.private.as_bytes())
            .http(TERMS)
            .http("phantom_token_mint_key mint.key;")
            .location("/shown", &shown(""))
            .location("= /jwks", "phantom_token_publish_jwks;")
            .location("/metrics", "phantom_token_status;");
        change(builder)
    })
}

/// As [`rig_with`], with a key of its own.
pub(crate) fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    rig_with(&PemKey::p256(), change)
}

/// An active answer about `alice`, and what it has besides.
pub(crate) fn active(more: &Value) -> Script {
    let mut answer = json!({"active": true, "sub": "alice", "client_id": "app"});
    for (name, value) in more.as_object().expect("an object") {
        answer[name] = value.clone();
    }
    Script::json(&answer)
}

pub(crate) fn key_set(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.get("/jwks", &[]).body).expect("a key set")
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// How the module came to its answer, and why.
pub(crate) fn said(response: &Response) -> (u16, &str, &str) {
    let header = |name| response.header(name).unwrap_or("-");
    (response.status, header("outcome"), header("reason"))
}

/// The JWT that goes on, and how the module came to it.
#[track_caller]
pub(crate) fn pass(gateway: &Gateway, target: &str, token: &str) -> (String, String) {
    let response = gateway.get_as(target, token);
    assert_eq!(response.status, 204, "{target} {token}: {response:?}");
    let sent = response.header("sent").expect("something goes on");
    let jwt = sent.strip_prefix("Bearer ").expect("a bearer token").to_owned();
    (jwt, response.header("outcome").unwrap_or_default().to_owned())
}

/// The claims of the JWT that goes on, checked by the set that the gateway shows.
#[track_caller]
pub(crate) fn claims(gateway: &Gateway, target: &str, token: &str) -> Value {
    let (jwt, _) = pass(gateway, target, token);
    assert!(keys::verifies(&key_set(gateway), &jwt), "{jwt}");
    jwt::payload(&jwt).expect("claims")
}

/// By which key a JWT says that it is signed.
pub(crate) fn kid(jwt: &str) -> String {
    let header = keys::header(jwt).expect("a header");
    header["kid"].as_str().expect("a kid").to_owned()
}
