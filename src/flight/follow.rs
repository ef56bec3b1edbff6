//! Following another worker's call, under its mark in the zone.
use std::rc::Rc;

use phantom_token_engine::arena::{Answer as Mark, Kind, Poll};
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::shared::process::Here;

use crate::cache::{self, Found};
use crate::flight::desk::Desk;
use crate::flight::finding::Finding;
use crate::flight::publish::Keeping;
use crate::flight::{Flight, Role, overflow};
use crate::nginx::guard;
use crate::nginx::log::debug;
use crate::nginx::sys::*;
use crate::nginx::zone::ZoneRef;

impl Flight {
    /// Looks whether the other worker has answered, or is no longer `alive`; `false` where the zone's
    /// lock could not be had.
    pub(crate) fn poll(&mut self, desk: &mut Desk, alive: impl Fn(u32) -> bool) -> bool {
        let policy = Rc::clone(&self.policy);
        let (Some(zone), Some(slot)) = (&policy.zone, desk.worker.slot) else { return true };
        let (key, id) = (self.key, self.id);
        // Before the lock: where the call is taken over, it begins after.
        let generation = desk.worker.state.generation(&key.token);
        let flight = desk.worker.state.next_flight_id();
        let mine = cache::mark(flight, slot, self.latest_deadline(), generation);
        let polled = loop {
            let record = &mut desk.worker.record;
            let polled = zone.locked(|locked| {
                locked.poll(&key, id, &mine, Here { alive: &alive, ..here() }, record)
            });
            match polled {
                Some(Poll::NeedSpace(bytes)) if record.reserve(bytes).is_ok() => {}
                other => break other,
            }
        };
        match polled {
            // No lock in time: the next look at all of them asks again.
            None => return false,
            // Nor is there memory for it now.
            Some(Poll::Waiting | Poll::NeedSpace(_)) => {}
            Some(Poll::Answer(Mark::Failed { code, retry_after })) => {
                let fail = Failure { kind: FailureKind::of_code(code), retry_after };
                self.resolve(desk, &Finding::Failed(fail), Keeping::Leave);
            }
            Some(Poll::Answer(Mark::Inactive)) => {
                self.resolve(desk, &Finding::Inactive, Keeping::Leave)
            }
            Some(Poll::Answer(mark)) => {
                let outcome = match cache::cached_of(&desk.worker.record, self.generation) {
                    Some(cached) => Finding::Active(cached),
                    None if desk.worker.record.kind() == Kind::Active => {
                        Finding::Failed(Failure::from(FailureKind::Internal))
                    }
                    // Stored, and replaced by a later answer.
                    None => Finding::Inactive,
                };
                if let (Mark::Stored, Finding::Active(cached)) = (mark, &outcome) {
                    desk.worker.local.insert(key, cached);
                }
                self.resolve(desk, &outcome, Keeping::Leave);
            }
            Some(Poll::Lead) => {
                let token = self.key.token;
                debug!(
                    guard::cycle_log(),
                    "introspection flight {id} is taken over, for token {token}"
                );
                self.generation = generation;
                self.take_lead(desk, Role::Leader, mine.id);
            }
            Some(Poll::Gone) => self.lead_anew(desk, zone),
        }
        true
    }

    /// The mark is gone (purged, called inactive, given up, or the zone was emptied): begins anew.
    fn lead_anew(&mut self, desk: &mut Desk, zone: &ZoneRef) {
        let id = desk.worker.state.next_flight_id();
        let (times, deadline) = (self.policy.cache, self.latest_deadline());
        let (found, generation) =
            cache::shared(&mut desk.worker, zone, &self.key, &times, id, deadline);
        self.generation = generation;
        match found {
            Found::Granted(cached) => self.resolve(desk, &Finding::Active(cached), Keeping::Leave),
            Found::Inactive => self.resolve(desk, &Finding::Inactive, Keeping::Leave),
            Found::Lead { marked: true } => self.take_lead(desk, Role::Leader, id),
            Found::Lead { marked: false } => self.take_lead(desk, Role::Alone, id),
            Found::Follow { flight } => self.id = flight,
        }
    }

    fn take_lead(&mut self, desk: &mut Desk, role: Role, id: u64) {
        self.unfollow(desk);
        self.role = role;
        self.id = id;
        self.deadline = self.latest_deadline();
        if desk.pending >= desk.max_pending {
            // The mark goes first: it is no failure for those who wait in other workers.
            self.unmark();
            overflow(desk, guard::cycle_log(), "too many introspection calls are pending");
            let outcome = Finding::Failed(Failure::from(FailureKind::Overflow));
            self.resolve(desk, &outcome, Keeping::Leave);
        } else if let Err(fail) = self.attempt(desk) {
            self.resolve(desk, &Finding::Failed(fail), Keeping::Leave);
        }
    }

    fn latest_deadline(&self) -> u64 {
        // SAFETY: waiters in the list are live.
        let deadlines = self.waiters.iter().map(|wait| unsafe { (*wait.as_ptr()).deadline() });
        deadlines.max().unwrap_or(self.deadline)
    }
}
