//! npm's `oidc-provider`, a certified OpenID provider: Node.js, opaque tokens, and a JWT beside each by
//! the documented recipe.
//!
//! `make setup` installs it into `test/servers/oidc-provider`, whose `server.js` says which clients
//! it has. [`OidcProvider`] is also started by tests of the module's own.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::Value;
use tempfile::TempDir;

use super::bench::outcome;
use super::cases::{DPOP_BOUND, by_certificate, case, granted};
use super::{Bench, Case, Grant, Home, Process, Profile, Running, Server, Site, Web, folder};
use crate::jwt::{SigningKey, random_text};
use crate::port;
use crate::tool;

const SECRET: &str = "Password1";
const CALLBACK: &str = "https://127.0.0.1/callback";

pub(super) struct Npm;

impl Server for Npm {
    fn name(&self) -> &'static str {
        "oidc-provider"
    }

    fn version(&self, _: &Home) -> String {
        let file = folder("oidc-provider").join("package.json");
        let package = std::fs::read_to_string(file).expect("a file");
        let package: Value = serde_json::from_str(&package).expect("JSON");
        let version = package["dependencies"]["oidc-provider"].as_str().expect("a version");
        format!("oidc-provider {version}")
    }

    fn profile(&self) -> Profile {
        Profile {
            example: "oidc-provider.conf",
            url: "https://op.example.com",
            secret: SECRET,
            scope: "read",
            special: Some(("gateway-special", "p+ss w%rd/&")),
            keeps_tokens: false,
            expect: &[
                // By the recipe: a JWT stands behind each token.
                ("application/jwt, forward jwt", "200"),
                // The recipe lets the gateway ask about access tokens alone.
                ("refresh token", "401 inactive"),
                ("special secret: basic; raw; post", "200; 500 status; 200"),
                ("TLS of its own: trusted; not", "200; 500 tls"),
            ],
            own: OWN,
        }
    }

    fn install(&self, _: &Home) -> Result<(), String> {
        let modules = folder("oidc-provider").join("node_modules");
        let error = || format!("{}: `make setup` installs them", modules.display());
        if modules.exists() { Ok(()) } else { Err(error()) }
    }

    fn start(&self, _: &Home, site: &Site) -> Result<Box<dyn Running>, String> {
        Ok(Box::new(OidcProvider::at(site, None, &Value::Array(Vec::new()))?))
    }
}

/// A running `oidc-provider`. Dropping it ends it.
pub struct OidcProvider {
    process: Process,
    web: Web,
    url: String,
    /// The certificate of a client, its key beside it.
    client: Option<PathBuf>,
    _directory: Option<TempDir>,
}

impl OidcProvider {
    /// The secret of its clients but those named `gateway-special` and `gateway-encrypted`.
    pub const SECRET: &str = SECRET;

    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start() -> Self {
        Self::start_with(&Value::Array(Vec::new()))
    }

    /// Starts one that knows further clients: a list of what oidc-provider knows of each, and of one that
    /// signs by a private key its `key`, that key in PEM.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start_with(clients: &Value) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().to_owned();
        let site = Site { port: port::free(), directory: path, tls: None };
        Self::at(&site, Some(directory), clients).unwrap_or_else(|error| panic!("{error}"))
    }

    fn at(site: &Site, directory: Option<TempDir>, clients: &Value) -> Result<Self, String> {
        let clients = clients.to_string();
        let mut arguments = vec![site.port.to_string()];
        if let Some(tls) = &site.tls {
            let files = [&tls.certificate, &tls.key, &tls.client];
            arguments.extend(files.map(|file| file.display().to_string()));
        }
        let command = move || {
            let mut node = Command::new(tool::node());
            node.arg(folder("oidc-provider").join("server.js")).args(&arguments);
            node.env("CLIENTS", &clients);
            node
        };
        let (web, url) = (Web::new(&site.directory), site.url());
        let asks = (Web::new(&site.directory), format!("{url}/jwks"));
        let ready = move || asks.0.answers(&asks.1);
        let process = Process::start(&site.directory.join("log"), command, ready)?;
        let client = site.tls.as_ref().map(|tls| tls.client.clone());
        Ok(Self { process, web, url, client, _directory: directory })
    }

    /// Scheme, host and port: its issuer.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL to introspect at.
    pub fn introspection_url(&self) -> String {
        format!("{}/token/introspection", self.url)
    }

    /// An access token of the client's own (RFC 6749 §4.4).
    ///
    /// # Panics
    /// Where there is none.
    pub fn token(&self, client: &str, scope: &str) -> String {
        self.machine(client, &[("scope", scope)])
    }

    fn machine(&self, client: &str, form: &[(&str, &str)]) -> String {
        let form: Vec<_> =
            form.iter().copied().chain([("grant_type", "client_credentials")]).collect();
        let url = format!("{}/token", self.url);
        self.web.post(&url, Some((client, SECRET)), &form).expect(200).text("access_token")
    }

    /// A refresh token that a person's log-in gave.
    ///
    /// # Panics
    /// Where there is none.
    pub fn refresh_token(&self) -> String {
        self.person("refresh_token")
    }

    /// Revokes an access token of this client (RFC 7009).
    ///
    /// # Panics
    /// Where it does not.
    pub fn revoke(&self, client: &str, token: &str) {
        let url = format!("{}/token/revocation", self.url);
        let _ = self.web.post(&url, Some((client, SECRET)), &[("token", token)]).expect(200);
    }

    /// What a person's log-in gives: a member of the token endpoint's answer (RFC 6749 §4.1).
    fn person(&self, member: &str) -> String {
        let verifier = random_text(32);
        let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let query: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", "person"),
                ("response_type", "code"),
                ("redirect_uri", CALLBACK),
                ("scope", "openid offline_access read"),
                ("prompt", "login consent"),
                ("code_challenge", &challenge),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let fields = [("login", "alice"), ("password", "any")];
        let code = self.web.code(&format!("{}/auth?{query}", self.url), CALLBACK, &fields);
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", &verifier),
        ];
        let url = format!("{}/token", self.url);
        self.web.post(&url, Some(("person", SECRET)), &form).expect(200).text(member)
    }

    /// A token bound to a key (RFC 9449).
    fn bound_to_a_key(&self) -> String {
        let url = format!("{}/token", self.url);
        let proof = format!("DPoP: {}", SigningKey::generate().dpop_proof("POST", &url));
        let user = format!("app:{SECRET}");
        let form = "grant_type=client_credentials&scope=read";
        let answer = self.web.send(&["--user", &user, "--data", form, "--header", &proof, &url]);
        answer.expect(200).text("access_token")
    }

    /// A token bound to the client's certificate (RFC 8705 §3), which only HTTPS shows.
    fn bound_to_a_certificate(&self) -> Option<String> {
        let certificate = self.client.as_ref()?;
        let key = certificate.with_extension("key");
        let (certificate, key) = (certificate.to_str()?, key.to_str()?);
        let form = "grant_type=client_credentials&scope=read&client_id=app-mtls";
        let url = format!("{}/token", self.url);
        let answer = self.web.send(&["--cert", certificate, "--key", key, "--data", form, &url]);
        Some(answer.expect(200).text("access_token"))
    }
}

impl Running for OidcProvider {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn grant(&mut self, what: Grant) -> Option<String> {
        Some(match what {
            Grant::Access => self.token("app", "read"),
            Grant::Unscoped => self.token("app", "write"),
            Grant::Short => self.token("short-lived", "read"),
            Grant::Foreign => {
                self.machine("app", &[("scope", "read"), ("resource", "urn:other-api")])
            }
            Grant::Refresh => self.refresh_token(),
            Grant::Id => self.person("id_token"),
            Grant::Dpop => self.bound_to_a_key(),
            Grant::Own("jwt") => {
                self.machine("app", &[("scope", "read"), ("resource", "urn:jwt-api")])
            }
            Grant::Own("certificate") => return self.bound_to_a_certificate(),
            Grant::Own(_) => return None,
        })
    }

    fn revoke(&mut self, token: &str) -> bool {
        OidcProvider::revoke(self, "app", token);
        true
    }

    fn has_tls(&self) -> bool {
        true
    }
}

const OWN: &[Case] = &[
    case("JWT by resource indicator", |bench| granted(bench, Grant::Own("jwt")), "401 inactive"),
    case("RFC 9701 signed, forward jwt; encrypted", rfc9701, "200; 500 answer"),
    DPOP_BOUND,
    case(
        "gateway by mutual TLS: its certificate; none; another",
        |bench| by_certificate(bench, "gateway-mtls"),
        "200; 500 credentials; 500 credentials",
    ),
    case("certificate-bound: forward jwt; none", certificate_bound, "200; 401 bound"),
];

fn rfc9701(bench: &mut Bench<'_>) -> String {
    let token = bench.token(Grant::Access);
    let encrypted = ("gateway-encrypted", "a secret of 32 bytes for A128KW.");
    let tried = [("gateway-signed", SECRET), encrypted].map(|(client, secret)| {
        let example = bench.example().secret(secret).set("phantom_token_client_id", client);
        let accept = "application/token-introspection+jwt";
        outcome(&example.set("phantom_token_introspection_accept", accept).start(), &token)
    });
    tried.join("; ")
}

/// RFC 8705 §3.
fn certificate_bound(bench: &mut Bench<'_>) -> String {
    let bench = bench.with_tls();
    let token = bench.token(Grant::Own("certificate"));
    let tried = ["jwt", "none"].map(|forward| {
        let example = bench.example().set("phantom_token_forward", forward);
        outcome(&example.start(), &token)
    });
    tried.join("; ")
}
