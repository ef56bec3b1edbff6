//! A client that sends no secret: it signs an assertion for each call (RFC 7523 §2.2), with a private key
//! or with the secret that it does not show.

use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::client::{self, Once};
use phantom_token_engine::directive;
use phantom_token_engine::jose::algorithm::Algorithm;
use phantom_token_engine::jose::assertion::{Assertion, AssertionKey};
use phantom_token_engine::jose::key::{Key, KeyError, SigningKey};

use crate::conf::files;
use crate::conf::settings::{
    MSL, Place, Setting, inherit, no_variables, nonempty, parts, positive_time_secs, text,
};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid};
use crate::nginx::sys::*;

/// How long an assertion is good where `valid` does not say, in seconds.
const VALID_SECS: u64 = 60;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    key: Setting<Rc<ClientKey>>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: key);
    }

    /// Where the key is named; `None`: nowhere.
    pub(super) fn key_place(&self) -> Option<&ConfigLine> {
        self.key.placed().map(|placed| &placed.line)
    }
}

/// The client's private key, and the name the server knows it by, where it wants one.
struct ClientKey {
    key: SigningKey,
    kid: Option<String>,
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        let Self { key, kid } = self;
        *key.public() == *other.key.public() && *kid == other.kid
    }
}

/// What assertions say beside who makes them: the parameters of `client_auth`.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Terms {
    audience: Option<Box<str>>,
    valid_secs: Option<u64>,
    typ: Option<String>,
}

impl Terms {
    pub(super) fn read(args: Args<'_>) -> Result<Self, ConfError> {
        let mut terms = Self::default();
        for arg in args {
            let (name, value) = directive::parameter(arg);
            let again = match name {
                b"aud" => terms.audience.replace(string(value)?.into()).is_some(),
                b"valid" => terms.valid_secs.replace(positive_time_secs(value)?).is_some(),
                b"typ" => terms.typ.replace(media_type(value)?.to_owned()).is_some(),
                _ => {
                    return Err(ConfError::Directive(format!(
                        "has an unknown parameter \"{}\": write aud=, valid= or typ=",
                        String::from_utf8_lossy(arg)
                    )));
                }
            };
            if again {
                return Err(invalid(arg, "write it once"));
            }
        }
        Ok(terms)
    }
}

/// A string that stands in an assertion, or in its header.
fn string(value: &[u8]) -> Result<&str, ConfError> {
    nonempty(value)?;
    no_variables(value)?;
    let value = text(value)?;
    match value.chars().any(char::is_control) {
        true => Err(invalid(value.as_bytes(), "leave the control character out")),
        false => Ok(value),
    }
}

fn media_type(value: &[u8]) -> Result<&str, ConfError> {
    let value = string(value)?;
    match value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(value),
        false => Err(invalid(value.as_bytes(), "write a type such as client-authentication+jwt")),
    }
}

/// What makes the assertions of one client at one server.
pub(super) struct Assertions {
    /// Appends one to a form.
    pub(super) once: Arc<Once>,
    /// What they say of their maker, but for a secret: a server may refuse them for it.
    pub(super) shown: Vec<u8>,
}

impl Assertions {
    /// Of the client at `place`, signed with its secret, which stands in this line, or without one with the
    /// key of `settings`.
    pub(super) fn of(
        settings: &Settings,
        terms: &Terms,
        client_id: &[u8],
        secret: Option<(&[u8], &ConfigLine)>,
        issuers: &[Box<str>],
        place: &Place,
    ) -> Result<Self, ConfError> {
        let (key, kid) = match (secret, settings.key.get()) {
            (Some((secret, line)), _) => {
                let key = AssertionKey::from_secret(secret).map_err(|error| {
                    ConfError::at(
                        line,
                        format_args!(
                            "\"phantom_token_client_secret\" does not do for phantom_token_client_auth client_secret_jwt: {error}"
                        ),
                    )
                })?;
                (key, None)
            }
            (None, Some(key)) => (key.key.clone().into(), key.kid.clone()),
            (None, None) => {
                return Err(ConfError::missing(
                    "phantom_token_client_key",
                    place,
                    "write the file of the private key whose public key the server has",
                ));
            }
        };
        let audience = match (&terms.audience, issuers) {
            (Some(audience), _) => audience,
            (None, [issuer]) => &**issuer,
            (None, _) => {
                return Err(ConfError::Whole(format!(
                    "\"phantom_token_client_auth\" has no audience {place}: write aud=STRING, how the server calls itself, or one issuer"
                )));
            }
        };
        let assertion = Assertion {
            client_id: text(client_id)?.to_owned(),
            audience: audience.to_owned(),
            valid: terms.valid_secs.unwrap_or(VALID_SECS),
            typ: terms.typ.clone(),
            kid,
        };
        let (thumbprint, algorithm) = match key.public() {
            Some(key) => (key.thumbprint(), key.algorithm().name()),
            None => ([0; 32], ""),
        };
        let strings = [&assertion.kid, &assertion.typ].map(|text| text.as_deref().unwrap_or(""));
        let shown = parts(&[
            &thumbprint,
            algorithm.as_bytes(),
            assertion.audience.as_bytes(),
            &assertion.valid.to_le_bytes(),
            strings[0].as_bytes(),
            strings[1].as_bytes(),
        ]);
        Ok(Self { once: client::assertions(assertion, key), shown })
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[Command::new(
    c"phantom_token_client_key",
    MSL | NGX_CONF_TAKE123,
    "FILE [alg=ALG] [kid=STRING]",
    client_key,
)];

/// `FILE [alg=ALG] [kid=STRING]`.
fn client_key(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    let (mut algorithm, mut kid) = (None, None);
    for arg in &args[1..] {
        let (name, value) = directive::parameter(arg);
        let again = match name {
            b"alg" => algorithm.replace(algorithm_of(value)?).is_some(),
            b"kid" => kid.replace(string(value)?.to_owned()).is_some(),
            _ => {
                return Err(ConfError::Directive(format!(
                    "has an unknown parameter \"{}\": write alg= or kid=",
                    String::from_utf8_lossy(arg)
                )));
            }
        };
        if again {
            return Err(invalid(arg, "write it once"));
        }
    }
    let path = files::full_name(cf, args[0])?;
    let unfit = |error| files::unfit_key(&path, error);
    let key = match files::key(cf, &path)? {
        Key::Private(key) => key,
        Key::Public(_) => return Err(unfit(KeyError::PrivateNeeded)),
    };
    let key = match algorithm {
        Some(algorithm) => key.with_algorithm(algorithm).map_err(unfit)?,
        None => key,
    };
    settings.key.set(cf, Rc::new(ClientKey { key, kid }))
}

fn algorithm_of(value: &[u8]) -> Result<Algorithm, ConfError> {
    Algorithm::from_name(value).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        invalid(value, format_args!("there are {names}"))
    })
}
