//! Requests for the same token that come while it is being introspected share that call, in all
//! workers, whatever it comes to.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{Client, Response, Rig, Script};

use crate::support::*;

const DELAY: Duration = Duration::from_millis(300);
const CROWD: usize = 500;

/// Four workers, among which the kernel spreads connections. No call runs out of time while many ask.
fn spread(directives: &str) -> Rig {
    rig(4, |builder| {
        builder
            .listen("reuseport")
            .http("phantom_token_timeout 60s;")
            .location("/asked", &shown(directives))
    })
}

/// How late the slowest was, beside the server's own delay; and that all workers were asked.
fn report(responses: &[Response], last: Duration) {
    let mut took: Vec<u64> = responses.iter().filter_map(took_ms).collect();
    took.sort_unstable();
    let workers: HashSet<u32> = responses.iter().map(worker).collect();
    assert_eq!(workers.len(), 4, "all workers were asked");
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    println!(
        "just run out: {} requests; of {} that waited, the wait in ms: {} least, {} median, {} at 99 %, {} most; \
         all answers read after {} ms; the server's delay: {} ms",
        responses.len(),
        took.len(),
        at(0),
        at(50),
        at(99),
        at(100),
        last.as_millis(),
        DELAY.as_millis(),
    );
}

/// `$phantom_token_introspection_time` in milliseconds.
fn took_ms(response: &Response) -> Option<u64> {
    response.header("took")?.replace('.', "").parse().ok()
}

fn count(responses: &[Response], outcome: &str) -> usize {
    responses.iter().filter(|response| response.header("outcome") == Some(outcome)).count()
}

#[test]
fn a_cold_token() {
    let rig = spread("");
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut crowd = Crowd::connect(&rig.gateway, CROWD);
    crowd.send("/asked", &token.token);
    wait_for_waiting(&rig.gateway, CROWD);
    drop(hold);
    let (responses, _) = crowd.read();
    responses.iter().for_each(|response| assert_passes(response, &token));
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(count(&responses, "MISS"), 1);
    assert_eq!(count(&responses, "MISS") + count(&responses, "WAIT"), responses.len());
}

#[test]
fn an_entry_that_has_just_run_out() {
    // Shorter than clients may take to ask: they have connected before it runs out.
    let rig = rig(4, |builder| {
        let asked = shown("phantom_token_cache_valid 30s;");
        builder.count_calls().listen("reuseport").location("/asked", &asked)
    });
    let token = rig.server.issue();
    assert_eq!(pass(&rig.gateway, "/asked", &token), "MISS");
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    rig.server.set_delay(DELAY);
    let mut crowd = Crowd::connect(&rig.gateway, CROWD);
    rig.gateway.pass_time(Duration::from_secs(31));
    crowd.send("/asked", &token.token);
    let (responses, last) = crowd.read();
    responses.iter().for_each(|response| assert_passes(response, &token));
    assert_eq!(rig.server.introspections(), 2);
    report(&responses, last);
}

/// All wait for one call; the next request, which comes after it, makes the next.
#[track_caller]
fn assert_shared_but_not_kept(rig: &Rig, what: &str) {
    let token = rig.server.issue();
    for calls in [1, 2] {
        let hold = rig.server.hold();
        let mut crowd = Crowd::connect(&rig.gateway, 100);
        crowd.send("/asked", &token.token);
        wait_for_waiting(&rig.gateway, 100);
        drop(hold);
        let (responses, _) = crowd.read();
        responses.iter().for_each(|response| assert_passes(response, &token));
        assert_eq!(rig.server.introspections_of(&token.token), calls, "{what}");
    }
    for (_, mut client) in client_of_each_worker(&rig.gateway) {
        assert_passes(&client.get_as("/asked", &token.token), &token);
    }
    assert_eq!(rig.server.introspections_of(&token.token), 6, "{what}: for those who waited alone");
    assert_eq!(entries(&rig.gateway), (0, 0), "{what}");
}

#[test]
fn an_answer_that_may_not_be_kept() {
    assert_shared_but_not_kept(&spread("phantom_token_cache_valid 0;"), "cache_valid 0");
}

#[test]
fn an_answer_the_server_forbids_to_keep() {
    let rig = spread("phantom_token_cache_control strict;");
    let token = rig.server.issue();
    let script = Script::jwt(&token.jwt).header("Cache-Control", "no-store");
    rig.server.script(&token.token, script);
    let hold = rig.server.hold();
    let mut crowd = Crowd::connect(&rig.gateway, 100);
    crowd.send("/asked", &token.token);
    wait_for_waiting(&rig.gateway, 100);
    drop(hold);
    let (responses, _) = crowd.read();
    responses.iter().for_each(|response| assert_passes(response, &token));
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(pass(&rig.gateway, "/asked", &token), "MISS");
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_large_answer_that_may_not_be_kept() {
    let rig = spread("phantom_token_cache_valid 0;");
    let token = rig.server.mint(phantom_token_test::Mint::new().jwt_size(8_000));
    let hold = rig.server.hold();
    let mut crowd = Crowd::connect(&rig.gateway, 40);
    crowd.send("/asked", &token.token);
    wait_for_waiting(&rig.gateway, 40);
    drop(hold);
    let (responses, _) = crowd.read();
    responses.iter().for_each(|response| assert_passes(response, &token));
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn an_inactive_token() {
    for (directives, kept) in [("", true), ("phantom_token_cache_inactive_valid 0;", false)] {
        let rig = spread(directives);
        let hold = rig.server.hold();
        let mut crowd = Crowd::connect(&rig.gateway, CROWD);
        crowd.send("/asked", "unknown");
        wait_for_waiting(&rig.gateway, CROWD);
        drop(hold);
        let (responses, _) = crowd.read();
        for response in &responses {
            assert_eq!(response.status, 401);
            assert_eq!(response.header("www-authenticate"), Some(INVALID_TOKEN));
        }
        assert_eq!(rig.server.introspections(), 1);
        if !kept {
            assert_eq!(rig.gateway.get_as("/asked", "unknown").status, 401);
            assert_eq!(rig.server.introspections(), 2, "not kept, so asked again");
        }
    }
}

#[test]
fn a_failure_goes_to_all_who_waited_and_nobody_retries() {
    for (script, status) in [
        (Script::status(500), 500),
        (Script::status(400), 500),
        (Script::ok("application/jwt", "rubbish"), 500),
        (Script::close(), 500),
        (Script::status(429).header("Retry-After", "7"), 503),
        (Script::status(503).header("Retry-After", "7"), 503),
    ] {
        let rig = spread("");
        rig.server.script("failing", script);
        let hold = rig.server.hold();
        let mut crowd = Crowd::connect(&rig.gateway, 200);
        crowd.send("/asked", "failing");
        wait_for_waiting(&rig.gateway, 200);
        drop(hold);
        let (responses, _) = crowd.read();
        for response in &responses {
            assert_eq!(response.status, status);
            assert_eq!(response.header("retry-after"), (status == 503).then_some("7"));
        }
        assert_eq!(rig.server.introspections(), 1);
    }
}

#[test]
fn a_call_that_times_out_is_not_repeated_for_those_who_waited() {
    let rig = spread("phantom_token_timeout 15s;");
    rig.server.script_all(Script::hang());
    // Several at once: the moment between a call's end and its worker's word is short.
    let tokens: Vec<String> = (0..16).map(|n| format!("hangs-{n}")).collect();
    let mut crowds: Vec<Crowd> = tokens.iter().map(|_| Crowd::connect(&rig.gateway, 16)).collect();
    for (crowd, token) in crowds.iter_mut().zip(&tokens) {
        crowd.send("/asked", token);
    }
    wait_for_waiting(&rig.gateway, 16 * 16);
    for (crowd, token) in crowds.iter_mut().zip(&tokens) {
        assert!(crowd.read().0.iter().all(|response| response.status == 500));
        assert_eq!(rig.server.introspections_of(token), 1);
    }
}

#[test]
fn a_server_that_fails_is_asked_by_one_at_a_time() {
    for (directives, script) in [
        ("", Script::status(500)),
        ("", Script::ok("application/jwt", "rubbish")),
        ("phantom_token_cache_inactive_valid 0;", Script::status(204)),
    ] {
        let rig = spread(directives);
        rig.server.script("failing", script);
        rig.server.set_delay(Duration::from_millis(10));
        let port = rig.gateway.port();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    for _ in 0..20 {
                        let status = client.get_as("/asked", "failing").status;
                        assert!(status == 500 || status == 401, "{status}");
                    }
                });
            }
        });
        assert!(rig.server.introspections() > 1);
        assert_eq!(rig.server.most_at_once_of("failing"), 1);
    }
}

#[test]
fn each_waits_to_its_own_deadline() {
    let rig = rig(1, |builder| {
        builder
            .location("/quick", &shown("phantom_token_timeout 200ms;"))
            .location("/patient", &shown("phantom_token_timeout 20s;"))
    });
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut patient = rig.gateway.client();
    send(&mut patient, "/patient", &token.token);
    rig.server.wait_for_introspections(1);
    assert_eq!(rig.gateway.get_as("/quick", &token.token).status, 500);
    assert!(patient.is_idle());
    drop(hold);
    assert_passes(&patient.read(), &token);
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn waiters_are_bounded() {
    let rig = rig(1, |builder| builder.http("phantom_token_timeout 60s;"));
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut crowd = Crowd::connect(&rig.gateway, 1_000);
    crowd.send("/shown", &token.token);
    wait_for_waiting(&rig.gateway, 1_000);
    let refused = rig.gateway.get_as("/shown", &token.token);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(hold);
    crowd.read().0.iter().for_each(|response| assert_passes(response, &token));
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn calls_are_bounded_but_hits_go_on() {
    let rig = rig(1, |builder| {
        builder.http("phantom_token_worker_cache 0;\nphantom_token_max_pending 1;")
    });
    let known = rig.server.issue();
    assert_eq!(pass(&rig.gateway, "/shown", &known), "MISS");
    let slow = rig.server.issue();
    let hold = rig.server.hold_token(&slow.token);
    let mut waiting = rig.gateway.client();
    send(&mut waiting, "/shown", &slow.token);
    rig.server.wait_for_introspections(2);
    assert_eq!(pass(&rig.gateway, "/shown", &known), "HIT");
    let refused = rig.gateway.get_as("/shown", &rig.server.issue().token);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(hold);
    assert_passes(&waiting.read(), &slow);
    assert_eq!(pass(&rig.gateway, "/shown", &rig.server.issue()), "MISS");
}

#[test]
fn without_a_cache_every_request_makes_its_own_call() {
    let rig = spread("phantom_token_cache off;");
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut crowd = Crowd::connect(&rig.gateway, 20);
    crowd.send("/asked", &token.token);
    rig.server.wait_for_introspections(20);
    drop(hold);
    crowd.read().0.iter().for_each(|response| assert_passes(response, &token));
    assert_eq!(pass(&rig.gateway, "/asked", &token), "MISS");
    assert_eq!(rig.server.introspections(), 21);
}
