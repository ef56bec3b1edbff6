//! `phantom_token_cache_refresh_ahead` where the gateway signs the JWT: what serves is replaced by a new one.

use std::time::Duration;

use phantom_token_test::keys;
use serde_json::json;

use crate::support::*;

/// Forty seconds are left of five minutes, and of the hundred in which an answer is renewed.
const LATE: Duration = Duration::from_secs(260);

#[test]
fn a_jwt_is_replaced_by_a_new_one_before_it_ends() {
    for near in ["phantom_token_worker_cache 1024;", "phantom_token_worker_cache 0;"] {
        let rig = rig(|builder| {
            builder.count_calls().http(near).location(
                "/ahead",
                &shown("phantom_token_cache_valid 300s;\nphantom_token_cache_refresh_ahead 100s;"),
            )
        });
        rig.server.script("a-token", active(&json!({"scope": "read"})));
        let (first, status) = pass(&rig.gateway, "/ahead", "a-token");
        assert_eq!(status, "MISS");
        rig.gateway.pass_time(LATE);
        rig.server.script("a-token", active(&json!({"scope": "read write"})));
        assert_eq!(pass(&rig.gateway, "/ahead", "a-token"), (first.clone(), "HIT".to_owned()));
        let renewed = "refreshes_total{result=\"active\"}";
        rig.gateway.wait_for_metrics("a new one", |metrics| metrics.get(renewed) == 1.0);
        let (second, status) = pass(&rig.gateway, "/ahead", "a-token");
        assert_eq!(status, "HIT");
        assert_ne!(first, second);
        assert!(keys::verifies(&key_set(&rig.gateway), &second), "{second}");
        let [old, new] =
            [&first, &second].map(|jwt| phantom_token_test::jwt::payload(jwt).unwrap());
        assert_eq!((&old["scope"], &new["scope"]), (&json!("read"), &json!("read write")));
        assert_ne!(old["jti"], new["jti"]);
        assert_eq!(rig.gateway.metrics().get("mints_total"), 2.0);
        // It begins anew.
        rig.gateway.pass_time(LATE / 2);
        assert_eq!(pass(&rig.gateway, "/ahead", "a-token"), (second, "HIT".to_owned()));
        assert_eq!(rig.server.introspections(), 2);
    }
}

#[test]
fn where_the_token_ends_it_nothing_is_asked() {
    let rig = rig(|builder| {
        builder.count_calls().location(
            "/ahead",
            &shown("phantom_token_cache_valid 300s;\nphantom_token_cache_refresh_ahead 100s;"),
        )
    });
    rig.server.script("a-token", active(&json!({"exp": now() + 290})));
    assert_eq!(pass(&rig.gateway, "/ahead", "a-token").1, "MISS");
    rig.gateway.pass_time(LATE);
    assert_eq!(pass(&rig.gateway, "/ahead", "a-token").1, "HIT");
    assert_eq!(rig.gateway.metrics().get("introspections_pending"), 0.0);
    assert_eq!(rig.server.introspections(), 1);
}
