//! What is tried at every server, and what usually comes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::bench::{Bench, outcome};
use super::{Grant, probe};
use crate::client::Client;
use crate::jwt::random_text;
use crate::nginx::Gateway;
use crate::process::wait_for;
use crate::tls::Identity;

/// One case: tried at every server, or one server's own.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name in the matrix.
    pub name: &'static str,
    /// Tries it, and says in few words what came of it.
    pub run: fn(&mut Bench<'_>) -> String,
    /// What comes of it at most servers.
    pub usual: &'static str,
}

/// What the server has none of, or does not do.
const NONE: &str = "-";
const INACTIVE: &str = "401 inactive";

/// All cases, in the order of the matrix. The last ones disturb the server.
pub const CASES: [Case; 22] = [
    case("active", |bench| granted(bench, Grant::Access), "200"),
    case("unknown, garbage, 6 KB", unknown, INACTIVE),
    case("odd tokens", odd, "all 401"),
    case("revoked before", revoked_before, INACTIVE),
    case("revoked later; purged", revoked_later, "200; 401 inactive"),
    case("expired", expired, INACTIVE),
    case("another client's", |bench| granted(bench, Grant::Foreign), "200"),
    case("refresh token", |bench| granted(bench, Grant::Refresh), "401 kind"),
    case("ID token", |bench| granted(bench, Grant::Id), INACTIVE),
    case("scope there", |bench| scoped(bench, Grant::Access), "200"),
    case("scope missing", |bench| scoped(bench, Grant::Unscoped), "403 scope"),
    case(
        "application/jwt, forward jwt",
        |bench| accepts(bench, "application/jwt", "jwt"),
        "500 answer",
    ),
    case("application/jwt, forward none", |bench| accepts(bench, "application/jwt", "none"), "200"),
    case(
        "application/json, forward none",
        |bench| accepts(bench, "application/json", "none"),
        "200",
    ),
    case(
        "RFC 9701, forward none",
        |bench| accepts(bench, "application/token-introspection+jwt", "none"),
        "200",
    ),
    case("wrong secret: basic; post", wrong_secret, "500 credentials; 500 credentials"),
    case("special secret: basic; raw; post", special_secret, "200; 200; 200"),
    case("what the probe prints", probe::configuration, "as the example"),
    case("connections: 1 a second; 16 at once", connections, "1; at most 16"),
    case("TLS of its own: trusted; not", tls, NONE),
    case("hangs; goes on", hangs, "500 timeout; 200"),
    case("restarted under load", restarted, "200"),
];

/// A case; its parts are those of [`Case`].
pub(super) const fn case(
    name: &'static str,
    run: fn(&mut Bench<'_>) -> String,
    usual: &'static str,
) -> Case {
    Case { name, run, usual }
}

/// What the example makes of a token of this kind.
pub(super) fn granted(bench: &mut Bench<'_>, what: Grant) -> String {
    let Some(token) = bench.running.grant(what) else { return NONE.to_owned() };
    let gateway = bench.example().start();
    let got = outcome(&gateway, &token);
    if got == "200" {
        // Never the opaque token: the API sees a JWT, or nothing. Where the token is a JWT, the one
        // behind it may be the same.
        let is_jwt = |token: &str| token.split('.').count() == 3;
        for value in bench.api.last().authorization() {
            let jwt = value.strip_prefix("Bearer ").expect("Bearer");
            assert!(
                is_jwt(jwt) && (jwt != token || is_jwt(&token)),
                "the opaque token reached the API"
            );
        }
    }
    got
}

/// What a gateway makes of several tokens: one outcome where it is the same for all.
fn outcomes(gateway: &Gateway, tokens: &[String]) -> String {
    let mut got: Vec<String> = tokens.iter().map(|token| outcome(gateway, token)).collect();
    got.dedup();
    got.join(", ")
}

fn unknown(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().start();
    let long = random_text(4608);
    outcomes(&gateway, &[random_text(32), "x".to_owned(), "not/a+token=".to_owned(), long])
}

/// Tokens that look like something else, cut or doubled ones, and every sign a token may have.
fn odd(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().start();
    let token = bench.token(Grant::Access);
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    let mut tokens: Vec<String> = [
        jwt,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
        "e30.e30.e30",
        "W10.W10.W10",
        "MQ.MQ.MQ",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA",
        "a.b",
        "a.b.c.d.e.f",
        "...",
        "..",
        ".",
        "~",
        "-",
        "/",
        "//",
        "a/../b",
        "x/.profile",
        "+",
        "1",
        "null",
        "true",
        "undefined",
        "0",
        "A==",
        "A====",
        "-._~+/",
    ]
    .map(str::to_owned)
    .to_vec();
    let middle = token.len() / 2;
    tokens.extend([
        token[..middle].to_owned(),
        token[middle..].to_owned(),
        format!("{token}{token}"),
        format!("{token}A"),
        format!("{token}~"),
    ]);
    let got: Vec<String> = tokens.iter().map(|token| outcome(&gateway, token)).collect();
    let others: Vec<String> = got
        .iter()
        .zip(&tokens)
        .filter(|(got, _)| !got.starts_with("401"))
        .map(|(got, token)| {
            let what = if token.len() > 60 { "a real one, changed" } else { &**token };
            format!("{got}: {what}")
        })
        .collect();
    if others.is_empty() { "all 401".to_owned() } else { others.join(", ") }
}

fn revoked_before(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    if !bench.running.revoke(&token) {
        return NONE.to_owned();
    }
    outcome(&bench.example().start(), &token)
}

fn revoked_later(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let purge = "location = /purge { client_body_buffer_size 128k; phantom_token_purge; }";
    let gateway = bench.example().location(purge).start();
    assert_eq!(outcome(&gateway, &token), "200");
    if !bench.running.revoke(&token) {
        return NONE.to_owned();
    }
    let cached = outcome(&gateway, &token);
    let mut client = gateway.client();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    client.send_request("POST", "/purge", &form, format!("token={}", encoded(&token)).as_bytes());
    assert_eq!(client.read().status, 204, "purges");
    format!("{cached}; {}", outcome(&gateway, &token))
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// One that was used and kept, and one first used after its end.
fn expired(bench: &mut Bench<'_>) -> String {
    let Some(later) = bench.running.grant(Grant::Short) else { return NONE.to_owned() };
    let gateway = bench.example().start();
    // On a busy machine one may be over before it is asked about.
    let kept = wait_for("a token asked for in time", || {
        let token = bench.running.grant(Grant::Short)?;
        (outcome(&gateway, &token) == "200").then_some(token)
    });
    let kept = wait_for("its end", || {
        thread::sleep(Duration::from_millis(100));
        let got = outcome(&gateway, &kept);
        (got != "200").then_some(got)
    });
    let later = outcome(&gateway, &later);
    if kept == later { kept } else { format!("{kept}; {later}") }
}

fn scoped(bench: &mut Bench<'_>, what: Grant) -> String {
    let Some(token) = bench.running.grant(what) else { return NONE.to_owned() };
    let example = bench.example().set("phantom_token_scope", bench.profile.scope);
    outcome(&example.start(), &token)
}

fn accepts(bench: &mut Bench<'_>, accept: &str, forward: &str) -> String {
    let token = bench.token(Grant::Access);
    let example = bench.example().set("phantom_token_introspection_accept", accept);
    let gateway = example.set("phantom_token_forward", forward).start();
    let active = outcome(&gateway, &token);
    let inactive = outcome(&gateway, &random_text(32));
    if inactive == INACTIVE { active } else { format!("{active}, inactive {inactive}") }
}

fn wrong_secret(bench: &mut Bench<'_>) -> String {
    if bench.profile.secret.is_empty() {
        return NONE.to_owned();
    }
    let token = bench.token(Grant::Access);
    let tried = ["basic", "post"].map(|auth| {
        let example = bench.example().secret("wrong");
        outcome(&example.set("phantom_token_client_auth", auth).start(), &token)
    });
    tried.join("; ")
}

fn special_secret(bench: &mut Bench<'_>) -> String {
    let Some((id, secret)) = bench.profile.special else { return NONE.to_owned() };
    let token = bench.token(Grant::Access);
    let tried = ["basic", "basic_raw", "post"].map(|auth| {
        let id = format!("\"{id}\"");
        let example = bench.example().secret(secret).set("phantom_token_client_id", &id);
        outcome(&example.set("phantom_token_client_auth", auth).start(), &token)
    });
    tried.join("; ")
}

/// 10 calls at 1 a second, then 40 at 16 at once: how many connections the server sees.
fn connections(bench: &mut Bench<'_>) -> String {
    let gateway = bench.example().start();
    bench.counter.begin();
    for _ in 0..10 {
        outcome(&gateway, &random_text(32));
        thread::sleep(Duration::from_millis(1000));
    }
    let slow = bench.counter.total();
    // Its connections would take some of a small server's.
    drop(gateway);
    let gateway = bench.example().start();
    bench.counter.begin();
    let tokens = Mutex::new((0..40).map(|_| random_text(32)).collect::<Vec<_>>());
    let others = Mutex::new(Vec::new());
    let next = || tokens.lock().pop();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while let Some(token) = next() {
                    let status = client.get_as("/api/echo", &token).status;
                    if !matches!(status, 401 | 503) {
                        others.lock().push(status);
                    }
                }
            });
        }
    });
    let most = match bench.counter.most() {
        0..=16 => "at most 16".to_owned(),
        most => most.to_string(),
    };
    let others = others.into_inner();
    let others = if others.is_empty() { String::new() } else { format!(", {others:?}") };
    format!("{slow}; {most}{others}")
}

fn tls(bench: &mut Bench<'_>) -> String {
    if !bench.running.has_tls() {
        return NONE.to_owned();
    }
    let bench = bench.with_tls();
    let token = bench.token(Grant::Access);
    let other = Identity::self_signed(&["localhost", "127.0.0.1"]);
    let untrusted = bench.example().file("server.pem", &other.certificate);
    let tried = [bench.example(), untrusted].map(|example| outcome(&example.start(), &token));
    tried.join("; ")
}

fn hangs(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let example = bench.example().set("phantom_token_timeout", "1s");
    let gateway = example.set("phantom_token_connect_timeout", "1s").start();
    bench.running.process().halt();
    let halted = outcome(&gateway, &token);
    bench.running.process().go_on();
    let after = wait_for("an answer", || {
        let got = outcome(&gateway, &token);
        (got == "200").then_some(got)
    });
    format!("{halted}; {after}")
}

/// Stopped and started again while requests come: each is let in, or refused for want of an answer.
fn restarted(bench: &mut Bench<'_>) -> String {
    let keeps_tokens = bench.profile.keeps_tokens;
    let example = bench.example().set("phantom_token_cache", "off");
    let gateway = example.set("phantom_token_timeout", "4s").start();
    let token = bench.token(Grant::Access);
    assert_eq!(outcome(&gateway, &token), "200");
    let (port, over) = (gateway.port(), AtomicBool::new(false));
    let statuses = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let status = Client::connect(port).get_as("/api/echo", &token).status;
                statuses.lock().push(status);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let restarted = {
            let process = bench.running.process();
            process.stop();
            wait_for("a request refused", || {
                statuses.lock().iter().any(|s| *s >= 500).then_some(())
            });
            process.run()
        };
        if let Err(error) = &restarted {
            over.store(true, Ordering::Relaxed);
            panic!("{error}");
        }
        let fresh = bench.running.grant(Grant::Access).unwrap_or_else(|| token.clone());
        let after = wait_for("an answer", || {
            thread::sleep(Duration::from_millis(100));
            let got = outcome(&gateway, &fresh);
            (got == "200").then_some(got)
        });
        over.store(true, Ordering::Relaxed);
        after
    });
    let allowed = |status: &u16| match status {
        200 | 500 | 503 => true,
        401 => !keeps_tokens,
        _ => false,
    };
    let mut wrong = statuses.into_inner();
    wrong.retain(|status| !allowed(status));
    wrong.dedup();
    if wrong.is_empty() { "200".to_owned() } else { format!("{wrong:?}") }
}

/// For servers that bind tokens to a client's key: not a bearer token, whoever has it.
pub(super) const DPOP_BOUND: Case =
    case("DPoP-bound: as Bearer; passed", dpop_bound, "401 bound; 200");

fn dpop_bound(bench: &mut Bench<'_>) -> String {
    let Some(token) = bench.running.grant(Grant::Dpop) else { return NONE.to_owned() };
    let passed = bench.example().set("phantom_token_bound_tokens", "pass");
    [bench.example(), passed].map(|example| outcome(&example.start(), &token)).join("; ")
}

/// For servers that know the gateway's client by its certificate (RFC 8705 §2): with it, without
/// any, and with one they do not know.
pub(super) fn by_certificate(bench: &mut Bench<'_>, client: &str) -> String {
    let bench = bench.with_tls();
    let token = bench.token(Grant::Access);
    let (_, known) = bench.identities.clone().expect("identities");
    let other = Identity::self_signed_leaf(&["gateway.example"]);
    let tried = [Some(known), None, Some(other)].map(|identity| {
        let mut example = bench
            .example()
            .without("phantom_token_client_id")
            .without("phantom_token_client_secret_file")
            .set("phantom_token_client_auth", "none")
            .beside(&format!("phantom_token_introspection_param client_id {client};"));
        if let Some(Identity { certificate, key }) = identity {
            example = example
                .file("client.pem", &certificate)
                .file("client.key", &key)
                .beside("phantom_token_ssl_certificate client.pem;")
                .beside("phantom_token_ssl_certificate_key client.key;");
        }
        outcome(&example.start(), &token)
    });
    tried.join("; ")
}
