//! `phantom_token_cache_refresh_ahead`: what serves is asked for anew before it ends, once for all workers,
//! and nobody waits for it. Time passes when the test says so.

mod failing;
mod kept_back;
mod workers;

use std::time::Duration;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Rig, Script};

use crate::support::*;

/// An entry is good for five minutes, and asked for anew in its last hundred seconds: from 200 to 250 on.
/// Beside that what a busy machine needs itself is little. No client and no call is given up meanwhile.
const KEPT: &str = "phantom_token_cache_valid 300s;
    phantom_token_cache_refresh_ahead 100s;
    phantom_token_timeout 1h;
    keepalive_timeout 1h;
    client_header_timeout 1h;";

/// Within the window, whatever the key: forty seconds are left.
const LATE: Duration = Duration::from_secs(260);

/// To the end from there.
const REST: Duration = Duration::from_secs(50);

const SECOND: Duration = Duration::from_secs(1);

/// `/shown` asks ahead; `/plain` keeps answers as long, and does not.
fn refreshing(workers: usize, change: impl FnOnce(Builder) -> Builder) -> Rig {
    refreshing_with(workers, |builder, _| change(builder))
}

/// As [`refreshing`], with a look at the authorization server.
fn refreshing_with(
    workers: usize,
    change: impl FnOnce(Builder, &AuthorizationServer) -> Builder,
) -> Rig {
    rig_with(AuthorizationServer::start(), workers, |builder, server| {
        let builder = builder
            .count_calls()
            .listen("reuseport")
            .http(KEPT)
            .location("/plain", &shown("phantom_token_cache_refresh_ahead 0;"))
            .location("/metrics", "phantom_token_status;");
        change(builder, server)
    })
}

/// A token whose entry ends long before it does.
fn long_lived(rig: &Rig) -> Token {
    rig.server.mint(Mint::new().expires_in(86_400))
}

/// A token whose entry is about to end.
fn about_to_end(rig: &Rig) -> Token {
    let token = long_lived(rig);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    rig.gateway.pass_time(LATE);
    token
}

fn refreshes(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().get(&format!("refreshes_total{{result=\"{result}\"}}"))
}

/// Waits until so many entries have been asked for with this result.
#[track_caller]
fn wait_for_refreshes(gateway: &Gateway, result: &str, count: usize) {
    let name = format!("refreshes_total{{result=\"{result}\"}}");
    gateway.wait_for_metrics(&name, |metrics| metrics.get(&name) >= count as f64);
    assert_eq!(refreshes(gateway, result), count as f64, "{result}");
}

#[test]
fn a_hit_near_the_end_is_served_and_the_entry_replaced() {
    for near in ["phantom_token_worker_cache 1024;", "phantom_token_worker_cache 0;"] {
        let rig = refreshing(1, |builder| builder.http(near));
        let token = about_to_end(&rig);
        assert_eq!(pass(&rig.gateway, "/plain", &token), "HIT");
        assert_eq!(rig.server.introspections(), 1, "where it is off");
        // The answer is held back: nobody waits for it.
        let hold = rig.server.hold();
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        rig.server.wait_for_introspections(2);
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        drop(hold);
        wait_for_refreshes(&rig.gateway, "active", 1);
        // It begins anew, and ends anew.
        for (passed, calls) in [(0, 2), (40, 2), (140, 2), (80, 3)] {
            rig.gateway.pass_time(Duration::from_secs(passed));
            assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT", "{near}");
            rig.server.wait_for_introspections(calls);
            wait_for_refreshes(&rig.gateway, "active", calls as usize - 1);
        }
        assert_eq!(rig.server.introspections(), 3);
        let url = rig.server.introspection_url();
        let active = format!("introspections_total{{endpoint=\"{url}\",result=\"active\"}}");
        assert_eq!(rig.gateway.metrics().get(&active), 3.0, "it is a call as any other");
    }
}

#[test]
fn what_is_asked_for_once_is_asked_for_never() {
    let rig = refreshing(1, |builder| builder);
    let token = about_to_end(&rig);
    rig.gateway.pass_time(REST);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn who_comes_once_it_has_ended_joins_the_call() {
    let rig = refreshing(2, |builder| builder);
    let token = about_to_end(&rig);
    let mut clients = client_of_each_worker(&rig.gateway);
    let hold = rig.server.hold();
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    rig.server.wait_for_introspections(2);
    rig.gateway.pass_time(REST);
    for (_, client) in &mut clients {
        send(client, "/shown", &token.token);
    }
    wait_for_waiting(&rig.gateway, 2);
    drop(hold);
    for (_, client) in &mut clients {
        let response = client.read();
        assert_passes(&response, &token);
        assert_eq!(outcome(&response), "WAIT");
    }
    assert_eq!(rig.server.introspections(), 2);
    assert_eq!(refreshes(&rig.gateway, "active"), 1.0);
}

#[test]
fn entries_of_one_moment_are_asked_for_one_after_the_other() {
    const TOKENS: usize = 200;
    /// A quarter of the first half of a window of 1 000 s: what the requests themselves take is little beside it.
    const QUARTER: Duration = Duration::from_secs(125);
    let rig = refreshing(1, |builder| {
        let kept = "phantom_token_cache_valid 3000s;\nphantom_token_cache_refresh_ahead 1000s;";
        builder.location("/slow", &shown(kept))
    });
    rig.server.accept_prefix("spread-", Mint::new().expires_in(86_400));
    let all_come = |expected: &str| {
        let mut client = rig.gateway.client();
        for n in 0..TOKENS {
            let response = client.get_as("/slow", &format!("spread-{n}"));
            assert_eq!(outcome(&response), expected, "{response:?}");
        }
    };
    all_come("MISS");
    // The window's first half, quarter by quarter.
    let mut begun = Vec::new();
    rig.gateway.pass_time(15 * QUARTER);
    for _ in 0..4 {
        rig.gateway.pass_time(QUARTER);
        all_come("HIT");
        let none_pending =
            |metrics: &phantom_token_test::Metrics| metrics.get("introspections_pending") == 0.0;
        rig.gateway.wait_for_metrics("no call", none_pending);
        begun.push(rig.server.introspections() as usize - TOKENS);
    }
    rig.gateway.pass_time(QUARTER);
    all_come("HIT");
    wait_for_refreshes(&rig.gateway, "active", TOKENS);
    println!("asked for at 0, 1/4, 1/2 and 3/4 of the window's first half, of {TOKENS}: {begun:?}");
    assert!(begun[1] > 0 && begun[3] < TOKENS, "{begun:?}");
    assert!((TOKENS / 4..TOKENS * 3 / 4).contains(&begun[2]), "{begun:?}");
}

#[test]
fn calls_of_a_hot_token_in_an_hour() {
    const HOUR: usize = 3_600;
    let mut calls = Vec::new();
    let rig = rig_with(AuthorizationServer::start(), 2, |builder, _| {
        builder
            .count_calls()
            .http("phantom_token_cache_valid 300s;")
            .location("/ahead", &shown("phantom_token_cache_refresh_ahead 60s;"))
            .location("/metrics", "phantom_token_status;")
    });
    for target in ["/shown", "/ahead"] {
        let token = long_lived(&rig);
        let (mut waited, mut hits) = (0, 0);
        for _ in 0..HOUR / 10 {
            match pass(&rig.gateway, target, &token).as_str() {
                "HIT" => hits += 1,
                _ => waited += 1,
            }
            let none_pending = || numbers(&rig.gateway)["introspections_pending"].as_u64();
            phantom_token_test::process::wait_until("no call", || none_pending() == Some(0));
            rig.gateway.pass_time(10 * SECOND);
        }
        let asked = rig.server.introspections_of(&token.token);
        println!("{target}: {asked} calls an hour; {waited} requests waited, {hits} did not");
        calls.push((asked, waited));
    }
    let [(without, all_waited), (with, waited)] = calls[..] else { unreachable!() };
    assert_eq!((without, all_waited), (12, 12), "every five minutes");
    assert_eq!(waited, 1, "the first");
    assert!((13..=15).contains(&with), "every 240 to 270 seconds: {with}");
}

#[test]
fn a_bypass_that_came_meanwhile_stands() {
    let rig = refreshing(2, |builder| {
        builder
            .http("map $arg_anew $anew { default $arg_anew; }")
            .location("/anew", &shown("phantom_token_cache_bypass $anew;"))
    });
    let (token, new) = (about_to_end(&rig), rig.server.issue());
    let (old, late) = (rig.server.issue(), std::sync::Arc::default());
    rig.server.script(&token.token, Script::jwt(&old.jwt).after(&late).times(1));
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    rig.server.wait_for_introspections(2);
    rig.server.script_all(Script::jwt(&new.jwt));
    rig.gateway.pass_time(SECOND / 10);
    assert_passes(&rig.gateway.get_as("/anew?anew=1", &token.token), &new);
    late.store(true, std::sync::atomic::Ordering::Relaxed);
    wait_for_refreshes(&rig.gateway, "dropped", 1);
    for (_, mut client) in client_of_each_worker(&rig.gateway) {
        assert_passes(&client.get_as("/shown", &token.token), &new);
    }
    assert_eq!(rig.server.introspections(), 3);
}

/// Tokens, each of which is revoked at another time of its answer's life.
#[test]
fn a_revoked_token_in_use_is_gone_earlier() {
    const TOKENS: u64 = 48;
    const STEP: u64 = 5;
    let rig = rig_with(AuthorizationServer::start(), 2, |builder, _| {
        builder
            .count_calls()
            .http("phantom_token_cache_valid 300s;")
            .location("/ahead", &shown("phantom_token_cache_refresh_ahead 60s;"))
            .location("/metrics", "phantom_token_status;")
    });
    let gone_after = |target: &str| {
        let tokens: Vec<_> = (0..TOKENS).map(|_| long_lived(&rig)).collect();
        let mut gone: Vec<Option<u64>> = vec![None; tokens.len()];
        for at in (0..=305).step_by(STEP as usize) {
            let mut client = rig.gateway.client();
            for (nth, token) in tokens.iter().enumerate() {
                // All within the 240 seconds in which no answer is renewed yet.
                let revoked = 240 * nth as u64 / TOKENS / STEP * STEP;
                if at == revoked && at > 0 {
                    rig.server.revoke(&token.token);
                }
                let status = client.get_as(target, &token.token).status;
                if status == 401 && gone[nth].is_none() {
                    gone[nth] = Some(at - revoked);
                }
            }
            rig.gateway.wait_for_metrics("no call", |metrics| {
                metrics.get("introspections_pending") == 0.0
            });
            rig.gateway.pass_time(STEP as u32 * SECOND);
        }
        // Those that were revoked before the first request came never worked.
        let gone: Vec<u64> = gone.into_iter().skip(1).map(|after| after.expect("gone")).collect();
        let (most, sum) = (gone.iter().max().copied(), gone.iter().sum::<u64>());
        let mean = sum / gone.len() as u64;
        println!("{target}: a revoked token worked for {mean} s in the mean, {most:?} s at most");
        (mean, most)
    };
    let (without, with) = (gone_after("/shown"), gone_after("/ahead"));
    assert!(with.0 + 20 < without.0 && with.1 < without.1, "{without:?} {with:?}");
}

#[test]
fn each_location_renews_by_its_own_times() {
    let rig = refreshing(1, |builder| {
        builder
            .location("/short", &shown("phantom_token_cache_valid 130s;"))
            .location("/off", &shown("phantom_token_cache_refresh_ahead 0;"))
    });
    let token = long_lived(&rig);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    // A third of 130 seconds: from 87, to 109, on.
    for (passed, target, calls) in
        [(70, "/short", 1), (0, "/off", 1), (40, "/shown", 1), (0, "/off", 1), (0, "/short", 2)]
    {
        rig.gateway.pass_time(Duration::from_secs(passed));
        assert_eq!(pass(&rig.gateway, target, &token), "HIT", "{target}");
        rig.server.wait_for_introspections(calls);
        wait_for_refreshes(&rig.gateway, "active", calls as usize - 1);
    }
    rig.gateway.pass_time(110 * SECOND);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    assert_eq!(pass(&rig.gateway, "/off", &token), "HIT");
    assert_eq!(rig.server.introspections(), 2);
}
