//! What the store knows serves while the authorization server cannot be asked, and says nothing of it.

use std::time::Duration;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{Fleet, pass, wait_until_in_sync};
use phantom_token_test::process::wait_until;
use phantom_token_test::{Gateway, Script};

use crate::support::*;

fn endpoint_up(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("endpoint_up", "")
}

/// Tokens that the first of two gateways knows, and the other does not.
fn known(fleet: &Fleet) -> Vec<Token> {
    let tokens: Vec<_> = (0..25).map(|_| fleet.server.issue()).collect();
    for token in &tokens {
        assert_eq!(fleet.pass(0, token), "MISS");
    }
    tokens
}

#[test]
fn a_server_that_rests() {
    let fleet =
        Fleet::builder().each(|builder| builder.allow("introspection at").allow("rests")).start(2);
    let tokens = known(&fleet);
    let gateway = &fleet.gateways[1];
    fleet.server.stop();
    wait_until("the server to rest", || {
        let unknown = fleet.server.issue();
        assert_eq!(gateway.get_as("/shown", &unknown.token).status / 100, 5);
        endpoint_up(gateway) == 0.0
    });
    for token in &tokens[1..] {
        let response = gateway.get_as("/shown", &token.token);
        assert_eq!((response.status, store_status(&response)), (204, "HIT"), "{response:?}");
        assert_eq!(response.header("outcome"), Some("STORE"));
        assert_eq!(endpoint_up(gateway), 0.0, "the store says nothing of the server");
    }
    // What it does not know fails as ever.
    let unknown = gateway.get_as("/shown", &fleet.server.issue().token);
    assert_eq!((unknown.status, store_status(&unknown)), (503, "MISS"), "{unknown:?}");
    assert_eq!(unknown.header("reason"), Some("resting"));
    assert_eq!(unknown.header("retry-after"), Some("1"));
    fleet.server.resume().expect("the port is free");
    wait_until("the server to be asked again", || endpoint_up(gateway) == 1.0);
    assert_eq!(pass(gateway, &tokens[0]), "STORE");
}

#[test]
fn credentials_that_are_refused() {
    let fleet = Fleet::builder()
        .each(|builder| builder.allow("introspection at").allow("credentials").count_calls())
        .start(2);
    let tokens = known(&fleet);
    let gateway = &fleet.gateways[1];
    // What was answered keeps it open for a minute.
    gateway.pass_time(Duration::from_secs(61));
    wait_until_in_sync(gateway);
    fleet.server.script_own_calls(Script::status(401));
    fleet.server.script_all(Script::status(401));
    wait_until("the gate to shut", || {
        let unknown = fleet.server.issue();
        assert_eq!(gateway.get_as("/shown", &unknown.token).status, 500);
        gateway.metrics().sum("gate_shut", "") == 1.0
    });
    let before = fleet.server.introspections();
    for token in &tokens {
        let response = gateway.get_as("/shown", &token.token);
        assert_eq!((response.status, store_status(&response)), (204, "HIT"), "{response:?}");
    }
    assert_eq!(fleet.server.introspections(), before, "more than the few that may go out");
    let unknown = gateway.get_as("/shown", &fleet.server.issue().token);
    assert_eq!((unknown.status, store_status(&unknown)), (500, "MISS"), "{unknown:?}");
    assert_eq!(
        gateway.metrics().sum("gate_shut", ""),
        1.0,
        "the store says nothing of credentials"
    );
}
