//! A call that fails costs nobody anything: what serves goes on to its end, and who has joined the call asks
//! anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// An endpoint that never rests.
fn failing(workers: usize, directives: &str) -> Rig {
    refreshing_with(workers, |builder, server| {
        builder.endpoint(&format!("{} max_fails=0", server.introspection_url())).http(directives)
    })
}

#[test]
fn it_serves_to_its_end_and_is_asked_for_again_after_half_of_the_rest() {
    let rig = failing(3, "");
    let token = about_to_end(&rig);
    let mut workers = client_of_each_worker(&rig.gateway);
    rig.server.script(&token.token, Script::status(500));
    let mut all_hit = || {
        for (_, client) in &mut workers {
            let response = client.get_as("/shown", &token.token);
            assert_passes(&response, &token);
            assert_eq!(outcome(&response), "HIT");
        }
    };
    // Forty seconds are left, less what the test takes: half of that, and again.
    for failed in 1..=3 {
        all_hit();
        wait_for_refreshes(&rig.gateway, "failed", failed);
        rig.gateway.pass_time(SECOND / 10);
        all_hit();
        assert_eq!(numbers(&rig.gateway)["introspections_pending"], 0);
        assert_eq!(rig.server.introspections(), 1 + failed as u64, "no worker asks again");
        rig.gateway.pass_time(20 * SECOND / (1 << (failed - 1)));
    }
    rig.gateway.pass_time(6 * SECOND);
    assert_eq!(rig.gateway.get_as("/shown", &token.token).status, 500, "it has ended");
    rig.server.unscript();
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    let url = rig.server.introspection_url();
    let failures = format!("failures_total{{endpoint=\"{url}\",reason=\"status\"}}");
    assert_eq!(rig.gateway.metrics().get(&failures), 4.0, "counted as of any call");
}

#[test]
fn who_has_joined_has_a_call_of_its_own() {
    let rig = failing(3, "");
    for _ in 0..3 {
        let token = about_to_end(&rig);
        let late = Arc::new(AtomicBool::new(false));
        rig.server.script(&token.token, Script::status(500).after(&late).times(1));
        let mut workers = client_of_each_worker(&rig.gateway);
        assert_passes(&workers[0].1.get_as("/shown", &token.token), &token);
        rig.server.wait_for_introspections_of(&token.token, 2);
        rig.gateway.pass_time(REST);
        for (_, client) in &mut workers {
            send(client, "/shown", &token.token);
        }
        wait_for_waiting(&rig.gateway, 3);
        late.store(true, Ordering::Relaxed);
        for (_, client) in &mut workers {
            let response = client.read();
            assert_passes(&response, &token);
            assert_eq!(outcome(&response), "WAIT");
        }
        // Theirs is one again.
        assert_eq!(rig.server.introspections_of(&token.token), 3);
    }
    assert_eq!(refreshes(&rig.gateway, "failed"), 3.0);
}

#[test]
fn who_has_joined_only_in_another_worker_has_a_call_of_its_own() {
    let rig = failing(2, "");
    let token = about_to_end(&rig);
    let late = Arc::new(AtomicBool::new(false));
    rig.server.script(&token.token, Script::status(500).after(&late).times(1));
    let mut workers = client_of_each_worker(&rig.gateway);
    assert_passes(&workers[0].1.get_as("/shown", &token.token), &token);
    rig.server.wait_for_introspections_of(&token.token, 2);
    rig.gateway.pass_time(REST);
    send(&mut workers[1].1, "/shown", &token.token);
    wait_for_waiting(&rig.gateway, 1);
    late.store(true, Ordering::Relaxed);
    assert_passes(&workers[1].1.read(), &token);
    assert_eq!(rig.server.introspections_of(&token.token), 3);
}

#[test]
fn a_stale_answer_serves_once_it_has_ended_and_the_server_fails() {
    let rig = failing(1, "phantom_token_cache_stale 1h;");
    let token = about_to_end(&rig);
    let late = Arc::new(AtomicBool::new(false));
    rig.server.script(&token.token, Script::status(503).after(&late));
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    rig.server.wait_for_introspections(2);
    rig.gateway.pass_time(REST);
    let mut client = rig.gateway.client();
    send(&mut client, "/shown", &token.token);
    wait_for_waiting(&rig.gateway, 1);
    late.store(true, Ordering::Relaxed);
    let response = client.read();
    assert_passes(&response, &token);
    assert_eq!(outcome(&response), "STALE");
    assert_eq!(pass(&rig.gateway, "/shown", &token), "STALE");
}

#[test]
fn another_endpoint_is_asked() {
    let second = phantom_token_test::AuthorizationServer::start();
    let rig = refreshing_with(1, |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .endpoint(&second.introspection_url())
    });
    second.secrets()().iter().for_each(|secret| rig.gateway.secret(secret));
    let token = about_to_end(&rig);
    second.script(&token.token, Script::jwt(&token.jwt));
    rig.server.script(&token.token, Script::status(502));
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    wait_for_refreshes(&rig.gateway, "active", 1);
    assert_eq!((rig.server.introspections(), second.introspections()), (2, 1));
}
