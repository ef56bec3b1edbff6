//! The fleet's store, as all workers know it together: whether it rests, and what was heard of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::atomic::Word;
use super::counters::StorePeer;
use super::health::Limits;

/// For how long after it was heard last the store counts as heard, in milliseconds.
pub const HEARD_MS: u64 = 1_500;

/// What is known of the store. Every word stands alone: a worker may be killed between any two.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct StoreHealth {
    /// Failures in a row in the lower half, and when the first of them was, in milliseconds, in the upper.
    failures: AtomicU64,
    /// Since when it rests, in milliseconds; 0: it does not.
    rests_since: AtomicU64,
    /// When it was heard last, in milliseconds; 0: never.
    heard: AtomicU64,
    /// 1: all purges up to then are known.
    in_sync: AtomicU64,
    /// How the other gateways compare with this one.
    peers: [AtomicU64; StorePeer::ALL.len()],
}

/// In all of it, `now_ms` is monotonic time, the same clock in all workers.
impl StoreHealth {
    /// Of a store that nobody has asked yet.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self {
            failures: AtomicU64::default(),
            rests_since: AtomicU64::default(),
            heard: AtomicU64::default(),
            in_sync: AtomicU64::default(),
            peers: Default::default(),
        }
    }

    /// A question failed. True where that begins a rest: `max_fails` failures in a row, all within
    /// `fail_timeout_ms`. A `max_fails` of 0 begins none.
    pub fn failed(&self, limits: &Limits, now_ms: u64) -> bool {
        let now = now_ms as u32;
        let within = |first: u32| u64::from(now.wrapping_sub(first)) <= limits.fail_timeout_ms;
        loop {
            let before = self.failures.get();
            let (first, failures) = ((before >> 32) as u32, before as u32);
            let (first, failures) = match failures {
                1.. if within(first) => (first, failures.saturating_add(1)),
                _ => (now, 1),
            };
            let after = u64::from(first) << 32 | u64::from(failures);
            if self.failures.exchange(before, after).is_ok() {
                return limits.max_fails > 0 && failures >= limits.max_fails && self.rest(now_ms);
            }
        }
    }

    /// It is not to be asked by requests until it has [`answered`](Self::answered) whoever hears it,
    /// whatever it said before. True where that begins a rest.
    pub fn rest(&self, now_ms: u64) -> bool {
        self.rests_since.exchange(0, now_ms.max(1)).is_ok()
    }

    /// It answered: a rest is over, and failures count anew. True where it had been resting.
    pub fn answered(&self) -> bool {
        if self.failures.get() != 0 {
            self.failures.set(0);
        }
        self.rests_since.get() != 0 && self.rests_since.replace(0) != 0
    }

    /// Whether requests are not to ask it.
    pub fn is_resting(&self) -> bool {
        self.rests_since.load(Ordering::Relaxed) != 0
    }

    /// The thread that hears the store heard it now.
    pub fn heard(&self, now_ms: u64) {
        self.heard.set(now_ms.max(1));
    }

    /// When it was heard last; `None`: never.
    pub fn last_heard(&self) -> Option<u64> {
        Some(self.heard.get()).filter(|ms| *ms > 0)
    }

    /// Whether it was not heard in the last so many milliseconds, or never.
    pub fn is_unheard_for(&self, ms: u64, now_ms: u64) -> bool {
        self.last_heard().is_none_or(|heard| now_ms.saturating_sub(heard) > ms)
    }

    /// Whether all purges up to when it was heard last are known: said by the thread that hears it.
    pub fn set_in_sync(&self, in_sync: bool) {
        self.in_sync.set(in_sync.into());
    }

    /// Whether all purges up to now are known, but for those of the last [`HEARD_MS`].
    pub fn is_in_sync(&self, now_ms: u64) -> bool {
        self.in_sync.get() != 0
            && self.last_heard().is_some_and(|heard| now_ms.saturating_sub(heard) <= HEARD_MS)
    }

    /// So many other gateways compare with this one like that.
    pub fn set_peers(&self, peer: StorePeer, count: u64) {
        self.peers[peer as usize].set(count);
    }

    /// How many other gateways compare with this one like that.
    pub fn peers(&self, peer: StorePeer) -> u64 {
        self.peers[peer as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_fails: 3, fail_timeout_ms: 1000 };

    fn health() -> StoreHealth {
        StoreHealth::new()
    }

    #[test]
    fn failures_in_a_row_begin_a_rest() {
        let store = health();
        assert!(!store.failed(&LIMITS, 5000));
        assert!(!store.failed(&LIMITS, 5100));
        assert!(!store.is_resting());
        assert!(store.failed(&LIMITS, 5200));
        assert!(!store.failed(&LIMITS, 5201), "it rests already");
        assert!(store.is_resting());
    }

    #[test]
    fn failures_far_apart_are_no_row() {
        let store = health();
        for ms in [5000, 5600, 6200, 6800, 7400] {
            assert!(!store.failed(&LIMITS, ms), "{ms}");
        }
    }

    #[test]
    fn an_answer_ends_a_rest_and_a_row() {
        let store = health();
        (0..2).for_each(|_| assert!(!store.failed(&LIMITS, 5000)));
        assert!(!store.answered(), "there was no rest");
        (0..2).for_each(|_| assert!(!store.failed(&LIMITS, 5000)));
        assert!(store.failed(&LIMITS, 5000));
        assert!(store.answered());
        assert!(!store.is_resting());
        assert!(!store.answered());
        assert!(store.rest(5002) && !store.rest(5003));
        assert!(store.is_resting());
    }

    #[test]
    fn who_wants_no_rests_gets_none() {
        let store = health();
        let limits = Limits { max_fails: 0, ..LIMITS };
        assert!((0..9).all(|_| !store.failed(&limits, 5000)));
    }

    #[test]
    fn what_was_heard_is_told() {
        let store = health();
        store.set_in_sync(true);
        assert_eq!((store.last_heard(), store.is_in_sync(7)), (None, false));
        store.heard(7);
        assert_eq!(store.last_heard(), Some(7));
        assert!(store.is_in_sync(7) && store.is_in_sync(7 + HEARD_MS));
        assert!(!store.is_in_sync(8 + HEARD_MS), "not heard for too long");
        assert!(!store.is_unheard_for(20, 27) && store.is_unheard_for(20, 28));
        assert!(health().is_unheard_for(20, 7), "never");
        store.set_in_sync(false);
        assert!(!store.is_in_sync(7));
        store.set_peers(StorePeer::OtherKey, 2);
        assert_eq!(
            StorePeer::ALL.iter().map(|one| store.peers(*one)).collect::<Vec<_>>(),
            [0, 0, 2]
        );
    }
}
