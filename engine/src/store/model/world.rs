//! What there is besides gateways: the store and the way to it, the authorization server, operators.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::events::{Accidents, Dice, Event, Mutant, Policy, Queue, Setting, Weather};
use super::gateway::{Answer, GATEWAYS, Gateway, Waiter};
use super::numbers::{NAMES, Numbers, SUBS, TOKENS, USERS};
use crate::answer::grant::Grant;
use crate::answer::subjects::{Subject, Subjects};
use crate::client::Phase;
use crate::shared::purges::{Moment, Purged};
use crate::store::look::{Looked, Looking, Step};
use crate::store::memory::Memory;
use crate::store::purge::{Purge, Target, Told};
use crate::store::question::Question;
use crate::store::{Leased, Pipeline, Reply, StoreError, Stored};

/// When a run begins, in milliseconds since the Unix epoch.
pub(super) const BEGINNING: u64 = 1_700_000_000_000;

/// How long a question to the store may take.
const TIMEOUT_MS: u64 = 100;

/// A request may ask so often for what was purged on the way.
const TRIES: u8 = 3;

/// Within this, a purge that was acknowledged holds at each gateway that hears the store.
const PROMPT_MS: u64 = 1_000;

/// A question on its way to the store, or its replies on their way back.
struct Trip {
    slot: usize,
    age: u64,
    whose: Whose,
    question: Pipeline,
    blocks: u64,
    arrived: bool,
    replies: Option<Vec<Reply>>,
}

#[derive(Clone, Copy)]
enum Whose {
    Flight(u64),
    Listener,
    Purge(u64),
}

/// One call, or look-up, for a token at a gateway.
pub(super) struct Flight {
    pub(super) slot: usize,
    pub(super) age: u64,
    pub(super) token: usize,
    pub(super) began: u64,
    /// The moment at which it began.
    pub(super) asked: Moment,
    pub(super) question: Question,
    pub(super) looking: Option<Looking>,
    pub(super) lead: Option<Leased>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) tries: u8,
    /// When the server was asked, by the gateway's clock, and what it has decided.
    called_ms: u64,
    decided: Option<u64>,
}

/// A purge on its way.
struct Purging {
    purge: Purge<'static>,
    slot: usize,
    number: u64,
    /// From which version on each of these tokens is good.
    versions: Vec<(usize, u64)>,
}

/// What was acknowledged about a token: when, and from which version on it is good.
type Acknowledged = Vec<(u64, u64)>;

pub(super) struct World {
    pub(super) now: u64,
    pub(super) setting: Setting,
    pub(super) queue: Queue,
    pub(super) dice: Dice,
    pub(super) memory: Memory,
    pub(super) numbers: Numbers,
    pub(super) gateways: Vec<Gateway>,
    pub(super) accidents: Accidents,
    pub(super) flights: HashMap<u64, Flight>,
    /// What the server says of each token now.
    versions: [u64; TOKENS],
    acknowledged: [Acknowledged; TOKENS],
    trips: HashMap<u64, Trip>,
    /// Of which trips the store waits for an event.
    waiting: Vec<u64>,
    /// What the store has not read yet: it stands still.
    pub(super) unread: Vec<(Pipeline, Option<u64>)>,
    told: HashMap<u64, (usize, Pipeline)>,
    purging: HashMap<u64, Purging>,
    serial: u64,
}

impl World {
    pub(super) fn new(setting: Setting, dice: Dice) -> World {
        let memory = Memory::default();
        let mut world = World {
            now: BEGINNING,
            setting,
            queue: Queue::default(),
            dice,
            memory,
            numbers: Numbers::default(),
            gateways: Vec::new(),
            accidents: Accidents::default(),
            flights: HashMap::new(),
            versions: [1; TOKENS],
            acknowledged: Default::default(),
            trips: HashMap::new(),
            waiting: Vec::new(),
            unread: Vec::new(),
            told: HashMap::new(),
            purging: HashMap::new(),
            serial: 0,
        };
        world.at(BEGINNING);
        for slot in 0..GATEWAYS {
            let gateway = world.gateway(slot, None);
            world.gateways.push(gateway);
            world.begins(slot);
        }
        world.queue.at(BEGINNING, Event::Request);
        world.queue.at(BEGINNING + 700, Event::Purges);
        world.queue.at(BEGINNING + 1_500, Event::Accident);
        world
    }

    pub(super) fn at(&mut self, time: u64) {
        self.now = time;
        self.memory.at(time);
    }

    pub(super) fn ends(self) -> Numbers {
        self.numbers
    }

    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn happens(&mut self, event: Event) {
        match event {
            Event::Request => self.request(),
            Event::Arrives(trip) => self.arrives(trip),
            Event::Answered(trip) => self.answered(trip),
            Event::TimesOut(trip) => self.lost(trip, StoreError::Timeout(Phase::Wait)),
            Event::Told(told) => self.told(told),
            Event::Begins(flight) => self.begins_to_look(flight),
            Event::Wakes(flight) => self.wakes(flight),
            Event::Decides(flight) => {
                if let Some(flight) = self.flights.get_mut(&flight) {
                    flight.decided = Some(self.versions[flight.token]);
                }
            }
            Event::Decided(flight) => self.decided(flight),
            Event::Listens(slot, age) => self.listens(slot, age),
            Event::Purges => self.purges(),
            Event::Ends(slot, age) => self.restarts(slot, age),
            Event::TakesOver(slot, age) => self.takes_over(slot, age),
            Event::Accident => self.accident(),
            Event::Over(accident) => self.over(accident),
        }
    }

    // ---- the way to the store

    fn sends(&mut self, slot: usize, whose: Whose, question: Pipeline, blocks: u64) {
        let id = self.number();
        let gateway = &self.gateways[slot];
        let age = if let Whose::Listener = whose { gateway.thread } else { gateway.age };
        let trip = Trip { slot, age, whose, question, blocks, arrived: false, replies: None };
        self.trips.insert(id, trip);
        let way = self.dice.range(0, 2);
        self.queue.at(self.now + way, Event::Arrives(id));
        self.queue.at(self.now + blocks + TIMEOUT_MS, Event::TimesOut(id));
    }

    fn arrives(&mut self, id: u64) {
        let Some(trip) = self.trips.get_mut(&id) else { return };
        if self.gateways[trip.slot].is_cut {
            return;
        }
        if self.accidents.is_gone {
            return self.lost(id, StoreError::Closed);
        }
        trip.arrived = true;
        if self.accidents.stands_still {
            let question = trip.question.clone();
            return self.unread.push((question, Some(id)));
        }
        let question = trip.question.clone();
        self.runs(&question, Some(id));
    }

    /// The store does what it is told, and whoever waits for an event is answered.
    pub(super) fn runs(&mut self, question: &Pipeline, of: Option<u64>) {
        let replies = self.memory.0.lock().run(question);
        if let Some((id, trip)) = of.and_then(|id| Some((id, self.trips.get_mut(&id)?))) {
            let waits = trip.blocks > 0 && replies.last() == Some(&Reply::Nil);
            let until = if waits { trip.blocks } else { 0 };
            trip.replies = Some(replies);
            if waits {
                self.waiting.push(id);
            }
            let way = self.dice.range(0, 2);
            self.queue.at(self.now + until + way, Event::Answered(id));
        }
        for id in std::mem::take(&mut self.waiting) {
            let Some(trip) = self.trips.get_mut(&id) else { continue };
            let reply = self.memory.0.lock().last(&trip.question);
            if reply == Some(Reply::Nil) {
                self.waiting.push(id);
                continue;
            }
            if let (Some(replies), Some(reply)) = (&mut trip.replies, reply)
                && let Some(last) = replies.last_mut()
            {
                *last = reply;
            }
            let way = self.dice.range(0, 2);
            self.queue.at(self.now + way, Event::Answered(id));
        }
    }

    fn answered(&mut self, id: u64) {
        if self.trips.get(&id).is_none_or(|trip| self.gateways[trip.slot].is_cut) {
            return;
        }
        if self.accidents.stands_still {
            // It comes when it goes on; or never, for whoever has no more time.
            return self.queue.at(self.now + 5, Event::Answered(id));
        }
        let Some(Trip { slot, age, whose, replies: Some(replies), .. }) = self.trips.remove(&id)
        else {
            return;
        };
        self.waiting.retain(|waiting| *waiting != id);
        self.comes(slot, age, whose, Ok(replies));
    }

    fn lost(&mut self, id: u64, error: StoreError) {
        let Some(Trip { slot, age, whose, .. }) = self.trips.remove(&id) else { return };
        self.waiting.retain(|waiting| *waiting != id);
        self.comes(slot, age, whose, Err(error));
    }

    /// Some of the connections end, with what is on the way in both directions.
    pub(super) fn drops_connections(&mut self, percent: u64) {
        let mut ids: Vec<_> = self.trips.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if self.dice.chance(percent) {
                self.unread.retain(|(_, of)| *of != Some(id));
                self.lost(id, StoreError::Closed);
            }
        }
    }

    fn comes(
        &mut self,
        slot: usize,
        age: u64,
        whose: Whose,
        replies: Result<Vec<Reply>, StoreError>,
    ) {
        let gateway = &self.gateways[slot];
        if age != if let Whose::Listener = whose { gateway.thread } else { gateway.age } {
            return;
        }
        match whose {
            Whose::Listener => self.hears(slot, replies),
            Whose::Purge(id) => self.purge_answered(id, replies),
            Whose::Flight(id) => {
                self.gateways[slot].asked(replies.is_ok(), self.now);
                let Some(flight) = self.flights.get_mut(&id) else { return };
                let Some(mut looking) = flight.looking.take() else { return };
                let elapsed = Duration::from_millis(self.now - flight.began);
                let wall = self.gateways[slot].wall(self.now);
                let step = looking.replies(&flight.question, replies, elapsed, wall);
                flight.looking = Some(looking);
                self.steps(id, step);
            }
        }
    }

    pub(super) fn listener_asks(&mut self, slot: usize, commands: Pipeline, blocks: u64) {
        self.sends(slot, Whose::Listener, commands, blocks);
    }

    /// What gateways say without waiting for replies is on its way.
    pub(super) fn says(&mut self, slot: usize) {
        for pipeline in self.gateways[slot].said() {
            let id = self.number();
            self.told.insert(id, (slot, pipeline));
            let late = self.dice.chance(10);
            let way = if late { self.dice.range(10, 5_000) } else { self.dice.range(0, 3) };
            self.queue.at(self.now + way, Event::Told(id));
        }
    }

    fn told(&mut self, id: u64) {
        let Some((slot, pipeline)) = self.told.remove(&id) else { return };
        if self.gateways[slot].is_cut || self.accidents.is_gone {
            return;
        }
        match self.accidents.stands_still {
            true => self.unread.push((pipeline, None)),
            false => self.runs(&pipeline, None),
        }
    }

    // ---- flights

    pub(super) fn flies(&mut self, flight: Flight) -> u64 {
        let id = self.number();
        self.flights.insert(id, flight);
        // Now and then a pool of threads is busy.
        let queued = if self.dice.chance(10) { self.dice.range(1, 400) } else { 0 };
        self.queue.at(self.now + queued, Event::Begins(id));
        id
    }

    fn begins_to_look(&mut self, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let wall = self.gateways[flight.slot].wall(self.now);
        let left = Duration::from_secs(6);
        let (looking, step) = Looking::begin(&flight.question, left, wall);
        flight.looking = Some(looking);
        self.steps(id, step);
    }

    fn steps(&mut self, id: u64, step: Step) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let slot = flight.slot;
        match step {
            Step::Ask(question) => self.sends(slot, Whose::Flight(id), question, 0),
            Step::Sleep(time) => {
                self.queue.at(self.now + time.as_millis().max(1) as u64, Event::Wakes(id));
            }
            Step::Done(Looked::Found(found), _) => {
                let crate::store::Found { stored, asked } = found;
                let version = version(&stored.grant.jwt);
                let answer = Answer { version, asked, asked_ms: stored.asked_ms };
                self.numbers.store += flight.waiters.len() as u64;
                self.lands(id, Some(answer));
            }
            Step::Done(Looked::Inactive, _) => self.lands(id, None),
            Step::Done(looked, _) => {
                if let Looked::Lead(lead) = looked {
                    flight.lead = Some(lead);
                }
                flight.called_ms = self.gateways[slot].wall(self.now);
                let decides = self.now + self.dice.range(1, 10);
                let slow = self.dice.chance(4);
                let back = if slow { self.dice.range(30, 3_000) } else { self.dice.range(1, 20) };
                self.queue.at(decides, Event::Decides(id));
                self.queue.at(decides + back, Event::Decided(id));
            }
        }
    }

    fn wakes(&mut self, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let Some(mut looking) = flight.looking.take() else { return };
        let step = looking.woken();
        flight.looking = Some(looking);
        self.steps(id, step);
    }

    /// The server's answer has come.
    fn decided(&mut self, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let (slot, lead, called_ms) = (flight.slot, flight.lead.take(), flight.called_ms);
        let (token, asked) = (flight.token, flight.asked);
        if self.gateways[slot].age != flight.age {
            // Its process is gone, and the store is told nothing.
            if let Some(flight) = self.flights.remove(&id) {
                std::mem::forget(flight.lead);
            }
            std::mem::forget(lead);
            return;
        }
        let decided = flight.decided.expect("it has decided");
        self.numbers.calls += 1;
        let fate = self.dice.range(0, 99);
        if fate < 4 {
            // No answer, or one that says inactive.
            match lead {
                Some(lead) if fate < 2 => lead.inactive(called_ms),
                lead => drop(lead),
            }
            self.says(slot);
            return self.lands(id, None);
        }
        if let Some(lead) = lead {
            let mut grant = Grant::default();
            grant.jwt = decided.to_string().into_bytes();
            grant.subjects = self.subjects(token);
            let stored = Stored { grant, asked_ms: called_ms, until_ms: None, may_stale: false };
            let wall = self.gateways[slot].wall(self.now);
            lead.write(&stored, wall);
            self.says(slot);
        }
        self.lands(id, Some(Answer { version: decided, asked, asked_ms: called_ms }));
    }

    /// A flight is over: whoever waits is served, or asks anew.
    fn lands(&mut self, id: u64, answer: Option<Answer>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let Flight { slot, age, token, asked, waiters, tries, .. } = flight;
        if self.gateways[slot].age != age {
            return;
        }
        self.gateways[slot].flights.retain(|_, flying| *flying != id);
        let Some(answer) = answer else {
            self.numbers.failed += waiters.len() as u64;
            return;
        };
        let subjects = self.subjects(token);
        let (now, setting) = (self.now, self.setting);
        let is_good = self.gateways[slot].keeps(setting, now, token, &subjects, answer);
        let mut again = Vec::new();
        for waiter in waiters {
            if is_good || waiter.asked == asked {
                self.served(slot, token, waiter, answer.version);
            } else {
                again.push(waiter);
            }
        }
        if again.is_empty() {
        } else if tries < TRIES {
            self.asks(slot, token, again, tries + 1);
        } else {
            self.numbers.failed += again.len() as u64;
        }
    }

    pub(super) fn new_flight(
        &mut self,
        slot: usize,
        token: usize,
        waiters: Vec<Waiter>,
        tries: u8,
        question: Question,
        asked: Moment,
    ) -> Flight {
        let age = self.gateways[slot].age;
        Flight {
            slot,
            age,
            token,
            began: self.now,
            asked,
            question,
            looking: None,
            lead: None,
            waiters,
            tries,
            called_ms: 0,
            decided: None,
        }
    }

    /// Judges an answer that a request was served.
    pub(super) fn served(&mut self, slot: usize, token: usize, waiter: Waiter, version: u64) {
        let Waiter { began, heard_at, .. } = waiter;
        let late = |ack: &&(u64, u64)| ack.0 + PROMPT_MS < began && ack.1 > version;
        let Some((acknowledged, _)) = self.acknowledged[token].iter().find(late) else { return };
        let gateway = &self.gateways[slot];
        if heard_at <= *acknowledged || heard_at + PROMPT_MS < began {
            self.numbers.cut_off += 1;
        } else if self.setting.policy == Policy::Renew && gateway.renews(began) {
            self.numbers.renewing += 1;
        } else {
            self.numbers.wrong += 1;
            if std::env::var_os("STORE_MODEL_TRACE").is_some() {
                let (at, ack) = (began - BEGINNING, acknowledged - BEGINNING);
                let heard = heard_at - BEGINNING;
                eprintln!(
                    "at {at} slot {slot} token {token} version {version}, acknowledged at {ack}, \
                     heard at {heard}, {gateway:?}"
                );
            }
        }
    }

    pub(super) fn subjects(&self, token: usize) -> Subjects {
        let hash = |subject: Subject, name| subject.hash(self.gateways[0].hash_key(), name);
        let sub: NonZeroU64 = hash(Subject::Sub, SUBS[token % USERS]);
        Subjects([Some(sub), None, None, None])
    }

    // ---- operators

    fn purges(&mut self) {
        // In calm weather there is time for answers of the store to be of use.
        let most = if self.setting.weather == Weather::Calm { 1_500 } else { 400 };
        let next = self.dice.range(20, most);
        self.queue.at(self.now + next, Event::Purges);
        let slot = self.dice.range(0, self.gateways.len() as u64 - 1) as usize;
        let (target, what, tokens): (Target<'static>, _, Vec<usize>) = match self.dice.range(0, 99)
        {
            0..50 => {
                let token = self.dice.range(0, TOKENS as u64 - 1) as usize;
                let hash = self.gateways[slot].hash_key().token(NAMES[token]);
                (Target::Token(NAMES[token]), Purged::Token(hash), vec![token])
            }
            50..98 => {
                let user = self.dice.range(0, USERS as u64 - 1) as usize;
                let name = SUBS[user];
                let hash = Subject::Sub.hash(self.gateways[slot].hash_key(), name);
                let of = (0..TOKENS).filter(|token| token % USERS == user).collect();
                (Target::Subject(Subject::Sub, name), Purged::Subject(Subject::Sub, hash), of)
            }
            _ => (Target::All, Purged::All, (0..TOKENS).collect()),
        };
        // First at the server, then here.
        let versions = tokens.iter().map(|token| {
            self.versions[*token] += 1;
            (*token, self.versions[*token])
        });
        let versions = versions.collect();
        let wall = self.gateways[slot].wall(self.now);
        let gateway = &mut self.gateways[slot];
        gateway.purges.purge(what, wall);
        let (purge, number) = gateway.tells(target);
        let id = self.number();
        self.purging.insert(id, Purging { purge, slot, number, versions });
        self.purge_goes(id);
    }

    fn purge_goes(&mut self, id: u64) {
        let Some(purging) = self.purging.get_mut(&id) else { return };
        let slot = purging.slot;
        let wall = self.gateways[slot].wall(self.now);
        let question = purging.purge.question(wall).expect("random bytes");
        let question = match self.setting.mutant {
            Some(Mutant::NoNonceNorTimes) => without_leases(&question),
            _ => question,
        };
        self.sends(slot, Whose::Purge(id), question, 0);
    }

    fn purge_answered(&mut self, id: u64, replies: Result<Vec<Reply>, StoreError>) {
        let Some(purging) = self.purging.get_mut(&id) else { return };
        let told = replies.map_err(Into::into).and_then(|replies| purging.purge.answer(&replies));
        match told {
            Ok(Told::Again) => return self.purge_goes(id),
            Ok(Told::Done) => {
                self.numbers.acknowledged += 1;
                self.gateways[purging.slot].acknowledged(purging.number);
                for (token, version) in &purging.versions {
                    self.acknowledged[*token].push((self.now, *version));
                }
            }
            Err(_) => self.numbers.refused += 1,
        }
        self.purging.remove(&id);
    }
}

fn version(jwt: &[u8]) -> u64 {
    str::from_utf8(jwt).ok().and_then(|text| text.parse().ok()).expect("a version")
}

/// A purge that leaves leases as they are.
fn without_leases(question: &Pipeline) -> Pipeline {
    let bytes = question.as_bytes();
    let renamed = bytes.windows(3).enumerate().fold(bytes.to_vec(), |mut all, (at, word)| {
        if word == b"DEL" {
            all[at..at + 3].copy_from_slice(b"GET");
        }
        all
    });
    crate::store::memory::again(&renamed)
}
