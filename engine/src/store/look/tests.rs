use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::*;
use crate::answer::grant::Grant;
use crate::answer::subjects::{Subject, Subjects};
use crate::shared::counters::StoreWrite;
use crate::shared::purges::testing::purges;
use crate::store::keys::FleetKeys;
use crate::store::memory::Memory;
use crate::store::question::SignedBy;
use crate::store::reply::ServerError;
use crate::store::{Epoch, Identity, Names, Nodes, Store, StoreOptions};

const NOW: u64 = 1_700_000_000_000;
const EPOCH: Epoch = Epoch([9; 16]);
const SUB: NonZeroU64 = NonZeroU64::new(77).unwrap();

/// A fleet with one store, and the time there.
struct Fleet {
    memory: Memory,
    now: Cell<u64>,
}

impl Fleet {
    fn new() -> Fleet {
        let fleet = Fleet { memory: Memory::default(), now: Cell::new(NOW) };
        fleet.at(NOW);
        fleet
    }

    fn at(&self, now: u64) {
        self.now.set(now);
        self.memory.at(now);
    }

    fn store(&self, key: u8, lock_timeout: u64) -> Arc<Store> {
        Arc::new(Store::new(StoreOptions {
            nodes: Arc::new(self.memory.clone()),
            keys: Arc::new(FleetKeys::new(&[&[key; 32]]).expect("a key")),
            names: Names::new("pt").expect("a prefix"),
            timeout: Duration::from_millis(100),
            lock_timeout: Duration::from_millis(lock_timeout),
            longest: Duration::from_secs(300),
        }))
    }

    fn question(&self) -> Question {
        let store = self.store(1, 500);
        let hash = store.keys().first().hash_key().token(b"opaque");
        Question {
            store,
            token: b"opaque".to_vec().into(),
            hash,
            identity: Identity::of([&b"a"[..]]),
            in_sync: Some(InSync { epoch: EPOCH, since_ms: NOW - 3_600_000, known: Moment::NEVER }),
            purges: Some(purges(NOW - 3_600_000)),
            valid_ms: 300_000,
            inactive_ms: 0,
            signed_by: SignedBy::Server,
            bypass: false,
            newer_than: None,
            usual: Some(Duration::from_millis(40)),
            call: Duration::from_secs(6),
        }
    }

    /// Looks up. While it sleeps, `meanwhile` is called, with how long it has taken so far.
    fn look_while(
        &self,
        question: &Question,
        mut meanwhile: impl FnMut(u64),
    ) -> (Looked, StoreStatus) {
        let began = self.now.get();
        let elapsed = || Duration::from_millis(self.now.get() - began);
        let (mut looking, mut step) = Looking::begin(question, Duration::from_secs(6), began);
        loop {
            step = match step {
                Step::Ask(asked) => {
                    let replies = question.store.nodes.ask(&asked, Instant::now());
                    looking.replies(question, replies, elapsed(), self.now.get())
                }
                Step::Sleep(time) => {
                    assert!(time >= LOOK, "{time:?}");
                    self.at(self.now.get() + millis(time));
                    meanwhile(self.now.get() - began);
                    looking.woken()
                }
                Step::Done(looked, status) => return (looked, status),
            }
        }
    }

    fn look(&self, question: &Question) -> (Looked, StoreResult) {
        let (looked, status) =
            self.look_while(question, |after| panic!("it waits, after {after} ms"));
        assert_eq!((status.error, status.remark), (None, None));
        (looked, status.result)
    }

    fn lead(&self, question: &Question) -> Leased {
        match self.look(question) {
            (Looked::Lead(leased), _) => leased,
            other => panic!("{other:?}"),
        }
    }

    /// Asks the server and leaves the answer there.
    fn answered(&self, question: &Question, jwt: &[u8]) {
        assert_eq!(self.lead(question).write(&stored(jwt, self.now.get()), self.now.get()), None);
    }

    /// Looks up once more; what is found, or how it is counted.
    fn finds(&self, question: &Question) -> Result<Vec<u8>, StoreResult> {
        match self.look(question) {
            (Looked::Found(found), StoreResult::Hit) => Ok(found.stored.grant.jwt.clone()),
            (Looked::Found(found), result) => panic!("{found:?} {result:?}"),
            (Looked::Lead(_), result) => Err(result),
            (other, result) => panic!("{other:?} {result:?}"),
        }
    }

    fn the_value(&self) -> Vec<u8> {
        let contents = self.memory.0.lock();
        let mut names = contents.names().into_iter();
        let name = names.find(|name| !name.ends_with(b":g")).expect("a value");
        contents.get(&name).map(<[u8]>::to_vec).expect("bytes")
    }
}

fn stored(jwt: &[u8], asked_ms: u64) -> Stored {
    let mut grant = Grant::default();
    grant.jwt = jwt.to_vec();
    grant.scope = b"read write".to_vec();
    grant.subjects = Subjects([Some(SUB), None, None, None]);
    Stored { grant, asked_ms, until_ms: None, may_stale: true }
}

#[test]
fn one_asks_and_the_others_find_the_answer() {
    let fleet = Fleet::new();
    let question = fleet.question();
    let (looked, result) = fleet.look(&question);
    assert_eq!(result, StoreResult::Miss);
    let Looked::Lead(leased) = looked else { panic!("{looked:?}") };
    assert!(!leased.has_value());
    assert_eq!(leased.write(&stored(b"jwt", NOW), NOW), None);
    let other = fleet.question();
    let (Looked::Found(found), StoreResult::Hit) = fleet.look(&other) else { panic!() };
    assert_eq!(found.stored, stored(b"jwt", NOW));
    assert_eq!(found.asked, other.purges.unwrap().now());
}

#[test]
fn an_answer_stays_as_long_as_it_serves_and_its_lease_longer() {
    let fleet = Fleet::new();
    let question = fleet.question();
    let mut answer = stored(b"jwt", NOW);
    answer.grant.exp = Some(NOW / 1_000 + 60);
    assert_eq!(fleet.lead(&question).write(&answer, NOW), None);
    let ends = || {
        let contents = fleet.memory.0.lock();
        let names = contents.names();
        let (lease, value): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.ends_with(b":g"));
        (contents.end(&lease[0]), contents.end(&value[0]))
    };
    assert_eq!(ends(), (Some(NOW + 306_000), Some(NOW + 60_000)));
    let long = Question { valid_ms: 900_000, bypass: true, ..fleet.question() };
    assert_eq!(fleet.lead(&long).write(&stored(b"jwt", NOW - 1_000), NOW), None);
    assert_eq!(ends(), (Some(NOW + 905_000), Some(NOW + 899_000)));
    // What has ended on the way is not written.
    let late = stored(b"late", NOW - 900_000);
    assert_eq!(fleet.lead(&long).write(&late, NOW), Some(StoreWrite::Skipped));
}

/// A server that answers, and takes nothing that is not waited for.
struct Untold(Memory);

impl Nodes for Untold {
    fn ask(&self, question: &Pipeline, until: Instant) -> Result<Vec<Reply>, StoreError> {
        self.0.ask(question, until)
    }

    fn tell(&self, _: Pipeline) -> Result<(), StoreError> {
        Err(StoreError::NoConnection)
    }
}

#[test]
fn the_nodes_alone_count_what_goes_to_them() {
    let fleet = Fleet::new();
    let store = fleet.store(1, 500);
    let store = Store::new(StoreOptions {
        nodes: Arc::new(Untold(fleet.memory.clone())),
        keys: store.keys().clone(),
        names: store.names().clone(),
        timeout: store.timeout(),
        lock_timeout: Duration::from_millis(500),
        longest: Duration::from_secs(300),
    });
    let question = Question { store: Arc::new(store), ..fleet.question() };
    assert_eq!(fleet.lead(&question).write(&stored(b"jwt", NOW), NOW), None);
}

#[test]
fn a_marker_stays_as_long_as_the_call_may_take() {
    let fleet = Fleet::new();
    let leased = fleet.lead(&fleet.question());
    let contents = fleet.memory.0.lock();
    assert_eq!(contents.names().len(), 2);
    assert!(contents.names().iter().all(|name| contents.end(name) == Some(NOW + 7_000)));
    drop(contents);
    drop(leased);
}

#[test]
fn what_is_not_the_same_shares_nothing() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"jwt");
    let question = fleet.question();
    let hash_of = |token: &[u8]| question.store.keys().first().hash_key().token(token);
    let epoch = |epoch| Some(InSync { epoch, since_ms: 0, known: Moment::NEVER });
    for (what, other) in [
        ("identity", Question { identity: Identity::of([&b"b"[..]]), ..fleet.question() }),
        ("epoch", Question { in_sync: epoch(Epoch([8; 16])), ..fleet.question() }),
        ("key", Question { store: fleet.store(2, 500), ..fleet.question() }),
        ("token", Question { hash: hash_of(b"other"), ..fleet.question() }),
    ] {
        assert_eq!(fleet.finds(&other), Err(StoreResult::Miss), "{what}");
    }
    // A name alone opens nothing: this one is the token's, and the token is another.
    let thief = Question { token: b"guess".to_vec().into(), ..fleet.question() };
    let (Looked::Lead(leased), status) = fleet.look_while(&thief, |_| panic!("it waits")) else {
        panic!("it opens")
    };
    assert_eq!((status.result, status.remark), (StoreResult::Void, Some(Remark::Unsealed)));
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"jwt".to_vec()));
    drop(leased);
}

#[test]
fn a_purged_lease_voids_what_comes_late() {
    let fleet = Fleet::new();
    let question = fleet.question();
    let leased = fleet.lead(&question);
    let lease = {
        let mut contents = fleet.memory.0.lock();
        let lease = contents.names().into_iter().find(|name| name.ends_with(b":g")).unwrap();
        assert!(contents.lose(&lease));
        lease
    };
    // The answer comes late, without a lease, and then beside another one.
    assert_eq!(leased.write(&stored(b"old", NOW), NOW), None);
    assert!(fleet.memory.0.lock().get(&lease).is_none(), "a late answer makes no lease");
    let (Looked::Lead(leased), StoreResult::Void) = fleet.look(&fleet.question()) else { panic!() };
    assert_eq!(leased.write(&stored(b"new", NOW), NOW), None);
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"new".to_vec()));
}

#[test]
fn a_lost_lease_is_nobody_s_to_write_under() {
    let fleet = Fleet::new();
    fleet.memory.0.lock().full = Some(ServerError::Oom);
    let (looked, status) = fleet.look_while(&fleet.question(), |_| panic!("it waits"));
    assert!(matches!(looked, Looked::Alone));
    assert_eq!(status.result, StoreResult::Miss);
    assert_eq!(status.error, Some(StoreError::Full(ServerError::Oom)));
}

#[test]
fn a_full_store_still_answers() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"jwt");
    fleet.memory.0.lock().full = Some(ServerError::Misconf);
    let (looked, status) = fleet.look_while(&fleet.question(), |_| panic!("it waits"));
    assert!(matches!(looked, Looked::Found(_)));
    assert_eq!(status.error, Some(StoreError::Full(ServerError::Misconf)));
}

#[test]
fn a_store_that_was_not_heard_or_does_not_answer_is_no_source() {
    let fleet = Fleet::new();
    let unheard = Question { in_sync: None, ..fleet.question() };
    let (looked, result) = fleet.look(&unheard);
    assert!(matches!(looked, Looked::Alone));
    assert_eq!(result, StoreResult::Skipped);
    assert_eq!(fleet.memory.0.lock().commands, 0);
    fleet.memory.0.lock().away = true;
    let (looked, status) = fleet.look_while(&fleet.question(), |_| panic!("it waits"));
    assert!(matches!(looked, Looked::Alone));
    assert_eq!(status.result, StoreResult::Failed);
    assert!(matches!(status.error, Some(StoreError::Timeout(_))));
}

#[test]
fn an_answer_is_judged_by_the_location_that_asks() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"jwt");
    fleet.at(NOW + 60_000);
    let shorter = Question { valid_ms: 60_000, ..fleet.question() };
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"jwt".to_vec()));
    assert_eq!(fleet.finds(&shorter), Err(StoreResult::Stale));
    let Looked::Lead(leased) = fleet.look(&shorter).0 else { panic!() };
    assert!(leased.has_value(), "it serves at others yet");
}

#[test]
fn what_was_asked_for_before_a_purge_does_not_serve() {
    let fleet = Fleet::new();
    let question = fleet.question();
    let purges = question.purges.expect("purges");
    fleet.answered(&question, b"jwt");
    let asks = || Question { purges: Some(purges), ..fleet.question() };
    // Another's, and this one's long before: clocks may differ by so much.
    purges.purge_subject(Subject::Sub, NonZeroU64::new(78).unwrap());
    assert_eq!(fleet.finds(&asks()), Ok(b"jwt".to_vec()));
    for (at, finds) in [(NOW - MARGIN_MS, true), (NOW - MARGIN_MS + 1, false)] {
        let purges = super::tests::purges(NOW - 3_600_000);
        purges.purge(crate::shared::purges::Purged::Subject(Subject::Sub, SUB), at);
        let question = Question { purges: Some(purges), ..fleet.question() };
        assert_eq!(fleet.finds(&question).is_ok(), finds, "{}", NOW - at);
    }
}

#[test]
fn what_is_missed_while_a_look_up_goes_on_voids_its_answer() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"jwt");
    let question = fleet.question();
    // The question has stood in a queue; what was heard when it was made is not true any more.
    question.purges.expect("purges").gap(NOW, 1);
    assert_eq!(fleet.finds(&question), Err(StoreResult::Stale));
}

#[test]
fn what_was_asked_for_before_purges_are_known_does_not_serve() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"jwt");
    for (since_ms, finds) in [(NOW - MARGIN_MS, true), (NOW - MARGIN_MS + 1, false)] {
        let in_sync = Some(InSync { epoch: EPOCH, since_ms, known: Moment::NEVER });
        let question = Question { in_sync, ..fleet.question() };
        assert_eq!(fleet.finds(&question).is_ok(), finds);
    }
}

#[test]
fn the_future_is_not_believed() {
    let fleet = Fleet::new();
    let lead = || fleet.lead(&Question { bypass: true, ..fleet.question() });
    assert_eq!(lead().write(&stored(b"jwt", NOW + AHEAD_MS), NOW), None);
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"jwt".to_vec()));
    assert_eq!(lead().write(&stored(b"jwt", NOW + AHEAD_MS + 1), NOW), None);
    let (looked, status) = fleet.look_while(&fleet.question(), |_| panic!("it waits"));
    assert!(matches!(looked, Looked::Lead(_)));
    assert_eq!((status.result, status.remark), (StoreResult::Stale, Some(Remark::Clock)));
}

#[test]
fn a_minted_jwt_serves_where_its_key_is_published() {
    let fleet = Fleet::new();
    let minted = |keys: &[[u8; 8]]| Question {
        signed_by: SignedBy::Gateway(keys.into()),
        ..fleet.question()
    };
    let mut answer = stored(b"minted", NOW);
    answer.grant.signer = Some([5; 8]);
    assert_eq!(fleet.lead(&minted(&[[5; 8]])).write(&answer, NOW), None);
    let value = fleet.the_value();
    assert_eq!(fleet.finds(&minted(&[[4; 8], [5; 8]])), Ok(b"minted".to_vec()));
    for other in [minted(&[[4; 8]]), minted(&[]), fleet.question()] {
        let (looked, status) = fleet.look_while(&other, |_| panic!("it waits"));
        assert!(matches!(looked, Looked::Alone), "it must not take its place");
        assert_eq!(status.remark, Some(Remark::UnpublishedKey));
        assert_eq!(status.result, StoreResult::Miss);
    }
    assert_eq!(fleet.the_value(), value);
}

#[test]
fn a_bypass_takes_nothing_and_leaves_its_answer() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"old");
    let bypass = Question { bypass: true, ..fleet.question() };
    let (Looked::Lead(leased), StoreResult::Stale) = fleet.look(&bypass) else { panic!() };
    assert!(leased.has_value());
    assert_eq!(leased.write(&stored(b"new", NOW), NOW), None);
    assert_eq!(fleet.finds(&fleet.question()), Ok(b"new".to_vec()));
}

#[test]
fn garbage_is_a_miss_that_the_answer_takes_the_place_of() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"jwt");
    let whole = fleet.the_value();
    let name = {
        let names = fleet.memory.0.lock().names();
        names.into_iter().find(|name| !name.ends_with(b":g")).unwrap()
    };
    for garbage in [&b""[..], b"V", b"garbage", &whole[..whole.len() - 1], &[b'V'; 300], &[0; 40]] {
        fleet.memory.0.lock().put(&name, garbage);
        let (looked, status) = fleet.look_while(&fleet.question(), |_| panic!("it waits"));
        let Looked::Lead(leased) = looked else { panic!("{looked:?}") };
        assert_eq!((status.result, status.remark), (StoreResult::Void, Some(Remark::Unsealed)));
        assert_eq!(leased.write(&stored(b"jwt", NOW), NOW), None);
        assert_eq!(fleet.finds(&fleet.question()), Ok(b"jwt".to_vec()));
    }
}

#[test]
fn an_inactive_answer_takes_what_is_void_away() {
    let fleet = Fleet::new();
    fleet.answered(&fleet.question(), b"old");
    let lease = fleet.memory.0.lock().names().into_iter().find(|name| name.ends_with(b":g"));
    assert!(fleet.memory.0.lock().lose(&lease.unwrap()));
    let (Looked::Lead(leased), StoreResult::Void) = fleet.look(&fleet.question()) else { panic!() };
    leased.inactive(NOW);
    assert_eq!(fleet.finds(&fleet.question()), Err(StoreResult::Stale));
    fleet.at(NOW + 500);
    assert_eq!(fleet.finds(&fleet.question()), Err(StoreResult::Miss));
}

mod following;
