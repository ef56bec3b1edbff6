//! Whether calls go out with credentials that the server refuses.
//!
//! A refusal may be the token's doing, or that of a firewall before the server: it fails its own
//! request and raises a question. The gate shuts only if the gateway's own call is refused too, and
//! any call that is not refused opens it and keeps it open for a while, whatever single tokens meet.
//! While it is shut a few clients' calls go out each second, so that it opens for a server that
//! refuses our own calls alone.
//!
//! A gate is for everything by which a server tells one caller from another: see
//! [`State::gate_hash`](crate::shared::state::State::gate_hash).

use std::sync::atomic::AtomicU64;

use crate::shared::atomic::Word;
use crate::shared::endpoint::EndpointId;
use crate::shared::table::{Slot, Table};

/// How long a verdict counts, in milliseconds: that of a call that was not refused whatever single
/// tokens meet, that of our own call that was refused unless it is renewed.
const COUNTS_MS: u64 = 60_000;

/// How much later a verdict must end to be written anew, in milliseconds: workers share the word.
const STEP_MS: u64 = 1_000;

/// How many clients' calls go out in [`WINDOW_MS`] while the gate is shut.
const CALLS: u64 = 10;

const WINDOW_MS: u64 = 1_000;

/// A gate's words: the verdict, the calls of the window while it
/// is shut, and the place of its endpoint, from 1; 0 where that has none.
const WORDS: usize = 3;

/// Whether a client's call may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The call goes out.
    Open,
    /// The call goes out, as one of the few while the gate is shut.
    Few,
    /// It may not.
    Shut,
}

/// What a call's end changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateChange {
    /// Nothing worth a line.
    None,
    /// The gate is shut from now on.
    Shut,
    /// It was, and is open again.
    Opened,
}

/// What the last call that decided has left: until when it counts, and which way. All bits zero is
/// none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Decided(u64);

impl Decided {
    fn new(shut: bool, now_ms: u64) -> Decided {
        Decided((now_ms + COUNTS_MS) << 1 | u64::from(shut))
    }

    fn counts(self, now_ms: u64) -> bool {
        now_ms < self.0 >> 1
    }

    fn is_shut(self, now_ms: u64) -> bool {
        self.0 & 1 == 1 && self.counts(now_ms)
    }

    fn is_open(self, now_ms: u64) -> bool {
        self.0 & 1 == 0 && self.counts(now_ms)
    }
}

/// The gates of all clients, by [`State::gate_hash`](crate::shared::state::State::gate_hash). All
/// methods take monotonic milliseconds.
#[repr(transparent)]
pub struct Gates(Table<WORDS>);

type Words = Slot<WORDS>;

fn decided(gate: &Words) -> Decided {
    Decided(gate.words[0].get())
}

/// One of the few calls of a window: its beginning in the upper bits, their number in the lower.
fn take_one(window: &AtomicU64, now_ms: u64) -> Gate {
    // Each further round means that another worker has taken one meanwhile.
    for _ in 0..2 * CALLS {
        let word = window.get();
        let (began, taken) = (word >> 8, word & 0xff);
        let next = if word == 0 || now_ms.saturating_sub(began) >= WINDOW_MS {
            now_ms << 8 | 1
        } else if taken < CALLS {
            word + 1
        } else {
            return Gate::Shut;
        };
        if window.exchange(word, next).is_ok() {
            return Gate::Few;
        }
    }
    Gate::Shut
}

impl Gates {
    /// Decides whether a client's call goes out. Where the gate is shut, this takes one of the few.
    pub fn admit(&self, hash: u64, now_ms: u64) -> Gate {
        match self.0.find(hash) {
            Some(gate) if decided(gate).is_shut(now_ms) => take_one(&gate.words[1], now_ms),
            _ => Gate::Open,
        }
    }

    /// Tells whether the gate is shut, without taking anything.
    pub fn is_shut(&self, hash: u64, now_ms: u64) -> bool {
        self.0.find(hash).is_some_and(|gate| decided(gate).is_shut(now_ms))
    }

    /// Tells whether a call was not refused of late, so that no single token's refusal says
    /// anything now.
    pub fn is_kept_open(&self, hash: u64, now_ms: u64) -> bool {
        self.0.find(hash).is_some_and(|gate| decided(gate).is_open(now_ms))
    }

    /// Notes that a call was not refused, a client's or our own.
    pub fn passed(
        &self,
        hash: u64,
        endpoint: impl Into<Option<EndpointId>>,
        now_ms: u64,
    ) -> GateChange {
        let Some(gate) = self.0.claim(hash) else { return GateChange::None };
        let (before, open) = (decided(gate), Decided::new(false, now_ms));
        if before.is_open(now_ms) && before.0.saturating_add(STEP_MS << 1) > open.0 {
            return GateChange::None;
        }
        gate.words[2].set(place_word(endpoint.into()));
        let before = Decided(gate.words[0].replace(open.0));
        if before.is_shut(now_ms) { GateChange::Opened } else { GateChange::None }
    }

    /// Notes that a call of our own was refused. One that was not, of late, counts for more.
    pub fn refused(
        &self,
        hash: u64,
        endpoint: impl Into<Option<EndpointId>>,
        now_ms: u64,
    ) -> GateChange {
        let Some(gate) = self.0.claim(hash) else { return GateChange::None };
        let (before, shut) = (decided(gate), Decided::new(true, now_ms));
        if before.is_open(now_ms) {
            return GateChange::None;
        }
        gate.words[2].set(place_word(endpoint.into()));
        if gate.words[0].exchange(before.0, shut.0).is_err() {
            return GateChange::None;
        }
        if before.is_shut(now_ms) { GateChange::None } else { GateChange::Shut }
    }

    /// The endpoints with a gate that is shut.
    pub(crate) fn shut(&self, now_ms: u64) -> impl Iterator<Item = EndpointId> {
        let shut = self.0.taken().filter(move |gate| decided(gate).is_shut(now_ms));
        shut.filter_map(|gate| u16::try_from(gate.words[2].get()).ok()?.checked_sub(1))
            .map(EndpointId)
    }
}

fn place_word(endpoint: Option<EndpointId>) -> u64 {
    endpoint.map_or(0, |EndpointId(index)| u64::from(index) + 1)
}
