//! A process dies between any two writes of any operation: the next one finds the arena whole, or
//! empty, and never a value that was not stored under the key it asked for.

use std::num::NonZeroU64;
use std::panic::{self, AssertUnwindSafe};

use super::memory::crash;
use super::tests::{Zone, flight, key};
use super::*;
use crate::answer::binding::{Binding, Bound};
use crate::answer::facts::Facts;
use crate::answer::nature::Nature;
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::shared::state::testing::at;
use crate::token::key::Key;

const LEN: usize = MIN_SIZE;

/// The JWT of a token: as long as its number says, and no other token's.
fn jwt(token: u32) -> Vec<u8> {
    let len = [0, 30, 300, 1500][token as usize % 4];
    format!("jwt {token} ").into_bytes().into_iter().cycle().take(len + 6).collect()
}

fn entry(jwt: &[u8]) -> Entry<'_> {
    Entry {
        kind: Kind::Active,
        facts: Facts {
            life: Life { stored: 10, until: Some(20), ..Life::default() },
            nature: Nature {
                binding: Binding { dpop: Bound::To([jwt.len() as u8; 32]), ..Binding::default() },
                ..Nature::default()
            },
            signer: Some(jwt.len().to_ne_bytes()),
            subjects: Subjects([None, NonZeroU64::new(jwt.len() as u64), None, None]),
            jwt,
            scope: b"read write",
            claims: b"",
            asked: Moment::from_bits(16 * jwt.len() as u64),
        },
    }
}

fn inactive() -> Entry<'static> {
    Entry::inactive(Life { stored: 10, until: Some(20), ..Life::default() }, Moment::from_bits(16))
}

/// A zone that is full, with everything in it that there can be.
fn full() -> Zone {
    let zone = Zone::new(LEN);
    zone.with(|arena| {
        for token in 0..20 {
            arena.store(&key(token, 0), &entry(&jwt(token)));
        }
        for token in 100..140 {
            arena.store(&key(token, 0), &inactive());
        }
        for identity in 0..8 {
            arena.store(&key(50, identity), &entry(b"jwt 50"));
        }
        for token in 200..204 {
            for slot in 1..=3 {
                let _ = arena.join_or_lead(&key(token, 0), &flight(1, slot), at(1, 0, &|_| true));
            }
        }
        let held = jwt(202);
        assert_eq!(arena.answer(&key(202, 0), 1, Left::Active(entry(&held))), AnsweredFor::Others);
        assert_eq!(arena.answer(&key(203, 0), 1, Left::Stored), AnsweredFor::Others);
        // Some room, in pieces.
        for token in [3, 7, 101, 120] {
            arena.remove(&key(token, 0));
        }
    });
    zone.check();
    zone
}

/// Whether what is there is what belongs there.
fn nothing_wrong(zone: &Zone) {
    let mut record = Record::with_room(4096);
    let right = |key: &Key, token: u32, record: &Record| {
        let expected = if token == 50 { b"jwt 50".to_vec() } else { jwt(token) };
        let facts = record.facts();
        let right = facts == Facts { life: facts.life, ..entry(&expected).facts };
        assert!(record.kind() == Kind::Inactive || right, "{key:?}");
    };
    for token in 0..300 {
        for identity in 0..if token == 50 { 10 } else { 1 } {
            let key = key(token, identity);
            if zone.with(|arena| arena.find(&key, &mut record)) == Find::Hit {
                right(&key, token, &record);
            }
        }
    }
    for token in 200..204 {
        let key = key(token, 0);
        let poll =
            zone.with(|arena| arena.poll(&key, 1, &flight(9, 2), at(1, 0, &|_| true), &mut record));
        if matches!(poll, Poll::Taken(Taken::Active | Taken::Stored)) {
            right(&key, token, &record);
        }
    }
    zone.check();
}

/// Lets the operation crash at its first write, its second, … until it comes through. How often it
/// left the arena standing, how often empty.
fn crash_everywhere(operation: impl Fn(&mut Locked<'_>)) -> (u32, u32) {
    let (mut stood, mut emptied) = (0, 0);
    for write in 0.. {
        let zone = full();
        let before = zone.check();
        crash::at(Some(write));
        let run = AssertUnwindSafe(|| zone.with(&operation));
        let crashed = panic::catch_unwind(run).is_err();
        crash::at(None);
        let after = zone.check();
        nothing_wrong(&zone);
        if !crashed {
            break;
        }
        assert!(write < 5_000, "the operation does not end");
        if zone.arena.stats().resets > 0 {
            emptied += 1;
        } else {
            // Between two changes. Before the first, nothing has happened yet.
            stood += 1;
            assert!(write > 0 || after == before);
        }
    }
    (stood, emptied)
}

/// The operation writes, is safe to die in, and does not give the arena up where it need not: its
/// first write is the mark, and what comes before that costs nothing.
fn survives(name: &str, operation: impl Fn(&mut Locked<'_>)) {
    let (stood, emptied) = crash_everywhere(operation);
    assert!(stood >= 1 && emptied >= 1, "{name}: stood {stood}, emptied {emptied}");
}

#[test]
fn in_store() {
    survives("a new entry", |arena| {
        arena.store(&key(60, 0), &entry(&jwt(60)));
    });
    survives("one that drives others out", |arena| {
        arena.store(&key(63, 0), &entry(&jwt(63)));
        arena.store(&key(67, 0), &entry(&jwt(67)));
    });
    survives("one in place of another", |arena| {
        arena.store(&key(15, 0), &entry(&jwt(15)));
    });
    survives("a token's ninth", |arena| {
        arena.store(&key(50, 9), &entry(b"jwt 50"));
    });
    survives("an inactive one in place of an active", |arena| {
        arena.store(&key(15, 0), &inactive());
    });
    survives("a new inactive one", |arena| {
        arena.store(&key(150, 0), &inactive());
    });
    survives("too large", |arena| {
        arena.store(&key(15, 0), &entry(&[b'j'; LEN]));
    });
    survives("when others have run out", |arena| {
        let times = Life { stored: 30, ..Life::default() };
        let jwt = jwt(61);
        let mut entry = entry(&jwt);
        entry.facts.life = times;
        arena.store(&key(61, 0), &entry);
    });
}

#[test]
fn in_find_touch_remove_purge_and_clear() {
    survives("find", |arena| {
        let mut record = Record::with_room(4096);
        assert_eq!(arena.find(&key(19, 0), &mut record), Find::Hit);
    });
    survives("touch", |arena| assert!(arena.touch(&key(18, 0))));
    survives("remove", |arena| assert!(arena.remove(&key(18, 0))));
    survives("purge", |arena| assert_eq!(arena.purge(&key(50, 0).token), 8));
    survives("purge of marks", |arena| assert_eq!(arena.purge(&key(202, 0).token), 1));
    survives("clear", |arena| arena.clear());
}

#[test]
fn in_marks() {
    let out = || Record::with_room(4096);
    survives("lead", |arena| {
        let joined = arena.join_or_lead(&key(210, 0), &flight(2, 4), at(1, 0, &|_| true));
        assert_eq!(joined, Joined::Lead);
    });
    survives("lead where others are left behind", |arena| {
        let joined = arena.join_or_lead(&key(210, 0), &flight(2, 4), at(1, 5_000, &|_| true));
        assert_eq!(joined, Joined::Lead);
    });
    survives("follow", |arena| {
        let joined = arena.join_or_lead(&key(200, 0), &flight(2, 4), at(1, 0, &|_| true));
        assert!(matches!(joined, Joined::Follow { flight: 1, .. }));
    });
    survives("take over", |arena| {
        let joined = arena.join_or_lead(&key(200, 0), &flight(2, 4), at(1, 0, &|_| false));
        assert_eq!(joined, Joined::Lead);
    });
    survives("answer", |arena| {
        arena.answer(&key(200, 0), 1, Left::Active(entry(&jwt(200))));
    });
    survives("answer for nobody", |arena| {
        arena.leave(&key(200, 0), 1, 2);
        arena.leave(&key(200, 0), 1, 3);
        assert_eq!(arena.answer(&key(200, 0), 1, Left::Stored), AnsweredFor::Nobody);
    });
    survives("take", |arena| {
        for slot in 2..=3 {
            let poll =
                arena.poll(&key(202, 0), 1, &flight(2, slot), at(1, 0, &|_| true), &mut out());
            assert_eq!(poll, Poll::Taken(Taken::Active));
        }
    });
    survives("take the lead", |arena| {
        let poll = arena.poll(&key(201, 0), 1, &flight(2, 2), at(1, 1_000, &|_| true), &mut out());
        assert_eq!(poll, Poll::Lead);
    });
    survives("cancel", |arena| assert!(arena.cancel(&key(201, 0), 1)));
}

#[test]
fn while_picking_up_the_pieces() {
    // Dies in the middle of a store; the next one dies at every write of emptying the arena.
    for write in 0.. {
        let zone = full();
        crash::at(Some(20));
        let store = AssertUnwindSafe(|| {
            zone.with(|arena| arena.store(&key(63, 0), &entry(&jwt(63))));
        });
        assert!(panic::catch_unwind(store).is_err());
        crash::at(Some(write));
        let crashed = panic::catch_unwind(AssertUnwindSafe(|| zone.with(|_| ()))).is_err();
        crash::at(None);
        assert_eq!(zone.check(), Counts::default());
        nothing_wrong(&zone);
        if !crashed {
            assert!(write > 10);
            break;
        }
    }
}
