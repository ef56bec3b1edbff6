//! What all settings have in common: where they may stand, that each keeps its line and inherits, and
//! the kinds of values they are made of.

use std::fmt;
use std::rc::Rc;

use phantom_token_engine::directive;

use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid, time_ms, time_secs};
use crate::nginx::sys::*;

pub(super) const M: u32 = NGX_HTTP_MAIN_CONF;
pub(super) const SL: u32 = NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;
pub(super) const MSL: u32 = M | SL;
/// Also in `if` in a location and in `limit_except`.
pub(super) const IF: u32 = NGX_HTTP_LIF_CONF | NGX_HTTP_LMT_CONF;

/// A value, and the directive that gave it.
#[derive(Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) line: ConfigLine,
}

/// What may stand once on a level.
#[derive(Clone)]
pub(crate) struct Setting<T>(Option<Placed<T>>);

/// Whether they say the same, wherever they stand.
impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T> Default for Setting<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Setting<T> {
    /// Takes the value of the directive the parser is at. `Err` where this level has one.
    pub(super) fn set(&mut self, cf: &Cf<'_>, value: T) -> Result<(), ConfError> {
        if let Some(first) = &self.0 {
            return Err(ConfError::Duplicate(first.line.clone()));
        }
        self.0 = Some(Placed { value, line: cf.line() });
        Ok(())
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The value; `None` where no directive gave one.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|placed| &placed.value)
    }

    /// The value with its line; `None` where no directive gave one.
    pub(crate) fn placed(&self) -> Option<&Placed<T>> {
        self.0.as_ref()
    }

    /// The line of its directive; `None` where there is none.
    pub(super) fn line(&self) -> Option<&ConfigLine> {
        self.0.as_ref().map(|placed| &placed.line)
    }

    /// Takes the value away; `None` where no directive gave one.
    pub(super) fn take(&mut self) -> Option<T> {
        self.0.take().map(|placed| placed.value)
    }

    /// Takes the enclosing level's where this level has none.
    pub(super) fn inherit(&mut self, outer: &Self)
    where
        T: Clone,
    {
        if !self.is_set() {
            self.0.clone_from(&outer.0);
        }
    }
}

impl<T: Copy> Setting<T> {
    /// The value; `default` where no directive gave one.
    pub(crate) fn or(&self, default: T) -> T {
        self.get().copied().unwrap_or(default)
    }
}

/// What may stand several times on a level, and is inherited where it does not stand there at all.
#[derive(Clone)]
pub(crate) struct Repeated<T>(Rc<Vec<Placed<T>>>);

/// Whether they say the same, wherever they stand.
impl<T: Clone + PartialEq> PartialEq for Repeated<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.iter().eq(other.iter())
    }
}

impl<T> Default for Repeated<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T: Clone> Repeated<T> {
    /// Adds the value of the directive the parser is at.
    pub(super) fn push(&mut self, cf: &Cf<'_>, value: T) {
        Rc::make_mut(&mut self.0).push(Placed { value, line: cf.line() });
    }

    pub(crate) fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// The values with their lines, in the order of their directives.
    pub(super) fn placed(&self) -> impl Iterator<Item = &Placed<T>> {
        self.0.iter()
    }

    /// The values, in the order of their directives.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|placed| &placed.value)
    }

    /// Takes all of the enclosing level's where this level has none.
    pub(super) fn inherit(&mut self, outer: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&outer.0);
        }
    }
}

/// Lets each named field inherit. All must be named: one that is forgotten does not compile.
macro_rules! inherit {
    ($own:ident from $outer:ident: $($field:ident),+ $(,)?) => {{
        let Self { $($field),+ } = $own;
        $($field.inherit(&$outer.$field);)+
    }};
}
pub(super) use inherit;

/// As a [`Location`]'s block.
const SERVER: &str = "the server";

/// A location that is on, or a `server`, an `if` or a `limit_except`.
#[derive(Clone)]
pub(crate) struct Location {
    /// As in `location "/api"`.
    pub(super) block: String,
    /// Its first line.
    pub(super) begins: ConfigLine,
    /// Where it is switched on, which may be outside of it.
    pub(super) on: ConfigLine,
}

impl Location {
    /// The one that the parser is at the end of.
    pub(super) fn that_ends(cf: &Cf<'_>, begins: &ConfigLine, on: &ConfigLine) -> Self {
        let name = cf.location_name();
        let block = match (cf.is_nameless(), name.is_empty()) {
            (true, _) => format!("the \"if\" or \"limit_except\" of location \"{name}\""),
            (false, true) => SERVER.to_owned(),
            (false, false) => format!("location \"{name}\""),
        };
        Self { block, begins: begins.clone(), on: on.clone() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, begins, on } = self;
        write!(f, "in {block} of {begins}, for \"phantom_token on\" in {on}")
    }
}

/// What settings of a server are put together for.
pub(crate) enum Place {
    Location(Location),
    /// A block, and its first line.
    Provider(Rc<str>, ConfigLine),
    /// The block of the store, by its first line.
    Store(ConfigLine),
}

impl Place {
    /// The name of the block.
    pub(super) fn provider(&self) -> Option<&Rc<str>> {
        match self {
            Self::Location(_) | Self::Store(_) => None,
            Self::Provider(name, _) => Some(name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location(location) => write!(f, "{location}"),
            Self::Provider(name, line) => {
                write!(f, "in \"phantom_token_provider {name}\" of {line}")
            }
            Self::Store(line) => write!(f, "in \"phantom_token_store\" of {line}"),
        }
    }
}

/// The choice that a word stands for. Its case makes no difference, as with NGINX's own flags and choices
/// (`ngx_conf_set_flag_slot`, `ngx_conf_set_enum_slot`).
pub(super) fn choose<T: Copy>(value: &[u8], choices: &[(&str, T)]) -> Result<T, ConfError> {
    choices
        .iter()
        .find(|(word, _)| word.as_bytes().eq_ignore_ascii_case(value))
        .map(|&(_, chosen)| chosen)
        .ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            invalid(value, format_args!("write {}", words.join(" or ")))
        })
}

/// Whether this is the word that stands in place of a name, a time or a list.
pub(super) fn is_off(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"off")
}

pub(super) fn nonempty(value: &[u8]) -> Result<(), ConfError> {
    match value.is_empty() {
        true => Err(ConfError::directive("has an empty value: write one, or leave it out")),
        false => Ok(()),
    }
}

/// For strings in which NGINX's users expect variables.
pub(super) fn no_variables(value: &[u8]) -> Result<(), ConfError> {
    match directive::seems_variable(value) {
        true => Err(invalid(value, "it takes no variables; write the value itself")),
        false => Ok(()),
    }
}

/// A time above 0, in milliseconds.
pub(super) fn positive_time_ms(value: &[u8]) -> Result<u64, ConfError> {
    match time_ms(value)? {
        0 => Err(invalid(value, "write a time above 0")),
        ms => Ok(ms),
    }
}

/// A time above 0, in seconds.
pub(super) fn positive_time_secs(value: &[u8]) -> Result<u64, ConfError> {
    match time_secs(value)? {
        0 => Err(invalid(value, "write a time above 0")),
        secs => Ok(secs),
    }
}

/// What a token's claim must be, byte for byte.
pub(super) fn claim_value(value: &[u8], claim: &str) -> Result<Box<str>, ConfError> {
    nonempty(value)?;
    no_variables(value)?;
    let text = text(value)?;
    if text.chars().any(char::is_control) {
        let write = format_args!("write it as the server's tokens have it in \"{claim}\"");
        return Err(invalid(value, write));
    }
    Ok(text.into())
}

pub(super) fn text(value: &[u8]) -> Result<&str, ConfError> {
    std::str::from_utf8(value).map_err(|_| ConfError::directive("has a value that is not UTF-8"))
}

impl ConfError {
    /// What a server cannot do without.
    pub(super) fn missing(directive: &str, place: &Place, write: &str) -> Self {
        // Its locations may have what it has not.
        let or = match place {
            Place::Location(location) if location.block == SERVER => {
                "; requests that no location takes need it too, unless \"phantom_token on\" stands in locations alone"
            }
            _ => "",
        };
        Self::Whole(format!("\"{directive}\" is missing {place}: {write}{or}"))
    }
}

/// Parts one behind the other, each with its length: no two lists of parts are the same.
pub(super) fn parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes(), *part].concat()).collect()
}
