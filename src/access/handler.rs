//! A request's journey: token → cache → flight → checks → rewrite or refusal.
//!
//! It is judged once a pass, in the phase that its location names, and gone on with when an introspection
//! that it waits for has ended.

use std::cell::RefMut;
use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::failure::{Failure, FailureKind};
use phantom_token_engine::local::Cached;
use phantom_token_engine::token::bearer::Credentials;
use phantom_token_engine::token::key::Key;

use crate::access::anew;
use crate::access::checks;
use crate::access::ctx::{Ctx, Learnt, Reason, Rewrite};
use crate::access::early;
use crate::access::inputs;
use crate::access::pass;
use crate::access::refusal::{self, Refusal};
use crate::conf::Policy;
use crate::finding::Finding;
use crate::flight::desk;
use crate::flight::{self, Asked, Question, Wait};
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;
use crate::operate::counters::RequestResult;

/// What becomes of a request. The only way to the upstream carries a grant, or was opened by the
/// operator's own configuration.
pub(super) enum Decision {
    /// On, with the phantom token in place of the opaque one.
    Forward(Rc<Cached>),
    /// On, as it came (`phantom_token_bypass`).
    Bypass,
    /// On, without its `Authorization` (`phantom_token_allow_options`).
    Options,
    /// No further.
    Refuse(Refusal),
    /// An introspection is under way.
    Wait,
}

/// Judges a request. Gives NGINX's status for the access phase.
pub(super) fn judge(r: Request, policy: &Rc<Policy>) -> Result<ngx_int_t, NoMemory> {
    let mut ctx = Ctx::of(&r)?;
    if ctx.wait.as_ref().is_some_and(|wait| !wait.is_over()) {
        return Ok(AGAIN); // a stray event: NGINX runs the phases on any
    }
    refusal::keep_connection(r, &mut ctx);
    let decision = match ctx.wait.take() {
        Some(wait) => {
            drop(ctx);
            resume(r, policy, wait)?
        }
        None => start(r, policy, ctx)?,
    };

    let mut ctx = Ctx::of(&r)?;
    if !matches!(decision, Decision::Wait) {
        ctx.decided = true;
        ctx.count();
    }
    match decision {
        Decision::Forward(grant) => forward(r, &mut ctx, policy, grant),
        Decision::Bypass => Ok(DECLINED),
        // Where `satisfy any` asks others too, the header may be meant for them.
        Decision::Options if r.satisfies_any() => Ok(DECLINED),
        Decision::Options => {
            pass::rewrite(r, &mut ctx, Rewrite::Remove)?;
            Ok(DECLINED)
        }
        Decision::Refuse(refusal) => {
            drop(ctx);
            refusal::give(r, policy, &refusal)
        }
        Decision::Wait => suspend(r, &mut ctx),
    }
}

/// Begins with a request: what the operator lets pass, the token, and what is known of it.
fn start(r: Request, policy: &Rc<Policy>, mut ctx: RefMut<'_, Ctx>) -> Result<Decision, NoMemory> {
    ctx.begin_decision();
    // Before the rewrite phase already, but where an `if` has switched the module on.
    pass::put_back(r, &mut ctx)?;
    early::say_of_this_pass(r, &mut ctx);
    drop(ctx);

    if inputs::any_set(r, &policy.bypass)? {
        Ctx::of(&r)?.status = Some(RequestResult::Bypass);
        return Ok(Decision::Bypass);
    }
    if inputs::passes_as_options(r, policy) {
        Ctx::of(&r)?.status = Some(RequestResult::Bypass);
        return Ok(Decision::Options);
    }
    let token = match inputs::token(r, policy)? {
        Credentials::Absent => return denied(r, Reason::Missing, "", Refusal::Missing),
        Credentials::Unusable => return denied(r, Reason::Malformed, "", Refusal::InvalidToken),
        Credentials::Respelt => {
            let detail = ", a JOSE token that is not canonically spelt";
            return denied(r, Reason::Malformed, detail, Refusal::InvalidToken);
        }
        Credentials::Token(token) => token,
    };
    ask::<false>(r, policy, token)
}

/// Looks for what is known of a token, and has the authorization server asked where nothing is. `ANEW`:
/// what this request knows does not count.
fn ask<const ANEW: bool>(
    r: Request,
    policy: &Rc<Policy>,
    token: &[u8],
) -> Result<Decision, NoMemory> {
    let values = inputs::extra_values(r, policy);
    let refresh = inputs::any_set(r, &policy.cache_bypass)?;
    let (headers, params) = match values {
        Ok(Some(values)) => values,
        Ok(None) => return denied(r, Reason::Malformed, "", Refusal::ServerError),
        Err(NoMemory) => return failed(r, FailureKind::Internal.into()),
    };
    let mut ctx = Ctx::of(&r)?;
    ctx.refresh = refresh;
    // Whoever asks anew has what the first question has left.
    let deadline = ctx.deadline.unwrap_or_else(|| now_ms() + policy.timeout_ms);
    let asked = desk::with(|desk| {
        let hashing = desk.worker.hashing;
        let values = [&headers, &params];
        let key = policy.key(&hashing, token, values);
        ctx.token = Some(key.token);

        let key_as_of = |other: &Policy| policy.key_as_of(other, &hashing, token, values);
        if ANEW {
            ctx.learnt.retain(|known| known.key != key_as_of(&known.policy));
        }
        // What was purged since is not known any more.
        let purges = desk.worker.purges;
        ctx.learnt.retain(|known| !known.is_purged(purges));
        if let Some(learnt) = ctx.learnt(key_as_of) {
            return (key, Asked::Known(learnt.finding.clone()), learnt.status);
        }
        let question = Question {
            key,
            token,
            policy,
            headers,
            params,
            refresh: refresh || ANEW && ctx.times_anew > anew::JOINED,
            deadline,
            request: r,
        };
        (key, flight::ask(desk, question), RequestResult::Hit)
    });
    match asked {
        Some((key, Asked::Known(finding), status)) => {
            drop(ctx);
            conclude(r, policy, key, finding, status)
        }
        Some((_, Asked::Waiting(wait), _)) => {
            ctx.deadline = Some(deadline);
            ctx.wait = Some(wait);
            Ok(Decision::Wait)
        }
        None => {
            drop(ctx);
            failed(r, FailureKind::Internal.into())
        }
    }
}

/// Asks as if nothing were known of the token, since what is known does not serve here.
fn ask_anew(r: Request, policy: &Rc<Policy>, key: Key) -> Result<Decision, NoMemory> {
    if anew::forget(r, policy, &key)?
        && let Credentials::Token(token) = inputs::token(r, policy)?
    {
        return ask::<true>(r, policy, token);
    }
    failed(r, FailureKind::Internal.into())
}

/// Goes on with a request whose introspection has ended.
fn resume(r: Request, policy: &Rc<Policy>, wait: Wait) -> Result<Decision, NoMemory> {
    r.stop_watching_client()?;
    let mut ctx = Ctx::of(&r)?;
    let report = wait.report();
    let from_store = report.from_store;
    ctx.note(report, wait.elapsed_ms());
    drop(ctx);
    let finding = wait.finding().unwrap_or(Finding::Failed(FailureKind::Internal.into()));
    let status = match (wait.is_first(), from_store) {
        (true, true) => RequestResult::Store,
        (true, false) => RequestResult::Miss,
        (false, _) => RequestResult::Wait,
    };
    conclude(r, policy, wait.key(), finding, status)
}

/// Concludes from what is known of a request's token.
fn conclude(
    r: Request,
    policy: &Rc<Policy>,
    key: Key,
    finding: Finding,
    status: RequestResult,
) -> Result<Decision, NoMemory> {
    let mut ctx = Ctx::of(&r)?;
    // As it was learnt: whether a stale answer may stand in is for each location to say.
    if ctx.learnt.iter().all(|learnt| learnt.key != key) {
        let policy = Rc::clone(policy);
        ctx.learnt.push(Learnt { policy, key, finding: finding.clone(), status });
    }
    // Who must not rely on what is kept must not rely on what has run out.
    let (finding, status) = match finding {
        Finding::Failed(failure) if !ctx.refresh => match anew::stale(r, policy, &key, failure) {
            Some(grant) => (Finding::Active(grant), RequestResult::Stale),
            None => (finding, status),
        },
        // Learnt before a redirect, it may be over by now.
        Finding::Active(grant) if grant.life.has_expired(now_ms(), now_secs()) => {
            if policy.mint.is_some() {
                // It is the JWT that is over: the token may be good for longer.
                drop(ctx);
                return ask_anew(r, policy, key);
            }
            (Finding::Inactive, status)
        }
        _ => (finding, status),
    };
    ctx.status = Some(status);
    match finding {
        Finding::Active(grant) => {
            drop(ctx);
            check_grant(r, policy, key, grant)
        }
        Finding::Inactive => {
            ctx.status = Some(RequestResult::Inactive);
            ctx.reason = Reason::Inactive;
            Ok(Decision::Refuse(Refusal::Inactive))
        }
        Finding::Failed(failure) => {
            drop(ctx);
            failed(r, failure)
        }
    }
}

/// Judges what the location asks of an active token. The context is not held: checks may look into it.
fn check_grant(
    r: Request,
    policy: &Rc<Policy>,
    key: Key,
    grant: Rc<Cached>,
) -> Result<Decision, NoMemory> {
    if policy.judges_by_variables() {
        pass::show(r, &grant)?;
    }
    let mut checked = checks::apply(&r, policy, &grant);
    // What could not be read must not look absent: that may be what lets in.
    let has_failed = |ctx: &Ctx| ctx.candidate.as_ref().is_some_and(|judged| judged.has_failed);
    if policy.judges_by_variables() && has_failed(&*Ctx::of(&r)?) {
        checked = Err(checks::Unmet::unjudged(NoMemory));
    }
    let Err(unmet) = checked else {
        return Ok(Decision::Forward(grant));
    };
    if policy.forward == Forward::Mint && !policy.may_forward_minted(grant.signer) {
        // A key that is published no more has signed it, or one that is published elsewhere alone.
        return ask_anew(r, policy, key);
    }
    let mut ctx = Ctx::of(&r)?;
    ctx.status = Some(unmet.status);
    ctx.reason = unmet.reason;
    ctx.unmet = unmet.lacking;
    pass::forget_candidate(r, &mut ctx);
    Ok(Decision::Refuse(unmet.refusal))
}

/// Sends the request on: the header's value points into the grant, which the context keeps alive.
fn forward(
    r: Request,
    ctx: &mut Ctx,
    policy: &Policy,
    grant: Rc<Cached>,
) -> Result<ngx_int_t, NoMemory> {
    let rewrite = match policy.forward {
        Forward::Jwt | Forward::Mint => {
            let value = grant.header().unwrap_or_default();
            Rewrite::To(ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() })
        }
        Forward::None => Rewrite::Remove,
    };
    ctx.grants.push(grant);
    ctx.granted = true;
    let by_flight = [RequestResult::Miss, RequestResult::Wait, RequestResult::Store];
    if ctx.status.is_some_and(|status| by_flight.contains(&status)) {
        ctx.reason = ctx.uncached.map_or(Reason::None, Reason::Uncached);
    }
    pass::rewrite(r, ctx, rewrite)?;
    Ok(OK)
}

/// Suspends the request until its introspection ends, its deadline passes or its client leaves.
fn suspend(r: Request, ctx: &mut Ctx) -> Result<ngx_int_t, NoMemory> {
    ctx.end_wait_with_request(&r)?;
    r.watch_client()?;
    if let Some(wait) = &ctx.wait {
        wait.suspend(r);
    }
    Ok(AGAIN)
}

/// What the client presents is refused unseen by the authorization server; `detail`: how the log line
/// goes on.
fn denied(
    r: Request,
    reason: Reason,
    detail: &'static str,
    refusal: Refusal,
) -> Result<Decision, NoMemory> {
    let mut ctx = Ctx::of(&r)?;
    ctx.status = Some(RequestResult::Denied);
    ctx.reason = reason;
    ctx.detail = detail;
    Ok(Decision::Refuse(refusal))
}

/// The token could not be judged.
pub(super) fn failed(r: Request, failure: Failure) -> Result<Decision, NoMemory> {
    let mut ctx = Ctx::of(&r)?;
    ctx.status = Some(RequestResult::Error);
    ctx.reason = Reason::Failed(failure.kind);
    Ok(Decision::Refuse(match failure.kind.is_unavailable() {
        true => Refusal::Unavailable { retry_after: failure.retry_after.max(1) },
        false => Refusal::ServerError,
    }))
}
