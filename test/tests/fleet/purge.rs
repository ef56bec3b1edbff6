//! A purge at one gateway holds for all of them, and for those to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phantom_token_test::fleet::{assert_passes, outcome, pass, purge, shown, wait_until_in_sync};
use phantom_token_test::process::{self, wait_for, wait_until};
use phantom_token_test::{Fleet, Script};

use crate::support::*;

#[test]
fn each_kind_reaches_the_others_and_no_other_token() {
    let fleet = Fleet::builder().start_in_sync(2);
    let kept = token_of(&fleet, "kept");
    warm(&fleet, &kept);
    for (nth, field) in ["sub", "client_id", "sid", "jti", "token"].iter().enumerate() {
        let token = token_of(&fleet, field);
        warm(&fleet, &token);
        fleet.server.revoke(&token.token);
        let form = match *field {
            "client_id" => format!("client_id=client-{field}"),
            "token" => form(&token),
            _ => format!("{field}={field}-{field}"),
        };
        let (sender, hearer) = (nth % 2, 1 - nth % 2);
        assert!(fleet.admits(hearer, &token));
        assert_eq!(fleet.purge(sender, &form), 204, "{field}");
        assert!(!fleet.admits(sender, &token), "{field}");
        wait_until_refused(&fleet, hearer, &token);
        for gateway in [0, 1] {
            assert_eq!(fleet.pass(gateway, &kept), "HIT", "{field}");
        }
    }
    fleet.server.revoke(&kept.token);
    assert_eq!(fleet.purge(0, "all=1"), 204);
    assert!(!fleet.admits(0, &kept));
    wait_until_refused(&fleet, 1, &kept);
    let metrics = fleet.gateways[1].metrics();
    assert!(metrics.sum("store_purges_total{", "heard") >= 4.0, "{metrics:?}");
    assert!(metrics.sum("store_purges_total{", "sent") >= 2.0, "{metrics:?}");
}

#[test]
fn a_gateway_born_after_it_obeys_it() {
    let fleet = Fleet::start(1);
    // The list of purges begins before what is asked for next: a gateway believes nothing that is older
    // than it.
    assert_eq!(fleet.purge(0, "sub=somebody"), 204);
    let control = fleet.join();
    for field in ["sub", "client_id", "token", "all"] {
        let mut nth = 0;
        let (name, purged, kept) = wait_for("a value that others believe", || {
            nth += 1;
            let name = format!("{field}-{nth}");
            let (purged, kept) =
                (token_of(&fleet, &name), token_of(&fleet, &format!("not-{name}")));
            fleet.pass(0, &purged);
            fleet.pass(0, &kept);
            (pass(&control, &kept) == "STORE").then_some((name, purged, kept))
        });
        fleet.server.revoke(&purged.token);
        let form = match field {
            "client_id" => format!("client_id=client-{name}"),
            "token" => form(&purged),
            "all" => "all=1".to_owned(),
            _ => format!("{field}=sub-{name}"),
        };
        assert_eq!(fleet.purge(0, &form), 204);
        let born = fleet.launch();
        wait_until_in_sync(&born);
        assert_eq!(born.get_as("/shown", &purged.token).status, 401, "{field}");
        if field != "all" {
            // The purge is why: what was kept beside it is taken.
            assert_eq!(pass(&born, &kept), "STORE", "{field}");
        }
    }
}

#[test]
fn a_late_answer_does_not_come_back() {
    for by_subject in [false, true] {
        let fleet = Fleet::builder().start_in_sync(2);
        let token = token_of(&fleet, "late");
        let late = Arc::new(AtomicBool::new(false));
        fleet.server.script(&token.token, Script::jwt(&token.jwt).after(&late).times(1));
        let mut early = send(&fleet.gateways[0], &token.token);
        fleet.server.wait_for_introspections_of(&token.token, 1);
        // From now on it is inactive.
        fleet.server.revoke(&token.token);
        let form = if by_subject { "sub=sub-late".to_owned() } else { form(&token) };
        assert_eq!(fleet.purge(1, &form), 204);
        let heard = |now: &phantom_token_test::Metrics| {
            now.sum("store_purges_total{", "direction=\"heard\"") >= 1.0
        };
        fleet.gateways[0].wait_for_metrics("the purge", heard);
        late.store(true, Ordering::Relaxed);
        // Who came before the purge may have it, nobody else.
        assert_passes(&early.read(), &token);
        for gateway in [1, 0, 1] {
            assert!(!fleet.admits(gateway, &token), "gateway {gateway}");
        }
    }
}

#[test]
fn what_the_store_does_not_take_is_said_to_be_local() {
    let fleet = Fleet::builder().start_in_sync(2);
    let token = fleet.server.issue();
    warm(&fleet, &token);
    fleet.server.revoke(&token.token);
    fleet.store.kill();
    let refused = purge(&fleet.gateways[0], &form(&token));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.text().contains("this gateway alone"), "{}", refused.text());
    assert!(!fleet.admits(0, &token), "the purge holds where it was sent");
    assert!(fleet.admits(1, &token), "nobody else heard it");
    fleet.store.start_empty();
    wait_until("the purge to be taken", || fleet.purge(0, &form(&token)) == 204);
    wait_until_refused(&fleet, 1, &token);
    let refused = fleet.gateways[0].metrics().sum("store_purges_total{", "refused");
    assert!(refused >= 1.0);
}

#[test]
fn it_holds_right_after_the_store_was_flushed() {
    for lost in
        [&["FLUSHALL"][..], &["DEL", "{phantom_token:1}:e"], &["DEL", "{phantom_token:1}:s"]]
    {
        let fleet = Fleet::builder().start_in_sync(2);
        let token = fleet.server.issue();
        warm(&fleet, &token);
        fleet.store.ask(lost);
        fleet.server.revoke(&token.token);
        // It may not be known at once that all is lost: then it is said, and sent again.
        wait_until("the purge to be taken", || match fleet.purge(0, &form(&token)) {
            204 => true,
            503 => false,
            other => panic!("{other}"),
        });
        assert!(!fleet.admits(0, &token), "{lost:?}");
        wait_until_refused(&fleet, 1, &token);
        let gaps = |now: &phantom_token_test::Metrics| now.sum("store_gaps_total", "") >= 1.0;
        fleet.gateways[1].wait_for_metrics("a gap", gaps);
    }
}

#[test]
fn it_is_heard_whichever_worker_dies() {
    let fleet = Fleet::builder().each(|builder| builder.workers(2)).start_in_sync(2);
    let hearer = &fleet.gateways[1];
    hearer.allow("exited on signal 9");
    // One of the two listens to the store, and each is killed once at least.
    for _ in 0..4 {
        let tokens: Vec<_> = (0..3).map(|_| fleet.server.issue()).collect();
        for token in &tokens {
            warm(&fleet, token);
            fleet.server.revoke(&token.token);
        }
        let victim = hearer.workers()[0];
        assert_eq!(fleet.purge(0, &form(&tokens[0])), 204);
        process::signal(victim, libc::SIGKILL).unwrap();
        assert_eq!(fleet.purge(0, &form(&tokens[1])), 204);
        wait_until("a new worker", || {
            hearer.workers().len() == 2 && !hearer.workers().contains(&victim)
        });
        assert_eq!(fleet.purge(0, &form(&tokens[2])), 204);
        for token in &tokens {
            wait_until_refused(&fleet, 1, token);
        }
    }
}

#[test]
fn it_is_heard_over_reloads() {
    let fleet = Fleet::builder().start_in_sync(2);
    for _ in 0..3 {
        let tokens: Vec<_> = (0..2).map(|_| fleet.server.issue()).collect();
        for token in &tokens {
            warm(&fleet, token);
            fleet.server.revoke(&token.token);
        }
        assert_eq!(fleet.purge(0, &form(&tokens[0])), 204);
        fleet.gateways[1].reload();
        assert_eq!(fleet.purge(0, &form(&tokens[1])), 204);
        for token in &tokens {
            wait_until_refused(&fleet, 1, token);
        }
    }
    let gaps = fleet.gateways[1].metrics().sum("store_gaps_total", "");
    assert_eq!(gaps, 0.0, "the position in the list outlives a reload");
}

#[test]
fn what_is_asked_anew_is_shared_again() {
    let fleet = Fleet::builder()
        .each(|builder| {
            builder.location("/fresh", &shown("phantom_token_cache_bypass $arg_fresh_ok;"))
        })
        .start(2);
    let token = fleet.server.issue();
    warm(&fleet, &token);
    assert_eq!(fleet.purge(0, &form(&token)), 204);
    wait_until("the other to ask again", || {
        let response = fleet.gateways[1].get_as("/shown", &token.token);
        assert_passes(&response, &token);
        outcome(&response) != "HIT"
    });
    assert_eq!(calls(&fleet, &token), 2);
    wait_until("an answer that both share", || {
        let shared = fleet.server.issue();
        fleet.pass(0, &shared);
        fleet.pass(1, &shared) == "STORE"
    });
}

#[test]
fn a_gateway_cut_off_stops_serving_what_it_cannot_know() {
    let fleet = Fleet::builder()
        .each(|builder| builder.http("phantom_token_cache_offline_valid 1s;"))
        .start_in_sync(2);
    let token = fleet.server.issue();
    warm(&fleet, &token);
    fleet.server.revoke(&token.token);
    fleet.store.stop();
    wait_until_refused(&fleet, 1, &token);
    fleet.store.cont();
    fleet.wait_until_shared();
}
