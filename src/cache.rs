//! Where an answer may already be: this worker's own cache, then the zone.

use std::rc::Rc;

use phantom_token_engine::arena::{Find, Flight, Joined, Kind, Locked, Owner, Record};
use phantom_token_engine::lifetime::{self, Freshness};
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::process::{self, Here};
use phantom_token_engine::shared::state::Generation;
use phantom_token_engine::token::key::Key;

use crate::conf::cache::CacheTimes;
use crate::nginx::sys::*;
use crate::nginx::zone::Zone;
use crate::worker::Worker;

/// How often a worker's own hits tell the zone that an entry is in use, in milliseconds.
const TOUCH_MS: u64 = 1_000;

/// How long a call that has run out of time is still left to its worker, which is alive and is
/// about to say so, in milliseconds. Others would begin it anew in that moment.
const HANDOVER_MS: u64 = 1_000;

/// What the zone knows of a key.
pub(crate) enum Found {
    /// A fresh active answer.
    Granted(Rc<Cached>),
    /// A fresh inactive one.
    Inactive,
    /// Nothing: this worker is to ask, under its mark in the zone where it could set one.
    Lead { marked: bool },
    /// Nothing yet: another worker is asking, under this mark.
    Follow { flight: u64 },
}

/// This worker's own cache: no copy, and no lock that could be waited for.
pub(crate) fn nearest(
    worker: &mut Worker,
    zone: &Zone,
    key: &Key,
    times: &CacheTimes,
) -> Option<Rc<Cached>> {
    let generation = worker.state.generation(&key.token);
    let cached = worker.local.get(key, generation)?;
    let (now_ms, now) = (now_ms(), now_secs());
    let fresh_within =
        |valid_ms| lifetime::freshness(&cached.life, valid_ms, 0, now_ms, now) == Freshness::Fresh;
    if !fresh_within(times.valid_ms) {
        // What is too old for this location may do for another.
        if !fresh_within(u64::MAX) {
            worker.local.remove(key);
        }
        return None;
    }
    let cached = Rc::clone(cached);
    if now_ms.wrapping_sub(cached.touched.get()) >= TOUCH_MS {
        // The zone must know that it is in use, or it would go as the least recently used. Where
        // the lock is taken, the next hit says so.
        if zone.if_unlocked(|locked| locked.touch(key)).is_some() {
            cached.touched.set(now_ms);
        }
    }
    Some(cached)
}

/// The zone: looks for a fresh answer and, in the same breath, for the call that is under way, so
/// that exactly one is. `flight` and `deadline` (milliseconds) are those of the one that would lead.
/// Tells the token's generation of that moment, too.
pub(crate) fn shared(
    worker: &mut Worker,
    zone: &Zone,
    key: &Key,
    times: &CacheTimes,
    flight: u64,
    deadline: u64,
) -> (Found, Generation) {
    let (state, slot) = (worker.state, worker.slot);
    let mut generation = state.generation(&key.token);
    let (now_ms, now) = (now_ms(), now_secs());
    loop {
        let record = &mut worker.record;
        let step = zone.locked(|locked| {
            // Under the lock, as inactive answers count: a call that is begun now comes after all of
            // those whose marks are gone.
            generation = state.generation(&key.token);
            match locked.find(key, record) {
                Find::NeedSpace(bytes) => return Step::NeedSpace(bytes),
                Find::Hit if is_fresh(record, times, now_ms, now) => return Step::Hit,
                Find::Hit | Find::Miss => {}
            }
            let Some(slot) = slot else { return Step::Alone };
            let mine = mark(flight, slot, deadline, generation);
            match locked.join_or_lead(key, &mine, Here { alive: &process::exists, ..here() }) {
                Joined::Lead => Step::Lead,
                Joined::Follow { flight, .. } => Step::Follow(flight),
                Joined::Full => Step::Alone,
            }
        });
        let found = match step {
            Some(Step::NeedSpace(bytes)) if record.reserve(bytes).is_ok() => continue,
            Some(Step::Hit) if record.kind() == Kind::Inactive => Found::Inactive,
            Some(Step::Hit) => match keep_near(worker, key, generation) {
                Some(cached) => Found::Granted(cached),
                None => Found::Lead { marked: false },
            },
            Some(Step::Lead) => Found::Lead { marked: true },
            Some(Step::Follow(flight)) => Found::Follow { flight },
            // No lock in time, or no memory: the request goes on as an uncached miss.
            Some(Step::Alone | Step::NeedSpace(_)) | None => Found::Lead { marked: false },
        };
        return (found, generation);
    }
}

/// What the zone holds for a location that keeps answers longer than the one whose call is under
/// way: it need not wait for that call.
pub(crate) fn kept_longer(
    worker: &mut Worker,
    zone: &Zone,
    key: &Key,
    times: &CacheTimes,
    callers: &CacheTimes,
) -> Option<Found> {
    if times.valid_ms <= callers.valid_ms && times.inactive_ms <= callers.inactive_ms {
        return None;
    }
    let generation = worker.state.generation(&key.token);
    find(worker, zone, key)?;
    if !is_fresh(&worker.record, times, now_ms(), now_secs()) {
        return None;
    }
    match worker.record.kind() {
        Kind::Inactive => Some(Found::Inactive),
        Kind::Active => keep_near(worker, key, generation).map(Found::Granted),
    }
}

/// This worker's mark for a call that begins under this generation and ends by `deadline`, in
/// monotonic milliseconds.
pub(crate) fn mark(flight: u64, slot: u8, deadline: u64, generation: Generation) -> Flight {
    Flight {
        id: flight,
        owner: Owner { pid: pid(), slot },
        deadline: deadline.saturating_add(HANDOVER_MS),
        purges: generation.purges(),
    }
}

enum Step {
    Hit,
    NeedSpace(usize),
    Lead,
    Follow(u64),
    Alone,
}

/// An entry that ran out, but may serve while the server cannot be asked.
pub(crate) fn stale(
    worker: &mut Worker,
    zone: &Zone,
    key: &Key,
    times: &CacheTimes,
) -> Option<Rc<Cached>> {
    let generation = worker.state.generation(&key.token);
    find(worker, zone, key)?;
    let life = &worker.record.facts().life;
    let usable = lifetime::freshness(life, times.valid_ms, times.stale_ms, now_ms(), now_secs());
    if worker.record.kind() != Kind::Active || usable == Freshness::Gone {
        return None;
    }
    cached_of(&worker.record, generation)
}

/// Copies the entry of a key into the worker's record, whatever its age.
pub(crate) fn find(worker: &mut Worker, zone: &Zone, key: &Key) -> Option<()> {
    loop {
        let record = &mut worker.record;
        match zone.locked(|locked: &mut Locked<'_>| locked.find(key, record))? {
            Find::Hit => return Some(()),
            Find::Miss => return None,
            Find::NeedSpace(bytes) => record.reserve(bytes).ok()?,
        }
    }
}

fn is_fresh(record: &Record, times: &CacheTimes, now_ms: u64, now: u64) -> bool {
    let valid = match record.kind() {
        Kind::Active => times.valid_ms,
        Kind::Inactive => times.inactive_ms,
    };
    lifetime::freshness(&record.facts().life, valid, 0, now_ms, now) == Freshness::Fresh
}

/// Takes what the zone gave into the worker's own cache.
pub(crate) fn keep_near(
    worker: &mut Worker,
    key: &Key,
    generation: Generation,
) -> Option<Rc<Cached>> {
    let cached = cached_of(&worker.record, generation)?;
    worker.local.insert(*key, &cached);
    Some(cached)
}

/// The worker's record as an answer of its own; `None` where it holds none, or there is no memory.
pub(crate) fn cached_of(record: &Record, generation: Generation) -> Option<Rc<Cached>> {
    if record.kind() != Kind::Active {
        return None;
    }
    Cached::new(&record.facts(), generation, now_ms())
}
