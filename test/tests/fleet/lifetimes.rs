//! How long an answer lives, over all gateways together; and clocks that differ.

use std::time::Duration;

use phantom_token_test::process::wait_until;
use phantom_token_test::{Fleet, Mint};

use crate::support::*;

fn fleet() -> Fleet {
    Fleet::builder().each(|builder| builder.own_clock()).start(2)
}

#[test]
fn cache_valid_counts_from_the_call_whoever_made_it() {
    let fleet = Fleet::builder().each(|builder| builder.own_clock().count_calls()).start(2);
    let token = fleet.server.mint(Mint::new().without_expiry());
    assert_eq!(fleet.pass(0, &token), "MISS");
    // 300 s as it comes: in the other gateway's eyes the answer is 200 s old when it is taken.
    fleet.gateways[1].set_clock(200);
    wait_until("its clock to be seen", || {
        let probe = fleet.server.issue();
        fleet.pass(0, &probe);
        fleet.pass(1, &probe) != "HIT"
    });
    assert_eq!(fleet.pass(1, &token), "STORE");
    fleet.gateways[1].pass_time(Duration::from_secs(90));
    assert_eq!(fleet.pass(1, &token), "HIT");
    fleet.gateways[1].pass_time(Duration::from_secs(11));
    wait_until("its end", || fleet.pass(1, &token) != "HIT");
    assert_eq!(calls(&fleet, &token), 2);
}

#[test]
fn exp_ends_an_answer_of_another_gateway() {
    let fleet = fleet();
    let token = fleet.server.mint(Mint::new().expires_in(100));
    assert_eq!(fleet.pass(0, &token), "MISS");
    assert_eq!(fleet.pass(1, &token), "STORE");
    let unseen = fleet.server.mint(Mint::new().expires_in(100));
    assert_eq!(fleet.pass(0, &unseen), "MISS");
    fleet.gateways[1].set_clock(120);
    wait_until("its clock to be seen", || !fleet.admits(1, &token));
    assert!(!fleet.admits(1, &unseen), "taken from the store, past exp");
    assert!(fleet.admits(0, &token));
}

#[test]
fn clocks_an_hour_apart_cost_calls_and_no_purge() {
    for ahead in [3_600, -3_600] {
        let fleet = fleet();
        let token = fleet.server.mint(Mint::new().without_expiry());
        fleet.gateways[1].set_clock(ahead);
        for _ in 0..3 {
            let fresh = fleet.server.mint(Mint::new().without_expiry());
            for gateway in [1, 0] {
                fleet.pass(gateway, &fresh);
            }
        }
        warm(&fleet, &token);
        // What comes from the future is not believed, and said.
        let victim = if ahead > 0 { 0 } else { 1 };
        wait_until("a word about clocks", || {
            let fresh = fleet.server.mint(Mint::new().without_expiry());
            fleet.pass(1 - victim, &fresh);
            fleet.pass(victim, &fresh);
            fleet.gateways[victim].metrics().get("store_errors_total{reason=\"clock\"}") >= 1.0
        });
        fleet.gateways[victim].wait_for_log(&["phantom token", "clock"]);
        for gateway in [0, 1] {
            let token = fleet.server.mint(Mint::new().without_expiry());
            warm(&fleet, &token);
            fleet.server.revoke(&token.token);
            assert_eq!(fleet.purge(gateway, &form(&token)), 204, "{ahead}");
            assert!(!fleet.admits(gateway, &token), "{ahead}");
            wait_until_refused(&fleet, 1 - gateway, &token);
        }
    }
}
