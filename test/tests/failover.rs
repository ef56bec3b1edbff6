//! Several endpoints, those that rest, and what must never make one rest.

use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::INTROSPECTION_PATH;
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{
    Api, AuthorizationServer, Client, Gateway, Reply, Response, Rig, Script, port,
};

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

/// A 503 of endpoints at rest; how long, in seconds.
#[track_caller]
fn assert_resting(response: &Response) -> u64 {
    let retry_after = response.header("retry-after").unwrap_or_default().to_owned();
    Reply::unavailable(&retry_after).assert(response);
    retry_after.parse().expect("a number of seconds")
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
    for n in 0..40 {
        let token = second.issue();
        // A new connection each, so that every worker has some.
        assert_eq!(rig.get_as(&token.token).status, 200, "{n}");
    }
    assert_eq!(rig.server.introspections(), 3, "it rests after three failures, not three a worker");
    assert_eq!(second.introspections(), 40);
    rig.gateway.wait_for_log(&["[warn]", "rests for 60000 ms after 3 failures in a row"]);
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
        for _ in 0..4 {
            rig.assert_passes(&rig.server.issue());
        }
        let lines = rig.gateway.module_lines();
        let failed = lines.iter().filter(|line| line.contains("[error]")).count();
        assert_eq!(failed, 2, "{first}: it rests after two: {lines:#?}");
    }
    let (rig, second) = pair(["", ""], |builder| builder);
    rig.server.script_all(Script::close());
    let token = second.issue();
    assert_eq!(rig.get_as(&token.token).status, 200);
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
fn where_all_rest_clients_are_told_for_how_long() {
    let rig = Rig::start(|builder| {
        builder
            .endpoint(&format!("{} max_fails=1 fail_timeout=50s", nowhere()))
            .endpoint(&format!("{} max_fails=1 fail_timeout=20s backup", nowhere()))
    });
    Reply::failure().assert(&rig.get_as("first"));
    let seconds = assert_resting(&rig.get_as("second"));
    assert!((1..=20).contains(&seconds), "the first to be asked again is due in {seconds} s");
    let errors = rig.gateway.module_lines().iter().filter(|l| l.contains("[error]")).count();
    assert_eq!(errors, 2, "nothing is asked while it rests");
}

/// A gateway whose only endpoint rests for a second; its server starts when that is over.
fn after_a_rest(change: impl FnOnce(Builder) -> Builder) -> Rig {
    let (port, api) = (port::free(), Api::start());
    let away = AuthorizationServer::start();
    let url = format!("http://127.0.0.1:{port}{INTROSPECTION_PATH} max_fails=1 fail_timeout=1s");
    let gateway = change(Gateway::builder().protect(&away, &api).endpoint(&url))
        .directives("phantom_token_timeout 60s;")
        .location("/pid", "return 200 $pid;")
        .start();
    Reply::failure().assert(&gateway.get_as("/api", "down"));
    wait_until("the rest", || {
        let response = gateway.get_as("/api", "resting");
        // On a slow machine it may be over: this one has begun it again.
        if response.status == 500 {
            return false;
        }
        assert_eq!(assert_resting(&response), 1);
        true
    });
    let server = AuthorizationServer::builder().port(port).start().expect("a free port");
    Rig { gateway, server, api }
}

#[test]
fn one_trial_call_decides_for_all() {
    let rig = after_a_rest(|builder| builder.workers(4));
    let (token, port) = (rig.server.issue(), rig.gateway.port());
    let hold = rig.server.hold();
    thread::scope(|scope| {
        // The first one after the rest makes the trial call; until then all are sent away.
        let trial = scope.spawn(|| {
            loop {
                let response = Client::connect(port).get_as("/api", &token.token);
                if response.status != 503 {
                    return response;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        rig.server.wait_for_introspections(1);
        for n in 0..20 {
            assert_resting(&rig.get_as(&format!("meanwhile-{n}")));
        }
        assert_eq!(rig.server.introspections(), 1);
        drop(hold);
        assert_eq!(trial.join().unwrap().status, 200);
    });
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    for _ in 0..8 {
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn a_trial_whose_worker_dies_is_taken_over() {
    let rig = after_a_rest(|builder| builder.workers(2).allow("signal 9"));
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    let worker: u32 = client.get("/pid", &[]).text().parse().unwrap();
    let mut n = 0;
    wait_until("the trial call", || {
        n += 1;
        client.send_request("GET", "/api", &[("Authorization", &format!("Bearer t-{n}"))], b"");
        let end = Instant::now() + Duration::from_millis(500);
        while client.is_idle() {
            if rig.server.introspections() == 1 || Instant::now() > end {
                return rig.server.introspections() == 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert_resting(&client.read());
        false
    });
    assert_resting(&rig.get_as("meanwhile"));
    process::signal(worker, libc::SIGKILL).unwrap();
    wait_until("another worker", || {
        let workers = rig.gateway.workers();
        workers.len() == 2 && !workers.contains(&worker)
    });
    drop(hold);
    // The trial's own deadline is a minute away: the next request makes a trial of its own.
    let token = rig.server.issue();
    wait_until("a trial call that is answered", || rig.get_as(&token.token).status == 200);
}

#[test]
fn no_flood_rests_the_only_server() {
    let rig = Rig::start(|builder| builder.workers(2));
    for (status, told) in
        [(429, 503), (500, 500), (502, 500), (503, 500), (504, 500), (400, 500), (404, 500)]
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
