//! State zones for tests: shared memory that child processes inherit.

use std::ptr::{self, NonNull};

use super::{SIZE, State};

/// A new state zone, mapped for as long as the tests run.
pub(crate) fn state() -> State {
    // SAFETY: `block` is `SIZE` bytes that nothing else uses, and it is never unmapped.
    unsafe { State::create(block(), SIZE) }.expect("the block fits")
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

/// Whether a process runs.
pub(crate) fn alive(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid as i32, 0) == 0 }
}
