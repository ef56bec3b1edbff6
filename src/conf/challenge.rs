//! What the refusals of a location say of it: realm, scope and where its metadata is.

use std::rc::Rc;

use phantom_token_engine::directive;
use phantom_token_engine::token::challenge::{self, ChallengeError};

use crate::conf::settings::{Location, MSL, Placed, Setting, inherit};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ComplexValue, ConfError, invalid};
use crate::nginx::sys::*;

/// A value of challenges.
#[derive(Clone)]
pub(crate) enum Text {
    /// Checked.
    Fixed(Rc<Vec<u8>>),
    /// With variables.
    Made(ComplexValue),
}

/// What challenges are made of, where a request does not say more.
pub(crate) struct Challenge {
    pub(crate) realm: Text,
    /// The required scope, as far as no request decides it: single spaces between its values.
    pub(crate) scope: Rc<Vec<u8>>,
    pub(crate) resource_metadata: Option<Text>,
}

#[derive(Default)]
pub(crate) struct Settings {
    realm: Setting<Text>,
    resource_metadata: Setting<Text>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: realm, resource_metadata);
    }

    /// What refusals say in a location that requires `scope`.
    pub(super) fn of(
        &self,
        scope: Rc<Vec<u8>>,
        location: &Location,
    ) -> Result<Challenge, ConfError> {
        let default = || Text::Fixed(Rc::new(challenge::DEFAULT_REALM.to_vec()));
        let realm = self.realm.get().cloned().unwrap_or_else(default);
        let resource_metadata = self.resource_metadata.get().cloned();
        let is_left_out =
            |realm: &&Placed<Text>| matches!(&realm.value, Text::Fixed(realm) if realm.is_empty());
        if let Some(realm) = self.realm.placed().filter(is_left_out)
            && scope.is_empty()
            && resource_metadata.is_none()
        {
            return Err(ConfError::at(
                &realm.line,
                format_args!(
                    "\"phantom_token_realm\" is empty: {}, {location}",
                    ChallengeError::Empty
                ),
            ));
        }
        Ok(Challenge { realm, scope, resource_metadata })
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(c"phantom_token_realm", MSL | NGX_CONF_TAKE1, "STRING", |cf, settings, args| {
        let realm = text(cf, args[0], challenge::check_realm)?;
        settings.realm.set(cf, realm)
    }),
    Command::new(
        c"phantom_token_resource_metadata",
        MSL | NGX_CONF_TAKE1,
        "URL",
        |cf, settings, args| {
            let url = text(cf, args[0], challenge::check_resource_metadata)?;
            if !args[0].windows(13).any(|part| part == b"/.well-known/")
                && !directive::holds_variable(args[0])
            {
                let url = String::from_utf8_lossy(args[0]);
                cf.warn_here(format_args!(
                    "\"phantom_token_resource_metadata\" is \"{url}\", and clients look below /.well-known/ (RFC 9728, section 3): write the URL of the metadata, not that of the API"
                ));
            }
            settings.resource_metadata.set(cf, url)
        },
    ),
];

/// Checks what no request changes.
fn text(
    cf: &mut Cf<'_>,
    arg: &'static [u8],
    check: fn(&[u8]) -> Result<(), ChallengeError>,
) -> Result<Text, ConfError> {
    if directive::holds_variable(arg) {
        return Ok(Text::Made(cf.complex_value(arg)?));
    }
    check(arg).map_err(|error| invalid(arg, format_args!("write another: {error}")))?;
    Ok(Text::Fixed(Rc::new(arg.to_vec())))
}
