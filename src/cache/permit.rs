//! What a worker holds at a mark in a zone: the lead of a call, or a place among those who follow one.
//! Each gives itself back when it is dropped, so that no other worker waits for nothing.

use phantom_token_engine::arena::{
    AnsweredFor, Call, Kind, Left, Locked, Owner, Poll, Seen, Taken,
};
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::shared::process::Here;
use phantom_token_engine::shared::purges::{Moment, Purges};
use phantom_token_engine::shared::state::Generation;
use phantom_token_engine::token::key::{Key, TokenHash};

use crate::cache;
use crate::finding::Finding;
use crate::nginx::sys::{here, pid};
use crate::nginx::zone::{Owed, ZoneRef};
use crate::worker::{AsOf, Worker};

/// How long a call that has run out of time is still left to its worker, which is alive and is
/// about to say so, in milliseconds. Others would begin it anew in that moment.
const HANDOVER_MS: u64 = 1_000;

/// This worker's mark: it makes the call, and others wait for it.
pub(crate) struct Lead(Mark);

/// This worker's place at another's mark.
pub(crate) struct Follow {
    mark: Mark,
    slot: u8,
}

struct Mark {
    zone: ZoneRef,
    key: Key,
    /// The number of the call.
    call: u64,
    /// There is still something to give back.
    held: bool,
}

/// What became of the call that is followed.
pub(crate) enum Polled {
    /// The zone's lock could not be had: nobody knows.
    OutOfReach,
    /// It is still out.
    Waiting,
    /// It ended so.
    Told(Finding),
    /// Its worker is gone, or late: this worker leads now.
    Lead(Lead, AsOf),
    /// The mark is gone (purged, called inactive, given up, or the zone was emptied).
    Gone,
}

/// A call of this worker's that begins as this is known of purges and ends by `deadline`, in monotonic
/// milliseconds.
pub(super) fn call(id: u64, slot: u8, deadline: u64, seen: Seen) -> Call {
    Call {
        id,
        owner: Owner { pid: pid(), slot },
        deadline: deadline.saturating_add(HANDOVER_MS),
        seen,
    }
}

/// What is known of purges of a token as of then.
pub(super) fn seen(purges: Option<Purges>, token: &TokenHash, as_of: AsOf) -> Seen {
    let purged = purges.map_or(Moment::NEVER, |purges| purges.purged(token));
    Seen { purges: as_of.generation.purges(), asked: as_of.asked, purged }
}

impl Lead {
    /// The mark of this call was made just now.
    pub(super) fn new(zone: &ZoneRef, key: &Key, call: u64) -> Self {
        Self(Mark { zone: zone.clone(), key: *key, call, held: true })
    }

    /// The number of the call.
    pub(crate) fn call(&self) -> u64 {
        self.0.call
    }

    /// Whether requests of other workers wait for it.
    pub(crate) fn is_followed(&self) -> bool {
        let Mark { zone, key, call, .. } = &self.0;
        // Without the lock nobody knows.
        zone.locked(|locked| locked.followers(key, *call))
            .is_none_or(|followers| followers.is_some_and(|count| count > 0))
    }

    /// Leaves the end of the call at the mark, under the lock of its zone. Whether other workers are to
    /// take it.
    pub(crate) fn answer(&mut self, locked: &mut Locked<'_>, outcome: Left<'_>) -> bool {
        self.0.held = false;
        locked.answer(&self.0.key, self.0.call, outcome) == AnsweredFor::Others
    }

    /// Has the mark taken away as soon as the zone's lock can be had, for which nobody waits now.
    pub(crate) fn owe(mut self) {
        self.0.held = false;
        self.0.zone.owe(Owed::cancel(self.0.key, self.0.call));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.0.held {
            self.0.zone.settle(Owed::cancel(self.0.key, self.0.call));
        }
    }
}

impl Follow {
    /// This worker's bit was set in the mark of this call.
    pub(super) fn new(zone: &ZoneRef, key: &Key, call: u64, slot: u8) -> Self {
        Self { mark: Mark { zone: zone.clone(), key: *key, call, held: true }, slot }
    }

    /// The number of the call.
    pub(crate) fn call(&self) -> u64 {
        self.mark.call
    }

    /// Looks whether the other worker has answered, or is no longer `alive`. `deadline` is that of the
    /// call that this worker would then make; what it is told is good for the requests of `generation`.
    pub(crate) fn poll(
        &mut self,
        worker: &mut Worker,
        deadline: u64,
        generation: Generation,
        alive: &dyn Fn(u32) -> bool,
    ) -> Polled {
        let Mark { zone, key, call, held } = &mut self.mark;
        // Before the lock: where the call is taken over, it begins after.
        let as_of = worker.as_of(&key.token);
        let seen = seen(worker.purges, &key.token, as_of);
        let mine = self::call(worker.state.next_flight_id(), self.slot, deadline, seen);
        let polled = loop {
            let record = &mut worker.record;
            let polled = zone
                .locked(|locked| locked.poll(key, *call, &mine, Here { alive, ..here() }, record));
            match polled {
                Some(Poll::NeedSpace(bytes)) if record.reserve(bytes).is_ok() => {}
                other => break other,
            }
        };
        *held = matches!(polled, None | Some(Poll::Waiting | Poll::NeedSpace(_)));
        match polled {
            None => Polled::OutOfReach,
            // Nor is there memory for it now.
            Some(Poll::Waiting | Poll::NeedSpace(_)) => Polled::Waiting,
            Some(Poll::Taken(answer)) => Polled::Told(told(worker, key, generation, answer)),
            Some(Poll::Lead) => Polled::Lead(Lead::new(zone, key, mine.id), as_of),
            Some(Poll::Gone) => Polled::Gone,
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let Mark { zone, key, call, held } = &self.mark;
        if *held {
            zone.settle(Owed::leave(*key, *call, self.slot));
        }
    }
}

/// What an answered mark says, whose text is in the worker's record.
fn told(worker: &mut Worker, key: &Key, generation: Generation, answer: Taken) -> Finding {
    match answer {
        Taken::Failed { code, retry_after } => {
            Finding::Failed(Failure { kind: FailureKind::of_code(code), retry_after })
        }
        Taken::Inactive => Finding::Inactive,
        Taken::Stored | Taken::Active => match cache::cached_of(&worker.record, generation) {
            Some(cached) => {
                if answer == Taken::Stored {
                    worker.local.insert(*key, &cached);
                }
                Finding::Active(cached)
            }
            None if worker.record.kind() == Kind::Active => {
                Finding::Failed(FailureKind::Internal.into())
            }
            // Stored, and replaced by a later answer.
            None => Finding::Inactive,
        },
    }
}
