//! Failed calls in the error log: the first of each kind one by one, the rest summed up each minute,
//! in each worker ([`Repeats`]).

use core::fmt;
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::NoVerdict;
use phantom_token_engine::client::{CallError, Endpoint};
use phantom_token_engine::log_limit::Repeats;
use phantom_token_engine::remedy::{self, Hints, Remedied};

use crate::conf::endpoints::PolicyEndpoint;
use crate::conf::provider;
use crate::flight::desk;
use crate::nginx::log::{Cycle, error};
use crate::nginx::sys::*;
use crate::nginx::timer::Timer;

/// The failures of this worker's calls, and the timer that sums them up.
pub(crate) struct Failures {
    timer: Timer,
    repeats: Repeats<Line>,
}

/// How a call failed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// No thread was free in time.
    NotBegun,
    /// There was no answer.
    Call(CallError),
    /// The answer said nothing about the token; what may be wrong where our credentials are.
    Answer { failure: NoVerdict, hints: Hints },
    /// The server does not know this hint of `phantom_token_token_type_hint`.
    Hint { failure: NoVerdict, hint: Rc<Vec<u8>> },
}

/// What is said of a failed call: in fixed words, but for the endpoint's label.
#[derive(Clone)]
struct Line {
    endpoint: Arc<Endpoint>,
    /// The name of its block.
    provider: Option<Rc<str>>,
    cause: Cause,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.cause == other.cause
            && self.endpoint.label() == other.endpoint.label()
            && self.provider == other.provider
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&provider::said(self.provider.as_deref(), format_args!("{}", Flat(self))))
    }
}

/// A line in the words of settings outside of a block.
struct Flat<'a>(&'a Line);

impl fmt::Display for Flat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "introspection at \"{}\" ", self.0.endpoint.label())?;
        match &self.0.cause {
            Cause::NotBegun => f.write_str(
                "was not begun in time: the thread pool's queue is long, give the pool more threads",
            ),
            Cause::Call(error) => {
                let remedy = remedy::of_call(error, self.0.endpoint.is_https());
                write!(f, "failed: {error}; {remedy}")
            }
            Cause::Hint { failure, hint } => write!(
                f,
                "failed: {failure}; \"{}\" is not what it knows: write \"phantom_token_token_type_hint access_token\", or none",
                hint.escape_ascii()
            ),
            Cause::Answer { failure, hints } => {
                let (failure, hints) = (*failure, *hints);
                write!(f, "failed: {}", Remedied { failure, hints })
            }
        }
    }
}

impl Failures {
    pub(crate) fn new() -> Self {
        let timer = Timer::new("summing up failures", || {
            desk::with(|desk| desk.failures.sum_up(false));
        });
        Self { timer, repeats: Repeats::default() }
    }

    /// Logs that a call failed, or counts it.
    pub(super) fn say(&mut self, endpoint: &PolicyEndpoint, mut cause: Cause) {
        if let Cause::Answer {
            failure: NoVerdict::RateLimited { retry_after } | NoVerdict::Unavailable { retry_after },
            ..
        } = &mut cause
        {
            // Not said, so nothing to tell lines apart by.
            *retry_after = None;
        }
        let (provider, endpoint) = (endpoint.provider.clone(), endpoint.endpoint.clone());
        let line = Line { endpoint, provider, cause };
        if self.repeats.happened(&line, now_ms()) {
            error!(Cycle, "{line}");
        }
        self.wait();
    }

    /// Logs what was counted and not said, of all kinds where `all`.
    pub(crate) fn sum_up(&mut self, all: bool) {
        for (what, more) in self.repeats.ended(now_ms(), all) {
            match more {
                1 => error!(Cycle, "once more within a minute: {what}"),
                _ => error!(Cycle, "{more} more times within a minute: {what}"),
            }
        }
        if !all {
            self.wait();
        }
    }

    /// Makes sure that the timer runs while there is something to sum up.
    fn wait(&mut self) {
        if let Some(left) = self.repeats.next_end(now_ms()) {
            self.timer.set_cancelable(left.max(1));
        }
    }
}
