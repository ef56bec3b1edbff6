//! Clocks that differ by an hour, and one that is set forth and back under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::load::Over;
use phantom_token_test::process::{wait_for, wait_until};
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{AuthorizationServer, Mint, Reply, Rig, Script};

use crate::support::*;

const HOUR: i64 = 3_600;

fn own_clock(directives: &str) -> Rig {
    rig(|builder| {
        builder
            .own_clock()
            .directives(directives)
            .location("/status", "phantom_token_status prometheus;")
    })
}

/// The gateway's clock is read once in each turn of its event loop.
fn set_clock(rig: &Rig, ahead: i64) {
    rig.gateway.set_clock(ahead);
    // A request of another kind: when it is answered, the clock has been read.
    assert_eq!(rig.gateway.get("/status", &[]).status, 200);
}

#[test]
fn a_gateway_an_hour_ahead_lets_no_token_live_longer() {
    let rig = own_clock("phantom_token_cache_inactive_valid 0;");
    set_clock(&rig, HOUR);
    let short = rig.server.mint(Mint::new().expires_in(300));
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as(&short.token));
    let line = rig.gateway.wait_for_log(&["[warn]", "check both clocks"]);
    let (_, ago) = line.split_once("that expired ").expect("how long ago");
    let ago: i64 = ago.split(' ').next().and_then(|ago| ago.parse().ok()).expect("a number");
    // And what a slow machine takes from the token's birth on.
    assert!((HOUR - 300..=HOUR - 240).contains(&ago), "{line}");
    rig.assert_passes(&rig.server.mint(Mint::new().expires_in(HOUR + 300)));
    rig.assert_passes(&rig.server.mint(Mint::new().without_expiry()));
    // Set right, it believes the server again.
    set_clock(&rig, 0);
    rig.assert_passes(&short);
}

#[test]
fn a_gateway_an_hour_behind_believes_the_server() {
    let rig = own_clock("phantom_token_cache_inactive_valid 0;");
    set_clock(&rig, -HOUR);
    rig.assert_passes(&rig.server.issue());
    // Revoked, and expired in the server's eyes.
    assert_eq!(rig.get_as("unknown").status, 401);
    // What the server calls active is active until the gateway's own clock says otherwise.
    rig.assert_passes(&rig.server.mint(Mint::new().expires_in(-100)));
    rig.server.mint(Mint::new().expires_in(-HOUR - 100).token("long-past"));
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as("long-past"));
}

#[test]
fn a_kept_answer_ends_with_its_token_wherever_the_clock_is_set() {
    let rig = own_clock("phantom_token_cache_valid 1h;\nphantom_token_cache_inactive_valid 0;");
    let token = rig.server.issue();
    let calls = |rig: &Rig| rig.server.introspections_of(&token.token);
    rig.assert_passes(&token);
    rig.assert_passes(&token);
    assert_eq!(calls(&rig), 1);
    // Forth: it has run out, as far as anyone here can tell.
    set_clock(&rig, HOUR);
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as(&token.token));
    assert_eq!(calls(&rig), 2);
    // And back: the server is believed again.
    set_clock(&rig, 0);
    rig.assert_passes(&token);
    assert_eq!(calls(&rig), 3);

    // A token that has two seconds left when it is asked for: set back by an hour, the clock gives
    // it none. Nothing but its `exp` ends what is kept.
    let short = wait_for("a token asked for in time", || {
        let short = rig.server.mint(Mint::new().expires_in(2));
        rig.server.script(&short.token, Script::jwt(&short.jwt));
        let response = rig.get_as(&short.token);
        (response.status == 200).then_some(short)
    });
    set_clock(&rig, -HOUR);
    rig.server.script(&short.token, Script::status(204));
    wait_until("the end of what is kept", || {
        let response = rig.get_as(&short.token);
        assert!(response.status == 200 || response.status == 401, "{response:?}");
        response.status == 401
    });
    assert_eq!(rig.server.introspections_of(&short.token), 2);
}

#[test]
fn a_stale_answer_ends_with_its_token_wherever_the_clock_is_set() {
    let rig = own_clock(
        "phantom_token_cache_valid 1ms;\nphantom_token_cache_stale 1h;\n\
         phantom_token_cache_inactive_valid 0;",
    );
    let (short, begun) = wait_for("a token asked for in time", || {
        let begun = Instant::now();
        let short = rig.server.mint(Mint::new().expires_in(3));
        rig.server.script(&short.token, Script::jwt(&short.jwt));
        (rig.get_as(&short.token).status == 200).then_some((short, begun))
    });
    set_clock(&rig, -HOUR);
    rig.server.script(&short.token, Script::status(502));
    let mut stale = 0;
    wait_until("the end of the token", || {
        let response = rig.get_as(&short.token);
        if passes(&response, &short.jwt) {
            stale += 1;
            return false;
        }
        true
    });
    // It did serve, where this machine was fast enough to see it.
    assert!(stale > 0 || begun.elapsed() >= Duration::from_secs(2), "no stale answer");
    Reply::failure().assert(&rig.get_as(&short.token));
}

#[test]
fn lifetimes_are_counted_on_a_clock_that_nobody_sets() {
    let rig = rig(|builder| {
        builder
            .own_clock()
            .location("/status", "phantom_token_status prometheus;")
            .directives("phantom_token_cache_valid 1s;")
    });
    // Kept for a second: neither an hour back nor one ahead changes that.
    for ahead in [-HOUR, HOUR] {
        let token = rig.server.mint(Mint::new().expires_in(24 * HOUR));
        let begun = Instant::now();
        rig.assert_passes(&token);
        set_clock(&rig, ahead);
        rig.assert_passes(&token);
        let calls = rig.server.introspections_of(&token.token);
        assert!(calls == 1 || begun.elapsed() >= Duration::from_secs(1), "still kept");
        wait_until("the end of its second", || {
            rig.assert_passes(&token);
            rig.server.introspections_of(&token.token) >= 2
        });
        set_clock(&rig, 0);
    }
}

#[test]
fn a_rest_ends_with_the_server_s_return_wherever_the_clock_is_set() {
    for ahead in [-HOUR, HOUR] {
        let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
            let url = server.introspection_url();
            builder
                .own_clock()
                .endpoint(&format!("{url} max_fails=1 fail_timeout=1s"))
                .location("/status", "phantom_token_status prometheus;")
        });
        rig.server.stop();
        let begun = Instant::now();
        wait_until("the rest", || {
            assert!([500, 503].contains(&rig.get_as("unreachable").status));
            rig.gateway.error_log().contains("rests for")
        });
        set_clock(&rig, ahead);
        let token = rig.server.mint(Mint::new().without_expiry());
        let response = rig.get_as(&token.token);
        // It lasts a second: on a busy machine it may be over.
        if response.status != 500 || begun.elapsed() < Duration::from_secs(1) {
            Reply::unavailable("1").assert(&response);
        }
        rig.server.resume().unwrap();
        wait_until("the end of the rest", || rig.get_as(&token.token).status == 200);
        assert_eq!(rig.server.introspections_of(&token.token), 1);
    }
}

#[test]
fn a_clock_set_under_load_gives_nobody_anothers_jwt() {
    let rig = own_clock(
        "phantom_token_cache_valid 50ms;\nphantom_token_cache_inactive_valid 20ms;\n\
         keepalive_requests 1000000;",
    );
    let tokens: Vec<_> = (0..20).map(|_| rig.server.issue()).collect();
    let over = AtomicBool::new(false);
    let (let_in, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let load = || {
        let mut client = rig.gateway.client();
        for token in tokens.iter().cycle() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let response = client.get_as("/api", &token.token);
            if response.status == 200 {
                assert!(response.text().contains(&token.jwt), "another's JWT");
                let_in.fetch_add(1, Ordering::Relaxed);
            } else {
                // An hour ahead, the token has run out.
                Reply::unauthorized(INVALID_TOKEN).assert(&response);
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let answered = || let_in.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let over = Over(&over);
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        for jump in 0..40 {
            rig.gateway.set_clock([HOUR, 0, -HOUR, 0][jump % 4]);
            let goal = answered() + 30;
            wait_until("answers", || {
                answered() >= goal || clients.iter().any(|client| client.is_finished())
            });
        }
        drop(over);
    });
    let jwts: Vec<_> = tokens.iter().map(|token| token.jwt.clone()).collect();
    assert_received(&rig.api, &jwts);
    println!(
        "40 jumps of the clock, {} requests: {} let in with their own JWT, {} refused as expired",
        answered(),
        let_in.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed),
    );
    assert!(refused.into_inner() > 0);
}
