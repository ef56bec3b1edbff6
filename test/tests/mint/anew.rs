//! Asking anew, where what is known of a token does not serve a location.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phantom_token_test::Script;
use serde_json::json;

use crate::keys::two_signers;
use crate::lifetimes::seconds;
use crate::support::*;

#[test]
fn whoever_asks_anew_has_no_more_time_than_others() {
    let rig = two_signers(|builder| builder.count_calls().http("phantom_token_timeout 600s;"));
    let go = Arc::<AtomicBool>::default();
    rig.server.script("opaque", active(&json!({})).after(&go));
    let ask = |target: &str| {
        let mut client = rig.gateway.client();
        client.send_request("GET", target, &[("Authorization", "Bearer opaque")], b"");
        client
    };
    let mut first = ask("/one");
    rig.server.wait_for_introspections_of("opaque", 1);
    let mut second = ask("/two");
    rig.gateway.wait_for_metrics("two that wait", |metrics| metrics.get("requests_waiting") == 2.0);
    rig.gateway.pass_time(seconds(500));
    rig.server.script("opaque", Script::hang());
    go.store(true, Ordering::Relaxed);
    assert_eq!(first.read().status, 204);
    rig.server.wait_for_introspections_of("opaque", 2);
    // 500 of the 600 seconds went by in the wait for a JWT of the other location.
    rig.gateway.pass_time(seconds(101));
    rig.gateway.get("/metrics", &[]);
    assert_eq!(said(&second.read()), (500, "ERROR", "timeout"));
}
