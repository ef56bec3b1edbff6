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

/// The pool of this name, where any directive has named one; `None`: none has.
///
/// # Safety
/// `cycle` must be one whose configuration has been read.
pub(crate) unsafe fn get(cycle: *mut ngx_cycle_t, name: &'static [u8]) -> Option<ThreadPool> {
    // SAFETY: the caller vouches for the cycle; the name is only looked at.
    NonNull::new(unsafe { ngx_thread_pool_get(cycle, &mut str_of(name)) }).map(ThreadPool)
}

/// Gives the pool of this name its threads (`threads=N`), before its module looks for pools without, unless
/// a `thread_pool` directive has.
///
/// # Safety
/// `cycle` must be one whose configuration has been read.
pub(crate) unsafe fn make(cycle: *mut ngx_cycle_t, name: &'static [u8], threads: &'static [u8]) {
    // SAFETY: the caller vouches for the cycle; the strings are constants, which nobody writes to, and
    // their structures are only looked at.
    unsafe { pt_make_thread_pool(cycle, &mut str_of(name), &mut str_of(threads)) };
}

/// Whether a `thread_pool` directive, or NGINX itself, gives a pool its threads. Where none does the
/// configuration must not be used any more. The pool is one of [`Cf::add_thread_pool`].
///
/// # Safety
/// As [`make`].
pub(crate) unsafe fn is_declared(cycle: *mut ngx_cycle_t, name: &[u8]) -> bool {
    // NGINX's own (ngx_thread_pool_init_conf).
    if name == b"default" {
        return true;
    }
    // SAFETY: as in `make`; the name's bytes are copied into the cycle's pool. What can be made was not
    // there; NGINX makes it of the pool that is known, and of nothing else.
    unsafe {
        let Some(mut name) = pool_copy((*cycle).pool, name) else { return false };
        !ngx_thread_pool_get(cycle, &mut name).is_null()
            && pt_make_thread_pool(cycle, &mut name, &mut str_of(b"threads=1")) == 0
    }
}
