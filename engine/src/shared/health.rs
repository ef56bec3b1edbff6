//! The health of endpoints and of the client's credentials there, the same in all workers.
//!
//! The authorization server is asked, not guessed at. What single calls meet ([`judge`](mod@judge))
//! only raises a question; what answers it is a call of the gateway's own, about a random token
//! ([`question`]), so that no client's token decides for another's. The call is made by the worker
//! that has the turn ([`turn`]), at most once a second for each endpoint and client.
//!
//! - *Rest*, here: an endpoint that failed `max_fails` times in a row within `fail_timeout` is in
//!   doubt. It rests if the gateway's own call fails too; else the count begins anew. Any answer
//!   ends the rest.
//! - *Gate* ([`gate`]): credentials that were refused are in doubt, and few calls go out with them
//!   once the gateway's own call is refused too.
//! - *Form* ([`form`]): whether Basic credentials are sent form-urlencoded or as they are.
//!
//! Endpoints are kept in the state zone by hash, for as long as the zone lives. An endpoint that
//! found no place (after 256 different ones) has no id: it always counts as up.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::atomic::Word;
use super::endpoint::{ENDPOINTS, EndpointId};
use crate::token::key::hash_of;

pub mod form;
pub mod gate;
pub mod judge;
pub mod question;
#[cfg(test)]
mod tests;
pub mod turn;

/// Bytes of a label that are kept for the metrics.
pub const MAX_LABEL: usize = 200;

/// Life of failures that are kept of each endpoint.
const FAILURES: usize = 64;

/// When an endpoint is in doubt, as the asking location has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that put it in doubt; 0 for never, and then it never rests either. Over
    /// 64, the row must be as long, and its last 64 failures lie within `fail_timeout_ms`.
    pub max_fails: u32,
    /// Within how many milliseconds they must occur.
    pub fail_timeout_ms: u64,
}

impl Limits {
    /// An introspection endpoint's where nothing else is written.
    pub const OF_ENDPOINT: Limits = Limits { max_fails: 3, fail_timeout_ms: 10_000 };
}

/// Whether an endpoint may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Calls go to it.
    Up,
    /// Calls go to it, and the gateway is to ask it by a call of its own: it failed too often.
    InDoubt,
    /// No call goes to it but the gateway's own.
    Resting,
}

/// What a call's end says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The endpoint is there: it answered, whatever it said.
    Answered,
    /// The endpoint is not there: there was no answer, or what stands before it said so.
    Failed,
    /// The call says neither.
    Nothing,
}

/// What a call's end changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing worth a line.
    None,
    /// The endpoint rests from now on.
    WentDown,
    /// The endpoint rested and is up again.
    CameUp,
}

/// A call of the gateway's own, as far as the rest is concerned.
#[derive(Clone, Copy, Debug)]
pub struct OwnCall {
    /// What its end says.
    pub said: Health,
    /// When it began, in milliseconds.
    pub began_ms: u64,
    /// How long its word counts where it leaves the endpoint at rest: the time in which another
    /// one must have ended, in milliseconds. A rest that nobody looks after any more is over.
    pub counts_ms: u64,
}

/// The table of endpoints in the state zone. All methods take monotonic milliseconds.
#[repr(C)]
pub struct Endpoints([Endpoint; ENDPOINTS]);

/// One endpoint. All bytes zero is a free place.
#[repr(C, align(128))]
struct Endpoint {
    /// Hash of what tells it from others, 0 where the place is free.
    hash: AtomicU64,
    /// Failures in a row.
    row: AtomicU64,
    /// When it last answered a call, in monotonic milliseconds.
    answered: AtomicU64,
    /// Until when it rests at the latest, in monotonic milliseconds; 0 while it is up.
    rest: AtomicU64,
    /// Until when its 429 asks to be left alone, in monotonic milliseconds.
    limited: AtomicU64,
    /// Bytes of the label, 0 until all of it is written.
    label_len: AtomicU32,
    label: [AtomicU64; MAX_LABEL / 8],
    /// When the last failures of the row occurred: the n-th one at n modulo [`FAILURES`].
    failures: [AtomicU64; FAILURES],
}

impl Endpoint {
    fn publish_label(&self, label: &str) {
        if self.label_len.get() != 0 {
            return;
        }
        // Several workers may do this at once, and one may be killed in the middle of it: all
        // write the same bytes.
        for (word, bytes) in self.label.iter().zip(label.as_bytes().chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.set(u64::from_le_bytes(whole));
        }
        self.label_len.set(label.len() as u32);
    }

    fn label(&self) -> Option<String> {
        let len = self.label_len.get() as usize;
        if len == 0 {
            return None;
        }
        let bytes: Vec<u8> =
            self.label.iter().flat_map(|word| word.get().to_le_bytes()).take(len).collect();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.rest.get()
    }

    /// Whether the row is long enough, and not a thing of the past.
    fn is_in_doubt(&self, limits: &Limits, now_ms: u64) -> bool {
        let row = self.row.get();
        let Some(last) = row.checked_sub(1) else { return false };
        if row < u64::from(limits.max_fails) {
            return false;
        }
        let first = row - u64::from(limits.max_fails).min(FAILURES as u64);
        let [first, last] = [first, last].map(|nth| self.failures[nth as usize % FAILURES].get());
        last.saturating_sub(first) <= limits.fail_timeout_ms
            && now_ms.saturating_sub(last) <= limits.fail_timeout_ms
    }

    fn available(&self, limits: &Limits, now_ms: u64) -> Availability {
        if self.rests(now_ms) {
            Availability::Resting
        } else if self.is_in_doubt(limits, now_ms) {
            Availability::InDoubt
        } else {
            Availability::Up
        }
    }

    /// The gateway's own call failed too, where the word of the rest was `before`.
    fn begin_rest(&self, before: u64, limits: &Limits, began_ms: u64, until_ms: u64) -> Transition {
        if !self.is_in_doubt(limits, began_ms) || self.answered.get() > began_ms {
            return Transition::None;
        }
        if self.rest.exchange(before, until_ms).is_err() {
            return Transition::None;
        }
        // An answer that came meanwhile saw no rest to end.
        if self.answered.get() > began_ms {
            let _ = self.rest.exchange(until_ms, 0);
            return Transition::None;
        }
        Transition::WentDown
    }
}

impl Endpoints {
    /// Returns the place of the endpoint with this label (scheme://host:port/path), taking one
    /// where it has none; `None` where all places are taken by others.
    ///
    /// `kind` tells apart what is called in different ways: another address behind the URL, other
    /// TLS settings, other time limits. Each rests for itself, though the metrics show them under
    /// the one label: what one location cannot reach, another may.
    pub fn find(&self, label: &str, kind: u64) -> Option<EndpointId> {
        let hash = hash_of(&[label.as_bytes(), &kind.to_le_bytes()]);
        for step in 0..ENDPOINTS {
            let index = (hash as usize).wrapping_add(step) % ENDPOINTS;
            let endpoint = &self.0[index];
            let found = match endpoint.hash.get() {
                0 => endpoint.hash.exchange(0, hash).map_or_else(|other| other, |()| hash),
                other => other,
            };
            if found == hash {
                endpoint.publish_label(&kept_label(label));
                return Some(EndpointId(index as u16));
            }
        }
        None
    }

    /// Tells whether the endpoint may be called now. One without an id always may.
    pub fn available(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
        now_ms: u64,
    ) -> Availability {
        let endpoint = self.known(id).filter(|_| limits.max_fails != 0);
        endpoint.map_or(Availability::Up, |endpoint| endpoint.available(limits, now_ms))
    }

    /// Counts that a call that began at `began_ms` failed in a way that counts, and tells what the
    /// endpoint is now. A call that had begun before the endpoint answered another does not count,
    /// and neither does one that ends during a rest.
    pub fn failed(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
        began_ms: u64,
        now_ms: u64,
    ) -> Availability {
        let Some(endpoint) = self.known(id).filter(|_| limits.max_fails != 0) else {
            return Availability::Up;
        };
        if endpoint.answered.get() <= began_ms && !endpoint.rests(now_ms) {
            let nth = endpoint.row.count();
            endpoint.failures[nth as usize % FAILURES].set(now_ms);
        }
        // Read anew: of several that fail at the same time, the last to come here sees them all.
        endpoint.available(limits, now_ms)
    }

    /// Notes that the endpoint answered a call: it ends the row of failures and the rest.
    pub fn answered(&self, id: impl Into<Option<EndpointId>>, now_ms: u64) -> Transition {
        let Some(endpoint) = self.known(id) else { return Transition::None };
        // Before the rest is looked at, see `begin_rest`.
        if endpoint.answered.get() < now_ms {
            endpoint.answered.set(now_ms);
        }
        if endpoint.row.get() != 0 {
            endpoint.row.set(0);
        }
        if endpoint.rest.get() != 0 && endpoint.rest.replace(0) != 0 {
            return Transition::CameUp;
        }
        Transition::None
    }

    /// Notes that the endpoint answered 429, and wants to be left alone until `until_ms`.
    pub fn rate_limited(&self, id: impl Into<Option<EndpointId>>, until_ms: u64) {
        if let Some(endpoint) = self.known(id)
            && endpoint.limited.get() < until_ms
        {
            endpoint.limited.set(until_ms);
        }
    }

    /// Tells whether a 429 of the endpoint lasts: calls that nobody waits for are not made.
    pub fn is_rate_limited(&self, id: impl Into<Option<EndpointId>>, now_ms: u64) -> bool {
        self.known(id).is_some_and(|endpoint| now_ms < endpoint.limited.get())
    }

    /// Notes how a call of the gateway's own ended: it begins, prolongs or ends the rest.
    pub fn own_call_ended(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
        call: OwnCall,
        now_ms: u64,
    ) -> Transition {
        if call.said == Health::Answered {
            return self.answered(id, now_ms);
        }
        let Some(endpoint) = self.known(id).filter(|_| limits.max_fails != 0) else {
            return Transition::None;
        };
        let until = now_ms.saturating_add(call.counts_ms).max(1);
        let rest = endpoint.rest.get();
        if now_ms < rest {
            // It goes on, unless an answer has ended it meanwhile.
            let _ = endpoint.rest.exchange(rest, until.max(rest));
            return Transition::None;
        }
        if call.said == Health::Failed {
            return endpoint.begin_rest(rest, limits, call.began_ms, until);
        }
        if endpoint.is_in_doubt(limits, call.began_ms) {
            endpoint.row.set(0);
        }
        Transition::None
    }

    /// The endpoints known so far, by place: label and whether each is up.
    pub(crate) fn labels(&self, now_ms: u64) -> impl Iterator<Item = (EndpointId, String, bool)> {
        (0..).zip(&self.0).filter_map(move |(index, endpoint)| {
            let label = endpoint.label()?;
            Some((EndpointId(index), label, !endpoint.rests(now_ms)))
        })
    }

    /// When an endpoint last answered a call, in monotonic milliseconds; `None`: never.
    pub(crate) fn last_answered(&self, id: EndpointId) -> Option<u64> {
        self.known(id).map(|endpoint| endpoint.answered.get()).filter(|ms| *ms != 0)
    }

    fn known(&self, id: impl Into<Option<EndpointId>>) -> Option<&Endpoint> {
        id.into().map(|EndpointId(index)| &self.0[usize::from(index)])
    }
}

/// What is kept and shown of a label: all of it, or as much as fits and a hash that tells two such
/// apart.
fn kept_label(label: &str) -> Cow<'_, str> {
    if label.len() <= MAX_LABEL {
        return Cow::Borrowed(label);
    }
    let hash = format!("~{:016x}", hash_of(&[label.as_bytes()]));
    let mut end = MAX_LABEL - hash.len();
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{hash}", &label[..end]))
}
