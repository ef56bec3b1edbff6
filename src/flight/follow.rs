//! Following another worker's call, under its mark in the zone.

use phantom_token_engine::attempt::Keeping;
use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::shared::health::form::Form;

use crate::cache::{self, Look, Polled, Query};
use crate::finding::Finding;
use crate::flight::desk::Desk;
use crate::flight::flights::FlightId;
use crate::flight::{Flight, Role, overflow};
use crate::nginx::log::{Cycle, debug};
use crate::worker::AsOf;

impl Flight {
    /// Looks whether the other worker has answered, or is no longer `alive`. Tells, too, whether the
    /// zone's lock could be had.
    pub(super) fn poll(
        mut self: Box<Self>,
        desk: &mut Desk,
        alive: &dyn Fn(u32) -> bool,
    ) -> (Option<Box<Self>>, bool) {
        let (deadline, generation) = (self.latest_deadline(), self.generation);
        let Role::Follower(follow) = &mut self.role else { return (Some(self), true) };
        let call = follow.call();
        let left = match follow.poll(&mut desk.worker, deadline, generation, alive) {
            // The next look at all of them asks again.
            Polled::OutOfReach => return (Some(self), false),
            Polled::Waiting => Some(self),
            Polled::Told(finding) => self.resolve(desk, &finding, Keeping::Leave),
            Polled::Lead(lead, as_of) => {
                let token = self.key.token;
                debug!(Cycle, "introspection flight {call} is taken over, for token {token}");
                self.begin_as_of(as_of);
                self.take_lead(desk, Role::Leader(lead))
            }
            Polled::Gone => self.look_again(desk),
        };
        (left, true)
    }

    /// Whoever called has left nothing, or what it told does not do for all who wait: begins anew.
    pub(super) fn look_again(mut self: Box<Self>, desk: &mut Desk) -> Option<Box<Self>> {
        let deadline = self.latest_deadline();
        let Some(zone) = &self.policy.zone else { return Some(self) };
        let times = self.policy.times(&desk.worker);
        let query = Query { zone, key: &self.key, times: &times, deadline };
        match cache::look_again::<FlightId>(&mut desk.worker, &query) {
            Look::Known(finding) => self.tell_of_others(desk, &finding),
            Look::Doubted(cached, _) => self.tell_of_others(desk, &Finding::Active(cached)),
            Look::Lead(lead, as_of) => {
                self.begin_as_of(as_of);
                self.take_lead(desk, lead.map_or(Role::Alone, Role::Leader))
            }
            Look::Follow(follow, as_of) => {
                self.begin_as_of(as_of);
                self.role = Role::Follower(follow);
                if !desk.followers.contains(&self.id) {
                    desk.follow(self.id);
                }
                Some(self)
            }
            Look::Join(_) => Some(self),
        }
    }

    /// Ends the flight with what others have learnt.
    fn tell_of_others(self: Box<Self>, desk: &mut Desk, finding: &Finding) -> Option<Box<Self>> {
        desk.flights.detach(&self.key, self.id);
        desk.unfollow(self.id);
        self.tell(desk, finding)
    }

    fn take_lead(mut self: Box<Self>, desk: &mut Desk, role: Role) -> Option<Box<Self>> {
        desk.unfollow(self.id);
        self.role = role;
        self.deadline = self.latest_deadline();
        let failure = if desk.is_full() {
            // The mark goes first: it is no failure for those who wait in other workers.
            self.role = Role::Alone;
            overflow(desk, &Cycle, "too many introspection calls are pending");
            FailureKind::Overflow.into()
        } else {
            match self.attempt(desk) {
                Ok(()) => return Some(self),
                Err(failure) => failure,
            }
        };
        self.resolve(desk, &Finding::Failed(failure), Keeping::Leave)
    }

    /// Asks anew for those who wait still: they came after a purge, and the answer is from before. They
    /// wait for a call that begins now, and so are told its answer whatever is purged meanwhile; those
    /// who join them then ask anew in turn, but nobody joins the third time.
    pub(super) fn ask_anew(mut self: Box<Self>, desk: &mut Desk) -> Option<Box<Self>> {
        self.times_anew += 1;
        (self.next, self.form, self.failed, self.report.uncached) = (0, Form::Encoded, None, None);
        self.forget_store();
        self.out_of_time = false;
        if desk.followers.try_reserve(1).is_err() || desk.flights.reserve().is_err() {
            return self.tell(desk, &Finding::Failed(FailureKind::Internal.into()));
        }
        debug!(Cycle, "introspection begins anew after a purge, for token {}", self.key.token);
        let shares = self.policy.zone.is_some() && !self.refresh;
        if shares && self.times_anew == 1 {
            desk.flights.admit(self.key, self.id);
            return self.look_again(desk);
        }
        let as_of = desk.worker.as_of(&self.key.token);
        self.begin_as_of(as_of);
        self.take_lead(desk, Role::Alone)
    }

    fn begin_as_of(&mut self, as_of: AsOf) {
        AsOf { generation: self.generation, asked: self.asked } = as_of;
    }

    fn latest_deadline(&self) -> u64 {
        self.waiters.iter().map(|waiter| waiter.deadline).max().unwrap_or(self.deadline)
    }
}
