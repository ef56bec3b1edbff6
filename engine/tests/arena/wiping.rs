//! Whatever takes a JWT out of the zone leaves no byte of it behind.

use phantom_token_engine::arena::{
    AnsweredFor, Call, Joined, Left, MIN_SIZE, Owner, Poll, Record, Seen, Stored,
};
use phantom_token_engine::token::key::Key;

use crate::block::{Block, HASH_KEY, active, everybody_runs, inactive, key};

/// A JWT that tells in every few bytes whose it is.
fn jwt(token: u64, len: usize) -> Vec<u8> {
    format!("<{token}>").into_bytes().into_iter().cycle().take(len).collect()
}

/// How many bytes of a token's JWTs lie in the block, wherever.
fn left(block: &Block, token: u64) -> usize {
    let text = format!("<{token}>").into_bytes();
    block.bytes().windows(text.len()).filter(|window| *window == text).count() * text.len()
}

fn store(block: &Block, key: &Key, jwt: &[u8]) {
    let stored = block.with(|arena| arena.store(key, &active(jwt, b"read")));
    assert!(matches!(stored, Stored::Yes { .. }));
}

fn flight(slot: u8) -> Call {
    Call { id: 1, owner: Owner { pid: 1, slot }, deadline: 1_000, seen: Seen::default() }
}

/// An active answer that may not be kept, at a mark that another worker waits for.
fn held(block: &Block, key: &Key, jwt: &[u8]) {
    block.with(|arena| {
        assert_eq!(arena.join_or_lead(key, &flight(1), everybody_runs(0)), Joined::Lead);
        let joined = arena.join_or_lead(key, &flight(2), everybody_runs(0));
        assert!(matches!(joined, Joined::Follow { .. }));
        let outcome = Left::Active(active(jwt, b"read"));
        assert_eq!(arena.answer(key, 1, outcome), AnsweredFor::Others);
    });
}

#[test]
fn a_purge() {
    let block = Block::new(MIN_SIZE);
    let other = jwt(20, 500);
    store(&block, &key(20), &other);
    for (n, len) in [5, 120, 1500, 24, 152].into_iter().enumerate() {
        let identity = HASH_KEY.identity([&[n as u8][..]]);
        store(&block, &Key { identity, ..key(10) }, &jwt(10, len));
    }
    held(&block, &key(10), &jwt(10, 900));
    assert!(left(&block, 10) > 2_600);
    assert_eq!(block.with(|arena| arena.purge(&key(10).token)), 6);
    assert_eq!(left(&block, 10), 0);
    assert!(left(&block, 20) >= 496, "and no other's");
    block.with(|arena| arena.check()).unwrap();
}

#[test]
fn every_other_way_out() {
    let block = Block::new(MIN_SIZE);
    // Forgotten.
    store(&block, &key(10), &jwt(10, 1500));
    assert!(block.with(|arena| arena.remove(&key(10))));
    assert_eq!(left(&block, 10), 0);
    // Replaced, by one that is shorter and by one that has no JWT.
    store(&block, &key(11), &jwt(11, 1500));
    store(&block, &key(11), &jwt(12, 60));
    assert_eq!(left(&block, 11), 0);
    block.with(|arena| arena.store(&key(11), &inactive()));
    assert_eq!(left(&block, 12), 0);
    // Taken by the last who waited for it.
    held(&block, &key(13), &jwt(13, 900));
    let mut record = Record::with_room(1024);
    let poll = |arena: &mut phantom_token_engine::arena::Locked<'_>| {
        arena.poll(&key(13), 1, &flight(2), everybody_runs(0), &mut record)
    };
    assert!(matches!(block.with(poll), Poll::Taken(_)));
    assert_eq!(left(&block, 13), 0);
    // Pushed out.
    store(&block, &key(14), &jwt(14, 1500));
    for token in 100.. {
        let stored = block.with(|arena| arena.store(&key(token), &active(b"a.b.c", b"")));
        if stored == (Stored::Yes { evicted: 1 }) {
            break;
        }
    }
    assert_eq!(left(&block, 14), 0);
    block.with(|arena| arena.check()).unwrap();
}
