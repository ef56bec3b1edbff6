//! The JWTs that the gateway signs for servers that give none (`phantom_token_forward mint`): the keys,
//! what they sign, and the key set that APIs fetch.

use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::facts::Signer;
use phantom_token_engine::jose::algorithm::KeyKind;
use phantom_token_engine::jose::jwks;
use phantom_token_engine::jose::key::{Key, PublicKey, SigningKey};
use phantom_token_engine::jose::mint::{self, Claims, Terms};
use phantom_token_engine::lifetime::serves_of;
use phantom_token_engine::lookup::Minter;

use crate::conf::cache::CacheTimes;
use crate::conf::doubts;
use crate::conf::files;
use crate::conf::noted::Noted;
use crate::conf::settings::{
    Location, MSL, Place, Repeated, Setting, inherit, no_variables, nonempty, parts,
    positive_time_secs, text,
};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid};
use crate::nginx::sys::*;

const KEY: &str = "phantom_token_mint_key";
const ISSUER: &str = "phantom_token_mint_issuer";
const AUDIENCE: &str = "phantom_token_mint_audience";
const CLAIMS: &str = "phantom_token_mint_claims";
const VALID: &str = "phantom_token_mint_valid";

/// Of a directive of this file, where no location mints by it.
const UNUSED: &str = "no location that is on mints by it; write \"phantom_token_forward mint\"";

/// How much longer than it is kept a JWT lives, where `phantom_token_mint_valid` does not say: clocks of
/// APIs differ, and requests take their time.
const BEYOND_CACHE_MS: u64 = 60_000;

#[derive(Default)]
pub(crate) struct Settings {
    keys: Repeated<Rc<KeyFile>>,
    issuer: Setting<Rc<str>>,
    audience: Setting<Rc<[String]>>,
    claims: Setting<Rc<Claims>>,
    /// In seconds.
    valid: Setting<u64>,
    noted: Noted,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: keys, issuer, audience, claims, valid, noted);
    }

    fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|file| file.public())
    }
}

/// A key, as its file had it when the configuration was read.
pub(crate) struct KeyFile {
    path: String,
    key: Key,
}

impl KeyFile {
    fn public(&self) -> &PublicKey {
        match &self.key {
            Key::Private(key) => key.public(),
            Key::Public(key) => key,
        }
    }

    fn signing(&self) -> Option<&SigningKey> {
        match &self.key {
            Key::Private(key) => Some(key),
            Key::Public(_) => None,
        }
    }
}

/// How a location mints.
pub(crate) struct Mint {
    /// What pool threads sign, and with which key.
    pub(crate) minter: Arc<Minter>,
    /// The keys whose JWTs may go on.
    pub(crate) published: Arc<[Signer]>,
    /// How long a JWT may serve, in milliseconds from when it was minted.
    pub(crate) serves_ms: u64,
    /// What makes two JWTs of one answer differ.
    pub(super) identity: Vec<u8>,
}

impl Mint {
    /// Checks what a location mints, and prepares it.
    pub(super) fn of(
        cf: &mut Cf<'_>,
        settings: &Settings,
        times: &CacheTimes,
        location: &Location,
    ) -> Result<Self, ConfError> {
        let place = &Place::Location(location.clone());
        if !settings.keys.is_set() {
            let write = "write the file of the key that signs, of \"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256\"";
            return Err(ConfError::missing(KEY, place, write));
        }
        let signing = settings.keys.placed().find_map(|file| Some((file.value.signing()?, file)));
        let Some((key, file)) = signing else {
            let first = settings.keys.placed().next().map_or(&location.on, |file| &file.line);
            return Err(ConfError::at(
                first,
                format_args!(
                    "\"{KEY}\" names public keys alone {place}: write the file of the private key that signs"
                ),
            ));
        };
        let issuer = settings.issuer.placed().ok_or_else(|| {
            ConfError::missing(
                ISSUER,
                place,
                "write what APIs are to find in \"iss\", the gateway's own URL",
            )
        })?;
        let audience = settings.audience.get().ok_or_else(|| {
            ConfError::missing(AUDIENCE, place, "write what the APIs behind it call themselves")
        })?;
        cf.check_own_issuer(&issuer.value, &issuer.line)?;
        cf.main_conf().mint.signers.push((mint::signer(&key.thumbprint()), file.line.clone()));
        if key.algorithm().kind() == KeyKind::Rsa {
            cf.notice_at(
                &file.line,
                format_args!(
                    "\"{KEY}\" signs with RSA: it takes 0.4 ms of a pool thread for each new token, and longer with more than 2048 bits; P-256 takes 0.015"
                ),
            );
        }
        settings.noted.put_in_force(|_| true);

        let usual = times.valid_ms.saturating_add(times.stale_ms).saturating_add(BEYOND_CACHE_MS);
        // Times in a JWT are whole seconds.
        let valid = settings.valid.or(usual / 1000);
        let claims = settings.claims.get().cloned().unwrap_or_default();
        let terms = Terms {
            issuer: issuer.value.to_string(),
            audience: audience.to_vec(),
            claims: Claims::clone(&claims),
            valid,
        };
        let published = settings.public_keys().map(|key| mint::signer(&key.thumbprint()));
        Ok(Self {
            published: published.collect(),
            serves_ms: serves_of(valid.saturating_mul(1000)),
            identity: identity(&terms),
            minter: Arc::new(Minter { terms, key: key.clone() }),
        })
    }

    /// Whether APIs may have the key that this signer names.
    pub(crate) fn publishes(&self, signer: Option<Signer>) -> bool {
        signer.is_some_and(|signer| self.published.contains(&signer))
    }
}

/// Of the terms, not of the key: JWTs of the former key are as good until it is published no more.
fn identity(terms: &Terms) -> Vec<u8> {
    let Terms { issuer, audience, claims, valid } = terms;
    let counts = [audience.len() as u64, *valid].map(u64::to_le_bytes).concat();
    let mut of = vec![issuer.as_bytes(), &counts];
    of.extend(audience.iter().map(String::as_bytes));
    for (name, from) in claims.iter() {
        of.extend([name.as_bytes(), from.as_bytes()]);
    }
    parts(&of)
}

/// The key set that a location shows (`phantom_token_publish_jwks`).
pub(crate) struct KeySet {
    pub(crate) document: Vec<u8>,
    pub(crate) etag: String,
}

impl KeySet {
    /// The set of all keys that the location at `line` inherits.
    pub(super) fn of(
        cf: &mut Cf<'_>,
        settings: &Settings,
        line: &ConfigLine,
    ) -> Result<Self, ConfError> {
        if !settings.keys.is_set() {
            return Err(ConfError::at(
                line,
                format_args!(
                    "\"phantom_token_publish_jwks\" has no key to publish: write {KEY} in this location or around it"
                ),
            ));
        }
        settings.noted.put_in_force(|directive| directive == KEY);
        let signers = settings.public_keys().map(|key| mint::signer(&key.thumbprint()));
        cf.main_conf().mint.published.extend(signers);
        let document = jwks::published(settings.public_keys());
        Ok(Self { etag: jwks::etag(&document), document })
    }
}

/// What the whole `http` block has of it.
#[derive(Default)]
pub(crate) struct Main {
    /// The keys that sign, and where each is named.
    signers: Vec<(Signer, ConfigLine)>,
    /// The keys of all sets that are shown.
    published: Vec<Signer>,
}

impl Cf<'_> {
    /// APIs would take the server's own JWTs for the gateway's, and the gateway's for the server's.
    fn check_own_issuer(&mut self, issuer: &str, line: &ConfigLine) -> Result<(), ConfError> {
        let providers = &self.main_conf().providers.all;
        let mut own = providers.iter().filter(|provider| {
            provider.introspection.issuers.iter().any(|known| **known == *issuer)
        });
        match own.next() {
            None => Ok(()),
            Some(provider) => Err(ConfError::at(
                line,
                format_args!(
                    "\"{ISSUER}\" is the issuer of \"phantom_token_provider {}\", whose tokens others sign: write the gateway's own URL",
                    provider.name
                ),
            )),
        }
    }

    /// At the end of the configuration: keys that APIs cannot have.
    pub(super) fn warn_of_unpublished_keys(&mut self) {
        let Main { signers, published } = std::mem::take(&mut self.main_conf().mint);
        for (_, line) in signers.iter().filter(|(signer, _)| !published.contains(signer)) {
            self.warn_at(
                line,
                format_args!(
                    "\"{KEY}\" signs with a key that no location publishes: write phantom_token_publish_jwks in a location from which APIs fetch it"
                ),
            );
        }
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(c"phantom_token_mint_key", MSL | NGX_CONF_TAKE1, "FILE", |cf, settings, args| {
        let path = files::full_name(cf, args[0])?;
        let key = files::key(cf, &path)?;
        let file = Rc::new(KeyFile { path, key });
        let same = |known: &&Rc<KeyFile>| known.public().kid() == file.public().kid();
        if let Some(known) = settings.keys.iter().find(same) {
            let (one, other) = (&known.path, &file.path);
            return Err(ConfError::Directive(format!(
                "names the key of \"{one}\" a second time with \"{other}\": name each key once, the private one where there are both"
            )));
        }
        settings.keys.push(cf, file);
        settings.noted.note(cf, KEY, UNUSED);
        Ok(())
    }),
    Command::new(
        c"phantom_token_mint_issuer",
        MSL | NGX_CONF_TAKE1,
        "STRING",
        |cf, settings, args| {
            settings.issuer.set(cf, own_name(args[0])?.into())?;
            settings.noted.note(cf, ISSUER, UNUSED);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_mint_audience",
        MSL | NGX_CONF_1MORE,
        "STRING ...",
        |cf, settings, args| {
            doubts::list(cf, AUDIENCE, args, "");
            let names = args.iter().map(|arg| Ok(own_name(arg)?.to_owned()));
            let names = names.collect::<Result<Vec<String>, ConfError>>()?;
            if let Some((nth, name)) =
                names.iter().enumerate().find(|(nth, name)| names[..*nth].contains(name))
            {
                return Err(invalid(args[nth], format_args!("write \"{name}\" once")));
            }
            settings.audience.set(cf, names.into())?;
            settings.noted.note(cf, AUDIENCE, UNUSED);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_mint_claims",
        MSL | NGX_CONF_1MORE,
        "NAME[=FROM] ...",
        |cf, settings, args| {
            doubts::list(cf, CLAIMS, args, "");
            let mut claims = Claims::none();
            for arg in args {
                no_variables(arg)?;
                claims.add(arg).map_err(|error| invalid(arg, error))?;
            }
            settings.claims.set(cf, Rc::new(claims))?;
            settings.noted.note(cf, CLAIMS, UNUSED);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_mint_valid",
        MSL | NGX_CONF_TAKE1,
        "TIME",
        |cf, settings, args| {
            settings.valid.set(cf, positive_time_secs(args[0])?)?;
            settings.noted.note(cf, VALID, UNUSED);
            Ok(())
        },
    ),
];

/// A name of the gateway's or an API's, as JWTs have it.
fn own_name(arg: &[u8]) -> Result<&str, ConfError> {
    nonempty(arg)?;
    no_variables(arg)?;
    let name = text(arg)?;
    match name.chars().any(char::is_control) {
        true => Err(invalid(arg, "write it as APIs are to find it, without control characters")),
        false => Ok(name),
    }
}
