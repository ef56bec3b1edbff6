//! Asking anew for an answer while it serves: before it ends (`phantom_token_cache_refresh_ahead`), or where
//! purges of it may have been missed, so that it serves for a while only.
//!
//! A hit begins one call for all workers, for which nobody waits. It is an
//! introspection like any other, under the mark of its key: who comes once the entry has ended joins it. But
//! no request may be worse off for it. Who has joined a call that fails has one made of its own.

use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::lifetime::{self, Ahead};
use phantom_token_engine::local::Cached;
use phantom_token_engine::memory::NoMemory;
use phantom_token_engine::shared::counters::RefreshResult;
use phantom_token_engine::shared::health::Availability;

use crate::cache::{self, Anew, Query};
use crate::conf::Policy;
use crate::conf::endpoints::PolicyEndpoint;
use crate::conf::request::Values;
use crate::finding::Finding;
use crate::flight::desk::Desk;
use crate::flight::{Flight, Question, Role};
use crate::nginx::log::{Cycle, debug};
use crate::nginx::sys::{exiting, now_ms};
use crate::operate::counters;

/// How long a worker leaves a call that is out alone before it looks after it again, in milliseconds, at
/// most: its own hits of one key would all take the zone's lock.
const LOOK_MS: u64 = 1_000;

/// What a flight that nobody asked for is to replace.
#[derive(Clone, Copy)]
pub(super) struct Refresh {
    ahead: Ahead,
    /// When the entry was stored, in monotonic milliseconds.
    pub(super) stored: u64,
    /// When the flight began.
    pub(super) began: u64,
}

/// Whether what serves now may be near enough to its end to be asked for anew.
#[inline]
pub(super) fn may_be_due(question: &Question<'_>, cached: &Cached) -> bool {
    let times = &question.policy.cache;
    now_ms() + times.ahead_ms >= lifetime::end(&cached.life, times.valid_ms)
}

/// Begins a call for what serves a question, where it is due and nobody has begun one. It may be in doubt
/// since `doubted`, in monotonic milliseconds.
#[cold]
pub(super) fn begin_if_due(
    desk: &mut Desk,
    mut question: Question<'_>,
    cached: &Cached,
    doubted: Option<u64>,
) {
    let policy = question.policy;
    let (times, now) = (&policy.cache, now_ms());
    let Some(zone) = &policy.zone else { return };
    let (key, life) = (question.key, &cached.life);
    let ahead = match doubted {
        Some(since_ms) => Some(lifetime::after_gap(since_ms, key.spread())),
        None => lifetime::ahead(life, times.valid_ms, times.ahead_ms, times.control, key.spread()),
    };
    // What is left to do is the next workers'.
    let Some(ahead) = ahead.filter(|ahead| now >= ahead.begin && !exiting()) else { return };
    // What was put off before there was doubt is not.
    let not_before = cached.not_before.get();
    if now < not_before && (doubted.is_none() || not_before <= now + LOOK_MS) {
        return;
    }
    let look_again = now + (ahead.end.saturating_sub(now) / 8).clamp(1, LOOK_MS);
    // The request's own time is none of the call's.
    question.deadline = now + policy.timeout_ms;
    let query = Query { zone, key: &key, times, deadline: question.deadline };
    let may = has_room(desk, doubted.is_some()) && may_begin(desk, &question);
    match cache::lead_anew(&mut desk.worker, &query, cached, may) {
        Anew::Nothing => {}
        Anew::NotBefore(at) => cached.not_before.set(at),
        Anew::Out => cached.not_before.set(look_again),
        // Many are in doubt at once: its turn may come.
        Anew::Dropped if doubted.is_some() => cached.not_before.set(look_again),
        Anew::Dropped => {
            counters::refresh(&desk.worker, RefreshResult::Dropped);
            cached.not_before.set(ahead.half_of_rest(now));
        }
        Anew::Lead(lead, as_of) => {
            cached.not_before.set(now + 1);
            let refresh = Refresh { ahead, stored: life.stored, began: now };
            let began = Flight::new(question, Role::Leader(lead), as_of)
                .and_then(|flight| flight.begin_refresh(desk, refresh));
            if let Err(NoMemory) = began {
                counters::refresh(&desk.worker, RefreshResult::Dropped);
                cached.not_before.set(ahead.half_of_rest(now));
            }
        }
    }
}

/// Whether one more call may be made that nobody waits for: no more than half of what may be pending is in
/// use. Where `many` are to be made, they take no more than that half.
fn has_room(desk: &Desk, many: bool) -> bool {
    let half = desk.max_pending / 2;
    if many { desk.pending < half.max(1) } else { desk.pending <= half }
}

/// Whether the endpoint that would be asked has nothing against a call that nobody waits for.
fn may_begin(desk: &Desk, question: &Question<'_>) -> bool {
    let endpoints = &question.policy.introspection.endpoints;
    let is_up = |endpoint: &&PolicyEndpoint| {
        let id = endpoint.id(&desk.worker.state);
        desk.worker.state.endpoints().available(id, &endpoint.limits, now_ms())
            != Availability::Resting
    };
    let asks = |endpoint| {
        let values = (&question.headers, &question.params);
        takes_more(desk, question.policy, endpoint, values)
    };
    endpoints.iter().find(is_up).is_some_and(asks)
}

/// Whether an endpoint takes calls that nobody waits for: its gate is not shut, and no 429 lasts.
fn takes_more(
    desk: &Desk,
    policy: &Policy,
    endpoint: &PolicyEndpoint,
    (headers, params): (&Values, &Values),
) -> bool {
    let (state, now) = (&desk.worker.state, now_ms());
    let gate = policy.introspection.gate(state, endpoint, headers, params);
    !state.gates().is_shut(gate, now) && !state.endpoints().is_rate_limited(endpoint.id(state), now)
}

impl Flight {
    /// Sends the call out.
    fn begin_refresh(
        mut self: Box<Self>,
        desk: &mut Desk,
        refresh: Refresh,
    ) -> Result<(), NoMemory> {
        desk.flights.reserve()?;
        self.refresh_ahead = Some(refresh);
        self.id = desk.flights.begin();
        let (id, key) = (self.id, self.key);
        debug!(
            Cycle,
            "introspection flight {} begins ahead, for token {}",
            self.call(desk),
            key.token
        );
        desk.flights.admit(key, id);
        let flight = match self.attempt(desk) {
            Ok(()) => Some(self),
            Err(_) => self.refresh_failed(desk, RefreshResult::Dropped),
        };
        desk.flights.put_back(id, flight);
        Ok(())
    }

    /// Whether the next attempt may be made at an endpoint: one that somebody waits for always may.
    pub(super) fn may_ask(&self, desk: &Desk, endpoint: &PolicyEndpoint) -> bool {
        self.refresh_ahead.is_none()
            || !self.waiters.is_empty()
            || takes_more(desk, &self.policy, endpoint, (&self.headers, &self.params))
    }

    /// Nothing was learnt: what serves goes on, and no worker asks again before half of its rest has
    /// passed. Those who have joined meanwhile, since it has ended, ask as if they came now.
    pub(super) fn refresh_failed(
        mut self: Box<Self>,
        desk: &mut Desk,
        result: RefreshResult,
    ) -> Option<Box<Self>> {
        let Some(refresh) = self.refresh_ahead.take() else { return Some(self) };
        counters::refresh(&desk.worker, result);
        let (policy, key) = (self.policy.clone(), self.key);
        if let Some(zone) = &policy.zone {
            let not_before = refresh.ahead.half_of_rest(now_ms());
            zone.locked(|locked| locked.postpone(&key, refresh.stored, not_before));
        }
        // Those who follow in other workers find the mark gone, and begin anew too.
        self.role = Role::Alone;
        if self.waiters.is_empty() {
            desk.flights.detach(&key, self.id);
            return None;
        }
        (self.next, self.failed) = (0, None);
        self.forget_store();
        if desk.followers.try_reserve(1).is_err() {
            return self.tell(desk, &Finding::Failed(FailureKind::Internal.into()));
        }
        self.look_again(desk)
    }
}
