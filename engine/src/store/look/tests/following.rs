//! Waiting for another gateway's call.

use super::*;

#[test]
fn who_follows_finds_the_answer_when_it_is_there() {
    let fleet = Fleet::new();
    let mut leased = Some(fleet.lead(&fleet.question()));
    let mut looks = Vec::new();
    let (looked, status) = fleet.look_while(&fleet.question(), |after| {
        looks.push(after);
        if after >= 35 {
            let answer = stored(b"jwt", NOW);
            leased.take().map(|leased| leased.write(&answer, fleet.now.get()));
        }
    });
    assert!(matches!(looked, Looked::Found(_)), "{looked:?}");
    assert_eq!(status.result, StoreResult::Wait);
    assert_eq!(looks, [20, 25, 30, 35], "half of the usual time, then each eighth of it");
}

#[test]
fn who_follows_does_not_wait_for_long() {
    for (usual, lock_timeout, last, looks) in [
        (Some(40), 500, 90, 15),
        (Some(40), 60, 60, 9),
        (Some(4), 500, 18, 17),
        (Some(400), 500, 500, 7),
        (None, 500, 500, 100),
    ] {
        let fleet = Fleet::new();
        let leased = fleet.lead(&fleet.question());
        let store = fleet.store(1, lock_timeout);
        let usual = usual.map(Duration::from_millis);
        let question = Question { store, usual, ..fleet.question() };
        let (mut latest, mut count) = (0, 0);
        let (looked, status) =
            fleet.look_while(&question, |after| (latest, count) = (after, count + 1));
        assert!(matches!(looked, Looked::Lead(_)), "{looked:?}");
        assert_eq!((status.result, latest, count), (StoreResult::Miss, last, looks), "{usual:?}");
        // Its own answer is taken, and what it does not learn it does not say.
        let marker = fleet.the_value();
        drop(looked);
        assert_eq!(fleet.the_value(), marker);
        drop(leased);
        assert_ne!(fleet.the_value(), marker);
    }
}

#[test]
fn nobody_follows_where_it_is_not_worth_it() {
    let fleet = Fleet::new();
    let _leased = fleet.lead(&fleet.question());
    for (what, question) in [
        ("fast", Question { usual: Some(Duration::from_micros(1_999)), ..fleet.question() }),
        ("off", Question { store: fleet.store(1, 0), ..fleet.question() }),
        ("bypass", Question { bypass: true, ..fleet.question() }),
    ] {
        assert_eq!(fleet.finds(&question), Err(StoreResult::Miss), "{what}");
    }
    let fleet = Fleet::new();
    let off = Question { store: fleet.store(1, 0), ..fleet.question() };
    let _leased = fleet.lead(&off);
    assert_eq!(fleet.memory.0.lock().names().len(), 1, "no marker");
}

#[test]
fn who_has_led_or_followed_tells_what_others_may_have() {
    let fleet = Fleet::new();
    for (word, inactive) in [(0, true), (1, false), (2, false)] {
        let mut leased = Some(fleet.lead(&fleet.question()));
        let began = fleet.now.get();
        let mut looks = 0;
        let (looked, status) = fleet.look_while(&fleet.question(), |_| {
            looks += 1;
            match (leased.take(), word) {
                (Some(leased), 0) => leased.inactive(began),
                (Some(leased), 1) => leased.nothing(),
                (leased, _) => drop(leased),
            }
        });
        assert_eq!(looks, 1);
        match inactive {
            true => {
                assert!(matches!(looked, Looked::Inactive), "{looked:?}");
                assert_eq!(status.result, StoreResult::Wait);
            }
            false => {
                assert!(matches!(looked, Looked::Lead(_)), "{looked:?}");
                assert_eq!(status.result, StoreResult::Miss);
            }
        }
        // As long as somebody may wait.
        fleet.at(fleet.now.get() + 500);
    }
    assert_eq!(fleet.memory.0.lock().names().len(), 1, "the lease");
}

#[test]
fn who_comes_after_an_inactive_answer_has_it_only_where_it_is_kept() {
    let fleet = Fleet::new();
    fleet.lead(&fleet.question()).inactive(NOW);
    fleet.at(NOW + 100);
    assert_eq!(fleet.finds(&fleet.question()), Err(StoreResult::Stale));
    let keeps = |inactive_ms| Question { inactive_ms, ..fleet.question() };
    assert_eq!(fleet.finds(&keeps(100)), Err(StoreResult::Stale));
    assert!(matches!(fleet.look(&keeps(101)), (Looked::Inactive, StoreResult::Hit)));
    assert_eq!(fleet.finds(&Question { bypass: true, ..keeps(101) }), Err(StoreResult::Stale));
}

#[test]
fn nobody_waits_for_a_marker_that_is_none() {
    let fleet = Fleet::new();
    let leased = fleet.lead(&fleet.question());
    let (name, marker) = {
        let contents = fleet.memory.0.lock();
        let name = contents.names().into_iter().find(|name| !name.ends_with(b":g")).unwrap();
        let marker = contents.get(&name).unwrap().to_vec();
        (name, marker)
    };
    // One that somebody kept, after the call's time, and one that somebody made up.
    fleet.at(NOW + 7_000);
    fleet.memory.0.lock().put(&name, &marker);
    assert_eq!(fleet.finds(&fleet.question()), Err(StoreResult::Miss));
    let mut forged = marker.clone();
    forged[40] ^= 1;
    fleet.memory.0.lock().put(&name, &forged);
    assert_eq!(fleet.finds(&fleet.question()), Err(StoreResult::Miss));
    drop(leased);
}

#[test]
fn a_purge_ends_the_waiting() {
    let fleet = Fleet::new();
    let leased = fleet.lead(&fleet.question());
    let (looked, status) = fleet.look_while(&fleet.question(), |_| {
        let mut contents = fleet.memory.0.lock();
        let lease = contents.names().into_iter().find(|name| name.ends_with(b":g")).unwrap();
        contents.lose(&lease);
    });
    assert!(matches!(looked, Looked::Alone), "{looked:?}");
    assert_eq!(status.result, StoreResult::Miss);
    drop(leased);
}

#[test]
fn a_purge_explains_why_what_was_waited_for_does_not_open() {
    let fleet = Fleet::new();
    let mut leased = Some(fleet.lead(&fleet.question()));
    let (looked, status) = fleet.look_while(&fleet.question(), |_| {
        {
            let mut contents = fleet.memory.0.lock();
            let lease = contents.names().into_iter().find(|name| name.ends_with(b":g")).unwrap();
            contents.lose(&lease);
        }
        // Another one has come meanwhile, and has made a lease.
        drop(fleet.lead(&Question { bypass: true, ..fleet.question() }));
        leased.take().map(|leased| leased.write(&stored(b"old", NOW), fleet.now.get()));
    });
    assert!(matches!(looked, Looked::Lead(_)), "{looked:?}");
    assert_eq!((status.result, status.remark), (StoreResult::Void, None));
}

#[test]
fn one_refreshes_and_the_others_take_what_it_learns() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"old");
    fleet.at(NOW + 200_000);
    let refresh = || Question { newer_than: Some(NOW), ..fleet.question() };
    let mut leased = Some(fleet.lead(&refresh()));
    assert!(leased.as_ref().is_some_and(Leased::has_value));
    // Who does not refresh is served meanwhile.
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"old".to_vec()));
    let (looked, status) = fleet.look_while(&refresh(), |_| {
        let now = fleet.now.get();
        leased.take().map(|leased| leased.write(&stored(b"new", now), now));
    });
    let Looked::Found(found) = looked else { panic!("{looked:?}") };
    assert_eq!((&found.stored.grant.jwt[..], status.result), (&b"new"[..], StoreResult::Wait));
    assert_eq!(fleet.finds(&refresh()), Ok(b"new".to_vec()), "it is newer");
}

#[test]
fn who_refreshes_in_vain_says_so() {
    let fleet = Fleet::new();
    for inactive in [true, false] {
        fleet.at(fleet.now.get() + 300_000);
        let began = fleet.now.get();
        fleet.answered(&fleet.question(), b"old");
        let refresh = || Question { newer_than: Some(began), ..fleet.question() };
        let mut leased = Some(fleet.lead(&refresh()));
        let (looked, _) = fleet.look_while(&refresh(), |_| match leased.take() {
            Some(leased) if inactive => leased.inactive(began),
            leased => drop(leased),
        });
        assert_eq!(matches!(looked, Looked::Inactive), inactive, "{looked:?}");
        assert_eq!(matches!(looked, Looked::Lead(_)), !inactive, "{looked:?}");
        assert_eq!(fleet.finds(&fleet.question()), Ok(b"old".to_vec()), "it stays as it is");
    }
}
