//! Tables of directives, with a safe face: a setter is plain Rust, and a refusal a `Result`.
//!
//! NGINX hands a directive's callback the parser, the directive's row and a configuration. One C callback
//! serves all rows of the same settings; the row's `post` slot holds the Rust function that sets them.

use core::ffi::{CStr, c_char, c_void};

use crate::nginx::guard;
use crate::nginx::parser::{Cf, ConfError};
use crate::nginx::sys::*;

/// A directive's arguments, without its name. NGINX has checked how many they are.
pub(crate) type Args<'a> = &'a [&'static [u8]];

/// Parses a directive's arguments into its settings.
pub(crate) type Set<S> = fn(&mut Cf<'_>, &mut S, Args<'_>) -> Result<(), ConfError>;

/// One directive of the settings `S`.
pub(crate) struct Command<S: 'static> {
    name: &'static CStr,
    flags: u32,
    set: Set<S>,
}

impl<S> Command<S> {
    /// `flags` are where it may stand (`NGX_HTTP_…_CONF`) and how many arguments it takes (`NGX_CONF_…`).
    pub(crate) const fn new(name: &'static CStr, flags: u32, set: Set<S>) -> Self {
        Self { name, flags, set }
    }
}

/// A configuration that NGINX hands to the callbacks of directives.
///
/// # Safety
/// The module's context must make values of this type for the slots at `OFFSET`.
pub(crate) unsafe trait Configuration {
    /// `NGX_HTTP_MAIN_CONF_OFFSET` or `NGX_HTTP_LOC_CONF_OFFSET`.
    const OFFSET: usize;
}

/// Settings that are a part of the configuration `C`.
pub(crate) trait Within<C> {
    fn of(conf: &mut C) -> &mut Self;
}

/// The table NGINX reads, of `N - 1` directives and the row without a name that ends it.
#[repr(transparent)]
pub(crate) struct Table<const N: usize>([ngx_command_t; N]);

// SAFETY: the table is a constant: nobody writes to it, nor to the names it points to.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    pub(crate) const fn new() -> Self {
        Self([const { ngx_command_t::empty() }; N])
    }

    /// Adds the directives of one group of settings. A table with too few rows does not compile.
    pub(crate) const fn with<C: Configuration, S: Within<C>>(
        mut self,
        commands: &[Command<S>],
    ) -> Self {
        let mut free = 0;
        while self.0[free].name.len > 0 {
            free += 1;
        }
        assert!(free + commands.len() < N, "the table has no row for its end");
        let mut next = 0;
        while next < commands.len() {
            let Command { name, flags, set } = commands[next];
            self.0[free + next] = ngx_command_t {
                name: ngx_str_t {
                    len: name.to_bytes().len(),
                    data: name.as_ptr().cast_mut().cast(),
                },
                type_: flags as ngx_uint_t,
                set: Some(set_one::<C, S>),
                conf: C::OFFSET,
                offset: 0,
                post: set as *mut c_void,
            };
            next += 1;
        }
        self
    }
}

/// The callback of every directive of the settings `S` in the configuration `C`.
extern "C" fn set_one<C: Configuration, S: Within<C>>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: NGINX passes the parser, the table's row (whose `post` was filled by `Table::with` for these
    // very settings, and whose name is a string of this binary) and the slot at the row's offset.
    let (mut cf, set, name, conf) = unsafe {
        (
            Cf::new(cf),
            core::mem::transmute::<*mut c_void, Set<S>>((*cmd).post),
            bytes(&(*cmd).name),
            &mut *conf.cast::<C>(),
        )
    };
    let log = cf.log();
    guard::entry(
        "a directive",
        || log,
        CONF_ERROR,
        || {
            let args = cf.args();
            match set(&mut cf, S::of(conf), &args) {
                Ok(()) => core::ptr::null_mut(),
                Err(error) => {
                    cf.report(&String::from_utf8_lossy(name), &error);
                    CONF_ERROR
                }
            }
        },
    )
}
