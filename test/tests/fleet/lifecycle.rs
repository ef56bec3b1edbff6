//! Starts, ends and reloads, of gateways and of the store.

use phantom_token_test::fleet::{pass, wait_until_in_sync};
use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{Fleet, Script};

use crate::support::*;

#[test]
fn the_store_may_be_away_at_the_start() {
    let fleet = Fleet::builder().block("timeout 500ms;").start_none();
    fleet.store.kill();
    let checked = fleet.configuration().check();
    assert!(checked.ok, "{}", checked.messages);
    let gateways = [fleet.launch(), fleet.launch()];
    let token = fleet.server.issue();
    for gateway in &gateways {
        assert_eq!(pass(gateway, &token), "MISS");
        assert_eq!(pass(gateway, &token), "HIT");
        assert_eq!(gateway.metrics().get("store_in_sync"), 0.0);
    }
    fleet.store.start_empty();
    gateways.iter().for_each(wait_until_in_sync);
    wait_until("what is shared", || {
        let token = fleet.server.issue();
        pass(&gateways[0], &token);
        pass(&gateways[1], &token) == "STORE"
    });
}

#[test]
fn a_warm_store_serves_while_the_authorization_server_is_away() {
    let fleet = Fleet::start(2);
    let tokens: Vec<_> = (0..5).map(|_| fleet.server.issue()).collect();
    for token in &tokens {
        assert_eq!(fleet.pass(0, token), "MISS");
    }
    fleet.server.stop();
    // Failures enough that its endpoint rests.
    for _ in 0..5 {
        assert!(fleet.gateways[1].get_as("/shown", "unknown-token").status >= 500);
    }
    for token in &tokens {
        assert_eq!(fleet.pass(1, token), "STORE");
    }
    fleet.server.resume().unwrap();
}

#[test]
fn nothing_of_the_store_rests_an_endpoint() {
    let fleet = Fleet::builder().block("timeout 200ms;").start_in_sync(2);
    fleet.store.kill();
    for _ in 0..20 {
        let token = fleet.server.issue();
        assert_eq!(fleet.pass(0, &token), "MISS");
    }
    let metrics = fleet.gateways[0].metrics();
    assert_eq!(metrics.sum("endpoint_up{", "introspect"), 1.0);
    assert_eq!(metrics.sum("failures_total{", ""), 0.0);
}

#[test]
fn a_quit_ends_at_once_whatever_the_store_does() {
    let fleet = Fleet::builder().start_in_sync(2);
    fleet.store.stop();
    fleet.gateways[1].quit();
    fleet.gateways[1].wait_exit();
    fleet.store.cont();
    let token = fleet.server.issue();
    fleet.pass(0, &token);
}

#[test]
fn a_worker_that_is_killed_while_it_listens_is_replaced() {
    let fleet = Fleet::builder().each(|builder| builder.workers(2)).start(2);
    let gateway = &fleet.gateways[1];
    gateway.allow("exited on signal 9");
    for _ in 0..3 {
        for pid in gateway.workers() {
            process::signal(pid, libc::SIGKILL).unwrap();
        }
        wait_until("new workers", || gateway.workers().len() == 2);
        fleet.wait_until_shares(gateway);
    }
    assert_eq!(gateway.metrics().sum("store_gaps_total", ""), 0.0);
}

#[test]
fn one_gateway_leaves_and_a_store_of_its_own_dump_comes_back() {
    // A store that was restarted from an older dump: what it forgot is noticed.
    let fleet = Fleet::builder().start_in_sync(2);
    let (before, after) = (fleet.server.issue(), fleet.server.issue());
    warm(&fleet, &before);
    fleet.store.dump();
    warm(&fleet, &after);
    for token in [&before, &after] {
        fleet.server.revoke(&token.token);
        assert_eq!(fleet.purge(0, &form(token)), 204);
        wait_until_refused(&fleet, 1, token);
    }
    fleet.store.kill();
    // With values and leases from before the purges.
    fleet.store.start_again();
    for gateway in &fleet.gateways {
        gateway.wait_for_metrics("a gap", |now| now.sum("store_gaps_total", "") >= 1.0);
    }
    for gateway in [0, 1, 0, 1] {
        for token in [&before, &after] {
            assert!(!fleet.admits(gateway, token), "gateway {gateway}");
        }
    }
    fleet.server.script("unused", Script::close());
}
