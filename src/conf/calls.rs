//! How long a call may take, and the threads that calls are made in.

use std::rc::Rc;

use crate::conf::doubts;
use crate::conf::settings::{M, MSL, Placed, Setting, inherit, nonempty, positive_time_ms};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid, number};
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

    /// What `nginx -t` accepts, with a warning.
    pub(super) fn warn_of_doubts(&self, cf: &mut Cf<'_>) {
        let timeout_ms = self.timeout_ms();
        if let Some(Placed { line, .. }) =
            self.connect_timeout_ms.placed().filter(|connect| connect.value > timeout_ms)
        {
            cf.warn_at(
                line,
                format_args!(
                    "\"phantom_token_connect_timeout\" is longer than \"phantom_token_timeout\" of {timeout_ms}ms, which ends the call before: write a shorter one"
                ),
            );
        }
    }

    /// How long it may take to connect, in milliseconds.
    pub(super) fn connect_timeout_ms(&self) -> u64 {
        self.connect_timeout_ms.or(CONNECT_TIMEOUT_MS)
    }

    /// How long a request waits from the moment it asks, in milliseconds.
    pub(super) fn timeout_ms(&self) -> u64 {
        self.timeout_ms.or(TIMEOUT_MS)
    }

    /// Has the thread pool looked for that is named, where one is.
    pub(super) fn check_thread_pool(&self, cf: &mut Cf<'_>) -> Result<(), ConfError> {
        if self.thread_pool.is_set() { self.thread_pool(cf).map(drop) } else { Ok(()) }
    }

    /// NGINX's thread pool; the module's own where none is named.
    pub(super) fn thread_pool(&self, cf: &mut Cf<'_>) -> Result<ThreadPool, ConfError> {
        let Some(named) = self.thread_pool.placed() else {
            return cf.add_thread_pool(OWN_THREAD_POOL);
        };
        let all = &mut cf.main_conf().calls.named_thread_pools;
        if !all.iter().any(|known| known.value == named.value) {
            all.push(named.clone());
        }
        cf.add_thread_pool(&named.value)
    }

    /// Where the thread pool is named; `None`: nowhere.
    pub(super) fn thread_pool_place(&self) -> Option<&ConfigLine> {
        self.thread_pool.placed().map(|placed| &placed.line)
    }
}

/// What the whole `http` block has of it.
#[derive(Default)]
pub(crate) struct Main {
    pub(crate) max_pending: Setting<usize>,
    /// Thread pools of locations that are on, each with the line for which it is the first's, and those of
    /// `aio threads` in any location.
    thread_pools: Vec<(ThreadPool, ConfigLine)>,
    aio_thread_pools: Vec<ThreadPool>,
    /// Each name once, with its first line.
    named_thread_pools: Vec<Placed<Rc<Vec<u8>>>>,
}

impl Main {
    /// Whether a location that is on introspects in it.
    pub(crate) fn uses(&self, pool: ThreadPool) -> bool {
        self.thread_pools.iter().any(|(used, _)| *used == pool)
    }

    /// Whether `phantom_token_thread_pool` names it.
    pub(crate) fn names_thread_pool(&self, name: &[u8]) -> bool {
        self.named_thread_pools.iter().any(|named| **named.value == *name)
    }

    /// When the whole configuration has been read: what to say of the first thread pool that is not
    /// declared.
    pub(crate) fn unknown_thread_pool(
        &self,
        is_declared: impl Fn(&[u8]) -> bool,
    ) -> Option<String> {
        let unknown = self.named_thread_pools.iter().find(|named| !is_declared(&named.value))?;
        let Placed { value, line } = unknown;
        let name = String::from_utf8_lossy(value);
        Some(format!(
            "\"phantom_token_thread_pool\" names the unknown thread pool \"{name}\": write \"thread_pool {name} threads=32;\" outside of http, or leave it out, in {line}"
        ))
    }
}

impl Cf<'_> {
    /// At the end of a location that introspects in a thread pool, for what stands at this line, or not at
    /// all.
    pub(super) fn warn_of_shared_thread_pool(&mut self, own: Option<(ThreadPool, &ConfigLine)>) {
        let aio = self.aio_thread_pool();
        let main = &mut self.main_conf().calls;
        if let Some((pool, line)) = own
            && !main.uses(pool)
        {
            main.thread_pools.push((pool, line.clone()));
        }
        main.aio_thread_pools.extend(aio.filter(|aio| !main.aio_thread_pools.contains(aio)));
        let shared = |(pool, _): &&(ThreadPool, _)| main.aio_thread_pools.contains(pool);
        if let Some((_, line)) = main.thread_pools.iter().find(shared).cloned() {
            self.warn_at(
                &line,
                "\"aio threads\" shares its thread pool with introspection: name another with phantom_token_thread_pool",
            );
        }
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_connect_timeout",
        MSL | NGX_CONF_TAKE1,
        "TIME",
        |cf, settings, args| {
            let ms = positive_time_ms(args[0])?;
            doubts::wait(cf, "phantom_token_connect_timeout", ms);
            settings.connect_timeout_ms.set(cf, ms)
        },
    ),
    Command::new(c"phantom_token_timeout", MSL | NGX_CONF_TAKE1, "TIME", |cf, settings, args| {
        let ms = positive_time_ms(args[0])?;
        doubts::wait(cf, "phantom_token_timeout", ms);
        settings.timeout_ms.set(cf, ms)
    }),
    Command::new(
        c"phantom_token_thread_pool",
        MSL | NGX_CONF_TAKE1,
        "NAME",
        |cf, settings, args| {
            nonempty(args[0])?;
            if args[0].contains(&b'$') {
                return Err(invalid(args[0], "write the name of a thread_pool, without variables"));
            }
            settings.thread_pool.set(cf, Rc::new(args[0].to_vec()))
        },
    ),
];

pub(super) const MAIN_COMMANDS: &[Command<Main>] = &[Command::new(
    c"phantom_token_max_pending",
    M | NGX_CONF_TAKE1,
    "NUMBER",
    |cf, main, args| {
        let max = number(args[0])?;
        if max == 0 {
            return Err(invalid(args[0], "write a number from 1"));
        }
        main.max_pending.set(cf, max as usize)
    },
)];
