//! Where answers come from: sources, asked in order by a pool thread until one of them answers.
//!
//! Whoever judges an answer learns from which one it is ([`Origin`]): only what the authorization
//! server does says anything of its health. What makes a phantom token of its answers stands behind it
//! ([`Minter`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answer::{self, Answer, NoVerdict, Terms};
use crate::client::{self, Call, CallError};
use crate::guard::PanicSite;
use crate::http::cache_control::Caching;
use crate::lifetime::Aged;
use crate::shared::purges::{Moment, wall_ms};
use crate::wipe::wipe_vec;

mod fleet;
mod minter;
mod time;

pub use fleet::{Fleet, FleetDone, Said};
pub use minter::Minter;
pub use time::Time;

/// From which source an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The store of the fleet: another gateway has asked the server. It says nothing of the server's
    /// health, nor of the client's credentials.
    Store {
        /// How old an active answer is.
        aged: Aged,
        /// As of when no purge voids it.
        asked: Moment,
    },
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

/// What a pool thread brings back.
#[derive(Debug)]
pub struct Done {
    /// How the attempt ended.
    pub end: End,
    /// How long it waited in the pool's queue.
    pub queued: Duration,
    /// How long the call to the server took; zero where none was made.
    pub took: Duration,
    /// When that began.
    pub began: Instant,
    /// Whether the queue had left it time enough for an answer.
    pub had_time: bool,
    /// What it had to do with the store of the fleet, where there is one.
    pub fleet: Option<Box<Fleet>>,
}

/// How an attempt ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one is made for each call, and taken apart at once")]
pub enum End {
    /// A source answered.
    Answered(Found),
    /// There is no answer.
    Failed(CallError),
    /// The store of the fleet knows nothing, and nobody else was to be asked.
    NotStored,
    /// It was taken from the queue too late, or nobody waited any more: nothing was sent.
    Unsent,
    /// The queue had left too little time for an answer: nothing was sent.
    Skipped,
    /// A fault of the module itself.
    Panicked(PanicSite),
}

impl End {
    /// Tells whether the server refused the client's credentials, or so it looks.
    pub fn refuses_credentials(&self) -> bool {
        matches!(
            self,
            End::Answered(Found { answer: Answer::Failed(NoVerdict::Credentials(_)), .. })
        )
    }
}

/// One attempt to learn about a token: the sources, in the order in which they are asked.
pub struct Lookup {
    /// `None` where there is none. Boxed: most gateways have none, and an attempt is moved a few times.
    fleet: Option<Box<Fleet>>,
    /// The call; `None` where it may not be made.
    server: Option<Call>,
    terms: Terms,
    /// Makes the phantom token of the server's answer; `None` where the server does.
    minter: Option<Arc<Minter>>,
    time: Time,
    called: Option<Called>,
}

/// A call that was begun.
#[derive(Clone, Copy)]
struct Called {
    at: Instant,
    /// In milliseconds since the Unix epoch.
    wall_ms: u64,
    /// How long it was given.
    share: Duration,
}

impl Lookup {
    /// Asks the store of the fleet, where there is one, and then the authorization server, where that
    /// may be asked now. Where there is a `minter`, an active answer of the server's has the JWT that it
    /// makes.
    pub fn new(
        fleet: Option<Fleet>,
        server: Option<Call>,
        terms: Terms,
        minter: Option<Arc<Minter>>,
        time: Time,
    ) -> Lookup {
        Lookup { fleet: fleet.map(Box::new), server, terms, minter, time, called: None }
    }

    /// Asks, after so long in the pool's queue, until a source has an answer, or fails and the token
    /// cannot be judged without it.
    pub fn ask(&mut self, queued: Duration) -> Done {
        let found = self.fleet.as_mut().and_then(|fleet| fleet.look(self.time.end));
        let end = match found {
            Some(found) => End::Answered(found),
            None => self.introspect(queued),
        };
        self.ended(end, queued)
    }

    /// Nobody waited any more when its turn came: nothing was asked.
    pub fn dropped(&mut self, queued: Duration) -> Done {
        self.ended(End::Unsent, queued)
    }

    /// Asking has panicked there.
    pub fn panicked(&mut self, site: PanicSite, queued: Duration) -> Done {
        self.ended(End::Panicked(site), queued)
    }

    /// Asks the authorization server, which always has an answer or fails.
    fn introspect(&mut self, queued: Duration) -> End {
        let at = Instant::now();
        let left = self.time.end.saturating_duration_since(at);
        let share = self.time.share(left);
        if left.is_zero() {
            return End::Unsent;
        }
        let Some(call) = &mut self.server else { return End::NotStored };
        if self.time.is_hopeless(queued, share) {
            return End::Skipped;
        }
        self.called = Some(Called { at, wall_ms: wall_ms(), share });
        call.deadline = at + share;
        match introspect(call, self.terms) {
            Ok(found) => End::Answered(match &self.minter {
                Some(minter) => Found { answer: minter.apply(found.answer, now()), ..found },
                None => found,
            }),
            Err(error) => End::Failed(error),
        }
    }

    fn ended(&mut self, mut end: End, queued: Duration) -> Done {
        let called = self.called;
        let took = called.map_or(Duration::ZERO, |called| called.at.elapsed());
        let mut fleet = self.fleet.take();
        if let Some(fleet) = &mut fleet {
            let asked_ms = called.map_or(0, |called| called.wall_ms);
            fleet.tell(&mut end, asked_ms, self.time.others);
        }
        let began = called.map_or_else(Instant::now, |called| called.at);
        let had_time = called.is_some_and(|called| called.share >= self.time.blame_after);
        Done { end, queued, took, began, had_time, fleet }
    }
}

/// The time as it is, in seconds since the Unix epoch: an event loop's may be old in a pool thread.
fn now() -> u64 {
    wall_ms() / 1000
}

fn introspect(call: &Call, terms: Terms) -> Result<Found, CallError> {
    let mut response = client::introspect(call)?;
    let answer = answer::read(&response, terms, now());
    wipe_vec(&mut response.body);
    let (origin, status) = (Origin::AuthorizationServer, response.status);
    Ok(Found { origin, status, answer, caching: response.caching })
}
