//! Failed calls in the error log: the first of each kind one by one, the rest summed up each minute,
//! in each worker ([`Repeats`]).

use core::fmt;
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::NoVerdict;
use phantom_token_engine::client::{CallError, Endpoint, TlsCause};
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::log_limit::Repeats;

use crate::conf::credentials::Hints;
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

/// The two causes of a refusal, that of credentials said before.
const CREDENTIALS_OR_TOKEN: &str = "; where other tokens are answered it is this token that the server, or a firewall in front of it, refuses";

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
            Cause::Call(error) => write!(f, "failed: {error}; {}", advice_on(error)),
            Cause::Hint { failure, hint } => write!(
                f,
                "failed: {failure}; \"{}\" is not what it knows: write \"phantom_token_token_type_hint access_token\", or none",
                hint.escape_ascii()
            ),
            Cause::Answer { failure, hints } => {
                let advice = match failure {
                    NoVerdict::Credentials(_) => hints.advice(),
                    _ => advice(Failure::from(*failure).kind),
                };
                write!(f, "failed: {failure}; {advice}")?;
                if let NoVerdict::Credentials(_) = failure {
                    f.write_str(CREDENTIALS_OR_TOKEN)?;
                    write!(f, "{hints}")?;
                }
                match failure {
                    // Some servers call credentials that they cannot decode a bad request.
                    NoVerdict::Credentials(400) | NoVerdict::Status(400) if hints.raw => {
                        f.write_str("; try \"phantom_token_client_auth basic\"")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// What to look at, for the line that tells of the failure.
fn advice(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Connect => "check that the server runs and can be reached from here",
        FailureKind::Tls => {
            "check the server's certificate, phantom_token_ssl_trusted_certificate and both clocks"
        }
        FailureKind::Timeout => {
            "the server is slow or cannot be reached: see phantom_token_timeout and phantom_token_connect_timeout"
        }
        FailureKind::ServerStatus | FailureKind::Status | FailureKind::Unavailable => {
            "see the server's own log"
        }
        FailureKind::RateLimited => "ask less often: see phantom_token_cache_valid",
        FailureKind::Answer => {
            "check the endpoint's URL, phantom_token_introspection_accept and what the server gives this client"
        }
        // What credentials are refused for depends on what they are: `Hints::advice`.
        FailureKind::Credentials
        | FailureKind::Resting
        | FailureKind::Overflow
        | FailureKind::Internal => "see the lines before",
    }
}

/// What to look at where a call had no answer.
fn advice_on(error: &CallError) -> &'static str {
    let CallError::Tls(cause) = error else { return advice(Failure::from(error).kind) };
    match cause {
        TlsCause::NoName | TlsCause::OldVersion => {
            "have it issued as version 3 with the host in subjectAltName, or name the server's own certificate in phantom_token_ssl_trusted_certificate"
        }
        TlsCause::ClientCertificateRequired => {
            "set phantom_token_ssl_certificate and phantom_token_ssl_certificate_key"
        }
        TlsCause::ClientCertificateRefused => {
            "check phantom_token_ssl_certificate, whose file may have to hold the issuing CA's certificate too"
        }
        TlsCause::UnknownName | TlsCause::NotTls => {
            "check the endpoint's URL: its scheme, host and port"
        }
        _ => advice(Failure::from(error).kind),
    }
}

impl Hints {
    /// What to look at first.
    pub(super) fn advice(self) -> &'static str {
        match self.key {
            false => {
                "check phantom_token_client_id and phantom_token_client_secret, and that the client may introspect"
            }
            true => {
                "check phantom_token_client_id and phantom_token_client_key, and that the client may introspect"
            }
        }
    }
}

/// What may have to be looked at besides.
impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.encoded {
            f.write_str("; try \"phantom_token_client_auth basic_raw\"")?;
        }
        if self.assertions {
            f.write_str("; check the key id, the audience and both clocks")?;
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
            error!(Cycle, "{more} more times within a minute: {what}");
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
