//! How far a server's clock may be from ours.

use crate::conf::settings::{MSL, Setting, inherit};
use crate::nginx::command::Command;
use crate::nginx::parser::time_secs;
use crate::nginx::sys::*;

const SKEW_SECS: u64 = 30;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    skew: Setting<u64>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: skew);
    }

    /// In seconds.
    pub(super) fn skew_secs(&self) -> u64 {
        self.skew.or(SKEW_SECS)
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[Command::new(
    c"phantom_token_clock_skew",
    MSL | NGX_CONF_TAKE1,
    "TIME",
    |cf, settings, args| settings.skew.set(cf, time_secs(args[0])?),
)];
