//! Look-ups whose question is sent before a thread comes to them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::shared::purges::{Purged, wall_ms};
use crate::store::Sent;

/// What becomes of a question that is sent.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// The replies are there at once.
    There,
    /// They do not come.
    Late,
    /// The connection had been closed before.
    Closed,
    /// It does not go out as a whole, and is done all the same.
    Cut,
    /// There is no connection.
    Busy,
}

/// A store that takes questions in this way.
struct Ahead {
    memory: Memory,
    way: Way,
    /// How many were put to it, sent ones too.
    asked: Arc<AtomicUsize>,
}

struct Out(Way, Vec<Reply>, Arc<Ahead>);

impl Nodes for Ahead {
    fn ask(&self, question: &Pipeline, until: Instant) -> Result<Vec<Reply>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.memory.ask(question, until)
    }

    fn tell(&self, commands: Pipeline) -> Result<(), StoreError> {
        self.memory.tell(commands)
    }

    fn may_send(&self) -> bool {
        self.way != Way::Busy
    }

    fn send(self: Arc<Self>, question: &Pipeline) -> Option<Box<dyn Sent>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let replies = self.memory.0.lock().run(question);
        if self.way == Way::Cut { None } else { Some(Box::new(Out(self.way, replies, self))) }
    }
}

impl Sent for Out {
    fn finish(self: Box<Self>, until: Instant) -> Option<Result<Vec<Reply>, StoreError>> {
        assert!(until > Instant::now());
        match self.0 {
            Way::There => Some(Ok(self.1)),
            Way::Late => Some(Err(StoreError::Timeout(crate::client::Phase::Wait))),
            _ => None,
        }
    }

    fn again(
        self: Box<Self>,
        question: &Pipeline,
        until: Instant,
    ) -> Option<Result<Vec<Reply>, StoreError>> {
        (self.0 != Way::Closed).then(|| self.2.ask(question, until))
    }

    fn settle(self: Box<Self>) -> Option<Vec<Reply>> {
        (self.0 == Way::There).then_some(self.1)
    }
}

/// A thread comes to it in time, whatever the machine does.
const IN_TIME: Duration = Duration::from_secs(3600);

/// And never.
const TOO_LATE: Duration = Duration::ZERO;

/// A fleet whose time is the machine's.
fn fleet() -> Fleet {
    let fleet = Fleet::new();
    fleet.at(wall_ms());
    fleet
}

fn question(fleet: &Fleet, way: Way, timeout: Duration) -> (Question, Arc<AtomicUsize>) {
    let (store, asked) = (fleet.store(1, 500), Arc::new(AtomicUsize::new(0)));
    let store = Store::new(StoreOptions {
        nodes: Arc::new(Ahead { memory: fleet.memory.clone(), way, asked: asked.clone() }),
        keys: store.keys().clone(),
        names: store.names().clone(),
        timeout,
        lock_timeout: Duration::from_millis(500),
        longest: Duration::from_secs(300),
    });
    (Question { store: Arc::new(store), ..fleet.question() }, asked)
}

fn end() -> Instant {
    Instant::now() + 4 * IN_TIME
}

/// Begins a look-up; a thread comes to it when `meanwhile` is over.
fn look(question: Question, meanwhile: impl FnOnce()) -> (Looked, StoreResult) {
    let mut look = Look::new(question);
    look.begin(end());
    meanwhile();
    let (looked, status) = look.look(end());
    (looked, status.result)
}

fn leads(looked: &Looked) -> bool {
    matches!(looked, Looked::Lead(_))
}

#[test]
fn it_is_asked_once_however_it_is_put() {
    for (way, times) in [(Way::There, 1), (Way::Closed, 2), (Way::Cut, 2), (Way::Busy, 1)] {
        let fleet = fleet();
        let (asks, asked) = question(&fleet, way, IN_TIME);
        let (looked, result) = look(asks, || {});
        assert_eq!((leads(&looked), result), (true, StoreResult::Miss));
        let marker = fleet.the_value();
        assert_eq!(asked.swap(0, Ordering::Relaxed), times);
        // The marker is its own, also where it was set by the question that went before.
        drop(looked);
        assert_ne!(fleet.the_value(), marker);
        fleet.at(wall_ms() + 1_000);
        fleet.answered(&fleet.question(), b"jwt");
        let (asks, _) = question(&fleet, way, IN_TIME);
        let (looked, result) = look(asks, || {});
        assert!(matches!(looked, Looked::Found(_)), "{looked:?}");
        assert_eq!(result, StoreResult::Hit);
    }
}

#[test]
fn a_store_that_does_not_answer_in_its_time_has_failed() {
    let fleet = fleet();
    let (asks, asked) = question(&fleet, Way::Late, IN_TIME);
    let mut late = Look::new(asks);
    late.begin(end());
    let (looked, status) = late.look(end());
    assert!(matches!(looked, Looked::Alone));
    assert!(matches!(status.error, Some(StoreError::Timeout(_))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_long_queue_is_no_slow_store() {
    // Its time was over before a thread came: it is asked anew, and leads by the marker it has set.
    for way in [Way::There, Way::Late, Way::Closed, Way::Cut] {
        let fleet = fleet();
        let (asks, asked) = question(&fleet, way, TOO_LATE);
        let (looked, result) = look(asks, || {});
        assert_eq!((leads(&looked), result), (true, StoreResult::Miss));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn what_the_store_said_long_ago_is_not_believed() {
    // Purged meanwhile, and nobody has heard it yet.
    let purge = |fleet: &Fleet| {
        let mut contents = fleet.memory.0.lock();
        let lease = contents.names().into_iter().find(|name| name.ends_with(b":g")).unwrap();
        assert!(contents.lose(&lease));
    };
    for (timeout, found) in [(IN_TIME, true), (TOO_LATE, false)] {
        let fleet = fleet();
        fleet.answered(&fleet.question(), b"jwt");
        let (asks, _) = question(&fleet, Way::There, timeout);
        let (looked, _) = look(asks, || purge(&fleet));
        assert_eq!(matches!(looked, Looked::Found(_)), found, "{looked:?}");
    }
}

#[test]
fn what_is_purged_between_the_question_and_its_reply_does_not_serve() {
    let fleet = fleet();
    fleet.answered(&fleet.question(), b"jwt");
    type Heard = fn(crate::shared::purges::Purges);
    let purged: Heard = |purges| purges.purge(Purged::Subject(Subject::Sub, SUB), wall_ms());
    let gap: Heard = |purges| purges.gap(wall_ms(), 1);
    let other: Heard = |purges| {
        let other = NonZeroU64::new(78).unwrap();
        purges.purge(Purged::Subject(Subject::Sub, other), wall_ms());
    };
    for (heard, found) in [(other, true), (purged, false), (gap, false)] {
        let (asks, _) = question(&fleet, Way::There, IN_TIME);
        let purges = asks.purges.unwrap();
        let (looked, result) = look(asks, || heard(purges));
        match looked {
            Looked::Found(answer) if found => assert_eq!(answer.asked, purges.now()),
            looked => {
                assert_eq!((found, leads(&looked), result), (false, true, StoreResult::Stale))
            }
        }
    }
}

#[test]
fn one_that_is_given_up_tells_who_waits_for_it() {
    let fleet = fleet();
    let (asks, _) = question(&fleet, Way::There, IN_TIME);
    let mut given_up = Look::new(asks);
    given_up.begin(end());
    let marker = fleet.the_value();
    drop(given_up);
    assert_ne!(fleet.the_value(), marker);
    // Who comes now does not wait.
    assert_eq!(fleet.finds(&fleet.question()), Err(StoreResult::Miss));
}

#[test]
fn one_that_is_given_up_says_nothing_in_the_place_of_another_s() {
    // What another gateway has set stands: its marker, and its answer.
    let fleet = fleet();
    let lead = fleet.lead(&fleet.question());
    let begin = || {
        let (asks, _) = question(&fleet, Way::There, IN_TIME);
        let mut look = Look::new(asks);
        look.begin(end());
        look
    };
    let marker = fleet.the_value();
    drop(begin());
    assert_eq!(fleet.the_value(), marker);
    assert_eq!(lead.write(&stored(b"jwt", wall_ms()), wall_ms()), None);
    drop(begin());
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"jwt".to_vec()));
}

#[test]
fn where_nobody_knows_whether_it_leads_nothing_is_said() {
    // What stands there ends with the call that it is for, as where a gateway has gone.
    for way in [Way::Late, Way::Closed, Way::Cut] {
        let fleet = fleet();
        let (asks, _) = question(&fleet, way, IN_TIME);
        let call = asks.call;
        let mut look = Look::new(asks);
        look.begin(end());
        let marker = fleet.the_value();
        drop(look);
        assert_eq!(fleet.the_value(), marker);
        let end = fleet.now.get() + millis(call) + CALL_REST_MS;
        fleet.at(end);
        assert_eq!(fleet.memory.0.lock().names(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn what_may_not_be_asked_is_not_sent() {
    let fleet = fleet();
    let (asks, asked) = question(&fleet, Way::There, IN_TIME);
    let (looked, result) = look(Question { in_sync: None, ..asks }, || {});
    assert!(matches!(looked, Looked::Alone));
    assert_eq!((result, asked.load(Ordering::Relaxed)), (StoreResult::Skipped, 0));
}
