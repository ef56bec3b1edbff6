//! What became of a request, and why: counted, and in `$phantom_token_status` and
//! `$phantom_token_reason`.

use phantom_token_test::{Client, Metrics, Mint, Rig, Script};

use crate::{SAY, outcome, rig};

#[test]
fn a_refusal_has_its_reason() {
    let rig = rig(|builder| {
        builder.directives(SAY).location(
            "/scoped",
            &format!(
                "phantom_token on;\nphantom_token_scope execute;\n{SAY}\ntry_files /none =204;"
            ),
        )
    });
    let token = rig.server.issue();
    assert_eq!(outcome(&rig, "/api", &token.token), "MISS");
    assert_eq!(outcome(&rig, "/api", &token.token), "HIT");
    assert_eq!(outcome(&rig, "/scoped", &token.token), "DENIED scope");
    assert_eq!(outcome(&rig, "/api", "a b"), "DENIED malformed");
    let missing = rig.gateway.get("/api", &[]);
    assert_eq!(missing.header("X-Outcome"), Some("DENIED missing"));
    let bound = rig.server.mint(Mint::new().dpop_bound());
    assert_eq!(outcome(&rig, "/api", &bound.token), "DENIED bound");
    assert_eq!(outcome(&rig, "/api", "unknown"), "INACTIVE inactive");
    rig.server.script("failing", Script::status(500));
    assert_eq!(outcome(&rig, "/api", "failing"), "ERROR status");
    rig.server.script("odd", Script::ok("text/html", "<p>"));
    assert_eq!(outcome(&rig, "/api", "odd"), "ERROR answer");
    rig.server.script("cut", Script::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close());
    assert_eq!(outcome(&rig, "/api", "cut"), "ERROR connect");
}

/// Asserts that what `act` does is counted as this outcome and no other.
#[track_caller]
fn assert_one(rig: &Rig, outcome: &str, act: impl FnOnce()) -> Metrics {
    let before = rig.gateway.metrics();
    act();
    let after = rig.gateway.metrics();
    let requests: Vec<_> = after
        .since(&before)
        .into_iter()
        .filter(|(name, _)| name.starts_with("requests_total"))
        .collect();
    assert_eq!(requests, [(format!("requests_total{{outcome=\"{outcome}\"}}"), 1.0)]);
    after
}

#[test]
fn each_request_has_one_outcome() {
    let rig = rig(|builder| {
        builder
            .http("map $http_x_test $open { yes 1; default \"\"; }")
            .directives(
                "phantom_token_bypass $open;\nphantom_token_cache_inactive_valid 1m;\n\
                 error_page 401 403 500 = /refused;",
            )
            .location("/scoped", "phantom_token on;\nphantom_token_scope admin;\nreturn 204;")
            .location("/off", "return 204;")
            .location("/refused", "phantom_token on;\nreturn 200;")
            .location("/redirect", "phantom_token on;\ntry_files /none /api;")
    });
    let token = rig.server.issue();
    let get = |target: &str, headers: &[(&str, &str)]| drop(rig.gateway.get(target, headers));
    let get_as = |target: &str, token: &str| drop(rig.gateway.get_as(target, token));
    assert_one(&rig, "miss", || get_as("/api", &token.token));
    assert_one(&rig, "hit", || get_as("/api", &token.token));
    // Redirected internally, through the module once more.
    assert_one(&rig, "hit", || get_as("/redirect", &token.token));
    assert_one(&rig, "miss", || get_as("/redirect", &rig.server.issue().token));
    assert_one(&rig, "inactive", || get_as("/api", "unknown"));
    assert_one(&rig, "inactive", || get_as("/api", "unknown"));
    assert_one(&rig, "denied", || get("/api", &[]));
    assert_one(&rig, "denied", || get("/api", &[("Authorization", "Basic eDp5")]));
    assert_one(&rig, "denied", || get_as("/api", "a, b"));
    assert_one(&rig, "bypass", || get("/api", &[("X-Test", "yes")]));
    assert_one(&rig, "bypass", || {
        let mut client = rig.gateway.client();
        client.send_request("OPTIONS", "/api", &[], b"");
        client.read();
    });
    rig.server.script_all(Script::status(500));
    assert_one(&rig, "error", || get_as("/api", "another"));
    rig.server.unscript();
    // NGINX answers `return` before the access phase: such a location never meets the module.
    let before = rig.gateway.metrics();
    get("/off", &[]);
    get_as("/scoped", &token.token);
    assert_eq!(rig.gateway.metrics().since(&before).len(), 0);
}

#[test]
fn a_missing_scope_is_denied() {
    let rig = rig(|builder| builder.directives("phantom_token_scope admin;"));
    let token = rig.server.issue();
    assert_one(&rig, "denied", || drop(rig.get_as(&token.token)));
    assert_one(&rig, "denied", || drop(rig.get_as(&token.token)));
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn who_shares_a_call_waits_and_is_shown_while_it_does() {
    let rig = rig(|builder| builder);
    let token = rig.server.issue();
    let before = rig.gateway.metrics();
    let hold = rig.server.hold();
    let mut clients: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = rig.gateway.client();
            client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
            client
        })
        .collect();
    let during =
        rig.gateway.wait_for_metrics("three that wait", |m| m.get("requests_waiting") == 3.0);
    assert_eq!(during.get("introspections_pending"), 1.0);
    drop(hold);
    assert!(clients.iter_mut().all(|client| client.read().status == 200));
    let after = rig.gateway.metrics();
    assert_eq!((after.get("requests_waiting"), after.get("introspections_pending")), (0.0, 0.0));
    assert_eq!(after.requests("miss") - before.requests("miss"), 1.0);
    assert_eq!(after.requests("wait") - before.requests("wait"), 2.0);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_counted_too() {
    let rig = rig(|builder| builder);
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    rig.server.wait_for_introspections(1);
    drop(client);
    rig.gateway.wait_for_access("\" 499 ");
    let metrics = rig.gateway.metrics();
    assert_eq!((metrics.requests("error"), metrics.get("requests_waiting")), (1.0, 0.0));
    drop(hold);
    rig.gateway.wait_for_metrics("the end of the call", |m| {
        m.sum("introspections_total", "active") == 1.0
    });
    assert_eq!(rig.gateway.metrics().sum("requests_total", ""), 1.0);
}

#[test]
fn a_stale_answer_is_counted_as_such() {
    let rig = rig(|builder| {
        builder.directives("phantom_token_cache_valid 1s;\nphantom_token_cache_stale 1m;")
    });
    let token = rig.server.issue();
    rig.assert_passes(&token);
    rig.server.script_all(Script::status(500));
    rig.gateway.wait_for_metrics("a stale answer", |metrics| {
        assert_eq!(rig.get_as(&token.token).status, 200);
        metrics.requests("stale") > 0.0
    });
    let metrics = rig.gateway.metrics();
    assert_eq!(metrics.requests("error"), 0.0);
    assert!(metrics.failures("status") >= metrics.requests("stale"));
}
