//! NGINX's configuration parser, with a safe face.

use core::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;

use phantom_token_engine::directive;

use crate::nginx::sys::*;

/// Why a directive cannot stand as it is. Shown as `"directive" <this> in file:line`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfError {
    /// The directive stands twice on one level.
    #[error("directive is duplicate: it stands in {0} already; keep one")]
    Duplicate(ConfigLine),
    /// It takes another number of arguments: what to write.
    #[error("{0}")]
    Arguments(String),
    /// What is wrong, and what to write.
    #[error("directive {0}")]
    Directive(String),
    /// Found only when more of the configuration was read than the directive it is about; names its place
    /// itself.
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

    /// Of the directive that stands at `line`: what is wrong, and what to write.
    pub(crate) fn at(line: &ConfigLine, what: impl fmt::Display) -> Self {
        Self::Whole(format!("{what}, in {line}"))
    }
}

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConfigLine {
    pub(super) file: String,
    pub(super) line: usize,
}

impl fmt::Display for ConfigLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A compiled value that may hold variables, of this configuration cycle.
#[derive(Clone, Copy)]
pub(crate) struct ComplexValue(pub(crate) *mut ngx_http_complex_value_t);

impl ComplexValue {
    /// Its text as it is written.
    pub(crate) fn source(&self) -> &[u8] {
        // SAFETY: the compiled value and its text live in the pool of this configuration's cycle,
        // as long as what is made of the configuration.
        unsafe { bytes(&(*self.0).value) }
    }

    /// The value itself; `None` where a variable is in it.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        // SAFETY: as in `source`. NGINX sets `lengths` where there are variables.
        let is_constant = unsafe { (*self.0).lengths.is_null() };
        is_constant.then(|| self.source())
    }
}

/// A content handler, as NGINX calls it.
pub(crate) type ContentHandler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// The parser at one directive, or at the end of a block.
pub(crate) struct Cf<'a> {
    cf: *mut ngx_conf_t,
    /// How messages are worded in the block that the parser is in; `None`: in none that has words of its
    /// own.
    words: Option<fn(&str) -> String>,
    callback: PhantomData<&'a mut ngx_conf_t>,
}

impl Cf<'_> {
    /// # Safety
    /// `cf` must be live, and the value must not outlive the callback.
    pub(crate) unsafe fn new(cf: *mut ngx_conf_t) -> Self {
        Self { cf, words: None, callback: PhantomData }
    }

    /// The parser in a block that has words of its own for what messages name.
    ///
    /// # Safety
    /// As [`Self::new`].
    pub(crate) unsafe fn in_block(cf: *mut ngx_conf_t, words: fn(&str) -> String) -> Self {
        Self { cf, words: Some(words), callback: PhantomData }
    }

    /// Runs `check` on what a block that has been read says, with messages in its words.
    pub(crate) fn with_words<T>(
        &mut self,
        words: fn(&str) -> String,
        check: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let outer = self.words.replace(words);
        let checked = check(self);
        self.words = outer;
        checked
    }

    /// A message in the words of where the parser is.
    pub(crate) fn worded(&self, message: &str) -> String {
        self.words.map_or_else(|| message.to_owned(), |words| words(message))
    }

    /// Whether the parser is in a block that has directives of its own.
    pub(crate) fn is_in_block(&self) -> bool {
        self.words.is_some()
    }

    pub(crate) fn as_ptr(&mut self) -> *mut ngx_conf_t {
        self.cf
    }

    pub(crate) fn log(&self) -> *mut ngx_log_t {
        // SAFETY: a live parser has a log.
        unsafe { (*self.cf).log }
    }

    /// The directive's name, as it is written.
    pub(crate) fn name(&self) -> &'static [u8] {
        // SAFETY: as in `args`.
        unsafe {
            (*(*self.cf).args).as_slice::<ngx_str_t>().first().map_or(&[][..], |name| bytes(name))
        }
    }

    /// All directives of all modules, and what NGINX knows of where they stand and what they take.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[u8], u32)> {
        // SAFETY: the cycle's modules are an array that NULL ends, each with a table of directives, or
        // none, that a row without a name ends (ngx_conf_handler).
        let modules =
            (0..).map_while(|nth| unsafe { (*(*(*self.cf).cycle).modules.add(nth)).as_ref() });
        modules.filter(|module| !module.commands.is_null()).flat_map(|module| {
            // SAFETY: as above.
            (0..).map_while(|nth| unsafe {
                let row = &*module.commands.add(nth);
                (row.name.len > 0).then(|| (bytes(&row.name), row.type_ as u32))
            })
        })
    }

    /// The place of a module among this configuration's, by its name; `None` where it is not there.
    /// Modules register their handlers in this order, which NGINX calls in the reverse one.
    pub(crate) fn place_of_module(&self, name: &CStr) -> Option<usize> {
        // SAFETY: the cycle's modules are an array that NULL ends, each with a name.
        unsafe {
            let modules = (*(*self.cf).cycle).modules;
            let mut place = 0;
            while let Some(module) = (*modules.add(place)).as_ref() {
                if CStr::from_ptr(module.name) == name {
                    return Some(place);
                }
                place += 1;
            }
        }
        None
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
    pub(crate) fn line(&self) -> ConfigLine {
        // SAFETY: `conf_file` is set while a file is parsed; its name is a live string.
        unsafe {
            match (*self.cf).conf_file.as_ref() {
                Some(file) => ConfigLine {
                    file: String::from_utf8_lossy(bytes(&file.file.name)).into_owned(),
                    line: file.line,
                },
                None => ConfigLine { file: "the command line".into(), line: 0 },
            }
        }
    }

    /// At the end of a location: how much of a body NGINX keeps in memory there, in bytes.
    pub(crate) fn client_body_buffer_size(&self) -> usize {
        // SAFETY: the parser is at the end of a location whose core configuration was merged before.
        unsafe { pt_conf_client_body_buffer_size(self.cf) }
    }

    /// Gives the location the parser is in a content handler, in place of an earlier one.
    pub(crate) fn set_content_handler(&mut self, handler: ContentHandler) {
        // SAFETY: the parser is inside a server or a location, whose core configuration is live.
        unsafe { pt_set_content_handler(self.cf, Some(handler)) }
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

    /// At the end of a location: its name, which is that of the location around an `if`; empty: it is a
    /// server.
    pub(crate) fn location_name(&self) -> String {
        // SAFETY: as above; the name lives in the cycle's pool.
        unsafe { String::from_utf8_lossy(bytes(&pt_conf_location_name(self.cf))).into_owned() }
    }

    /// At the end of a location: whether this is its content handler.
    pub(crate) fn has_content_handler(&self, handler: ContentHandler) -> bool {
        // SAFETY: as above.
        let own = unsafe { pt_conf_content_handler(self.cf) };
        own.is_some_and(|own| core::ptr::fn_addr_eq(own, handler))
    }

    /// At the end of a location: whether it has `satisfy any`.
    pub(crate) fn satisfies_any(&self) -> bool {
        // SAFETY: as above.
        unsafe { pt_conf_satisfies_any(self.cf) != 0 }
    }

    /// At the end of a location: whether it has an `auth_delay`.
    pub(crate) fn delays_auth(&self) -> bool {
        // SAFETY: as above.
        unsafe { pt_conf_delays_auth(self.cf) != 0 }
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
                let message = self.worded(message);
                ngx::ngx_log_error!(NGX_LOG_EMERG, self.log(), "{message}");
            }
            // As NGINX says it of its own.
            ConfError::Arguments(write) => {
                let message =
                    format!("invalid number of arguments in \"{directive}\" directive: {write}");
                ngx::ngx_conf_log_error!(NGX_LOG_EMERG, self.cf, "{message}");
            }
            _ => {
                let message = self.worded(&error.to_string());
                ngx::ngx_conf_log_error!(NGX_LOG_EMERG, self.cf, "\"{directive}\" {message}");
            }
        }
    }
}

/// A time in NGINX's units (`300s`, `5m`, `1500ms`), in milliseconds.
pub(crate) fn time_ms(value: &[u8]) -> Result<u64, ConfError> {
    time(value, false).ok_or_else(|| invalid(value, "write a time such as 300s, 5m or 1500ms"))
}

/// A time in NGINX's units (`300s`, `5m`), in seconds; not one of milliseconds.
pub(crate) fn time_secs(value: &[u8]) -> Result<u64, ConfError> {
    time(value, true)
        .ok_or_else(|| invalid(value, "write a time of whole seconds, such as 300s or 5m"))
}

fn time(value: &[u8], in_secs: bool) -> Option<u64> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: ngx_parse_time only reads the bytes.
    let parsed = unsafe { ngx_parse_time(&mut text, in_secs.into()) };
    u64::try_from(parsed).ok()
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
