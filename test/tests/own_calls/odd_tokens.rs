//! What single tokens meet refuses nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::process::wait_until;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Rig, Script};

use crate::*;

#[test]
fn one_odd_token_a_second_refuses_nobody_else() {
    for status in [401, 403] {
        let rig = rig(|builder| builder.workers(2));
        let mut passed = 0;
        for n in 0..30 {
            let odd = format!("odd-{n}");
            rig.server.script(&odd, Script::status(status));
            Reply::failure().assert(&rig.get_as(&odd));
            passed += let_in(&rig, 3);
            rig.gateway.pass_time(Duration::from_secs(1));
        }
        println!("{status}: {passed} of 90 let in, {} own calls", rig.server.own_calls());
        assert_eq!(passed, 90);
        assert_eq!(rig.server.introspections(), 120, "nobody's call was left out");
        assert_eq!(rig.gateway.metrics().sum("gate_shut", ""), 0.0);
    }
}

#[test]
fn odd_tokens_in_a_lull_refuse_nobody_else() {
    // A warm cache makes no calls: nothing has been answered for long.
    let rig = rig(|builder| builder.workers(2));
    let mut passed = 0;
    for round in 0..10 {
        rig.gateway.pass_time(Duration::from_secs(200));
        for n in 0..3 {
            let odd = format!("odd-{round}-{n}");
            rig.server.script(&odd, Script::status(403));
        }
        let three = thread::scope(|scope| {
            let ask = |n: usize| {
                let rig = &rig;
                scope.spawn(move || rig.get_as(&format!("odd-{round}-{n}")).status)
            };
            [ask(0), ask(1), ask(2)].map(|thread| thread.join().unwrap())
        });
        assert_eq!(three, [500; 3]);
        passed += let_in(&rig, 3);
    }
    println!("{passed} of 30 let in, {} own calls", rig.server.own_calls());
    assert_eq!(passed, 30);
    assert!(rig.server.own_calls() >= 1, "the server is asked");
}

#[test]
fn a_flood_of_odd_tokens_refuses_nobody_else() {
    let rig = rig(|builder| builder.workers(2));
    rig.server.script_all(Script::status(401));
    rig.server.script_own_calls(Script::status(204));
    let (end, odd) = (Instant::now() + Duration::from_secs(4), AtomicUsize::new(0));
    let (mut passed, mut asked) = (0, 0);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (rig, odd) = (&rig, &odd);
            scope.spawn(move || {
                while Instant::now() < end {
                    let mut client = rig.gateway.client();
                    for _ in 0..100 {
                        let token = format!("odd-{thread}-{}", odd.fetch_add(1, Ordering::Relaxed));
                        assert_eq!(client.get_as("/api", &token).status, 500);
                    }
                }
            });
        }
        while Instant::now() < end {
            let token = rig.server.issue();
            rig.server.script(&token.token, Script::jwt(&token.jwt));
            asked += 1;
            passed += usize::from(rig.get_as(&token.token).status == 200);
        }
    });
    println!("{passed} of {asked} let in beside {} odd tokens", odd.into_inner());
    assert_eq!(passed, asked);
}

#[test]
fn odd_tokens_keep_nobody_from_a_backup_or_from_what_ran_out() {
    let second = AuthorizationServer::start();
    let rig = Rig::with(AuthorizationServer::start(), |builder, first| {
        builder
            .count_calls()
            .endpoint(&format!("{} max_fails=0", first.introspection_url()))
            .endpoint(&format!("{} backup", second.introspection_url()))
            .directives("phantom_token_cache_stale 600s;\nphantom_token_cache_valid 10s;")
    });
    let old = rig.server.issue();
    rig.assert_passes(&old);
    rig.gateway.pass_time(Duration::from_secs(20));
    for n in 0..5 {
        let odd = format!("odd-{n}");
        rig.server.script(&odd, Script::status(401));
        Reply::failure().assert(&rig.get_as(&odd));
        let token = second.issue();
        rig.server.script(&token.token, Script::status(502));
        assert_eq!(rig.get_as(&token.token).status, 200, "the backup knows it");
        rig.server.script(&old.token, Script::status(502));
        second.script(&old.token, Script::status(502));
        rig.assert_passes(&old);
        rig.gateway.pass_time(Duration::from_secs(1));
    }
}

#[test]
fn a_location_with_an_old_secret_refuses_only_its_own() {
    let old = "phantom_token on;\nphantom_token_client_secret outdated;\ntry_files /none =204;";
    let post = "phantom_token on;\nphantom_token_client_auth post;\n\
        phantom_token_client_secret outdated;\ntry_files /none =204;";
    let rig = rig(|builder| builder.workers(2).location("/old", old).location("/post", post));
    let (mut passed, mut refused) = (0, 0);
    for n in 0..30 {
        refused += usize::from(rig.gateway.get_as("/old", &format!("a-{n}")).status == 500);
        refused += usize::from(rig.gateway.get_as("/post", &format!("b-{n}")).status == 500);
        passed += let_in(&rig, 3);
        rig.gateway.pass_time(Duration::from_millis(300));
    }
    println!("{passed} of 90 let in, {refused} of 60 refused");
    assert_eq!((passed, refused), (90, 60));
    rig.gateway.wait_for_log(&["[error]", "to the gateway's own calls too"]);
    assert_eq!(rig.gateway.metrics().sum("gate_shut", ""), 1.0);
    // Nor in a lull, where nobody else's answer keeps anything open: all of the few calls that go
    // out while a gate is shut are the others'.
    rig.gateway.pass_time(Duration::from_secs(100));
    let mut n = 0;
    wait_until("a call that is held back", || {
        n += 1;
        let token = format!("c-{n}");
        assert_eq!(rig.gateway.get_as("/old", &token).status, 500);
        rig.server.introspections_of(&token) == 0
    });
    assert_eq!(let_in(&rig, 3), 3);
}

#[test]
fn refused_credentials_are_asked_once_a_second_and_ten_calls_go_out() {
    for status in [400, 401, 403] {
        let rig = rig(|builder| builder.workers(4));
        let refusal = Script::status(status).header("Content-Type", "application/json");
        rig.server.script_all(refusal.body(r#"{"error":"invalid_client"}"#));
        wait_until("the gate shuts", || {
            Reply::failure().assert(&rig.get_as("first"));
            lines(&rig, "to the gateway's own calls too") == 1
        });
        let (begin, before) = (Instant::now(), rig.server.introspections());
        let own_before = rig.server.own_calls();
        for n in 0..60 {
            Reply::failure().assert(&rig.get_as(&format!("token-{n}")));
        }
        let seconds = begin.elapsed().as_secs() + 2;
        let asked = rig.server.introspections() - before;
        assert!(asked <= 10 * seconds, "{asked} calls in {seconds} s");
        let own = rig.server.own_calls() - own_before;
        assert!(own <= seconds, "{own} own calls in {seconds} s");
        assert_eq!(rig.api.count(), 0);
        let line = rig.gateway.wait_for_log(&["[error]", "refused this client's credentials"]);
        assert!(line.contains(&status.to_string()) && line.contains("phantom_token_client_secret"));
        assert!(line.contains("firewall"), "the other cause: {line}");
        assert!(!line.contains("basic_raw"), "encoding does not change this secret: {line}");

        // A corrected server is noticed without a client's call, and by all.
        rig.server.unscript();
        rig.gateway.wait_for_log(&["[warn]", "takes this client's credentials again"]);
        assert_eq!(let_in(&rig, 20), 20);
        assert_eq!(rig.gateway.metrics().sum("gate_shut", ""), 0.0);
    }
}

#[test]
fn a_client_s_call_opens_the_gate_for_all() {
    // A server that answers 401 to every token it does not know.
    let rig = rig(|builder| builder.workers(2));
    rig.server.script_all(Script::status(401));
    wait_until("the gate shuts", || {
        rig.get_as("odd");
        lines(&rig, "to the gateway's own calls too") == 1
    });
    let good = || {
        let token = rig.server.issue();
        rig.server.script(&token.token, Script::jwt(&token.jwt));
        token
    };
    wait_until("one of the few", || rig.get_as(&good().token).status == 200);
    // From now on for a minute, whatever single tokens and the gateway's own meet.
    for n in 0..30 {
        assert_eq!(rig.get_as(&format!("odd-{n}")).status, 500);
        rig.assert_passes(&good());
    }
    assert_eq!(rig.server.introspections_of("odd-29"), 1);
    assert_eq!(lines(&rig, "to the gateway's own calls too"), 1);
}

#[test]
fn unanswered_tokens_rest_nobody() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .count_calls()
            .workers(2)
            .endpoint(&format!("{} max_fails=3 fail_timeout=30s", server.introspection_url()))
            .directives("phantom_token_timeout 1500ms;")
    });
    let (mut passed, mut asked) = (0, 0);
    for round in 0..6 {
        let hanging = AtomicUsize::new(3);
        thread::scope(|scope| {
            for n in 0..3 {
                let (rig, hanging) = (&rig, &hanging);
                let token = format!("hangs-{round}-{n}");
                rig.server.script(&token, Script::hang());
                scope.spawn(move || {
                    assert_eq!(rig.get_as(&token).status, 500);
                    hanging.fetch_sub(1, Ordering::Relaxed);
                });
            }
            // In every other round nobody else asks meanwhile, until the server was asked.
            let before = rig.server.own_calls();
            if round % 2 == 1 {
                wait_until("an own call", || rig.server.own_calls() > before);
            }
            while round % 2 == 0 && hanging.load(Ordering::Relaxed) > 0 {
                asked += 1;
                passed += let_in(&rig, 1);
                // A client now and then, for as long as the calls hang.
                thread::sleep(Duration::from_millis(50));
            }
        });
        asked += 5;
        passed += let_in(&rig, 5);
        rig.gateway.pass_time(Duration::from_secs(2));
    }
    println!("{passed} of {asked} let in, {} own calls", rig.server.own_calls());
    assert_eq!(passed, asked);
    assert_eq!(lines(&rig, "rests for"), 0);
}

#[test]
fn a_503_to_odd_tokens_rests_neither_of_two() {
    let second = AuthorizationServer::start();
    let rig = Rig::with(AuthorizationServer::start(), |builder, first| {
        builder
            .count_calls()
            .endpoint(&first.introspection_url())
            .endpoint(&second.introspection_url())
    });
    let mut passed = 0;
    for round in 0..10 {
        for n in 0..4 {
            let odd = format!("odd-{round}-{n}");
            for server in [&rig.server, &second] {
                server.script(&odd, Script::status(503));
            }
            Reply::unavailable("1").assert(&rig.get_as(&odd));
        }
        // Also to those who come when our own calls have been answered.
        passed += let_in(&rig, 3);
        rig.gateway.pass_time(Duration::from_secs(1));
    }
    println!("{passed} of 30 let in, {} own calls", rig.server.own_calls());
    assert_eq!(passed, 30);
    assert_eq!(lines(&rig, "rests for"), 0);
}

#[test]
fn a_location_that_cannot_reach_the_server_rests_it_for_nobody_else() {
    use phantom_token_test::tls::{Identity, server_config};
    let identity = Identity::self_signed(&["localhost"]);
    let server = AuthorizationServer::builder()
        .tls(server_config(&identity, None), "localhost")
        .start()
        .unwrap();
    let api = Api::start();
    let wrong = "phantom_token on;\nphantom_token_ssl_verify on;\ntry_files /none =204;";
    let hasty = "phantom_token on;\nphantom_token_timeout 40ms;\ntry_files /none =204;";
    let gateway = Gateway::builder()
        .protect(&server, &api)
        .http("phantom_token_ssl_verify off;")
        .location("/wrong", wrong)
        .location("/hasty", hasty)
        .count_calls()
        .start();
    let rig = Rig { gateway, server, api };
    wait_until("its rest", || rig.gateway.get_as("/wrong", "a").status == 503);
    assert_eq!(let_in(&rig, 3), 3);
    assert_eq!(lines(&rig, "is up again"), 0);
    // One that waits too briefly for it: the server is there all the same.
    rig.server.set_delay(Duration::from_millis(400));
    let own = || rig.server.own_calls();
    let before = own();
    wait_until("own calls", || {
        assert_eq!(rig.gateway.get_as("/hasty", "slow").status, 500);
        own() >= before + 3
    });
    assert_eq!(let_in(&rig, 3), 3);
}
