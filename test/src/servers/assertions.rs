//! Gateways that send no secret: the example for them, asking a server by assertions (RFC 7523).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::bench::outcome;
use super::{Bench, Example, Grant};
use crate::jwt::{SigningKey, random_text};
use crate::nginx::Gateway;

/// A client secret that is long enough to sign with (RFC 7518 §3.2).
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The key of the client that signs with one: kept in this directory, and made where none is there.
pub(super) fn key_in(directory: &Path) -> SigningKey {
    let file = directory.join("client.pkcs8");
    fs::read(&file).map(SigningKey::of_pkcs8).unwrap_or_else(|_| {
        let key = SigningKey::generate();
        fs::write(&file, key.pkcs8()).expect("writes the key");
        key
    })
}

/// How a server is asked.
pub(super) struct Asked {
    /// Its introspection endpoint: what comes behind scheme, host and port.
    pub(super) path: &'static str,
    /// What comes behind them in what it calls itself.
    pub(super) issuer: &'static str,
    /// The one type that gets an answer of use, and what is forwarded of it.
    pub(super) accept: &'static str,
    pub(super) forward: &'static str,
    /// The client that signs with a key, and what is written behind the key's file.
    pub(super) by_key: (&'static str, String),
    /// The client that signs with [`SECRET`], where the server has such clients.
    pub(super) by_secret: Option<&'static str>,
}

/// What comes of a token where the client signs with its key, with its secret, and with a key that the
/// server does not know; `-` for what the server has none of. Prints what a call takes by each, beside
/// the example's.
pub(super) fn tried(bench: &mut Bench<'_>, asked: &Asked, key: &SigningKey) -> String {
    let token = bench.token(Grant::Access);
    let (client, kid) = &asked.by_key;
    let signs = format!("private_key_jwt aud={}{}", bench.site.url(), asked.issuer);
    let by_key = |key: &SigningKey| {
        let member = format!("client_key api-gateway.key{kid}");
        gateway(bench, asked, client, &signs, &member).file("api-gateway.key", &key.pem()).start()
    };
    let known = by_key(key);
    let by_secret = asked.by_secret.map(|client| {
        let auth = signs.replace("private_key_jwt", "client_secret_jwt");
        gateway(bench, asked, client, &auth, &format!("client_secret {SECRET}")).start()
    });
    let got = [
        outcome(&known, &token),
        by_secret.as_ref().map_or("-".to_owned(), |gateway| outcome(gateway, &token)),
        outcome(&by_key(&SigningKey::generate()), &token),
    ];
    println!(
        "{}: a call takes {:.1} ms by secret, {:.1} ms by an assertion with ES256",
        bench.profile.example,
        milliseconds(&bench.example().start()),
        milliseconds(&known),
    );
    got.join("; ")
}

/// The example that sends no secret, asking this server as this client.
fn gateway(bench: &Bench<'_>, asked: &Asked, client: &str, auth: &str, member: &str) -> Example {
    let Asked { path, accept, forward, .. } = asked;
    let endpoint = format!("{}{path}", bench.site.url());
    Example::read("private-key-jwt.conf")
        .replace("https://login.example.com/oauth2/introspect", &endpoint)
        .replace("private_key_jwt aud=https://login.example.com", auth)
        .replace("client_id api-gateway", &format!("introspection_accept {accept};\ntimeout 20s;\nconnect_timeout 10s;\nclient_id {client}"))
        .replace("client_key api-gateway.key", member)
        .passes_to(&bench.api.url())
        .connects_to(bench.counter.port())
        .set("phantom_token_forward", forward)
        .beside("add_header X-Reason $phantom_token_reason always;")
}

/// What a request takes whose token is new to the gateway, and to the server: the median of many.
fn milliseconds(gateway: &Gateway) -> f64 {
    let mut client = gateway.client();
    let mut took: Vec<Duration> = (0..40)
        .map(|_| {
            let (token, begun) = (random_text(32), Instant::now());
            assert_eq!(client.get_as("/api/echo", &token).status, 401);
            begun.elapsed()
        })
        .collect();
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1000.0
}
