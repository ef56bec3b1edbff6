//! What a worker knows of variables that are asked for too early.

/// Variables that a worker names at most: whoever looks one up by its name (`njs`, SSI) may let clients
/// choose it.
const MAX_NAMED: usize = 16;

/// What a worker knows of such questions.
#[derive(Default)]
pub(crate) struct Questions {
    /// Variables that the log has named.
    said: Vec<Box<[u8]>>,
    /// When one could not be remembered, in seconds since the Unix epoch; 0: never.
    lost: u64,
}

impl Questions {
    /// Whether the log is to name a variable, which it does once.
    pub(super) fn is_new(&mut self, name: &[u8]) -> bool {
        let is_new = self.said.len() < MAX_NAMED && self.said.iter().all(|known| **known != *name);
        if is_new {
            self.said.push(name.into());
        }
        is_new
    }

    /// One could not be remembered. `now` is in seconds since the Unix epoch.
    pub(super) fn lose(&mut self, now: u64) {
        self.lost = now;
    }

    /// Whether one of a request that began at `start`, or before, may have been lost.
    pub(super) fn were_lost_since(&self, start: u64) -> bool {
        self.lost >= start
    }
}
