//! A request that waits for a flight.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::shared::counters::{StoreResult, UncachedReason};
use phantom_token_engine::shared::purges::Moment;
use phantom_token_engine::token::key::Key;

use crate::finding::Finding;
use crate::flight::Calls;
use crate::flight::desk;
use crate::flight::flights::FlightId;
use crate::nginx::request::Request;
use crate::nginx::suspension::{Awaited, Suspension};
use crate::nginx::sys::now_ms;

/// One request's wait. It is owned by the request's context, and dropped with it or once the
/// request goes on; dropping it unlinks it from its flight, its timer and NGINX's queue.
pub(crate) struct Wait {
    waiter: Rc<Waiter>,
    began: u64,
    /// This request caused the call.
    first: bool,
    key: Key,
}

/// What a wait and its flight share.
pub(super) struct Waiter {
    /// `None` once the flight has told the outcome, or the deadline has passed.
    flight: Cell<Option<FlightId>>,
    /// Its place among the flight's waiters.
    pub(super) index: Cell<usize>,
    /// When it came, in the order of purges.
    pub(super) came: Moment,
    pub(super) deadline: u64,
    end: RefCell<Option<End>>,
    /// `None` before the request is suspended.
    suspension: RefCell<Option<Suspension>>,
}

/// A place among those who wait for a flight.
pub(super) struct Place {
    pub(super) flight: FlightId,
    pub(super) index: usize,
    /// When the request came, in the order of purges.
    pub(super) came: Moment,
}

/// How the wait ended.
struct End {
    finding: Finding,
    report: Report,
}

/// What is told with a finding, for the log.
#[derive(Clone, Default)]
pub(crate) struct Report {
    /// Why the answer was not kept, where this worker had it and did not.
    pub(crate) uncached: Option<UncachedReason>,
    /// The calls that this worker has made.
    pub(crate) calls: Calls,
    /// What the store said, where this worker asked it.
    pub(crate) store: Option<StoreResult>,
    /// The finding is the store's.
    pub(crate) from_store: bool,
}

impl Wait {
    pub(super) fn new(place: Place, key: Key, deadline: u64, first: bool) -> (Self, Rc<Waiter>) {
        let Place { flight, index, came } = place;
        let waiter = Rc::new(Waiter {
            flight: Cell::new(Some(flight)),
            index: Cell::new(index),
            came,
            deadline,
            end: RefCell::new(None),
            suspension: RefCell::new(None),
        });
        (Self { waiter: Rc::clone(&waiter), began: now_ms(), first, key }, waiter)
    }

    /// Suspends the request, until the flight tells the outcome or the deadline has passed.
    pub(crate) fn suspend(&self, r: Request) {
        let left = self.waiter.deadline.saturating_sub(now_ms());
        let waiter: Weak<Waiter> = Rc::downgrade(&self.waiter);
        *self.waiter.suspension.borrow_mut() = Some(Suspension::new(r, left, waiter));
    }

    /// What was found out, once the wait is over.
    pub(crate) fn finding(&self) -> Option<Finding> {
        self.waiter.end.borrow().as_ref().map(|end| end.finding.clone())
    }

    /// What is told with the finding; before that, what can be told so far.
    pub(crate) fn report(&self) -> Report {
        match &*self.waiter.end.borrow() {
            Some(end) => end.report.clone(),
            None => self.waiter.report().unwrap_or_default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.waiter.end.borrow().is_some()
    }

    pub(crate) fn is_first(&self) -> bool {
        self.first
    }

    /// What the request asked about.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// How long the request has waited, in milliseconds.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        now_ms().saturating_sub(self.began)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Before its request is freed, whatever else holds the waiter.
        drop(self.waiter.suspension.take());
        self.waiter.leave(false);
    }
}

impl Waiter {
    /// The flight tells the outcome; the request goes on with an event of its own.
    pub(super) fn tell(&self, finding: Finding, report: Report) {
        self.flight.set(None);
        *self.end.borrow_mut() = Some(End { finding, report });
        // Where it is not suspended yet, whoever asked sees the outcome at once.
        if let Some(suspension) = &*self.suspension.borrow() {
            suspension.end();
        }
    }

    fn report(&self) -> Option<Report> {
        let id = self.flight.get()?;
        desk::with(|desk| Some(desk.flights.get(id)?.report.clone()))?
    }

    /// Leaves the flight, if it is still linked to one: because its time is over, or its client has
    /// gone.
    fn leave(&self, out_of_time: bool) {
        if let Some(id) = self.flight.take() {
            desk::with(|desk| desk.leave(id, self.index.get(), out_of_time));
        }
    }
}

impl Awaited for Waiter {
    fn time_is_over(&self) {
        let mut report = self.report().unwrap_or_default();
        report.calls.out_of_time();
        self.leave(true);
        let finding = Finding::Failed(FailureKind::Timeout.into());
        *self.end.borrow_mut() = Some(End { finding, report });
    }
}
