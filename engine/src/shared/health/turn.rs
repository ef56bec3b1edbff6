//! Who makes the gateway's own call: one worker at a time, at most once a second for each endpoint
//! and client.

use crate::shared::atomic::Word;
use crate::shared::process::Here;
use crate::shared::table::Table;

/// Between two own calls to one endpoint as one client, in milliseconds.
const EVERY_MS: u64 = 1_000;

/// A turn's words: when the last one began, and who has it.
const WORDS: usize = 2;

/// The right to make the own call. It goes back to [`Turns::ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    hash: u64,
    holder: Holder,
}

/// The process that has the turn, and when it is taken from it at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder(u64);

impl Holder {
    /// Linux' greatest process id is 2^22 (`PID_MAX_LIMIT` in include/linux/threads.h); 42 bits of
    /// milliseconds are 139 years.
    const TIME_BITS: u32 = 42;

    fn new(pid: u32, deadline_ms: u64) -> Holder {
        let time = deadline_ms.clamp(1, (1 << Self::TIME_BITS) - 1);
        Holder(u64::from(pid) << Self::TIME_BITS | time)
    }

    fn pid(self) -> u32 {
        (self.0 >> Self::TIME_BITS) as u32
    }

    fn deadline_ms(self) -> u64 {
        self.0 & ((1 << Self::TIME_BITS) - 1)
    }
}

/// Whether the turn is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnTaken {
    /// It is this worker's.
    Mine(Turn),
    /// Another worker has it, or another call.
    Busy,
    /// The last one has only just begun.
    Early {
        /// Milliseconds until the next one may begin; never 0.
        left_ms: u64,
    },
}

/// The turns of all endpoints and clients, by hash.
#[repr(transparent)]
pub struct Turns(pub(super) Table<WORDS>);

impl Turns {
    /// Takes the turn of an endpoint and client (see [`hash_of`](crate::token::key::hash_of)) for
    /// the process that is `here`, where nobody has it, or who has it has died or did not give it
    /// back until the deadline it named. The process gives it back by `deadline_ms` (monotonic).
    pub fn take(&self, hash: u64, deadline_ms: u64, here: Here<'_>) -> TurnTaken {
        let Some(slot) = self.0.claim(hash) else { return TurnTaken::Busy };
        let [began, holder] = &slot.words;
        let early = || {
            let since = here.now_ms.saturating_sub(began.get());
            (began.get() != 0 && since < EVERY_MS).then(|| EVERY_MS - since)
        };
        let before = Holder(holder.get());
        if before.0 != 0 && here.now_ms < before.deadline_ms() && here.runs(before.pid()) {
            return TurnTaken::Busy;
        }
        if let Some(left_ms) = early() {
            return TurnTaken::Early { left_ms };
        }
        let mine = Holder::new(here.pid, deadline_ms);
        if holder.exchange(before.0, mine.0).is_err() {
            return TurnTaken::Busy;
        }
        // Another one may have had it, from beginning to end, since that was looked at.
        if let Some(left_ms) = early() {
            let _ = holder.exchange(mine.0, 0);
            return TurnTaken::Early { left_ms };
        }
        began.set(here.now_ms.max(1));
        TurnTaken::Mine(Turn { hash, holder: mine })
    }

    /// Gives the turn back: the call has ended, or was not made after all. Changes nothing where
    /// the turn was taken over.
    pub fn ended(&self, turn: Turn) {
        if let Some(slot) = self.0.find(turn.hash) {
            let _ = slot.words[1].exchange(turn.holder.0, 0);
        }
    }
}
