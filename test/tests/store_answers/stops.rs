//! Clients that leave and workers that end, while the store is asked or another gateway's call is
//! waited for.

use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::fleet::{Fleet, assert_passes, outcome};
use phantom_token_test::process::wait_until;
use phantom_token_test::store::Fault;

use crate::support::*;

#[test]
fn a_call_whose_client_has_left_is_for_the_others() {
    let fleet = slow_fleet(2);
    let token = fleet.server.issue();
    let mut client = fleet.gateways[0].client();
    let bearer = token.bearer();
    client.send_request("GET", "/shown", &[("Authorization", &bearer)], b"");
    fleet.server.wait_for_introspections_of(&token.token, 1);
    drop(client);
    let response = fleet.gateways[1].get_as("/shown", &token.token);
    assert_passes(&response, &token);
    assert_eq!((outcome(&response).as_str(), store_status(&response)), ("STORE", "WAIT"));
    assert_eq!(fleet.server.introspections_of(&token.token), 1);
}

#[test]
fn a_gateway_that_is_killed_while_it_asks_is_not_waited_for_beyond_its_time() {
    let fleet = slow_fleet(2);
    let token = fleet.server.issue();
    let hold = fleet.server.hold_token(&token.token);
    thread::scope(|scope| {
        let first = &fleet.gateways[0];
        first.allow("exited on signal 9");
        let mut client = first.client();
        let bearer = token.bearer();
        client.send_request("GET", "/shown", &[("Authorization", &bearer)], b"");
        fleet.server.wait_for_introspections_of(&token.token, 1);
        for worker in first.workers() {
            // SAFETY: a signal to a worker of this test's own gateway.
            unsafe { libc::kill(worker as i32, libc::SIGKILL) };
        }
        let next = scope.spawn(|| fleet.gateways[1].get_as("/shown", &token.token));
        fleet.server.wait_for_introspections_of(&token.token, 2);
        drop(hold);
        assert_passes(&next.join().expect("a response"), &token);
    });
}

/// How long a gateway that asks a store that says nothing takes to end on this signal.
fn ends_within(fleet: &Fleet, signal: i32) -> Duration {
    let gateway = &fleet.gateways[0];
    let token = fleet.server.issue();
    let mut client = gateway.client();
    let bearer = token.bearer();
    let before = gateway.metrics().get("introspections_pending");
    client.send_request("GET", "/shown", &[("Authorization", &bearer)], b"");
    wait_until("a question to the store", || {
        gateway.metrics().get("introspections_pending") > before
    });
    let began = Instant::now();
    gateway.end(signal);
    began.elapsed()
}

#[test]
fn a_stop_does_not_wait_for_it() {
    let fleet = Fleet::builder()
        .through_proxy()
        .block("timeout 60s;")
        .each(|builder| builder.http("phantom_token_timeout 60s;").allow("the store"))
        .start(1);
    fleet.proxy().spoil(Fault::Silent);
    let took = ends_within(&fleet, libc::SIGTERM);
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_reload_leaves_those_their_answer_who_wait_for_another_gateway() {
    let fleet = slow_fleet(2);
    let token = fleet.server.issue();
    let hold = fleet.server.hold_token(&token.token);
    thread::scope(|scope| {
        let [leads, follows] = [&fleet.gateways[0], &fleet.gateways[1]];
        let leader = scope.spawn(|| leads.get_as("/shown", &token.token));
        fleet.server.wait_for_introspections_of(&token.token, 1);
        let before = follows.metrics().get("introspections_pending");
        let old = follows.workers();
        let follower = scope.spawn(|| follows.get_as("/shown", &token.token));
        wait_until("a question to the store", || {
            follows.metrics().get("introspections_pending") > before
        });
        follows.reload();
        drop(hold);
        assert_passes(&leader.join().expect("a response"), &token);
        assert_passes(&follower.join().expect("a response"), &token);
        wait_until("the former workers' end", || {
            follows.all_workers().iter().all(|worker| !old.contains(worker))
        });
    });
}
