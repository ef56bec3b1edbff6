use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;

use super::testing::{
    alive, at, block, in_children, interrupted, killed, spawn_children, state, wait,
};
use super::*;
use crate::token::key::hash_of;

fn token(first: u16) -> TokenHash {
    let mut hash = [0; 16];
    hash[..2].copy_from_slice(&first.to_le_bytes());
    TokenHash(hash)
}

#[test]
fn a_zone_is_found_again_and_nothing_else_is_taken_for_one() {
    let base = block();
    // SAFETY: the block is `SIZE` bytes, never unmapped, and used by this test alone.
    unsafe {
        assert_eq!(State::attach(base, SIZE).err(), Some(LayoutMismatch::OtherMemory));
        let made = State::create(base, SIZE, [7; 16]).unwrap();
        made.purge_all();
        let found = State::attach(base, SIZE).unwrap();
        assert_eq!(found.generation(&token(1)), made.generation(&token(1)));
        assert_eq!(found.generation(&token(1)).all, 1);

        assert_eq!(State::attach(base, SIZE - 1).err(), Some(LayoutMismatch::TooSmall));
        assert_eq!(State::create(base, SIZE - 1, [7; 16]).err(), Some(LayoutMismatch::TooSmall));
        let odd = base.add(8);
        assert_eq!(fitting::<Layout>(odd, SIZE).err(), Some(LayoutMismatch::Misaligned));

        made.0.version.store(VERSION + 1, Ordering::Relaxed);
        assert_eq!(State::attach(base, SIZE).err(), Some(LayoutMismatch::Version));
        made.0.version.store(VERSION, Ordering::Relaxed);
        made.0.size.store(SIZE as u64 - 128, Ordering::Relaxed);
        assert_eq!(State::attach(base, SIZE).err(), Some(LayoutMismatch::Version));
    }
}

#[test]
fn the_zone_stays_small() {
    const { assert!(SIZE < 5 * 1024 * 1024 / 4) };
    // A page is aligned well enough.
    const { assert!(4096 % ALIGN == 0) };
}

#[test]
fn a_renewal_knows_a_purge_from_another_renewal() {
    let state = state();
    let seen = state.generation(&token(1));
    let first = state.renew(&token(1), seen).expect("nothing was purged");
    assert_ne!(first, seen, "what is kept near is outdated");
    assert_eq!(state.generation(&token(1)), first);
    let second = state.renew(&token(1), seen).expect("nothing was purged");
    assert_ne!(second, first);
    state.purge_token(&token(1));
    let purged = state.generation(&token(1));
    assert_eq!(state.renew(&token(1), second), None);
    assert_eq!(state.generation(&token(1)), purged, "what is asked for now is kept");
    let seen = state.generation(&token(1));
    state.purge_all();
    assert_eq!(state.renew(&token(1), seen), None);
}

#[test]
fn an_inactive_answer_counts_as_a_purge() {
    let state = state();
    let seen = state.generation(&token(1));
    state.renew(&token(1), seen);
    // What was renewed meanwhile was not asked before.
    let first = state.called_inactive(&token(1), seen).expect("nothing was purged");
    assert_eq!(state.generation(&token(1)), first);
    assert!(!first.has_purges_of(seen));
    assert_eq!(first.purges(), seen.purges() + 1);
    assert_eq!(state.called_inactive(&token(1), seen), None, "called inactive since");
    assert_eq!(state.renew(&token(1), seen), None, "called inactive since");
    let now = state.generation(&token(1));
    state.purge_all();
    assert_eq!(state.called_inactive(&token(1), now), None);
    assert_eq!(state.generation(&token(2)).purges(), 0, "no other token");
}

#[test]
fn a_purge_changes_its_token_s_generation_and_one_of_all_changes_every_one() {
    let state = state();
    let (one, mut same_stripe, other) = (token(1), token(1), token(2));
    same_stripe.0[15] = 1;
    let before = [one, same_stripe, other].map(|token| state.generation(&token));
    state.purge_token(&one);
    assert_ne!(state.generation(&one), before[0]);
    assert_ne!(state.generation(&same_stripe), before[1]);
    assert_eq!(state.generation(&other), before[2]);
    let purged = state.generation(&one);
    state.purge_all();
    assert_ne!(state.generation(&one), purged);
    assert_ne!(state.generation(&other), before[2]);
}

#[test]
fn flight_ids_never_repeat_and_answers_are_announced() {
    let state = state();
    let ids = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mine: Vec<u64> = (0..1000).map(|_| state.next_flight_id()).collect();
                ids.lock().unwrap().extend(mine);
            });
        }
    });
    let ids = ids.into_inner().unwrap();
    assert_eq!(ids.len(), 4000);
    assert!(!ids.contains(&0));

    let before = state.answered();
    state.announce_answer();
    assert_ne!(state.answered(), before);
}

#[test]
fn every_worker_has_a_slot_of_its_own_until_there_are_none() {
    let state = state();
    let slots: HashSet<u8> =
        (1..=256).map(|pid| state.slots().claim(at(pid, 0, &|_| true)).unwrap()).collect();
    assert_eq!(slots.len(), SLOTS);
    assert_eq!(state.slots().claim(at(1000, 0, &|_| true)), None);
    let again = state.slots().claim(at(7, 0, &|_| true)).unwrap();
    assert_eq!(state.slots().claim(at(7, 0, &|_| true)), Some(again), "a process keeps its slot");
    state.slots().pending_add(again, 1);
    state.slots().release(again, 8);
    assert_eq!(state.slots().gauges(at(0, 0, &|_| true)).pending, 1);
    assert_eq!(state.slots().claim(at(1000, 0, &|_| true)), None, "not the owner's to give back");
    state.slots().release(again, 7);
    assert_eq!(state.slots().claim(at(1000, 0, &|_| true)), Some(again));
}

#[test]
fn gauges_end_with_their_worker() {
    let state = state();
    let (first, second) = (
        state.slots().claim(at(1, 0, &|_| true)).unwrap(),
        state.slots().claim(at(2, 0, &|_| true)).unwrap(),
    );
    state.slots().pending_add(first, 5);
    state.slots().pending_add(second, 3);
    state.slots().waiting_add(second, 4);
    state.slots().waiting_add(second, -1);
    assert_eq!(state.slots().gauges(at(0, 0, &|_| true)), Gauges { pending: 8, waiting: 3 });
    // The second has died: not counted any more, even before its slot is taken by another.
    let survivors = |pid| pid != 2;
    assert_eq!(state.slots().gauges(at(0, 0, &survivors)), Gauges { pending: 5, waiting: 0 });
    let third = state.slots().claim(at(3, 0, &survivors)).unwrap();
    assert_eq!(state.slots().gauges(at(0, 0, &|_| true)), Gauges { pending: 5, waiting: 0 });
    state.slots().pending_add(third, 1);
    state.slots().release(third, 3);
    assert_eq!(state.slots().gauges(at(0, 0, &|_| true)), Gauges { pending: 5, waiting: 0 });
    // More taken back than given (a zeroed slot's late worker) is never shown as a huge number.
    state.slots().pending_add(third, -9);
    state.slots().claim(at(4, 0, &|_| true)).unwrap();
    assert_eq!(state.slots().gauges(at(0, 0, &|_| true)).pending, 5);
}

#[test]
fn all_slots_of_the_dead_are_freed_by_one_claim() {
    let state = state();
    for pid in 1..=256 {
        let slot = state.slots().claim(at(pid, 0, &|_| true)).unwrap();
        state.slots().waiting_add(slot, 1);
    }
    let survivors = |pid| pid > 200;
    state.slots().claim(at(1000, 0, &survivors)).unwrap();
    assert_eq!(state.slots().gauges(at(0, 0, &|_| true)).waiting, 56);
    for pid in 1001..1200 {
        assert!(state.slots().claim(at(pid, 0, &|_| true)).is_some());
    }
    assert_eq!(state.slots().claim(at(1200, 0, &|_| true)), None);
}

#[test]
fn workers_that_claim_at_once_get_different_slots() {
    let state = state();
    // Half of the slots belong to dead processes, so that both ways to a slot are contended.
    for pid in 1..=128 {
        state.slots().claim(at(pid, 0, &|_| true)).unwrap();
    }
    let slots = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (state, slots) = (&state, &slots);
            scope.spawn(move || {
                for step in 0..32 {
                    let slot = state
                        .slots()
                        .claim(at(1000 + worker * 32 + step, 0, &|pid| pid >= 1000))
                        .unwrap();
                    slots.lock().unwrap().push(slot);
                }
            });
        }
    });
    let slots = slots.into_inner().unwrap();
    assert_eq!(slots.iter().collect::<HashSet<_>>().len(), 256);
}

/// A state whose first slots belong to processes from 1 on, each with one call pending.
fn taken_by(count: u32) -> State {
    let state = state();
    for (pid, slot) in (1..=count).zip(&state.slots().slots) {
        slot.pid.store(pid, Ordering::Relaxed);
        slot.pending.store(1, Ordering::Relaxed);
    }
    state
}

#[test]
fn two_that_claim_at_once_are_told_apart_at_every_step() {
    let dead_and_free = || taken_by(255);
    let survivors = |pid| pid > 2;
    interrupted(
        dead_and_free,
        move |state| state.slots().claim(at(1001, 0, &survivors)),
        move |state| {
            // As soon as it has a slot it counts in it.
            state
                .slots()
                .claim(at(1002, 0, &survivors))
                .inspect(|slot| state.slots().pending_add(*slot, 7))
        },
        |state, one, other| {
            assert!(one.is_some() && other.is_some() && one != other, "{one:?} {other:?}");
            assert_eq!(state.slots().gauges(at(0, 0, &|pid| pid > 1000)).pending, 7);
            assert_eq!(state.slots().gauges(at(0, 0, &|_| true)).pending, 253 + 7);
        },
    );
}

#[test]
fn a_worker_killed_while_it_claims_leaves_all_slots_to_others() {
    killed(
        || taken_by(254),
        |state| {
            state.slots().claim(at(1000, 0, &|pid| pid > 4));
        },
        |state| {
            let survivors = |pid| pid > 4 && pid != 1000;
            let slots: HashSet<_> =
                (2000..2006).map(|pid| state.slots().claim(at(pid, 0, &survivors))).collect();
            assert_eq!(slots.len(), 6);
            assert!(!slots.contains(&None));
            assert_eq!(state.slots().gauges(at(0, 0, &|_| true)).pending, 250);
        },
    );
}

#[test]
fn a_killed_process_leaves_a_slot_that_another_one_takes() {
    let state = state();
    let children = spawn_children(4, |_| {
        let Some(slot) = state.slots().claim(at(std::process::id(), 0, &alive)) else { return 1 };
        state.slots().pending_add(slot, 10);
        loop {
            thread::yield_now();
        }
    });
    while state.slots().gauges(at(0, 0, &alive)).pending < 40 {
        thread::yield_now();
    }
    for child in &children {
        // SAFETY: the id of a child that was not waited for yet.
        unsafe { libc::kill(*child as i32, libc::SIGKILL) };
        assert_eq!(wait(*child), -libc::SIGKILL);
    }
    assert_eq!(state.slots().gauges(at(0, 0, &alive)), Gauges::default());
    let codes = in_children(256, |_| {
        i32::from(
            state.slots().claim(at(std::process::id(), 0, &|pid| pid != 0 && alive(pid))).is_none(),
        )
    });
    assert_eq!(codes, [0; 256]);
}

#[test]
fn a_notice_is_given_once_or_once_in_a_while() {
    let state = state();
    let (one, two) = (hash_of(&[b"one"]), hash_of(&[b"two"]));
    let overruled = |hash, now| state.once(Notice::CacheControlOverruled, hash, now, None);
    assert!(overruled(one, 5));
    assert!(!overruled(one, 5));
    assert!(!overruled(one, u64::MAX));
    assert!(overruled(two, 0));
    assert!(!overruled(two, 0));
    let skew = |now| state.once(Notice::ClockSkew, one, now, Some(60_000));
    assert!(skew(1000));
    assert!(!skew(60_999));
    assert!(skew(61_000));
    assert!(!skew(61_001));
    assert!(!skew(0), "another worker's clock may be a little behind");
}

#[test]
fn a_notice_is_given_by_one_worker() {
    let once = |state: State| state.once(Notice::Stale, 1, 1, None);
    interrupted(state, once, once, |_, one, other| assert!(one != other));
    let again = |state: State| state.once(Notice::Stale, 1, 61, Some(60));
    let given = || {
        let state = state();
        once(state);
        state
    };
    interrupted(given, again, again, |_, one, other| assert!(one != other));
    // A worker killed on the way may take one line with it, not those to come.
    killed(
        state,
        |state| {
            again(state);
        },
        |state| assert!(state.once(Notice::Stale, 1, 121, Some(60))),
    );
}

#[test]
fn a_full_table_forgets_the_oldest() {
    let state = state();
    for number in 0..10_000_u64 {
        assert!(state.once(Notice::Stale, number + 1, number + 1, None));
        assert!(!state.once(Notice::Stale, number + 1, number + 1, None));
    }
}

#[test]
fn parts_of_a_hash_do_not_run_into_each_other() {
    assert_ne!(hash_of(&[b"ab", b"c"]), hash_of(&[b"a", b"bc"]));
    assert_ne!(hash_of(&[b"", b"a"]), hash_of(&[b"a"]));
}

#[test]
fn another_tag_begins_an_era_and_an_earlier_one_does_not_come_back() {
    let state = state();
    let first = state.era(0);
    assert_eq!(state.era(0), first, "each worker of a configuration");
    let (one, other) = (0xdead_beef_0000_0001, 0xdead_beef_ffff_0001);
    let second = state.era(one);
    assert_ne!(second, first);
    assert_eq!(state.era(one), second);
    let third = state.era(other);
    assert_ne!(third, second);
    let fourth = state.era(one);
    assert!(![first, second, third].contains(&fourth));
    let fifth = state.era(0);
    assert!(![first, second, third, fourth].contains(&fifth));
}
