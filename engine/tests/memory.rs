//! What clients and the authorization server have a say in is refused, and not the process's end,
//! where there is no memory for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use phantom_token_engine::answer::facts::Facts;
use phantom_token_engine::arena::Record;
use phantom_token_engine::http::form::introspection_body;
use phantom_token_engine::http::form::purge::{Purge, PurgeError};
use phantom_token_engine::lifetime::Life;
use phantom_token_engine::local::{Cached, Local};
use phantom_token_engine::log_limit::{Repeats, SAID};
use phantom_token_engine::memory::{NoMemory, copied, with_room, zeroed};
use phantom_token_engine::shared::state::{Generation, SIZE, State};
use phantom_token_engine::token::key::{HashKey, Key};

/// More than everything of a fixed size takes.
const LARGE: usize = 1_000;

thread_local! {
    /// Allocations from this size on are refused.
    static LEAST_REFUSED: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The system's allocator, which a test can make run out of memory.
struct Scarce;

impl Scarce {
    fn gives(size: usize) -> bool {
        LEAST_REFUSED.get() > size
    }
}

// SAFETY: what is given is the system allocator's, and a null pointer may always be given.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Self::gives(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; all memory is the system allocator's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Self::gives(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise; all memory is the system allocator's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// Runs `work` while nothing large is to be had.
fn starved<T>(work: impl FnOnce() -> T) -> T {
    LEAST_REFUSED.set(LARGE);
    let out = work();
    LEAST_REFUSED.set(usize::MAX);
    out
}

#[test]
fn vectors_of_any_size() {
    let bytes = vec![7; LARGE];
    assert_eq!(starved(|| copied(&bytes)), Err(NoMemory));
    assert_eq!(starved(|| zeroed(LARGE)), Err(NoMemory));
    assert_eq!(starved(|| with_room::<u8>(LARGE)), Err(NoMemory));
    assert_eq!(starved(|| with_room::<u64>(LARGE / 8)), Err(NoMemory));
    assert_eq!(*copied(&bytes).unwrap(), bytes);
    assert_eq!(zeroed(3), Ok(vec![0; 3]));
}

#[test]
fn the_request_to_the_authorization_server() {
    let long = [b'%'; LARGE];
    let params = || [(&b"resource"[..], &long[..])];
    assert_eq!(starved(|| introspection_body(&long, [])), Err(NoMemory));
    assert_eq!(starved(|| introspection_body(b"token", params())), Err(NoMemory));
    assert_eq!(introspection_body(b"token", params()).unwrap().len(), 21 + 3 * LARGE);
}

#[test]
fn a_purge() {
    let form = [b"token=".as_slice(), &[b'x'; LARGE]].concat();
    assert_eq!(starved(|| Purge::parse(&form)), Err(PurgeError::NoMemory(NoMemory)));
    assert!(Purge::parse(&form).is_ok());
}

#[test]
fn an_answer_from_the_zone() {
    let mut record = Record::with_room(16);
    assert_eq!(starved(|| record.reserve(LARGE)), Err(NoMemory));
    assert_eq!(starved(|| record.reserve(16)), Ok(()), "what there is, is there");
    assert_eq!(record.reserve(LARGE), Ok(()));
}

fn key(token: u32) -> Key {
    let hash = HashKey([1; 16]);
    Key { token: hash.token(&token.to_le_bytes()), identity: hash.identity([]) }
}

/// A generation, of a state that is gone again.
fn generation() -> Generation {
    let mut memory = vec![0_u128; SIZE / 16 + 16];
    let base = std::ptr::NonNull::new(memory.as_mut_ptr()).unwrap().cast::<u8>();
    let aligned = base.align_offset(phantom_token_engine::shared::state::ALIGN);
    // SAFETY: inside the vector, which outlives the view and which nobody else uses.
    let state = unsafe { State::create(base.add(aligned), SIZE, [1; 16]) }.unwrap();
    state.generation(&key(0).token)
}

fn facts(jwt: &[u8]) -> Facts<'_> {
    let life = Life { stored: 0, until: None, exp: None, may_stale: false };
    Facts { jwt, scope: b"read", claims: b"{}", life, ..Facts::default() }
}

#[test]
fn an_answer_of_the_worker_itself() {
    let (jwt, generation) = ([b'j'; LARGE], generation());
    assert!(starved(|| Cached::new(&facts(&jwt), generation, 0)).is_none());
    assert!(Cached::new(&facts(&jwt), generation, 0).is_some());
}

#[test]
fn the_workers_own_cache_never_grows() {
    let entry = Cached::new(&facts(b"a.b.c"), generation(), 0).unwrap();
    for (entries, bytes) in [(1, 1 << 20), (500, 1 << 20), (usize::MAX, 1 << 20)] {
        let mut local = Local::new(entries, bytes);
        let kept = starved(|| {
            // Some leave in between, not only by age.
            for token in 0..100_000 {
                local.insert(key(token), &entry);
                local.remove(&key(token.wrapping_sub(3) * (token % 2)));
            }
            local.len()
        });
        assert!(kept > 0 && kept <= entries, "{kept}");
    }
}

#[test]
fn what_repeats_itself() {
    let mut repeats = Repeats::default();
    assert!(starved(|| (0..1_000_u32).all(|what| repeats.happened(&what, 0))), "said, uncounted");
    assert!((0..SAID + 1).filter(|_| repeats.happened(&0, 0)).count() < SAID as usize);
}
