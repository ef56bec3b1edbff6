//! How a server calls itself in its tokens: what `iss` must be.

use std::rc::Rc;

use crate::conf::doubts;
use crate::conf::settings::{MSL, Setting, claim_value, inherit};
use crate::nginx::command::Command;
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

pub(super) const COMMANDS: &[Command<Settings>] = &[Command::new(
    c"phantom_token_issuer",
    MSL | NGX_CONF_1MORE,
    "STRING ...",
    |cf, settings, args| {
        doubts::list(cf, "phantom_token_issuer", args, ": one of them is enough");
        let issuers = args.iter().map(|arg| claim_value(arg, "iss")).collect::<Result<_, _>>()?;
        settings.issuers.set(cf, issuers)
    },
)];
