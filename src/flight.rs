//! Flights: one introspection of one token as one identity, and the requests that wait for it.
//!
//! A flight owns its thread task and belongs to no request: a client that leaves is freed at once,
//! and the call lives on without it. Requests, the first one too, are waiters ([`Wait`]), each with
//! a deadline and a resuming event of its own.
//!
//! A flight calls the server itself, or follows another worker's call under that worker's mark in
//! the zone. The event loop chooses endpoints, keeps their health and stores the answer; a pool
//! thread only makes the call ([`work`]).

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phantom_token_core::answer::Answer;
use phantom_token_core::arena::{self, Answer as Mark, AnsweredFor, Entry, Owner, Poll};
use phantom_token_core::client::Call;
use phantom_token_core::form;
use phantom_token_core::grant::Grant;
use phantom_token_core::health::{Availability, EndpointId, Gate, Transition, Trial};
use phantom_token_core::key::Key;
use phantom_token_core::lifetime::{self, Keep, Life, Uncached};
use phantom_token_core::local::Cached;
use phantom_token_core::lock;
use phantom_token_core::state::{Generation, Notice, hash_of};
use zeroize::Zeroizing;

use crate::cache::{self, Found, Texts};
use crate::conf::policy::{Policy, PolicyEndpoint};
use crate::guard;
use crate::log::{debug, error, notice, warning};
use crate::metrics::{self, CallResult, FailureReason, UncachedReason};
use crate::outcome::{Fail, Outcome, Why};
use crate::sys::*;
use crate::worker::{self, Worker};
use crate::zone::ZoneRef;

mod failures;
mod poller;
mod wait;
mod work;

pub(crate) use failures::Failures;
pub(crate) use poller::Poller;
pub(crate) use wait::Wait;
use work::{Attempt, Done, Work};

/// Requests that may wait for one key in one worker.
const MAX_WAITERS: usize = 1_000;

/// What a request brings to the introspection of its token.
pub(crate) struct Question<'a> {
    pub(crate) key: Key,
    pub(crate) token: &'a [u8],
    pub(crate) policy: &'a Rc<Policy>,
    /// The values of extra headers and parameters, in their order.
    pub(crate) headers: Vec<Vec<u8>>,
    pub(crate) params: Vec<Vec<u8>>,
    /// Ask anew, whatever is kept (`phantom_token_cache_bypass`).
    pub(crate) refresh: bool,
    /// When the request gives up, in NGINX's monotonic milliseconds.
    pub(crate) deadline: u64,
    pub(crate) log: *mut ngx_log_t,
}

/// What became of a question.
pub(crate) enum Asked {
    /// Known already.
    Known(Outcome),
    /// The request waits.
    Waiting(Box<Wait>),
}

/// One introspection under way.
pub(crate) struct Flight {
    task: ngx_thread_task_t,
    /// Shared with the pool thread by pointer: not in a `Box`, which would claim to be alone.
    work: Option<Arc<Work>>,
    key: Key,
    token: Zeroizing<Vec<u8>>,
    policy: Rc<Policy>,
    headers: Vec<Vec<u8>>,
    params: Vec<Vec<u8>>,
    /// Under which number the zone knows it.
    id: u64,
    role: Role,
    /// Requests of this worker may join it: it is in the worker's map.
    joinable: bool,
    refresh: bool,
    /// What was purged when it began: a later purge of its token makes its answer worthless.
    generation: Generation,
    waiters: Vec<NonNull<Wait>>,
    /// The next endpoint to try.
    next: usize,
    trial: Option<Trial>,
    /// The failure that stands if no endpoint is left.
    failed: Option<Fail>,
    /// Why its active answer is not kept.
    uncached: Option<UncachedReason>,
    deadline: u64,
    /// Everyone was told: nothing points to it any more, and whoever called frees it.
    over: bool,
}

/// Who makes the call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// This worker, alone.
    Alone,
    /// This worker, for all: its mark is in the zone.
    Leader,
    /// Another worker.
    Follower,
}

/// Asks for the answer to a question: from the zone, from a call under way, or by a new call.
pub(crate) fn ask(worker: &mut Worker, question: Question<'_>) -> Asked {
    let key = question.key;
    let generation = worker.state.generation(&key.token);
    let shares = question.policy.zone.is_some() && !question.refresh;

    if shares && let Some(flight) = worker.flights.get(&question.key).copied() {
        let join = |flight: &mut Flight| {
            if flight.generation == generation {
                return Some(flight.join(worker, question.deadline, false));
            }
            // Purged since: those who came before keep it, nobody else gets it.
            flight.detach(worker);
            None
        };
        // SAFETY: the map holds live flights only; each is removed before it is freed.
        if let Some(asked) = unsafe { Flight::with(flight, join) } {
            return asked;
        }
    }

    let id = worker.state.next_flight_id();
    let (role, id) = match question.policy.zone {
        Some(zone) if shares => {
            let times = &question.policy.cache;
            match cache::shared(worker, &zone, &key, times, id, question.deadline) {
                Found::Granted(cached) => return Asked::Known(Outcome::Granted(cached)),
                Found::Inactive => return Asked::Known(Outcome::Inactive),
                Found::Lead { marked: true } => (Role::Leader, id),
                Found::Lead { marked: false } => (Role::Alone, id),
                Found::Follow { flight } => (Role::Follower, flight),
            }
        }
        _ => (Role::Alone, id),
    };
    // Only now: what is known, or asked for by another worker, takes no call of ours.
    if role != Role::Follower && worker.pending >= worker.max_pending {
        if let (Role::Leader, Some(zone)) = (role, question.policy.zone) {
            zone.locked(|locked| locked.cancel(&key, id));
        }
        overflow(worker, question.log, "too many introspection calls are pending");
        return Asked::Known(Outcome::Failed(Fail::of(Why::Overflow)));
    }

    debug!(question.log, "introspection flight {id} begins");
    let deadline = question.deadline;
    let flight = Flight::begin(question, role, id, generation);
    if shares {
        worker.flights.insert(key, flight);
    }
    let depart = |flight: &mut Flight| {
        flight.joinable = shares;
        if role == Role::Follower {
            flight.follow(worker);
            return flight.join(worker, deadline, false);
        }
        let waiting = flight.join(worker, deadline, true);
        match flight.attempt(worker) {
            Ok(()) => waiting,
            Err(fail) => {
                let outcome = Outcome::Failed(fail);
                flight.resolve(worker, &outcome, Keeping::Leave);
                Asked::Known(outcome)
            }
        }
    };
    // SAFETY: just made.
    unsafe { Flight::with(flight, depart) }
}

fn overflow(worker: &Worker, log: *mut ngx_log_t, what: &str) {
    metrics::failure(worker, None, FailureReason::Overflow);
    if worker.state.once(Notice::Overflow, 0, now_ms(), Some(60_000)) {
        error!(
            log,
            "{what}: answering 503; see phantom_token_max_pending, thread_pool and the authorization server's answering time"
        );
    }
}

impl Flight {
    fn begin(question: Question<'_>, role: Role, id: u64, generation: Generation) -> NonNull<Self> {
        let flight = Box::new(Self {
            // SAFETY: NGINX itself begins with zeroed tasks (ngx_thread_task_alloc).
            task: unsafe { core::mem::zeroed() },
            work: None,
            key: question.key,
            token: Zeroizing::new(question.token.to_vec()),
            policy: Rc::clone(question.policy),
            headers: question.headers,
            params: question.params,
            id,
            role,
            joinable: false,
            refresh: question.refresh,
            generation,
            waiters: Vec::new(),
            next: 0,
            trial: None,
            failed: None,
            uncached: None,
            deadline: question.deadline,
            over: false,
        });
        NonNull::from(Box::leak(flight))
    }

    /// Makes a request wait for this flight.
    fn join(&mut self, worker: &mut Worker, deadline: u64, first: bool) -> Asked {
        if self.waiters.len() >= MAX_WAITERS {
            overflow(worker, guard::cycle_log(), "too many requests wait for one token");
            return Asked::Known(Outcome::Failed(Fail::of(Why::Overflow)));
        }
        let wait =
            Wait::new(NonNull::from(&mut *self), self.waiters.len(), self.key, deadline, first);
        self.waiters.push(NonNull::from(&*wait));
        metrics::waiting(worker, 1);
        Asked::Waiting(wait)
    }

    /// A request leaves: its client has gone, or its deadline has passed.
    fn leave(&mut self, worker: &mut Worker, index: usize) {
        self.waiters.swap_remove(index);
        metrics::waiting(worker, -1);
        if let Some(moved) = self.waiters.get(index) {
            // SAFETY: a waiter is unlinked before it is freed.
            unsafe { (*moved.as_ptr()).set_index(index) };
        }
        if !self.waiters.is_empty() {
            return;
        }
        if self.role == Role::Follower {
            let (key, id) = (self.key, self.id);
            if let (Some(zone), Some(slot)) = (self.policy.zone, worker.slot) {
                zone.locked(|locked| locked.leave(&key, id, slot));
            }
            self.detach(worker);
            self.unfollow(worker);
            self.over = true;
        } else if !self.is_followed(worker)
            && self.work.as_ref().is_some_and(|work| work.drop_unsent())
        {
            // Nobody waits, and nothing was sent. The flight is freed when the pool hands its task
            // back.
            self.detach(worker);
            self.unmark();
        }
    }

    /// No further request joins.
    fn detach(&mut self, worker: &mut Worker) {
        if self.joinable {
            self.joinable = false;
            if worker.flights.get(&self.key).is_some_and(|known| ptr::eq(known.as_ptr(), self)) {
                worker.flights.remove(&self.key);
            }
        }
    }

    /// Looks after another worker's call from now on.
    fn follow(&mut self, worker: &mut Worker) {
        worker.followers.push(NonNull::from(&mut *self));
        worker.poller.run();
    }

    fn unfollow(&mut self, worker: &mut Worker) {
        worker.followers.retain(|flight| !ptr::eq(flight.as_ptr(), self));
    }

    /// Whether requests of other workers wait for this flight.
    fn is_followed(&self, worker: &Worker) -> bool {
        let (key, id) = (self.key, self.id);
        match self.policy.zone {
            Some(zone) if self.role == Role::Leader && worker.slot.is_some() => {
                zone.locked(|locked| locked.followers(&key, id)).flatten().unwrap_or(0) > 0
            }
            _ => false,
        }
    }

    /// Takes this flight's mark out of the zone without an answer.
    fn unmark(&mut self) {
        if self.role == Role::Leader {
            self.role = Role::Alone;
            let (key, id) = (self.key, self.id);
            if let Some(zone) = self.policy.zone {
                zone.locked(|locked| locked.cancel(&key, id));
            }
        }
    }

    /// Works on a flight, and frees it where that ended it.
    ///
    /// # Safety
    /// `flight` must be live, and not be worked on by a caller of the caller; it must not be used
    /// afterwards unless something still points to it: its task, a waiter or the worker's lists.
    unsafe fn with<T>(flight: NonNull<Self>, work: impl FnOnce(&mut Self) -> T) -> T {
        // SAFETY: live, and the only reference (see above).
        let (out, over) = unsafe {
            let flight = &mut *flight.as_ptr();
            (work(flight), flight.over)
        };
        if over {
            // SAFETY: leaked by `begin`; an ended flight is in no list, and has no task and no
            // waiter that points to it.
            drop(unsafe { Box::from_raw(flight.as_ptr()) });
        }
        out
    }

    /// Posts one attempt at the next endpoint that is not resting.
    fn attempt(&mut self, worker: &mut Worker) -> Result<(), Fail> {
        let now = now_ms();
        let left = self.deadline.saturating_sub(now);
        if left == 0 {
            return Err(self.failed.unwrap_or(Fail::of(Why::Timeout)));
        }
        let policy = Rc::clone(&self.policy);
        let mut soonest = None;
        while let Some(endpoint) = policy.introspection.endpoints.get(self.next) {
            self.next += 1;
            let id = endpoint_id(worker, endpoint);
            if let Gate::Closed { .. } = worker.state.credentials_gate(endpoint.client_hash, now) {
                metrics::failure(worker, id, FailureReason::Credentials);
                return Err(Fail::of(Why::Credentials));
            }
            match worker.state.available(
                id,
                &endpoint.limits,
                pid(),
                now,
                self.deadline,
                lock::alive,
            ) {
                Availability::Resting { left_ms } => {
                    soonest = Some(soonest.map_or(left_ms, |least: u64| least.min(left_ms)));
                    continue;
                }
                Availability::Trial(trial) => self.trial = Some(trial),
                Availability::Up => self.trial = None,
            }
            // What is left is shared with the endpoints still to come, but never less than it
            // takes to connect.
            let others = policy.introspection.endpoints.len() - self.next;
            let connect = policy.connect_timeout.as_millis() as u64;
            let share = (left / (others as u64 + 1)).max(connect.min(left));
            return self.post(worker, endpoint, share);
        }
        match (self.failed, soonest) {
            (Some(failed), _) => Err(failed),
            (None, Some(left_ms)) => {
                metrics::failure(worker, None, FailureReason::Resting);
                Err(Fail::resting(left_ms))
            }
            (None, None) => Err(Fail::of(Why::Internal)),
        }
    }

    /// Hands one attempt to the thread pool.
    fn post(
        &mut self,
        worker: &mut Worker,
        endpoint: &PolicyEndpoint,
        share_ms: u64,
    ) -> Result<(), Fail> {
        let work = Arc::new(Work::new(self.call(endpoint, share_ms), self.policy.forward));
        // SAFETY: the task and its work live in this flight until completion, which is handled on
        // the event loop; a zeroed task is how NGINX begins.
        let posted = unsafe {
            self.task = core::mem::zeroed();
            self.task.handler = Some(work::run);
            self.task.ctx = Arc::as_ptr(&work).cast_mut().cast::<c_void>();
            self.task.event.data = ptr::from_mut(self).cast();
            self.task.event.handler = Some(completed);
            self.task.event.log = guard::cycle_log();
            self.work = Some(work);
            ngx_thread_task_post(self.policy.thread_pool, &mut self.task) == OK
        };
        if !posted {
            self.work = None;
            if let Some(trial) = self.trial.take() {
                worker.state.trial_abandoned(endpoint_id(worker, endpoint), trial);
            }
            metrics::failure(worker, None, FailureReason::Overflow);
            return Err(Fail::of(Why::Overflow));
        }
        worker.pending += 1;
        metrics::pending(worker, 1);
        Ok(())
    }

    fn call(&self, endpoint: &PolicyEndpoint, share_ms: u64) -> Call {
        let introspection = &self.policy.introspection;
        let text = |text: &'static str| text.as_bytes();
        let mut params: Vec<(&[u8], &[u8])> = Vec::new();
        if let Some(hint) = &introspection.token_type_hint {
            params.push((text("token_type_hint"), hint));
        }
        if let Some((id, secret)) = &introspection.form_credentials {
            params.push((text("client_id"), id));
            params.push((text("client_secret"), &secret.bytes));
        }
        for (param, value) in introspection.params.iter().zip(&self.params) {
            params.push((param.name.as_bytes(), value));
        }
        let headers = introspection.headers.iter().zip(&self.headers);
        Call {
            endpoint: endpoint.endpoint.clone(),
            tls: introspection.tls.clone(),
            authorization: introspection.authorization.clone(),
            accept: introspection.accept.clone(),
            headers: headers
                .filter(|(_, value)| !value.is_empty())
                .map(|(header, value)| (header.name.clone(), value.clone()))
                .collect(),
            body: form::introspection_body(&self.token, params),
            deadline: Instant::now() + Duration::from_millis(share_ms),
            connect_timeout: self.policy.connect_timeout,
        }
    }

    /// One attempt has ended: tries the next endpoint, or tells everyone.
    fn complete(&mut self, worker: &mut Worker) {
        worker.pending = worker.pending.saturating_sub(1);
        metrics::pending(worker, -1);
        let Some(work) = self.work.take() else { return };
        let done = work.take();
        drop(work);
        metrics::queued(worker, done.queued);
        if !matches!(done.result, Attempt::Unsent) {
            metrics::took(worker, done.took);
        }

        let policy = Rc::clone(&self.policy);
        let endpoint = &policy.introspection.endpoints[self.next - 1];
        let id = endpoint_id(worker, endpoint);
        let settled = self.settle(worker, endpoint, done);
        if let Some(trial) = self.trial.take() {
            // Where the call's end said something about the endpoint, this changes nothing.
            worker.state.trial_abandoned(id, trial);
        }
        match settled {
            Settled::Outcome(outcome, keeping) => self.resolve(worker, &outcome, keeping),
            Settled::NextEndpoint(fail) => {
                self.failed = Some(fail);
                if let Err(fail) = self.attempt(worker) {
                    self.resolve(worker, &Outcome::Failed(fail), Keeping::Leave);
                }
            }
        }
    }

    /// What an attempt's end means: for the endpoint's health, the logs, the counters and the flight.
    fn settle(&mut self, worker: &mut Worker, endpoint: &PolicyEndpoint, done: Done) -> Settled {
        let log = guard::cycle_log();
        let label = endpoint.endpoint.label();
        let id = endpoint_id(worker, endpoint);
        let alone = self.policy.introspection.endpoints.len() == 1;
        match done.result {
            Attempt::Unsent => {
                let fail = Fail::of(Why::Timeout);
                if self.waiters.is_empty() {
                    return Settled::Outcome(Outcome::Failed(fail), Keeping::Leave);
                }
                metrics::failure(worker, id, fail.label());
                worker.failures.say(format!(
                    "introspection at \"{label}\" was not begun in time: the thread pool's queue is long, give the pool more threads"
                ));
                Settled::Outcome(Outcome::Failed(fail), Keeping::Leave)
            }
            Attempt::Panicked(place) => {
                crate::log::crit!(log, "caught a panic in introspection at {place}");
                Settled::Outcome(Outcome::Failed(Fail::of(Why::Internal)), Keeping::Leave)
            }
            Attempt::Failed(error) => {
                let fail = Fail::of_call(&error);
                metrics::introspection(worker, id, CallResult::Failed);
                metrics::failure(worker, id, fail.label());
                let advice = fail.advice();
                worker
                    .failures
                    .say(format!("introspection at \"{label}\" failed: {error}; {advice}"));
                if matches!(fail.why, Why::Connect | Why::Tls | Why::Timeout) {
                    self.count_failure(worker, endpoint);
                }
                Settled::NextEndpoint(fail)
            }
            Attempt::Answered(Answer::Failed(failure), _) => {
                let fail = Fail::of_answer(failure);
                metrics::introspection(worker, id, CallResult::Failed);
                metrics::failure(worker, id, fail.label());
                if fail.why == Why::Credentials {
                    worker.state.credentials_refused(endpoint.client_hash, now_ms());
                }
                let encoded =
                    fail.why == Why::Credentials && self.policy.introspection.secret_is_encoded;
                let hint = match encoded {
                    true => ", or try \"phantom_token_client_auth basic_raw\"",
                    false => "",
                };
                let advice = fail.advice();
                worker
                    .failures
                    .say(format!("introspection at \"{label}\" failed: {failure}; {advice}{hint}"));
                if failure.is_outage() && !alone {
                    self.count_failure(worker, endpoint);
                    return Settled::NextEndpoint(fail);
                }
                self.count_success(worker, endpoint);
                Settled::Outcome(Outcome::Failed(fail), Keeping::Leave)
            }
            Attempt::Answered(Answer::Inactive(skew), _) => {
                metrics::introspection(worker, id, CallResult::Inactive);
                self.count_success(worker, endpoint);
                worker.state.credentials_accepted(endpoint.client_hash);
                if let Some(skew) = skew
                    && worker.state.once(
                        Notice::ClockSkew,
                        endpoint.client_hash,
                        now_ms(),
                        Some(60_000),
                    )
                {
                    warning!(
                        log,
                        "\"{label}\" calls a token active that expired {} seconds ago: check both clocks",
                        skew.0
                    );
                }
                let times = &self.policy.cache;
                let keeping = match times.inactive_ms {
                    0 => Keeping::Forget,
                    valid_ms => Keeping::Store(Life::of_inactive(now_ms(), valid_ms)),
                };
                Settled::Outcome(Outcome::Inactive, keeping)
            }
            Attempt::Answered(Answer::Active(grant), response) => {
                metrics::introspection(worker, id, CallResult::Active);
                self.count_success(worker, endpoint);
                worker.state.credentials_accepted(endpoint.client_hash);
                let times = self.policy.cache;
                let (keep, overruled) = lifetime::keep(
                    &response,
                    times.control,
                    times.valid_ms,
                    grant.exp,
                    now_ms(),
                    now_secs(),
                );
                if overruled.0
                    && self.policy.zone.is_some()
                    && worker.state.once(
                        Notice::CacheControlOverruled,
                        endpoint.client_hash,
                        now_ms(),
                        None,
                    )
                {
                    notice!(
                        log,
                        "\"{label}\" forbids caching by Cache-Control, which is overruled: see phantom_token_cache_control"
                    );
                }
                self.granted(worker, grant, keep)
            }
        }
    }

    /// An active answer, and whether it is kept.
    fn granted(&mut self, worker: &mut Worker, grant: Grant, keep: Keep) -> Settled {
        let (life, keeping) = match keep {
            Keep::Yes(life) if self.policy.zone.is_some() => (life, Keeping::Store(life)),
            Keep::Yes(life) => {
                self.not_kept(worker, UncachedReason::CacheOff);
                (life, Keeping::Leave)
            }
            Keep::No(why) => {
                if let Some(reason) = UncachedReason::from_word(why.reason()) {
                    self.not_kept(worker, reason);
                }
                let life = Life {
                    stored: now_ms(),
                    until: Some(now_ms()),
                    exp: grant.exp,
                    may_stale: false,
                };
                let keeping = match why {
                    // This location keeps nothing; what others keep is theirs.
                    Uncached::CacheValidZero => Keeping::Leave,
                    _ => Keeping::Forget,
                };
                (life, keeping)
            }
        };
        let texts = Texts { jwt: &grant.jwt, scope: &grant.scope, claims: &grant.claims };
        match cache::cached(texts, grant.dpop_bound, life, self.generation) {
            Some(cached) => Settled::Outcome(Outcome::Granted(cached), keeping),
            None => Settled::Outcome(Outcome::Failed(Fail::of(Why::Internal)), Keeping::Leave),
        }
    }

    /// Counts an active answer that is not kept, and lets its requests know why.
    fn not_kept(&mut self, worker: &Worker, reason: UncachedReason) {
        metrics::uncached(worker, reason);
        self.uncached = Some(reason);
        debug!(guard::cycle_log(), "an answer is not cached: {}", reason.word());
    }

    fn count_failure(&mut self, worker: &Worker, endpoint: &PolicyEndpoint) {
        let id = endpoint_id(worker, endpoint);
        let trial = self.trial.take();
        let limits = &endpoint.limits;
        if worker.state.failed(id, limits, now_ms(), trial) == Transition::WentDown {
            let log = guard::cycle_log();
            let label = endpoint.endpoint.label();
            warning!(
                log,
                "\"{label}\" rests for {} ms after {} failures in a row",
                limits.fail_timeout_ms,
                limits.max_fails
            );
        }
    }

    fn count_success(&mut self, worker: &Worker, endpoint: &PolicyEndpoint) {
        let id = endpoint_id(worker, endpoint);
        if worker.state.answered_ok(id) == Transition::CameUp {
            warning!(guard::cycle_log(), "\"{}\" is up again", endpoint.endpoint.label());
        }
    }

    /// Tells everyone, stores what may be stored, and frees the flight.
    fn resolve(&mut self, worker: &mut Worker, outcome: &Outcome, keeping: Keeping) {
        self.detach(worker);
        if self.role == Role::Follower {
            self.unfollow(worker);
        } else if let Some(zone) = self.policy.zone {
            self.publish(worker, zone, outcome, keeping);
        }
        for wait in self.waiters.drain(..) {
            metrics::waiting(worker, -1);
            // SAFETY: a waiter is unlinked before it is freed.
            unsafe { (*wait.as_ptr()).resolve(outcome.clone(), self.uncached) };
        }
        self.over = true;
    }

    /// Stores the answer for all workers, and leaves it at the mark for those who wait there.
    fn publish(&mut self, worker: &mut Worker, zone: ZoneRef, outcome: &Outcome, keeping: Keeping) {
        if self.refresh
            && !matches!(outcome, Outcome::Failed(_))
            && let Some(renewed) = worker.state.renew(&self.key.token, self.generation)
        {
            // What other workers keep near must not outlive the new answer. Where the token was
            // purged since the call began, the answer is from before, and is not kept.
            self.generation = renewed;
        }
        let (key, id, generation) = (self.key, self.id, self.generation);
        let state = worker.state;
        let leads = self.role == Role::Leader;
        let done = zone.locked(|locked| {
            // Under the lock: a purge has either not walked the chain yet, or has raised the
            // generation before it did.
            let current = state.generation(&key.token) == generation;
            let stored = match (outcome, &keeping) {
                (Outcome::Granted(_), _) if !current => Stored::Purged,
                _ if !current => Stored::No,
                (Outcome::Granted(cached), Keeping::Store(life)) => {
                    locked.store(&key, &entry_of(cached, *life)).into()
                }
                (Outcome::Inactive, Keeping::Store(life)) => {
                    locked.store(&key, &Entry::inactive(*life)).into()
                }
                (Outcome::Inactive, Keeping::Forget) => {
                    // What another location keeps for its moment is no less true.
                    locked.remove_active(&key);
                    Stored::No
                }
                (_, Keeping::Forget) => {
                    locked.remove(&key);
                    Stored::No
                }
                _ => Stored::No,
            };
            let others =
                leads && locked.answer(&key, id, mark_of(outcome, &stored)) == AnsweredFor::Others;
            (stored, others)
        });
        match done {
            None => {
                if matches!(outcome, Outcome::Granted(_)) && self.uncached.is_none() {
                    self.not_kept(worker, UncachedReason::ZoneLocked);
                }
            }
            Some((stored, others)) => {
                if others {
                    worker.state.announce_answer();
                }
                if let (Stored::Yes, Outcome::Granted(cached)) = (&stored, outcome) {
                    worker.local.insert(key, cached);
                }
                self.report(worker, zone, &stored, outcome);
            }
        }
    }

    fn report(&mut self, worker: &Worker, zone: ZoneRef, stored: &Stored, outcome: &Outcome) {
        // Only active answers are missed; one that was not to be kept has its reason already.
        let Outcome::Granted(cached) = outcome else { return };
        if self.uncached.is_some() {
            return;
        }
        match stored {
            Stored::Purged => self.not_kept(worker, UncachedReason::Purged),
            Stored::NoRoom => self.not_kept(worker, UncachedReason::NoRoom),
            Stored::TooLarge => {
                self.not_kept(worker, UncachedReason::TooLarge);
                let hash = hash_of(&[b"too large", zone.name().as_bytes()]);
                if worker.state.once(Notice::Overflow, hash, now_ms(), Some(60_000)) {
                    warning!(
                        guard::cycle_log(),
                        "a JWT of {} bytes is too large for the zone \"{}\" and passes uncached: make the zone larger",
                        cached.jwt().len(),
                        zone.name()
                    );
                }
            }
            Stored::Yes | Stored::No => {}
        }
    }

    /// Looks whether the other worker has answered, or is gone.
    pub(crate) fn poll(&mut self, worker: &mut Worker) {
        let (Some(zone), Some(slot)) = (self.policy.zone, worker.slot) else { return };
        let (key, id) = (self.key, self.id);
        let mine = arena::Flight {
            id: worker.state.next_flight_id(),
            owner: Owner { pid: pid(), slot },
            deadline: self.latest_deadline(),
        };
        let polled = loop {
            let record = &mut worker.record;
            let polled =
                zone.locked(|locked| locked.poll(&key, id, &mine, now_ms(), lock::alive, record));
            match polled {
                Some(Poll::NeedSpace(bytes)) => record.reserve(bytes),
                other => break other,
            }
        };
        match polled {
            // No lock in time: the next turn asks again.
            None | Some(Poll::Waiting | Poll::NeedSpace(_)) => {}
            Some(Poll::Answer(Mark::Failed { code, retry_after })) => {
                let fail = Fail { why: Why::of_code(code), retry_after };
                self.resolve(worker, &Outcome::Failed(fail), Keeping::Leave);
            }
            Some(Poll::Answer(Mark::Inactive)) => {
                self.resolve(worker, &Outcome::Inactive, Keeping::Leave)
            }
            Some(Poll::Answer(mark)) => {
                let outcome = match cache::cached_of(&worker.record, self.generation) {
                    Some(cached) => Outcome::Granted(cached),
                    // Stored, and replaced by a later answer.
                    None => Outcome::Inactive,
                };
                if let (Mark::Stored, Outcome::Granted(cached)) = (mark, &outcome) {
                    worker.local.insert(key, cached);
                }
                self.resolve(worker, &outcome, Keeping::Leave);
            }
            Some(Poll::Lead) => {
                debug!(guard::cycle_log(), "introspection flight {id} is taken over");
                self.take_lead(worker, Role::Leader, mine.id);
            }
            Some(Poll::Gone) => self.lead_anew(worker, zone),
        }
    }

    /// The mark is gone (purged, or the zone was emptied): begins anew.
    fn lead_anew(&mut self, worker: &mut Worker, zone: ZoneRef) {
        self.generation = worker.state.generation(&self.key.token);
        let id = worker.state.next_flight_id();
        let times = self.policy.cache;
        match cache::shared(worker, &zone, &self.key, &times, id, self.latest_deadline()) {
            Found::Granted(cached) => {
                self.resolve(worker, &Outcome::Granted(cached), Keeping::Leave)
            }
            Found::Inactive => self.resolve(worker, &Outcome::Inactive, Keeping::Leave),
            Found::Lead { marked: true } => self.take_lead(worker, Role::Leader, id),
            Found::Lead { marked: false } => self.take_lead(worker, Role::Alone, id),
            Found::Follow { flight } => self.id = flight,
        }
    }

    fn take_lead(&mut self, worker: &mut Worker, role: Role, id: u64) {
        self.unfollow(worker);
        self.role = role;
        self.id = id;
        self.deadline = self.latest_deadline();
        if let Err(fail) = self.attempt(worker) {
            self.resolve(worker, &Outcome::Failed(fail), Keeping::Leave);
        }
    }

    fn latest_deadline(&self) -> u64 {
        // SAFETY: waiters in the list are live.
        let deadlines = self.waiters.iter().map(|wait| unsafe { (*wait.as_ptr()).deadline() });
        deadlines.max().unwrap_or(self.deadline)
    }
}

/// What becomes of the key's entry in the zone when its flight ends.
enum Keeping {
    /// The answer takes its place, for so long.
    Store(Life),
    /// It goes: the answer may not be kept, and has overtaken it. It must not serve as a stale one.
    Forget,
    /// It stays: nothing was learnt, or nothing is kept by the location that asked.
    Leave,
}

/// How an attempt leaves its flight.
enum Settled {
    /// It is over.
    Outcome(Outcome, Keeping),
    /// Another endpoint may know better.
    NextEndpoint(Fail),
}

/// What became of an answer in the zone.
enum Stored {
    Yes,
    No,
    NoRoom,
    TooLarge,
    Purged,
}

impl From<arena::Stored> for Stored {
    fn from(stored: arena::Stored) -> Self {
        match stored {
            arena::Stored::Yes { .. } => Self::Yes,
            arena::Stored::TooLarge => Self::TooLarge,
            arena::Stored::NoRoom => Self::NoRoom,
        }
    }
}

fn entry_of(cached: &Cached, life: Life) -> Entry<'_> {
    Entry {
        kind: arena::Kind::Active,
        times: life,
        jwt: cached.jwt(),
        scope: cached.scope(),
        claims: cached.claims(),
        dpop_bound: cached.dpop_bound,
    }
}

/// What is left at the mark for requests of other workers.
fn mark_of<'a>(outcome: &'a Outcome, stored: &Stored) -> arena::Outcome<'a> {
    use arena::Outcome as Mark;
    match (outcome, stored) {
        (Outcome::Granted(_), Stored::Yes) => Mark::Stored,
        (Outcome::Granted(cached), _) => Mark::Active(entry_of(cached, cached.life)),
        (Outcome::Inactive, _) => Mark::Inactive,
        (Outcome::Failed(fail), _) => {
            Mark::Failed { code: fail.why as u16, retry_after: fail.retry_after }
        }
    }
}

fn endpoint_id(worker: &Worker, endpoint: &PolicyEndpoint) -> Option<EndpointId> {
    *endpoint.id.get_or_init(|| {
        let connect = endpoint.endpoint.connect();
        worker.state.endpoint(endpoint.endpoint.label(), connect.as_deref())
    })
}

/// The thread pool hands a task back, on the event loop.
unsafe extern "C" fn completed(event: *mut ngx_event_t) {
    guard::entry("the end of an introspection", guard::cycle_log, (), || {
        // SAFETY: `post` put the flight there; it lives until it is resolved, which only happens
        // on the event loop and not while its task is out.
        unsafe {
            let flight = NonNull::new((*event).data.cast::<Flight>());
            if let Some(flight) = flight {
                worker::with(|worker| Flight::with(flight, |flight| flight.complete(worker)));
            }
        }
    });
}
