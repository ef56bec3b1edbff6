//! Made-up tokens cost good ones nothing.

use std::thread;

use phantom_token_test::{Client, Rig};

use crate::support::*;

#[test]
fn made_up_tokens_push_no_good_entry_out() {
    let rig = rig(2, |builder| {
        builder
            .log_level("warn")
            .http("phantom_token_cache_zone zone=small:256k;\nphantom_token_cache small;")
            .http("phantom_token_worker_cache 0;\nphantom_token_cache_inactive_valid 300s;")
    });
    // As many as the zone keeps: the first is still there when the last has come.
    let good: Vec<_> = (0..60).map(|_| rig.server.issue()).collect();
    for token in &good {
        pass(&rig.gateway, "/shown", token);
    }
    let port = rig.gateway.port();
    thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                let mut client = Client::connect(port);
                for n in 0..2_500 {
                    if n % 500 == 0 {
                        client = Client::connect(port);
                    }
                    let response = client.get_as("/shown", &format!("made-up-{thread}-{n}"));
                    assert_eq!(response.status, 401);
                }
            });
        }
    });
    let calls = rig.server.introspections();
    assert_eq!(calls, 60 + 5_000);
    let (active, inactive) = entries(&rig.gateway);
    assert_eq!(active, 60);
    let cache = &numbers(&rig.gateway)["caches"][0];
    // A zone this small has 512 blocks for inactive entries, and for the marks of calls, of one each.
    assert!((500..=512).contains(&inactive), "{cache}");
    for token in &good {
        assert_eq!(pass(&rig.gateway, "/shown", token), "HIT");
    }
    assert_eq!(rig.server.introspections(), calls);
}

#[test]
fn too_many_calls_do_not_affect_what_the_zone_knows() {
    let rig = Rig::start(|builder| {
        builder.http("phantom_token_max_pending 1;\nphantom_token_worker_cache 0;")
    });
    let (known, slow) = (rig.server.issue(), rig.server.issue());
    rig.assert_passes(&known);
    let hold = rig.server.hold_token(&slow.token);
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &slow.bearer())], b"");
    rig.server.wait_for_introspections(2);
    rig.assert_passes(&known);
    assert_eq!(rig.get_as("another").status, 503);
    drop(hold);
    assert_eq!(client.read().status, 200);
    // The refused one has left no mark behind that somebody would wait for.
    assert_eq!(rig.get_as("another").status, 401);
}
