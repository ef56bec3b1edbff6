//! Several endpoints, those that rest, and what must never make one rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::INTROSPECTION_PATH;
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Reply, Rig, Script, port};

/// A gateway that asks `server` first and then a second server, which knows no token of the first.
fn pair(
    parameters: [&str; 2],
    change: impl FnOnce(Builder) -> Builder,
) -> (Rig, AuthorizationServer) {
    let second = AuthorizationServer::start();
    let rig = Rig::with(AuthorizationServer::start(), |builder, first| {
        change(
            builder
                .endpoint(&format!("{} {}", first.introspection_url(), parameters[0]))
                .endpoint(&format!("{} {}", second.introspection_url(), parameters[1])),
        )
    });
    (rig, second)
}

/// A URL to introspect at where nothing listens.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}{INTROSPECTION_PATH}", port::free())
}

#[test]
fn the_first_endpoint_is_asked_while_it_answers() {
    let (rig, second) = pair(["", ""], |builder| builder);
    for _ in 0..5 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(rig.get_as("unknown").status, 401);
    assert_eq!((rig.server.introspections(), second.introspections()), (6, 0));
}

#[test]
fn a_failing_endpoint_rests_for_all_workers_and_the_next_one_answers() {
    let (rig, second) = pair(["max_fails=3 fail_timeout=60s", ""], |builder| builder.workers(4));
    rig.server.script_all(Script::status(503));
    let ask = |count| {
        for n in 0..count {
            let token = second.issue();
            // A new connection each, so that every worker has some.
            assert_eq!(rig.get_as(&token.token).status, 200, "{n}");
        }
    };
    // Three failures, not three a worker; our own call confirms them.
    ask(3);
    assert_eq!(rig.server.introspections(), 3);
    rig.gateway.wait_for_log(&["[warn]", "rests for", "3 calls in a row"]);
    let before = rig.server.introspections();
    ask(40);
    assert_eq!((rig.server.introspections(), second.introspections()), (before, before + 40));
}

#[test]
fn backups_are_asked_last() {
    let (rig, second) = pair(["backup", "max_fails=0"], |builder| builder);
    let token = second.issue();
    assert_eq!(rig.get_as(&token.token).status, 200);
    assert_eq!((rig.server.introspections(), second.introspections()), (0, 1));
    for status in [502, 503, 504] {
        second.script_all(Script::status(status));
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!((rig.server.introspections(), second.introspections()), (3, 4));
}

#[test]
fn whatever_keeps_an_endpoint_from_answering_leads_to_the_next() {
    for first in [nowhere(), nowhere().replace("http:", "https:"), "http://nobody.test/".to_owned()]
    {
        let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
            builder
                .count_calls()
                .endpoint(&format!("{first} max_fails=2 fail_timeout=600s"))
                .endpoint(&server.introspection_url())
                .directives("phantom_token_ssl_verify off;")
        });
        for _ in 0..2 {
            rig.assert_passes(&rig.server.issue());
        }
        rig.gateway.wait_for_log(&["[warn]", "rests for", "2 calls in a row"]);
        let failed = || {
            let lines = rig.gateway.module_lines();
            lines.iter().filter(|line| line.contains("[error]")).count()
        };
        let before = failed();
        for _ in 0..4 {
            rig.assert_passes(&rig.server.issue());
        }
        assert_eq!(failed(), before, "{first}: it is not asked while it rests");
    }
}

#[test]
fn an_endpoint_that_closes_before_its_answer_is_complete_rests() {
    let part = "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: 900\r\n\r\ney";
    for script in [
        Script::close(),
        Script::raw(&part[..30]).then_close(),
        Script::raw(part).then_close(),
        Script::raw(part).then_reset(),
    ] {
        let limits = ["max_fails=2 fail_timeout=600s", ""];
        let (rig, second) = pair(limits, |b| b.location("= /metrics", "phantom_token_status;"));
        rig.server.script_all(script);
        let ask = |count| {
            for _ in 0..count {
                let token = second.issue();
                assert_eq!(rig.get_as(&token.token).status, 200);
            }
        };
        ask(2);
        // Our own call meets it too.
        rig.gateway.wait_for_log(&["[warn]", "rests for", "2 calls in a row"]);
        ask(2);
        assert_eq!((rig.server.introspections(), second.introspections()), (2, 4));
        let metrics = rig.gateway.metrics();
        assert_eq!((metrics.failures("connect"), metrics.failures("answer")), (2.0, 0.0));
    }
}

#[test]
fn a_first_endpoint_that_hangs_leaves_time_for_the_second() {
    // Also where connecting alone may take as long as all of it.
    for connect in [2, 6, 30] {
        let times = format!("phantom_token_timeout 6s;\nphantom_token_connect_timeout {connect}s;");
        let (rig, second) = pair(["", ""], |builder| builder.http(&times));
        rig.server.script_all(Script::hang());
        let token = second.issue();
        assert_eq!(rig.get_as(&token.token).status, 200);
        rig.gateway.wait_for_log(&["[error]", "timed out while waiting for the answer"]);
    }
}

#[test]
fn answers_end_a_row_of_failures() {
    let (rig, second) = pair(["max_fails=3", ""], |builder| builder);
    let token = |n: usize, kind: &str| format!("{kind}-{n}");
    for n in 0..4 {
        for kind in ["bad", "worse"] {
            rig.server.script(&token(n, kind), Script::status(502));
            assert_eq!(rig.get_as(&token(n, kind)).status, 401, "the second does not know it");
        }
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!((rig.server.introspections(), second.introspections()), (12, 8));
}

#[test]
fn where_all_rest_clients_are_sent_away_and_nothing_waits() {
    let rig = Rig::start(|builder| {
        builder
            .endpoint(&format!("{} max_fails=1 fail_timeout=50s", nowhere()))
            .endpoint(&format!("{} max_fails=1 fail_timeout=20s backup", nowhere()))
    });
    wait_until("both rests", || {
        rig.get_as("first");
        rig.gateway.error_log().matches("rests for").count() == 2
    });
    let errors = || rig.gateway.module_lines().iter().filter(|l| l.contains("[error]")).count();
    let before = errors();
    for n in 0..5 {
        Reply::unavailable("1").assert(&rig.get_as(&format!("resting-{n}")));
    }
    assert_eq!(errors(), before, "nothing is asked while it rests");
}

#[test]
fn no_flood_rests_the_only_server() {
    let rig = Rig::start(|builder| builder.workers(2));
    for (status, told) in
        [(429, 503), (500, 500), (502, 500), (503, 503), (504, 500), (400, 500), (404, 500)]
    {
        for n in 0..10 {
            let token = format!("odd-{status}-{n}");
            rig.server.script(&token, Script::status(status));
            assert_eq!(rig.get_as(&token).status, told, "{status}");
            assert_eq!(rig.server.introspections_of(&token), 1, "{status}: it was asked");
        }
        rig.assert_passes(&rig.server.issue());
    }
    for n in 0..20 {
        let token = format!("odd-{n}");
        let script = [Script::ok("text/html", "x"), Script::close(), Script::jwt("a.b.c")];
        rig.server.script(&token, script[n % 3].clone());
        assert_eq!(rig.get_as(&token).status, 500);
    }
    rig.assert_passes(&rig.server.issue());
    let lines = rig.gateway.module_lines();
    assert!(!lines.iter().any(|line| line.contains("rests for")), "{lines:#?}");
}

#[test]
fn refusals_and_odd_answers_are_not_passed_on_to_the_next_endpoint() {
    let (rig, second) = pair(["max_fails=1", ""], |builder| builder);
    for status in [429, 500, 501, 400, 404, 302] {
        for n in 0..3 {
            let token = format!("odd-{status}-{n}");
            rig.server.script(&token, Script::status(status));
            assert_ne!(rig.get_as(&token).status, 200);
        }
    }
    rig.server.script("html", Script::ok("text/html", "x"));
    Reply::failure().assert(&rig.get_as("html"));
    assert_eq!(second.introspections(), 0);
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn without_max_fails_no_endpoint_rests() {
    let rig = Rig::start(|builder| builder.endpoint(&format!("{} max_fails=0", nowhere())));
    for n in 0..10 {
        Reply::failure().assert(&rig.get_as(&format!("token-{n}")));
    }
}

#[test]
fn what_waits_long_in_the_queue_rests_no_endpoint() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let hasty = "phantom_token on;\nphantom_token_timeout 3s;\ntry_files /none =204;";
        builder
            .count_calls()
            .endpoint(&format!("{} max_fails=1 fail_timeout=600s", server.introspection_url()))
            .main("thread_pool phantom_token threads=1;")
            .location("/hasty", hasty)
            .location("/metrics", "phantom_token_status;")
    });
    let blocking = rig.server.issue();
    let hold = rig.server.hold_token(&blocking.token);
    let mut first = rig.gateway.client();
    first.send_request("GET", "/api", &[("Authorization", &blocking.bearer())], b"");
    rig.server.wait_for_introspections(1);
    // One call is never begun, one with a third of its time left: the server is slow for neither.
    Reply::failure().assert(&rig.gateway.get_as("/hasty", "never-begun"));
    rig.gateway.wait_for_log(&["[error]", "was not begun in time"]);
    assert_eq!(rig.gateway.metrics().failures("timeout"), 1.0);
    rig.server.script("begun-late", Script::hang());
    let mut late = rig.gateway.client();
    late.send_request("GET", "/hasty", &[("Authorization", "Bearer begun-late")], b"");
    rig.gateway.wait_for_metrics("both requests", |m| m.get("requests_waiting") == 2.0);
    rig.gateway.pass_time(Duration::from_secs(2));
    drop(hold);
    assert_eq!(first.read().status, 200);
    Reply::failure().assert(&late.read());
    rig.gateway.wait_for_metrics("its end", |metrics| metrics.failures("timeout") == 2.0);
    assert_eq!(rig.server.introspections_of("never-begun"), 0);
    rig.assert_passes(&rig.server.issue());
    // One that has its time is another matter, where our own call is not answered either.
    rig.server.script_all(Script::hang());
    wait_until("the endpoint's rest", || {
        assert_ne!(rig.gateway.get_as("/hasty", "slow").status, 204);
        rig.gateway.error_log().contains("rests for")
    });
}

#[test]
fn a_server_that_answers_nobody_rests_however_long_the_queue_is() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=3 fail_timeout=600s", server.introspection_url()))
            .main("thread_pool phantom_token threads=1;")
            .directives("phantom_token_timeout 2s;")
    });
    rig.server.script_all(Script::hang());
    // More than the only thread can take up: but the first, all are begun late or never.
    let mut clients = Vec::new();
    wait_until("the endpoint's rest", || {
        let mut client = rig.gateway.client();
        let bearer = format!("Bearer token-{}", clients.len());
        client.send_request("GET", "/api", &[("Authorization", &bearer)], b"");
        clients.push(client);
        // Each look is one more client: not too many of them.
        thread::sleep(Duration::from_millis(100));
        rig.gateway.error_log().contains("rests for")
    });
}

#[test]
fn refused_credentials_keep_nobody_from_the_next_endpoint_while_the_first_rests() {
    let (mut rig, second) = pair(["max_fails=1 fail_timeout=600s", ""], |builder| builder);
    rig.server.script("refused", Script::status(401));
    Reply::failure().assert(&rig.get_as("refused"));
    drop(std::mem::replace(&mut rig.server, second));
    wait_until("the first endpoint's rest", || {
        let _ = rig.get_as(&rig.server.issue().token);
        rig.gateway.error_log().contains("rests for")
    });
    for _ in 0..5 {
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn refused_credentials_are_those_of_one_server() {
    let (first, second) = (AuthorizationServer::start(), AuthorizationServer::start());
    let connect = |server: &AuthorizationServer| {
        format!("http://as.test{INTROSPECTION_PATH} connect=127.0.0.1:{}", server.port())
    };
    let elsewhere = format!(
        "phantom_token on;\nphantom_token_introspection_endpoint {};\ntry_files /none =204;",
        connect(&second)
    );
    let rig = Rig::with(first, |builder, first| {
        builder.endpoint(&connect(first)).location("/elsewhere", &elsewhere)
    });
    second.script_all(Script::status(403));
    Reply::failure().assert(&rig.gateway.get_as("/elsewhere", "any"));
    for _ in 0..3 {
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn nobody_asks_the_next_endpoint_for_a_client_that_left() {
    let (rig, second) =
        pair(["", ""], |builder| builder.main("thread_pool phantom_token threads=1;"));
    let failed = Arc::new(AtomicBool::new(false));
    rig.server.script("left", Script::status(503).after(&failed));
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", "Bearer left")], b"");
    rig.server.wait_for_introspections(1);
    drop(client);
    rig.gateway.wait_for_access("\" 499 ");
    failed.store(true, Ordering::Relaxed);
    rig.gateway.wait_for_log(&["[error]", "status 503"]);
    // The only thread has done what there was to do before this one.
    rig.assert_passes(&rig.server.issue());
    assert_eq!(second.introspections(), 0);
}

#[test]
fn an_endpoint_that_rests_takes_no_share_of_the_time() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .endpoint(&format!("{} max_fails=1 fail_timeout=600s", nowhere()))
            .directives("phantom_token_timeout 4s;\nphantom_token_connect_timeout 1s;")
    });
    rig.server.script("failing", Script::status(503));
    Reply::failure().assert(&rig.get_as("failing"));
    rig.gateway.wait_for_log(&["[warn]", "rests for"]);
    // More than half of the time, and less than all of it: on a busy machine, at last.
    wait_until("an answer that takes more than half of the time", || {
        let slow = rig.server.issue();
        let script = Script::jwt(&slow.jwt).delay(Duration::from_millis(2_500));
        rig.server.script(&slow.token, script);
        rig.get_as(&slow.token).status == 200
    });
}

#[test]
fn a_flood_of_new_tokens_keeps_nobody_from_an_answer_and_rests_no_endpoint() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=3 fail_timeout=600s", server.introspection_url()))
            .main("thread_pool phantom_token threads=1;")
            .directives("phantom_token_timeout 4s;")
            .location("/metrics", "phantom_token_status;")
    });
    rig.server.set_delay(Duration::from_millis(250));
    rig.assert_passes(&rig.server.issue());
    // Four in a second can be answered, and ten times as many ask.
    let end = Instant::now() + Duration::from_secs(10);
    thread::scope(|scope| {
        for client in 0..160 {
            let rig = &rig;
            scope.spawn(move || {
                for n in 0.. {
                    let status = rig.get_as(&format!("made-up-{client}-{n}")).status;
                    assert!([401, 500].contains(&status), "{status}");
                    if Instant::now() > end {
                        break;
                    }
                }
            });
        }
    });
    assert!(!rig.gateway.error_log().contains("rests for"));
    let metrics = rig.gateway.metrics();
    let answered = metrics.requests("inactive");
    let in_vain = metrics.sum("introspections_total", "failed");
    println!("{answered} answered, {in_vain} calls in vain, of {}", metrics.failures("timeout"));
    assert!(in_vain < answered / 4.0, "{answered} answered, {in_vain} calls in vain");
}

#[test]
fn a_resting_endpoint_is_met_once_by_a_request() {
    let nobody = port::free();
    let rig = Rig::start(|builder| {
        builder
            .endpoint(&format!("http://127.0.0.1:{nobody}/ max_fails=1 fail_timeout=60s"))
            .server("error_page 503 /protected;")
            .location("/protected", "phantom_token on;\nreturn 200 \"never\\n\";")
            .location("/status", "phantom_token_status;")
    });
    assert_eq!(rig.get_as("first").status, 500);
    rig.gateway.wait_for_log(&["[warn]", "rests for"]);
    assert_eq!(rig.get_as("other").status, 503);
    let status = rig.gateway.get("/status", &[]).text();
    let resting: Vec<_> = status
        .lines()
        .filter(|line| line.contains("failures") && line.contains("resting"))
        .collect();
    assert!(resting.iter().any(|line| line.ends_with(" 1")), "{resting:?}");
}
