//! Who makes our own call.

use std::time::{Duration, Instant};

use super::super::turn::{Turn, TurnTaken};
use super::*;
use crate::shared::state::testing::{alive, at, interrupted, killed, spawn_children, wait};

const CLIENT: u64 = 7;

/// For how long a process waits for another one before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn everyone(_: u32) -> bool {
    true
}

fn ask(state: &State, me: u32, now: u64) -> TurnTaken {
    state.turns().take(CLIENT, now + 8000, at(me, now, &everyone))
}

fn take(state: &State, me: u32, now: u64) -> Turn {
    match ask(state, me, now) {
        TurnTaken::Mine(turn) => turn,
        other => panic!("{other:?}"),
    }
}

fn is_mine(taken: TurnTaken) -> bool {
    matches!(taken, TurnTaken::Mine(_))
}

#[test]
fn one_at_a_time_and_one_a_second() {
    let state = state();
    let turn = take(&state, 1, 1000);
    assert_eq!(ask(&state, 1, 1000), TurnTaken::Busy);
    assert_eq!(ask(&state, 2, 5000), TurnTaken::Busy);
    assert!(
        is_mine(state.turns().take(8, 9000, at(2, 1000, &everyone))),
        "another client's is its own"
    );
    state.turns().ended(turn);
    let turn = take(&state, 2, 5000);
    state.turns().ended(turn);
    assert_eq!(ask(&state, 1, 5001), TurnTaken::Early { left_ms: 999 });
    assert_eq!(ask(&state, 1, 5999), TurnTaken::Early { left_ms: 1 });
    assert!(is_mine(ask(&state, 1, 6000)));
}

#[test]
fn it_is_taken_over_from_the_dead_and_the_late() {
    let state = state();
    let first = take(&state, 1, 1000);
    let survivors = |pid| pid != 1;
    let ask = |now| state.turns().take(CLIENT, now + 8000, at(2, now, &survivors));
    assert_eq!(ask(1999), TurnTaken::Early { left_ms: 1 }, "dead, but it may have asked");
    let TurnTaken::Mine(second) = ask(2000) else { panic!("dead") };
    // The first one's end comes too late to matter.
    state.turns().ended(first);
    assert_eq!(ask(4000), TurnTaken::Busy);
    assert_eq!(ask(9999), TurnTaken::Busy);
    assert!(is_mine(ask(10_000)), "late");
    state.turns().ended(second);
    assert_eq!(ask(12_000), TurnTaken::Busy);
}

#[test]
fn of_two_at_once_one_has_it() {
    let ask = |me: u32| move |state: State| ask(&state, me, 2000);
    interrupted(state, ask(1), ask(2), |_, one, other| {
        assert!(is_mine(one) != is_mine(other), "{one:?} {other:?}");
    });
    let dead = || {
        let state = state();
        take(&state, 3, 1000);
        state
    };
    let take_over = |me: u32| {
        move |state: State| state.turns().take(CLIENT, 9000, at(me, 2000, &|pid| pid != 3))
    };
    interrupted(dead, take_over(1), take_over(2), |_, one, other| {
        assert!(is_mine(one) != is_mine(other), "{one:?} {other:?}");
    });
}

#[test]
fn one_that_another_had_from_beginning_to_end_is_not_had_again_within_the_second() {
    interrupted(
        state,
        |state| ask(&state, 1, 2000),
        |state| match ask(&state, 2, 2000) {
            TurnTaken::Mine(turn) => {
                state.turns().ended(turn);
                true
            }
            _ => false,
        },
        |_, one, other| assert!(is_mine(one) != other, "{one:?} {other:?}"),
    );
}

#[test]
fn a_worker_killed_at_any_step_is_replaced() {
    killed(
        state,
        |state| {
            if let TurnTaken::Mine(turn) = ask(&state, 1, 1000) {
                state.turns().ended(turn);
            }
        },
        |state| {
            let taken = state.turns().take(CLIENT, 9000, at(2, 2000, &|pid| pid != 1));
            assert!(is_mine(taken), "{taken:?}");
        },
    );
}

#[test]
fn of_many_processes_one_has_it_and_a_killed_one_is_replaced() {
    let state = state();
    let mut now = 10_000;
    for _ in 0..3 {
        now += 1000;
        let children = spawn_children(6, |_| {
            let me = std::process::id();
            let asked = Instant::now();
            // Until the one that has it is seen.
            loop {
                if asked.elapsed() >= PATIENCE {
                    return 2;
                }
                match state.turns().take(CLIENT, 1 << 40, at(me, now, &alive)) {
                    TurnTaken::Mine(_) => break,
                    TurnTaken::Busy | TurnTaken::Early { .. } => {
                        let holder = state.turns().0.find(CLIENT);
                        if holder.is_some_and(|slot| alive((slot.words[1].get() >> 42) as u32)) {
                            return 0;
                        }
                    }
                }
            }
            // As if in the middle of the call.
            std::thread::sleep(PATIENCE);
            1
        });
        let asked = Instant::now();
        let holder = loop {
            let word = state.turns().0.find(CLIENT).map_or(0, |slot| slot.words[1].get());
            let holder = (word >> 42) as u32;
            if children.contains(&holder) {
                break holder;
            }
            assert!(asked.elapsed() < PATIENCE, "nobody has the turn: {word:#x} of {children:?}");
            std::thread::yield_now();
        };
        let others: Vec<_> = children.into_iter().filter(|child| *child != holder).collect();
        assert_eq!(others.into_iter().map(wait).collect::<Vec<_>>(), [0; 5]);
        // SAFETY: the id of a child that was not waited for yet.
        unsafe { libc::kill(holder as i32, libc::SIGKILL) };
        assert_eq!(wait(holder), -libc::SIGKILL);
    }
    let taken = state.turns().take(CLIENT, 1 << 40, at(std::process::id(), now + 1000, &alive));
    assert!(is_mine(taken), "{taken:?}");
}
