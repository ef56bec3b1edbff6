//! What a client chose is in no own call, and decides for no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phantom_token_test::{AuthorizationServer, Rig, Script};

use crate::*;

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
