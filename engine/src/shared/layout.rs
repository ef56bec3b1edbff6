//! What zones of shared memory have in common that are one layout of constant size.

use std::ptr::NonNull;

/// A value on cache lines of its own (two, since the hardware fetches pairs).
#[repr(C, align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// Why memory cannot serve as a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutMismatch {
    /// The block is smaller than the zone's `SIZE`.
    #[error("the zone is too small")]
    TooSmall,
    /// The address is not a multiple of the zone's `ALIGN`.
    #[error("the zone is not aligned")]
    Misaligned,
    /// There is no such zone in this memory.
    #[error("the memory holds no such zone")]
    OtherMemory,
    /// Another version of the module made it.
    #[error("the zone was made by another version of the module")]
    Version,
}

/// The place of an `L` in a block, if it fits there.
pub(super) fn fitting<L>(base: NonNull<u8>, len: usize) -> Result<NonNull<L>, LayoutMismatch> {
    if len < size_of::<L>() {
        return Err(LayoutMismatch::TooSmall);
    }
    let layout = base.cast::<L>();
    if !layout.is_aligned() {
        return Err(LayoutMismatch::Misaligned);
    }
    Ok(layout)
}
