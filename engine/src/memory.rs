//! Memory whose size a client or the authorization server has a say in: asked for in a way that can
//! be refused.
//!
//! Where the system gives none, Rust's own collections end the process. On the event loop that is
//! a whole worker with all its requests; these functions give an error instead, and the one request
//! fails closed. They are for where an error can be told apart from every other outcome: JSON is
//! read with what ends the process, because a claim that could not be read must not look absent.

use std::collections::TryReserveError;

use zeroize::Zeroizing;

/// The system gives no more memory. The one request that needed it fails closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory left")]
pub struct NoMemory;

impl From<TryReserveError> for NoMemory {
    fn from(_: TryReserveError) -> NoMemory {
        NoMemory
    }
}

/// Allocates a vector of `len` zero bytes.
///
/// # Errors
/// The system gives no memory for it.
pub fn zeroed(len: usize) -> Result<Vec<u8>, NoMemory> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Copies bytes into memory that is wiped when it is dropped.
///
/// # Errors
/// The system gives no memory for them.
pub fn copied(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, NoMemory> {
    let mut copy = Zeroizing::new(with_room(bytes.len())?);
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Allocates an empty vector with room for `len` elements.
///
/// # Errors
/// The system gives no memory for it.
#[inline]
pub fn with_room<T>(len: usize) -> Result<Vec<T>, NoMemory> {
    let mut room = Vec::new();
    room.try_reserve_exact(len)?;
    Ok(room)
}
