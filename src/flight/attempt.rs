//! One attempt at one endpoint: choosing it, posting the call, and what its end means for the
//! endpoint's health, the logs, the counters and the flight.
use std::rc::Rc;
use std::time::{Duration, Instant};

use phantom_token_engine::answer::grant::Grant;
use phantom_token_engine::answer::{Answer, NoVerdict};
use phantom_token_engine::client::CallError;
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::lifetime::{self, Expiry, Keep, Life, Uncached};
use phantom_token_engine::local::Cached;
use phantom_token_engine::lookup::{Found, Origin, Source};
use phantom_token_engine::memory::NoMemory;
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::health::gate::Gate;
use phantom_token_engine::shared::health::judge::{Credentials, Verdict, judge};
use phantom_token_engine::shared::health::{Availability, Health, Transition};
use phantom_token_engine::shared::state::Notice;

use crate::conf::endpoints::PolicyEndpoint;
use crate::finding::Finding;
use crate::flight::call::{self, About};
use crate::flight::desk::Desk;
use crate::flight::failures::Cause;
use crate::flight::own_calls::{self, Doubt};
use crate::flight::publish::Keeping;
use crate::flight::work::{Attempt, Done, Time, Work};
use crate::flight::{Flight, Role, made};
use crate::nginx::log::{Cycle, debug, notice, warning};
use crate::nginx::sys::*;
use crate::nginx::task::Task;
use crate::operate::counters::{self, CallResult, UncachedReason};

impl Flight {
    /// Posts one attempt at the next endpoint that is not resting.
    pub(super) fn attempt(&mut self, desk: &mut Desk) -> Result<(), Failure> {
        let now = now_ms();
        let left = self.deadline.saturating_sub(now);
        if left == 0 {
            return Err(self.failed.unwrap_or(Failure::from(FailureKind::Timeout)));
        }
        let policy = Rc::clone(&self.policy);
        while let Some(endpoint) = policy.introspection.endpoints.get(self.next) {
            let index = self.next;
            self.next += 1;
            let id = endpoint.id(&desk.worker.state);
            if desk.worker.state.endpoints().available(id, &endpoint.limits, now)
                == Availability::Resting
            {
                own_calls::look_after(desk, &policy, index);
                continue;
            }
            let gate = self.gate(desk, endpoint);
            match desk.worker.state.gates().admit(gate, now) {
                Gate::Open => {}
                Gate::Few => self.doubt(desk, gate, Doubt::Looked),
                Gate::Shut => {
                    self.doubt(desk, gate, Doubt::Looked);
                    counters::failure(&desk.worker, id, FailureKind::Credentials);
                    return Err(Failure::from(FailureKind::Credentials));
                }
            }
            self.form = match policy.introspection.credentials.common_raw {
                Some(_) => desk
                    .worker
                    .state
                    .forms()
                    .of(policy.introspection.form(&desk.worker.state, endpoint)),
                None => Form::Encoded,
            };
            return self.post(desk, endpoint, left);
        }
        Err(self.failed.unwrap_or_else(|| {
            counters::failure(&desk.worker, None, FailureKind::Resting);
            Failure::from(FailureKind::Resting)
        }))
    }

    /// The gate of the credentials this flight is made with.
    fn gate(&self, desk: &Desk, endpoint: &PolicyEndpoint) -> u64 {
        let introspection = &self.policy.introspection;
        introspection.gate(&desk.worker.state, endpoint, &self.headers, &self.params)
    }

    /// The gate of the endpoint that was asked last is in doubt.
    fn doubt(&self, desk: &mut Desk, gate: u64, doubt: Doubt) {
        let values = (&self.headers, &self.params);
        own_calls::doubt(desk, &self.policy, self.next - 1, gate, values, doubt);
    }

    /// Hands one attempt to the thread pool.
    fn post(
        &mut self,
        desk: &mut Desk,
        endpoint: &PolicyEndpoint,
        left: u64,
    ) -> Result<(), Failure> {
        let policy = &self.policy;
        let endpoints = &policy.introspection.endpoints;
        let time = Time {
            end: Instant::now() + Duration::from_millis(left),
            others: endpoints[self.next..].iter().filter(|one| !is_resting(desk, one)).count()
                as u32,
            connect: Duration::from_millis(policy.connect_timeout_ms),
            blame_after: Duration::from_millis(policy.timeout_ms) / (2 * endpoints.len() as u32),
            typical_latency: endpoint.pace.get().typical_latency(),
        };
        let about = About {
            token: &self.token,
            headers: &self.headers,
            params: &self.params,
            count: counters::connections(&desk.worker, endpoint.id(&desk.worker.state)),
            form: self.form,
            deadline: time.end,
            connect_timeout: time.connect,
        };
        let call = call::make(policy, endpoint, &about)
            .map_err(|NoMemory| Failure::from(FailureKind::Internal))?;
        let work = Work::new(
            self.id,
            Source::AuthorizationServer(call),
            call::terms(policy, &self.params),
            time,
        );
        self.work = Task::post(policy.thread_pool, work);
        if self.work.is_none() {
            counters::failure(&desk.worker, None, FailureKind::Overflow);
            return Err(Failure::from(FailureKind::Overflow));
        }
        self.calls.begin(&endpoint.endpoint);
        desk.posted();
        Ok(())
    }

    /// One attempt has ended: tries the next endpoint, or tells
    /// everyone.
    pub(super) fn complete(mut self: Box<Self>, desk: &mut Desk, done: Done) -> Option<Box<Self>> {
        self.work = None;
        self.calls.end(made::status(&done.result));

        let policy = Rc::clone(&self.policy);
        let endpoint = &policy.introspection.endpoints[self.next - 1];
        desk.idle.watch(&endpoint.connections);
        let (fail, again) = match self.settle(desk, endpoint, done) {
            Settled::Finding(outcome, keeping) => {
                self.resolve(desk, &outcome, keeping);
                return None;
            }
            Settled::NextEndpoint(fail) => {
                self.failed = Some(fail);
                (fail, None)
            }
            Settled::Again(form) => (Failure::from(FailureKind::Credentials), Some(form)),
        };
        if self.waiters.is_empty() && !self.is_followed() {
            // Nobody waits for another word; who comes just now asks anew.
            self.role = Role::Alone;
            self.resolve(desk, &Finding::Failed(fail), Keeping::Leave);
            return None;
        }
        let next = match again {
            None => self.attempt(desk),
            Some(form) => {
                self.form = form;
                match self.deadline.saturating_sub(now_ms()) {
                    0 => Err(fail),
                    left => self.post(desk, endpoint, left),
                }
            }
        };
        match next {
            Ok(()) => Some(self),
            Err(failure) => {
                self.resolve(desk, &Finding::Failed(failure), Keeping::Leave);
                None
            }
        }
    }

    /// What an attempt's end means: for the endpoint's health, the logs, the counters and the flight.
    fn settle(&mut self, desk: &mut Desk, endpoint: &PolicyEndpoint, done: Done) -> Settled {
        let log = Cycle;
        let label = endpoint.endpoint.label();
        let id = endpoint.id(&desk.worker.state);
        let alone = self.policy.introspection.endpoints.len() == 1;
        let verdict = match &done.result {
            Attempt::Answered(Found { origin: Origin::AuthorizationServer, answer, .. }) => {
                judge(Ok(answer), alone, done.had_time)
            }
            Attempt::Failed(error) => judge(Err(error), alone, done.had_time),
            _ => Verdict::NOTHING,
        };
        self.learn_health(desk, endpoint, verdict, done.began);
        if let Attempt::Answered(Found {
            answer: Answer::Failed(NoVerdict::Credentials(_)), ..
        }) = done.result
            && self.form == Form::Encoded
            && self.policy.introspection.credentials.common_raw.is_some()
            && desk
                .worker
                .state
                .forms()
                .try_raw(self.policy.introspection.form(&desk.worker.state, endpoint), now_ms())
        {
            counters::introspection(&desk.worker, id, CallResult::Failed);
            counters::failure(&desk.worker, id, FailureKind::Credentials);
            self.doubt(desk, self.gate(desk, endpoint), Doubt::Anyway);
            return Settled::Again(Form::Raw);
        }
        self.learn_credentials(desk, endpoint, verdict, &done.result);
        match done.result {
            Attempt::Unsent => {
                let fail = Failure::from(FailureKind::Timeout);
                if !self.waiters.is_empty() || self.out_of_time {
                    self.say_not_begun(desk);
                }
                Settled::Finding(Finding::Failed(fail), Keeping::Leave)
            }
            Attempt::Skipped => {
                self.say_not_begun(desk);
                Settled::NextEndpoint(Failure::from(FailureKind::Timeout))
            }
            Attempt::Panicked(place) => {
                crate::nginx::log::crit!(log, "caught a panic in introspection at {place}");
                Settled::Finding(
                    Finding::Failed(Failure::from(FailureKind::Internal)),
                    Keeping::Leave,
                )
            }
            Attempt::Failed(error) => {
                let fail = Failure::from(&error);
                counters::introspection(&desk.worker, id, CallResult::Failed);
                counters::failure(&desk.worker, id, fail.kind);
                if let CallError::Timeout(_) = error {
                    endpoint.pace.update(|pace| pace.timed_out(done.took));
                }
                desk.failures.say(endpoint, Cause::Call(error));
                Settled::NextEndpoint(fail)
            }
            Attempt::Answered(Found { answer: Answer::Failed(failure), .. }) => {
                let fail = Failure::from(failure);
                counters::introspection(&desk.worker, id, CallResult::Failed);
                counters::failure(&desk.worker, id, fail.kind);
                let cause = match (failure, &self.policy.introspection.extras.token_type_hint) {
                    (NoVerdict::Hint(_), Some(hint)) => Cause::Hint { failure, hint: hint.clone() },
                    _ => {
                        let mut hints = self.policy.introspection.credentials.hints;
                        hints.encoded &= self.form == Form::Encoded;
                        Cause::Answer { failure, hints }
                    }
                };
                desk.failures.say(endpoint, cause);
                if failure.is_outage() && !alone {
                    return Settled::NextEndpoint(fail);
                }
                Settled::Finding(Finding::Failed(fail), Keeping::Leave)
            }
            Attempt::Answered(Found { answer: Answer::Inactive(skew), .. }) => {
                endpoint.pace.update(|pace| pace.answered(done.took));
                counters::introspection(&desk.worker, id, CallResult::Inactive);
                if let Some(skew) = skew
                    && desk.worker.state.once(
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
                Settled::Finding(Finding::Inactive, keeping)
            }
            Attempt::Answered(Found { answer: Answer::Active(grant), caching, .. }) => {
                endpoint.pace.update(|pace| pace.answered(done.took));
                counters::introspection(&desk.worker, id, CallResult::Active);
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
                    && desk.worker.state.once(
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
                self.granted(desk, grant, keep)
            }
        }
    }

    /// An active answer, and whether it is kept.
    fn granted(&mut self, desk: &mut Desk, grant: Grant, keep: Keep) -> Settled {
        let (life, keeping) = match keep {
            Keep::Yes(life) if self.policy.zone.is_some() => (life, Keeping::Store(life)),
            Keep::Yes(life) => {
                self.not_kept(desk, UncachedReason::CacheOff);
                (life, Keeping::Leave)
            }
            // Its time has run out on the way here.
            Keep::No(Uncached::Expired) => {
                return Settled::Finding(Finding::Inactive, Keeping::Forget);
            }
            Keep::No(why) => {
                self.not_kept(desk, why.into());
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
        match Cached::new(&grant.facts(life), self.generation, now_ms()) {
            Some(cached) => Settled::Finding(Finding::Active(cached), keeping),
            None => Settled::Finding(
                Finding::Failed(Failure::from(FailureKind::Internal)),
                Keeping::Leave,
            ),
        }
    }

    /// An active answer is not kept: counted, and told to those who wait for it.
    pub(super) fn not_kept(&mut self, desk: &Desk, reason: UncachedReason) {
        self.uncached = Some(reason);
        counters::uncached(&desk.worker, reason);
        let token = self.key.token;
        debug!(Cycle, "an answer for token {token} is not cached: {}", reason.word());
    }

    /// The call waited in the pool's queue until its time was over.
    pub(super) fn say_not_begun(&self, desk: &mut Desk) {
        let Some(endpoint) = self.policy.introspection.endpoints.get(self.next.wrapping_sub(1))
        else {
            return;
        };
        counters::failure(&desk.worker, endpoint.id(&desk.worker.state), FailureKind::Timeout);
        desk.failures.say(endpoint, Cause::NotBegun);
    }

    /// What the call's end says of the endpoint.
    fn learn_health(
        &self,
        desk: &mut Desk,
        endpoint: &PolicyEndpoint,
        verdict: Verdict,
        began: Instant,
    ) {
        let (id, now) = (endpoint.id(&desk.worker.state), now_ms());
        match verdict.health {
            Health::Answered => {
                if desk.worker.state.endpoints().answered(id, now) == Transition::CameUp {
                    own_calls::say_up(endpoint);
                }
            }
            Health::Failed => {
                let began = now.saturating_sub(began.elapsed().as_millis() as u64);
                let left = desk.worker.state.endpoints().failed(id, &endpoint.limits, began, now);
                if left == Availability::InDoubt {
                    own_calls::look_after(desk, &self.policy, self.next - 1);
                }
            }
            Health::Nothing => {}
        }
    }

    /// What the call's end says of the client's credentials, and of the form they are sent in.
    fn learn_credentials(
        &self,
        desk: &mut Desk,
        endpoint: &PolicyEndpoint,
        verdict: Verdict,
        end: &Attempt,
    ) {
        if verdict.credentials == Credentials::Nothing {
            return;
        }
        let gate = self.gate(desk, endpoint);
        let introspection = &self.policy.introspection;
        let form = introspection.credentials.common_raw.as_ref();
        let form = form.map(|_| introspection.form(&desk.worker.state, endpoint));
        if verdict.credentials == Credentials::Refused {
            // Where nobody knows the form, what was not refused of late says nothing.
            let doubt = match form {
                Some(form) if !desk.worker.state.forms().is_encoded(form) => Doubt::Anyway,
                _ => Doubt::Refused,
            };
            return self.doubt(desk, gate, doubt);
        }
        own_calls::passed(desk, endpoint, gate);
        let (Some(form), Attempt::Answered(Found { answer, .. })) = (form, end) else { return };
        match (self.form, answer) {
            (Form::Encoded, Answer::Active(_) | Answer::Inactive(_)) => {
                desk.worker.state.forms().encoded_answered(form);
            }
            (Form::Raw, Answer::Active(_)) => own_calls::remember_raw(desk, endpoint, form),
            _ => {}
        }
    }
}

/// How an attempt leaves its flight.
enum Settled {
    /// It is over.
    Finding(Finding, Keeping),
    /// Another endpoint may know better.
    NextEndpoint(Failure),
    /// The same one may take the credentials in this form.
    Again(Form),
}

fn is_resting(desk: &Desk, endpoint: &PolicyEndpoint) -> bool {
    let id = endpoint.id(&desk.worker.state);
    desk.worker.state.endpoints().available(id, &endpoint.limits, now_ms()) == Availability::Resting
}
