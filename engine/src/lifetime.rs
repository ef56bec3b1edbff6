//! How long an answer may be kept.
//!
//! Two clocks: lifetimes are counted in milliseconds of a monotonic clock, which nobody sets; `exp`
//! is compared with the wall clock in seconds since the Unix epoch, and once, when the answer is
//! stored, counted out on the other one ([`Expiry`]).

use crate::http::cache_control::{CacheControl, Caching};
use crate::shared::counters::UncachedReason;

mod ahead;

pub use ahead::{Ahead, after_gap, ahead};

/// What the server's `Cache-Control` may do (`phantom_token_cache_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheControlPolicy {
    /// It may lower the lifetime, but not forbid keeping the answer: most servers and frameworks
    /// forbid that as a matter of course, and RFC 7662 §4 leaves it to the protected resource.
    #[default]
    Cap,
    /// All of it is obeyed (RFC 9111).
    Strict,
    /// It is not looked at.
    Ignore,
}

/// When a token expires, on both clocks: whichever says so first is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `exp`, in seconds since the Unix epoch.
    pub exp: u64,
    /// When as much time has gone by as the token had left, in monotonic milliseconds: a wall clock
    /// that is set back gives it no more.
    pub end_ms: u64,
}

impl Expiry {
    /// Makes the expiry of a token from its `exp`, told at `now_ms` (monotonic milliseconds) and
    /// `now` (seconds since the Unix epoch).
    pub fn new(exp: u64, now_ms: u64, now: u64) -> Expiry {
        let left_ms = exp.saturating_sub(now).saturating_mul(1000);
        Expiry { exp, end_ms: now_ms.saturating_add(left_ms) }
    }

    fn has_passed(&self, now_ms: u64, now: u64) -> bool {
        self.exp <= now || self.end_ms <= now_ms
    }
}

/// How long an answer may be kept, fixed when it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When it was stored, in monotonic milliseconds.
    pub stored: u64,
    /// When `Cache-Control` ends it, in monotonic milliseconds.
    pub until: Option<u64>,
    /// When the token expires.
    pub exp: Option<Expiry>,
    /// Whether it may serve after its end while the server cannot be asked.
    pub may_stale: bool,
}

impl Life {
    /// Makes the life of an inactive answer: `valid_ms` milliseconds of the location that asked
    /// (`phantom_token_cache_inactive_valid`) from `now_ms` on. It never serves after that.
    pub fn of_inactive(now_ms: u64, valid_ms: u64) -> Life {
        let until = Some(now_ms.saturating_add(valid_ms));
        Life { stored: now_ms, until, exp: None, may_stale: false }
    }

    /// Makes the life of an answer that another gateway was given, for a location that keeps answers for
    /// `valid_ms` milliseconds.
    ///
    /// On a machine that runs for less than the answer is old, no time says when the server was asked:
    /// there it ends for all locations when it does for this one.
    pub fn of_aged(aged: Aged, valid_ms: u64, exp: Option<Expiry>, now_ms: u64) -> Life {
        let Aged { age_ms, left_ms, may_stale } = aged;
        let left_ms = match age_ms <= now_ms {
            true => left_ms,
            false => {
                let left = valid_ms.saturating_sub(age_ms);
                Some(left_ms.map_or(left, |ms| ms.min(left)))
            }
        };
        let until = left_ms.map(|left| now_ms.saturating_add(left));
        Life { stored: now_ms.saturating_sub(age_ms), until, exp, may_stale }
    }

    /// Makes the life of an answer that is not kept: over at once, but for the request that has it,
    /// which may go on until the token expires.
    pub fn of_none(now_ms: u64, exp: Option<Expiry>) -> Life {
        Life { stored: now_ms, until: Some(now_ms), exp, may_stale: false }
    }

    /// Tells whether the token has expired, on either clock (`now_ms` monotonic, `now` in Unix
    /// seconds).
    pub fn has_expired(&self, now_ms: u64, now: u64) -> bool {
        self.exp.is_some_and(|exp| exp.has_passed(now_ms, now))
    }
}

/// How old an answer is that another gateway was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aged {
    /// How long ago the server was asked, in milliseconds.
    pub age_ms: u64,
    /// What `Cache-Control` leaves of it, in milliseconds.
    pub left_ms: Option<u64>,
    /// Whether it may serve after its end while the server cannot be asked.
    pub may_stale: bool,
}

/// Whether an active answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is, for so long.
    Yes(Life),
    /// It is not.
    No(Uncached),
}

/// Why an active answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uncached {
    /// `phantom_token_cache_valid 0`.
    CacheValidZero,
    /// The token has expired.
    Expired,
    /// `no-store`, obeyed.
    NoStore,
    /// `no-cache`, obeyed.
    NoCache,
    /// `private`, obeyed.
    Private,
    /// `max-age` or `s-maxage` is used up.
    MaxAge,
}

impl From<Uncached> for UncachedReason {
    fn from(uncached: Uncached) -> Self {
        match uncached {
            Uncached::CacheValidZero => Self::CacheValidZero,
            Uncached::Expired => Self::Expired,
            Uncached::NoStore => Self::NoStore,
            Uncached::NoCache => Self::NoCache,
            Uncached::Private => Self::Private,
            Uncached::MaxAge => Self::MaxAge,
        }
    }
}

/// Whether `no-store`, `no-cache` or `max-age=0` was overruled ([`CacheControlPolicy::Cap`]), which
/// is worth one notice per endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overruled(pub bool);

/// Decides whether an active answer is kept, and fixes its life.
///
/// `valid_ms` is the location's `phantom_token_cache_valid` in milliseconds, 0 for none; `now_ms`
/// the monotonic time in milliseconds, `now` the wall clock in seconds since the Unix epoch.
pub fn keep(
    caching: &Caching,
    policy: CacheControlPolicy,
    valid_ms: u64,
    exp: Option<u64>,
    now_ms: u64,
    now: u64,
) -> (Keep, Overruled) {
    let no = |why| (Keep::No(why), Overruled(false));
    if valid_ms == 0 {
        return no(Uncached::CacheValidZero);
    }
    if exp.is_some_and(|exp| exp <= now) {
        return no(Uncached::Expired);
    }
    let asked = match policy {
        CacheControlPolicy::Cap | CacheControlPolicy::Strict => caching.control,
        CacheControlPolicy::Ignore => CacheControl::default(),
    };
    let mut lifetime = asked.lifetime();
    // Rails says "max-age=0" of every answer.
    let none_left = lifetime == Some(0) && asked.max_age == Some(0);
    let forbidden = asked.no_store || asked.no_cache || none_left;
    let mut may_stale = true;
    if policy == CacheControlPolicy::Strict {
        for (given, why) in [
            (asked.no_store, Uncached::NoStore),
            (asked.no_cache, Uncached::NoCache),
            (asked.private, Uncached::Private),
        ] {
            if given {
                return no(why);
            }
        }
        // `s-maxage` has the meaning of `proxy-revalidate` too (RFC 9111 §5.2.2.10).
        may_stale = !asked.must_revalidate && asked.s_maxage.is_none();
    } else if forbidden && lifetime == Some(0) {
        // "no-store, no-cache, max-age=0" is one phrase, said twice.
        lifetime = None;
    }
    let until = match lifetime {
        None => None,
        Some(seconds) => {
            let left = seconds.saturating_sub(caching.age);
            if left == 0 {
                return no(Uncached::MaxAge);
            }
            Some(now_ms.saturating_add(u64::from(left) * 1000))
        }
    };
    let exp = exp.map(|exp| Expiry::new(exp, now_ms, now));
    (Keep::Yes(Life { stored: now_ms, until, exp, may_stale }), Overruled(forbidden))
}

/// How long a minted JWT may serve that is good for `valid_ms` milliseconds. Whoever gets it last still
/// has some of that left, a minute where it is long enough: clocks differ, and requests take time.
pub fn serves_of(valid_ms: u64) -> u64 {
    valid_ms - MINTED_LEFT_MS.min(valid_ms / 2)
}

/// What a minted JWT has left when it serves last, in milliseconds.
const MINTED_LEFT_MS: u64 = 60_000;

/// What a kept answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It serves.
    Fresh,
    /// It serves where the server cannot be asked.
    Stale,
    /// It does not serve.
    Gone,
}

/// How far the times of two workers may lie apart, in milliseconds: NGINX looks at the clock once
/// in each turn of its event loop, with `timer_resolution` more seldom.
const TURN_MS: u64 = 1_000;

/// Judges a kept answer for the location that asks now.
///
/// `valid_ms` and `stale_ms` are that location's `phantom_token_cache_valid` (or
/// `phantom_token_cache_inactive_valid`) and `phantom_token_cache_stale` in milliseconds; 0 turns
/// each off. Never [`Freshness::Stale`] without an `exp`, and never past it on either clock.
///
/// ```
/// use phantom_token_engine::lifetime::{Freshness, Life, freshness};
///
/// let life = Life::of_inactive(1_000, 5_000);
/// assert_eq!(freshness(&life, 5_000, 0, 2_000, 0), Freshness::Fresh);
/// assert_eq!(freshness(&life, 5_000, 0, 7_000, 0), Freshness::Gone);
/// ```
pub fn freshness(life: &Life, valid_ms: u64, stale_ms: u64, now_ms: u64, now: u64) -> Freshness {
    let expired = life.has_expired(now_ms, now);
    // A worker whose turn takes long has an older time than the one that stored it just now.
    let now_ms = now_ms.max(life.stored.min(now_ms.saturating_add(TURN_MS)));
    // Stored later still: another clock than ours, nothing can be said.
    if valid_ms == 0 || now_ms < life.stored || expired {
        return Freshness::Gone;
    }
    let end = end(life, valid_ms);
    if now_ms < end {
        return Freshness::Fresh;
    }
    if stale_ms > 0 && life.may_stale && life.exp.is_some() && now_ms - end <= stale_ms {
        return Freshness::Stale;
    }
    Freshness::Gone
}

/// When a kept answer has served for as long as a location that keeps answers `valid_ms` milliseconds lets
/// it, and `Cache-Control` does, in monotonic milliseconds. The token's `exp` may come before.
#[inline]
pub fn end(life: &Life, valid_ms: u64) -> u64 {
    let valid_end = life.stored.saturating_add(valid_ms);
    life.until.map_or(valid_end, |until| until.min(valid_end))
}

#[cfg(test)]
mod tests;
