//! Revoked at the authorization server, and purged at the gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::{Client, Rig, Script};

use crate::support::*;

/// A purge of the user whose tokens these are.
const SUB: &str = "sub=alice";

fn form(token: &Token) -> String {
    format!("token={}", token.token)
}

/// Revokes a token whose answer is kept, and purges as `form` says.
#[track_caller]
fn assert_refused_after(http: &str, form: impl FnOnce(&Token) -> String) {
    let rig = rig(http, |builder| builder);
    let token = token(&rig);
    keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    assert!(is_let_in(&rig.gateway, &token), "its answer is kept");
    purge(&rig.gateway, &form(&token));
    assert_refused_at_once(&rig.gateway, &token);
}

#[test]
fn as_it_comes_revoked_then_purged_by_token() {
    assert_refused_after("", form);
}

#[test]
fn as_it_comes_revoked_then_purged_by_all() {
    assert_refused_after("", |_| "all=1".to_owned());
}

#[test]
fn as_it_comes_revoked_then_purged_by_sub() {
    assert_refused_after("", |_| SUB.to_owned());
}

#[test]
fn as_it_comes_revoked_then_purged_by_client_id() {
    assert_refused_after("", |_| "client_id=app".to_owned());
}

#[test]
fn as_it_comes_revoked_then_purged_by_sid() {
    assert_refused_after("", |_| "sid=session-1".to_owned());
}

#[test]
fn as_it_comes_revoked_then_purged_by_jti() {
    assert_refused_after("", |_| "jti=number-1".to_owned());
}

/// Whoever asks between the two makes the gateway keep the answer anew.
#[test]
fn as_it_comes_purged_by_token_then_revoked() {
    let rig = rig("", |builder| builder);
    let token = token(&rig);
    keep(&rig.gateway, &token);
    purge(&rig.gateway, &form(&token));
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}

/// A token of which the server takes every spelling that begins alike: one that the gateway's owner
/// knows, and another one, which a thief has used before the owner purges.
fn respelt() -> (Rig, Token, Token, Instant) {
    let rig = rig("", |builder| builder);
    let token = rig.server.accept_prefix("one-token", mint());
    let spelt = |end: &str| Token { token: format!("one-token{end}"), ..token.clone() };
    let (known, other) = (spelt(""), spelt("="));
    let kept = keep(&rig.gateway, &other);
    keep(&rig.gateway, &known);
    for spelling in [&known, &other] {
        rig.server.script(&spelling.token, Script::status(204));
    }
    (rig, known, other, kept)
}

#[test]
fn the_server_takes_other_spellings_revoked_then_purged_by_token() {
    let (rig, known, other, kept) = respelt();
    purge(&rig.gateway, &form(&known));
    assert!(!is_let_in(&rig.gateway, &known));
    let_in_for(&rig.gateway, &other, kept, 0).assert();
}

#[test]
fn the_server_takes_other_spellings_revoked_then_purged_by_sub() {
    let (rig, known, other, _) = respelt();
    purge(&rig.gateway, SUB);
    assert_refused_at_once(&rig.gateway, &known);
    assert_refused_at_once(&rig.gateway, &other);
}

/// The stale entry goes too, so that nothing is left to serve.
#[track_caller]
fn assert_stale_refused_after(form: impl FnOnce(&Token) -> String) {
    let rig = rig("phantom_token_cache_stale 10m;", |builder| builder);
    let token = token(&rig);
    keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.server.stop();
    rig.gateway.pass_time(Duration::from_secs(310));
    assert!(is_let_in(&rig.gateway, &token), "it serves stale");
    purge(&rig.gateway, &form(&token));
    assert_refused_at_once(&rig.gateway, &token);
}

#[test]
fn cache_stale_10m_the_server_goes_away_revoked_then_purged_by_token() {
    assert_stale_refused_after(form);
}

#[test]
fn cache_stale_10m_the_server_goes_away_revoked_then_purged_by_sub() {
    assert_stale_refused_after(|_| SUB.to_owned());
}

/// A call is under way for `early`; the server has said yes, and the token is revoked.
fn under_way() -> (Rig, Token, Client, Arc<AtomicBool>) {
    let rig = rig("", |builder| builder);
    let token = token(&rig);
    let arrives = Arc::new(AtomicBool::new(false));
    rig.server.script(&token.token, Script::jwt(&token.jwt).after(&arrives).times(1));
    let early = ask(&rig, &token);
    rig.server.wait_for_introspections(1);
    rig.server.revoke(&token.token);
    (rig, token, early, arrives)
}

/// Asks, and does not wait for the response.
fn ask(rig: &Rig, token: &Token) -> Client {
    let mut client = rig.gateway.client();
    client.send_request("GET", "/checked", &[("Authorization", &token.bearer())], b"");
    client
}

/// The answer goes to whoever waited already, and to nobody after.
#[test]
fn as_it_comes_a_call_is_under_way_revoked_then_purged_by_token() {
    let (rig, token, mut early, arrives) = under_way();
    purge(&rig.gateway, &form(&token));
    assert_refused_at_once(&rig.gateway, &token);
    arrives.store(true, Ordering::Relaxed);
    assert_eq!(early.read().status, 204, "it came before the purge");
    assert_refused_at_once(&rig.gateway, &token);
}

/// Whom the token names is known once the answer has come. Whoever came after the purge asks anew then.
#[test]
fn as_it_comes_a_call_is_under_way_revoked_then_purged_by_sub() {
    let (rig, token, mut early, arrives) = under_way();
    purge(&rig.gateway, SUB);
    let mut late = ask(&rig, &token);
    late.wait_until_read();
    assert_eq!(rig.server.introspections(), 1, "it waits for the same call");
    arrives.store(true, Ordering::Relaxed);
    assert_eq!(early.read().status, 204, "it came before the purge");
    assert_eq!(late.read().status, 401);
    assert_refused_at_once(&rig.gateway, &token);
}

/// The token is judged when the request begins.
#[test]
fn a_request_is_kept_open_revoked_then_purged_by_all() {
    let rig = rig("", |builder| builder);
    let token = token(&rig);
    assert_eq!(told(), None);
    let mut open = rig.gateway.client();
    let bearer = token.bearer();
    let head = [("Authorization", bearer.as_str()), ("Content-Length", "4")];
    open.send_request("POST", "/api", &head, b"");
    rig.server.wait_for_introspections(1);
    keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    purge(&rig.gateway, "all=1");
    assert!(!is_let_in(&rig.gateway, &token));
    open.send(b"data");
    assert_eq!(open.read().status, 200, "it is judged once");
}
