//! Whoever comes after an inactive answer is never given the answer of a call that began before it,
//! whatever location learnt it, in whichever worker, and wherever the older answer would come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::{Mint, Rig, Script};

use crate::support::*;

/// Locations that ask the same question, and each have a call of their own while another's is out.
const LEARN: [&str; 3] = ["/anew", "/uncached", "/elsewhere"];

fn locations(workers: usize) -> Rig {
    rig(workers, |builder| {
        builder
            .listen("reuseport")
            // Else an inactive answer that is kept would hide an older one.
            .http("phantom_token_cache_inactive_valid 0;")
            .http("phantom_token_cache_zone zone=second:1m;")
            .location("/anew", &shown("phantom_token_cache_bypass 1;"))
            .location("/uncached", &shown("phantom_token_cache off;\nphantom_token_timeout 50s;"))
            .location("/elsewhere", &shown("phantom_token_cache second;"))
    })
}

/// The first introspection of the token is answered with its JWT, once the event has happened; every
/// other with inactive, at once.
fn answered_late(rig: &Rig) -> (Token, Arc<AtomicBool>) {
    let (token, late) = (rig.server.issue(), Arc::new(AtomicBool::new(false)));
    rig.server.script(&token.token, Script::jwt(&token.jwt).after(&late).times(1));
    rig.server.script_all(Script::status(204));
    (token, late)
}

#[test]
fn nobody_joins_a_call_from_before_an_inactive_answer_and_its_own_is_not_kept() {
    let rig = locations(2);
    for learn in LEARN {
        // Who makes the call is the first worker; who learns, and who comes after: both.
        for (learns, comes) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (token, late) = answered_late(&rig);
            let mut early = client_of_each_worker(&rig.gateway);
            let mut late_comers = client_of_each_worker(&rig.gateway);
            // In the order of the first ones.
            late_comers.sort_by_key(|(pid, _)| early[0].0 != *pid);
            let what = format!("{learn}, learnt by {learns}, asked by {comes}");
            let token = &token;
            send(&mut early[0].1, "/shown", &token.token);
            let calls = |count| rig.server.wait_for_introspections_of(&token.token, count);
            calls(1);
            // One of the other worker has come before, too.
            send(&mut early[1].1, "/shown", &token.token);
            wait_for_waiting(&rig.gateway, 2);
            assert_eq!(late_comers[learns].1.get_as(learn, &token.token).status, 401, "{what}");
            let client = &mut late_comers[comes].1;
            send(client, "/shown", &token.token);
            calls(3);
            assert_eq!(client.read().status, 401, "{what}: asked anew");
            late.store(true, Ordering::Relaxed);
            assert_passes(&early[0].1.read(), token);
            // It may have been sent on to the newer call.
            assert!([204, 401].contains(&early[1].1.read().status), "{what}");
            for (_, client) in &mut late_comers {
                let response = client.get_as("/shown", &token.token);
                assert_eq!(response.status, 401, "{what}: the older answer is not kept");
            }
        }
    }
}

#[test]
fn an_older_answer_is_not_kept_where_nobody_asked_meanwhile() {
    let rig = locations(2);
    let asked = ["/shown", "/anew"].map(|asks| LEARN.map(|learn| (asks, learn)));
    for (asks, learn) in asked.into_iter().flatten() {
        let (token, late) = answered_late(&rig);
        let mut clients = client_of_each_worker(&rig.gateway);
        send(&mut clients[0].1, asks, &token.token);
        rig.server.wait_for_introspections_of(&token.token, 1);
        assert_eq!(clients[1].1.get_as(learn, &token.token).status, 401);
        late.store(true, Ordering::Relaxed);
        assert_passes(&clients[0].1.read(), &token);
        for (_, client) in &mut clients {
            let response = client.get_as("/shown", &token.token);
            let what = format!("asked by {asks}, learnt by {learn}");
            assert_eq!(response.status, 401, "{what}: the older answer is not kept");
        }
    }
}

#[test]
fn what_a_worker_keeps_near_goes_though_the_zone_has_it_no_more() {
    let rig = rig(2, |builder| {
        builder.listen("reuseport").http("phantom_token_cache_zone zone=phantom_token:64k;")
    });
    let token = rig.server.issue();
    let mut clients = client_of_each_worker(&rig.gateway);
    for expected in ["MISS", "HIT"] {
        let response = clients[0].1.get_as("/shown", &token.token);
        assert_eq!(outcome(&response), expected);
    }
    let evictions = || numbers(&rig.gateway)["caches"][0]["evictions"].as_u64();
    // The least recently used goes first.
    while evictions() == Some(0) {
        let other = rig.server.mint(Mint::new().jwt_size(6_000));
        assert_passes(&clients[1].1.get_as("/shown", &other.token), &other);
    }
    rig.server.revoke(&token.token);
    assert_eq!(clients[1].1.get_as("/shown", &token.token).status, 401, "the zone has it no more");
    assert_eq!(clients[0].1.get_as("/shown", &token.token).status, 401);
}
