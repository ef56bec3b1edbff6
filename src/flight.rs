//! Flights: one introspection of one token as one identity, and the requests that wait for it.
//!
//! A flight owns its thread task and belongs to no request: a client that leaves is freed at once,
//! and the call lives on without it. Requests, the first one too, are waiters ([`Wait`]), each with
//! a deadline and a resuming event of its own.
//!
//! A flight calls the server itself, or follows another worker's call under that worker's mark in
//! the zone ([`follow`]). The event loop chooses endpoints and keeps their health ([`attempt`]),
//! stores the answer and tells it to all who wait ([`publish`]); a pool thread only makes the call
//! ([`work`]).

use core::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::memory::{self, NoMemory};
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::state::{Generation, Notice};
use phantom_token_engine::token::key::Key;
use zeroize::Zeroizing;

use crate::cache::{self, Found};
use crate::conf::MainConf;
use crate::conf::policy::Policy;
use crate::conf::request::Values;
use crate::flight::desk::Desk;
use crate::flight::finding::Finding;
use crate::nginx::guard;
use crate::nginx::log::{debug, error};
use crate::nginx::pinned::Pinned;
use crate::nginx::sys::*;
use crate::nginx::zone::Owed;
use crate::operate::counters::{self, UncachedReason};

mod attempt;
pub(crate) mod call;
pub(crate) mod desk;
mod failures;
pub(crate) mod finding;
mod follow;
mod idle;
mod made;
mod own_calls;
mod poller;
mod publish;
mod wait;
mod work;

pub(crate) use failures::Failures;
pub(crate) use idle::Idle;
pub(crate) use made::{Calls, Made};
pub(crate) use own_calls::OwnCalls;
pub(crate) use poller::Poller;
use publish::Keeping;
pub(crate) use wait::Wait;
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
    pub(crate) log: *mut ngx_log_t,
}

/// What became of a question.
pub(crate) enum Asked {
    /// Known already.
    Known(Finding),
    /// The request waits.
    Waiting(Pinned<Wait>),
}

/// One introspection under way.
pub(crate) struct Flight {
    /// Itself, for those who point to it.
    this: NonNull<Self>,
    /// The thread pool's from when it is posted until it is handed back.
    task: Pinned<ngx_thread_task_t>,
    /// Shared with the pool thread by pointer.
    work: Option<Arc<Work>>,
    key: Key,
    token: Zeroizing<Vec<u8>>,
    policy: Rc<Policy>,
    headers: Values,
    params: Values,
    /// Under which number the zone knows it.
    id: u64,
    role: Role,
    /// Requests of this worker may join it: it is in the worker's map.
    joinable: bool,
    refresh: bool,
    /// What was purged or called inactive when it began: its answer is worthless to whoever comes
    /// after the next purge of its token, or the next inactive answer to it.
    generation: Generation,
    waiters: Vec<NonNull<Wait>>,
    /// The next endpoint to try.
    next: usize,
    /// In which form the credentials go with the attempt, where they are Basic.
    form: Form,
    /// The failure that stands if no endpoint is left.
    failed: Option<Failure>,
    /// Those made so far, and the one that is out.
    calls: Calls,
    /// Why the active answer was not kept.
    uncached: Option<UncachedReason>,
    deadline: u64,
    /// A request's time was over before the answer came, and nobody has said so yet.
    out_of_time: bool,
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

/// Asks for the answer to a question: from the zone, from a call under way, or by a new call.
pub(crate) fn ask(desk: &mut Desk, question: Question<'_>) -> Asked {
    let key = question.key;
    let mut generation = desk.worker.state.generation(&key.token);
    let shares = question.policy.zone.is_some() && !question.refresh;

    if shares && let Some(flight) = desk.flights.get(&question.key).copied() {
        // SAFETY: the map holds live flights only.
        let callers = unsafe { flight.as_ref() }.policy.cache;
        if let Some(zone) = &question.policy.zone {
            match cache::kept_longer(&mut desk.worker, zone, &key, &question.policy.cache, &callers)
            {
                Some(Found::Granted(cached)) => return Asked::Known(Finding::Active(cached)),
                Some(Found::Inactive) => return Asked::Known(Finding::Inactive),
                _ => {}
            }
        }
        let join = |flight: &mut Flight| {
            if flight.generation.has_purges_of(generation) && flight.deadline > now_ms() {
                return Some(flight.join(desk, question.deadline, false));
            }
            // Purged or called inactive since, or out of time: those who came before keep it, nobody
            // else gets it.
            flight.detach(desk);
            None
        };
        // SAFETY: the map holds live flights only; each is removed before it is freed.
        if let Some(asked) = unsafe { Flight::with(flight, join) } {
            return asked;
        }
    }

    let id = desk.worker.state.next_flight_id();
    let (role, id) = match &question.policy.zone {
        Some(zone) if shares => {
            let times = &question.policy.cache;
            let (found, current) =
                cache::shared(&mut desk.worker, zone, &key, times, id, question.deadline);
            generation = current;
            match found {
                Found::Granted(cached) => return Asked::Known(Finding::Active(cached)),
                Found::Inactive => return Asked::Known(Finding::Inactive),
                Found::Lead { marked: true } => (Role::Leader, id),
                Found::Lead { marked: false } => (Role::Alone, id),
                Found::Follow { flight } => (Role::Follower, flight),
            }
        }
        _ => (Role::Alone, id),
    };
    // Only now: what is known, or asked for by another worker, takes no call of ours.
    let refused = if role != Role::Follower && desk.pending >= desk.max_pending {
        overflow(desk, question.log, "too many introspection calls are pending");
        Some(FailureKind::Overflow)
    } else {
        reserve(desk).is_err().then_some(FailureKind::Internal)
    };
    let (log, policy, deadline) = (question.log, question.policy, question.deadline);
    let begun = match refused {
        None => {
            Flight::begin(question, role, id, generation).map_err(|NoMemory| FailureKind::Internal)
        }
        Some(why) => Err(why),
    };
    let flight = match begun {
        Ok(flight) => flight,
        Err(why) => {
            match (role, &policy.zone, desk.worker.slot) {
                (Role::Leader, Some(zone), _) => zone.settle(Owed::cancel(key, id)),
                (Role::Follower, Some(zone), Some(slot)) => {
                    zone.settle(Owed::leave(key, id, slot));
                }
                _ => {}
            }
            return Asked::Known(Finding::Failed(why.into()));
        }
    };
    debug!(log, "introspection flight {id} begins, for token {}", key.token);
    if shares {
        desk.flights.insert(key, flight);
    }
    let depart = |flight: &mut Flight| {
        flight.joinable = shares;
        if role == Role::Follower {
            flight.follow(desk);
            return flight.join(desk, deadline, false);
        }
        let waiting = flight.join(desk, deadline, true);
        match flight.attempt(desk) {
            Ok(()) => waiting,
            Err(fail) => {
                let outcome = Finding::Failed(fail);
                flight.resolve(desk, &outcome, Keeping::Leave);
                Asked::Known(outcome)
            }
        }
    };
    // SAFETY: just made.
    unsafe { Flight::with(flight, depart) }
}

/// Room for one more flight in the worker's lists.
fn reserve(desk: &mut Desk) -> Result<(), NoMemory> {
    desk.followers.try_reserve(1)?;
    desk.flights.try_reserve(1)?;
    Ok(())
}

fn overflow(desk: &Desk, log: *mut ngx_log_t, what: &str) {
    counters::failure(&desk.worker, None, FailureKind::Overflow);
    if desk.worker.state.once(Notice::Overflow, 0, now_ms(), Some(60_000)) {
        error!(
            log,
            "{what}: answering 503; see phantom_token_max_pending, thread_pool and the authorization server's answering time"
        );
    }
}

impl Flight {
    fn begin(
        question: Question<'_>,
        role: Role,
        id: u64,
        generation: Generation,
    ) -> Result<NonNull<Self>, NoMemory> {
        let token = memory::copied(question.token)?;
        // For the request that asks.
        let waiters = memory::with_room(1)?;
        let flight = Box::new(Self {
            this: NonNull::dangling(),
            // SAFETY: NGINX itself begins with zeroed tasks (ngx_thread_task_alloc).
            task: Pinned::new(unsafe { core::mem::zeroed() }),
            work: None,
            key: question.key,
            token,
            policy: Rc::clone(question.policy),
            headers: question.headers,
            params: question.params,
            id,
            role,
            joinable: false,
            refresh: question.refresh,
            generation,
            waiters,
            next: 0,
            form: Form::Encoded,
            failed: None,
            calls: Calls::default(),
            uncached: None,
            deadline: question.deadline,
            out_of_time: false,
            over: false,
        });
        let flight = NonNull::from(Box::leak(flight));
        // SAFETY: leaked just now, and known to nobody else.
        unsafe { (*flight.as_ptr()).this = flight };
        Ok(flight)
    }

    /// Makes a request wait for this flight.
    fn join(&mut self, desk: &mut Desk, deadline: u64, first: bool) -> Asked {
        if self.waiters.len() >= MAX_WAITERS {
            overflow(desk, guard::cycle_log(), "too many requests wait for one token");
            return Asked::Known(Finding::Failed(Failure::from(FailureKind::Overflow)));
        }
        if self.waiters.try_reserve(1).is_err() {
            return Asked::Known(Finding::Failed(Failure::from(FailureKind::Internal)));
        }
        let wait = Wait::new(self.this, self.waiters.len(), self.key, deadline, first);
        self.waiters.push(wait.pointer());
        counters::waiting(&desk.worker, 1);
        Asked::Waiting(wait)
    }

    /// A request leaves: its client has gone, or its deadline has passed.
    fn leave(&mut self, desk: &mut Desk, index: usize, out_of_time: bool) {
        self.out_of_time |= out_of_time;
        self.waiters.swap_remove(index);
        counters::waiting(&desk.worker, -1);
        if let Some(moved) = self.waiters.get(index) {
            // SAFETY: a waiter is unlinked before it is freed.
            unsafe { (*moved.as_ptr()).set_index(index) };
        }
        if !self.waiters.is_empty() {
            return;
        }
        if self.role == Role::Follower {
            let (key, id) = (self.key, self.id);
            if let (Some(zone), Some(slot)) = (&self.policy.zone, desk.worker.slot) {
                zone.settle(Owed::leave(key, id, slot));
            }
            self.detach(desk);
            self.unfollow(desk);
            self.over = true;
        } else if !self.is_followed(desk)
            && self.work.as_ref().is_some_and(|work| work.drop_unsent())
        {
            // Nobody waits, and nothing was sent. The flight is freed when the pool hands its task
            // back.
            if std::mem::take(&mut self.out_of_time) {
                self.say_not_begun(desk);
            }
            self.detach(desk);
            self.unmark();
        }
    }

    /// No further request joins.
    fn detach(&mut self, desk: &mut Desk) {
        if self.joinable {
            self.joinable = false;
            if desk.flights.get(&self.key).is_some_and(|known| ptr::eq(known.as_ptr(), self)) {
                desk.flights.remove(&self.key);
            }
        }
    }

    /// Looks after another worker's call from now on.
    fn follow(&mut self, desk: &mut Desk) {
        desk.followers.push(self.this);
        desk.poller.run();
    }

    fn unfollow(&mut self, desk: &mut Desk) {
        desk.followers.retain(|flight| !ptr::eq(flight.as_ptr(), self));
    }

    /// Whether requests of other workers wait for this flight.
    fn is_followed(&self, desk: &Desk) -> bool {
        let (key, id) = (self.key, self.id);
        match &self.policy.zone {
            Some(zone) if self.role == Role::Leader && desk.worker.slot.is_some() => {
                // Without the lock nobody knows.
                zone.locked(|locked| locked.followers(&key, id))
                    .is_none_or(|followers| followers.is_some_and(|count| count > 0))
            }
            _ => false,
        }
    }

    /// Takes this flight's mark out of the zone without an answer.
    fn unmark(&mut self) {
        if self.role == Role::Leader {
            self.role = Role::Alone;
            if let Some(zone) = &self.policy.zone {
                zone.settle(Owed::cancel(self.key, self.id));
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
}
