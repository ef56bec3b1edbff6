//! Nothing waits longer than `phantom_token_timeout`, and what nobody waits for is not sent. What a call
//! may hang in is tested in the engine (`engine/tests/client/time_limits.rs`).

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Client, Reply, Rig, Script};

const SHORT: &str = "phantom_token_timeout 300ms;";

/// Asserts a 500, and that the log says what the time ran out in: at last, for on a machine that is
/// slow it may run out in something that comes before. What is waited for here takes a minute and more.
#[track_caller]
fn assert_times_out(rig: &Rig, token: &str, words: &str) {
    wait_until(words, || {
        let before = rig.gateway.module_lines().len();
        Reply::failure().assert(&rig.get_as(token));
        // The call may end a moment after its request; and the sixth of its kind says nothing.
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            let lines = rig.gateway.module_lines();
            match lines[before..].iter().find(|line| line.contains("[error]")) {
                Some(line) => return line.contains(words),
                None if Instant::now() > end => return false,
                // Between two looks at the log.
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    });
    assert_eq!(rig.api.count(), 0);
}

fn asking(endpoint: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| {
        change(builder.endpoint(&format!("{endpoint} max_fails=0")).directives(SHORT))
    })
}

/// A listener whose queue is full: the kernel drops further handshakes. The sockets keep it so.
fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: listening again on an open listening socket changes the length of its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let mut fill = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        fill.push(socket);
        assert!(fill.len() < 100, "the queue does not fill up");
    }
    (listener, fill)
}

#[test]
fn a_black_hole() {
    let (listener, _fill) = black_hole();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let rig = asking(&endpoint, |builder| {
        // The limit for connecting alone.
        builder.directives("phantom_token_connect_timeout 100ms;").location(
            "/patient",
            "phantom_token on;\nphantom_token_timeout 60s;\n\
             phantom_token_connect_timeout 200ms;\ntry_files /none =204;",
        )
    });
    assert_times_out(&rig, "opaque", "timed out while connecting");
    let begin = Instant::now();
    Reply::failure().assert(&rig.gateway.get_as("/patient", "opaque"));
    assert!(begin.elapsed() < Duration::from_secs(50), "its own limit is a minute");
}

#[test]
fn a_resolver_that_hangs() {
    let rig = asking("http://hangs.test/", Builder::count_calls);
    for token in ["one", "two"] {
        assert_times_out(&rig, token, "timed out while resolving the host name");
    }
    assert_eq!(rig.gateway.calls(b'd'), 1, "one look-up of a name at a time");
}

#[test]
fn answers_that_never_end() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.endpoint(&format!("{} max_fails=0", server.introspection_url())).directives(SHORT)
    });
    let jwt = rig.server.issue().jwt;
    for (token, script, words) in [
        ("silent", Script::hang(), "timed out while waiting for the answer"),
        (
            "byte-by-byte",
            Script::jwt(&jwt).drip(1, Duration::from_millis(50)),
            "timed out while reading the answer",
        ),
    ] {
        rig.server.script(token, script);
        assert_times_out(&rig, token, words);
    }
}

/// Asks for `token` and leaves the answer to be read.
fn send(rig: &Rig, target: &str, token: &str) -> Client {
    let mut client = rig.gateway.client();
    client.send_request("GET", target, &[("Authorization", &format!("Bearer {token}"))], b"");
    client
}

#[test]
fn time_in_the_queue_counts_and_what_is_late_is_not_sent() {
    let rig = Rig::start(|builder| {
        builder.main("thread_pool phantom_token threads=1;").location(
            "/short",
            "phantom_token on;\nphantom_token_timeout 200ms;\ntry_files /none =204;",
        )
    });
    let first = rig.server.issue();
    let hold = rig.server.hold();
    let mut running = send(&rig, "/api", &first.token);
    rig.server.wait_for_introspections(1);
    // The only thread is at work: this one waits in the queue until its time is over.
    Reply::failure().assert(&rig.gateway.get_as("/short", "late"));
    drop(hold);
    assert_eq!(running.read().status, 200);
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.server.introspections_of("late"), 0);
}

#[test]
fn one_that_times_out_costs_those_after_it_no_answer() {
    let rig = Rig::start(|builder| {
        builder
            .count_calls()
            .main("thread_pool phantom_token threads=1;")
            .http("phantom_token_timeout 5s;")
            .location("/metrics", "phantom_token_status;")
    });
    rig.assert_passes(&rig.server.issue());
    rig.server.script("odd", Script::hang());
    Reply::failure().assert(&rig.get_as("odd"));
    // The only thread is at work until these have waited for some of their five seconds: less is
    // left than that one waited in vain, and far more than an answer takes.
    let (held, tokens) = (rig.server.issue(), [(); 6].map(|()| rig.server.issue()));
    let hold = rig.server.hold_token(&held.token);
    let mut running = send(&rig, "/api", &held.token);
    rig.server.wait_for_introspections(3);
    let mut queued: Vec<_> = tokens.iter().map(|token| send(&rig, "/api", &token.token)).collect();
    rig.gateway.wait_for_metrics("six in the queue", |m| m.get("introspections_pending") == 7.0);
    rig.gateway.pass_time(Duration::from_secs(2));
    drop(hold);
    assert_eq!(running.read().status, 200);
    for client in &mut queued {
        assert_eq!(client.read().status, 200);
    }
}

#[test]
fn what_nobody_waits_for_any_more_is_not_sent() {
    let rig = Rig::start(|builder| builder.main("thread_pool phantom_token threads=1;"));
    let first = rig.server.issue();
    let hold = rig.server.hold();
    let mut running = send(&rig, "/api", &first.token);
    rig.server.wait_for_introspections(1);
    drop(send(&rig, "/api?gone", "unwanted"));
    rig.gateway.wait_for_access("/api?gone");
    drop(hold);
    assert_eq!(running.read().status, 200);
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.server.introspections_of("unwanted"), 0);
    // Asked for again, it is asked for.
    assert_eq!(rig.get_as("unwanted").status, 401);
}

#[test]
fn a_call_that_was_sent_is_used_though_its_client_has_gone() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let client = send(&rig, "/api?gone", &token.token);
    rig.server.wait_for_introspections(1);
    drop(client);
    rig.gateway.wait_for_access("/api?gone");
    drop(hold);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections(), 1);
}

/// Fills what there is room for with two calls that are held back, and asks for a third.
fn overflow(change: impl FnOnce(Builder) -> Builder, words: &str) {
    let status = "phantom_token_status prometheus;";
    let rig = Rig::start(|builder| change(builder.location("/status", status)));
    let hit = rig.server.issue();
    rig.assert_passes(&hit);
    let (one, two) = (rig.server.issue(), rig.server.issue());
    let hold = rig.server.hold();
    let mut first = send(&rig, "/api", &one.token);
    rig.server.wait_for_introspections(2);
    let mut second = send(&rig, "/api", &two.token);
    // Until the second has its place, the third would take it.
    wait_until("the second call's place", || {
        let status = rig.gateway.get("/status", &[]).text();
        status.lines().any(|line| line == "phantom_token_introspections_pending 2")
    });
    let mut probe = rig.gateway.client();
    for n in 0..5 {
        let response = probe.get_as("/api", &format!("beyond-{n}"));
        Reply::unavailable("1").assert(&response);
        assert_eq!(rig.server.introspections_of(&format!("beyond-{n}")), 0);
        rig.assert_passes(&hit);
    }
    rig.gateway.wait_for_log(&["[error]", words]);
    drop(hold);
    assert_eq!(first.read().status, 200);
    assert_eq!(second.read().status, 200);
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.server.introspections_of("beyond-0"), 0);
}

#[test]
fn a_full_queue_sends_clients_away_and_hits_go_on() {
    overflow(
        |builder| builder.main("thread_pool phantom_token threads=1 max_queue=1;"),
        "queue overflow",
    );
}

#[test]
fn too_many_calls_send_clients_away_and_hits_go_on() {
    overflow(
        |builder| builder.http("phantom_token_max_pending 2;"),
        "too many introspection calls are pending",
    );
}
