//! A table of times by hash, for what is done seldom.
//!
//! Each hash has eight places it may lie in; a new one takes a free place or that of the oldest
//! time. Losing an entry so costs a line said twice or a call more, never an answer.

use std::sync::atomic::{AtomicU64, Ordering};

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
        self.places(hash)
            .find(|place| place.hash.load(Ordering::Acquire) == hash)
            .map(|place| &place.time)
    }

    /// The time kept for `hash`, after making room for it where there is none. `None` where two
    /// workers contend for the same place; the other one has it then.
    pub(crate) fn claim(&self, hash: u64) -> Option<&AtomicU64> {
        if let Some(time) = self.find(hash) {
            return Some(time);
        }
        let place = self.places(hash).min_by_key(|place| {
            let free = place.hash.load(Ordering::Acquire) == 0;
            (!free, place.time.load(Ordering::Acquire))
        })?;
        let old = place.hash.load(Ordering::Acquire);
        if old != 0 && old != hash {
            // The time goes first: whoever sees the new hash must not see the old one's time.
            place.time.store(0, Ordering::Release);
        }
        match place.hash.compare_exchange(old, hash, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(&place.time),
            Err(other) => (other == hash).then_some(&place.time),
        }
    }
}
