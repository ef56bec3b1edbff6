//! When a kept answer is asked for anew before it ends: in the last part of its life
//! (`phantom_token_cache_refresh_ahead`), or where it is in doubt.

use super::{CacheControlPolicy, Life, end};
use crate::shared::purges::DOUBTED_MS;

/// The time in which a hit has an entry asked for anew. Monotonic milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// From when on.
    pub begin: u64,
    /// When the entry serves no longer.
    pub end: u64,
}

impl Ahead {
    /// When half of what is left at `now_ms` has passed: none is begun before that where one has failed.
    pub fn half_of_rest(&self, now_ms: u64) -> u64 {
        now_ms + (self.end.saturating_sub(now_ms) / 2).max(1)
    }
}

/// Of the time that answers in doubt serve, they are asked for in so much, the rest is for their calls, in
/// milliseconds.
const ASKED_MS: u64 = DOUBTED_MS * 4 / 5;

/// Tells when an answer is asked for anew that is in doubt since `since_ms`
/// ([`Standing::Doubted`](crate::shared::purges::Standing::Doubted)).
pub fn after_gap(since_ms: u64, spread: u32) -> Ahead {
    let begin = since_ms + part(ASKED_MS, spread);
    Ahead { begin, end: since_ms + DOUBTED_MS }
}

/// That part of `whole` that `spread` is of all numbers.
fn part(whole: u64, spread: u32) -> u64 {
    ((u128::from(whole) * u128::from(spread)) >> u32::BITS) as u64
}

/// Tells when an entry is asked for anew that ends as [`end`] says.
///
/// `valid_ms` and `ahead_ms` are the location's `phantom_token_cache_valid` and
/// `phantom_token_cache_refresh_ahead` in milliseconds, `control` its `phantom_token_cache_control`. At most
/// a third of the entry's life counts. `spread` is the key's
/// ([`Key::spread`](crate::token::key::Key::spread)): entries that were stored at one time are not asked for
/// at one time. `None`: it is not, since asking earlier would not let it serve longer, as where `exp` ends
/// it; or since the server has said how long it serves and that is obeyed.
pub fn ahead(
    life: &Life,
    valid_ms: u64,
    ahead_ms: u64,
    control: CacheControlPolicy,
    spread: u32,
) -> Option<Ahead> {
    let end = end(life, valid_ms);
    if life.exp.is_some_and(|exp| exp.end_ms <= end) {
        return None;
    }
    if control == CacheControlPolicy::Strict && life.until == Some(end) {
        return None;
    }
    let window = ahead_ms.min(end.saturating_sub(life.stored) / 3);
    if window == 0 {
        return None;
    }
    Some(Ahead { begin: end - window + part(window / 2, spread), end })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lifetime::{Expiry, Freshness, freshness};

    const CAP: CacheControlPolicy = CacheControlPolicy::Cap;

    fn life(stored: u64, until: Option<u64>, exp_end: Option<u64>) -> Life {
        let exp = exp_end.map(|end_ms| Expiry { exp: u64::MAX, end_ms });
        Life { stored, until, exp, may_stale: true }
    }

    fn control() -> impl Strategy<Value = CacheControlPolicy> {
        use CacheControlPolicy::{Cap, Ignore, Strict};
        prop_oneof![Just(Cap), Just(Strict), Just(Ignore)]
    }

    proptest! {
        #[test]
        fn it_begins_in_the_first_half_of_the_window_while_the_entry_serves(
            stored in 1_u64..1 << 50,
            until in proptest::option::of(0_u64..1 << 30),
            exp in proptest::option::of(0_u64..1 << 30),
            valid_ms in 0_u64..1 << 30,
            ahead_ms in 0_u64..1 << 30,
            control in control(),
            spread: u32,
        ) {
            let life = life(stored, until.map(|ms| stored + ms), exp.map(|ms| stored + ms));
            if let Some(Ahead { begin, end }) = ahead(&life, valid_ms, ahead_ms, control, spread) {
                prop_assert_eq!(end, super::end(&life, valid_ms));
                let window = ahead_ms.min((end - stored) / 3);
                prop_assert!(end - window <= begin);
                prop_assert!(begin - (end - window) <= window / 2);
                prop_assert_eq!(freshness(&life, valid_ms, 0, begin, 0), Freshness::Fresh);
                // What ends it is what a new answer would put off.
                prop_assert!(life.exp.is_none_or(|exp| exp.end_ms > end));
                prop_assert!(control != CacheControlPolicy::Strict || life.until != Some(end));
            }
        }

        #[test]
        fn half_of_the_rest_lies_before_the_end(now in 1_u64..1 << 40, left in 2_u64..1 << 40) {
            let ahead = Ahead { begin: now, end: now + left };
            let half = ahead.half_of_rest(now);
            prop_assert!(now < half && half < ahead.end);
        }
    }

    #[test]
    fn the_window_is_what_is_asked_for_and_at_most_a_third_of_the_life() {
        let begin = |ahead_ms| ahead(&life(1_000, None, None), 300_000, ahead_ms, CAP, 0);
        assert_eq!(begin(0), None);
        assert_eq!(begin(60_000), Some(Ahead { begin: 241_000, end: 301_000 }));
        assert_eq!(begin(100_000), Some(Ahead { begin: 201_000, end: 301_000 }));
        assert_eq!(begin(250_000), begin(100_000));
        // What the server has cut short is not asked for all the time.
        let short = ahead(&life(1_000, Some(7_000), None), 300_000, 60_000, CAP, 0);
        assert_eq!(short, Some(Ahead { begin: 5_000, end: 7_000 }));
    }

    #[test]
    fn entries_of_one_moment_are_spread_over_half_the_window() {
        let at = |spread| ahead(&life(0, None, None), 300_000, 60_000, CAP, spread).unwrap().begin;
        assert_eq!(at(0), 240_000);
        assert_eq!(at(1 << 31), 255_000);
        assert_eq!(at(u32::MAX), 269_999);
    }

    #[test]
    fn what_is_in_doubt_is_asked_for_within_its_time() {
        let at = |spread| after_gap(1_000, spread);
        assert_eq!(at(0), Ahead { begin: 1_000, end: 11_000 });
        assert_eq!(at(1 << 31).begin, 5_000);
        assert_eq!(at(u32::MAX).begin, 8_999);
    }

    #[test]
    fn an_end_that_asking_would_not_put_off_is_left_to_come() {
        let at = |life, control| ahead(&life, 300_000, 60_000, control, 0);
        for exp in [1, 299_999, 300_000] {
            assert_eq!(at(life(0, None, Some(exp)), CAP), None, "{exp}");
        }
        assert!(at(life(0, None, Some(300_001)), CAP).is_some());
        let strict = CacheControlPolicy::Strict;
        for until in [1, 299_999, 300_000] {
            assert_eq!(at(life(0, Some(until), None), strict), None, "{until}");
        }
        assert!(at(life(0, Some(300_001), None), strict).is_some());
        assert!(at(life(0, Some(150_000), None), CAP).is_some());
    }
}
