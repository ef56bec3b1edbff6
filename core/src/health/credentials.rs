//! After an authorization server refused our own credentials: at most one call a second for each
//! endpoint and client, so that a wrong secret does not hammer the server (or lock the client out)
//! and a corrected one is noticed soon.

use crate::state::{State, Word};

/// Milliseconds between two calls.
const EVERY_MS: u64 = 1000;

/// Whether a call may be made with credentials that may have been refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may, and where they were refused before, it is the one of this second.
    Open,
    /// It fails at once.
    Closed {
        /// Milliseconds until the next call; never 0.
        left_ms: u64,
    },
}

impl State {
    /// Asks to make a call. `hash` is [`hash_of`](crate::state::hash_of) the endpoint's label and
    /// the client id. It changes nothing where the credentials were not refused.
    pub fn credentials_gate(&self, hash: u64, now_ms: u64) -> Gate {
        let Some(next) = self.layout().credentials.find(hash) else { return Gate::Open };
        let due = next.get();
        if due == 0 {
            return Gate::Open;
        }
        let left_ms = due.saturating_sub(now_ms).min(EVERY_MS);
        if left_ms > 0 {
            return Gate::Closed { left_ms };
        }
        match next.exchange(due, now_ms + EVERY_MS) {
            Ok(()) => Gate::Open,
            // Accepted meanwhile.
            Err(0) => Gate::Open,
            Err(_) => Gate::Closed { left_ms: EVERY_MS },
        }
    }

    /// The server refused the credentials (401, 403).
    pub fn credentials_refused(&self, hash: u64, now_ms: u64) {
        if let Some(next) = self.layout().credentials.claim(hash) {
            // Where they were refused before, the gate has set the time of the next call.
            let _ = next.exchange(0, now_ms + EVERY_MS);
        }
    }

    /// The server answered something else: the credentials are good.
    pub fn credentials_accepted(&self, hash: u64) {
        if let Some(next) = self.layout().credentials.find(hash)
            && next.get() != 0
        {
            next.set(0);
        }
    }
}
