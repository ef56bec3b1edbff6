//! What each operation does, one by one; and the block of memory that all the arena's tests use.

use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::answer::binding::{Binding, Bound};
use crate::answer::facts::Facts;
use crate::answer::nature::{Nature, TokenKind};
use crate::lifetime::{Expiry, Life};
use crate::shared::lock;
use crate::shared::state::testing::at;
use crate::token::key::{IdentityHash, Key, TokenHash};

/// An arena of this test's own.
pub(super) struct Zone {
    pub(super) arena: Arena,
    word: AtomicUsize,
    _memory: Vec<u64>,
}

impl Zone {
    pub(super) fn new(len: usize) -> Self {
        // Not zeroed: what was there before must not matter.
        let mut memory = vec![0xa5a5_a5a5_a5a5_a5a5_u64; len.div_ceil(8)];
        let base = NonNull::new(memory.as_mut_ptr().cast()).unwrap();
        // SAFETY: the vector is moved with the zone, its buffer stays, and nobody else uses it.
        let arena = unsafe { Arena::create(base, len, [7; 16]) }.unwrap();
        Self { arena, word: AtomicUsize::new(0), _memory: memory }
    }

    /// Locks it as process 1, whoever held it before.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Locked<'_>) -> R) -> R {
        let mut guard = lock::acquire(&self.word, at(1, 0, &|_| false)).unwrap();
        f(&mut self.arena.locked(&mut guard))
    }

    pub(super) fn check(&self) -> Counts {
        self.with(|arena| arena.check()).unwrap()
    }
}

/// A key that costs less than a hash and is spread as well.
pub(super) fn key(token: u32, identity: u32) -> Key {
    let spread = |n: u32| u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Key {
        token: TokenHash(spread(token).to_be_bytes()),
        identity: IdentityHash(spread(identity).to_be_bytes()),
    }
}

pub(super) fn flight(id: u64, slot: u8) -> Call {
    let owner = Owner { pid: 100 + u32::from(slot), slot };
    Call { id, owner, deadline: 1_000, seen: Seen::default() }
}

const NATURE: Nature = Nature {
    kind: TokenKind::Named,
    binding: Binding { dpop: Bound::Unsaid, certificate: Bound::No, other: false },
};

fn active(jwt: &[u8]) -> Entry<'_> {
    let times = Life {
        stored: 1,
        until: Some(2),
        exp: Some(Expiry { exp: 3, end_ms: 4 }),
        may_stale: true,
    };
    Entry {
        kind: Kind::Active,
        facts: Facts {
            life: times,
            nature: NATURE,
            jwt,
            scope: b"read",
            claims: b"{}",
            ..Facts::default()
        },
    }
}

fn inactive(until: u64) -> Entry<'static> {
    let life = Life { stored: 0, until: Some(until), ..Life::default() };
    Entry::inactive(life, Moment::NEVER)
}

fn find(zone: &Zone, key: &Key) -> Option<Vec<u8>> {
    let mut record = Record::with_room(4096);
    match zone.with(|arena| arena.find(key, &mut record)) {
        Find::Hit => Some(record.facts().jwt.to_vec()),
        Find::Miss => None,
        Find::NeedSpace(_) => panic!("no room"),
    }
}

const EVERYBODY: fn(u32) -> bool = |_| true;

#[test]
fn what_goes_in_comes_out() {
    let zone = Zone::new(1 << 20);
    let jwt = vec![b'j'; 1000];
    let mut record = Record::default();
    let stored = zone.with(|arena| arena.store(&key(1, 1), &active(&jwt)));
    assert_eq!(stored, Stored::Yes { evicted: 0 });
    assert_eq!(zone.with(|arena| arena.find(&key(1, 1), &mut record)), Find::NeedSpace(1006));
    record.reserve(1006).unwrap();
    assert_eq!(zone.with(|arena| arena.find(&key(1, 1), &mut record)), Find::Hit);
    assert_eq!(
        (record.facts().jwt, record.facts().scope, record.facts().claims),
        (&*jwt, &b"read"[..], &b"{}"[..])
    );
    assert_eq!(record.facts().life, active(&jwt).facts.life);
    assert_eq!(record.facts().nature, NATURE);
    assert_eq!(format!("{record:?}").matches("jjj").count(), 0);

    for other in [key(1, 2), key(2, 1)] {
        assert_eq!(zone.with(|arena| arena.find(&other, &mut record)), Find::Miss);
    }
    zone.with(|arena| arena.store(&key(1, 1), &inactive(9)));
    assert_eq!(zone.with(|arena| arena.find(&key(1, 1), &mut record)), Find::Hit);
    assert_eq!((record.kind(), record.facts().jwt), (Kind::Inactive, &b""[..]));
    zone.check();
}

#[test]
fn every_length_at_a_blocks_edge() {
    let zone = Zone::new(1 << 20);
    for len in (0..400).chain([1024, 4096 - 104, 4096 - 6]) {
        let jwt: Vec<u8> = (0..len).map(|n| n as u8).collect();
        zone.with(|arena| arena.store(&key(1, 1), &active(&jwt)));
        assert_eq!(find(&zone, &key(1, 1)).unwrap(), jwt);
        zone.check();
    }
}

#[test]
fn another_process_finds_it_and_other_blocks_are_refused() {
    let zone = Zone::new(1 << 20);
    zone.with(|arena| arena.store(&key(1, 1), &active(b"a.b.c")));
    let mut memory = vec![0_u64; 1 << 17];
    // SAFETY: both are 1 MiB of memory that belongs to this test, and no one else runs.
    unsafe {
        let mine = NonNull::new(memory.as_mut_ptr().cast::<u8>()).unwrap();
        assert!(Arena::attach(mine, 1 << 20).is_err());
        mine.as_ptr().copy_from_nonoverlapping(zone._memory.as_ptr().cast(), 1 << 20);
        assert!(Arena::attach(mine, (1 << 20) - 8).is_err());
        assert!(Arena::create(mine, MIN_SIZE - 1, [0; 16]).is_err());
        let arena = Arena::attach(mine, 1 << 20).unwrap();
        assert_eq!(arena.hash_key().0, [7; 16]);
        let word = AtomicUsize::new(0);
        let mut guard = lock::acquire(&word, at(2, 0, &EVERYBODY)).unwrap();
        let mut record = Record::with_room(64);
        assert_eq!(arena.locked(&mut guard).find(&key(1, 1), &mut record), Find::Hit);
        assert_eq!(record.facts().jwt, b"a.b.c");
    }
}

#[test]
fn a_token_has_eight_entries_and_a_purge_takes_them_all() {
    let zone = Zone::new(1 << 20);
    zone.with(|arena| arena.store(&key(2, 0), &active(b"other")));
    for identity in 0..9 {
        zone.with(|arena| arena.store(&key(1, identity), &active(b"jwt")));
    }
    assert_eq!(find(&zone, &key(1, 0)), None);
    assert!((1..9).all(|identity| find(&zone, &key(1, identity)).is_some()));
    // An inactive answer does not drive a good entry out, not even one of its own token.
    assert_eq!(zone.with(|arena| arena.store(&key(1, 9), &inactive(9))), Stored::NoRoom);
    assert_eq!(zone.check().active, 9);

    assert!(zone.with(|arena| arena.remove(&key(1, 8))));
    let removed = zone.with(|arena| arena.remove_active(&key(1, 7)));
    assert_eq!(removed, Some(active(b"").facts.life));
    assert_eq!(zone.with(|arena| arena.remove_active(&key(1, 7))), None);
    zone.with(|arena| arena.store(&key(1, 7), &inactive(9)));
    assert_eq!(zone.with(|arena| arena.remove_active(&key(1, 7))), None);
    assert!(!zone.with(|arena| arena.remove(&key(1, 8))));
    zone.with(|arena| arena.store(&key(1, 9), &inactive(9)));
    let _ = zone.with(|arena| arena.join_or_lead(&key(1, 7), &flight(1, 1), at(1, 0, &EVERYBODY)));
    assert_eq!(zone.with(|arena| arena.purge(&key(1, 0).token)), 9);
    assert_eq!(zone.with(|arena| arena.purge(&key(1, 0).token)), 0);
    assert_eq!(find(&zone, &key(2, 0)).unwrap(), b"other");
    assert_eq!(
        zone.check(),
        Counts { active: 1, live_bytes: 123, longest_chain: 1, ..Counts::default() }
    );
}

#[test]
fn an_answer_too_large_also_ends_the_one_before_it() {
    let zone = Zone::new(MIN_SIZE);
    zone.with(|arena| arena.store(&key(1, 1), &active(b"jwt")));
    let jwt = vec![b'j'; MIN_SIZE];
    assert_eq!(zone.with(|arena| arena.store(&key(1, 1), &active(&jwt))), Stored::TooLarge);
    assert_eq!(find(&zone, &key(1, 1)), None);
    let zone = Zone::new(1 << 20);
    let jwt = vec![b'j'; layout::MAX_PAYLOAD];
    assert_eq!(zone.with(|arena| arena.store(&key(1, 1), &active(&jwt))), Stored::TooLarge);
    let mut fits = active(&jwt);
    (fits.facts.scope, fits.facts.claims) = (b"", b"");
    assert_eq!(zone.with(|arena| arena.store(&key(1, 1), &fits)), Stored::Yes { evicted: 0 });
    zone.check();
}

#[test]
fn clearing_forgets_everything_and_counts_no_reset() {
    let zone = Zone::new(1 << 20);
    for token in 0..100 {
        zone.with(|arena| arena.store(&key(token, 1), &active(b"jwt")));
        let _ = zone
            .with(|arena| arena.join_or_lead(&key(token, 2), &flight(1, 1), at(1, 0, &EVERYBODY)));
    }
    assert!(zone.arena.stats().used_bytes > 0);
    zone.with(|arena| arena.clear());
    assert!((0..100).all(|token| find(&zone, &key(token, 1)).is_none()));
    assert_eq!(zone.check(), Counts::default());
    let size_bytes = 1 << 20;
    assert_eq!(zone.arena.stats(), Stats { size_bytes, ..Stats::default() });
}

#[test]
fn an_epoch_that_comes_round_brings_nothing_back() {
    let zone = Zone::new(1 << 20);
    zone.with(|arena| {
        arena.memory.empty();
        arena.memory.store32(header::EPOCH, u32::MAX - 1);
        arena.memory.empty();
        arena.store(&key(1, 1), &active(b"jwt"));
        arena.clear();
        assert_eq!(arena.memory.load32(header::EPOCH), 1);
    });
    for _ in 0..3 {
        assert_eq!(find(&zone, &key(1, 1)), None);
        zone.with(|arena| arena.clear());
    }
    zone.check();
}

#[test]
fn inactive_entries_that_ran_out_go_in_passing() {
    let zone = Zone::new(1 << 20);
    for token in 0..10 {
        zone.with(|arena| arena.store(&key(token, 1), &inactive(100)));
    }
    let now = |stored| {
        Entry::inactive(Life { stored, until: Some(200), ..Life::default() }, Moment::NEVER)
    };
    zone.with(|arena| arena.store(&key(10, 1), &now(99)));
    assert_eq!(zone.check().inactive, 11);
    for token in 11..16 {
        zone.with(|arena| arena.store(&key(token, 1), &now(100)));
    }
    assert_eq!(zone.check().inactive, 6);
    assert_eq!(zone.arena.stats().evictions, 0);
}

#[test]
fn one_leads_the_others_follow_and_take_the_answer_once() {
    let zone = Zone::new(1 << 20);
    let (key, mut record) = (key(1, 1), Record::with_room(64));
    let join = |slot| {
        let mine = flight(u64::from(slot), slot);
        zone.with(|arena| arena.join_or_lead(&key, &mine, at(mine.owner.pid, 0, &EVERYBODY)))
    };
    assert_eq!(join(1), Joined::Lead);
    let follow = Joined::Follow { flight: 1, owner_pid: 101, deadline: 1_000 };
    assert_eq!((join(2), join(2), join(255)), (follow, follow, follow));
    assert_eq!(zone.with(|arena| arena.followers(&key, 1)), Some(2));

    let mut poll = |slot| {
        let mine = flight(10 + u64::from(slot), slot);
        zone.with(|arena| {
            arena.poll(&key, 1, &mine, at(mine.owner.pid, 0, &EVERYBODY), &mut record)
        })
    };
    assert_eq!(poll(2), Poll::Waiting);
    assert_eq!(poll(3), Poll::Gone);
    let outcome = Left::Failed { code: 65_000, retry_after: 30 };
    assert_eq!(zone.with(|arena| arena.answer(&key, 7, outcome)), AnsweredFor::Lost);
    assert_eq!(zone.with(|arena| arena.answer(&key, 1, outcome)), AnsweredFor::Others);
    assert_eq!(zone.with(|arena| arena.answer(&key, 1, outcome)), AnsweredFor::Lost);
    let failed = Poll::Taken(Taken::Failed { code: 65_000, retry_after: 30 });
    assert_eq!((poll(2), poll(2)), (failed, Poll::Gone));

    // Who comes now starts a new flight; who waited still gets the old answer.
    assert_eq!(join(4), Joined::Lead);
    assert_eq!(poll(255), failed);
    assert_eq!(zone.with(|arena| arena.answer(&key, 4, outcome)), AnsweredFor::Nobody);
    assert_eq!(zone.check(), Counts::default());
}

#[test]
fn an_answer_that_may_not_be_kept_reaches_those_who_waited() {
    let zone = Zone::new(1 << 20);
    let (key, mut record) = (key(1, 1), Record::default());
    for slot in 1..=3 {
        let mine = flight(u64::from(slot), slot);
        let _ =
            zone.with(|arena| arena.join_or_lead(&key, &mine, at(mine.owner.pid, 0, &EVERYBODY)));
    }
    let entry = active(&[b'j'; 500]);
    let answered = zone.with(|arena| arena.answer(&key, 1, Left::Active(entry)));
    assert_eq!(answered, AnsweredFor::Others);
    assert_eq!(find(&zone, &key), None);
    zone.check();
    let poll = |record: &mut Record, slot| {
        zone.with(|arena| arena.poll(&key, 1, &flight(9, slot), at(1, 0, &EVERYBODY), record))
    };
    assert_eq!(poll(&mut record, 2), Poll::NeedSpace(506));
    record.reserve(506).unwrap();
    for slot in 2..=3 {
        assert_eq!(poll(&mut record, slot), Poll::Taken(Taken::Active));
        assert_eq!((record.kind(), record.facts().jwt), (Kind::Active, &[b'j'; 500][..]));
    }
    assert_eq!(zone.check(), Counts::default());
    assert_eq!(zone.arena.stats().used_bytes, 0);
}

#[test]
fn a_stored_answer_is_found_and_a_purged_one_is_gone() {
    let zone = Zone::new(1 << 20);
    let (key, mut record) = (key(1, 1), Record::with_room(64));
    let mut poll = |flight_id, slot| {
        let mine = flight(9, slot);
        zone.with(|arena| {
            arena.poll(&key, flight_id, &mine, at(mine.owner.pid, 0, &EVERYBODY), &mut record)
        })
    };
    for slot in 1..=3 {
        let _ = zone.with(|arena| arena.join_or_lead(&key, &flight(1, slot), at(1, 0, &EVERYBODY)));
    }
    zone.with(|arena| {
        arena.store(&key, &active(b"jwt"));
        assert_eq!(arena.answer(&key, 1, Left::Stored), AnsweredFor::Others);
    });
    assert_eq!(poll(1, 2), Poll::Taken(Taken::Stored));
    assert_eq!(zone.with(|arena| arena.purge(&key.token)), 2);
    assert_eq!(poll(1, 3), Poll::Gone);
    let lost = zone.with(|arena| arena.answer(&key, 1, Left::Inactive));
    assert_eq!(lost, AnsweredFor::Lost);
    assert_eq!(zone.check(), Counts::default());
}

#[test]
fn a_dead_owners_flight_goes_to_exactly_one() {
    let zone = Zone::new(1 << 20);
    let (key, mut record) = (key(1, 1), Record::with_room(64));
    for slot in 1..=4 {
        let _ = zone.with(|arena| arena.join_or_lead(&key, &flight(1, slot), at(1, 0, &EVERYBODY)));
    }
    let dead = |pid| pid != 101;
    let mut poll = |flight_id, mine: Call| {
        zone.with(|arena| {
            arena.poll(&key, flight_id, &mine, at(mine.owner.pid, 0, &dead), &mut record)
        })
    };
    assert_eq!(poll(1, flight(2, 2)), Poll::Lead);
    assert_eq!(poll(1, flight(3, 3)), Poll::Gone);
    let joined = zone.with(|arena| arena.join_or_lead(&key, &flight(3, 3), at(1, 0, &dead)));
    assert_eq!(joined, Joined::Follow { flight: 2, owner_pid: 102, deadline: 1_000 });
    assert_eq!(poll(2, flight(3, 3)), Poll::Waiting);
    // The one that was thought dead comes back: its answer has no mark any more.
    let late = zone.with(|arena| arena.answer(&key, 1, Left::Inactive));
    assert_eq!(late, AnsweredFor::Lost);

    // Nor does a deadline leave two leading.
    let join = |id, now| {
        let mine = Call { deadline: now + 1_000, ..flight(id, id as u8) };
        zone.with(|arena| arena.join_or_lead(&key, &mine, at(mine.owner.pid, now, &dead)))
    };
    assert_eq!(join(5, 1_000), Joined::Lead);
    assert!(matches!(join(6, 1_000), Joined::Follow { flight: 5, .. }));
    zone.check();
}

#[test]
fn nobody_follows_a_call_from_before_a_purge_of_its_token() {
    let zone = Zone::new(1 << 20);
    let key = key(1, 1);
    let join = |id, asked, purged| {
        let [asked, purged] = [asked, purged].map(|nth: u64| Moment::from_bits(16 * nth));
        let seen = Seen { purges: 0, asked, purged };
        let mine = Call { seen, ..flight(id, id as u8) };
        zone.with(|arena| arena.join_or_lead(&key, &mine, at(1, 0, &EVERYBODY)))
    };
    assert_eq!(join(1, 5, 0), Joined::Lead);
    // Others were purged since.
    assert!(matches!(join(2, 7, 5), Joined::Follow { flight: 1, .. }));
    assert_eq!(join(3, 7, 6), Joined::Lead);
    assert!(matches!(join(4, 7, 7), Joined::Follow { flight: 3, .. }));
    zone.check();
}

#[test]
fn nobody_follows_a_call_from_before_an_inactive_answer() {
    let zone = Zone::new(1 << 20);
    let (key, mut record) = (key(1, 1), Record::with_room(64));
    let seen = |purges| Seen { purges, ..Seen::default() };
    let mine = |id, purges| Call { seen: seen(purges), ..flight(id, id as u8) };
    let join = |id, purges| {
        zone.with(|arena| arena.join_or_lead(&key, &mine(id, purges), at(1, 0, &EVERYBODY)))
    };
    assert_eq!(join(1, u32::MAX), Joined::Lead);
    // One that does not know of all that the call knows may follow it.
    for (id, purges) in [(2, u32::MAX), (3, u32::MAX - 1)] {
        assert!(matches!(join(id, purges), Joined::Follow { flight: 1, .. }));
    }
    // The count has wrapped: one that knows more leads.
    assert_eq!(join(4, 0), Joined::Lead);
    assert!(matches!(join(5, 0), Joined::Follow { flight: 4, .. }));
    let mut poll = |flight_id, id| {
        zone.with(|arena| {
            arena.poll(&key, flight_id, &mine(id, 0), at(1, 0, &EVERYBODY), &mut record)
        })
    };
    assert_eq!((poll(1, 2), poll(1, 3), poll(4, 5)), (Poll::Gone, Poll::Gone, Poll::Waiting));
    let late = zone.with(|arena| arena.answer(&key, 1, Left::Active(active(b"jwt"))));
    assert_eq!(late, AnsweredFor::Lost);
    zone.check();
}

#[test]
fn leaving_cancelling_and_reaping_free_marks() {
    let zone = Zone::new(1 << 20);
    let join = |token, id, slot, now| {
        let mine = flight(id, slot);
        zone.with(|arena| {
            arena.join_or_lead(&key(token, 1), &mine, at(mine.owner.pid, now, &EVERYBODY))
        })
    };
    let outcome = Left::Inactive;
    // Left before the answer: nobody waits.
    assert_eq!(join(1, 1, 1, 0), Joined::Lead);
    let _ = join(1, 2, 2, 0);
    zone.with(|arena| arena.leave(&key(1, 1), 1, 2));
    assert_eq!(zone.with(|arena| arena.answer(&key(1, 1), 1, outcome)), AnsweredFor::Nobody);
    // Left after it: the last one frees it.
    assert_eq!(join(1, 3, 1, 0), Joined::Lead);
    let _ = join(1, 4, 2, 0);
    assert_eq!(zone.with(|arena| arena.answer(&key(1, 1), 3, outcome)), AnsweredFor::Others);
    zone.with(|arena| arena.leave(&key(1, 1), 3, 2));
    assert_eq!(zone.check().marks, 0);
    // Given up.
    assert_eq!(join(1, 5, 1, 0), Joined::Lead);
    assert!(zone.with(|arena| arena.cancel(&key(1, 1), 5)));
    assert!(!zone.with(|arena| arena.cancel(&key(1, 1), 5)));
    // Left behind: two go whenever one comes, but not before their grace is over.
    (1..=4).for_each(|token| assert_eq!(join(token, 1, 1, 0), Joined::Lead));
    assert_eq!(join(5, 1, 1, 1_999), Joined::Lead);
    assert_eq!(zone.check().marks, 5);
    assert_eq!(join(6, 1, 1, 2_000), Joined::Lead);
    assert_eq!(zone.check().marks, 4);
}

#[test]
fn marks_are_bounded_and_then_everyone_calls_for_himself() {
    let zone = Zone::new(1 << 20);
    let join = |token, identity| {
        let mine = flight(1, 1);
        zone.with(|arena| {
            arena.join_or_lead(&key(token, identity), &mine, at(mine.owner.pid, 0, &EVERYBODY))
        })
    };
    (0..32).for_each(|identity| assert_eq!(join(1, identity), Joined::Lead));
    assert_eq!(join(1, 32), Joined::Full);
    // An answered one makes way.
    let two = flight(2, 2);
    let _ =
        zone.with(|arena| arena.join_or_lead(&key(1, 0), &two, at(two.owner.pid, 0, &EVERYBODY)));
    zone.with(|arena| arena.answer(&key(1, 0), 1, Left::Inactive));
    assert_eq!(join(1, 32), Joined::Lead);

    let led = (2..20_000).take_while(|token| join(*token, 0) == Joined::Lead).count();
    let small_max = zone.arena.memory.geometry.small_max as usize;
    assert_eq!(led + 32, small_max);
    assert_eq!(zone.check().marks as usize, small_max);
    // Marks leave no room for inactive answers, but good ones are not shut out.
    assert_eq!(zone.with(|arena| arena.store(&key(1, 50), &inactive(9))), Stored::NoRoom);
    let stored = zone.with(|arena| arena.store(&key(1, 50), &active(b"jwt")));
    assert_eq!(stored, Stored::Yes { evicted: 0 });
}

#[test]
fn a_held_answer_without_room_is_said_so() {
    let zone = Zone::new(MIN_SIZE);
    for slot in 1..=2 {
        let _ = zone
            .with(|arena| arena.join_or_lead(&key(1, 1), &flight(1, slot), at(1, 0, &EVERYBODY)));
    }
    let jwt = vec![b'j'; MIN_SIZE / 2];
    let answered = zone.with(|arena| arena.answer(&key(1, 1), 1, Left::Active(active(&jwt))));
    assert_eq!(answered, AnsweredFor::TooLarge);
    assert_eq!(zone.check(), Counts::default());
}

#[test]
fn hashes_are_used_whole() {
    // Keys that differ in one byte only are different keys.
    let zone = Zone::new(1 << 20);
    let base = Key { token: TokenHash([1; 16]), identity: IdentityHash([2; 16]) };
    zone.with(|arena| arena.store(&base, &active(b"jwt")));
    for byte in 0..16 {
        let (mut token, mut identity) = (base, base);
        token.token.0[byte] ^= 0x80;
        identity.identity.0[byte] ^= 0x80;
        assert_eq!((find(&zone, &token), find(&zone, &identity)), (None, None));
    }
    assert!(find(&zone, &base).is_some());
}

/// Damages one word of a zone with one entry of several blocks and asks for it and another one.
fn damaged(
    word: impl Fn(&Locked<'_>, memory::Block) -> (usize, u32),
) -> (Zone, [Option<Vec<u8>>; 2]) {
    let zone = Zone::new(MIN_SIZE);
    zone.with(|arena| {
        arena.store(&key(1, 1), &active(&[b'j'; 500]));
        let (at, value) = word(arena, arena.entry(&key(1, 1)).unwrap().unwrap());
        arena.memory.store32(at, value);
    });
    let found = [find(&zone, &key(1, 2)), find(&zone, &key(1, 1))];
    (zone, found)
}

#[test]
fn a_chain_that_is_a_ring_ends() {
    let (zone, found) =
        damaged(|arena, block| (arena.memory.field(block, layout::item::NEXT), block.raw()));
    assert_eq!(found, [None, None]);
    assert_eq!(zone.arena.stats().resets, 1);
    zone.check();
}

#[test]
fn a_run_of_blocks_that_does_not_end_where_it_should_is_noticed() {
    let link = |n: u32| {
        damaged(move |arena, first| {
            let block = (0..n).fold(first, |at, _| arena.memory.after(at).unwrap().unwrap());
            (arena.memory.link(block), first.raw())
        })
    };
    let tail = |by: u32| {
        damaged(move |arena, block| {
            let at = arena.memory.field(block, layout::item::TAIL);
            (at, arena.memory.load32(at) - by)
        })
    };
    for (zone, found) in [link(0), link(1), link(4), tail(1), tail(4)] {
        assert_eq!(found, [None, None]);
        assert_eq!(zone.arena.stats().resets, 1);
        zone.check();
    }
}
