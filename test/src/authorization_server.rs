//! An authorization server for development and tests: OAuth 2.0 client credentials (RFC 6749 §4.4),
//! introspection (RFC 7662, RFC 9701), revocation (RFC 7009) and a JWK Set (RFC 7517).
//!
//! Its access tokens are random and opaque; the JWTs behind them are signed with ES256. Asked with
//! `Accept: application/jwt` it answers with the JWT itself, as the Curity Identity Server does. In
//! a test it counts and keeps what it was asked, holds answers back, and plays any misbehaviour by
//! [`Script`]. Not for production.

mod assertions;
mod endpoints;
mod script;
mod tokens;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::{Condvar, Mutex};
use rustls::ServerConfig;

use crate::http::RequestHead;
use crate::jwt::SigningKey;
use crate::process::wait_until;
use crate::server::Server;

pub use assertions::{Assertion, Assertions};
pub use script::Script;
pub use tokens::{Mint, Token};

/// The port the tutorial uses.
pub const DEFAULT_PORT: u16 = 9090;
/// Where access tokens are issued.
pub const TOKEN_PATH: &str = "/oauth/v2/oauth-token";
/// Where access tokens are introspected.
pub const INTROSPECTION_PATH: &str = "/oauth/v2/oauth-introspect";
/// Where access tokens are revoked.
pub const REVOCATION_PATH: &str = "/oauth/v2/oauth-revoke";
/// Where the public keys are.
pub const JWKS_PATH: &str = "/oauth/v2/oauth-anonymous/jwks";
/// Where it says whether its database is there: 200 or 503.
pub const HEALTH_PATH: &str = "/health/ready";
/// The client that is given access tokens, and its secret.
pub const CLIENT: (&str, &str) = ("test-client", "Password1");
/// The client that may introspect, and its secret.
pub const INTROSPECTION_CLIENT: (&str, &str) = ("introspection-client", "Password1");

/// What the gateway's own calls are scripted under: no token is.
const OWN: &str = "\0own";

/// Whether a call is one of the gateway's own, about a token that nobody has: 43 letters and digits.
/// No token of this server is like that.
fn is_own(token: &str) -> bool {
    token.len() == 43 && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// One request to the introspection endpoint, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The head.
    pub head: RequestHead,
    /// The body's bytes, chunks joined.
    pub body: Vec<u8>,
    /// The form field `token`, decoded; empty where there was none.
    pub token: String,
    /// The number of the connection it came on, counted from 1.
    pub connection: u64,
}

/// How a server is set up before it starts.
pub struct Builder {
    address: IpAddr,
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    host: String,
    options: Options,
    key: Option<Arc<SigningKey>>,
}

struct Options {
    client: (String, String),
    introspection_client: Option<(String, String)>,
    assertions: Option<Assertions>,
    raw_basic: bool,
    jwt_member: Option<String>,
    record: bool,
}

/// How many introspections of one token are being held back or delayed, and the most there have been.
#[derive(Clone, Copy, Default)]
struct AtOnce {
    now: usize,
    most: usize,
}

struct State {
    options: Options,
    key: Arc<SigningKey>,
    issuer: String,
    tokens: Mutex<tokens::Tokens>,
    scripts: Mutex<script::Scripts>,
    delay: Mutex<Duration>,
    held: Mutex<Vec<Option<String>>>,
    released: Condvar,
    calls: AtomicU64,
    own_calls: AtomicU64,
    own_seen: Mutex<Vec<Seen>>,
    calls_of: Mutex<HashMap<String, usize>>,
    at_once: Mutex<HashMap<String, AtOnce>>,
    seen: Mutex<Vec<Seen>>,
    lost: AtomicBool,
}

/// A running authorization server. Dropping it closes its port and connections.
pub struct AuthorizationServer {
    state: Arc<State>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    /// `None` while it is stopped.
    server: Mutex<Option<Server>>,
    /// Connections of before it was stopped.
    accepted: AtomicU64,
    base: String,
}

impl AuthorizationServer {
    /// What to set before it starts. As it comes: plain HTTP, a free port, the tutorial's clients.
    pub fn builder() -> Builder {
        Builder {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            tls: None,
            host: "127.0.0.1".to_owned(),
            options: Options {
                client: owned(CLIENT),
                introspection_client: Some(owned(INTROSPECTION_CLIENT)),
                assertions: None,
                raw_basic: false,
                jwt_member: None,
                record: true,
            },
            key: None,
        }
    }

    /// Starts one for a test, on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start() -> Self {
        Self::builder().start().expect("starts an authorization server")
    }

    /// Scheme, host and port, as in `http://127.0.0.1:9090`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The URL to introspect at.
    pub fn introspection_url(&self) -> String {
        format!("{}{INTROSPECTION_PATH}", self.base)
    }

    /// The URL to ask for access tokens.
    pub fn token_url(&self) -> String {
        format!("{}{TOKEN_PATH}", self.base)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// An active access token of scope `read`, good for five minutes.
    pub fn issue(&self) -> Token {
        self.mint(Mint::new())
    }

    /// An access token as described.
    pub fn mint(&self, mint: Mint) -> Token {
        self.state.tokens.lock().mint(mint, &self.state.key, &self.state.issuer)
    }

    /// Makes every token that begins with `prefix` active, all with one JWT, which is returned: for
    /// tests that need thousands of different tokens.
    pub fn accept_prefix(&self, prefix: &str, mint: Mint) -> Token {
        let (key, issuer) = (&self.state.key, &self.state.issuer);
        self.state.tokens.lock().accept_prefix(prefix, mint, key, issuer)
    }

    /// Revokes a token: it is inactive from now on.
    pub fn revoke(&self, token: &str) {
        self.state.tokens.lock().revoke(token);
    }

    /// Answers introspections of `token` as scripted.
    pub fn script(&self, token: &str, script: Script) {
        self.state.scripts.lock().set(Some(token.to_owned()), script);
    }

    /// Answers introspections of every token without a script of its own as scripted.
    pub fn script_all(&self, script: Script) {
        self.state.scripts.lock().set(None, script);
    }

    /// Answers the gateway's own calls as scripted.
    pub fn script_own_calls(&self, script: Script) {
        self.state.scripts.lock().set(Some(OWN.to_owned()), script);
    }

    /// Answers those of the gateway's own calls as scripted that have a parameter of this value.
    pub fn script_own_calls_with(&self, value: &str, script: Script) {
        self.state.scripts.lock().set(Some(format!("{OWN}{value}")), script);
    }

    /// Forgets all scripts.
    pub fn unscript(&self) {
        self.state.scripts.lock().clear();
    }

    /// Loses its database, or finds it again: meanwhile it calls every token inactive, as Ory Hydra
    /// does, and says at [`HEALTH_PATH`] that it is not well.
    pub fn lose_database(&self, lost: bool) {
        self.state.lost.store(lost, Ordering::Release);
    }

    /// Lets every introspection take this long from now on.
    pub fn set_delay(&self, delay: Duration) {
        *self.state.delay.lock() = delay;
    }

    /// Holds back the answers to all introspections until the hold is dropped. The calls are counted
    /// when they arrive.
    pub fn hold(&self) -> Hold {
        self.hold_key(None)
    }

    /// Holds back the answers to introspections of one token.
    pub fn hold_token(&self, token: &str) -> Hold {
        self.hold_key(Some(token.to_owned()))
    }

    fn hold_key(&self, key: Option<String>) -> Hold {
        self.state.held.lock().push(key.clone());
        Hold { state: self.state.clone(), key }
    }

    /// How many calls of the gateway's own have arrived. They are in no other count.
    pub fn own_calls(&self) -> u64 {
        self.state.own_calls.load(Ordering::Acquire)
    }

    /// How many introspections have arrived.
    pub fn introspections(&self) -> u64 {
        self.state.calls.load(Ordering::Acquire)
    }

    /// How many introspections of one token have arrived.
    pub fn introspections_of(&self, token: &str) -> usize {
        self.state.calls_of.lock().get(token).copied().unwrap_or(0)
    }

    /// How many introspections of one token have been held back or delayed at the same time, at most.
    pub fn most_at_once_of(&self, token: &str) -> usize {
        self.state.at_once.lock().get(token).map_or(0, |at_once| at_once.most)
    }

    /// Waits until `count` introspections have arrived.
    ///
    /// # Panics
    /// Where they do not.
    pub fn wait_for_introspections(&self, count: u64) {
        wait_until(&format!("introspection {count}"), || self.introspections() >= count);
    }

    /// Waits until `count` introspections of one token have arrived.
    ///
    /// # Panics
    /// Where they do not.
    pub fn wait_for_introspections_of(&self, token: &str, count: usize) {
        let what = format!("introspection {count} of a token");
        wait_until(&what, || self.introspections_of(token) >= count);
    }

    /// The introspection requests seen, in the order they arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// The gateway's own calls, in the order they arrived.
    pub fn own_seen(&self) -> Vec<Seen> {
        self.state.own_seen.lock().clone()
    }

    /// How many connections have been made to it.
    pub fn connections(&self) -> u64 {
        let now = self.server.lock().as_ref().map_or(0, Server::accepted);
        self.accepted.load(Ordering::Acquire) + now
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.server.lock().as_ref().map_or(0, Server::open)
    }

    /// Closes every connection and goes on listening.
    pub fn close_connections(&self) {
        if let Some(server) = &*self.server.lock() {
            server.close_connections();
        }
    }

    /// Stops as for a restart: closes its port and its connections, and keeps what it has issued.
    pub fn stop(&self) {
        if let Some(server) = self.server.lock().take() {
            self.accepted.fetch_add(server.accepted(), Ordering::AcqRel);
        }
    }

    /// Listens again, where it has been stopped, on the same port.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn resume(&self) -> io::Result<()> {
        let mut server = self.server.lock();
        if server.is_none() {
            *server = Some(Server::listen(self.address, self.tls.clone(), self.state.clone())?);
        }
        Ok(())
    }

    /// The key its JWTs are signed with.
    pub fn key(&self) -> &SigningKey {
        &self.state.key
    }

    /// What must appear in no log: the client secret, the tokens and the JWTs issued so far. The
    /// function may be called when the server is gone.
    pub fn secrets(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let state = self.state.clone();
        move || {
            let mut secrets = state.tokens.lock().secrets();
            if let Some((id, secret)) = &state.options.introspection_client {
                secrets.extend([secret.clone(), STANDARD.encode(format!("{id}:{secret}"))]);
            }
            let assertions = state.options.assertions.iter().flat_map(Assertions::arrived);
            secrets.extend(assertions.map(|assertion| assertion.jwt));
            secrets
        }
    }
}

impl Builder {
    /// Listens on this address instead of 127.0.0.1.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// Listens on this port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Speaks TLS. `host` is the name in its URL, which the certificate must hold.
    pub fn tls(mut self, config: Arc<ServerConfig>, host: &str) -> Self {
        self.tls = Some(config);
        self.host = host.to_owned();
        self
    }

    /// Uses this host name in its URL.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// The id and secret of the client that may introspect.
    pub fn introspection_client(mut self, id: &str, secret: &str) -> Self {
        self.options.introspection_client = Some(owned((id, secret)));
        self
    }

    /// Lets everyone introspect.
    pub fn no_client_auth(mut self) -> Self {
        self.options.introspection_client = None;
        self
    }

    /// Lets introspect who proves itself by assertions, and no other.
    pub fn assertions(mut self, assertions: &Assertions) -> Self {
        self.options.assertions = Some(assertions.clone());
        self
    }

    /// Takes Basic credentials as they are, without decoding id and secret from the form encoding
    /// of RFC 6749 §2.3.1, as several servers do.
    pub fn raw_basic(mut self) -> Self {
        self.options.raw_basic = true;
        self
    }

    /// Puts the JWT into JSON answers, as this member: `phantom_token` (Curity), `jwt` (Keycloak).
    pub fn jwt_member(mut self, name: &str) -> Self {
        self.options.jwt_member = Some(name.to_owned());
        self
    }

    /// Keeps no list of requests and no counts by token, for a server that runs long.
    pub fn without_records(mut self) -> Self {
        self.options.record = false;
        self
    }

    /// Signs with this key, so that a server started again is the same one.
    pub fn key(mut self, key: Arc<SigningKey>) -> Self {
        self.key = Some(key);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn start(self) -> io::Result<AuthorizationServer> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        // The port is known once the server listens, the issuer's name only with the port.
        let listener = match self.port {
            0 => crate::port::listen(self.address)?,
            port => TcpListener::bind((self.address, port))?,
        };
        let address = listener.local_addr()?;
        let port = address.port();
        let base = format!("{scheme}://{}:{port}", self.host);
        let state = Arc::new(State {
            options: self.options,
            key: self.key.unwrap_or_else(|| Arc::new(SigningKey::generate())),
            issuer: format!("{base}/oauth/v2/oauth-anonymous"),
            tokens: Mutex::default(),
            scripts: Mutex::default(),
            delay: Mutex::default(),
            held: Mutex::default(),
            released: Condvar::new(),
            calls: AtomicU64::new(0),
            own_calls: AtomicU64::new(0),
            own_seen: Mutex::default(),
            calls_of: Mutex::default(),
            at_once: Mutex::default(),
            seen: Mutex::default(),
            lost: AtomicBool::default(),
        });
        let server = Server::serve(listener, self.tls.clone(), state.clone())?;
        Ok(AuthorizationServer {
            state,
            address,
            tls: self.tls,
            server: Mutex::new(Some(server)),
            accepted: AtomicU64::new(0),
            base,
        })
    }
}

/// Holds answers back while it lives.
pub struct Hold {
    state: Arc<State>,
    key: Option<String>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.state.held.lock();
        if let Some(at) = held.iter().position(|key| *key == self.key) {
            held.swap_remove(at);
        }
        self.state.released.notify_all();
    }
}

fn owned((id, secret): (&str, &str)) -> (String, String) {
    (id.to_owned(), secret.to_owned())
}
