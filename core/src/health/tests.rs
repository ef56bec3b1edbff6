use super::*;
use crate::state::testing::state;

mod places;
mod races;

const LIMITS: Limits = Limits { max_fails: 3, fail_timeout_ms: 10_000 };
const ME: u32 = 1;

fn everyone(_: u32) -> bool {
    true
}

fn ask(state: &State, id: EndpointId, me: u32, now: u64) -> Availability {
    state.available(id, &LIMITS, me, now, now + 2000, everyone)
}

fn endpoint(state: &State) -> EndpointId {
    state.endpoint("https://as.example:443/introspect", None).unwrap()
}

/// An endpoint that rests until 10,000.
fn resting(state: &State) -> EndpointId {
    let id = endpoint(state);
    for _ in 0..3 {
        state.failed(id, &LIMITS, 0, None);
    }
    assert_eq!(ask(state, id, ME, 0), Availability::Resting { left_ms: 10_000 });
    id
}

#[test]
fn a_row_of_failures_brings_it_down_and_an_answer_up() {
    let state = state();
    let id = endpoint(&state);
    assert_eq!(ask(&state, id, ME, 0), Availability::Up);
    assert_eq!(state.failed(id, &LIMITS, 1000, None), Transition::None);
    assert_eq!(state.failed(id, &LIMITS, 2000, None), Transition::None);
    assert_eq!(ask(&state, id, ME, 2000), Availability::Up);
    assert_eq!(state.failed(id, &LIMITS, 3000, None), Transition::WentDown);
    assert_eq!(state.failed(id, &LIMITS, 3000, None), Transition::None, "it rests already");
    assert_eq!(ask(&state, id, ME, 4000), Availability::Resting { left_ms: 9000 });
    assert_eq!(ask(&state, id, ME, 12_999), Availability::Resting { left_ms: 1 });
    assert_eq!(state.answered_ok(id), Transition::CameUp);
    assert_eq!(state.answered_ok(id), Transition::None);
    assert_eq!(ask(&state, id, ME, 4000), Availability::Up);
}

#[test]
fn an_answer_ends_the_row() {
    let state = state();
    let id = endpoint(&state);
    for now in [0, 1] {
        state.failed(id, &LIMITS, now, None);
    }
    assert_eq!(state.answered_ok(id), Transition::None);
    for now in [2, 3] {
        assert_eq!(state.failed(id, &LIMITS, now, None), Transition::None);
    }
    assert_eq!(state.failed(id, &LIMITS, 4, None), Transition::WentDown);
}

#[test]
fn the_row_must_lie_within_fail_timeout() {
    let state = state();
    let id = endpoint(&state);
    // Any three in a row are further apart than 10 s, until the last.
    for now in [0, 9000, 11_000, 20_000, 21_500, 31_000] {
        assert_eq!(state.failed(id, &LIMITS, now, None), Transition::None, "at {now}");
    }
    assert_eq!(state.failed(id, &LIMITS, 31_500, None), Transition::WentDown, "exactly 10 s");
}

#[test]
fn the_window_slides_over_many_rounds_and_great_limits() {
    let state = state();
    let limits = Limits { max_fails: 100, fail_timeout_ms: 1000 };
    let id = endpoint(&state);
    for now in 0..99 {
        assert_eq!(state.failed(id, &limits, now * 20, None), Transition::None, "slow");
    }
    // The row is long enough, but its last 64 took more than a second.
    assert_eq!(state.failed(id, &limits, 99 * 20, None), Transition::None);
    let mut now = 99 * 20;
    let down = (0..64).position(|_| {
        now += 1;
        state.failed(id, &limits, now, None) == Transition::WentDown
    });
    // One second and a bit holds 50 of the slow ones; so 14 to 63 quick ones must be there.
    assert!(down.is_some_and(|step| (13..64).contains(&step)), "{down:?}");
}

#[test]
fn max_fails_0_turns_it_off() {
    let state = state();
    let id = endpoint(&state);
    let never = Limits { max_fails: 0, ..LIMITS };
    for now in 0..100 {
        assert_eq!(state.failed(id, &never, now, None), Transition::None);
    }
    assert_eq!(ask(&state, id, ME, 100), Availability::Up);
    let id = resting(&state);
    assert_eq!(state.available(id, &never, ME, 1, 2, everyone), Availability::Up);
    assert_eq!(state.peek(id, &never, ME, 1, everyone), Outlook::Up);
}

#[test]
fn one_trial_call_decides() {
    let state = state();
    let id = resting(&state);
    assert_eq!(state.peek(id, &LIMITS, ME, 9999, everyone), Outlook::Resting { left_ms: 1 });
    assert_eq!(state.peek(id, &LIMITS, ME, 10_000, everyone), Outlook::TrialDue);
    assert_eq!(state.peek(id, &LIMITS, ME, 10_000, everyone), Outlook::TrialDue, "not claimed");
    let Availability::Trial(trial) = ask(&state, id, ME, 10_000) else { panic!() };
    // Neither this worker's other requests nor another worker get a second one.
    assert_eq!(ask(&state, id, ME, 10_001), Availability::Resting { left_ms: 1000 });
    assert_eq!(ask(&state, id, 2, 11_900), Availability::Resting { left_ms: 100 });
    assert_eq!(state.peek(id, &LIMITS, 2, 11_900, everyone), Outlook::Resting { left_ms: 100 });
    // It fails: a whole new rest, no line.
    assert_eq!(state.failed(id, &LIMITS, 11_950, Some(trial)), Transition::None);
    assert_eq!(ask(&state, id, 2, 11_950), Availability::Resting { left_ms: 10_000 });
    // The next one is answered.
    let Availability::Trial(_) = ask(&state, id, 2, 21_950) else { panic!() };
    assert_eq!(state.answered_ok(id), Transition::CameUp);
    assert_eq!(ask(&state, id, ME, 21_950), Availability::Up);
    // Up again, it takes a whole row again.
    assert_eq!(state.failed(id, &LIMITS, 21_951, None), Transition::None);
    assert_eq!(state.failed(id, &LIMITS, 21_951, None), Transition::None);
    assert_eq!(state.failed(id, &LIMITS, 21_951, None), Transition::WentDown);
}

#[test]
fn a_late_failure_decides_nothing() {
    let state = state();
    let id = resting(&state);
    // Sent before the rest, failed during it and after it.
    assert_eq!(state.failed(id, &LIMITS, 5000, None), Transition::None);
    assert_eq!(state.failed(id, &LIMITS, 10_000, None), Transition::None);
    let Availability::Trial(trial) = ask(&state, id, ME, 10_000) else { panic!() };
    assert_eq!(state.failed(id, &LIMITS, 10_001, None), Transition::None);
    assert!(matches!(ask(&state, id, 2, 10_001), Availability::Resting { left_ms: 1000 }));
    // A late answer does: the server is there.
    assert_eq!(state.answered_ok(id), Transition::CameUp);
    // The trial call's failure is then one like any other.
    assert_eq!(state.failed(id, &LIMITS, 10_002, Some(trial)), Transition::None);
    assert_eq!(ask(&state, id, ME, 10_002), Availability::Up);
}

#[test]
fn a_trial_is_taken_over_when_its_deadline_has_passed() {
    let state = state();
    let id = resting(&state);
    let Availability::Trial(first) = ask(&state, id, ME, 10_000) else { panic!() };
    assert_eq!(ask(&state, id, 2, 11_999), Availability::Resting { left_ms: 1 });
    let Availability::Trial(second) = ask(&state, id, 2, 12_000) else { panic!() };
    // The first one's end comes too late to matter.
    assert_eq!(state.failed(id, &LIMITS, 12_001, Some(first)), Transition::None);
    state.trial_abandoned(id, first);
    // The rest is not a new one, and the second trial goes on.
    assert_eq!(ask(&state, id, 3, 13_900), Availability::Resting { left_ms: 100 });
    state.failed(id, &LIMITS, 12_003, Some(second));
    assert_eq!(ask(&state, id, 3, 12_003), Availability::Resting { left_ms: 10_000 });
}

#[test]
fn a_trial_is_taken_over_when_its_worker_has_died() {
    let state = state();
    let id = resting(&state);
    assert!(matches!(ask(&state, id, ME, 10_000), Availability::Trial(_)));
    let survivors = |pid| pid != ME;
    assert_eq!(state.peek(id, &LIMITS, 2, 10_001, survivors), Outlook::TrialDue);
    let taken = state.available(id, &LIMITS, 2, 10_001, 12_000, survivors);
    assert!(matches!(taken, Availability::Trial(_)));
    let again = state.available(id, &LIMITS, 3, 10_001, 12_000, survivors);
    assert!(matches!(again, Availability::Resting { .. }));
}

#[test]
fn a_trial_given_up_is_free_for_the_next() {
    let state = state();
    let id = resting(&state);
    let Availability::Trial(trial) = ask(&state, id, ME, 10_000) else { panic!() };
    state.trial_abandoned(id, trial);
    assert!(matches!(ask(&state, id, 2, 10_000), Availability::Trial(_)));
}
