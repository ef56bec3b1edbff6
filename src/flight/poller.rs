//! Following other workers' calls: one timer for all of them.
//!
//! The timer looks at one word of the state zone, which rises when a call that others wait for was
//! answered; only then, and every tenth of a second for callers that died, does it take the lock.
//! It also makes the changes that are owed to a zone whose lock could not be had in time.

use phantom_token_engine::shared::process::{self, Running};

use crate::flight::Flight;
use crate::nginx::pinned::Pinned;
use crate::nginx::timer::Timer;
use crate::worker::Worker;

/// Between two looks at the word, in milliseconds.
const TICK_MS: u64 = 5;
/// Ticks between two looks at the callers, whatever the word says.
const FULL_LOOK: u32 = 20;

/// Looks at the callers between two at which the lock of a zone is waited for to which something is
/// owed: its owner may be dead, or stand still and keep this worker from its requests.
const PATIENT_LOOK: u32 = 20;

/// The timer, while there are flights that follow, or changes are owed.
pub(crate) struct Poller {
    timer: Pinned<Timer>,
    seen: u64,
    ticks: u32,
    looks: u32,
}

impl Poller {
    pub(crate) fn new() -> Self {
        Self { timer: Timer::new("following a call", tick), seen: 0, ticks: 0, looks: 0 }
    }

    /// Makes sure that the timer runs.
    pub(crate) fn run(&mut self) {
        self.timer.set(TICK_MS);
    }

    /// What it is time for.
    fn due(&mut self, answered: u64) -> Due {
        self.ticks += 1;
        let new = answered != self.seen;
        self.seen = answered;
        if self.ticks >= FULL_LOOK {
            self.ticks = 0;
            self.looks = (self.looks + 1) % PATIENT_LOOK;
            return Due::Callers;
        }
        if new { Due::Answers } else { Due::Nothing }
    }
}

enum Due {
    Nothing,
    Answers,
    /// Answers, and whether those who call still run.
    Callers,
}

fn tick(worker: &mut Worker) {
    let due = worker.poller.due(worker.state.answered());
    if worker.owes() {
        worker.pay(matches!(due, Due::Callers) && worker.poller.looks == 0);
    }
    match due {
        Due::Nothing => {}
        Due::Answers => poll_all(worker, process::exists),
        Due::Callers => {
            let running = Running::default();
            poll_all(worker, |pid| running.has(pid));
        }
    }
    if !worker.followers.is_empty() || worker.owes() {
        worker.poller.run();
    }
}

fn poll_all(worker: &mut Worker, alive: impl Fn(u32) -> bool) {
    let mut at = 0;
    let (mut out_of_reach, mut misses) = (None, 0);
    while let Some(flight) = worker.followers.get(at).copied() {
        let mut look = |flight: &mut Flight| {
            let zone = flight.policy.zone.clone();
            // Each of those in the same zone would wait for its lock as long.
            if (out_of_reach.is_none() || out_of_reach != zone) && !flight.poll(worker, &alive) {
                out_of_reach = zone;
                misses += 1;
            }
        };
        // SAFETY: the list holds live flights only, and polling one frees no other.
        unsafe { Flight::with(flight, &mut look) };
        if misses > 1 {
            return; // of several zones: requests wait meanwhile
        }
        // One that was answered has left the list, and the next has taken its place.
        if worker.followers.get(at) == Some(&flight) {
            at += 1;
        }
    }
}
