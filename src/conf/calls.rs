//! How long a call may take, and the threads that calls are made in.

use std::rc::Rc;

use crate::conf::settings::{M, MSL, Setting, inherit, nonempty, positive_time_ms};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfError, invalid, number};
use crate::nginx::sys::*;
use crate::nginx::thread_pool::ThreadPool;

/// The pool of a location that names none.
pub(crate) const OWN_THREAD_POOL: &[u8] = b"phantom_token";

/// Its size, unless `thread_pool` gives another; as in that directive.
pub(crate) const OWN_THREADS: &[u8] = b"threads=64";

const CONNECT_TIMEOUT_MS: u64 = 2_000;
const TIMEOUT_MS: u64 = 6_000;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    connect_timeout_ms: Setting<u64>,
    timeout_ms: Setting<u64>,
    thread_pool: Setting<Rc<Vec<u8>>>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: connect_timeout_ms, timeout_ms, thread_pool);
    }

    /// How long it may take to connect, in milliseconds.
    pub(super) fn connect_timeout_ms(&self) -> u64 {
        self.connect_timeout_ms.or(CONNECT_TIMEOUT_MS)
    }

    /// How long a request waits from the moment it asks, in milliseconds.
    pub(super) fn timeout_ms(&self) -> u64 {
        self.timeout_ms.or(TIMEOUT_MS)
    }

    /// Has NGINX look for the thread pool that is named, where one is.
    pub(super) fn check_thread_pool(&self, cf: &mut Cf<'_>) -> Result<(), ConfError> {
        if self.thread_pool.is_set() { self.thread_pool(cf).map(drop) } else { Ok(()) }
    }

    /// NGINX's thread pool; the module's own where none is named.
    pub(super) fn thread_pool(&self, cf: &mut Cf<'_>) -> Result<ThreadPool, ConfError> {
        cf.add_thread_pool(self.thread_pool.get().map_or(OWN_THREAD_POOL, |name| name))
    }
}

/// What the whole `http` block has of it.
#[derive(Default)]
pub(crate) struct Main {
    pub(crate) max_pending: Setting<usize>,
    /// Thread pools of locations that are on, and those of `aio threads` in any location.
    pub(crate) thread_pools: Vec<ThreadPool>,
    aio_thread_pools: Vec<ThreadPool>,
}

impl Cf<'_> {
    /// At the end of a location that introspects in the thread pool `own`, or not at all.
    pub(super) fn warn_of_shared_thread_pool(&mut self, own: Option<ThreadPool>) {
        let aio = self.aio_thread_pool();
        let main = &mut self.main_conf().calls;
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

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(c"phantom_token_connect_timeout", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        settings.connect_timeout_ms.set(cf, positive_time_ms(args[0])?)
    }),
    Command::new(c"phantom_token_timeout", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        settings.timeout_ms.set(cf, positive_time_ms(args[0])?)
    }),
    Command::new(c"phantom_token_thread_pool", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        nonempty(args[0])?;
        if args[0].contains(&b'$') {
            return Err(invalid(args[0], "write the name of a thread_pool, without variables"));
        }
        settings.thread_pool.set(cf, Rc::new(args[0].to_vec()))
    }),
];

pub(super) const MAIN_COMMANDS: &[Command<Main>] =
    &[Command::new(c"phantom_token_max_pending", M | NGX_CONF_TAKE1, |cf, main, args| {
        let max = number(args[0])?;
        if max == 0 {
            return Err(invalid(args[0], "write a number from 1"));
        }
        main.max_pending.set(cf, max as usize)
    })];
