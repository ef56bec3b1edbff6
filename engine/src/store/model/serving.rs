//! What gateways do with requests, and with what they hear of the store.

use std::time::Duration;

use super::events::{Event, Mutant, Policy};
use super::gateway::{self, Gateway, New, Waiter};
use super::numbers::{NAMES, TOKENS, VALID_MS};
use super::world::World;
use crate::shared::purges::Purged;
use crate::store::question::{InSync, Question, SignedBy};
use crate::store::sync::{Ask, Heard, Listener, Position};
use crate::store::{Epoch, Identity, Reply, StoreError};

/// Where the stream ends now.
fn end_of_stream(world: &World) -> Option<Position> {
    let (contents, names) = (world.memory.0.lock(), gateway::names());
    let epoch = contents.get(names.epoch()).and_then(Epoch::read)?;
    let last = contents.last_id(names.stream())?;
    Some(Position { epoch, last, since_ms: 0 })
}

impl World {
    /// Another gateway, in the place of that of this age.
    pub(super) fn gateway(&mut self, slot: usize, before: Option<u64>) -> Gateway {
        // Clocks differ by less than the margin.
        let skew = self.dice.range(0, 1_800) as i64 - 900;
        let number = self.number();
        let known = match self.setting.mutant {
            Some(Mutant::BeginsAtTheEnd) => end_of_stream(self),
            _ => None,
        };
        self.numbers.gateways += 1;
        let (age, thread) = (before.map_or(0, |age| age + 1), self.number());
        Gateway::new(slot, self.now, New { age, skew, number, thread, known })
    }

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
        self.gateways[slot] = self.gateway(slot, Some(age));
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
