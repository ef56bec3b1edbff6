//! One server of a store, and the connections to it that are kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

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
    /// What found no idle connection, for the next one that becomes idle.
    untold: VecDeque<(Instant, Pipeline)>,
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

    /// A connection that was kept, or the right to make one, before `deadline`.
    fn take(&self, deadline: Instant) -> Result<Taken<'_>, StoreError> {
        let mut pool = self.pool.lock();
        loop {
            if let Some(connection) = pool.idle.pop_back() {
                drop(pool);
                let mut taken = Taken { node: self, connection: Some(connection) };
                // Not under the lock: asking the socket, closing it.
                if taken.is_fit() {
                    return Ok(taken);
                }
                taken.connection = None;
                return Ok(taken);
            }
            if pool.open < self.options.connections {
                pool.open += 1;
                return Ok(Taken { node: self, connection: None });
            }
            if self.given_back.wait_until(&mut pool, deadline).timed_out() {
                return Err(StoreError::Timeout(Phase::Start));
            }
        }
    }

    /// Keeps a connection that has answered, where it may do so again. What waits to be told is told.
    fn keep(&self, mut taken: Taken<'_>) {
        let Some(mut connection) = taken.connection.take() else { return };
        loop {
            let untold = self.pool.lock().untold.pop_front();
            let Some((since, commands)) = untold else { break };
            if since.elapsed() > UNTOLD {
                self.count(StoreWrite::Failed);
            } else if !connection.tell(&commands) {
                return;
            }
        }
        if connection.may_be_kept(Instant::now()) {
            connection.rest();
            self.pool.lock().idle.push_back(connection);
            std::mem::forget(taken);
            self.given_back.notify_one();
        }
    }

    fn try_to_ask(&self, question: &Pipeline, deadline: Instant) -> Result<Vec<Reply>, StoreError> {
        let mut taken = self.take(deadline)?;
        let mut replies = match &mut taken.connection {
            Some(connection) => connection.ask(question, deadline),
            None => Err(Failure::Stale),
        };
        if replies == Err(Failure::Stale) {
            if taken.connection.take().is_some() {
                // Where one has turned out closed the others are too, as a rule.
                self.close_all();
            }
            let connection = Connection::dial(&self.options, self.counting(), deadline)?;
            replies = taken.connection.insert(connection).ask(question, deadline);
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

    fn tell(&self, commands: &Pipeline) -> Result<(), StoreError> {
        let mut pool = self.pool.lock();
        loop {
            let Some(connection) = pool.idle.pop_back() else {
                // All of them are busy: the next one that is not takes it along.
                let has_room = pool.untold.len() < self.options.connections;
                if pool.open > 0 && has_room {
                    pool.untold.push_back((Instant::now(), commands.clone()));
                    return Ok(());
                }
                drop(pool);
                self.count(StoreWrite::Failed);
                return Err(StoreError::NoConnection);
            };
            drop(pool);
            let mut taken = Taken { node: self, connection: Some(connection) };
            if taken.is_fit() {
                let told = taken.connection.as_mut().is_some_and(|one| one.tell(commands));
                // Dropped without room, it counts what it owes.
                if told {
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
