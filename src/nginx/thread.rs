//! Threads of the module's own.

use std::{io, mem, ptr, thread};

/// Bytes of stack: what pool threads have at least.
const STACK: usize = 2 * 1024 * 1024;

/// Runs `body` in a thread of its own, to which no signal goes: NGINX's are for the event loop, which one
/// of them is to wake.
///
/// # Errors
/// Where the system gives no thread.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    without_signals(|| builder.spawn(body)).map(drop)
}

/// Runs `body` with all signals blocked: a thread that it makes inherits that.
fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: sets of signals on this stack, and this thread's own mask, which is put back.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        let masked = libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before) == 0;
        let made = body();
        if masked {
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        }
        made
    }
}
