//! The thread pools that calls are made in: one of the module's own, or NGINX's.

use crate::conf::{Cf, ConfError, MainConf};
use crate::nginx::sys::*;

/// The pool of a location that names none.
const OWN: &[u8] = b"phantom_token";

/// Its size, unless `thread_pool` gives another; as in that directive.
const OWN_THREADS: &[u8] = b"threads=64";

/// Bytes of stack the threads that introspect need at least: what Rust gives to its own.
const THREAD_STACK: usize = 2 * 1024 * 1024;

impl Cf<'_> {
    /// NGINX's thread pool of this name; the module's own where there is none.
    pub(crate) fn thread_pool(
        &mut self,
        name: Option<&[u8]>,
    ) -> Result<*mut ngx_thread_pool_t, ConfError> {
        let cf = self.as_ptr();
        // SAFETY: a live parser. NGINX keeps the name's bytes, which are copied into the cycle's pool.
        unsafe {
            let Some(mut name) = pool_copy((*cf).pool, name.unwrap_or(OWN)) else {
                return Err(ConfError::directive("could not be read: no memory"));
            };
            let pool = ngx_thread_pool_add(cf, &mut name);
            // The master's default: workers, which make the threads, inherit it.
            pt_raise_thread_stack(THREAD_STACK);
            if pool.is_null() { Err(ConfError::Reported) } else { Ok(pool) }
        }
    }

    /// At the end of a location that introspects in the thread pool `own`, or not at all.
    pub(crate) fn warn_of_shared_thread_pool(&mut self, own: Option<*mut ngx_thread_pool_t>) {
        // SAFETY: the parser is at the end of a location whose core configuration was merged before.
        let aio = unsafe { pt_aio_thread_pool(self.as_ptr()) };
        let main = self.main_conf();
        for (pools, pool) in [
            (&mut main.thread_pools, own),
            (&mut main.aio_thread_pools, Some(aio).filter(|aio| !aio.is_null())),
        ] {
            if let Some(pool) = pool
                && !pools.contains(&pool)
            {
                pools.push(pool);
            }
        }
        if main.thread_pools.iter().any(|pool| main.aio_thread_pools.contains(pool)) {
            self.warn_once(
                "\"aio threads\" shares its thread pool with introspection: name another with phantom_token_thread_pool".into(),
            );
        }
    }
}

impl MainConf {
    /// Gives the module's own pool its threads, where a location uses it and no `thread_pool` directive
    /// has: before its module looks for pools without.
    pub(crate) fn make_thread_pool(&self, cycle: *mut ngx_cycle_t) {
        let (mut name, mut threads) = (str_of(OWN), str_of(OWN_THREADS));
        // SAFETY: the cycle's configuration has been read; the strings are constants, which nobody
        // writes to, and their structures are only looked at.
        unsafe {
            let pool = ngx_thread_pool_get(cycle, &mut name);
            if self.thread_pools.contains(&pool) {
                pt_make_thread_pool(cycle, &mut name, &mut threads);
            }
        }
    }
}
