//! Credentials that are refused, and tokens that only look like it.

use super::super::gate::{Gate, GateChange};
use super::*;
use crate::shared::state::testing::{interrupted, killed};

const GATE: u64 = 7;

fn passed(state: &State, now: u64) -> GateChange {
    state.gates().passed(GATE, None, now)
}

fn refused(state: &State, now: u64) -> GateChange {
    state.gates().refused(GATE, None, now)
}

/// A state whose gate is shut at 1000.
fn shut() -> State {
    let state = state();
    assert_eq!(refused(&state, 1000), GateChange::Shut);
    state
}

#[test]
fn it_is_open_until_our_own_call_is_refused() {
    let state = state();
    for now in 0..100 {
        assert_eq!(state.gates().admit(GATE, now), Gate::Open);
    }
    assert!(!state.gates().is_kept_open(GATE, 100), "nobody knows yet");
    assert_eq!(refused(&state, 100), GateChange::Shut);
    assert_eq!(refused(&state, 101), GateChange::None);
    assert!(state.gates().is_shut(GATE, 101));
    assert_eq!(state.gates().admit(8, 101), Gate::Open, "another one is its own");
    assert_eq!(passed(&state, 102), GateChange::Opened);
    assert_eq!(passed(&state, 102), GateChange::None);
    assert_eq!(state.gates().admit(GATE, 102), Gate::Open);
}

#[test]
fn a_call_that_is_not_refused_keeps_it_open_for_a_minute() {
    let state = state();
    passed(&state, 1000);
    assert!(state.gates().is_kept_open(GATE, 60_999));
    assert_eq!(refused(&state, 60_999), GateChange::None);
    assert_eq!(state.gates().admit(GATE, 60_999), Gate::Open);
    // Each one anew, though not all are written.
    for now in (1000..200_000).step_by(100) {
        passed(&state, now);
        assert!(state.gates().is_kept_open(GATE, now + 59_000));
    }
    let last = 199_900;
    assert!(!state.gates().is_kept_open(GATE, last + 60_000));
    assert_eq!(refused(&state, last + 60_000), GateChange::Shut);
}

#[test]
fn ten_calls_a_second_go_out_while_it_is_shut() {
    let state = shut();
    let mut out = Vec::new();
    for now in 1000..4000 {
        refused(&state, now);
        for _ in 0..3 {
            if state.gates().admit(GATE, now) == Gate::Few {
                out.push(now);
            }
        }
    }
    let each = [1000, 2000, 3000]
        .map(|begin| out.iter().filter(|now| (begin..begin + 1000).contains(*now)).count());
    assert_eq!(each, [10, 10, 10], "{out:?}");
    assert_eq!(out[..3], [1000, 1000, 1000], "in turn of arrival");
}

#[test]
fn a_refusal_that_nobody_renews_is_forgotten() {
    let state = shut();
    assert!(state.gates().is_shut(GATE, 60_999));
    assert!(!state.gates().is_shut(GATE, 61_000));
    assert_eq!(state.gates().admit(GATE, 61_000), Gate::Open);
    assert_eq!(passed(&state, 61_000), GateChange::None, "it was open");
}

#[test]
fn the_hash_is_of_all_parts_and_of_this_zone() {
    let (one, other) = (state(), state());
    let parts = [&b"https://as.example/"[..], b"client", b"secret"];
    let hash = one.gate_hash(parts);
    assert_eq!(one.gate_hash(parts), hash);
    for at in 0..3 {
        let mut changed = parts;
        changed[at] = b"x";
        assert_ne!(one.gate_hash(changed), hash);
    }
    assert_ne!(one.gate_hash([&b"https://as.example/c"[..], b"lient", b"secret"]), hash);
    assert_ne!(one.form_hash(parts), hash);
    assert_ne!(other.gate_hash(parts), hash, "nobody can guess secrets by it");
}

#[test]
fn endpoints_with_a_shut_gate_are_known() {
    let state = state();
    let id = endpoint(&state);
    state.gates().refused(1, id, 1000);
    state.gates().refused(2, None, 1000);
    state.gates().passed(3, id, 1000);
    let shut = |now| state.gates().shut(now).collect::<Vec<_>>();
    assert_eq!(shut(1000), [id]);
    state.gates().passed(1, id, 1001);
    assert!(shut(1001).is_empty());
    state.gates().refused(2, id, 1002);
    assert_eq!(shut(1002), [id]);
    assert!(shut(70_000).is_empty());
}

#[test]
fn a_full_table_opens_gates_and_shuts_none() {
    let state = state();
    for hash in 1..5000 {
        assert_eq!(state.gates().admit(hash, 1000), Gate::Open);
        assert_eq!(state.gates().refused(hash, None, 1000), GateChange::Shut);
        assert_ne!(state.gates().admit(hash, 1000), Gate::Open);
    }
}

#[test]
fn an_answer_counts_for_more_than_a_refusal_at_the_same_time() {
    let check = |state: State| {
        assert!(state.gates().is_kept_open(GATE, 2000));
        assert_eq!(state.gates().admit(GATE, 2000), Gate::Open);
    };
    let pass = |state: State| passed(&state, 2000);
    let refuse = |state: State| refused(&state, 2000);
    interrupted(state, refuse, pass, |state, _, _| check(state));
    interrupted(state, pass, refuse, |state, _, _| check(state));
    interrupted(shut, refuse, pass, |state, _, opened| {
        check(state);
        assert_eq!(opened, GateChange::Opened);
    });
    interrupted(shut, pass, refuse, |state, opened, _| {
        check(state);
        assert_eq!(opened, GateChange::Opened);
    });
}

#[test]
fn two_that_act_at_once_say_it_once() {
    let refuse = |state: State| refused(&state, 2000);
    interrupted(state, refuse, refuse, |_, one, other| {
        let said = [one, other].map(|change| change == GateChange::Shut);
        assert!(said[0] != said[1], "{one:?} {other:?}");
    });
    let pass = |state: State| passed(&state, 2000);
    interrupted(shut, pass, pass, |_, one, other| {
        let said = [one, other].map(|change| change == GateChange::Opened);
        assert!(said[0] != said[1], "{one:?} {other:?}");
    });
}

#[test]
fn of_two_that_ask_for_the_last_place_one_has_it() {
    let nine = || {
        let state = shut();
        for _ in 0..9 {
            assert_eq!(state.gates().admit(GATE, 1000), Gate::Few);
        }
        state
    };
    let ask = |state: State| state.gates().admit(GATE, 1000);
    interrupted(nine, ask, ask, |state, one, other| {
        let out = [one, other].map(|gate| gate == Gate::Few);
        assert!(out[0] != out[1], "{one:?} {other:?}");
        assert_eq!(ask(state), Gate::Shut);
    });
}

#[test]
fn a_worker_killed_at_any_step_leaves_a_gate_that_opens() {
    for act in [
        |state: State| _ = refused(&state, 2000),
        |state: State| _ = passed(&state, 2000),
        |state: State| _ = state.gates().admit(GATE, 2000),
    ] {
        killed(shut, act, |state| {
            passed(&state, 2001);
            assert_eq!(state.gates().admit(GATE, 2001), Gate::Open);
        });
    }
}

#[test]
fn another_gate_that_takes_the_place_is_not_shut() {
    // Nine that want the same eight places: the ninth takes that of the oldest.
    let many = |first: u64| (0..9).map(move |step| first + step * 256);
    let full = move || {
        let state = state();
        for hash in many(1).take(8) {
            state.gates().refused(hash, None, 1000 + hash);
        }
        state
    };
    let ninth = 1 + 8 * 256;
    let refuse = |state: State| state.gates().refused(1, None, 3000);
    let take = move |state: State| state.gates().passed(ninth, None, 3000);
    interrupted(full, refuse, take, |state, _, _| {
        assert!(!state.gates().is_shut(ninth, 3000));
    });
}
