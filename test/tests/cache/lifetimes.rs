//! How long an answer serves: the least of what the asking location, `exp` and `Cache-Control` say,
//! counted from when it was stored.

use std::time::{Duration, Instant};

use phantom_token_test::process::{wait_for, wait_until};
use phantom_token_test::{Mint, Rig, Script};

use crate::support::*;

/// With the workers' own caches, and without.
const NEAR: [&str; 2] = ["phantom_token_worker_cache 1024;", "phantom_token_worker_cache 0;"];

/// Longer than one bound of these tests, and shorter than the other.
const WHILE: Duration = Duration::from_secs(101);

/// One answer, good for long in one location and for a while in the other.
fn two_bounds(near: &str) -> Rig {
    rig(1, |builder| {
        builder
            .count_calls()
            .http(near)
            .location("/long", &shown("phantom_token_cache_valid 300s;"))
            .location("/short", &shown("phantom_token_cache_valid 100s;"))
    })
}

#[test]
fn an_answer_kept_for_longer_waits_for_no_call_of_a_shorter_one() {
    for near in NEAR {
        let rig = two_bounds(near);
        let token = rig.server.issue();
        assert_eq!(pass(&rig.gateway, "/long", &token), "MISS");
        rig.gateway.pass_time(WHILE);
        let hold = rig.server.hold_token(&token.token);
        let mut short = rig.gateway.client();
        send(&mut short, "/short", &token.token);
        rig.server.wait_for_introspections(2);
        assert_eq!(pass(&rig.gateway, "/long", &token), "HIT");
        drop(hold);
        assert_passes(&short.read(), &token);
    }
}

#[test]
fn an_inactive_answer_ends_what_other_workers_keep_near() {
    let rig = rig(2, |builder| {
        builder.listen("reuseport").location("/now", &shown("phantom_token_cache_valid 0;"))
    });
    let token = rig.server.issue();
    let mut clients = client_of_each_worker(&rig.gateway);
    for (_, client) in &mut clients {
        assert_passes(&client.get_as("/shown", &token.token), &token);
    }
    rig.server.revoke(&token.token);
    assert_eq!(clients[0].1.get_as("/now", &token.token).status, 401);
    for (_, client) in &mut clients {
        assert_eq!(client.get_as("/shown", &token.token).status, 401);
    }
}

#[test]
fn workers_that_seldom_look_at_the_clock_share_answers_too() {
    let rig = rig(4, |builder| {
        builder
            .listen("reuseport")
            .main("timer_resolution 100ms;")
            .http("keepalive_requests 1000000;")
    });
    let mut clients = client_of_each_worker(&rig.gateway);
    // All have inherited one time, which lasts until they first look.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_200) {
        let token = rig.server.issue();
        for (_, client) in &mut clients {
            assert_passes(&client.get_as("/shown", &token.token), &token);
        }
        assert_eq!(rig.server.introspections_of(&token.token), 1);
        // Their clocks do not go at the same moment: each is the first to ask.
        clients.rotate_left(1);
    }
}

#[test]
fn each_location_has_its_own_bound() {
    for near in NEAR {
        let rig = two_bounds(near);
        let token = rig.server.issue();
        assert_eq!(pass(&rig.gateway, "/long", &token), "MISS");
        assert_eq!(pass(&rig.gateway, "/short", &token), "HIT");
        rig.gateway.pass_time(WHILE);
        assert_eq!(pass(&rig.gateway, "/long", &token), "HIT");
        assert_eq!(pass(&rig.gateway, "/short", &token), "MISS");
        assert_eq!(pass(&rig.gateway, "/short", &token), "HIT", "the new answer is kept");
        assert_eq!(pass(&rig.gateway, "/long", &token), "HIT");
        assert_eq!(rig.server.introspections(), 2);

        let other = rig.server.issue();
        assert_eq!(pass(&rig.gateway, "/short", &other), "MISS");
        rig.gateway.pass_time(WHILE);
        assert_eq!(pass(&rig.gateway, "/long", &other), "HIT", "whoever stored it");
    }
}

#[test]
fn a_location_that_keeps_nothing_leaves_what_another_keeps() {
    let rig = rig(1, |builder| builder.location("/never", &shown("phantom_token_cache_valid 0;")));
    let token = rig.server.issue();
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    assert_eq!(pass(&rig.gateway, "/never", &token), "MISS");
    assert_eq!(pass(&rig.gateway, "/never", &token), "MISS");
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    assert_eq!(rig.server.introspections(), 3);
}

#[test]
fn hits_do_not_extend_a_life() {
    for near in NEAR {
        let rig = two_bounds(near);
        let token = rig.server.issue();
        pass(&rig.gateway, "/short", &token);
        let mut hits = 0;
        while pass(&rig.gateway, "/short", &token) == "HIT" {
            hits += 1;
            assert!(hits <= 10, "{near} it never runs out");
            rig.gateway.pass_time(Duration::from_secs(10));
        }
        assert!(hits > 5, "{near} {hits}");
        assert_eq!(rig.server.introspections(), 2);
    }
}

#[test]
fn exp_is_looked_at_on_every_hit() {
    for near in NEAR {
        let rig = rig(1, |builder| builder.http(near));
        let ask = |token: &str| outcome(&rig.gateway.get_as("/shown", token));
        // A slow machine may need more than one.
        let token = wait_for("a token asked for twice in its two seconds", || {
            let token = rig.server.mint(Mint::new().expires_in(2));
            // Nothing but `exp` ends it: the server's usual answer has a max-age as well.
            rig.server.script(&token.token, Script::jwt(&token.jwt));
            (ask(&token.token) == "MISS" && ask(&token.token) == "HIT").then_some(token)
        });
        // The server would still call it active.
        wait_until("the token's end", || rig.gateway.get_as("/shown", &token.token).status == 401);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        assert!(now >= token.exp.unwrap());
        assert_eq!(rig.server.introspections_of(&token.token), 2);
    }
}

fn times(seconds: &[(&str, &str)], token: &str) -> Script {
    let script = Script::ok("application/jwt", token);
    seconds.iter().fold(script, |script, (name, value)| script.header(name, value))
}

#[test]
fn cache_control_caps_binds_or_is_ignored() {
    let rig = rig(1, |builder| {
        builder
            .location("/cap", &shown("phantom_token_cache_control cap;"))
            .location("/strict", &shown("phantom_token_cache_control strict;"))
            .location("/ignore", &shown("phantom_token_cache_control ignore;"))
    });
    const CC: &str = "Cache-Control";
    type Case = (&'static [(&'static str, &'static str)], [bool; 3]);
    // Kept under cap, strict, ignore?
    let cases: &[Case] = &[
        (&[], [true, true, true]),
        (&[(CC, "max-age=60")], [true, true, true]),
        (&[(CC, "no-store")], [true, false, true]),
        (&[(CC, "No-Store")], [true, false, true]),
        (&[(CC, "no-cache")], [true, false, true]),
        (&[(CC, "no-cache=\"Set-Cookie\"")], [true, false, true]),
        (&[(CC, "private")], [true, false, true]),
        (&[(CC, "private=\"x, no-store\"")], [true, false, true]),
        (&[(CC, "x=\"no-store, max-age=0\"")], [true, true, true]),
        (&[(CC, "no-store, max-age=0")], [true, false, true]),
        (&[(CC, "max-age=0")], [true, false, true]),
        (&[(CC, "MAX-AGE=\"0\"")], [true, false, true]),
        // Rails, of every answer.
        (&[(CC, "max-age=0, private, must-revalidate")], [true, false, true]),
        (&[(CC, "max-age=60"), (CC, "max-age=0")], [true, false, true]),
        (&[(CC, "max-age=60"), (CC, "no-store")], [true, false, true]),
        (&[(CC, "max-age=60, s-maxage=0")], [false, false, true]),
        (&[(CC, "max-age=0, s-maxage=60")], [true, true, true]),
        (&[(CC, "max-age=99999999999999999999")], [true, true, true]),
        (&[(CC, "max-age=soon")], [true, false, true]),
        (&[(CC, "max-age=1000"), ("Age", "900")], [true, true, true]),
        (&[(CC, "max-age=10"), ("Age", "10")], [false, false, true]),
        (&[(CC, "max-age=10"), ("Age", "99999999999999999999")], [false, false, true]),
        (&[(CC, "must-revalidate, max-age=60")], [true, true, true]),
    ];
    for (headers, kept) in cases {
        for (target, kept) in ["/cap", "/strict", "/ignore"].into_iter().zip(kept) {
            let token = rig.server.issue();
            rig.server.script(&token.token, times(headers, &token.jwt));
            assert_eq!(pass(&rig.gateway, target, &token), "MISS");
            let second = if *kept { "HIT" } else { "MISS" };
            assert_eq!(pass(&rig.gateway, target, &token), second, "{target} {headers:?}");
        }
    }
    let overruled: Vec<_> = rig.gateway.module_lines();
    let overruled = overruled.iter().filter(|l| l.contains("[notice]") && l.contains("overruled"));
    assert_eq!(overruled.count(), 1, "once per endpoint");
    // Why an answer is not kept, for the log.
    for (target, control, reason) in [
        ("/cap", "no-store", None),
        ("/cap", "max-age=0", None),
        ("/cap", "s-maxage=0", Some("max_age")),
        ("/strict", "max-age=0", Some("max_age")),
        ("/strict", "no-store", Some("no_store")),
        ("/strict", "no-cache", Some("no_cache")),
        ("/strict", "private", Some("private")),
    ] {
        let token = rig.server.issue();
        rig.server.script(&token.token, times(&[(CC, control)], &token.jwt));
        let response = rig.gateway.get_as(target, &token.token);
        assert_passes(&response, &token);
        assert_eq!(response.header("reason"), reason, "{target} {control}");
    }
    let uncached = &numbers(&rig.gateway)["uncached"];
    for reason in ["no_store", "no_cache", "private", "max_age"] {
        assert!(uncached[reason].as_u64().unwrap() > 0, "{reason}: {uncached}");
    }
}

#[test]
fn max_age_less_age_ends_a_life() {
    for near in NEAR {
        let rig = rig(1, |builder| builder.count_calls().http(near));
        let token = rig.server.issue();
        let headers = [("Cache-Control", "max-age=190"), ("Age", "90")];
        rig.server.script(&token.token, times(&headers, &token.jwt));
        assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        rig.gateway.pass_time(WHILE);
        assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    }
}

#[test]
fn an_inactive_answer_is_kept_for_a_time_of_its_own() {
    let rig = rig(1, |builder| {
        builder
            .count_calls()
            .location("/long", &shown("phantom_token_cache_inactive_valid 300s;"))
            .location("/short", &shown("phantom_token_cache_inactive_valid 100s;"))
            .location("/never", &shown("phantom_token_cache_inactive_valid 0;"))
    });
    let calls = |target: &str, expected: usize| {
        let response = rig.gateway.get_as(target, "unknown");
        assert_eq!((response.status, outcome(&response).as_str()), (401, "INACTIVE"));
        assert_eq!(rig.server.introspections_of("unknown"), expected, "{target}");
    };
    calls("/long", 1);
    calls("/long", 1);
    calls("/short", 1);
    calls("/never", 2);
    rig.gateway.pass_time(WHILE);
    calls("/long", 2);
    calls("/short", 3);
    calls("/short", 3);
}

#[test]
fn a_failure_is_never_kept() {
    let rig = rig(1, |builder| builder);
    let token = rig.server.issue();
    for script in [
        Script::status(500),
        Script::status(400),
        Script::ok("application/jwt", "rubbish"),
        Script::ok("application/jwt", ""),
    ] {
        rig.server.script(&token.token, script.times(1));
        assert_eq!(rig.gateway.get_as("/shown", &token.token).status, 500);
    }
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    assert_eq!(rig.server.introspections(), 5);
}
