//! Requests that wait for their introspection before the limits: their clients, bodies and workers come
//! and go as they do in the access phase.

use std::thread;

use phantom_token_test::api::digest;
use phantom_token_test::http2::{self, Http2};
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{alive, wait_until};
use phantom_token_test::{AuthorizationServer, Client, Mint, Reply, Rig};

/// A gateway whose `/api` is judged before a limit of one request a minute for each user.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    rig_with(|builder, _| change(builder))
}

fn rig_with(change: impl FnOnce(Builder, &AuthorizationServer) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        let builder = builder
            .http("limit_req_zone $phantom_token_claim_sub zone=user:1m rate=1r/m;")
            .http("limit_req_status 429;")
            .directives("phantom_token_phase preaccess;\nlimit_req zone=user;");
        change(builder, server)
    })
}

fn user(rig: &Rig, name: &str) -> String {
    rig.server.mint(Mint::new().claim("sub", name)).token
}

/// A client that asks for something with a token, and has not looked for the response.
fn ask(rig: &Rig, token: &str) -> Client {
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &format!("Bearer {token}"))], b"");
    client
}

#[test]
fn all_who_wait_for_one_answer_are_limited_by_it() {
    let rig = rig(|builder| builder);
    let token = user(&rig, "one");
    let hold = rig.server.hold();
    let mut clients: Vec<_> = (0..10).map(|_| ask(&rig, &token)).collect();
    rig.server.wait_for_introspections(1);
    drop(hold);
    let mut statuses: Vec<_> = clients.iter_mut().map(|client| client.read().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert_eq!(statuses[1..], [429; 9]);
    assert_eq!((rig.server.introspections(), rig.api.count()), (1, 1));
}

#[test]
fn who_leaves_meanwhile_costs_nothing_more() {
    let rig = rig(|builder| builder.http2());
    let (one, two) = (user(&rig, "one"), user(&rig, "two"));
    let hold = rig.server.hold();
    let client = ask(&rig, &one);
    rig.server.wait_for_introspections(1);
    drop(client);
    rig.gateway.wait_for_access("\" 499 ");

    let mut http2 = Http2::connect(rig.gateway.http2_port()).unwrap();
    let stream = http2.next_stream();
    let bearer = format!("Bearer {two}");
    http2.send(&http2::get(stream, "/api", &[("authorization", &bearer)])).unwrap();
    rig.server.wait_for_introspections(2);
    http2.send(&http2::cancel(stream)).unwrap();
    wait_until("both in the log", || {
        rig.gateway.access_log().iter().filter(|line| line.contains("\" 499 ")).count() == 2
    });
    drop(hold);
    // The answers are kept, and nobody was counted.
    for token in [&one, &two] {
        assert_eq!(rig.get_as(token).status, 200);
    }
    assert_eq!((rig.server.introspections(), rig.api.count()), (2, 2));
}

#[test]
fn a_body_waits_too() {
    let upload: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    for buffering in ["on", "off"] {
        let rig = rig(|builder| {
            builder.http("client_max_body_size 0;").directives(&format!(
                "proxy_request_buffering {buffering};\nproxy_http_version 1.1;"
            ))
        });
        for chunked in [false, true] {
            let token = user(&rig, &chunked.to_string());
            let hold = rig.server.hold();
            let before = rig.server.introspections();
            let mut client = rig.gateway.client();
            thread::scope(|scope| {
                let sent = scope.spawn(|| {
                    client.send_upload("/api", &token, &upload, chunked);
                    client.read().status
                });
                rig.server.wait_for_introspections(before + 1);
                drop(hold);
                assert_eq!(sent.join().unwrap(), 200);
            });
            assert_eq!(rig.api.last().body_digest, digest(&upload));
            // Of a limited one it is thrown away, and the connection serves on.
            client.send_upload("/api", &token, &upload, false);
            assert_eq!(client.read().status, 429);
            assert_eq!(client.get_as("/api", "unknown").status, 401);
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = rig(|builder| builder);
    let token = user(&rig, "one");
    let bearer = format!("Bearer {token}");
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    let good = client.request_bytes("GET", "/api", &[("Authorization", &bearer)], b"");
    let bad = client.request_bytes("GET", "/api", &[("Authorization", "Bearer unknown")], b"");
    client.send(&good);
    rig.server.wait_for_introspections(1);
    // While it waits more comes, and NGINX runs its phases.
    client.send(&[&bad[..], &good, &bad].concat());
    drop(hold);
    let statuses: Vec<_> = (0..4).map(|_| client.read().status).collect();
    assert_eq!(statuses, [200, 401, 429, 401]);
}

#[test]
fn a_deadline_ends_the_wait() {
    let rig = rig_with(|builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http("phantom_token_timeout 300ms;\nphantom_token_connect_timeout 300ms;")
    });
    let token = user(&rig, "one");
    let hold = rig.server.hold_token(&token);
    let mut client = rig.gateway.client();
    let bearer = format!("Bearer {token}");
    client.send_request("GET", "/api", &[("Authorization", &bearer)], b"");
    Reply::failure().assert(&client.read());
    assert!(client.is_idle());
    assert_eq!(rig.api.count(), 0);
    drop(hold);
    wait_until("an answer", || rig.get_as(&token).status == 200);
}

#[test]
fn a_reload_lets_them_end() {
    let rig = rig(|builder| builder.http("phantom_token_timeout 30m;"));
    let token = user(&rig, "one");
    let hold = rig.server.hold();
    let mut client = ask(&rig, &token);
    rig.server.wait_for_introspections(1);
    let old = rig.gateway.workers();
    rig.gateway.reload();
    drop(hold);
    assert_eq!(client.read().status, 200);
    wait_until("the old worker's end", || !alive(old[0]));
    // The zone of the limit is the same.
    assert_eq!(rig.get_as(&token).status, 429);
}

#[test]
fn a_shutdown_timeout_ends_them_cleanly() {
    let rig = rig(|builder| {
        builder.main("worker_shutdown_timeout 100ms;").http("phantom_token_timeout 30m;")
    });
    let _hold = rig.server.hold();
    let token = user(&rig, "one");
    let mut client = ask(&rig, &token);
    rig.server.wait_for_introspections(1);
    let old = rig.gateway.workers();
    rig.gateway.reload();
    assert!(client.closes(), "without a response");
    wait_until("the old worker's end", || !alive(old[0]));
    assert_eq!(rig.api.count(), 0);
}
