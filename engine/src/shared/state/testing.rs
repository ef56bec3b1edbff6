//! State zones for tests: shared memory that child processes inherit.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{SIZE, State};
use crate::shared::process::Here;

/// A new state zone, mapped for as long as the tests run.
pub(crate) fn state() -> State {
    let base = BLOCK.get().unwrap_or_else(block);
    // SAFETY: `base` is `SIZE` bytes that nothing else uses (any more), and never unmapped.
    unsafe { State::create(base, SIZE, key()) }.expect("the block fits")
}

/// Another key for each state.
fn key() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    std::array::from_fn(|at| next.to_le_bytes()[at % 8])
}

/// A page-aligned block of `SIZE` bytes, shared with processes forked later. Its bytes are not
/// zero at first, as memory of an allocator may not be.
pub(crate) fn block() -> NonNull<u8> {
    // SAFETY: an anonymous mapping of its own; the result is checked before it is written to.
    unsafe {
        let base = libc::mmap(
            ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(base, libc::MAP_FAILED);
        base.write_bytes(0xa5, SIZE);
        NonNull::new(base.cast()).expect("mapped")
    }
}

/// Runs `body` in `count` child processes; their exit codes (or, for one ended by a signal, its
/// number negated). The children must not allocate or panic: other threads of this process may
/// hold locks they would inherit.
pub(crate) fn in_children(count: usize, body: impl Fn(usize) -> i32) -> Vec<i32> {
    spawn_children(count, body).into_iter().map(wait).collect()
}

/// Starts child processes without waiting for them; their ids.
pub(crate) fn spawn_children(count: usize, body: impl Fn(usize) -> i32) -> Vec<u32> {
    (0..count)
        .map(|number| {
            // SAFETY: the child runs `body`, which keeps to atomics, and ends without returning.
            unsafe {
                match libc::fork() {
                    0 => libc::_exit(body(number)),
                    pid => u32::try_from(pid).expect("forked"),
                }
            }
        })
        .collect()
}

/// Waits for a child's end, see [`in_children`].
pub(crate) fn wait(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: `pid` is a child of this process and `status` outlives the call.
    let waited = unsafe { libc::waitpid(pid as i32, &mut status, 0) };
    assert_eq!(waited, pid as i32);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// A process at a time, to which these processes run.
pub(crate) fn at(pid: u32, now_ms: u64, alive: &dyn Fn(u32) -> bool) -> Here<'_> {
    Here { pid, now_ms, alive }
}

/// Whether a process runs.
pub(crate) fn alive(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid as i32, 0) == 0 }
}

/// What happens before a later step of this thread: how many steps are left until then, and what.
type Interruption = (usize, Box<dyn FnOnce()>);

thread_local! {
    /// Where this thread's states are made, in a test of many rounds with one state each.
    static BLOCK: Cell<Option<NonNull<u8>>> = const { Cell::new(None) };
    static INTERRUPTION: RefCell<Option<Interruption>> = const { RefCell::new(None) };
}

/// Comes before each step, see [`crate::shared::atomic`].
pub(crate) fn step() {
    let due = INTERRUPTION.with_borrow_mut(|pending| match pending {
        Some((0, _)) => pending.take(),
        Some((left, _)) => {
            *left -= 1;
            None
        }
        None => None,
    });
    if let Some((_, act)) = due {
        act();
    }
}

/// Runs `body` again and again, with all of `other` happening before each of its steps in turn,
/// and gives both results to `check`. What is wrong with two workers at once goes wrong here.
pub(crate) fn interrupted<T: Copy + 'static, A, B: 'static>(
    setup: impl Fn() -> T,
    body: impl Fn(T) -> A,
    other: impl Fn(T) -> B + Copy + 'static,
    check: impl Fn(T, A, B),
) {
    BLOCK.set(Some(block()));
    for round in 0.. {
        let given = setup();
        let told = Rc::new(Cell::new(None));
        let tell = Rc::clone(&told);
        INTERRUPTION.set(Some((round, Box::new(move || tell.set(Some(other(given)))))));
        let result = body(given);
        INTERRUPTION.take();
        let Some(told) = told.take() else {
            assert!(round > 1, "nothing was interrupted");
            BLOCK.set(None);
            return;
        };
        check(given, result, told);
    }
}

/// The panic that stands for a kill.
struct Killed;

/// Runs `body` and ends it before each of its steps in turn, as a kill would; then `check`.
pub(crate) fn killed<T: Copy>(setup: impl Fn() -> T, body: impl Fn(T), check: impl Fn(T)) {
    BLOCK.set(Some(block()));
    for round in 0.. {
        let given = setup();
        INTERRUPTION.set(Some((round, Box::new(|| panic::resume_unwind(Box::new(Killed))))));
        let ended = panic::catch_unwind(AssertUnwindSafe(|| body(given)));
        if INTERRUPTION.take().is_some() {
            assert!(round > 1, "nothing was killed");
            BLOCK.set(None);
            return;
        }
        assert!(ended.is_err_and(|why| why.is::<Killed>()));
        check(given);
    }
}
