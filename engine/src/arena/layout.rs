//! Where everything lies in the block of memory.
//!
//! ```text
//! header | buckets: u64 each | links: u32 each | blocks: 128 bytes each
//! ```
//!
//! A value takes a run of blocks that need not lie together: `links[b]` is the block after `b`. The
//! first block begins with the item's header. 128 bytes because a mark and an inactive answer then
//! take exactly one block, and a JWT of a kilobyte nine, with next to nothing left over; smaller
//! blocks pay more in links and per-item rounding than they save.
//!
//! A bucket carries the epoch it was written in. Raising the epoch empties all buckets at once, and
//! with the free list dropped and the mark of never-used blocks set back, the whole arena.

/// "This is an arena", in the first word.
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"phantom\x1a");

/// Raised with every change to anything in this file.
pub(super) const LAYOUT_VERSION: u32 = 7;

/// Bytes in a block.
pub(super) const BLOCK: usize = 128;

/// Bytes a block costs: itself and its link.
pub(super) const BLOCK_COST: usize = BLOCK + 4;

/// "No block" in a link.
pub(super) const NIL: u32 = u32::MAX;

/// Bytes of an item's header in front of its payload.
pub(super) const ITEM_HEADER: usize = 112;

/// The longest payload of one entry, bytes. Answers are read to 64 KiB; this bounds the work done
/// under the lock to make room for one.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;

/// The smallest block an arena is made in, bytes: what a zone of NGINX's least size has left.
pub const MIN_SIZE: usize = 24 * 1024;

/// Bytes of zone per bucket.
const BYTES_PER_BUCKET: usize = 1024;

/// Marks and inactive entries there is always room for, in a zone not too small for it.
const RESERVE_AT_LEAST: u32 = 512;

/// Blocks left to active entries before the reserve is cut, in the end to half of them.
const ACTIVE_AT_LEAST: u32 = 256;

/// Offsets in the arena's header.
pub(super) mod header {
    pub(in crate::arena) const MAGIC: usize = 0;
    pub(in crate::arena) const VERSION: usize = 8;
    pub(in crate::arena) const LEN: usize = 16;
    pub(in crate::arena) const HASH_KEY: usize = 24;
    /// Not 0 while the structure is being changed.
    pub(in crate::arena) const DIRTY: usize = 40;
    pub(in crate::arena) const EPOCH: usize = 44;
    /// The free list and how many blocks are in it.
    pub(in crate::arena) const FREE_HEAD: usize = 48;
    pub(in crate::arena) const FREE_COUNT: usize = 52;
    /// Blocks from here on were never used in this epoch.
    pub(in crate::arena) const FRESH: usize = 56;
    /// Three lists of head, tail and count.
    pub(in crate::arena) const ACTIVE: usize = 60;
    pub(in crate::arena) const INACTIVE: usize = 72;
    pub(in crate::arena) const MARKS: usize = 84;
    /// Blocks that active entries take; those that all the rest takes.
    pub(in crate::arena) const ACTIVE_BLOCKS: usize = 96;
    pub(in crate::arena) const SMALL_BLOCKS: usize = 100;
    pub(in crate::arena) const EVICTIONS: usize = 104;
    pub(in crate::arena) const RESETS: usize = 112;
    pub(in crate::arena) const SIZE: usize = 256;
}

/// Offsets in an item's header.
pub(super) mod item {
    /// H(token), H(identity).
    pub(in crate::arena) const KEY: usize = 0;
    /// The next item in its bucket.
    pub(in crate::arena) const NEXT: usize = 32;
    /// The neighbours in its list.
    pub(in crate::arena) const BEFORE: usize = 36;
    pub(in crate::arena) const AFTER: usize = 40;
    /// What it is, 8 bits; of an entry 24 bits of flags; of a mark its outcome, 8 bits, and a
    /// failure's code, 16 bits.
    pub(in crate::arena) const META: usize = 44;
    /// The checksum over all that is not a link, but for `NOT_BEFORE`.
    pub(in crate::arena) const SEAL: usize = 56;

    // An entry.
    pub(in crate::arena) const TAIL: usize = 48;
    pub(in crate::arena) const CLAIMS_LEN: usize = 52;
    pub(in crate::arena) const STORED: usize = 64;
    pub(in crate::arena) const UNTIL: usize = 72;
    pub(in crate::arena) const EXP: usize = 80;
    pub(in crate::arena) const JWT_LEN: usize = 88;
    pub(in crate::arena) const SCOPE_LEN: usize = 92;
    pub(in crate::arena) const EXP_END: usize = 96;
    /// Before when it is not asked for anew.
    pub(in crate::arena) const NOT_BEFORE: usize = 104;

    // A mark.
    pub(in crate::arena) const HELD: usize = 48;
    pub(in crate::arena) const PID: usize = 52;
    pub(in crate::arena) const FLIGHT: usize = 64;
    pub(in crate::arena) const DEADLINE: usize = 72;
    pub(in crate::arena) const RETRY_AFTER: usize = 80;
    pub(in crate::arena) const PURGES: usize = 84;
    pub(in crate::arena) const WORKERS: usize = 88;
    pub(in crate::arena) const ASKED: usize = 120;
}

/// What follows from the block's length alone; never read from shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// The block's length, bytes.
    pub(super) len: usize,
    /// How many buckets.
    pub(super) buckets: usize,
    /// Offset of the links.
    pub(super) links_at: usize,
    /// Offset of the blocks.
    pub(super) blocks_at: usize,
    /// How many blocks.
    pub(super) blocks: u32,
    /// Blocks kept for marks and inactive entries.
    pub(super) reserve: u32,
    /// Blocks that marks and inactive entries may take where there is space.
    pub(super) small_max: u32,
}

impl Geometry {
    /// The geometry of a block of `len` bytes, or `None` where it is too small.
    pub(super) fn of(len: usize) -> Option<Self> {
        if len < MIN_SIZE {
            return None;
        }
        let buckets = len / BYTES_PER_BUCKET;
        let links_at = header::SIZE + 8 * buckets;
        // One block's worth is given up to align the blocks.
        let blocks = (len - links_at - BLOCK) / BLOCK_COST;
        let blocks = u32::try_from(blocks).unwrap_or(NIL).min(NIL - 1);
        let blocks_at = (links_at + 4 * blocks as usize).next_multiple_of(BLOCK);
        let spare = (blocks / 2).max(blocks.saturating_sub(ACTIVE_AT_LEAST));
        let reserve = (blocks / 64).max(RESERVE_AT_LEAST.min(spare));
        let small_max = reserve.max(blocks / 8);
        Some(Self { len, buckets, links_at, blocks_at, blocks, reserve, small_max })
    }

    /// Blocks that active entries may take.
    pub(super) fn active_max(&self) -> u32 {
        self.blocks - self.reserve
    }
}

/// Blocks that a payload of that many bytes takes, its header included.
pub(super) fn blocks_for(payload: usize) -> u32 {
    u32::try_from(payload.saturating_add(ITEM_HEADER).div_ceil(BLOCK)).unwrap_or(NIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_inside_the_block() {
        assert_eq!(Geometry::of(MIN_SIZE - 1), None);
        for len in (MIN_SIZE..MIN_SIZE + 3000).chain([1 << 20, 10 << 20, (1 << 30) + 7]) {
            let g = Geometry::of(len).unwrap();
            assert!(g.links_at + 4 * g.blocks as usize <= g.blocks_at);
            assert!(g.blocks_at + BLOCK * g.blocks as usize <= len);
            assert_eq!(g.blocks_at % BLOCK, 0);
            assert!(g.reserve <= g.small_max && g.small_max < g.blocks);
            // Not more than two blocks are lost.
            assert!(len - (g.links_at + BLOCK_COST * g.blocks as usize) < 3 * BLOCK);
        }
    }

    #[test]
    fn the_reserve_is_a_64th_but_at_least_512() {
        let reserve = |len| Geometry::of(len).unwrap().reserve;
        assert_eq!(reserve(1 << 20), 512);
        assert_eq!(reserve(110 << 10), 512);
        assert!(reserve(MIN_SIZE) >= 64);
        let big = Geometry::of(100 << 20).unwrap();
        assert_eq!(big.reserve, big.blocks / 64);
    }
}
