//! A gateway: what it keeps, what it has heard, and how it serves a request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::run::{Event, Mutant, Policy, Setting};
use super::world::{NAMES, World};
use super::{TOKENS, VALID_MS};
use crate::answer::subjects::Subjects;
use crate::shared::health::Limits;
use crate::shared::purges::testing::{block, purges_again};
use crate::shared::purges::{DOUBTED_MS, Moment, Purged, Purges, Standing};
use crate::shared::store::StoreHealth;
use crate::store::event::GatewayId;
use crate::store::keys::FleetKeys;
use crate::store::purge::{Purge, Target};
use crate::store::question::{InSync, Question, SignedBy};
use crate::store::sync::{Ask, Heard, Listener, Position};
use crate::store::{
    Epoch, Identity, Names, Nodes, Pipeline, Reply, Store, StoreError, StoreOptions,
};
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
    health: StoreHealth,
    /// It is cut off from the store.
    pub(super) is_cut: bool,
    kept: HashMap<usize, Answer>,
    store: &'static Arc<Store>,
    outbox: Arc<Outbox>,
    listener: Listener,
    position: Option<Position>,
    id: GatewayId,
    told: u64,
    acknowledged: u64,
    /// When the last gap was.
    gap: Option<u64>,
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
                names: Names::new("pt").expect("a prefix"),
                timeout: Duration::from_millis(100),
                lock_timeout: Duration::from_millis(500),
                longest: Duration::from_millis(VALID_MS),
            });
            rooms.push((block(), Box::leak(Box::new(Arc::new(store))), outbox));
        }
        rooms[slot].clone()
    })
}

impl Gateway {
    pub(super) fn new(world: &mut World, slot: usize, before: Option<u64>) -> Gateway {
        let (block, store, outbox) = room(slot);
        outbox.0.lock().clear();
        // Clocks differ by less than the margin.
        let skew = world.dice.range(0, 1_800) as i64 - 900;
        let wall = world.now.saturating_add_signed(skew);
        let id = GatewayId((world.number() << 8 | slot as u64).to_be_bytes());
        let known = match world.setting.mutant {
            Some(Mutant::BeginsAtTheEnd) => end_of_stream(world, store.names()),
            _ => None,
        };
        let listener = Listener::new(store.keys().clone(), store.names().clone(), id, known);
        world.numbers.gateways += 1;
        Gateway {
            age: before.map_or(0, |age| age + 1),
            thread: world.number(),
            purges: purges_again(block, wall),
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

    fn in_sync(&self, now: u64) -> Option<InSync> {
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
    fn own(&self, now: u64, token: usize, subjects: &Subjects) -> Option<Answer> {
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

/// Where the stream ends now.
fn end_of_stream(world: &World, names: &Names) -> Option<Position> {
    let contents = world.memory.0.lock();
    let epoch = contents.get(names.epoch()).and_then(Epoch::read)?;
    let last = contents.last_id(names.stream())?;
    Some(Position { epoch, last, since_ms: 0 })
}

impl World {
    pub(super) fn begins(&mut self, slot: usize) {
        let Gateway { age, thread, .. } = self.gateways[slot];
        self.queue.at(self.now, Event::Listens(slot, thread));
        let life = self.dice.range(4_000, 13_000);
        self.queue.at(self.now + life, Event::Ends(slot, age));
        let over = self.dice.range(3_000, 10_000);
        self.queue.at(self.now + over, Event::TakesOver(slot, age));
    }

    pub(super) fn restarts(&mut self, slot: usize, age: u64) {
        if self.gateways[slot].age != age {
            return;
        }
        // What flies is nobody's any more.
        let mut gone: Vec<_> =
            self.flights.iter().filter(|(_, flight)| flight.slot == slot).collect();
        gone.sort_by_key(|(id, _)| **id);
        let gone: Vec<_> = gone.into_iter().map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(mut flight) = self.flights.remove(&id) {
                std::mem::forget(flight.lead.take());
            }
        }
        self.gateways[slot] = Gateway::new(self, slot, Some(age));
        self.begins(slot);
    }

    /// Another thread goes on from the position that was kept.
    pub(super) fn takes_over(&mut self, slot: usize, age: u64) {
        let thread = self.number();
        let gateway = &mut self.gateways[slot];
        if gateway.age != age {
            return;
        }
        let (keys, names) = (gateway.store.keys().clone(), gateway.store.names().clone());
        gateway.listener = Listener::new(keys, names, gateway.id, gateway.position);
        gateway.thread = thread;
        self.queue.at(self.now, Event::Listens(slot, thread));
    }

    pub(super) fn listens(&mut self, slot: usize, thread: u64) {
        let gateway = &mut self.gateways[slot];
        if gateway.thread != thread {
            return;
        }
        let wall = gateway.wall(self.now);
        let Ask { commands, blocks, .. } = gateway.listener.question(wall).expect("random bytes");
        self.listener_asks(slot, commands, blocks.as_millis() as u64);
    }

    pub(super) fn hears(&mut self, slot: usize, replies: Result<Vec<Reply>, StoreError>) {
        let (now, setting) = (self.now, self.setting);
        let gateway = &mut self.gateways[slot];
        let thread = gateway.thread;
        let Ok(replies) = replies else {
            return self.queue.at(now + 200, Event::Listens(slot, thread));
        };
        let wall = gateway.wall(now);
        let mut heard = gateway.listener.answer(&replies, wall);
        if setting.mutant == Some(Mutant::NoGaps) {
            heard.doubt = false;
            if let (Some(new), Some(old)) = (&mut heard.position, gateway.position) {
                new.since_ms = old.since_ms;
            }
            heard.position = heard.position.or(gateway.position);
        }
        let Heard { purges, gap, doubt, position, in_sync, .. } = heard;
        for purge in purges.iter().filter(|purge| !purge.own) {
            gateway.purges.purge(purge.what, purge.at_ms);
        }
        self.numbers.gaps += u64::from(gap.is_some());
        if doubt {
            gateway.gap = Some(now);
            match setting.policy {
                Policy::Forget => gateway.purges.purge(Purged::All, wall),
                Policy::Renew => gateway.purges.gap(wall, now),
            }
        }
        // Where it was stays known until it has begun anew: another thread finds the gap, too.
        gateway.position = position.or(gateway.position);
        if in_sync {
            gateway.health.heard(now);
        }
        gateway.health.set_in_sync(in_sync);
        gateway.health.answered();
        let pause = gateway.listener.question(wall).map_or(0, |ask| ask.pause.as_millis() as u64);
        self.queue.at(now + pause, Event::Listens(slot, thread));
    }

    pub(super) fn request(&mut self) {
        let next = self.dice.range(0, 6);
        self.queue.at(self.now + next, Event::Request);
        let slot = self.dice.range(0, self.gateways.len() as u64 - 1) as usize;
        let token = self.dice.range(0, TOKENS as u64 - 1) as usize;
        let subjects = self.subjects(token);
        let now = self.now;
        let gateway = &self.gateways[slot];
        let (asked, heard_at) = (gateway.purges.now(), gateway.heard_at());
        let waiter = Waiter { began: now, asked, heard_at };
        let own = gateway.own(now, token, &subjects);
        let kind = self.dice.range(0, 99);
        if let (Some(answer), 2..) = (own, kind) {
            self.numbers.own += 1;
            self.served(slot, token, waiter, answer.version);
            if kind == 2 {
                // In the last part of its life it is refreshed.
                self.looks(slot, token, Vec::new(), 0, Some(answer.asked_ms), false);
            }
            return;
        }
        if kind < 2 {
            self.looks(slot, token, vec![waiter], 0, None, true);
            return;
        }
        self.asks(slot, token, vec![waiter], 0);
    }

    /// Joins a call, or begins one.
    pub(super) fn asks(&mut self, slot: usize, token: usize, waiters: Vec<Waiter>, tries: u8) {
        let gateway = &self.gateways[slot];
        let purged = gateway.purges.purged(&gateway.hash_key().token(NAMES[token]));
        if let Some(flying) = gateway.flights.get(&token)
            && let Some(flight) = self.flights.get_mut(flying)
            && flight.asked >= purged
        {
            flight.waiters.extend(waiters);
            return;
        }
        let flying = self.looks(slot, token, waiters, tries, None, false);
        if self.flights.contains_key(&flying) {
            self.gateways[slot].flights.insert(token, flying);
        }
    }

    fn looks(
        &mut self,
        slot: usize,
        token: usize,
        mut waiters: Vec<Waiter>,
        tries: u8,
        newer_than: Option<u64>,
        bypass: bool,
    ) -> u64 {
        let now = self.now;
        let gateway = &self.gateways[slot];
        let asked = gateway.purges.now();
        for waiter in &mut waiters {
            // Whoever asks anew has come before this.
            waiter.asked = asked;
        }
        let without = self.setting.mutant == Some(Mutant::NoNonceNorTimes);
        let in_sync = gateway.in_sync(now).map(|in_sync| match without {
            true => InSync { since_ms: 0, ..in_sync },
            false => in_sync,
        });
        let question = Question {
            store: gateway.store.clone(),
            token: NAMES[token].to_vec().into(),
            hash: gateway.hash_key().token(NAMES[token]),
            identity: Identity::of([&b"as"[..]]),
            in_sync,
            purges: Some(gateway.purges).filter(|_| !without),
            valid_ms: VALID_MS,
            inactive_ms: 0,
            signed_by: SignedBy::Server,
            bypass,
            newer_than,
            usual: Some(Duration::from_millis(16)),
            call: Duration::from_secs(6),
        };
        let flight = self.new_flight(slot, token, waiters, tries, question, asked);
        self.flies(flight)
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
