//! What the end of one call says of the endpoint and of the client's credentials there: nothing of
//! any other token. The same for clients' calls and the gateway's own.

use super::Health;
use crate::answer::{Answer, NoVerdict};
use crate::client::{AnswerCause, CallError, ConnectCause};
use crate::shared::counters::OwnResult;

/// What a call's end says, of the endpoint and of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it says of the endpoint.
    pub health: Health,
    /// What it says of the client's credentials there.
    pub credentials: Credentials,
}

/// What a call's end says of the client's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// They were not refused.
    Good,
    /// They were refused, or so it looks: of a client's call it may be the token.
    Refused,
    /// Nothing: nobody looked at them.
    Nothing,
}

/// Judges a call's end. `alone` is whether the location has no other endpoint to ask, `had_time`
/// whether the pool's queue had left the call time enough for an answer.
pub fn judge(end: Result<&Answer, &CallError>, alone: bool, had_time: bool) -> Verdict {
    let (health, credentials) = match end {
        Ok(Answer::Active(_) | Answer::Inactive(_)) => (Health::Answered, Credentials::Good),
        Ok(Answer::Failed(failure)) => of_failure(*failure, alone),
        Err(error) => (of_error(error, had_time), Credentials::Nothing),
    };
    Verdict { health, credentials }
}

fn of_failure(failure: NoVerdict, alone: bool) -> (Health, Credentials) {
    match failure {
        NoVerdict::Credentials(_) => (Health::Answered, Credentials::Refused),
        // Of an only endpoint it says that it is there, and begins and ends no rest: a server that
        // is starting says so for seconds, and one that sheds its load to some only.
        _ if failure.is_outage() && alone => (Health::Nothing, Credentials::Nothing),
        _ if failure.is_outage() => (Health::Failed, Credentials::Nothing),
        // Servers limit how often a wrong secret is tried.
        NoVerdict::RateLimited { .. } => (Health::Answered, Credentials::Nothing),
        _ => (Health::Answered, Credentials::Good),
    }
}

/// Not where we had no means to call, and not where there was no time.
fn of_error(error: &CallError, had_time: bool) -> Health {
    match error {
        CallError::Connect(
            ConnectCause::NoDescriptor | ConnectCause::NoLocalPort | ConnectCause::NoResolverThread,
        ) => Health::Nothing,
        CallError::Connect(_) | CallError::Tls(_) => Health::Failed,
        CallError::Answer(AnswerCause::Closed | AnswerCause::Io(_)) => Health::Failed,
        CallError::Timeout(_) if had_time => Health::Failed,
        CallError::Timeout(_) | CallError::Answer(_) | CallError::Request(_) => Health::Nothing,
    }
}

impl Verdict {
    /// What a call says that was not made, or that broke off by our own fault.
    pub const NOTHING: Verdict =
        Verdict { health: Health::Nothing, credentials: Credentials::Nothing };

    /// Returns how a call of the gateway's own is counted that ended so.
    pub fn own_result(self) -> OwnResult {
        match self {
            Verdict { credentials: Credentials::Refused, .. } => OwnResult::Refused,
            Verdict { health: Health::Answered, .. } => OwnResult::Good,
            _ => OwnResult::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::cause::Cause;
    use crate::client::{Phase, TlsCause};

    #[test]
    fn what_an_answer_says() {
        use Credentials::{Good, Nothing, Refused};
        let inactive = Answer::Inactive(None);
        let status = |status| Answer::Failed(NoVerdict::Status(status));
        let limited = Answer::Failed(NoVerdict::RateLimited { retry_after: None });
        for (answer, credentials) in [
            (inactive, Good),
            (status(302), Good),
            (status(400), Good),
            (status(404), Good),
            (status(500), Good),
            (status(501), Good),
            (Answer::Failed(NoVerdict::NotUnderstood(Cause::Json)), Good),
            (limited, Nothing),
            (Answer::Failed(NoVerdict::Credentials(400)), Refused),
            (Answer::Failed(NoVerdict::Credentials(401)), Refused),
            (Answer::Failed(NoVerdict::Credentials(403)), Refused),
        ] {
            for alone in [true, false] {
                let verdict = judge(Ok(&answer), alone, true);
                assert_eq!(
                    verdict,
                    Verdict { health: Health::Answered, credentials },
                    "{answer:?}"
                );
            }
        }
    }

    #[test]
    fn an_outage_counts_where_another_endpoint_may_know_better() {
        let unavailable = NoVerdict::Unavailable { retry_after: Some(1) };
        for failure in [NoVerdict::Status(502), unavailable, NoVerdict::Status(504)] {
            let answer = Answer::Failed(failure);
            assert_eq!(judge(Ok(&answer), true, true), Verdict::NOTHING);
            let credentials = Credentials::Nothing;
            let counts = Verdict { health: Health::Failed, credentials };
            assert_eq!(judge(Ok(&answer), false, true), counts);
        }
    }

    #[test]
    fn no_answer_counts_unless_it_was_for_want_of_means_or_time() {
        let health = |error, had_time| judge(Err(&error), true, had_time).health;
        for had_time in [true, false] {
            for error in [
                CallError::Connect(ConnectCause::Refused),
                CallError::Connect(ConnectCause::HostNotFound),
                CallError::Tls(TlsCause::Expired),
                CallError::Answer(AnswerCause::Closed),
                CallError::Answer(AnswerCause::Io(std::io::ErrorKind::ConnectionReset)),
            ] {
                assert_eq!(health(error, had_time), Health::Failed, "{error}");
            }
            for error in [
                CallError::Connect(ConnectCause::NoDescriptor),
                CallError::Connect(ConnectCause::NoLocalPort),
                CallError::Connect(ConnectCause::NoResolverThread),
                CallError::Answer(AnswerCause::NotHttp),
            ] {
                assert_eq!(health(error, had_time), Health::Nothing, "{error}");
            }
        }
        assert_eq!(health(CallError::Timeout(Phase::Wait), true), Health::Failed);
        assert_eq!(health(CallError::Timeout(Phase::Wait), false), Health::Nothing);
    }

    #[test]
    fn own_calls_are_counted_as_what_they_say() {
        let result = |failure| judge(Ok(&Answer::Failed(failure)), true, true).own_result();
        assert_eq!(judge(Ok(&Answer::Inactive(None)), true, true).own_result(), OwnResult::Good);
        assert_eq!(result(NoVerdict::Status(500)), OwnResult::Good);
        assert_eq!(result(NoVerdict::RateLimited { retry_after: None }), OwnResult::Good);
        assert_eq!(result(NoVerdict::Credentials(401)), OwnResult::Refused);
        assert_eq!(result(NoVerdict::Status(502)), OwnResult::Failed);
        let refused = CallError::Connect(ConnectCause::Refused);
        assert_eq!(judge(Err(&refused), true, true).own_result(), OwnResult::Failed);
        assert_eq!(Verdict::NOTHING.own_result(), OwnResult::Failed);
    }
}
