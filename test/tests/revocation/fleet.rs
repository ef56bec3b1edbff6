//! Gateways that share a store.

use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{self, Fleet, wait_until_in_sync};
use phantom_token_test::process::wait_until;

use crate::support::*;

/// Two gateways that share, with these directives in `http`.
fn two(http: &'static str) -> Fleet {
    builder(http).start(2)
}

fn builder(http: &'static str) -> fleet::Builder {
    Fleet::builder().each(move |builder| {
        let anew = "phantom_token_cache_bypass 1;";
        builder
            .count_calls()
            .own_clock()
            .http(http)
            .location("/checked", &checked(""))
            .location("/anew", &checked(anew))
    })
}

/// A token whose answer both have.
fn kept(fleet: &Fleet) -> (Token, Instant) {
    let token = fleet.server.mint(mint());
    let began = keep(&fleet.gateways[0], &token);
    keep(&fleet.gateways[1], &token);
    assert_eq!(fleet.server.introspections_of(&token.token), 1, "the second has it from the store");
    (token, began)
}

/// Time passes for one gateway, that of the day too, and it hears the store again.
fn pass(fleet: &Fleet, gateway: usize, seconds: u64) {
    let gateway = &fleet.gateways[gateway];
    gateway.pass_time(Duration::from_secs(seconds));
    gateway.set_clock(seconds as i64);
    wait_until_in_sync(gateway);
}

/// Hearing takes milliseconds, but this machine may be busy.
#[track_caller]
fn assert_refused_within_a_second(fleet: &Fleet, token: &Token) {
    assert_eq!(told(), Some(1));
    for gateway in &fleet.gateways {
        wait_until("a token that is refused", || !is_let_in(gateway, token));
    }
}

/// Counted from the server's answer, wherever it is kept meanwhile.
#[test]
fn two_gateways_with_a_store_revoked() {
    const LATER: u64 = 100;
    let fleet = two("");
    let token = fleet.server.mint(mint());
    let began = keep(&fleet.gateways[0], &token);
    fleet.server.revoke(&token.token);
    pass(&fleet, 1, LATER);
    let_in_for(&fleet.gateways[1], &token, began, LATER).assert();
}

#[test]
fn two_gateways_with_a_store_revoked_then_purged_at_one_by_token() {
    let fleet = two("");
    let (token, _) = kept(&fleet);
    fleet.server.revoke(&token.token);
    purge(&fleet.gateways[0], &format!("token={}", token.token));
    assert_refused_within_a_second(&fleet, &token);
}

#[test]
fn two_gateways_with_a_store_revoked_then_purged_at_one_by_sub() {
    let fleet = two("");
    let (token, _) = kept(&fleet);
    fleet.server.revoke(&token.token);
    purge(&fleet.gateways[0], "sub=alice");
    assert_refused_within_a_second(&fleet, &token);
}

#[test]
fn two_gateways_with_a_store_revoked_then_purged_at_one_by_all() {
    let fleet = two("");
    let (token, _) = kept(&fleet);
    fleet.server.revoke(&token.token);
    purge(&fleet.gateways[0], "all=1");
    assert_refused_within_a_second(&fleet, &token);
}

#[test]
fn two_gateways_with_a_store_revoked_and_found_inactive_at_one() {
    let fleet = two("");
    let (token, _) = kept(&fleet);
    fleet.server.revoke(&token.token);
    assert_eq!(fleet.gateways[0].get_as("/anew", &token.token).status, 401);
    assert_refused_within_a_second(&fleet, &token);
}

#[test]
fn a_gateway_joins_the_store_later_revoked_then_purged_by_sub() {
    let fleet = two("");
    let (token, _) = kept(&fleet);
    fleet.server.revoke(&token.token);
    purge(&fleet.gateways[0], "sub=alice");
    assert_refused_at_once(&fleet.join(), &token);
}

#[test]
fn two_gateways_the_store_goes_away_revoked_then_purged_at_one() {
    let fleet = two("");
    let (token, began) = kept(&fleet);
    fleet.server.revoke(&token.token);
    fleet.store.kill();
    assert_eq!(fleet.purge(0, "all=1"), 503, "it holds here alone");
    assert!(!is_let_in(&fleet.gateways[0], &token));
    let_in_for(&fleet.gateways[1], &token, began, 0).assert();
}

#[test]
fn cache_offline_valid_10s_the_store_goes_away_revoked() {
    let fleet = two("phantom_token_cache_offline_valid 10s;");
    let (token, began) = kept(&fleet);
    fleet.server.revoke(&token.token);
    fleet.store.kill();
    let_in_for(&fleet.gateways[1], &token, began, 0).or_longer(2).assert();
}

/// Each entry is asked about anew at a moment of its own.
#[test]
fn two_gateways_the_store_is_emptied_revoked() {
    let fleet = two("");
    let (token, _) = kept(&fleet);
    let gateway = &fleet.gateways[1];
    fleet.server.revoke(&token.token);
    fleet.store.ask(&["FLUSHALL"]);
    gateway.wait_for_metrics("a gap", |now| now.sum("store_gaps_total", "") >= 1.0);
    let noticed = Instant::now();
    let idle =
        || gateway.wait_for_metrics("no call", |now| now.get("introspections_pending") == 0.0);
    let works = let_in_for_settling(gateway, &token, noticed, 0, || drop(idle()));
    works.or_longer(11).assert();
}
