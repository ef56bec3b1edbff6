//! Where what is known of a token does not serve a request: it is asked for anew, or stands in while
//! nobody can be asked.

use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::failure::Failure;
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::key::Key;

use crate::access::ctx::Ctx;
use crate::access::pass;
use crate::cache;
use crate::conf::Policy;
use crate::flight::desk;
use crate::nginx::log::warning;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// How often a request takes part in the calls of others, before it has its own made.
pub(super) const JOINED: u8 = 1;

/// More often than NGINX redirects a request, which asks once more in each of its passes.
const MOST: u8 = 24;

/// What is known of a token does not serve here: forgets it, to ask as if nothing were known. `false`: it
/// was asked for too often.
pub(super) fn forget(r: Request, policy: &Policy, key: &Key) -> Result<bool, NoMemory> {
    let mut ctx = Ctx::of(&r)?;
    ctx.times_anew += 1;
    let too_often = ctx.times_anew > MOST;
    pass::forget_candidate(r, &mut ctx);
    drop(ctx);
    if too_often {
        return Ok(false);
    }
    desk::with(|desk| {
        cache::forget(&mut desk.worker, policy.zone.as_deref(), key, |facts| {
            facts.life.has_expired(now_ms(), now_secs()) || !policy.may_forward_minted(facts.signer)
        })
    });
    Ok(true)
}

/// An entry that ran out may serve while the server cannot be asked (`phantom_token_cache_stale`).
pub(super) fn stale(
    r: Request,
    policy: &Policy,
    key: &Key,
    failure: Failure,
) -> Option<Rc<Cached>> {
    let zone = policy.zone.as_ref()?;
    if policy.cache.stale_ms == 0 || !failure.kind.allows_stale() {
        return None;
    }
    desk::with(|desk| {
        let times = policy.times(&desk.worker);
        let grant = cache::stale(&mut desk.worker, zone, key, &times)?;
        if policy.forward == Forward::Mint && !policy.may_forward_minted(grant.signer) {
            return None;
        }
        // The first endpoint names the server.
        let endpoint = policy.introspection.endpoints.first()?;
        let label = endpoint.endpoint.label();
        if desk.worker.state.once(Notice::Stale, endpoint.client_hash, now_ms(), Some(60_000)) {
            let word = failure.kind.word();
            let line = format_args!("stale answers serve: \"{label}\" cannot be asked ({word})");
            warning!(r, "{}", endpoint.said(line));
        }
        Some(grant)
    })?
}
