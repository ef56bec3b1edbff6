//! Calls of the gateway's own: the authorization server is asked, not guessed at.
//!
//! What clients' calls meet raises a doubt: whether an endpoint is there, or takes the client's
//! credentials. Nothing is decided by that; a call about a random token decides, for all workers
//! ([`phantom_token_engine::shared::health`]). It is made by a thread of its own, so that it never waits in
//! the pool's queue behind the calls it is to judge, in the worker that has the turn, and once a
//! second for as long as an endpoint rests or a gate is shut.
//!
//! Each worker keeps the doubts that it has met and looks at them by one timer; the words that decide
//! are in the state zone. So a worker that dies, or leaves, is replaced by any other that meets the
//! same, and an endpoint that nobody looks after is up again.

use std::rc::Rc;
use std::time::{Duration, Instant};

use phantom_token_engine::memory::{self, NoMemory};
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::health::gate::GateChange;
use phantom_token_engine::shared::health::judge::{Credentials, Verdict};
use phantom_token_engine::shared::health::turn::{Turn, TurnTaken};
use phantom_token_engine::shared::health::{Availability, Health, OwnCall, Transition, question};
use phantom_token_engine::shared::state::Notice;

use crate::conf::Policy;
use crate::conf::endpoints::PolicyEndpoint;
use crate::conf::request::Values;
use crate::flight::call::{self, About};
use crate::flight::desk::{self, Desk};
use crate::nginx::log::{Cycle, crit, error, notice, warning};
use crate::nginx::sys::*;
use crate::nginx::timer::Timer;
use crate::operate::counters;

mod thread;

use thread::{Ended, Made, Running};

/// Doubts about gates that differ from request to request, in one worker, at most. Clients can cause
/// them; one that is not kept leaves its gate as it is.
const MAX_VARYING: usize = 16;

/// Calls of a worker that are out at a time, at most.
const MAX_OUT: usize = 32;

/// Between two looks at a call that is out, in milliseconds: quick at first, and ever less often.
const QUICK_LOOK_MS: u64 = 5;
const SLOW_LOOK_MS: u64 = 100;

/// Between two looks at a turn that another worker has, in milliseconds.
const TURN_LOOK_MS: u64 = 200;

/// How long a call waits for the sake of other locations, at most.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// What a call may take beyond its time limit until its end is told, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// How often a rest is looked after, in milliseconds, and some more.
const LOOKED_AFTER_MS: u64 = 5_000;

/// What has raised a doubt about a gate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// It is shut: it is to be asked once a second.
    Looked,
    /// A client's call was refused.
    Refused,
    /// The same, where it says nothing that other calls were not: the form of the credentials is
    /// to be found out.
    Anyway,
}

/// The doubts of a worker, and the timer that looks at them.
pub(crate) struct OwnCalls {
    timer: Timer,
    /// Those that wait longest for a call first.
    cases: Vec<Case>,
}

/// A doubt about an endpoint of a location, its gate, or both.
struct Case {
    policy: Rc<Policy>,
    index: usize,
    /// The gate; `None` where gates differ from request to request, and the doubt is about the
    /// endpoint alone.
    gate: Option<u64>,
    /// The values of the request that met the gate, where it is for those alone. The endpoint is not
    /// judged by calls that are made with them: a client may have chosen them.
    values: Option<(Values, Values)>,
    doubt: Doubt,
    out: Option<Out>,
}

/// A call that is out.
struct Out {
    call: Running,
    turn: Turn,
    began_ms: u64,
}

/// What became of a call that is wanted.
enum Begun {
    Now,
    Not {
        /// When to try again, in milliseconds; `None`: when another call has ended.
        look_ms: Option<u64>,
    },
}

/// The endpoint rests, or is in doubt.
pub(crate) fn look_after(desk: &mut Desk, policy: &Rc<Policy>, index: usize) {
    let endpoint = &policy.introspection.endpoints[index];
    if health(desk, endpoint) == Availability::Up {
        return;
    }
    let varies = policy.introspection.gate_varies();
    let none = Values::new();
    let gate = policy.introspection.gate(&desk.worker.state, endpoint, &none, &none);
    let gate = (!varies).then_some(gate);
    meet(desk, policy, index, gate, None, Doubt::Looked);
}

/// The gate of a request with these values of extra headers and parameters is in doubt, or shut.
pub(crate) fn doubt(
    desk: &mut Desk,
    policy: &Rc<Policy>,
    index: usize,
    gate: u64,
    values: (&Values, &Values),
    doubt: Doubt,
) {
    if doubt == Doubt::Refused && desk.worker.state.gates().is_kept_open(gate, now_ms()) {
        return;
    }
    let values = Some(values).filter(|_| policy.introspection.gate_varies());
    meet(desk, policy, index, Some(gate), values, doubt);
}

fn meet(
    desk: &mut Desk,
    policy: &Rc<Policy>,
    index: usize,
    gate: Option<u64>,
    values: Option<(&Values, &Values)>,
    doubt: Doubt,
) {
    let cases = &mut desk.own_calls.cases;
    match cases.iter_mut().find(|case| case.gate == gate && case.is_of(policy, index)) {
        // The timer looks at it; set again where a panic has kept it from being.
        Some(case) if case.doubt >= doubt => {
            return desk.own_calls.timer.set_cancelable(TURN_LOOK_MS);
        }
        Some(case) => case.doubt = doubt,
        None => {
            let varying = cases.iter().filter(|case| case.values.is_some()).count();
            if values.is_some() && varying >= MAX_VARYING {
                return;
            }
            // Without memory for it nobody is asked, and nothing changes.
            let Ok(values) = values.map(copied).transpose() else { return };
            if cases.try_reserve(1).is_err() {
                return;
            }
            let policy = Rc::clone(policy);
            cases.push(Case { policy, index, gate, values, doubt, out: None });
        }
    }
    look(desk);
}

fn copied((headers, params): (&Values, &Values)) -> Result<(Values, Values), NoMemory> {
    let copied = |values: &Values| -> Result<Values, NoMemory> {
        let mut copy = memory::with_room(values.len())?;
        for value in values {
            copy.push(memory::copied(value)?);
        }
        Ok(copy)
    };
    Ok((copied(headers)?, copied(params)?))
}

fn health(desk: &Desk, endpoint: &PolicyEndpoint) -> Availability {
    desk.worker.state.endpoints().available(
        endpoint.id(&desk.worker.state),
        &endpoint.limits,
        now_ms(),
    )
}

impl OwnCalls {
    pub(crate) fn new() -> Self {
        Self {
            timer: Timer::new("looking after doubts", || {
                desk::with(look);
            }),
            cases: Vec::new(),
        }
    }
}

impl Case {
    fn endpoint(&self) -> &PolicyEndpoint {
        &self.policy.introspection.endpoints[self.index]
    }

    /// Whether it is about an endpoint that is called in the same way.
    fn is_of(&self, policy: &Policy, index: usize) -> bool {
        let other = &policy.introspection.endpoints[index];
        self.endpoint().is_called_as(&other.endpoint, other.kind)
    }

    /// Whether there is something to ask.
    fn is_open(&self, desk: &Desk) -> bool {
        let now = now_ms();
        let about_health =
            self.values.is_none() && health(desk, self.endpoint()) != Availability::Up;
        about_health
            || self.gate.is_some_and(|gate| match self.doubt {
                Doubt::Anyway => true,
                Doubt::Refused => !desk.worker.state.gates().is_kept_open(gate, now),
                Doubt::Looked => desk.worker.state.gates().is_shut(gate, now),
            })
    }

    /// How long the call may take: as long as any location would wait, since the endpoint rests for
    /// all of them; but one that waits for very long must not keep the others from knowing.
    fn timeout(&self) -> Duration {
        let own = Duration::from_millis(self.policy.timeout_ms);
        own.max(Duration::from_millis(self.endpoint().patience.timeout_ms.get()).min(MAX_PATIENCE))
    }

    /// Until the call's end is told.
    fn may_take_ms(&self) -> u64 {
        self.timeout().as_millis() as u64 + GRACE_MS
    }

    /// Makes the call, where it is not out and it is this worker's turn.
    fn try_to_begin(&mut self, desk: &Desk, too_many: bool) -> Begun {
        if self.out.is_some() || too_many {
            return Begun::Not { look_ms: None };
        }
        if self.values.is_some() && health(desk, self.endpoint()) != Availability::Up {
            // A client may have chosen values that the server does not answer. The turn is for what
            // decides for all, then.
            return Begun::Not { look_ms: Some(TURN_LOOK_MS) };
        }
        let now = now_ms();
        let (hash, deadline) = (self.endpoint().client_hash, now + self.may_take_ms());
        let look_ms = match desk.worker.state.turns().take(hash, deadline, here()) {
            TurnTaken::Mine(turn) => match self.begin(desk, turn) {
                Ok(out) => {
                    self.out = Some(out);
                    self.doubt = Doubt::Looked;
                    return Begun::Now;
                }
                // No memory, or no thread: another time.
                Err(turn) => {
                    desk.worker.state.turns().ended(turn);
                    TURN_LOOK_MS
                }
            },
            TurnTaken::Busy => TURN_LOOK_MS,
            TurnTaken::Early { left_ms } => left_ms,
        };
        Begun::Not { look_ms: Some(look_ms) }
    }

    /// Makes the call.
    fn begin(&mut self, desk: &Desk, turn: Turn) -> Result<Out, Turn> {
        let made = self.calls(desk, Instant::now() + self.timeout());
        let running = made.ok().and_then(|made| thread::begin(made).ok()).ok_or(turn)?;
        Ok(Out { call: running, turn, began_ms: now_ms() })
    }

    /// The call in the form that is used now, and in the other where there are two.
    fn calls(&self, desk: &Desk, deadline: Instant) -> Result<Made, NoMemory> {
        let introspection = &self.policy.introspection;
        let mut random = [0; question::LEN];
        if !crate::nginx::zone::random(&mut random) {
            return Err(NoMemory);
        }
        let token = question::token(&random);
        let given = |which: fn(&(Values, Values)) -> &Values| self.values.as_ref().map(which);
        let headers = call::own_values(&introspection.extras.headers, given(|values| &values.0))?;
        let params = call::own_values(&introspection.extras.params, given(|values| &values.1))?;
        let count = counters::connections(&desk.worker, self.endpoint().id(&desk.worker.state));
        let make = |form| {
            let (token, headers, params) = (&token[..], &headers, &params);
            let own = Duration::from_millis(self.policy.connect_timeout_ms);
            let most = Duration::from_millis(self.endpoint().patience.connect_timeout_ms.get());
            let connect_timeout = own.max(most.min(MAX_PATIENCE));
            let about = About { token, headers, params, count, form, deadline, connect_timeout };
            call::make(&self.policy, self.endpoint(), &about)
        };
        let forms = match introspection.credentials.common_raw {
            None => vec![Form::Encoded],
            Some(_) => vec![Form::Encoded, Form::Raw],
        };
        let calls = forms.into_iter().map(|form| Ok((form, make(form)?)));
        Ok(Made {
            calls: calls.collect::<Result<_, NoMemory>>()?,
            terms: call::terms(&self.policy, &params, desk.worker.hashing.key),
            alone: introspection.endpoints.len() == 1,
        })
    }

    /// The call has ended.
    fn settle(&mut self, desk: &mut Desk, out: Out, ended: Ended) {
        let (now, state) = (now_ms(), desk.worker.state);
        state.turns().ended(out.turn);
        let endpoint = self.endpoint();
        desk.idle.watch(&endpoint.connections);
        if let Some(place) = &ended.panicked {
            crit!(Cycle, "caught a panic in a call of the gateway's own at {place}");
        }
        let id = endpoint.id(&state);
        state.calls(id).count_own(ended.verdict.own_result());
        self.learn_form(desk, &ended);

        let Verdict { health, credentials } = ended.verdict;
        let call = OwnCall {
            said: health,
            began_ms: out.began_ms,
            counts_ms: self.may_take_ms() + LOOKED_AFTER_MS,
        };
        let change = match (&self.values, health) {
            (None, _) => state.endpoints().own_call_ended(id, &endpoint.limits, call, now),
            (Some(_), Health::Answered) => state.endpoints().answered(id, now),
            (Some(_), _) => Transition::None,
        };
        match change {
            Transition::None => {}
            Transition::WentDown => say_down(endpoint),
            Transition::CameUp => say_up(endpoint),
        }
        match (self.gate, credentials) {
            (Some(gate), Credentials::Good) => passed(desk, endpoint, gate),
            (Some(gate), Credentials::Refused)
                if state.gates().refused(gate, id, now) == GateChange::Shut =>
            {
                say_shut(endpoint, &self.policy);
            }
            _ => {}
        }
    }

    /// Which form of the credentials was answered, where there are two.
    fn learn_form(&self, desk: &Desk, ended: &Ended) {
        let (introspection, endpoint) = (&self.policy.introspection, self.endpoint());
        if introspection.credentials.common_raw.is_none() {
            return;
        }
        let form = introspection.form(&desk.worker.state, endpoint);
        match ended.answered {
            Some(Form::Encoded) => desk.worker.state.forms().encoded_answered(form),
            // The encoded one was refused before.
            Some(Form::Raw) => remember_raw(desk, endpoint, form),
            None if ended.verdict.credentials == Credentials::Refused => {
                desk.worker.state.forms().raw_refused(form);
            }
            None => {}
        }
    }
}

/// Looks at all doubts: what has ended, what is to be asked, and when to look again.
fn look(desk: &mut Desk) {
    let mut cases = std::mem::take(&mut desk.own_calls.cases);
    for case in &mut cases {
        if let Some(out) = case.out.take_if(|out| out.call.has_ended()) {
            let ended = out.call.end();
            case.settle(desk, out, ended);
        }
    }
    cases.retain(|case| case.out.is_some() || case.is_open(desk));

    let mut next = begin_due(desk, &mut cases);
    let now = now_ms();
    for out in cases.iter().filter_map(|case| case.out.as_ref()) {
        let look = now.saturating_sub(out.began_ms).clamp(QUICK_LOOK_MS, SLOW_LOOK_MS);
        next = Some(next.map_or(look, |next| next.min(look)));
    }
    desk.own_calls.cases = cases;
    if let Some(ms) = next {
        desk.own_calls.timer.reset_cancelable(ms);
    }
}

/// Begins the calls that are due and whose turn is to be had; when the next one may be, in
/// milliseconds.
fn begin_due(desk: &Desk, cases: &mut Vec<Case>) -> Option<u64> {
    if exiting() {
        // What is left is the next workers' to ask.
        return None;
    }
    // What decides for all goes first.
    cases.sort_by_key(|case| case.values.is_some());
    let mut next: Option<u64> = None;
    let mut out = cases.iter().filter(|case| case.out.is_some()).count();
    let mut at = 0;
    for _ in 0..cases.len() {
        let left = match cases[at].try_to_begin(desk, out >= MAX_OUT) {
            Begun::Now => {
                out += 1;
                // Behind those that wait, since the cases of one client have one turn together.
                let case = cases.remove(at);
                cases.push(case);
                continue;
            }
            Begun::Not { look_ms } => look_ms,
        };
        at += 1;
        if let Some(left) = left {
            next = Some(next.map_or(left, |next| next.min(left)));
        }
    }
    next
}

/// A call was not refused.
pub(crate) fn passed(desk: &Desk, endpoint: &PolicyEndpoint, gate: u64) {
    let id = endpoint.id(&desk.worker.state);
    if desk.worker.state.gates().passed(gate, id, now_ms()) == GateChange::Opened {
        let label = endpoint.endpoint.label();
        let line = format_args!("\"{label}\" takes this client's credentials again");
        warning!(Cycle, "{}", endpoint.said(line));
    }
}

/// The server takes Basic credentials as they are, and not form-urlencoded.
pub(crate) fn remember_raw(desk: &Desk, endpoint: &PolicyEndpoint, form: u64) {
    let state = desk.worker.state;
    if state.forms().raw_answered(form) && state.once(Notice::RawCredentials, form, now_ms(), None)
    {
        let line = format_args!(
            "\"{}\" takes the client's id and secret only as they are, not form-urlencoded: write \"phantom_token_client_auth basic_raw\"",
            endpoint.endpoint.label()
        );
        notice!(Cycle, "{}", endpoint.said(line));
    }
}

/// The endpoint rested, and does no longer.
pub(crate) fn say_up(endpoint: &PolicyEndpoint) {
    let line = format_args!("\"{}\" is up again", endpoint.endpoint.label());
    warning!(Cycle, "{}", endpoint.said(line));
}

fn say_down(endpoint: &PolicyEndpoint) {
    let line = format_args!(
        "\"{}\" rests for now, until it answers: {} calls in a row failed, and then one of the gateway's own",
        endpoint.endpoint.label(),
        endpoint.limits.max_fails
    );
    warning!(Cycle, "{}", endpoint.said(line));
}

fn say_shut(endpoint: &PolicyEndpoint, policy: &Policy) {
    let hints = policy.introspection.credentials.hints;
    let line = format_args!(
        "\"{}\" refuses this client's credentials to the gateway's own calls too: ten calls a second go out until one is answered; {}, or the firewall in front{hints}",
        endpoint.endpoint.label(),
        hints.advice()
    );
    error!(Cycle, "{}", endpoint.said(line));
}
