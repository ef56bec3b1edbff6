//! What is said seldom: once, or once in a while, by all workers together.

use super::{Table, Word, hash_of};

/// What a line is about that is said once, or once in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Notice {
    /// `no-store` or `no-cache` in an answer was overruled.
    CacheControlOverruled = 1,
    /// The server called a token active whose `exp` has passed: the clocks differ.
    ClockSkew = 2,
    /// Stale answers are being served.
    Stale = 3,
    /// Calls are refused because too many are pending or waiting.
    Overflow = 4,
    /// A claim asked for as a variable holds control bytes.
    UnprintableClaim = 5,
    /// The value of a header or parameter for the server holds a control byte.
    UnsendableValue = 6,
    /// The server takes Basic credentials only as they are.
    RawCredentials = 7,
}

pub(super) fn once(
    table: &Table,
    what: Notice,
    hash: u64,
    now_ms: u64,
    every_ms: Option<u64>,
) -> bool {
    let hash = hash_of(&[&[what as u8], &hash.to_le_bytes()]);
    let Some(place) = table.claim(hash) else { return false };
    let last = &place.words[0];
    let said = last.get();
    let due = said == 0 || every_ms.is_some_and(|every| now_ms.saturating_sub(said) >= every);
    due && last.exchange(said, now_ms.max(1)).is_ok()
}
