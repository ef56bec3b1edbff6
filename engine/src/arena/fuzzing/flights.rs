//! Operations on calls: who makes one, who waits for it, and how it ends.

use super::*;

/// A flight that begins now knows of a purge that the other does not know of, and does not follow.
fn overtakes(flight: &Call, other: &Call) -> bool {
    flight.seen.purges > other.seen.purges || flight.seen.purged > other.seen.asked
}

impl World {
    fn flight(&mut self, slot: u8) -> Call {
        self.serial += 1;
        let pid = pids(slot).find(|pid| !self.dead.contains(pid)).expect("a life left");
        // Half of what is done knows of a purge or an inactive answer that is a little younger.
        let purges = (self.serial / 64 + self.serial % 2) as u32;
        let moment = |nth: u64| Moment::from_bits(nth << 4);
        let (asked, purged) =
            (moment(self.serial / 16 + 1), moment(self.serial / 16 + self.serial / 2 % 2));
        let owner = Owner { pid, slot };
        let seen = Seen { purges, asked, purged };
        Call { id: self.serial, owner, deadline: self.now + 500, seen }
    }

    fn lapsed(&self, flight: &Call) -> bool {
        flight.deadline <= self.now || self.dead.contains(&flight.owner.pid)
    }

    pub(super) fn join(&mut self, id: Id, slot: u8) {
        let (key, mine, now) = (self.key(id), self.flight(slot), self.now);
        self.flights.insert(mine.id, (id, mine));
        let dead = self.dead.clone();
        let alive = |pid: u32| !dead.contains(&pid);
        let here = Here { pid: mine.owner.pid, now_ms: now, alive: &alive };
        let joined = self.with(|arena, _| arena.join_or_lead(&key, &mine, here));
        self.must(joined, |model| model.join(id, mine));
        match joined {
            None => {
                self.out.remove(&id);
                // It may have come as far as following any of them.
                let all = self.flights.iter().filter(|(_, (of, _))| *of == id);
                self.followers.extend(all.map(|(flight, _)| (*flight, slot)));
            }
            Some(Joined::Lead) => self.leads(id, &mine),
            Some(Joined::Follow { flight, owner_pid, deadline }) => {
                let (of, led) = self.flights.get(&flight).expect("a flight that was begun");
                assert_eq!((*of, led.owner.pid, led.deadline), (id, owner_pid, deadline));
                assert!(!self.lapsed(led) && !overtakes(&mine, led));
                self.followers.insert((flight, slot));
            }
            Some(Joined::Full) => {}
        }
    }

    /// A flight was given the lead: no other may be out that it could have followed.
    fn leads(&mut self, id: Id, flight: &Call) {
        if let Some(other) = self.out.insert(id, flight.id) {
            let (_, other) = &self.flights[&other];
            let over = self.lapsed(other) || overtakes(flight, other);
            assert!(over || self.damaged, "two calls for {id:?}");
        }
    }

    /// A flight, most often one that was begun not long ago, and its key.
    fn a_flight(&self, bytes: &mut Bytes<'_>) -> (Id, u64) {
        let (id, back) = (bytes.id(), u64::from(bytes.byte()));
        if back % 2 == 0
            && let Some(flight) = self.out.get(&id)
        {
            return (id, *flight);
        }
        let flight = self.serial.saturating_sub(back / 2);
        (self.flights.get(&flight).map_or(id, |(id, _)| *id), flight)
    }

    /// A flight was taken down, or could not be, or its process died over it.
    fn ended(&mut self, id: Id, flight: u64, done: Option<bool>) {
        let was_out = self.out.get(&id) == Some(&flight);
        // A mark that ran out may be gone.
        let gone = !was_out || self.lapsed(&self.flights[&flight].1) || self.damaged;
        assert!(done != Some(false) || gone, "flight {flight} was lost");
        if was_out {
            self.out.remove(&id);
        }
    }

    pub(super) fn answer(&mut self, bytes: &mut Bytes<'_>) {
        let (id, flight) = self.a_flight(bytes);
        let (how, len) = (bytes.byte() % 4, bytes.len());
        let (key, (serial, jwt)) = (self.key(id), self.give(id, Kind::Active, len));
        let times = self.times(serial);
        let entry = active(times, serial, &jwt);
        let outcome = match how {
            0 => Left::Stored,
            1 => Left::Active(entry),
            2 => Left::Inactive,
            _ => Left::Failed { code: serial as u16, retry_after: serial as u32 },
        };
        let answered = self.with(|arena, _| arena.answer(&key, flight, outcome));
        let held = self.item(id, serial);
        self.must(answered, |model| model.answer(id, flight, how, held));
        if answered.is_some_and(|answered| answered != AnsweredFor::Lost) {
            assert!(self.flights.get(&flight).is_some_and(|(of, _)| *of == id));
            let before = self.answers.insert(flight, (how, serial));
            assert!(before.is_none(), "flight {flight} was answered twice");
        }
        self.ended(id, flight, answered.map(|answered| answered != AnsweredFor::Lost));
    }

    pub(super) fn poll(&mut self, bytes: &mut Bytes<'_>) {
        let (id, flight) = self.a_flight(bytes);
        let slot = bytes.slot();
        let (key, mine, now) = (self.key(id), self.flight(slot), self.now);
        self.flights.insert(mine.id, (id, mine));
        let dead = self.dead.clone();
        let alive = |pid: u32| !dead.contains(&pid);
        let poll = |arena: &mut Locked<'_>, record: &mut Record| {
            arena.poll(
                &key,
                flight,
                &mine,
                Here { pid: mine.owner.pid, now_ms: now, alive: &alive },
                record,
            )
        };
        let mut polled = self.with(poll);
        if let Some(Poll::NeedSpace(payload)) = polled {
            self.room_for(payload);
            polled = self.with(poll);
            assert!(!matches!(polled, Some(Poll::NeedSpace(_))));
        }
        let taken = matches!(polled, Some(Poll::Taken(Taken::Stored | Taken::Active)));
        let taken = taken.then(|| self.right(id));
        self.must(polled.map(|polled| (polled, taken)), |model| {
            let (polled, item) = model.poll(id, flight, mine);
            (polled, item.map(|item| item.born))
        });
        let follows = self.followers.contains(&(flight, slot)) || self.damaged;
        match polled {
            None => {
                self.out.remove(&id);
            }
            Some(Poll::Gone | Poll::NeedSpace(_)) => {}
            Some(Poll::Waiting) => assert!(follows),
            Some(Poll::Lead) => {
                assert!(follows && self.lapsed(&self.flights[&flight].1));
                self.leads(id, &mine);
            }
            Some(Poll::Taken(answer)) => {
                assert!(follows, "an answer for who did not wait");
                self.followers.remove(&(flight, slot));
                let (how, serial) = self.answers.get(&flight).copied().expect("an answered flight");
                let fits = match answer {
                    Taken::Stored => {
                        let found = self.right(id);
                        let may_be = self.kept.get(&id).is_some_and(|kept| kept.contains(&found));
                        how == 0 && (may_be || self.damaged)
                    }
                    Taken::Active => how == 1 && self.right(id) == serial,
                    Taken::Inactive => how == 2,
                    Taken::Failed { code, retry_after } => {
                        how == 3 && (code, retry_after) == (serial as u16, serial as u32)
                    }
                };
                assert!(fits, "{answer:?} of flight {flight}");
            }
        }
    }

    /// Asks anew for an entry, that which is there or another; sometimes it only looks.
    pub(super) fn renew(&mut self, bytes: &mut Bytes<'_>) {
        let (id, slot, how) = (bytes.id(), bytes.slot(), bytes.byte());
        let (key, mine, now) = (self.key(id), self.flight(slot), self.now);
        let stored = self.stored(id, how);
        let call = (how & 2 == 0).then_some(mine);
        self.flights.insert(mine.id, (id, mine));
        let dead = self.dead.clone();
        let alive = |pid: u32| !dead.contains(&pid);
        let here = Here { pid: mine.owner.pid, now_ms: now, alive: &alive };
        let renewal = self.with(|arena, _| arena.renew(&key, stored, call.as_ref(), here));
        self.must(renewal, |model| model.renew(id, stored, call));
        match renewal {
            None => {
                self.out.remove(&id);
            }
            Some(Renewal::Lead) => {
                assert!(call.is_some(), "the lead for who only looks");
                self.leads(id, &mine);
            }
            Some(Renewal::NotBefore(not_before)) => assert!(not_before > now || self.damaged),
            Some(Renewal::Free) => assert_eq!(call, None),
            Some(Renewal::Out | Renewal::Replaced | Renewal::Full) => {}
        }
        // After a death, whoever locks next sets all right: see `looked_at`.
        if renewal.is_some() {
            let there = self.with(|arena, _| arena.stored(&key));
            self.must(there, |model| model.stored(id));
        }
    }

    pub(super) fn postpone(&mut self, bytes: &mut Bytes<'_>) {
        let (id, how, by) = (bytes.id(), bytes.byte(), u64::from(bytes.byte()));
        let (key, stored, not_before) = (self.key(id), self.stored(id, how), self.now + 20 * by);
        let postponed = self.with(|arena, _| arena.postpone(&key, stored, not_before));
        self.must(postponed, |model| model.postpone(id, stored, not_before));
    }

    /// When the latest answer for a key was stored; a wrong moment for every fourth `how`.
    fn stored(&self, id: Id, how: u8) -> u64 {
        let latest = self.kept.get(&id).and_then(|serials| serials.last());
        let stored = latest.map_or(self.now, |serial| self.given[serial].stored);
        stored - u64::from(how >> 2 & 3 == 3)
    }

    pub(super) fn leave(&mut self, bytes: &mut Bytes<'_>) {
        let (id, flight) = self.a_flight(bytes);
        let (key, slot) = (self.key(id), bytes.slot());
        let left = self.with(|arena, _| arena.leave(&key, flight, slot));
        self.must(left, |model| model.leave(id, flight, slot));
        if left.is_some() {
            self.followers.remove(&(flight, slot));
        }
    }

    pub(super) fn cancel(&mut self, bytes: &mut Bytes<'_>) {
        let (id, flight) = self.a_flight(bytes);
        let key = self.key(id);
        let cancelled = self.with(|arena, _| arena.cancel(&key, flight));
        self.must(cancelled, |model| model.cancel(id, flight));
        self.ended(id, flight, cancelled);
    }
}
