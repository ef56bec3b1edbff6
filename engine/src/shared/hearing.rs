//! What one worker's thread hears of the fleet's store, kept for all workers: who hears, up to where in
//! the stream of purges, and under which epoch.
//!
//! A worker may be killed between any two steps. Whoever takes over reads on where the last one has
//! written that it was: it may hear a purge twice, and never misses one.

use std::sync::atomic::AtomicU64;

use super::atomic::Word;
use super::process::Here;

/// For how long whoever hears may do so without a sign of life, besides what a question may take.
const GRACE_MS: u64 = 400;

/// What is known of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The store, its prefix and the key that this is about. Whoever hears another knows nothing.
    pub store: u64,
    /// What names and values in the store are bound to.
    pub epoch: [u8; 16],
    /// The last entry of the stream that was read: milliseconds and sequence.
    pub last: (u64, u64),
    /// From when on purges are known, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// The last of them says whether the others belong together.
const WORDS: usize = 7;

impl Heard {
    fn to_words(self) -> [u64; WORDS] {
        let epoch = u128::from_be_bytes(self.epoch);
        let halves = [(epoch >> 64) as u64, epoch as u64];
        let words = [self.store, halves[0], halves[1], self.last.0, self.last.1, self.since_ms, 0];
        let [store, high, low, ms, sequence, since_ms, _] = words;
        [store, high, low, ms, sequence, since_ms, sum(&words)]
    }

    fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [store, high, low, ms, sequence, since_ms, sum] = words;
        let epoch = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let whole = self::sum(&words) == sum;
        whole.then_some(Heard { store, epoch, last: (ms, sequence), since_ms })
    }
}

/// What tells words that were written together from others: two processes may write at a time where one
/// had hung.
fn sum(words: &[u64; WORDS]) -> u64 {
    let words = words[..WORDS - 1].iter();
    words.fold(1, |sum, word| (sum ^ word).rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The words, all of them zero at first.
#[repr(C, align(128))]
pub struct Hearing {
    /// Who hears: process id and until when that counts; 0: nobody.
    holder: AtomicU64,
    /// Rises with each change of what was heard; 0: nothing was.
    version: AtomicU64,
    /// What was heard, by the lowest bit of the version: the other one may be half written.
    heard: [[AtomicU64; WORDS]; 2],
    /// Who this gateway is among others; 0: nobody has asked yet.
    gateway: AtomicU64,
    /// How many purges this gateway has told, and the highest that the store has acknowledged.
    told: AtomicU64,
    acknowledged: AtomicU64,
    /// Until when the store counts as away after too many gaps, in monotonic milliseconds.
    away_until: AtomicU64,
    /// When the last gaps were, in monotonic milliseconds, and how many were noted.
    gaps: [AtomicU64; GAPS],
    noted: AtomicU64,
}

/// So many gaps may be in a minute.
const GAPS: usize = 3;

/// The minute.
const MINUTE_MS: u64 = 60_000;

/// The right to hear, until another takes it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(u64);

impl Lease {
    /// Linux' greatest process id is 2^22 (`PID_MAX_LIMIT` in include/linux/threads.h); 42 bits of
    /// milliseconds are 139 years.
    const TIME_BITS: u32 = 42;

    fn new(pid: u32, until_ms: u64) -> Lease {
        Lease(u64::from(pid) << Self::TIME_BITS | until_ms.clamp(1, (1 << Self::TIME_BITS) - 1))
    }

    fn pid(self) -> u32 {
        (self.0 >> Self::TIME_BITS) as u32
    }

    fn until_ms(self) -> u64 {
        self.0 & ((1 << Self::TIME_BITS) - 1)
    }
}

/// In all of it, `now_ms` is monotonic time, the same clock in all workers.
impl Hearing {
    /// Takes the right to hear, where nobody has it, or who has it has died or shows no sign of life.
    /// `within_ms` is how long one question may take.
    pub fn take(&self, within_ms: u64, here: Here<'_>) -> Option<Lease> {
        let before = Lease(self.holder.get());
        let held = before.0 != 0 && here.now_ms < before.until_ms();
        // One of this process' id that is not known to it was left by a process before it.
        if held && before.pid() != here.pid && here.runs(before.pid()) {
            return None;
        }
        let mine = Lease::new(here.pid, here.now_ms + within_ms + GRACE_MS);
        self.holder.exchange(before.0, mine.0).is_ok().then_some(mine)
    }

    /// Gives a sign of life before the next question, and after one. False where another has taken over:
    /// then nothing that was heard counts.
    #[must_use]
    pub fn renew(&self, lease: &mut Lease, within_ms: u64, now_ms: u64) -> bool {
        let next = Lease::new(lease.pid(), now_ms + within_ms + GRACE_MS);
        let renewed = self.holder.exchange(lease.0, next.0).is_ok();
        *lease = next;
        renewed
    }

    /// Gives up what this process has, whoever in it hears: another worker is to take over now.
    pub fn give_up(&self, pid: u32) {
        let held = Lease(self.holder.get());
        if held.pid() == pid {
            let _ = self.holder.exchange(held.0, 0);
        }
    }

    /// Whether nothing was ever heard: then there are no answers from before either.
    pub fn is_new(&self) -> bool {
        self.version.get() == 0
    }

    /// What was heard last; `None`: nothing yet, or nothing that could be read.
    pub fn heard(&self) -> Option<Heard> {
        // Each further round means that it has changed twice meanwhile.
        for _ in 0..64 {
            let version = self.version.get();
            if version == 0 {
                return None;
            }
            let words = self.heard[version as usize % 2].each_ref().map(Word::get);
            if self.version.get() == version {
                return Heard::from_words(words);
            }
        }
        None
    }

    /// Notes what was heard. Only who has the right to hear does.
    pub fn note(&self, heard: Heard) {
        let version = self.version.get();
        let next = version + 1;
        for (word, value) in self.heard[next as usize % 2].iter().zip(heard.to_words()) {
            word.set(value);
        }
        let _ = self.version.exchange(version, next);
    }

    /// Who this gateway is among others; `fresh` is random, and not 0.
    pub fn gateway(&self, fresh: u64) -> u64 {
        match self.gateway.exchange(0, fresh) {
            Ok(()) => fresh,
            Err(known) => known,
        }
    }

    /// The number of the next purge that this gateway tells, from 1.
    pub fn next_told(&self) -> u64 {
        self.told.count() + 1
    }

    /// The store has acknowledged the purge of that number.
    pub fn acknowledge(&self, number: u64) {
        let mut before = self.acknowledged.get();
        while before < number {
            match self.acknowledged.exchange(before, number) {
                Ok(()) => return,
                Err(now) => before = now,
            }
        }
    }

    /// The highest number that the store has acknowledged; 0: none.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// Notes a gap. True where it is one too many in a minute: then the store counts as away for a
    /// minute.
    pub fn gap(&self, now_ms: u64) -> bool {
        let oldest = &self.gaps[self.noted.count() as usize % GAPS];
        let before = oldest.replace(now_ms.max(1));
        let too_many = before != 0 && now_ms.saturating_sub(before) < MINUTE_MS;
        if too_many {
            self.away_until.set(now_ms + MINUTE_MS);
        }
        too_many
    }

    /// Whether the store counts as away after too many gaps.
    pub fn is_away(&self, now_ms: u64) -> bool {
        now_ms < self.away_until.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::state::testing::{at, state};

    const HEARD: Heard =
        Heard { store: 7, epoch: [9; 16], last: (u64::MAX, 3), since_ms: 1_700_000_000_000 };

    fn hearing() -> &'static Hearing {
        state().hearing()
    }

    #[test]
    fn one_hears_until_it_dies_hangs_or_gives_up() {
        let hearing = hearing();
        let (all, nobody) = (&|_| true, &|_| false);
        let mut first = hearing.take(600, at(7, 1000, all)).unwrap();
        assert!(hearing.take(600, at(8, 1999, all)).is_none());
        assert!(hearing.renew(&mut first, 600, 1500));
        assert!(hearing.take(600, at(8, 2499, all)).is_none());
        // It hangs.
        let mut second = hearing.take(600, at(8, 2500, all)).unwrap();
        assert!(!hearing.renew(&mut first, 600, 2501));
        assert!(hearing.renew(&mut second, 600, 2502));
        // It is gone.
        let mut third = hearing.take(600, at(9, 2503, nobody)).unwrap();
        assert!(!hearing.renew(&mut second, 600, 2504));
        // Not its own to give up.
        hearing.give_up(8);
        assert!(hearing.renew(&mut third, 600, 2505));
        hearing.give_up(9);
        assert!(!hearing.renew(&mut third, 600, 2506));
        assert!(hearing.take(600, at(8, 2507, all)).is_some());
    }

    #[test]
    fn who_has_a_dead_ones_id_takes_over_from_it() {
        let hearing = hearing();
        hearing.take(600, at(7, 1000, &|_| true)).unwrap();
        assert!(hearing.take(600, at(7, 1001, &|_| true)).is_some());
    }

    #[test]
    fn what_was_heard_is_whole_whatever_is_being_written() {
        let hearing = hearing();
        assert_eq!(hearing.heard(), None);
        hearing.note(HEARD);
        assert_eq!(hearing.heard(), Some(HEARD));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..20_000 {
                    let half = [number as u8; 16];
                    let heard = Heard {
                        store: number,
                        epoch: half,
                        last: (number, number),
                        since_ms: number,
                    };
                    hearing.note(heard);
                }
            });
            loop {
                let Some(heard) = hearing.heard().filter(|heard| *heard != HEARD) else { continue };
                assert_eq!(heard.epoch, [heard.store as u8; 16]);
                assert_eq!(heard.last, (heard.store, heard.since_ms));
                assert_eq!(heard.last.0, heard.last.1);
                if heard.store == 19_999 {
                    break;
                }
            }
        });
    }

    #[test]
    fn what_two_have_written_at_a_time_is_not_believed() {
        let hearing = hearing();
        assert!(hearing.is_new());
        hearing.note(HEARD);
        assert!(!hearing.is_new());
        for word in 0..WORDS {
            let words = &hearing.heard[hearing.version.get() as usize % 2];
            let before = words[word].get();
            words[word].set(before ^ 4);
            assert_eq!(hearing.heard(), None, "{word}");
            words[word].set(before);
            assert_eq!(hearing.heard(), Some(HEARD));
        }
    }

    #[test]
    fn more_than_three_gaps_in_a_minute_are_too_many() {
        let hearing = hearing();
        for ms in [1_000, 2_000, 3_000] {
            assert!(!hearing.gap(ms));
        }
        assert!(!hearing.is_away(3_000));
        assert!(hearing.gap(60_999));
        assert!(hearing.is_away(60_999) && hearing.is_away(120_998));
        assert!(!hearing.is_away(120_999));
        assert!(!hearing.gap(200_000), "the ones before are long ago");
    }

    #[test]
    fn a_gateway_is_the_same_to_all_its_workers() {
        let hearing = hearing();
        assert_eq!((hearing.gateway(5), hearing.gateway(6)), (5, 5));
        assert_eq!((hearing.next_told(), hearing.next_told()), (1, 2));
        assert_eq!(hearing.acknowledged(), 0);
        hearing.acknowledge(2);
        hearing.acknowledge(1);
        assert_eq!(hearing.acknowledged(), 2);
    }
}
