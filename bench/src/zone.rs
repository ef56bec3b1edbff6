//! The shared zone by itself: what a look-up costs as it grows and as processes contend for it, and
//! how many tokens it holds.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::{Arena, Entry, Find, Kind, Record, Stored};
use phantom_token_engine::lifetime::Life;
use phantom_token_engine::shared::lock;
use phantom_token_engine::shared::process::Here;
use phantom_token_engine::token::key::Key;

use crate::load::token;
use crate::stats::median;

/// A zone in this process's memory. Threads stand for processes: each has a lock-word id and a view
/// of its own, and nothing else is shared.
pub(crate) struct Zone {
    base: NonNull<u8>,
    layout: Layout,
    word: AtomicUsize,
}

// SAFETY: the memory is touched through arenas under the lock word alone.
unsafe impl Sync for Zone {}

/// One process's view.
pub(crate) struct View<'z> {
    zone: &'z Zone,
    arena: Arena,
    id: u32,
    record: Record,
}

impl Zone {
    /// A zone of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 4096).expect("a size");
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
        // SAFETY: aligned, as long as said, and nobody else's until it is dropped.
        unsafe { Arena::create(base, bytes, [7; 16]) }.expect("large enough");
        Self { base, layout, word: AtomicUsize::new(0) }
    }

    /// The view of process `id`, which is not 0.
    pub(crate) fn view(&self, id: u32) -> View<'_> {
        // SAFETY: made by `new`, and mapped while the zone is borrowed.
        let arena = unsafe { Arena::attach(self.base, self.layout.size()) }.expect("an arena");
        View { zone: self, arena, id, record: Record::with_room(8192) }
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; no view outlives the zone.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl View<'_> {
    /// The process whose view this is; all others run.
    fn here(&self) -> Here<'static> {
        Here { pid: self.id, now_ms: 0, alive: &|_| true }
    }

    /// The key of the n-th token.
    pub(crate) fn key(&self, n: u32) -> Key {
        let hash_key = self.arena.hash_key();
        Key { token: hash_key.token(token(n).as_bytes()), identity: hash_key.identity([&b"i"[..]]) }
    }

    /// Stores an answer; whether others had to go for it.
    pub(crate) fn store(&mut self, key: &Key, jwt: &[u8]) -> bool {
        let mut guard = lock::acquire(&self.zone.word, self.here()).expect("the lock");
        match self.arena.locked(&mut guard).store(key, &entry(jwt)) {
            Stored::Yes { evicted } => evicted > 0,
            other => panic!("not stored: {other:?}"),
        }
    }

    /// The same where the lock can be had in time.
    fn try_store(&mut self, key: &Key, jwt: &[u8]) -> Option<()> {
        let mut guard = lock::acquire(&self.zone.word, self.here())?;
        self.arena.locked(&mut guard).store(key, &entry(jwt));
        Some(())
    }

    /// Looks a key up; whether it is there.
    pub(crate) fn find(&mut self, key: &Key) -> bool {
        let mut guard = lock::acquire(&self.zone.word, self.here()).expect("the lock");
        self.arena.locked(&mut guard).find(key, &mut self.record) == Find::Hit
    }

    /// The same where the lock can be had in time.
    fn try_find(&mut self, key: &Key) -> Option<()> {
        let mut guard = lock::acquire(&self.zone.word, self.here())?;
        let _ = self.arena.locked(&mut guard).find(key, &mut self.record);
        Some(())
    }

    /// Fills the zone until something had to go; how many tokens it then holds.
    pub(crate) fn fill(&mut self, jwt: &[u8]) -> u32 {
        let mut count = 0;
        loop {
            let key = self.key(count);
            if self.store(&key, jwt) {
                return self.arena.stats().active as u32;
            }
            count += 1;
        }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.arena.stats().used_bytes
    }
}

fn entry(jwt: &[u8]) -> Entry<'_> {
    let times = Life { stored: 1, until: None, exp: None, may_stale: false };
    let kind = Kind::Active;
    let facts = Facts { jwt, scope: b"read write", life: times, ..Facts::default() };
    Entry { kind, facts }
}

/// Pseudo-random numbers below a bound (xorshift), the same at every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// What a full zone of one size showed.
pub(crate) struct Sized {
    pub(crate) bytes: usize,
    pub(crate) tokens: u32,
    /// Share of the zone's bytes that entries take.
    pub(crate) used: f64,
    pub(crate) lookup_ns: f64,
    pub(crate) insert_ns: f64,
}

/// Fills a zone, then looks random tokens up, then inserts where each insertion evicts; `rounds`
/// times, of which the medians are shown.
pub(crate) fn of_size(bytes: usize, jwt: &[u8], rounds: usize) -> Sized {
    const ROUNDS: u32 = 100_000;
    let zone = Zone::new(bytes);
    let mut view = zone.view(1);
    let tokens = view.fill(jwt);
    let used = view.used() as f64 / bytes as f64;
    let mut numbers = Numbers::new(1);
    let (mut lookups, mut inserts) = (Vec::new(), Vec::new());
    for round in 0..rounds as u32 {
        let keys: Vec<Key> = (0..ROUNDS).map(|_| view.key(1 + numbers.below(tokens))).collect();
        lookups.push(each(ROUNDS, || {
            let found = keys.iter().filter(|key| view.find(key)).count();
            assert!(round > 0 || found as u32 > ROUNDS / 10 * 9, "{found} of {ROUNDS} found");
        }));
        let keys: Vec<Key> = (0..ROUNDS).map(|n| view.key(u32::MAX - round * ROUNDS - n)).collect();
        inserts.push(each(ROUNDS, || {
            for key in &keys {
                view.store(key, jwt);
            }
        }));
        // What was driven out comes back, for the next round's look-ups.
        for n in 0..tokens {
            let key = view.key(1 + n);
            view.store(&key, jwt);
        }
    }
    Sized { bytes, tokens, used, lookup_ns: median(&lookups), insert_ns: median(&inserts) }
}

/// Nanoseconds for each of so many steps.
fn each(steps: u32, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(steps)
}

/// What processes saw that did nothing but use one zone of 16 MB.
pub(crate) struct Contended {
    /// Nanoseconds between two steps that were done, all processes together.
    pub(crate) step_ns: f64,
    /// Steps that were not, since the lock could not be had in 100 ms.
    pub(crate) failed: u64,
}

/// Lets so many processes contend for a while; of ten steps `stores` store an answer and the
/// others look one up.
pub(crate) fn contended(
    processes: u32,
    stores: usize,
    jwt: &[u8],
    duration: Duration,
) -> Contended {
    let zone = Zone::new(16 << 20);
    let tokens = zone.view(1).fill(jwt);
    let begin = Barrier::new(processes as usize);
    let look = |id: u32| {
        let mut view = zone.view(id);
        let mut numbers = Numbers::new(u64::from(id));
        let keys: Vec<Key> = (0..4096).map(|_| view.key(1 + numbers.below(tokens))).collect();
        begin.wait();
        let begun = Instant::now();
        let (mut done, mut failed) = (0u64, 0u64);
        while begun.elapsed() < duration {
            let from = (done % keys.len() as u64) as usize;
            for (n, key) in keys.iter().skip(from).take(60).enumerate() {
                let step =
                    if n % 10 < stores { view.try_store(key, jwt) } else { view.try_find(key) };
                match step {
                    Some(()) => done += 1,
                    None => failed += 1,
                }
            }
        }
        (done, failed)
    };
    let look = &look;
    let all: Vec<(u64, u64)> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=processes).map(|id| scope.spawn(move || look(id))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let (done, failed) =
        all.iter().fold((0, 0), |sum: (u64, u64), one| (sum.0 + one.0, sum.1 + one.1));
    Contended { step_ns: duration.as_secs_f64() * 1e9 / done.max(1) as f64, failed }
}
