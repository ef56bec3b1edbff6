//! Any sequence of operations against a model made of plain vectors: the same results, the same
//! order of use, the same room.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::memory::Block;
use super::tests::{Zone, key};
use super::*;
use crate::answer::facts::Facts;
use crate::answer::nature::Nature;
use crate::lifetime::Life;
use crate::shared::state::testing::at;

type Id = (u32, u32);

#[derive(Clone, Debug)]
enum Op {
    Store { id: Id, kind: Kind, len: usize, until: u64 },
    Find(Id),
    Touch(Id),
    Remove(Id),
    Purge(u32),
    Clear,
    Join { id: Id, slot: u8 },
    Answer { id: Id, flight: u64, how: u8, len: usize },
    Poll { id: Id, flight: u64, slot: u8 },
    Leave { id: Id, flight: u64, slot: u8 },
    Cancel { id: Id, flight: u64 },
    Pass(u64),
    Die(u8),
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    id: Id,
    kind: Kind,
    len: usize,
    fill: u8,
    until: u64,
    born: u64,
}

impl Item {
    fn payload(&self) -> usize {
        self.len + if self.kind == Kind::Active { 4 } else { 0 }
    }

    fn blocks(&self) -> u32 {
        (self.payload() + 104).div_ceil(128) as u32
    }
}

#[derive(Clone, Debug)]
struct Mark {
    id: Id,
    flight: Call,
    workers: BTreeSet<u8>,
    answer: Option<(u8, Option<Item>)>,
}

impl Mark {
    fn blocks(&self) -> u32 {
        1 + self.answer.iter().flat_map(|(_, held)| held).map(Item::blocks).sum::<u32>()
    }
}

/// The arena, as simple as can be: latest first in all lists.
#[derive(Default)]
struct Model {
    active: Vec<Item>,
    inactive: Vec<Item>,
    marks: Vec<Mark>,
    dead: BTreeSet<u32>,
    blocks: u32,
    reserve: u32,
    small_max: u32,
    now: u64,
    serial: u64,
    evictions: u64,
}

impl Model {
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

    fn remove(&mut self, id: Id) -> bool {
        let there = self.entry(id).is_some();
        self.lists().into_iter().for_each(|list| list.retain(|item| item.id != id));
        there
    }

    fn touch(&mut self, id: Id) -> Option<Item> {
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

    fn store(&mut self, item: Item) -> Stored {
        self.remove(item.id);
        for _ in 0..2 {
            if self.inactive.last().is_some_and(|last| last.until <= self.now) {
                self.inactive.pop();
            } else {
                break;
            }
        }
        if item.payload() > 256 * 1024 {
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

    fn join(&mut self, id: Id, mine: Call) -> Joined {
        let calling = |mark: &Mark| mark.id == id && mark.answer.is_none();
        if let Some(at) = self.marks.iter().position(calling) {
            let old = &self.marks[at];
            if self.lapsed(old) || mine.purges > old.flight.purges {
                self.take_over(at, mine);
                return Joined::Lead;
            }
            self.marks[at].workers.insert(mine.owner.slot);
            let Call { id, owner, deadline, .. } = self.marks[at].flight;
            return Joined::Follow { flight: id, owner_pid: owner.pid, deadline };
        }
        for _ in 0..2 {
            if self.marks.last().is_some_and(|last| last.flight.deadline + 1_000 <= self.now) {
                self.marks.pop();
            }
        }
        if !self.room_for_small(1) {
            return Joined::Full;
        }
        self.marks.insert(0, Mark { id, flight: mine, workers: BTreeSet::new(), answer: None });
        Joined::Lead
    }

    fn answer(&mut self, id: Id, flight: u64, how: u8, held: Item) -> AnsweredFor {
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
        self.marks[at].answer = Some((how, (how == 1).then_some(held)));
        AnsweredFor::Others
    }

    fn poll(&mut self, id: Id, flight: u64, mine: Call) -> (Poll, Option<Item>) {
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
            1 => (Poll::Taken(Taken::Active), held),
            2 => (Poll::Taken(Taken::Inactive), None),
            _ => (Poll::Taken(Taken::Failed { code: 500, retry_after: 3 }), None),
        }
    }

    fn leave(&mut self, id: Id, flight: u64, slot: u8) {
        if let Some(at) = self.mark(id, flight) {
            let took = self.marks[at].workers.remove(&slot);
            let mark = &self.marks[at];
            if took && mark.answer.is_some() && mark.workers.is_empty() {
                self.marks.remove(at);
            }
        }
    }

    fn purge(&mut self, token: u32) -> u32 {
        let before = self.active.len() + self.inactive.len() + self.marks.len();
        self.lists().into_iter().for_each(|list| list.retain(|item| item.id.0 != token));
        self.marks.retain(|mark| mark.id.0 != token);
        (before - self.active.len() - self.inactive.len() - self.marks.len()) as u32
    }
}

fn pid(slot: u8, life: usize) -> u32 {
    1_000 + 256 * life as u32 + u32::from(slot)
}

/// Runs the operations on both and compares.
fn run(ops: &[Op], len: usize) {
    let zone = Zone::new(len);
    let geometry = zone.arena.memory.geometry;
    let mut model = Model {
        blocks: geometry.blocks,
        reserve: geometry.reserve,
        small_max: geometry.small_max,
        now: 10,
        ..Model::default()
    };
    let mut record = Record::with_room(20_100);
    let same = |record: &Record, item: &Item| {
        assert_eq!(record.kind(), item.kind);
        assert!(
            record.facts().jwt.len() == item.len
                && record.facts().jwt.iter().all(|b| *b == item.fill)
        );
        assert_eq!(record.facts().life.until, Some(item.until));
    };
    for op in ops {
        model.serial += 1;
        let serial = model.serial;
        let fill = serial as u8;
        let now = model.now;
        let item = |id, kind, len, until| Item { id, kind, len, fill, until, born: serial };
        let id_key = |id: Id| key(id.0, id.1);
        let life = model.dead.len();
        let mine = |slot| Call {
            id: serial,
            owner: Owner { pid: pid(slot, life), slot },
            deadline: now + 500,
            purges: (serial / 8 % 4) as u32,
        };
        let dead = model.dead.clone();
        let alive = |pid| !dead.contains(&pid);
        match op.clone() {
            Op::Store { id, kind, len, until } => {
                let jwt = vec![fill; len];
                let scope = if kind == Kind::Active { &b"read"[..] } else { b"" };
                let until = now + until;
                let times = Life { stored: now, until: Some(until), ..Life::default() };
                let entry = Entry {
                    kind,
                    facts: Facts {
                        life: times,
                        nature: Nature::default(),
                        jwt: &jwt,
                        scope,
                        claims: b"",
                    },
                };
                let stored = zone.with(|arena| arena.store(&id_key(id), &entry));
                assert_eq!(stored, model.store(item(id, kind, len, until)));
            }
            Op::Find(id) => {
                let found = zone.with(|arena| arena.find(&id_key(id), &mut record));
                match model.touch(id) {
                    Some(item) => {
                        assert_eq!(found, Find::Hit);
                        same(&record, &item);
                    }
                    None => assert_eq!(found, Find::Miss),
                }
            }
            Op::Touch(id) => {
                let touched = zone.with(|arena| arena.touch(&id_key(id)));
                assert_eq!(touched, model.touch(id).is_some());
            }
            Op::Remove(id) => {
                assert_eq!(zone.with(|arena| arena.remove(&id_key(id))), model.remove(id));
            }
            Op::Purge(token) => {
                let purged = zone.with(|arena| arena.purge(&key(token, 0).token));
                assert_eq!(purged, model.purge(token));
            }
            Op::Clear => {
                zone.with(|arena| arena.clear());
                model.active.clear();
                model.inactive.clear();
                model.marks.clear();
            }
            Op::Join { id, slot } => {
                let mine = mine(slot);
                let joined = zone.with(|arena| {
                    arena.join_or_lead(&id_key(id), &mine, at(mine.owner.pid, now, &alive))
                });
                assert_eq!(joined, model.join(id, mine));
            }
            Op::Answer { id, flight, how, len } => {
                let jwt = vec![fill; len];
                let until = now + 7;
                let times = Life { stored: now, until: Some(until), ..Life::default() };
                let outcome = match how {
                    0 => Left::Stored,
                    1 => Left::Active(Entry {
                        kind: Kind::Active,
                        facts: Facts {
                            life: times,
                            nature: Nature::default(),
                            jwt: &jwt,
                            scope: b"read",
                            claims: b"",
                        },
                    }),
                    2 => Left::Inactive,
                    _ => Left::Failed { code: 500, retry_after: 3 },
                };
                let flight = serial.saturating_sub(flight);
                let answered = zone.with(|arena| arena.answer(&id_key(id), flight, outcome));
                let held = item(id, Kind::Active, len, until);
                assert_eq!(answered, model.answer(id, flight, how, held));
            }
            Op::Poll { id, flight, slot } => {
                let (flight, mine) = (serial.saturating_sub(flight), mine(slot));
                let polled = zone.with(|arena| {
                    arena.poll(
                        &id_key(id),
                        flight,
                        &mine,
                        at(mine.owner.pid, now, &alive),
                        &mut record,
                    )
                });
                let (expected, item) = model.poll(id, flight, mine);
                assert_eq!(polled, expected);
                if let Some(item) = item {
                    same(&record, &item);
                }
            }
            Op::Leave { id, flight, slot } => {
                let flight = serial.saturating_sub(flight);
                zone.with(|arena| arena.leave(&id_key(id), flight, slot));
                model.leave(id, flight, slot);
            }
            Op::Cancel { id, flight } => {
                let flight = serial.saturating_sub(flight);
                let at = model.mark(id, flight).filter(|at| model.marks[*at].answer.is_none());
                let cancelled = zone.with(|arena| arena.cancel(&id_key(id), flight));
                assert_eq!(cancelled, at.is_some());
                at.map(|at| model.marks.remove(at));
            }
            Op::Pass(time) => model.now += time,
            Op::Die(slot) => {
                model.dead.extend((0..=life).map(|life| pid(slot, life)));
            }
        }
        compare(&zone, &model);
    }
    let counts = zone.check();
    assert_eq!(counts.active as usize, model.active.len());
    assert_eq!(zone.arena.stats().evictions, model.evictions);
    assert_eq!(zone.arena.stats().resets, 0);
}

fn compare(zone: &Zone, model: &Model) {
    let ids = |items: &[Item]| items.iter().map(|item| item.id).collect::<Vec<_>>();
    let expected =
        [ids(&model.active), ids(&model.inactive), model.marks.iter().map(|m| m.id).collect()];
    let memory = zone.arena.memory;
    for (list, expected) in List::ALL.into_iter().zip(expected) {
        let (mut at, mut n) = (memory.list_first(list).unwrap(), 0);
        while let Some(block) = at {
            assert!(
                expected.get(n).is_some_and(|id| is(zone, block, *id)),
                "{list:?}: {expected:?}"
            );
            at = memory.list_after(block).unwrap();
            n += 1;
        }
        assert_eq!(n, expected.len(), "{list:?}: {expected:?}");
    }
    assert_eq!(memory.free_blocks(), Ok(model.free()));
}

fn is(zone: &Zone, block: Block, id: Id) -> bool {
    zone.arena.memory.is_at(block, &key(id.0, id.1))
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![2 => (0..30_u32, 0..2_u32), 1 => (0..2_u32, 0..11_u32)]
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![4 => 0..400_usize, 2 => 400..4_000_usize, 1 => 4_000..20_000_usize];
    let flight = || 1..25_u64;
    let slot = || prop_oneof![0..5_u8, Just(255)];
    prop_oneof![
        20 => (id(), len(), 1..900_u64).prop_map(|(id, len, until)| {
            Op::Store { id, kind: Kind::Active, len, until }
        }),
        10 => (id(), 0..60_usize, 1..900_u64).prop_map(|(id, len, until)| {
            Op::Store { id, kind: Kind::Inactive, len, until }
        }),
        // Made-up tokens.
        10 => (1_000..2_000_u32, 1..900_u64).prop_map(|(token, until)| {
            Op::Store { id: (token, 0), kind: Kind::Inactive, len: 0, until }
        }),
        15 => id().prop_map(Op::Find),
        5 => id().prop_map(Op::Touch),
        2 => id().prop_map(Op::Remove),
        1 => (0..30_u32).prop_map(Op::Purge),
        15 => ((0..6_u32, 0..1_u32), slot()).prop_map(|(id, slot)| Op::Join { id, slot }),
        10 => (1_000..2_000_u32, slot()).prop_map(|(token, slot)| {
            Op::Join { id: (token, 0), slot }
        }),
        10 => ((0..6_u32, 0..1_u32), flight(), 0..4_u8, len()).prop_map(|(id, flight, how, len)| {
            Op::Answer { id, flight, how, len }
        }),
        15 => ((0..6_u32, 0..1_u32), flight(), slot()).prop_map(|(id, flight, slot)| {
            Op::Poll { id, flight, slot }
        }),
        2 => ((0..6_u32, 0..1_u32), flight(), slot()).prop_map(|(id, flight, slot)| {
            Op::Leave { id, flight, slot }
        }),
        1 => ((0..6_u32, 0..1_u32), flight()).prop_map(|(id, flight)| Op::Cancel { id, flight }),
        3 => (1..300_u64).prop_map(Op::Pass),
        1 => slot().prop_map(Op::Die),
    ]
}

fn ops(longest: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![300 => op(), 1 => Just(Op::Clear)], 1..longest)
}

/// Enough to be quick; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(20),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tiny_zone_does_what_the_model_does(ops in ops(300)) {
        run(&ops, MIN_SIZE);
    }

    #[test]
    fn a_zone_with_its_whole_reserve_does_too(ops in ops(300)) {
        run(&ops, 128 << 10);
    }
}
