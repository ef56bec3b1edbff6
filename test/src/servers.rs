//! Authorization servers no one here wrote, each behind the real gateway: `make test-servers`.
//!
//! A server is one file here, one line in [`all`], and what it is configured with in
//! `test/servers/NAME/`. It says how it is installed, started, asked for tokens and told to revoke
//! them ([`Server`], [`Running`]), and in what its answers differ from the usual ([`Profile`]). The
//! gateway in front of it is the product's documented example for it, hosts and ports exchanged, so
//! that a wrong example is a failure. What is tried is the same list for all of them: [`cases`].

mod assertions;
mod bench;
mod better_auth;
mod canaille;
mod cases;
mod counter;
mod django;
mod django_oauth_toolkit;
mod django_oidc_provider;
mod doorkeeper;
mod example;
mod glewlwyd;
mod go;
mod home;
mod hydra;
mod java;
mod keycloak;
mod lemonldap_ng;
mod matrix;
mod minted;
mod mitreid;
mod oidc_provider;
mod postgres;
mod probe;
mod process;
mod run;
mod spring;
mod starman;
mod web;
mod zitadel;

pub use bench::Bench;
pub use cases::{CASES, Case};
pub use counter::Counter;
pub use example::Example;
pub use home::{Home, has};
pub use oidc_provider::OidcProvider;
pub use process::Process;
pub use run::main;
pub use web::{Answer, Web};

use std::path::{Path, PathBuf};

/// An authorization server: how it is got and started, and what is expected of it.
pub trait Server: Sync {
    /// Its name: in `SERVERS`, in the matrix, and of its folder in `test/servers`.
    fn name(&self) -> &'static str;

    /// What is installed in `home`, as the matrix shows it: program and version.
    fn version(&self, home: &Home) -> String;

    /// What differs from server to server.
    fn profile(&self) -> Profile;

    /// What the machine lacks that is never installed by force (Java, Go); `None` where it can run.
    fn lacks(&self) -> Option<String> {
        None
    }

    /// Scheme, host and port as gateways name it. Where it connects to is [`Site`]'s, always.
    fn url(&self, site: &Site) -> String {
        site.url()
    }

    /// Whether it runs only where `SERVERS` names it.
    fn only_when_picked(&self) -> bool {
        false
    }

    /// Fetches and builds it. What stands in `home` is kept from run to run, so where it was done
    /// before, this is quick.
    ///
    /// # Errors
    /// What could not be had, and why.
    fn install(&self, home: &Home) -> Result<(), String>;

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// Why it does not start, with the end of its own log.
    fn start(&self, home: &Home, site: &Site) -> Result<Box<dyn Running>, String>;
}

/// A server that runs. Dropping it ends it.
pub trait Running {
    /// Its process, to be stopped, halted and started again.
    fn process(&mut self) -> &mut Process;

    /// A token; `None` where the server has none of this kind.
    ///
    /// # Panics
    /// Where it should give one and does not.
    fn grant(&mut self, what: Grant) -> Option<String>;

    /// Revokes a token that [`Self::grant`] gave; `false` where the server cannot.
    ///
    /// # Panics
    /// Where it should and does not.
    fn revoke(&mut self, token: &str) -> bool;

    /// Whether it can speak HTTPS itself, with what is in [`Site::tls`].
    fn has_tls(&self) -> bool {
        false
    }
}

/// Where a server runs: on loopback, with a directory of its own that is gone afterwards.
#[derive(Clone)]
pub struct Site {
    /// Its port of 127.0.0.1.
    pub port: u16,
    /// For what it writes.
    pub directory: PathBuf,
    /// Where it is to speak HTTPS.
    pub tls: Option<Tls>,
}

/// PEM files of a server that speaks HTTPS.
#[derive(Clone)]
pub struct Tls {
    /// Its certificate, for `localhost` and 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificate of the gateway's client, its own issuer (RFC 8705 §2.2).
    pub client: PathBuf,
}

impl Site {
    /// Scheme, host and port.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

/// The folder of `test/servers` with what a server is configured with.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(name)
}

/// What kind of token to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// An access token with [`Profile::scope`], of a client the gateway's may ask about.
    Access,
    /// The same without that scope.
    Unscoped,
    /// One that ends in a few seconds.
    Short,
    /// One for another client or resource than the gateway's.
    Foreign,
    /// A refresh token (RFC 6749 §1.5).
    Refresh,
    /// An ID token (OpenID Connect Core §2).
    Id,
    /// An access token bound to a key of the client's (RFC 9449).
    Dpop,
    /// What only this server has, by a name of its own.
    Own(&'static str),
}

/// In what a server differs from others.
pub struct Profile {
    /// Its example in `nginx-conf/`.
    pub example: &'static str,
    /// What stands in the example for the server's scheme, host and port.
    pub url: &'static str,
    /// The secret of the example's client; empty where the server knows none.
    pub secret: &'static str,
    /// The scope that [`Grant::Access`] has and the example may require.
    pub scope: &'static str,
    /// A further client of the gateway's whose secret form-urlencoding changes: id and secret.
    pub special: Option<(&'static str, &'static str)>,
    /// Whether tokens survive a restart.
    pub keeps_tokens: bool,
    /// Cases whose outcome is not the usual one, and what it is; `-` for what the server lacks.
    pub expect: &'static [(&'static str, &'static str)],
    /// What is special to it.
    pub own: &'static [Case],
}

/// All servers, in the order of the matrix: those that take longest last.
pub fn all() -> Vec<&'static dyn Server> {
    vec![
        &oidc_provider::Npm,
        &glewlwyd::Glewlwyd,
        &doorkeeper::Doorkeeper,
        &starman::Starman,
        &lemonldap_ng::LemonldapNg,
        &django_oauth_toolkit::DjangoOauthToolkit,
        &django_oidc_provider::DjangoOidcProvider,
        &canaille::Canaille,
        &better_auth::BetterAuth,
        &keycloak::Keycloak,
        &spring::Spring,
        &hydra::Hydra,
        &zitadel::Zitadel,
        &mitreid::Mitreid,
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_server_has_a_folder_an_example_and_cases_that_exist() {
        let mut names = HashSet::new();
        for server in all() {
            let (name, profile) = (server.name(), server.profile());
            assert!(names.insert(name), "{name} twice");
            assert!(folder(name).is_dir(), "{name}: its folder");
            let example = folder("../../nginx-conf").join(profile.example);
            let example = std::fs::read_to_string(&example).expect(profile.example);
            assert!(example.contains(profile.url), "{name}: {} in its example", profile.url);
            let own: HashSet<_> = profile.own.iter().map(|case| case.name).collect();
            assert_eq!(own.len(), profile.own.len(), "{name}: a case of its own twice");
            for (case, expected) in profile.expect {
                let known = CASES.iter().find(|known| known.name == *case);
                let known = known.unwrap_or_else(|| panic!("{name}: no case is named {case}"));
                assert_ne!(known.usual, *expected, "{name}: {case} is as usual");
            }
        }
        for entry in std::fs::read_dir(folder("")).expect("a folder") {
            let name = entry.expect("a folder").file_name();
            assert!(names.contains(name.to_str().expect("a name")), "{name:?} is no server's");
        }
    }
}
