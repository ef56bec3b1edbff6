//! Everything workers share, used by several threads at once, each with views of its own as if it
//! were a process: for ThreadSanitizer (`make sanitize`), which sees what one process does.
//!
//! `THREADS_ROUNDS` lets it run for longer.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::{
    Arena, Call, Entry, Find, Joined, Kind, Left, Locked, Owner, Poll, Record, Seen, Taken,
};
use phantom_token_engine::lifetime::Life;
use phantom_token_engine::local::{Cached, Local};
use phantom_token_engine::metrics::Snapshot;
use phantom_token_engine::shared::counters::{
    self, CallResult, FailureReason, OwnResult, UncachedReason,
};
use phantom_token_engine::shared::health::turn::TurnTaken;
use phantom_token_engine::shared::health::{Availability, Health, Limits, OwnCall};
use phantom_token_engine::shared::hearing::Heard;
use phantom_token_engine::shared::lock;
use phantom_token_engine::shared::process::Here;
use phantom_token_engine::shared::state::{self, Notice, State};
use phantom_token_engine::token::key::{HashKey, Key, hash_of};

const HASH_KEY: HashKey = HashKey(*b"0123456789abcdef");
const WORKERS: u32 = 4;
const TOKENS: u64 = 60;
/// Room for some of the tokens.
const LEN: usize = 96 * 1024;

/// One of these workers, to which all others run.
fn here(pid: u32, now_ms: u64) -> Here<'static> {
    Here { pid, now_ms, alive: &|_| true }
}

/// A zone's block and its lock, and the state's block.
struct Shared {
    zone: Vec<AtomicU64>,
    word: AtomicUsize,
    state: Vec<AtomicU64>,
}

impl Shared {
    fn zone(&self) -> NonNull<u8> {
        NonNull::from(&self.zone[..]).cast()
    }

    fn state(&self) -> NonNull<u8> {
        let base = NonNull::from(&self.state[..]).cast::<u8>();
        // SAFETY: the vector has room for the offset.
        unsafe { base.add(base.align_offset(state::ALIGN)) }
    }
}

/// Random numbers that are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn key(token: u64) -> Key {
    Key { token: HASH_KEY.token(&token.to_le_bytes()), identity: HASH_KEY.identity([]) }
}

/// A JWT that says whose it is in every byte, of any length.
fn jwt(token: u64, random: &mut Random) -> Vec<u8> {
    vec![token as u8; 1 + random.below(4_000) as usize]
}

fn is_of(jwt: &[u8], token: u64) -> bool {
    !jwt.is_empty() && jwt.iter().all(|byte| *byte == token as u8)
}

fn entry(jwt: &[u8]) -> Entry<'_> {
    let (kind, times) = (Kind::Active, Life::default());
    Entry {
        kind,
        facts: Facts { life: times, jwt, scope: b"read", claims: b"{}", ..Facts::default() },
    }
}

/// One worker: what the module does on its event loop.
struct Worker<'a> {
    shared: &'a Shared,
    arena: Arena,
    state: State,
    local: Local,
    record: Record,
    me: Owner,
    random: Random,
    followed: Option<(u64, u64, bool)>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, pid: u32) -> Self {
        // SAFETY: `shared` outlives the threads; all use arenas, the one lock and states.
        let (arena, state) = unsafe {
            let state = State::attach(shared.state(), state::SIZE).unwrap();
            (Arena::attach(shared.zone(), LEN).unwrap(), state)
        };
        let slot = state.slots().claim(here(pid, 0)).unwrap();
        Self {
            shared,
            arena,
            state,
            local: Local::new(8, 1 << 20),
            record: Record::with_room(8_192),
            me: Owner { pid, slot },
            random: Random(u64::from(pid)),
            followed: None,
        }
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Locked<'_>, &mut Record) -> T) -> Option<T> {
        let mut guard = lock::acquire(&self.shared.word, here(self.me.pid, 0))?;
        Some(work(&mut self.arena.locked(&mut guard), &mut self.record))
    }

    fn turn(&mut self) {
        let token = self.random.below(TOKENS);
        match self.random.below(100) {
            0..35 => self.look(token),
            35..50 => self.store(token),
            50..65 => self.join(token),
            65..80 => self.end_flight(),
            80..85 => self.purge(token),
            85..95 => self.call(token),
            95..99 => self.count(),
            _ => self.renew(token),
        }
    }

    /// A hit in the worker's own cache or in the zone, which must be the token's.
    fn look(&mut self, token: u64) {
        let key = key(token);
        let generation = self.state.generation(&key.token);
        if let Some(cached) = self.local.get(&key, generation) {
            assert!(is_of(cached.jwt(), token), "another token's JWT near");
            return;
        }
        let found = self.locked(|locked, record| locked.find(&key, record));
        if found == Some(Find::Hit) && self.record.kind() == Kind::Active {
            assert!(is_of(self.record.facts().jwt, token), "another token's JWT in the zone");
            let cached = Cached::new(&self.record.facts(), generation, 0).unwrap();
            self.local.insert(key, &cached);
        }
    }

    fn store(&mut self, token: u64) {
        let (key, jwt) = (key(token), jwt(token, &mut self.random));
        let (state, generation) = (self.state, self.state.generation(&key.token));
        self.locked(|locked, _| {
            if state.generation(&key.token) == generation {
                locked.store(&key, &entry(&jwt));
            }
        });
    }

    fn join(&mut self, token: u64) {
        let id = self.state.next_flight_id();
        let purges = self.state.generation(&key(token).token).purges();
        let seen = Seen { purges, ..Seen::default() };
        let mine = Call { id, owner: self.me, deadline: 10_000, seen };
        let now = self.random.below(11_000);
        let joined = self
            .locked(|locked, _| locked.join_or_lead(&key(token), &mine, here(mine.owner.pid, now)));
        match joined {
            Some(Joined::Lead) => self.followed = Some((token, id, true)),
            Some(Joined::Follow { flight, .. }) => self.followed = Some((token, flight, false)),
            Some(Joined::Full) | None => {}
        }
    }

    fn end_flight(&mut self) {
        let Some((token, flight, leads)) = self.followed.take() else { return };
        let key = key(token);
        if leads {
            let jwt = jwt(token, &mut self.random);
            let keep = self.random.below(2) == 0;
            self.locked(|locked, _| match keep {
                true => {
                    locked.store(&key, &entry(&jwt));
                    locked.answer(&key, flight, Left::Stored);
                }
                false => {
                    locked.answer(&key, flight, Left::Active(entry(&jwt)));
                }
            });
            self.state.announce_answer();
            return;
        }
        let purges = self.state.generation(&key.token).purges();
        let id = self.state.next_flight_id();
        let seen = Seen { purges, ..Seen::default() };
        let mine = Call { id, owner: self.me, deadline: 10_000, seen };
        let polled = self.locked(|locked, record| {
            locked.poll(&key, flight, &mine, here(mine.owner.pid, 0), record)
        });
        match polled {
            Some(Poll::Taken(Taken::Active | Taken::Stored)) => {
                let active = self.record.kind() == Kind::Active;
                assert!(!active || is_of(self.record.facts().jwt, token), "another token's answer");
            }
            Some(Poll::Lead) => self.followed = Some((token, mine.id, true)),
            Some(Poll::Waiting) => {
                self.state.answered();
                self.followed = Some((token, flight, false));
            }
            _ => {}
        }
    }

    fn purge(&mut self, token: u64) {
        let key = key(token);
        self.state.purge_token(&key.token);
        if self.random.below(50) == 0 {
            self.locked(|locked, _| locked.clear());
            self.state.purge_all();
        } else {
            self.locked(|locked, _| locked.purge(&key.token));
        }
        self.state.purge_token(&key.token);
    }

    /// A call's share in health and counters.
    fn call(&mut self, token: u64) {
        let label = format!("http://as{}.example/introspect", token % 3);
        let endpoint = self.state.endpoints().find(&label, 0);
        let limits = Limits { max_fails: 3, fail_timeout_ms: 50 };
        let now = self.random.below(1_000);
        let (me, slot) = (self.me.pid, self.me.slot);
        self.state.slots().pending_add(slot, 1);
        if self.state.endpoints().available(endpoint, &limits, now) == Availability::Up {
            if self.random.below(3) == 0 {
                let _ = self.state.endpoints().answered(endpoint, now);
                self.state.calls(endpoint).count(CallResult::Active);
            } else {
                let _ = self.state.endpoints().failed(endpoint, &limits, now, now);
                self.state.calls(endpoint).count_failure(FailureReason::ALL[0]);
            }
        }
        let hash = hash_of(&[label.as_bytes()]);
        if let TurnTaken::Mine(turn) = self.state.turns().take(hash, now + 10, here(me, now)) {
            let said = if self.random.below(2) == 0 { Health::Answered } else { Health::Failed };
            let call = OwnCall { said, began_ms: now, counts_ms: 20 };
            let _ = self.state.endpoints().own_call_ended(endpoint, &limits, call, now);
            self.state.calls(endpoint).count_own(OwnResult::ALL[0]);
            self.state.turns().ended(turn);
        }
        self.state.shard(slot).observe_call(Duration::from_millis(now));
        self.state.shard(slot).observe_queue(Duration::from_micros(now));
        self.state.slots().pending_add(slot, -1);
        let gate = self.state.gate_hash([label.as_bytes(), b"secret"]);
        let _ = self.state.gates().refused(gate, endpoint, now);
        let _ = self.state.gates().admit(gate, now);
        let _ = self.state.gates().passed(gate, endpoint, now);
        let _ = (self.state.forms().try_raw(gate, now), self.state.forms().raw_answered(gate));
        self.state.forms().raw_refused(gate);
        self.state.once(Notice::Overflow, hash, now, Some(10));
        self.hear(me, now);
    }

    /// Takes over from whoever heard, goes on where that was, and is whole whatever it read.
    fn hear(&mut self, me: u32, now: u64) {
        let hearing = self.state.hearing();
        let Some(mut lease) = hearing.take(0, here(me, now)) else { return };
        let seen = hearing.heard().map_or(0, |heard| {
            assert_eq!((heard.epoch, heard.last.1), ([heard.store as u8; 16], heard.store));
            heard.store
        });
        if hearing.renew(&mut lease, 0, now) {
            let next = seen + 1;
            let (epoch, last) = ([next as u8; 16], (now, next));
            hearing.note(Heard { store: next, epoch, last, since_ms: now });
            self.state.store().heard(now);
        }
        hearing.give_up(me);
    }

    fn count(&mut self) {
        let slot = self.me.slot;
        self.state.slots().waiting_add(slot, 1);
        self.state.shard(slot).count_request(counters::RequestResult::ALL[0]);
        self.state.shard(slot).count_uncached(UncachedReason::ALL[0]);
        self.state.slots().waiting_add(slot, -1);
        let stats = self.arena.stats();
        assert!(stats.used_bytes <= stats.size_bytes);
        let page = Snapshot::take(&self.state, &[], None, None, |_| true, here(0, 0)).prometheus();
        assert!(page.contains("phantom_token_requests_total"));
    }

    fn renew(&mut self, token: u64) {
        let key = key(token);
        let generation = self.state.generation(&key.token);
        if self.random.below(2) == 0 {
            self.state.renew(&key.token, generation);
        } else {
            self.state.called_inactive(&key.token, generation);
        }
        // Another worker takes its place.
        self.state.slots().release(self.me.slot, self.me.pid);
        self.me.slot = self.state.slots().claim(here(self.me.pid, 0)).unwrap();
    }
}

/// This test has no harness, which would be a second program of threads to look at: where the standard
/// library is not instrumented, ThreadSanitizer takes its channel for a race. Arguments name tests, as
/// they do to a harness.
fn main() {
    const NAME: &str = "workers_as_threads_share_a_zone_and_the_state";
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_listed = std::env::args().any(|arg| arg == "--list");
    if is_listed || !named.is_empty() && !named.iter().any(|name| NAME.contains(name.as_str())) {
        return;
    }
    workers_as_threads_share_a_zone_and_the_state();
    println!("test {NAME} ... ok");
}

fn workers_as_threads_share_a_zone_and_the_state() {
    let rounds = std::env::var("THREADS_ROUNDS").map_or(3_000, |n| n.parse().expect("a number"));
    let words = |bytes: usize| (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
    let shared = Shared {
        zone: words(LEN),
        word: AtomicUsize::new(0),
        state: words(state::SIZE + state::ALIGN),
    };
    // SAFETY: memory of this test's own, which outlives all views.
    unsafe {
        Arena::create(shared.zone(), LEN, HASH_KEY.0).unwrap();
        State::create(shared.state(), state::SIZE, [1; 16]).unwrap();
    }
    let turns = AtomicU64::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=WORKERS)
            .map(|pid| {
                let (shared, turns) = (&shared, &turns);
                scope.spawn(move || {
                    let mut worker = Worker::new(shared, pid);
                    for _ in 0..rounds {
                        worker.turn();
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // One by one: ThreadSanitizer sees the end of a thread in this, and not in the scope's end.
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    let mut checker = Worker::new(&shared, WORKERS + 1);
    let sound = checker.locked(|locked, _| locked.check().is_ok());
    assert_eq!(sound, Some(true));
    assert_eq!(checker.arena.stats().resets, 0, "nobody died, nothing was damaged");
    assert_eq!(turns.into_inner(), rounds * u64::from(WORKERS));
}
