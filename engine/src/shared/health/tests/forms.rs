//! Basic credentials, encoded or raw.

use super::super::form::Form;
use super::*;
use crate::shared::state::testing::{interrupted, killed};

const SERVER: u64 = 7;

#[test]
fn raw_is_used_once_it_was_answered_and_the_other_was_not() {
    let state = state();
    assert_eq!(state.forms().of(SERVER), Form::Encoded);
    assert!(state.forms().try_raw(SERVER, 1000));
    assert_eq!(state.forms().of(SERVER), Form::Encoded, "tried is not answered");
    assert!(state.forms().raw_answered(SERVER));
    assert!(!state.forms().raw_answered(SERVER), "said once");
    assert_eq!(state.forms().of(SERVER), Form::Raw);
    assert_eq!(state.forms().of(8), Form::Encoded, "another secret's is its own");
    state.forms().raw_refused(SERVER);
    assert_eq!(state.forms().of(SERVER), Form::Encoded);
    assert!(state.forms().raw_answered(SERVER));
    assert!(!state.forms().is_encoded(SERVER));
    state.forms().encoded_answered(SERVER);
    assert_eq!(state.forms().of(SERVER), Form::Encoded);
    assert!(state.forms().is_encoded(SERVER));
}

#[test]
fn a_second_try_is_made_once_in_ten_seconds() {
    let state = state();
    let tries =
        (1000..31_000).filter(|now| state.forms().try_raw(SERVER, *now)).collect::<Vec<_>>();
    assert_eq!(tries, [1000, 11_000, 21_000]);
    let try_raw = |state: State| state.forms().try_raw(SERVER, 1000);
    interrupted(state_of_none, try_raw, try_raw, |_, one, other| assert!(one != other));
}

fn state_of_none() -> State {
    state()
}

#[test]
fn no_second_try_is_made_where_the_encoded_form_was_answered() {
    let state = state();
    state.forms().encoded_answered(SERVER);
    assert!((0..60_000).step_by(1000).all(|now| !state.forms().try_raw(SERVER, now)));
    // Our own call may find that the server has changed.
    assert!(state.forms().raw_answered(SERVER));
    assert_eq!(state.forms().of(SERVER), Form::Raw);
}

#[test]
fn what_two_learn_at_once_is_not_lost() {
    let try_raw = |state: State| state.forms().try_raw(SERVER, 1000);
    let raw = |state: State| state.forms().raw_answered(SERVER);
    interrupted(state_of_none, raw, try_raw, |state, new, _| {
        assert!(new);
        assert_eq!(state.forms().of(SERVER), Form::Raw);
    });
    interrupted(state_of_none, raw, raw, |_, one, other| assert!(one != other));
    killed(
        state_of_none,
        |state| {
            try_raw(state);
            raw(state);
        },
        |state| {
            raw(state);
            assert_eq!(state.forms().of(SERVER), Form::Raw);
            assert!(state.forms().try_raw(SERVER, 11_000));
        },
    );
}
