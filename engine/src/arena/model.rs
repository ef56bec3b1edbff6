//! The arena in plain vectors: what must be there, in which order of use and with how much room
//! left, until a process dies or bytes are written over.

use std::collections::BTreeSet;

use super::layout::Geometry;
use super::*;
use crate::token::key::Key;

/// Token and identity.
pub(super) type Id = (u8, u8);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) id: Id,
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) payload: usize,
    pub(super) until: u64,
    /// The serial number of its answer.
    pub(super) born: u64,
    pub(super) stored: u64,
    pub(super) not_before: u64,
}

impl Item {
    fn blocks(&self) -> u32 {
        (self.payload + 112).div_ceil(128) as u32
    }
}

#[derive(Clone, Debug)]
struct Mark {
    id: Id,
    flight: Call,
    workers: BTreeSet<u8>,
    /// How it ended, and its answer, which takes blocks where it is held (1).
    answer: Option<(u8, Item)>,
    born: u64,
}

impl Mark {
    fn blocks(&self) -> u32 {
        1 + self
            .answer
            .iter()
            .filter(|(how, _)| *how == 1)
            .map(|(_, held)| held.blocks())
            .sum::<u32>()
    }
}

/// The arena, as simple as can be: latest first in all lists.
#[derive(Default)]
pub(super) struct Model {
    active: Vec<Item>,
    inactive: Vec<Item>,
    marks: Vec<Mark>,
    pub(super) dead: BTreeSet<u32>,
    blocks: u32,
    reserve: u32,
    small_max: u32,
    pub(super) now: u64,
    evictions: u64,
}

impl Model {
    pub(super) fn new(geometry: Geometry, now: u64) -> Self {
        let Geometry { blocks, reserve, small_max, .. } = geometry;
        Self { blocks, reserve, small_max, now, ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.active.clear();
        self.inactive.clear();
        self.marks.clear();
    }

    pub(super) fn cancel(&mut self, id: Id, flight: u64) -> bool {
        let at = self.mark(id, flight).filter(|at| self.marks[*at].answer.is_none());
        at.map(|at| self.marks.remove(at)).is_some()
    }

    /// The arena holds the same, in the same order.
    pub(super) fn compare(&self, arena: &Arena, key: impl Fn(Id) -> Key) {
        let ids = |items: &[Item]| items.iter().map(|item| item.id).collect::<Vec<_>>();
        let marks = self.marks.iter().map(|mark| mark.id).collect();
        let memory = arena.memory;
        for (list, expected) in
            List::ALL.into_iter().zip([ids(&self.active), ids(&self.inactive), marks])
        {
            let (mut at, mut n) = (memory.list_first(list).expect("sound"), 0);
            while let Some(block) = at {
                let same = expected.get(n).is_some_and(|id| memory.is_at(block, &key(*id)));
                assert!(same, "{list:?}: {expected:?}");
                at = memory.list_after(block).expect("sound");
                n += 1;
            }
            assert_eq!(n, expected.len(), "{list:?}: {expected:?}");
        }
        assert_eq!(memory.free_blocks(), Ok(self.free()));
        assert_eq!((arena.stats().evictions, arena.stats().resets), (self.evictions, 0));
    }

    fn active_blocks(&self) -> u32 {
        self.active.iter().map(Item::blocks).sum()
    }

    fn small_blocks(&self) -> u32 {
        self.inactive.iter().map(Item::blocks).sum::<u32>()
            + self.marks.iter().map(Mark::blocks).sum::<u32>()
    }

    fn free(&self) -> u32 {
        self.blocks - self.active_blocks() - self.small_blocks()
    }

    fn lists(&mut self) -> [&mut Vec<Item>; 2] {
        [&mut self.active, &mut self.inactive]
    }

    fn entry(&self, id: Id) -> Option<&Item> {
        self.active.iter().chain(&self.inactive).find(|item| item.id == id)
    }

    pub(super) fn remove(&mut self, id: Id) -> bool {
        let there = self.entry(id).is_some();
        self.lists().into_iter().for_each(|list| list.retain(|item| item.id != id));
        there
    }

    /// The serial number of an active entry that goes.
    pub(super) fn remove_active(&mut self, id: Id) -> Option<u64> {
        let at = self.active.iter().position(|item| item.id == id)?;
        Some(self.active.remove(at).born)
    }

    pub(super) fn touch(&mut self, id: Id) -> Option<Item> {
        let found = self.entry(id).cloned();
        for list in self.lists() {
            if let Some(at) = list.iter().position(|item| item.id == id) {
                list[..=at].rotate_right(1);
            }
        }
        found
    }

    fn room_for_small(&mut self, blocks: u32) -> bool {
        if blocks > self.small_max {
            return false;
        }
        while self.small_blocks() + blocks > self.small_max || self.free() < blocks {
            if self.inactive.pop().is_none() {
                return false;
            }
        }
        true
    }

    pub(super) fn store(&mut self, item: Item) -> Stored {
        self.remove(item.id);
        for _ in 0..2 {
            if self.inactive.last().is_some_and(|last| last.until <= self.now) {
                self.inactive.pop();
            } else {
                break;
            }
        }
        if item.payload > 256 * 1024 {
            return Stored::TooLarge;
        }
        let active_ones = if item.kind == Kind::Active { &self.active[..] } else { &[] };
        let of_token = |other: &&Item| other.id.0 == item.id.0;
        let all = self.active.iter().chain(&self.inactive).filter(of_token).count();
        if all >= 8 {
            let may_go = active_ones.iter().chain(&self.inactive).filter(of_token);
            match may_go.min_by_key(|other| other.born).map(|other| other.id) {
                Some(oldest) => self.remove(oldest),
                None => return Stored::NoRoom,
            };
        }
        if item.kind == Kind::Inactive {
            if !self.room_for_small(item.blocks()) {
                return Stored::NoRoom;
            }
            self.inactive.insert(0, item);
            return Stored::Yes { evicted: 0 };
        }
        let mut evicted = 0;
        if item.blocks() > self.blocks - self.reserve {
            return Stored::TooLarge;
        }
        while self.active_blocks() + item.blocks() > self.blocks - self.reserve {
            self.active.pop().unwrap();
            evicted += 1;
        }
        while self.free() < item.blocks() {
            if self.inactive.pop().is_none() {
                if self.active.pop().is_none() {
                    return Stored::TooLarge;
                }
                evicted += 1;
            }
        }
        self.evictions += u64::from(evicted);
        self.active.insert(0, item);
        Stored::Yes { evicted }
    }

    fn mark(&self, id: Id, flight: u64) -> Option<usize> {
        self.marks.iter().position(|mark| mark.id == id && mark.flight.id == flight)
    }

    fn lapsed(&self, mark: &Mark) -> bool {
        mark.flight.deadline <= self.now || self.dead.contains(&mark.flight.owner.pid)
    }

    fn take_over(&mut self, at: usize, mine: Call) {
        let old = self.marks.remove(at);
        self.marks.insert(0, Mark { flight: mine, workers: BTreeSet::new(), ..old });
    }

    /// The mark of the call that is out for a key, and whether it is still its owner's, as whoever would
    /// make `mine` sees it.
    fn calling(&self, id: Id, mine: Option<Call>) -> Option<(usize, bool)> {
        let calling = |mark: &Mark| mark.id == id && mark.answer.is_none();
        let at = self.marks.iter().position(calling)?;
        let old = self.marks[at].flight.seen;
        let overtakes = |new: Seen| new.purges > old.purges || new.purged > old.asked;
        let is_overtaken = mine.is_some_and(|mine| overtakes(mine.seen));
        Some((at, !is_overtaken && !self.lapsed(&self.marks[at])))
    }

    pub(super) fn join(&mut self, id: Id, mine: Call) -> Joined {
        match self.calling(id, Some(mine)) {
            None => self.make_mark(id, mine),
            Some((at, false)) => {
                self.take_over(at, mine);
                Joined::Lead
            }
            Some((at, true)) => {
                self.marks[at].workers.insert(mine.owner.slot);
                let Call { id, owner, deadline, .. } = self.marks[at].flight;
                Joined::Follow { flight: id, owner_pid: owner.pid, deadline }
            }
        }
    }

    pub(super) fn renew(&mut self, id: Id, stored: u64, mine: Option<Call>) -> Renewal {
        if let Some(entry) = self.entry(id) {
            if entry.kind != Kind::Active || entry.stored != stored {
                return Renewal::Replaced;
            }
            if self.now < entry.not_before {
                return Renewal::NotBefore(entry.not_before);
            }
        }
        match (self.calling(id, mine), mine) {
            (Some((_, true)), _) => Renewal::Out,
            (_, None) => Renewal::Free,
            (Some((at, false)), Some(mine)) => {
                self.take_over(at, mine);
                Renewal::Lead
            }
            (None, Some(mine)) => match self.make_mark(id, mine) {
                Joined::Lead => Renewal::Lead,
                _ => Renewal::Full,
            },
        }
    }

    pub(super) fn postpone(&mut self, id: Id, stored: u64, not_before: u64) {
        let entries = self.active.iter_mut().chain(&mut self.inactive);
        for entry in entries.filter(|entry| entry.id == id && entry.stored == stored) {
            entry.not_before = not_before;
        }
    }

    /// When the active entry of a key was stored.
    pub(super) fn stored(&self, id: Id) -> Option<u64> {
        self.active.iter().find(|entry| entry.id == id).map(|entry| entry.stored)
    }

    fn make_mark(&mut self, id: Id, mine: Call) -> Joined {
        for _ in 0..2 {
            if self.marks.last().is_some_and(|last| last.flight.deadline + 1_000 <= self.now) {
                self.marks.pop();
            }
        }
        let of_token = |mark: &&Mark| mark.id.0 == id.0;
        if self.marks.iter().filter(of_token).count() >= 32 {
            let answered = self.marks.iter().filter(of_token).filter(|mark| mark.answer.is_some());
            let Some(oldest) = answered.map(|mark| mark.born).min() else {
                return Joined::Full;
            };
            self.marks.retain(|mark| mark.born != oldest);
        }
        if !self.room_for_small(1) {
            return Joined::Full;
        }
        let (workers, born) = (BTreeSet::new(), mine.id);
        self.marks.insert(0, Mark { id, flight: mine, workers, answer: None, born });
        Joined::Lead
    }

    pub(super) fn answer(&mut self, id: Id, flight: u64, how: u8, held: Item) -> AnsweredFor {
        let Some(at) = self.mark(id, flight).filter(|at| self.marks[*at].answer.is_none()) else {
            return AnsweredFor::Lost;
        };
        if self.marks[at].workers.is_empty() {
            self.marks.remove(at);
            return AnsweredFor::Nobody;
        }
        if how == 1 && !self.room_for_small(held.blocks()) {
            self.marks.remove(at);
            return AnsweredFor::TooLarge;
        }
        self.marks[at].answer = Some((how, held));
        AnsweredFor::Others
    }

    pub(super) fn poll(&mut self, id: Id, flight: u64, mine: Call) -> (Poll, Option<Item>) {
        let waits = |at: &usize| self.marks[*at].workers.contains(&mine.owner.slot);
        let Some(at) = self.mark(id, flight).filter(waits) else {
            return (Poll::Gone, None);
        };
        let Some((how, held)) = self.marks[at].answer.clone() else {
            if self.lapsed(&self.marks[at]) {
                self.take_over(at, mine);
                return (Poll::Lead, None);
            }
            return (Poll::Waiting, None);
        };
        self.leave(id, flight, mine.owner.slot);
        let stored = self.entry(id).cloned();
        match how {
            0 if stored.is_none() => (Poll::Gone, None),
            0 => (Poll::Taken(Taken::Stored), stored),
            1 => (Poll::Taken(Taken::Active), Some(held)),
            2 => (Poll::Taken(Taken::Inactive), None),
            _ => {
                let (code, retry_after) = (held.born as u16, held.born as u32);
                (Poll::Taken(Taken::Failed { code, retry_after }), None)
            }
        }
    }

    pub(super) fn leave(&mut self, id: Id, flight: u64, slot: u8) {
        if let Some(at) = self.mark(id, flight) {
            let took = self.marks[at].workers.remove(&slot);
            let mark = &self.marks[at];
            if took && mark.answer.is_some() && mark.workers.is_empty() {
                self.marks.remove(at);
            }
        }
    }

    pub(super) fn purge(&mut self, token: u8) -> u32 {
        let before = self.active.len() + self.inactive.len() + self.marks.len();
        self.lists().into_iter().for_each(|list| list.retain(|item| item.id.0 != token));
        self.marks.retain(|mark| mark.id.0 != token);
        (before - self.active.len() - self.inactive.len() - self.marks.len()) as u32
    }
}
