//! Revoked at the authorization server, which the gateway asks before its answer ends.

use std::time::Duration;

use phantom_token_test::Rig;
use phantom_token_test::process::wait_until;

use crate::support::*;

fn refreshing() -> Rig {
    rig("phantom_token_cache_refresh_ahead 60s;", |builder| {
        builder.location("/metrics", "phantom_token_status;")
    })
}

/// Lets a call in the background end, which the request before has begun.
fn settle(rig: &Rig) {
    wait_until("no call", || {
        let metrics = rig.gateway.get("/metrics", &[]).text();
        metrics.lines().any(|line| line == "phantom_token_introspections_pending 0")
    });
}

/// Somewhere in the first half of the window the server is asked, by the token's hash.
#[test]
fn cache_refresh_ahead_60s_revoked() {
    const EARLIEST: u64 = 240;
    let rig = refreshing();
    let token = token(&rig);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.gateway.pass_time(Duration::from_secs(EARLIEST));
    let works = let_in_for_settling(&rig.gateway, &token, kept, EARLIEST, || settle(&rig));
    works.or_longer(30).assert();
}

#[test]
fn cache_refresh_ahead_60s_the_token_is_used_seldom_revoked() {
    const LATE: u64 = 290;
    let rig = refreshing();
    let token = token(&rig);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.gateway.pass_time(Duration::from_secs(LATE));
    let works = let_in_for_settling(&rig.gateway, &token, kept, LATE, || settle(&rig));
    works.or_longer(300 - LATE).assert();
}

#[test]
fn cache_refresh_ahead_60s_the_server_goes_away_revoked() {
    let rig = refreshing();
    let token = token(&rig);
    let kept = keep(&rig.gateway, &token);
    rig.server.revoke(&token.token);
    rig.server.stop();
    let_in_for(&rig.gateway, &token, kept, 0).assert();
}
