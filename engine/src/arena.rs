//! Introspection answers in a block of memory that several processes share.
//!
//! The arena holds *entries*, active and inactive, in strict order of last use, and *marks* of
//! calls in flight. Every process maps the block where it likes, so everything in it is an offset;
//! any process may be killed at any instant, so every structural change is covered by a `dirty`
//! word: whoever locks the arena and finds it set empties it first. What is read is checked before
//! it is believed, and every item carries a keyed checksum over its key and content: damage costs
//! cached answers, never a wrong one.
//!
//! Every operation's work is bounded by the size of the value at hand, never by that of the zone;
//! emptying is the raising of an epoch. Nothing here panics, allocates or logs while the lock is
//! held. Life are passed in; whether an entry may still serve is the caller's matter.
//!
//! ```text
//! let mut guard = lock::acquire(word, here)?;
//! match arena.locked(&mut guard).find(&key, &mut record) { … }
//! ```

mod blocks;
mod bucket;
mod check;
mod entry;
mod layout;
mod list;
mod mark;
mod memory;
mod optional;
mod record;
mod renewal;

#[cfg(test)]
mod crash_tests;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(any(test, fuzzing))]
mod given;
#[cfg(any(test, fuzzing))]
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod optional_tests;
#[cfg(test)]
mod renewal_tests;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{self, Ordering};

pub use self::check::Counts;
pub use self::layout::MIN_SIZE;
use self::layout::{BLOCK_COST, Geometry, LAYOUT_VERSION, MAGIC, NIL, header};
use self::list::List;
use self::memory::{Memory, Sound};
pub use self::record::{Entry, Kind, Record};
pub use self::renewal::Renewal;
use crate::shared::lock::Guard;
use crate::shared::purges::Moment;
use crate::token::key::HashKey;

/// The block is smaller than [`MIN_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block of memory is too small for a cache")]
pub struct TooSmall;

/// The block holds no arena, or one of another layout or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block of memory holds no cache of this layout and length")]
pub struct LayoutMismatch;

/// What [`Locked::find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Find {
    /// It is in the record.
    Hit,
    /// Nothing under this key.
    Miss,
    /// The record needs room for so many bytes; unlock, reserve, ask again.
    NeedSpace(usize),
}

/// What became of [`Locked::store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is kept.
    Yes {
        /// Active entries that had to go to make room.
        evicted: u32,
    },
    /// It is larger than the zone can hold.
    TooLarge,
    /// There is no room for an inactive answer, or the arena was damaged and is empty now.
    NoRoom,
}

/// A worker, as owner or follower of flights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// Its slot among the workers: its bit in marks. No two living workers share one.
    pub slot: u8,
}

/// One introspection call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Unique among all workers, ever.
    pub id: u64,
    /// Whose it is.
    pub owner: Owner,
    /// When it is given up, milliseconds of the monotonic clock.
    pub deadline: u64,
    /// What was purged when it began.
    pub seen: Seen,
}

/// What a call knows of purges as it begins: who knows of a later one does not follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often the token had been purged or called inactive
    /// ([`Generation::purges`](crate::shared::state::Generation::purges)).
    pub purges: u32,
    /// When it began, in the order of purges ([`Purges::now`](crate::shared::purges::Purges::now)).
    pub asked: Moment,
    /// When the token itself was purged last
    /// ([`Purges::purged`](crate::shared::purges::Purges::purged)).
    pub purged: Moment,
}

/// What [`Locked::join_or_lead`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Joined {
    /// The call is ours to make.
    Lead,
    /// Another's call is out; this worker's bit is set.
    Follow {
        /// The flight to poll for.
        flight: u64,
        /// Who makes the call.
        owner_pid: u32,
        /// When it is given up, milliseconds.
        deadline: u64,
    },
    /// There is no room for a mark: call without one.
    Full,
}

/// How a flight ended, for [`Locked::answer`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "one is made for each call, and taken apart at once")]
pub enum Left<'a> {
    /// With an answer that was stored: look at the entry.
    Stored,
    /// With an active one that may not be kept; waiters get it from the mark.
    Active(Entry<'a>),
    /// With an inactive one that was not kept.
    Inactive,
    /// Without one.
    Failed {
        /// The caller's own number for the cause.
        code: u16,
        /// `Retry-After`, seconds.
        retry_after: u32,
    },
}

/// For whom [`Locked::answer`] was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredFor {
    /// No other worker waits; the mark is freed.
    Nobody,
    /// Other workers wait and will take it.
    Others,
    /// Other workers wait, but the answer cannot be held for them; they will find the mark gone.
    TooLarge,
    /// The mark is gone, purged or taken over: the answer must not be stored.
    Lost,
}

/// What a follower takes from an answered mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The stored entry, active or inactive, in the record.
    Stored,
    /// An active answer that may not be kept, in the record.
    Active,
    /// Inactive; not kept, and nothing in the record.
    Inactive,
    /// A failure.
    Failed {
        /// The caller's own number for the cause.
        code: u16,
        /// `Retry-After`, seconds.
        retry_after: u32,
    },
}

/// What [`Locked::poll`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Poll {
    /// The call is still out.
    Waiting,
    /// It ended, and this worker has taken the answer.
    Taken(Taken),
    /// The call is now this worker's to make, under the new flight.
    Lead,
    /// The flight or its stored answer is gone: start anew.
    Gone,
    /// The record needs room for so many bytes; unlock, reserve, ask again.
    NeedSpace(usize),
}

/// The arena's figures, readable without the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Active entries.
    pub active: u64,
    /// Inactive entries.
    pub inactive: u64,
    /// Marks of calls in flight or answered.
    pub marks: u64,
    /// Bytes that all of them take.
    pub used_bytes: u64,
    /// The block's length, bytes.
    pub size_bytes: u64,
    /// Active entries that had to go to make room, since the arena was made.
    pub evictions: u64,
    /// How often the arena was emptied because a process died inside it or it was damaged.
    pub resets: u64,
}

/// A process's view of the arena: its address here and what follows from its length.
#[derive(Clone, Copy)]
pub struct Arena {
    memory: Memory,
    hash_key: HashKey,
}

impl Arena {
    /// Makes an arena in a block of memory. It touches the header and the buckets, less than a
    /// hundredth of it.
    ///
    /// # Safety
    /// `base` is aligned to 8 and points to `len` bytes that stay mapped, readable and writable
    /// while the arena or a copy of it is used; nobody else uses them before this returns, and
    /// afterwards through arenas and their one lock only.
    pub unsafe fn create(
        base: NonNull<u8>,
        len: usize,
        hash_key: [u8; 16],
    ) -> Result<Self, TooSmall> {
        let geometry = Geometry::of(len).ok_or(TooSmall)?;
        // SAFETY: passed on to the caller.
        let memory = unsafe { Memory::new(base, geometry) };
        memory.store64(header::MAGIC, 0);
        memory.store32(header::DIRTY, 1);
        memory.store32(header::VERSION, LAYOUT_VERSION);
        memory.store64(header::LEN, len as u64);
        let (words, _) = hash_key.as_chunks::<8>();
        memory.store64(header::HASH_KEY, u64::from_ne_bytes(words[0]));
        memory.store64(header::HASH_KEY + 8, u64::from_ne_bytes(words[1]));
        memory.store64(header::EVICTIONS, 0);
        memory.store64(header::RESETS, 0);
        memory.store32(header::EPOCH, u32::MAX);
        memory.empty();
        atomic::fence(Ordering::Release);
        memory.store64(header::MAGIC, MAGIC);
        Ok(Self { memory, hash_key: HashKey(hash_key) })
    }

    /// Uses the arena that another process, or this one before a reload, made in the block.
    ///
    /// # Errors
    /// The block holds no arena of this version and length.
    ///
    /// # Safety
    /// As for [`Arena::create`], but that others may use the arena.
    pub unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Self, LayoutMismatch> {
        let geometry = Geometry::of(len).ok_or(LayoutMismatch)?;
        // SAFETY: passed on to the caller.
        let memory = unsafe { Memory::new(base, geometry) };
        let ours = memory.load64(header::MAGIC) == MAGIC
            && memory.load32(header::VERSION) == LAYOUT_VERSION
            && memory.load64(header::LEN) == len as u64;
        if !ours {
            return Err(LayoutMismatch);
        }
        atomic::fence(Ordering::Acquire);
        let mut hash_key = [0; 16];
        let word = |n| memory.load64(header::HASH_KEY + n).to_ne_bytes();
        hash_key[..8].copy_from_slice(&word(0));
        hash_key[8..].copy_from_slice(&word(8));
        Ok(Self { memory, hash_key: HashKey(hash_key) })
    }

    /// The secret of this zone's checksums and of where things lie.
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// The arena under its lock. Where a process died inside it, it is empty now.
    pub fn locked<'a>(&self, _guard: &'a mut Guard<'_>) -> Locked<'a> {
        let mut locked = Locked { memory: self.memory, hash_key: self.hash_key, lock: PhantomData };
        if locked.memory.load32(header::DIRTY) != 0 {
            locked.reset();
        }
        locked
    }

    /// The figures, each by itself right; taken without the lock, they may belong to different
    /// moments.
    pub fn stats(&self) -> Stats {
        let count = |list| u64::from(self.memory.list_len(list));
        let blocks = |at| u64::from(self.memory.load32(at));
        Stats {
            active: count(List::ACTIVE),
            inactive: count(List::INACTIVE),
            marks: count(List::MARKS),
            used_bytes: (blocks(header::ACTIVE_BLOCKS) + blocks(header::SMALL_BLOCKS))
                * BLOCK_COST as u64,
            size_bytes: self.memory.geometry.len as u64,
            evictions: self.memory.load64(header::EVICTIONS),
            resets: self.memory.load64(header::RESETS),
        }
    }
}

impl Memory {
    /// Forgets everything by raising the epoch; `dirty` is set before and cleared after.
    fn empty(&self) {
        self.store32(header::DIRTY, 1);
        atomic::fence(Ordering::Release);
        let epoch = match self.load32(header::EPOCH) {
            // Once in four thousand million times, old buckets would come to life again.
            u32::MAX => {
                for bucket in 0..self.geometry.buckets {
                    self.store64(self.nth_bucket(bucket), 0);
                }
                1
            }
            epoch => epoch + 1,
        };
        self.store32(header::EPOCH, epoch);
        self.store32(header::FREE_HEAD, NIL);
        self.store32(header::FREE_COUNT, 0);
        self.store32(header::FRESH, 0);
        for list in List::ALL {
            self.list_clear(list);
        }
        self.store32(header::ACTIVE_BLOCKS, 0);
        self.store32(header::SMALL_BLOCKS, 0);
        self.clean();
    }

    /// The structure holds together again.
    fn clean(&self) {
        atomic::fence(Ordering::Release);
        self.store32(header::DIRTY, 0);
    }
}

/// The arena while its lock is held.
pub struct Locked<'a> {
    memory: Memory,
    hash_key: HashKey,
    lock: PhantomData<&'a mut ()>,
}

impl Locked<'_> {
    /// Forgets all entries and marks.
    pub fn clear(&mut self) {
        self.memory.empty();
    }

    /// The figures.
    pub fn stats(&self) -> Stats {
        Arena { memory: self.memory, hash_key: self.hash_key }.stats()
    }

    /// Runs an operation; where it meets damage, the arena is emptied and `damaged` returned.
    fn sound<R>(&mut self, damaged: R, operation: impl FnOnce(&mut Self) -> Sound<R>) -> R {
        operation(self).unwrap_or_else(|memory::Corrupt| {
            self.reset();
            damaged
        })
    }

    /// Covers a structural change by `dirty`. After an error it stays set until `sound` has
    /// emptied the arena, after a kill until the next one locks it.
    fn change<R>(&mut self, change: impl FnOnce(&mut Self) -> Sound<R>) -> Sound<R> {
        self.memory.store32(header::DIRTY, 1);
        atomic::fence(Ordering::Release);
        let result = change(self)?;
        self.memory.clean();
        Ok(result)
    }

    fn reset(&mut self) {
        self.memory.store32(header::DIRTY, 1);
        atomic::fence(Ordering::Release);
        self.memory.count64(header::RESETS);
        self.memory.empty();
    }
}
