//! `phantom_token_purge`: forgetting one token, those that name somebody, or all.

use phantom_token_engine::http::form::purge::{Purge, PurgeError};

use crate::conf::LocConf;
use crate::conf::operate::Purger;
use crate::nginx::handlers::{Ending, Handler};
use crate::nginx::reply;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

mod errand;
mod fleet;
mod local;

pub(crate) use fleet::tell_of_token;
use fleet::{Refused, Told};

const NO_CONTENT: u32 = NGX_HTTP_NO_CONTENT;

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

impl Ending for BodyIsThere {
    const WHAT: &'static str = "the end of a purge's body";

    fn end(r: Request) -> Result<Option<ngx_int_t>, NoMemory> {
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

/// `None`: the request waits for the fleet.
fn finish(r: Request) -> Result<Option<ngx_int_t>, NoMemory> {
    match fleet::told(&r) {
        Told::No => {}
        Told::NotYet => return Ok(None),
        Told::Yes { here, fleet } => return answer(r, here, fleet).map(Some),
    }
    let Some(body) = r.body()? else {
        return invalid(r, "the body could not be read").map(Some);
    };
    let purge = match Purge::parse(&body) {
        Err(PurgeError::NoMemory(no_memory)) => return Err(no_memory),
        Err(error) => return invalid(r, &error.to_string()).map(Some),
        Ok(purge) => purge,
    };
    let here = local::forget(r, &purge);
    match fleet::tell(r, purge, here)? {
        Told::No => answer(r, here, Ok(())).map(Some),
        Told::NotYet => Ok(None),
        Told::Yes { here, fleet } => answer(r, here, fleet).map(Some),
    }
}

fn invalid(r: Request, words: &str) -> Result<ngx_int_t, NoMemory> {
    reply::problem(r, NGX_HTTP_BAD_REQUEST, "invalid_request", words)
}

/// Where something was not done, the caller must not believe that it was.
fn answer(r: Request, here: bool, fleet: Result<(), Refused>) -> Result<ngx_int_t, NoMemory> {
    let words = match (here, fleet) {
        (true, Ok(())) => return reply::send(r, NO_CONTENT, b"", &[], b""),
        (false, _) => {
            "a zone could not be locked, and may serve on what was to go: ask again".to_owned()
        }
        (true, Err(refused)) => {
            format!("purged at this gateway alone, and not in the fleet: {refused}; ask again")
        }
    };
    r.add_header_out(b"Retry-After", str_of(b"1"))?;
    reply::problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, "server_error", &words)
}
