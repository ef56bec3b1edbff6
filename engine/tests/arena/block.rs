//! A block of memory with an arena in it, and what goes into it.

use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::{Arena, Entry, Kind, Locked};
use phantom_token_engine::lifetime::Life;
use phantom_token_engine::shared::lock;
use phantom_token_engine::shared::process::Here;
use phantom_token_engine::shared::purges::Moment;
use phantom_token_engine::token::key::{HashKey, Key};

/// What an arena's hashes are keyed with.
pub(crate) const HASH_KEY: HashKey = HashKey(*b"0123456789abcdef");

/// The block a 10 MiB zone of NGINX leaves.
pub(crate) const TEN_MIB: usize = 10_485_760 - 65_536;

/// Bytes around the block that nobody may touch, in words.
const GUARD: usize = 64;
const CANARY: u64 = 0x1234_5678_9abc_def0;

/// An arena of this test's own.
pub(crate) struct Block {
    memory: Vec<u64>,
    len: usize,
    word: AtomicUsize,
    arena: Arena,
}

impl Block {
    pub(crate) fn new(len: usize) -> Self {
        let mut memory = vec![CANARY; len.div_ceil(8) + 2 * GUARD];
        let base = NonNull::new(memory[GUARD..].as_mut_ptr().cast()).unwrap();
        // SAFETY: the buffer stays where it is when the vector is moved; nobody else uses it.
        let arena = unsafe { Arena::create(base, len, HASH_KEY.0) }.unwrap();
        Self { memory, len, word: AtomicUsize::new(0), arena }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Locks it; whoever held it is gone.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Locked<'_>) -> R) -> R {
        let mut guard =
            lock::acquire(&self.word, Here { pid: 1, now_ms: 0, alive: &|_| false }).unwrap();
        f(&mut self.arena.locked(&mut guard))
    }

    /// The block's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the words of the vector are bytes too, and nobody changes them meanwhile.
        unsafe { std::slice::from_raw_parts(self.memory[GUARD..].as_ptr().cast(), self.len) }
    }

    /// Writes over the block's bytes and looks at it anew.
    pub(crate) fn overwrite(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.len);
        let base = NonNull::new(self.memory[GUARD..].as_mut_ptr().cast::<u8>()).unwrap();
        // SAFETY: as in `new`; the lengths are the same.
        unsafe {
            base.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            if let Ok(arena) = Arena::attach(base, self.len) {
                self.arena = arena;
            }
        }
    }

    /// Nobody wrote beside the block.
    pub(crate) fn guards_hold(&self) -> bool {
        let (before, rest) = self.memory.split_at(GUARD);
        let after = &rest[self.len.div_ceil(8)..];
        before.iter().chain(after).all(|word| *word == CANARY)
    }
}

/// A process to which all others run.
pub(crate) fn everybody_runs(now_ms: u64) -> Here<'static> {
    Here { pid: 1, now_ms, alive: &|_| true }
}

/// Random numbers that are the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In 0..1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

pub(crate) fn key(token: u64) -> Key {
    Key { token: HASH_KEY.token(&token.to_le_bytes()), identity: HASH_KEY.identity([]) }
}

pub(crate) fn active<'a>(jwt: &'a [u8], scope: &'a [u8]) -> Entry<'a> {
    let kind = Kind::Active;
    Entry {
        kind,
        facts: Facts { life: Life::default(), jwt, scope, claims: b"", ..Facts::default() },
    }
}

pub(crate) fn inactive() -> Entry<'static> {
    Entry::inactive(Life::default(), Moment::NEVER)
}
