//! The loop that hears the store: one thread in one of the workers runs it.
//!
//! It touches the state zone and the zone of purges only, which are atomics: no lock of a cache zone,
//! which belongs to the event loops, and no memory of a worker's. What is to be said of it is handed to
//! the worker as a [`Tiding`].

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::event::GatewayId;
use super::keys::FleetKeys;
use super::names::{Epoch, Names};
use super::peer::{self, Line};
use super::reply::Fault;
use super::sync::{BLOCK, Listener, Position};
use super::{Nodes, Reply, StoreError};
use crate::shared::counters::{Shard, StoreGap, StorePeer, StorePurge};
use crate::shared::health::Limits;
use crate::shared::hearing::{Heard, Lease};
use crate::shared::purges::{Purges, wall_ms};
use crate::shared::state::State;

#[cfg(test)]
mod tests;

/// Between two questions where the store does not answer.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Between two questions where it has yet to begin.
const UNSETTLED: Duration = Duration::from_millis(20);

/// The least between two looks at whether another has taken over, where nothing is asked meanwhile.
const NAP: Duration = Duration::from_millis(100);

/// What is heard, and where it is kept.
pub struct HearOptions {
    /// Who is asked; connections of its own.
    pub nodes: Arc<dyn Nodes>,
    /// The fleet's keys.
    pub keys: Arc<FleetKeys>,
    /// What the store's keys are called.
    pub names: Names,
    /// Tells the store, prefix, key and zone of purges from others.
    pub store: u64,
    /// How long an answer may take, besides the wait for something to hear.
    pub timeout: Duration,
    /// When the store rests.
    pub limits: Limits,
    /// Where what is heard is kept.
    pub state: State,
    /// Where what is purged is.
    pub purges: Purges,
    /// Where it is counted.
    pub shard: &'static Shard,
    /// What this gateway asks which servers ([`peer::configuration`]).
    pub configuration: [u8; 32],
    /// The module's version.
    pub version: &'static str,
}

/// What an operator is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiding {
    /// The store does not answer, or not as it should.
    Failed(StoreError),
    /// It cannot be asked: the system gives no random bytes.
    NoRandom,
    /// It answers again.
    Back,
    /// Another store, prefix or key is configured than what was heard last.
    Another,
    /// Purges may have been missed.
    Gap(StoreGap),
    /// That has been so too often: the store counts as away for a minute.
    TooManyGaps,
    /// Events that do not open.
    Unreadable,
    /// Another gateway has another key in force.
    OtherKey,
}

/// Whoever hears.
pub struct Hearer {
    options: HearOptions,
    listener: Listener,
    lease: Lease,
    clock: Clock,
    failing: bool,
    /// The last position that was noted.
    noted: Option<Position>,
    gateway: GatewayId,
    /// When it last told of this gateway.
    told: Option<Instant>,
    tidings: Vec<Tiding>,
}

/// NGINX's monotonic milliseconds, told by the thread itself.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    ms: u64,
}

impl Clock {
    /// A clock that shows so many milliseconds now.
    pub fn at(ms: u64) -> Self {
        Clock { began: Instant::now(), ms }
    }

    fn now_ms(self) -> u64 {
        self.ms + self.began.elapsed().as_millis() as u64
    }
}

impl HearOptions {
    /// For how long a question may keep the thread: to be given to
    /// [`Hearing::take`](crate::shared::hearing::Hearing::take).
    pub fn within_ms(timeout: Duration) -> u64 {
        (BLOCK + timeout).as_millis() as u64
    }
}

impl Hearer {
    /// Begins, or goes on where another has been, by the right that `lease` gives. `None` where the
    /// system gives no random bytes.
    pub fn new(options: HearOptions, lease: Lease, clock: Clock) -> Option<Hearer> {
        let HearOptions { keys, names, state, store, .. } = &options;
        let hearing = state.hearing();
        let fresh = GatewayId::random().filter(|id| id.0 != [0; 8])?;
        let gateway = GatewayId(hearing.gateway(u64::from_be_bytes(fresh.0)).to_be_bytes());
        let heard = hearing.heard().filter(|heard| heard.store == *store);
        let known = heard.map(|Heard { epoch, last, since_ms, .. }| Position {
            epoch: Epoch(epoch),
            last,
            since_ms,
        });
        let listener = Listener::new(keys.clone(), names.clone(), gateway, known);
        let begins_anew = known.is_none() && !hearing.is_new();
        let tidings = Vec::new();
        let (failing, noted, told) = (false, known, None);
        let mut hearer =
            Hearer { options, listener, lease, clock, failing, noted, gateway, told, tidings };
        if known.is_none() {
            hearer.options.state.store().set_in_sync(false);
        }
        if begins_anew {
            hearer.tidings.push(Tiding::Another);
        }
        Some(hearer)
    }

    /// Asks once, and takes what is heard. `None` once another hears: whoever had it ends.
    pub fn turn(&mut self) -> Option<Vec<Tiding>> {
        let turn = self.try_turn();
        turn.then(|| std::mem::take(&mut self.tidings))
    }

    fn try_turn(&mut self) -> bool {
        let Some(ask) = self.listener.question(wall_ms()) else {
            self.tidings.push(Tiding::NoRandom);
            return self.nap(AFTER_FAILURE);
        };
        if !self.nap(ask.pause) || !self.renew() {
            return false;
        }
        let deadline = Instant::now() + ask.blocks + self.options.timeout;
        let outcome = self.options.nodes.ask(&ask.commands, deadline);
        // Whoever has hung meanwhile has lost it: another may be ahead.
        if !self.renew() {
            return false;
        }
        match outcome {
            Ok(replies) => self.take(&replies),
            Err(error) => {
                self.failed(error);
                self.nap(AFTER_FAILURE)
            }
        }
    }

    fn take(&mut self, replies: &[Reply]) -> bool {
        let HearOptions { state, purges, shard, .. } = &self.options;
        let heard = self.listener.answer(replies, wall_ms());
        let failed = match replies.iter().find_map(Reply::error) {
            // Not of the node: it is there, and takes no writes, or has other keys of these names.
            Some(error) if error.is_full() => Some(StoreError::Full(error)),
            Some(error) => Some(StoreError::Refused(error)),
            None if !heard.understood => Some(StoreError::Protocol(Fault::Malformed)),
            None => None,
        };
        if let Some(failed) = failed {
            shard.count_store_error(failed.reason());
            self.tidings.push(Tiding::Failed(failed));
        }
        for purge in heard.purges.iter().filter(|purge| !purge.own) {
            purges.purge(purge.what, purge.at_ms);
            shard.count_store_purge(StorePurge::Heard);
        }
        if heard.unreadable > 0 {
            self.tidings.push(Tiding::Unreadable);
        }
        let now_ms = self.clock.now_ms();
        if let Some(gap) = heard.gap {
            shard.count_store_gap(gap);
            state.store().set_in_sync(false);
            self.tidings.push(Tiding::Gap(gap));
            if state.hearing().gap(now_ms) {
                self.tidings.push(Tiding::TooManyGaps);
            }
        }
        if heard.doubt {
            self.missed();
        }
        let HearOptions { state, store, .. } = &self.options;
        // Behind what it says was purged: who takes over reads on from there.
        if let Some(position) = heard.position.filter(|position| self.noted != Some(*position)) {
            let Position { epoch, last, since_ms } = position;
            state.hearing().note(Heard { store: *store, epoch: epoch.0, last, since_ms });
            self.noted = Some(position);
        }
        let health = state.store();
        if !heard.understood {
            self.failing = true;
            return self.nap(AFTER_FAILURE);
        }
        if heard.in_sync && !state.hearing().is_away(now_ms) {
            health.heard(now_ms);
            health.set_in_sync(true);
        } else {
            health.set_in_sync(false);
        }
        health.answered();
        if std::mem::take(&mut self.failing) {
            self.tidings.push(Tiding::Back);
        }
        if heard.in_sync {
            self.tell();
        }
        // An answer that waits for nothing would come again and again.
        heard.in_sync || heard.position.is_some() || self.nap(UNSETTLED)
    }

    /// Tells of this gateway, where it is time, and counts the others. Nothing depends on it: what fails
    /// here fails where purges are heard, too, and is told there.
    fn tell(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < peer::EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let HearOptions { nodes, keys, names, timeout, state, configuration, .. } = &self.options;
        let line = Line {
            gateway: self.gateway,
            configuration: *configuration,
            at_ms: wall_ms(),
            version: self.options.version.to_owned(),
        };
        let Some(question) = line.question(keys, names) else { return };
        let Ok(replies) = nodes.ask(&question, Instant::now() + *timeout) else { return };
        let Some(peers) = line.answer(keys, names, &replies) else { return };
        for peer in StorePeer::ALL {
            state.store().set_peers(*peer, peers.count(*peer));
        }
        if peers.count(StorePeer::OtherKey) > 0 {
            self.tidings.push(Tiding::OtherKey);
        }
    }

    /// What is kept from before may have been purged: it is asked for anew.
    fn missed(&self) {
        self.options.purges.gap(wall_ms(), self.clock.now_ms());
    }

    fn failed(&mut self, error: StoreError) {
        let HearOptions { state, shard, limits, .. } = &self.options;
        shard.count_store_error(error.reason());
        let now_ms = self.clock.now_ms();
        if error.rests_at_once() {
            state.store().rest(now_ms);
        } else {
            state.store().failed(limits, now_ms);
        }
        self.failing = true;
        self.tidings.push(Tiding::Failed(error));
    }

    fn renew(&mut self) -> bool {
        let within = HearOptions::within_ms(self.options.timeout);
        let now_ms = self.clock.now_ms();
        self.options.state.hearing().renew(&mut self.lease, within, now_ms)
    }

    /// Sleeps, as long as nobody else has taken over.
    fn nap(&mut self, whole: Duration) -> bool {
        let end = Instant::now() + whole;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(NAP));
            if !self.renew() {
                return false;
            }
        }
    }
}
