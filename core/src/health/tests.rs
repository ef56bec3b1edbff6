use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;
use crate::state::testing::{alive, in_children, spawn_children, state, wait};

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
    assert!(matches!(ask(&state, id, 3, 12_002), Availability::Resting { .. }));
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

#[test]
fn a_trial_that_fails_quickly_is_not_followed_by_another_at_once() {
    // Each gets the trial, fails, and asks again at once: in one moment of time only one may.
    let state = state();
    let id = resting(&state);
    for round in 1..=200 {
        let now = round * 10_000;
        let trials = AtomicUsize::new(0);
        thread::scope(|scope| {
            for worker in 0..4 {
                let trials = &trials;
                scope.spawn(move || {
                    for _ in 0..50 {
                        if let Availability::Trial(trial) = ask(&state, id, 1 + worker, now) {
                            trials.fetch_add(1, Ordering::Relaxed);
                            state.failed(id, &LIMITS, now, Some(trial));
                        }
                    }
                });
            }
        });
        assert_eq!(trials.into_inner(), 1, "round {round}");
    }
}

#[test]
fn one_goes_down_and_one_comes_up_in_all_workers() {
    let state = state();
    let id = endpoint(&state);
    for _ in 0..200 {
        let count = |change: &(dyn Fn() -> Transition + Sync), wanted| -> usize {
            thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(change)).collect();
                all.into_iter().filter(|_| true).map(|one| one.join().unwrap()).collect::<Vec<_>>()
            })
            .into_iter()
            .filter(|transition| *transition == wanted)
            .count()
        };
        assert_eq!(count(&|| state.failed(id, &LIMITS, 1, None), Transition::WentDown), 1);
        assert_eq!(count(&|| state.answered_ok(id), Transition::CameUp), 1);
    }
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
            let holder = Trial(endpoint.trial.load(Ordering::Acquire)).pid();
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
fn the_gate_opens_for_one_of_many_workers() {
    let state = state();
    let hash = hash_of(&[b"as", b"client"]);
    state.credentials_refused(hash, 0);
    for round in 1..=200 {
        let open: usize = thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| state.credentials_gate(hash, round * 1000) == Gate::Open))
                .collect();
            all.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
        });
        assert_eq!(open, 1, "round {round}");
    }
}
