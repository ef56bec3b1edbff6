//! A purge told to the fleet. It is done once the store has acknowledged all of it, under an epoch that
//! is still the store's afterwards.
//!
//! ```text
//! DEL lease …                     a token's, under each key: what the store holds of it is void
//! XADD stream MAXLEN ~ 65536 * e  an event under each key: what gateways keep is void
//! GET epoch
//! ```
//!
//! To purge everything is to change the epoch.

use std::time::Instant;

use thiserror::Error;

use super::event::{self, Event, GatewayId, What};
use super::names::Epoch;
use super::wire::Fault;
use super::{Pipeline, Reply, Store, StoreError};
use crate::answer::subjects::Subject;
use crate::shared::purges::wall_ms;

/// How often it is tried again where the epoch changes meanwhile.
const TRIES: usize = 3;

/// What is purged in the whole fleet.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// An opaque token.
    Token(&'a [u8]),
    /// All tokens that have this name for a subject.
    Subject(Subject, &'a [u8]),
    /// Everything.
    All,
}

/// A purge on its way to the store.
pub struct Purge<'a> {
    store: &'a Store,
    target: Target<'a>,
    gateway: GatewayId,
    number: u64,
    acknowledged: u64,
    /// The epoch under which it is told; `None`: it is to be asked for.
    epoch: Option<Epoch>,
    /// Nothing is told yet.
    asks_epoch: bool,
    tries: usize,
}

/// Why the fleet may not know of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PurgeError {
    /// The store did not answer, or took not all of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The epoch is another each time.
    #[error("the store was emptied meanwhile")]
    Emptied,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// How far a purge is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The store has all of it.
    Done,
    /// It is to be told again.
    Again,
}

impl<'a> Purge<'a> {
    /// Prepares a purge. `number` counts those of this gateway from 1, and `acknowledged` is the highest
    /// of them that the store has acknowledged. `epoch` is the one that was heard last, if any was.
    pub fn new(
        store: &'a Store,
        target: Target<'a>,
        epoch: Option<Epoch>,
        gateway: GatewayId,
        number: u64,
        acknowledged: u64,
    ) -> Purge<'a> {
        let asks_epoch = false;
        let tries = TRIES;
        Purge { store, target, gateway, number, acknowledged, epoch, asks_epoch, tries }
    }

    /// Tells the store, each time within its time limit and never beyond `deadline`. Blocks its thread.
    ///
    /// # Errors
    /// The store did not acknowledge it: other gateways may serve what was purged for as long as they
    /// keep it. It is to be purged again.
    pub fn tell(mut self, deadline: Instant) -> Result<(), PurgeError> {
        loop {
            let question = self.question(wall_ms()).ok_or(PurgeError::NoRandom)?;
            let until = deadline.min(Instant::now() + self.store.timeout);
            let replies = self.store.nodes.ask(&question, until)?;
            if self.answer(&replies)? == Told::Done {
                return Ok(());
            }
        }
    }

    /// What is to be sent now, at `wall_ms` (milliseconds since the Unix epoch); `None` where the system
    /// gives no random bytes.
    pub(super) fn question(&mut self, wall_ms: u64) -> Option<Pipeline> {
        let Store { keys, names, .. } = self.store;
        let mut pipeline = Pipeline::new();
        let fresh = Epoch::random()?;
        if matches!(self.target, Target::All) {
            pipeline.command(&[b"SET", names.epoch(), &fresh.0]);
            self.epoch = Some(fresh);
        }
        self.asks_epoch = self.epoch.is_none();
        let Some(epoch) = self.epoch else {
            pipeline.command(&[b"SET", names.epoch(), &fresh.0, b"NX"]);
            pipeline.command(&[b"GET", names.epoch()]);
            return Some(pipeline);
        };
        for key in keys.all() {
            let what = match self.target {
                Target::Token(token) => {
                    let token = key.find.token(token);
                    pipeline.command(&[b"DEL", &names.lease(key, &epoch, &token)]);
                    What::Token(token)
                }
                Target::Subject(subject, name) => {
                    What::Subject(subject, subject.hash(&key.find, name))
                }
                Target::All => What::All(epoch),
            };
            let Self { gateway, number, acknowledged, .. } = *self;
            let event = Event { what, at_ms: wall_ms, gateway, number, acknowledged };
            event::add(&mut pipeline, names, &event.seal(key, names)?);
        }
        pipeline.command(&[b"GET", names.epoch()]);
        Some(pipeline)
    }

    /// What the replies to that come to.
    pub(super) fn answer(&mut self, replies: &[Reply]) -> Result<Told, PurgeError> {
        for reply in replies {
            match reply.error() {
                Some(error) if error.is_full() => return Err(StoreError::Full(error).into()),
                Some(error) => return Err(StoreError::Refused(error).into()),
                None => {}
            }
        }
        let malformed = StoreError::Protocol(Fault::Malformed);
        let there = match replies.last() {
            Some(Reply::Nil) => None,
            Some(reply) => Some(reply.bulk().and_then(Epoch::read).ok_or(malformed)?),
            None => return Err(malformed.into()),
        };
        if !self.asks_epoch && there.is_some() && there == self.epoch {
            return Ok(Told::Done);
        }
        self.epoch = there;
        // Where somebody empties the store again and again, that is said.
        self.tries = self.tries.checked_sub(1).ok_or(PurgeError::Emptied)?;
        Ok(Told::Again)
    }
}
