//! A look-up of a token in the store, in one round trip where nobody has to be waited for.
//!
//! ```text
//! SET lease <random> NX PX …      a lease, where the token has none
//! SET value <marker> NX PX …      I ask, where nobody does and nothing is known
//! MGET lease value
//! ```
//!
//! What comes back decides: an answer that serves; my marker, so I lead; another gateway's, so I follow,
//! look again a few times, and then ask for myself; anything else is a miss. Nothing of it is believed
//! beyond what the seal, the lease and the purges say.
//!
//! [`Looking`] decides, without a clock and without a connection; [`Question::look`] asks and sleeps.

use std::time::{Duration, Instant};

use super::leased::{Leased, Place};
use super::names::Lease;
use super::question::{InSync, Question};
use super::reply::Fault;
use super::seal::{self, Form, Nonce, Opened};
use super::value::{self, AHEAD_MS, Content, Marker, Stored};
use super::wire::{Decimal, millis};
use super::{Pipeline, Reply, StoreError};
use crate::client::{self, Running};
use crate::shared::counters::{StoreErrorReason, StoreResult};
use crate::shared::purges::{Moment, Standing, wall_ms};

/// How far clocks may differ where what was asked for is compared with when something was purged, in
/// milliseconds.
pub const MARGIN_MS: u64 = 2_000;

/// A lease and a marker outlive the call that they are made for by so much, in milliseconds.
const CALL_REST_MS: u64 = 1_000;

/// The shortest time a call takes for which it is worth to wait for another gateway's.
const WORTH_FOLLOWING: Duration = Duration::from_millis(2);

/// The least time between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// The time between two looks where nobody knows how long calls take.
const LOOK_BLINDLY: Duration = Duration::from_millis(5);

/// What a look-up came to.
#[derive(Debug)]
pub enum Looked {
    /// The token is active.
    Found(Found),
    /// Another gateway was just told that the token is not active.
    Inactive,
    /// Whoever asked is to ask the authorization server, and to say here what it learns.
    Lead(Leased),
    /// Whoever asked is to ask the authorization server, and nobody is told.
    Alone,
}

/// An answer that serves.
#[derive(Debug)]
pub struct Found {
    /// The answer.
    pub stored: Stored,
    /// As of which moment it may be kept: no purge up to then voids it.
    pub asked: Moment,
}

/// How a look-up is counted and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// What it came to; [`StoreResult::status`] is the word of `$phantom_token_store_status`.
    pub result: StoreResult,
    /// Why the store did not answer, or takes no writes.
    pub error: Option<StoreError>,
    /// What else is worth counting and a line in the log.
    pub remark: Option<Remark>,
}

/// What is odd about what was found in the store. It is a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// It does not open, and no purge explains that: it was damaged, forged, or sealed under another
    /// lease or key.
    Unsealed,
    /// It was asked for in the future: the clocks of the gateways differ.
    Clock,
    /// It is a JWT minted by a key that this gateway does not publish. It stays.
    UnpublishedKey,
}

impl Remark {
    /// As what it is counted; `None`: as nothing.
    pub fn reason(self) -> Option<StoreErrorReason> {
        match self {
            Remark::Unsealed => Some(StoreErrorReason::Unsealed),
            Remark::Clock => Some(StoreErrorReason::Clock),
            Remark::UnpublishedKey => None,
        }
    }
}

impl StoreStatus {
    fn of(result: StoreResult) -> StoreStatus {
        StoreStatus { result, error: None, remark: None }
    }
}

impl Question {
    /// Looks in the store, and waits for another gateway's answer where that is worth it: at most until
    /// `deadline`, and never for more than half of the time until then. Blocks its thread; keeps no
    /// connection while it sleeps. It is over when all calls are to end ([`client::stop()`]).
    pub fn look(&self, deadline: Instant) -> (Looked, StoreStatus) {
        let began = Instant::now();
        let Some(_running) = Running::begin() else {
            return (Looked::Alone, StoreStatus::of(StoreResult::Skipped));
        };
        let left = deadline.saturating_duration_since(began);
        let (mut looking, mut step) = Looking::begin(self, left, wall_ms());
        loop {
            step = match step {
                Step::Ask(question) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let until = Instant::now() + self.store.timeout.min(left / 2);
                    let replies = self.store.nodes.ask(&question, until);
                    looking.replies(self, replies, began.elapsed(), wall_ms())
                }
                Step::Sleep(time) if client::sleep(time) => looking.woken(),
                Step::Sleep(_) => {
                    return (Looked::Alone, StoreStatus::of(StoreResult::Skipped));
                }
                Step::Done(looked, status) => return (looked, status),
            }
        }
    }
}

/// What a look-up wants next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a few are made for each look-up")]
pub(super) enum Step {
    /// The replies to this; more than once only where it follows.
    Ask(Pipeline),
    /// To be woken after so long.
    Sleep(Duration),
    /// Nothing.
    Done(Looked, StoreStatus),
}

/// A look-up that goes on.
pub(super) struct Looking {
    /// `None` where it is over before it began.
    at: Option<At>,
    /// How many commands stand before `MGET` in the question that is out.
    sets: usize,
    following: Option<Following>,
}

/// Where a look-up looks.
struct At {
    in_sync: InSync,
    place: Place,
    /// For what is said where this look-up leads.
    nonce: Nonce,
    /// The bytes of the own marker; `None` where none is set.
    marker: Option<Vec<u8>>,
}

/// Waiting for another gateway's call.
#[derive(Clone, Copy)]
struct Following {
    /// Until when, since the look-up began.
    until: Duration,
    /// How long to sleep between two looks.
    pause: Duration,
}

/// What the store holds.
struct Held {
    lease: Option<Lease>,
    value: Option<Vec<u8>>,
    /// The marker of who refreshes the value.
    refresh: Option<Vec<u8>>,
    /// It takes no writes.
    full: Option<StoreError>,
}

/// What is to be made of a value.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made for each look-up, and taken apart at once"
)]
enum Worth {
    Found(Found),
    Inactive,
    /// Whoever had a marker says that nothing will come.
    NoAnswer,
    /// It does not serve.
    Not {
        result: StoreResult,
        remark: Option<Remark>,
        /// It is an active answer that did, or does for others.
        is_active: bool,
    },
}

impl Looking {
    /// Begins a look-up with so much time left, at `wall_ms` (milliseconds since the Unix epoch).
    pub(super) fn begin(question: &Question, left: Duration, wall_ms: u64) -> (Self, Step) {
        let mut looking = Looking { at: None, sets: 0, following: None };
        let Some(in_sync) = question.in_sync else {
            let status = StoreStatus::of(StoreResult::Skipped);
            return (looking, Step::Done(Looked::Alone, status));
        };
        let Some((lease, [of_marker, of_value])) = seal::randoms() else {
            let status = StoreStatus::of(StoreResult::Failed);
            return (looking, Step::Done(Looked::Alone, status));
        };
        let place = Place::new(question, &in_sync.epoch, Lease(lease));
        let store = &question.store;
        let call_ms = millis(question.call.min(left)) + CALL_REST_MS;
        let marks = !question.bypass && !store.lock_timeout.is_zero();
        let marker = Marker { begun_ms: wall_ms, deadline_ms: wall_ms.saturating_add(call_ms) };
        let marker = if marks { place.seal_marker(of_marker, &marker) } else { None };

        let px = Decimal::of(call_ms);
        let mut pipeline = Pipeline::with_room(1024);
        let mut set_new = |name: &[u8], value: &[u8]| {
            pipeline.command(&[b"SET", name, value, b"NX", b"PX", &px]);
        };
        set_new(place.names.lease(), &lease);
        if let Some(marker) = &marker {
            set_new(place.marker_name(), marker);
        }
        looking.sets = 1 + usize::from(marker.is_some());
        place.get(&mut pipeline);
        looking.following = Self::worth_following(question, left);
        looking.at = Some(At { in_sync, place, nonce: of_value, marker });
        (looking, Step::Ask(pipeline))
    }

    /// How long to wait for another gateway, where that is worth it.
    fn worth_following(question: &Question, left: Duration) -> Option<Following> {
        let Question { store, usual, bypass, .. } = question;
        let most = store.lock_timeout.min(left / 2);
        if *bypass || most.is_zero() {
            return None;
        }
        match usual {
            Some(usual) if *usual < WORTH_FOLLOWING => None,
            Some(usual) => {
                let until = most.min(2 * *usual + Duration::from_millis(10));
                Some(Following { until, pause: LOOK.max(*usual / 8) })
            }
            None => Some(Following { until: most, pause: LOOK_BLINDLY }),
        }
    }

    /// Goes on after a sleep.
    pub(super) fn woken(&mut self) -> Step {
        let mut pipeline = Pipeline::new();
        self.sets = 0;
        match &self.at {
            Some(at) => {
                at.place.get(&mut pipeline);
                Step::Ask(pipeline)
            }
            None => Step::Done(Looked::Alone, StoreStatus::of(StoreResult::Skipped)),
        }
    }

    /// Goes on with the replies to what was asked, or with why there are none, so long after it began.
    pub(super) fn replies(
        &mut self,
        question: &Question,
        replies: Result<Vec<Reply>, StoreError>,
        elapsed: Duration,
        wall_ms: u64,
    ) -> Step {
        let failed = |error| {
            let status = StoreStatus { error, ..StoreStatus::of(StoreResult::Failed) };
            Step::Done(Looked::Alone, status)
        };
        let Some(at) = self.at.take() else { return failed(None) };
        let held = match replies.and_then(|replies| Held::read(replies, self.sets)) {
            Ok(held) => held,
            Err(error) => return failed(Some(error)),
        };
        let first = self.sets > 0;
        self.judge(question, at, held, first, elapsed, wall_ms)
    }

    fn judge(
        &mut self,
        question: &Question,
        mut at: At,
        held: Held,
        first: bool,
        elapsed: Duration,
        wall_ms: u64,
    ) -> Step {
        let status = StoreStatus { error: held.full, ..StoreStatus::of(StoreResult::Miss) };
        let Some(lease) = held.lease else {
            // Purged in between, evicted, or the store is full.
            return Step::Done(Looked::Alone, status);
        };
        // What was there before is bound to another lease: it is this look-up's own, or not that of the
        // last look.
        let is_new = (at.place.lease == lease) == first;
        at.place.lease = lease;
        let refreshes = question.newer_than.is_some();
        let marked = if refreshes { &held.refresh } else { &held.value };
        let is_mine = marked.is_some() && *marked == at.marker;

        let of_form = |held: &'_ Option<Vec<u8>>, form| {
            held.as_deref().filter(|held| seal::form(held) == form).is_some()
        };
        let worth = match &held.value {
            Some(value) if !of_form(&held.value, Some(Form::Marker)) => {
                Some(worth_of(question, &at, at.place.open(value), first, wall_ms))
            }
            _ => None,
        };
        // Beside a value that is to be refreshed, the one who does may have left a word.
        let word = match &held.refresh {
            Some(word) if of_form(&held.refresh, Some(Form::Value)) => at
                .place
                .open_word(word)
                .map(|word| worth_of(question, &at, Some(word), first, wall_ms)),
            _ => None,
        };
        let came = if first { StoreResult::Hit } else { StoreResult::Wait };
        let (result, remark, is_active) = match (worth, word) {
            (Some(Worth::Found(found)), _) => {
                return Step::Done(Looked::Found(found), StoreStatus { result: came, ..status });
            }
            (Some(Worth::Inactive), _) | (_, Some(Worth::Inactive)) => {
                return Step::Done(Looked::Inactive, StoreStatus { result: came, ..status });
            }
            (Some(Worth::Not { remark: Some(Remark::UnpublishedKey), result, .. }), _) => {
                let remark = Some(Remark::UnpublishedKey);
                return Step::Done(Looked::Alone, StoreStatus { result, remark, ..status });
            }
            (Some(Worth::Not { remark: Some(Remark::Unsealed), result, is_active }), _)
                if is_new =>
            {
                (result, None, is_active)
            }
            (Some(Worth::Not { result, remark, is_active }), _) => (result, remark, is_active),
            (Some(Worth::NoAnswer) | None, _) => (StoreResult::Miss, None, false),
        };
        let status = StoreStatus { result, remark, ..status };

        if is_mine && first {
            return Step::Done(
                Looked::Lead(at.place.lead(at.nonce, question, true, is_active)),
                status,
            );
        }
        let is_marked = marked.as_deref().is_some_and(|marker| at.place.is_marked(marker, wall_ms));
        let follows = self.following.filter(|following| {
            // Half of the usual time has to go by before anything can be there.
            is_marked && elapsed + following.pause <= following.until
        });
        if let Some(following) = follows {
            let pause = match question.usual {
                Some(usual) if first => (usual / 2).max(following.pause),
                _ => following.pause,
            };
            self.at = Some(at);
            return Step::Sleep(pause.min(following.until.saturating_sub(elapsed)));
        }
        // What does not open is of no use to anybody: a word may take its place, too.
        let is_void = result == StoreResult::Void;
        Step::Done(Looked::Lead(at.place.lead(at.nonce, question, is_void, is_active)), status)
    }
}

/// What an answer or a word is worth, for this question.
fn worth_of(
    question: &Question,
    at: &At,
    opened: Option<Opened>,
    first: bool,
    wall_ms: u64,
) -> Worth {
    let not = |result| Worth::Not { result, remark: None, is_active: false };
    let Some(content) = opened.and_then(|opened| value::read(opened.content())) else {
        let remark = Some(Remark::Unsealed);
        return Worth::Not { result: StoreResult::Void, remark, is_active: false };
    };
    let stored = match content {
        Content::Active(stored) => stored,
        Content::Nothing => return Worth::NoAnswer,
        Content::Inactive { asked_ms } => {
            // Who has waited may have it, whoever comes later only where it would keep it itself.
            let is_fresh = asked_ms.saturating_add(question.inactive_ms) > wall_ms;
            let is_believed = asked_ms <= wall_ms.saturating_add(AHEAD_MS);
            return match !question.bypass && is_believed && (is_fresh || !first) {
                true => Worth::Inactive,
                false => not(StoreResult::Stale),
            };
        }
    };
    if stored.asked_ms > wall_ms.saturating_add(AHEAD_MS) {
        let remark = Some(Remark::Clock);
        return Worth::Not { result: StoreResult::Stale, remark, is_active: false };
    }
    if stored.asked_ms < at.in_sync.since_ms.saturating_add(MARGIN_MS) {
        // A purge may have come between that this gateway does not know of.
        return not(StoreResult::Stale);
    }
    // Before the purges are looked at: what comes later is seen by who compares with this.
    let asked = question.purges.as_ref().map_or(Moment::NEVER, |purges| purges.now());
    if let Some(purges) = &question.purges {
        let asked_ms = stored.asked_ms.saturating_sub(MARGIN_MS);
        let (subjects, known) = (&stored.grant.subjects, at.in_sync.known);
        let standing = purges.standing_since(&question.hash, subjects, asked_ms, known);
        if standing != Standing::Good {
            return not(StoreResult::Stale);
        }
    }
    if !question.may_forward(stored.grant.signer) {
        let remark = Some(Remark::UnpublishedKey);
        return Worth::Not { result: StoreResult::Miss, remark, is_active: false };
    }
    let old = Worth::Not { result: StoreResult::Stale, remark: None, is_active: true };
    let is_fresh = wall_ms < stored.end_ms(question.valid_ms);
    let is_newer = question.newer_than.is_none_or(|known| stored.asked_ms > known);
    match is_fresh && is_newer && !question.bypass {
        true => Worth::Found(Found { stored, asked }),
        false => old,
    }
}

impl Held {
    /// Reads the replies to the `SET`s and to `MGET`.
    fn read(replies: Vec<Reply>, sets: usize) -> Result<Held, StoreError> {
        let mut full = None;
        for set in replies.iter().take(sets) {
            match set.error() {
                Some(error) if error.is_full() => full = Some(StoreError::Full(error)),
                Some(error) => return Err(StoreError::Refused(error)),
                None => {}
            }
        }
        let malformed = StoreError::Protocol(Fault::Malformed);
        let mut values = match replies.into_iter().nth(sets) {
            Some(Reply::Array(values)) => values.into_iter(),
            Some(Reply::Error(error)) => return Err(StoreError::Refused(error)),
            _ => return Err(malformed),
        };
        let mut next = || match values.next() {
            Some(Reply::Bulk(bytes)) => Ok(Some(bytes)),
            Some(Reply::Nil) | None => Ok(None),
            Some(_) => Err(malformed),
        };
        let (lease, value, refresh) = (next()?, next()?, next()?);
        let lease = lease.and_then(|lease| lease.try_into().ok().map(Lease));
        Ok(Held { lease, value, refresh, full })
    }
}

#[cfg(test)]
mod tests;
