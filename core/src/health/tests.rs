use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::state::testing::{alive, in_children, interrupted, killed, spawn_children, state, wait};

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
fn an_endpoint_s_place_is_found_though_its_worker_was_killed() {
    let label = "https://as.example:443/introspect";
    killed(
        state,
        |state| {
            state.endpoint(label, None);
        },
        |state| {
            let id = state.endpoint(label, None);
            let known: Vec<_> = state.endpoints().collect();
            assert_eq!(known, [(id.unwrap(), label.to_owned(), true)]);
        },
    );
    let claim = move |state: State| state.endpoint(label, None);
    interrupted(state, claim, claim, |state, one, other| {
        assert!(one.is_some() && one == other);
        assert_eq!(state.endpoints().count(), 1);
    });
    // Another endpoint that would like the same place.
    let place = |label: &str| hash_of(&[label.as_bytes(), b""]) as usize % ENDPOINTS;
    let rival = (0..).map(|number| format!("https://as{number}.example:443/"));
    let rival: &'static str =
        rival.into_iter().find(|rival| place(rival) == place(label)).unwrap().leak();
    interrupted(
        state,
        claim,
        |state| state.endpoint(rival, None),
        |state, one, other| {
            assert!(one.is_some() && other.is_some() && one != other);
            assert_eq!((claim(state), state.endpoint(rival, None)), (one, other));
            assert_eq!(state.endpoints().count(), 2);
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

#[test]
fn an_endpoint_has_one_place_in_all_processes() {
    let state = state();
    let labels = ["https://a:443/", "https://b:443/", "https://c:443/"];
    let codes = in_children(6, |number| {
        let label = labels[number % 3];
        state.endpoint(label, None).map_or(255, |EndpointId(index)| i32::from(index % 128))
    });
    assert_eq!(codes[..3], codes[3..]);
    let known: HashSet<String> = state.endpoints().map(|(_, label, _)| label).collect();
    assert_eq!(known, HashSet::from(labels.map(String::from)));
}

#[test]
fn places_are_found_until_there_are_none() {
    let state = state();
    let label = |number| format!("https://as{number}.example:443/introspect");
    let ids: HashSet<EndpointId> =
        (0..256).map(|number| state.endpoint(&label(number), None).unwrap()).collect();
    assert_eq!(ids.len(), ENDPOINTS);
    assert_eq!(state.endpoint(&label(256), None), None);
    let again = state.endpoint(&label(100), None);
    assert!(again.is_some_and(|id| ids.contains(&id)));
    let up = state.available(None, &LIMITS, ME, 0, 1, everyone);
    assert_eq!(up, Availability::Up);
    assert_eq!(state.failed(None, &LIMITS, 0, None), Transition::None);
    assert_eq!(state.answered_ok(None), Transition::None);
}

#[test]
fn addresses_behind_one_url_rest_each_for_itself() {
    let state = state();
    let label = "https://as.example:443/introspect";
    let first = state.endpoint(label, Some("10.0.0.1:443")).unwrap();
    let second = state.endpoint(label, Some("10.0.0.2:443")).unwrap();
    for _ in 0..3 {
        state.failed(first, &LIMITS, 0, None);
    }
    assert!(matches!(ask(&state, first, ME, 0), Availability::Resting { .. }));
    assert_eq!(ask(&state, second, ME, 0), Availability::Up);
}

#[test]
fn a_label_is_kept_as_far_as_it_fits() {
    let state = state();
    let exact = "x".repeat(MAX_LABEL);
    state.endpoint(&exact, None).unwrap();
    let long = format!("{}é{}", "x".repeat(182), "y".repeat(100));
    state.endpoint(&long, None).unwrap();
    state.endpoint(&format!("{long}z"), None).unwrap();
    let labels: HashSet<String> = state.endpoints().map(|(_, label, _)| label).collect();
    assert_eq!(labels.len(), 3, "long ones are told apart");
    assert!(labels.contains(&exact));
    assert!(labels.iter().all(|label| label.len() <= MAX_LABEL));
    assert!(labels.iter().all(|label| label.starts_with(&"x".repeat(182))));
}

#[test]
fn refused_credentials_cost_one_call_a_second() {
    let state = state();
    let (hash, other) = (hash_of(&[b"as", b"client"]), hash_of(&[b"as", b"other"]));
    assert_eq!(state.credentials_gate(hash, 0), Gate::Open);
    state.credentials_refused(hash, 500);
    assert_eq!(state.credentials_gate(hash, 500), Gate::Closed { left_ms: 1000 });
    assert_eq!(state.credentials_gate(hash, 1499), Gate::Closed { left_ms: 1 });
    assert_eq!(state.credentials_gate(other, 501), Gate::Open, "another client's are its own");
    assert_eq!(state.credentials_gate(hash, 1500), Gate::Open);
    assert_eq!(state.credentials_gate(hash, 1500), Gate::Closed { left_ms: 1000 });
    state.credentials_refused(hash, 1700);
    assert_eq!(state.credentials_gate(hash, 2499), Gate::Closed { left_ms: 1 });
    assert_eq!(state.credentials_gate(hash, 2500), Gate::Open);
    state.credentials_accepted(hash);
    assert_eq!(state.credentials_gate(hash, 2500), Gate::Open);
    assert_eq!(state.credentials_gate(hash, 2500), Gate::Open);
}

#[test]
fn the_gate_opens_for_one_of_two_workers() {
    let refused = || {
        let state = state();
        let hash = hash_of(&[b"as", b"client"]);
        state.credentials_refused(hash, 0);
        (state, hash)
    };
    let ask = |(state, hash): (State, u64)| state.credentials_gate(hash, 1000) == Gate::Open;
    interrupted(refused, ask, ask, |_, one, other| assert!(one != other));
    // Two clients of one place are told apart.
    let refuse = |hash| move |state: State| state.credentials_refused(hash, 0);
    interrupted(state, refuse(1), refuse(257), |state, (), ()| {
        for hash in [1, 257] {
            assert_eq!(state.credentials_gate(hash, 0), Gate::Closed { left_ms: 1000 });
        }
    });
    // A worker killed before or after it passed the gate shuts it for a second at most.
    killed(
        refused,
        |given| {
            ask(given);
        },
        |(state, hash)| assert_eq!(state.credentials_gate(hash, 2000), Gate::Open),
    );
}
