//! A store that is away costs a request its time limit at most, and none of its answers.

use std::time::{Duration, Instant};

use phantom_token_test::fleet::{Fleet, assert_passes, outcome, wait_until_in_sync};
use phantom_token_test::process::wait_until;
use phantom_token_test::store::Fault;

use crate::support::*;

#[test]
fn a_gateway_starts_without_it_and_finds_it_later() {
    let mut fleet = Fleet::builder()
        .each(|builder| builder.allow("cannot be heard").allow("the store"))
        .start_none();
    fleet.store.kill();
    fleet.gateways = vec![fleet.launch()];
    let token = fleet.server.issue();
    let response = fleet.gateways[0].get_as("/shown", &token.token);
    assert_passes(&response, &token);
    assert_eq!((outcome(&response).as_str(), store_status(&response)), ("MISS", "SKIP"));
    assert_eq!(fleet.pass(0, &token), "HIT");
    let metrics = fleet.gateways[0].metrics();
    for number in ["store_requests_total", "store_writes_total"] {
        assert_eq!(metrics.get(&format!("{number}{{result=\"skipped\"}}")), 1.0, "{number}");
    }
    fleet.store.start_empty();
    wait_until_in_sync(&fleet.gateways[0]);
    let asked = fleet.gateways[0].get_as("/shown", &fleet.server.issue().token);
    assert_eq!((asked.status, store_status(&asked)), (204, "MISS"));
}

#[test]
fn one_that_does_not_answer_fails_three_times_and_rests() {
    let fleet = Fleet::builder()
        .through_proxy()
        .block("timeout 500ms;")
        .each(|builder| builder.allow("the store"))
        .start(1);
    let known = fleet.server.issue();
    fleet.pass(0, &known);
    fleet.proxy().spoil(Fault::Silent);
    let mut seen = Vec::new();
    let began = Instant::now();
    wait_until("a store that is not asked any more", || {
        let token = fleet.server.issue();
        let response = fleet.gateways[0].get_as("/shown", &token.token);
        assert_passes(&response, &token);
        seen.push(store_status(&response).to_owned());
        seen.last().is_some_and(|last| last == "SKIP") || began.elapsed() > Duration::from_secs(30)
    });
    let failed = seen.iter().filter(|status| *status == "FAIL").count();
    assert!(failed <= 3, "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("SKIP"));
    assert_eq!(fleet.pass(0, &known), "HIT");
    fleet.gateways[0].wait_for_log(&["[error]", "the store", "failed"]);
    let metrics = fleet.gateways[0].metrics();
    assert_eq!(metrics.get("store_requests_total{result=\"failed\"}"), failed as f64);
    assert!(metrics.get("store_requests_total{result=\"skipped\"}") >= 1.0);
    fleet.proxy().spoil(Fault::None);
    wait_until("a store that is asked again", || {
        let token = fleet.server.issue();
        store_status(&fleet.gateways[0].get_as("/shown", &token.token)) == "MISS"
    });
}
