//! `Cache-Control`, `Age` and what follows for the life of an answer.
//!
//! ```text
//! cap 300000 1700000060 1000 1700000000   policy, valid, exp, monotonic and wall-clock time
//! 10                                      Age
//! max-age=60, must-revalidate             lines of Cache-Control
//! ```

use super::input::{line, split, word};
use crate::http::cache_control::{self, CacheControl, Caching};
use crate::lifetime::{CacheControlPolicy, Expiry, Freshness, Keep, Life, freshness, keep};

/// What a plain reader finds in lines without quotes is what is found; no spelling gives an answer
/// a longer life than its plain words do; and no answer outlives what bounds it.
pub fn cache_control(input: &[u8]) {
    let mut rest = input;
    let mut words = line(&mut rest).split(|byte| *byte == b' ');
    let mut next = || words.next().unwrap_or_default();
    let policy = match next() {
        b"strict" => CacheControlPolicy::Strict,
        b"ignore" => CacheControlPolicy::Ignore,
        _ => CacheControlPolicy::Cap,
    };
    let (valid_ms, exp) = (word(next(), 300_000), word::<i64>(next(), -1));
    let (now_ms, now) = (word(next(), 1_000), word(next(), 1_700_000_000));
    let age = line(&mut rest);
    let lines: Vec<_> = rest.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();

    let found = CacheControl::parse(&lines);
    one_list(&lines, &found);
    let plain = lines.iter().all(|line| !line.contains(&b'"') && !line.contains(&b'\\'));
    if plain {
        assert_eq!(found, plainly(&lines));
    }

    let caching = Caching { control: found, age: cache_control::age(Some(age)) };
    let age = plain_age(age);
    assert_eq!(caching.age, age);
    let exp = u64::try_from(exp).ok();
    let (kept, overruled) = keep(&caching, policy, valid_ms, exp, now_ms, now);
    let strict = policy == CacheControlPolicy::Strict;
    let cap = policy == CacheControlPolicy::Cap;
    let said_0 = found.max_age == Some(0) && found.s_maxage.unwrap_or(0) == 0;
    let forbidden = found.no_store || found.no_cache || said_0;
    let lifetime = found.s_maxage.or(found.max_age).filter(|seconds| {
        policy != CacheControlPolicy::Ignore && !(cap && forbidden && *seconds == 0)
    });
    let keeps = valid_ms > 0
        && exp.is_none_or(|exp| exp > now)
        && !(strict && (found.no_store || found.no_cache || found.private))
        && lifetime.is_none_or(|seconds| seconds > age);
    let Keep::Yes(life) = kept else {
        assert!(!keeps, "nothing is dropped that could serve");
        assert!(!overruled.0);
        return;
    };
    assert!(keeps);
    assert_eq!(overruled.0, cap && forbidden);
    let left_ms = |exp: u64| u128::from(exp - now) * 1000;
    let end_ms = |exp| (u128::from(now_ms) + left_ms(exp)).min(u128::from(u64::MAX)) as u64;
    let expiry = exp.map(|exp| Expiry { exp, end_ms: end_ms(exp) });
    assert_eq!((life.stored, life.exp), (now_ms, expiry));
    let end = |seconds| now_ms.saturating_add(u64::from(seconds - age) * 1000);
    assert_eq!(life.until, lifetime.map(end));
    let may_stale = !(strict && (found.must_revalidate || found.s_maxage.is_some()));
    assert_eq!(life.may_stale, may_stale);
    serves(&life, valid_ms, now_ms, now);
    serves(&Life::of_inactive(now_ms, valid_ms), valid_ms, now_ms, now);
}

/// An answer at some moments of its life, in a location that keeps for the same time or another.
fn serves(life: &Life, valid_ms: u64, now_ms: u64, now: u64) {
    let end = life.until.unwrap_or(u64::MAX).min(now_ms.saturating_add(valid_ms));
    let before = [now_ms.wrapping_sub(1_001), now_ms.wrapping_sub(1_000), now_ms.wrapping_sub(1)];
    let moments = [0, now_ms, end.wrapping_sub(1), end, end.saturating_add(5)];
    let (exp, exp_end) = life.exp.map_or((now, end), |expiry| (expiry.exp, expiry.end_ms));
    let ends = [end.saturating_add(6), exp_end.saturating_sub(1), exp_end, u64::MAX];
    for at_ms in before.into_iter().chain(moments).chain(ends) {
        // Another worker's clock may be a second behind.
        let early = life.stored.checked_sub(at_ms).is_some_and(|early| early <= 1_000);
        let turn = if early { life.stored } else { at_ms };

        for at in [0, now, exp, exp.saturating_sub(1)] {
            for (valid, stale_ms) in [(valid_ms, 0), (valid_ms, 5), (0, 5), (valid_ms / 2, 0)] {
                let found = freshness(life, valid, stale_ms, at_ms, at);
                // Where either clock says so.
                let expired = life.exp.is_some() && (exp <= at || exp_end <= at_ms);
                match found {
                    Freshness::Fresh => {
                        assert!(!expired && valid > 0 && (life.stored..end).contains(&turn));
                        assert!(turn - life.stored < valid);
                    }
                    Freshness::Stale => {
                        assert!(!expired && stale_ms > 0 && life.exp.is_some() && life.may_stale);
                        assert!(turn >= end && turn - end <= stale_ms);
                    }
                    Freshness::Gone => {}
                }
                // Nothing is forgotten that could serve.
                let serves = !expired && valid == valid_ms && (life.stored..end).contains(&turn);
                assert!(!serves || found == Freshness::Fresh);
            }
        }
    }
}

/// Lines are one list: each adds its own, in any order, and any case.
fn one_list(lines: &[Vec<u8>], found: &CacheControl) {
    let least = |one: Option<u32>, other: Option<u32>| [one, other].into_iter().flatten().min();
    let each = lines.iter().map(|line| CacheControl::parse([line]));
    let all = each.fold(CacheControl::default(), |all, one| CacheControl {
        max_age: least(all.max_age, one.max_age),
        s_maxage: least(all.s_maxage, one.s_maxage),
        no_store: all.no_store | one.no_store,
        no_cache: all.no_cache | one.no_cache,
        private: all.private | one.private,
        must_revalidate: all.must_revalidate | one.must_revalidate,
    });
    assert_eq!(*found, all);
    let upper: Vec<_> = lines.iter().rev().map(|line| line.to_ascii_uppercase()).collect();
    assert_eq!(CacheControl::parse(&upper), *found);
    // Nothing in a line hides another line.
    let and_no_store = [lines, &[b"no-store".to_vec()]].concat();
    assert!(CacheControl::parse(&and_no_store).no_store);
}

/// The first member of the list, in seconds, where it is nothing but digits.
fn plain_age(value: &[u8]) -> u32 {
    let (first, _) = split(value, b",");
    let first = String::from_utf8_lossy(first.trim_ascii());
    let digits = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    if digits { first.parse().unwrap_or(1 << 31).min(1 << 31) } else { 0 }
}

/// Directives without quoted strings.
fn plainly(lines: &[Vec<u8>]) -> CacheControl {
    let mut found = CacheControl::default();
    for directive in lines.iter().flat_map(|line| line.split(|byte| *byte == b',')) {
        let (name, value) = split(directive, b"=");
        let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
        let value = std::str::from_utf8(value.trim_ascii()).unwrap_or("x");
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = if digits { value.parse().unwrap_or(1 << 31).min(1 << 31) } else { 0 };
        let lower = |known: Option<u32>| Some(known.unwrap_or(u32::MAX).min(seconds));
        match &*name {
            "max-age" => found.max_age = lower(found.max_age),
            "s-maxage" => found.s_maxage = lower(found.s_maxage),
            "no-store" => found.no_store = true,
            "no-cache" => found.no_cache = true,
            "private" => found.private = true,
            "must-revalidate" | "proxy-revalidate" => found.must_revalidate = true,
            _ => {}
        }
    }
    found
}
