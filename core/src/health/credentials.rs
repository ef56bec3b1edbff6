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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::hash_of;
    use crate::state::testing::{interrupted, killed, state};

    #[test]
    fn refused_credentials_cost_one_call_a_second() {
        let state = state();
        let (hash, other) = (hash_of(&[b"as", b"client"]), hash_of(&[b"as", b"other"]));
        assert_eq!(state.credentials_gate(hash, 0), Gate::Open);
        state.credentials_refused(hash, 500);
        assert_eq!(state.credentials_gate(hash, 500), Gate::Closed { left_ms: 1000 });
        assert_eq!(state.credentials_gate(hash, 1499), Gate::Closed { left_ms: 1 });
        assert_eq!(state.credentials_gate(other, 501), Gate::Open, "another client's are its own");
        assert_eq!(state.credentials_gate(hash, 1500), Gate::Open);
        assert_eq!(state.credentials_gate(hash, 1500), Gate::Closed { left_ms: 1000 });
        state.credentials_refused(hash, 1700);
        assert_eq!(state.credentials_gate(hash, 2499), Gate::Closed { left_ms: 1 });
        assert_eq!(state.credentials_gate(hash, 2500), Gate::Open);
        state.credentials_accepted(hash);
        assert_eq!(state.credentials_gate(hash, 2500), Gate::Open);
        assert_eq!(state.credentials_gate(hash, 2500), Gate::Open);
    }

    #[test]
    fn the_gate_opens_for_one_of_two_workers() {
        let refused = || {
            let state = state();
            let hash = hash_of(&[b"as", b"client"]);
            state.credentials_refused(hash, 0);
            (state, hash)
        };
        let ask = |(state, hash): (State, u64)| state.credentials_gate(hash, 1000) == Gate::Open;
        interrupted(refused, ask, ask, |_, one, other| assert!(one != other));
        // Two clients of one place are told apart.
        let refuse = |hash| move |state: State| state.credentials_refused(hash, 0);
        interrupted(state, refuse(1), refuse(257), |state, (), ()| {
            for hash in [1, 257] {
                assert_eq!(state.credentials_gate(hash, 0), Gate::Closed { left_ms: 1000 });
            }
        });
        // A worker killed before or after it passed the gate shuts it for a second at most.
        killed(
            refused,
            |given| {
                ask(given);
            },
            |(state, hash)| assert_eq!(state.credentials_gate(hash, 2000), Gate::Open),
        );
    }
}
