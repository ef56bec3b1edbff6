//! The calls to the authorization server: an answer must never be taken for another token's, and
//! calls cost neither threads nor look-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phantom_token_test::process::{descriptors, threads, wait_until};
use phantom_token_test::{AuthorizationServer, Mint, Rig, Script};

fn one_thread(builder: phantom_token_test::nginx::Builder) -> phantom_token_test::nginx::Builder {
    builder.main("thread_pool phantom_token threads=1;")
}

fn response(jwt: &str) -> String {
    let length = jwt.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: {length}\r\n\r\n{jwt}"
    )
}

fn event() -> Arc<AtomicBool> {
    Arc::default()
}

#[test]
fn a_surplus_response_answers_no_other_token() {
    let rig = Rig::start(one_thread);
    let stolen = rig.server.mint(Mint::new().claim("sub", "somebody-else"));
    for round in 0..20 {
        let token = rig.server.issue();
        let script = Script::jwt(&token.jwt).surplus(response(&stolen.jwt));
        rig.server.script(
            &token.token,
            if round % 2 == 0 { script } else { script.drip(4096, Duration::ZERO) },
        );
        assert!(!rig.get_as(&token.token).text().contains(&stolen.jwt));
        rig.assert_passes(&rig.server.issue());
        let unknown = rig.get_as("unknown");
        assert_eq!(unknown.status, 401, "an unknown token is not let in by a stray answer");
    }
}

#[test]
fn a_surplus_response_that_comes_late_answers_no_other_token() {
    let rig = Rig::start(one_thread);
    let stolen = rig.server.mint(Mint::new().claim("sub", "somebody-else"));
    for _ in 0..5 {
        let token = rig.server.issue();
        let answer = response(&token.jwt);
        // The answer in one piece, the surplus in another that arrives once it has been read.
        let (read, arrived) = (event(), event());
        let script = Script::raw(answer).then_raw(&read, response(&stolen.jwt));
        rig.server.script(&token.token, script.delivered(&arrived));
        rig.get_as(&token.token);
        read.store(true, Ordering::Relaxed);
        wait_until("the surplus", || arrived.load(Ordering::Relaxed));
        rig.assert_passes(&rig.server.issue());
        assert_eq!(rig.get_as("unknown").status, 401);
    }
}

#[test]
fn an_answer_that_comes_too_late_answers_no_other_token() {
    let impatient = "phantom_token on;\nphantom_token_timeout 200ms;\ntry_files /none =204;";
    let rig = Rig::start(|builder| one_thread(builder).location("/impatient", impatient));
    for _ in 0..3 {
        let slow = rig.server.mint(Mint::new().claim("sub", "slow"));
        let (late, arrived) = (event(), event());
        rig.server.script(&slow.token, Script::jwt(&slow.jwt).after(&late).delivered(&arrived));
        assert_eq!(rig.gateway.get_as("/impatient", &slow.token).status, 500);
        late.store(true, Ordering::Relaxed);
        wait_until("the late answer", || arrived.load(Ordering::Relaxed));
        rig.assert_passes(&rig.server.issue());
        assert_eq!(rig.get_as("unknown").status, 401);
    }
}

#[test]
fn a_connection_closed_meanwhile_is_made_anew_without_a_failure() {
    let rig = Rig::start(one_thread);
    for _ in 0..10 {
        rig.assert_passes(&rig.server.issue());
        rig.server.close_connections();
    }
    assert_eq!(rig.server.introspections(), 10);
    assert!(rig.gateway.module_lines().iter().all(|line| !line.contains("[error]")));
}

#[test]
fn ten_thousand_misses_cost_neither_threads_nor_look_ups() {
    const THREADS: u64 = 4;
    // A name, so that there is something to look up.
    let server = AuthorizationServer::builder().host("localhost").start().unwrap();
    let token = server.accept_prefix("miss-", Mint::new());
    let rig = Rig::with(server, |builder, _| {
        builder.count_calls().main(&format!("thread_pool phantom_token threads={THREADS};"))
    });
    let worker = rig.gateway.workers()[0];
    let mut client = rig.gateway.client();
    let mut miss = |n: usize| {
        let response = client.get_as("/api", &format!("miss-{n}"));
        assert_eq!(response.status, 200, "{n}: {response:?}");
        if n.is_multiple_of(1000) {
            assert!(response.text().contains(&token.jwt));
            // NGINX closes a connection after a thousand requests.
            client = rig.gateway.client();
        }
    };
    (1..=500).for_each(&mut miss);
    let warm = (threads(worker), rig.gateway.calls(b't'), descriptors(worker));
    let mut most = warm.0;
    for n in 501..=10_500 {
        miss(n);
        if n.is_multiple_of(500) {
            most = most.max(threads(worker));
        }
    }
    assert_eq!(rig.server.introspections(), 10_500);
    // A thread of the pool may be the first time at work late, and dials then.
    let (started, looked_up) = (rig.gateway.calls(b't') - warm.1, rig.gateway.calls(b'd'));
    assert!(most <= warm.0 + 4, "{most} threads, {} when warm", warm.0);
    assert!(started <= 8, "{started} threads started over 10,000 misses");
    assert!(looked_up as u64 <= 2 * THREADS, "{looked_up} look-ups");
    assert!(rig.server.connections() <= 2 * THREADS, "{} connections", rig.server.connections());
    assert!(descriptors(worker) <= warm.2 + 8, "descriptors leak");
}
