//! NGINX's configuration parser, with a safe face.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use phantom_token_engine::directive;
use phantom_token_engine::token::bearer::MAX_TOKEN_LEN;

use crate::conf::{ComplexValue, Demand, MainConf};
use crate::nginx::sys::*;

/// Why a directive cannot stand as it is. Shown as `"directive" <this> in file:line`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfError {
    /// The directive stands twice on one level.
    #[error("directive is duplicate")]
    Duplicate,
    /// What is wrong, and what to write.
    #[error("directive {0}")]
    Directive(String),
    /// Found only when the whole configuration was read; names its place itself.
    #[error("{0}")]
    Whole(String),
    /// NGINX has said why.
    #[error("")]
    Reported,
}

impl ConfError {
    pub(crate) fn directive(what: impl fmt::Display) -> Self {
        Self::Directive(what.to_string())
    }
}

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    file: String,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The parser at one directive, or at the end of a block.
pub(crate) struct Cf<'a> {
    cf: *mut ngx_conf_t,
    callback: PhantomData<&'a mut ngx_conf_t>,
}

impl Cf<'_> {
    /// # Safety
    /// `cf` must be live, and the value must not outlive the callback.
    pub(crate) unsafe fn new(cf: *mut ngx_conf_t) -> Self {
        Self { cf, callback: PhantomData }
    }

    pub(crate) fn as_ptr(&mut self) -> *mut ngx_conf_t {
        self.cf
    }

    pub(crate) fn log(&self) -> *mut ngx_log_t {
        // SAFETY: a live parser has a log.
        unsafe { (*self.cf).log }
    }

    /// The directive's arguments, without its name.
    pub(crate) fn args(&self) -> Vec<&'static [u8]> {
        // SAFETY: `args` is an array of ngx_str_t, in the cycle's pool for the time of parsing.
        // 'static only says that nothing here frees them; setters copy what they keep.
        unsafe {
            (*(*self.cf).args).as_slice::<ngx_str_t>().iter().skip(1).map(|s| bytes(s)).collect()
        }
    }

    /// Overwrites argument `i` (0 is the first behind the name): secrets must not stay in pools.
    pub(crate) fn wipe_arg(&mut self, i: usize) {
        // SAFETY: as in `args`; an argument's bytes are a copy of their own in the pool.
        unsafe {
            if let Some(arg) = (*(*self.cf).args).as_slice::<ngx_str_t>().get(i + 1) {
                core::ptr::write_bytes(arg.data, 0, arg.len);
            }
        }
    }

    /// Where the parser is.
    pub(crate) fn place(&self) -> Place {
        // SAFETY: `conf_file` is set while a file is parsed; its name is a live string.
        unsafe {
            match (*self.cf).conf_file.as_ref() {
                Some(file) => Place {
                    file: String::from_utf8_lossy(bytes(&file.file.name)).into_owned(),
                    line: file.line,
                },
                None => Place { file: "the command line".into(), line: 0 },
            }
        }
    }

    pub(crate) fn main_conf(&mut self) -> &mut MainConf {
        // SAFETY: inside `http`, `ctx` is the http context, whose main_conf slot holds what
        // `create_main_conf` made; no other reference to it is alive during a callback.
        unsafe {
            let ctx = (*self.cf).ctx.cast::<ngx_http_conf_ctx_t>();
            &mut *(*(*ctx).main_conf.add(crate::ctx_index())).cast::<MainConf>()
        }
    }

    /// A warning, once for a configuration, however many locations inherit what it is about.
    pub(crate) fn warn_once(&mut self, message: String) {
        if !self.main_conf().warned.contains(&message) {
            crate::nginx::log::warning!(self.log(), "{message}");
            self.main_conf().warned.push(message);
        }
    }

    /// Notes that a level demands something of tokens, by the directive the parser is at.
    pub(crate) fn demand(
        &mut self,
        directive: &'static str,
        demands: &mut Vec<(&'static str, Rc<Cell<bool>>)>,
    ) {
        let (place, in_force) = (self.place(), Rc::<Cell<bool>>::default());
        demands.push((directive, in_force.clone()));
        self.main_conf().demands.push(Demand { directive, place, in_force });
    }

    /// At the end of the configuration: who demands something of tokens means them to be judged.
    pub(crate) fn warn_of_demands_without_force(&mut self) {
        let demands = std::mem::take(&mut self.main_conf().demands);
        for Demand { directive, place, .. } in
            demands.iter().filter(|demand| !demand.in_force.get())
        {
            self.warn_once(format!(
                "\"{directive}\" has no effect: no location goes by it; write \"phantom_token on\" where it shall count, in {place}"
            ));
        }
    }

    /// At the end of a location that takes purges, where its buffer for bodies is too small for one:
    /// the longest token, each byte in three of a form.
    pub(crate) fn warn_of_small_body_buffer(&mut self, place: &Place) {
        const LEAST: usize = 100 * 1024;
        const _: () = assert!(b"token=".len() + 3 * MAX_TOKEN_LEN <= LEAST);
        // SAFETY: the parser is at the end of a location whose core configuration was merged before.
        if unsafe { pt_conf_client_body_buffer_size(self.cf) } < LEAST {
            self.warn_once(format!(
                "\"phantom_token_purge\" refuses long tokens with 413: write \"client_body_buffer_size 128k\" beside it, in {place}"
            ));
        }
    }

    /// Compiles a value that may hold variables.
    pub(crate) fn complex_value(
        &mut self,
        value: &'static [u8],
    ) -> Result<ComplexValue, ConfError> {
        let mut source = str_of(value);
        // SAFETY: the compiled value lives in the cycle's pool; NGINX keeps a pointer to `source`'s
        // bytes (in the pool) but not to `source` itself.
        unsafe {
            let out = ngx_pcalloc((*self.cf).pool, size_of::<ngx_http_complex_value_t>())
                .cast::<ngx_http_complex_value_t>();
            if out.is_null() {
                return Err(ConfError::directive("could not be read: no memory"));
            }
            let mut compile = ngx_http_compile_complex_value_t {
                cf: self.cf,
                value: &mut source,
                complex_value: out,
                ..core::mem::zeroed()
            };
            if ngx_http_compile_complex_value(&mut compile) != OK {
                return Err(ConfError::Reported);
            }
            Ok(ComplexValue(out))
        }
    }

    /// The handlers of a phase, as registered so far. They run from the last to the first.
    pub(crate) fn phase_handlers<'a>(
        &self,
        phase: ngx_http_phases,
    ) -> &'a mut [ngx_http_handler_pt] {
        // SAFETY: inside `http`; the array is in the cycle's pool, and each is asked for once. 'a only
        // says that nothing here frees it.
        unsafe { (*pt_phase_handlers(self.cf, phase as ngx_uint_t)).as_slice_mut() }
    }

    /// At the end of a location: whether it is an `if` or a `limit_except`.
    pub(crate) fn is_nameless(&self) -> bool {
        // SAFETY: as above.
        unsafe { pt_is_nameless(self.cf) != 0 }
    }

    /// Makes sure that `$http_authorization` has an index, so that it can be forgotten.
    pub(crate) fn http_authorization(&mut self) -> Result<(), ConfError> {
        if self.main_conf().http_authorization.is_none() {
            let index = self.variable_index(b"http_authorization")?;
            self.main_conf().http_authorization = Some(index);
        }
        Ok(())
    }

    /// The index of a variable, by its name without `$`.
    pub(crate) fn variable_index(&mut self, name: &'static [u8]) -> Result<usize, ConfError> {
        let mut name = str_of(name);
        // SAFETY: the name's bytes live in the cycle's pool or in the binary.
        let index = unsafe { ngx_http_get_variable_index(self.cf, &mut name) };
        usize::try_from(index).map_err(|_| ConfError::Reported)
    }

    /// A path as NGINX reads it: relative to the configuration file's folder.
    pub(crate) fn full_name(&mut self, path: &[u8]) -> Result<String, ConfError> {
        if path.contains(&0) {
            return Err(ConfError::directive("has a path with a NUL byte in it"));
        }
        // SAFETY: the copy and the full name live in the cycle's pool.
        unsafe {
            let mut name = pool_copy((*self.cf).pool, path)
                .ok_or_else(|| ConfError::directive("could not be read: no memory"))?;
            if ngx_conf_full_name((*self.cf).cycle, &mut name, 1) != OK {
                return Err(ConfError::Reported);
            }
            Ok(String::from_utf8_lossy(bytes(&name)).into_owned())
        }
    }

    /// Prints why a directive is refused: `"name" … in file:line`.
    pub(crate) fn report(&mut self, directive: &str, error: &ConfError) {
        match error {
            ConfError::Reported => {}
            ConfError::Whole(message) => {
                ngx::ngx_log_error!(NGX_LOG_EMERG, self.log(), "{message}");
            }
            _ => {
                ngx::ngx_conf_log_error!(NGX_LOG_EMERG, self.cf, "\"{directive}\" {error}");
            }
        }
    }
}

/// A time in NGINX's units (`300s`, `5m`, `1500ms`), in milliseconds.
pub(crate) fn time_ms(value: &[u8]) -> Result<u64, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: ngx_parse_time only reads the bytes.
    let parsed = unsafe { ngx_parse_time(&mut text, 0) };
    u64::try_from(parsed).map_err(|_| invalid(value, "write a time such as 300s, 5m or 1500ms"))
}

/// A size in NGINX's units (`10m`, `512k`), in bytes.
pub(crate) fn size(value: &[u8]) -> Result<usize, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: ngx_parse_size only reads the bytes.
    let parsed = unsafe { ngx_parse_size(&mut text) };
    usize::try_from(parsed).map_err(|_| invalid(value, "write a size such as 10m or 512k"))
}

/// A decimal number.
pub(crate) fn number(value: &[u8]) -> Result<u64, ConfError> {
    directive::number(value).ok_or_else(|| invalid(value, "write a number"))
}

/// `invalid value "…": what to write`.
pub(crate) fn invalid(value: &[u8], write: impl fmt::Display) -> ConfError {
    ConfError::Directive(format!(
        "has an invalid value \"{}\": {write}",
        String::from_utf8_lossy(value)
    ))
}
