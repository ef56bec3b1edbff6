//! What an introspection came to, as every request that waited for it learns it.

use std::rc::Rc;

use phantom_token_engine::answer::Failure;
use phantom_token_engine::client::{CallError, TlsCause};
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::counters::FailureReason;

/// The outcome of asking about one token as one identity. It is kept for the request's lifetime.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// Active, with all there is to judge a request by.
    Granted(Rc<Cached>),
    /// Not active.
    Inactive,
    /// Nothing was learnt.
    Failed(Fail),
}

/// Why nothing was learnt. Fits in a word, so that it can pass from worker to worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fail {
    pub(crate) why: Why,
    /// Seconds the client may be told to wait; 0: one.
    pub(crate) retry_after: u32,
}

/// The kinds of failure, numbered for the shared zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    Connect = 1,
    Tls = 2,
    Timeout = 3,
    /// 5xx but 503.
    ServerStatus = 4,
    /// A status that is neither an answer nor an outage.
    Status = 5,
    RateLimited = 6,
    Credentials = 7,
    Answer = 8,
    Resting = 9,
    Overflow = 10,
    Internal = 11,
    /// 503.
    Unavailable = 12,
}

impl Why {
    const ALL: [Self; 12] = [
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::ServerStatus,
        Self::Status,
        Self::RateLimited,
        Self::Credentials,
        Self::Answer,
        Self::Resting,
        Self::Overflow,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The kind a worker wrote into the zone.
    pub(crate) fn of_code(code: u16) -> Self {
        Self::ALL.into_iter().find(|why| *why as u16 == code).unwrap_or(Self::Internal)
    }
}

impl Fail {
    pub(crate) fn of(why: Why) -> Self {
        Self { why, retry_after: 0 }
    }

    pub(crate) fn of_call(error: &CallError) -> Self {
        Self::of(match error.reason() {
            "connect" => Why::Connect,
            "tls" => Why::Tls,
            "timeout" => Why::Timeout,
            _ => Why::Answer,
        })
    }

    pub(crate) fn of_answer(failure: Failure) -> Self {
        match failure {
            Failure::RateLimited { retry_after } => {
                Self { why: Why::RateLimited, retry_after: retry_after.unwrap_or(1) }
            }
            Failure::Unavailable { retry_after } => {
                Self { why: Why::Unavailable, retry_after: retry_after.unwrap_or(1) }
            }
            Failure::Status(500..=599) => Self::of(Why::ServerStatus),
            Failure::Status(_) | Failure::Hint(_) => Self::of(Why::Status),
            Failure::Credentials(_) => Self::of(Why::Credentials),
            Failure::NotUnderstood(_) => Self::of(Why::Answer),
        }
    }

    /// 503 where waiting helps, else 500.
    pub(crate) fn is_unavailable(self) -> bool {
        matches!(self.why, Why::Resting | Why::Overflow | Why::RateLimited | Why::Unavailable)
    }

    /// Whether an entry that ran out may serve instead (`phantom_token_cache_stale`): never after
    /// an answer that was not understood, refused us, or was never asked for.
    pub(crate) fn allows_stale(self) -> bool {
        matches!(
            self.why,
            Why::Connect
                | Why::Tls
                | Why::Timeout
                | Why::ServerStatus
                | Why::RateLimited
                | Why::Unavailable
                | Why::Resting
        )
    }

    /// The label of `phantom_token_failures_total`.
    pub(crate) fn label(self) -> FailureReason {
        FailureReason::from_word(self.reason()).unwrap_or(FailureReason::Answer)
    }

    /// What to look at, for the line that tells of the failure.
    pub(crate) fn advice(self) -> &'static str {
        match self.why {
            Why::Connect => "check that the server runs and can be reached from here",
            Why::Tls => {
                "check the server's certificate, phantom_token_ssl_trusted_certificate and both clocks"
            }
            Why::Timeout => {
                "the server is slow or cannot be reached: see phantom_token_timeout and phantom_token_connect_timeout"
            }
            Why::ServerStatus | Why::Status | Why::Unavailable => "see the server's own log",
            Why::RateLimited => "ask less often: see phantom_token_cache_valid",
            Why::Credentials => {
                "check phantom_token_client_id and phantom_token_client_secret, and that the client may introspect"
            }
            Why::Answer => {
                "check the endpoint's URL, phantom_token_introspection_accept and what the server gives this client"
            }
            Why::Resting | Why::Overflow | Why::Internal => "see the lines before",
        }
    }

    /// What to look at where a call had no answer.
    pub(crate) fn advice_on(error: &CallError) -> &'static str {
        let CallError::Tls(cause) = error else { return Self::of_call(error).advice() };
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
            _ => Self::of_call(error).advice(),
        }
    }

    /// The word for `$phantom_token_reason`.
    pub(crate) fn reason(self) -> &'static str {
        match self.why {
            Why::Connect => "connect",
            Why::Tls => "tls",
            Why::Timeout => "timeout",
            Why::ServerStatus | Why::Status | Why::RateLimited | Why::Unavailable => "status",
            Why::Credentials => "credentials",
            Why::Answer => "answer",
            Why::Resting => "resting",
            Why::Overflow => "overflow",
            Why::Internal => "internal",
        }
    }
}
