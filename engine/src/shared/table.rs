//! A table of a few words by hash, for what is done seldom.
//!
//! Each hash has eight slots it may lie in; a new one takes a free slot or that of the oldest
//! time. Losing an entry so costs a line said twice or a call more, never an answer.

use std::sync::atomic::AtomicU64;

use super::atomic::Word;

const SLOTS: usize = 256;
const WAYS: usize = 8;

/// The table: [`SLOTS`] times a hash and its words.
#[repr(C)]
pub(crate) struct Table<const WORDS: usize = 1>([Slot<WORDS>; SLOTS]);

/// A slot of the table. Another hash may take it at any time, and then writes to it at once.
#[repr(C)]
pub(crate) struct Slot<const WORDS: usize = 1> {
    /// Whose words they are, 0 where the slot is free.
    hash: AtomicU64,
    /// The first one is a time in monotonic milliseconds, or has one in its upper bits; 0 for none.
    /// What they mean is the user's matter.
    pub(crate) words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Table<WORDS> {
    /// All slots that are taken.
    pub(crate) fn taken(&self) -> impl Iterator<Item = &Slot<WORDS>> {
        self.0.iter().filter(|slot| slot.hash.get() != 0)
    }

    fn slots(&self, hash: u64) -> impl Iterator<Item = &Slot<WORDS>> {
        let start = hash as usize;
        (0..WAYS).map(move |step| &self.0[start.wrapping_add(step) % SLOTS])
    }

    /// What is kept for `hash`, if there is anything.
    pub(crate) fn find(&self, hash: u64) -> Option<&Slot<WORDS>> {
        self.slots(hash).find(|slot| slot.hash.get() == hash)
    }

    /// What is kept for `hash`, after making room for it where there is nothing. `None` where two
    /// workers contend for the slot of an old one.
    pub(crate) fn claim(&self, hash: u64) -> Option<&Slot<WORDS>> {
        // No slot becomes free again, so that all workers find the same first one.
        for slot in self.slots(hash) {
            let found = match slot.hash.get() {
                0 => slot.hash.exchange(0, hash).map_or_else(|other| other, |()| hash),
                other => other,
            };
            if found == hash {
                return Some(slot);
            }
        }
        let oldest = self.slots(hash).min_by_key(|slot| slot.words[0].get())?;
        let old = oldest.hash.get();
        if old == hash {
            return Some(oldest);
        }
        // The words go first: whoever sees the new hash must not see the old one's.
        for word in &oldest.words {
            word.set(0);
        }
        oldest.hash.exchange(old, hash).is_ok().then_some(oldest)
    }
}
