//! How much fits, and who has to go.

use phantom_token_engine::arena::{Call, Find, Joined, MIN_SIZE, Owner, Record, Seen, Stored};

use crate::block::{Block, Random, TEN_MIB, active, everybody_runs, inactive, key};

#[test]
fn ten_mebibytes_hold_8500_tokens_of_a_kilobyte() {
    let block = Block::new(TEN_MIB);
    let jwt = [b'j'; 1024];
    let mut held = 0_u64;
    for token in 0.. {
        let stored = block.with(|arena| arena.store(&key(token), &active(&jwt, b"read write")));
        if stored != (Stored::Yes { evicted: 0 }) {
            break;
        }
        held += 1;
    }
    println!("{held} active entries of 1,024 + 10 bytes in 10 MiB");
    assert!(held >= 8_500, "only {held}");
    let counts = block.with(|arena| arena.check()).unwrap();
    assert!(counts.longest_chain < 32, "a chain of {}", counts.longest_chain);
    // The reserve is still there.
    let led = (1_000_000..).take_while(|token| leads(&block, *token)).count();
    assert!(led >= TEN_MIB / 64 / 132 - 32, "only {led} marks");
    assert_eq!(block.arena().stats().active, held);
}

fn leads(block: &Block, token: u64) -> bool {
    let mine =
        Call { id: 1, owner: Owner { pid: 1, slot: 1 }, deadline: 1_000, seen: Seen::default() };
    block.with(|arena| arena.join_or_lead(&key(token), &mine, everybody_runs(0))) == Joined::Lead
}

/// Fills a block with JWTs of these lengths, three times over: the least and the last share of
/// live data once it was full.
fn filled(len: usize, mut lens: impl FnMut() -> usize) -> f64 {
    let block = Block::new(len);
    let jwt = vec![b'j'; 32 * 1024];
    let (mut least, mut token, mut bytes) = (1.0_f64, 0, 0);
    while bytes < 3 * len {
        let now = lens();
        bytes += now;
        token += 1;
        let stored = block.with(|arena| arena.store(&key(token), &active(&jwt[..now], b"read")));
        assert!(matches!(stored, Stored::Yes { .. }));
        // Looking is slow: now and then is often enough.
        if bytes > len + len / 2 && token % 512 == 0 || bytes >= 3 * len {
            let live = block.with(|arena| arena.check()).unwrap().live_bytes;
            least = least.min(live as f64 / len as f64);
        }
    }
    least
}

#[test]
fn any_mix_of_lengths_fills_it() {
    for (name, len) in [("1 MiB", 1 << 20), ("10 MiB", TEN_MIB)] {
        let mut random = Random(1);
        let spread = (32_768.0_f64 / 300.0).ln();
        let log = filled(len, || (300.0 * (random.part() * spread).exp()) as usize);
        let mut random = Random(2);
        let uniform = filled(len, || 300 + random.below(32_768 - 300) as usize);
        println!("{name}: {:.1} % log-uniform, {:.1} % uniform", log * 100.0, uniform * 100.0);
        assert!(log >= 0.85 && uniform >= 0.85, "{name}: {log:.3} and {uniform:.3}");
    }
}

#[test]
fn a_flood_of_made_up_tokens_drives_no_good_entry_out() {
    let block = Block::new((1 << 20) - 8 * 1024);
    let jwt = [b'j'; 1024];
    let good = (0..)
        .take_while(|token| {
            let stored = block.with(|arena| arena.store(&key(*token), &active(&jwt, b"read")));
            stored == Stored::Yes { evicted: 0 }
        })
        .count() as u64;
    // The first that had to make way is gone, the one that took its place is there.
    let flood = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    for token in 10_000..10_000 + flood {
        assert!(leads(&block, token));
        block.with(|arena| {
            assert_eq!(arena.store(&key(token), &inactive()), Stored::Yes { evicted: 0 });
            assert!(arena.cancel(&key(token), 1));
        });
    }
    let mut record = Record::with_room(2048);
    for token in 1..=good {
        let found = block.with(|arena| arena.find(&key(token), &mut record));
        assert_eq!(found, Find::Hit, "{token} of {good}");
    }
    let counts = block.with(|arena| arena.check()).unwrap();
    assert_eq!(u64::from(counts.active), good);
    assert!(counts.inactive >= 512);
    assert_eq!(block.arena().stats().evictions, 1);
}

#[test]
fn inactive_answers_grow_where_there_is_space_and_give_it_back() {
    let len = TEN_MIB;
    let block = Block::new(len);
    for token in 0..20_000 {
        block.with(|arena| arena.store(&key(token), &inactive()));
    }
    let stats = block.arena().stats();
    let eighth = len as u64 / 8;
    assert!(stats.used_bytes <= eighth && stats.used_bytes > eighth - eighth / 50);
    assert!(stats.inactive > 9_000);

    let jwt = [b'j'; 1024];
    let mut good = 0;
    while block.with(|arena| arena.store(&key(100_000 + good), &active(&jwt, b"read write")))
        == (Stored::Yes { evicted: 0 })
    {
        good += 1;
    }
    assert!(good >= 8_500, "only {good}");
    let reserve = len as u64 / 64 / 132;
    let stats = block.arena().stats();
    assert!(stats.inactive >= reserve - 32 && stats.inactive <= reserve + 32, "{stats:?}");
}

#[test]
fn the_least_recently_used_goes_first() {
    let block = Block::new(MIN_SIZE);
    let mut record = Record::with_room(2048);
    let jwt = [b'j'; 500];
    let store = |token| block.with(|arena| arena.store(&key(token), &active(&jwt, b"")));
    let fit = (0..).take_while(|token| store(*token) == Stored::Yes { evicted: 0 }).count() as u64;
    assert!(fit > 4);
    // 0 went when the last came. 1 is used again, so 2 goes next.
    assert_eq!(block.with(|arena| arena.find(&key(1), &mut record)), Find::Hit);
    assert_eq!(store(1_000), Stored::Yes { evicted: 1 });
    for (token, found) in [(0, Find::Miss), (2, Find::Miss), (1, Find::Hit), (3, Find::Hit)] {
        assert_eq!(block.with(|arena| arena.find(&key(token), &mut record)), found, "{token}");
    }
}
