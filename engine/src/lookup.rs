//! Where answers come from: sources, asked in order by a pool thread until one of them answers.
//!
//! A source is a variant of [`Source`] and its file. Whoever judges an answer learns from which one
//! it is ([`Origin`]): only what the authorization server does says anything of its health. What makes a
//! phantom token of an answer stands behind all of them ([`Minter`]).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::answer::{self, Answer, Terms};
use crate::client::{self, Call, CallError};
use crate::http::cache_control::Caching;
use crate::wipe::wipe_vec;

mod minter;

pub use minter::Minter;

/// A source, with the question as it is put to it.
pub enum Source {
    /// The authorization server, by introspection (RFC 7662).
    AuthorizationServer(Call),
}

/// From which source an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The authorization server: its health, its latency and the client's credentials are judged by
    /// it.
    AuthorizationServer,
}

/// What a source answered.
#[derive(Debug)]
pub struct Found {
    /// Which source it was.
    pub origin: Origin,
    /// The status of its HTTP answer; 0 where there is none.
    pub status: u16,
    /// What it says of the token.
    pub answer: Answer,
    /// How long it allows that to be kept.
    pub caching: Caching,
}

/// Asks the sources in order, each until `deadline`; `None` where none of them has an answer. Where
/// there is a `minter`, an active answer has the JWT that it makes.
///
/// # Errors
/// Where a source fails that the token cannot be judged without.
pub fn ask(
    sources: &mut [Source],
    terms: Terms,
    minter: Option<&Minter>,
    deadline: Instant,
) -> Result<Option<Found>, CallError> {
    for source in sources {
        let found = match source {
            Source::AuthorizationServer(call) => Some(introspect(call, terms, deadline)?),
        };
        if let Some(found) = found {
            let Some(minter) = minter else { return Ok(Some(found)) };
            return Ok(Some(Found { answer: minter.apply(found.answer, now()), ..found }));
        }
    }
    Ok(None)
}

/// The time as it is, in seconds since the Unix epoch: an event loop's may be old in a pool thread.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Asks the authorization server, which always has an answer or fails.
fn introspect(call: &mut Call, terms: Terms, deadline: Instant) -> Result<Found, CallError> {
    call.deadline = deadline;
    let mut response = client::introspect(call)?;
    let answer = answer::read(&response, terms, now());
    wipe_vec(&mut response.body);
    let (origin, status) = (Origin::AuthorizationServer, response.status);
    Ok(Found { origin, status, answer, caching: response.caching })
}
