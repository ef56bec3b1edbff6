//! A call goes on, or goes to another, when its worker dies, its client leaves, or the
//! configuration is reloaded.

use phantom_token_test::process::{self, wait_until};
use phantom_token_test::{Client, Rig};

use crate::support::*;

/// One worker calls for a token, and requests of all others wait for it, three each. The call is
/// held back meanwhile.
fn caller_and_waiters(rig: &Rig, token: &str) -> ((u32, Client), Vec<(u32, Client)>) {
    let mut clients = client_of_each_worker(&rig.gateway);
    for _ in 0..2 {
        clients.extend(client_of_each_worker(&rig.gateway));
    }
    let (pid, mut caller) = clients.remove(0);
    clients.retain(|(other, _)| *other != pid);
    let before = rig.server.introspections();
    send(&mut caller, "/shown", token);
    rig.server.wait_for_introspections(before + 1);
    for (_, client) in &mut clients {
        send(client, "/shown", token);
    }
    wait_for_waiting(&rig.gateway, clients.len() + 1);
    ((pid, caller), clients)
}

#[test]
fn a_call_of_a_killed_worker_is_taken_over_by_one() {
    let rig = rig(4, |builder| {
        builder.listen("reuseport").allow("exited on signal 9").allow("was locked by")
    });
    for round in 1..=5 {
        let token = rig.server.issue();
        let hold = rig.server.hold();
        let ((pid, caller), mut waiters) = caller_and_waiters(&rig, &token.token);
        process::signal(pid, libc::SIGKILL).unwrap();
        rig.server.wait_for_introspections(2 * round);
        drop(hold);
        for (_, client) in &mut waiters {
            assert_passes(&client.read(), &token);
        }
        drop(caller);
        assert_eq!(rig.server.introspections(), 2 * round, "one of them took over");
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        wait_until("a new worker", || rig.gateway.workers().len() == 4);
    }
}

#[test]
fn a_call_of_a_killed_worker_is_taken_over_though_nobody_waits_for_the_dead() {
    let rig = rig(4, |builder| builder.listen("reuseport").allow("was locked by"));
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let ((pid, caller), mut waiters) = caller_and_waiters(&rig, &token.token);
    let mut orphans = Orphans::of(&rig.gateway);
    orphans.kill(pid);
    rig.server.wait_for_introspections(2);
    drop(hold);
    for (_, client) in &mut waiters {
        assert_passes(&client.read(), &token);
    }
    drop(caller);
    assert_eq!(rig.server.introspections(), 2, "one of them took over");
}

#[test]
fn the_calling_client_leaves_and_the_others_get_their_answer() {
    let rig = rig(2, |builder| builder.listen("reuseport"));
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let ((_, caller), mut waiters) = caller_and_waiters(&rig, &token.token);
    drop(caller);
    rig.gateway.wait_for_access("\" 499 ");
    drop(hold);
    for (_, client) in &mut waiters {
        assert_passes(&client.read(), &token);
    }
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn a_call_not_yet_begun_is_dropped_only_where_nobody_waits() {
    let rig =
        rig(2, |builder| builder.listen("reuseport").main("thread_pool phantom_token threads=1;"));
    let blocking = rig.server.issue();
    let (lonely, shared) = (rig.server.issue(), rig.server.issue());
    let hold = rig.server.hold_token(&blocking.token);
    let [mut first, mut second] =
        <[_; 2]>::try_from(client_of_each_worker(&rig.gateway)).ok().expect("two workers");
    // The first worker's only thread is busy: what comes next is queued.
    let mut busy = rig.gateway.client();
    while worker(&busy.get("/worker", &[])) != first.0 {
        busy = rig.gateway.client();
    }
    send(&mut busy, "/shown", &blocking.token);
    rig.server.wait_for_introspections(1);
    send(&mut first.1, "/shown", &shared.token);
    wait_for_waiting(&rig.gateway, 2);
    send(&mut second.1, "/shown", &shared.token);
    wait_for_waiting(&rig.gateway, 3);
    drop(first.1);
    wait_for_waiting(&rig.gateway, 2);
    let mut leaver = rig.gateway.client();
    while worker(&leaver.get("/worker", &[])) != first.0 {
        leaver = rig.gateway.client();
    }
    send(&mut leaver, "/shown", &lonely.token);
    wait_for_waiting(&rig.gateway, 3);
    drop(leaver);
    wait_for_waiting(&rig.gateway, 2);
    drop(hold);
    assert_passes(&busy.read(), &blocking);
    assert_passes(&second.1.read(), &shared);
    assert_eq!(rig.server.introspections_of(&shared.token), 1);
    assert_eq!(pass(&rig.gateway, "/shown", &rig.server.issue()), "MISS");
    assert_eq!(rig.server.introspections_of(&lonely.token), 0, "nobody waited");
}

#[test]
fn a_call_outlives_a_reload_and_is_shared_across_it() {
    let rig = rig(2, |builder| builder.listen("reuseport"));
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let ((_, mut caller), mut waiters) = caller_and_waiters(&rig, &token.token);
    let old = rig.gateway.workers();
    let waiting = waiters.len() + 1;
    rig.gateway.reload();
    let mut late = client_of_each_worker(&rig.gateway);
    for (pid, client) in &mut late {
        assert!(!old.contains(pid));
        send(client, "/shown", &token.token);
    }
    wait_for_waiting(&rig.gateway, waiting + late.len());
    drop(hold);
    assert_passes(&caller.read(), &token);
    for (_, client) in waiters.iter_mut().chain(&mut late) {
        assert_passes(&client.read(), &token);
    }
    assert_eq!(rig.server.introspections(), 1);
}
