//! What a location keeps for itself, or not at all, is not in the store.

use phantom_token_test::Script;
use phantom_token_test::fleet::{Fleet, shown};

use crate::support::*;

/// Locations that differ in what they keep.
const LOCATIONS: [(&str, &str); 4] = [
    ("/off", "phantom_token_cache off;"),
    ("/alone", "phantom_token_cache_store off;"),
    ("/zero", "phantom_token_cache_valid 0;"),
    ("/strict", "phantom_token_cache_control strict;"),
];

fn fleet() -> Fleet {
    let each = |builder: phantom_token_test::nginx::Builder| {
        LOCATIONS.iter().fold(builder, |builder, (path, what)| builder.location(path, &shown(what)))
    };
    Fleet::builder().each(each).start(2)
}

/// How each gateway in turn comes to an answer in a location, and what it says of the store.
fn in_turn(fleet: &Fleet, path: &str, token: &str) -> [(String, String); 2] {
    [0, 1].map(|gateway| {
        let response = fleet.gateways[gateway].get_as(path, token);
        assert_eq!(response.status, 204, "{path}: {response:?}");
        let shown = |name| response.header(name).unwrap_or_default().to_owned();
        (shown("outcome"), shown("store"))
    })
}

#[test]
fn a_location_that_keeps_nothing_or_shares_nothing_has_nothing_to_do_with_it() {
    let fleet = fleet();
    for path in ["/off", "/alone", "/zero"] {
        let token = fleet.server.issue();
        let before = looks(&fleet);
        let nothing = ("MISS".to_owned(), String::new());
        assert_eq!(in_turn(&fleet, path, &token.token), [nothing.clone(), nothing], "{path}");
        assert_eq!(looks(&fleet), before, "{path}");
        assert_eq!(fleet.server.introspections_of(&token.token), 2, "{path}");
    }
}

#[test]
fn what_must_not_be_stored_is_not_stored_anywhere() {
    let fleet = fleet();
    let missed = ("MISS".to_owned(), "MISS".to_owned());
    for control in ["no-store", "no-cache", "private", "max-age=0"] {
        let token = fleet.server.issue();
        let script = Script::jwt(&token.jwt).header("Cache-Control", control);
        fleet.server.script(&token.token, script);
        assert_eq!(in_turn(&fleet, "/strict", &token.token), [missed.clone(), missed.clone()]);
        assert_eq!(fleet.server.introspections_of(&token.token), 2, "{control}");
    }
    // Where nothing forbids it, the same location shares.
    let token = fleet.server.issue();
    let found = ("STORE".to_owned(), "HIT".to_owned());
    assert_eq!(in_turn(&fleet, "/strict", &token.token), [missed, found]);
}

#[test]
fn locations_that_ask_differently_share_nothing() {
    let fleet = fleet();
    let token = fleet.server.issue();
    assert_eq!(fleet.pass(0, &token), "MISS");
    // By cache_control.
    let strict = fleet.gateways[1].get_as("/strict", &token.token);
    assert_eq!(strict.header("outcome"), Some("MISS"));
    assert_eq!(fleet.pass(1, &token), "STORE");
}

#[test]
fn a_failure_is_nobody_elses() {
    let fleet = fleet();
    let token = fleet.server.issue();
    fleet.server.script(&token.token, Script::status(500).times(1));
    assert_eq!(fleet.gateways[0].get_as("/shown", &token.token).status, 500);
    assert_eq!(fleet.pass(1, &token), "MISS");
    assert_eq!(fleet.pass(0, &token), "STORE");
}
