use std::time::Instant;

use super::*;
use crate::answer::subjects::Subject;
use crate::store::memory::Memory;
use crate::store::purge::{Purge, PurgeError, Target, Told};
use crate::store::reply::ServerError;
use crate::store::{Nodes, Store, StoreError, StoreOptions};

const NOW: u64 = 1_700_000_000_000;
const ME: GatewayId = GatewayId([1; 8]);
const OTHER: GatewayId = GatewayId([2; 8]);

/// A store, and a gateway that hears it.
struct Fleet {
    memory: Memory,
    now: u64,
    files: Vec<[u8; 32]>,
    told: u64,
    acknowledged: u64,
}

impl Fleet {
    fn new() -> Fleet {
        let memory = Memory::default();
        memory.at(NOW);
        Fleet { memory, now: NOW, files: vec![[1; 32]], told: 0, acknowledged: 0 }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.memory.at(self.now);
    }

    fn keys(&self) -> Arc<FleetKeys> {
        let files: Vec<_> = self.files.iter().map(|file| &file[..]).collect();
        Arc::new(FleetKeys::new(&files).expect("keys"))
    }

    fn names() -> Names {
        Names::new("pt").expect("a prefix")
    }

    fn store(&self) -> Store {
        Store::new(StoreOptions {
            nodes: Arc::new(self.memory.clone()),
            keys: self.keys(),
            names: Self::names(),
            timeout: Duration::from_secs(1),
            lock_timeout: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        })
    }

    fn listener(&self, known: Option<Position>) -> Listener {
        Listener::new(self.keys(), Self::names(), ME, known)
    }

    /// One cycle; what was heard.
    fn cycle(&mut self, listener: &mut Listener) -> Heard {
        let Ask { commands, blocks, pause } = listener.question(self.now).expect("random bytes");
        assert!(pause <= Duration::from_secs(1) && [Duration::ZERO, BLOCK].contains(&blocks));
        self.pass(pause.as_millis() as u64);
        let replies = self.memory.ask(&commands, Instant::now()).expect("replies");
        listener.answer(&replies, self.now)
    }

    /// Cycles until it hears; what was heard in all of them.
    fn until_in_sync(&mut self, listener: &mut Listener) -> Heard {
        let mut all = Heard::default();
        for _ in 0..20 {
            let Heard { purges, gap, doubt, position, in_sync, unreadable, .. } =
                self.cycle(listener);
            all.purges.extend(purges);
            all.gap = all.gap.or(gap);
            all.doubt |= doubt;
            all.unreadable += unreadable;
            (all.position, all.in_sync) = (position, in_sync);
            if in_sync {
                return all;
            }
        }
        panic!("it never hears: {all:?}");
    }

    fn hears(&mut self) -> Listener {
        let mut listener = self.listener(None);
        self.until_in_sync(&mut listener);
        listener
    }

    fn try_purge(&mut self, target: Target<'_>) -> Result<(), PurgeError> {
        self.told += 1;
        let epoch = self.epoch();
        let store = self.store();
        let mut purge = Purge::new(&store, target, epoch, OTHER, self.told, self.acknowledged);
        loop {
            let question = purge.question(self.now).expect("random bytes");
            let replies = self.memory.ask(&question, Instant::now())?;
            if purge.answer(&replies)? == Told::Done {
                self.acknowledged = self.told;
                return Ok(());
            }
        }
    }

    fn purge(&mut self, target: Target<'_>) {
        self.try_purge(target).expect("it is acknowledged");
    }

    fn epoch(&self) -> Option<Epoch> {
        self.memory.0.lock().get(Self::names().epoch()).and_then(Epoch::read)
    }

    fn token(&self, token: &[u8]) -> Purged {
        Purged::Token(self.keys().first().hash_key().token(token))
    }

    fn sub(&self, name: &[u8]) -> Purged {
        Purged::Subject(Subject::Sub, Subject::Sub.hash(self.keys().first().hash_key(), name))
    }
}

fn what(heard: &Heard) -> Vec<Purged> {
    heard.purges.iter().map(|purge| purge.what).collect()
}

#[test]
fn purges_are_heard_once_and_in_order() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    assert_eq!(what(&fleet.cycle(&mut listener)), []);
    fleet.purge(Target::Token(b"a"));
    fleet.purge(Target::Subject(Subject::Sub, b"b"));
    fleet.pass(100);
    let heard = fleet.cycle(&mut listener);
    assert_eq!(what(&heard), [fleet.token(b"a"), fleet.sub(b"b")]);
    assert!(heard.in_sync && heard.gap.is_none() && !heard.doubt);
    let now = fleet.now;
    assert!(heard.purges.iter().all(|purge| purge.at_ms == now && !purge.own));
    assert_eq!(what(&fleet.cycle(&mut listener)), []);
}

#[test]
fn who_begins_reads_all_there_is() {
    let mut fleet = Fleet::new();
    let first = fleet.listener(None).question(NOW).expect("a question");
    assert_eq!(first.blocks, Duration::ZERO);
    for nth in 0..COUNT as u32 + 7 {
        fleet.pass(1);
        fleet.purge(Target::Token(&nth.to_be_bytes()));
    }
    fleet.pass(5_000);
    let mut listener = fleet.listener(None);
    let heard = fleet.cycle(&mut listener);
    assert!(!heard.in_sync && heard.doubt && heard.gap.is_none());
    assert_eq!(heard.purges.len(), COUNT);
    let heard = fleet.cycle(&mut listener);
    assert!(heard.in_sync && !heard.doubt);
    assert_eq!(heard.purges.len(), 7);
    assert_eq!(heard.position.expect("a position").since_ms, NOW + 1, "the first entry's time");
    assert_eq!(heard.position.map(|position| position.epoch), fleet.epoch());
}

#[test]
fn who_begins_with_an_empty_stream_knows_purges_from_then_on() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.listener(None);
    let heard = fleet.cycle(&mut listener);
    assert!(!heard.in_sync);
    fleet.pass(10);
    let heard = fleet.until_in_sync(&mut listener);
    assert_eq!(heard.position.expect("a position").since_ms, NOW);
    // Another one finds its entry.
    fleet.pass(1_000);
    let mut other = fleet.listener(None);
    let heard = fleet.cycle(&mut other);
    assert_eq!((heard.in_sync, heard.position.expect("a position").since_ms), (true, NOW + 10));
}

#[test]
fn another_thread_goes_on_where_the_last_one_was() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    let position = fleet.cycle(&mut listener).position;
    fleet.purge(Target::Token(b"a"));
    let mut next = fleet.listener(position);
    let heard = fleet.until_in_sync(&mut next);
    assert_eq!(what(&heard), [fleet.token(b"a")]);
    assert!(heard.gap.is_none() && !heard.doubt);
}

#[test]
fn what_may_have_been_missed_is_a_gap() {
    let names = Fleet::names();
    let lose = |fleet: &mut Fleet, key: &[u8]| assert!(fleet.memory.0.lock().lose(key));
    type Accident<'a> = (&'a str, StoreGap, &'a dyn Fn(&mut Fleet));
    let accidents: [Accident<'_>; 7] = [
        ("flushed", StoreGap::Epoch, &|fleet| fleet.memory.0.lock().flush()),
        ("epoch lost", StoreGap::Epoch, &|fleet| lose(fleet, names.epoch())),
        ("another epoch", StoreGap::Epoch, &|fleet| {
            fleet.memory.0.lock().put(names.epoch(), &[7; 16]);
        }),
        ("stream lost", StoreGap::Trimmed, &|fleet| lose(fleet, names.stream())),
        ("stream lost, and purged again", StoreGap::Trimmed, &|fleet| {
            lose(fleet, names.stream());
            fleet.purge(Target::Token(b"later"));
        }),
        ("stream lost, and purged elsewhere", StoreGap::Trimmed, &|fleet| {
            lose(fleet, names.stream());
            fleet.acknowledged = 0;
            fleet.purge(Target::Token(b"later"));
        }),
        ("flushed, and purged again", StoreGap::Epoch, &|fleet| {
            fleet.memory.0.lock().flush();
            fleet.purge(Target::Token(b"later"));
        }),
    ];
    for (name, why, accident) in accidents {
        let mut fleet = Fleet::new();
        let mut listener = fleet.hears();
        fleet.purge(Target::Token(b"heard"));
        fleet.cycle(&mut listener);
        fleet.pass(60_000);
        // One that nobody hears.
        fleet.purge(Target::Token(b"lost"));
        accident(&mut fleet);
        let at = fleet.now;
        let mut heard = fleet.cycle(&mut listener);
        if heard.gap.is_none() {
            // What came while it waited is there, and what was read before is not.
            assert_eq!(what(&heard), [fleet.token(b"later")], "{name}");
            heard = fleet.cycle(&mut listener);
        }
        assert_eq!((heard.gap, heard.in_sync, heard.doubt), (Some(why), false, true), "{name}");
        let heard = fleet.until_in_sync(&mut listener);
        assert!(heard.doubt && heard.gap.is_none(), "{name}: {heard:?}");
        assert!(heard.position.expect("a position").since_ms >= at, "{name}");
        assert_eq!(heard.position.map(|position| position.epoch), fleet.epoch());
        // It hears again.
        fleet.purge(Target::Subject(Subject::Sub, b"x"));
        let heard = fleet.cycle(&mut listener);
        assert_eq!((what(&heard), heard.gap), (vec![fleet.sub(b"x")], None), "{name}");
    }
}

#[test]
fn a_purge_of_everything_is_no_gap() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    let before = fleet.epoch();
    fleet.purge(Target::All);
    assert_ne!(fleet.epoch(), before);
    let heard = fleet.until_in_sync(&mut listener);
    assert_eq!((what(&heard), heard.gap, heard.doubt), (vec![Purged::All], None, false));
    assert_eq!(heard.position.map(|position| position.epoch), fleet.epoch());
}

#[test]
fn a_purge_of_everything_may_come_while_the_store_waits() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    let ask = listener.question(fleet.now).expect("a question");
    let mut replies = fleet.memory.ask(&ask.commands, Instant::now()).expect("replies");
    fleet.purge(Target::All);
    let later = fleet.memory.ask(&ask.commands, Instant::now()).expect("replies");
    // The epoch was asked for before, the stream answered after.
    replies[2] = later[2].clone();
    let heard = listener.answer(&replies, fleet.now);
    assert_eq!((what(&heard), heard.gap, heard.in_sync), (vec![Purged::All], None, false));
    let heard = fleet.cycle(&mut listener);
    assert_eq!((heard.gap, heard.in_sync), (None, true));
    assert_eq!(heard.position.map(|position| position.epoch), fleet.epoch());
}

#[test]
fn what_a_gateway_was_told_and_nobody_has_read_is_missing() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    fleet.purge(Target::Token(b"a"));
    fleet.cycle(&mut listener);
    // One whose writing failed has a number, too.
    fleet.told += 1;
    fleet.purge(Target::Token(b"b"));
    assert_eq!(fleet.cycle(&mut listener).gap, None);
    // And here one is acknowledged that is in no stream.
    fleet.told += 1;
    fleet.acknowledged = fleet.told;
    fleet.purge(Target::Token(b"c"));
    let heard = fleet.cycle(&mut listener);
    assert_eq!((heard.gap, what(&heard)), (Some(StoreGap::Missing), vec![fleet.token(b"c")]));
}

#[test]
fn purges_are_heard_across_a_change_of_keys() {
    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];
    for (sends, hears, numbers) in [
        (&[OLD][..], &[OLD, NEW][..], true),
        (&[OLD, NEW], &[OLD], true),
        (&[OLD, NEW], &[NEW, OLD], true),
        (&[NEW, OLD], &[OLD, NEW], true),
        (&[NEW, OLD], &[NEW], true),
        // Not a round of it: no token can be found by another's hash, but all is all.
        (&[OLD], &[NEW, OLD], false),
    ] {
        let mut fleet = Fleet::new();
        fleet.files = hears.to_vec();
        let mut listener = fleet.hears();
        fleet.files = sends.to_vec();
        fleet.purge(Target::Token(b"a"));
        fleet.purge(Target::All);
        fleet.files = hears.to_vec();
        let heard = fleet.until_in_sync(&mut listener);
        assert_eq!(what(&heard).contains(&fleet.token(b"a")), numbers);
        assert!(what(&heard).contains(&Purged::All) && heard.gap.is_none());
    }
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    fleet.files = vec![NEW];
    fleet.purge(Target::Token(b"a"));
    let heard = fleet.cycle(&mut listener);
    assert_eq!((heard.purges.len(), heard.unreadable), (0, 1), "another fleet's");
}

#[test]
fn own_purges_are_told_again_after_a_gap() {
    let mut fleet = Fleet::new();
    let mut listener = Listener::new(fleet.keys(), Fleet::names(), OTHER, None);
    fleet.until_in_sync(&mut listener);
    fleet.purge(Target::Token(b"old"));
    fleet.cycle(&mut listener);
    fleet.pass(AGAIN_MS);
    fleet.purge(Target::Token(b"recent"));
    assert!(fleet.cycle(&mut listener).purges.iter().all(|purge| purge.own));
    let mut deaf = fleet.hears();
    fleet.pass(2_000);
    fleet.memory.0.lock().flush();
    assert_eq!(fleet.cycle(&mut deaf).gap, Some(StoreGap::Epoch));
    assert_eq!(fleet.cycle(&mut listener).gap, Some(StoreGap::Epoch));
    fleet.until_in_sync(&mut listener);
    let heard = fleet.until_in_sync(&mut deaf);
    assert_eq!(what(&heard), [fleet.token(b"recent")]);
}

#[test]
fn a_purge_s_time_is_the_later_of_all_clocks_within_reason() {
    for (theirs, heard_at) in [(0, 0), (-3_600_000, 0), (4_000, 4_000), (3_600_000, 5_000)] {
        let mut fleet = Fleet::new();
        let mut listener = fleet.hears();
        let now = fleet.now;
        fleet.now = now.saturating_add_signed(theirs);
        fleet.purge(Target::Token(b"a"));
        fleet.now = now;
        let heard = fleet.cycle(&mut listener);
        assert_eq!(heard.purges[0].at_ms, now + heard_at, "{theirs}");
    }
}

#[test]
fn a_store_that_loses_everything_all_the_time_is_begun_anew_now_and_then() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    let began = fleet.now;
    let mut gaps = 0;
    for _ in 0..60 {
        fleet.memory.0.lock().flush();
        gaps += u64::from(fleet.cycle(&mut listener).gap.is_some());
    }
    assert!(
        gaps > 5 && fleet.now - began >= (gaps - 1) * ANEW_MS,
        "{gaps} in {}",
        fleet.now - began
    );
}

#[test]
fn a_full_store_is_heard_where_it_was_begun() {
    let mut fleet = Fleet::new();
    fleet.memory.0.lock().full = Some(ServerError::Oom);
    let mut listener = fleet.listener(None);
    for _ in 0..5 {
        let heard = fleet.cycle(&mut listener);
        assert_eq!((heard.in_sync, heard.gap), (false, None));
    }
    let refused = fleet.try_purge(Target::Token(b"a"));
    assert_eq!(refused, Err(StoreError::Full(ServerError::Oom).into()));
    fleet.memory.0.lock().full = None;
    fleet.until_in_sync(&mut listener);
    fleet.memory.0.lock().full = Some(ServerError::Oom);
    let mut other = fleet.listener(None);
    fleet.until_in_sync(&mut other);
}

#[test]
fn what_is_not_understood_three_times_is_a_gap() {
    let mut fleet = Fleet::new();
    let mut listener = fleet.hears();
    let id = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let entry = |at: &str| Reply::Array(vec![id(at), Reply::Array(vec![id("e"), id("x")])]);
    let stream = |entries: Vec<Reply>| {
        let name = Reply::Bulk(Fleet::names().stream().to_vec());
        Reply::Array(vec![Reply::Array(vec![name, Reply::Array(entries)])])
    };
    let epoch = Reply::Bulk(fleet.epoch().expect("an epoch").0.to_vec());
    let there = Reply::Array(vec![entry("1-1")]);
    for (nth, odd) in [
        vec![],
        vec![Reply::Nil],
        vec![Reply::Integer(1), there.clone(), Reply::Nil],
        vec![Reply::Bulk(b"short".to_vec()), there.clone(), Reply::Nil],
        vec![epoch.clone(), Reply::Nil, Reply::Nil],
        vec![epoch.clone(), there.clone(), Reply::Error(ServerError::WrongType)],
        vec![epoch.clone(), there.clone(), Reply::Array(vec![])],
        vec![epoch.clone(), there.clone(), stream(vec![id("1-1")])],
        vec![epoch.clone(), there.clone(), stream(vec![entry("1")])],
        vec![epoch.clone(), there.clone(), stream(vec![entry("2-1"), entry("1-1")])],
        vec![epoch.clone(), there.clone(), stream(vec![entry("2-1"), entry("2-1")])],
    ]
    .into_iter()
    .enumerate()
    {
        for time in 1..=3 {
            let heard = listener.answer(&odd, fleet.now);
            let gap = (time == 3).then_some(StoreGap::Unreadable);
            assert_eq!(heard.gap, gap, "{nth}");
        }
        fleet.pass(1_000);
        fleet.until_in_sync(&mut listener);
    }
    // An entry that does not open is another's; the rest is heard.
    let heard = listener.answer(&[epoch, there, stream(vec![entry("9999999999999-0")])], fleet.now);
    assert_eq!((heard.unreadable, heard.gap, heard.in_sync), (1, None, true));
}

#[test]
fn a_purge_is_done_under_the_epoch_that_is_still_there() {
    let mut fleet = Fleet::new();
    fleet.hears();
    let store = fleet.store();
    let known = fleet.epoch();
    let lease = |epoch: &Epoch| {
        let keys = fleet.keys();
        let token = keys.first().hash_key().token(b"a");
        Fleet::names().lease(keys.first(), epoch, &token)
    };
    fleet.memory.0.lock().flush();
    let epoch = Epoch([5; 16]);
    fleet.memory.0.lock().put(Fleet::names().epoch(), &epoch.0);
    fleet.memory.0.lock().put(&lease(&epoch), &[3; 16]);
    // `known` is what was heard before the flush.
    let purge = Purge::new(&store, Target::Token(b"a"), known, ME, 1, 0);
    assert!(purge.tell(Instant::now() + Duration::from_secs(60)).is_ok());
    assert!(fleet.memory.0.lock().get(&lease(&epoch)).is_none(), "the lease that counts is gone");

    // Where nothing was heard, it asks; and nobody is told that it is done where it is not.
    let purge = Purge::new(&store, Target::Subject(Subject::Sub, b"b"), None, ME, 2, 1);
    assert!(purge.tell(Instant::now() + Duration::from_secs(60)).is_ok());
    let mut purge = Purge::new(&store, Target::All, None, ME, 3, 2);
    let mut ends = Vec::new();
    for nth in 0..=3 {
        let question = purge.question(fleet.now).expect("random bytes");
        let mut replies = fleet.memory.ask(&question, Instant::now()).expect("replies");
        *replies.last_mut().expect("replies") = Reply::Bulk(vec![nth; 16]);
        ends.push(purge.answer(&replies));
    }
    assert_eq!(ends.pop(), Some(Err(PurgeError::Emptied)));
    assert!(ends.iter().all(|end| *end == Ok(Told::Again)));
}
