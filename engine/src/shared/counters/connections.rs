//! The connections that workers have open, counted while they last.

use std::sync::atomic::{AtomicI16, Ordering};

use super::ConnectionState;

/// How many connections one worker has to one endpoint.
///
/// It is at zero where all of them are closed: so it is in an unused slot, too. Threads of the
/// worker write to it, and readers in any process see each number by itself. A worker has far fewer
/// threads, and so connections, than the numbers can hold.
#[repr(C)]
#[derive(Debug)]
pub struct ConnectionCount([AtomicI16; ConnectionState::ALL.len()]);

impl ConnectionCount {
    /// Makes a count of no connection, in memory of its own.
    pub const fn none() -> ConnectionCount {
        ConnectionCount([const { AtomicI16::new(0) }; ConnectionState::ALL.len()])
    }

    fn add(&self, state: ConnectionState, more: i16) {
        self.0[state as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// Returns how many connections are in this state now.
    pub fn get(&self, state: ConnectionState) -> u64 {
        // Below zero only what ended after its worker had given its slot back.
        u64::try_from(self.0[state as usize].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Sets all to zero: whoever counted is gone.
    pub(crate) fn forget(&self) {
        self.0.iter().for_each(|gauge| gauge.store(0, Ordering::Relaxed));
    }
}

/// One connection, counted for as long as this lives; where it is to be counted at all.
#[derive(Debug)]
pub(crate) struct Counted {
    at: Option<&'static ConnectionCount>,
    state: ConnectionState,
}

impl Counted {
    /// A connection that has just been made, for a call.
    pub(crate) fn busy(at: Option<&'static ConnectionCount>) -> Counted {
        let counted = Counted { at, state: ConnectionState::Busy };
        counted.add(1);
        counted
    }

    /// It is used anew, maybe for another endpoint of the same server.
    pub(crate) fn used(&mut self, at: Option<&'static ConnectionCount>) {
        *self = Counted::busy(at);
    }

    /// It is kept for another call.
    pub(crate) fn idles(&mut self) {
        self.add(-1);
        self.state = ConnectionState::Idle;
        self.add(1);
    }

    fn add(&self, more: i16) {
        if let Some(at) = self.at {
            at.add(self.state, more);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_counted_once_wherever_it_is() {
        static COUNTS: [ConnectionCount; 2] = [const { ConnectionCount::none() }; 2];
        let [one, other] = &COUNTS;
        let seen = || {
            [one, other].map(|at| [at.get(ConnectionState::Idle), at.get(ConnectionState::Busy)])
        };
        let mut counted = Counted::busy(Some(one));
        assert_eq!(seen(), [[0, 1], [0, 0]]);
        counted.idles();
        assert_eq!(seen(), [[1, 0], [0, 0]]);
        counted.used(Some(other));
        assert_eq!(seen(), [[0, 0], [0, 1]]);
        let mut uncounted = Counted::busy(None);
        uncounted.idles();
        assert_eq!(seen(), [[0, 0], [0, 1]]);
        uncounted.used(Some(one));
        assert_eq!(seen(), [[0, 1], [0, 1]]);
        drop((counted, uncounted));
        assert_eq!(seen(), [[0, 0], [0, 0]]);
    }
}
