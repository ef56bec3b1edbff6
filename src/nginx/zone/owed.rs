//! What is owed to a zone: changes that must be made though its lock could not be had in time.
//!
//! A mark that stayed would let others wait for a call that is over; an answer that stayed would
//! serve though a newer one has overtaken it. Each is made by whatever this worker does next under
//! the lock ([`Zone::locked`](super::Zone::locked)), or by a timer.

use std::cell::{Cell, RefCell};

use phantom_token_engine::arena::Locked;
use phantom_token_engine::shared::state::State;
use phantom_token_engine::token::key::Key;

use super::ZoneRef;
use crate::nginx::timer::Timer;

/// Between two looks at the locks of zones to which something is owed, in milliseconds.
const LOOK_MS: u64 = 5;
/// Looks between two at which a lock is waited for: its owner may be dead, or stand still and keep this
/// worker from its requests.
const PATIENT_LOOK: u32 = 400;

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

/// What one worker owes, to all zones.
struct Collector {
    timer: Timer,
    debtors: RefCell<Vec<ZoneRef>>,
    looks: Cell<u32>,
}

thread_local! {
    static COLLECTOR: Collector = Collector {
        timer: Timer::new("paying what is owed to zones", look),
        debtors: RefCell::default(),
        looks: Cell::new(0),
    };
}

fn look() {
    COLLECTOR.with(|collector| {
        let looks = (collector.looks.get() + 1) % PATIENT_LOOK;
        collector.looks.set(looks);
        collector.pay(looks == 0);
        if !collector.debtors.borrow().is_empty() {
            collector.timer.set(LOOK_MS);
        }
    });
}

impl Collector {
    fn pay(&self, wait: bool) {
        self.debtors.borrow_mut().retain(|zone| !zone.pay(wait));
    }
}

/// Makes what this worker owes to zones before it ends, for whose locks it waits.
pub(crate) fn pay_all() {
    COLLECTOR.with(|collector| collector.pay(true));
}

impl ZoneRef {
    /// Makes a change in the zone, now or as soon as its lock can be had.
    pub(crate) fn settle(&self, owed: Owed) {
        if self.locked(|locked| owed.pay(locked)).is_none() {
            self.owe(owed);
        }
    }

    /// Makes a change in the zone as soon as its lock can be had.
    pub(crate) fn owe(&self, owed: Owed) {
        self.debts.add(owed);
        COLLECTOR.with(|collector| {
            let mut debtors = collector.debtors.borrow_mut();
            // Without memory for it, whoever of this worker locks the zone next pays.
            if !debtors.contains(self) && debtors.try_reserve(1).is_ok() {
                debtors.push(self.clone());
            }
            collector.timer.set(LOOK_MS);
        });
    }

    /// Makes what is owed, where the lock is free; whether nothing is owed any more. `wait`: it is
    /// waited for, and taken from an owner that is dead.
    fn pay(&self, wait: bool) -> bool {
        let nothing = |_: &mut Locked<'_>| ();
        let _ = if wait { self.locked(nothing) } else { self.if_unlocked(nothing) };
        self.debts.are_paid()
    }
}
