//! One attempt at one endpoint: choosing it, posting the call, and what its end means for the
//! endpoint's health, the logs, the counters and the flight.
use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phantom_token_core::answer::{Answer, Failure, Terms};
use phantom_token_core::client::{AnswerCause, Call, CallError, ConnectCause};
use phantom_token_core::form;
use phantom_token_core::grant::Grant;
use phantom_token_core::health::{Availability, EndpointId, Gate, Outlook, Transition};
use phantom_token_core::lifetime::{self, Expiry, Keep, Life, Uncached};
use phantom_token_core::memory::{self, NoMemory};
use phantom_token_core::process;
use phantom_token_core::state::Notice;

use crate::cache::{self, Texts};
use crate::conf::policy::PolicyEndpoint;
use crate::flight::failures::Cause;
use crate::flight::telling::Keeping;
use crate::flight::work::{self, Attempt, Done, Time, Work};
use crate::flight::{Flight, made};
use crate::guard;
use crate::log::{debug, notice, warning};
use crate::metrics::{self, CallResult, FailureReason, UncachedReason};
use crate::outcome::{Fail, Outcome, Why};
use crate::sys::*;
use crate::worker::{self, Worker};

impl Flight {
    /// Posts one attempt at the next endpoint that is not resting.
    pub(super) fn attempt(&mut self, worker: &mut Worker) -> Result<(), Fail> {
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
            match worker.state.available(
                id,
                &endpoint.limits,
                pid(),
                now,
                self.deadline,
                process::exists,
            ) {
                Availability::Resting { left_ms } => {
                    soonest = Some(soonest.map_or(left_ms, |least: u64| least.min(left_ms)));
                    continue;
                }
                Availability::Trial(trial) => self.trial = Some(trial),
                Availability::Up => self.trial = None,
            }
            if let Gate::Closed { .. } = worker.state.credentials_gate(endpoint.client_hash, now) {
                self.give_trial_back(worker, endpoint);
                metrics::failure(worker, id, FailureReason::Credentials);
                return Err(Fail::of(Why::Credentials));
            }
            let others = policy.introspection.endpoints[self.next..].iter();
            let others = others.filter(|endpoint| !is_resting(worker, endpoint, now)).count();
            let time = Time {
                end: Instant::now() + Duration::from_millis(left),
                others: others as u32,
                connect: policy.connect_timeout,
                fair: Duration::from_millis(policy.timeout_ms)
                    / (2 * policy.introspection.endpoints.len() as u32),
                usual: endpoint.pace.get().usual(),
            };
            return self.post(worker, endpoint, time);
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
        time: Time,
    ) -> Result<(), Fail> {
        let call = match self.call(endpoint, time.end) {
            Ok(call) => call,
            Err(NoMemory) => {
                self.give_trial_back(worker, endpoint);
                return Err(Fail::of(Why::Internal));
            }
        };
        let work = Arc::new(Work::new(call, self.terms(), time));
        let task = self.task.pointer().as_ptr();
        // SAFETY: no thread has the task. It and its work live as long as this flight, which lives until
        // completion, and that is handled on the event loop; a zeroed task is how NGINX begins.
        let posted = unsafe {
            task.write(core::mem::zeroed());
            (*task).handler = Some(work::run);
            (*task).ctx = Arc::as_ptr(&work).cast_mut().cast::<c_void>();
            (*task).event.data = self.this.as_ptr().cast();
            (*task).event.handler = Some(completed);
            (*task).event.log = guard::cycle_log();
            self.work = Some(work);
            ngx_thread_task_post(self.policy.thread_pool, task) == OK
        };
        if !posted {
            self.work = None;
            self.give_trial_back(worker, endpoint);
            metrics::failure(worker, None, FailureReason::Overflow);
            return Err(Fail::of(Why::Overflow));
        }
        self.calls.begin(&endpoint.endpoint);
        worker.pending += 1;
        metrics::pending(worker, 1);
        Ok(())
    }

    /// What its answers are read for: the forward mode, and the hint that goes with the token.
    fn terms(&self) -> Terms {
        let introspection = &self.policy.introspection;
        let mut params = introspection.params.iter().zip(&self.params);
        let mut param = || params.find(|(param, _)| &*param.name == "token_type_hint");
        let hint = match &introspection.token_type_hint {
            Some(hint) => Some(&hint[..]),
            None => param().map(|(_, value)| &value[..]),
        };
        Terms::new(self.policy.forward, hint)
    }

    fn give_trial_back(&mut self, worker: &Worker, endpoint: &PolicyEndpoint) {
        if let Some(trial) = self.trial.take() {
            worker.state.trial_abandoned(endpoint_id(worker, endpoint), trial);
        }
    }

    fn call(&self, endpoint: &PolicyEndpoint, deadline: Instant) -> Result<Call, NoMemory> {
        let introspection = &self.policy.introspection;
        let text = |text: &'static str| text.as_bytes();
        // The hint, id and secret besides.
        let mut params: Vec<(&[u8], &[u8])> = memory::with_room(3 + self.params.len())?;
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
        let mut headers = memory::with_room(self.headers.len())?;
        for (header, value) in introspection.headers.iter().zip(&self.headers) {
            if !value.is_empty() {
                headers.push((header.name.clone(), memory::copied(value)?));
            }
        }
        Ok(Call {
            endpoint: endpoint.endpoint.clone(),
            connections: endpoint.connections.clone(),
            common: introspection.common.clone(),
            headers,
            body: form::introspection_body(&self.token, params)?,
            deadline,
            connect_timeout: self.policy.connect_timeout,
        })
    }

    /// One attempt has ended: tries the next endpoint, or tells everyone.
    fn complete(&mut self, worker: &mut Worker) {
        worker.pending = worker.pending.saturating_sub(1);
        metrics::pending(worker, -1);
        let Some(work) = self.work.take() else { return };
        let done = work.take();
        self.calls.end(made::status(&done.result, work.answered()));
        drop(work);
        metrics::queued(worker, done.queued);
        if !matches!(done.result, Attempt::Unsent | Attempt::Skipped) {
            metrics::took(worker, done.took);
        }

        let policy = Rc::clone(&self.policy);
        let endpoint = &policy.introspection.endpoints[self.next - 1];
        worker.idle.watch(&endpoint.connections);
        let settled = self.settle(worker, endpoint, done);
        // Where the call's end said something about the endpoint, this changes nothing.
        self.give_trial_back(worker, endpoint);
        match settled {
            Settled::Outcome(outcome, keeping) => self.resolve(worker, &outcome, keeping),
            Settled::NextEndpoint(fail) => {
                self.failed = Some(fail);
                if self.waiters.is_empty() && !self.is_followed(worker) {
                    // Nobody waits for another endpoint's word; who comes just now asks anew.
                    self.unmark(worker);
                    self.resolve(worker, &Outcome::Failed(fail), Keeping::Leave);
                } else if let Err(fail) = self.attempt(worker) {
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
                if !self.waiters.is_empty() || self.out_of_time {
                    self.say_not_begun(worker);
                }
                Settled::Outcome(Outcome::Failed(fail), Keeping::Leave)
            }
            Attempt::Skipped => {
                self.say_not_begun(worker);
                Settled::NextEndpoint(Fail::of(Why::Timeout))
            }
            Attempt::Panicked(place) => {
                crate::log::crit!(log, "caught a panic in introspection at {place}");
                Settled::Outcome(Outcome::Failed(Fail::of(Why::Internal)), Keeping::Leave)
            }
            Attempt::Failed(error) => {
                let fail = Fail::of_call(&error);
                metrics::introspection(worker, id, CallResult::Failed);
                metrics::failure(worker, id, fail.label());
                if let CallError::Timeout(_) = error {
                    endpoint.pace.update(|pace| pace.timed_out(done.took));
                }
                if is_the_endpoints(&error, done.fair) {
                    self.count_failure(worker, endpoint);
                }
                worker.failures.say(endpoint, Cause::Call(error));
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
                let cause = match (failure, &self.policy.introspection.token_type_hint) {
                    (Failure::Hint(_), Some(hint)) => Cause::Hint { failure, hint: hint.clone() },
                    _ => Cause::Answer { failure, encoded },
                };
                worker.failures.say(endpoint, cause);
                if failure.is_outage() && !alone {
                    self.count_failure(worker, endpoint);
                    return Settled::NextEndpoint(fail);
                }
                self.count_success(worker, endpoint);
                Settled::Outcome(Outcome::Failed(fail), Keeping::Leave)
            }
            Attempt::Answered(Answer::Inactive(skew), _) => {
                endpoint.pace.update(|pace| pace.answered(done.took));
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
                        "\"{label}\" calls a token active that expired {} seconds ago: check both clocks, and that \"exp\" is this token's and not another's",
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
            Attempt::Answered(Answer::Active(grant), caching) => {
                endpoint.pace.update(|pace| pace.answered(done.took));
                metrics::introspection(worker, id, CallResult::Active);
                self.count_success(worker, endpoint);
                worker.state.credentials_accepted(endpoint.client_hash);
                let times = self.policy.cache;
                let (keep, overruled) = lifetime::keep(
                    &caching,
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
            // Its time has run out on the way here.
            Keep::No(Uncached::Expired) => {
                return Settled::Outcome(Outcome::Inactive, Keeping::Forget);
            }
            Keep::No(why) => {
                if let Some(reason) = UncachedReason::from_word(why.reason()) {
                    self.not_kept(worker, reason);
                }
                let exp = grant.exp.map(|exp| Expiry::new(exp, now_ms(), now_secs()));
                let life = Life::of_none(now_ms(), exp);
                let keeping = match why {
                    // This location keeps nothing; what others keep is theirs.
                    Uncached::CacheValidZero => Keeping::Leave,
                    _ => Keeping::Forget,
                };
                (life, keeping)
            }
        };
        let texts = Texts { jwt: &grant.jwt, scope: &grant.scope, claims: &grant.claims };
        match cache::cached(texts, grant.nature, life, self.generation) {
            Some(cached) => Settled::Outcome(Outcome::Granted(cached), keeping),
            None => Settled::Outcome(Outcome::Failed(Fail::of(Why::Internal)), Keeping::Leave),
        }
    }

    /// An active answer is not kept: counted, and told to those who wait for it.
    pub(super) fn not_kept(&mut self, worker: &Worker, reason: UncachedReason) {
        self.uncached = Some(reason);
        metrics::uncached(worker, reason);
        let token = self.key.token;
        debug!(guard::cycle_log(), "an answer for token {token} is not cached: {}", reason.word());
    }

    /// The call waited in the pool's queue until its time was over.
    pub(super) fn say_not_begun(&self, worker: &mut Worker) {
        let Some(endpoint) = self.policy.introspection.endpoints.get(self.next.wrapping_sub(1))
        else {
            return;
        };
        metrics::failure(worker, endpoint_id(worker, endpoint), FailureReason::Timeout);
        worker.failures.say(endpoint, Cause::NotBegun);
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
}

/// How an attempt leaves its flight.
enum Settled {
    /// It is over.
    Outcome(Outcome, Keeping),
    /// Another endpoint may know better.
    NextEndpoint(Fail),
}

/// Whether a call without an answer says something of its endpoint: not where we had no means to
/// call, and not where the pool's queue had left it too little time for an answer.
fn is_the_endpoints(error: &CallError, had_time: bool) -> bool {
    match error {
        CallError::Connect(
            ConnectCause::NoDescriptor | ConnectCause::NoLocalPort | ConnectCause::NoResolverThread,
        ) => false,
        CallError::Connect(_) | CallError::Tls(_) => true,
        CallError::Answer(AnswerCause::Closed | AnswerCause::Io(_)) => true,
        CallError::Timeout(_) => had_time,
        CallError::Answer(_) | CallError::Request(_) => false,
    }
}

fn is_resting(worker: &Worker, endpoint: &PolicyEndpoint, now: u64) -> bool {
    let id = endpoint_id(worker, endpoint);
    let outlook = worker.state.peek(id, &endpoint.limits, pid(), now, process::exists);
    matches!(outlook, Outlook::Resting { .. })
}

pub(super) fn endpoint_id(worker: &Worker, endpoint: &PolicyEndpoint) -> Option<EndpointId> {
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
