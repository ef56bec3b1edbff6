//! A walk over the whole arena that proves its structure: for tests and for finding faults. It is
//! the only operation whose work grows with the zone.

use super::Locked;
use super::entry::{Tag, blocks_of};
use super::layout::header;
use super::list::List;
use super::memory::{Block, Corrupt};
use super::record::Record;
use crate::token::key::TokenHash;

/// What [`Locked::check`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Active entries.
    pub active: u32,
    /// Inactive entries.
    pub inactive: u32,
    /// Marks.
    pub marks: u32,
    /// Bytes of active entries' headers, JWTs, scopes and claims.
    pub live_bytes: u64,
    /// The longest chain.
    pub longest_chain: u32,
}

impl From<Corrupt> for &'static str {
    fn from(_: Corrupt) -> Self {
        "a link, a length or a seal is wrong"
    }
}

/// Which blocks were seen, and as what.
struct Seen {
    blocks: Vec<u8>,
    counted: u32,
}

const ITEM: u8 = 1;
const LISTED: u8 = 2;
const REST: u8 = 4;

impl Seen {
    fn once(&mut self, block: Block, what: u8) -> Result<(), &'static str> {
        let seen = &mut self.blocks[block.index()];
        match (what, *seen) {
            (ITEM | REST, 0) => self.counted += 1,
            (LISTED, ITEM) => {}
            _ => return Err("a block is in two places"),
        }
        *seen |= what;
        Ok(())
    }
}

impl Locked<'_> {
    /// Checks every invariant of the structure. It changes nothing, not even what is broken. For tests:
    /// it takes as long as the zone is large.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub fn check(&self) -> Result<Counts, &'static str> {
        let memory = &self.memory;
        let geometry = memory.geometry;
        let mut seen = Seen { blocks: vec![0; geometry.blocks as usize], counted: 0 };
        let mut counts = Counts::default();
        let (mut active_blocks, mut small_blocks) = (0, 0);
        let mut room = Record::default();

        if memory.load32(header::DIRTY) != 0 {
            return Err("the arena is marked dirty");
        }
        for bucket in (0..geometry.buckets).map(|n| memory.nth_bucket(n)) {
            let mut chain = memory.chain_at(bucket)?;
            let mut tokens: Vec<(TokenHash, u32)> = Vec::new();
            let mut length = 0;
            while let Some(block) = chain.step()? {
                length += 1;
                seen.once(block, ITEM)?;
                let key = memory.key(block);
                let own = memory.chain(&key.token)?.step()? == memory.chain_at(bucket)?.step()?;
                if !own {
                    return Err("an item is in another's bucket");
                }
                let tag = self.tag(block)?;
                match tag {
                    Tag::Active | Tag::Inactive => {
                        let blocks = self.check_entry(block, &mut room, &mut seen)?;
                        if tag == Tag::Active {
                            counts.active += 1;
                            counts.live_bytes += (super::layout::ITEM_HEADER + room.used) as u64;
                            active_blocks += blocks;
                        } else {
                            counts.inactive += 1;
                            small_blocks += blocks;
                        }
                        match tokens.iter_mut().find(|(token, _)| *token == key.token) {
                            Some((_, entries)) => *entries += 1,
                            None => tokens.push((key.token, 1)),
                        }
                    }
                    Tag::Calling | Tag::Answered => {
                        counts.marks += 1;
                        small_blocks += 1;
                        if memory.after(block)?.is_some() {
                            return Err("a mark takes more than a block");
                        }
                        if let Some(held) = self.held(block)? {
                            seen.once(held, ITEM)?;
                            if blocks_of(self.tag(held)?) != header::SMALL_BLOCKS {
                                return Err("a mark holds something else than an answer");
                            }
                            small_blocks += self.check_entry(held, &mut room, &mut seen)?;
                        }
                    }
                    Tag::Held | Tag::Gone => return Err("a chain leads to what is no item"),
                }
            }
            counts.longest_chain = counts.longest_chain.max(length);
            if tokens.iter().any(|(_, entries)| *entries > 8) {
                return Err("a token has more than 8 entries");
            }
        }

        for (list, expected) in
            List::ALL.into_iter().zip([counts.active, counts.inactive, counts.marks])
        {
            self.check_list(list, expected, &mut seen)?;
        }
        if memory.load32(header::ACTIVE_BLOCKS) != active_blocks
            || memory.load32(header::SMALL_BLOCKS) != small_blocks
        {
            return Err("blocks in use are miscounted");
        }
        if active_blocks > geometry.active_max() || small_blocks > geometry.small_max {
            return Err("more blocks are in use than may be");
        }
        self.check_free(&mut seen)?;
        Ok(counts)
    }

    /// The entry's blocks, the first already seen.
    fn check_entry(
        &self,
        first: Block,
        room: &mut Record,
        seen: &mut Seen,
    ) -> Result<u32, &'static str> {
        let head = self.head(first)?;
        let (mut block, mut blocks) = (first, 1);
        while let Some(after) = self.memory.after(block)? {
            seen.once(after, REST)?;
            (block, blocks) = (after, blocks + 1);
        }
        if blocks != head.blocks() {
            return Err("an entry's blocks do not match its lengths");
        }
        if let Err(payload) = self.copy_entry(first, room)? {
            room.reserve(payload).map_err(|_| "no memory to look at an entry")?;
            let _ = self.copy_entry(first, room)?;
        }
        Ok(blocks)
    }

    fn check_list(&self, list: List, expected: u32, seen: &mut Seen) -> Result<(), &'static str> {
        let mut at = self.memory.list_first(list)?;
        let (mut before, mut length) = (None, 0);
        while let Some(block) = at {
            seen.once(block, LISTED)?;
            if self.list_of(block)? != list {
                return Err("an item is in another's list");
            }
            if self.memory.list_before(block)? != before {
                return Err("a list does not lead back");
            }
            length += 1;
            before = at;
            at = self.memory.list_after(block)?;
        }
        if self.memory.list_last(list)? != before {
            return Err("a list does not end at its last");
        }
        if length != expected || self.memory.list_len(list) != expected {
            return Err("a list has more or less than what is in the buckets");
        }
        Ok(())
    }

    /// What is free and what is in use are all there is.
    fn check_free(&self, seen: &mut Seen) -> Result<(), &'static str> {
        let free = self.memory.free_blocks()?;
        let in_use = seen.counted;
        let fresh = self.memory.load32(header::FRESH);
        let mut at = self.memory.block_at(header::FREE_HEAD)?;
        while let Some(block) = at {
            if block.raw() >= fresh {
                return Err("a block that was never used is in the free list");
            }
            seen.once(block, REST)?;
            at = self.memory.after(block)?;
        }
        if seen.counted - in_use != self.memory.load32(header::FREE_COUNT) {
            return Err("the free list is miscounted");
        }
        if seen.blocks[fresh as usize..].iter().any(|seen| *seen != 0) {
            return Err("a block is in use that was never taken");
        }
        if in_use + free != self.memory.geometry.blocks {
            return Err("blocks are lost");
        }
        Ok(())
    }
}
