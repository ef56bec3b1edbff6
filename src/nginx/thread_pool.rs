//! NGINX's thread pools, with a safe face.

use core::ptr::NonNull;

use crate::nginx::parser::{Cf, ConfError};
use crate::nginx::sys::*;

/// Bytes of stack the threads that introspect need at least: what Rust gives to its own.
const THREAD_STACK: usize = 2 * 1024 * 1024;

/// A thread pool of the configuration: NGINX keeps it as long as that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadPool(NonNull<ngx_thread_pool_t>);

impl ThreadPool {
    pub(super) fn as_ptr(self) -> *mut ngx_thread_pool_t {
        self.0.as_ptr()
    }
}

impl Cf<'_> {
    /// The thread pool of this name, which NGINX makes unless a `thread_pool` directive does.
    pub(crate) fn add_thread_pool(&mut self, name: &[u8]) -> Result<ThreadPool, ConfError> {
        let cf = self.as_ptr();
        // SAFETY: a live parser. NGINX keeps the name's bytes, which are copied into the cycle's pool.
        unsafe {
            let Some(mut name) = pool_copy((*cf).pool, name) else {
                return Err(ConfError::directive("could not be read: no memory"));
            };
            let pool = ngx_thread_pool_add(cf, &mut name);
            // The master's default: workers, which make the threads, inherit it.
            pt_raise_thread_stack(THREAD_STACK);
            NonNull::new(pool).map(ThreadPool).ok_or(ConfError::Reported)
        }
    }

    /// At the end of a location: the pool its `aio threads` uses; `None` without one.
    pub(crate) fn aio_thread_pool(&mut self) -> Option<ThreadPool> {
        // SAFETY: the parser is at the end of a location whose core configuration was merged before.
        NonNull::new(unsafe { pt_aio_thread_pool(self.as_ptr()) }).map(ThreadPool)
    }
}

/// Gives the pool of this name its threads (`threads=N`), where it is one of those in use and no
/// `thread_pool` directive has: before its module looks for pools without.
///
/// # Safety
/// `cycle` must be one whose configuration has been read.
pub(crate) unsafe fn make(
    cycle: *mut ngx_cycle_t,
    name: &'static [u8],
    threads: &'static [u8],
    used: &[ThreadPool],
) {
    let (mut name, mut threads) = (str_of(name), str_of(threads));
    // SAFETY: the caller vouches for the cycle; the strings are constants, which nobody writes to, and
    // their structures are only looked at.
    unsafe {
        let pool = ngx_thread_pool_get(cycle, &mut name);
        if used.iter().any(|used| used.as_ptr() == pool) {
            pt_make_thread_pool(cycle, &mut name, &mut threads);
        }
    }
}
