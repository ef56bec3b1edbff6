//! Following another worker's call, under its mark in the zone.

use phantom_token_engine::attempt::Keeping;
use phantom_token_engine::failure::FailureKind;

use crate::cache::{self, Look, Polled, Query};
use crate::finding::Finding;
use crate::flight::desk::Desk;
use crate::flight::flights::FlightId;
use crate::flight::{Flight, Role, overflow};
use crate::nginx::log::{Cycle, debug};

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
            Polled::Told(finding) => {
                self.resolve(desk, &finding, Keeping::Leave);
                None
            }
            Polled::Lead(lead, generation) => {
                let token = self.key.token;
                debug!(Cycle, "introspection flight {call} is taken over, for token {token}");
                self.generation = generation;
                self.take_lead(desk, Role::Leader(lead))
            }
            Polled::Gone => self.look_again(desk),
        };
        (left, true)
    }

    /// The mark is gone: begins anew.
    fn look_again(mut self: Box<Self>, desk: &mut Desk) -> Option<Box<Self>> {
        let deadline = self.latest_deadline();
        let Some(zone) = &self.policy.zone else { return Some(self) };
        let query = Query { zone, key: &self.key, times: &self.policy.cache, deadline };
        match cache::look_again::<FlightId>(&mut desk.worker, &query) {
            Look::Known(finding) => {
                self.resolve(desk, &finding, Keeping::Leave);
                None
            }
            Look::Lead(lead, generation) => {
                self.generation = generation;
                self.take_lead(desk, lead.map_or(Role::Alone, Role::Leader))
            }
            Look::Follow(follow, generation) => {
                self.generation = generation;
                self.role = Role::Follower(follow);
                Some(self)
            }
            Look::Join(_) => Some(self),
        }
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
        self.resolve(desk, &Finding::Failed(failure), Keeping::Leave);
        None
    }

    fn latest_deadline(&self) -> u64 {
        self.waiters.iter().map(|waiter| waiter.deadline).max().unwrap_or(self.deadline)
    }
}
