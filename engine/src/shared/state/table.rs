//! A table of a few words by hash, for what is done seldom.
//!
//! Each hash has eight places it may lie in; a new one takes a free place or that of the oldest
//! time. Losing an entry so costs a line said twice or a call more, never an answer.

use std::sync::atomic::AtomicU64;

use super::Word;

const PLACES: usize = 256;
const WAYS: usize = 8;

/// The table: [`PLACES`] times a hash and its words.
#[repr(C)]
pub(crate) struct Table<const WORDS: usize = 1>([Place<WORDS>; PLACES]);

/// A place in the table. Another hash may take it at any time, and then writes to it at once.
#[repr(C)]
pub(crate) struct Place<const WORDS: usize = 1> {
    /// Whose words they are, 0 where the place is free.
    hash: AtomicU64,
    /// The first one is a time in monotonic milliseconds, or has one in its upper bits; 0 for none.
    /// What they mean is the user's matter.
    pub(crate) words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Table<WORDS> {
    /// All places that are taken.
    pub(crate) fn taken(&self) -> impl Iterator<Item = &Place<WORDS>> {
        self.0.iter().filter(|place| place.hash.get() != 0)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = &Place<WORDS>> {
        let start = hash as usize;
        (0..WAYS).map(move |step| &self.0[start.wrapping_add(step) % PLACES])
    }

    /// What is kept for `hash`, if there is anything.
    pub(crate) fn find(&self, hash: u64) -> Option<&Place<WORDS>> {
        self.places(hash).find(|place| place.hash.get() == hash)
    }

    /// What is kept for `hash`, after making room for it where there is nothing. `None` where two
    /// workers contend for the place of an old one.
    pub(crate) fn claim(&self, hash: u64) -> Option<&Place<WORDS>> {
        // No place becomes free again, so that all workers find the same first one.
        for place in self.places(hash) {
            let found = match place.hash.get() {
                0 => place.hash.exchange(0, hash).map_or_else(|other| other, |()| hash),
                other => other,
            };
            if found == hash {
                return Some(place);
            }
        }
        let oldest = self.places(hash).min_by_key(|place| place.words[0].get())?;
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
