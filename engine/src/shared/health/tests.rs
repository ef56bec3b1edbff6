use super::*;
use crate::shared::state::State;
use crate::shared::state::testing::state;

mod forms;
mod gates;
mod places;
mod races;
mod turns;

const LIMITS: Limits = Limits { max_fails: 3, fail_timeout_ms: 10_000 };
/// How long a word of our own call counts.
const COUNTS: u64 = 5_000;

fn endpoint(state: &State) -> EndpointId {
    state.endpoints().find("https://as.example:443/introspect", 0).unwrap()
}

fn look(state: &State, id: EndpointId, now: u64) -> Availability {
    state.endpoints().available(id, &LIMITS, now)
}

/// A call that took a millisecond fails.
fn fail(state: &State, id: EndpointId, now: u64) -> Availability {
    state.endpoints().failed(id, &LIMITS, now.saturating_sub(1), now)
}

/// Our own call that took a millisecond ends.
fn own(state: &State, id: EndpointId, said: Health, now: u64) -> Transition {
    let call = OwnCall { said, began_ms: now.saturating_sub(1), counts_ms: COUNTS };
    state.endpoints().own_call_ended(id, &LIMITS, call, now)
}

/// An endpoint in doubt at 1000.
fn in_doubt(state: &State) -> EndpointId {
    let id = endpoint(state);
    for now in [998, 999] {
        assert_eq!(fail(state, id, now), Availability::Up);
    }
    assert_eq!(fail(state, id, 1000), Availability::InDoubt);
    id
}

/// An endpoint that rests from 1000 on.
fn resting(state: &State) -> EndpointId {
    let id = in_doubt(state);
    assert_eq!(own(state, id, Health::Failed, 1000), Transition::WentDown);
    assert_eq!(look(state, id, 1000), Availability::Resting);
    id
}

#[test]
fn a_row_of_failures_asks_and_our_own_call_decides() {
    let state = state();
    let id = in_doubt(&state);
    assert_eq!(look(&state, id, 1001), Availability::InDoubt, "it may be called meanwhile");
    assert_eq!(fail(&state, id, 1002), Availability::InDoubt);
    assert_eq!(own(&state, id, Health::Failed, 1003), Transition::WentDown);
    assert_eq!(own(&state, id, Health::Failed, 1003), Transition::None, "it rests already");
    assert_eq!(look(&state, id, 1003), Availability::Resting);
    assert_eq!(state.endpoints().answered(id, 1004), Transition::CameUp);
    assert_eq!(state.endpoints().answered(id, 1004), Transition::None);
    assert_eq!(look(&state, id, 1004), Availability::Up);
    // Up again, it takes a whole row again.
    assert_eq!(fail(&state, id, 1006), Availability::Up);
    assert_eq!(fail(&state, id, 1006), Availability::Up);
    assert_eq!(fail(&state, id, 1006), Availability::InDoubt);
}

#[test]
fn where_our_own_call_is_answered_the_count_begins_anew() {
    for said in [Health::Answered, Health::Nothing] {
        let state = state();
        let id = in_doubt(&state);
        assert_eq!(own(&state, id, said, 1001), Transition::None);
        assert_eq!(look(&state, id, 1001), Availability::Up);
        for now in [1003, 1004] {
            assert_eq!(fail(&state, id, now), Availability::Up);
        }
        assert_eq!(fail(&state, id, 1005), Availability::InDoubt, "the next three ask again");
    }
}

#[test]
fn our_own_failure_begins_no_rest_alone() {
    let state = state();
    let id = endpoint(&state);
    for now in 0..10 {
        assert_eq!(own(&state, id, Health::Failed, now), Transition::None);
    }
    assert_eq!(fail(&state, id, 20), Availability::Up);
    assert_eq!(own(&state, id, Health::Failed, 21), Transition::None, "one in a row");
    assert_eq!(look(&state, id, 21), Availability::Up);
}

#[test]
fn a_rest_lasts_while_our_own_calls_fail() {
    let state = state();
    let id = resting(&state);
    for now in (2000..60_000).step_by(1000) {
        assert_eq!(look(&state, id, now), Availability::Resting, "at {now}");
        assert_eq!(own(&state, id, Health::Failed, now), Transition::None);
    }
    // One that says neither ends none.
    assert_eq!(own(&state, id, Health::Nothing, 60_000), Transition::None);
    assert_eq!(look(&state, id, 64_999), Availability::Resting);
    assert_eq!(own(&state, id, Health::Answered, 64_999), Transition::CameUp);
    assert_eq!(look(&state, id, 64_999), Availability::Up);
}

#[test]
fn a_rest_that_nobody_looks_after_is_over() {
    let state = state();
    let id = resting(&state);
    assert_eq!(look(&state, id, 1000 + COUNTS - 1), Availability::Resting);
    assert_eq!(look(&state, id, 1000 + COUNTS), Availability::InDoubt);
    // It is asked at the next failure, and rests again.
    assert_eq!(fail(&state, id, 7000), Availability::InDoubt);
    assert_eq!(own(&state, id, Health::Failed, 7001), Transition::WentDown);
    assert_eq!(look(&state, id, 7001), Availability::Resting);
}

#[test]
fn a_doubt_of_long_ago_is_none() {
    let state = state();
    let id = in_doubt(&state);
    assert_eq!(look(&state, id, 11_000), Availability::InDoubt);
    assert_eq!(look(&state, id, 11_001), Availability::Up);
    assert_eq!(own(&state, id, Health::Failed, 11_002), Transition::None);
}

#[test]
fn an_answer_ends_the_row() {
    let state = state();
    let id = endpoint(&state);
    for now in [1, 2] {
        fail(&state, id, now);
    }
    assert_eq!(state.endpoints().answered(id, 2), Transition::None);
    for now in [4, 5] {
        assert_eq!(fail(&state, id, now), Availability::Up);
    }
    assert_eq!(fail(&state, id, 6), Availability::InDoubt);
}

#[test]
fn a_failure_does_not_count_where_another_call_was_answered_meanwhile() {
    let state = state();
    let id = endpoint(&state);
    // Tokens that the server answers nothing to, beside others.
    for now in (0..100_000).step_by(1000) {
        state.endpoints().answered(id, now + 500);
        for _ in 0..3 {
            assert_eq!(state.endpoints().failed(id, &LIMITS, now, now + 600), Availability::Up);
        }
    }
}

#[test]
fn nor_does_our_own_failure() {
    let state = state();
    let id = endpoint(&state);
    state.endpoints().answered(id, 1003);
    for now in [1004, 1005, 1006] {
        state.endpoints().failed(id, &LIMITS, 1003, now);
    }
    assert_eq!(look(&state, id, 1006), Availability::InDoubt);
    let call = OwnCall { said: Health::Failed, began_ms: 1002, counts_ms: COUNTS };
    assert_eq!(state.endpoints().own_call_ended(id, &LIMITS, call, 1006), Transition::None);
    assert_eq!(look(&state, id, 1006), Availability::InDoubt, "asked again");
}

#[test]
fn a_late_failure_decides_nothing() {
    let state = state();
    let id = resting(&state);
    for now in 1001..1010 {
        assert_eq!(fail(&state, id, now), Availability::Resting);
    }
    assert_eq!(state.endpoints().answered(id, 1010), Transition::CameUp);
    assert_eq!(look(&state, id, 1010), Availability::Up);
}

#[test]
fn the_row_must_lie_within_fail_timeout() {
    let state = state();
    let id = endpoint(&state);
    // Any three in a row are further apart than 10 s, until the last.
    for now in [0, 9000, 11_000, 20_000, 21_500, 31_000] {
        assert_eq!(fail(&state, id, now), Availability::Up, "at {now}");
    }
    assert_eq!(fail(&state, id, 31_500), Availability::InDoubt, "exactly 10 s");
}

#[test]
fn the_window_slides_over_many_rounds_and_great_limits() {
    let state = state();
    let limits = Limits { max_fails: 100, fail_timeout_ms: 1000 };
    let id = endpoint(&state);
    let fail = |now| state.endpoints().failed(id, &limits, now, now);
    for now in 0..99 {
        assert_eq!(fail(now * 20), Availability::Up, "slow");
    }
    // The row is long enough, but its last 64 took more than a second.
    assert_eq!(fail(99 * 20), Availability::Up);
    let mut now = 99 * 20;
    let asked = (0..64).position(|_| {
        now += 1;
        fail(now) == Availability::InDoubt
    });
    // One second and a bit holds 50 of the slow ones; so 14 to 63 quick ones must be there.
    assert!(asked.is_some_and(|step| (13..64).contains(&step)), "{asked:?}");
}

#[test]
fn max_fails_0_turns_it_off() {
    let state = state();
    let id = endpoint(&state);
    let never = Limits { max_fails: 0, ..LIMITS };
    let failed = OwnCall { said: Health::Failed, began_ms: 0, counts_ms: COUNTS };
    for now in 0..100 {
        assert_eq!(state.endpoints().failed(id, &never, now, now), Availability::Up);
        assert_eq!(state.endpoints().own_call_ended(id, &never, failed, now), Transition::None);
    }
    assert_eq!(look(&state, id, 100), Availability::Up, "nothing was counted");
    let id = resting(&state);
    assert_eq!(state.endpoints().available(id, &never, 1000), Availability::Up);
    let answered = OwnCall { said: Health::Answered, ..failed };
    assert_eq!(state.endpoints().own_call_ended(id, &never, answered, 1000), Transition::CameUp);
}

#[test]
fn a_429_lasts_as_long_as_the_longest_of_them_says() {
    let state = state();
    let id = endpoint(&state);
    let endpoints = state.endpoints();
    assert!(!endpoints.is_rate_limited(id, 0));
    endpoints.rate_limited(id, 2_000);
    endpoints.rate_limited(id, 1_500);
    assert!(endpoints.is_rate_limited(id, 1_999));
    assert!(!endpoints.is_rate_limited(id, 2_000));
    // It says nothing of whether others' calls are made, nor of another endpoint.
    assert_eq!(look(&state, id, 1_000), Availability::Up);
    let other = endpoints.find("https://as.example:443/other", 0);
    assert!(!endpoints.is_rate_limited(other, 1_000));
    endpoints.rate_limited(None, 2_000);
    assert!(!endpoints.is_rate_limited(None, 1_000));
}
