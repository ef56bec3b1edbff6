//! What the end of an attempt says, recorded: in the endpoint's health, the gate of the credentials, the
//! counters and the log.

use std::time::Instant;

use phantom_token_engine::answer::NoVerdict;
use phantom_token_engine::attempt::{Gate, Judgement, Latency, Line, Next, Told};
use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::health::{Availability, Health, Transition};
use phantom_token_engine::shared::state::Notice;

use crate::conf::endpoints::PolicyEndpoint;
use crate::flight::Flight;
use crate::flight::desk::Desk;
use crate::flight::failures::Cause;
use crate::flight::own_calls::{self, Doubt};
use crate::nginx::log::{Cycle, crit, debug, notice, warning};
use crate::nginx::sys::now_ms;
use crate::operate::counters::{self, UncachedReason};

impl Flight {
    /// Records a judgement of the attempt that `began` then.
    pub(super) fn record(
        &self,
        desk: &mut Desk,
        endpoint: &PolicyEndpoint,
        judgement: &Judgement,
        began: Instant,
    ) {
        let id = endpoint.id(&desk.worker.state);
        self.record_health(desk, endpoint, judgement.health, began);
        self.record_credentials(desk, endpoint, judgement);
        if let Some(result) = judgement.call {
            counters::introspection(&desk.worker, id, result);
        }
        if let Some(kind) = judgement.failure {
            counters::failure(&desk.worker, id, kind);
        }
        if let Next::Tell(Told::Failed(failure), _) = &judgement.next
            && failure.kind == FailureKind::RateLimited
        {
            let until = now_ms() + u64::from(failure.retry_after) * 1_000;
            desk.worker.state.endpoints().rate_limited(id, until);
        }
        match judgement.latency {
            Some(Latency::Answered(took)) => endpoint.pace.update(|pace| pace.answered(took)),
            Some(Latency::TimedOut(took)) => endpoint.pace.update(|pace| pace.timed_out(took)),
            None => {}
        }
        if let Some(line) = &judgement.say {
            self.say(desk, endpoint, line);
        }
    }

    fn say(&self, desk: &mut Desk, endpoint: &PolicyEndpoint, line: &Line) {
        let label = endpoint.endpoint.label();
        let (state, client) = (desk.worker.state, endpoint.client_hash);
        match line {
            Line::NotBegun => desk.failures.say(endpoint, Cause::NotBegun),
            Line::NoAnswer(error) => desk.failures.say(endpoint, Cause::Call(*error)),
            Line::NoVerdict(failure) => desk.failures.say(endpoint, self.cause(*failure)),
            Line::Panicked(site) => crit!(Cycle, "caught a panic in introspection at {site}"),
            Line::Expired(skew) => {
                if state.once(Notice::ClockSkew, client, now_ms(), Some(60_000)) {
                    let line = format_args!(
                        "\"{label}\" calls a token active that expired {} seconds ago: check both clocks, and that \"exp\" is this token's and not another's",
                        skew.0
                    );
                    warning!(Cycle, "{}", endpoint.said(line));
                }
            }
            Line::Overruled => {
                if state.once(Notice::CacheControlOverruled, client, now_ms(), None) {
                    let line = format_args!(
                        "\"{label}\" forbids caching by Cache-Control, which is overruled: see phantom_token_cache_control"
                    );
                    notice!(Cycle, "{}", endpoint.said(line));
                }
            }
        }
    }

    /// What may have caused an answer that says nothing about the token.
    fn cause(&self, failure: NoVerdict) -> Cause {
        let introspection = &self.policy.introspection;
        match (failure, &introspection.extras.token_type_hint) {
            (NoVerdict::Hint(_), Some(hint)) => Cause::Hint { failure, hint: hint.clone() },
            _ => {
                let mut hints = introspection.credentials.hints;
                hints.encoded &= self.form == Form::Encoded;
                Cause::Answer { failure, hints }
            }
        }
    }

    /// An active answer is not kept: counted, and told to those who wait for it.
    pub(super) fn not_kept(&mut self, desk: &Desk, reason: UncachedReason) {
        self.report.uncached = Some(reason);
        counters::uncached(&desk.worker, reason);
        let token = self.key.token;
        debug!(Cycle, "an answer for token {token} is not cached: {}", reason.word());
    }

    /// The call waited in the pool's queue until its time was over.
    pub(super) fn say_not_begun(&self, desk: &mut Desk) {
        let asked = self.next.checked_sub(1);
        let endpoints = &self.policy.introspection.endpoints;
        if let Some(endpoint) = asked.and_then(|index| endpoints.get(index)) {
            counters::failure(&desk.worker, endpoint.id(&desk.worker.state), FailureKind::Timeout);
            desk.failures.say(endpoint, Cause::NotBegun);
        }
    }

    /// The gate of the credentials this flight is made with.
    pub(super) fn gate(&self, desk: &Desk, endpoint: &PolicyEndpoint) -> u64 {
        let introspection = &self.policy.introspection;
        introspection.gate(&desk.worker.state, endpoint, &self.headers, &self.params)
    }

    /// The gate of the endpoint that was asked last is in doubt.
    pub(super) fn doubt(&self, desk: &mut Desk, gate: u64, doubt: Doubt) {
        let values = (&self.headers, &self.params);
        own_calls::doubt(desk, &self.policy, self.next - 1, gate, values, doubt);
    }

    fn record_health(
        &self,
        desk: &mut Desk,
        endpoint: &PolicyEndpoint,
        health: Health,
        began: Instant,
    ) {
        let (id, now) = (endpoint.id(&desk.worker.state), now_ms());
        match health {
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

    fn record_credentials(
        &self,
        desk: &mut Desk,
        endpoint: &PolicyEndpoint,
        judgement: &Judgement,
    ) {
        match judgement.gate {
            Gate::Nothing => {}
            Gate::Passed => own_calls::passed(desk, endpoint, self.gate(desk, endpoint)),
            Gate::Refused => self.doubt(desk, self.gate(desk, endpoint), Doubt::Refused),
            Gate::Unclear => self.doubt(desk, self.gate(desk, endpoint), Doubt::Anyway),
        }
        let Some(taken) = judgement.form else { return };
        let form = self.policy.introspection.form(&desk.worker.state, endpoint);
        match taken {
            Form::Encoded => desk.worker.state.forms().encoded_answered(form),
            Form::Raw => own_calls::remember_raw(desk, endpoint, form),
        }
    }
}
