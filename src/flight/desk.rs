//! Where a worker's flights are kept, and what looks after them.
//!
//! Everything here runs on the worker's event loop. Nothing in it calls back into NGINX's request
//! processing, so it is never entered twice: requests are resumed by posted events.

use std::cell::{OnceCell, RefCell};

use phantom_token_engine::failure::FailureKind;

use crate::conf::MainConf;
use crate::finding::Finding;
use crate::fleet::Fleet;
use crate::flight::flights::{FlightId, Flights};
use crate::flight::work::Work;
use crate::flight::{Asked, Failures, Idle, OwnCalls, Poller};
use crate::nginx::task::Job;
use crate::nginx::zone;
use crate::operate::counters;
use crate::worker::Worker;

/// Calls queued or running in one worker, where `phantom_token_max_pending` does not say.
const MAX_PENDING: usize = 1024;

thread_local! {
    /// Made once, and never dropped: when a process ends, what flights and timers point to may be gone.
    static DESK: OnceCell<&'static RefCell<Desk>> = const { OnceCell::new() };
}

/// A worker's flights.
pub(crate) struct Desk {
    pub(crate) worker: Worker,
    pub(super) flights: Flights,
    /// Those that follow another worker's call.
    pub(super) followers: Vec<FlightId>,
    /// Calls queued or running.
    pub(super) pending: usize,
    pub(super) max_pending: usize,
    pub(super) poller: Poller,
    pub(super) failures: Failures,
    pub(super) idle: Idle,
    pub(super) own_calls: OwnCalls,
    pub(crate) fleet: Fleet,
}

impl Desk {
    /// Whether as many calls are queued or running as may be.
    pub(super) fn is_full(&self) -> bool {
        self.pending >= self.max_pending
    }

    /// A call was handed to the thread pool.
    pub(super) fn posted(&mut self) {
        self.pending += 1;
        counters::pending(&self.worker, 1);
    }

    /// The thread pool hands a call back.
    pub(super) fn has_run(&mut self, work: &Work) {
        self.pending = self.pending.saturating_sub(1);
        counters::pending(&self.worker, -1);
        let done = work.take();
        counters::queued(&self.worker, done.queued);
        if !done.took.is_zero() {
            counters::observe_call(&self.worker, done.took);
        }
        let flight = self.flights.take(work.flight).and_then(|flight| flight.complete(self, done));
        self.flights.put_back(work.flight, flight);
        self.fleet.look_after_held();
    }

    /// Makes a request wait for a flight.
    pub(super) fn join(&mut self, id: FlightId, deadline: u64) -> Asked {
        let Some(mut flight) = self.flights.take(id) else {
            return Asked::Known(Finding::Failed(FailureKind::Internal.into()));
        };
        let came = self.worker.moment();
        let asked = flight.join(self, deadline, came, false);
        self.flights.put_back(id, Some(flight));
        asked
    }

    /// A request leaves the flight it waited for: its client has gone, or its deadline has passed.
    pub(super) fn leave(&mut self, id: FlightId, index: usize, out_of_time: bool) {
        // It waited, also where a panic has lost the flight: what is left of that goes then.
        counters::waiting(&self.worker, -1);
        let flight =
            self.flights.take(id).and_then(|flight| flight.leave(self, index, out_of_time));
        self.flights.put_back(id, flight);
    }

    /// Looks after another worker's call from now on; there is room for the flight.
    pub(super) fn follow(&mut self, id: FlightId) {
        self.followers.push(id);
        self.poller.run();
    }

    pub(super) fn unfollow(&mut self, id: FlightId) {
        self.followers.retain(|follower| *follower != id);
    }
}

impl Job for Work {
    const END: &'static str = "the end of an introspection";

    fn run(&self) {
        Work::run(self);
    }

    fn has_run(&self) {
        with(|desk| desk.has_run(self));
    }
}

/// Runs `work` with this worker's desk. `None` outside a worker, or where the module is unused.
pub(crate) fn with<T>(work: impl FnOnce(&mut Desk) -> T) -> Option<T> {
    DESK.with(|desk| Some(work(&mut *desk.get()?.try_borrow_mut().ok()?)))
}

/// Sets it up: called once in each new worker process.
pub(super) fn open(conf: &MainConf) {
    let Some(worker) = Worker::new(conf) else { return };
    // Shown from the start: what is first seen when it fails is no alert's rise.
    for endpoint in conf.endpoints() {
        endpoint.id(&worker.state);
    }
    let look = || {
        with(|desk| desk.fleet.look(&desk.worker));
    };
    let tell = || {
        with(|desk| desk.fleet.tell_held());
    };
    let fleet = Fleet::new(conf, &worker, look, tell);
    let desk = Desk {
        worker,
        flights: Flights::default(),
        followers: Vec::new(),
        pending: 0,
        max_pending: conf.calls.max_pending.or(MAX_PENDING),
        poller: Poller::new(),
        failures: Failures::new(),
        idle: Idle::new(),
        own_calls: OwnCalls::new(),
        fleet,
    };
    let desk = Box::leak(Box::new(RefCell::new(desk)));
    let first = DESK.with(|slot| slot.set(desk).is_ok());
    debug_assert!(first, "a process is one worker");
}

/// Closes connections while that can still be said to servers: the worker process ends.
pub(crate) fn close_connections() {
    with(|desk| {
        desk.idle.close_all();
        desk.fleet.close_all();
        desk.fleet.give_up(&desk.worker);
    });
}

/// Says what is yet to be said and gives up the worker's slot: the worker process ends.
pub(crate) fn stop() {
    with(|desk| {
        desk.failures.sum_up(true);
        zone::pay_all();
        desk.worker.end();
    });
}
