//! Questions that were sent before a thread has come to their replies.
//!
//! They keep a connection each while their tasks wait for a thread. So that there is always one for the
//! threads that run, no more than half of the connections may be kept so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Connection, Failure, Node, Pipeline, Reply, Sent, StoreError, Taken};
use crate::client::{Phase, Running};
use crate::shared::counters::StoreWrite;

/// A question that was sent.
pub(super) struct Asked {
    taken: Taken<Arc<Node>>,
    /// How many replies there will be.
    replies: usize,
    place: Place,
}

/// One of those that may be sent at a time.
struct Place(Arc<Node>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sent.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    /// Whether one more may be sent.
    pub(super) fn has_place(&self) -> bool {
        self.sent.load(Ordering::Relaxed) < self.options.connections / 2
    }

    /// Sends over the connection that was used last, and what is held in front of it.
    pub(super) fn try_to_send(self: Arc<Self>, question: &Pipeline) -> Option<Asked> {
        if !self.has_place() {
            return None;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        let connection = self.pool.lock().idle.pop_back()?;
        let mut taken = Taken::new(self, Some(connection));
        if !taken.is_fit() {
            return None;
        }
        let now = Instant::now();
        let (held, old) = {
            let mut pool = taken.node.pool.lock();
            pool.pace.asked(now);
            pool.take_untold(now)
        };
        (0..old).for_each(|_| taken.node.count(StoreWrite::Failed));
        let is_sent = taken.connection.as_mut()?.send(held, question);
        is_sent.then_some(Asked { taken, replies: question.len(), place })
    }
}

#[cfg(test)]
impl Asked {
    pub(super) fn has_input(&self) -> bool {
        self.taken.connection.as_ref().is_some_and(Connection::has_input)
    }
}

impl Asked {
    /// Waits for replies in this way.
    fn wait(
        self,
        receive: impl FnOnce(&mut Connection, usize) -> Result<Vec<Reply>, Failure>,
    ) -> Option<Result<Vec<Reply>, StoreError>> {
        let Some(_running) = Running::begin() else {
            return Some(Err(StoreError::Timeout(Phase::Start)));
        };
        let Asked { mut taken, replies, place } = self;
        drop(place);
        let node = taken.node.clone();
        let outcome = match receive(taken.connection.as_mut()?, replies) {
            Ok(replies) => taken.answered(replies),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Stale) => {
                drop(taken);
                // The others are too, as a rule.
                node.close_all();
                return None;
            }
        };
        Some(node.judge(outcome))
    }
}

impl Sent for Asked {
    fn finish(self: Box<Self>, deadline: Instant) -> Option<Result<Vec<Reply>, StoreError>> {
        self.wait(|connection, replies| connection.receive(replies, Some(deadline)))
    }

    fn again(
        self: Box<Self>,
        question: &Pipeline,
        deadline: Instant,
    ) -> Option<Result<Vec<Reply>, StoreError>> {
        self.wait(|connection, _| connection.ask_again(question, deadline))
    }

    fn settle(self: Box<Self>) -> Option<Vec<Reply>> {
        let Asked { mut taken, replies, place } = *self;
        drop(place);
        let replies = taken.connection.as_mut()?.receive(replies, None).ok()?;
        taken.answered(replies).ok()
    }
}
