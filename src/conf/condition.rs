//! Values that decide whether a request goes on: a client must not make them.

use phantom_token_engine::directive::{self, Maker};

use crate::nginx::parser::{Cf, ComplexValue, ConfError, invalid};

/// What a request gains by a value that is neither empty nor `0`.
pub(super) struct Gain {
    /// As in "a client can".
    pub(super) verb: &'static str,
    /// As in "every request".
    pub(super) each: &'static str,
}

/// Compiles a value of `name`. `Err` where a client makes all of it; what else may let in more than is
/// meant is warned of.
pub(super) fn value(
    cf: &mut Cf<'_>,
    name: &str,
    arg: &'static [u8],
    gain: &Gain,
) -> Result<ComplexValue, ConfError> {
    let Gain { verb, each } = gain;
    refuse_clients(arg, verb)?;
    let has_variables = directive::variables(arg).next().is_some();
    if !warn_of_clients(cf, name, arg, verb) {
        if holds(arg, |name| name == b"remote_user") {
            let doubt = "any client can send a name: auth_basic has not judged it yet";
            warn(cf, name, arg, doubt);
        } else if holds(arg, directive::is_never_empty)
            || has_variables && directive::has_text(arg)
            || is_of_tests(cf, arg)
        {
            warn(cf, name, arg, &format!("it is never empty, and every request {each}"));
        }
    }
    cf.complex_value(arg)
}

/// `Err` where a client makes all of a value, by which it could do what `verb` says.
pub(super) fn refuse_clients(arg: &[u8], verb: &str) -> Result<(), ConfError> {
    if directive::maker(arg, directive::is_clients) != Maker::Client {
        return Ok(());
    }
    let why = format_args!("any client can set it and {verb}; derive the condition with map");
    Err(invalid(arg, why))
}

/// Warns where a client makes some of a value. Returns whether it does.
pub(super) fn warn_of_clients(cf: &mut Cf<'_>, name: &str, arg: &[u8], verb: &str) -> bool {
    let is_clients = directive::maker(arg, directive::is_clients) == Maker::Both;
    if is_clients {
        warn(cf, name, arg, &format!("any client can set some of it, and {verb}"));
    }
    is_clients
}

fn warn(cf: &mut Cf<'_>, name: &str, arg: &[u8], doubt: &str) {
    let value = String::from_utf8_lossy(arg);
    cf.warn_here(format_args!(
        "\"{name}\" has a doubtful value \"{value}\": {doubt}; derive the condition with map"
    ));
}

/// Whether two of a value's variables are `1` or `0` (`phantom_token_claim_set … has=`): together they are
/// never `0`. Only those are known whose directive has come.
fn is_of_tests(cf: &mut Cf<'_>, value: &[u8]) -> bool {
    let known = &cf.main_conf().claim_sets.all;
    let is_test = |name: &&[u8]| {
        known.iter().any(|set| set.path.is_test() && set.variable.eq_ignore_ascii_case(name))
    };
    directive::variables(value).filter(is_test).count() > 1
}

/// Whether one of a value's variables is such a one.
fn holds(value: &[u8], is_such: impl Fn(&[u8]) -> bool) -> bool {
    directive::variables(value).any(|name| is_such(&name.to_ascii_lowercase()))
}
