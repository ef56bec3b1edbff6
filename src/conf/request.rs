//! What the introspection request holds besides the token and the client's credentials.

use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::client::ClientAuth;
use phantom_token_engine::directive::{self, Maker};
use zeroize::Zeroizing;

use crate::conf::credentials::Credentials;
use crate::conf::settings::{
    MSL, Place, Placed, Repeated, Setting, inherit, no_variables, nonempty, text,
};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ComplexValue, ConfError, invalid};
use crate::nginx::sys::*;

/// Values of extra headers or parameters, in their order. Credentials may be among them.
pub(crate) type Values = Vec<Zeroizing<Vec<u8>>>;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    accept: Setting<Rc<Vec<u8>>>,
    token_type_hint: Setting<Rc<Vec<u8>>>,
    headers: Repeated<Extra>,
    params: Repeated<Extra>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: accept, token_type_hint, headers, params);
    }

    /// The media type that is asked for, by locations that forward so.
    pub(super) fn accept(&self, forward: Forward) -> &[u8] {
        let usual = match forward {
            Forward::Jwt | Forward::None => b"application/jwt",
            // No JWT of the server's is needed.
            Forward::Mint => &b"application/json"[..],
        };
        self.accept.get().map_or(usual, |accept| accept)
    }
}

/// An extra header or parameter of the introspection request.
#[derive(Clone)]
pub(crate) struct Extra {
    pub(crate) name: Arc<str>,
    pub(crate) value: ComplexValue,
    /// Its value is part of the cache key.
    pub(crate) keyed: bool,
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, value, keyed } = self;
        *name == other.name && value.source() == other.value.source() && *keyed == other.keyed
    }
}

impl Extra {
    /// Whether requests differ in it, and the answer may depend on it.
    fn varies(&self) -> bool {
        self.keyed && self.value.constant().is_none()
    }
}

/// The hint, and what is extra.
pub(crate) struct Extras {
    pub(crate) token_type_hint: Option<Rc<Vec<u8>>>,
    pub(crate) headers: Vec<Extra>,
    pub(crate) params: Vec<Extra>,
}

impl Extras {
    /// Those of the server at `place`. `Err` where one is set by the module already.
    pub(super) fn of(
        settings: &Settings,
        credentials: &Credentials,
        place: &Place,
    ) -> Result<Self, ConfError> {
        let token_type_hint = settings.token_type_hint.get().cloned();
        let headers: Vec<_> = settings.headers.iter().cloned().collect();
        let params: Vec<_> = settings.params.iter().cloned().collect();
        let authorization =
            |header: &&Placed<Extra>| header.value.name.eq_ignore_ascii_case("authorization");
        if credentials.auth != ClientAuth::None
            && let Some(Placed { line, .. }) = settings.headers.placed().find(authorization)
        {
            return Err(ConfError::at(
                line,
                format_args!(
                    "\"phantom_token_introspection_header\" sets Authorization beside the client's own credentials: write phantom_token_client_auth none, or leave it out"
                ),
            ));
        }
        let is_own = |name: &str| match name {
            "token_type_hint" => token_type_hint.is_some(),
            _ => credentials.auth.own_params().contains(&name),
        };
        if let Some(param) = settings.params.placed().find(|param| is_own(&param.value.name)) {
            return Err(ConfError::at(
                &param.line,
                format_args!(
                    "\"phantom_token_introspection_param {}\" is set by the module already {place}: leave it out",
                    param.value.name
                ),
            ));
        }
        Ok(Self { token_type_hint, headers, params })
    }

    /// The hint; empty where none is sent.
    pub(super) fn hint(&self) -> &[u8] {
        self.token_type_hint.as_ref().map_or(&[], |hint| hint)
    }

    /// Whether the server is told what kind of token it is asked about.
    pub(super) fn names_kind(&self) -> bool {
        !self.hint().is_empty() || self.params.iter().any(|param| &*param.name == "token_type_hint")
    }

    /// Headers, then parameters.
    pub(super) fn all(&self) -> impl Iterator<Item = &Extra> {
        self.headers.iter().chain(&self.params)
    }

    /// Those whose value is part of the cache key, with their values.
    pub(super) fn keyed<'a>(
        &'a self,
        [headers, params]: [&'a Values; 2],
    ) -> impl Iterator<Item = &'a [u8]> {
        self.with_values([headers, params], |extra| extra.keyed)
    }

    /// The values that requests differ in and the answer may depend on.
    pub(super) fn varying<'a>(&'a self, values: [&'a Values; 2]) -> impl Iterator<Item = &'a [u8]> {
        self.with_values(values, Extra::varies)
    }

    /// Whether there are any.
    pub(super) fn vary(&self) -> bool {
        self.all().any(Extra::varies)
    }

    fn with_values<'a>(
        &'a self,
        [headers, params]: [&'a Values; 2],
        which: fn(&Extra) -> bool,
    ) -> impl Iterator<Item = &'a [u8]> {
        let extras = self.headers.iter().zip(headers).chain(self.params.iter().zip(params));
        extras.filter(move |(extra, _)| which(extra)).map(|(_, value)| &value[..])
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_introspection_accept",
        MSL | NGX_CONF_TAKE1,
        "STRING",
        |cf, settings, args| {
            no_variables(args[0])?;
            if !directive::is_accept(args[0]) {
                return Err(invalid(args[0], "write a media type such as application/jwt"));
            }
            if args[0].contains(&b',') || !args[0].contains(&b'/') {
                let value = String::from_utf8_lossy(args[0]);
                cf.warn_here(format_args!(
                    "\"phantom_token_introspection_accept\" is sent as it stands, \"{value}\": write one media type such as application/jwt, since some servers take no list"
                ));
            }
            settings.accept.set(cf, Rc::new(args[0].to_vec()))
        },
    ),
    Command::new(
        c"phantom_token_introspection_header",
        MSL | NGX_CONF_TAKE23,
        "NAME VALUE [nokey]",
        header,
    ),
    Command::new(
        c"phantom_token_introspection_param",
        MSL | NGX_CONF_TAKE23,
        "NAME VALUE [nokey]",
        param,
    ),
    Command::new(
        c"phantom_token_token_type_hint",
        MSL | NGX_CONF_TAKE1,
        "STRING",
        |cf, settings, args| {
            nonempty(args[0])?;
            no_variables(args[0])?;
            warn_of_hint(cf, "phantom_token_token_type_hint", args[0]);
            settings.token_type_hint.set(cf, Rc::new(args[0].to_vec()))
        },
    ),
];

/// `NAME VALUE [nokey]`.
fn extra(cf: &mut Cf<'_>, directive: &str, args: Args<'_>) -> Result<Extra, ConfError> {
    if args.len() == 2 && args[1] == b"nokey" {
        cf.warn_here(format_args!(
            "\"{directive}\" takes \"nokey\" for the value: write a value before it"
        ));
    }
    let keyed = match args.get(2) {
        None => true,
        Some(&b"nokey") => false,
        Some(other) => return Err(invalid(other, "write nokey or nothing")),
    };
    if !directive::is_header_value(args[1]) {
        return Err(ConfError::directive("has a control byte in its value: leave it out"));
    }
    if keyed && directive::maker(args[1], directive::is_free) == Maker::Client {
        let value = String::from_utf8_lossy(args[1]);
        cf.warn_here(format_args!(
            "\"{directive}\" makes \"{value}\", which any client can set, part of the cache key: write nokey if the answer does not depend on it"
        ));
    }
    Ok(Extra { name: text(args[0])?.into(), value: cf.complex_value(args[1])?, keyed })
}

fn header(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    if !directive::is_header_name(args[0]) {
        return Err(invalid(args[0], "write the name of a header"));
    }
    if directive::is_own_header(args[0]) {
        return Err(invalid(args[0], "the module sets this header itself"));
    }
    let header = extra(cf, "phantom_token_introspection_header", args)?;
    settings.headers.push(cf, header);
    Ok(())
}

fn param(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    nonempty(args[0])?;
    if args[0] == b"token" {
        return Err(invalid(args[0], "the module sets this parameter itself"));
    }
    if args[0] == b"token_type_hint" && directive::variables(args[1]).next().is_none() {
        warn_of_hint(cf, "phantom_token_introspection_param token_type_hint", args[1]);
    }
    if args[0].contains(&b'=') {
        let name = String::from_utf8_lossy(args[0]);
        let apart = name.replacen('=', " ", 1);
        cf.warn_here(format_args!(
            "\"phantom_token_introspection_param\" takes \"{name}\" for a name: write \"{apart}\" for a name and its value"
        ));
    }
    let param = extra(cf, "phantom_token_introspection_param", args)?;
    settings.params.push(cf, param);
    Ok(())
}

/// Some servers look for no other kind of token than the hint says.
fn warn_of_hint(cf: &mut Cf<'_>, directive: &str, hint: &[u8]) {
    if hint != b"access_token" {
        let hint = String::from_utf8_lossy(hint);
        cf.warn_here(format_args!(
            "\"{directive} {hint}\": some servers then call every access token inactive; write access_token"
        ));
    }
}
