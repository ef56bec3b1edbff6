//! Why nothing was learnt about a token: one type from the call to the reply, the counters and the
//! mark other workers read.

use crate::answer::NoVerdict;
use crate::client::{AnswerCause, CallError};
use crate::jose::mint::MintError;
use crate::shared::counters::FailureReason;

/// A failed introspection. Fits in a word, so that it can pass from worker to worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub kind: FailureKind,
    /// Seconds the client may be told to wait; 0: the server named none.
    pub retry_after: u32,
}

/// The kinds of failure, numbered for the shared zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FailureKind {
    /// No connection, or it was lost before the answer was complete.
    Connect = 1,
    /// TLS, or the server's certificate.
    Tls = 2,
    /// The time was up.
    Timeout = 3,
    /// 5xx but 503.
    ServerStatus = 4,
    /// A status that is neither an answer nor an outage.
    Status = 5,
    /// 429.
    RateLimited = 6,
    /// The client's credentials were refused, or their gate is shut.
    Credentials = 7,
    /// The answer is not understood, or the request could not be written.
    Answer = 8,
    /// Every endpoint rests.
    Resting = 9,
    /// Too many calls are pending, or too many requests wait.
    Overflow = 10,
    /// No memory, or a fault of the module itself.
    Internal = 11,
    /// 503.
    Unavailable = 12,
}

impl FailureKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
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

    /// The number in the shared zone.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The kind a worker wrote into the zone; [`Self::Internal`] for a number that stands for none.
    pub fn of_code(code: u16) -> Self {
        Self::ALL.into_iter().find(|kind| kind.code() == code).unwrap_or(Self::Internal)
    }

    /// The label of `phantom_token_failures_total`; `None` for [`Self::Internal`], which is no
    /// failure of a call.
    pub fn label(self) -> Option<FailureReason> {
        Some(match self {
            Self::Connect => FailureReason::Connect,
            Self::Tls => FailureReason::Tls,
            Self::Timeout => FailureReason::Timeout,
            Self::ServerStatus | Self::Status | Self::RateLimited | Self::Unavailable => {
                FailureReason::Status
            }
            Self::Credentials => FailureReason::Credentials,
            Self::Answer => FailureReason::Answer,
            Self::Resting => FailureReason::Resting,
            Self::Overflow => FailureReason::Overflow,
            Self::Internal => return None,
        })
    }

    /// The word of `$phantom_token_reason`.
    pub fn word(self) -> &'static str {
        self.label().map_or("internal", FailureReason::word)
    }

    /// Whether waiting helps: the reply is 503 then, else 500.
    pub fn is_unavailable(self) -> bool {
        matches!(self, Self::Resting | Self::Overflow | Self::RateLimited | Self::Unavailable)
    }

    /// Whether an entry that ran out may serve instead (`phantom_token_cache_stale`): never after
    /// an answer that was not understood, refused us, or was never asked for.
    pub fn allows_stale(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Tls
                | Self::Timeout
                | Self::ServerStatus
                | Self::RateLimited
                | Self::Unavailable
                | Self::Resting
        )
    }
}

impl From<FailureKind> for Failure {
    /// Without a time to wait.
    fn from(kind: FailureKind) -> Self {
        Self { kind, retry_after: 0 }
    }
}

impl From<&CallError> for Failure {
    /// A connection that is lost before the answer is complete is a failure to connect: that is how
    /// a server that stops takes its leave. A request that could not be written counts with answers
    /// that are not understood: like them, it says nothing about whether the server is there.
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Connect(_) => FailureKind::Connect,
            CallError::Answer(AnswerCause::Closed | AnswerCause::Io(_)) => FailureKind::Connect,
            CallError::Tls(_) => FailureKind::Tls,
            CallError::Timeout(_) => FailureKind::Timeout,
            CallError::Answer(_) | CallError::Request(_) => FailureKind::Answer,
        }
        .into()
    }
}

impl From<NoVerdict> for Failure {
    /// Where the server names no time to wait, it is one second.
    fn from(failure: NoVerdict) -> Self {
        let waits = |kind, seconds: Option<u32>| Self { kind, retry_after: seconds.unwrap_or(1) };
        match failure {
            NoVerdict::RateLimited { retry_after } => waits(FailureKind::RateLimited, retry_after),
            NoVerdict::Unavailable { retry_after } => waits(FailureKind::Unavailable, retry_after),
            NoVerdict::Status(500..=599) => FailureKind::ServerStatus.into(),
            NoVerdict::Status(_) | NoVerdict::Hint(_) => FailureKind::Status.into(),
            NoVerdict::Credentials(_) => FailureKind::Credentials.into(),
            NoVerdict::NotMinted(MintError::Sign(_)) => FailureKind::Internal.into(),
            NoVerdict::NotUnderstood(_) | NoVerdict::NotMinted(_) => FailureKind::Answer.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::answer::Cause;
    use crate::client::{ConnectCause, Phase, RequestCause, TlsCause};
    use crate::jose::sign::SignError;

    #[test]
    fn what_each_kind_brings_about() {
        use FailureKind::*;
        let table = [
            (Connect, 1, "connect", true, false),
            (Tls, 2, "tls", true, false),
            (Timeout, 3, "timeout", true, false),
            (ServerStatus, 4, "status", true, false),
            (Status, 5, "status", false, false),
            (RateLimited, 6, "status", true, true),
            (Credentials, 7, "credentials", false, false),
            (Answer, 8, "answer", false, false),
            (Resting, 9, "resting", true, true),
            (Overflow, 10, "overflow", false, true),
            (Internal, 11, "internal", false, false),
            (Unavailable, 12, "status", true, true),
        ];
        assert_eq!(table.map(|row| row.0), FailureKind::ALL);
        for (kind, code, word, stale, unavailable) in table {
            assert_eq!((kind.code(), FailureKind::of_code(code)), (code, kind));
            assert_eq!(kind.word(), word, "{kind:?}");
            assert_eq!(kind.allows_stale(), stale, "{kind:?}");
            assert_eq!(kind.is_unavailable(), unavailable, "{kind:?}");
            assert_eq!(kind.label().is_none(), kind == Internal);
        }
        for code in [0, 13, u16::MAX] {
            assert_eq!(FailureKind::of_code(code), Internal);
        }
    }

    #[test]
    fn a_call_without_an_answer_is_one_of_four_kinds() {
        for (error, kind) in [
            (CallError::Connect(ConnectCause::Refused), FailureKind::Connect),
            (CallError::Tls(TlsCause::Expired), FailureKind::Tls),
            (CallError::Timeout(Phase::Wait), FailureKind::Timeout),
            (CallError::Answer(AnswerCause::Closed), FailureKind::Connect),
            (CallError::Answer(AnswerCause::Io(io::ErrorKind::TimedOut)), FailureKind::Connect),
            (CallError::Answer(AnswerCause::NotHttp), FailureKind::Answer),
            (CallError::Answer(AnswerCause::NoMemory), FailureKind::Answer),
            (CallError::Request(RequestCause::Header), FailureKind::Answer),
        ] {
            assert_eq!(Failure::from(&error), kind.into(), "{error}");
        }
    }

    #[test]
    fn an_answer_without_a_verdict_is_a_failure_of_its_kind() {
        let of = |kind, retry_after| Failure { kind, retry_after };
        for (answer, failure) in [
            (NoVerdict::Status(201), of(FailureKind::Status, 0)),
            (NoVerdict::Status(404), of(FailureKind::Status, 0)),
            (NoVerdict::Status(499), of(FailureKind::Status, 0)),
            (NoVerdict::Status(500), of(FailureKind::ServerStatus, 0)),
            (NoVerdict::Status(599), of(FailureKind::ServerStatus, 0)),
            (NoVerdict::Status(600), of(FailureKind::Status, 0)),
            (NoVerdict::Hint(400), of(FailureKind::Status, 0)),
            (NoVerdict::RateLimited { retry_after: None }, of(FailureKind::RateLimited, 1)),
            (NoVerdict::RateLimited { retry_after: Some(7) }, of(FailureKind::RateLimited, 7)),
            (NoVerdict::Unavailable { retry_after: None }, of(FailureKind::Unavailable, 1)),
            (NoVerdict::Unavailable { retry_after: Some(9) }, of(FailureKind::Unavailable, 9)),
            (NoVerdict::Credentials(401), of(FailureKind::Credentials, 0)),
            (NoVerdict::NotUnderstood(Cause::Json), of(FailureKind::Answer, 0)),
            (NoVerdict::NotMinted(MintError::Username), of(FailureKind::Answer, 0)),
            (NoVerdict::NotMinted(MintError::TooLong), of(FailureKind::Answer, 0)),
            (NoVerdict::NotMinted(MintError::Sign(SignError)), of(FailureKind::Internal, 0)),
        ] {
            assert_eq!(Failure::from(answer), failure, "{answer}");
        }
    }
}
