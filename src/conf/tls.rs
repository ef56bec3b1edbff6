//! TLS to the authorization server: whom to believe, and the client's certificate.

use std::rc::Rc;

use phantom_token_engine::client::{self, TlsConfigError, TlsFile, TlsOptions};
use phantom_token_engine::store::Identity;

use crate::conf::files::PemFile;
use crate::conf::settings::{MSL, Place, Placed, Setting, choose, inherit};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfError, ConfigLine};
use crate::nginx::sys::*;

const VERIFY: &str = "phantom_token_ssl_verify";
const TRUSTED: &str = "phantom_token_ssl_trusted_certificate";
const CERTIFICATE: &str = "phantom_token_ssl_certificate";
const KEY: &str = "phantom_token_ssl_certificate_key";

/// Of a directive of this file, where no server is asked by it.
const PLAIN: &str =
    "no server that is asked has an https endpoint; leave it out, or write an \"https://\" URL";

/// Of certificates, where no server's certificate is verified.
const UNVERIFIED: &str = "no server that is asked has its certificate verified; leave it out, or write an \"https://\" URL, and \"on\" for \"phantom_token_ssl_verify off\",";

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
        let verify = self.verify_place();
        let [certificate, key, trusted] = self.places();
        [(VERIFY, verify), (TRUSTED, trusted), (CERTIFICATE, certificate), (KEY, key)]
            .into_iter()
            .find_map(|(directive, line)| Some((directive, line?)))
    }

    /// Where it is said whether certificates are verified; `None`: nowhere.
    pub(super) fn verify_place(&self) -> Option<&ConfigLine> {
        self.verify.placed().map(|verify| &verify.line)
    }

    /// These directives have an effect: a server is asked over TLS.
    pub(super) fn put_in_force(&self, cf: &mut Cf<'_>) {
        cf.put_in_force(CERTIFICATE, self.certificate.line());
        cf.put_in_force(KEY, self.key.line());
        cf.put_in_force(VERIFY, self.verify.line());
        if self.verify.or(true) {
            cf.put_in_force(TRUSTED, self.trusted.line());
        }
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
        let missing = match (settings.certificate.placed(), settings.key.placed()) {
            (Some(placed), None) => Some((KEY, CERTIFICATE, &placed.line)),
            (None, Some(placed)) => Some((CERTIFICATE, KEY, &placed.line)),
            _ => None,
        };
        if let Some((absent, there, line)) = missing {
            return Err(ConfError::at(
                line,
                format_args!(
                    "\"{absent}\" is missing beside \"{there}\" {place}: write both, or leave both out"
                ),
            ));
        }
        let verify = settings.verify.or(true);
        let files = Files {
            // Roots are read only where a connection will want them.
            verify: verify && https,
            trusted: settings.trusted.placed(),
            certificate: settings.certificate.placed(),
            key: settings.key.placed(),
        };
        let client = cf.main_conf().tls.get(&files).map_err(|error| match error.place {
            Some(line) => ConfError::at(line, error.words),
            None => ConfError::Whole(format!("{}, {place}", error.words)),
        })?;
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
    trusted: Option<&'a Placed<Rc<PemFile>>>,
    certificate: Option<&'a Placed<Rc<PemFile>>>,
    key: Option<&'a Placed<Rc<PemFile>>>,
}

/// What is wrong with files, and where the first of them is named; `None`: none is.
struct Unfit<'a> {
    words: String,
    place: Option<&'a ConfigLine>,
}

impl<'a> Files<'a> {
    /// Which directive names which file.
    fn named(&self, file: TlsFile) -> Option<(&'static str, &'a Placed<Rc<PemFile>>)> {
        let (directive, file) = match file {
            TlsFile::Trusted => (TRUSTED, self.trusted),
            TlsFile::ClientCertificate => (CERTIFICATE, self.certificate),
            TlsFile::ClientKey => (KEY, self.key),
        };
        Some((directive, file?))
    }

    fn unfit(&self, error: TlsConfigError) -> Unfit<'a> {
        let mut all = error.files().iter().filter_map(|file| self.named(*file));
        let Some((directive, first)) = all.next() else {
            return Unfit { words: error.to_string(), place: None };
        };
        let mut words = format!("\"{directive}\" names \"{}\"", first.value.path);
        for (directive, Placed { value, line }) in all {
            words += &format!(" and \"{directive}\" of {line} names \"{}\"", value.path);
        }
        Unfit { words: format!("{words}: {error}"), place: Some(&first.line) }
    }
}

impl Main {
    /// Made once for all locations that use the same files. An error names the directives and files it
    /// is about.
    fn get<'a>(&mut self, files: &Files<'a>) -> Result<client::Tls, Unfit<'a>> {
        let path = |file: Option<&Placed<Rc<PemFile>>>| file.map(|file| file.value.path.clone());
        let made = Made {
            verify: files.verify,
            trusted: path(files.trusted),
            certificate: path(files.certificate),
            key: path(files.key),
        };
        if let Some((_, tls)) = self.0.iter().find(|(other, _)| *other == made) {
            return Ok(tls.clone());
        }
        let pem = |file: Option<&Placed<Rc<PemFile>>>| file.map(|file| file.value.bytes.to_vec());
        let options = TlsOptions {
            verify: files.verify,
            trusted: pem(files.trusted),
            client_cert: pem(files.certificate),
            client_key: files.key.map(|file| file.value.bytes.clone()),
        };
        let tls = client::Tls::new(options).map_err(|error| files.unfit(error))?;
        self.0.push((made, tls.clone()));
        Ok(tls)
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_ssl_verify",
        MSL | NGX_CONF_TAKE1,
        "on | off",
        |cf, settings, args| {
            let verify = choose(args[0], &[("on", true), ("off", false)])?;
            settings.verify.set(cf, verify)?;
            if !verify {
                cf.note_of_server(VERIFY, PLAIN);
            }
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_ssl_trusted_certificate",
        MSL | NGX_CONF_TAKE1,
        "FILE",
        |cf, settings, args| {
            let file = PemFile::read(cf, args[0])?;
            settings.trusted.set(cf, file)?;
            cf.note_of_server(TRUSTED, UNVERIFIED);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_ssl_certificate",
        MSL | NGX_CONF_TAKE1,
        "FILE",
        |cf, settings, args| {
            let file = PemFile::read(cf, args[0])?;
            settings.certificate.set(cf, file)?;
            cf.note_of_server(CERTIFICATE, PLAIN);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_ssl_certificate_key",
        MSL | NGX_CONF_TAKE1,
        "FILE",
        |cf, settings, args| {
            let file = PemFile::read(cf, args[0])?;
            settings.key.set(cf, file)?;
            cf.note_of_server(KEY, PLAIN);
            Ok(())
        },
    ),
];
