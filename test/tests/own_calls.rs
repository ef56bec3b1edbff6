//! The server is asked, not guessed at: what single tokens meet refuses nobody else, and what is
//! true of the server is found out by calls of the gateway's own.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::{Hold, INTROSPECTION_PATH};
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Rig, Script, port};

const SHOWN: &str = "phantom_token_status;";

/// A gateway whose clock can be set.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.count_calls().location("= /metrics", SHOWN)))
}

/// New tokens, all good, one after the other: how many were let in.
fn let_in(rig: &Rig, count: usize) -> usize {
    (0..count).filter(|_| rig.get_as(&rig.server.issue().token).status == 200).count()
}

fn lines(rig: &Rig, text: &str) -> usize {
    rig.gateway.module_lines().iter().filter(|line| line.contains(text)).count()
}

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

/// Puts the only endpoint to rest by stopping its server.
fn stop(rig: &Rig) {
    rig.server.stop();
    wait_until("the rest", || {
        let status = rig.get_as("down").status;
        assert!([500, 503].contains(&status), "{status}");
        rig.gateway.error_log().contains("rests for")
    });
    Reply::unavailable("1").assert(&rig.get_as("resting"));
}

#[test]
fn a_restart_ends_with_the_server_s_return() {
    let rig = rig(|builder| builder.workers(4));
    rig.assert_passes(&rig.server.issue());
    let begun = Instant::now();
    stop(&rig);
    rig.server.resume().unwrap();
    // Nobody asks but the gateway.
    let back = Instant::now();
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    println!("away for {:.1?}, noticed after {:.1?}", back - begun, back.elapsed());
    assert_eq!(let_in(&rig, 8), 8);
    assert_eq!(lines(&rig, "is up again"), 1);
}

#[test]
fn a_starting_server_is_up_once_it_answers() {
    let rig = rig(|builder| builder.workers(2));
    stop(&rig);
    let starting = Script::status(503).header("Retry-After", "7");
    rig.server.script_all(starting.clone());
    rig.server.resume().unwrap();
    let before = rig.server.own_calls();
    wait_until("own calls", || rig.server.own_calls() >= before + 3);
    for n in 0..5 {
        Reply::unavailable("1").assert(&rig.get_as(&format!("early-{n}")));
    }
    assert_eq!(lines(&rig, "is up again"), 0);
    rig.server.unscript();
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    assert_eq!(let_in(&rig, 8), 8);

    // One that sheds its load begins no rest where it is the only one.
    rig.server.script_all(starting);
    for n in 0..20 {
        Reply::unavailable("7").assert(&rig.get_as(&format!("shed-{n}")));
    }
    rig.server.unscript();
    assert_eq!(let_in(&rig, 8), 8);
    assert_eq!((lines(&rig, "rests for"), lines(&rig, "is up again")), (1, 1));
}

#[test]
fn what_a_client_chose_is_in_no_own_call_that_decides_for_others() {
    let rig = rig(|builder| {
        builder.directives(
            "phantom_token_introspection_header X-Trace $http_x_trace nokey;\n\
             phantom_token_introspection_header X-Key of-the-gateway nokey;\n\
             phantom_token_introspection_param tenant $http_x_tenant;",
        )
    });
    let ask = |tenant: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", &*bearer), ("X-Tenant", tenant), ("X-Trace", "evil")];
        rig.gateway.get("/api", &headers).status
    };
    // A tenant that the server refuses, to our own calls too.
    rig.server.script("odd", Script::status(403));
    rig.server.script_own_calls(Script::status(403));
    wait_until("its gate shuts", || {
        assert_eq!(ask("mallory", "odd"), 500);
        lines(&rig, "to the gateway's own calls too") == 1
    });
    for _ in 0..20 {
        assert_eq!(ask("alice", &rig.server.issue().token), 200, "another tenant's is its own");
    }
    let seen = rig.server.own_seen();
    let own = seen.last().expect("an own call");
    assert_eq!(own.head.headers.get("x-trace"), None);
    assert_eq!(own.head.headers.get("x-key"), Some("of-the-gateway"));
    assert!(String::from_utf8_lossy(&own.body).ends_with("&tenant=mallory"));
    assert!(own.head.headers.get("authorization").is_some());
}

#[test]
fn whether_the_server_is_there_is_asked_without_a_client_s_values() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.endpoint(&format!("{} max_fails=2", server.introspection_url())).directives(
            "phantom_token_introspection_param tenant $http_x_tenant;\n\
                 phantom_token_timeout 1s;",
        )
    });
    for n in 0..2 {
        let token = format!("hangs-{n}");
        rig.server.script(&token, Script::hang());
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", &*bearer), ("X-Tenant", "mallory")];
        assert_eq!(rig.gateway.get("/api", &headers).status, 500);
    }
    wait_until("an own call", || rig.server.own_calls() > 0);
    assert!(String::from_utf8_lossy(&rig.server.own_seen()[0].body).ends_with("&tenant="));
    assert_eq!(let_in(&rig, 3), 3);
    assert_eq!(lines(&rig, "rests for"), 0);
}

#[test]
fn what_a_client_s_values_meet_rests_nobody() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=2 fail_timeout=600s", server.introspection_url()))
            .directives("phantom_token_introspection_param tenant $http_x_tenant;")
            .location("= /metrics", SHOWN)
    });
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", &*bearer), ("X-Tenant", "mallory")];
        assert_eq!(rig.gateway.get("/api", &headers).status, 500);
    };
    // The server does not answer our own call with that value either, and other tokens of the same
    // client's put the server in doubt meanwhile.
    let in_doubt = Arc::new(AtomicBool::new(false));
    rig.server.script_own_calls_with("mallory", Script::close().after(&in_doubt));
    rig.server.script("odd", Script::status(401));
    ask("odd");
    wait_until("an own call", || rig.server.own_calls() == 1);
    for n in 0..2 {
        let token = format!("closes-{n}");
        rig.server.script(&token, Script::close());
        ask(&token);
    }
    in_doubt.store(true, Ordering::Relaxed);
    for result in ["failed", "good"] {
        rig.gateway.wait_for_metrics("an own call's end", |metrics| {
            metrics.sum("own_calls_total", result) >= 1.0
        });
    }
    assert_eq!(let_in(&rig, 3), 3);
    assert_eq!(lines(&rig, "rests for"), 0);
}

#[test]
fn what_a_client_s_values_meet_delays_no_call_that_is_for_all() {
    let rig = rig(|builder| {
        builder.directives(
            "phantom_token_introspection_param tenant $http_x_tenant;\nphantom_token_timeout 2s;",
        )
    });
    // Sixteen gates in doubt, and our own calls about them are not answered.
    rig.server.script("odd", Script::status(401));
    for n in 0..16 {
        let tenant = format!("mallory-{n}");
        rig.server.script_own_calls_with(&tenant, Script::hang());
        let headers = [("Authorization", "Bearer odd"), ("X-Tenant", &*tenant)];
        assert_eq!(rig.gateway.get("/api", &headers).status, 500);
    }
    stop(&rig);
    // One was out, and one may have begun before the server was in doubt: the others wait.
    let failed = rig.gateway.metrics().sum("own_calls_total", "failed");
    assert!(failed <= 4.0, "{failed} own calls before the rest");
    let before = rig.server.own_seen().len();
    rig.server.resume().unwrap();
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    let first = &rig.server.own_seen()[before];
    assert!(String::from_utf8_lossy(&first.body).ends_with("&tenant="));
    assert_eq!(let_in(&rig, 3), 3);
}

#[test]
fn tokens_of_own_calls_are_random_and_kept_nowhere() {
    let rig = rig(|builder| builder);
    rig.server.script_all(Script::status(401));
    wait_until("own calls", || {
        rig.get_as("odd");
        rig.server.own_calls() >= 3
    });
    let mut tokens: Vec<_> = rig.server.own_seen().into_iter().map(|seen| seen.token).collect();
    let count = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), count);
    assert!(tokens.iter().all(|token| token.len() == 43));
    let metrics = rig.gateway.metrics();
    assert_eq!(metrics.get("cache_entries{zone=\"phantom_token\",kind=\"inactive\"}"), 0.0);
    // Counted nowhere else.
    let url = rig.server.introspection_url();
    let own = format!("own_calls_total{{endpoint=\"{url}\",result=\"refused\"}}");
    assert!(metrics.get(&own) >= 2.0);
    let calls = metrics.sum("introspections_total", "");
    assert!(calls <= rig.server.introspections() as f64);
    assert_eq!(calls, metrics.get("introspection_duration_seconds_count"));
}

#[test]
fn without_max_fails_nobody_is_asked() {
    let url = format!("http://127.0.0.1:{}{INTROSPECTION_PATH} max_fails=0", port::free());
    let rig = rig(|builder| builder.endpoint(&url));
    for n in 0..10 {
        Reply::failure().assert(&rig.get_as(&format!("token-{n}")));
    }
    assert_eq!(rig.gateway.metrics().sum("own_calls_total", ""), 0.0);
}

#[test]
fn a_worker_killed_in_the_middle_of_an_own_call_is_replaced() {
    let rig =
        rig(|builder| builder.workers(2).allow("signal 9").location("= /pid", "return 200 $pid;"));
    stop(&rig);
    let hold = rig.server.hold();
    rig.server.resume().unwrap();
    // Each in its turn, the new ones too, which find the rest when they begin.
    for n in 1..=3 {
        let before = rig.server.own_calls();
        wait_until("an own call", || rig.server.own_calls() > before || before >= n);
        let workers = rig.gateway.workers();
        for worker in workers {
            process::signal(worker, libc::SIGKILL).unwrap();
        }
        wait_until("new workers", || rig.gateway.workers().len() == 2);
    }
    drop(hold);
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    assert_eq!(let_in(&rig, 8), 8);
}

/// A gateway whose only endpoint rests, and an own call to it that is not answered.
fn with_a_hanging_own_call(change: impl FnOnce(Builder) -> Builder) -> (Rig, Hold) {
    let rig = rig(|builder| change(builder.workers(2)));
    stop(&rig);
    let hold = rig.server.hold();
    rig.server.resume().unwrap();
    wait_until("an own call", || rig.server.own_calls() > 0);
    (rig, hold)
}

/// Whether the thread of the own call that is out leaves TERM to others.
fn blocks_signals(rig: &Rig) -> bool {
    let tasks = rig.gateway.workers().into_iter().flat_map(|worker| {
        let tasks = fs::read_dir(format!("/proc/{worker}/task")).expect("a running process");
        tasks.map(|task| task.expect("a thread").path())
    });
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let own = |task: &PathBuf| read(task.join("comm")).starts_with("phantom-own");
    let task = tasks.into_iter().find(own).expect("the thread of an own call");
    let status = read(task.join("status"));
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
    u64::from_str_radix(blocked.trim(), 16).expect("a mask") >> (libc::SIGTERM - 1) & 1 == 1
}

#[test]
fn an_own_call_that_hangs_is_the_only_one() {
    // The rig waits for a minute; the gateway's clock stands where it is not pushed.
    let (rig, hold) = with_a_hanging_own_call(|builder| builder);
    let threads = || rig.gateway.workers().into_iter().map(process::threads).sum::<usize>();
    let before = threads();
    for n in 0..100 {
        Reply::unavailable("1").assert(&rig.get_as(&format!("token-{n}")));
    }
    thread::sleep(Duration::from_secs(3));
    assert_eq!((rig.server.own_calls(), threads()), (1, before));
    assert!(blocks_signals(&rig), "NGINX's signals are for the event loop");
    drop(hold);
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    wait_until("the thread's end", || threads() < before);
}

#[test]
fn a_stop_waits_for_no_own_call() {
    for signal in [libc::SIGTERM, libc::SIGQUIT] {
        let (rig, _hold) =
            with_a_hanging_own_call(|builder| builder.http("phantom_token_timeout 600s;"));
        let begun = Instant::now();
        process::signal(rig.gateway.pid(), signal).unwrap();
        rig.gateway.wait_exit();
        println!("ended after {:.1?}", begun.elapsed());
    }
}

#[test]
fn own_calls_end_with_a_reload_and_go_on_after_it() {
    let mut rig = rig(|builder| builder.workers(2));
    stop(&rig);
    rig.gateway.reload_with(|builder| builder);
    rig.server.resume().unwrap();
    // The new workers have met nothing themselves.
    rig.gateway.wait_for_log(&["[warn]", "is up again"]);
    assert_eq!(let_in(&rig, 8), 8);
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
