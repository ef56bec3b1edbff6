//! Several gateways that share a store, each an NGINX of its own.

use std::io::Read as _;

use crate::api::Api;
use crate::authorization_server::{AuthorizationServer, Token};
use crate::client::{Client, Response};
use crate::nginx::{self, Gateway};
use crate::process::wait_until;
use crate::store::{self, Proxy, Store};

pub use crate::rig::shown;

/// The name of the fleet's key file, and of the one that is to follow it.
pub const KEY_FILES: [&str; 2] = ["fleet.key", "next.key"];

/// The file in which a gateway's configuration names its keys.
const KEYS: &str = "keys.conf";

type Change = Box<dyn Fn(nginx::Builder) -> nginx::Builder>;

/// How a fleet is set up before it starts.
pub struct Builder {
    store: store::Builder,
    through_proxy: bool,
    over_socket: bool,
    server: AuthorizationServer,
    block: String,
    secrets: Vec<String>,
    change: Change,
}

/// A running fleet: gateways that protect `/shown`, a store, an authorization server, an API.
pub struct Fleet {
    /// The gateways; dropped first, while the others still answer.
    pub gateways: Vec<Gateway>,
    /// What the gateways are told to ask in place of the store, where there is one.
    proxy: Option<Proxy>,
    /// The store.
    pub store: Store,
    /// The authorization server.
    pub server: AuthorizationServer,
    /// The API.
    pub api: Api,
    /// The fleet's key, as it stands in its file, and the one that is to follow it.
    pub keys: [String; 2],
    over_socket: bool,
    block: String,
    secrets: Vec<String>,
    change: Change,
}

impl Builder {
    /// Has this store.
    pub fn store(mut self, store: store::Builder) -> Self {
        self.store = store;
        self
    }

    /// Reaches it through a proxy that can spoil what it says.
    pub fn through_proxy(mut self) -> Self {
        self.through_proxy = true;
        self
    }

    /// Reaches it over its UNIX socket.
    pub fn over_socket(mut self) -> Self {
        self.over_socket = true;
        self
    }

    /// Has this authorization server.
    pub fn server(mut self, server: AuthorizationServer) -> Self {
        self.server = server;
        self
    }

    /// Adds to each gateway's `phantom_token_store` block; `timeout` and `lock_timeout` are long,
    /// where it says nothing of them.
    pub fn block(mut self, settings: &str) -> Self {
        self.block.push_str(settings);
        self.block.push('\n');
        self
    }

    /// Names one more thing that neither the logs nor the store may show.
    pub fn secret(mut self, text: &str) -> Self {
        self.secrets.push(text.to_owned());
        self
    }

    /// Changes the configuration of every gateway.
    pub fn each(mut self, change: impl Fn(nginx::Builder) -> nginx::Builder + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    /// Starts so many gateways, and waits until what one learns is another's.
    ///
    /// # Panics
    /// Where one does not start, or does not share.
    pub fn start(self, gateways: usize) -> Fleet {
        let fleet = self.start_in_sync(gateways);
        fleet.wait_until_shared();
        fleet
    }

    /// Starts so many gateways, and waits until they hear each other's purges, which is sooner.
    ///
    /// # Panics
    /// Where one does not start, or does not hear the store.
    pub fn start_in_sync(self, gateways: usize) -> Fleet {
        let mut fleet = self.start_none();
        fleet.gateways = (0..gateways).map(|_| fleet.launch()).collect();
        fleet.gateways.iter().for_each(wait_until_in_sync);
        fleet
    }

    /// Starts all but the gateways.
    ///
    /// # Panics
    /// Where one does not start.
    pub fn start_none(self) -> Fleet {
        let Self { store, through_proxy, over_socket, server, block, secrets, change } = self;
        let store = store.start();
        let proxy = through_proxy.then(|| Proxy::start(&store));
        let (gateways, api, keys) = (Vec::new(), Api::start(), [key(), key()]);
        Fleet { gateways, proxy, store, server, api, keys, over_socket, block, secrets, change }
    }
}

impl Fleet {
    /// What to set before it starts.
    pub fn builder() -> Builder {
        Builder {
            store: Store::builder(),
            through_proxy: false,
            over_socket: false,
            server: AuthorizationServer::start(),
            block: String::new(),
            secrets: Vec::new(),
            change: Box::new(|builder| builder),
        }
    }

    /// Starts so many gateways that share.
    ///
    /// # Panics
    /// See [`Builder::start`].
    pub fn start(gateways: usize) -> Self {
        Self::builder().start(gateways)
    }

    /// The proxy in front of the store.
    ///
    /// # Panics
    /// Where there is none.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("Builder::through_proxy")
    }

    /// The configuration of one more gateway of the fleet.
    pub fn configuration(&self) -> nginx::Builder {
        self.configuration_at(&self.store_url())
    }

    fn configuration_at(&self, store_url: &str) -> nginx::Builder {
        let files = self.keys.iter().zip(KEY_FILES);
        let mut builder = Gateway::builder().protect(&self.server, &self.api);
        for (key, name) in files {
            builder = builder.file(name, key.as_bytes()).secret(key.trim());
        }
        for secret in &self.secrets {
            builder = builder.secret(secret);
        }
        let builder = builder
            .http(&self.store_block(store_url))
            .file(KEYS, key_lines(&KEY_FILES[..1]))
            .http(&format!("include {KEYS};"))
            .location("/shown", &shown(""))
            .location("/metrics", "phantom_token_status;")
            .location("/status", "phantom_token_status json;")
            .location("/purge", "client_body_buffer_size 128k; phantom_token_purge;");
        (self.change)(builder)
    }

    /// The URL of the store for gateways.
    pub fn store_url(&self) -> String {
        match &self.proxy {
            Some(proxy) => proxy.url(),
            None if self.over_socket => self.store.socket_url(),
            None => self.store.url(),
        }
    }

    /// A `phantom_token_store` block with this server and the fleet's settings.
    fn store_block(&self, url: &str) -> String {
        let mut block = format!("phantom_token_store {{\nserver {url};\n{}", self.block);
        // A loaded machine is slow, and most tests are about other things.
        for (name, limit) in [("timeout", "5s"), ("lock_timeout", "20s")] {
            let mut settings = self.block.split(';');
            let is_set = settings.any(|set| set.trim_start().starts_with(&format!("{name} ")));
            if !is_set {
                block.push_str(&format!("{name} {limit};\n"));
            }
        }
        block + "}"
    }

    /// Starts one more gateway of the fleet, which may not be ready to share.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn launch(&self) -> Gateway {
        self.configuration().start()
    }

    /// Starts one more gateway that looks for the store somewhere else.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn launch_at(&self, store_url: &str) -> Gateway {
        self.configuration_at(store_url).start()
    }

    /// Starts one more gateway, and waits until it shares.
    ///
    /// # Panics
    /// Where it does not.
    pub fn join(&self) -> Gateway {
        let gateway = self.launch();
        self.wait_until_shares(&gateway);
        gateway
    }

    /// Waits until what the first gateway learns is every other's. A gateway that has just begun
    /// believes nothing of what was asked for before, nor shortly after.
    ///
    /// # Panics
    /// Where it never is.
    pub fn wait_until_shared(&self) {
        for gateway in &self.gateways {
            wait_until_in_sync(gateway);
        }
        for gateway in self.gateways.iter().skip(1) {
            self.wait_until_shares(gateway);
        }
    }

    /// Waits until what the first gateway learns is this one's.
    ///
    /// # Panics
    /// Where it never is.
    pub fn wait_until_shares(&self, gateway: &Gateway) {
        wait_until_in_sync(gateway);
        wait_until("a gateway that takes another's answer", || {
            let token = self.server.issue();
            pass(&self.gateways[0], &token);
            let outcome = pass(gateway, &token);
            if outcome != "STORE" {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            outcome == "STORE"
        });
    }

    /// Gives one of the gateways these key files, the one in force first, and reloads it.
    ///
    /// # Panics
    /// Where no new workers come.
    pub fn use_keys(&self, gateway: usize, files: &[&str]) {
        let gateway = &self.gateways[gateway];
        std::fs::write(gateway.prefix().join(KEYS), key_lines(files)).expect("writes a file");
        gateway.reload();
    }

    /// Asks one of the gateways for a token, which must get in. How the gateway came to it.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn pass(&self, gateway: usize, token: &Token) -> String {
        pass(&self.gateways[gateway], token)
    }

    /// Whether one of the gateways lets a token in.
    ///
    /// # Panics
    /// Where it answers neither 204 nor 401.
    #[track_caller]
    pub fn admits(&self, gateway: usize, token: &Token) -> bool {
        let response = self.gateways[gateway].get_as("/shown", &token.token);
        match response.status {
            204 => true,
            401 => false,
            _ => panic!("{response:?}"),
        }
    }

    /// Has the store lose the purge that it was told last, as in a failover to a replica that has not
    /// followed.
    ///
    /// # Panics
    /// Where it knows of none.
    pub fn lose_last_purge(&self) {
        let stream = "{phantom_token:1}:s";
        let last = self.store.ask(&["XREVRANGE", stream, "+", "-", "COUNT", "1"]);
        let id = last.array()[0].array()[0].text();
        assert_eq!(self.store.ask(&["XDEL", stream, &id]).number(), 1);
    }

    /// Sends one of the gateways a purge; its status.
    ///
    /// # Panics
    /// Where no response comes.
    pub fn purge(&self, gateway: usize, form: &str) -> u16 {
        purge(&self.gateways[gateway], form).status
    }
}

fn key_lines(files: &[&str]) -> String {
    files.iter().map(|file| format!("phantom_token_key_file {file};\n")).collect()
}

/// Asks `/shown` for a token, which must get in with its own JWT. How the gateway came to it.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub fn pass(gateway: &Gateway, token: &Token) -> String {
    let response = gateway.get_as("/shown", &token.token);
    assert_passes(&response, token);
    outcome(&response)
}

/// A response is the gateway's yes to this token, with no other token's JWT.
///
/// # Panics
/// Where it is not.
#[track_caller]
pub fn assert_passes(response: &Response, token: &Token) {
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(response.header("sent"), Some(token.phantom().as_str()));
}

/// `$phantom_token_status`.
pub fn outcome(response: &Response) -> String {
    response.header("outcome").unwrap_or_default().to_owned()
}

/// Sends a purge.
///
/// # Panics
/// Where no response comes.
pub fn purge(gateway: &Gateway, form: &str) -> Response {
    purge_by(gateway.client(), form)
}

/// Sends a purge on this connection.
///
/// # Panics
/// Where no response comes.
pub fn purge_by(mut client: Client, form: &str) -> Response {
    client.send_request("POST", "/purge", &[], form.as_bytes());
    client.read()
}

/// Waits until a gateway hears the store.
///
/// # Panics
/// Where it never does.
pub fn wait_until_in_sync(gateway: &Gateway) {
    gateway.wait_for_metrics("a gateway in sync", |now| now.get("store_in_sync") == 1.0);
}

/// A key of 32 random bytes as `openssl rand -base64 32` writes it.
pub(crate) fn key() -> String {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    let random =
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.expect("random bytes");
    base64::engine::general_purpose::STANDARD.encode(bytes) + "\n"
}
