use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::answer::subjects::Subjects;
use crate::shared::counters::{StoreErrorReason, StorePeer, StorePurge};
use crate::shared::purges::testing::purges;
use crate::shared::purges::{Moment, Standing};
use crate::shared::state::testing::{at, state};
use crate::store::memory::Memory;
use crate::store::purge::{Purge, Target};
use crate::store::{Pipeline, ServerError, Store, StoreOptions};
use crate::token::key::TokenHash;

const LIMITS: Limits = Limits { max_fails: 3, fail_timeout_ms: 60_000 };
const STORE: u64 = 7;

/// A gateway's zones, at a store that others use too.
struct Gateway {
    memory: Memory,
    keys: Arc<FleetKeys>,
    state: State,
    purges: Purges,
}

fn names() -> Names {
    Names::new("pt").unwrap()
}

fn keys() -> Arc<FleetKeys> {
    Arc::new(FleetKeys::new(&[&[5; 32]]).unwrap())
}

impl Gateway {
    fn at(memory: &Memory) -> Gateway {
        memory.at(wall_ms());
        let purges = purges(wall_ms() - 100_000);
        Gateway { memory: memory.clone(), keys: keys(), state: state(), purges }
    }

    fn options(&self) -> HearOptions {
        HearOptions {
            nodes: Arc::new(self.memory.clone()),
            keys: self.keys.clone(),
            names: names(),
            store: STORE,
            timeout: Duration::from_millis(100),
            limits: LIMITS,
            state: self.state,
            purges: self.purges,
            shard: self.state.shard(0),
            configuration: [1; 32],
            version: "1.2.3",
        }
    }

    /// A worker's thread that hears from now on, whoever did before.
    fn hearer(&self, pid: u32) -> Hearer {
        self.hearer_of(pid, self.options())
    }

    fn hearer_of(&self, pid: u32, options: HearOptions) -> Hearer {
        let within = HearOptions::within_ms(options.timeout);
        let lease = self.state.hearing().take(within, at(pid, 1_000, &|_| false)).unwrap();
        Hearer::new(options, lease, Clock::at(1_000)).unwrap()
    }

    fn is_in_sync(&self) -> bool {
        let last = self.state.store().last_heard();
        last.is_some_and(|heard| self.state.store().is_in_sync(heard))
    }

    fn standing(&self, token: &TokenHash, asked: Moment) -> Standing {
        self.purges.standing(token, &Subjects::default(), asked)
    }

    fn count(&self, counters: &[AtomicU64]) -> u64 {
        counters.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn gaps(&self) -> u64 {
        self.count(&self.state.shard(0).store.gaps)
    }

    fn heard(&self) -> u64 {
        let purges = &self.state.shard(0).store.purges;
        self.count(&purges[StorePurge::Heard as usize..][..1])
    }
}

/// Lets it hear until it is in sync.
fn settle(hearer: &mut Hearer, gateway: &Gateway) -> Vec<Tiding> {
    let mut tidings = Vec::new();
    for _ in 0..9 {
        tidings.extend(hearer.turn().expect("nobody else hears"));
        if gateway.is_in_sync() {
            return tidings;
        }
    }
    panic!("never in sync: {tidings:?}");
}

/// Another gateway of the fleet purges a token.
fn purge(memory: &Memory, token: &[u8], number: u64) -> TokenHash {
    let store = Store::new(StoreOptions {
        nodes: Arc::new(memory.clone()),
        keys: keys(),
        names: names(),
        timeout: Duration::from_secs(1),
        lock_timeout: Duration::ZERO,
        longest: Duration::from_secs(60),
    });
    memory.at(wall_ms());
    let other = GatewayId([1; 8]);
    let purge = Purge::new(&store, Target::Token(token), None, other, number, number - 1);
    purge.tell(Instant::now() + Duration::from_secs(60)).unwrap();
    keys().first().hash_key().token(token)
}

#[test]
fn what_others_purge_is_purged_here() {
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    let mut hearer = gateway.hearer(7);
    assert!(!gateway.is_in_sync());
    assert_eq!(settle(&mut hearer, &gateway), []);
    let (asked, neighbour) = (gateway.purges.now(), TokenHash([9; 16]));
    let token = purge(&memory, b"opaque", 1);
    assert_eq!(gateway.standing(&token, asked), Standing::Good, "not heard yet");
    assert_eq!(hearer.turn(), Some(vec![]));
    assert_eq!(gateway.standing(&token, asked), Standing::Purged);
    assert_eq!(gateway.standing(&neighbour, asked), Standing::Good);
    assert_eq!(gateway.standing(&token, gateway.purges.now()), Standing::Good);
    assert_eq!((gateway.heard(), gateway.gaps()), (1, 0));
}

#[test]
fn all_that_is_in_the_stream_is_heard_before_the_store_is_used() {
    let memory = Memory::default();
    let token = purge(&memory, b"opaque", 1);
    let gateway = Gateway::at(&memory);
    let asked = gateway.purges.now();
    let mut hearer = gateway.hearer(7);
    settle(&mut hearer, &gateway);
    assert_eq!(gateway.standing(&token, asked), Standing::Purged);
}

#[test]
fn who_takes_over_reads_on_where_the_last_one_was() {
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    let mut first = gateway.hearer(7);
    settle(&mut first, &gateway);
    purge(&memory, b"opaque", 1);
    settle(&mut first, &gateway);
    let (heard, since) = (gateway.heard(), gateway.state.hearing().heard().unwrap().since_ms);
    let token = purge(&memory, b"other", 2);
    let asked = gateway.purges.now();
    let mut second = gateway.hearer(8);
    assert_eq!(first.turn(), None, "another hears");
    assert_eq!(gateway.heard(), heard, "and what it has read counts for nothing");
    assert_eq!(settle(&mut second, &gateway), []);
    assert_eq!(gateway.standing(&token, asked), Standing::Purged);
    assert_eq!((gateway.heard(), gateway.gaps()), (heard + 1, 0));
    assert_eq!(gateway.state.hearing().heard().unwrap().since_ms, since);
}

#[test]
fn whoever_hung_while_it_asked_changes_nothing() {
    /// Another takes over while this one waits for the answer.
    struct Hangs(Memory, State);
    impl Nodes for Hangs {
        fn ask(&self, question: &Pipeline, until: Instant) -> Result<Vec<Reply>, StoreError> {
            let replies = self.0.ask(question, until);
            self.1.hearing().take(600, at(8, 9_000_000, &|_| true)).unwrap();
            replies
        }

        fn tell(&self, _: Pipeline) -> Result<(), StoreError> {
            unreachable!("nothing is told")
        }
    }
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    settle(&mut gateway.hearer(7), &gateway);
    let token = purge(&memory, b"opaque", 1);
    let before = (gateway.state.hearing().heard(), gateway.purges.now());
    let nodes = Arc::new(Hangs(memory, gateway.state));
    let mut hearer = gateway.hearer_of(7, HearOptions { nodes, ..gateway.options() });
    assert_eq!(hearer.turn(), None);
    assert_eq!((gateway.state.hearing().heard(), gateway.purges.now()), before);
    assert_eq!(gateway.standing(&token, before.1), Standing::Good);
}

#[test]
fn a_store_that_was_emptied_puts_what_is_kept_in_doubt() {
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    let mut hearer = gateway.hearer(7);
    settle(&mut hearer, &gateway);
    for round in 1..=4 {
        let (asked, token) = (gateway.purges.now(), TokenHash([9; 16]));
        memory.0.lock().flush();
        let tidings = hearer.turn().unwrap();
        assert!(!gateway.state.store().is_in_sync(0), "{round}");
        let standing = gateway.standing(&token, asked);
        assert!(matches!(standing, Standing::Doubted { since_ms: 1_000.. }), "{standing:?}");
        assert!(standing.serves(1_000));
        let gap = Tiding::Gap(StoreGap::Epoch);
        if round < 4 {
            assert_eq!(tidings, [gap]);
            settle(&mut hearer, &gateway);
        } else {
            assert_eq!(tidings, [gap, Tiding::TooManyGaps]);
        }
        assert_eq!(gateway.gaps(), round);
    }
    // It counts as away, though it answers.
    (0..3).for_each(|_| assert_eq!(hearer.turn(), Some(vec![])));
    assert!(!gateway.is_in_sync());
}

#[test]
fn a_store_that_is_away_rests_and_is_back_by_what_is_heard() {
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    let mut hearer = gateway.hearer(7);
    settle(&mut hearer, &gateway);
    let heard = gateway.state.store().last_heard();
    memory.0.lock().away = true;
    let failed = Tiding::Failed(StoreError::Timeout(crate::client::Phase::Wait));
    for _ in 0..3 {
        assert!(!gateway.state.store().is_resting());
        assert_eq!(hearer.turn(), Some(vec![failed]));
    }
    assert!(gateway.state.store().is_resting());
    assert_eq!(gateway.state.store().last_heard(), heard);
    let errors = &gateway.state.shard(0).store.errors;
    assert_eq!(gateway.count(&errors[StoreErrorReason::Timeout as usize..][..1]), 3);
    memory.0.lock().comes_back();
    assert_eq!(hearer.turn(), Some(vec![Tiding::Back]));
    assert!(!gateway.state.store().is_resting());
    assert!(gateway.state.store().last_heard() > heard);
    assert_eq!(gateway.gaps(), 0);
}

#[test]
fn a_full_store_is_heard_on_and_said_to_be_full() {
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    let mut hearer = gateway.hearer(7);
    settle(&mut hearer, &gateway);
    memory.0.lock().full = Some(ServerError::Oom);
    assert_eq!(hearer.turn(), Some(vec![]));
    assert!(gateway.is_in_sync());
}

#[test]
fn what_is_no_answer_is_not_heard() {
    /// Answers each command with a number.
    struct Numbers;
    impl Nodes for Numbers {
        fn ask(&self, question: &Pipeline, _: Instant) -> Result<Vec<Reply>, StoreError> {
            Ok(vec![Reply::Integer(1); question.len()])
        }

        fn tell(&self, _: Pipeline) -> Result<(), StoreError> {
            unreachable!("nothing is told")
        }
    }
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    settle(&mut gateway.hearer(7), &gateway);
    let heard = gateway.state.store().last_heard();
    gateway.state.store().rest(1);
    let options = HearOptions { nodes: Arc::new(Numbers), ..gateway.options() };
    let mut hearer = gateway.hearer_of(7, options);
    let failed = Tiding::Failed(StoreError::Protocol(Fault::Malformed));
    let gap = Tiding::Gap(StoreGap::Unreadable);
    for tidings in [vec![failed], vec![failed], vec![failed, gap], vec![failed]] {
        assert_eq!(hearer.turn(), Some(tidings));
    }
    assert_eq!(gateway.state.store().last_heard(), heard);
    assert!(gateway.state.store().is_resting() && !gateway.is_in_sync());
}

#[test]
fn gateways_see_each_other() {
    let memory = Memory::default();
    let (one, other) = (Gateway::at(&memory), Gateway::at(&memory));
    settle(&mut one.hearer(7), &one);
    settle(&mut other.hearer(7), &other);
    let seen = |gateway: &Gateway| {
        StorePeer::ALL.iter().map(|peer| gateway.state.store().peers(*peer)).collect::<Vec<_>>()
    };
    assert_eq!((seen(&one), seen(&other)), (vec![0, 0, 0], vec![1, 0, 0]));
    let configured = HearOptions { configuration: [2; 32], ..one.options() };
    settle(&mut one.hearer_of(8, configured), &one);
    assert_eq!(seen(&one), [0, 1, 0]);
    let keys = Arc::new(FleetKeys::new(&[&[6; 32]]).unwrap());
    let mut third = Gateway::at(&memory);
    third.keys = keys;
    assert!(settle(&mut third.hearer(7), &third).contains(&Tiding::OtherKey));
    assert_eq!(seen(&third), [0, 0, 2]);
}

#[test]
fn another_store_or_key_is_begun_with_anew() {
    let memory = Memory::default();
    let gateway = Gateway::at(&memory);
    settle(&mut gateway.hearer(7), &gateway);
    let asked = gateway.purges.now();
    let options = HearOptions { store: STORE + 1, ..gateway.options() };
    let mut other = gateway.hearer_of(7, options);
    assert!(!gateway.is_in_sync());
    assert_eq!(settle(&mut other, &gateway), [Tiding::Another]);
    let standing = gateway.standing(&TokenHash([9; 16]), asked);
    assert!(matches!(standing, Standing::Doubted { .. }), "{standing:?}");
    assert_eq!(gateway.state.hearing().heard().unwrap().store, STORE + 1);
}
