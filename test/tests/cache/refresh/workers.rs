//! All workers together: one call, its answer in each of them, and what is left of it when one goes.

use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{Client, Script};

use super::*;

#[test]
fn five_thousand_hits_of_four_workers_make_one_call() {
    const CLIENTS: usize = 500;
    let rig = refreshing(4, |builder| builder);
    let (token, new) = (long_lived(&rig), rig.server.issue());
    let mut workers = client_of_each_worker(&rig.gateway);
    for (_, client) in &mut workers {
        assert_passes(&client.get_as("/shown", &token.token), &token);
    }
    let mut crowd = Crowd::connect(&rig.gateway, CLIENTS);
    rig.gateway.pass_time(LATE);
    rig.server.script(&token.token, Script::jwt(&new.jwt));
    let hold = rig.server.hold();
    let mut asked = std::collections::HashSet::new();
    for _ in 0..10 {
        crowd.send("/shown", &token.token);
        for response in crowd.read().0 {
            assert_passes(&response, &token);
            assert_eq!(outcome(&response), "HIT");
            asked.insert(worker(&response));
        }
    }
    assert_eq!(asked.len(), 4, "all workers were asked");
    rig.server.wait_for_introspections(2);
    drop(hold);
    wait_for_refreshes(&rig.gateway, "active", 1);
    for (_, client) in &mut workers {
        let response = client.get_as("/shown", &token.token);
        assert_passes(&response, &new);
        assert_eq!(outcome(&response), "HIT");
    }
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_revoked_token_goes_at_once_from_all_workers() {
    let rig = refreshing(4, |builder| builder);
    let token = long_lived(&rig);
    let mut workers = client_of_each_worker(&rig.gateway);
    for (_, client) in &mut workers {
        assert_passes(&client.get_as("/shown", &token.token), &token);
    }
    rig.server.revoke(&token.token);
    rig.gateway.pass_time(LATE);
    assert_eq!(workers[0].1.get_as("/plain", &token.token).status, 204, "kept");
    assert_eq!(workers[1].1.get_as("/shown", &token.token).status, 204, "served, and asked for");
    wait_for_refreshes(&rig.gateway, "inactive", 1);
    for (_, client) in &mut workers {
        assert_eq!(client.get_as("/shown", &token.token).status, 401);
        assert_eq!(client.get_as("/plain", &token.token).status, 401);
    }
    assert_eq!(rig.server.introspections(), 2);
    assert_eq!(rig.gateway.metrics().sum("ended_early_total", ""), 1.0);
}

#[test]
fn a_killed_worker_s_call_goes_to_another() {
    let rig = refreshing(3, |builder| builder.allow("exited on signal 9").allow("was locked by"));
    for round in 1..=3 {
        let token = about_to_end(&rig);
        let hold = rig.server.hold_token(&token.token);
        let mut workers = client_of_each_worker(&rig.gateway);
        let calls = || rig.server.introspections_of(&token.token);
        let hit = |clients: &mut [(u32, Client)]| {
            for (_, client) in clients {
                let response = client.get_as("/shown", &token.token);
                assert_passes(&response, &token);
                assert_eq!(outcome(&response), "HIT");
            }
        };
        hit(&mut workers[..1]);
        rig.server.wait_for_introspections_of(&token.token, 2);
        // The others know that a call is out, and look after it now and then.
        hit(&mut workers[1..]);
        process::signal(workers.remove(0).0, libc::SIGKILL).unwrap();
        wait_until("another call", || {
            hit(&mut workers);
            calls() == 3
        });
        rig.gateway.pass_time(SECOND);
        hit(&mut workers);
        drop(hold);
        wait_for_refreshes(&rig.gateway, "active", round);
        hit(&mut workers);
        assert_eq!(calls(), 3, "one has taken it over");
        wait_until("a new worker", || rig.gateway.workers().len() == 3);
    }
}

#[test]
fn a_reload_leaves_the_call_to_the_new_workers() {
    let rig = refreshing(2, |builder| builder);
    let token = about_to_end(&rig);
    let hold = rig.server.hold();
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    rig.server.wait_for_introspections(2);
    let old = rig.gateway.workers();
    rig.gateway.reload();
    // Nobody waits for the call: they end at once.
    wait_until("the old workers' end", || {
        old.iter().all(|pid| !rig.gateway.all_workers().contains(pid))
    });
    wait_until("another call", || {
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        rig.server.introspections() == 3
    });
    drop(hold);
    wait_for_refreshes(&rig.gateway, "active", 1);
    rig.gateway.pass_time(100 * SECOND);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    assert_eq!(rig.server.introspections(), 3);
}
