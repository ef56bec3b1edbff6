//! The lock on a zone several processes share, proof against a holder that was killed.
//!
//! The lock is one word in shared memory: the owner's process id, or 0 when free. It is the word of
//! NGINX's own slab mutex (`ngx_shmtx_t.lock`, src/core/ngx_shmtx.c), so the master's forced unlock
//! after a worker died works on it too: both sides change the word only by compare-and-swap from
//! the process id they mean. Nobody sleeps on a semaphore here, so a killed waiter cannot eat
//! another one's wake-up; and nobody waits for ever, because a cache is never worth a hung request.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::process::Here;

/// How long a lock is waited for before its owner is looked at, and between two looks.
const SUSPICION: Duration = Duration::from_millis(20);

/// How long a lock is waited for at all.
const PATIENCE: Duration = Duration::from_millis(100);

/// Busy rounds before the processor is given up, each twice as long as the one before.
const SPINS: u32 = 10;

/// Busy rounds between two naps. The lock is held for a microsecond or two, but a processor that
/// was given up may come back only after milliseconds: one look in that time could find the lock
/// taken again and again.
const LOOKS: u32 = 32;

/// How long a waiter sleeps between two tries.
const NAP: Duration = Duration::from_micros(50);

/// What counts of the time between two tries, at most. A waiter that had no processor for longer
/// may have shared that with the owner: it gets as many tries as any other before it gives up.
const STEP: Duration = Duration::from_millis(10);

/// The lock, held. Dropping it gives the lock back.
#[must_use = "the lock is given back when the guard is dropped"]
#[derive(Debug)]
pub struct Guard<'a> {
    word: &'a AtomicUsize,
    owner: usize,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Only from our own id: what the master forced open may be another's by now.
        let _ = self.word.compare_exchange(self.owner, 0, Ordering::Release, Ordering::Relaxed);
    }
}

/// Takes the lock for the process that is `here`. `None` after 100 ms: the request then goes on as
/// if there were no cache. Of the time between two tries 10 ms count at most: on a machine that
/// stands still the owner stands still, too.
///
/// From 20 ms on, and every 20 ms, the owner is looked at; the lock of a process that no longer
/// runs is taken over, and whatever it left half-written is found by the arena's own mark. A lock
/// that already carries our own id is taken over at once: one thread per process uses it, so it was
/// left by a process that had the id before us.
pub fn acquire<'a>(word: &'a AtomicUsize, here: Here<'_>) -> Option<Guard<'a>> {
    let me = here.pid as usize;
    let take = |from| take(word, from, me);
    if let Some(guard) = take(0) {
        return Some(guard);
    }

    for round in 0..SPINS {
        for _ in 0..1u32 << round {
            hint::spin_loop();
        }
        if word.load(Ordering::Relaxed) == 0
            && let Some(guard) = take(0)
        {
            return Some(guard);
        }
    }

    let mut patience = Patience::begin(Instant::now());
    let mut look_at = SUSPICION;
    loop {
        let mut owner = 0;
        for _ in 0..LOOKS {
            owner = word.load(Ordering::Relaxed);
            if (owner == 0 || owner == me)
                && let Some(guard) = take(owner)
            {
                return Some(guard);
            }
            for _ in 0..8 {
                hint::spin_loop();
            }
        }
        let waited = patience.at(Instant::now());
        if waited >= look_at && owner != 0 {
            look_at = waited + SUSPICION;
            // A word that is no process id at all is nobody's lock.
            if !u32::try_from(owner).is_ok_and(|owner| here.runs(owner))
                && let Some(guard) = take(owner)
            {
                return Some(guard);
            }
        }
        if waited >= PATIENCE {
            return None;
        }
        // An owner that lost its processor in the middle gets it back sooner from those who sleep
        // than from those who keep asking for it.
        thread::sleep(NAP);
    }
}

/// How long a waiter has waited, as far as it counts.
struct Patience {
    waited: Duration,
    last: Instant,
}

impl Patience {
    fn begin(now: Instant) -> Self {
        Self { waited: Duration::ZERO, last: now }
    }

    fn at(&mut self, now: Instant) -> Duration {
        self.waited += now.saturating_duration_since(self.last).min(STEP);
        self.last = now;
        self.waited
    }
}

/// Takes the lock for process `pid` where it is free; `None` where it is not. Waits for nobody.
pub fn attempt(word: &AtomicUsize, pid: u32) -> Option<Guard<'_>> {
    take(word, 0, pid as usize)
}

fn take(word: &AtomicUsize, from: usize, me: usize) -> Option<Guard<'_>> {
    word.compare_exchange(from, me, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
        .then_some(Guard { word, owner: me })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::shared::state::testing::at;

    #[test]
    fn a_free_lock_is_taken_and_given_back() {
        let word = AtomicUsize::new(0);
        let guard = acquire(&word, at(7, 0, &|_| true)).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 7);
        drop(guard);
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_attempt_waits_for_nobody() {
        let word = AtomicUsize::new(9);
        assert!(attempt(&word, 7).is_none());
        assert_eq!(word.load(Ordering::Relaxed), 9);
        word.store(0, Ordering::Relaxed);
        drop(attempt(&word, 7).unwrap());
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_live_owner_keeps_it_and_is_asked_about() {
        let word = AtomicUsize::new(9);
        let asked = Cell::new(0);
        let begun = Instant::now();
        let guard = acquire(
            &word,
            at(7, 0, &|pid| {
                assert_eq!(pid, 9);
                asked.set(asked.get() + 1);
                true
            }),
        );
        assert!(guard.is_none());
        assert!(begun.elapsed() >= PATIENCE);
        assert!((1..=5).contains(&asked.get()), "asked {} times", asked.get());
        assert_eq!(word.load(Ordering::Relaxed), 9);
    }

    #[test]
    fn a_machine_that_stands_still_counts_little() {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let mut patience = Patience::begin(begin);
        assert_eq!(patience.at(after(4)), Duration::from_millis(4));
        assert_eq!(patience.at(after(2_004)), Duration::from_millis(14));
        assert_eq!(patience.at(after(2_005)), Duration::from_millis(15));
    }

    #[test]
    fn a_dead_owner_loses_it_but_not_before_its_time() {
        let word = AtomicUsize::new(9);
        let begun = Instant::now();
        let guard = acquire(&word, at(7, 0, &|_| false)).unwrap();
        assert!(begun.elapsed() >= SUSPICION);
        assert_eq!(word.load(Ordering::Relaxed), 7);
        drop(guard);
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_predecessor_of_the_same_id_does_not_hold_us_up() {
        let word = AtomicUsize::new(7);
        assert!(acquire(&word, at(7, 0, &|_| true)).is_some());
    }

    #[test]
    fn a_word_that_is_no_process_id_is_overcome() {
        let word = AtomicUsize::new(usize::MAX);
        assert!(acquire(&word, at(7, 0, &|_| true)).is_some());
    }

    #[test]
    fn a_lock_forced_open_meanwhile_is_left_to_its_new_owner() {
        let word = AtomicUsize::new(0);
        let guard = acquire(&word, at(7, 0, &|_| true)).unwrap();
        word.store(8, Ordering::Relaxed);
        drop(guard);
        assert_eq!(word.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn one_holds_it_at_a_time() {
        let word = AtomicUsize::new(0);
        let (inside, entered) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for pid in 1..=4 {
                let (word, inside, entered) = (&word, &inside, &entered);
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        // Whoever has to give up tries again: only mutual exclusion is at stake.
                        let Some(guard) = acquire(word, at(pid, 0, &|_| true)) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        entered.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::Relaxed);
                        drop(guard);
                    }
                });
            }
        });
        assert!(entered.load(Ordering::Relaxed) > 0);
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }
}
