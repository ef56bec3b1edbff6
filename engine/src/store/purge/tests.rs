use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::client::Phase;
use crate::store::keys::FleetKeys;
use crate::store::memory::Memory;
use crate::store::names::Names;
use crate::store::reply::ServerError;
use crate::store::{Nodes, StoreOptions};

const EPOCH: Epoch = Epoch([9; 16]);
const ME: GatewayId = GatewayId([4; 8]);
const NOW: u64 = 1_700_000_000_000;

/// Something that befalls a store.
type Meanwhile = Box<dyn FnMut(&Memory) + Send>;

/// A store to which something happens in each question: after its commands but the last, which asks
/// for the epoch.
struct Restless {
    memory: Memory,
    meanwhile: Mutex<Meanwhile>,
}

impl Nodes for Restless {
    fn ask(&self, question: &Pipeline, deadline: Instant) -> Result<Vec<Reply>, StoreError> {
        let mut replies = self.memory.ask(question, deadline)?;
        (self.meanwhile.lock())(&self.memory);
        let epoch = self.memory.0.lock().get(names().epoch()).map(<[u8]>::to_vec);
        *replies.last_mut().expect("the epoch") = epoch.map_or(Reply::Nil, Reply::Bulk);
        Ok(replies)
    }

    fn tell(&self, _: Pipeline) -> Result<(), StoreError> {
        unreachable!("a purge is acknowledged")
    }
}

fn names() -> Names {
    Names::new("pt").expect("a prefix")
}

fn keys(files: &[u8]) -> FleetKeys {
    let files: Vec<[u8; 32]> = files.iter().map(|byte| [*byte; 32]).collect();
    let files: Vec<&[u8]> = files.iter().map(|file| &file[..]).collect();
    FleetKeys::new(&files).expect("keys")
}

fn store(nodes: impl Nodes + 'static, files: &[u8]) -> Store {
    Store::new(StoreOptions {
        nodes: Arc::new(nodes),
        keys: Arc::new(keys(files)),
        names: names(),
        timeout: Duration::from_millis(100),
        lock_timeout: Duration::ZERO,
        longest: Duration::from_secs(300),
    })
}

/// A store with an epoch.
fn memory() -> Memory {
    let memory = Memory::default();
    memory.at(NOW);
    memory.0.lock().put(names().epoch(), &EPOCH.0);
    memory
}

fn tell(
    store: &Store,
    target: Target<'_>,
    epoch: Option<Epoch>,
    number: u64,
) -> Result<Acknowledged, PurgeError> {
    Purge::new(store, target, epoch, ME, number, number - 1).tell(soon())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn epoch_of(memory: &Memory) -> Option<Epoch> {
    memory.0.lock().get(names().epoch()).and_then(Epoch::read)
}

/// All events in a store, and under which of the keys they open.
fn events(memory: &Memory, files: &[u8]) -> Vec<(usize, Event)> {
    let mut question = Pipeline::new();
    question.command(&[b"XRANGE", names().stream(), b"-", b"+"]);
    let replies = memory.ask(&question, soon()).expect("entries");
    let entries = replies[0].array().expect("entries");
    let opened = entries.iter().map(|entry| {
        let fields = entry.array().and_then(|entry| entry[1].array()).expect("fields");
        assert_eq!(fields[0].bulk(), Some(event::FIELD));
        Event::open(&keys(files), &names(), fields[1].bulk().expect("bytes")).expect("an event")
    });
    opened.collect()
}

fn put_leases(memory: &Memory, files: &[u8], epoch: Epoch, token: &[u8]) -> Vec<Vec<u8>> {
    let keys = keys(files);
    let leases: Vec<_> = keys.all().iter().map(|key| lease(key, epoch, token)).collect();
    leases.iter().for_each(|lease| memory.0.lock().put(lease, &[1; 16]));
    leases
}

fn lease(key: &FleetKey, epoch: Epoch, token: &[u8]) -> Vec<u8> {
    names().lease(key, &epoch, &key.find.token(token))
}

#[test]
fn a_token_s_leases_go_and_everybody_hears_of_it_under_each_key() {
    let (memory, files) = (memory(), [1, 2]);
    let store = store(memory.clone(), &files);
    let leases = put_leases(&memory, &files, EPOCH, b"opaque");
    let others = put_leases(&memory, &files, EPOCH, b"other");
    tell(&store, Target::Token(b"opaque"), Some(EPOCH), 7).expect("told");
    let has = |lease: &Vec<u8>| memory.0.lock().get(lease).is_some();
    assert!(!leases.iter().any(has) && others.iter().all(has));
    let events = events(&memory, &files);
    assert_eq!(events.len(), 2);
    for (nth, (key, event)) in events.iter().enumerate() {
        let token = keys(&files).all()[nth].find.token(b"opaque");
        assert_eq!((*key, event.what), (nth, What::Token(token)));
        assert_eq!((event.gateway, event.number, event.acknowledged), (ME, 7, 6));
        assert!(event.at_ms >= NOW, "the clock of who says so");
    }
    assert_eq!(epoch_of(&memory), Some(EPOCH));
}

#[test]
fn of_a_subject_only_an_event_tells() {
    let (memory, files) = (memory(), [1, 2]);
    let store = store(memory.clone(), &files);
    let leases = put_leases(&memory, &files, EPOCH, b"opaque");
    for (nth, subject) in Subject::ALL.into_iter().enumerate() {
        tell(&store, Target::Subject(subject, b"alice"), Some(EPOCH), 1).expect("told");
        for key in 0..2 {
            let (opens, event) = events(&memory, &files)[2 * nth + key];
            let hash = subject.hash(&keys(&files).all()[key].find, b"alice");
            assert_eq!((opens, event.what), (key, What::Subject(subject, hash)));
        }
    }
    assert!(leases.iter().all(|lease| memory.0.lock().get(lease).is_some()));
    // The name stands nowhere.
    let content = format!("{:?}", memory.0.lock());
    assert!(!content.contains(&format!("{:?}", b"alice").trim_matches(['[', ']']).to_owned()));
}

#[test]
fn of_everything_the_epoch_tells() {
    let (memory, files) = (memory(), [1, 2]);
    let store = store(memory.clone(), &files);
    for known in [Some(EPOCH), None, Some(Epoch([3; 16]))] {
        let before = epoch_of(&memory).expect("an epoch");
        let told = events(&memory, &files).len();
        tell(&store, Target::All, known, 1).expect("told");
        let epoch = epoch_of(&memory).expect("an epoch");
        assert_ne!(epoch, before);
        let events = events(&memory, &files).split_off(told);
        assert!(
            events.len() == 2 && events.iter().all(|(_, event)| event.what == What::All(epoch))
        );
    }
}

#[test]
fn the_epoch_is_asked_for_where_nobody_has_heard_it() {
    let files = [1];
    for there in [true, false] {
        let memory = memory();
        if !there {
            memory.0.lock().flush();
        }
        let leases = put_leases(&memory, &files, EPOCH, b"opaque");
        let told = tell(&store(memory.clone(), &files), Target::Token(b"opaque"), None, 1);
        told.expect("told");
        let epoch = epoch_of(&memory).expect("an epoch, made where there was none");
        assert_eq!(epoch == EPOCH, there);
        assert_eq!(memory.0.lock().get(&leases[0]).is_none(), there, "of that epoch");
        assert_eq!(events(&memory, &files).len(), 1);
    }
}

/// What was sent was about names that mean nothing any more.
#[test]
fn another_epoch_behind_it_is_no_acknowledgement() {
    const NEW: Epoch = Epoch([5; 16]);
    let files = [1];
    for flushed in [true, false] {
        let memory = memory();
        let of_new = put_leases(&memory, &files, NEW, b"opaque").remove(0);
        let mut times = 0;
        let lease = of_new.clone();
        let meanwhile = move |memory: &Memory| {
            times += 1;
            if times == 1 {
                let mut contents = memory.0.lock();
                if flushed {
                    contents.flush();
                    // Another gateway was quicker.
                    contents.put(&lease, &[2; 16]);
                }
                contents.put(names().epoch(), &NEW.0);
            }
        };
        let nodes = Restless { memory: memory.clone(), meanwhile: Mutex::new(Box::new(meanwhile)) };
        tell(&store(nodes, &files), Target::Token(b"opaque"), Some(EPOCH), 1).expect("told");
        assert!(memory.0.lock().get(&of_new).is_none(), "under the new epoch too");
        let expected = if flushed { 1 } else { 2 };
        assert_eq!(events(&memory, &files).len(), expected, "after the flush once more");
    }
}

#[test]
fn a_store_that_is_emptied_each_time_acknowledges_nothing() {
    for (target, flushes) in [(Target::Token(b"opaque"), true), (Target::All, false)] {
        let mut times = 0u8;
        let meanwhile = move |memory: &Memory| {
            times += 1;
            assert!(times < 20, "it ends");
            let mut contents = memory.0.lock();
            if flushes {
                contents.flush();
            }
            contents.put(names().epoch(), &[times; 16]);
        };
        let nodes = Restless { memory: memory(), meanwhile: Mutex::new(Box::new(meanwhile)) };
        let told = tell(&store(nodes, &[1]), target, Some(EPOCH), 1);
        assert_eq!(told.expect_err("refused"), PurgeError::Emptied);
    }
}

#[test]
fn what_the_store_does_not_take_is_told_apart() {
    for error in [ServerError::Oom, ServerError::Misconf, ServerError::NoReplicas] {
        let memory = memory();
        let store = store(memory.clone(), &[1]);
        memory.0.lock().full = Some(error);
        for target in [Target::Token(b"t"), Target::Subject(Subject::Sub, b"s"), Target::All] {
            let refused = tell(&store, target, Some(EPOCH), 1).expect_err("refused");
            assert_eq!(refused, PurgeError::Store(StoreError::Full(error)));
        }
    }
    let memory = memory();
    let store = store(memory.clone(), &[1]);
    memory.0.lock().away = true;
    let refused = tell(&store, Target::Token(b"t"), Some(EPOCH), 1).expect_err("refused");
    assert_eq!(refused, PurgeError::Store(StoreError::Timeout(Phase::Wait)));
    // The epoch or the stream is another kind of value.
    memory.0.lock().comes_back();
    memory.0.lock().put(names().stream(), b"x");
    let refused = tell(&store, Target::Token(b"t"), Some(EPOCH), 1).expect_err("refused");
    assert_eq!(refused, PurgeError::Store(StoreError::Refused(ServerError::WrongType)));
}

/// Answers with what the test says, whatever is asked.
struct Says(Vec<Reply>);

impl Nodes for Says {
    fn ask(&self, _: &Pipeline, _: Instant) -> Result<Vec<Reply>, StoreError> {
        Ok(self.0.clone())
    }

    fn tell(&self, _: Pipeline) -> Result<(), StoreError> {
        unreachable!("a purge is acknowledged")
    }
}

#[test]
fn a_reply_of_another_kind_is_no_acknowledgement() {
    let bulk = |bytes: &[u8]| Reply::Bulk(bytes.to_vec());
    let (epoch, id) = (|| bulk(&EPOCH.0), || bulk(b"1-0"));
    let good = || vec![Reply::Integer(1), id(), epoch()];
    assert!(tell(&store(Says(good()), &[1]), Target::Token(b"t"), Some(EPOCH), 1).is_ok());
    for replies in [
        vec![],
        vec![Reply::Integer(1), Reply::Nil, epoch()],
        vec![Reply::Integer(1), Reply::Integer(1), epoch()],
        vec![Reply::Integer(1), id(), bulk(b"short")],
        vec![Reply::Integer(1), id(), Reply::Integer(9)],
        vec![Reply::Integer(1), id(), Reply::Array(vec![epoch()])],
        vec![id(), id(), epoch()],
    ] {
        let told = tell(&store(Says(replies.clone()), &[1]), Target::Token(b"t"), Some(EPOCH), 1);
        let malformed = StoreError::Protocol(Fault::Malformed);
        assert_eq!(told.expect_err("refused"), PurgeError::Store(malformed), "{replies:?}");
    }
    for error in [ServerError::Other, ServerError::Moved] {
        for nth in 0..3 {
            let mut replies = good();
            replies[nth] = Reply::Error(error);
            let told = tell(&store(Says(replies), &[1]), Target::Token(b"t"), Some(EPOCH), 1);
            assert_eq!(told.expect_err("refused"), PurgeError::Store(StoreError::Refused(error)));
        }
    }
}

#[test]
fn what_the_stream_has_lost_is_told_again() {
    let (memory, files) = (memory(), [1, 2]);
    let store = store(memory.clone(), &files);
    let mut told = vec![tell(&store, Target::Subject(Subject::Sid, b"s"), Some(EPOCH), 1).unwrap()];
    // A master that dies has told its replica so far.
    let replica = memory.0.lock().clone();
    told.push(tell(&store, Target::Token(b"opaque"), Some(EPOCH), 2).unwrap());
    told.push(tell(&store, Target::All, Some(EPOCH), 3).unwrap());
    assert_eq!(Acknowledged::lost(&store, &told, soon()), Ok(vec![false, false, false]));
    assert_eq!(format!("{:?}", told[1]), "Acknowledged { number: 2, .. }");
    *memory.0.lock() = replica;
    assert_eq!(Acknowledged::lost(&store, &told, soon()), Ok(vec![false, true, true]));
    let lease = put_leases(&memory, &files, EPOCH, b"opaque").remove(0);
    let again = told[1].again(&store, Some(EPOCH), 3).tell(soon()).expect("told");
    assert!(memory.0.lock().get(&lease).is_none());
    let heard = events(&memory, &files).split_off(2);
    assert!(heard.iter().all(|(_, event)| (event.number, event.acknowledged) == (2, 3)));
    assert_eq!(heard.len(), 2);
    let all = told[2].again(&store, Some(EPOCH), 3).tell(soon()).expect("told");
    assert_ne!(epoch_of(&memory), Some(EPOCH));
    told = vec![again, all];
    assert_eq!(Acknowledged::lost(&store, &told, soon()), Ok(vec![false, false]));
    // Everything is lost, and what asks for it says nothing.
    memory.0.lock().flush();
    assert_eq!(Acknowledged::lost(&store, &told, soon()), Ok(vec![true, true]));
    memory.0.lock().away = true;
    assert!(Acknowledged::lost(&store, &told, soon()).is_err());
    assert_eq!(Acknowledged::lost(&store, &[], soon()), Ok(vec![]), "nobody asks about nothing");
    for reply in [Reply::Error(ServerError::WrongType), Reply::Nil, Reply::Integer(0)] {
        let odd = self::store(Says(vec![reply; 4]), &files);
        assert!(Acknowledged::lost(&odd, &told, soon()).is_err());
    }
}
