//! The connections to the authorization server that a worker keeps: shared by its pool's threads,
//! and no more than calls at a time.

use std::thread;
use std::time::Duration;

use phantom_token_test::process::{descriptors, signal, wait_for, wait_until};
use phantom_token_test::tls::{Authority, server_config};
use phantom_token_test::{AuthorizationServer, Mint, Rig};

/// Lets all tokens that begin with `miss-` in, so that each is a miss of its own.
fn accept_misses(server: &AuthorizationServer) {
    server.accept_prefix("miss-", Mint::new());
}

fn miss(rig: &Rig, name: &str) {
    let response = rig.get_as(&format!("miss-{name}"));
    assert_eq!(response.status, 200, "{name}: {response:?}");
}

#[test]
fn one_call_a_second_uses_one_connection() {
    let rig = Rig::start(|builder| builder.count_calls());
    accept_misses(&rig.server);
    for second in 0..60 {
        miss(&rig, &second.to_string());
        rig.gateway.pass_time(Duration::from_secs(1));
    }
    assert_eq!((rig.server.introspections(), rig.server.connections()), (60, 1));
}

#[test]
fn a_hundred_calls_over_tls_make_one_handshake() {
    let ca = Authority::generate();
    let config = server_config(&ca.server(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let rig = Rig::with(server, |builder, _| {
        let trusted = "phantom_token_ssl_trusted_certificate ca.pem;";
        builder.file("ca.pem", ca.certificate.as_str()).http(trusted)
    });
    accept_misses(&rig.server);
    for n in 0..100 {
        miss(&rig, &n.to_string());
    }
    assert_eq!((rig.server.introspections(), rig.server.connections()), (100, 1));
}

#[test]
fn sixteen_calls_at_a_time_use_sixteen_connections_at_most() {
    let rig = Rig::start(|builder| builder);
    accept_misses(&rig.server);
    rig.server.set_delay(Duration::from_millis(2));
    thread::scope(|scope| {
        for client in 0..16 {
            let rig = &rig;
            scope.spawn(move || {
                (0..20).for_each(|n| miss(rig, &format!("{client}-{n}")));
            });
        }
    });
    assert_eq!(rig.server.introspections(), 320);
    assert!(rig.server.connections() <= 16, "{} connections", rig.server.connections());
}

#[test]
fn each_worker_keeps_its_own() {
    let rig = Rig::start(|builder| builder.allow("exited on signal 9"));
    accept_misses(&rig.server);
    for expected in 1..=2 {
        miss(&rig, &format!("first-{expected}"));
        miss(&rig, &format!("second-{expected}"));
        assert_eq!(rig.server.connections(), expected);
        let worker = rig.gateway.workers()[0];
        signal(worker, libc::SIGKILL).unwrap();
        wait_until("another worker", || {
            let workers = rig.gateway.workers();
            !workers.is_empty() && !workers.contains(&worker)
        });
        // The kernel closes the dead worker's; the new one has inherited none.
        wait_until("the connection's end", || rig.server.open_connections() == 0);
    }
}

#[test]
fn idle_ones_are_closed_after_a_minute() {
    let rig = Rig::start(|builder| builder.count_calls());
    accept_misses(&rig.server);
    miss(&rig, "one");
    assert_eq!(rig.server.open_connections(), 1);
    let later = |seconds| {
        rig.gateway.pass_time(Duration::from_secs(seconds));
        // A timer that has passed is seen when something else happens.
        rig.gateway.get("/", &[]);
    };
    later(40);
    miss(&rig, "two");
    later(40);
    later(10);
    assert_eq!((rig.server.open_connections(), rig.server.connections()), (1, 1));
    later(30);
    wait_until("the connection's end", || {
        rig.gateway.get("/", &[]);
        rig.server.open_connections() == 0
    });
    assert_eq!((rig.server.introspections(), rig.server.connections()), (2, 1));
}

#[test]
fn those_the_server_has_closed_are_let_go_without_a_call() {
    let rig = Rig::start(|builder| builder.count_calls());
    let worker = rig.gateway.workers()[0];
    accept_misses(&rig.server);
    // The upstream's connection is none of ours.
    rig.gateway.get("/", &[]);
    miss(&rig, "one");
    let before = descriptors(worker);
    rig.server.close_connections();
    rig.gateway.pass_time(Duration::from_secs(10));
    wait_until("the descriptor's end", || {
        rig.gateway.get("/", &[]);
        descriptors(worker) < before
    });
}

#[test]
fn the_numbers_show_them() {
    let rig = Rig::start(|builder| {
        builder
            .workers(2)
            .listen("reuseport")
            .count_calls()
            .allow("exited on signal 9")
            .location("= /metrics", "phantom_token_status;")
            .location("= /worker", "return 200 $pid;")
    });
    accept_misses(&rig.server);
    let shown = |idle: usize, busy: usize| {
        rig.gateway.wait_for_metrics(&format!("{idle} idle, {busy} busy"), |metrics| {
            (metrics.connections("idle"), metrics.connections("busy")) == (idle as f64, busy as f64)
        });
    };
    shown(0, 0);
    let workers = rig.gateway.workers();
    let [mut first, mut second] = [0, 1].map(|n| {
        let mut client = wait_for("a connection to a worker", || {
            let mut client = rig.gateway.client();
            (client.get("/worker", &[]).text() == workers[n].to_string()).then_some(client)
        });
        assert_eq!(client.get_as("/api", &format!("miss-{n}")).status, 200);
        client
    });
    shown(2, 0);
    let hold = rig.server.hold();
    for (client, bearer) in [(&mut first, "Bearer miss-held"), (&mut second, "Bearer miss-too")] {
        client.send_request("GET", "/api", &[("Authorization", bearer)], b"");
    }
    shown(0, 2);
    // One worker is killed: its share is gone, though it could not say so.
    signal(workers[0], libc::SIGKILL).unwrap();
    shown(0, 1);
    drop(hold);
    shown(1, 0);
    rig.server.close_connections();
    rig.gateway.pass_time(Duration::from_secs(10));
    shown(0, 0);
}
