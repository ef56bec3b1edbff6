//! Authorization servers no one here wrote, each behind the real gateway: `make test-servers`.
//!
//! A server is one file here, one line in [`all`], and what it is configured with in
//! `test/servers/NAME/`. It says how it is installed, started, asked for tokens and told to revoke
//! them ([`Server`], [`Running`]), and in what its answers differ from the usual ([`Profile`]). The
//! gateway in front of it is the product's documented example for it, hosts and ports exchanged, so
//! that a wrong example is a failure. What is tried is the same list for all of them: [`cases`].

mod cases;
mod counter;
mod example;
mod home;
mod process;
mod run;
mod web;

pub use cases::{CASES, Case};
pub use counter::Counter;
pub use example::Example;
pub use home::Home;
pub use process::Process;
pub use run::{Bench, main};
pub use web::{Answer, Web};

use std::path::PathBuf;

/// An authorization server: how it is got and started, and what is expected of it.
pub trait Server: Sync {
    /// Its name: in `SERVERS`, in the matrix, and of its folder in `test/servers`.
    fn name(&self) -> &'static str;

    /// What is installed, as the matrix shows it: program and version.
    fn version(&self) -> String;

    /// What differs from server to server.
    fn profile(&self) -> Profile;

    /// What the machine lacks that is never installed by force (Java, Go); `None` where it can run.
    fn lacks(&self) -> Option<String> {
        None
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

    /// Starts another one with HTTPS of its own, with the certificate and key in [`Site::tls`].
    /// `None` where it speaks plain HTTP alone.
    fn has_tls(&self) -> bool {
        false
    }
}

/// Where a server runs: on loopback, with a directory of its own that is gone afterwards.
pub struct Site {
    /// Its port of 127.0.0.1.
    pub port: u16,
    /// For what it writes.
    pub directory: PathBuf,
    /// Certificate and key (PEM files for `localhost` and 127.0.0.1) where it is to speak HTTPS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Site {
    /// Scheme, host and port.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
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
}

/// In what a server differs from others.
pub struct Profile {
    /// Its example in `nginx-conf/`.
    pub example: &'static str,
    /// What stands in the example for the server's scheme, host and port.
    pub url: &'static str,
    /// The secret of the example's client.
    pub secret: &'static str,
    /// The scope that [`Grant::Access`] has and the example may require.
    pub scope: &'static str,
    /// One that no token has.
    pub absent_scope: &'static str,
    /// A further client of the gateway's whose secret form-urlencoding changes: id and secret.
    pub special: Option<(&'static str, &'static str)>,
    /// Whether tokens survive a restart.
    pub keeps_tokens: bool,
    /// Cases whose outcome is not the usual one, and what it is; `-` for what the server lacks.
    pub expect: &'static [(&'static str, &'static str)],
    /// What is special to it.
    pub own: &'static [(&'static str, fn(&mut Bench<'_>) -> String, &'static str)],
}

/// All servers, in the order of the matrix.
pub fn all() -> Vec<&'static dyn Server> {
    vec![]
}
