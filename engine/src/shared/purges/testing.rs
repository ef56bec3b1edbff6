//! Zones of purges for tests.

use std::alloc::{self, Layout as Size};
use std::cell::OnceCell;
use std::ptr::NonNull;

use super::{ALIGN, Purges, SIZE};

/// A new zone, made at that time, whose memory stays for as long as the tests run.
pub(crate) fn purges(wall_ms: u64) -> Purges {
    // SAFETY: the block is new, large enough and never freed.
    unsafe { Purges::create(block(), SIZE, wall_ms) }.expect("the block fits")
}

/// A new zone in place of the one that this thread made last.
pub(crate) fn purges_in_turn(wall_ms: u64) -> Purges {
    thread_local!(static BLOCK: OnceCell<NonNull<u8>> = const { OnceCell::new() });
    let block = BLOCK.with(|kept| *kept.get_or_init(block));
    // SAFETY: the block is large enough and never freed; the thread's last zone is used no more.
    unsafe { Purges::create(block, SIZE, wall_ms) }.expect("the block fits")
}

/// A new zone in place of whatever was in a [`block`], which nobody uses any more.
pub(crate) fn purges_again(block: NonNull<u8>, wall_ms: u64) -> Purges {
    // SAFETY: the block is large enough and never freed; the caller has no use of what was in it.
    unsafe { Purges::create(block, SIZE, wall_ms) }.expect("the block fits")
}

/// Memory for a zone, with anything in it.
pub(crate) fn block() -> NonNull<u8> {
    let size = Size::from_size_align(SIZE, ALIGN).expect("a size");
    // SAFETY: the size is not 0, and the result is checked before it is written to.
    unsafe {
        let base = NonNull::new(alloc::alloc(size)).expect("memory");
        base.write_bytes(0xa5, SIZE);
        base
    }
}
