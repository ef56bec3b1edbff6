//! How long an attempt may take.

use std::time::Duration;
use std::time::Instant;

/// How long an attempt may take: what the pool's queue has left of the flight's time is shared with
/// the endpoints still to come.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// When the flight's time is over.
    pub end: Instant,
    /// Endpoints still to come.
    pub others: u32,
    /// What making a connection may take.
    pub connect: Duration,
    /// With less than this an endpoint is not to blame for having not answered.
    pub blame_after: Duration,
    /// How long the endpoint usually takes to answer.
    pub typical_latency: Duration,
}

impl Time {
    /// How much of what is left is this attempt's: never less than it may take to connect, unless
    /// that would leave the others nothing.
    pub(super) fn share(&self, left: Duration) -> Duration {
        let least = if self.connect < left { self.connect } else { Duration::ZERO };
        (left / (self.others + 1)).max(least)
    }

    /// Whether the queue has left too little for an answer. In a flood such calls would keep all
    /// threads busy, one after the other, and nobody would be answered. Twice the usual, since a
    /// younger call always follows; but what has hardly waited is made, however long it may take.
    pub(super) fn is_hopeless(&self, queued: Duration, share: Duration) -> bool {
        queued * 3 > share && share < self.typical_latency * 2
    }
}
