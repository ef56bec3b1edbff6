//! What gateways tell each other over a store in memory. Each has a thread where it waits for another.

use std::sync::Arc;
use std::thread;

use super::*;
use crate::answer::facts::Signer;
use crate::client::{CallError, Phase};
use crate::guard;
use crate::http::cache_control::CacheControl;
use crate::lifetime::CacheControlPolicy;
use crate::shared::state::testing::state;
use crate::store::keys::FleetKeys;
use crate::store::memory::Memory;
use crate::store::names::Names;
use crate::store::{Epoch, Identity, InSync, SignedBy, Store, StoreOptions};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

const TOKEN: &[u8] = b"an opaque token";

const KEEPS: Keeps = Keeps {
    in_zone: true,
    valid_ms: 300_000,
    inactive_ms: 1_000,
    control: CacheControlPolicy::Cap,
};

/// Gateways that share a store.
struct Gateways {
    memory: Memory,
    store: Arc<Store>,
    health: &'static StoreHealth,
}

impl Gateways {
    fn new() -> Gateways {
        let memory = Memory::default();
        let store = Store::new(StoreOptions {
            nodes: Arc::new(memory.clone()),
            keys: Arc::new(FleetKeys::new(&[&[7; 32]]).expect("a key")),
            names: Names::new("test").expect("a prefix"),
            timeout: LONG,
            lock_timeout: LONG,
            longest: Duration::from_secs(300),
        });
        memory.at(wall_ms());
        Gateways { memory, store: Arc::new(store), health: state().store() }
    }

    fn question(&self) -> Question {
        Question {
            store: self.store.clone(),
            token: TOKEN.to_vec().into(),
            hash: self.store.keys().first().hash_key().token(TOKEN),
            identity: Identity::of([&b"a server"[..]]),
            in_sync: Some(InSync { epoch: Epoch([9; 16]), since_ms: 0, known: Moment::NEVER }),
            purges: None,
            valid_ms: KEEPS.valid_ms,
            inactive_ms: KEEPS.inactive_ms,
            signed_by: SignedBy::Server,
            bypass: false,
            newer_than: None,
            usual: None,
            call: LONG,
        }
    }

    fn asking(&self) -> Fleet {
        Fleet::asking(self.question(), self.health, KEEPS)
    }

    /// One that has looked and found nothing: it is to ask the server.
    fn leading(&self) -> Fleet {
        let mut fleet = self.asking();
        assert!(look(&mut fleet).is_none());
        assert!(fleet.lead.is_some());
        fleet
    }

    /// What the next gateway finds.
    fn find(&self) -> Option<Found> {
        look(&mut self.asking())
    }
}

fn look(fleet: &mut Fleet) -> Option<Found> {
    fleet.look(Instant::now() + LONG)
}

fn grant() -> Grant {
    let mut grant = Grant::default();
    grant.jwt = b"a.b.c".to_vec();
    grant.claims = br#"{"sub":"alice"}"#.to_vec();
    grant.exp = Some(wall_ms() / 1000 + 3600);
    grant
}

fn answered(answer: Answer, control: CacheControl) -> End {
    let caching = Caching { control, age: 0 };
    End::Answered(Found { origin: Origin::AuthorizationServer, status: 200, answer, caching })
}

fn active() -> End {
    answered(Answer::Active(grant()), CacheControl::default())
}

fn of(answer: Answer) -> End {
    answered(answer, CacheControl::default())
}

fn timeout() -> End {
    End::Failed(CallError::Timeout(Phase::Wait))
}

fn panicked() -> End {
    guard::install();
    End::Panicked(guard::catch(|| panic!("a secret")).expect_err("it panics"))
}

/// The server was asked a while ago.
const AGO_MS: u64 = 20_000;

fn tell(fleet: &mut Fleet, mut end: End) -> End {
    fleet.tell(&mut end, wall_ms() - AGO_MS, 0);
    end
}

#[test]
fn what_one_gateway_was_told_the_next_finds() {
    let gateways = Gateways::new();
    let mut first = gateways.leading();
    let control = CacheControl { max_age: Some(100), ..CacheControl::default() };
    let expected = grant();
    let end = tell(&mut first, answered(Answer::Active(expected.clone()), control));
    let End::Answered(Found { answer: Answer::Active(kept), .. }) = end else { panic!("{end:?}") };
    assert!(kept == expected, "the gateway that asked has it yet");
    let FleetDone { said: Some(said), lead: None, write: None, is_over: false } = first.done()
    else {
        panic!("sent, and nothing else");
    };
    assert_eq!(said.status.result, StoreResult::Miss);

    let mut next = gateways.asking();
    let Some(Found { origin: Origin::Store { aged, .. }, status: 0, answer, caching }) =
        look(&mut next)
    else {
        panic!("nothing is found");
    };
    assert!(matches!(answer, Answer::Active(grant) if grant == expected));
    assert_eq!(caching, Caching::default(), "its end counts, not how that was found");
    assert!(
        (AGO_MS..AGO_MS + 10_000).contains(&aged.age_ms),
        "since the server was asked: {aged:?}"
    );
    assert!(aged.left_ms.is_some_and(|left| (90_000..=100_000).contains(&left)), "{aged:?}");
    assert!(aged.may_stale);
    assert_eq!(next.done().said.unwrap().status.result, StoreResult::Hit);
}

#[test]
fn what_the_zone_would_not_keep_is_not_left_there() {
    let no_store = CacheControl { no_store: true, ..CacheControl::default() };
    let used_up = CacheControl { s_maxage: Some(0), ..CacheControl::default() };
    let strict = Keeps { control: CacheControlPolicy::Strict, ..KEEPS };
    let expired = {
        let mut grant = grant();
        grant.exp = Some(wall_ms() / 1000 - 1);
        grant
    };
    for (keeps, grant, control, is_left) in [
        (KEEPS, grant(), CacheControl::default(), true),
        (KEEPS, grant(), no_store, true),
        (strict, grant(), CacheControl::default(), true),
        (strict, grant(), no_store, false),
        (Keeps { valid_ms: 0, ..KEEPS }, grant(), CacheControl::default(), false),
        (Keeps { in_zone: false, ..KEEPS }, grant(), CacheControl::default(), false),
        (KEEPS, grant(), used_up, false),
        (KEEPS, expired, CacheControl::default(), false),
    ] {
        let gateways = Gateways::new();
        let mut first = gateways.leading();
        first.keeps = keeps;
        tell(&mut first, answered(Answer::Active(grant), control));
        assert_eq!(gateways.find().is_some(), is_left, "{keeps:?} {control:?}");
    }
}

#[test]
fn an_answer_that_must_not_serve_stale_does_not_after_a_journey() {
    let gateways = Gateways::new();
    let mut first = gateways.leading();
    let mut endless = grant();
    endless.is_endless = true;
    tell(&mut first, of(Answer::Active(endless)));
    let Some(Found { origin: Origin::Store { aged, .. }, .. }) = gateways.find() else {
        panic!("nothing is found");
    };
    assert!(!aged.may_stale);
}

/// What becomes of a gateway that waits while `end` is told.
fn waiting(end: impl FnOnce() -> End) -> Option<Found> {
    let gateways = Gateways::new();
    let mut first = gateways.leading();
    let looked_before = gateways.memory.0.lock().commands;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| gateways.find());
        // It has looked once, and sleeps or looks again.
        while gateways.memory.0.lock().commands < looked_before + 3 {
            thread::yield_now();
        }
        tell(&mut first, end());
        waiter.join().expect("it returns")
    })
}

#[test]
fn who_waits_gets_the_answer() {
    let found = waiting(active);
    assert!(matches!(found, Some(Found { answer: Answer::Active(_), .. })));
    let found = waiting(|| of(Answer::Inactive(None)));
    assert!(matches!(
        found,
        Some(Found { answer: Answer::Inactive(None), origin: Origin::Store { .. }, status: 0, .. })
    ));
}

#[test]
fn who_waits_for_nothing_asks_at_once() {
    let no_store = CacheControl { no_store: true, ..CacheControl::default() };
    // None comes back before `LONG` is over unless it is told.
    for end in [
        timeout(),
        of(Answer::Failed(NoVerdict::Status(500))),
        of(Answer::Failed(NoVerdict::Credentials(401))),
        End::Skipped,
        End::Unsent,
        panicked(),
    ] {
        assert!(waiting(|| end).is_none());
    }
    let gateways = Gateways::new();
    let mut first = gateways.leading();
    first.keeps.control = CacheControlPolicy::Strict;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| gateways.find());
        tell(&mut first, answered(Answer::Active(grant()), no_store));
        assert!(waiter.join().expect("it returns").is_none(), "not kept");
    });
}

#[test]
fn a_lead_that_is_dropped_is_told_too() {
    let gateways = Gateways::new();
    let first = gateways.leading();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| gateways.find());
        drop(first);
        assert!(waiter.join().expect("it returns").is_none());
    });
}

#[test]
fn a_lead_goes_along_where_another_attempt_may_follow() {
    let unavailable = || of(Answer::Failed(NoVerdict::Unavailable { retry_after: None }));
    let refused = || of(Answer::Failed(NoVerdict::Credentials(401)));
    let cases = [
        (timeout(), 1, false, true),
        (timeout(), 0, false, false),
        (End::Skipped, 1, false, true),
        (End::Skipped, 0, false, false),
        (End::NotStored, 0, false, true),
        (unavailable(), 1, false, true),
        (unavailable(), 0, false, false),
        // An odd token must not make a chain.
        (of(Answer::Failed(NoVerdict::Status(500))), 1, false, false),
        (refused(), 1, false, false),
        (refused(), 0, true, true),
        (active(), 1, true, false),
        (End::Unsent, 1, true, false),
    ];
    for (nth, (mut end, others, tries_raw, goes_along)) in cases.into_iter().enumerate() {
        let gateways = Gateways::new();
        let mut first = gateways.leading().and_raw(tries_raw);
        first.tell(&mut end, wall_ms(), others);
        let done = first.done();
        assert_eq!(done.lead.is_some(), goes_along, "case {nth}");
        let Some(lead) = done.lead else { continue };
        // And the next attempt does not look again.
        let mut next = Fleet::leading(lead, gateways.health, KEEPS);
        let before = gateways.memory.0.lock().commands;
        assert!(look(&mut next).is_none());
        assert_eq!(gateways.memory.0.lock().commands, before);
        tell(&mut next, active());
        assert!(next.done().said.is_none());
        assert!(gateways.find().is_some(), "it says what it was told");
    }
}

#[test]
fn the_fleet_is_told_where_what_lies_there_is_over() {
    for (answer, is_over) in [
        (of(Answer::Inactive(None)), true),
        (active(), false),
        (of(Answer::Failed(NoVerdict::Status(500))), false),
        (timeout(), false),
    ] {
        let gateways = Gateways::new();
        tell(&mut gateways.leading(), active());
        let bypass = Question { bypass: true, ..gateways.question() };
        let mut anew = Fleet::asking(bypass, gateways.health, KEEPS);
        assert!(look(&mut anew).is_none(), "it is not to be served");
        tell(&mut anew, answer);
        assert_eq!(anew.done().is_over, is_over);
    }
    // Nothing lay there.
    let gateways = Gateways::new();
    let mut first = gateways.leading();
    tell(&mut first, of(Answer::Inactive(None)));
    assert!(!first.done().is_over);
}

#[test]
fn a_bypass_takes_the_place_of_what_is_there() {
    let gateways = Gateways::new();
    tell(&mut gateways.leading(), active());
    let bypass = Question { bypass: true, ..gateways.question() };
    let mut anew = Fleet::asking(bypass, gateways.health, KEEPS);
    assert!(look(&mut anew).is_none());
    let mut newer = grant();
    newer.jwt = b"d.e.f".to_vec();
    tell(&mut anew, of(Answer::Active(newer.clone())));
    let found = gateways.find().expect("an answer");
    assert!(matches!(found.answer, Answer::Active(grant) if grant == newer));
}

#[test]
fn a_jwt_minted_by_a_key_that_is_not_published_is_left_alone() {
    const OURS: Signer = [1; 8];
    const THEIRS: Signer = [2; 8];
    let gateways = Gateways::new();
    let minting = |keys: &[Signer]| {
        let signed_by = SignedBy::Gateway(keys.into());
        Fleet::asking(Question { signed_by, ..gateways.question() }, gateways.health, KEEPS)
    };
    let signed = |signer| {
        let mut grant = grant();
        grant.signer = Some(signer);
        of(Answer::Active(grant))
    };
    let mut first = minting(&[THEIRS]);
    assert!(look(&mut first).is_none());
    tell(&mut first, signed(THEIRS));

    let mut other = minting(&[OURS]);
    assert!(look(&mut other).is_none());
    tell(&mut other, signed(OURS));
    assert_eq!(other.done().said.unwrap().status.remark, Some(store::Remark::UnpublishedKey));
    // In a rotation both are published.
    let Some(Found { answer: Answer::Active(kept), .. }) = look(&mut minting(&[OURS, THEIRS]))
    else {
        panic!("nothing is found");
    };
    assert_eq!(kept.signer, Some(THEIRS));
}

#[test]
fn a_store_that_rests_is_not_asked() {
    let gateways = Gateways::new();
    gateways.health.rest(1);
    let mut fleet = gateways.asking();
    assert!(look(&mut fleet).is_none());
    assert_eq!(gateways.memory.0.lock().commands, 0);
    assert_eq!(fleet.done().said.unwrap().status, SKIPPED);
}

#[test]
fn a_store_that_fails_is_a_miss() {
    let gateways = Gateways::new();
    gateways.memory.0.lock().away = true;
    let mut fleet = gateways.asking();
    assert!(look(&mut fleet).is_none());
    let End::Answered(_) = tell(&mut fleet, active()) else { panic!("the answer stays") };
    let done = fleet.done();
    assert_eq!(done.said.unwrap().status.result, StoreResult::Failed);
    assert!(done.lead.is_none() && done.write.is_none());
}

#[test]
fn whose_time_is_over_asks_nothing() {
    let gateways = Gateways::new();
    let mut fleet = gateways.asking();
    assert!(fleet.look(Instant::now()).is_none());
    assert_eq!(gateways.memory.0.lock().commands, 0);
    assert!(fleet.done().said.is_none());
}
