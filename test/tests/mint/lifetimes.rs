//! How long a JWT is good for, and how long its entry serves.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use phantom_token_test::Script;
use serde_json::json;

use crate::support::*;

const NEAR: [&str; 2] = ["phantom_token_worker_cache 1024;", "phantom_token_worker_cache 0;"];

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_jwt_ends_with_its_token_or_with_its_own_time() {
    let rig = rig(|builder| {
        builder
            .location("/short", &shown("phantom_token_mint_valid 20s;"))
            .location(
                "/stale",
                &shown("phantom_token_cache_valid 100s;\nphantom_token_cache_stale 50s;"),
            )
            .location("/uncached", &shown("phantom_token_cache_valid 0;"))
            .location("/off", &shown("phantom_token_cache off;"))
            .location("/fraction", &shown("phantom_token_cache_valid 2500ms;"))
    });
    let soon = now() + 40;
    for (token, exp, shown, short, uncached) in [
        ("never", json!(null), 360, 20, 60),
        ("zero", json!(0), 360, 20, 60),
        ("late", json!(now() + 86_400), 360, 20, 60),
        ("digits", json!((now() + 86_400).to_string()), 360, 20, 60),
        ("soon", json!(soon), 40, 20, 40),
    ] {
        rig.server.script(token, active(&json!({ "exp": exp })));
        for (target, expected) in [
            ("/shown", shown),
            ("/short", short),
            ("/stale", shown.min(210)),
            ("/uncached", uncached),
            ("/off", shown),
            ("/fraction", shown.min(62)),
        ] {
            let claims = claims(&rig.gateway, target, token);
            let (exp, iat) = (claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap());
            if expected == 40 {
                assert_eq!(exp, soon, "{target} {token}");
            } else {
                assert_eq!(exp - iat, expected, "{target} {token}");
            }
        }
    }
}

#[test]
fn an_entry_ends_before_its_jwt_does() {
    for near in NEAR {
        let rig = rig(|builder| {
            builder
                .count_calls()
                .http(near)
                // Half of it, and a minute.
                .location("/half", &shown("phantom_token_mint_valid 100s;"))
                .location("/minute", &shown("phantom_token_mint_valid 200s;"))
                // The same JWT, in a location that keeps it for as long as it may.
                .location(
                    "/long",
                    &shown("phantom_token_mint_valid 200s;\nphantom_token_cache_valid 1000s;"),
                )
        });
        rig.server.script("opaque", active(&json!({})));
        for (target, end) in [("/half", 50), ("/minute", 140), ("/long", 140)] {
            rig.gateway.pass_time(seconds(1_000));
            let (first, outcome) = pass(&rig.gateway, target, "opaque");
            assert_eq!(outcome, "MISS", "{target} {near}");
            rig.gateway.pass_time(seconds(end - 10));
            assert_eq!(pass(&rig.gateway, target, "opaque"), (first.clone(), "HIT".to_owned()));
            rig.gateway.pass_time(seconds(11));
            let (second, outcome) = pass(&rig.gateway, target, "opaque");
            assert_eq!(outcome, "MISS", "{target} {near}");
            assert_ne!(second, first);
        }
    }
}

#[test]
fn a_jwt_that_is_over_by_the_wall_clock_goes_to_nobody() {
    for near in NEAR {
        let rig = rig(|builder| builder.own_clock().http(near));
        rig.server.script("opaque", active(&json!({})));
        let (first, _) = pass(&rig.gateway, "/shown", "opaque");
        rig.gateway.set_clock(340);
        assert_eq!(pass(&rig.gateway, "/shown", "opaque").0, first);
        rig.gateway.set_clock(361);
        let (second, outcome) = pass(&rig.gateway, "/shown", "opaque");
        assert_eq!(outcome, "MISS");
        assert_ne!(second, first);
    }
}

#[test]
fn a_stale_jwt_still_has_time_left() {
    let rig = rig(|builder| {
        builder
            .count_calls()
            .http("phantom_token_cache_valid 100s;\nphantom_token_cache_stale 100s;")
            .location("/short", &shown("phantom_token_mint_valid 200s;"))
    });
    rig.server.script("opaque", active(&json!({"exp": now() + 3600})));
    let (whole, _) = pass(&rig.gateway, "/shown", "opaque");
    let (short, _) = pass(&rig.gateway, "/short", "opaque");
    rig.server.script("opaque", Script::status(500));
    rig.gateway.pass_time(seconds(130));
    for (target, jwt) in [("/shown", &whole), ("/short", &short)] {
        assert_eq!(pass(&rig.gateway, target, "opaque"), (jwt.clone(), "STALE".to_owned()));
    }
    // 140 of 200 seconds are over: a minute is left.
    rig.gateway.pass_time(seconds(11));
    assert_eq!(pass(&rig.gateway, "/shown", "opaque"), (whole, "STALE".to_owned()));
    assert_eq!(rig.gateway.get_as("/short", "opaque").status, 500);
    rig.gateway.pass_time(seconds(60));
    assert_eq!(rig.gateway.get_as("/shown", "opaque").status, 500);
}

#[test]
fn a_token_that_does_not_say_when_it_ends_is_never_stale() {
    let rig = rig(|builder| {
        builder
            .count_calls()
            .http("phantom_token_cache_valid 100s;\nphantom_token_cache_stale 100s;")
    });
    rig.server.script("endless", active(&json!({})));
    rig.server.script("ends", active(&json!({"exp": now() + 3600})));
    let (jwt, _) = pass(&rig.gateway, "/shown", "ends");
    pass(&rig.gateway, "/shown", "endless");
    for token in ["ends", "endless"] {
        rig.server.script(token, Script::status(500));
    }
    rig.gateway.pass_time(seconds(110));
    assert_eq!(pass(&rig.gateway, "/shown", "ends"), (jwt, "STALE".to_owned()));
    // Its JWT does end, but that is the gateway's own word.
    assert_eq!(said(&rig.gateway.get_as("/shown", "endless")), (500, "ERROR", "status"));
}

/// An API that answers once `go` is sent, with a redirect to `/second`; `at` tells when it was asked.
fn redirecting(at: Sender<()>, go: Receiver<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        at.send(()).expect("the test waits");
        go.recv().expect("the test says when");
        let answer = "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /second\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("answers");
    });
    port
}

#[test]
fn a_redirected_request_goes_on_with_a_new_jwt_where_its_own_is_over() {
    let (reached, at) = channel();
    let (go, gone) = channel();
    let port = redirecting(reached, gone);
    let rig = rig(|builder| {
        builder
            .own_clock()
            .location("/first", &format!("phantom_token on;\nproxy_pass http://127.0.0.1:{port};"))
            .location("/second", &shown(""))
    });
    rig.server.script("opaque", active(&json!({})));
    let (first, _) = pass(&rig.gateway, "/shown", "opaque");
    let mut client = rig.gateway.client();
    client.send_request("GET", "/first", &[("Authorization", "Bearer opaque")], b"");
    at.recv().expect("the request reaches the API");
    rig.gateway.set_clock(361);
    go.send(()).expect("the API waits");
    let response = client.read();
    // The token is good: it is asked about anew, and not refused.
    assert_eq!(said(&response), (204, "MISS", "-"));
    let sent = response.header("sent").expect("a JWT");
    assert_ne!(sent, format!("Bearer {first}"));
    assert_eq!(rig.server.introspections_of("opaque"), 2);
}
