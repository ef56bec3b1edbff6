//! The API behind the gateway: it shows the JWT it was sent, as the tutorial's does.
//!
//! It refuses what is no JWT, so that an opaque token that slips through the gateway is seen. It
//! does not check signatures; a real API does. For tests it keeps the requests it got and has two
//! more endpoints: a path that ends in `/echo` answers any request with what came, and a request to
//! upgrade the connection (`Upgrade`) gets its bytes back.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::digest;
use serde_json::json;

use crate::http::RequestHead;
use crate::jwt;
use crate::port;
use crate::server::{After, Exchange, Server, Service};

/// The port the tutorial uses.
pub const DEFAULT_PORT: u16 = 3000;

/// One request to the API.
#[derive(Clone, Debug)]
pub struct Received {
    /// The head.
    pub head: RequestHead,
    /// How many bytes the body had.
    pub body_length: u64,
    /// The body's SHA-256.
    pub body_digest: Vec<u8>,
}

impl Received {
    /// The Authorization header's values: one, or none.
    pub fn authorization(&self) -> Vec<&str> {
        self.head.headers.all("authorization").collect()
    }
}

/// Looks at each request as it comes.
type Check = Box<dyn Fn(&Received) + Send + Sync>;

#[derive(Default)]
struct Handler {
    record: bool,
    check: Option<Check>,
    received: Mutex<Vec<Received>>,
}

/// A running API. Dropping it closes its port and connections.
pub struct Api {
    handler: Arc<Handler>,
    server: Server,
}

impl Api {
    /// Starts one for a test, on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start() -> Self {
        Self::on(0, true).expect("starts an API")
    }

    /// Starts one on a port of 127.0.0.1; `record` makes it keep what it gets.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn on(port: u16, record: bool) -> io::Result<Self> {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), record)
    }

    /// Starts one on this address; `record` makes it keep what it gets.
    ///
    /// # Errors
    /// Where the port is taken, or the address is none of this host's.
    pub fn at(address: SocketAddr, record: bool) -> io::Result<Self> {
        Self::serve(address, Handler { record, ..Handler::default() })
    }

    /// Starts one on a free port of 127.0.0.1 that keeps nothing and shows each request to `check`
    /// before it answers: for tests that run long.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn checked(check: impl Fn(&Received) + Send + Sync + 'static) -> Self {
        let handler = Handler { check: Some(Box::new(check)), ..Handler::default() };
        Self::serve((Ipv4Addr::LOCALHOST, 0).into(), handler).expect("starts an API")
    }

    fn serve(address: SocketAddr, handler: Handler) -> io::Result<Self> {
        let handler = Arc::new(handler);
        let server = Server::listen(address, None, handler.clone())?;
        Ok(Self { handler, server })
    }

    /// Scheme, host and port, as in `http://127.0.0.1:3000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The requests it got, in the order they ended.
    pub fn received(&self) -> Vec<Received> {
        self.handler.received.lock().clone()
    }

    /// Takes the requests it has kept, for a test that sends many.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.handler.received.lock())
    }

    /// The last request it got.
    ///
    /// # Panics
    /// Where it got none.
    pub fn last(&self) -> Received {
        self.handler.received.lock().last().cloned().expect("a request reached the API")
    }

    /// How many requests it got.
    pub fn count(&self) -> usize {
        self.handler.received.lock().len()
    }
}

/// The SHA-256 of bytes, to compare with [`Received::body_digest`].
pub fn digest(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

impl Service for Handler {
    fn serve(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        let mut length = 0;
        let mut hash = digest::Context::new(&digest::SHA256);
        exchange.read_body_with(|piece| {
            length += piece.len() as u64;
            hash.update(piece);
        })?;
        let received = Received {
            head: exchange.head.clone(),
            body_length: length,
            body_digest: hash.finish().as_ref().to_vec(),
        };
        if let Some(check) = &self.check {
            check(&received);
        }
        if self.record {
            self.received.lock().push(received.clone());
        }
        let json = ("Content-Type", "application/json");
        let authorization = received.head.headers.get("authorization").unwrap_or_default();
        let jwt = authorization.strip_prefix("Bearer ").unwrap_or_default();
        if received.head.headers.get("upgrade").is_some() {
            return echo(exchange);
        }
        if received.head.path().ends_with("/echo") {
            let body = json!({
                "method": received.head.method, "target": received.head.target,
                "headers": received.head.headers.0, "bodyLength": length,
            });
            exchange.respond(200, &[json], body.to_string().as_bytes())?;
        } else if let Some(payload) = jwt::payload(jwt) {
            let body = json!({
                "message": format!("API Received JWT: {jwt}"), "tokenPayload": payload,
            });
            exchange.respond(200, &[json], body.to_string().as_bytes())?;
        } else {
            let body = json!({"code": "unauthorized", "message": "API received no JWT"});
            let challenge = ("WWW-Authenticate", "Bearer realm=\"dev-api\"");
            exchange.respond(401, &[json, challenge], body.to_string().as_bytes())?;
        }
        Ok(After::KeepAlive)
    }
}

/// Accepts an upgrade (RFC 6455 §4.2.2) and sends every byte back.
fn echo(exchange: &mut Exchange<'_>) -> io::Result<After> {
    let headers = &exchange.head.headers;
    let key = headers.get("sec-websocket-key").unwrap_or_default();
    let accept = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    let upgrade = headers.get("upgrade").unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(accept)
    );
    exchange.write(answer.as_bytes())?;
    loop {
        let bytes = exchange.read_some()?;
        if bytes.is_empty() {
            return Ok(After::Close);
        }
        exchange.write(&bytes)?;
    }
}

/// The port of an upstream that answers one request with a redirect to `/target`, after `meanwhile`.
///
/// # Panics
/// Where it cannot listen.
pub fn redirecting_once(meanwhile: impl FnOnce() + Send + 'static) -> u16 {
    let listener = port::listen(Ipv4Addr::LOCALHOST.into()).expect("listens");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        meanwhile();
        let answer = "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /target\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("answers");
    });
    port
}
