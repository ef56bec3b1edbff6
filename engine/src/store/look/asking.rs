//! A look-up that asks and sleeps.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Looked, Looking, Question, Step, StoreStatus};
use crate::client::{self, Running};
use crate::shared::counters::StoreResult;
use crate::shared::purges::wall_ms;
use crate::store::{Pipeline, Reply, Sent, StoreError};

/// A look-up. Its question may be sent before a thread comes to it.
///
/// Dropped before, it says that nothing will come, where it is known to lead. Where that is not known
/// yet, its marker may stand until its time is over: whoever finds it waits for it as for a gateway that has
/// gone, never longer than for a call.
pub struct Look {
    question: Question,
    begun: Option<Begun>,
}

/// What was begun.
struct Begun {
    looking: Looking,
    /// What is asked: the same in all tries, since some of it may have been done.
    asked: Pipeline,
    /// `None`: the connection did not take it.
    sent: Option<(Box<dyn Sent>, Instant)>,
}

impl Look {
    /// Asks nothing yet.
    pub fn new(question: Question) -> Look {
        Look { question, begun: None }
    }

    /// Sends the question, where that takes no waiting, so that the replies are there when a thread comes
    /// to them. The look-up has until `deadline`.
    pub fn begin(&mut self, deadline: Instant) {
        let nodes = &self.question.store.nodes;
        if self.begun.is_some() || !nodes.may_send() {
            return;
        }
        let at = Instant::now();
        let left = deadline.saturating_duration_since(at);
        let (looking, Step::Ask(asked)) = Looking::begin(&self.question, left, wall_ms()) else {
            return;
        };
        let sent = nodes.clone().send(&asked).map(|sent| (sent, at));
        self.begun = Some(Begun { looking, asked, sent });
    }

    /// Looks in the store, and waits for another gateway's answer where that is worth it: at most until
    /// `deadline`, and never for more than half of the time until then. Blocks its thread; keeps no
    /// connection while it sleeps. It is over when all calls are to end ([`client::stop()`]).
    pub fn look(mut self, deadline: Instant) -> (Looked, StoreStatus) {
        let began = Instant::now();
        let Some(_running) = Running::begin() else {
            return (Looked::Alone, StoreStatus::of(StoreResult::Skipped));
        };
        let left = deadline.saturating_duration_since(began);
        let (mut looking, mut step, mut sent) = match self.begun.take() {
            Some(Begun { mut looking, asked, sent }) => {
                looking.goes_on(&self.question, left);
                (looking, Step::Ask(asked), sent)
            }
            None => {
                let (looking, step) = Looking::begin(&self.question, left, wall_ms());
                (looking, step, None)
            }
        };
        loop {
            step = match step {
                Step::Ask(asked) => {
                    let replies = self.ask(sent.take(), &asked, deadline);
                    looking.replies(&self.question, replies, began.elapsed(), wall_ms())
                }
                Step::Sleep(time) if client::sleep(time) => looking.woken(),
                Step::Sleep(_) => {
                    return (Looked::Alone, StoreStatus::of(StoreResult::Skipped));
                }
                Step::Done(looked, status) => return (looked, status),
            }
        }
    }

    fn ask(
        &self,
        sent: Option<(Box<dyn Sent>, Instant)>,
        asked: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Reply>, StoreError> {
        let store = &self.question.store;
        let until = |from: Instant| {
            let now = Instant::now();
            (from + store.timeout).min(now + deadline.saturating_duration_since(now) / 2)
        };
        let outcome = match sent {
            // From when it was sent: what the store says is never older than what it takes to say it.
            Some((sent, at)) if at.elapsed() < store.timeout / 2 => sent.finish(until(at)),
            // The queue was long, which says nothing of the store.
            Some((sent, _)) => sent.again(asked, until(Instant::now())),
            None => None,
        };
        outcome.unwrap_or_else(|| store.nodes.ask(asked, until(Instant::now())))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if let Some(Begun { mut looking, sent: Some((sent, _)), .. }) = self.begun.take()
            && let Some(replies) = sent.settle()
        {
            drop(looking.replies(&self.question, Ok(replies), Duration::ZERO, wall_ms()));
        }
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_begun = self.begun.is_some();
        f.debug_struct("Look")
            .field("question", &self.question)
            .field("is_begun", &is_begun)
            .finish_non_exhaustive()
    }
}
