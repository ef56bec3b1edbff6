//! Closes connections that lie idle: those that are too old, unused for too long, or closed by the
//! server. Calls pass over them; but where no call comes, nobody else would.

use std::sync::Arc;
use std::time::Instant;

use phantom_token_engine::client::Connections;

use crate::flight::desk;
use crate::nginx::timer::Timer;

/// How often they are looked at while there are any, in milliseconds.
const EVERY_MS: u64 = 5_000;

/// The timer, and what it looks at.
pub(crate) struct Idle {
    timer: Timer,
    /// Those that may hold a connection.
    watched: Vec<Arc<Connections>>,
}

impl Idle {
    pub(crate) fn new() -> Self {
        let timer = Timer::new("closing connections", || {
            desk::with(|desk| desk.idle.close_ended());
        });
        Self { timer, watched: Vec::new() }
    }

    /// A call has ended, and may have left one of these.
    pub(crate) fn watch(&mut self, connections: &Arc<Connections>) {
        if !self.watched.iter().any(|watched| Arc::ptr_eq(watched, connections)) {
            self.watched.push(connections.clone());
        }
        self.timer.set_cancelable(EVERY_MS);
    }

    /// Closes all: the worker ends. Over TLS that is said, which a connection that is shut down
    /// cannot do any more.
    pub(crate) fn close_all(&mut self) {
        for connections in self.watched.drain(..) {
            connections.close_all();
        }
    }

    fn close_ended(&mut self) {
        let now = Instant::now();
        self.watched.retain(|connections| connections.close_ended(now) > 0);
        if !self.watched.is_empty() {
            self.timer.set_cancelable(EVERY_MS);
        }
    }
}
