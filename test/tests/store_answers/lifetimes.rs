//! An answer lives since the server was asked, in whatever gateway it is.

use std::time::Duration;

use phantom_token_test::fleet::{Fleet, pass, wait_until_in_sync};
use phantom_token_test::{Mint, Script};

/// Gateways with clocks of their own.
fn fleet_with(directives: &'static str) -> Fleet {
    Fleet::builder()
        .each(move |builder| builder.own_clock().count_calls().http(directives))
        .start(2)
}

/// How a gateway whose clock is so many seconds ahead comes to an answer that another was given, and
/// again when this time has passed.
fn later(fleet: &Fleet, ahead: i64, pass_by: Duration) -> [String; 3] {
    // That ends with nothing else.
    let token = fleet.server.mint(Mint::new().expires_in(3600));
    assert_eq!(fleet.pass(0, &token), "MISS");
    let gateway = &fleet.gateways[1];
    // Time that has passed for it alone looks like a store that was not heard.
    wait_until_in_sync(gateway);
    gateway.set_clock(ahead);
    // When it has answered a request of another kind, it has looked at the clock.
    assert_eq!(gateway.get("/status", &[]).status, 200);
    let found = fleet.pass(1, &token);
    let before = pass(gateway, &token);
    gateway.pass_time(pass_by);
    assert_eq!(gateway.get("/status", &[]).status, 200);
    let after = pass(gateway, &token);
    gateway.set_clock(0);
    [found, before, after]
}

#[test]
fn cache_valid_counts_over_all_gateways() {
    let fleet = fleet_with("phantom_token_cache_valid 300s;");
    assert_eq!(later(&fleet, 200, Duration::from_secs(60)), ["STORE", "HIT", "HIT"]);
    let [found, before, after] = later(&fleet, 200, Duration::from_secs(110));
    assert_eq!([&*found, &*before], ["STORE", "HIT"]);
    assert_ne!(after, "HIT", "for 310 s since the server was asked");
}

#[test]
fn an_answer_that_is_too_old_for_a_location_is_none_for_it() {
    let fleet = Fleet::builder()
        .each(|builder| {
            builder.own_clock().location(
                "/brief",
                &phantom_token_test::fleet::shown("phantom_token_cache_valid 100s;"),
            )
        })
        .start(2);
    let token = fleet.server.issue();
    assert_eq!(fleet.pass(0, &token), "MISS");
    let gateway = &fleet.gateways[1];
    gateway.set_clock(200);
    assert_eq!(gateway.get("/status", &[]).status, 200);
    let brief = gateway.get_as("/brief", &token.token);
    assert_eq!((brief.status, brief.header("outcome")), (204, Some("MISS")));
    assert_eq!(brief.header("store"), Some("MISS"));
    assert_eq!(fleet.server.introspections_of(&token.token), 2);
}

#[test]
fn cache_control_counts_over_all_gateways() {
    let fleet = fleet_with("");
    let token = fleet.server.issue();
    fleet
        .server
        .script(&token.token, Script::jwt(&token.jwt).header("Cache-Control", "max-age=250"));
    assert_eq!(fleet.pass(0, &token), "MISS");
    let gateway = &fleet.gateways[1];
    gateway.set_clock(200);
    assert_eq!(gateway.get("/status", &[]).status, 200);
    assert_eq!([fleet.pass(1, &token), fleet.pass(1, &token)], ["STORE", "HIT"]);
    gateway.pass_time(Duration::from_secs(60));
    assert_eq!(gateway.get("/status", &[]).status, 200);
    assert_ne!(fleet.pass(1, &token), "HIT");
}
