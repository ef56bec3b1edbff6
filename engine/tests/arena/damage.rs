//! Bytes that somebody wrote over: the arena may lose all it has, but does nothing outside its
//! block, ends every operation, and never gives a value that was not stored under the key.

use std::num::NonZeroU64;

use phantom_token_engine::answer::binding::Bound;
use phantom_token_engine::answer::subjects::Subjects;
use phantom_token_engine::arena::{
    AnsweredFor, Call, Find, Kind, Left, MIN_SIZE, Owner, Poll, Record, Seen, Taken,
};
use phantom_token_engine::lifetime::{Expiry, Life};

use crate::block::{Block, Random, active, everybody_runs, inactive, key};

/// The JWT of a token: of a length of its own.
fn jwt(token: u64) -> Vec<u8> {
    let len = [7, 90, 400, 1100][token as usize % 4];
    format!("<{token}>").into_bytes().into_iter().cycle().take(len).collect()
}

const EXPIRY: Expiry = Expiry { exp: 9, end_ms: 10 };

fn flight(id: u64, slot: u8) -> Call {
    Call { id, owner: Owner { pid: 1, slot }, deadline: 1_000, seen: Seen::default() }
}

/// A block with everything in it.
fn made() -> Block {
    let block = Block::new(MIN_SIZE);
    block.with(|arena| {
        for token in 0..16 {
            let jwt = jwt(token);
            let times = Life { until: Some(token), exp: Some(EXPIRY), ..Life::default() };
            let mut entry = active(&jwt, b"read");
            entry.facts.life = times;
            arena.store(&key(token), &entry);
        }
        for token in 20..40 {
            arena.store(&key(token), &inactive());
        }
        for token in 40..44 {
            for slot in 1..=3 {
                let _ = arena.join_or_lead(&key(token), &flight(1, slot), everybody_runs(0));
            }
        }
        let held = jwt(40);
        let outcome = Left::Active(active(&held, b"read"));
        assert_eq!(arena.answer(&key(40), 1, outcome), AnsweredFor::Others);
        for token in [3, 8, 25] {
            arena.remove(&key(token));
        }
        arena.check().unwrap();
    });
    block
}

fn right(token: u64, record: &Record) {
    if record.kind() == Kind::Active {
        assert_eq!(record.facts().jwt, jwt(token), "{token}");
        assert_eq!(record.facts().scope, b"read");
        let times = record.facts().life;
        let as_made = times.until == Some(token) && times.exp == Some(EXPIRY);
        assert!(as_made || times == Life::default(), "{times:?}");
    } else {
        assert!(record.facts().jwt.is_empty());
    }
}

/// Everything a worker does, in some order.
fn use_it(block: &Block, random: &mut Random, record: &mut Record) {
    for _ in 0..12 {
        let token = random.below(48);
        let key = key(token);
        let what = random.below(16);
        block.with(|arena| match what {
            0..=4 => match arena.find(&key, record) {
                Find::Hit => right(token, record),
                Find::Miss => {}
                Find::NeedSpace(room) => {
                    assert!(room <= 1 << 18);
                    record.reserve(room).unwrap();
                }
            },
            5 | 6 => {
                arena.store(&key, &active(&jwt(token), b"read"));
            }
            7 => {
                arena.store(&key, &inactive());
            }
            8 => {
                arena.remove(&key);
            }
            9 => {
                arena.purge(&key.token);
            }
            10 => {
                arena.touch(&key);
            }
            11 => {
                let now = random.below(2) * 3_000;
                let _ = arena.join_or_lead(&key, &flight(2, 4), everybody_runs(now));
            }
            12 => {
                let jwt = jwt(token);
                arena.answer(&key, 1, Left::Active(active(&jwt, b"read")));
            }
            13 => {
                let mine = flight(3, 1 + random.below(4) as u8);
                let poll = arena.poll(&key, 1, &mine, everybody_runs(0), record);
                if matches!(poll, Poll::Taken(Taken::Active | Taken::Stored)) {
                    right(token, record);
                }
            }
            14 => arena.leave(&key, 1, 2),
            _ => {
                arena.cancel(&key, 1);
            }
        });
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut block = made();
    let whole = block.bytes().to_vec();
    let mut random = Random(3);
    let mut record = Record::with_room(4096);
    let rounds = if cfg!(miri) { 30 } else { 6_000 };
    let (mut noticed, mut unharmed) = (0, 0);
    for round in 0..rounds {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(4) {
            // A third of them where the structure is densest.
            let at = match random.below(3) {
                0 => random.below(1024),
                _ => random.below(damaged.len() as u64),
            } as usize;
            match random.below(4) {
                0 => damaged[at] ^= 1 << random.below(8),
                1 => damaged[at] = random.next() as u8,
                // A whole word: another block's number, none, or nonsense.
                2 => {
                    let value = random.below(200) as u32;
                    damaged[at & !3..][..4].copy_from_slice(&value.to_ne_bytes());
                }
                _ => damaged[at & !3..][..4].copy_from_slice(&[0xff; 4]),
            }
        }
        block.overwrite(&damaged);
        use_it(&block, &mut random, &mut record);
        assert!(block.guards_hold(), "round {round}");
        if block.arena().stats().resets > 0 {
            noticed += 1;
        } else {
            unharmed += 1;
        }
    }
    println!("{noticed} emptied, {unharmed} went on");
    assert!(noticed > 0 && unharmed > 0);
}

#[test]
fn blocks_swapped_or_copied_are_noticed() {
    // Whole blocks in another's place: every part is sound, the whole is not.
    let mut block = made();
    let whole = block.bytes().to_vec();
    let mut random = Random(4);
    let mut record = Record::with_room(4096);
    for round in 0..if cfg!(miri) { 10 } else { 1_500 } {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(3) {
            let size = [4, 8, 32, 128][random.below(4) as usize];
            let from = random.below((damaged.len() / size) as u64) as usize * size;
            let to = random.below((damaged.len() / size) as u64) as usize * size;
            let copy = damaged[from..from + size].to_vec();
            damaged[to..to + size].copy_from_slice(&copy);
        }
        block.overwrite(&damaged);
        for _ in 0..3 {
            use_it(&block, &mut random, &mut record);
        }
        assert!(block.guards_hold(), "round {round}");
    }
}

#[test]
fn every_flipped_bit_of_an_entry_is_seen_or_harmless() {
    let jwt = jwt(2);
    let mut block = Block::new(MIN_SIZE);
    let mut entry = active(&jwt, b"read");
    // With all that an entry may have.
    entry.facts.nature.binding.dpop = Bound::To([1; 32]);
    entry.facts.nature.binding.certificate = Bound::To([2; 32]);
    entry.facts.signer = Some([3; 8]);
    entry.facts.subjects = Subjects([4, 5, 6, 7].map(NonZeroU64::new));
    block.with(|arena| arena.store(&key(2), &entry));
    let whole = block.bytes().to_vec();
    let mut record = Record::with_room(4096);
    let body = whole.windows(3).position(|window| window == b"<2>").unwrap();
    let mut seen = 0;
    // The item's header lies before its payload, and the blocks of a new zone lie in a row.
    for at in body - 104..body + jwt.len() + 4 + 2 * 32 + 5 * 8 {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            block.overwrite(&damaged);
            match block.with(|arena| arena.find(&key(2), &mut record)) {
                Find::Hit => {
                    assert_eq!((record.facts(), record.kind()), (entry.facts, Kind::Active));
                }
                Find::Miss => seen += 1,
                Find::NeedSpace(_) => {}
            }
        }
    }
    assert!(seen > 1_000, "only {seen}");
}
