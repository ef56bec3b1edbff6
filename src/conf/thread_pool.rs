//! The thread pools that calls are made in: one of the module's own, or NGINX's.

use crate::conf::MainConf;
use crate::nginx::parser::{Cf, ConfError};
use crate::nginx::sys::ngx_thread_pool_t;

impl Cf<'_> {
    /// NGINX's thread pool of this name; the module's own where there is none.
    pub(super) fn thread_pool(
        &mut self,
        name: Option<&[u8]>,
    ) -> Result<*mut ngx_thread_pool_t, ConfError> {
        self.add_thread_pool(name.unwrap_or(MainConf::OWN_THREAD_POOL))
    }

    /// At the end of a location that introspects in the thread pool `own`, or not at all.
    pub(super) fn warn_of_shared_thread_pool(&mut self, own: Option<*mut ngx_thread_pool_t>) {
        let aio = self.aio_thread_pool();
        let main = self.main_conf();
        for (pools, pool) in [(&mut main.thread_pools, own), (&mut main.aio_thread_pools, aio)] {
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
    /// The pool of a location that names none.
    pub(crate) const OWN_THREAD_POOL: &[u8] = b"phantom_token";
    /// Its size, unless `thread_pool` gives another; as in that directive.
    pub(crate) const OWN_THREADS: &[u8] = b"threads=64";
}
