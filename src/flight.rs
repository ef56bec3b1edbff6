//! Flights: one introspection of one token as one identity, and the requests that wait for it.
//!
//! A flight belongs to no request, and lies on the worker's [`desk`], where its id finds it: a client that leaves is freed at once,
//! and the call lives on without it. Requests, the first one too, are waiters ([`Wait`]), each with
//! a deadline and a resuming event of its own.
//!
//! A flight calls the server itself, or follows another worker's call under that worker's mark in
//! the zone ([`follow`]). The event loop chooses endpoints ([`attempt`]), records what each attempt says of
//! them ([`record`]), stores the answer and tells it to all who wait ([`publish`]); a pool thread only makes the call
//! ([`work`]). A flight may also be nobody's, for an answer that serves and is about to end ([`mod@refresh`]).

#![forbid(unsafe_code)]

use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::attempt::Keeping;
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::memory::{self, NoMemory};
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::purges::Moment;
use phantom_token_engine::shared::state::{Generation, Notice};
use phantom_token_engine::token::key::Key;
use zeroize::Zeroizing;

use crate::cache::{self, Follow, Lead, Look, Query};
use crate::conf::MainConf;
use crate::conf::policy::Policy;
use crate::conf::request::Values;
use crate::finding::Finding;
use crate::flight::desk::Desk;
use crate::nginx::log::{Cycle, HasLog, debug, error};
use crate::nginx::request::Request;
use crate::nginx::task::Task;
use crate::nginx::zone::ZoneRef;
use crate::operate::counters;
use crate::worker::AsOf;

mod attempt;
mod call;
pub(crate) mod desk;
mod failures;
mod flights;
mod follow;
mod idle;
mod made;
mod own_calls;
mod poller;
mod publish;
mod record;
mod refresh;
mod store;
mod wait;
mod work;

pub(crate) use failures::Failures;
use flights::FlightId;
pub(crate) use idle::Idle;
pub(crate) use made::{Calls, Made};
pub(crate) use own_calls::OwnCalls;
pub(crate) use poller::Poller;
use refresh::Refresh;
use store::Turn;
use wait::{Place, Waiter};
pub(crate) use wait::{Report, Wait};
use work::Work;

/// Requests that may wait for one key in one worker.
const MAX_WAITERS: usize = 1_000;

/// What a request brings to the introspection of its token.
pub(crate) struct Question<'a> {
    pub(crate) key: Key,
    pub(crate) token: &'a [u8],
    pub(crate) policy: &'a Rc<Policy>,
    pub(crate) headers: Values,
    pub(crate) params: Values,
    /// Ask anew, whatever is kept (`phantom_token_cache_bypass`).
    pub(crate) refresh: bool,
    /// When the request gives up, in NGINX's monotonic milliseconds.
    pub(crate) deadline: u64,
    /// Whose question it is.
    pub(crate) request: Request,
}

/// What became of a question.
pub(crate) enum Asked {
    /// Known already.
    Known(Finding),
    /// The request waits.
    Waiting(Wait),
}

/// One introspection under way.
pub(crate) struct Flight {
    id: FlightId,
    /// The attempt that is out.
    work: Option<Arc<Task<Work>>>,
    key: Key,
    token: Zeroizing<Vec<u8>>,
    policy: Rc<Policy>,
    headers: Values,
    params: Values,
    role: Role,
    refresh: bool,
    /// Nobody asked for it: what it is to replace still serves.
    refresh_ahead: Option<Refresh>,
    /// What was purged or called inactive when it began: its answer is worthless to whoever comes
    /// after the next purge of its token, or the next inactive answer to it.
    generation: Generation,
    /// The moment at which it began, in the order of purges: whoever came later must not be given its
    /// answer where that was purged since.
    asked: Moment,
    /// How often it has begun anew, for those who came after a purge.
    times_anew: u8,
    waiters: Vec<Rc<Waiter>>,
    /// The next endpoint to try.
    next: usize,
    /// How far it is with the store of the fleet.
    turn: Turn,
    /// The server calls the token inactive of which an active answer lies in the store.
    is_over: bool,
    /// The attempt that is out has a call to make; else it asks the store alone.
    calls_server: bool,
    /// In which form the credentials go with the attempt, where they are Basic.
    form: Form,
    /// The failure that stands if no endpoint is left.
    failed: Option<Failure>,
    /// What is told to those who wait, besides the finding.
    report: Report,
    deadline: u64,
    /// A request's time was over before the answer came, and nobody has said so yet.
    out_of_time: bool,
}

/// Who makes the call.
enum Role {
    /// This worker, alone.
    Alone,
    /// This worker, for all: its mark is in the zone.
    Leader(Lead),
    /// Another worker.
    Follower(Follow),
}

/// Takes up a worker's work: called once in each new worker process.
pub(crate) fn start(conf: &MainConf) {
    desk::open(conf);
    // Those that rested before the worker began.
    desk::with(|desk| {
        for (policy, index) in &conf.endpoints {
            own_calls::look_after(desk, policy, *index);
        }
    });
}

/// Asks for the answer to a question: what is known, a call under way, or a new call.
pub(crate) fn ask(desk: &mut Desk, question: Question<'_>) -> Asked {
    let (role, as_of) = match look(desk, &question) {
        Look::Known(finding) => {
            if let Finding::Active(cached) = &finding
                && refresh::may_be_due(&question, cached)
            {
                refresh::begin_if_due(desk, question, cached, None);
            }
            return Asked::Known(finding);
        }
        Look::Doubted(cached, since_ms) => {
            refresh::begin_if_due(desk, question, &cached, Some(since_ms));
            return Asked::Known(Finding::Active(cached));
        }
        Look::Join(flight) => return desk.join(flight, question.deadline),
        Look::Follow(follow, as_of) => (Role::Follower(follow), as_of),
        Look::Lead(lead, as_of) => (lead.map_or(Role::Alone, Role::Leader), as_of),
    };
    // Only now: what is known, or asked for by another worker, takes no call of ours.
    if !matches!(role, Role::Follower(_)) && desk.is_full() {
        overflow(desk, &question.request, "too many introspection calls are pending");
        return Asked::Known(Finding::Failed(FailureKind::Overflow.into()));
    }
    begin(desk, question, role, as_of)
        .unwrap_or_else(|NoMemory| Asked::Known(Finding::Failed(FailureKind::Internal.into())))
}

fn look(desk: &mut Desk, question: &Question<'_>) -> Look<FlightId> {
    let key = &question.key;
    let Some(zone) = question.shared_in() else {
        return Look::Lead(None, desk.worker.as_of(&key.token));
    };
    let (times, deadline) = (question.policy.times(&desk.worker), question.deadline);
    let query = Query { zone, key, times: &times, deadline };
    let (flights, purges) = (&mut desk.flights, desk.worker.purges);
    cache::look(&mut desk.worker, &query, |as_of| {
        let purged = purges.map_or(Moment::NEVER, |purges| purges.purged(&key.token));
        flights.joinable(key, as_of.generation, purged)
    })
}

/// A mark that is given up goes with `role`.
fn begin(
    desk: &mut Desk,
    question: Question<'_>,
    role: Role,
    as_of: AsOf,
) -> Result<Asked, NoMemory> {
    desk.followers.try_reserve(1)?;
    desk.flights.reserve()?;
    let (key, request, deadline) = (question.key, question.request, question.deadline);
    let shares = question.shared_in().is_some();
    let mut flight = Flight::new(question, role, as_of)?;
    flight.id = desk.flights.begin();
    debug!(request, "introspection flight {} begins, for token {}", flight.call(desk), key.token);
    if shares {
        desk.flights.admit(key, flight.id);
    }
    let id = flight.id;
    let (asked, flight) = flight.depart(desk, deadline);
    desk.flights.put_back(id, flight);
    Ok(asked)
}

impl Question<'_> {
    /// The zone where the answer may be, and is looked for by others; `None` where it is asked anew, for
    /// this request alone.
    fn shared_in(&self) -> Option<&ZoneRef> {
        self.policy.zone.as_ref().filter(|_| !self.refresh)
    }
}

fn overflow(desk: &Desk, who: &impl HasLog, what: &str) {
    counters::failure(&desk.worker, None, FailureKind::Overflow);
    if desk.worker.is_due(Notice::Overflow, what) {
        error!(
            *who,
            "{what}: answering 503; see phantom_token_max_pending, thread_pool and the authorization server's answering time"
        );
    }
}

impl Flight {
    fn new(question: Question<'_>, role: Role, as_of: AsOf) -> Result<Box<Self>, NoMemory> {
        let token = memory::copied(question.token)?;
        // For the request that asks.
        let waiters = memory::with_room(1)?;
        Ok(Box::new(Self {
            id: FlightId::NONE,
            work: None,
            key: question.key,
            token,
            policy: Rc::clone(question.policy),
            headers: question.headers,
            params: question.params,
            role,
            refresh: question.refresh,
            refresh_ahead: None,
            generation: as_of.generation,
            asked: as_of.asked,
            times_anew: 0,
            waiters,
            next: 0,
            turn: Turn::default(),
            is_over: false,
            calls_server: false,
            form: Form::Encoded,
            failed: None,
            report: Report::default(),
            deadline: question.deadline,
            out_of_time: false,
        }))
    }

    /// The first request waits; the call goes out, unless another worker's is followed. What is left of
    /// the flight is given back, as by all that may end it.
    fn depart(mut self: Box<Self>, desk: &mut Desk, deadline: u64) -> (Asked, Option<Box<Self>>) {
        let calls = !matches!(self.role, Role::Follower(_));
        let came = self.asked;
        let waiting = self.join(desk, deadline, came, calls);
        if !calls {
            desk.follow(self.id);
            return (waiting, Some(self));
        }
        match self.attempt(desk) {
            Ok(()) => (waiting, Some(self)),
            Err(failure) => {
                let finding = Finding::Failed(failure);
                let left = self.resolve(desk, &finding, Keeping::Leave);
                (Asked::Known(finding), left)
            }
        }
    }

    /// The number of the call in the zone's marks, or one of its own.
    fn call(&self, desk: &Desk) -> u64 {
        match &self.role {
            Role::Alone => desk.worker.state.next_flight_id(),
            Role::Leader(lead) => lead.call(),
            Role::Follower(follow) => follow.call(),
        }
    }

    /// Makes a request wait for this flight that came at this moment, in the order of purges.
    fn join(&mut self, desk: &mut Desk, deadline: u64, came: Moment, first: bool) -> Asked {
        if self.waiters.len() >= MAX_WAITERS {
            overflow(desk, &Cycle, "too many requests wait for one token");
            return Asked::Known(Finding::Failed(FailureKind::Overflow.into()));
        }
        if self.waiters.try_reserve(1).is_err() {
            return Asked::Known(Finding::Failed(FailureKind::Internal.into()));
        }
        let place = Place { flight: self.id, index: self.waiters.len(), came };
        let (wait, waiter) = Wait::new(place, self.key, deadline, first);
        self.waiters.push(waiter);
        counters::waiting(&desk.worker, 1);
        Asked::Waiting(wait)
    }

    /// A request leaves: its client has gone, or its deadline has passed.
    fn leave(
        mut self: Box<Self>,
        desk: &mut Desk,
        index: usize,
        out_of_time: bool,
    ) -> Option<Box<Self>> {
        self.out_of_time |= out_of_time;
        self.waiters.swap_remove(index);
        if let Some(moved) = self.waiters.get(index) {
            moved.index.set(index);
        }
        if !self.waiters.is_empty() || self.refresh_ahead.is_some() {
            return Some(self);
        }
        if let Role::Follower(_) = self.role {
            desk.flights.detach(&self.key, self.id);
            desk.unfollow(self.id);
            return None;
        }
        if !self.is_followed() && self.work.as_ref().is_some_and(|work| work.drop_unsent()) {
            // Nobody waits, and nothing was sent. The flight is over when the pool hands its task
            // back.
            if mem::take(&mut self.out_of_time) {
                self.say_not_begun(desk);
            }
            desk.flights.detach(&self.key, self.id);
            self.role = Role::Alone;
        }
        Some(self)
    }

    /// Whether requests of other workers wait for this flight.
    fn is_followed(&self) -> bool {
        matches!(&self.role, Role::Leader(lead) if lead.is_followed())
    }
}
