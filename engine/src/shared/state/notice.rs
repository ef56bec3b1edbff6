//! What is said seldom: once, or once in a while, by all workers together.

use crate::shared::atomic::Word;
use crate::shared::table::Table;
use crate::token::key::hash_of;

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
    /// Answer and JWT name different issuers.
    TwoIssuers = 8,
    /// A value made for a request cannot stand in a challenge.
    UnfitChallenge = 9,
    /// A value made for a request is no scope.
    UnfitScope = 10,
    /// A variable was asked for before the token was judged.
    EarlyQuestion = 11,
    /// The store of the fleet did not do what it was asked.
    StoreFailed = 12,
    /// The store rests.
    StoreRests = 13,
    /// What the store holds is odd.
    StoreRemark = 14,
    /// The store is not heard.
    StoreUnheard = 15,
    /// It is heard again, or another one is.
    StoreHeard = 16,
    /// Purges may have been missed.
    StoreGap = 17,
    /// The store did not take a purge.
    PurgeRefused = 30,
    /// The store has lost a purge.
    PurgeLost = 31,
}

/// When each was said last.
#[repr(transparent)]
pub(super) struct Notices(Table);

impl Notices {
    /// See [`State::once`](super::State::once).
    pub(super) fn once(&self, what: Notice, hash: u64, now_ms: u64, every_ms: Option<u64>) -> bool {
        let hash = hash_of(&[&[what as u8], &hash.to_le_bytes()]);
        let Some(slot) = self.0.claim(hash) else { return false };
        let last = &slot.words[0];
        let said = last.get();
        let due = said == 0 || every_ms.is_some_and(|every| now_ms.saturating_sub(said) >= every);
        due && last.exchange(said, now_ms.max(1)).is_ok()
    }
}
