//! What is owed to a zone: changes that must be made though its lock could not be had in time.
//!
//! A mark that stayed would let others wait for a call that is over; an answer that stayed would
//! serve though a newer one has overtaken it. Each is made by whatever this worker does next under
//! the lock ([`Zone::locked`](super::Zone::locked)), or by the poller's timer.

use std::cell::RefCell;

use phantom_token_engine::arena::Locked;
use phantom_token_engine::shared::state::State;
use phantom_token_engine::token::key::Key;

/// Changes made in one turn under the lock, at most.
const AT_ONCE: usize = 16;

/// One change.
#[derive(Clone, Copy)]
pub(crate) struct Owed {
    key: Key,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Cancel { flight: u64 },
    Leave { flight: u64, slot: u8 },
    Forget,
    ForgetActive { state: State },
}

impl Owed {
    /// A flight was given up, or its answer could not be told: those who follow it begin anew.
    pub(crate) fn cancel(key: Key, flight: u64) -> Self {
        Self { key, what: What::Cancel { flight } }
    }

    /// The worker with this slot follows a flight no more.
    pub(crate) fn leave(key: Key, flight: u64, slot: u8) -> Self {
        Self { key, what: What::Leave { flight, slot } }
    }

    /// A newer answer has taken the place of what is kept, and is not kept itself.
    pub(crate) fn forget(key: Key) -> Self {
        Self { key, what: What::Forget }
    }

    /// The token is not active any more.
    pub(crate) fn forget_active(key: Key, state: State) -> Self {
        Self { key, what: What::ForgetActive { state } }
    }

    pub(super) fn pay(&self, locked: &mut Locked<'_>) {
        let key = &self.key;
        match self.what {
            What::Cancel { flight } => {
                locked.cancel(key, flight);
            }
            What::Leave { flight, slot } => locked.leave(key, flight, slot),
            What::Forget => {
                locked.remove(key);
            }
            What::ForgetActive { state } => {
                if locked.remove_active(key).is_some() {
                    // Workers may have taken it near since the answer.
                    state.purge_token(&key.token);
                }
            }
        }
    }
}

/// What this worker owes to one zone.
#[derive(Default)]
pub(super) struct Debts(RefCell<Vec<Owed>>);

impl Debts {
    /// Without memory it stays undone: a mark ends with its deadline, an entry with its time.
    pub(super) fn add(&self, owed: Owed) {
        let mut debts = self.0.borrow_mut();
        if debts.try_reserve(1).is_ok() {
            debts.push(owed);
        }
    }

    pub(super) fn are_paid(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn pay(&self, locked: &mut Locked<'_>) {
        let mut debts = self.0.borrow_mut();
        for _ in 0..AT_ONCE {
            let Some(owed) = debts.pop() else { break };
            owed.pay(locked);
        }
    }
}
