//! The store of the fleet, as flights ask it: before the server, in the same task.
//!
//! What it says is recorded here, in its own health, its counters and the log. Nothing of it says
//! anything of an endpoint or of the client's credentials.

use std::time::Duration;

use phantom_token_engine::attempt::{self, Done, End, Forms, Keeping, Next, Now};
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::lookup::{Fleet, FleetDone, Said};
use phantom_token_engine::memory;
use phantom_token_engine::remedy;
use phantom_token_engine::shared::counters::{StoreResult, StoreWrite};
use phantom_token_engine::shared::purges::{Moment, wall_ms};
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::store::{InSync, Leased, Question, Remark, SignedBy, StoreError};

use crate::finding::Finding;
use crate::fleet::Asked;
use crate::flight::desk::Desk;
use crate::flight::{Flight, Role};
use crate::nginx::log::{Cycle, crit, error, warning};
use crate::nginx::sys::now_ms;
use crate::operate::{counters, purge};

/// How far a flight is with the store.
#[derive(Default)]
pub(super) enum Turn {
    /// It was not asked yet.
    #[default]
    First,
    /// It was, and what the server says may be left there.
    Leads(Leased),
    /// There is nothing more to do.
    Over,
}

impl Flight {
    /// Whether the store is to be asked in the next attempt. Where it rests, or has not been heard, that
    /// is all there is to do with it.
    pub(super) fn asks_store(&mut self, desk: &Desk) -> bool {
        if !matches!(self.turn, Turn::First) {
            return false;
        }
        if desk.fleet.asked().is_none()
            || !self.policy.uses_store
            || self.policy.cache.valid_ms == 0
        {
            self.turn = Turn::Over;
            return false;
        }
        if in_sync(desk).is_none() {
            self.turn = Turn::Over;
            self.report.store = Some(StoreResult::Skipped);
            counters::store_asked(&desk.worker, StoreResult::Skipped);
            return false;
        }
        true
    }

    /// What the next attempt has to do with the store. `usual`: how long the server takes, `left`: how
    /// long the call may.
    pub(super) fn fleet(
        &mut self,
        desk: &Desk,
        usual: Option<Duration>,
        left: Duration,
    ) -> Option<Fleet> {
        let (health, keeps) = (desk.worker.state.store(), self.keeps());
        match std::mem::replace(&mut self.turn, Turn::Over) {
            Turn::Over => None,
            Turn::Leads(lead) => Some(Fleet::leading(lead, health, keeps)),
            Turn::First => {
                let question = self.question(desk, usual, left)?;
                Some(Fleet::asking(question, health, keeps))
            }
        }
    }

    fn question(&self, desk: &Desk, usual: Option<Duration>, left: Duration) -> Option<Question> {
        let (store, policy) = (desk.fleet.asked()?.store, &self.policy);
        Some(Question {
            store: store.clone(),
            token: memory::copied(&self.token).ok()?,
            hash: self.key.token,
            identity: policy.fleet_identity(store.names(), [&self.headers, &self.params]),
            in_sync: Some(in_sync(desk)?),
            purges: desk.worker.purges,
            valid_ms: policy.cache.valid_ms,
            inactive_ms: policy.cache.inactive_ms,
            signed_by: match &policy.mint {
                Some(mint) => SignedBy::Gateway(mint.published.clone()),
                None => SignedBy::Server,
            },
            bypass: self.refresh,
            // What is to be replaced was asked for when it was stored, or a little before.
            newer_than: self
                .refresh_ahead
                .map(|refresh| wall_ms().saturating_sub(now_ms().saturating_sub(refresh.stored))),
            // Nobody knows before the first answer.
            usual: usual.filter(|usual| !usual.is_zero()),
            call: left,
        })
    }

    /// Records what an attempt had to do with the store.
    pub(super) fn record_store(&mut self, desk: &mut Desk, done: FleetDone) {
        let FleetDone { said, lead, write, is_over } = done;
        if let Some(lead) = lead {
            self.turn = Turn::Leads(lead);
        }
        if let Some(said) = said {
            self.report.store = Some(said.status.result);
            record(desk, said);
        }
        if let Some(write) = write {
            counters::store_written(&desk.worker, write);
        }
        if is_over {
            self.is_over = true;
            purge::tell_of_token(desk, &self.token);
        }
    }

    /// An answer of the server's is kept here, and would have been left in the store.
    pub(super) fn count_unshared(&self, desk: &Desk) {
        if self.report.store == Some(StoreResult::Skipped) {
            counters::store_written(&desk.worker, StoreWrite::Skipped);
        }
    }

    /// The store has answered: nothing more is asked.
    pub(super) fn found_in_store(
        mut self: Box<Self>,
        desk: &mut Desk,
        done: Done,
        as_of: Moment,
        now: Now,
    ) -> Option<Box<Self>> {
        self.report.from_store = true;
        self.asked = self.asked.max(as_of);
        if self.calls_server {
            self.report.calls.drop_last();
        }
        let asked = attempt::Asked {
            alone: true,
            awaited: !self.waiters.is_empty(),
            form: self.form,
            forms: Forms::One,
            keeps: self.keeps(),
        };
        let (finding, keeping) = match attempt::judge(done, &asked, now).next {
            Next::Tell(told, keeping) => self.finding(desk, told, keeping),
            Next::AskNext(failure) | Next::AskAgain(_, failure) => {
                (Finding::Failed(failure), Keeping::Leave)
            }
        };
        self.over(desk, &finding, keeping)
    }

    /// An attempt that asked the store alone has found nothing: the server's turn comes, as if there
    /// were no store.
    pub(super) fn not_found_in_store(
        mut self: Box<Self>,
        desk: &mut Desk,
        end: End,
    ) -> Option<Box<Self>> {
        let failure = match end {
            End::Panicked(site) => {
                crit!(Cycle, "caught a panic in introspection at {site}");
                FailureKind::Internal.into()
            }
            // Nobody waits, or no longer.
            _ if self.refresh_ahead.is_none() && self.waiters.is_empty() && !self.is_followed() => {
                self.role = Role::Alone;
                Failure::from(FailureKind::Timeout)
            }
            _ => match self.attempt(desk) {
                Ok(()) => return Some(self),
                Err(failure) => failure,
            },
        };
        self.over(desk, &Finding::Failed(failure), Keeping::Leave)
    }

    /// Begins anew: the store is asked again, and whoever waits for this gateway there does not any more.
    pub(super) fn forget_store(&mut self) {
        (self.turn, self.report.store, self.report.from_store) = (Turn::First, None, false);
    }
}

/// What was heard of the store, where it may be asked now.
fn in_sync(desk: &Desk) -> Option<InSync> {
    desk.fleet.in_sync(&desk.worker, now_ms())
}

/// Counts what the store said, judges it by that, and says what an operator is to know.
fn record(desk: &Desk, Said { status, took }: Said) {
    let Some(Asked { limits, node, .. }) = desk.fleet.asked() else { return };
    let label = node.label();
    let (worker, health, now) = (&desk.worker, desk.worker.state.store(), now_ms());
    counters::store_asked(worker, status.result);
    if status.result == StoreResult::Skipped {
        return;
    }
    counters::store_took(worker, took);
    if let Some(error) = status.error {
        counters::store_failed(worker, error.reason());
        // Another cause of the same kind has another remedy.
        if worker.is_due(Notice::StoreFailed, &error.to_string()) {
            let remedy = remedy::of_store(error, node.reach());
            error!(Cycle, "the store \"{label}\" failed: {error}; {remedy}");
        }
    }
    let rests = match status.error {
        Some(error) if error.rests_at_once() => health.rest(now),
        // It reads, and takes no writes.
        None | Some(StoreError::Full(_)) => {
            // Whoever hears it ends its rests.
            if !health.is_resting() {
                health.answered();
            }
            false
        }
        Some(_) => health.failed(limits, now),
    };
    if rests && worker.is_due(Notice::StoreRests, "") {
        warning!(
            Cycle,
            "the store \"{label}\" rests: the authorization server is asked about each new token until the store answers again"
        );
    }
    if let Some(remark) = status.remark {
        if let Some(reason) = remark.reason() {
            counters::store_failed(worker, reason);
        }
        let (word, what) = said_of(remark);
        if worker.is_due(Notice::StoreRemark, word) {
            warning!(Cycle, "the store \"{label}\" holds {what}");
        }
    }
}

/// What is odd about a value, in a word and in the log's.
fn said_of(remark: Remark) -> (&'static str, &'static str) {
    match remark {
        Remark::Unsealed => (
            "unsealed",
            "an answer that does not open, and is not used: see that all gateways have the same phantom_token_key_file, and that nobody else writes there",
        ),
        Remark::Clock => {
            ("clock", "an answer from the future, which is not used: compare the gateways' clocks")
        }
        Remark::UnpublishedKey => (
            "key",
            "a JWT minted by a key that is not published here, which is not used: name the key of the other gateways in phantom_token_mint_key too",
        ),
    }
}
