use std::time::Instant;

use super::*;
use crate::answer::Cause;
use crate::client::{AnswerCause, ConnectCause, Phase, RequestCause, TlsCause};
use crate::guard;
use crate::http::cache_control::CacheControl;
use crate::shared::purges::Moment;

const NOW: Now = Now { ms: 50_000, secs: 1_700_000_000 };
const TOOK: Duration = Duration::from_millis(7);

const KEEPS: Keeps = Keeps {
    in_zone: true,
    valid_ms: 300_000,
    inactive_ms: 1_000,
    control: CacheControlPolicy::Cap,
};

/// A location with one endpoint, credentials of one form, and a zone.
const ALONE: Asked =
    Asked { alone: true, awaited: true, form: Form::Encoded, forms: Forms::One, keeps: KEEPS };
const OF_TWO: Asked = Asked { alone: false, ..ALONE };

fn with_forms(form: Form, encoded_is_known: bool, try_raw: bool) -> Asked {
    Asked { form, forms: Forms::Two { encoded_is_known, try_raw }, ..ALONE }
}

fn keeping(change: impl FnOnce(&mut Keeps)) -> Asked {
    let mut asked = ALONE;
    change(&mut asked.keeps);
    asked
}

fn done(end: End) -> Done {
    let began = Instant::now();
    Done { end, queued: Duration::ZERO, took: TOOK, began, had_time: true, fleet: None }
}

fn judged(end: End, asked: &Asked) -> Judgement {
    judge(done(end), asked, NOW)
}

fn found(answer: Answer, caching: Caching) -> End {
    End::Answered(Found { origin: Origin::AuthorizationServer, status: 200, answer, caching })
}

fn stored(answer: Answer, age_ms: u64, left_ms: Option<u64>) -> End {
    let aged = Aged { age_ms, left_ms, may_stale: true };
    let origin = Origin::Store { aged, asked: Moment::NEVER };
    End::Answered(Found { origin, status: 0, answer, caching: Caching::default() })
}

fn answered(answer: Answer) -> End {
    found(answer, Caching::default())
}

fn refused(failure: NoVerdict) -> End {
    answered(Answer::Failed(failure))
}

fn grant(exp: Option<u64>) -> Grant {
    let mut grant = Grant::default();
    grant.jwt = b"a.b.c".to_vec();
    grant.exp = exp;
    grant
}

fn granted(caching: Caching) -> End {
    found(Answer::Active(grant(Some(NOW.secs + 60))), caching)
}

/// What is said of a call that says nothing of anything and is told as a failure of this kind.
fn nothing_but(kind: FailureKind) -> Judgement {
    Judgement {
        health: Health::Nothing,
        gate: Gate::Nothing,
        form: None,
        latency: None,
        call: None,
        failure: None,
        say: None,
        next: Next::Tell(Told::Failed(kind.into()), Keeping::Leave),
    }
}

#[test]
fn a_call_that_was_not_made_says_nothing_of_the_server() {
    let timeout = FailureKind::Timeout;
    let said = Judgement {
        failure: Some(timeout),
        say: Some(Line::NotBegun),
        ..nothing_but(FailureKind::Timeout)
    };
    for base in [ALONE, OF_TWO] {
        // The flight's time is over: no other endpoint is asked.
        assert_eq!(judged(End::Unsent, &base), said);
        assert_eq!(
            judged(End::Skipped, &base),
            Judgement {
                failure: Some(timeout),
                say: Some(Line::NotBegun),
                next: Next::AskNext(timeout.into()),
                ..nothing_but(timeout)
            }
        );
        // Nobody waited: nothing went wrong.
        let nobody = Asked { awaited: false, ..base };
        assert_eq!(judged(End::Unsent, &nobody), nothing_but(timeout));
    }
}

#[test]
fn a_fault_of_our_own_is_told_and_blames_nobody() {
    guard::install();
    let site = guard::catch(|| panic!("secret")).unwrap_err();
    for asked in [ALONE, OF_TWO, with_forms(Form::Encoded, false, true)] {
        assert_eq!(
            judged(End::Panicked(site.clone()), &asked),
            Judgement {
                say: Some(Line::Panicked(site.clone())),
                ..nothing_but(FailureKind::Internal)
            }
        );
    }
}

#[test]
fn without_an_answer_the_next_endpoint_is_asked() {
    use FailureKind::{Answer, Connect, Timeout, Tls};
    let request = CallError::Request(RequestCause::Header);
    for (error, kind, health) in [
        (CallError::Connect(ConnectCause::Refused), Connect, Health::Failed),
        (CallError::Connect(ConnectCause::HostNotFound), Connect, Health::Failed),
        (CallError::Connect(ConnectCause::NoDescriptor), Connect, Health::Nothing),
        (CallError::Connect(ConnectCause::NoLocalPort), Connect, Health::Nothing),
        (CallError::Connect(ConnectCause::NoResolverThread), Connect, Health::Nothing),
        (CallError::Tls(TlsCause::Expired), Tls, Health::Failed),
        (CallError::Timeout(Phase::Connect), Timeout, Health::Failed),
        (CallError::Timeout(Phase::Wait), Timeout, Health::Failed),
        (
            CallError::Answer(AnswerCause::Closed),
            Failure::from(&CallError::Answer(AnswerCause::Closed)).kind,
            Health::Failed,
        ),
        (CallError::Answer(AnswerCause::NotHttp), Answer, Health::Nothing),
        (request, Failure::from(&request).kind, Health::Nothing),
    ] {
        for asked in [ALONE, OF_TWO, with_forms(Form::Raw, false, false)] {
            let timed_out = matches!(error, CallError::Timeout(_));
            assert_eq!(
                judged(End::Failed(error), &asked),
                Judgement {
                    health,
                    latency: timed_out.then_some(Latency::TimedOut(TOOK)),
                    call: Some(CallResult::Failed),
                    failure: Some(kind),
                    say: Some(Line::NoAnswer(error)),
                    next: Next::AskNext(kind.into()),
                    ..nothing_but(kind)
                },
                "{error}"
            );
        }
    }
}

#[test]
fn who_had_no_time_is_not_to_blame() {
    let end = End::Failed(CallError::Timeout(Phase::Wait));
    let judgement = judge(Done { had_time: false, ..done(end) }, &ALONE, NOW);
    assert_eq!(judgement.health, Health::Nothing);
    assert_eq!(judgement.latency, Some(Latency::TimedOut(TOOK)));
}

#[test]
fn an_answer_that_says_nothing_of_the_token_is_told() {
    use FailureKind as Kind;
    let limited = NoVerdict::RateLimited { retry_after: Some(9) };
    for (failure, kind, retry_after, gate) in [
        (NoVerdict::Status(302), Kind::Status, 0, Gate::Passed),
        (NoVerdict::Status(404), Kind::Status, 0, Gate::Passed),
        (NoVerdict::Status(500), Kind::ServerStatus, 0, Gate::Passed),
        (NoVerdict::Status(501), Kind::ServerStatus, 0, Gate::Passed),
        (NoVerdict::Hint(400), Kind::Status, 0, Gate::Passed),
        (NoVerdict::NotUnderstood(Cause::Json), Kind::Answer, 0, Gate::Passed),
        (limited, Kind::RateLimited, 9, Gate::Nothing),
        (NoVerdict::Credentials(400), Kind::Credentials, 0, Gate::Refused),
        (NoVerdict::Credentials(401), Kind::Credentials, 0, Gate::Refused),
        (NoVerdict::Credentials(403), Kind::Credentials, 0, Gate::Refused),
    ] {
        let told = Failure { kind, retry_after };
        for asked in [ALONE, OF_TWO] {
            assert_eq!(
                judged(refused(failure), &asked),
                Judgement {
                    health: Health::Answered,
                    gate,
                    call: Some(CallResult::Failed),
                    failure: Some(kind),
                    say: Some(Line::NoVerdict(failure)),
                    next: Next::Tell(Told::Failed(told), Keeping::Leave),
                    ..nothing_but(kind)
                },
                "{failure}"
            );
        }
    }
}

#[test]
fn an_outage_sends_to_the_next_endpoint_where_there_is_one() {
    use FailureKind as Kind;
    let unavailable = NoVerdict::Unavailable { retry_after: Some(3) };
    for (failure, kind, retry_after) in [
        (NoVerdict::Status(502), Kind::ServerStatus, 0),
        (unavailable, Kind::Unavailable, 3),
        (NoVerdict::Status(504), Kind::ServerStatus, 0),
    ] {
        let told = Failure { kind, retry_after };
        let judgement = |health, next| Judgement {
            health,
            call: Some(CallResult::Failed),
            failure: Some(kind),
            say: Some(Line::NoVerdict(failure)),
            next,
            ..nothing_but(kind)
        };
        assert_eq!(
            judged(refused(failure), &ALONE),
            judgement(Health::Nothing, Next::Tell(Told::Failed(told), Keeping::Leave)),
            "{failure}"
        );
        assert_eq!(
            judged(refused(failure), &OF_TWO),
            judgement(Health::Failed, Next::AskNext(told)),
            "{failure}"
        );
    }
}

#[test]
fn refused_credentials_are_tried_in_the_other_form_once() {
    let credentials = FailureKind::Credentials;
    let refusal = || refused(NoVerdict::Credentials(401));
    let told = Next::Tell(Told::Failed(credentials.into()), Keeping::Leave);
    let said = Some(Line::NoVerdict(NoVerdict::Credentials(401)));

    let again = judged(refusal(), &with_forms(Form::Encoded, true, true));
    assert_eq!(again.next, Next::AskAgain(Form::Raw, credentials.into()));
    assert_eq!((again.gate, again.health), (Gate::Unclear, Health::Answered));
    assert_eq!((again.call, again.failure), (Some(CallResult::Failed), Some(credentials)));
    assert_eq!(again.say, None, "nothing is wrong yet");

    for (form, encoded_is_known, try_raw, gate) in [
        (Form::Encoded, false, false, Gate::Unclear),
        (Form::Encoded, true, false, Gate::Refused),
        (Form::Raw, false, true, Gate::Unclear),
        (Form::Raw, true, true, Gate::Refused),
    ] {
        let judgement = judged(refusal(), &with_forms(form, encoded_is_known, try_raw));
        assert_eq!(judgement.next, told, "{form:?} {encoded_is_known} {try_raw}");
        assert_eq!(judgement.gate, gate, "{form:?} {encoded_is_known} {try_raw}");
        assert_eq!(judgement.say, said);
    }
    // Another failure is no reason for it.
    let other = judged(refused(NoVerdict::Status(400)), &with_forms(Form::Encoded, false, true));
    let kind = FailureKind::Status;
    assert_eq!(other.next, Next::Tell(Told::Failed(kind.into()), Keeping::Leave));
}

#[test]
fn an_answer_shows_which_form_is_taken() {
    let active = || granted(Caching::default());
    let inactive = || answered(Answer::Inactive(None));
    for (form, of_active, of_inactive) in [
        (Form::Encoded, Some(Form::Encoded), Some(Form::Encoded)),
        // Some servers call any token inactive to whom they do not know.
        (Form::Raw, Some(Form::Raw), None),
    ] {
        let asked = with_forms(form, false, false);
        assert_eq!(judged(active(), &asked).form, of_active);
        assert_eq!(judged(inactive(), &asked).form, of_inactive);
        let one = Asked { forms: Forms::One, ..asked };
        assert_eq!(judged(active(), &one).form, None);
        assert_eq!(judged(inactive(), &one).form, None);
        assert_eq!(judged(refused(NoVerdict::Status(400)), &asked).form, None);
    }
}

#[test]
fn an_inactive_answer_is_kept_for_its_moment() {
    let inactive = Judgement {
        health: Health::Answered,
        gate: Gate::Passed,
        latency: Some(Latency::Answered(TOOK)),
        call: Some(CallResult::Inactive),
        next: Next::Tell(Told::Inactive, Keeping::Store(Life::of_inactive(NOW.ms, 1_000))),
        ..nothing_but(FailureKind::Internal)
    };
    assert_eq!(judged(answered(Answer::Inactive(None)), &ALONE), inactive);

    let skewed = judged(answered(Answer::Inactive(Some(Skew(4)))), &OF_TWO);
    assert_eq!(skewed, Judgement { say: Some(Line::Expired(Skew(4))), ..inactive });

    // Not kept, it takes what was kept of the token away all the same.
    let asked = keeping(|keeps| keeps.inactive_ms = 0);
    let forgotten = judged(answered(Answer::Inactive(None)), &asked);
    assert_eq!(forgotten.next, Next::Tell(Told::Inactive, Keeping::Forget));
}

#[test]
fn an_active_answer_is_kept_as_the_location_and_the_server_have_it() {
    use UncachedReason as Reason;
    let exp = NOW.secs + 60;
    let expiry = Some(Expiry::new(exp, NOW.ms, NOW.secs));
    let life = Life { stored: NOW.ms, until: None, exp: expiry, may_stale: true };
    let none = Life::of_none(NOW.ms, expiry);
    let no_store = Caching {
        control: CacheControl { no_store: true, ..CacheControl::default() },
        ..Caching::default()
    };
    let as_it_is = Caching::default();
    let strict = |keeps: &mut Keeps| keeps.control = CacheControlPolicy::Strict;
    let (off, no_zone) =
        (|keeps: &mut Keeps| keeps.valid_ms = 0, |keeps: &mut Keeps| keeps.in_zone = false);
    for (what, asked, caching, life, uncached, kept, say) in [
        ("kept", ALONE, as_it_is, life, None, Keeping::Store(life), None),
        ("no zone", keeping(no_zone), as_it_is, life, Some(Reason::CacheOff), Keeping::Leave, None),
        // What others keep is theirs.
        ("off", keeping(off), as_it_is, none, Some(Reason::CacheValidZero), Keeping::Leave, None),
        ("no-store", keeping(strict), no_store, none, Some(Reason::NoStore), Keeping::Forget, None),
        ("overruled", ALONE, no_store, life, None, Keeping::Store(life), Some(Line::Overruled)),
        // Nothing is kept that could have been forbidden.
        (
            "no zone, overruled",
            keeping(no_zone),
            no_store,
            life,
            Some(Reason::CacheOff),
            Keeping::Leave,
            None,
        ),
    ] {
        assert_eq!(
            judged(granted(caching), &asked),
            Judgement {
                health: Health::Answered,
                gate: Gate::Passed,
                latency: Some(Latency::Answered(TOOK)),
                call: Some(CallResult::Active),
                say,
                next: Next::Tell(Told::Active(grant(Some(exp)), life, uncached), kept),
                ..nothing_but(FailureKind::Internal)
            },
            "{what}"
        );
    }
}

#[test]
fn a_token_that_expires_on_the_way_here_is_not_active() {
    let expired = answered(Answer::Active(grant(Some(NOW.secs))));
    let judgement = judged(expired, &ALONE);
    assert_eq!(judgement.next, Next::Tell(Told::Inactive, Keeping::Forget));
    assert_eq!(judgement.call, Some(CallResult::Active), "as the server has it");
}

/// What is said of an answer from the store: nothing of the server, whatever follows.
fn of_the_store(next: Next) -> Judgement {
    Judgement { next, ..nothing_but(FailureKind::Internal) }
}

#[test]
fn an_answer_from_the_store_lives_since_the_server_was_asked() {
    let exp = Some(NOW.secs + 60);
    let asked_forms = [ALONE, OF_TWO, with_forms(Form::Encoded, false, true)];
    for (age_ms, left_ms) in [(0, None), (20_000, None), (20_000, Some(7_000))] {
        let life = Life {
            stored: NOW.ms - age_ms,
            until: left_ms.map(|left| NOW.ms + left),
            exp: exp.map(|exp| Expiry::new(exp, NOW.ms, NOW.secs)),
            may_stale: true,
        };
        for asked in &asked_forms {
            let judged = judged(stored(Answer::Active(grant(exp)), age_ms, left_ms), asked);
            let told = Told::Active(grant(exp), life, None);
            assert_eq!(judged, of_the_store(Next::Tell(told, Keeping::Store(life))));
        }
    }
}

#[test]
fn an_answer_from_the_store_that_expires_on_the_way_is_not_kept() {
    let judged = judged(stored(Answer::Active(grant(Some(NOW.secs))), 20_000, None), &ALONE);
    let Next::Tell(Told::Active(_, life, None), Keeping::Leave) = judged.next else {
        panic!("{judged:?}");
    };
    assert!(life.has_expired(NOW.ms, NOW.secs));
}

#[test]
fn what_another_gateway_was_told_of_an_inactive_token_is_kept_as_if_told_here() {
    for (inactive_ms, keeping) in
        [(1_000, Keeping::Store(Life::of_inactive(NOW.ms, 1_000))), (0, Keeping::Forget)]
    {
        let asked = keeping_of(inactive_ms);
        let judged = judged(stored(Answer::Inactive(None), 3, None), &asked);
        assert_eq!(judged, of_the_store(Next::Tell(Told::Inactive, keeping)));
    }
}

fn keeping_of(inactive_ms: u64) -> Asked {
    keeping(|keeps| keeps.inactive_ms = inactive_ms)
}
