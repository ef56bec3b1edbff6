//! What is counted of calls to the authorization server and of the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phantom_token_test::process::wait_until;
use phantom_token_test::tls::{Identity, server_config};
use phantom_token_test::{AuthorizationServer, Client, Metrics, Mint, Rig, Script, port};

use crate::{SAY, SHOWN, outcome, rig, rig_with};

/// Asserts that of all failures just this one was counted, at this endpoint.
#[track_caller]
fn assert_failure(metrics: &Metrics, endpoint: &str, reason: &str, count: f64) {
    let sample = format!("failures_total{{endpoint=\"{endpoint}\",reason=\"{reason}\"}}");
    assert_eq!(metrics.get(&sample), count, "{sample}: {metrics:#?}");
    assert_eq!(metrics.sum("failures_total", ""), count, "{metrics:#?}");
}

#[test]
fn results_are_counted_by_endpoint() {
    let rig = rig(|builder| builder);
    rig.assert_passes(&rig.server.issue());
    rig.get_as("unknown");
    rig.server.script_all(Script::status(500));
    rig.get_as("failing");
    let metrics = rig.gateway.metrics();
    let url = rig.server.introspection_url();
    for result in ["active", "inactive", "failed"] {
        let sample = format!("introspections_total{{endpoint=\"{url}\",result=\"{result}\"}}");
        assert_eq!(metrics.get(&sample), 1.0, "{sample}");
    }
    assert_failure(&metrics, &url, "status", 1.0);
}

#[test]
fn labels_leave_query_strings_out() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let endpoint = format!("{}?secret=s3cret-of-the-query", server.introspection_url());
        builder.endpoint(&endpoint).location(SHOWN.0, SHOWN.1)
    });
    rig.assert_passes(&rig.server.issue());
    let text = rig.gateway.get("/metrics", &[]).text();
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains(&format!("{{endpoint=\"{}\"}} 1", rig.server.introspection_url())));
}

#[test]
fn nobody_listens() {
    let endpoint = format!("http://127.0.0.1:{}/introspect", port::free());
    let rig = Rig::start(|builder| {
        builder.endpoint(&format!("{endpoint} max_fails=0")).location(SHOWN.0, SHOWN.1)
    });
    assert_eq!(rig.get_as("a").status, 500);
    assert_failure(&rig.gateway.metrics(), &endpoint, "connect", 1.0);
}

#[test]
fn a_certificate_nobody_trusts() {
    let config = server_config(&Identity::self_signed(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let rig = Rig::with(server, |builder, _| builder.location(SHOWN.0, SHOWN.1));
    assert_eq!(rig.get_as("a").status, 500);
    assert_failure(&rig.gateway.metrics(), &rig.server.introspection_url(), "tls", 1.0);
}

#[test]
fn no_answer_in_time() {
    let rig = rig(|builder| builder.directives("phantom_token_timeout 1s;"));
    rig.server.script_all(Script::hang());
    assert_eq!(rig.get_as("a").status, 500);
    let metrics =
        rig.gateway.wait_for_metrics("the call's end", |metrics| metrics.failures("timeout") > 0.0);
    assert_failure(&metrics, &rig.server.introspection_url(), "timeout", 1.0);
}

#[test]
fn credentials_refused_and_an_answer_not_understood() {
    let rig = rig(|builder| builder);
    let url = rig.server.introspection_url();
    rig.server.script("a", Script::ok("text/html", "<p>"));
    assert_eq!(rig.get_as("a").status, 500);
    assert_failure(&rig.gateway.metrics(), &url, "answer", 1.0);

    let rig = crate::rig(|builder| builder);
    rig.server.script_all(Script::status(401));
    // Failed at once, without a call, once the gate is shut and the few calls of a second are made:
    // counted as a failure, not as a call.
    wait_until("a failure without a call", || {
        let before = rig.gateway.metrics();
        assert_eq!(rig.get_as("c").status, 500);
        let after = rig.gateway.metrics();
        assert_eq!(after.failures("credentials"), before.failures("credentials") + 1.0);
        let calls = |metrics: &Metrics| metrics.sum("introspections_total", "failed");
        assert_eq!(calls(&after), rig.server.introspections() as f64);
        calls(&after) == calls(&before)
    });
    let shut = format!("gate_shut{{endpoint=\"{}\"}}", rig.server.introspection_url());
    assert_eq!(rig.gateway.metrics().get(&shut), 1.0);
}

#[test]
fn an_endpoint_that_rests() {
    let rig = rig_with("max_fails=1 fail_timeout=60s", |builder| {
        builder.location(
            "/impatient",
            "phantom_token on;\nphantom_token_timeout 1s;\ntry_files /none =204;",
        )
    });
    let url = rig.server.introspection_url();
    let up = format!("endpoint_up{{endpoint=\"{url}\"}}");
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.gateway.metrics().get(&up), 1.0);
    rig.server.script_all(Script::hang());
    // One that is begun late is no failure of the endpoint's.
    let metrics = rig.gateway.wait_for_metrics("the endpoint's rest", |metrics| {
        metrics.get(&up) == 0.0 || {
            assert!([500, 503].contains(&rig.gateway.get_as("/impatient", "a").status));
            false
        }
    });
    assert!(metrics.failures("timeout") > 0.0);
    let before = metrics.failures("resting");
    assert_eq!(rig.get_as("b").status, 503);
    assert_eq!(rig.gateway.metrics().failures("resting"), before + 1.0);
}

#[test]
fn too_many_calls() {
    let rig = rig(|builder| builder.http("phantom_token_max_pending 1;"));
    let hold = rig.server.hold();
    let mut first: Client = rig.gateway.client();
    first.send_request("GET", "/api", &[("Authorization", "Bearer a")], b"");
    rig.server.wait_for_introspections(1);
    assert_eq!(rig.get_as("b").status, 503);
    let metrics = rig.gateway.metrics();
    assert_eq!((metrics.failures("overflow"), metrics.requests("error")), (1.0, 1.0));
    drop(hold);
    assert_eq!(first.read().status, 401);
}

#[test]
fn tokens_that_end_before_their_time_are_counted() {
    let rig = rig(|builder| {
        let asks_anew = |valid: &str| {
            format!(
                "phantom_token on;\nphantom_token_cache_valid {valid};\n\
                 phantom_token_cache_bypass $arg_anew;\ntry_files /none =204;"
            )
        };
        builder
            .count_calls()
            .location("/purge", "phantom_token_purge;")
            .location("/kept", &asks_anew("100s"))
            .location("/unkept", &asks_anew("0"))
            .location("/off", "phantom_token on;\nphantom_token_cache off;\ntry_files /none =204;")
    });
    let url = rig.server.introspection_url();
    let ended = || rig.gateway.metrics().get(&format!("ended_early_total{{endpoint=\"{url}\"}}"));
    let get = |target: &str, token: &str| rig.gateway.get_as(target, token).status;
    let mint = |mint: Mint| {
        let token = rig.server.mint(mint.expires_in(3600)).token;
        assert_eq!(get("/kept", &token), 204);
        token
    };
    // Never active, and active but not kept: nothing was expected to last.
    assert_eq!(get("/kept", "unknown"), 401);
    let unkept = rig.server.issue().token;
    assert_eq!(get("/unkept", &unkept), 204);
    rig.server.revoke(&unkept);
    assert_eq!(get("/unkept", &unkept), 401);
    assert_eq!(ended(), 0.0);

    // While its answer serves, once.
    let token = mint(Mint::new());
    rig.server.revoke(&token);
    assert_eq!(get("/kept?anew=1", &token), 401);
    assert_eq!(get("/kept?anew=1", &token), 401);
    assert_eq!(ended(), 1.0);
    // Where its answer has run out.
    let token = mint(Mint::new());
    rig.server.revoke(&token);
    rig.gateway.pass_time(Duration::from_secs(101));
    assert_eq!(get("/kept", &token), 401);
    assert_eq!(ended(), 2.0);
    // One without an end.
    let endless = rig.server.mint(Mint::new().without_expiry()).token;
    assert_eq!(get("/kept", &endless), 204);
    rig.server.revoke(&endless);
    assert_eq!(get("/unkept", &endless), 401);
    assert_eq!(ended(), 3.0);
    // Not from the zone: this location has none.
    let token = mint(Mint::new());
    rig.server.revoke(&token);
    assert_eq!(get("/off", &token), 401);
    assert_eq!(ended(), 3.0);

    // After a purge it was known.
    let purge = |token: &str| {
        let mut client = rig.gateway.client();
        client.send_request("POST", "/purge", &[], format!("token={token}").as_bytes());
        assert_eq!(client.read().status, 204);
    };
    let token = mint(Mint::new());
    rig.server.revoke(&token);
    purge(&token);
    assert_eq!(get("/kept", &token), 401);
    assert_eq!(ended(), 3.0);
    // Also where the call began before it, and another answer came after it.
    let token = mint(Mint::new());
    let calls = rig.server.introspections_of(&token);
    let over = Arc::new(AtomicBool::new(false));
    rig.server.script(&token, Script::status(204).after(&over).times(1));
    let mut client = rig.gateway.client();
    let bearer = format!("Bearer {token}");
    client.send_request("GET", "/kept?anew=1", &[("Authorization", &bearer)], b"");
    rig.server.wait_for_introspections_of(&token, calls + 1);
    purge(&token);
    assert_eq!(get("/kept", &token), 204);
    over.store(true, Ordering::Release);
    assert_eq!(client.read().status, 401);
    assert_eq!(ended(), 3.0);
    // And not at the end that was told.
    let short = rig.server.mint(Mint::new().expires_in(50)).token;
    assert_eq!(get("/kept", &short), 204);
    rig.gateway.pass_time(Duration::from_secs(60));
    rig.server.revoke(&short);
    assert_eq!(get("/kept", &short), 401);
    assert_eq!(ended(), 3.0);
}

#[test]
fn what_is_not_cached_is_counted_by_reason_and_said() {
    let strict = "phantom_token_cache_control strict;";
    let cases = [
        ("cache_off", "phantom_token_cache off;", None),
        ("cache_valid_zero", "phantom_token_cache_valid 0;", None),
        ("no_store", strict, Some("no-store")),
        ("no_cache", strict, Some("no-cache")),
        ("private", strict, Some("private")),
        ("max_age", "", Some("s-maxage=0")),
    ];
    for (reason, directive, cache_control) in cases {
        let rig =
            rig(|builder| builder.log_level("debug").directives(&format!("{directive}\n{SAY}")));
        let token = rig.server.issue();
        if let Some(value) = cache_control {
            let script = Script::jwt(&token.jwt).header("Cache-Control", value);
            rig.server.script(&token.token, script);
        }
        for _ in 0..2 {
            assert_eq!(
                outcome(&rig, "/api", &token.token),
                format!("MISS {reason}"),
                "{directive}"
            );
        }
        let metrics = rig.gateway.metrics();
        assert_eq!(metrics.uncached(reason), 2.0, "{reason}");
        assert_eq!(metrics.sum("uncached_total", ""), 2.0, "{reason}");
        assert_eq!(metrics.requests("miss"), 2.0, "{reason}");
        if phantom_token_test::nginx::configured_with("--with-debug") {
            rig.gateway.wait_for_log(&["[debug]", "phantom token", reason]);
        }
    }
}

#[test]
fn an_answer_that_finds_no_place_is_counted() {
    let rig = rig(|builder| {
        builder
            .http("phantom_token_cache_zone zone=phantom_token:48k;")
            .location("/none", &format!("phantom_token on;\n{SAY}\ntry_files /none =204;"))
    });
    let token = rig.server.mint(Mint::new().jwt_size(40_000));
    assert_eq!(outcome(&rig, "/none", &token.token), "MISS too_large");
    let metrics = rig.gateway.metrics();
    assert_eq!(metrics.uncached("too_large"), 1.0, "{metrics:#?}");
    assert_eq!(metrics.sum("uncached_total", ""), 1.0, "{metrics:#?}");
    rig.gateway.wait_for_log(&["[warn]", "phantom token", "too large"]);
}

#[test]
fn a_purge_during_a_call_keeps_its_answer_out() {
    let rig = rig(|builder| builder.location("/purge", "phantom_token_purge;"));
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    rig.server.wait_for_introspections(1);
    let mut purger = rig.gateway.client();
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    purger.send_request("POST", "/purge", &[form], format!("token={}", token.token).as_bytes());
    assert_eq!(purger.read().status, 204);
    drop(hold);
    assert_eq!(client.read().status, 200);
    assert_eq!(rig.gateway.metrics().uncached("purged"), 1.0);
}

#[test]
fn the_zone_is_shown_as_it_fills() {
    let rig = rig(|builder| {
        builder
            .http("phantom_token_cache_zone zone=phantom_token:256k;")
            .directives("phantom_token_cache_inactive_valid 1h;")
    });
    let entries = |metrics: &Metrics, kind: &str| {
        metrics.get(&format!("cache_entries{{zone=\"phantom_token\",kind=\"{kind}\"}}"))
    };
    let used = |metrics: &Metrics| metrics.sum("cache_used_bytes", "");
    let empty = rig.gateway.metrics();
    assert_eq!((entries(&empty, "active"), entries(&empty, "inactive")), (0.0, 0.0));
    rig.assert_passes(&rig.server.issue());
    rig.get_as("unknown");
    let two = rig.gateway.metrics();
    assert_eq!((entries(&two, "active"), entries(&two, "inactive")), (1.0, 1.0));
    assert!(used(&two) > used(&empty));
    assert!(used(&two) < two.sum("cache_size_bytes", ""));
    assert_eq!(two.sum("cache_evictions_total", ""), 0.0);
    rig.server.accept_prefix("many-", Mint::new().jwt_size(2000));
    let mut client = rig.gateway.client();
    for number in 0..200 {
        assert_eq!(client.get_as("/api", &format!("many-{number}")).status, 200);
    }
    let full = rig.gateway.metrics();
    assert!(full.sum("cache_evictions_total", "") > 0.0);
    assert!(entries(&full, "active") > 50.0);
    assert!(used(&full) <= full.sum("cache_size_bytes", ""));
}

#[test]
fn the_time_a_call_waits_for_a_thread_is_shown() {
    let rig = rig(|builder| builder.count_calls().main("thread_pool phantom_token threads=1;"));
    let hold = rig.server.hold();
    let mut clients: Vec<Client> = (0..3).map(|_| rig.gateway.client()).collect();
    for client in &mut clients {
        let token = rig.server.issue();
        client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    }
    rig.gateway.wait_for_metrics("three calls", |m| m.get("introspections_pending") == 3.0);
    // So long, at least, two of them wait for the third's thread.
    rig.gateway.pass_time(Duration::from_millis(100));
    drop(hold);
    assert!(clients.iter_mut().all(|client| client.read().status == 200));
    let metrics = rig.gateway.metrics();
    assert!(metrics.get("queue_duration_seconds_sum") >= 0.200, "{metrics:#?}");
    assert_eq!(metrics.get("queue_duration_seconds_count"), 3.0);
}

#[test]
fn endpoints_are_shown_as_configured_before_and_after_a_reload() {
    let mut rig = rig(|builder| builder);
    let url = rig.server.introspection_url();
    let series = |rig: &Rig, endpoint: &str| {
        let metrics = rig.gateway.metrics();
        metrics.0.keys().filter(|name| name.contains(&format!("\"{endpoint}\""))).count()
    };
    let all = 3 + 8 + 3 + 3 + 2;
    assert_eq!(series(&rig, &url), all, "before the first call, so that its failure is a rise");
    let backup = format!("http://127.0.0.1:{}/backup", port::free());
    rig.gateway.reload_with(|builder| builder.endpoint(&format!("{backup} backup")));
    assert_eq!((series(&rig, &url), series(&rig, &backup)), (all, all));
    rig.gateway.reload_with(|_| {
        let builder = phantom_token_test::Gateway::builder().protect(&rig.server, &rig.api);
        builder.endpoint(&backup).location(SHOWN.0, SHOWN.1)
    });
    // One that nobody asks any more would rest for ever.
    assert_eq!((series(&rig, &url), series(&rig, &backup)), (0, all));
}
