//! After a gap what a gateway keeps is asked for anew, and not thrown away: each token at a moment of its
//! own, few at a time, while its answer serves.

use std::time::Duration;

use phantom_token_test::Mint;
use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{Fleet, assert_passes, outcome, pass};
use phantom_token_test::nginx::Gateway;
use phantom_token_test::process::wait_until;

const TOKENS: usize = 60;

/// Calls queued or running in a worker.
const MAX_PENDING: usize = 8;

const SECOND: Duration = Duration::from_secs(1);

/// Time passes when the test says so.
fn fleet() -> (Fleet, Gateway, Vec<Token>) {
    let fleet = Fleet::builder()
        .each(|gateway| {
            gateway
                .count_calls()
                .http(&format!("phantom_token_max_pending {MAX_PENDING};"))
                .http("phantom_token_cache_inactive_valid 0;")
        })
        .start_none();
    let gateway = fleet.launch();
    gateway.wait_for_metrics("in sync", |metrics| metrics.get("store_in_sync") == 1.0);
    let tokens: Vec<Token> =
        (0..TOKENS).map(|_| fleet.server.mint(Mint::new().expires_in(86_400))).collect();
    for token in &tokens {
        wait_until("the token to be kept", || pass(&gateway, token) == "HIT");
    }
    (fleet, gateway, tokens)
}

/// Empties the store, and waits until that was noticed.
fn lose(fleet: &Fleet, gateway: &Gateway) {
    let before = gateway.metrics().sum("store_gaps_total", "reason");
    fleet.store.ask(&["FLUSHALL"]);
    gateway.wait_for_metrics("a gap", |metrics| {
        metrics.sum("store_gaps_total", "reason") > before && metrics.get("store_in_sync") == 1.0
    });
}

/// All are presented once. How many of them did not have to wait.
fn hits(gateway: &Gateway, tokens: &[Token]) -> usize {
    let mut client = gateway.client();
    let hit = |token: &&Token| {
        let response = client.get_as("/shown", &token.token);
        assert_passes(&response, token);
        outcome(&response) == "HIT"
    };
    tokens.iter().filter(hit).count()
}

fn pending(gateway: &Gateway) -> f64 {
    gateway.metrics().get("introspections_pending")
}

/// Presents the tokens until none is asked for any more whose moment has come: who finds too many calls
/// under way is left for later.
fn settle(fleet: &Fleet, gateway: &Gateway, tokens: &[Token]) {
    wait_until("no call", || {
        let (before, is_quiet) = (fleet.server.introspections(), pending(gateway) == 0.0);
        hits(gateway, tokens);
        is_quiet && pending(gateway) == 0.0 && fleet.server.introspections() == before
    });
}

#[test]
fn each_is_asked_for_once_while_it_serves() {
    let (fleet, gateway, tokens) = fleet();
    let before = fleet.server.introspections();
    lose(&fleet, &gateway);
    let mut renewed = Vec::new();
    for _ in 0..9 {
        gateway.pass_time(SECOND * 9 / 10);
        assert_eq!(hits(&gateway, &tokens), TOKENS);
        settle(&fleet, &gateway, &tokens);
        renewed.push(fleet.server.introspections() - before);
    }
    println!("asked for after 1, 2, … 9 times 0.9 s, of {TOKENS}: {renewed:?}");
    assert!(renewed[3] > 0 && renewed[3] < TOKENS as u64, "spread: {renewed:?}");
    gateway.pass_time(3 * SECOND);
    assert_eq!(hits(&gateway, &tokens), TOKENS, "none was thrown away");
    assert_eq!(fleet.server.introspections() - before, TOKENS as u64, "each once");
    let active = gateway.metrics().get("refreshes_total{result=\"active\"}");
    assert_eq!(active, TOKENS as f64);
}

#[test]
fn half_of_max_pending_is_used_at_a_time_and_what_is_not_renewed_goes() {
    let (fleet, gateway, tokens) = fleet();
    let before = fleet.server.introspections();
    let hold = fleet.server.hold();
    lose(&fleet, &gateway);
    for _ in 0..9 {
        gateway.pass_time(SECOND);
        assert_eq!(hits(&gateway, &tokens), TOKENS, "they serve meanwhile");
    }
    let half = MAX_PENDING as u64 / 2;
    fleet.server.wait_for_introspections(before + half);
    assert_eq!(pending(&gateway), half as f64);
    // The time of all others is over.
    tokens.iter().for_each(|token| fleet.server.revoke(&token.token));
    gateway.pass_time(2 * SECOND);
    drop(hold);
    wait_until("no call", || pending(&gateway) == 0.0);
    assert_eq!(fleet.server.introspections(), before + half);
    for token in &tokens {
        let response = gateway.get_as("/shown", &token.token);
        assert_eq!(response.status, 401, "{response:?}");
    }
}

#[test]
fn a_token_that_was_revoked_meanwhile_goes_at_its_moment() {
    let (fleet, gateway, tokens) = fleet();
    tokens.iter().for_each(|token| fleet.server.revoke(&token.token));
    lose(&fleet, &gateway);
    let serving = || {
        let statuses = tokens.iter().map(|token| gateway.get_as("/shown", &token.token).status);
        statuses.filter(|status| *status == 204).count()
    };
    let mut left = Vec::new();
    for _ in 0..9 {
        gateway.pass_time(SECOND);
        wait_until("no call", || {
            serving();
            pending(&gateway) == 0.0
        });
        left.push(serving());
    }
    println!("still served after 1, 2, … 9 s, of {TOKENS}: {left:?}");
    assert!(left.is_sorted_by(|one, next| one >= next), "{left:?}");
    // Who found too many calls under way was left for later.
    wait_until("the end of all", || serving() == 0);
    assert_eq!(gateway.metrics().get("refreshes_total{result=\"inactive\"}"), TOKENS as f64);
}
