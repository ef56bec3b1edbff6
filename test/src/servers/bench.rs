//! A server that runs, and what stands before and behind the gateways that ask it.

use tempfile::TempDir;

use super::{Counter, Example, Grant, Home, Profile, Running, Server, Site, Tls};
use crate::api::Api;
use crate::nginx::Gateway;
use crate::port;
use crate::tls::Identity;

/// What a case works with.
pub struct Bench<'a> {
    /// The server's own facts.
    pub profile: &'a Profile,
    /// The server.
    pub running: Box<dyn Running>,
    /// Where it runs.
    pub site: Site,
    /// Counts the connections the gateways make to it.
    pub counter: Counter,
    /// What the gateways protect.
    pub api: Api,
    /// Where it speaks HTTPS, its certificate and the gateway's client's.
    pub identities: Option<(Identity, Identity)>,
    with_tls: Option<Box<Bench<'a>>>,
    server: &'static dyn Server,
    home: &'a Home,
    _directory: TempDir,
}

impl<'a> Bench<'a> {
    pub(super) fn start(
        server: &'static dyn Server,
        home: &'a Home,
        profile: &'a Profile,
        tls: bool,
    ) -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| error.to_string())?;
        let path = directory.path();
        let names = ["localhost", "127.0.0.1"];
        let identities = tls.then(|| {
            (Identity::self_signed(&names), Identity::self_signed_leaf(&["gateway.example"]))
        });
        let tls = identities.as_ref().map(|(server, client)| {
            let (certificate, key) = server.write(path, "server");
            Tls { certificate, key, client: client.write(path, "client").0 }
        });
        let site = Site { port: port::free(), directory: path.to_owned(), tls };
        let running = server.start(home, &site)?;
        let counter = Counter::before(site.port);
        let api = Api::start();
        Ok(Self {
            profile,
            running,
            site,
            counter,
            api,
            identities,
            with_tls: None,
            server,
            home,
            _directory: directory,
        })
    }

    /// Another one of the same server, with HTTPS of its own: one for all cases that want it.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn with_tls(&mut self) -> &mut Bench<'a> {
        let Self { server, home, profile, .. } = *self;
        self.with_tls.get_or_insert_with(|| {
            let bench = Self::start(server, home, profile, true);
            Box::new(bench.unwrap_or_else(|error| panic!("with TLS: {error}")))
        })
    }

    /// The example for this server, with its client's secret. Each reply says its reason. Time
    /// limits are those of a slow machine; where the server speaks HTTPS, its certificate is trusted.
    pub fn example(&self) -> Example {
        let Profile { example, url, secret, .. } = self.profile;
        let mut example = Example::read(example)
            .replace(url, &self.server.url(&self.site))
            .passes_to(&self.api.url())
            .secret(secret)
            .connects_to(self.counter.port())
            .set("phantom_token_timeout", "20s")
            .set("phantom_token_connect_timeout", "10s")
            .beside("add_header X-Reason $phantom_token_reason always;")
            .beside("add_header X-Cache $phantom_token_status always;");
        if let Some((identity, _)) = &self.identities {
            example = example
                .file("server.pem", &identity.certificate)
                .set("phantom_token_ssl_trusted_certificate", "server.pem");
        }
        example
    }

    /// A token.
    ///
    /// # Panics
    /// Where the server has none of this kind.
    pub fn token(&mut self, what: Grant) -> String {
        self.running.grant(what).unwrap_or_else(|| panic!("a token: {what:?}"))
    }
}

/// What a gateway makes of a token: the status, and the reason where it refuses.
pub(super) fn outcome(gateway: &Gateway, token: &str) -> String {
    // A short one may stand in a line for another reason.
    if token.len() >= 16 {
        gateway.secret(token);
    }
    let response = gateway.get_as("/api/echo", token);
    match (response.status, response.header("x-reason")) {
        (200, _) | (_, None | Some("")) => response.status.to_string(),
        (status, Some(reason)) => format!("{status} {reason}"),
    }
}
