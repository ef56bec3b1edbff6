//! Revoked at the authorization server, and nobody tells the gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use phantom_token_test::keys::PemKey;
use phantom_token_test::{Mint, Rig, Script};

use crate::support::*;

/// For how long a token is let in that is revoked as soon as its answer is kept.
fn revoked(rig: &Rig, mint: Mint) -> Works {
    let token = rig.server.mint(mint);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    let_in_for(&rig.gateway, &token, kept, 0)
}

#[test]
fn as_it_comes_revoked() {
    revoked(&rig("", |builder| builder), mint()).assert();
}

#[test]
fn cache_valid_60s_revoked() {
    revoked(&rig("phantom_token_cache_valid 60s;", |builder| builder), mint()).assert();
}

#[test]
fn worker_cache_0_revoked() {
    revoked(&rig("phantom_token_worker_cache 0;", |builder| builder), mint()).assert();
}

#[test]
fn cache_inactive_valid_60s_revoked() {
    revoked(&rig("phantom_token_cache_inactive_valid 60s;", |builder| builder), mint()).assert();
}

#[test]
fn cache_valid_0_revoked() {
    revoked(&rig("phantom_token_cache_valid 0;", |builder| builder), mint()).assert();
}

#[test]
fn cache_off_revoked() {
    revoked(&rig("phantom_token_cache off;", |builder| builder), mint()).assert();
}

#[test]
fn cache_bypass_1_revoked() {
    revoked(&rig("phantom_token_cache_bypass 1;", |builder| builder), mint()).assert();
}

#[test]
fn forward_none_revoked() {
    revoked(&rig("phantom_token_forward none;", |builder| builder), mint()).assert();
}

#[test]
fn forward_mint_mint_valid_30s_revoked() {
    let http = "phantom_token_forward mint;\nphantom_token_mint_valid 30s;\n\
        phantom_token_mint_issuer https://gateway.example;\n\
        phantom_token_mint_audience https://api.example;\nphantom_token_mint_key mint.key;";
    let key = PemKey::p256();
    let rig = rig(http, |builder| builder.file("mint.key", key.private.as_bytes()));
    revoked(&rig, mint()).assert();
}

/// The time of day goes on as it does, the clock that counts what is left of the token's life is set.
#[test]
fn the_token_s_exp_is_20_s_ahead_revoked() {
    revoked(&rig("", |builder| builder), mint().expires_in(20)).assert();
}

#[test]
fn the_server_says_max_age_30_revoked() {
    let rig = rig("", |builder| builder);
    let token = token(&rig);
    let answer = Script::jwt(&token.jwt).header("Cache-Control", "max-age=30");
    rig.server.script(&token.token, answer.times(1));
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}

#[test]
fn cache_control_strict_the_server_says_no_store_revoked() {
    let rig = rig("phantom_token_cache_control strict;", |builder| builder);
    let token = token(&rig);
    let answer = Script::jwt(&token.jwt).header("Cache-Control", "no-store");
    rig.server.script(&token.token, answer.times(1));
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}

#[test]
fn cache_stale_10m_revoked() {
    revoked(&rig("phantom_token_cache_stale 10m;", |builder| builder), mint()).assert();
}

#[test]
fn cache_stale_10m_the_server_goes_away_revoked() {
    let rig = rig("phantom_token_cache_stale 10m;", |builder| builder);
    let token = token(&rig);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.server.stop();
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}

#[test]
fn cache_stale_10m_the_server_goes_away_exp_is_400_s_ahead_revoked() {
    let rig = rig("phantom_token_cache_stale 10m;", |builder| builder);
    let token = rig.server.mint(mint().expires_in(400));
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.server.stop();
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}

/// The server said yes just before, and the answer is long on its way.
#[test]
fn timeout_60s_a_call_is_under_way_revoked() {
    const ON_ITS_WAY: u64 = 50;
    let rig = rig("phantom_token_timeout 60s;", |builder| builder);
    let token = token(&rig);
    let arrives = Arc::new(AtomicBool::new(false));
    rig.server.script(&token.token, Script::jwt(&token.jwt).after(&arrives).times(1));
    let mut early = rig.gateway.client();
    let bearer = token.bearer();
    let began = Instant::now();
    early.send_request("GET", "/checked", &[("Authorization", &bearer)], b"");
    rig.server.wait_for_introspections(1);
    rig.server.revoke(&token.token);
    rig.gateway.pass_time(Duration::from_secs(ON_ITS_WAY));
    arrives.store(true, Ordering::Relaxed);
    assert_eq!(early.read().status, 204);
    // It could have been ten seconds longer on its way.
    let_in_for(&rig.gateway, &token, began, ON_ITS_WAY).or_longer(60 - ON_ITS_WAY).assert();
}

/// Another location with `directives` asks the server, and is told no.
fn found_inactive_elsewhere(directives: &str) -> Works {
    let rig = rig("", |builder| builder.location("/other", &checked(directives)));
    let token = token(&rig);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    assert!(is_let_in(&rig.gateway, &token), "nobody has asked yet");
    assert_eq!(rig.gateway.get_as("/other", &token.token).status, 401);
    let_in_for(&rig.gateway, &token, kept, 0)
}

#[test]
fn another_location_asks_each_time_revoked_and_found_inactive_there() {
    found_inactive_elsewhere("phantom_token_cache_valid 0;").assert();
}

/// What a server says to one question says nothing of another.
#[test]
fn another_location_asks_otherwise_revoked_and_found_inactive_there() {
    found_inactive_elsewhere("phantom_token_introspection_header X-Tenant a;").assert();
}

#[test]
fn as_it_comes_revoked_and_nginx_reloaded() {
    let mut rig = rig("", |builder| builder);
    let token = token(&rig);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.gateway.reload_with(|builder| builder);
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}

#[test]
fn as_it_comes_revoked_and_nginx_restarted() {
    let rig = rig("", |builder| builder);
    let token = token(&rig);
    keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    let Rig { gateway, server, api } = rig;
    drop(gateway);
    let again = crate::support::gateway(
        phantom_token_test::Gateway::builder().protect(&server, &api),
        &server,
        "",
    );
    assert_refused_at_once(&again.start(), &token);
}
