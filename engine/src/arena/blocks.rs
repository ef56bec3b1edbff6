//! Free blocks: taken one run at a time, given back in one step.

use super::layout::{NIL, header};
use super::memory::{Block, Corrupt, Memory, Sound, raw};

impl Memory {
    /// Blocks that nothing lies in.
    pub(super) fn free_blocks(&self) -> Sound<u32> {
        let fresh = self.load32(header::FRESH);
        let never_used = self.geometry.blocks.checked_sub(fresh).ok_or(Corrupt)?;
        let free = self.load32(header::FREE_COUNT).checked_add(never_used).ok_or(Corrupt)?;
        if free > self.geometry.blocks { Err(Corrupt) } else { Ok(free) }
    }

    /// Takes `n` blocks, at least one, linked to a run: its first and its last. The caller has
    /// seen that so many are free.
    pub(super) fn take_blocks(&self, n: u32) -> Sound<(Block, Block)> {
        let in_list = self.load32(header::FREE_COUNT);
        let (from_list, fresh) = (n.min(in_list), n.saturating_sub(in_list));

        let mut run: Option<(Block, Block)> = None;
        if from_list > 0 {
            let first = self.block_at(header::FREE_HEAD)?.ok_or(Corrupt)?;
            let mut last = first;
            for _ in 1..from_list {
                last = self.after(last)?.ok_or(Corrupt)?;
            }
            let rest = self.after(last)?;
            if rest.is_none() != (from_list == in_list) {
                return Err(Corrupt);
            }
            self.store32(header::FREE_HEAD, raw(rest));
            self.store32(header::FREE_COUNT, in_list - from_list);
            self.store32(self.link(last), NIL);
            run = Some((first, last));
        }

        let begin = self.load32(header::FRESH);
        let end = begin.checked_add(fresh).ok_or(Corrupt)?;
        if end > self.geometry.blocks {
            return Err(Corrupt);
        }
        for number in begin..end {
            let block = self.block(number)?.ok_or(Corrupt)?;
            self.store32(self.link(block), NIL);
            run = match run {
                None => Some((block, block)),
                Some((first, last)) => {
                    self.store32(self.link(last), block.raw());
                    Some((first, block))
                }
            };
        }
        if fresh > 0 {
            self.store32(header::FRESH, end);
        }
        run.ok_or(Corrupt)
    }

    /// Gives a run of `n` blocks back, of which the first and the last are known.
    pub(super) fn give_blocks(&self, first: Block, last: Block, n: u32) -> Sound<()> {
        if self.after(last)?.is_some() {
            return Err(Corrupt);
        }
        self.store32(self.link(last), self.load32(header::FREE_HEAD));
        self.store32(header::FREE_HEAD, first.raw());
        self.add32(header::FREE_COUNT, n)
    }
}
