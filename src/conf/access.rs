//! Which requests are judged, when, and where their token is.

use std::rc::Rc;

use phantom_token_engine::directive;
use phantom_token_engine::token::bearer::TokenSyntax;

use crate::conf::condition::{self, Gain};
use crate::conf::doubts;
use crate::conf::phase::Phase;
use crate::conf::settings::{IF, MSL, Setting, choose, inherit};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ComplexValue, ConfError, invalid};
use crate::nginx::sys::*;

const PASS: Gain = Gain { verb: "pass without a token", each: "passes without a token" };

/// `phantom_token on | off [token=$variable]`.
#[derive(Clone, Copy)]
pub(crate) struct Switch {
    pub(crate) on: bool,
    /// Index of the variable that holds the bare token.
    pub(crate) token: Option<usize>,
}

/// Which `OPTIONS` requests pass unchecked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowOptions {
    On,
    Preflight,
    Off,
}

#[derive(Default)]
pub(crate) struct Settings {
    pub(super) switch: Setting<Switch>,
    pub(super) token_syntax: Setting<TokenSyntax>,
    pub(super) allow_options: Setting<AllowOptions>,
    pub(super) bypass: Setting<Rc<Vec<ComplexValue>>>,
    pub(super) phase: Setting<Phase>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: switch, token_syntax, allow_options, bypass, phase);
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token",
        MSL | IF | NGX_CONF_TAKE12,
        "on | off [token=$variable]",
        switch,
    ),
    Command::new(
        c"phantom_token_token_syntax",
        MSL | NGX_CONF_TAKE1,
        "b64token | vschar",
        |cf, settings, args| {
            let syntax = choose(
                args[0],
                &[("b64token", TokenSyntax::B64token), ("vschar", TokenSyntax::Vschar)],
            )?;
            settings.token_syntax.set(cf, syntax)
        },
    ),
    Command::new(
        c"phantom_token_allow_options",
        MSL | NGX_CONF_TAKE1,
        "on | preflight | off",
        |cf, settings, args| {
            let allow = choose(
                args[0],
                &[
                    ("on", AllowOptions::On),
                    ("preflight", AllowOptions::Preflight),
                    ("off", AllowOptions::Off),
                ],
            )?;
            settings.allow_options.set(cf, allow)
        },
    ),
    Command::new(c"phantom_token_bypass", MSL | NGX_CONF_1MORE, "STRING ...", bypass),
    Command::new(
        c"phantom_token_phase",
        MSL | NGX_CONF_TAKE1,
        "access | preaccess",
        |cf, settings, args| {
            let phase =
                choose(args[0], &[("access", Phase::Access), ("preaccess", Phase::Preaccess)])?;
            settings.phase.set(cf, phase)
        },
    ),
];

fn switch(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    let on = choose(args[0], &[("on", true), ("off", false)])?;
    cf.main_conf().written.switched = true;
    let token = match args.get(1) {
        None => None,
        Some(_) if !on => return Err(ConfError::directive("takes token= only with on")),
        Some(arg) => {
            let name = directive::token_variable(arg).ok_or_else(|| {
                invalid(arg, "write token=$variable, the variable that holds the bare token")
            })?;
            Some(cf.variable_index(name)?)
        }
    };
    settings.switch.set(cf, Switch { on, token })
}

fn bypass(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    doubts::condition(cf, "phantom_token_bypass", args);
    let values = args.iter().map(|arg| condition::value(cf, "phantom_token_bypass", arg, &PASS));
    let values = values.collect::<Result<_, _>>()?;
    settings.bypass.set(cf, Rc::new(values))
}
