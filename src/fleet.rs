//! What a worker does for the fleet's store besides asking it: one worker hears what others purge, and
//! each closes its idle connections.
//!
//! All of it is looked at by one timer. The thread that hears touches what is shared by atomics alone,
//! and hands over what an operator is to know.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use phantom_token_engine::shared::health::Limits;
use phantom_token_engine::shared::purges::{Moment, Purges};
use phantom_token_engine::store::hear::{Clock, HearOptions};
use phantom_token_engine::store::{Counting, Epoch, InSync, Node, Store, peer};

use crate::conf::MainConf;
use crate::nginx::sys::*;
use crate::nginx::timer::Timer;
use crate::worker::Worker;

mod offline;
mod thread;
mod tidings;

use thread::{Hearing, Told};

/// Between two looks, in milliseconds: whether anybody hears, and what was heard.
const LOOK_MS: u64 = 250;

/// For how long what is left in the store may be held for a look-up to take it along, in milliseconds.
const HELD_MS: u64 = 2;

/// Between two looks at idle connections, in looks.
const IDLE_LOOKS: u32 = 20;

/// The store, as a worker looks after it.
pub(crate) struct Fleet {
    timer: Timer,
    /// For what is held.
    held: Timer,
    heard: Option<Heard>,
    hearing: Option<Hearing>,
    looks: u32,
}

/// The store, for questions about tokens.
pub(crate) struct Asked<'a> {
    pub(crate) store: &'a Arc<Store>,
    /// When it rests.
    pub(crate) limits: &'a Limits,
    /// Its server: what the log calls it, and how it is reached.
    pub(crate) node: &'a Arc<Node>,
}

/// The store that is heard.
struct Heard {
    node: Arc<Node>,
    store: Arc<Store>,
    purges: Purges,
    limits: Limits,
    /// Tells the store, the prefix, the key and the zone of purges from others.
    tag: u64,
    /// What is asked of which servers.
    configuration: [u8; 32],
}

impl Fleet {
    /// Of the configuration's store, where there is one. `look` and `tell` are run by its timers, and call
    /// [`Fleet::look`] and [`Fleet::tell_held`].
    pub(crate) fn new(conf: &MainConf, worker: &Worker, look: fn(), tell: fn()) -> Self {
        let heard = Heard::of(conf, worker);
        let timer = Timer::new("looking after the store", look);
        let held = Timer::new("telling the store", tell);
        if let Some(heard) = &heard {
            heard.count(&heard.node, worker);
            timer.set_cancelable(1);
        }
        Self { timer, held, heard, hearing: None, looks: 0 }
    }

    /// Takes what was heard, and begins to hear where nobody does.
    pub(crate) fn look(&mut self, worker: &Worker) {
        let Some(heard) = &self.heard else { return };
        if let Some(hearing) = &self.hearing {
            // First, or what it told just before would be lost.
            let has_ended = hearing.has_ended();
            for tiding in hearing.tidings() {
                tidings::say(worker, &heard.node, tiding);
            }
            if has_ended {
                self.hearing = None;
            }
        }
        if exiting() {
            // A worker that stays hears from now on.
            return self.give_up(worker);
        }
        let within = HearOptions::within_ms(heard.store.timeout());
        if self.hearing.is_none()
            && let Some(lease) = worker.state.hearing().take(within, here())
        {
            match thread::begin(heard.options(worker), lease, Clock::at(now_ms())) {
                Ok(hearing) => self.hearing = Some(hearing),
                Err(failure) => {
                    let no_thread = Told::NoThread(failure);
                    tidings::say(worker, &heard.node, no_thread);
                    self.give_up(worker);
                }
            }
        }
        self.look_after_held();
        self.looks += 1;
        if self.looks.is_multiple_of(IDLE_LOOKS) {
            heard.node.close_ended(Instant::now());
        }
        self.timer.set_cancelable(LOOK_MS);
    }

    /// Sees to it that what is held for a look-up is told, should none come.
    pub(crate) fn look_after_held(&self) {
        if self.heard.as_ref().is_some_and(|heard| heard.node.holds()) {
            self.held.set_cancelable(HELD_MS);
        }
    }

    /// Tells what no look-up has taken along.
    pub(crate) fn tell_held(&self) {
        if let Some(heard) = &self.heard {
            heard.node.tell_held(false);
        }
        self.look_after_held();
    }

    /// The store, for questions about tokens.
    pub(crate) fn asked(&self) -> Option<Asked<'_>> {
        let Heard { node, store, limits, .. } = self.heard.as_ref()?;
        Some(Asked { store, limits, node })
    }

    /// What was heard of the store, where it may be asked now: it does not rest, and all purges are known
    /// but those of the last moment.
    pub(crate) fn in_sync(&self, worker: &Worker, now_ms: u64) -> Option<InSync> {
        let (health, hearing) = (worker.state.store(), worker.state.hearing());
        // A gap that comes later is not accounted for in what is read next.
        let known = worker.purges.map_or(Moment::NEVER, |purges| purges.now());
        let heard = self.heard.as_ref()?;
        if health.is_resting() || !health.is_in_sync(now_ms) || hearing.is_away(now_ms) {
            return None;
        }
        let at = hearing.heard().filter(|at| at.store == heard.tag)?;
        Some(InSync { epoch: Epoch(at.epoch), since_ms: at.since_ms, known })
    }

    /// Closes all idle connections: the worker ends.
    pub(crate) fn close_all(&self) {
        if let Some(heard) = &self.heard {
            heard.node.tell_held(true);
            heard.node.close_all();
        }
    }

    /// Lets another worker hear from now on.
    pub(crate) fn give_up(&self, worker: &Worker) {
        if self.heard.is_some() {
            worker.state.hearing().give_up(pid());
        }
    }
}

impl Heard {
    fn of(conf: &MainConf, worker: &Worker) -> Option<Self> {
        /// Unlike all kinds of names that are hashed besides.
        const KIND: u64 = u64::MAX - 1;
        let made = conf.store.made.as_ref()?;
        let (node, store) = (made.node.clone(), made.asked().clone());
        let place = format!("{} {} ", node.label(), node.database());
        let (purges, limits) = (worker.purges?, made.limits);
        // A zone of purges that was made anew knows nothing of what was heard before.
        let known_since = purges.made().to_be_bytes();
        let what = [&known_since, place.as_bytes(), store.names().stream()].concat();
        let tag = store.keys().first().hash_key().name(KIND, &what).get();
        let configuration = peer::configuration(made.identities.iter().copied());
        Some(Self { node, store, purges, limits, tag, configuration })
    }

    fn count(&self, node: &Node, worker: &Worker) {
        if let Some(slot) = worker.slot {
            let connections = worker.state.slots().store_connections(slot);
            node.count_in(Counting { shard: worker.state.shard(slot), connections });
        }
    }

    /// What the thread needs.
    fn options(&self, worker: &Worker) -> HearOptions {
        // For as long as it likes: beside the connections for questions about tokens.
        let node = self.node.for_hearing();
        self.count(&node, worker);
        HearOptions {
            nodes: Arc::new(node),
            keys: self.store.keys().clone(),
            names: self.store.names().clone(),
            store: self.tag,
            timeout: self.store.timeout(),
            limits: self.limits,
            state: worker.state,
            purges: self.purges,
            shard: worker.state.shard(worker.slot.unwrap_or(pid() as u8)),
            configuration: self.configuration,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}
