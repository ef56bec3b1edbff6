//! Tables of directives, with a safe face: a setter is plain Rust, and a refusal a `Result`.
//!
//! NGINX hands a directive's callback the parser, the directive's row and a configuration. One C callback
//! serves all rows of the same settings; the row's `post` slot holds the Rust function that sets them.

use core::ffi::{CStr, c_char, c_void};
use core::ptr;

pub(crate) use crate::nginx::arguments::Args;
use crate::nginx::arguments::{self, Form};
use crate::nginx::parser::{Cf, ConfError};
use crate::nginx::sys::*;
use crate::nginx::{guard, log};

/// Parses a directive's arguments into its settings.
pub(crate) type Set<S> = fn(&mut Cf<'_>, &mut S, Args<'_>) -> Result<(), ConfError>;

/// One directive of the settings `S`.
pub(crate) struct Command<S: 'static> {
    name: &'static CStr,
    form: Form,
    set: Set<S>,
}

impl<S> Command<S> {
    /// `flags` are where it may stand (`NGX_HTTP_…_CONF`) and how many arguments it takes (`NGX_CONF_…`),
    /// `words` these arguments as documentation has them.
    pub(crate) const fn new(
        name: &'static CStr,
        flags: u32,
        words: &'static str,
        set: Set<S>,
    ) -> Self {
        Self { name, form: Form { flags, words }, set }
    }

    /// Has `set` take its arguments, where they are as many as it takes and all its own.
    fn take(
        &self,
        cf: &mut Cf<'_>,
        args: Args<'_>,
        set: impl FnOnce(&mut Cf<'_>) -> Result<(), ConfError>,
    ) -> Result<(), ConfError> {
        let name = self.name.to_string_lossy();
        self.form.check(&name, args, |word| cf.is_directive(word), |word| cf.begins_line(word))?;
        set(cf).map_err(|error| self.form.explain(error, args, |word| cf.is_directive(word)))
    }
}

/// A directive of a block with a table of its own, whose settings are in `B`.
pub(crate) trait Member<B> {
    /// As it is written outside of such a block.
    fn name(&self) -> &'static [u8];

    /// What its arguments are checked by.
    fn form(&self) -> Form;

    fn set(&self, cf: &mut Cf<'_>, block: &mut B, args: Args<'_>) -> Result<(), ConfError>;
}

impl<B, S: Within<B>> Member<B> for Command<S> {
    fn name(&self) -> &'static [u8] {
        self.name.to_bytes()
    }

    fn form(&self) -> Form {
        self.form
    }

    fn set(&self, cf: &mut Cf<'_>, block: &mut B, args: Args<'_>) -> Result<(), ConfError> {
        S::may_stand(block, cf, self.name())?;
        (self.set)(cf, S::of(block), args)
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

    /// Whether the directive the parser is at may stand in `conf`, beside what stands there.
    fn may_stand(_: &mut C, _: &mut Cf<'_>, _: &'static [u8]) -> Result<(), ConfError> {
        Ok(())
    }
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
    pub(crate) const fn with<C: Configuration, S: Within<C> + 'static>(
        mut self,
        commands: &'static [Command<S>],
    ) -> Self {
        let mut next = 0;
        while next < commands.len() {
            self = self.with_command(&commands[next], set_one::<C, S>, C::OFFSET);
            next += 1;
        }
        self
    }

    /// Adds directives of `http` that begin a block: they hold no part of the configuration while it is
    /// read.
    pub(crate) const fn with_blocks(mut self, commands: &'static [Command<()>]) -> Self {
        let mut next = 0;
        while next < commands.len() {
            self = self.with_command(&commands[next], set_alone, NGX_HTTP_MAIN_CONF_OFFSET);
            next += 1;
        }
        self
    }

    /// Adds directives that stand in a block alone, for who writes them elsewhere to be told by `refuse`.
    pub(crate) const fn with_misplaced<S>(
        mut self,
        commands: &[Command<S>],
        refuse: Set<()>,
    ) -> Self {
        let flags = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_ANY;
        let mut next = 0;
        while next < commands.len() {
            let name = commands[next].name;
            self = self.with_row(name, flags, refuse_one, 0, refuse as *mut c_void);
            next += 1;
        }
        self
    }

    const fn with_command<S>(
        self,
        command: &'static Command<S>,
        callback: Callback,
        offset: usize,
    ) -> Self {
        let command_ptr = (&raw const *command).cast_mut().cast();
        self.with_row(command.name, command.form.uncounted(), callback, offset, command_ptr)
    }

    const fn with_row(
        mut self,
        name: &'static CStr,
        flags: u32,
        callback: Callback,
        offset: usize,
        post: *mut c_void,
    ) -> Self {
        let mut free = 0;
        while self.0[free].name.len > 0 {
            free += 1;
        }
        assert!(free + 1 < N, "the table has no row for its end");
        self.0[free] = ngx_command_t {
            name: ngx_str_t { len: name.to_bytes().len(), data: name.as_ptr().cast_mut().cast() },
            type_: flags as ngx_uint_t,
            set: Some(callback),
            conf: offset,
            offset: 0,
            post,
        };
        self
    }

    /// The names of all directives.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static [u8]> {
        // SAFETY: a row's name is a string of this binary; the last row's is empty.
        self.0.iter().map(|row| unsafe { bytes(&row.name) }).filter(|name| !name.is_empty())
    }
}

type Callback =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// The callback of every directive of the settings `S` in the configuration `C`.
unsafe extern "C" fn set_one<C: Configuration, S: Within<C> + 'static>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: NGINX passes the parser, the table's row (whose `post` was filled by `Table::with` with a
    // directive of these very settings) and the slot at the row's offset.
    let (mut cf, command, conf) =
        unsafe { (Cf::new(cf), &*(*cmd).post.cast::<Command<S>>(), &mut *conf.cast::<C>()) };
    answer(&mut cf, "a directive", command.name.to_bytes(), |cf, args| {
        command.take(cf, &args, |cf| {
            S::may_stand(conf, cf, command.name.to_bytes())?;
            (command.set)(cf, S::of(conf), &args)
        })
    })
}

/// The callback of every directive that is handed no settings.
unsafe extern "C" fn set_alone(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    _: *mut c_void,
) -> *mut c_char {
    // SAFETY: as in `set_one`; `post` was filled with a directive of this type.
    let (mut cf, command) = unsafe { (Cf::new(cf), &*(*cmd).post.cast::<Command<()>>()) };
    answer(&mut cf, "a directive", command.name.to_bytes(), |cf, args| {
        command.take(cf, &args, |cf| (command.set)(cf, &mut (), &args))
    })
}

/// The callback of every directive that may not stand where NGINX has found it.
unsafe extern "C" fn refuse_one(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    _: *mut c_void,
) -> *mut c_char {
    // SAFETY: NGINX passes the parser and the table's row, whose `post` was filled by
    // `Table::with_misplaced`.
    let (mut cf, refuse) =
        unsafe { (Cf::new(cf), core::mem::transmute::<*mut c_void, Set<()>>((*cmd).post)) };
    let name = cf.name();
    answer(&mut cf, "a directive", name, |cf, args| refuse(cf, &mut (), &args))
}

/// What NGINX is told of a directive, and its user where it is refused.
fn answer(
    cf: &mut Cf<'_>,
    what: &str,
    name: &[u8],
    set: impl FnOnce(&mut Cf<'_>, Vec<&'static [u8]>) -> Result<(), ConfError>,
) -> *mut c_char {
    let log = cf.log();
    guard::entry(
        what,
        || log,
        CONF_ERROR,
        || {
            let args = cf.args();
            if let Some(doubt) = arguments::doubt(&args) {
                let name = String::from_utf8_lossy(name);
                let line = cf.line();
                log::warning!(cf.log(), "\"{name}\" {doubt}, in {line}");
            }
            match set(cf, args) {
                Ok(()) => ptr::null_mut(),
                Err(error) => {
                    cf.report(&String::from_utf8_lossy(name), &error);
                    CONF_ERROR
                }
            }
        },
    )
}

/// A block with a table of its own, in which directives have other names or rules than outside.
pub(crate) trait Block {
    /// Sets what one of its directives says.
    fn set(&mut self, cf: &mut Cf<'_>, name: &[u8], args: Args<'_>) -> Result<(), ConfError>;

    /// A message about settings, in the words of the block.
    fn in_its_words(message: &str) -> String;
}

impl Cf<'_> {
    /// Reads the block whose beginning the parser is at, `include` in it too. Arguments that were read
    /// before are gone then.
    pub(crate) fn read<B: Block>(&mut self, block: &mut B) -> Result<(), ConfError> {
        // SAFETY: NGINX's own way for a block of other directives (ngx_http_geo_block): the parser is
        // live, and what it was is put back. The block lives until all of it is read, and nobody else
        // touches it meanwhile.
        let read = unsafe {
            let cf = self.as_ptr();
            let outer = ptr::read(cf);
            (*cf).handler = Some(set_member::<B>);
            (*cf).handler_conf = ptr::from_mut(block).cast();
            let read = ngx_conf_parse(cf, ptr::null_mut());
            ptr::write(cf, outer);
            read
        };
        if read.is_null() { Ok(()) } else { Err(ConfError::Reported) }
    }
}

/// The callback of every directive of the block `B`.
unsafe extern "C" fn set_member<B: Block>(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    block: *mut c_void,
) -> *mut c_char {
    // SAFETY: NGINX passes the parser, with a directive of one word at least, and what `read` gave it.
    let (mut cf, block) = unsafe { (Cf::in_block(cf, B::in_its_words), &mut *block.cast::<B>()) };
    let name = cf.name();
    if name == b"include" && cf.args().len() == 1 {
        // SAFETY: NGINX's own, which looks at no row (ngx_http_core_type gives it none either); each
        // directive of the file comes here again, and `block` is not used any more.
        return unsafe { ngx_conf_include(cf.as_ptr(), ptr::null_mut(), ptr::null_mut()) };
    }
    answer(&mut cf, "a directive of a block", name, |cf, args| block.set(cf, name, &args))
}
