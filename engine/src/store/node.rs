//! One server of a store, and the connections to it that are kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::address::Reach;
use super::connection::{Connection, Failure};
pub use super::connection::{Counting, Options};
use super::{Nodes, Pipeline, Reply, StoreError};
use crate::client::{Phase, Running};
use crate::shared::counters::StoreWrite;

#[cfg(test)]
mod tests;

/// For how long commands may wait for a connection that takes them: what they say of lives was reckoned
/// when they were told.
const UNTOLD: Duration = Duration::from_secs(1);

/// For how long what is told may be held for a question to take it along, where questions come often:
/// a write of its own is half of what a look-up costs.
const HELD: Duration = Duration::from_millis(1);

/// How much of it, in commands that were told together.
const MOST_HELD: usize = 16;

/// One server. Made while the configuration is read; a worker that is forked begins without a
/// connection, and opens one when it is needed, the one used last going first.
pub struct Node {
    options: Options,
    counting: OnceLock<Counting>,
    pool: Mutex<Pool>,
    given_back: Condvar,
}

#[derive(Default)]
struct Pool {
    /// In the order they were used last.
    idle: VecDeque<Connection>,
    /// Those that are there, or being made.
    open: usize,
    /// What waits for a connection, or to be taken along by a question, in the order it came.
    untold: VecDeque<(Instant, Pipeline)>,
    pace: Pace,
}

/// How often questions come.
struct Pace {
    last: Option<Instant>,
    /// The time between two of them, smoothed.
    gap: Duration,
}

impl Pace {
    /// So long a pause counts as no longer one: some questions have to follow it closely.
    const LONGEST: Duration = Duration::from_millis(16);

    fn asked(&mut self, now: Instant) {
        let gap = self.last.map_or(Self::LONGEST, |last| now.saturating_duration_since(last));
        self.gap = (3 * self.gap + gap.min(Self::LONGEST)) / 4;
        self.last = Some(now);
    }

    /// Whether another one is as good as here.
    fn is_dense(&self, now: Instant) -> bool {
        self.gap < HELD && self.last.is_some_and(|last| now.saturating_duration_since(last) < HELD)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace { last: None, gap: Self::LONGEST }
    }
}

impl Pool {
    /// Takes what waits, but for what has waited for too long: how much that is.
    fn take_untold(&mut self, now: Instant) -> (Vec<Pipeline>, usize) {
        let all = self.untold.len();
        let young = |since: Instant| now.saturating_duration_since(since) <= UNTOLD;
        let untold = self.untold.drain(..);
        let untold: Vec<_> =
            untold.filter(|(since, _)| young(*since)).map(|(_, commands)| commands).collect();
        let old = all - untold.len();
        (untold, old)
    }

    /// Whether something waits that no question has taken along in time.
    fn is_overdue(&self, now: Instant) -> bool {
        self.untold.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= HELD)
    }
}

impl Node {
    /// Opens no socket.
    pub fn new(mut options: Options) -> Self {
        options.tls = options.tls.without_protocols();
        options.connections = options.connections.max(1);
        let (counting, given_back) = (OnceLock::new(), Condvar::new());
        Node { options, counting, pool: Mutex::default(), given_back }
    }

    /// The same server for who asks for as long as it likes: with one connection, beside the others.
    pub fn for_hearing(&self) -> Self {
        Node::new(Options { connections: 1, ..self.options.clone() })
    }

    /// Counts there from now on; the first call decides.
    pub fn count_in(&self, counting: Counting) {
        let _ = self.counting.set(counting);
    }

    /// How logs and metrics name the server, see [`Address::label`](super::Address::label).
    pub fn label(&self) -> &str {
        self.options.address.label()
    }

    /// How it is reached.
    pub fn reach(&self) -> Reach {
        self.options.address.reach()
    }

    /// The number of the database there.
    pub fn database(&self) -> u16 {
        self.options.address.database()
    }

    /// Closes those that may not serve again: too old, unused for too long, or closed by the server.
    /// Returns how many are left.
    pub fn close_ended(&self, now: Instant) -> usize {
        let mut idle = std::mem::take(&mut self.pool.lock().idle);
        let before = idle.len();
        idle.retain_mut(|connection| connection.is_fit(now));
        let mut pool = self.pool.lock();
        pool.open -= before - idle.len();
        // Behind them what was used meanwhile.
        idle.append(&mut pool.idle);
        pool.idle = idle;
        self.given_back.notify_all();
        pool.idle.len()
    }

    /// Closes all that are idle: the process is about to end, or the server is another now.
    pub fn close_all(&self) {
        let mut pool = self.pool.lock();
        let idle = std::mem::take(&mut pool.idle);
        pool.open -= idle.len();
        self.given_back.notify_all();
        drop(pool);
        // Only now: saying goodbye takes a system call or two each.
        drop(idle);
    }

    fn counting(&self) -> Option<Counting> {
        self.counting.get().copied()
    }

    fn count(&self, result: StoreWrite) {
        if let Some(counting) = self.counting() {
            counting.shard.count_store_write(result);
        }
    }

    /// Whether something is held that was told, for the next question to take along: [`Node::tell_held`]
    /// is to be called, should none come.
    pub fn holds(&self) -> bool {
        !self.pool.lock().untold.is_empty()
    }

    /// Tells what was held in vain; all of it where the process ends.
    pub fn tell_held(&self, all: bool) {
        loop {
            let now = Instant::now();
            let mut pool = self.pool.lock();
            if pool.untold.is_empty() || !all && !pool.is_overdue(now) {
                return;
            }
            let Some(connection) = pool.idle.pop_back() else {
                // Where all are busy, the first one that is not tells it; where none is left, nobody.
                if pool.open == 0 {
                    let all = pool.untold.drain(..).count();
                    drop(pool);
                    (0..all).for_each(|_| self.count(StoreWrite::Failed));
                }
                return;
            };
            drop(pool);
            let mut taken = Taken { node: self, connection: Some(connection) };
            if taken.is_fit() {
                if self.tell_untold(&mut taken, now) {
                    self.keep(taken);
                }
                return;
            }
        }
    }

    /// Tells all that waits. False where there was no room: that closes the connection, which counts what
    /// it owes.
    fn tell_untold(&self, taken: &mut Taken<'_>, now: Instant) -> bool {
        let (untold, old) = self.pool.lock().take_untold(now);
        (0..old).for_each(|_| self.count(StoreWrite::Failed));
        let mut untold = untold.iter();
        let has_room = taken
            .connection
            .as_mut()
            .is_some_and(|connection| untold.by_ref().all(|commands| connection.tell(commands)));
        untold.for_each(|_| self.count(StoreWrite::Lost));
        has_room
    }

    /// A connection that was kept, or the right to make one, before `deadline`; and what was held.
    fn take(&self, deadline: Instant) -> Result<(Taken<'_>, Vec<Pipeline>), StoreError> {
        let mut pool = self.pool.lock();
        let now = Instant::now();
        pool.pace.asked(now);
        let connection = loop {
            if let Some(connection) = pool.idle.pop_back() {
                break Some(connection);
            }
            if pool.open < self.options.connections {
                pool.open += 1;
                break None;
            }
            if self.given_back.wait_until(&mut pool, deadline).timed_out() {
                return Err(StoreError::Timeout(Phase::Start));
            }
        };
        let (held, old) = pool.take_untold(now);
        drop(pool);
        (0..old).for_each(|_| self.count(StoreWrite::Failed));
        let mut taken = Taken { node: self, connection };
        // Not under the lock: asking the socket, closing it.
        if !taken.is_fit() {
            taken.connection = None;
        }
        Ok((taken, held))
    }

    /// Keeps a connection that may serve again. What waits to be told, and for no question, is told.
    fn keep(&self, mut taken: Taken<'_>) {
        loop {
            let now = Instant::now();
            if !taken.connection.as_mut().is_some_and(|one| one.may_be_kept(now)) {
                return;
            }
            let mut pool = self.pool.lock();
            let is_held = pool.pace.is_dense(now) && !pool.is_overdue(now);
            // Under one lock: what is told from now on finds the connection.
            if (pool.untold.is_empty() || is_held)
                && let Some(mut connection) = taken.connection.take()
            {
                connection.rest();
                pool.idle.push_back(connection);
                drop(pool);
                std::mem::forget(taken);
                self.given_back.notify_one();
                return;
            }
            drop(pool);
            if !self.tell_untold(&mut taken, now) {
                return;
            }
        }
    }

    fn try_to_ask(&self, question: &Pipeline, deadline: Instant) -> Result<Vec<Reply>, StoreError> {
        let (mut taken, held) = self.take(deadline)?;
        let mut held = Some(held);
        let mut replies = match &mut taken.connection {
            Some(connection) => connection.ask(held.take().unwrap_or_default(), question, deadline),
            None => Err(Failure::Stale),
        };
        if replies == Err(Failure::Stale) {
            if taken.connection.take().is_some() {
                // Where one has turned out closed the others are too, as a rule.
                self.close_all();
            }
            let held = held.unwrap_or_default();
            let connection = Connection::dial(&self.options, self.counting(), deadline)
                .inspect_err(|_| held.iter().for_each(|_| self.count(StoreWrite::Failed)))?;
            replies = taken.connection.insert(connection).ask(held, question, deadline);
        }
        let replies = replies.map_err(|failure| match failure {
            Failure::Stale => StoreError::Closed,
            Failure::Store(error) => error,
        })?;
        if let Some(error) = replies.iter().find_map(|reply| reply.error()?.condemns()) {
            return Err(error);
        }
        self.keep(taken);
        Ok(replies)
    }
}

impl Nodes for Node {
    fn ask(&self, question: &Pipeline, deadline: Instant) -> Result<Vec<Reply>, StoreError> {
        let _running = Running::begin().ok_or(StoreError::Timeout(Phase::Start))?;
        if question.is_empty() {
            return Ok(Vec::new());
        }
        if deadline <= Instant::now() {
            return Err(StoreError::Timeout(Phase::Start));
        }
        let outcome = self.try_to_ask(question, deadline);
        if let Err(StoreError::ReadOnly(_) | StoreError::Refused(_)) = outcome {
            // The name may lead elsewhere by now.
            self.close_all();
        }
        outcome
    }

    fn tell(&self, commands: Pipeline) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut pool = self.pool.lock();
        if pool.open > 0 && pool.pace.is_dense(now) && pool.untold.len() < MOST_HELD {
            pool.untold.push_back((now, commands));
            return Ok(());
        }
        loop {
            let Some(connection) = pool.idle.pop_back() else {
                // All of them are busy: the next one that is not takes it along.
                let has_room = pool.untold.len() < self.options.connections;
                if pool.open > 0 && has_room {
                    pool.untold.push_back((now, commands));
                    return Ok(());
                }
                drop(pool);
                self.count(StoreWrite::Failed);
                return Err(StoreError::NoConnection);
            };
            drop(pool);
            let mut taken = Taken { node: self, connection: Some(connection) };
            if taken.is_fit() {
                // Behind what was held.
                self.pool.lock().untold.push_back((now, commands));
                if self.tell_untold(&mut taken, now) {
                    self.keep(taken);
                    return Ok(());
                }
                return Err(StoreError::NoConnection);
            }
            drop(taken);
            pool = self.pool.lock();
        }
    }
}

/// A connection in use, or the right to make one. Dropped, it is closed, and another may be made.
struct Taken<'a> {
    node: &'a Node,
    connection: Option<Connection>,
}

impl Taken<'_> {
    fn is_fit(&mut self) -> bool {
        let counting = self.node.counting();
        self.connection.as_mut().is_some_and(|connection| {
            connection.begin(counting);
            connection.is_fit(Instant::now())
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        drop(self.connection.take());
        self.node.pool.lock().open -= 1;
        self.node.given_back.notify_one();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("address", &self.options.address).finish_non_exhaustive()
    }
}
