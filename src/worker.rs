//! What a worker keeps of what is shared: the state zone and its slot there, and its own small cache.

#![forbid(unsafe_code)]

use std::rc::Rc;

use phantom_token_engine::arena::Record;
use phantom_token_engine::local::Local;
use phantom_token_engine::shared::purges::{Moment, Purges};
use phantom_token_engine::shared::state::{Generation, Notice, State};
use phantom_token_engine::token::key::{HashKey, Hashing, TokenHash, hash_of};

use crate::access::questions::Questions;
use crate::conf::MainConf;
use crate::nginx::sys::{here, now_ms, pid};
use crate::nginx::zone;

/// Entries each worker keeps, where `phantom_token_worker_cache` does not say.
const WORKER_CACHE: usize = 1024;
/// Bytes those entries may take together.
const WORKER_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of JWT, scope and claims that can be copied from the zone before the record must grow.
const RECORD_ROOM: usize = 4096;

/// A worker's share of the state zone, and its own cache.
pub(crate) struct Worker {
    pub(crate) state: State,
    /// What was purged; `None` where nobody can purge.
    pub(crate) purges: Option<Purges>,
    /// This worker's slot in the state zone; `None` where all are taken: such a worker counts
    /// nothing in gauges and shares no calls with others.
    pub(crate) slot: Option<u8>,
    pub(crate) local: Local,
    /// Where the zone's answers are copied to.
    pub(crate) record: Record,
    /// The key of all hashes, of tokens, identities and what answers name, and what tells this
    /// configuration's entries from those of others in the same zones.
    pub(crate) hashing: Hashing,
    /// The keys under which workers that still run may hash, this one's first: what is purged is so
    /// under each of them.
    pub(crate) known_keys: Rc<[HashKey]>,
    /// Of variables that are asked for too early.
    pub(crate) early: Questions,
}

/// Until when purges are known to whoever looks for an answer, or asks for one.
#[derive(Clone, Copy)]
pub(crate) struct AsOf {
    /// What of the token itself was purged or called inactive.
    pub(crate) generation: Generation,
    /// The moment in the order of all purges.
    pub(crate) asked: Moment,
}

impl Worker {
    /// Takes up a worker's work. `None` where the module is unused.
    pub(crate) fn new(conf: &MainConf) -> Option<Self> {
        let state = conf.cache.state.as_ref().and_then(|zone| zone.view())?;
        let purges = conf.cache.purges.as_ref().and_then(|zone| zone.view());
        // What another zone of purges has seen is not to be found, nor what is of another fleet.
        let made = purges.map_or(0, |purges| purges.made());
        let tag = hash_of(&[&conf.hash_tag().to_le_bytes(), &made.to_le_bytes()]);
        // Workers of another configuration may go by any of them.
        let of_process = HashKey(zone::worker_key());
        let known_keys: Rc<[_]> = conf.fleet_keys.hash_keys().chain([of_process]).collect();
        Some(Self {
            state,
            purges,
            slot: state.slots().claim(here()),
            local: Local::new(conf.cache.worker_cache.or(WORKER_CACHE), WORKER_CACHE_BYTES),
            record: Record::with_room(RECORD_ROOM),
            hashing: Hashing { key: known_keys[0], era: state.era(tag) },
            known_keys,
            early: Questions::default(),
        })
    }

    /// What is known of purges now, as a look for a token begins.
    #[inline]
    pub(crate) fn as_of(&self, token: &TokenHash) -> AsOf {
        AsOf { asked: self.moment(), generation: self.state.generation(token) }
    }

    /// The latest moment in the order of purges.
    #[inline]
    pub(crate) fn moment(&self) -> Moment {
        self.purges.map_or(Moment::NEVER, |purges| purges.now())
    }

    /// Whether a line about `what` is due: once a minute, by all workers together.
    pub(crate) fn is_due(&self, notice: Notice, what: &str) -> bool {
        self.state.once(notice, hash_of(&[what.as_bytes()]), now_ms(), Some(60_000))
    }

    /// Gives up the slot: the process ends.
    pub(crate) fn end(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.state.slots().release(slot, pid());
        }
    }
}
