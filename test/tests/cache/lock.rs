//! A zone whose lock cannot be had for a while: requests pass uncached, and nothing is left behind
//! that would keep others waiting, or serve though a newer answer has overtaken it.

use phantom_token_test::process::wait_until;
use phantom_token_test::{Rig, Script};

use crate::support::*;

/// Of no other zone.
const KILOBYTES: u64 = 1_100;

fn two_workers(directives: &str) -> Rig {
    rig(2, |builder| {
        builder
            .listen("reuseport")
            .http(&format!("phantom_token_cache_zone zone=phantom_token:{KILOBYTES}k;"))
            .http(directives)
            .location("/anew", &shown("phantom_token_cache_bypass 1;"))
    })
}

fn used_bytes(rig: &Rig) -> Option<u64> {
    numbers(&rig.gateway)["caches"][0]["used_bytes"].as_u64()
}

#[test]
fn a_call_that_ends_without_it_leaves_no_mark() {
    let rig = two_workers("phantom_token_cache_inactive_valid 0;");
    for (status, script) in [
        (204, None),
        (401, Some(Script::status(204))),
        (500, Some(Script::status(500))),
        (503, Some(Script::status(429))),
    ] {
        // Who comes next: the worker that made the call, and the other one.
        for comes in [0, 1] {
            let token = rig.server.issue();
            if let Some(script) = &script {
                rig.server.script(&token.token, script.clone());
            }
            let mut clients = client_of_each_worker(&rig.gateway);
            let hold = rig.server.hold_token(&token.token);
            send(&mut clients[0].1, "/shown", &token.token);
            rig.server.wait_for_introspections_of(&token.token, 1);
            let lock = HeldLock::of(&rig.gateway, KILOBYTES);
            drop(hold);
            assert_eq!(clients[0].1.read().status, status);
            drop(lock);
            // It would wait for the call that is over until its own time is.
            assert_eq!(clients[comes].1.get_as("/shown", &token.token).status, status);
            assert_eq!(rig.server.introspections_of(&token.token), 2, "asked anew");
        }
    }
    assert_eq!(numbers(&rig.gateway)["uncached"]["zone_locked"], 2);
}

#[test]
fn those_who_wait_in_another_worker_ask_anew() {
    let rig = two_workers("");
    let token = rig.server.issue();
    let mut clients = client_of_each_worker(&rig.gateway);
    let hold = rig.server.hold();
    send(&mut clients[0].1, "/shown", &token.token);
    rig.server.wait_for_introspections(1);
    send(&mut clients[1].1, "/shown", &token.token);
    wait_for_waiting(&rig.gateway, 2);
    let lock = HeldLock::of(&rig.gateway, KILOBYTES);
    drop(hold);
    assert_passes(&clients[0].1.read(), &token);
    assert!(clients[1].1.is_idle());
    drop(lock);
    assert_passes(&clients[1].1.read(), &token);
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_good_entry_goes_after_an_inactive_answer() {
    for directives in ["", "phantom_token_cache_inactive_valid 0;\nphantom_token_worker_cache 0;"] {
        let rig = two_workers(directives);
        // Who finds it gone: the worker that learnt it, and the other one.
        for comes in [0, 1] {
            let token = rig.server.issue();
            let mut clients = client_of_each_worker(&rig.gateway);
            for (_, client) in &mut clients {
                assert_passes(&client.get_as("/shown", &token.token), &token);
            }
            rig.server.revoke(&token.token);
            let lock = HeldLock::of(&rig.gateway, KILOBYTES);
            assert_eq!(clients[0].1.get_as("/anew", &token.token).status, 401);
            drop(lock);
            if comes == 1 {
                wait_until("the entry to go", || entries(&rig.gateway).0 == 0);
            }
            assert_eq!(clients[comes].1.get_as("/shown", &token.token).status, 401);
            assert_eq!(entries(&rig.gateway).0, 0);
        }
    }
}

#[test]
fn one_that_leaves_without_it_keeps_nothing_for_itself() {
    let rig = two_workers("phantom_token_cache_valid 0;");
    let token = rig.server.issue();
    let mut clients = client_of_each_worker(&rig.gateway);
    let hold = rig.server.hold();
    send(&mut clients[0].1, "/shown", &token.token);
    rig.server.wait_for_introspections(1);
    let (_, mut leaver) = clients.pop().expect("two workers");
    send(&mut leaver, "/shown", &token.token);
    wait_for_waiting(&rig.gateway, 2);
    let lock = HeldLock::of(&rig.gateway, KILOBYTES);
    drop(leaver);
    wait_for_waiting(&rig.gateway, 1);
    drop(lock);
    drop(hold);
    assert_passes(&clients[0].1.read(), &token);
    wait_until("the answer kept for nobody to go", || used_bytes(&rig) == Some(0));
}

#[test]
fn a_purge_that_could_not_reach_it_says_so() {
    let rig = two_workers("");
    let token = rig.server.issue();
    pass(&rig.gateway, "/shown", &token);
    let lock = HeldLock::of(&rig.gateway, KILOBYTES);
    for form in [&format!("token={}", token.token), "all=1"] {
        let mut client = rig.gateway.client();
        client.send_request("POST", "/purge", &[], form.as_bytes());
        let response = client.read();
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{form}");
        let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(body["code"], "server_error");
        assert!(body["message"].as_str().is_some_and(|words| words.ends_with("ask again")));
    }
    drop(lock);
    assert!(!rig.gateway.error_log().contains("purged"), "no line says that it was done");
    assert_eq!(purge(&rig.gateway, "all=1"), 204);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
}
