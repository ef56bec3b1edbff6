//! A new binary on the fly (USR2), and back: both generations of a gateway hear what the fleet is told.

use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{self, assert_passes, outcome};
use phantom_token_test::nginx::Daemon;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Fleet, Metrics};

use crate::support::*;

/// A fleet of one gateway and a daemon that shares with it.
fn start() -> (Fleet, Daemon) {
    let fleet = Fleet::builder().start_in_sync(1);
    let daemon = fleet.configuration().start_daemon();
    wait_until_shares(&fleet, &daemon);
    (fleet, daemon)
}

/// Asks for a token, which must get in. How the daemon came to it.
fn pass(daemon: &Daemon, token: &Token) -> String {
    let response = daemon.get_as("/shown", &token.token);
    assert_passes(&response, token);
    outcome(&response)
}

fn admits(daemon: &Daemon, token: &Token) -> bool {
    daemon.get_as("/shown", &token.token).status == 204
}

/// Waits until the workers that take connections all take the other gateway's answers.
fn wait_until_shares(fleet: &Fleet, daemon: &Daemon) {
    wait_until("a daemon that shares", || {
        (0..8).all(|_| {
            let token = fleet.server.issue();
            fleet.pass(0, &token);
            pass(daemon, &token) == "STORE"
        })
    });
}

/// A purge at the other gateway that no worker of the daemon outlives.
fn purge(fleet: &Fleet, daemon: &Daemon, token: &Token) {
    fleet.server.revoke(&token.token);
    assert_eq!(fleet.purge(0, &form(token)), 204);
    wait_until("a purged token to be refused", || (0..16).all(|_| !admits(daemon, token)));
}

#[test]
fn both_generations_share_and_hear() {
    let (fleet, mut daemon) = start();
    let [first, second] = [fleet.server.issue(), fleet.server.issue()];
    let (old, new) = daemon.upgrade();
    wait_until_shares(&fleet, &daemon);
    // Whichever worker gets it: one call in the whole fleet.
    for token in [&first, &second] {
        for _ in 0..16 {
            pass(&daemon, token);
        }
        assert_eq!((fleet.pass(0, token), calls(&fleet, token)), ("STORE".to_owned(), 1));
    }
    purge(&fleet, &daemon, &first);
    // What is purged here is over there as well.
    fleet.server.revoke(&second.token);
    let purged = fleet::purge_by(daemon.client(), &form(&second));
    assert_eq!(purged.status, 204, "{purged:?}");
    wait_until_refused(&fleet, 0, &second);
    wait_until("the other generation", || (0..16).all(|_| !admits(&daemon, &second)));

    daemon.quit(old);
    wait_until_shares(&fleet, &daemon);
    assert!((0..16).all(|_| !admits(&daemon, &first) && !admits(&daemon, &second)));
    assert_eq!(daemon.workers_of(new).len(), 1);
}

#[test]
fn who_comes_back_hears_what_was_purged_meanwhile() {
    let (fleet, mut daemon) = start();
    let [purged, kept] = [fleet.server.issue(), fleet.server.issue()];
    for token in [&purged, &kept] {
        pass(&daemon, token);
        assert_eq!(pass(&daemon, token), "HIT");
    }
    let (old, new) = daemon.upgrade();
    daemon.retire(old);
    wait_until_shares(&fleet, &daemon);
    purge(&fleet, &daemon, &purged);

    daemon.recall(old);
    daemon.quit(new);
    wait_until("the old generation", || (0..16).all(|_| !admits(&daemon, &purged)));
    for _ in 0..16 {
        assert!(!admits(&daemon, &purged), "once refused, for ever");
        assert_eq!(pass(&daemon, &kept), "HIT", "its own answers are as they were");
    }
    let metrics = Metrics::parse(&daemon.client().get("/metrics", &[]).text());
    assert_eq!(metrics.sum("store_gaps_total", ""), 0.0);
}
