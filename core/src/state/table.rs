//! A table of times by hash, for what is done seldom.
//!
//! Each hash has eight places it may lie in; a new one takes a free place or that of the oldest
//! time. Losing an entry so costs a line said twice or a call more, never an answer.

use std::sync::atomic::AtomicU64;

use super::Word;

const PLACES: usize = 256;
const WAYS: usize = 8;

/// The table: [`PLACES`] pairs of hash and time.
#[repr(C)]
pub(crate) struct Table([Place; PLACES]);

#[repr(C)]
struct Place {
    /// Whose time it is, 0 where the place is free.
    hash: AtomicU64,
    /// A time in monotonic milliseconds, 0 for none. What it means is the user's matter.
    time: AtomicU64,
}

impl Table {
    fn places(&self, hash: u64) -> impl Iterator<Item = &Place> {
        let start = hash as usize;
        (0..WAYS).map(move |step| &self.0[start.wrapping_add(step) % PLACES])
    }

    /// The time kept for `hash`, if there is one.
    pub(crate) fn find(&self, hash: u64) -> Option<&AtomicU64> {
        self.places(hash).find(|place| place.hash.get() == hash).map(|place| &place.time)
    }

    /// The time kept for `hash`, after making room for it where there is none. `None` where two
    /// workers contend for the place of an old one.
    pub(crate) fn claim(&self, hash: u64) -> Option<&AtomicU64> {
        // No place becomes free again, so that all workers find the same first one.
        for place in self.places(hash) {
            let found = match place.hash.get() {
                0 => place.hash.exchange(0, hash).map_or_else(|other| other, |()| hash),
                other => other,
            };
            if found == hash {
                return Some(&place.time);
            }
        }
        let oldest = self.places(hash).min_by_key(|place| place.time.get())?;
        let old = oldest.hash.get();
        if old == hash {
            return Some(&oldest.time);
        }
        // The time goes first: whoever sees the new hash must not see the old one's time.
        oldest.time.set(0);
        oldest.hash.exchange(old, hash).is_ok().then_some(&oldest.time)
    }
}
