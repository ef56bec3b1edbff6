//! The only door to the shared bytes: loads, stores and copies at checked places.
//!
//! Words are atomics, read and written relaxed: the lock orders them, and counters may be read
//! without it. Block numbers read from shared memory become a [`Block`] only after a check against
//! the geometry, so that no damage leads outside.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::layout::{BLOCK, Geometry, ITEM_HEADER, NIL};

/// The structure does not hold together: someone wrote over it, or died in a way `dirty` missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

/// What reading shared memory gives.
pub(super) type Sound<T> = Result<T, Corrupt>;

/// A block's number, known to lie inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block(u32);

impl Block {
    /// As it is written into a link.
    pub(super) fn raw(self) -> u32 {
        self.0
    }

    /// As an index, for tables beside the arena.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// As it is written into a link, `None` too.
pub(super) fn raw(block: Option<Block>) -> u32 {
    block.map_or(NIL, Block::raw)
}

/// A view of the block of memory.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    base: NonNull<u8>,
    pub(super) geometry: Geometry,
}

impl Memory {
    /// # Safety
    /// `base` is aligned to 8 and points to `geometry.len` bytes that stay mapped and readable and
    /// writable while the view or a copy of it is used, and are touched through arenas only.
    pub(super) unsafe fn new(base: NonNull<u8>, geometry: Geometry) -> Self {
        Self { base, geometry }
    }

    fn word32(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at + 4 <= self.geometry.len);
        // SAFETY: every offset is a constant of the layout, or computed from one and a checked
        // bucket or block number, so it is aligned and inside; the bytes are valid for as long as
        // the view is (see `new`) and words are only ever accessed as atomics.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    fn word64(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.geometry.len);
        // SAFETY: as in `word32`.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    pub(super) fn load32(&self, at: usize) -> u32 {
        self.word32(at).load(Ordering::Relaxed)
    }

    pub(super) fn load64(&self, at: usize) -> u64 {
        self.word64(at).load(Ordering::Relaxed)
    }

    pub(super) fn store32(&self, at: usize, value: u32) {
        crash::point();
        self.word32(at).store(value, Ordering::Relaxed);
    }

    pub(super) fn store64(&self, at: usize, value: u64) {
        crash::point();
        self.word64(at).store(value, Ordering::Relaxed);
    }

    /// Adds to a 32-bit count; below zero or past its end is damage.
    pub(super) fn add32(&self, at: usize, by: u32) -> Sound<()> {
        self.store32(at, self.load32(at).checked_add(by).ok_or(Corrupt)?);
        Ok(())
    }

    /// Takes from a 32-bit count; below zero is damage.
    pub(super) fn sub32(&self, at: usize, by: u32) -> Sound<()> {
        self.store32(at, self.load32(at).checked_sub(by).ok_or(Corrupt)?);
        Ok(())
    }

    /// Adds one to a 64-bit counter.
    pub(super) fn count64(&self, at: usize) {
        self.store64(at, self.load64(at).wrapping_add(1));
    }

    /// A block number read from shared memory, checked; `None` for "no block".
    pub(super) fn block(&self, raw: u32) -> Sound<Option<Block>> {
        match raw {
            NIL => Ok(None),
            raw if raw < self.geometry.blocks => Ok(Some(Block(raw))),
            _ => Err(Corrupt),
        }
    }

    /// The block number at an offset.
    pub(super) fn block_at(&self, at: usize) -> Sound<Option<Block>> {
        self.block(self.load32(at))
    }

    /// The offset of a field of the item that begins at a block.
    pub(super) fn field(&self, block: Block, field: usize) -> usize {
        self.geometry.blocks_at + BLOCK * block.index() + field
    }

    /// The offset of a block's link.
    pub(super) fn link(&self, block: Block) -> usize {
        self.geometry.links_at + 4 * block.index()
    }

    /// The block after this one.
    pub(super) fn after(&self, block: Block) -> Sound<Option<Block>> {
        self.block_at(self.link(block))
    }

    /// Copies `bytes` into a block, from an offset in it; gives back what did not fit.
    pub(super) fn fill<'b>(&self, block: Block, from: usize, bytes: &'b [u8]) -> &'b [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - from));
        crash::point();
        // SAFETY: the block lies inside, `from + now.len()` is not past its end, and we hold the
        // lock, so nobody else reads or writes it; `bytes` is not shared memory.
        unsafe {
            let to = self.base.as_ptr().add(self.field(block, from));
            to.copy_from_nonoverlapping(now.as_ptr(), now.len());
        }
        rest
    }

    /// Wipes the payload along a run of `blocks` blocks that begins with an item, and checks that it
    /// ends at the block `tail`.
    pub(super) fn wipe_payload(&self, first: Block, tail: u32, blocks: u32) -> Sound<()> {
        let (mut block, mut from) = (first, ITEM_HEADER);
        for left in (0..blocks).rev() {
            self.fill(block, from, &[0; BLOCK][from..]);
            if left > 0 {
                (block, from) = (self.after(block)?.ok_or(Corrupt)?, 0);
            }
        }
        if block.raw() == tail { Ok(()) } else { Err(Corrupt) }
    }

    /// Copies the payload of the item at `first` out into `to`, whole, and checks that it ends at
    /// the block `tail`.
    pub(super) fn copy_payload(&self, first: Block, tail: u32, to: &mut [u8]) -> Sound<()> {
        let (mut block, mut from, mut to) = (first, ITEM_HEADER, to);
        loop {
            let (now, rest) = to.split_at_mut_checked(to.len().min(BLOCK - from)).ok_or(Corrupt)?;
            // SAFETY: the block lies inside, `from + now.len()` is not past its end, and we hold
            // the lock, so nobody writes it; `to` is not shared memory.
            unsafe {
                let bytes = self.base.as_ptr().add(self.field(block, from));
                bytes.copy_to_nonoverlapping(now.as_mut_ptr(), now.len());
            }
            (from, to) = (0, rest);
            match self.after(block)? {
                Some(after) if !to.is_empty() => block = after,
                None if to.is_empty() && block.raw() == tail => return Ok(()),
                _ => return Err(Corrupt),
            }
        }
    }
}

/// Crashes where a test wants one: before the n-th write to shared memory.
#[cfg(any(test, fuzzing))]
pub(super) mod crash {
    use std::cell::Cell;
    use std::panic;

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// What the unwinding carries.
    pub(in crate::arena) struct Crash;

    /// Lets the `n`-th write from now on crash, or none any more.
    pub(in crate::arena) fn at(n: Option<u32>) {
        LEFT.set(n);
    }

    pub(super) fn point() {
        match LEFT.get() {
            None => {}
            Some(0) => {
                LEFT.set(None);
                panic::resume_unwind(Box::new(Crash));
            }
            Some(left) => LEFT.set(Some(left - 1)),
        }
    }
}

/// Nothing crashes on purpose outside of tests.
#[cfg(not(any(test, fuzzing)))]
mod crash {
    #[inline(always)]
    pub(super) fn point() {}
}
