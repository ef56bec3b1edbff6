use proptest::prelude::*;

use super::CacheControlPolicy::{Cap, Ignore, Strict};
use super::*;
use crate::http::cache_control;

const NOW_MS: u64 = 5_000_000;
const NOW: u64 = 1_700_000_000;
const VALID: u64 = 300_000;

fn caching(cache_control: &[&str], age: Option<&str>) -> Caching {
    let control = CacheControl::parse(cache_control);
    Caching { control, age: cache_control::age(age.map(str::as_bytes)) }
}

/// Milliseconds from now until `Cache-Control` ends it, or why it is not kept; and whether
/// something was overruled.
fn judged(
    cache_control: &str,
    age: Option<&str>,
    policy: CacheControlPolicy,
) -> (Result<Option<u64>, Uncached>, bool) {
    let caching = caching(&[cache_control], age);
    let (keep, Overruled(overruled)) = keep(&caching, policy, VALID, None, NOW_MS, NOW);
    let kept = match keep {
        Keep::Yes(life) => Ok(life.until.map(|until| until - NOW_MS)),
        Keep::No(why) => Err(why),
    };
    (kept, overruled)
}

#[test]
fn cap_lowers_and_does_not_forbid() {
    for (cache_control, age, expected, overruled) in [
        ("", None, Ok(None), false),
        ("max-age=60", None, Ok(Some(60_000)), false),
        ("max-age=60", Some("20"), Ok(Some(40_000)), false),
        ("max-age=60", Some("60"), Err(Uncached::MaxAge), false),
        ("max-age=60", Some("9999999999"), Err(Uncached::MaxAge), false),
        ("max-age=60", Some("x"), Ok(Some(60_000)), false),
        ("max-age=900", None, Ok(Some(900_000)), false),
        ("max-age=99999999999999", None, Ok(Some((1 << 31) * 1000)), false),
        ("max-age=0", None, Ok(None), true),
        ("max-age=0", Some("7"), Ok(None), true),
        ("max-age=x", None, Ok(None), true),
        ("max-age=0, private, must-revalidate", None, Ok(None), true),
        ("max-age=600, max-age=0", None, Ok(None), true),
        ("s-maxage=1, max-age=300", None, Ok(Some(1000)), false),
        // What is said to shared caches alone is meant.
        ("s-maxage=1, max-age=0", None, Ok(Some(1000)), false),
        ("s-maxage=0, max-age=300", None, Err(Uncached::MaxAge), false),
        ("s-maxage=0", None, Err(Uncached::MaxAge), false),
        ("s-maxage=0, max-age=0", None, Ok(None), true),
        ("s-maxage=0, no-store", None, Ok(None), true),
        ("private", None, Ok(None), false),
        ("private, max-age=60", None, Ok(Some(60_000)), false),
        ("must-revalidate, max-age=60", None, Ok(Some(60_000)), false),
        ("no-store", None, Ok(None), true),
        ("no-cache", None, Ok(None), true),
        ("NO-STORE", None, Ok(None), true),
        ("no-store, no-cache, max-age=0", None, Ok(None), true),
        ("no-cache, no-store, max-age=0, must-revalidate", None, Ok(None), true),
        ("no-store, max-age=60", None, Ok(Some(60_000)), true),
        ("no-store, max-age=60", Some("60"), Err(Uncached::MaxAge), false),
    ] {
        assert_eq!(
            judged(cache_control, age, Cap),
            (expected, overruled),
            "{cache_control:?} {age:?}"
        );
    }
}

#[test]
fn strict_obeys() {
    for (cache_control, age, expected) in [
        ("", None, Ok(None)),
        ("max-age=60", Some("20"), Ok(Some(40_000))),
        ("s-maxage=10, max-age=0", None, Ok(Some(10_000))),
        ("max-age=0", None, Err(Uncached::MaxAge)),
        ("max-age=0, must-revalidate", None, Err(Uncached::MaxAge)),
        ("no-store", None, Err(Uncached::NoStore)),
        ("no-store, max-age=60", None, Err(Uncached::NoStore)),
        ("no-cache", None, Err(Uncached::NoCache)),
        ("no-cache=\"Set-Cookie\", max-age=60", None, Err(Uncached::NoCache)),
        ("Private, max-age=60", None, Err(Uncached::Private)),
        ("no-store, no-cache, max-age=0", None, Err(Uncached::NoStore)),
        ("must-revalidate, max-age=60", None, Ok(Some(60_000))),
    ] {
        assert_eq!(judged(cache_control, age, Strict), (expected, false), "{cache_control:?}");
    }
}

#[test]
fn ignore_does_not_look() {
    for cache_control in ["no-store", "private", "max-age=0", "max-age=1", "no-cache, s-maxage=1"] {
        assert_eq!(
            judged(cache_control, Some("9"), Ignore),
            (Ok(None), false),
            "{cache_control:?}"
        );
    }
}

#[test]
fn only_strict_forbids_stale() {
    for (cache_control, policy, expected) in [
        ("must-revalidate", Cap, true),
        ("no-store", Cap, true),
        ("must-revalidate", Ignore, true),
        ("max-age=60", Strict, true),
        ("max-age=60, must-revalidate", Strict, false),
        ("max-age=60, proxy-revalidate", Strict, false),
        ("s-maxage=60", Strict, false),
    ] {
        let (keep, _) =
            keep(&caching(&[cache_control], None), policy, VALID, Some(NOW + 900), NOW_MS, NOW);
        let Keep::Yes(life) = keep else { panic!("{cache_control} is kept") };
        assert_eq!(life.may_stale, expected, "{cache_control} {policy:?}");
        let at = life.until.unwrap_or(NOW_MS + VALID);
        let stale = freshness(&life, VALID, 1000, at, NOW) == Freshness::Stale;
        assert_eq!(stale, expected, "{cache_control} {policy:?}");
    }
}

#[test]
fn nothing_is_kept_for_no_time_or_past_its_end() {
    let caching = caching(&[], None);
    let no = |valid, exp| keep(&caching, Cap, valid, exp, NOW_MS, NOW).0;
    assert_eq!(no(0, None), Keep::No(Uncached::CacheValidZero));
    assert_eq!(no(VALID, Some(NOW)), Keep::No(Uncached::Expired));
    assert_eq!(no(VALID, Some(0)), Keep::No(Uncached::Expired));
    assert_eq!(
        no(VALID, Some(NOW + 1)),
        Keep::Yes(Life { stored: NOW_MS, until: None, exp: expiry(1), may_stale: true })
    );
}

#[test]
fn reasons_are_metric_labels() {
    for why in [
        Uncached::CacheValidZero,
        Uncached::Expired,
        Uncached::NoStore,
        Uncached::NoCache,
        Uncached::Private,
        Uncached::MaxAge,
    ] {
        let word = UncachedReason::from(why).word();
        assert_eq!(word.replace('_', ""), format!("{why:?}").to_lowercase());
    }
}

/// Of a token that has so many seconds left.
const fn expiry(left: u64) -> Option<Expiry> {
    Some(Expiry { exp: NOW + left, end_ms: NOW_MS + left * 1000 })
}

const LIFE: Life = Life { stored: NOW_MS, until: None, exp: expiry(1000), may_stale: true };

#[test]
fn the_earliest_end_counts() {
    let after =
        |life: &Life, valid, ms: u64| freshness(life, valid, 0, NOW_MS + ms, NOW + ms / 1000);
    // The asking location's own bound, whatever the storing one's was.
    assert_eq!(after(&LIFE, 300_000, 0), Freshness::Fresh);
    assert_eq!(after(&LIFE, 300_000, 299_999), Freshness::Fresh);
    assert_eq!(after(&LIFE, 300_000, 300_000), Freshness::Gone);
    assert_eq!(after(&LIFE, 10_000, 10_000), Freshness::Gone);
    assert_eq!(after(&LIFE, 10_000, 9_999), Freshness::Fresh);
    // Cache-Control's.
    let capped = Life { until: Some(NOW_MS + 5000), ..LIFE };
    assert_eq!(after(&capped, 300_000, 4999), Freshness::Fresh);
    assert_eq!(after(&capped, 300_000, 5000), Freshness::Gone);
    assert_eq!(after(&capped, 2000, 2000), Freshness::Gone);
    // The token's.
    let expiring = Life { exp: expiry(7), ..LIFE };
    assert_eq!(after(&expiring, 300_000, 6999), Freshness::Fresh);
    assert_eq!(after(&expiring, 300_000, 7000), Freshness::Gone);
    assert_eq!(freshness(&expiring, 300_000, 0, NOW_MS, NOW + 7), Freshness::Gone);
    assert_eq!(freshness(&LIFE, 0, 60_000, NOW_MS, NOW), Freshness::Gone);
}

#[test]
fn stale_is_bounded_on_every_side() {
    let at = |life: &Life, stale, ms| freshness(life, 10_000, stale, NOW_MS + ms, NOW);
    assert_eq!(at(&LIFE, 5000, 9_999), Freshness::Fresh);
    assert_eq!(at(&LIFE, 5000, 10_000), Freshness::Stale);
    assert_eq!(at(&LIFE, 5000, 15_000), Freshness::Stale);
    assert_eq!(at(&LIFE, 5000, 15_001), Freshness::Gone);
    assert_eq!(at(&LIFE, 0, 10_000), Freshness::Gone);
    // From the earliest end on.
    let capped = Life { until: Some(NOW_MS + 1000), ..LIFE };
    assert_eq!(at(&capped, 5000, 6000), Freshness::Stale);
    assert_eq!(at(&capped, 5000, 6001), Freshness::Gone);
    // Never past exp, without one, or where it was forbidden.
    assert_eq!(freshness(&LIFE, 10_000, 5000, NOW_MS + 10_000, NOW + 999), Freshness::Stale);
    assert_eq!(freshness(&LIFE, 10_000, 5000, NOW_MS + 10_000, NOW + 1000), Freshness::Gone);
    assert_eq!(at(&Life { exp: None, ..LIFE }, 5000, 10_000), Freshness::Gone);
    assert_eq!(at(&Life { may_stale: false, ..LIFE }, 5000, 10_000), Freshness::Gone);
}

#[test]
fn an_inactive_answer_never_serves_stale() {
    let life = Life::of_inactive(NOW_MS, 1_000);
    assert_eq!(freshness(&life, 1000, 60_000, NOW_MS + 999, NOW), Freshness::Fresh);
    assert_eq!(freshness(&life, 1000, 60_000, NOW_MS + 1000, NOW), Freshness::Gone);
}

#[test]
fn clocks_may_be_anything() {
    // Another worker's turn began earlier.
    assert_eq!(freshness(&LIFE, VALID, VALID, NOW_MS - 1_000, NOW), Freshness::Fresh);
    assert_eq!(freshness(&LIFE, 0, VALID, NOW_MS - 1_000, NOW), Freshness::Gone);
    assert_eq!(freshness(&LIFE, VALID, VALID, NOW_MS - 1_001, NOW), Freshness::Gone);
    assert_eq!(freshness(&LIFE, VALID, VALID, 0, NOW), Freshness::Gone);
    assert_eq!(freshness(&LIFE, u64::MAX, u64::MAX, u64::MAX, 0), Freshness::Gone);
    let lasting = Life { exp: Some(Expiry::new(u64::MAX, NOW_MS, 0)), ..LIFE };
    assert_eq!(freshness(&lasting, u64::MAX, u64::MAX, u64::MAX - 1, NOW), Freshness::Fresh);
    assert_eq!(freshness(&lasting, 1, u64::MAX, u64::MAX - 1, NOW), Freshness::Stale);
}

#[test]
fn a_clock_set_back_gives_no_token_more_time() {
    let life = Life { exp: expiry(7), ..LIFE };
    let hour_ago = NOW - 3600;
    assert_eq!(freshness(&life, VALID, 0, NOW_MS + 6_999, hour_ago), Freshness::Fresh);
    assert_eq!(freshness(&life, VALID, 0, NOW_MS + 7_000, hour_ago), Freshness::Gone);
    // Where the clock is left alone, nothing changes: its last second is counted from the start.
    assert_eq!(freshness(&life, VALID, 0, NOW_MS + 6_999, NOW + 6), Freshness::Fresh);
    assert_eq!(freshness(&life, VALID, 0, NOW_MS + 6_999, NOW + 7), Freshness::Gone);
    // Nor does it serve on as a stale answer.
    for ended in [life, Life { until: Some(NOW_MS + 5), ..life }] {
        let stale = |ms| freshness(&ended, 1_000, VALID, NOW_MS + ms, hour_ago);
        assert_eq!(stale(6_999), Freshness::Stale);
        assert_eq!(stale(7_000), Freshness::Gone);
    }
    assert_eq!(Expiry::new(u64::MAX, NOW_MS, 0).end_ms, u64::MAX);
    assert_eq!(Expiry::new(NOW, NOW_MS, NOW + 2000).end_ms, NOW_MS);
}

proptest! {
    #[test]
    fn no_hit_outlives_any_bound(
        stored: u64, until: Option<u64>, exp: Option<(u64, u64)>, may_stale: bool,
        valid_ms: u64, stale_ms: u64, now_ms: u64, now: u64,
    ) {
        let exp = exp.map(|(exp, end_ms)| Expiry { exp, end_ms });
        let life = Life { stored, until, exp, may_stale };
        let lasts = |expiry: Expiry| now < expiry.exp && now_ms < expiry.end_ms;
        match freshness(&life, valid_ms, stale_ms, now_ms, now) {
            Freshness::Fresh => {
                prop_assert!(now_ms.saturating_add(1_000) >= stored);
                prop_assert!(now_ms.saturating_sub(stored) < valid_ms);
                prop_assert!(until.is_none_or(|until| now_ms < until));
                prop_assert!(exp.is_none_or(lasts));
            }
            Freshness::Stale => {
                prop_assert!(may_stale && exp.is_some_and(lasts));
                let end = stored.saturating_add(valid_ms).min(until.unwrap_or(u64::MAX));
                prop_assert!(now_ms.saturating_add(1_000) >= end);
                prop_assert!(now_ms.saturating_sub(end) <= stale_ms);
            }
            Freshness::Gone => {}
        }
    }

    #[test]
    fn cache_control_never_prolongs(
        lines in proptest::collection::vec("[a-z=0-9,\" -]{0,30}", 0..3),
        age: Option<u32>, strict: bool, after_ms in 0u64..10_000_000,
    ) {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let age = age.map(|age| age.to_string());
        let policy = if strict { Strict } else { Cap };
        let caching = caching(&lines, age.as_deref());
        if let (Keep::Yes(life), _) = keep(&caching, policy, VALID, None, NOW_MS, NOW)
            && freshness(&life, VALID, 0, NOW_MS + after_ms, NOW) == Freshness::Fresh
        {
            prop_assert!(after_ms < VALID);
        }
    }
}

#[test]
fn an_answer_that_is_not_kept_still_knows_when_its_token_expires() {
    let life = Life::of_none(5_000, Some(Expiry::new(1_100, 5_000, 1_000)));
    assert_eq!(freshness(&life, 300_000, 300_000, 5_000, 1_000), Freshness::Gone);
    assert!(!life.has_expired(104_999, 1_099));
    assert!(life.has_expired(104_999, 1_100) && life.has_expired(105_000, 1_000));
    assert!(!Life::of_none(5_000, None).has_expired(u64::MAX, u64::MAX));
}

#[test]
fn a_minted_jwt_serves_last_with_a_minute_left_or_half_of_its_time() {
    for (valid_ms, serves_ms) in
        [(360_000, 300_000), (120_000, 60_000), (119_000, 59_500), (60_000, 30_000), (1_000, 500)]
    {
        assert_eq!(serves_of(valid_ms), serves_ms);
    }
    assert_eq!(serves_of(u64::MAX), u64::MAX - 60_000);
}

#[test]
fn an_answer_of_another_gateways_is_as_old_as_it_is() {
    let aged = Aged { age_ms: 200_000, left_ms: None, may_stale: true };
    let fresh =
        |life: &Life, valid_ms, now_ms| freshness(life, valid_ms, 0, now_ms, 0) == Freshness::Fresh;
    let life = Life::of_aged(aged, 300_000, None, 1_000_000);
    assert_eq!(life, Life { stored: 800_000, until: None, exp: None, may_stale: true });
    assert!(fresh(&life, 300_000, 1_099_999) && !fresh(&life, 300_000, 1_100_000));
    assert!(fresh(&life, 400_000, 1_199_999), "another location keeps it for longer");
    let aged = Aged { left_ms: Some(50_000), ..aged };
    assert_eq!(Life::of_aged(aged, 300_000, None, 1_000_000).until, Some(1_050_000));
}

#[test]
fn an_answer_may_be_older_than_the_machine() {
    let aged = Aged { age_ms: 200_000, left_ms: None, may_stale: false };
    for (left_ms, end) in [(None, 110_000), (Some(500_000), 110_000), (Some(7_000), 17_000)] {
        let life = Life::of_aged(Aged { left_ms, ..aged }, 300_000, None, 10_000);
        assert_eq!((life.stored, life.until), (0, Some(end)));
        assert_eq!(freshness(&life, 300_000, 0, end - 1, 0), Freshness::Fresh);
        assert_eq!(freshness(&life, 300_000, 0, end, 0), Freshness::Gone);
    }
    // Nor does it serve where it is too old already.
    let life = Life::of_aged(aged, 100_000, None, 10_000);
    assert_eq!(freshness(&life, 300_000, 0, 10_000, 0), Freshness::Gone);
}
