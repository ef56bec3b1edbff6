//! Guards every entry from C: a panic ends here, never in NGINX.
//!
//! A Rust panic that reaches C aborts the worker and every request in it. Here it becomes a value
//! that fails closed and a `[crit]` line with file and line only.

use phantom_token_engine::guard;
pub(crate) use phantom_token_engine::guard::PanicSite;

use crate::nginx::log::{HasLog, crit};

/// Readies what catches panics. Called before anything of ours can panic.
pub(crate) fn install() {
    #[cfg(feature = "inject-faults")]
    {
        injected::read();
        crate::nginx::scarce::read();
    }
    guard::install();
}

/// Runs `body`, the entry `what`; where it panics, gives the place instead.
#[inline]
pub(crate) fn catch<T>(what: &str, body: impl FnOnce() -> T) -> Result<T, PanicSite> {
    guard::catch(|| {
        #[cfg(feature = "inject-faults")]
        injected::panic_once(what);
        #[cfg(not(feature = "inject-faults"))]
        let _ = what;
        body()
    })
}

/// Runs `body`; where it panics, writes one `[crit]` line to the log of `who` and gives `otherwise`.
#[inline]
pub(crate) fn entry<T>(what: &str, who: impl HasLog, otherwise: T, body: impl FnOnce() -> T) -> T {
    catch(what, body).unwrap_or_else(|site| {
        crit!(who, "caught a panic in {what} at {site}");
        otherwise
    })
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
