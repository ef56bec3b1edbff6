//! `phantom_token_purge`: forgetting one token, or all.

use phantom_token_engine::http::form::purge::{Purge, PurgeError};

use crate::conf::operate::Purger;
use crate::conf::{LocConf, MainConf};
use crate::flight::desk;
use crate::nginx::handlers::Handler;
use crate::nginx::log::notice;
use crate::nginx::reply;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

const NO_CONTENT: u32 = NGX_HTTP_NO_CONTENT;

/// What is wrong with the request (RFC 6749 §5.2).
const INVALID: &str = "invalid_request";

/// The content handler of a purge.
pub(crate) struct PurgeHandler;

impl Handler for PurgeHandler {
    const WHAT: &'static str = "the purge handler";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        begin(r)
    }
}

/// Goes on once the body is there.
struct BodyIsThere;

impl Handler for BodyIsThere {
    const WHAT: &'static str = "the end of a purge's body";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        finish(r)
    }
}

fn begin(r: Request) -> Result<ngx_int_t, NoMemory> {
    if r.method() != NGX_HTTP_POST {
        r.add_header_out(b"Allow", str_of(b"POST"))?;
        return Ok(NGX_HTTP_NOT_ALLOWED as ngx_int_t);
    }
    let from_anywhere = LocConf::of(r).operate.purge.get() == Some(&Purger::Any);
    if !(from_anywhere || r.is_local()) || is_cross_origin(r) {
        return Ok(NGX_HTTP_FORBIDDEN as ngx_int_t);
    }
    // A token must not reach a temporary file: only a body that fits into memory is read.
    if r.body_may_exceed(r.body_buffer_size()) {
        return Ok(NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as ngx_int_t);
    }
    Ok(r.read_body::<BodyIsThere>())
}

/// A browser sent it for another site's page.
fn is_cross_origin(r: Request) -> bool {
    if let Some(site) = r.header(b"sec-fetch-site")
        && site != b"same-origin"
        && site != b"none"
    {
        return true;
    }
    let Some(origin) = r.header(b"origin") else { return false };
    let host = r.header(b"host").unwrap_or_default();
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_none_or(|authority| host.is_empty() || !authority.eq_ignore_ascii_case(host))
}

fn finish(r: Request) -> Result<ngx_int_t, NoMemory> {
    let Some(body) = r.body()? else {
        return reply::problem(r, NGX_HTTP_BAD_REQUEST, INVALID, "the body could not be read");
    };
    let purge = match Purge::parse(&body) {
        Err(PurgeError::NoMemory(no_memory)) => return Err(no_memory),
        Err(error) => {
            return reply::problem(r, NGX_HTTP_BAD_REQUEST, INVALID, &error.to_string());
        }
        Ok(purge) => purge,
    };
    if !run(r, &purge) {
        // The caller must not believe it is done.
        r.add_header_out(b"Retry-After", str_of(b"1"))?;
        let words = "a zone could not be locked, and may serve on what was to go: ask again";
        return reply::problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, "server_error", words);
    }
    reply::send(r, NO_CONTENT, b"", &[], b"")
}

/// Forgets. Whether every zone could be reached.
///
/// The generation rises before a zone is walked, so that no call under way stores its answer
/// after, and once more when it was, so that no worker keeps near what it copied in between.
fn run(r: Request, purge: &Purge) -> bool {
    let main = MainConf::of(r);
    let Some(state) = main.cache.state.as_ref().and_then(|zone| zone.view()) else {
        return false;
    };
    let Some((keys, purges)) =
        desk::with(|desk| (desk.worker.known_keys.clone(), desk.worker.purges))
    else {
        return false;
    };
    let mut done = true;
    match purge {
        Purge::All => {
            if let Some(purges) = purges {
                purges.purge_all();
            }
            state.purge_all();
            for zone in &main.cache.zones {
                done &= zone.locked(|locked| locked.clear()).is_some();
            }
            state.purge_all();
            if done {
                notice!(r, "all cached tokens are purged");
            }
        }
        Purge::Token(token) => {
            for hash in keys.iter().map(|key| key.token(token)) {
                if let Some(purges) = purges {
                    purges.purge_token(&hash);
                }
                state.purge_token(&hash);
                for zone in &main.cache.zones {
                    done &= zone.locked(|locked| locked.purge(&hash)).is_some();
                }
                state.purge_token(&hash);
            }
            if done {
                notice!(r, "the cached token {} is purged", keys[0].token(token));
            }
        }
        Purge::Subject(..) => done = false,
    }
    state.announce_answer();
    done
}
