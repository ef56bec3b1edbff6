//! Several workers at once, and workers that are killed: at every step of what they do.

use std::thread;

use super::*;
use crate::shared::state::testing::{interrupted, killed};

/// An endpoint in doubt.
fn doubtful() -> (State, EndpointId) {
    let state = state();
    (state, in_doubt(&state))
}

/// An endpoint that rests.
fn at_rest() -> (State, EndpointId) {
    let state = state();
    (state, resting(&state))
}

fn own_fails((state, id): (State, EndpointId)) -> Transition {
    own(&state, id, Health::Failed, 1005)
}

fn answered((state, id): (State, EndpointId)) -> Transition {
    state.endpoints().answered(id, 1005)
}

#[test]
fn one_goes_down_and_one_comes_up_in_all_workers() {
    interrupted(doubtful, own_fails, own_fails, |(state, id), one, other| {
        let down = [one, other].map(|end| end == Transition::WentDown);
        assert!(down[0] != down[1], "{one:?} {other:?}");
        assert_eq!(look(&state, id, 1005), Availability::Resting);
    });
    interrupted(at_rest, answered, answered, |(state, id), one, other| {
        let up = [one, other].map(|end| end == Transition::CameUp);
        assert!(up[0] != up[1], "{one:?} {other:?}");
        assert_eq!(look(&state, id, 1005), Availability::Up);
    });
}

#[test]
fn an_answer_that_comes_while_a_rest_begins_ends_it_or_keeps_it_from_beginning() {
    let check = |(state, id): (State, EndpointId), down: Transition, up: Transition| {
        assert_eq!(look(&state, id, 1005), Availability::Up, "{down:?} {up:?}");
        // What is said to go down is said to come up.
        assert_eq!(down == Transition::WentDown, up == Transition::CameUp, "{down:?} {up:?}");
    };
    let check_one = |given, down, up| {
        // Seen by the answer but taken back by the failure: nobody ever saw a rest.
        if (down, up) != (Transition::None, Transition::CameUp) {
            check(given, down, up);
        }
    };
    interrupted(doubtful, own_fails, answered, check_one);
    interrupted(doubtful, answered, own_fails, |(state, id), _, down| {
        // The failure came first, or all of the answer's time was before it.
        if look(&state, id, 1005) == Availability::Resting {
            assert_eq!(down, Transition::WentDown);
            assert_eq!(own(&state, id, Health::Answered, 1006), Transition::CameUp);
        }
    });
}

#[test]
fn an_answer_that_comes_while_a_rest_is_renewed_ends_it() {
    interrupted(at_rest, own_fails, answered, |(state, id), renewed, up| {
        assert_eq!((renewed, up), (Transition::None, Transition::CameUp));
        assert_eq!(look(&state, id, 1005), Availability::Up);
    });
}

#[test]
fn a_worker_killed_while_our_own_call_ends_leaves_it_to_the_next() {
    let failed_again = |(state, id): (State, EndpointId)| {
        for now in [1006, 1007, 1008] {
            fail(&state, id, now);
        }
        own(&state, id, Health::Failed, 1010);
        assert_eq!(look(&state, id, 1010), Availability::Resting);
        assert_eq!(own(&state, id, Health::Answered, 1011), Transition::CameUp);
        assert_eq!(look(&state, id, 1011), Availability::Up);
    };
    killed(doubtful, |given| _ = own_fails(given), failed_again);
    killed(at_rest, |given| _ = answered(given), failed_again);
    killed(doubtful, |(state, id)| _ = own(&state, id, Health::Nothing, 1005), failed_again);
}

#[test]
fn a_worker_killed_while_it_counts_a_failure_costs_that_one_at_most() {
    killed(
        || {
            let state = state();
            (state, endpoint(&state))
        },
        |(state, id)| {
            for _ in 0..3 {
                fail(&state, id, 50_000);
            }
        },
        |(state, id)| {
            let more = (0..3).map(|_| fail(&state, id, 50_000)).collect::<Vec<_>>();
            assert_eq!(more[2], Availability::InDoubt, "{more:?}");
            state.endpoints().answered(id, 50_000);
            assert_eq!(fail(&state, id, 50_002), Availability::Up);
        },
    );
}

#[test]
fn a_failure_that_is_being_counted_is_not_forgotten() {
    // The other worker sees that there were two, but not yet when the first was.
    let limits = Limits { max_fails: 2, fail_timeout_ms: 10_000 };
    let fail = move |(state, id): (State, EndpointId)| {
        state.endpoints().failed(id, &limits, 49_999, 50_000)
    };
    let start = || {
        let state = state();
        (state, endpoint(&state))
    };
    interrupted(start, fail, fail, |_, one, other| {
        assert!([one, other].contains(&Availability::InDoubt), "{one:?} {other:?}");
    });
}

#[test]
fn many_at_once_agree() {
    let state = state();
    let id = endpoint(&state);
    for round in 0..300 {
        let now = 1000 + round * 100;
        let ends: Vec<_> = thread::scope(|scope| {
            let worker = |number| {
                scope.spawn(move || {
                    for _ in 0..3 {
                        fail(&state, id, now);
                    }
                    let _ = number;
                    own(&state, id, Health::Failed, now + 5)
                })
            };
            let workers: Vec<_> = (0..4).map(worker).collect();
            workers.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let down = ends.iter().filter(|end| **end == Transition::WentDown).count();
        assert_eq!(down, 1, "{ends:?}");
        assert_eq!(look(&state, id, now + 5), Availability::Resting);
        assert_eq!(state.endpoints().answered(id, now + 10), Transition::CameUp);
    }
}
