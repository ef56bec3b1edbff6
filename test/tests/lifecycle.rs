//! Clients that leave, workers that come and go, and calls in flight meanwhile.

use std::thread;
use std::time::Duration;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::process::{alive, wait_until};
use phantom_token_test::{Client, Rig};

/// Clients that wait for the introspection of a token each.
fn in_flight(rig: &Rig, tokens: &[Token]) -> Vec<Client> {
    let before = rig.server.introspections();
    let clients = tokens.iter().map(|token| {
        let mut client = rig.gateway.client();
        client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
        client
    });
    let clients = clients.collect();
    rig.server.wait_for_introspections(before + tokens.len() as u64);
    clients
}

fn issue(rig: &Rig, count: usize) -> Vec<Token> {
    (0..count).map(|_| rig.server.issue()).collect()
}

#[test]
fn the_call_of_a_client_that_left_fills_the_cache() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let hold = rig.server.hold();
    drop(in_flight(&rig, std::slice::from_ref(&token)));
    rig.gateway.wait_for_access("\" 499 ");
    drop(hold);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(rig.api.count(), 1, "the request of the client that left went nowhere");
}

#[test]
fn clients_that_leave_harm_nobody() {
    let rig = Rig::start(|builder| builder.workers(2));
    let worker = rig.gateway.workers();
    for round in 0..20 {
        let tokens = issue(&rig, 8);
        let hold = rig.server.hold();
        let mut clients = in_flight(&rig, &tokens);
        // Half of them leave, before the answer, with it or after it.
        let mut stay = clients.split_off(4);
        match round % 3 {
            0 => drop(clients),
            1 => drop((hold, clients)),
            _ => {
                drop(hold);
                thread::yield_now();
                drop(clients);
            }
        }
        for client in &mut stay {
            if round % 3 != 0 {
                assert_eq!(client.read().status, 200);
            }
        }
        if round % 3 == 0 {
            drop(stay);
        }
    }
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.gateway.workers(), worker, "no worker died");
}

#[test]
fn a_reload_loses_nothing() {
    let rig = Rig::start(|builder| builder.workers(2));
    let kept = rig.server.issue();
    rig.assert_passes(&kept);
    let tokens = issue(&rig, 10);
    let hold = rig.server.hold();
    let mut clients = in_flight(&rig, &tokens);
    let old = rig.gateway.workers();
    rig.gateway.reload();
    // The new workers serve what is cached while the old ones still wait.
    rig.assert_passes(&kept);
    assert!(old.iter().any(|&pid| alive(pid)));
    drop(hold);
    for (client, token) in clients.iter_mut().zip(&tokens) {
        let response = client.read();
        assert_eq!(response.status, 200);
        assert!(response.text().contains(&token.jwt));
    }
    drop(clients);
    wait_until("the old workers' end", || old.iter().all(|&pid| !alive(pid)));
    // What the old workers fetched serves the new ones.
    for token in &tokens {
        rig.assert_passes(token);
    }
    assert_eq!(rig.server.introspections(), 11);
}

#[test]
fn a_graceful_end_loses_nothing() {
    let rig = Rig::start(|builder| builder.workers(2));
    let tokens = issue(&rig, 10);
    let hold = rig.server.hold();
    let mut clients = in_flight(&rig, &tokens);
    rig.gateway.quit();
    wait_until("the listener's end", || Client::try_connect(rig.gateway.port()).is_err());
    drop(hold);
    for client in &mut clients {
        assert_eq!(client.read().status, 200);
    }
    rig.gateway.wait_exit();
}

#[test]
fn a_graceful_end_waits_for_a_call_nobody_waits_for() {
    let rig = Rig::start(|builder| builder);
    let hold = rig.server.hold();
    drop(in_flight(&rig, &issue(&rig, 3)));
    rig.gateway.wait_for_access("\" 499 ");
    rig.gateway.quit();
    drop(hold);
    rig.gateway.wait_exit();
}

#[test]
fn a_fast_end_is_clean_with_calls_in_flight() {
    let rig = Rig::start(|builder| builder.directives("phantom_token_timeout 2s;"));
    let hold = rig.server.hold();
    let clients = in_flight(&rig, &issue(&rig, 5));
    rig.gateway.signal(libc::SIGTERM);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        drop(hold);
    });
    rig.gateway.wait_exit();
    drop(clients);
}

#[test]
fn many_reloads_under_load_lose_nothing() {
    let rig = Rig::start(|builder| builder.workers(2));
    rig.server.accept_prefix("load-", phantom_token_test::Mint::new());
    let port = rig.gateway.port();
    thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    (0..200)
                        .filter(|n| {
                            let token = format!("load-{thread}-{}", n % 50);
                            // A connection each: a worker that ends closes idle ones.
                            Client::connect(port).get_as("/api", &token).status != 200
                        })
                        .count()
                })
            })
            .collect();
        for _ in 0..3 {
            rig.gateway.reload();
        }
        let lost: usize = load.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(lost, 0);
    });
}
