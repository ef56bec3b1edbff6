//! A request's journey: token → cache → flight → verdict → rewrite or reply.
//!
//! Called by NGINX in the access phase of the main request, right after `allow` and `deny`, and
//! again when an introspection the request waits for has ended.

use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::scope;
use phantom_token_engine::directive;
use phantom_token_engine::local::Cached;
use phantom_token_engine::memory;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::bearer::{self, Credentials, TokenSyntax};
use phantom_token_engine::token::key::{Key, hash_of};

use crate::access::ctx::{Ctx, Learnt};
use crate::access::pass::{self, Rewrite};
use crate::access::refusal::{self, Refusal};
use crate::cache;
use crate::conf::access::AllowOptions;
use crate::conf::demands::BoundTokens;
use crate::conf::request::Extra;
use crate::conf::request::Values;
use crate::conf::{LocConf, Policy};
use crate::flight::outcome::{Fail, Outcome, Why};
use crate::flight::{self, Asked, Question};
use crate::nginx::guard;
use crate::nginx::log::{info, warning};
use crate::nginx::parser::ComplexValue;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;
use crate::operate::counters::{self, Outcome as Status, UncachedReason};
use crate::worker;

/// What becomes of a request. The only way to the upstream carries a grant, or was opened by the
/// operator's own configuration.
enum Decision {
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

/// NGINX's access phase.
pub(crate) unsafe extern "C" fn access(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    guard::entry(
        "the access handler",
        || r.log(),
        INTERNAL_SERVER_ERROR,
        || {
            let Some(policy) = LocConf::of(r).policy.as_ref() else {
                if r.is_internal()
                    && let Some(ctx) = Ctx::find(r)
                {
                    refusal::keep_connection(r, ctx);
                    // An `if` may have switched it off only now.
                    if pass::put_on(r, ctx).is_err() {
                        return INTERNAL_SERVER_ERROR;
                    }
                }
                return DECLINED;
            };
            journey(r, policy).unwrap_or(INTERNAL_SERVER_ERROR)
        },
    )
}

fn journey(r: Request, policy: &Rc<Policy>) -> Result<ngx_int_t, NoMemory> {
    let ctx = Ctx::of(r)?;
    if ctx.wait.as_ref().is_some_and(|wait| !wait.is_over()) {
        return Ok(AGAIN); // a stray event: NGINX runs the phases on any
    }
    refusal::keep_connection(r, ctx);

    let wait = ctx.wait.take();
    let decision = match wait {
        Some(mut wait) => landed(r, ctx, policy, &mut wait)?,
        None => decide(r, policy)?,
    };
    let ctx = Ctx::of(r)?;
    count(ctx, &decision);
    match decision {
        Decision::Forward(grant) => forward(r, ctx, policy, grant),
        Decision::Bypass => Ok(DECLINED),
        // Where `satisfy any` asks others too, the header may be meant for them.
        Decision::Options if r.satisfies_any() => Ok(DECLINED),
        Decision::Options => {
            pass::rewrite(r, ctx, Rewrite::Remove)?;
            Ok(DECLINED)
        }
        Decision::Refuse(refusal) => refusal::give(r, ctx, policy, refusal),
        Decision::Wait => suspend(r, ctx),
    }
}

/// Judges a request that has not asked yet.
///
/// The operator's values may hold the module's own variables, which look into the context: it is
/// not held while they are evaluated.
fn decide(r: Request, policy: &Rc<Policy>) -> Result<Decision, NoMemory> {
    let ctx = Ctx::of(r)?;
    ctx.reason = "";
    ctx.detail = "";
    ctx.status = None;
    ctx.token = None;
    ctx.unmet.clear();
    // What an earlier pass was granted is not for the error page of this one.
    ctx.rewrite = None;
    // Before the rewrite phase already, but where an `if` has switched the module on.
    pass::put_back(r, ctx)?;
    if any_set(r, &policy.bypass)? {
        Ctx::of(r)?.status = Some(Status::Bypass);
        return Ok(Decision::Bypass);
    }
    if passes_as_options(r, policy) {
        Ctx::of(r)?.status = Some(Status::Bypass);
        return Ok(Decision::Options);
    }

    let token = match presented(r, policy)? {
        Credentials::Absent => return Ok(denied(Ctx::of(r)?, "missing", Refusal::Missing)),
        Credentials::Unusable => return Ok(malformed(Ctx::of(r)?, "")),
        Credentials::Respelt => {
            return Ok(malformed(Ctx::of(r)?, ", a JOSE token that is not canonically spelt"));
        }
        Credentials::Token(token) => token,
    };

    let values = extra_values(r, policy);
    let refresh = any_set(r, &policy.cache_bypass)?;
    let ctx = Ctx::of(r)?;
    ctx.refresh = refresh;
    let (headers, params) = match values {
        Ok(Some(values)) => values,
        Ok(None) => return Ok(denied(ctx, "malformed", Refusal::ServerError)),
        Err(NoMemory) => {
            ctx.status = Some(Status::Error);
            ctx.reason = "internal";
            return Ok(Decision::Refuse(Refusal::ServerError));
        }
    };
    let asked = worker::with(|worker| {
        let hash_key = match policy.zone.as_ref().and_then(|zone| zone.arena()) {
            Some(arena) => arena.hash_key(),
            None => worker.hash_key,
        };
        let values = [&headers, &params];
        let key = policy.key(&hash_key, token, values);
        ctx.token = Some(key.token);

        let key_as_of = |other: &Policy| policy.key_as_of(other, &hash_key, token, values);
        if let Some(learnt) = ctx.learnt(key_as_of) {
            return (key, Asked::Known(learnt.outcome.clone()), learnt.status);
        }
        if !refresh
            && let Some(zone) = &policy.zone
            && let Some(cached) = cache::nearest(worker, zone, &key, &policy.cache)
        {
            return (key, Asked::Known(Outcome::Granted(cached)), Status::Hit);
        }
        let question = Question {
            key,
            token,
            policy,
            headers,
            params,
            refresh,
            deadline: now_ms() + policy.timeout_ms,
            log: r.log(),
        };
        (key, flight::ask(worker, question), Status::Hit)
    });
    match asked {
        Some((key, Asked::Known(outcome), status)) => {
            Ok(verdict(r, ctx, policy, key, outcome, status))
        }
        Some((_, Asked::Waiting(wait), _)) => {
            ctx.wait = Some(wait);
            Ok(Decision::Wait)
        }
        None => {
            ctx.status = Some(Status::Error);
            ctx.reason = "internal";
            Ok(Decision::Refuse(Refusal::ServerError))
        }
    }
}

/// Judges a request whose introspection has ended.
fn landed(
    r: Request,
    ctx: &mut Ctx,
    policy: &Rc<Policy>,
    wait: &mut crate::flight::Wait,
) -> Result<Decision, NoMemory> {
    refusal::stop_watching_client(r)?;
    ctx.introspection_ms = Some(ctx.introspection_ms.unwrap_or(0) + wait.elapsed_ms());
    ctx.calls.push(wait.calls());
    ctx.reason = wait.uncached().map_or("", |reason| reason.word());
    let outcome = wait.take().unwrap_or(Outcome::Failed(Fail::of(Why::Internal)));
    let status = if wait.is_first() { Status::Miss } else { Status::Wait };
    ctx.uncached = wait.uncached();
    Ok(verdict(r, ctx, policy, wait.key(), outcome, status))
}

/// Judges a request by what is known of its token.
fn verdict(
    r: Request,
    ctx: &mut Ctx,
    policy: &Rc<Policy>,
    key: Key,
    outcome: Outcome,
    status: Status,
) -> Decision {
    // As it was learnt: whether a stale answer may stand in is for each location to say.
    if ctx.learnt.iter().all(|learnt| learnt.key != key) {
        let policy = Rc::clone(policy);
        ctx.learnt.push(Learnt { policy, key, outcome: outcome.clone(), status });
    }
    let (outcome, status) = match outcome {
        // Learnt before a redirect, it may be over by now.
        Outcome::Granted(grant) if grant.life.has_expired(now_ms(), now_secs()) => {
            (Outcome::Inactive, status)
        }
        Outcome::Failed(fail) => match stale(r, ctx, policy, &key, fail) {
            Some(grant) => (Outcome::Granted(grant), Status::Stale),
            None => (outcome, status),
        },
        _ => (outcome, status),
    };
    ctx.status = Some(status);
    match outcome {
        Outcome::Granted(grant) => judge(ctx, policy, grant),
        Outcome::Inactive => {
            ctx.status = Some(Status::Inactive);
            ctx.reason = "inactive";
            info!(r.log(), "the access token is not active");
            Decision::Refuse(Refusal::InvalidToken)
        }
        Outcome::Failed(fail) => {
            ctx.status = Some(Status::Error);
            ctx.reason = fail.reason();
            Decision::Refuse(match fail.is_unavailable() {
                true => Refusal::Unavailable { retry_after: fail.retry_after.max(1) },
                false => Refusal::ServerError,
            })
        }
    }
}

/// Binding, kind and scope, in this order, are judged on every request: two locations may ask
/// different things.
fn judge(ctx: &mut Ctx, policy: &Policy, grant: Rc<Cached>) -> Decision {
    let nature = grant.nature;
    if policy.bound_tokens == BoundTokens::Reject && nature.binding.is_unchecked(policy.forward) {
        return denied(ctx, "bound", Refusal::InvalidToken);
    }
    if !policy.kind.takes(nature.kind) {
        return denied(ctx, "kind", Refusal::InvalidToken);
    }
    if !policy.scope.is_empty() && !scope::covers(grant.scope(), &policy.scope) {
        // Without memory the log says less.
        ctx.unmet = scope::missing(grant.scope(), &policy.scope).unwrap_or_default();
        return denied(ctx, "scope", Refusal::InsufficientScope);
    }
    if policy.forward == Forward::Jwt && grant.jwt().is_empty() {
        ctx.status = Some(Status::Error);
        ctx.reason = "answer";
        return Decision::Refuse(Refusal::ServerError);
    }
    if matches!(ctx.status, Some(Status::Miss | Status::Wait)) {
        ctx.reason = ctx.uncached.map_or("", UncachedReason::word);
    }
    Decision::Forward(grant)
}

/// Sends the request on: the header's value points into the grant, which the context keeps alive.
fn forward(
    r: Request,
    ctx: &mut Ctx,
    policy: &Policy,
    grant: Rc<Cached>,
) -> Result<ngx_int_t, NoMemory> {
    let rewrite = match policy.forward {
        Forward::Jwt => {
            let value = grant.header().unwrap_or_default();
            Rewrite::To(ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() })
        }
        Forward::None => Rewrite::Remove,
    };
    ctx.grants.push(grant);
    pass::rewrite(r, ctx, rewrite)?;
    Ok(OK)
}

/// Suspends the request until its introspection ends, its deadline passes or its client leaves.
fn suspend(r: Request, ctx: &mut Ctx) -> Result<ngx_int_t, NoMemory> {
    ctx.end_wait_with_request(r)?;
    refusal::watch_client(r)?;
    if let Some(wait) = &mut ctx.wait {
        wait.suspend(r);
    }
    Ok(AGAIN)
}

/// One outcome for each request that met the module, the first.
fn count(ctx: &mut Ctx, decision: &Decision) {
    if ctx.counted || matches!(decision, Decision::Wait) {
        return;
    }
    if let Some(status) = ctx.status {
        ctx.counted = true;
        worker::with(|worker| counters::request(worker, status));
    }
}

fn denied(ctx: &mut Ctx, reason: &'static str, refusal: Refusal) -> Decision {
    ctx.status = Some(Status::Denied);
    ctx.reason = reason;
    Decision::Refuse(refusal)
}

/// What is presented cannot be a token; `how`, for the log line.
fn malformed(ctx: &mut Ctx, how: &'static str) -> Decision {
    ctx.detail = how;
    denied(ctx, "malformed", Refusal::InvalidToken)
}

/// The opaque token.
fn presented(r: Request, policy: &Policy) -> Result<Credentials<'static>, NoMemory> {
    let Some(index) = policy.token else {
        return Ok(bearer::from_authorization(r.authorization(), policy.syntax));
    };
    let value = r.variable(index);
    if policy.syntax == TokenSyntax::B64token && value.contains(&b'%') {
        let decoded = bearer::percent_decoded(value, r.room(value.len())?);
        return Ok(
            decoded.map_or(Credentials::Unusable, |token| bearer::from_bare(token, policy.syntax))
        );
    }
    Ok(bearer::from_bare(value, policy.syntax))
}

/// Whether any of the values is non-empty and not `0`, as NGINX's own `*_bypass` directives have it.
fn any_set(r: Request, values: &[ComplexValue]) -> Result<bool, NoMemory> {
    for value in values {
        let text = r.complex_value(value.0)?;
        if !text.is_empty() && text != b"0" {
            return Ok(true);
        }
    }
    Ok(false)
}

fn passes_as_options(r: Request, policy: &Policy) -> bool {
    if r.method() != NGX_HTTP_OPTIONS {
        return false;
    }
    match policy.allow_options {
        AllowOptions::On => true,
        AllowOptions::Preflight => {
            r.header(b"origin").is_some() && r.header(b"access-control-request-method").is_some()
        }
        AllowOptions::Off => false,
    }
}

/// The values of extra headers and parameters; `None` where a client's value cannot be sent.
fn extra_values(r: Request, policy: &Policy) -> Result<Option<(Values, Values)>, NoMemory> {
    let introspection = &policy.introspection;
    let no_memory = |memory::NoMemory| NoMemory;
    let mut headers = memory::with_room(introspection.extras.headers.len()).map_err(no_memory)?;
    for header in introspection.extras.headers.iter() {
        let mut value = r.complex_value(header.value.0)?;
        if !is_sendable(r, value, "phantom_token_introspection_header", header) {
            if header.keyed {
                return Ok(None);
            }
            // What only accompanies the call may be missing.
            value = b"";
        }
        headers.push(memory::copied(value).map_err(no_memory)?);
    }
    let mut params = memory::with_room(introspection.extras.params.len()).map_err(no_memory)?;
    for param in introspection.extras.params.iter() {
        let value = r.complex_value(param.value.0)?;
        if !is_sendable(r, value, "phantom_token_introspection_param", param) {
            return Ok(None);
        }
        params.push(memory::copied(value).map_err(no_memory)?);
    }
    Ok(Some((headers, params)))
}

/// Whether a value holds no control byte: one could end the field it is sent in. That it does is
/// said once a minute, since it is most often a client's doing.
fn is_sendable(r: Request, value: &[u8], directive: &str, extra: &Extra) -> bool {
    if directive::is_header_value(value) {
        return true;
    }
    let name = &extra.name;
    let hash = hash_of(&[directive.as_bytes(), name.as_bytes()]);
    let first = worker::with(|worker| {
        worker.state.once(Notice::UnsendableValue, hash, now_ms(), Some(60_000))
    });
    if first == Some(true) {
        warning!(
            r.log(),
            "the value of \"{directive} {name}\" holds a control byte, which a client may have sent: a header with nokey is left out, else the answer is 500"
        );
    }
    false
}

/// An entry that ran out may serve while the server cannot be asked (`phantom_token_cache_stale`).
fn stale(r: Request, ctx: &Ctx, policy: &Policy, key: &Key, fail: Fail) -> Option<Rc<Cached>> {
    let zone = policy.zone.as_ref()?;
    // Who must not rely on what is kept must not rely on what has run out.
    if policy.cache.stale_ms == 0 || ctx.refresh || !fail.allows_stale() {
        return None;
    }
    worker::with(|worker| {
        let grant = cache::stale(worker, zone, key, &policy.cache)?;
        // The first endpoint names the server.
        let label = policy.introspection.endpoints.first()?.endpoint.label();
        let hash = hash_of(&[label.as_bytes()]);
        if worker.state.once(Notice::Stale, hash, now_ms(), Some(60_000)) {
            warning!(
                r.log(),
                "stale answers serve: \"{label}\" cannot be asked ({})",
                fail.reason()
            );
        }
        Some(grant)
    })?
}
