//! What a run counts, what it excuses, and what it takes for wrong.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::api::{Received, digest};
use crate::authorization_server::Token;
use crate::client::Response;

/// How every opaque token begins, so that one is found wherever it should not be.
pub(super) const OPAQUE: &str = "opaque-";

/// How long after a gateway says that its endpoint is up a request may still fail for what was before:
/// it shares a call whose thread a busy machine has kept waiting, or such a call's failure makes the
/// endpoint rest once more, for a second.
const SHARED: Duration = Duration::from_secs(3);

/// How long who was sent away waits: refusals are quick, and would be most of all answers.
const PAUSE: Duration = Duration::from_millis(20);

/// How long after a kill a request may turn out lost: what its client takes to see it.
const KILLED: Duration = Duration::from_millis(500);

/// How many wrong answers are described; the rest is counted.
const DESCRIBED: usize = 20;

/// What a request must come to.
#[derive(Clone, Copy)]
pub(super) enum Expected<'a> {
    /// The API got this token's JWT and showed it.
    Pass(&'a Token),
    /// The gateway refuses with this status, without asking anybody.
    Refused(u16),
    /// The authorization server says that the token is not active.
    Inactive,
    /// Either of the two: it runs out at about this moment.
    PassOrInactive(&'a Token),
    /// The authorization server's answer cannot be understood.
    Failure,
}

/// How requests ended.
#[derive(Default)]
pub(super) struct Counts {
    /// Answered with 2xx.
    pub(super) passed: AtomicU64,
    /// Answered with 4xx.
    pub(super) refused: AtomicU64,
    /// Answered with 5xx, as they must be.
    pub(super) failed: AtomicU64,
    /// Answered with 5xx since the authorization server was down, or said to rest.
    pub(super) excused: AtomicU64,
    /// Not answered since their worker was killed.
    pub(super) lost: AtomicU64,
    /// Sent again since a kept connection was closed under them.
    pub(super) repeated: AtomicU64,
    /// Left by their client before the answer.
    pub(super) left: AtomicU64,
    /// Of all, those over HTTP/2.
    pub(super) http2: AtomicU64,
    /// Requests the API got.
    pub(super) at_api: AtomicU64,
    /// Tokens revoked, purged, and asked for once more.
    pub(super) purged: AtomicU64,
    pub(super) reloads: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) restarts: AtomicU64,
}

impl Counts {
    /// Requests answered.
    pub(super) fn answered(&self) -> u64 {
        let parts = [&self.passed, &self.refused, &self.failed, &self.excused];
        parts.iter().map(|part| part.load(Ordering::Relaxed)).sum()
    }
}

/// The authorization server's last restart, as the gateways (the stormy one first) saw it.
#[derive(Clone, Copy)]
struct Outage {
    begun: Instant,
    back: Option<Instant>,
    /// When each has said that its endpoint is up again.
    recovered: [Option<Instant>; 2],
    /// Whether each has let in a request that came after that.
    passes: [bool; 2],
}

impl Outage {
    fn new() -> Self {
        Self { begun: Instant::now(), back: None, recovered: [None; 2], passes: [false; 2] }
    }
}

/// The run as all its threads see it.
pub(super) struct Field {
    pub(super) counts: Counts,
    pub(super) begun: Instant,
    over: AtomicBool,
    outage: Mutex<Option<Outage>>,
    /// How long outages have taken so far, of both gateways together.
    away: Mutex<Duration>,
    killed: Mutex<Option<Instant>>,
    wrong: Mutex<(u64, Vec<String>)>,
}

impl Field {
    pub(super) fn new() -> Self {
        Self {
            counts: Counts::default(),
            begun: Instant::now(),
            over: AtomicBool::new(false),
            outage: Mutex::default(),
            away: Mutex::default(),
            killed: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Notes something that must not be, without any token or JWT.
    pub(super) fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock();
        wrong.0 += 1;
        if wrong.1.len() < DESCRIBED {
            eprintln!("wrong: {what}");
            wrong.1.push(format!("{:.1} s: {what}", self.begun.elapsed().as_secs_f64()));
        }
    }

    /// How much was wrong, and the first of it described.
    pub(super) fn all_wrong(&self) -> (u64, Vec<String>) {
        self.wrong.lock().clone()
    }

    /// The authorization server is about to go away.
    pub(super) fn goes_down(&self) {
        *self.outage.lock() = Some(Outage::new());
    }

    /// It is back.
    pub(super) fn is_up(&self) {
        if let Some(outage) = &mut *self.outage.lock() {
            outage.back = Some(Instant::now());
        }
    }

    /// Whether it is back, and this gateway has not said since that its endpoint is up.
    pub(super) fn is_to_recover(&self, at: usize) -> bool {
        let outage = *self.outage.lock();
        outage.is_some_and(|outage| outage.back.is_some() && outage.recovered[at].is_none())
    }

    /// This gateway says so.
    pub(super) fn recovers(&self, at: usize) {
        if let Some(outage) = &mut *self.outage.lock() {
            outage.recovered[at] = Some(Instant::now());
            *self.away.lock() += outage.begun.elapsed();
        }
    }

    /// How long the server has been back while a gateway still lets nobody in.
    pub(super) fn is_ill_for(&self) -> Option<Duration> {
        let outage = (*self.outage.lock())?;
        (outage.passes != [true; 2]).then(|| outage.back.map_or(Duration::ZERO, |at| at.elapsed()))
    }

    /// How long outages have taken so far, as the mean of both gateways.
    pub(super) fn away(&self) -> Duration {
        *self.away.lock() / 2
    }

    /// A worker is about to be killed.
    pub(super) fn kills(&self) {
        *self.killed.lock() = Some(Instant::now());
    }

    /// Whether the authorization server was down at some moment since `start`, or, as this gateway
    /// said itself, rested.
    fn was_down_since(&self, start: Instant, at: usize) -> bool {
        let outage = *self.outage.lock();
        outage.is_some_and(|outage| outage.recovered[at].is_none_or(|at| start <= at + SHARED))
    }

    /// A request that began at `start` was let in.
    fn passes(&self, start: Instant, at: usize) {
        if let Some(outage) = &mut *self.outage.lock()
            && outage.recovered[at].is_some_and(|at| start > at)
        {
            outage.passes[at] = true;
        }
    }

    fn was_killed_since(&self, start: Instant) -> bool {
        self.killed.lock().is_some_and(|killed| killed + KILLED >= start)
    }

    /// Judges this gateway's response to a request that began at `start`.
    pub(super) fn judge(
        &self,
        what: &str,
        at: usize,
        start: Instant,
        response: &Response,
        expected: Expected<'_>,
    ) {
        let status = response.status;
        let counted = match (status, expected) {
            (200, Expected::Pass(token) | Expected::PassOrInactive(token))
                if shows(response, token) =>
            {
                self.passes(start, at);
                &self.counts.passed
            }
            (401, Expected::Inactive | Expected::PassOrInactive(_)) => &self.counts.refused,
            (status, Expected::Refused(refused)) if status == refused => &self.counts.refused,
            (500 | 503, Expected::Failure) => &self.counts.failed,
            (500 | 503, expected)
                if !matches!(expected, Expected::Refused(_)) && self.was_down_since(start, at) =>
            {
                &self.counts.excused
            }
            (200, _) => return self.wrong(format!("{what} was let in, or with another JWT")),
            (status, _) => return self.wrong(format!("{what} got {status}")),
        };
        counted.fetch_add(1, Ordering::Relaxed);
        if std::ptr::eq(counted, &self.counts.excused) {
            thread::sleep(PAUSE);
        }
    }

    /// A request that began at `start` was not answered, for this reason. What a killed worker had
    /// open closes: it is never silent.
    pub(super) fn lost(&self, what: &str, start: Instant, stormy: bool, why: ErrorKind) {
        if why == ErrorKind::WouldBlock {
            let after = start.elapsed().as_secs();
            self.wrong(format!("{what} was never answered, in {after} s of silence"));
        } else if stormy && self.was_killed_since(start) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            let after = start.elapsed().as_millis();
            self.wrong(format!("{what} was not answered, after {after} ms, and no worker died"));
        }
    }

    /// Looks at a request that reached the API: it was sent to a path that names its token's JWT.
    pub(super) fn at_api(&self, received: &Received) {
        self.counts.at_api.fetch_add(1, Ordering::Relaxed);
        if String::from_utf8_lossy(&received.head.raw).contains(OPAQUE) {
            self.wrong("an opaque token reached the API".to_owned());
        }
        let path = received.head.path();
        let [value] = received.authorization()[..] else {
            return self.wrong("a request reached the API without one Authorization".to_owned());
        };
        let named = value.strip_prefix("Bearer ").map(name_of);
        if named.is_none_or(|name| !path.ends_with(&name)) {
            self.wrong("a request reached the API without its own JWT".to_owned());
        }
        if let Some((_, body)) = received.head.target.split_once("?body=")
            && body != hex(&received.body_digest)
        {
            self.wrong("a request's body reached the API changed".to_owned());
        }
    }
}

/// Whether the API got the token's own JWT.
pub(super) fn shows(response: &Response, token: &Token) -> bool {
    let shown = response.body.strip_prefix(b"{\"message\":\"API Received JWT: ");
    shown
        .and_then(|shown| shown.strip_prefix(token.jwt.as_bytes()))
        .is_some_and(|rest| rest.starts_with(b"\""))
}

/// What a path calls a JWT.
pub(super) fn name_of(jwt: &str) -> String {
    hex(&digest(jwt.as_bytes())[..16])
}

/// What a query calls a body.
pub(super) fn body_name(body: &[u8]) -> String {
    hex(&digest(body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
