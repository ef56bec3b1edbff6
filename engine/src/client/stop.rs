//! The end of all calls of a process that is about to end.
//!
//! A call may have minutes left, and a process cannot end well while its threads are in calls. So each
//! socket is known here from before it connects until it is closed: shut down, it wakes the thread
//! that waits for it, whatever for. A call that uses a kept connection takes no lock for this.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use socket2::Socket;

use super::resolve;

/// Between two rounds of shutting sockets down: one that was shut down before it began to connect may
/// connect all the same.
const ROUND: Duration = Duration::from_millis(20);

/// The calls of this process.
static ALL: Calls = Calls::new();

struct Calls {
    stopped: AtomicBool,
    running: AtomicUsize,
    sockets: Mutex<Vec<Arc<Socket>>>,
    /// Calls were stopped, or the last one is over.
    changed: Condvar,
}

/// Ends all calls of this process for good, whatever time they have left, and sleeps until their
/// threads are back, for `within` at most. Whether all are. Calls begun later end at once.
pub fn stop(within: Duration) -> bool {
    ALL.stopped.store(true, Ordering::SeqCst);
    resolve::SYSTEM.stop();
    ALL.stop(within)
}

/// Sleeps for so long, but not beyond the end of all calls. Whether calls may go on.
pub(crate) fn sleep(time: Duration) -> bool {
    ALL.sleep(time)
}

/// Whether [`stop`] was called.
pub(super) fn is_stopped() -> bool {
    ALL.is_stopped()
}

impl Calls {
    const fn new() -> Self {
        Calls {
            stopped: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            sockets: Mutex::new(Vec::new()),
            changed: Condvar::new(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn stop(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        self.stopped.store(true, Ordering::SeqCst);
        let mut sockets = self.sockets.lock();
        // Those that sleep.
        self.changed.notify_all();
        loop {
            for socket in &*sockets {
                // One that is not connected yet may not like it.
                drop(socket.shutdown(Shutdown::Both));
            }
            if self.running.load(Ordering::SeqCst) == 0 {
                return true;
            }
            let now = Instant::now();
            if now >= end {
                return false;
            }
            self.changed.wait_until(&mut sockets, end.min(now + ROUND));
        }
    }

    fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut sockets = self.sockets.lock();
        while !self.is_stopped() && !self.changed.wait_until(&mut sockets, end).timed_out() {}
        !self.is_stopped()
    }
}

/// A call under way.
pub(crate) struct Running(&'static Calls);

impl Running {
    /// `None` once all calls are to end.
    pub(crate) fn begin() -> Option<Running> {
        Running::of(&ALL)
    }

    fn of(calls: &'static Calls) -> Option<Running> {
        // Counted first: either this sees that calls were stopped, or `stop` waits for it.
        calls.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(calls);
        if calls.is_stopped() { None } else { Some(running) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.is_stopped() {
            // Not between the other's look at the count and its sleep.
            drop(self.0.sockets.lock());
            self.0.changed.notify_all();
        }
    }
}

/// A socket that [`stop`] knows.
#[derive(Debug)]
pub(super) struct Known(Arc<Socket>);

impl Known {
    pub(super) fn new(socket: &Arc<Socket>) -> Known {
        ALL.sockets.lock().push(socket.clone());
        Known(socket.clone())
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut sockets = ALL.sockets.lock();
        if let Some(at) = sockets.iter().position(|socket| Arc::ptr_eq(socket, &self.0)) {
            sockets.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_stop_waits_for_calls_but_not_for_ever() {
        static CALLS: Calls = Calls::new();
        let (one, other) = (Running::of(&CALLS).unwrap(), Running::of(&CALLS).unwrap());
        assert!(!CALLS.stop(Duration::from_millis(10)));
        assert!(Running::of(&CALLS).is_none(), "no call begins any more");
        thread::scope(|scope| {
            let stop = scope.spawn(|| CALLS.stop(LONG));
            drop(one);
            assert!(!stop.is_finished(), "there is another call");
            drop(other);
            assert!(stop.join().unwrap());
        });
        assert!(CALLS.stop(Duration::ZERO));
    }

    #[test]
    fn a_stop_wakes_those_that_sleep() {
        static CALLS: Calls = Calls::new();
        assert!(CALLS.sleep(Duration::from_millis(1)));
        thread::scope(|scope| {
            let sleeps = scope.spawn(|| CALLS.sleep(LONG));
            CALLS.stop(Duration::ZERO);
            assert!(!sleeps.join().unwrap());
        });
        assert!(!CALLS.sleep(LONG), "nobody sleeps any more");
    }
}
