//! Every entry from C: a panic ends here, never in NGINX.
//!
//! A Rust panic that reaches C aborts the worker and every request in it. Here it becomes a value
//! that fails closed and a `[crit]` line with file and line only: a panic's own message may hold
//! what must not be logged.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Once;

use crate::nginx::log::crit;
use crate::nginx::sys::ngx_log_t;

thread_local! {
    static PLACE: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
}

/// Where this thread last panicked: file and line.
pub(crate) struct Place(Option<(&'static str, u32)>);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((file, line)) => write!(f, "{file}:{line}"),
            None => f.write_str("an unknown place"),
        }
    }
}

/// Replaces the default panic hook, which would print the message to standard error (NGINX's error
/// log, often). Called before anything of ours can panic.
pub(crate) fn install() {
    #[cfg(feature = "inject-faults")]
    {
        injected::read();
        crate::nginx::scarce::read();
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            // A location's file name is a string in the binary: it lives as long as the code.
            let place = info.location().map(|at: &Location<'_>| {
                let file: &str = at.file();
                // SAFETY: `Location` of a panic borrows a string constant of this binary, which is
                // never unmapped (`-z nodelete`).
                let file: &'static str = unsafe { core::mem::transmute(file) };
                (file, at.line())
            });
            PLACE.with(|cell| cell.set(place));
        }));
    });
}

/// Runs `body`, the entry `what`; where it panics, gives the place instead.
pub(crate) fn catch<T>(what: &str, body: impl FnOnce() -> T) -> Result<T, Place> {
    let body = || {
        #[cfg(feature = "inject-faults")]
        injected::panic_once(what);
        #[cfg(not(feature = "inject-faults"))]
        let _ = what;
        body()
    };
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        // The payload's own drop must not be able to panic out of here.
        std::mem::forget(payload);
        Place(PLACE.with(Cell::take))
    })
}

/// Runs `body`; where it panics, logs one `[crit]` line and gives `otherwise`.
pub(crate) fn entry<T>(
    what: &str,
    log: impl FnOnce() -> *mut ngx_log_t,
    otherwise: T,
    body: impl FnOnce() -> T,
) -> T {
    catch(what, body).unwrap_or_else(|place| {
        crit!(log(), "caught a panic in {what} at {place}");
        otherwise
    })
}

/// The log of the running cycle, for what no request owns.
pub(crate) fn cycle_log() -> *mut ngx_log_t {
    // SAFETY: `ngx_cycle` points to a cycle from NGINX's first step on, and its log is always set.
    unsafe { (*core::ptr::addr_of!(crate::nginx::sys::ngx_cycle).read()).log }
}

/// Panics on demand, for tests of this very file: `PHANTOM_TOKEN_PANIC_AT` names an entry, which
/// then panics once in each process.
#[cfg(feature = "inject-faults")]
mod injected {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    static AT: OnceLock<String> = OnceLock::new();
    static PANICKED: AtomicBool = AtomicBool::new(false);

    /// In the master: workers have no environment.
    pub(super) fn read() {
        AT.get_or_init(|| std::env::var("PHANTOM_TOKEN_PANIC_AT").unwrap_or_default());
    }

    pub(super) fn panic_once(what: &str) {
        if AT.get().is_some_and(|at| at == what) && !PANICKED.swap(true, Ordering::Relaxed) {
            panic!("injected");
        }
    }
}
