//! Where an endpoint is kept: one place for one endpoint in all workers.

use std::collections::HashSet;

use super::*;
use crate::shared::state::testing::{in_children, interrupted, killed};

#[test]
fn an_endpoint_s_place_is_found_though_its_worker_was_killed() {
    let label = "https://as.example:443/introspect";
    killed(
        state,
        |state| {
            state.endpoints().find(label, 0);
        },
        |state| {
            let id = state.endpoints().find(label, 0);
            let known: Vec<_> = state.endpoints().labels(0).collect();
            assert_eq!(known, [(id.unwrap(), label.to_owned(), true)]);
        },
    );
    let claim = move |state: State| state.endpoints().find(label, 0);
    interrupted(state, claim, claim, |state, one, other| {
        assert!(one.is_some() && one == other);
        assert_eq!(state.endpoints().labels(0).count(), 1);
    });
    // Another endpoint that would like the same place.
    let place = |label: &str| hash_of(&[label.as_bytes(), &[0; 8]]) as usize % ENDPOINTS;
    let rival = (0..).map(|number| format!("https://as{number}.example:443/"));
    let rival: &'static str =
        rival.into_iter().find(|rival| place(rival) == place(label)).unwrap().leak();
    interrupted(
        state,
        claim,
        |state| state.endpoints().find(rival, 0),
        |state, one, other| {
            assert!(one.is_some() && other.is_some() && one != other);
            assert_eq!((claim(state), state.endpoints().find(rival, 0)), (one, other));
            assert_eq!(state.endpoints().labels(0).count(), 2);
        },
    );
}

#[test]
fn an_endpoint_has_one_place_in_all_processes() {
    let state = state();
    let labels = ["https://a:443/", "https://b:443/", "https://c:443/"];
    let codes = in_children(6, |number| {
        let label = labels[number % 3];
        state.endpoints().find(label, 0).map_or(255, |EndpointId(index)| i32::from(index % 128))
    });
    assert_eq!(codes[..3], codes[3..]);
    let known: HashSet<String> = state.endpoints().labels(0).map(|(_, label, _)| label).collect();
    assert_eq!(known, HashSet::from(labels.map(String::from)));
}

#[test]
fn places_are_found_until_there_are_none() {
    let state = state();
    let label = |number| format!("https://as{number}.example:443/introspect");
    let ids: HashSet<EndpointId> =
        (0..256).map(|number| state.endpoints().find(&label(number), 0).unwrap()).collect();
    assert_eq!(ids.len(), ENDPOINTS);
    assert_eq!(state.endpoints().find(&label(256), 0), None);
    let again = state.endpoints().find(&label(100), 0);
    assert!(again.is_some_and(|id| ids.contains(&id)));
    assert_eq!(state.endpoints().available(None, &LIMITS, 0), Availability::Up);
    assert_eq!(state.endpoints().failed(None, &LIMITS, 0, 0), Availability::Up);
    assert_eq!(state.endpoints().answered(None, 0), Transition::None);
    let call = OwnCall { said: Health::Failed, began_ms: 0, counts_ms: COUNTS };
    assert_eq!(state.endpoints().own_call_ended(None, &LIMITS, call, 0), Transition::None);
}

#[test]
fn what_is_called_in_another_way_rests_for_itself() {
    let state = state();
    let first = resting(&state);
    let second = state.endpoints().find("https://as.example:443/introspect", 1).unwrap();
    assert_eq!(look(&state, first, 1000), Availability::Resting);
    assert_eq!(look(&state, second, 1000), Availability::Up);
}

#[test]
fn a_label_is_kept_as_far_as_it_fits() {
    let state = state();
    let exact = "x".repeat(MAX_LABEL);
    state.endpoints().find(&exact, 0).unwrap();
    let long = format!("{}é{}", "x".repeat(182), "y".repeat(100));
    state.endpoints().find(&long, 0).unwrap();
    state.endpoints().find(&format!("{long}z"), 0).unwrap();
    let labels: HashSet<String> = state.endpoints().labels(0).map(|(_, label, _)| label).collect();
    assert_eq!(labels.len(), 3, "long ones are told apart");
    assert!(labels.contains(&exact));
    assert!(labels.iter().all(|label| label.len() <= MAX_LABEL));
    assert!(labels.iter().all(|label| label.starts_with(&"x".repeat(182))));
}
