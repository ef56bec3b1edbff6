//! What a directive takes and what may not be meant: mistakes that look like values.

use phantom_token_engine::directive::holds_variable;

use crate::nginx::command::Args;
use crate::nginx::parser::Cf;

/// The longest that anybody is thought to wait for an answer, in milliseconds.
const LONGEST_WAIT_MS: u64 = 300_000;

/// Words between the values of a list, in other languages than this.
const BETWEEN: [&[u8]; 8] = [b"and", b"or", b"AND", b"OR", b"&", b"&&", b"|", b"||"];

/// Warns of the values of a list that are several in one, none, or the next directive. A distinguished name
/// (`cn=api,dc=example`) is one.
pub(super) fn list(cf: &mut Cf<'_>, directive: &str, args: Args<'_>, any: &str) {
    for (nth, arg) in args.iter().enumerate() {
        let value = String::from_utf8_lossy(arg);
        if BETWEEN.contains(arg) {
            cf.warn_here(format_args!(
                "\"{directive}\" takes \"{value}\" for a value: write the values alone{any}"
            ));
        } else if arg.contains(&b',') && !arg.contains(&b'=') {
            let apart = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            let apart = apart.collect::<Vec<_>>().join(" ");
            cf.warn_here(format_args!(
                "\"{directive}\" takes \"{value}\" for one value: write \"{apart}\" for several"
            ));
        } else if nth > 0 && cf.may_begin(arg, args.len() - nth - 1) && cf.begins_line(arg) {
            cf.warn_here(format_args!(
                "\"{directive}\" takes \"{value}\" for a value, and it is the name of a directive: is a \";\" missing before it?"
            ));
        }
    }
}

/// Warns of a time limit that nobody waits for.
pub(super) fn wait(cf: &mut Cf<'_>, directive: &str, ms: u64) {
    if ms > LONGEST_WAIT_MS {
        let secs = ms / 1000;
        cf.warn_here(format_args!(
            "\"{directive}\" is {secs} seconds, which nobody waits for: write the unit, as in 1500ms or 5s"
        ));
    }
}

/// Warns of a condition that no request decides, but of those that say so: any word is true.
pub(super) fn condition(cf: &mut Cf<'_>, directive: &str, args: Args<'_>) {
    let is_meant = |arg: &[u8]| {
        matches!(arg, b"" | b"0" | b"1" | b"on" | b"yes" | b"true") || holds_variable(arg)
    };
    for arg in args.iter().filter(|arg| !is_meant(arg)) {
        let value = String::from_utf8_lossy(arg);
        cf.warn_here(format_args!(
            "\"{directive} {value}\" holds for every request, since it is neither empty nor 0: leave it out, or derive the condition with map"
        ));
    }
}
