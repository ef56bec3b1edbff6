//! What the end of one attempt at one endpoint means: for the endpoint's health, the client's
//! credentials, the counters, the log and the requests that wait.
//!
//! [`judge()`] decides all of it from what was done, what was asked for and the time. It neither logs nor
//! touches what is shared: whoever calls it does what the [`Judgement`] says.

use std::time::Duration;

use crate::answer::grant::Grant;
use crate::answer::{Answer, NoVerdict, Skew};
use crate::client::CallError;
use crate::failure::{Failure, FailureKind};
use crate::guard::PanicSite;
use crate::http::cache_control::Caching;
use crate::lifetime::{self, Aged, CacheControlPolicy, Expiry, Keep, Life, Overruled, Uncached};
pub use crate::lookup::{Done, End};
use crate::lookup::{Found, Origin};
use crate::shared::counters::{CallResult, UncachedReason};
use crate::shared::health::Health;
use crate::shared::health::form::Form;
use crate::shared::health::judge::{self, Credentials, Verdict};

#[cfg(test)]
mod tests;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Whether the location has no other endpoint.
    pub alone: bool,
    /// Whether a request waits, or one has waited in vain and nobody was told why.
    pub awaited: bool,
    /// The form in which the credentials were sent.
    pub form: Form,
    /// The forms in which they may be sent.
    pub forms: Forms,
    /// What the location does with answers.
    pub keeps: Keeps,
}

/// The forms in which the client's credentials may be sent (`phantom_token_client_auth basic`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// There is one.
    One,
    /// There are two.
    Two {
        /// The server is known to take the encoded one.
        encoded_is_known: bool,
        /// The other may be tried now, once more, where the encoded one is refused.
        try_raw: bool,
    },
}

/// What a location does with answers, times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Keeps {
    /// Whether it has a zone to keep them in.
    pub in_zone: bool,
    /// `phantom_token_cache_valid`; 0 for none.
    pub valid_ms: u64,
    /// `phantom_token_cache_inactive_valid`; 0 for none.
    pub inactive_ms: u64,
    /// `phantom_token_cache_control`.
    pub control: CacheControlPolicy,
}

/// The time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic, in milliseconds.
    pub ms: u64,
    /// Since the Unix epoch, in seconds.
    pub secs: u64,
}

/// What is to be done about the end of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it says of the endpoint.
    pub health: Health,
    /// What it says of the credentials' gate.
    pub gate: Gate,
    /// The form that was taken, where there are two and the answer shows it.
    pub form: Option<Form>,
    /// What it says of the time the endpoint takes.
    pub latency: Option<Latency>,
    /// How the call is counted; `None`: none was made.
    pub call: Option<CallResult>,
    /// How the failure is counted, where there is one that is.
    pub failure: Option<FailureKind>,
    /// What the log is to say.
    pub say: Option<Line>,
    /// What follows.
    pub next: Next,
}

/// What an attempt says of the gate of the client's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: nobody looked at them.
    Nothing,
    /// They were not refused.
    Passed,
    /// They were refused, or so it looks; what is known of them counts for more.
    Refused,
    /// They were refused in a form of which nobody knows whether the server takes it: what is known of
    /// them says nothing, and the server is to be asked.
    Unclear,
}

/// What an attempt says of the time an endpoint takes to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// It answered in so long.
    Answered(Duration),
    /// It did not, for so long.
    TimedOut(Duration),
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The call was not begun in time.
    NotBegun,
    /// It had no answer.
    NoAnswer(CallError),
    /// Its answer says nothing about the token.
    NoVerdict(NoVerdict),
    /// A token is called active that has expired.
    Expired(Skew),
    /// The server forbids caching, and is overruled.
    Overruled,
    /// A panic was caught there.
    Panicked(PanicSite),
}

/// What follows an attempt.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made for each call, and taken apart at once")]
pub enum Next {
    /// It is over: this is told to all who wait, and this becomes of the zone's entry.
    Tell(Told, Keeping),
    /// Another endpoint may know better. If none is left, the failure stands.
    AskNext(Failure),
    /// The same endpoint may take the credentials in this form. If no time is left, the failure stands.
    AskAgain(Form, Failure),
}

/// What is told to those who wait.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made for each call, and taken apart at once")]
pub enum Told {
    /// The token is active. The facts may serve for so long; why they are not kept, if they are not.
    Active(Grant, Life, Option<UncachedReason>),
    /// It is not.
    Inactive,
    /// Nothing was learnt.
    Failed(Failure),
}

/// What becomes of the zone's entry of a token when its call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// The answer takes its place, for so long.
    Store(Life),
    /// It goes: the answer may not be kept, and has overtaken it. It must not serve as a stale one.
    Forget,
    /// It stays: nothing was learnt, or nothing is kept by the location that asked.
    Leave,
}

/// Judges the end of an attempt.
pub fn judge(done: Done, asked: &Asked, now: Now) -> Judgement {
    let Done { end, took, had_time, .. } = done;
    let verdict = match &end {
        End::Answered(Found { origin: Origin::AuthorizationServer, answer, .. }) => {
            judge::judge(Ok(answer), asked.alone, had_time)
        }
        End::Failed(error) => judge::judge(Err(error), asked.alone, had_time),
        End::Answered(Found { origin: Origin::Store { .. }, .. })
        | End::NotStored
        | End::Unsent
        | End::Skipped
        | End::Panicked(_) => Verdict::NOTHING,
    };
    let judgement = Judgement {
        health: verdict.health,
        gate: gate(verdict.credentials, asked.forms),
        form: None,
        latency: None,
        call: None,
        failure: None,
        say: None,
        next: failed(FailureKind::Internal),
    };
    match end {
        End::Unsent => Judgement {
            failure: asked.awaited.then_some(FailureKind::Timeout),
            say: asked.awaited.then_some(Line::NotBegun),
            next: failed(FailureKind::Timeout),
            ..judgement
        },
        End::Skipped => Judgement {
            failure: Some(FailureKind::Timeout),
            say: Some(Line::NotBegun),
            next: Next::AskNext(FailureKind::Timeout.into()),
            ..judgement
        },
        End::Panicked(site) => Judgement { say: Some(Line::Panicked(site)), ..judgement },
        End::Failed(error) => {
            let failure = Failure::from(&error);
            let timed_out = matches!(error, CallError::Timeout(_));
            Judgement {
                latency: timed_out.then_some(Latency::TimedOut(took)),
                call: Some(CallResult::Failed),
                failure: Some(failure.kind),
                say: Some(Line::NoAnswer(error)),
                next: Next::AskNext(failure),
                ..judgement
            }
        }
        End::NotStored => judgement,
        End::Answered(Found { origin: Origin::Store { aged, .. }, answer, .. }) => {
            Judgement { next: stored(answer, aged, &asked.keeps, now), ..judgement }
        }
        End::Answered(Found { answer: Answer::Failed(answer), .. }) => {
            no_verdict(answer, asked, judgement)
        }
        End::Answered(Found { answer: Answer::Inactive(skew), .. }) => Judgement {
            // Of a token that is not good, any form that is not refused shows that it is taken, but the
            // encoded one alone proves that it is the one to use.
            form: taken(asked, Form::Encoded),
            latency: Some(Latency::Answered(took)),
            call: Some(CallResult::Inactive),
            say: skew.map(Line::Expired),
            next: Next::Tell(Told::Inactive, asked.keeps.inactive(now)),
            ..judgement
        },
        End::Answered(Found { answer: Answer::Active(grant), caching, .. }) => {
            let (keep, overruled) = keep(&grant, &caching, &asked.keeps, now);
            let in_zone = asked.keeps.in_zone;
            Judgement {
                form: taken(asked, Form::Encoded).or(taken(asked, Form::Raw)),
                latency: Some(Latency::Answered(took)),
                call: Some(CallResult::Active),
                say: (overruled.0 && in_zone).then_some(Line::Overruled),
                next: active(grant, keep, in_zone, now),
                ..judgement
            }
        }
    }
}

/// An answer that says nothing about the token.
fn no_verdict(answer: NoVerdict, asked: &Asked, judgement: Judgement) -> Judgement {
    let failure = Failure::from(answer);
    let call = Some(CallResult::Failed);
    let counted = Some(failure.kind);
    let refused = matches!(answer, NoVerdict::Credentials(_));
    if refused && asked.form == Form::Encoded && asked.forms.tries_raw() {
        // Not said: whether anything is wrong shows when they are sent as they are.
        let next = Next::AskAgain(Form::Raw, failure);
        return Judgement { gate: Gate::Unclear, call, failure: counted, next, ..judgement };
    }
    let next = match answer.is_outage() && !asked.alone {
        true => Next::AskNext(failure),
        false => Next::Tell(Told::Failed(failure), Keeping::Leave),
    };
    Judgement { call, failure: counted, say: Some(Line::NoVerdict(answer)), next, ..judgement }
}

/// Decides whether an active answer of the server's is kept.
pub(crate) fn keep(grant: &Grant, caching: &Caching, keeps: &Keeps, now: Now) -> (Keep, Overruled) {
    let Keeps { valid_ms, control, .. } = *keeps;
    let (keep, overruled) = lifetime::keep(caching, control, valid_ms, grant.exp, now.ms, now.secs);
    let keep = match keep {
        // As where no JWT is minted: nothing says that the token is still good.
        Keep::Yes(life) if grant.is_endless => Keep::Yes(Life { may_stale: false, ..life }),
        keep => keep,
    };
    (keep, overruled)
}

/// An active answer, and whether it is kept.
fn active(grant: Grant, keep: Keep, in_zone: bool, now: Now) -> Next {
    let (life, keeping, uncached) = match keep {
        Keep::Yes(life) if in_zone => (life, Keeping::Store(life), None),
        Keep::Yes(life) => (life, Keeping::Leave, Some(UncachedReason::CacheOff)),
        // Its time has run out on the way here.
        Keep::No(Uncached::Expired) => return Next::Tell(Told::Inactive, Keeping::Forget),
        Keep::No(why) => {
            let exp = grant.exp.map(|exp| Expiry::new(exp, now.ms, now.secs));
            let keeping = match why {
                // This location keeps nothing; what others keep is theirs.
                Uncached::CacheValidZero => Keeping::Leave,
                _ => Keeping::Forget,
            };
            (Life::of_none(now.ms, exp), keeping, Some(why.into()))
        }
    };
    Next::Tell(Told::Active(grant, life, uncached), keeping)
}

/// What another gateway was told, and left in the store.
fn stored(answer: Answer, aged: Aged, keeps: &Keeps, now: Now) -> Next {
    match answer {
        Answer::Active(grant) => {
            let exp = grant.exp.map(|exp| Expiry::new(exp, now.ms, now.secs));
            let life = Life::of_aged(aged, keeps.valid_ms, exp, now.ms);
            // Where its time has run out on the way here, whoever gets it sees that.
            let keeping = match life.has_expired(now.ms, now.secs) {
                true => Keeping::Leave,
                false => Keeping::Store(life),
            };
            Next::Tell(Told::Active(grant, life, None), keeping)
        }
        Answer::Inactive(_) => Next::Tell(Told::Inactive, keeps.inactive(now)),
        // Nobody leaves such a thing there.
        Answer::Failed(failure) => Next::Tell(Told::Failed(failure.into()), Keeping::Leave),
    }
}

fn gate(credentials: Credentials, forms: Forms) -> Gate {
    match (credentials, forms) {
        (Credentials::Nothing, _) => Gate::Nothing,
        (Credentials::Good, _) => Gate::Passed,
        (Credentials::Refused, Forms::Two { encoded_is_known: false, .. }) => Gate::Unclear,
        (Credentials::Refused, _) => Gate::Refused,
    }
}

/// The form, where it was sent and there are two.
fn taken(asked: &Asked, form: Form) -> Option<Form> {
    (asked.forms != Forms::One && asked.form == form).then_some(form)
}

fn failed(kind: FailureKind) -> Next {
    Next::Tell(Told::Failed(kind.into()), Keeping::Leave)
}

impl Keeps {
    /// What becomes of an inactive answer.
    fn inactive(&self, now: Now) -> Keeping {
        match self.inactive_ms {
            0 => Keeping::Forget,
            valid_ms => Keeping::Store(Life::of_inactive(now.ms, valid_ms)),
        }
    }
}

impl Forms {
    fn tries_raw(self) -> bool {
        matches!(self, Forms::Two { try_raw: true, .. })
    }
}
