//! Where answers come from: sources, asked in order by a pool thread until one of them answers.
//!
//! Whoever judges an answer learns from which one it is ([`Origin`]): only what the authorization
//! server does says anything of its health. What makes a phantom token of its answers stands behind it
//! ([`Minter`]).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::answer::{self, Answer, Terms};
use crate::attempt::{Done, End};
use crate::client::{self, Call, CallError};
use crate::guard::PanicSite;
use crate::http::cache_control::Caching;
use crate::lifetime::Aged;
use crate::wipe::wipe_vec;

mod minter;
mod time;

pub use minter::Minter;
pub use time::Time;

/// From which source an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The store of the fleet: another gateway asked the server, so long ago. It says nothing of the
    /// server's health, nor of the client's credentials.
    Store(Aged),
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

/// One attempt to learn about a token: the sources, in the order in which they are asked.
pub struct Lookup {
    /// The call, where there is one.
    server: Option<Call>,
    terms: Terms,
    /// Makes the phantom token of the server's answer; `None` where the server does.
    minter: Option<Arc<Minter>>,
    time: Time,
    /// When the server was asked, and until when.
    called: Option<(Instant, Duration)>,
}

impl Lookup {
    /// Asks the authorization server. Where there is a `minter`, an active answer has the JWT that it
    /// makes.
    pub fn new(server: Call, terms: Terms, minter: Option<Arc<Minter>>, time: Time) -> Lookup {
        Lookup { server: Some(server), terms, minter, time, called: None }
    }

    /// Asks, after so long in the pool's queue, until a source has an answer, or fails and the token
    /// cannot be judged without it.
    pub fn ask(&mut self, queued: Duration) -> Done {
        let end = self.introspect(queued);
        self.ended(end, queued)
    }

    /// Nobody waited any more when its turn came: nothing was asked.
    pub fn dropped(&self, queued: Duration) -> Done {
        self.ended(End::Unsent, queued)
    }

    /// Asking has panicked there.
    pub fn panicked(&self, site: PanicSite, queued: Duration) -> Done {
        self.ended(End::Panicked(site), queued)
    }

    /// Asks the authorization server, which always has an answer or fails.
    fn introspect(&mut self, queued: Duration) -> End {
        let Some(call) = &mut self.server else { return End::Unsent };
        let began = Instant::now();
        let left = self.time.end.saturating_duration_since(began);
        let share = self.time.share(left);
        if left.is_zero() {
            return End::Unsent;
        }
        if self.time.is_hopeless(queued, share) {
            return End::Skipped;
        }
        self.called = Some((began, share));
        call.deadline = began + share;
        match introspect(call, self.terms) {
            Ok(found) => End::Answered(match &self.minter {
                Some(minter) => Found { answer: minter.apply(found.answer, now()), ..found },
                None => found,
            }),
            Err(error) => End::Failed(error),
        }
    }

    fn ended(&self, end: End, queued: Duration) -> Done {
        let (began, share) = self.called.unwrap_or_else(|| (Instant::now(), Duration::ZERO));
        let took = if self.called.is_some() { began.elapsed() } else { Duration::ZERO };
        Done { end, queued, took, began, had_time: share >= self.time.blame_after }
    }
}

/// The time as it is, in seconds since the Unix epoch: an event loop's may be old in a pool thread.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn introspect(call: &Call, terms: Terms) -> Result<Found, CallError> {
    let mut response = client::introspect(call)?;
    let answer = answer::read(&response, terms, now());
    wipe_vec(&mut response.body);
    let (origin, status) = (Origin::AuthorizationServer, response.status);
    Ok(Found { origin, status, answer, caching: response.caching })
}
