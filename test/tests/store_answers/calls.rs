//! One call for all gateways, whatever it comes to.

use std::thread;

use phantom_token_test::Response;
use phantom_token_test::fleet::{Fleet, assert_passes, outcome};

use crate::support::*;

const GATEWAYS: usize = 3;

/// What each gateway answers to a token that all are asked about while the server thinks.
fn asked_at_once(fleet: &Fleet, token: &str) -> Vec<Response> {
    thread::scope(|scope| {
        let asked =
            fleet.gateways.iter().map(|gateway| scope.spawn(|| gateway.get_as("/shown", token)));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|response| response.join().expect("a response")).collect()
    })
}

fn sorted(responses: &[Response], header: &str) -> Vec<String> {
    let all = responses.iter().map(|response| response.header(header).unwrap_or_default());
    let mut all: Vec<_> = all.map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn a_cold_token() {
    let fleet = slow_fleet(GATEWAYS);
    let token = fleet.server.issue();
    let responses = asked_at_once(&fleet, &token.token);
    assert_eq!(sorted(&responses, "outcome"), ["MISS", "STORE", "STORE"]);
    assert_eq!(sorted(&responses, "store"), ["MISS", "WAIT", "WAIT"]);
    for response in &responses {
        assert_passes(response, &token);
    }
    assert_eq!(fleet.server.introspections_of(&token.token), 1);
    for gateway in 0..GATEWAYS {
        assert_eq!(fleet.pass(gateway, &token), "HIT");
    }
}

#[test]
fn a_token_that_is_not_active() {
    let fleet = slow_fleet(GATEWAYS);
    let responses = asked_at_once(&fleet, "nobodys");
    assert_eq!(sorted(&responses, "outcome"), ["INACTIVE"; 3]);
    assert!(responses.iter().all(|response| response.status == 401));
    assert_eq!(fleet.server.introspections_of("nobodys"), 1);
}

#[test]
fn a_token_that_is_known_to_another_gateway() {
    let fleet = fleet(2);
    let token = fleet.server.issue();
    let first = fleet.gateways[0].get_as("/shown", &token.token);
    assert_eq!((outcome(&first).as_str(), store_status(&first)), ("MISS", "MISS"));
    let next = fleet.gateways[1].get_as("/shown", &token.token);
    assert_eq!((outcome(&next).as_str(), store_status(&next)), ("STORE", "HIT"));
    assert_passes(&next, &token);
    assert_eq!(fleet.server.introspections_of(&token.token), 1);
}
