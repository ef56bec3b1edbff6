//! Failed calls in the error log: the first of each kind one by one, the rest summed up each minute,
//! in each worker ([`Repeats`]).

use core::fmt;
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::Failure;
use phantom_token_engine::client::{CallError, Endpoint};
use phantom_token_engine::log_limit::Repeats;

use crate::conf::credentials::Hints;
use crate::conf::endpoints::PolicyEndpoint;
use crate::flight::outcome::Fail;
use crate::nginx::guard;
use crate::nginx::log::error;
use crate::nginx::pinned::Pinned;
use crate::nginx::sys::*;
use crate::nginx::timer::Timer;

/// The failures of this worker's calls, and the timer that sums them up.
pub(crate) struct Failures {
    timer: Pinned<Timer>,
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
    Answer { failure: Failure, hints: Hints },
    /// The server does not know this hint of `phantom_token_token_type_hint`.
    Hint { failure: Failure, hint: Rc<Vec<u8>> },
}

/// The two causes of a refusal, that of credentials said before.
const CREDENTIALS_OR_TOKEN: &str = "; where other tokens are answered it is this token that the server, or a firewall in front of it, refuses";

/// What is said of a failed call: in fixed words, but for the endpoint's label.
#[derive(Clone)]
struct Line {
    endpoint: Arc<Endpoint>,
    cause: Cause,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.cause == other.cause && self.endpoint.label() == other.endpoint.label()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "introspection at \"{}\" ", self.endpoint.label())?;
        match &self.cause {
            Cause::NotBegun => f.write_str(
                "was not begun in time: the thread pool's queue is long, give the pool more threads",
            ),
            Cause::Call(error) => write!(f, "failed: {error}; {}", Fail::advice_on(error)),
            Cause::Hint { failure, hint } => write!(
                f,
                "failed: {failure}; \"{}\" is not what it knows: write \"phantom_token_token_type_hint access_token\", or none",
                hint.escape_ascii()
            ),
            Cause::Answer { failure, hints } => {
                write!(f, "failed: {failure}; {}", Fail::of_answer(*failure).advice())?;
                if let Failure::Credentials(_) = failure {
                    f.write_str(CREDENTIALS_OR_TOKEN)?;
                    write!(f, "{hints}")?;
                }
                match failure {
                    // Some servers call credentials that they cannot decode a bad request.
                    Failure::Credentials(400) | Failure::Status(400) if hints.raw => {
                        f.write_str("; try \"phantom_token_client_auth basic\"")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.encoded {
            f.write_str("; try \"phantom_token_client_auth basic_raw\"")?;
        }
        if self.certificate {
            f.write_str(
                "; the file of phantom_token_ssl_certificate may have to hold the issuing CA's certificate too",
            )?;
        }
        Ok(())
    }
}

impl Failures {
    pub(crate) fn new() -> Self {
        let timer = Timer::new("summing up failures", |worker| worker.failures.sum_up(false));
        Self { timer, repeats: Repeats::default() }
    }

    /// Logs that a call failed, or counts it.
    pub(super) fn say(&mut self, endpoint: &PolicyEndpoint, mut cause: Cause) {
        if let Cause::Answer {
            failure: Failure::RateLimited { retry_after } | Failure::Unavailable { retry_after },
            ..
        } = &mut cause
        {
            // Not said, so nothing to tell lines apart by.
            *retry_after = None;
        }
        let line = Line { endpoint: endpoint.endpoint.clone(), cause };
        if self.repeats.happened(&line, now_ms()) {
            error!(guard::cycle_log(), "{line}");
        }
        self.wait();
    }

    /// Logs what was counted and not said, of all kinds where `all`.
    pub(crate) fn sum_up(&mut self, all: bool) {
        for (what, more) in self.repeats.ended(now_ms(), all) {
            error!(guard::cycle_log(), "{more} more times within a minute: {what}");
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
