//! A gateway: what it keeps, what it has heard, and how it serves a request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::events::{Mutant, Setting};
use super::numbers::{NAMES, TOKENS, VALID_MS};
use crate::answer::subjects::Subjects;
use crate::shared::health::Limits;
use crate::shared::purges::testing::{block, purges_again};
use crate::shared::purges::{DOUBTED_MS, Moment, Purges, Standing};
use crate::shared::store::StoreHealth;
use crate::store::event::GatewayId;
use crate::store::keys::FleetKeys;
use crate::store::purge::{Purge, Target};
use crate::store::question::InSync;
use crate::store::sync::{Listener, Position};
use crate::store::{Names, Nodes, Pipeline, Reply, Store, StoreError, StoreOptions};
use crate::token::key::HashKey;

pub(super) const GATEWAYS: usize = 4;

/// As `server` in `phantom_token_store` has them where it says nothing.
const LIMITS: Limits = Limits { max_fails: 3, fail_timeout_ms: 1_000 };

/// An answer.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) version: u64,
    /// The moment that it is as of.
    pub(super) asked: Moment,
    /// When the server was asked, by the clock of who asked.
    pub(super) asked_ms: u64,
}

/// A request that waits for an answer.
#[derive(Clone, Copy)]
pub(super) struct Waiter {
    pub(super) began: u64,
    pub(super) asked: Moment,
    /// When the gateway had heard the store last.
    pub(super) heard_at: u64,
}

pub(super) struct Gateway {
    /// Counts those in this place.
    pub(super) age: u64,
    /// The thread that hears.
    pub(super) thread: u64,
    pub(super) purges: Purges,
    pub(super) flights: HashMap<usize, u64>,
    pub(super) health: StoreHealth,
    /// It is cut off from the store.
    pub(super) is_cut: bool,
    kept: HashMap<usize, Answer>,
    pub(super) store: &'static Arc<Store>,
    outbox: Arc<Outbox>,
    pub(super) listener: Listener,
    pub(super) position: Option<Position>,
    pub(super) id: GatewayId,
    told: u64,
    acknowledged: u64,
    /// When the last gap was.
    pub(super) gap: Option<u64>,
    skew: i64,
}

/// What is told without waiting for replies.
#[derive(Default)]
struct Outbox(Mutex<Vec<Pipeline>>);

impl Nodes for Outbox {
    fn ask(&self, _: &Pipeline, _: Instant) -> Result<Vec<Reply>, StoreError> {
        unreachable!("the model asks for itself")
    }

    fn tell(&self, commands: Pipeline) -> Result<(), StoreError> {
        self.0.lock().push(commands);
        Ok(())
    }
}

/// Memory for purges, a store, and what is told to it.
type Room = (NonNull<u8>, &'static Arc<Store>, Arc<Outbox>);

thread_local! {
    /// Memory and stores are used again by later runs.
    static ROOMS: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

fn room(slot: usize) -> Room {
    ROOMS.with_borrow_mut(|rooms| {
        while rooms.len() <= slot {
            let outbox = Arc::new(Outbox::default());
            let store = Store::new(StoreOptions {
                nodes: outbox.clone(),
                keys: Arc::new(FleetKeys::new(&[&[1; 32]]).expect("a key")),
                names: names(),
                timeout: Duration::from_millis(100),
                lock_timeout: Duration::from_millis(500),
                longest: Duration::from_millis(VALID_MS),
            });
            rooms.push((block(), Box::leak(Box::new(Arc::new(store))), outbox));
        }
        rooms[slot].clone()
    })
}

/// What makes a gateway another one than that before it.
pub(super) struct New {
    pub(super) age: u64,
    /// How far its clock is ahead.
    pub(super) skew: i64,
    pub(super) number: u64,
    pub(super) thread: u64,
    /// Where it begins to hear; `None`: where all do.
    pub(super) known: Option<Position>,
}

/// What all stores' keys are called.
pub(super) fn names() -> Names {
    Names::new("pt").expect("a prefix")
}

impl Gateway {
    pub(super) fn new(slot: usize, now: u64, new: New) -> Gateway {
        let New { age, skew, number, thread, known } = new;
        let (block, store, outbox) = room(slot);
        outbox.0.lock().clear();
        let id = GatewayId((number << 8 | slot as u64).to_be_bytes());
        let listener = Listener::new(store.keys().clone(), store.names().clone(), id, known);
        Gateway {
            age,
            thread,
            purges: purges_again(block, now.saturating_add_signed(skew)),
            flights: HashMap::new(),
            health: StoreHealth::new(),
            is_cut: false,
            kept: HashMap::new(),
            store,
            outbox,
            listener,
            position: known,
            id,
            told: 0,
            acknowledged: 0,
            gap: None,
            skew,
        }
    }

    pub(super) fn wall(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew)
    }

    pub(super) fn hash_key(&self) -> &HashKey {
        self.store.keys().first().hash_key()
    }

    pub(super) fn said(&self) -> Vec<Pipeline> {
        std::mem::take(&mut *self.outbox.0.lock())
    }

    /// A question came to this. Whoever hears the store ends its rests.
    pub(super) fn asked(&self, is_ok: bool, now: u64) {
        if !is_ok {
            self.health.failed(&LIMITS, now);
        } else if !self.health.is_resting() {
            self.health.answered();
        }
    }

    /// When it has heard the store last; 0: never.
    pub(super) fn heard_at(&self) -> u64 {
        self.health.last_heard().unwrap_or(0)
    }

    pub(super) fn tells(&mut self, target: Target<'static>) -> (Purge<'static>, u64) {
        self.told += 1;
        let epoch = self.position.map(|position| position.epoch);
        let (id, told, acknowledged) = (self.id, self.told, self.acknowledged);
        (Purge::new(self.store, target, epoch, id, told, acknowledged), told)
    }

    pub(super) fn acknowledged(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number);
    }

    pub(super) fn in_sync(&self, now: u64) -> Option<InSync> {
        let Position { epoch, since_ms, .. } = self.position?;
        let hears = self.health.is_in_sync(now) && !self.health.is_resting();
        hears.then_some(InSync { epoch, since_ms, known: self.purges.now() })
    }

    /// Keeps an answer, unless it was purged since it was asked for; whether it was not.
    pub(super) fn keeps(
        &mut self,
        setting: Setting,
        now: u64,
        token: usize,
        subjects: &Subjects,
        mut answer: Answer,
    ) -> bool {
        if setting.mutant == Some(Mutant::NoMoments) {
            answer.asked = self.purges.now();
        }
        let hash = self.hash_key().token(NAMES[token]);
        let is_good = self.purges.standing(&hash, subjects, answer.asked).serves(now);
        let is_fresh = self.wall(now) < answer.asked_ms + VALID_MS;
        if is_good && is_fresh {
            self.kept.insert(token, answer);
        }
        is_good
    }

    /// An answer that serves.
    pub(super) fn own(&self, now: u64, token: usize, subjects: &Subjects) -> Option<Answer> {
        let answer = *self.kept.get(&token)?;
        let hash = self.hash_key().token(NAMES[token]);
        let standing = self.purges.standing(&hash, subjects, answer.asked);
        let is_fresh = self.wall(now) < answer.asked_ms + VALID_MS;
        // Each is asked for anew in its time.
        let share = (token as u64 + 1) * DOUBTED_MS / TOKENS as u64;
        let is_renewed =
            matches!(standing, Standing::Doubted { since_ms } if now >= since_ms + share);
        (standing.serves(now) && is_fresh && !is_renewed).then_some(answer)
    }

    /// Whether it renews answers after a gap yet.
    pub(super) fn renews(&self, began: u64) -> bool {
        self.gap.is_some_and(|at| began < at + DOUBTED_MS)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("age", &self.age)
            .field("gap", &self.gap)
            .field("position", &self.position)
            .field("skew", &self.skew)
            .finish_non_exhaustive()
    }
}
