//! The store of the fleet: what other gateways have left there of a token, and what is left there for
//! them.
//!
//! It is asked before the authorization server, in the same thread. What it says, or that it says
//! nothing, decides nothing of the server: a failure here is a miss.

use std::mem;
use std::time::{Duration, Instant};

use crate::answer::grant::Grant;
use crate::answer::{Answer, NoVerdict};
use crate::attempt::{self, Keeps, Now};
use crate::http::cache_control::Caching;
use crate::lifetime::{Aged, Keep};
use crate::lookup::{End, Found, Origin};
use crate::shared::counters::{StoreResult, StoreWrite};
use crate::shared::purges::{Moment, wall_ms};
use crate::shared::store::StoreHealth;
use crate::store::{self, Leased, Looked, Question, StoreStatus, Stored};

/// The store was not asked.
const SKIPPED: StoreStatus =
    StoreStatus { result: StoreResult::Skipped, error: None, remark: None };

/// What an attempt has to do with the store.
#[derive(Debug)]
pub struct Fleet {
    /// `None` once it was put, in this attempt or an earlier one.
    question: Option<Question>,
    health: &'static StoreHealth,
    lead: Option<Leased>,
    keeps: Keeps,
    /// The call may be made once more, with the credentials in another form.
    tries_raw: bool,
    done: FleetDone,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct FleetDone {
    /// What the store said; `None`: it was not asked in this attempt.
    pub said: Option<Said>,
    /// The right to leave there what the server says, where another attempt may follow. Dropped, it
    /// tells those who wait for it in other gateways that nothing will come.
    pub lead: Option<Leased>,
    /// How what was left there is counted, unless the store's reply is.
    pub write: Option<StoreWrite>,
    /// The server calls the token inactive of which an active answer lies there, which other gateways
    /// may serve: they are to be told.
    pub is_over: bool,
}

/// What the store said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it comes to.
    pub status: StoreStatus,
    /// How long that took.
    pub took: Duration,
}

impl Fleet {
    /// Asks the store. What the server then says is left there where the location `keeps` it.
    pub fn asking(question: Question, health: &'static StoreHealth, keeps: Keeps) -> Fleet {
        Fleet::new(Some(question), None, health, keeps)
    }

    /// The store was asked by an earlier attempt, which has left this.
    pub fn leading(lead: Leased, health: &'static StoreHealth, keeps: Keeps) -> Fleet {
        Fleet::new(None, Some(lead), health, keeps)
    }

    fn new(
        question: Option<Question>,
        lead: Option<Leased>,
        health: &'static StoreHealth,
        keeps: Keeps,
    ) -> Fleet {
        Fleet { question, health, lead, keeps, tries_raw: false, done: FleetDone::default() }
    }

    /// The call may be made once more, with the credentials as they are.
    pub fn and_raw(self, tries_raw: bool) -> Fleet {
        Fleet { tries_raw, ..self }
    }

    /// Asks, where it was not asked yet; `None` where the server is to be.
    pub(super) fn look(&mut self, end: Instant) -> Option<Found> {
        let question = self.question.take()?;
        let began = Instant::now();
        if began >= end {
            return None;
        }
        // Others may have found it away while this stood in the queue.
        let (looked, status) = match self.health.is_resting() {
            true => (Looked::Alone, SKIPPED),
            false => question.look(end),
        };
        self.done.said = Some(Said { status, took: began.elapsed() });
        match looked {
            Looked::Found(found) => Some(of_active(found, wall_ms())),
            Looked::Inactive => Some(of_inactive()),
            Looked::Lead(lead) => {
                self.lead = Some(lead);
                None
            }
            Looked::Alone => None,
        }
    }

    /// Leaves there how the attempt has ended, the server having been asked at `asked_ms`. Where another
    /// one may follow (there are so many `others`), the lead is kept for that.
    pub(super) fn tell(&mut self, end: &mut End, asked_ms: u64, others: u32) {
        let Some(lead) = self.lead.take() else { return };
        let may_follow = match end {
            End::Answered(Found { answer: Answer::Active(grant), caching, .. }) => {
                self.done.write = self.leave(lead, grant, caching, asked_ms);
                return;
            }
            End::Answered(Found { answer: Answer::Inactive(_), .. }) => {
                self.done.is_over = lead.has_value();
                return lead.inactive(asked_ms);
            }
            End::Answered(Found { answer: Answer::Failed(failure), .. }) => {
                failure.is_outage() && others > 0
                    || self.tries_raw && matches!(failure, NoVerdict::Credentials(_))
            }
            End::Failed(_) | End::Skipped => others > 0,
            End::NotStored => true,
            End::Unsent | End::Panicked(_) => false,
        };
        if may_follow {
            self.lead = Some(lead);
        } else {
            lead.nothing();
        }
    }

    /// An active answer, where the zone would keep it.
    fn leave(
        &self,
        lead: Leased,
        grant: &mut Grant,
        caching: &Caching,
        asked_ms: u64,
    ) -> Option<StoreWrite> {
        let now_ms = wall_ms();
        let now = Now { ms: now_ms, secs: now_ms / 1000 };
        let keep = attempt::keep(grant, caching, &self.keeps, now).0;
        let (Keep::Yes(life), true) = (keep, self.keeps.in_zone) else {
            lead.nothing();
            return None;
        };
        let stored = Stored {
            grant: mem::take(grant),
            asked_ms,
            until_ms: life.until,
            may_stale: life.may_stale,
        };
        let write = lead.write(&stored, now_ms);
        *grant = stored.grant;
        write
    }

    /// What came of it, once.
    pub fn done(&mut self) -> FleetDone {
        FleetDone { lead: self.lead.take(), ..mem::take(&mut self.done) }
    }
}

/// What another gateway was told, and how old that is at `wall_ms`.
fn of_active(found: store::Found, wall_ms: u64) -> Found {
    let store::Found { stored, asked } = found;
    let Stored { grant, asked_ms, until_ms, may_stale } = stored;
    let aged = Aged {
        age_ms: wall_ms.saturating_sub(asked_ms),
        left_ms: until_ms.map(|until| until.saturating_sub(wall_ms)),
        may_stale,
    };
    of(Answer::Active(grant), Origin::Store { aged, asked })
}

/// Another gateway was just told that the token is not active.
fn of_inactive() -> Found {
    of(Answer::Inactive(None), Origin::Store { aged: Aged::default(), asked: Moment::NEVER })
}

fn of(answer: Answer, origin: Origin) -> Found {
    Found { origin, status: 0, answer, caching: Caching::default() }
}

#[cfg(test)]
mod tests;
