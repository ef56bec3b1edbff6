//! How well, and how lately, whoever a token is of must have been authenticated (RFC 9470).

use std::rc::Rc;

use phantom_token_engine::directive::{self, parameter};
use phantom_token_engine::token::challenge;

use crate::conf::doubts;
use crate::conf::settings::{is_off, no_variables, positive_time_secs};
use crate::nginx::command::Args;
use crate::nginx::parser::{Cf, ConfError, invalid};

/// `phantom_token_step_up [ACR …] [max_age=TIME]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StepUp {
    /// One must be the token's, joined by single spaces; empty: any may be.
    pub(crate) acr_values: Rc<Vec<u8>>,
    /// In seconds; `None`: it may be long ago.
    pub(crate) max_age: Option<u64>,
}

impl StepUp {
    /// Whether it is good enough with this `acr`.
    pub(crate) fn takes(&self, acr: Option<&str>) -> bool {
        let mut all = self.acr_values.split(|byte| *byte == b' ');
        self.acr_values.is_empty() || acr.is_some_and(|acr| all.any(|one| one == acr.as_bytes()))
    }

    /// `None` where it is off.
    pub(super) fn read(args: Args<'_>) -> Result<Option<Rc<Self>>, ConfError> {
        if matches!(args, [off] if is_off(off)) {
            return Ok(None);
        }
        let mut acr_values = Vec::new();
        let mut max_age = None;
        for arg in args {
            match parameter(arg) {
                (b"max_age", _) if max_age.is_some() => {
                    return Err(invalid(arg, "write max_age once"));
                }
                (b"max_age", b"") => {
                    return Err(invalid(arg, "write max_age=TIME, such as max_age=5m"));
                }
                (b"max_age", time) => max_age = Some(positive_time_secs(time)?),
                (name, _) if seems_max_age(name) => {
                    return Err(invalid(arg, "write max_age=TIME, such as max_age=5m"));
                }
                _ => acr_values.push(acr(arg)?),
            }
        }
        Ok(Some(Rc::new(Self { acr_values: Rc::new(acr_values.join(&b' ')), max_age })))
    }
}

/// Warns of an `acr` that is not meant to be one.
pub(super) fn warn_of_doubts(cf: &mut Cf<'_>, args: Args<'_>) {
    const DIRECTIVE: &str = "phantom_token_step_up";
    doubts::list(cf, DIRECTIVE, args, ": one of them is enough");
    for arg in args {
        let value = String::from_utf8_lossy(arg);
        let digits = arg.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let seems_time = digits > 0 && matches!(&arg[digits..], b"s" | b"m" | b"h" | b"d");
        // Levels are numbers, too, such as 10 and 100.
        let whole_minutes =
            directive::number(arg).is_some_and(|n| n >= 100 && n.is_multiple_of(60));
        if seems_time || whole_minutes {
            cf.warn_here(format_args!(
                "\"{DIRECTIVE}\" takes \"{value}\" for a value of acr: write max_age={value} for a time"
            ));
        } else if matches!(*arg, b"on" | b"yes" | b"true") {
            cf.warn_here(format_args!(
                "\"{DIRECTIVE}\" takes \"{value}\" for a value of acr: write those that are good enough, or max_age=TIME"
            ));
        }
    }
}

/// Whether it is the parameter's name in another spelling, such as that of Cache-Control.
fn seems_max_age(name: &[u8]) -> bool {
    let letters = name.iter().filter(|byte| !matches!(byte, b'_' | b'-'));
    letters.map(u8::to_ascii_lowercase).eq(*b"maxage")
}

fn acr(arg: &[u8]) -> Result<&[u8], ConfError> {
    no_variables(arg)?;
    if is_off(arg) {
        return Err(invalid(arg, "write it alone"));
    }
    if challenge::check_scope(arg).is_err() || arg.contains(&b' ') {
        return Err(invalid(
            arg,
            "a value of acr is printable ASCII without spaces, '\"' and '\\'; write each as an argument of its own",
        ));
    }
    Ok(arg)
}
