//! A worker's own cache hides nothing from the zone: what it serves stays in use there.

use std::time::Duration;

use phantom_token_test::{Client, Mint};

use crate::support::*;

#[test]
fn what_a_worker_serves_itself_is_not_evicted_from_the_zone() {
    let rig = rig(2, |builder| {
        builder
            .count_calls()
            .listen("reuseport")
            .http("phantom_token_cache_zone zone=small:100k;\nphantom_token_cache small;")
    });
    let mut clients = client_of_each_worker(&rig.gateway);
    let (mut first, mut second) = (clients.remove(0).1, clients.remove(0).1);
    let hot = rig.server.issue();
    assert_passes(&first.get_as("/shown", &hot.token), &hot);
    rig.server.accept_prefix("filler-", Mint::new().jwt_size(1_000));
    let mut fillers = 0..;
    let evicted = || numbers(&rig.gateway)["caches"][0]["evictions"].as_u64().unwrap();
    let mut fill = |count: usize, first: &mut Client| {
        for n in fillers.by_ref().take(count) {
            assert_eq!(second.get_as("/shown", &format!("filler-{n}")).status, 204);
            assert_eq!(outcome(&first.get_as("/shown", &hot.token)), "HIT");
        }
    };
    // Half of what the zone holds at a time, with more than a second between.
    for _ in 0..3 {
        fill(25, &mut first);
        rig.gateway.pass_time(Duration::from_millis(1_050));
        assert_eq!(outcome(&first.get_as("/shown", &hot.token)), "HIT");
    }
    assert!(evicted() > 0, "the zone was full");
    let response = second.get_as("/shown", &hot.token);
    assert_eq!(outcome(&response), "HIT", "the other worker finds it in the zone");
    assert_eq!(rig.server.introspections_of(&hot.token), 1);
}

#[test]
fn it_is_bounded_and_off_at_zero() {
    for size in ["0", "1", "5"] {
        let rig = rig(1, |builder| builder.http(&format!("phantom_token_worker_cache {size};")));
        let tokens: Vec<_> = (0..20).map(|_| rig.server.issue()).collect();
        for expected in ["MISS", "HIT", "HIT"] {
            for token in &tokens {
                assert_eq!(pass(&rig.gateway, "/shown", token), expected);
            }
        }
        assert_eq!(rig.server.introspections(), 20);
    }
}
