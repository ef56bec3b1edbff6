//! How the module authenticates at the introspection endpoint: the client's id and secret, from the
//! configuration or from a file, checked as text.

use std::rc::Rc;

use phantom_token_engine::client::Common;
use phantom_token_engine::directive;
use phantom_token_engine::directive::credential::{self, Error, MAX_LEN};
use phantom_token_engine::http::form;
use zeroize::Zeroizing;

use crate::conf::files;
use crate::conf::settings::{MSL, Place, Setting, choose, inherit};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ConfError, ConfigLine};
use crate::nginx::sys::*;

/// The longest file of a secret, in bytes: a line end besides.
const MAX_FILE: usize = MAX_LEN + 2;

/// How the module authenticates (RFC 6749 §2.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuth {
    Basic,
    BasicRaw,
    Post,
    None,
}

/// A client secret, wiped when it is dropped.
#[derive(PartialEq, Eq)]
struct Secret {
    bytes: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    id: Setting<Rc<Vec<u8>>>,
    secret: Setting<Rc<Secret>>,
    auth: Setting<ClientAuth>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: id, secret, auth);
    }

    /// Where the secret stands; `None`: nowhere.
    pub(super) fn secret_place(&self) -> Option<&ConfigLine> {
        self.secret.placed().map(|placed| &placed.line)
    }

    pub(super) fn sends_secret(&self) -> bool {
        self.auth.or(ClientAuth::Basic) != ClientAuth::None
    }
}

/// The client, and what each of its calls has in its header.
pub(crate) struct Credentials {
    /// Empty where none is needed.
    pub(super) id: Rc<Vec<u8>>,
    secret: Option<Rc<Secret>>,
    pub(super) auth: ClientAuth,
    /// The client's credentials and what else every call has in its header.
    pub(crate) common: Common,
    /// The same with Basic credentials as they are, where that differs and may be what the server
    /// takes.
    pub(crate) common_raw: Option<Common>,
    /// What to say when the credentials are refused.
    pub(crate) hints: Hints,
}

/// What may be wrong with credentials that are refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Basic credentials are form-urlencoded, which changes them.
    pub(crate) encoded: bool,
    /// They are not, and that would change them.
    pub(crate) raw: bool,
    /// A client certificate is sent.
    pub(crate) certificate: bool,
}

impl Credentials {
    /// The credentials of the server at `place`, for calls that send `accept`. `Err` names what is
    /// missing for the way the client authenticates.
    pub(super) fn of(
        settings: &Settings,
        accept: &[u8],
        has_certificate: bool,
        place: &Place,
    ) -> Result<Self, ConfError> {
        let auth = settings.auth.or(ClientAuth::Basic);
        let (id, secret) = match (settings.id.get(), settings.secret.get()) {
            (id, _) if auth == ClientAuth::None => (id.cloned().unwrap_or_default(), None),
            (None, _) => {
                return Err(ConfError::missing(
                    "phantom_token_client_id",
                    place,
                    "write the client id that introspects, or phantom_token_client_auth none",
                ));
            }
            (Some(_), None) => {
                return Err(ConfError::missing(
                    "phantom_token_client_secret",
                    place,
                    "write it, or phantom_token_client_secret_file, or phantom_token_client_auth none",
                ));
            }
            (Some(id), Some(secret)) => (id.clone(), Some(secret.clone())),
        };
        let mut hints = Hints { encoded: false, raw: false, certificate: has_certificate };
        let (mut basic, mut raw) = (None, None);
        match (auth, &secret) {
            (ClientAuth::Basic, Some(secret)) => {
                basic = Some(form::basic(&id, &secret.bytes));
                hints.encoded = form::encoding_changes(&id, &secret.bytes);
                // An id with a colon cannot be sent as it is.
                raw = form::basic_raw(&id, &secret.bytes).ok().filter(|_| hints.encoded);
            }
            (ClientAuth::BasicRaw, Some(secret)) => {
                hints.raw = form::encoding_changes(&id, &secret.bytes);
                basic = Some(form::basic_raw(&id, &secret.bytes).map_err(|error| {
                    ConfError::Whole(format!("\"phantom_token_client_id\": {error}, {place}"))
                })?);
            }
            _ => {}
        }
        let common = |authorization| {
            Common::new(authorization, accept).map_err(|_| {
                ConfError::Whole(format!(
                    "the client's credentials or \"phantom_token_introspection_accept\" hold what no header may, {place}"
                ))
            })
        };
        let common_raw = raw.map(|raw| common(Some(raw))).transpose()?;
        Ok(Self { common: common(basic)?, common_raw, id, secret, auth, hints })
    }

    /// The secret; empty where none is needed.
    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_ref().map_or(&[], |secret| &secret.bytes)
    }

    /// `client_id` and `client_secret`, where they are sent in the body.
    pub(crate) fn in_body(&self) -> Option<[&[u8]; 2]> {
        (self.auth == ClientAuth::Post).then(|| [&self.id[..], self.secret()])
    }

    /// The names of parameters that stand in the body already.
    pub(super) fn own_params(&self) -> &'static [&'static str] {
        match self.auth {
            ClientAuth::Post => &["client_id", "client_secret"],
            _ => &[],
        }
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(c"phantom_token_client_id", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        check(cf, "phantom_token_client_id", args[0])?;
        if directive::seems_variable(args[0]) {
            let (id, line) = (String::from_utf8_lossy(args[0]), cf.line());
            let message = format!(
                "\"phantom_token_client_id\" takes no variables: \"{id}\" is sent as it stands, in {line}"
            );
            cf.warn_once(message);
        }
        settings.id.set(cf, Rc::new(args[0].to_vec()))
    }),
    Command::new(c"phantom_token_client_secret", MSL | NGX_CONF_TAKE1, secret),
    Command::new(c"phantom_token_client_secret_file", MSL | NGX_CONF_TAKE1, secret_file),
    Command::new(c"phantom_token_client_auth", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        let auth = choose(
            args[0],
            &[
                ("basic", ClientAuth::Basic),
                ("basic_raw", ClientAuth::BasicRaw),
                ("post", ClientAuth::Post),
                ("none", ClientAuth::None),
            ],
        )?;
        settings.auth.set(cf, auth)
    }),
];

/// Checks an id or a secret as it is written.
fn check(cf: &mut Cf<'_>, directive: &str, value: &[u8]) -> Result<(), ConfError> {
    credential::check(value).map_err(|error| match error {
        Error::Empty => ConfError::directive("has an empty value"),
        _ => ConfError::Directive(format!(
            "has a value that {error}: write it as the authorization server shows it"
        )),
    })?;
    if value.ends_with(b" ") {
        let line = cf.line();
        cf.warn_once(format!(
            "\"{directive}\" ends in a blank, which is taken for a part of it, in {line}"
        ));
    }
    Ok(())
}

fn secret(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    check(cf, "phantom_token_client_secret", args[0])?;
    let bytes = Zeroizing::new(args[0].to_vec());
    cf.wipe_arg(0);
    set(cf, settings, bytes)
}

fn secret_file(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    let path = cf.full_name(args[0])?;
    let mut bytes = files::read_secret(cf, &path, MAX_FILE)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    credential::check(&bytes).map_err(|error| {
        ConfError::Directive(format!(
            "names a file whose secret {error} \"{path}\": write it as one line of UTF-8, and nothing else"
        ))
    })?;
    if bytes.ends_with(b" ") {
        cf.warn_once(format!(
            "the secret file \"{path}\" ends in a blank, which is taken for a part of the secret"
        ));
    }
    set(cf, settings, bytes)
}

fn set(cf: &Cf<'_>, settings: &mut Settings, bytes: Zeroizing<Vec<u8>>) -> Result<(), ConfError> {
    if settings.secret.is_set() {
        return Err(ConfError::directive(
            "is a second secret on this level: keep one of phantom_token_client_secret and phantom_token_client_secret_file",
        ));
    }
    settings.secret.set(cf, Rc::new(Secret { bytes }))
}
