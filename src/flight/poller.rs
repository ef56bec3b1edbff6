//! Following other workers' calls: one timer for all of them.
//!
//! The timer looks at one word of the state zone, which rises when a call that others wait for was
//! answered; only then, and every tenth of a second for callers that died, does it take the lock.

use phantom_token_engine::shared::process::{self, Running};

use crate::flight::desk::{self, Desk};
use crate::nginx::timer::Timer;

/// Between two looks at the word, in milliseconds.
const TICK_MS: u64 = 5;
/// Ticks between two looks at the callers, whatever the word says.
const FULL_LOOK: u32 = 20;

/// The timer, while there are flights that follow.
pub(crate) struct Poller {
    timer: Timer,
    seen: u64,
    ticks: u32,
}

impl Poller {
    pub(crate) fn new() -> Self {
        Self {
            timer: Timer::new("following a call", || {
                desk::with(tick);
            }),
            seen: 0,
            ticks: 0,
        }
    }

    /// Makes sure that the timer runs.
    pub(crate) fn run(&self) {
        self.timer.set(TICK_MS);
    }

    /// What it is time for.
    fn due(&mut self, answered: u64) -> Due {
        self.ticks += 1;
        let new = answered != self.seen;
        self.seen = answered;
        if self.ticks >= FULL_LOOK {
            self.ticks = 0;
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

fn tick(desk: &mut Desk) {
    let due = desk.poller.due(desk.worker.state.answered());
    match due {
        Due::Nothing => {}
        Due::Answers => poll_all(desk, process::exists),
        Due::Callers => {
            let running = Running::default();
            poll_all(desk, |pid| running.has(pid));
        }
    }
    if !desk.followers.is_empty() {
        desk.poller.run();
    }
}

fn poll_all(desk: &mut Desk, alive: impl Fn(u32) -> bool) {
    let mut at = 0;
    let (mut out_of_reach, mut misses) = (None, 0);
    while let Some(id) = desk.followers.get(at).copied() {
        let Some(flight) = desk.flights.take(id) else {
            desk.followers.remove(at); // lost to a panic
            continue;
        };
        let zone = flight.policy.zone.clone();
        // Each of those in the same zone would wait for its lock as long.
        let flight = match out_of_reach.is_some() && out_of_reach == zone {
            true => Some(flight),
            false => {
                let (flight, reached) = flight.poll(desk, &alive);
                if !reached {
                    out_of_reach = zone;
                    misses += 1;
                }
                flight
            }
        };
        desk.flights.put_back(id, flight);
        if misses > 1 {
            return; // of several zones: requests wait meanwhile
        }
        // One that was answered has left the list, and the next has taken its place.
        if desk.followers.get(at) == Some(&id) {
            at += 1;
        }
    }
}
