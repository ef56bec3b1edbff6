//! Several workers at once, and workers that are killed: at every step of what they do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::state::testing::{alive, interrupted, killed, spawn_children, wait};

#[test]
fn of_many_at_once_exactly_one_makes_the_trial() {
    let state = state();
    let id = resting(&state);
    let mut now = 10_000;
    for _ in 0..300 {
        let trials = AtomicUsize::new(0);
        let tickets: Vec<Trial> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let trials = &trials;
                    scope.spawn(move || match ask(&state, id, 1 + worker % 2, now) {
                        Availability::Trial(trial) => {
                            trials.fetch_add(1, Ordering::Relaxed);
                            Some(trial)
                        }
                        _ => None,
                    })
                })
                .collect();
            workers.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(trials.into_inner(), 1, "at {now}");
        assert_eq!(state.failed(id, &LIMITS, now, Some(tickets[0])), Transition::None);
        now += 10_000;
    }
}

/// A resting endpoint, the time its rest is over.
fn due() -> (State, EndpointId) {
    let state = state();
    (state, resting(&state))
}

#[test]
fn two_that_ask_at_once_are_told_apart_at_every_step() {
    interrupted(
        due,
        |(state, id)| ask(&state, id, 1, 10_000),
        |(state, id)| ask(&state, id, 2, 10_000),
        |_, one, other| {
            let trials = [one, other].map(|found| matches!(found, Availability::Trial(_)));
            assert!(trials[0] != trials[1], "{one:?} {other:?}");
        },
    );
}

#[test]
fn a_trial_that_fails_while_another_asks_is_the_only_one() {
    // The other worker makes its trial from beginning to end.
    interrupted(
        due,
        |(state, id)| ask(&state, id, 1, 10_000),
        |(state, id)| {
            let found = ask(&state, id, 2, 10_000);
            if let Availability::Trial(trial) = found {
                state.failed(id, &LIMITS, 10_000, Some(trial));
            }
            matches!(found, Availability::Trial(_))
        },
        |(state, id), one, other| {
            assert!(other != matches!(one, Availability::Trial(_)), "{one:?} {other:?}");
            if other {
                assert!(matches!(ask(&state, id, 3, 19_999), Availability::Resting { .. }));
                assert!(matches!(ask(&state, id, 3, 20_000), Availability::Trial(_)));
            }
        },
    );
    // Another one asks while a trial ends.
    interrupted(
        || {
            let (state, id) = due();
            let Availability::Trial(trial) = ask(&state, id, 1, 10_000) else { panic!() };
            (state, id, trial)
        },
        |(state, id, trial)| state.failed(id, &LIMITS, 10_001, Some(trial)),
        |(state, id, _)| ask(&state, id, 2, 10_001),
        |(state, id, _), _, other| {
            assert!(matches!(other, Availability::Resting { .. }), "{other:?}");
            assert!(matches!(ask(&state, id, 2, 20_001), Availability::Trial(_)));
        },
    );
}

#[test]
fn a_trial_that_is_answered_while_another_asks_leaves_it_up() {
    interrupted(
        due,
        |(state, id)| ask(&state, id, 1, 10_000),
        |(state, id)| (ask(&state, id, 2, 10_000), state.answered_ok(id)),
        |(state, id), one, (_, transition)| {
            assert_eq!(transition, Transition::CameUp);
            assert_eq!(ask(&state, id, 3, 10_000), Availability::Up);
            if let Availability::Trial(trial) = one {
                // It asked first. Its failure is the first of a row.
                assert_eq!(state.failed(id, &LIMITS, 10_000, Some(trial)), Transition::None);
                assert_eq!(ask(&state, id, 3, 10_000), Availability::Up);
            }
        },
    );
}

#[test]
fn an_answer_that_comes_while_a_trial_fails_leaves_no_trial_behind() {
    interrupted(
        || {
            let (state, id) = due();
            let Availability::Trial(trial) = ask(&state, id, 1, 10_000) else { panic!() };
            (state, id, trial)
        },
        |(state, id, trial)| state.failed(id, &LIMITS, 10_000, Some(trial)),
        |(state, id, _)| state.answered_ok(id),
        |(state, id, _), failed, answered| {
            assert_eq!((failed, answered), (Transition::None, Transition::CameUp));
            assert_eq!(state.known(id).unwrap().trial.get(), 0);
            assert_eq!(ask(&state, id, 3, 10_000), Availability::Up);
        },
    );
}

#[test]
fn one_goes_down_and_one_comes_up_in_all_workers() {
    interrupted(
        || {
            let state = state();
            let id = endpoint(&state);
            state.failed(id, &LIMITS, 1, None);
            (state, id)
        },
        |(state, id)| state.failed(id, &LIMITS, 1, None),
        |(state, id)| state.failed(id, &LIMITS, 1, None),
        |(state, id), one, other| {
            let down = [one, other].map(|end| end == Transition::WentDown);
            assert!(down[0] != down[1], "{one:?} {other:?}");
            assert!(matches!(ask(&state, id, ME, 1), Availability::Resting { .. }));
        },
    );
    let up_once = |one, other| {
        let up = [one, other].map(|end| end == Transition::CameUp);
        assert!(up[0] != up[1], "{one:?} {other:?}");
    };
    let answered = |(state, id): (State, EndpointId)| state.answered_ok(id);
    interrupted(due, answered, answered, |(state, id), one, other| {
        up_once(one, other);
        assert_eq!(ask(&state, id, ME, 1), Availability::Up);
    });
}

#[test]
fn a_worker_killed_at_any_step_of_a_trial_is_replaced() {
    let survivors = |pid| pid != 2;
    let ask_again =
        |state: State, id, now| state.available(id, &LIMITS, 3, now, now + 2000, survivors);
    let whole = |outcome: fn(State, EndpointId, Trial)| {
        move |(state, id): (State, EndpointId)| {
            if let Availability::Trial(trial) = ask(&state, id, 2, 10_000) {
                outcome(state, id, trial);
            }
        }
    };
    killed(
        due,
        whole(|state, id, trial| {
            state.failed(id, &LIMITS, 10_000, Some(trial));
        }),
        |(state, id)| {
            // Killed before it could tell of the failure or after, the next trial is due now or
            // after the new rest.
            if let Availability::Resting { left_ms } = ask_again(state, id, 10_000) {
                assert_eq!(left_ms, 10_000);
                assert!(matches!(ask_again(state, id, 20_000), Availability::Trial(_)));
            }
        },
    );
    killed(
        due,
        whole(|state, id, _| {
            state.answered_ok(id);
        }),
        |(state, id)| {
            if !matches!(ask_again(state, id, 10_000), Availability::Trial(_)) {
                assert_eq!(ask_again(state, id, 10_000), Availability::Up);
            }
        },
    );
}

#[test]
fn a_worker_killed_while_it_counts_a_failure_costs_that_one_at_most() {
    killed(
        || {
            let state = state();
            let id = endpoint(&state);
            (state, id)
        },
        |(state, id)| {
            for _ in 0..3 {
                state.failed(id, &LIMITS, 50_000, None);
            }
        },
        |(state, id)| {
            let more = (0..3).map(|_| state.failed(id, &LIMITS, 50_000, None)).collect::<Vec<_>>();
            let rests = matches!(ask(&state, id, 3, 50_000), Availability::Resting { .. });
            assert!(rests, "{more:?}");
            state.answered_ok(id);
            assert_eq!(state.failed(id, &LIMITS, 50_000, None), Transition::None);
        },
    );
}

#[test]
fn a_failure_that_is_being_counted_is_not_forgotten() {
    // The other worker sees that there were two, but not yet when the first was.
    let limits = Limits { max_fails: 2, fail_timeout_ms: 10_000 };
    let fail = move |(state, id): (State, EndpointId)| state.failed(id, &limits, 50_000, None);
    let start = || {
        let state = state();
        (state, endpoint(&state))
    };
    interrupted(start, fail, fail, |_, one, other| {
        let down = [one, other].map(|end| end == Transition::WentDown);
        assert!(down[0] != down[1], "{one:?} {other:?}");
    });
}

#[test]
fn a_trial_forgotten_by_an_answer_does_not_hold_up_the_next() {
    let state = state();
    let id = endpoint(&state);
    let limits = Limits { max_fails: 1, fail_timeout_ms: 100 };
    state.failed(id, &limits, 0, None);
    let asked = |me, now| state.available(id, &limits, me, now, now + 5000, everyone);
    assert!(matches!(asked(1, 100), Availability::Trial(_)));
    // A call from before the rest is answered after all; then it goes down again.
    assert_eq!(state.answered_ok(id), Transition::CameUp);
    assert_eq!(state.failed(id, &limits, 200, None), Transition::WentDown);
    assert!(matches!(asked(2, 300), Availability::Trial(_)));
}

#[test]
fn of_many_processes_one_makes_the_trial_and_a_killed_one_is_replaced() {
    let state = state();
    let id = resting(&state);
    let trial = |_| {
        let me = std::process::id();
        let found = state.available(id, &LIMITS, me, 10_000, 1 << 40, alive);
        if matches!(found, Availability::Trial(_)) {
            // As if killed in the middle of the call.
            loop {
                thread::yield_now();
            }
        }
        0
    };
    for _ in 0..3 {
        let children = spawn_children(6, trial);
        let endpoint = state.known(id).unwrap();
        let holder = loop {
            let holder = Trial(endpoint.trial.get()).pid();
            if children.contains(&holder) {
                break holder;
            }
            thread::yield_now();
        };
        let others: Vec<_> = children.into_iter().filter(|child| *child != holder).collect();
        assert_eq!(others.into_iter().map(wait).collect::<Vec<_>>(), [0; 5]);
        // SAFETY: the id of a child that was not waited for yet.
        unsafe { libc::kill(holder as i32, libc::SIGKILL) };
        assert_eq!(wait(holder), -libc::SIGKILL);
    }
    assert!(matches!(
        state.available(id, &LIMITS, std::process::id(), 10_000, 12_000, alive),
        Availability::Trial(_)
    ));
}
