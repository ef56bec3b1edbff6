//! How a server calls itself in its tokens: what `iss` must be.

use std::rc::Rc;

use crate::conf::settings::{MSL, Setting, inherit, no_variables, nonempty, text};
use crate::nginx::command::Command;
use crate::nginx::parser::{ConfError, invalid};
use crate::nginx::sys::*;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    issuers: Setting<Rc<[Box<str>]>>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: issuers);
    }

    /// One of them must be the token's; empty: any may be.
    pub(super) fn all(&self) -> Rc<[Box<str>]> {
        self.issuers.get().cloned().unwrap_or_default()
    }
}

pub(super) const COMMANDS: &[Command<Settings>] =
    &[Command::new(c"phantom_token_issuer", MSL | NGX_CONF_1MORE, |cf, settings, args| {
        let issuers = args.iter().map(|arg| issuer(arg)).collect::<Result<_, _>>()?;
        settings.issuers.set(cf, issuers)
    })];

fn issuer(arg: &[u8]) -> Result<Box<str>, ConfError> {
    nonempty(arg)?;
    no_variables(arg)?;
    let issuer = text(arg)?;
    if issuer.chars().any(char::is_control) {
        return Err(invalid(arg, "write it as the server's tokens have it in \"iss\""));
    }
    Ok(issuer.into())
}
