//! Where an answer may already be: this worker's own cache, then the zone, then the call that is under
//! way. [`look`] asks all of them.

#![forbid(unsafe_code)]

use std::mem;
use std::rc::Rc;

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::{Find, Joined, Kind, Locked, Record, Renewal};
use phantom_token_engine::lifetime::{self, Freshness};
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::process::{self, Here};
use phantom_token_engine::shared::purges::Standing;
use phantom_token_engine::shared::state::Generation;
use phantom_token_engine::token::key::Key;

use crate::conf::cache::CacheTimes;
use crate::finding::Finding;
use crate::nginx::sys::*;
use crate::nginx::zone::{Zone, ZoneRef};
use crate::operate::counters::{self, UncachedReason};
use crate::worker::{AsOf, Worker};

mod permit;

pub(crate) use permit::{Follow, Lead, Polled};

/// How often a worker's own hits tell the zone that an entry is in use, in milliseconds.
const TOUCH_MS: u64 = 1_000;

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) zone: &'a ZoneRef,
    pub(crate) key: &'a Key,
    pub(crate) times: &'a CacheTimes,
    /// When the call ends at the latest that would be begun now, in monotonic milliseconds.
    pub(crate) deadline: u64,
}

/// What there is of a key. `C` names a call of this worker's.
pub(crate) enum Look<C> {
    /// A fresh answer, active or inactive.
    Known(Finding),
    /// A fresh answer that serves for now, and is in doubt since then ([`Standing::Doubted`]).
    Doubted(Rc<Cached>, u64),
    /// Nothing yet: this worker is asking.
    Join(C),
    /// Nothing yet: another worker is asking.
    Follow(Follow, AsOf),
    /// Nothing: this worker is to ask, under its mark in the zone where it could set one.
    Lead(Option<Lead>, AsOf),
}

/// Looks for a fresh answer, from the nearest place to the farthest, and for the call under way, so that
/// exactly one is. `joinable` names this worker's own call, where requests that come now may wait for it,
/// and how long its location keeps answers; `None` where there may be an answer yet.
#[inline]
pub(crate) fn look<C>(
    worker: &mut Worker,
    query: &Query<'_>,
    joinable: impl FnOnce(AsOf) -> Option<(C, Option<CacheTimes>)>,
) -> Look<C> {
    let as_of = worker.as_of(&query.key.token);
    match near(worker, query, as_of.generation) {
        None => {}
        Some((cached, Standing::Doubted { since_ms })) => return Look::Doubted(cached, since_ms),
        Some((cached, _)) => return Look::Known(Finding::Active(cached)),
    }
    match joinable(as_of) {
        None => shared(worker, query, as_of),
        Some((call, callers)) => match kept_longer(worker, query, callers, as_of.generation) {
            Some(finding) => Look::Known(finding),
            None => Look::Join(call),
        },
    }
}

/// Looks again, where the mark of the call that was followed is gone.
pub(crate) fn look_again<C>(worker: &mut Worker, query: &Query<'_>) -> Look<C> {
    let as_of = worker.as_of(&query.key.token);
    shared(worker, query, as_of)
}

/// This worker's own cache: no copy, and no lock that could be waited for.
#[inline]
fn near(
    worker: &mut Worker,
    query: &Query<'_>,
    generation: Generation,
) -> Option<(Rc<Cached>, Standing)> {
    let key = query.key;
    let purges = worker.purges;
    let cached = worker.local.get(key, generation)?;
    let standing = cached.standing(purges, &key.token);
    let (now_ms, now) = (now_ms(), now_secs());
    if !standing.serves(now_ms) {
        worker.local.remove(key);
        return None;
    }
    let fresh_within =
        |valid_ms| lifetime::freshness(&cached.life, valid_ms, 0, now_ms, now) == Freshness::Fresh;
    if !fresh_within(query.times.valid_ms) {
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
        if query.zone.if_unlocked(|locked| locked.touch(key)).is_some() {
            cached.touched.set(now_ms);
        }
    }
    Some((cached, standing))
}

/// The zone: a fresh answer and, in the same breath, the call that is under way.
fn shared<C>(worker: &mut Worker, query: &Query<'_>, mut as_of: AsOf) -> Look<C> {
    let Query { zone, key, times, deadline } = *query;
    let (state, slot, purges) = (worker.state, worker.slot, worker.purges);
    let call = state.next_flight_id();
    let (now_ms, now) = (now_ms(), now_secs());
    let mut is_neighbour = false;
    loop {
        let record = &mut worker.record;
        let step = zone.locked(|locked| {
            // Anew under the lock, as inactive answers count: a call that is begun now comes after all
            // of those whose marks are gone.
            as_of.generation = state.generation(&key.token);
            match locked.find(key, record) {
                Find::NeedSpace(bytes) => return Step::NeedSpace(bytes),
                Find::Miss => {}
                Find::Hit => {
                    let standing = record.facts().standing(purges, &key.token);
                    let is_fresh = is_fresh(record, times, now_ms, now);
                    match standing.serves(now_ms) {
                        true if is_fresh => return Step::Hit(standing),
                        true => {}
                        // Nor may it serve as a stale one.
                        false => {
                            locked.remove(key);
                            is_neighbour = is_fresh && standing == Standing::Neighbour;
                        }
                    }
                }
            }
            let Some(slot) = slot else { return Step::Alone };
            let seen = permit::seen(purges, &key.token, as_of);
            let mine = permit::call(call, slot, deadline, seen);
            match locked.join_or_lead(key, &mine, Here { alive: &process::exists, ..here() }) {
                Joined::Lead => Step::Lead,
                Joined::Follow { flight, .. } => Step::Follow { call: flight, slot },
                Joined::Full => Step::Alone,
            }
        });
        if mem::take(&mut is_neighbour) {
            counters::uncached(worker, UncachedReason::Neighbour);
        }
        let record = &mut worker.record;
        return match step {
            Some(Step::NeedSpace(bytes)) if record.reserve(bytes).is_ok() => continue,
            Some(Step::Hit(standing)) => {
                match (keep_near(worker, key, as_of.generation), standing) {
                    (Some(Finding::Active(cached)), Standing::Doubted { since_ms }) => {
                        Look::Doubted(cached, since_ms)
                    }
                    (Some(finding), _) => Look::Known(finding),
                    (None, _) => Look::Lead(None, as_of),
                }
            }
            Some(Step::Lead) => Look::Lead(Some(Lead::new(zone, key, call)), as_of),
            Some(Step::Follow { call, slot }) => {
                Look::Follow(Follow::new(zone, key, call, slot), as_of)
            }
            // No lock in time, or no memory: the request goes on as an uncached miss.
            Some(Step::Alone | Step::NeedSpace(_)) | None => Look::Lead(None, as_of),
        };
    }
}

enum Step {
    Hit(Standing),
    NeedSpace(usize),
    Lead,
    Follow { call: u64, slot: u8 },
    Alone,
}

/// What the zone holds for a location that keeps answers longer than the one whose call is under way, or
/// while that call is to replace it: it need not wait for it.
fn kept_longer(
    worker: &mut Worker,
    query: &Query<'_>,
    callers: Option<CacheTimes>,
    generation: Generation,
) -> Option<Finding> {
    let times = query.times;
    if callers.is_some_and(|callers| {
        times.valid_ms <= callers.valid_ms && times.inactive_ms <= callers.inactive_ms
    }) {
        return None;
    }
    find(worker, query.zone, query.key)?;
    if !is_fresh(&worker.record, times, now_ms(), now_secs()) || !is_good(worker, query.key) {
        return None;
    }
    keep_near(worker, query.key, generation)
}

/// What came of looking whether an entry is to be asked for anew.
pub(crate) enum Anew {
    /// This worker is to ask, under its mark in the zone.
    Lead(Lead, AsOf),
    /// It is, where it `may`, and it may not, or there is no room for its mark.
    Dropped,
    /// A call is out.
    Out,
    /// Not before this, in monotonic milliseconds.
    NotBefore(u64),
    /// What is known is not this entry any more, or nobody can tell now.
    Nothing,
}

/// Looks whether anybody asks anew for what this worker has served, and takes the lead where nobody does
/// and this worker `may`. It waits for no lock: who is served is not to be kept.
pub(crate) fn lead_anew(
    worker: &mut Worker,
    query: &Query<'_>,
    cached: &Cached,
    may: bool,
) -> Anew {
    let Query { zone, key, deadline, .. } = *query;
    let (state, purges, Some(slot)) = (worker.state, worker.purges, worker.slot) else {
        return Anew::Nothing;
    };
    let mut as_of = worker.as_of(&key.token);
    let call = state.next_flight_id();
    let found = zone.if_unlocked(|locked| {
        // Under the lock, as in `shared`.
        as_of.generation = state.generation(&key.token);
        if !as_of.generation.has_purges_of(cached.generation) {
            return Renewal::Replaced;
        }
        let seen = permit::seen(purges, &key.token, as_of);
        let mine = permit::call(call, slot, deadline, seen);
        let here = Here { alive: &process::exists, ..here() };
        locked.renew(key, cached.life.stored, may.then_some(&mine), here)
    });
    match found {
        None => Anew::Nothing,
        Some(Renewal::Lead) => Anew::Lead(Lead::new(zone, key, call), as_of),
        Some(Renewal::Free | Renewal::Full) => Anew::Dropped,
        Some(Renewal::Out) => Anew::Out,
        Some(Renewal::NotBefore(at)) => Anew::NotBefore(at),
        Some(Renewal::Replaced) => {
            worker.local.remove(key);
            Anew::Nothing
        }
    }
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
    if worker.record.kind() != Kind::Active || usable == Freshness::Gone || !is_good(worker, key) {
        return None;
    }
    cached_of(&worker.record, generation)
}

/// Forgets the active answer that is kept of a key, near and in the zone, where it `is_useless`.
pub(crate) fn forget(
    worker: &mut Worker,
    zone: Option<&Zone>,
    key: &Key,
    is_useless: impl Fn(&Facts<'_>) -> bool,
) {
    worker.local.remove(key);
    let Some(zone) = zone else { return };
    let found = find(worker, zone, key);
    if found.is_some() && worker.record.kind() == Kind::Active && is_useless(&worker.record.facts())
    {
        // Another worker's answer may have come since: that is lost, which costs a call.
        zone.locked(|locked| locked.remove(key));
    }
}

/// Copies the entry of a key into the worker's record, whatever its age.
fn find(worker: &mut Worker, zone: &Zone, key: &Key) -> Option<()> {
    loop {
        let record = &mut worker.record;
        match zone.locked(|locked: &mut Locked<'_>| locked.find(key, record))? {
            Find::Hit => return Some(()),
            Find::Miss => return None,
            Find::NeedSpace(bytes) => record.reserve(bytes).ok()?,
        }
    }
}

/// Whether nothing that the worker's record is about was purged since it was asked for.
fn is_good(worker: &Worker, key: &Key) -> bool {
    worker.record.facts().standing(worker.purges, &key.token).serves(now_ms())
}

fn is_fresh(record: &Record, times: &CacheTimes, now_ms: u64, now: u64) -> bool {
    let valid = match record.kind() {
        Kind::Active => times.valid_ms,
        Kind::Inactive => times.inactive_ms,
    };
    lifetime::freshness(&record.facts().life, valid, 0, now_ms, now) == Freshness::Fresh
}

/// What the zone gave, which the worker keeps near where it is active. `None` without memory for it.
fn keep_near(worker: &mut Worker, key: &Key, generation: Generation) -> Option<Finding> {
    if worker.record.kind() == Kind::Inactive {
        return Some(Finding::Inactive);
    }
    let cached = cached_of(&worker.record, generation)?;
    worker.local.insert(*key, &cached);
    Some(Finding::Active(cached))
}

/// The worker's record as an answer of its own; `None` where it holds none, or there is no memory.
fn cached_of(record: &Record, generation: Generation) -> Option<Rc<Cached>> {
    if record.kind() != Kind::Active {
        return None;
    }
    Cached::new(&record.facts(), generation, now_ms())
}
