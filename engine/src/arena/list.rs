//! Three doubly linked lists: active and inactive entries, latest used first, and marks, latest
//! made first. Unlinking checks that both neighbours agree.

use super::layout::{NIL, header, item};
use super::memory::{Block, Corrupt, Memory, Sound, raw};

/// One of the lists, by the offset of its head in the arena's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List(usize);

impl List {
    /// Active entries.
    pub(super) const ACTIVE: Self = Self(header::ACTIVE);
    /// Inactive entries.
    pub(super) const INACTIVE: Self = Self(header::INACTIVE);
    /// In-flight marks.
    pub(super) const MARKS: Self = Self(header::MARKS);
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::ACTIVE, Self::INACTIVE, Self::MARKS];

    fn head(self) -> usize {
        self.0
    }

    fn tail(self) -> usize {
        self.0 + 4
    }

    fn count(self) -> usize {
        self.0 + 8
    }
}

impl Memory {
    /// How many items a list has; may be read without the lock.
    pub(super) fn list_len(&self, list: List) -> u32 {
        self.load32(list.count())
    }

    /// The first of a list.
    pub(super) fn list_first(&self, list: List) -> Sound<Option<Block>> {
        self.block_at(list.head())
    }

    /// The last of a list.
    pub(super) fn list_last(&self, list: List) -> Sound<Option<Block>> {
        self.block_at(list.tail())
    }

    /// The item before this one in its list.
    pub(super) fn list_before(&self, block: Block) -> Sound<Option<Block>> {
        self.block_at(self.field(block, item::BEFORE))
    }

    /// The item after this one in its list.
    pub(super) fn list_after(&self, block: Block) -> Sound<Option<Block>> {
        self.block_at(self.field(block, item::AFTER))
    }

    /// Empties a list.
    pub(super) fn list_clear(&self, list: List) {
        self.store32(list.head(), NIL);
        self.store32(list.tail(), NIL);
        self.store32(list.count(), 0);
    }

    /// Puts an item in front.
    pub(super) fn list_push(&self, list: List, block: Block) -> Sound<()> {
        let first = self.list_first(list)?;
        self.store32(self.field(block, item::BEFORE), NIL);
        self.store32(self.field(block, item::AFTER), raw(first));
        match first {
            Some(first) => self.store32(self.field(first, item::BEFORE), block.raw()),
            None => self.store32(list.tail(), block.raw()),
        }
        self.store32(list.head(), block.raw());
        self.add32(list.count(), 1)
    }

    /// Takes an item out.
    pub(super) fn list_remove(&self, list: List, block: Block) -> Sound<()> {
        let before = self.list_before(block)?;
        let after = self.list_after(block)?;
        let from_before = before.map_or(list.head(), |b| self.field(b, item::AFTER));
        let from_after = after.map_or(list.tail(), |b| self.field(b, item::BEFORE));
        if self.load32(from_before) != block.raw() || self.load32(from_after) != block.raw() {
            return Err(Corrupt);
        }
        self.store32(from_before, raw(after));
        self.store32(from_after, raw(before));
        self.sub32(list.count(), 1)
    }
}
