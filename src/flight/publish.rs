//! The end of a flight: its answer is stored, left at its mark for other workers, and told to those
//! who wait.
use std::mem;
use std::rc::Rc;

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::{self, Entry, Find};
use phantom_token_engine::attempt::Keeping;
use phantom_token_engine::lifetime::Life;
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::counters::RefreshResult;
use phantom_token_engine::shared::purges::{Moment, Purges, Standing};
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::key::{TokenHash, hash_of};

use crate::cache::Lead;
use crate::finding::Finding;
use crate::flight::desk::Desk;
use crate::flight::{Flight, Role};
use crate::nginx::log::{Cycle, warning};
use crate::nginx::sys::*;
use crate::nginx::zone::{Owed, ZoneRef};
use crate::operate::counters::{self, UncachedReason};
use crate::worker::Worker;

impl Flight {
    /// Ends the flight: tells everyone, and stores what may be stored. Gives it back where some who wait
    /// must not be told, and so ask anew.
    pub(super) fn resolve(
        mut self: Box<Self>,
        desk: &mut Desk,
        finding: &Finding,
        keeping: Keeping,
    ) -> Option<Box<Self>> {
        desk.flights.detach(&self.key, self.id);
        let lead = match mem::replace(&mut self.role, Role::Alone) {
            Role::Follower(_) => {
                desk.unfollow(self.id);
                return self.tell(desk, finding);
            }
            Role::Leader(lead) => Some(lead),
            Role::Alone => None,
        };
        if let Some(zone) = &Rc::clone(&self.policy).zone {
            self.publish(desk, zone, lead, finding, keeping);
        } else if matches!(finding, Finding::Inactive) {
            desk.worker.state.called_inactive(&self.key.token, self.generation);
        }
        self.tell(desk, finding)
    }

    /// Tells those who wait. An answer that was purged since its call began is for those alone who came
    /// before that: for all others it is from before the purge.
    pub(super) fn tell(
        mut self: Box<Self>,
        desk: &mut Desk,
        finding: &Finding,
    ) -> Option<Box<Self>> {
        let began = match finding {
            Finding::Active(cached) => {
                let standing = cached.standing(desk.worker.purges, &self.key.token);
                (!standing.serves(now_ms())).then_some(cached.asked)
            }
            _ => None,
        };
        let Self { waiters, report, .. } = &mut *self;
        let mut left = 0;
        // In the order in which they came.
        waiters.retain(|waiter| {
            if began.is_some_and(|began| waiter.came > began) {
                waiter.index.set(left);
                left += 1;
                return true;
            }
            counters::waiting(&desk.worker, -1);
            waiter.tell(finding.clone(), report.clone());
            false
        });
        if self.waiters.is_empty() { None } else { self.ask_anew(desk) }
    }

    /// Stores the answer for all workers, and leaves it at the mark for those who wait there.
    fn publish(
        &mut self,
        desk: &mut Desk,
        zone: &ZoneRef,
        mut lead: Option<Lead>,
        outcome: &Finding,
        keeping: Keeping,
    ) {
        let refresh = self.refresh_ahead.take();
        if (self.refresh || refresh.is_some())
            && matches!(outcome, Finding::Active(_))
            && let Some(renewed) = desk.worker.state.renew(&self.key.token, self.generation)
        {
            // What other workers keep near must not outlive the new answer. Where the token was
            // purged since the call began, the answer is from before, and is not kept.
            self.generation = renewed;
        }
        let (key, generation, mut asked) = (self.key, self.generation, self.asked);
        let (uses_store, is_over) = (self.policy.uses_store, self.is_over);
        let Worker { state, purges, ref mut record, .. } = desk.worker;
        let standing = match outcome {
            Finding::Active(cached) => cached.standing(purges, &key.token),
            _ => Facts { asked, ..Facts::default() }.standing(purges, &key.token),
        };
        let done = zone.locked(|locked| {
            // Under the lock: a purge has either not walked the chain yet, or has raised the
            // generation before it did.
            let mut ended_early = false;
            let current = if matches!(outcome, Finding::Inactive) {
                // What was purged was known to be over.
                let known = locked.find(&key, record) == Find::Hit
                    && !record.facts().standing(purges, &key.token).serves(now_ms());
                let before = locked.remove_active(&key).filter(|_| !known);
                // Nor is it active any more for workers that keep it near, or by a call that is out.
                let current = state.called_inactive(&key.token, generation).is_some();
                ended_early =
                    current && before.is_some_and(|life| !life.has_expired(now_ms(), now_secs()));
                if is_over || uses_store && before.is_some() {
                    // Nor by what lies in the store, where that cannot be told, or not yet.
                    asked = over(purges, &key.token, asked, standing);
                }
                current
            } else {
                state.generation(&key.token) == generation
            };
            let current = current && standing.serves(now_ms());
            let stored = match (outcome, &keeping) {
                (Finding::Active(_), Keeping::Store(_)) if !current => match standing {
                    Standing::Neighbour => Stored::Neighbour,
                    _ => Stored::Purged,
                },
                // The answer that has come meanwhile stands: it may be to a later question.
                (Finding::Active(_), _)
                    if refresh.is_some_and(|refresh| {
                        locked.stored(&key).is_some_and(|stored| stored > refresh.began)
                    }) =>
                {
                    Stored::Overtaken
                }
                (Finding::Active(cached), Keeping::Store(life)) => {
                    locked.store(&key, &entry_of(cached, *life)).into()
                }
                (Finding::Inactive, Keeping::Store(life)) if current => {
                    locked.store(&key, &Entry::inactive(*life, asked)).into()
                }
                // What another location keeps of an inactive token for its moment is no less true.
                (Finding::Active(_), Keeping::Forget) => {
                    locked.remove(&key);
                    Stored::No
                }
                _ => Stored::No,
            };
            let others =
                lead.as_mut().is_some_and(|lead| lead.answer(locked, mark_of(outcome, &stored)));
            (stored, others, ended_early)
        });
        match done {
            None => {
                if refresh.is_some() {
                    counters::refresh(&desk.worker, RefreshResult::Dropped);
                }
                self.owe(desk, zone, lead, outcome, &keeping);
                self.report(desk, zone, &Stored::Locked, outcome);
            }
            Some((stored, others, ended_early)) => {
                if ended_early {
                    let asked = self.policy.introspection.endpoints.get(self.next.wrapping_sub(1));
                    let id = asked.and_then(|endpoint| endpoint.id(&desk.worker.state));
                    counters::ended_early(&desk.worker, id);
                }
                if others {
                    desk.worker.state.announce_answer();
                }
                if let (Stored::Yes, Finding::Active(cached)) = (&stored, outcome) {
                    desk.worker.local.insert(key, cached);
                }
                if refresh.is_some() {
                    counters::refresh(&desk.worker, stored.refreshed(outcome));
                }
                self.report(desk, zone, &stored, outcome);
            }
        }
    }

    /// The zone's lock could not be had: what must not stay there goes as soon as it can. Those who
    /// wait in other workers find the mark gone and ask anew; the answer itself would come late, when
    /// others have come that it must not be given to.
    fn owe(
        &self,
        desk: &Desk,
        zone: &ZoneRef,
        lead: Option<Lead>,
        outcome: &Finding,
        keeping: &Keeping,
    ) {
        let (key, state) = (self.key, desk.worker.state);
        if matches!(outcome, Finding::Inactive) {
            state.called_inactive(&key.token, self.generation);
            if let (true, Some(purges)) = (self.is_over, desk.worker.purges) {
                purges.purge_token(&key.token);
            }
        }
        let entry = match (outcome, keeping) {
            (Finding::Inactive, _) => Some(Owed::forget_active(key, state)),
            (Finding::Active(_), Keeping::Store(_) | Keeping::Forget) => Some(Owed::forget(key)),
            _ => None,
        };
        // What is added last is made first: nobody begins anew before the entry is gone.
        if let Some(lead) = lead {
            lead.owe();
        }
        if let Some(entry) = entry {
            zone.owe(entry);
        }
    }

    /// Says why an active answer that was to be kept is not.
    fn report(&mut self, desk: &Desk, zone: &ZoneRef, stored: &Stored, outcome: &Finding) {
        let (Finding::Active(cached), None) = (outcome, self.report.uncached) else { return };
        let reason = match stored {
            Stored::Yes | Stored::No | Stored::Overtaken => return,
            Stored::Locked => UncachedReason::ZoneLocked,
            Stored::Purged => UncachedReason::Purged,
            Stored::Neighbour => UncachedReason::Neighbour,
            Stored::NoRoom => UncachedReason::NoRoom,
            Stored::TooLarge => UncachedReason::TooLarge,
        };
        self.not_kept(desk, reason);
        if reason == UncachedReason::TooLarge {
            let hash = hash_of(&[b"too large", zone.name().as_bytes()]);
            if desk.worker.state.once(Notice::Overflow, hash, now_ms(), Some(60_000)) {
                warning!(
                    Cycle,
                    "a JWT of {} bytes is too large for the zone \"{}\" and passes uncached: make the zone larger",
                    cached.facts().jwt.len(),
                    zone.name()
                );
            }
        }
    }
}

/// What became of an answer in the zone.
enum Stored {
    Yes,
    No,
    NoRoom,
    TooLarge,
    Purged,
    /// Another one was purged that shares a stripe with it.
    Neighbour,
    /// Another answer has come since a flight began that nobody asked for.
    Overtaken,
    /// The zone's lock could not be had.
    Locked,
}

impl Stored {
    /// How a flight is counted that nobody asked for, and that came to this.
    fn refreshed(&self, outcome: &Finding) -> RefreshResult {
        match (outcome, self) {
            (Finding::Inactive, _) => RefreshResult::Inactive,
            (Finding::Failed(_), _) => RefreshResult::Failed,
            (
                Finding::Active(_),
                Self::Purged | Self::Neighbour | Self::Overtaken | Self::Locked,
            ) => RefreshResult::Dropped,
            (Finding::Active(_), _) => RefreshResult::Active,
        }
    }
}

impl From<arena::Stored> for Stored {
    fn from(stored: arena::Stored) -> Self {
        match stored {
            arena::Stored::Yes { .. } => Self::Yes,
            arena::Stored::TooLarge => Self::TooLarge,
            arena::Stored::NoRoom => Self::NoRoom,
        }
    }
}

/// Purges a token here that the server calls inactive while active answers are kept of it. Returns as of
/// which moment the inactive one may be kept: it is no less true for that purge.
fn over(purges: Option<Purges>, token: &TokenHash, asked: Moment, standing: Standing) -> Moment {
    let Some(purges) = purges else { return asked };
    purges.purge_token(token);
    if standing == Standing::Good { purges.now() } else { asked }
}

fn entry_of(cached: &Cached, life: Life) -> Entry<'_> {
    Entry::active(Facts { life, ..cached.facts() })
}

/// What is left at the mark for requests of other workers.
fn mark_of<'a>(outcome: &'a Finding, stored: &Stored) -> arena::Left<'a> {
    use arena::Left;
    match (outcome, stored) {
        (Finding::Active(_), Stored::Yes) => Left::Stored,
        (Finding::Active(cached), _) => Left::Active(entry_of(cached, cached.life)),
        (Finding::Inactive, _) => Left::Inactive,
        (Finding::Failed(fail), _) => {
            Left::Failed { code: fail.kind.code(), retry_after: fail.retry_after }
        }
    }
}
