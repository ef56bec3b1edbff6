//! One attempt at one endpoint: choosing it, posting the call, and what follows its end.

use std::rc::Rc;
use std::time::{Duration, Instant};

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::attempt::{
    self, Asked, Done, End, Forms, Keeping, Keeps, Next, Now, Told,
};
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::local::Cached;
use phantom_token_engine::lookup::{Found, Lookup, Origin, Time};
use phantom_token_engine::memory::NoMemory;
use phantom_token_engine::shared::counters::RefreshResult;
use phantom_token_engine::shared::health::Availability;
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::health::gate::Gate;

use crate::conf::endpoints::PolicyEndpoint;
use crate::finding::Finding;
use crate::flight::call::{self, About};
use crate::flight::desk::Desk;
use crate::flight::own_calls::{self, Doubt};
use crate::flight::work::Work;
use crate::flight::{Flight, Role, made};
use crate::nginx::sys::*;
use crate::nginx::task::Task;
use crate::operate::counters;

impl Flight {
    /// Posts one attempt at the next endpoint that is not resting. The store of the fleet is asked before
    /// it; and alone, where no endpoint may be asked now.
    pub(super) fn attempt(&mut self, desk: &mut Desk) -> Result<(), Failure> {
        let now = now_ms();
        let left = self.deadline.saturating_sub(now);
        if left == 0 {
            return Err(self.failed.unwrap_or(Failure::from(FailureKind::Timeout)));
        }
        let policy = Rc::clone(&self.policy);
        if self.asks_store(desk) && !self.may_call(desk, now) {
            return self.post(desk, None, left);
        }
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
            if !self.may_ask(desk, endpoint) {
                return Err(self.failed.unwrap_or(Failure::from(FailureKind::Overflow)));
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
            return self.post(desk, Some(endpoint), left);
        }
        Err(self.failed.unwrap_or_else(|| {
            counters::failure(&desk.worker, None, FailureKind::Resting);
            Failure::from(FailureKind::Resting)
        }))
    }

    /// Whether the next call may be made: an endpoint does not rest, and its gate is open.
    fn may_call(&self, desk: &Desk, now: u64) -> bool {
        let mut left = self.policy.introspection.endpoints.iter().skip(self.next);
        left.find(|endpoint| !is_resting(desk, endpoint)).is_some_and(|endpoint| {
            !desk.worker.state.gates().is_shut(self.gate(desk, endpoint), now)
        })
    }

    /// Hands one attempt to the thread pool: a question to the store, where that has its turn, and a call,
    /// where there is an endpoint for it.
    fn post(
        &mut self,
        desk: &mut Desk,
        endpoint: Option<&PolicyEndpoint>,
        left: u64,
    ) -> Result<(), Failure> {
        let latency = endpoint.map(|endpoint| endpoint.pace.get().typical_latency());
        let fleet = self.fleet(desk, latency, Duration::from_millis(left));
        let policy = &self.policy;
        let endpoints = &policy.introspection.endpoints;
        let time = Time {
            end: Instant::now() + Duration::from_millis(left),
            others: endpoints[self.next..].iter().filter(|one| !is_resting(desk, one)).count()
                as u32,
            connect: Duration::from_millis(policy.connect_timeout_ms),
            blame_after: Duration::from_millis(policy.timeout_ms) / (2 * endpoints.len() as u32),
            typical_latency: latency.unwrap_or_default(),
        };
        let make = |endpoint: &PolicyEndpoint| {
            let about = About {
                token: &self.token,
                headers: &self.headers,
                params: &self.params,
                count: counters::connections(&desk.worker, endpoint.id(&desk.worker.state)),
                form: self.form,
                deadline: time.end,
                connect_timeout: time.connect,
            };
            call::make(policy, endpoint, &about)
        };
        let call = endpoint.map(make).transpose();
        let call = call.map_err(|NoMemory| Failure::from(FailureKind::Internal))?;
        let terms = call::terms(policy, &self.params, desk.worker.hashing.key);
        let minter = policy.mint.as_ref().map(|mint| mint.minter.clone());
        let work = Work::new(self.id, Lookup::new(fleet, call, terms, minter, time));
        self.work = Task::post(policy.thread_pool, work);
        if self.work.is_none() {
            counters::failure(&desk.worker, None, FailureKind::Overflow);
            return Err(Failure::from(FailureKind::Overflow));
        }
        self.calls_server = endpoint.is_some();
        if let Some(endpoint) = endpoint {
            self.report.calls.begin(&endpoint.endpoint);
        }
        desk.posted();
        Ok(())
    }

    /// One attempt has ended: tries the next endpoint, or tells everyone.
    pub(super) fn complete(
        mut self: Box<Self>,
        desk: &mut Desk,
        mut done: Done,
    ) -> Option<Box<Self>> {
        self.work = None;
        if let Some(mut fleet) = done.fleet.take() {
            self.record_store(desk, fleet.done());
        }
        let now = Now { ms: now_ms(), secs: now_secs() };
        if let End::Answered(Found { origin: Origin::Store { asked, .. }, .. }) = done.end {
            return self.found_in_store(desk, done, asked, now);
        }
        if !self.calls_server {
            return self.not_found_in_store(desk, done.end);
        }
        self.report.calls.end(made::status(&done.end));

        let policy = Rc::clone(&self.policy);
        let endpoint = &policy.introspection.endpoints[self.next - 1];
        desk.idle.watch(&endpoint.connections);
        let asked = self.asked(desk, endpoint, &done.end);
        let began = done.began;
        let judgement = attempt::judge(done, &asked, now);
        self.record(desk, endpoint, &judgement, began);
        let (failure, again) = match judgement.next {
            Next::Tell(told, keeping) => {
                if let (Told::Active(..), Keeping::Store(_)) = (&told, &keeping) {
                    self.count_unshared(desk);
                }
                let (finding, keeping) = self.finding(desk, told, keeping);
                return self.over(desk, &finding, keeping);
            }
            Next::AskNext(failure) => {
                self.failed = Some(failure);
                (failure, None)
            }
            Next::AskAgain(form, failure) => (failure, Some(form)),
        };
        if self.refresh_ahead.is_none() && self.waiters.is_empty() && !self.is_followed() {
            // Nobody waits for another word; who comes just now asks anew.
            self.role = Role::Alone;
            return self.resolve(desk, &Finding::Failed(failure), Keeping::Leave);
        }
        let next = match again {
            None => self.attempt(desk),
            Some(form) => {
                self.form = form;
                match self.deadline.saturating_sub(now_ms()) {
                    0 => Err(failure),
                    left => self.post(desk, Some(endpoint), left),
                }
            }
        };
        match next {
            Ok(()) => Some(self),
            Err(failure) => self.over(desk, &Finding::Failed(failure), Keeping::Leave),
        }
    }

    /// It has come to this; what goes on of the flight.
    pub(super) fn over(
        self: Box<Self>,
        desk: &mut Desk,
        finding: &Finding,
        keeping: Keeping,
    ) -> Option<Box<Self>> {
        if self.refresh_ahead.is_some() && matches!(finding, Finding::Failed(_)) {
            return self.refresh_failed(desk, RefreshResult::Failed);
        }
        self.resolve(desk, finding, keeping)
    }

    /// What the attempt that ended so was made with.
    fn asked(&self, desk: &Desk, endpoint: &PolicyEndpoint, end: &End) -> Asked {
        let introspection = &self.policy.introspection;
        let forms = match introspection.credentials.common_raw {
            None => Forms::One,
            Some(_) => {
                let (form, forms) =
                    (introspection.form(&desk.worker.state, endpoint), desk.worker.state.forms());
                Forms::Two {
                    // The trial is taken by asking for it.
                    try_raw: end.refuses_credentials()
                        && self.form == Form::Encoded
                        && forms.try_raw(form, now_ms()),
                    encoded_is_known: forms.is_encoded(form),
                }
            }
        };
        Asked {
            alone: introspection.endpoints.len() == 1,
            awaited: !self.waiters.is_empty() || self.out_of_time,
            form: self.form,
            forms,
            keeps: self.keeps(),
        }
    }

    /// What its location does with answers.
    pub(super) fn keeps(&self) -> Keeps {
        let times = &self.policy.cache;
        Keeps {
            in_zone: self.policy.zone.is_some(),
            valid_ms: times.valid_ms,
            inactive_ms: times.inactive_ms,
            control: times.control,
        }
    }

    /// What is told, in this worker's own memory.
    pub(super) fn finding(
        &mut self,
        desk: &Desk,
        told: Told,
        keeping: Keeping,
    ) -> (Finding, Keeping) {
        match told {
            Told::Inactive => (Finding::Inactive, keeping),
            Told::Failed(failure) => (Finding::Failed(failure), keeping),
            Told::Active(grant, life, uncached) => {
                if grant.signer.is_some() && !self.report.from_store {
                    counters::minted(&desk.worker);
                }
                if let Some(reason) = uncached {
                    self.not_kept(desk, reason);
                }
                let facts = Facts { asked: self.asked, ..grant.facts(life) };
                match Cached::new(&facts, self.generation, now_ms()) {
                    Some(cached) => (Finding::Active(cached), keeping),
                    None => (Finding::Failed(FailureKind::Internal.into()), Keeping::Leave),
                }
            }
        }
    }
}

fn is_resting(desk: &Desk, endpoint: &PolicyEndpoint) -> bool {
    let id = endpoint.id(&desk.worker.state);
    desk.worker.state.endpoints().available(id, &endpoint.limits, now_ms()) == Availability::Resting
}
