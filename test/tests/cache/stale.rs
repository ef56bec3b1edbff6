//! `phantom_token_cache_stale`: what may serve while the authorization server cannot be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Mint, Response, Rig, Script};

use crate::support::*;

/// Past `phantom_token_cache_valid` of [`stale_rig`], and well below its `phantom_token_cache_stale`.
const RUN_OUT: Duration = Duration::from_secs(101);

/// Answers are good for a while, and stale ones for longer. Time passes when the test says so.
fn stale_rig(directives: &str) -> Rig {
    rig_with(AuthorizationServer::start(), 1, |builder, server| {
        let endpoint = format!("{} max_fails=0", server.introspection_url());
        let stale = format!("phantom_token_cache_stale 1h;\n{directives}");
        builder
            .count_calls()
            .endpoint(&endpoint)
            .http("phantom_token_cache_valid 100s;\nphantom_token_cache_inactive_valid 0;")
            .location("/stale", &shown(&stale))
            .location("/impatient", &shown(&format!("phantom_token_timeout 500ms;\n{stale}")))
            .location("/briefly", &shown("phantom_token_cache_stale 100s;"))
    })
}

/// A token whose entry has run out.
fn run_out(rig: &Rig, mint: Mint) -> Token {
    let token = rig.server.mint(mint);
    assert_eq!(pass(&rig.gateway, "/stale", &token), "MISS");
    rig.gateway.pass_time(RUN_OUT);
    token
}

fn ask(rig: &Rig, token: &Token) -> Response {
    rig.gateway.get_as("/stale", &token.token)
}

#[track_caller]
fn assert_stale(rig: &Rig, token: &Token) {
    assert_eq!(pass(&rig.gateway, "/stale", token), "STALE");
}

#[test]
fn serves_while_the_server_fails() {
    let rig = stale_rig("");
    for status in [500, 502, 503, 504, 429] {
        let token = run_out(&rig, Mint::new());
        rig.server.script(&token.token, Script::status(status));
        assert_stale(&rig, &token);
        assert_stale(&rig, &token);
        assert_eq!(rig.server.introspections_of(&token.token), 3, "{status}: asked every time");
        assert_eq!(rig.gateway.get_as("/shown", &token.token).status / 100, 5, "where it is off");
        rig.server.unscript();
        assert_eq!(pass(&rig.gateway, "/stale", &token), "MISS", "once it answers again");
        assert_eq!(pass(&rig.gateway, "/stale", &token), "HIT");
    }
    let lines = rig.gateway.module_lines();
    let warned = lines.iter().filter(|line| line.contains("[warn]") && line.contains("stale"));
    assert_eq!(warned.count(), 5, "once per token and minute");
}

/// As a server does that stops: it takes the request, and its process ends.
#[test]
fn serves_while_the_server_closes_its_connections() {
    let rig = stale_rig("");
    let part = "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: 900\r\n\r\ney";
    for script in [
        Script::raw("").then_close(),
        Script::raw("").then_reset(),
        Script::raw(&part[..30]).then_close(),
        Script::raw(part).then_close(),
        Script::raw(part).then_reset(),
    ] {
        let token = run_out(&rig, Mint::new());
        rig.server.script(&token.token, script);
        assert_stale(&rig, &token);
        assert_stale(&rig, &token);
    }
}

#[test]
fn serves_while_the_server_is_silent() {
    let rig = stale_rig("");
    let token = run_out(&rig, Mint::new());
    rig.server.script(&token.token, Script::hang());
    for _ in 0..2 {
        assert_eq!(pass(&rig.gateway, "/impatient", &token), "STALE");
    }
    rig.server.unscript();
    // Who comes while a call still runs out of time shares it.
    wait_until("the last call's end", || {
        numbers(&rig.gateway)["introspections_pending"].as_u64() == Some(0)
    });
    assert_eq!(pass(&rig.gateway, "/stale", &token), "MISS", "once it answers again");
    assert_eq!(pass(&rig.gateway, "/stale", &token), "HIT");
}

#[test]
fn serves_while_the_server_is_gone_or_rests() {
    let rig = rig_with(AuthorizationServer::start(), 1, |builder, server| {
        let endpoint = format!("{} max_fails=1 fail_timeout=600s", server.introspection_url());
        builder
            .count_calls()
            .endpoint(&endpoint)
            .http("phantom_token_cache_valid 100s;")
            .location("/stale", &shown("phantom_token_cache_stale 1h;"))
    });
    let token = run_out(&rig, Mint::new());
    let other = run_out(&rig, Mint::new());
    let Rig { gateway, server, api } = rig;
    let tokens = [&token, &other, &token];
    let (secrets, calls) = (server.secrets(), server.introspections());
    assert_eq!(calls, 2);
    secrets().iter().for_each(|secret| gateway.secret(secret));
    drop(server);
    for token in tokens {
        assert_eq!(pass(&gateway, "/stale", token), "STALE");
    }
    gateway.wait_for_log(&["[warn]", "rests for"]);
    drop((gateway, api));
}

#[test]
fn never_serves_after_an_answer() {
    let rig = stale_rig("");
    for script in [
        Script::status(400),
        Script::status(404),
        Script::status(302),
        Script::ok("application/jwt", "rubbish"),
        Script::ok("application/jwt", ""),
        Script::ok("text/html", "<p>maintenance</p>"),
        Script::status(403),
    ] {
        let token = run_out(&rig, Mint::new());
        rig.server.script(&token.token, script);
        assert_eq!(ask(&rig, &token).status, 500);
    }
}

#[test]
fn never_serves_once_a_token_was_inactive() {
    let rig = stale_rig("");
    let token = run_out(&rig, Mint::new());
    rig.server.revoke(&token.token);
    assert_eq!(ask(&rig, &token).status, 401);
    rig.server.script_all(Script::status(500));
    assert_eq!(ask(&rig, &token).status, 500, "the server has said that it is inactive");
}

#[test]
fn never_serves_what_ran_out_too_long_ago() {
    let rig = stale_rig("");
    let token = run_out(&rig, Mint::new());
    rig.server.script_all(Script::status(500));
    rig.gateway.pass_time(RUN_OUT);
    assert_eq!(rig.gateway.get_as("/briefly", &token.token).status, 500);
    assert_stale(&rig, &token);
}

#[test]
fn never_serves_past_exp_or_without_one() {
    let rig = stale_rig("");
    let endless = run_out(&rig, Mint::new().without_expiry());
    rig.server.script(&endless.token, Script::status(500));
    assert_eq!(ask(&rig, &endless).status, 500);
    let left = Duration::from_secs(100);
    let lasts = (RUN_OUT + left).as_secs() as i64;
    let token = run_out(&rig, Mint::new().expires_in(lasts));
    rig.server.script(&token.token, Script::status(500));
    assert_stale(&rig, &token);
    rig.gateway.pass_time(left);
    assert_eq!(ask(&rig, &token).status, 500);
}

#[test]
fn never_serves_what_the_server_forbids_to_keep() {
    let rig = stale_rig("phantom_token_cache_control strict;");
    for control in ["no-store", "no-cache", "max-age=60, must-revalidate"] {
        let token = rig.server.issue();
        let answer = Script::jwt(&token.jwt).header("Cache-Control", control);
        rig.server.script(&token.token, answer);
        assert_eq!(pass(&rig.gateway, "/stale", &token), "MISS");
        rig.gateway.pass_time(RUN_OUT);
        rig.server.script(&token.token, Script::status(500));
        assert_eq!(ask(&rig, &token).status, 500, "{control}");
    }
    // Kept first, and forbidden by a later answer.
    for control in ["no-store", "no-cache", "private"] {
        let token = run_out(&rig, Mint::new());
        let answer = Script::jwt(&token.jwt).header("Cache-Control", control);
        rig.server.script(&token.token, answer);
        assert_eq!(pass(&rig.gateway, "/stale", &token), "MISS");
        rig.server.script(&token.token, Script::status(500));
        assert_eq!(ask(&rig, &token).status, 500, "{control}");
    }
}

#[test]
fn a_purge_takes_stale_entries_too() {
    let rig = stale_rig("");
    let token = run_out(&rig, Mint::new());
    rig.server.script_all(Script::status(500));
    assert_stale(&rig, &token);
    assert_eq!(purge(&rig.gateway, &format!("token={}", token.token)), 204);
    assert_eq!(ask(&rig, &token).status, 500);
}

#[test]
fn never_serves_a_request_that_must_not_rely_on_what_is_kept() {
    let rig = stale_rig("phantom_token_cache_bypass $arg_anew;");
    let token = run_out(&rig, Mint::new());
    rig.server.script(&token.token, Script::status(502));
    assert_stale(&rig, &token);
    assert_eq!(rig.gateway.get_as("/stale?anew=1", &token.token).status, 500);
    assert_stale(&rig, &token);
}

#[test]
fn never_serves_after_an_inactive_answer_though_another_came_meanwhile() {
    let rig = rig_with(AuthorizationServer::start(), 1, |builder, server| {
        builder
            .count_calls()
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http("phantom_token_cache_valid 100s;\nphantom_token_cache_inactive_valid 0;")
            .http("phantom_token_timeout 600s;")
            .location("/stale", &shown("phantom_token_cache_stale 1h;"))
            .location("/other", &shown("phantom_token_introspection_header X-Tenant other;"))
    });
    let token = run_out(&rig, Mint::new());
    rig.server.revoke(&token.token);
    let late = Arc::new(AtomicBool::new(false));
    rig.server.script(&token.token, Script::status(204).after(&late).times(1));
    let mut waiting = rig.gateway.client();
    send(&mut waiting, "/stale", &token.token);
    rig.server.wait_for_introspections(2);
    // Asked as another: it counts for the token, and its own entry is another one.
    assert_eq!(rig.gateway.get_as("/other", &token.token).status, 401);
    late.store(true, Ordering::Relaxed);
    assert_eq!(waiting.read().status, 401);
    rig.server.script(&token.token, Script::status(502));
    assert_eq!(ask(&rig, &token).status, 500);
}

#[test]
fn one_line_a_minute_tells_of_all_tokens() {
    let rig = stale_rig("");
    let tokens: Vec<Token> = (0..20).map(|_| rig.server.issue()).collect();
    for token in &tokens {
        assert_eq!(pass(&rig.gateway, "/stale", token), "MISS");
    }
    rig.gateway.pass_time(RUN_OUT);
    rig.server.script_all(Script::status(500));
    for minute in 1..=2 {
        for token in &tokens {
            assert_stale(&rig, token);
        }
        let lines = rig.gateway.module_lines();
        let told: Vec<_> =
            lines.iter().filter(|line| line.contains("stale answers serve")).collect();
        assert_eq!(told.len(), minute, "{told:?}");
        assert!(told.iter().all(|line| line.contains("[warn]") && line.contains("(status)")));
        assert!(told[0].contains(&rig.server.port().to_string()), "{told:?}");
        rig.gateway.pass_time(Duration::from_secs(61));
    }
}
