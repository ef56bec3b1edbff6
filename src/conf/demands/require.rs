//! What the operator's own expressions demand of a token (`phantom_token_require`).

use std::rc::Rc;

use phantom_token_engine::directive;

use crate::conf::condition::{self, Gain};
use crate::conf::demands::{Settings, UNUSED};
use crate::conf::settings::choose;
use crate::nginx::command::Args;
use crate::nginx::parser::{Cf, ComplexValue, ConfError, invalid};

const MEET: Gain = Gain { verb: "meet the requirement", each: "meets the requirement" };

/// How a token that does not meet a requirement is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// 401: another token may do.
    Unauthorized,
    /// 403.
    Forbidden,
}

/// `phantom_token_require STRING … [error=401 | 403]`.
#[derive(Clone)]
pub(crate) struct Requirement {
    /// Each must be non-empty and not `0`.
    pub(crate) values: Rc<[ComplexValue]>,
    pub(crate) error: Error,
}

impl Requirement {
    /// The values as they are written.
    pub(super) fn sources(&self) -> impl Iterator<Item = &[u8]> {
        self.values.iter().map(ComplexValue::source)
    }
}

pub(super) fn require(
    cf: &mut Cf<'_>,
    settings: &mut Settings,
    args: Args<'_>,
) -> Result<(), ConfError> {
    let (mut values, mut error) = (Vec::new(), None);
    for arg in args {
        if let Some(status) = arg.strip_prefix(b"error=") {
            let errors = [("401", Error::Unauthorized), ("403", Error::Forbidden)];
            let chosen = choose(status, &errors).map_err(|_| invalid(arg, "write 401 or 403"))?;
            if error.replace(chosen).is_some() {
                return Err(invalid(arg, "write error= once"));
            }
            continue;
        }
        if directive::variables(arg).next().is_none() {
            return Err(invalid(
                arg,
                "it holds no variable, and every token would fare alike; write one that is neither empty nor 0 where the requirement is met, such as one of map",
            ));
        }
        values.push(condition::value(cf, "phantom_token_require", arg, &MEET)?);
    }
    if values.is_empty() {
        return Err(ConfError::directive(
            "has no value: write a variable that is neither empty nor 0 where the requirement is met",
        ));
    }
    let requirement =
        Requirement { values: values.into(), error: error.unwrap_or(Error::Forbidden) };
    settings.require.push(cf, requirement);
    settings.noted.note(cf, "phantom_token_require", UNUSED);
    Ok(())
}
