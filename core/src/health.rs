//! The health of endpoints, the same in all workers.
//!
//! An endpoint that fails `max_fails` times in a row within `fail_timeout` rests for
//! `fail_timeout`; then one trial call, in all workers together, decides. Any answer that is not a
//! failure ends the row or the rest. What counts as a failure is the caller's to say.
//!
//! Endpoints are kept in the state zone by hash of their label, for as long as the zone lives. An
//! endpoint that found no place (after 256 different ones) has no id: it always counts as up.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::state::{State, Word, hash_of};

mod credentials;
#[cfg(test)]
mod tests;

pub use credentials::Gate;

/// How many endpoints the state zone knows.
pub const ENDPOINTS: usize = 256;

/// Bytes of a label that are kept for the metrics.
pub const MAX_LABEL: usize = 200;

/// Times of failures that are kept of each endpoint.
const FAILURES: usize = 64;

/// How long to wait for another worker's trial call, at most, before asking again.
const TRIAL_LEFT_MS: u64 = 1000;

/// An endpoint's place in the state zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub(crate) u16);

/// When an endpoint is to rest, as the asking location has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that make it rest; 0 for never. Over 64, the row must be as long, and its
    /// last 64 failures lie within `fail_timeout_ms`.
    pub max_fails: u32,
    /// Within how many milliseconds they must occur, and for how many it then rests.
    pub fail_timeout_ms: u64,
}

/// Whether an endpoint may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It may.
    Up,
    /// Its rest is over, and this caller makes the one call that decides. The ticket goes with
    /// the call's end to [`State::failed`] or [`State::trial_abandoned`].
    Trial(Trial),
    /// It may not.
    Resting {
        /// Milliseconds until it is worth asking again; never 0.
        left_ms: u64,
    },
}

/// The right to make the one trial call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial(u64);

/// What [`State::available`] would say, found out without claiming the trial call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It may be called.
    Up,
    /// Its rest is over and nobody makes the trial call.
    TrialDue,
    /// It may not be called.
    Resting {
        /// Milliseconds until it is worth asking again; never 0.
        left_ms: u64,
    },
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

/// The table of endpoints in the state zone.
#[repr(C)]
pub(crate) struct Endpoints([Endpoint; ENDPOINTS]);

/// One endpoint. All bytes zero is a free place.
#[repr(C, align(128))]
struct Endpoint {
    /// Hash of label and connect address, 0 where the place is free.
    hash: AtomicU64,
    /// Failures in a row.
    row: AtomicU64,
    /// When its rest ends, in monotonic milliseconds; 0 while it is up.
    rest: AtomicU64,
    /// Who makes the trial call, see [`Trial`]; 0 for nobody.
    trial: AtomicU64,
    /// Bytes of the label, 0 until all of it is written.
    label_len: AtomicU32,
    label: [AtomicU64; MAX_LABEL / 8],
    /// When the last failures of the row occurred: the n-th one at n modulo [`FAILURES`].
    failures: [AtomicU64; FAILURES],
}

impl Trial {
    /// Linux' greatest process id is 2^22 (`PID_MAX_LIMIT` in include/linux/threads.h); 42 bits of
    /// milliseconds are 139 years.
    const TIME_BITS: u32 = 42;

    fn new(pid: u32, deadline_ms: u64) -> Trial {
        let time = deadline_ms.clamp(1, (1 << Self::TIME_BITS) - 1);
        Trial(u64::from(pid) << Self::TIME_BITS | time)
    }

    fn pid(self) -> u32 {
        (self.0 >> Self::TIME_BITS) as u32
    }

    fn deadline_ms(self) -> u64 {
        self.0 & ((1 << Self::TIME_BITS) - 1)
    }
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

    /// What may be done at `now_ms`, and the trial word it was read from.
    fn outlook(&self, me: u32, now_ms: u64, alive: &impl Fn(u32) -> bool) -> (Outlook, u64) {
        let rest = self.rest.get();
        if rest == 0 {
            return (Outlook::Up, 0);
        }
        if now_ms < rest {
            return (Outlook::Resting { left_ms: rest - now_ms }, 0);
        }
        let word = self.trial.get();
        let trial = Trial(word);
        let left_ms = trial.deadline_ms().saturating_sub(now_ms);
        if word != 0 && left_ms > 0 && (trial.pid() == me || alive(trial.pid())) {
            return (Outlook::Resting { left_ms: left_ms.min(TRIAL_LEFT_MS) }, word);
        }
        (Outlook::TrialDue, word)
    }

    fn rest_is_over(&self, now_ms: u64) -> bool {
        let rest = self.rest.get();
        rest != 0 && rest <= now_ms
    }

    /// Ends a trial, unless another worker has taken it over.
    fn end_trial(&self, trial: Trial) {
        let _ = self.trial.exchange(trial.0, 0);
    }

    fn count_failure(&self, limits: &Limits, now_ms: u64) -> Transition {
        let nth = self.row.count();
        self.failures[nth as usize % FAILURES].set(now_ms);
        // Read anew: of several that fail at the same time, the last to come here decides.
        let row = self.row.get();
        if row < u64::from(limits.max_fails) {
            return Transition::None;
        }
        let first = row - u64::from(limits.max_fails).min(FAILURES as u64);
        let since = self.failures[first as usize % FAILURES].get();
        if now_ms.saturating_sub(since) > limits.fail_timeout_ms
            || self.rest.exchange(0, rest_end(limits, now_ms)).is_err()
        {
            return Transition::None;
        }
        Transition::WentDown
    }
}

impl State {
    /// The place of the endpoint with this label (scheme://host:port/path) and, where it has one,
    /// this `connect=HOST:PORT`: addresses behind one URL rest each for itself, though the metrics
    /// show them under the one label. `None` where all places are taken by others.
    pub fn endpoint(&self, label: &str, connect: Option<&str>) -> Option<EndpointId> {
        let hash = hash_of(&[label.as_bytes(), connect.unwrap_or_default().as_bytes()]);
        let table = &self.layout().endpoints.0;
        for step in 0..ENDPOINTS {
            let index = (hash as usize).wrapping_add(step) % ENDPOINTS;
            let endpoint = &table[index];
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

    /// Whether the endpoint may be called by the process `me`. Of all callers after a rest exactly
    /// one gets [`Availability::Trial`], and another one only after that process has died or
    /// `trial_deadline_ms` has passed without the call's end having been told.
    pub fn available(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
        me: u32,
        now_ms: u64,
        trial_deadline_ms: u64,
        alive: impl Fn(u32) -> bool,
    ) -> Availability {
        let Some(endpoint) = self.limited(id, limits) else { return Availability::Up };
        // Each further round means that another worker got ahead of this one.
        for _ in 0..3 {
            match endpoint.outlook(me, now_ms, &alive) {
                (Outlook::Up, _) => return Availability::Up,
                (Outlook::Resting { left_ms }, _) => return Availability::Resting { left_ms },
                (Outlook::TrialDue, word) => {
                    let mine = Trial::new(me, trial_deadline_ms);
                    if endpoint.trial.exchange(word, mine.0).is_err() {
                        continue;
                    }
                    // Another trial may have been decided since the rest was looked at.
                    if endpoint.rest_is_over(now_ms) {
                        return Availability::Trial(mine);
                    }
                    endpoint.end_trial(mine);
                }
            }
        }
        Availability::Resting { left_ms: TRIAL_LEFT_MS }
    }

    /// What [`State::available`] would say, without claiming the trial call.
    pub fn peek(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
        me: u32,
        now_ms: u64,
        alive: impl Fn(u32) -> bool,
    ) -> Outlook {
        self.limited(id, limits).map_or(Outlook::Up, |found| found.outlook(me, now_ms, &alive).0)
    }

    /// A call failed in a way that counts. `trial` is the ticket of a trial call. A call that was
    /// sent before the rest began and fails during it decides nothing.
    pub fn failed(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
        now_ms: u64,
        trial: Option<Trial>,
    ) -> Transition {
        let Some(endpoint) = self.known(id) else { return Transition::None };
        let rest = endpoint.rest.get();
        if limits.max_fails == 0 || rest == 0 {
            if let Some(trial) = trial {
                endpoint.end_trial(trial);
            }
            return match limits.max_fails {
                0 => Transition::None,
                _ => endpoint.count_failure(limits, now_ms),
            };
        }
        if let Some(trial) = trial
            && endpoint.trial.get() == trial.0
        {
            // The new rest first, or another worker could start a trial in between.
            let _ = endpoint.rest.exchange(rest, rest_end(limits, now_ms));
            endpoint.end_trial(trial);
        }
        Transition::None
    }

    /// A call was answered with anything that is not a failure.
    pub fn answered_ok(&self, id: impl Into<Option<EndpointId>>) -> Transition {
        let Some(endpoint) = self.known(id) else { return Transition::None };
        if endpoint.row.get() != 0 {
            endpoint.row.set(0);
        }
        if endpoint.rest.get() == 0 {
            return Transition::None;
        }
        let trial = Trial(endpoint.trial.get());
        let rested = endpoint.rest.replace(0) != 0;
        endpoint.end_trial(trial);
        if rested { Transition::CameUp } else { Transition::None }
    }

    /// A trial call was not made after all, or its end says nothing about the endpoint.
    pub fn trial_abandoned(&self, id: impl Into<Option<EndpointId>>, trial: Trial) {
        if let Some(endpoint) = self.known(id) {
            endpoint.end_trial(trial);
        }
    }

    /// The endpoints known so far, by place: label and whether each is up.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (EndpointId, String, bool)> {
        (0..).zip(&self.layout().endpoints.0).filter_map(|(index, endpoint)| {
            let label = endpoint.label()?;
            Some((EndpointId(index), label, endpoint.rest.get() == 0))
        })
    }

    fn known(&self, id: impl Into<Option<EndpointId>>) -> Option<&'static Endpoint> {
        id.into().map(|EndpointId(index)| &self.layout().endpoints.0[usize::from(index)])
    }

    fn limited(
        &self,
        id: impl Into<Option<EndpointId>>,
        limits: &Limits,
    ) -> Option<&'static Endpoint> {
        self.known(id).filter(|_| limits.max_fails != 0)
    }
}

fn rest_end(limits: &Limits, now_ms: u64) -> u64 {
    now_ms.saturating_add(limits.fail_timeout_ms).max(1)
}

/// What is kept and shown of a label: all of it, or as much as fits and a hash that tells two such
/// apart.
pub fn kept_label(label: &str) -> Cow<'_, str> {
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
