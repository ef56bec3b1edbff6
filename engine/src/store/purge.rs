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
//!
//! A store that fails over may lose the last it has acknowledged. So what was told is kept for a while
//! ([`Acknowledged`]), without any token in it, and told again where the stream has lost it.

use std::num::NonZeroU64;
use std::time::Instant;

use thiserror::Error;

use super::event::{self, Event, GatewayId, What};
use super::keys::FleetKey;
use super::names::Epoch;
use super::reply::Fault;
use super::{Pipeline, Reply, Store, StoreError};
use crate::answer::subjects::Subject;
use crate::shared::purges::wall_ms;
use crate::token::key::TokenHash;

#[cfg(test)]
mod tests;

/// How often it is tried again where the epoch changes meanwhile.
const TRIES: usize = 3;

/// For how long a gateway is to keep what it has told, in milliseconds: as long as a replica may lag
/// behind when it takes over, and some more.
pub const KEPT_MS: u64 = 10_000;

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

/// A target as each of the fleet's keys hashes it.
#[derive(Clone)]
enum Hashed {
    Token(Box<[TokenHash]>),
    Subject(Subject, Box<[NonZeroU64]>),
    All,
}

impl Hashed {
    fn of(target: Target<'_>, keys: &[FleetKey]) -> Hashed {
        match target {
            Target::Token(token) => {
                Hashed::Token(keys.iter().map(|key| key.find.token(token)).collect())
            }
            Target::Subject(subject, name) => Hashed::Subject(
                subject,
                keys.iter().map(|key| subject.hash(&key.find, name)).collect(),
            ),
            Target::All => Hashed::All,
        }
    }
}

/// A purge on its way to the store.
pub struct Purge<'a> {
    store: &'a Store,
    purged: Hashed,
    gateway: GatewayId,
    number: u64,
    acknowledged: u64,
    /// The epoch under which it is told; `None`: it is to be asked for.
    epoch: Option<Epoch>,
    /// Nothing is told yet.
    asks_epoch: bool,
    tries: usize,
    /// The events that the store has taken, by their ids in the stream.
    events: Vec<Vec<u8>>,
}

/// A purge that the store has acknowledged.
pub struct Acknowledged {
    purged: Hashed,
    gateway: GatewayId,
    number: u64,
    events: Vec<Vec<u8>>,
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
        target: Target<'_>,
        epoch: Option<Epoch>,
        gateway: GatewayId,
        number: u64,
        acknowledged: u64,
    ) -> Purge<'a> {
        let purged = Hashed::of(target, store.keys.all());
        Purge {
            store,
            purged,
            gateway,
            number,
            acknowledged,
            epoch,
            asks_epoch: false,
            tries: TRIES,
            events: Vec::new(),
        }
    }

    /// Tells the store, each time within its time limit and never beyond `deadline`. Blocks its thread.
    ///
    /// # Errors
    /// The store did not acknowledge it: other gateways may serve what was purged for as long as they
    /// keep it. It is to be purged again.
    pub fn tell(mut self, deadline: Instant) -> Result<Acknowledged, PurgeError> {
        loop {
            let question = self.question(wall_ms()).ok_or(PurgeError::NoRandom)?;
            let until = deadline.min(Instant::now() + self.store.timeout);
            let replies = self.store.nodes.ask(&question, until)?;
            if self.answer(&replies)? == Told::Done {
                let Self { purged, gateway, number, events, .. } = self;
                return Ok(Acknowledged { purged, gateway, number, events });
            }
        }
    }

    /// What is to be sent now, at `wall_ms` (milliseconds since the Unix epoch); `None` where the system
    /// gives no random bytes.
    pub(super) fn question(&mut self, wall_ms: u64) -> Option<Pipeline> {
        let Store { keys, names, .. } = self.store;
        let mut pipeline = Pipeline::new();
        let fresh = Epoch::random()?;
        if matches!(self.purged, Hashed::All) {
            pipeline.command(&[b"SET", names.epoch(), &fresh.0]);
            self.epoch = Some(fresh);
        }
        self.asks_epoch = self.epoch.is_none();
        let Some(epoch) = self.epoch else {
            pipeline.command(&[b"SET", names.epoch(), &fresh.0, b"NX"]);
            pipeline.command(&[b"GET", names.epoch()]);
            return Some(pipeline);
        };
        for (nth, key) in keys.all().iter().enumerate() {
            let what = match &self.purged {
                Hashed::Token(tokens) => {
                    pipeline.command(&[b"DEL", &names.lease(key, &epoch, &tokens[nth])]);
                    What::Token(tokens[nth])
                }
                Hashed::Subject(subject, hashes) => What::Subject(*subject, hashes[nth]),
                Hashed::All => What::All(epoch),
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
        let (last, others) = replies.split_last().ok_or(malformed)?;
        let there = match last {
            Reply::Nil => None,
            reply => Some(reply.bulk().and_then(Epoch::read).ok_or(malformed)?),
        };
        if !self.asks_epoch && there.is_some() && there == self.epoch {
            // Beside ids there are numbers (of `DEL`) and a status (of `SET`).
            self.events = others.iter().filter_map(Reply::bulk).map(<[u8]>::to_vec).collect();
            if self.events.len() != self.store.keys.all().len() {
                return Err(malformed.into());
            }
            return Ok(Told::Done);
        }
        self.epoch = there;
        // Where somebody empties the store again and again, that is said.
        self.tries = self.tries.checked_sub(1).ok_or(PurgeError::Emptied)?;
        Ok(Told::Again)
    }
}

impl Acknowledged {
    /// Prepares to tell it once more. The rest is as for [`Purge::new`].
    pub fn again<'a>(
        &self,
        store: &'a Store,
        epoch: Option<Epoch>,
        acknowledged: u64,
    ) -> Purge<'a> {
        Purge {
            store,
            purged: self.purged.clone(),
            gateway: self.gateway,
            number: self.number,
            acknowledged,
            epoch,
            asks_epoch: false,
            tries: TRIES,
            events: Vec::new(),
        }
    }

    /// Looks for what was told in the stream, all in one question: whether each is lost. Blocks its
    /// thread, never beyond `deadline`.
    ///
    /// # Errors
    /// The store did not say.
    pub fn lost<'t>(
        store: &Store,
        told: impl IntoIterator<Item = &'t Acknowledged, IntoIter: Clone>,
        deadline: Instant,
    ) -> Result<Vec<bool>, StoreError> {
        let told = told.into_iter();
        let stream = store.names.stream();
        let mut question = Pipeline::new();
        for id in told.clone().flat_map(|told| &told.events) {
            question.command(&[b"XRANGE", stream, id, id]);
        }
        if question.is_empty() {
            return Ok(Vec::new());
        }
        let replies = store.nodes.ask(&question, deadline.min(Instant::now() + store.timeout))?;
        let mut replies = replies.iter();
        let is_lost = |told: &Acknowledged| {
            let mut lost = false;
            for _ in &told.events {
                match replies.next() {
                    Some(Reply::Array(entries)) => lost |= entries.is_empty(),
                    Some(Reply::Error(error)) => return Err(StoreError::Refused(*error)),
                    _ => return Err(StoreError::Protocol(Fault::Malformed)),
                }
            }
            Ok(lost)
        };
        told.map(is_lost).collect()
    }
}

impl std::fmt::Debug for Acknowledged {
    /// Without what was purged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acknowledged").field("number", &self.number).finish_non_exhaustive()
    }
}
