//! How many arguments a directive takes, and what its user is told who gives it others.
//!
//! NGINX would count them, and say no more than that they are wrong: so its table has every directive of
//! the module take any number, and they are counted here as ngx_conf_handler does.

use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid};
use crate::nginx::sys::*;

/// A directive's arguments, without its name. A setter is given as many as it takes.
pub(crate) type Args<'a> = &'a [&'static [u8]];

/// Flags of those that take any number of arguments from one on.
const LISTS: u32 = NGX_CONF_ANY | NGX_CONF_1MORE | NGX_CONF_2MORE;

/// Flags that say how many arguments a directive takes.
const COUNTS: u32 =
    NGX_CONF_NOARGS | NGX_CONF_TAKE1 | NGX_CONF_TAKE2 | NGX_CONF_TAKE3 | NGX_CONF_TAKE4 | LISTS;

/// Begins the names of directives that nobody means as values.
const OWN: &[u8] = b"phantom_token_";

/// Of an argument that is a directive's name.
const ASK: &str = "that is the name of a directive; is a \";\" missing before it?";

/// How the words of a form are written, where they do not say it.
const WORDS: [(&str, &str); 3] = [
    ("TIME", "a time such as 5m"),
    ("zone=NAME:SIZE", "a name and a size such as zone=tokens:10m"),
    ("STRING", "quotation marks around a string of several words"),
];

/// The arguments of a directive.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    /// Where it may stand and how many arguments it takes, as in NGINX's table.
    pub(super) flags: u32,
    /// They, as documentation has them.
    pub(super) words: &'static str,
}

impl Form {
    /// For NGINX, which need not count.
    pub(super) const fn uncounted(self) -> u32 {
        self.flags & !COUNTS | NGX_CONF_ANY
    }

    fn takes(self, args: usize) -> bool {
        Self::counts(self.flags, args)
    }

    /// Whether a directive with these flags takes so many arguments and no others.
    pub(super) fn fits(flags: u32, args: usize) -> bool {
        flags & LISTS == 0 && Self::counts(flags, args)
    }

    /// Whether a directive with these flags takes so many arguments.
    fn counts(flags: u32, args: usize) -> bool {
        match flags {
            flags if flags & NGX_CONF_ANY != 0 => true,
            flags if flags & NGX_CONF_1MORE != 0 => args >= 1,
            flags if flags & NGX_CONF_2MORE != 0 => args >= 2,
            flags => args < NGX_CONF_MAX_ARGS as usize && flags & (NGX_CONF_NOARGS << args) != 0,
        }
    }

    fn is_list(self) -> bool {
        self.flags & LISTS != 0
    }

    /// The fewest that it takes.
    fn least(self) -> usize {
        (0..NGX_CONF_MAX_ARGS as usize).find(|args| self.takes(*args)).unwrap_or(0)
    }

    /// `Err` where the directive `name` takes another number of arguments, or where one of them must be a
    /// directive that a `;` is missing before. Names without an underscore are values: `user` is a scope. So are
    /// those with one in a list, but where the last line begins with it, and the module's own. Where a
    /// directive may stand alone, any name counts that the last line begins with.
    pub(crate) fn check(
        self,
        name: &str,
        args: Args<'_>,
        is_directive: impl Fn(&[u8]) -> bool,
        begins_line: impl Fn(&[u8]) -> bool,
    ) -> Result<(), ConfError> {
        let counts = self.takes(args.len());
        // Where there are no more than there may be, each may be any word.
        let many = args.len() > self.least() && (!counts || self.is_list());
        let means_directive = |arg: &&&[u8]| {
            (arg.starts_with(OWN) || many && (arg.contains(&b'_') || counts && self.least() == 0))
                && is_directive(arg)
                && (arg.starts_with(OWN) || !counts || begins_line(arg))
        };
        if let Some(arg) = args.iter().find(means_directive) {
            return Err(invalid(arg, ASK));
        }
        match counts {
            true => Ok(()),
            false => Err(ConfError::Arguments(self.to_write(name, args, is_directive))),
        }
    }

    /// Why a directive is refused, with what may be the cause: one of its arguments is another's name.
    pub(crate) fn explain(
        self,
        error: ConfError,
        args: Args<'_>,
        is_directive: impl Fn(&[u8]) -> bool,
    ) -> ConfError {
        let ConfError::Directive(what) = error else { return error };
        let values = if self.words.contains("...") { args.len() } else { self.least() };
        match args.iter().skip(values).find(|arg| is_directive(arg)) {
            Some(arg) => ConfError::Directive(format!("{what}; {}", ask(arg))),
            None => ConfError::Directive(what),
        }
    }

    fn to_write(self, name: &str, args: Args<'_>, is_directive: impl Fn(&[u8]) -> bool) -> String {
        let Self { flags, words } = self;
        let blank = if words.is_empty() { "" } else { " " };
        let end = if flags & NGX_CONF_BLOCK != 0 { "" } else { ";" };
        let mut write = format!("write \"{name}{blank}{words}{end}\"");
        if let Some((_, how)) = WORDS.iter().find(|(word, _)| words.contains(word)) {
            write += &format!(" with {how}");
        }
        if args.len() > self.least()
            && let Some(arg) = args.iter().find(|arg| is_directive(arg))
        {
            write += &format!("; {}", ask(arg));
        }
        write
    }
}

impl Cf<'_> {
    /// Whether some module of this configuration has a directive of this name.
    pub(crate) fn is_directive(&self, name: &[u8]) -> bool {
        self.rows().any(|(known, _)| known == name)
    }

    /// Whether a word and so many arguments behind it may be a directive of a location.
    pub(crate) fn may_begin(&self, word: &[u8], args: usize) -> bool {
        let here = NGX_HTTP_LOC_CONF;
        args > 0
            && self
                .rows()
                .any(|(name, flags)| name == word && flags & here != 0 && Form::fits(flags, args))
    }

    /// Whether the line that the directive ends in begins with this word: as the next directive does where a
    /// `;` is missing, and a value does not that stands beside others.
    pub(crate) fn begins_line(&self, word: &[u8]) -> bool {
        let ConfigLine { file, line } = self.line();
        // What is no file may be a pipe, which nothing is left of.
        let is_file = std::fs::metadata(&file).is_ok_and(|found| found.is_file());
        let Some(text) = is_file.then(|| std::fs::read(&file).ok()).flatten() else { return false };
        let mut lines = text.split(|byte| *byte == b'\n');
        let own = line.checked_sub(1).and_then(|nth| lines.nth(nth)).unwrap_or_default();
        own.split(u8::is_ascii_whitespace).find(|part| !part.is_empty()) == Some(word)
    }
}

fn ask(arg: &[u8]) -> String {
    let arg = String::from_utf8_lossy(arg);
    format!("\"{arg}\" is the name of a directive: is a \";\" missing before it?")
}

/// What a word processor has put around an argument, which NGINX takes for a part of it: what to say of
/// it, without the argument, which may be a secret. `None`: nothing.
pub(super) fn doubt(args: Args<'_>) -> Option<String> {
    let edges = args.iter().filter_map(|arg| std::str::from_utf8(arg).ok());
    let mut edges = edges.flat_map(|arg| [arg.chars().next(), arg.chars().next_back()]).flatten();
    edges.find_map(|edge| match edge {
        '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => Some(format!(
            "has an argument with the quotation mark {edge}, which is taken for a part of it: write \" in its place"
        )),
        '\u{a0}' | '\u{200b}' | '\u{feff}' => Some(format!(
            "has an argument with the invisible character U+{:04X}, which is taken for a part of it: leave it out",
            edge as u32
        )),
        _ => None,
    })
}
