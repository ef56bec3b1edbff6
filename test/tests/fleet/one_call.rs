//! One call for each token in the whole fleet.

use std::time::Duration;

use phantom_token_test::fleet::{assert_passes, outcome, pass};
use phantom_token_test::{AuthorizationServer, Client, Fleet, Script};

use crate::support::*;

/// How long calls take where other gateways are to wait for them: they wait as long again.
const USUAL: Duration = Duration::from_millis(400);

fn slow() -> AuthorizationServer {
    let server = AuthorizationServer::start();
    server.set_delay(USUAL);
    server
}

#[test]
fn what_one_gateway_learns_the_others_take() {
    let fleet = Fleet::start(3);
    let token = fleet.server.issue();
    assert_eq!(fleet.pass(1, &token), "MISS");
    for gateway in [0, 2] {
        let response = fleet.gateways[gateway].get_as("/shown", &token.token);
        assert_passes(&response, &token);
        assert_eq!((outcome(&response).as_str(), response.header("store")), ("STORE", Some("HIT")));
        assert_eq!(fleet.pass(gateway, &token), "HIT");
    }
    assert_eq!(calls(&fleet, &token), 1);
    // A gateway that was not there.
    assert_eq!(pass(&fleet.join(), &token), "STORE");
    assert_eq!(calls(&fleet, &token), 1);
    let metrics = fleet.gateways[0].metrics();
    assert_eq!(metrics.requests("store"), 1.0);
    assert!(metrics.get("store_requests_total{result=\"hit\"}") >= 1.0);
    assert!(metrics.get("store_duration_seconds_count") >= 1.0);
}

#[test]
fn gateways_that_ask_at_once_make_one_call() {
    let fleet = Fleet::builder().server(slow()).start(3);
    for _ in 0..3 {
        let token = fleet.server.issue();
        let mut clients: Vec<Client> =
            fleet.gateways.iter().map(|gateway| send(gateway, &token.token)).collect();
        let mut outcomes: Vec<String> = clients
            .iter_mut()
            .map(|client| {
                let response = client.read();
                assert_passes(&response, &token);
                outcome(&response)
            })
            .collect();
        outcomes.sort();
        assert_eq!(outcomes, ["MISS", "STORE", "STORE"]);
        assert_eq!(calls(&fleet, &token), 1);
    }
}

#[test]
fn a_leader_that_is_told_inactive_tells_the_others() {
    let fleet = Fleet::builder().server(slow()).start(3);
    let mut clients: Vec<Client> =
        fleet.gateways.iter().map(|gateway| send(gateway, "nobody-has-it")).collect();
    for client in &mut clients {
        assert_eq!(client.read().status, 401);
    }
    assert_eq!(fleet.server.introspections_of("nobody-has-it"), 1);
}

#[test]
fn a_leader_that_fails_keeps_nobody_waiting() {
    // Nobody may follow for as long as it would without the leader's word.
    let fleet = Fleet::builder().server(slow()).block("lock_timeout 60s;").start(2);
    let token = fleet.server.issue();
    let failure = Script::status(500).delay(USUAL).times(1);
    fleet.server.script(&token.token, failure);
    let mut leader = send(&fleet.gateways[0], &token.token);
    fleet.server.wait_for_introspections_of(&token.token, 1);
    let mut follower = send(&fleet.gateways[1], &token.token);
    assert_eq!(leader.read().status, 500);
    let response = follower.read();
    assert_passes(&response, &token);
    assert_eq!(outcome(&response), "MISS");
    assert_eq!(calls(&fleet, &token), 2);
    assert_eq!(fleet.pass(0, &token), "STORE");
}

#[test]
fn without_a_lock_timeout_each_asks_for_itself() {
    let fleet = Fleet::builder().server(slow()).block("lock_timeout 0;").start(2);
    let token = fleet.server.issue();
    let hold = fleet.server.hold_token(&token.token);
    let mut clients: Vec<Client> =
        fleet.gateways.iter().map(|gateway| send(gateway, &token.token)).collect();
    fleet.server.wait_for_introspections_of(&token.token, 2);
    drop(hold);
    for client in &mut clients {
        assert_passes(&client.read(), &token);
    }
}

#[test]
fn what_is_not_to_be_kept_is_not_shared() {
    let fleet = Fleet::builder()
        .each(|builder| {
            builder
                .location("/off", &phantom_token_test::fleet::shown("phantom_token_cache off;"))
                .location(
                    "/zero",
                    &phantom_token_test::fleet::shown("phantom_token_cache_valid 0;"),
                )
                .location(
                    "/alone",
                    &phantom_token_test::fleet::shown("phantom_token_cache_store off;"),
                )
                .location(
                    "/strict",
                    &phantom_token_test::fleet::shown("phantom_token_cache_control strict;"),
                )
        })
        .start(2);
    for target in ["/off", "/zero", "/alone", "/strict"] {
        let token = fleet.server.issue();
        let answer = Script::jwt(&token.jwt).header("Cache-Control", "no-store");
        fleet.server.script(&token.token, answer);
        let before = values(&fleet);
        for gateway in &fleet.gateways {
            let response = gateway.get_as(target, &token.token);
            assert_passes(&response, &token);
            assert_eq!(outcome(&response), "MISS", "{target}");
        }
        assert_eq!(calls(&fleet, &token), 2, "{target}");
        assert_eq!(values(&fleet), before, "{target}");
    }
}

/// How many values the store holds that are more than a word.
fn values(fleet: &Fleet) -> usize {
    let keys = fleet.store.keys("phantom_token:*");
    let long = |key: &&String| fleet.store.ask(&["STRLEN", key]).number() > 512;
    keys.iter().filter(long).count()
}

#[test]
fn it_goes_over_tls_and_over_a_socket() {
    use phantom_token_test::Store;
    use phantom_token_test::tls::{Authority, Identity};
    let fleet = Fleet::builder().over_socket().start(2);
    let token = fleet.server.issue();
    assert_eq!([fleet.pass(0, &token), fleet.pass(1, &token)], ["MISS", "STORE"]);
    drop(fleet);

    let (authority, clients) = (Authority::generate(), Authority::generate());
    let server = authority.server(&["localhost"]);
    let Identity { certificate, key } = clients.client("gateway");
    let trusted = authority.certificate.clone();
    let store = Store::builder().tls(&server, Some(&clients.certificate));
    let fleet = Fleet::builder()
        .store(store)
        .block(
            "ssl_trusted_certificate ca.pem; ssl_certificate own.pem; ssl_certificate_key own.key;",
        )
        .each(move |builder| {
            builder
                .file("ca.pem", trusted.as_bytes())
                .file("own.pem", certificate.as_bytes())
                .file("own.key", key.as_bytes())
        })
        .start(2);
    let token = fleet.server.issue();
    assert_eq!([fleet.pass(0, &token), fleet.pass(1, &token)], ["MISS", "STORE"]);
}
