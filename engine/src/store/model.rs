//! The whole protocol as a model: gateways that come and go, each with answers of its own, a store that
//! has accidents, an authorization server, and operators who revoke tokens and purge them. Time is
//! simulated, and a seed makes a run what it is.
//!
//! What must hold: a request that comes more than a second after a purge was acknowledged is not served
//! what the server said before. Two cases are not of the protocol's making and are counted apart: a
//! gateway that has not heard the store since the purge was acknowledged, and answers that a gateway
//! renews after a gap, of which it serves some for ten seconds yet.

use std::ops::Range;

use self::events::{Mutant, Policy, Setting};
use self::numbers::Numbers;
use self::run::run;

mod chaos;
mod events;
mod gateway;
mod numbers;
mod run;
mod serving;
mod world;

/// Runs these seeds.
fn runs(setting: Setting, seeds: Range<u64>) -> Numbers {
    let mut all = Numbers::default();
    for seed in seeds {
        let numbers = run(setting, seed, RUN_SECONDS);
        if setting.mutant.is_none() && numbers.wrong > 0 {
            eprintln!("seed {seed}: {} wrong", numbers.wrong);
        }
        all.add(&numbers);
    }
    all
}

/// A run is so long, in simulated seconds; whoever wants more of it has more seeds.
const RUN_SECONDS: u64 = 20;

/// How many runs there are: six, or as many as the simulated seconds of the long form
/// (`STORE_MODEL_SECONDS`) take.
fn seeds() -> Range<u64> {
    let seconds = long().unwrap_or(6 * RUN_SECONDS);
    0..seconds.div_ceil(RUN_SECONDS)
}

fn long() -> Option<u64> {
    std::env::var("STORE_MODEL_SECONDS").ok().and_then(|text| text.parse().ok())
}

fn all(policy: Policy) -> Numbers {
    let setting = Setting { policy, ..Setting::default() };
    let numbers = runs(setting, seeds());
    if long().is_some() {
        eprintln!("{policy:?}: {numbers:#?}");
    }
    assert!(numbers.own > 1_000 && numbers.store > 100 && numbers.calls > 1_000, "{numbers:?}");
    assert!(numbers.acknowledged > 50 && numbers.gaps > 5, "{numbers:?}");
    numbers
}

#[test]
fn nothing_purged_comes_back() {
    assert_eq!(all(Policy::Forget).wrong, 0);
}

#[test]
fn nothing_purged_comes_back_where_answers_are_renewed_after_a_gap() {
    assert_eq!(all(Policy::Renew).wrong, 0);
}

#[test]
fn a_seed_makes_a_run_what_it_is() {
    for seed in 0..3 {
        let [one, other] = [(); 2].map(|()| run(Setting::default(), seed, 5));
        assert_eq!(one, other);
    }
}

/// Each guard that is taken out shows.
#[test]
fn the_model_sees_what_it_is_there_for() {
    for mutant in Mutant::ALL {
        let setting = Setting { mutant: Some(mutant), ..Setting::default() };
        if long().is_some() {
            let Numbers { wrong, cut_off, .. } = runs(setting, seeds());
            eprintln!("{mutant:?}: {wrong}, and {cut_off} by gateways that are cut off");
        }
        let found = (0..100).find(|seed| run(setting, *seed, RUN_SECONDS).wrong > 0);
        assert!(found.is_some(), "{mutant:?} shows nowhere");
    }
}
