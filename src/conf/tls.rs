//! TLS to the authorization server: whom to believe, and the client's certificate.

use std::rc::Rc;

use phantom_token_engine::client::{self, TlsFile, TlsOptions};
use phantom_token_engine::store::Identity;

use crate::conf::files::PemFile;
use crate::conf::settings::{MSL, Place, Setting, choose, inherit};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfError, ConfigLine};
use crate::nginx::sys::*;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    verify: Setting<bool>,
    trusted: Setting<Rc<PemFile>>,
    certificate: Setting<Rc<PemFile>>,
    key: Setting<Rc<PemFile>>,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: verify, trusted, certificate, key);
    }

    /// Where the certificate, its key and the CA are named; `None`: nowhere.
    pub(super) fn places(&self) -> [Option<&ConfigLine>; 3] {
        [&self.certificate, &self.key, &self.trusted]
            .map(|file| file.placed().map(|placed| &placed.line))
    }

    /// One of them that is written, and where; `None`: none is.
    pub(super) fn any(&self) -> Option<(&'static str, &ConfigLine)> {
        let verify = self.verify.placed().map(|verify| &verify.line);
        let [certificate, key, trusted] = self.places();
        [
            ("phantom_token_ssl_verify", verify),
            ("phantom_token_ssl_trusted_certificate", trusted),
            ("phantom_token_ssl_certificate", certificate),
            ("phantom_token_ssl_certificate_key", key),
        ]
        .into_iter()
        .find_map(|(directive, line)| Some((directive, line?)))
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.certificate.is_set()
    }
}

/// How connections to a server are made.
pub(super) struct Tls {
    pub(super) client: client::Tls,
    /// Certificates are verified.
    pub(super) verify: bool,
    /// Paths; empty where none is named.
    pub(super) trusted: String,
    pub(super) certificate: String,
    pub(super) key: String,
    /// Of what the trusted file holds.
    pub(super) trusted_digest: Identity,
}

impl Tls {
    /// That of the server at `place`, whose endpoints are `https` or not. `Err` names the directives
    /// and files it is about.
    pub(super) fn of(
        cf: &mut Cf<'_>,
        settings: &Settings,
        https: bool,
        place: &Place,
    ) -> Result<Self, ConfError> {
        let [certificate, key] =
            ["phantom_token_ssl_certificate", "phantom_token_ssl_certificate_key"];
        let missing = match (settings.certificate.is_set(), settings.key.is_set()) {
            (true, false) => Some((key, certificate)),
            (false, true) => Some((certificate, key)),
            _ => None,
        };
        if let Some((absent, there)) = missing {
            return Err(ConfError::Whole(format!(
                "\"{absent}\" is missing beside \"{there}\" {place}"
            )));
        }
        let verify = settings.verify.or(true);
        let files = Files {
            // Roots are read only where a connection will want them.
            verify: verify && https,
            trusted: settings.trusted.get(),
            certificate: settings.certificate.get(),
            key: settings.key.get(),
        };
        let client = cf
            .main_conf()
            .tls
            .get(&files)
            .map_err(|error| ConfError::Whole(format!("{error}, {place}")))?;
        let path = |file: &Setting<Rc<PemFile>>| {
            file.get().map(|file| file.path.clone()).unwrap_or_default()
        };
        Ok(Self {
            client,
            verify,
            trusted: path(&settings.trusted),
            certificate: path(&settings.certificate),
            key: path(&settings.key),
            trusted_digest: Identity::of(settings.trusted.get().map(|file| &file.bytes[..])),
        })
    }
}

/// What has been made of settings: a root store each is costly, so one for each set of options.
#[derive(Default)]
pub(crate) struct Main(Vec<(Made, client::Tls)>);

#[derive(PartialEq, Eq)]
struct Made {
    verify: bool,
    trusted: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// The files and the switch it is made of.
struct Files<'a> {
    verify: bool,
    trusted: Option<&'a Rc<PemFile>>,
    certificate: Option<&'a Rc<PemFile>>,
    key: Option<&'a Rc<PemFile>>,
}

impl Files<'_> {
    /// Which directive names which file.
    fn named(&self, file: TlsFile) -> Option<String> {
        let (directive, file) = match file {
            TlsFile::Trusted => ("phantom_token_ssl_trusted_certificate", self.trusted),
            TlsFile::ClientCertificate => ("phantom_token_ssl_certificate", self.certificate),
            TlsFile::ClientKey => ("phantom_token_ssl_certificate_key", self.key),
        };
        Some(format!("\"{directive}\" names \"{}\"", file?.path))
    }
}

impl Main {
    /// Made once for all locations that use the same files. An error names the directives and files it
    /// is about.
    fn get(&mut self, files: &Files<'_>) -> Result<client::Tls, String> {
        let path = |file: Option<&Rc<PemFile>>| file.map(|file| file.path.clone());
        let made = Made {
            verify: files.verify,
            trusted: path(files.trusted),
            certificate: path(files.certificate),
            key: path(files.key),
        };
        if let Some((_, tls)) = self.0.iter().find(|(other, _)| *other == made) {
            return Ok(tls.clone());
        }
        let pem = |file: Option<&Rc<PemFile>>| file.map(|file| file.bytes.to_vec());
        let options = TlsOptions {
            verify: files.verify,
            trusted: pem(files.trusted),
            client_cert: pem(files.certificate),
            client_key: files.key.map(|file| file.bytes.clone()),
        };
        let tls = client::Tls::new(options).map_err(|error| {
            let named = error.files().iter().filter_map(|file| files.named(*file));
            let named = named.collect::<Vec<_>>().join(" and ");
            if named.is_empty() { error.to_string() } else { format!("{named}: {error}") }
        })?;
        self.0.push((made, tls.clone()));
        Ok(tls)
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(c"phantom_token_ssl_verify", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        settings.verify.set(cf, choose(args[0], &[("on", true), ("off", false)])?)
    }),
    Command::new(
        c"phantom_token_ssl_trusted_certificate",
        MSL | NGX_CONF_TAKE1,
        |cf, settings, args| {
            let file = PemFile::read(cf, args[0])?;
            settings.trusted.set(cf, file)
        },
    ),
    Command::new(c"phantom_token_ssl_certificate", MSL | NGX_CONF_TAKE1, |cf, settings, args| {
        let file = PemFile::read(cf, args[0])?;
        settings.certificate.set(cf, file)
    }),
    Command::new(
        c"phantom_token_ssl_certificate_key",
        MSL | NGX_CONF_TAKE1,
        |cf, settings, args| {
            let file = PemFile::read(cf, args[0])?;
            settings.key.set(cf, file)
        },
    ),
];
