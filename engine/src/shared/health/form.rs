//! Which form of Basic credentials a server takes: form-urlencoded, as RFC 6749 §2.3.1 asks, or as
//! they are, as many servers want them.
//!
//! Known by endpoint, client and secret ([`State::form_hash`](crate::shared::state::State::form_hash)), the same in all workers. It matters
//! only where encoding changes anything.

use crate::shared::atomic::Word;
use crate::shared::table::Table;

/// Between two second tries of clients' calls, in milliseconds.
const EVERY_MS: u64 = 10_000;

/// The server has taken the encoded form.
const ENCODED: u64 = 1;
/// It takes the raw form, and refused the other.
const RAW: u64 = 2;
/// Above the marks: when a refused call was last made once more, in milliseconds.
const TIME_BITS: u32 = 2;

/// How Basic credentials are written into the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Form-urlencoded.
    Encoded,
    /// As they are.
    Raw,
}

/// The forms that servers take, by [`State::form_hash`](crate::shared::state::State::form_hash).
#[repr(transparent)]
pub struct Forms(Table);

impl Forms {
    /// Returns the form to use.
    pub fn of(&self, hash: u64) -> Form {
        match self.0.find(hash) {
            Some(slot) if slot.words[0].get() & RAW != 0 => Form::Raw,
            _ => Form::Encoded,
        }
    }

    /// Tells whether the encoded form is known to be the right one.
    pub fn is_encoded(&self, hash: u64) -> bool {
        self.0.find(hash).is_some_and(|slot| slot.words[0].get() & ENCODED != 0)
    }

    /// Notes that the encoded form was answered with active or inactive: it is the right one.
    pub fn encoded_answered(&self, hash: u64) {
        self.change(hash, |word| (word | ENCODED) & !RAW);
    }

    /// Notes that the raw form was answered, where the other was refused: it is the right one.
    /// Returns whether that is new.
    pub fn raw_answered(&self, hash: u64) -> bool {
        let before = self.change(hash, |word| (word | RAW) & !ENCODED);
        before.is_some_and(|word| word & RAW == 0)
    }

    /// Notes that the raw form was refused to our own call: it is no longer the right one.
    pub fn raw_refused(&self, hash: u64) {
        self.change(hash, |word| word & !RAW);
    }

    /// Decides whether a client's call that was refused in the encoded form is made once more in
    /// the raw one: never where the encoded form has been answered, and at most once in 10 s.
    pub fn try_raw(&self, hash: u64, now_ms: u64) -> bool {
        let Some(slot) = self.0.claim(hash) else { return false };
        let word = slot.words[0].get();
        let tried = word >> TIME_BITS;
        let due = tried == 0 || now_ms.saturating_sub(tried) >= EVERY_MS;
        let next = now_ms.max(1) << TIME_BITS | word & (ENCODED | RAW);
        word & ENCODED == 0 && due && slot.words[0].exchange(word, next).is_ok()
    }

    /// The word before, where there is one.
    fn change(&self, hash: u64, change: impl Fn(u64) -> u64) -> Option<u64> {
        let slot = self.0.claim(hash)?;
        // Each further round means that another worker got ahead of this one.
        for _ in 0..8 {
            let word = slot.words[0].get();
            let next = change(word);
            if next == word || slot.words[0].exchange(word, next).is_ok() {
                return Some(word);
            }
        }
        None
    }
}
