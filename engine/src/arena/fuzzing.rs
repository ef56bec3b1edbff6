//! The arena under any sequence of operations, with processes that die between any two writes and
//! bytes that somebody writes over, beside a model made of maps (`crate::fuzz`).
//!
//! Until a process dies or bytes are written over, the strict model (`model.rs`) says what each
//! operation returns and what is there in which order. All along, a lax one knows what was ever
//! stored and for whom, what may still be there, and which calls are out. That does not know what
//! had to go for want of room: nothing being there is right, but directly after it was stored.

mod flights;

use std::collections::{HashMap, HashSet};
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::given::{Given, active, besides, besides_inactive, inactive};
use super::layout::{BLOCK, ITEM_HEADER, MAX_PAYLOAD, header};
use super::memory::crash;
use super::model::{Id, Item, Model};
use super::*;
use crate::lifetime::{Expiry, Life};
use crate::shared::lock;
use crate::shared::process::Here;
use crate::token::key::Key;

const TOKENS: u8 = 24;
const IDENTITIES: u8 = 10;

/// A worker that died comes back under another process id.
fn pids(slot: u8) -> impl Iterator<Item = u32> {
    (1..).map(move |life| 1_000 * life + u32::from(slot))
}

struct World {
    memory: Vec<u64>,
    arena: Arena,
    word: AtomicUsize,
    record: Record,
    now: u64,
    serial: u64,
    /// Processes that are gone.
    dead: HashSet<u32>,
    /// What must be there; `None` once anything died or was written over.
    strict: Option<Model>,
    /// The next operation dies at this write.
    crash: Option<u32>,
    /// Bytes were written over: only that nothing wrong is found still holds.
    damaged: bool,
    resets: u64,
    given: HashMap<u64, Given>,
    /// What may be found under a key: more than one only where an operation died.
    kept: HashMap<Id, Vec<u64>>,
    /// Every flight there was.
    flights: HashMap<u64, (Id, Call)>,
    /// Flights that must still be out.
    out: HashMap<Id, u64>,
    /// How flights ended, 0 to 3 as in the operation, and with which answer.
    answers: HashMap<u64, (u8, u64)>,
    /// Flights, and the workers that may wait for them.
    followers: HashSet<(u64, u8)>,
}

/// Operations from an input's bytes; zeros behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn id(&mut self) -> Id {
        (self.byte() % TOKENS, self.byte() % IDENTITIES)
    }

    fn slot(&mut self) -> u8 {
        let byte = self.byte();
        if byte == u8::MAX { byte } else { byte % 5 }
    }

    /// Lengths around a block's edges, and a few large ones.
    fn len(&mut self) -> usize {
        let (kind, by) = (self.byte(), usize::from(self.byte()));
        match kind % 8 {
            0 => 0,
            1..=3 => by,
            4 | 5 => by * 5,
            6 => by * 80,
            _ => (BLOCK * by).saturating_sub(usize::from(kind / 8)),
        }
    }
}

/// Panics where a value of another key is found, a call is lost or led twice, the structure does not
/// hold together, or not all the room comes back in the end.
pub fn arena(input: &[u8]) {
    let mut bytes = Bytes(input);
    let len = [MIN_SIZE, MIN_SIZE + 1, 32 << 10, 128 << 10][usize::from(bytes.byte() % 4)];
    let mut world = World::new(len);
    for step in 0..400 {
        if bytes.0.is_empty() {
            break;
        }
        world.step(&mut bytes);
        world.looked_at(step % 8 == 0);
    }
    world.all_room_comes_back();
}

impl World {
    fn new(len: usize) -> Self {
        let mut memory = vec![0xa5a5_a5a5_a5a5_a5a5_u64; len.div_ceil(8)];
        let base = NonNull::new(memory.as_mut_ptr().cast()).expect("memory");
        // SAFETY: the vector is moved with the world, its buffer stays, and nobody else uses it.
        let arena = unsafe { Arena::create(base, len, [7; 16]) }.expect("an arena");
        Self {
            memory,
            arena,
            word: AtomicUsize::new(0),
            record: Record::default(),
            now: 1_000,
            serial: 0,
            dead: HashSet::new(),
            strict: Some(Model::new(arena.memory.geometry, 1_000)),
            crash: None,
            damaged: false,
            resets: 0,
            given: HashMap::new(),
            kept: HashMap::new(),
            flights: HashMap::new(),
            out: HashMap::new(),
            answers: HashMap::new(),
            followers: HashSet::new(),
        }
    }

    fn key(&self, id: Id) -> Key {
        let key = self.arena.hash_key();
        Key { token: key.token(&[id.0]), identity: key.identity([&[id.1][..]]) }
    }

    /// Runs an operation under the lock; `None` where the process died in it, with the lock held.
    fn with<R>(&mut self, run: impl FnOnce(&mut Locked<'_>, &mut Record) -> R) -> Option<R> {
        let guard = lock::acquire(&self.word, Here { pid: 1, now_ms: 0, alive: &|_| false })
            .expect("the lock is never lost");
        let mut guard = ManuallyDrop::new(guard);
        let (arena, record) = (self.arena, &mut self.record);
        crash::at(self.crash.take());
        let run = AssertUnwindSafe(|| run(&mut arena.locked(&mut guard), record));
        let result = panic::catch_unwind(run);
        crash::at(None);
        match result {
            Ok(result) => {
                drop(ManuallyDrop::into_inner(guard));
                assert_eq!(self.word.load(Ordering::Relaxed), 0);
                Some(result)
            }
            Err(payload) if payload.is::<crash::Crash>() => {
                assert_eq!(self.word.load(Ordering::Relaxed), 1);
                None
            }
            Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// An answer to give, with a serial number of its own.
    fn give(&mut self, id: Id, kind: Kind, len: usize) -> (u64, Vec<u8>) {
        self.serial += 1;
        let len = if kind == Kind::Active { len } else { 0 };
        let given = Given { id, kind, len, stored: self.now };
        let jwt = given.jwt(self.serial);
        self.given.insert(self.serial, given);
        (self.serial, jwt)
    }

    /// What the strict model says; the lax one alone is left where there is none.
    fn must<R: PartialEq + std::fmt::Debug>(
        &mut self,
        got: Option<R>,
        says: impl FnOnce(&mut Model) -> R,
    ) {
        if let Some(model) = &mut self.strict {
            assert_eq!(got, Some(says(model)));
        }
    }

    fn item(&self, id: Id, serial: u64) -> Item {
        let Given { kind, len, stored, .. } = self.given[&serial];
        let besides = if kind == Kind::Active { besides } else { besides_inactive };
        let payload = len + besides(serial);
        let until = self.times(serial).until.expect("an end");
        Item { id, kind, payload, until, born: serial, stored, not_before: 0 }
    }

    fn times(&self, serial: u64) -> Life {
        let until = Some(self.now + 1 + serial * 37 % 900);
        Life {
            stored: self.now,
            until,
            exp: Some(Expiry { exp: serial, end_ms: !serial }),
            may_stale: true,
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 32 {
            0..=5 => self.store(bytes.id(), Kind::Active, bytes.len()),
            6 => self.postpone(bytes),
            7 | 8 => self.store(bytes.id(), Kind::Inactive, 0),
            9 => self.remove_active(bytes.id()),
            10 | 11 => self.find(bytes.id()),
            12 | 13 => self.renew(bytes),
            14 => {
                let id = bytes.id();
                let key = self.key(id);
                let touched = self.with(|arena, _| arena.touch(&key));
                self.must(touched, |model| model.touch(id).is_some());
                assert!(touched != Some(true) || self.kept.contains_key(&id) || self.damaged);
            }
            15 => {
                let id = bytes.id();
                let key = self.key(id);
                let removed = self.with(|arena, _| arena.remove(&key));
                self.must(removed, |model| model.remove(id));
                if let Some(removed) = removed {
                    assert!(self.kept.remove(&id).is_some() || !removed || self.damaged);
                }
            }
            16 => self.purge(bytes.byte() % TOKENS),
            17 => {
                let cleared = self.with(|arena, _| arena.clear());
                self.must(cleared, Model::clear);
                if cleared.is_some() {
                    self.kept.clear();
                    self.out.clear();
                }
            }
            18..=20 => self.join(bytes.id(), bytes.slot()),
            21 | 22 => self.answer(bytes),
            23..=25 => self.poll(bytes),
            26 => self.leave(bytes),
            27 => self.cancel(bytes),
            28 => {
                self.now += 20 * u64::from(bytes.byte());
                self.strict.iter_mut().for_each(|model| model.now = self.now);
            }
            29 => {
                let pid = pids(bytes.slot()).find(|pid| !self.dead.contains(pid));
                self.dead.extend(pid);
                self.strict.iter_mut().for_each(|model| model.dead.extend(pid));
            }
            30 => {
                self.crash = Some(u32::from(bytes.byte()));
                self.strict = None;
            }
            _ => self.damage(bytes),
        }
    }

    fn store(&mut self, id: Id, kind: Kind, len: usize) {
        let (serial, jwt) = self.give(id, kind, len);
        let key = self.key(id);
        let times = self.times(serial);
        let entry = if kind == Kind::Active {
            active(times, serial, &jwt)
        } else {
            inactive(times, serial)
        };
        let stored = self.with(|arena, _| arena.store(&key, &entry));
        let item = self.item(id, serial);
        self.must(stored, |model| model.store(item));
        match stored {
            None => self.kept.entry(id).or_default().push(serial),
            Some(Stored::Yes { .. }) => {
                self.kept.insert(id, vec![serial]);
                self.record.reserve(len + besides(serial)).expect("memory");
                let found = self.with(|arena, record| arena.find(&key, record));
                assert!(found == Some(Find::Hit) || self.damaged, "stored, then {found:?}");
            }
            Some(Stored::TooLarge | Stored::NoRoom) => {
                self.kept.remove(&id);
            }
        }
    }

    fn find(&mut self, id: Id) {
        let key = self.key(id);
        let mut found = self.with(|arena, record| arena.find(&key, record));
        if let Some(Find::NeedSpace(payload)) = found {
            self.room_for(payload);
            found = self.with(|arena, record| arena.find(&key, record));
            assert!(!matches!(found, Some(Find::NeedSpace(_))));
        }
        let serial = (found == Some(Find::Hit)).then(|| self.right(id));
        self.must(Some(serial), |model| model.touch(id).map(|item| item.born));
        if let Some(serial) = serial {
            let may_be = self.kept.get(&id).is_some_and(|serials| serials.contains(&serial));
            assert!(may_be || self.damaged, "{id:?} has an answer that is gone");
        }
    }

    fn remove_active(&mut self, id: Id) {
        let key = self.key(id);
        let removed = self.with(|arena, _| arena.remove_active(&key));
        let removed = removed.map(|life| life.map(|life| life.exp.expect("a serial number").exp));
        self.must(removed, |model| model.remove_active(id));
        if let Some(Some(serial)) = removed {
            let kept = self.kept.remove(&id).is_some_and(|kept| kept.contains(&serial));
            assert!(kept || self.damaged, "{id:?} had an answer that was gone");
            assert_eq!(self.given[&serial].kind, Kind::Active);
            assert_eq!(self.with(|arena, _| arena.touch(&key)), Some(false));
        }
    }

    fn room_for(&mut self, payload: usize) {
        assert!(payload <= MAX_PAYLOAD);
        self.record.reserve(payload).expect("memory");
    }

    /// What is in the record was given for this key; its serial number.
    fn right(&self, id: Id) -> u64 {
        let expiry = self.record.facts().life.exp.expect("a serial number");
        let serial = expiry.exp;
        assert_eq!(expiry.end_ms, !serial);
        let given = self.given.get(&serial).expect("an answer that was given");
        assert_eq!((given.id, given.kind), (id, self.record.kind()), "another's answer");
        assert_eq!(self.record.facts().jwt, given.jwt(serial));
        if given.kind == Kind::Active {
            let facts = self.record.facts();
            assert_eq!(facts, active(facts.life, serial, facts.jwt).facts);
        }
        serial
    }

    fn purge(&mut self, token: u8) {
        let key = self.key((token, 0));
        let purged = self.with(|arena, _| arena.purge(&key.token));
        self.must(purged, |model| model.purge(token));
        if purged.is_some() {
            self.kept.retain(|id, _| id.0 != token);
            self.out.retain(|id, _| id.0 != token);
            if !self.damaged {
                for identity in 0..IDENTITIES {
                    let key = self.key((token, identity));
                    assert_eq!(self.with(|arena, _| arena.touch(&key)), Some(false));
                }
            }
        } else {
            self.out.retain(|id, _| id.0 != token);
        }
    }

    /// Writes over some bytes behind the words that say what this memory is and which buckets count.
    fn damage(&mut self, bytes: &mut Bytes<'_>) {
        let at = usize::from(bytes.byte()) << 8 | usize::from(bytes.byte());
        let (by, words) = (u64::from(bytes.byte()), bytes.byte() % 4 + 1);
        let first = header::FREE_HEAD / 8;
        for word in 0..usize::from(words) {
            let at = first + (at + word) % (self.memory.len() - first - 1);
            let base = self.memory.as_mut_ptr();
            // SAFETY: `at` is below the vector's length; the arena uses its bytes only inside an
            // operation, and through the same pointer's provenance.
            unsafe { base.add(at).write(base.add(at).read() ^ by << (8 * (by % 8))) };
        }
        self.damaged = true;
        self.strict = None;
        self.out.clear();
    }

    /// What holds after every operation; the whole structure now and then, and after a death.
    fn looked_at(&mut self, whole: bool) {
        if self.crash.is_some() {
            return; // the next operation dies, not this
        }
        let died = self.word.load(Ordering::Relaxed) != 0;
        // A structure that was written over need not hold; it is locked all the same.
        let check = (whole || died) && !self.damaged;
        let checked = self.with(|arena, _| check.then(|| arena.check()));
        let checked = checked.expect("nobody dies in it");
        let stats = self.arena.stats();
        if stats.resets != self.resets {
            // Emptied: whoever locked it found that another had died, or damage.
            assert!(died || self.damaged);
            self.resets = stats.resets;
            self.out.clear();
        }
        if let Some(counts) = checked {
            let counts = counts.expect("a sound structure");
            let counted = [counts.active, counts.inactive, counts.marks].map(u64::from);
            assert_eq!([stats.active, stats.inactive, stats.marks], counted);
            assert!(stats.used_bytes <= stats.size_bytes);
        }
        if let Some(model) = &self.strict {
            model.compare(&self.arena, |id| self.key(id));
        }
    }

    fn all_room_comes_back(&mut self) {
        self.crash = None;
        self.strict = None;
        if self.damaged {
            return;
        }
        for token in 0..TOKENS {
            let key = self.key((token, 0));
            let _ = self.with(|arena, _| arena.purge(&key.token));
        }
        self.looked_at(true);
        let stats = self.arena.stats();
        assert_eq!((stats.active, stats.inactive, stats.marks, stats.used_bytes), (0, 0, 0, 0));

        let geometry = self.arena.memory.geometry;
        let besides = besides(self.serial + 1);
        let most = BLOCK * geometry.active_max() as usize - ITEM_HEADER;
        let len = most.min(MAX_PAYLOAD) - besides;
        let (serial, jwt) = self.give((0, 0), Kind::Active, len);
        let times = self.times(serial);
        let entry = active(times, serial, &jwt);
        let key = self.key((0, 0));
        let stored = self.with(|arena, _| arena.store(&key, &entry));
        assert_eq!(stored, Some(Stored::Yes { evicted: 0 }));
        self.record.reserve(len + besides).expect("memory");
        assert_eq!(self.with(|arena, record| arena.find(&key, record)), Some(Find::Hit));
        assert_eq!(self.right((0, 0)), serial);
        assert_eq!(self.word.load(Ordering::Relaxed), 0);
    }
}
