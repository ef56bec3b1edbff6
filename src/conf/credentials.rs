//! How the module authenticates at the introspection endpoint: the client's id, and its secret from the
//! configuration or from a file, checked as text, or assertions in place of the secret.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::client::{self, ClientAuth, Common, Once};
use phantom_token_engine::directive;
use phantom_token_engine::directive::credential::{self, Error};
use phantom_token_engine::http::form;
use phantom_token_engine::remedy::Hints;
use zeroize::Zeroizing;

use crate::conf::assertion::{self, Assertions, Terms};
use crate::conf::files;
use crate::conf::settings::{MSL, Place, Setting, choose, inherit};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid};
use crate::nginx::sys::*;

/// Of a secret that no server is sent.
const UNSENT: &str = "no server that is asked is sent it; leave it out, or write another than \"phantom_token_client_auth none\"";

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
    terms: Setting<Rc<Terms>>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: id, secret, auth, terms);
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
    /// What makes assertions, where calls have them in place of the secret.
    pub(super) assertions: Option<Assertions>,
    /// What to say when the credentials are refused.
    pub(crate) hints: Hints,
}

impl Credentials {
    /// The credentials at the server at `place`, whose issuers these are. `Err` names what is missing for
    /// the way the client authenticates, or does not go with it.
    pub(super) fn of(
        settings: &Settings,
        assertion: &assertion::Settings,
        has_certificate: bool,
        accept: &[u8],
        issuers: &[Box<str>],
        place: &Place,
    ) -> Result<Self, ConfError> {
        let auth = settings.auth.or(ClientAuth::Basic);
        let by_key = auth == ClientAuth::PrivateKeyJwt;
        match (assertion.key_place(), settings.secret_place()) {
            (_, Some(line)) if by_key => {
                return Err(ConfError::at(
                    line,
                    "\"phantom_token_client_secret\" is not sent by phantom_token_client_auth private_key_jwt: keep one of phantom_token_client_secret and phantom_token_client_key",
                ));
            }
            (Some(line), _) if !by_key => {
                return Err(ConfError::at(
                    line,
                    "\"phantom_token_client_key\" signs for phantom_token_client_auth private_key_jwt alone: write that, or leave the key out",
                ));
            }
            _ => {}
        }
        let (id, secret) = match (settings.id.get(), settings.secret.get()) {
            (id, _) if auth == ClientAuth::None => (id.cloned().unwrap_or_default(), None),
            (Some(id), _) if by_key => (id.clone(), None),
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
        let mut hints = Hints {
            encoded: false,
            raw: false,
            certificate: has_certificate,
            assertions: auth.signs(),
            key: by_key,
        };
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
                    ConfError::Whole(format!(
                        "\"phantom_token_client_id\" does not do for phantom_token_client_auth basic_raw: {error}; write phantom_token_client_auth basic, or post, {place}"
                    ))
                })?);
            }
            _ => {}
        }
        let assertions = auth.signs().then(|| {
            let terms = settings.terms.get().cloned().unwrap_or_default();
            let secret = secret.as_ref().map(|secret| &secret.bytes[..]);
            let secret = secret.zip(settings.secret_place());
            Assertions::of(assertion, &terms, &id, secret, issuers, place)
        });
        let assertions = assertions.transpose()?;
        let common = |authorization| {
            Common::new(authorization, accept).map_err(|_| {
                ConfError::Whole(format!(
                    "the client's credentials or \"phantom_token_introspection_accept\" hold what no header may, {place}"
                ))
            })
        };
        let common_raw = raw.map(|raw| common(Some(raw))).transpose()?;
        Ok(Self { common: common(basic)?, common_raw, id, secret, auth, assertions, hints })
    }

    /// The secret; empty where none is needed.
    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_ref().map_or(&[], |secret| &secret.bytes)
    }

    /// What of them is the same in the form of every call.
    pub(crate) fn in_form(&self) -> Option<[(&'static str, &[u8]); 2]> {
        match self.auth {
            ClientAuth::Post => Some([("client_id", &self.id), ("client_secret", self.secret())]),
            auth => auth.signs().then(|| client::assertion_params(&self.id)),
        }
    }

    /// What appends to a form that is good for one attempt alone.
    pub(crate) fn once(&self) -> Option<Arc<Once>> {
        self.assertions.as_ref().map(|made| made.once.clone())
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_client_id",
        MSL | NGX_CONF_TAKE1,
        "STRING",
        |cf, settings, args| {
            check(cf, "phantom_token_client_id", args[0])?;
            if directive::seems_variable(args[0]) {
                let id = String::from_utf8_lossy(args[0]);
                cf.warn_here(format_args!(
                "\"phantom_token_client_id\" takes no variables: \"{id}\" is sent as it stands; write the value itself"
            ));
            }
            settings.id.set(cf, Rc::new(args[0].to_vec()))
        },
    ),
    Command::new(c"phantom_token_client_secret", MSL | NGX_CONF_TAKE1, "STRING", secret),
    Command::new(c"phantom_token_client_secret_file", MSL | NGX_CONF_TAKE1, "PATH", secret_file),
    Command::new(
        c"phantom_token_client_auth",
        MSL | NGX_CONF_TAKE1234,
        "basic | basic_raw | post | none",
        client_auth,
    ),
];

/// `WAY`, and behind those that sign what they sign. These are a block's alone.
fn client_auth(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    let all = ClientAuth::WORDS;
    let (of_blocks, flat): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, way)| way.signs());
    let ways = if cf.is_in_block() { &all[..] } else { &flat };
    if !cf.is_in_block()
        && of_blocks.iter().any(|(word, _)| word.as_bytes().eq_ignore_ascii_case(args[0]))
    {
        let way = String::from_utf8_lossy(args[0]);
        let write = "only a block has it; write client_auth";
        return Err(invalid(args[0], format_args!("{write} {way} in phantom_token_provider")));
    }
    let auth = choose(args[0], ways)?;
    if !auth.signs() && args.len() > 1 {
        return Err(invalid(args[1], "parameters go with the ways that sign; leave it out"));
    }
    settings.auth.set(cf, auth)?;
    settings.terms.set(cf, Rc::new(Terms::read(&args[1..])?))
}

/// Checks an id or a secret as it is written.
fn check(cf: &mut Cf<'_>, directive: &str, value: &[u8]) -> Result<(), ConfError> {
    credential::check(value).map_err(|error| match error {
        Error::Empty => ConfError::directive(
            "has an empty value: write it as the authorization server shows it",
        ),
        _ => ConfError::Directive(format!(
            "has a value that {error}: write it as the authorization server shows it"
        )),
    })?;
    if value.ends_with(b" ") {
        cf.warn_here(format_args!(
            "\"{directive}\" ends in a blank, which is taken for a part of it: leave it out if it is none"
        ));
    }
    Ok(())
}

fn secret(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    check(cf, "phantom_token_client_secret", args[0])?;
    if args[0].starts_with(b"/") && std::path::Path::new(OsStr::from_bytes(args[0])).is_file() {
        cf.warn_here(
            "\"phantom_token_client_secret\" is the path of a file, which is sent as it stands: write phantom_token_client_secret_file for what the file holds",
        );
    }
    if seems_unfilled(args[0]) {
        cf.warn_here(
            "\"phantom_token_client_secret\" seems to be the place of a secret in a template, and is sent as it stands: write the secret",
        );
    }
    let bytes = Zeroizing::new(args[0].to_vec());
    cf.wipe_arg(0);
    set(cf, settings, bytes)?;
    cf.note_of_server("phantom_token_client_secret", UNSENT);
    Ok(())
}

/// Whether it is what a template has in a secret's place: `<secret>`, `${secret}`, `$SECRET`.
fn seems_unfilled(secret: &[u8]) -> bool {
    let in_lower_case = secret.iter().any(u8::is_ascii_lowercase);
    secret.starts_with(b"<") && secret.ends_with(b">")
        || directive::is_variable(secret) && (secret.starts_with(b"${") || !in_lower_case)
}

fn secret_file(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    let bytes = read_secret_file(cf, args[0])?;
    set(cf, settings, bytes)?;
    cf.note_of_server("phantom_token_client_secret_file", UNSENT);
    Ok(())
}

/// The secret in a file of one line, without the line's end.
pub(super) fn read_secret_file(
    cf: &mut Cf<'_>,
    name: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ConfError> {
    let path = files::full_name(cf, name)?;
    let bytes = files::read_secret(cf, &path, credential::MAX_FILE)?;
    let bytes = credential::of_file(bytes).map_err(|error| {
        ConfError::Directive(format!(
            "names a file whose secret {error} \"{path}\": write it as one line of UTF-8, and nothing else"
        ))
    })?;
    if bytes.ends_with(b" ") {
        cf.warn_here(format_args!(
            "the secret file \"{path}\" ends in a blank, which is taken for a part of the secret: leave it out if it is none"
        ));
    }
    Ok(bytes)
}

fn set(cf: &Cf<'_>, settings: &mut Settings, bytes: Zeroizing<Vec<u8>>) -> Result<(), ConfError> {
    if settings.secret.is_set() {
        return Err(ConfError::directive(
            "is a second secret on this level: keep one of phantom_token_client_secret and phantom_token_client_secret_file",
        ));
    }
    settings.secret.set(cf, Rc::new(Secret { bytes }))
}
