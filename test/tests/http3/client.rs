//! One HTTP/3 connection to a gateway, and the requests on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::{Code, StreamError};
use h3_quinn::{BidiStream, OpenStreams};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::runtime::{Builder, Runtime};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The header fields but `Server` and `Date`, which vary, sorted.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        let mut fields: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .filter(|(name, _)| !matches!(*name, "server" | "date"))
            .collect();
        fields.sort_unstable();
        fields
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection. Dropping it closes it, with all requests on it.
pub(crate) struct Connection {
    requests: SendRequest<OpenStreams, Bytes>,
    connection: quinn::Connection,
    endpoint: quinn::Endpoint,
    runtime: Runtime,
}

impl Connection {
    /// Connects to a port of 127.0.0.1, whose certificate for `localhost` this authority (PEM) has
    /// issued.
    pub(crate) fn open(port: u16, authority: &str) -> Self {
        // A thread of its own carries the connection while a test does something else.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (requests, connection, endpoint) = runtime.block_on(async {
            let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            endpoint.set_default_client_config(config(authority));
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let connecting = endpoint.connect(address, "localhost").unwrap();
            let connection = in_time(connecting).await.expect("a QUIC connection");
            let quic = h3_quinn::Connection::new(connection.clone());
            // NGINX takes a request that ends with a frame of an unknown type for one cut short.
            let built = h3::client::builder().send_grease(false).build(quic).await;
            let (mut driver, requests) = built.expect("an HTTP/3 connection");
            tokio::spawn(async move { driver.wait_idle().await });
            (requests, connection, endpoint)
        });
        Self { requests, connection, endpoint, runtime }
    }

    /// Whether neither side has closed it.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Sends a request's head, with an access token where one is given.
    pub(crate) fn begin(&self, method: &str, target: &str, token: Option<&str>) -> Exchange<'_> {
        let uri = format!("https://localhost{target}");
        let mut head = http::Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            head = head.header("authorization", format!("Bearer {token}"));
        }
        let head = head.body(()).expect("a request");
        let mut requests = self.requests.clone();
        let sent = self.runtime.block_on(in_time(requests.send_request(head)));
        Exchange { runtime: &self.runtime, stream: sent.expect("sends the head") }
    }

    /// Sends a whole request; the response is to be read.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        token: Option<&str>,
        body: &[u8],
    ) -> Exchange<'_> {
        let mut exchange = self.begin(method, target, token);
        if !body.is_empty() {
            exchange.send(body);
        }
        exchange.finish();
        exchange
    }

    /// GET.
    pub(crate) fn get(&self, target: &str, token: Option<&str>) -> Response {
        self.send("GET", target, token, b"").read()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connection.close(0_u32.into(), b"");
        // The other side is told before this one is gone.
        self.runtime.block_on(self.endpoint.wait_idle());
    }
}

/// A server that has answered may want no more of the request (RFC 9114 §4.1).
fn unless_answered(error: StreamError) -> Result<(), StreamError> {
    match error {
        StreamError::RemoteTerminate { code: Code::H3_NO_ERROR, .. } => Ok(()),
        error => Err(error),
    }
}

/// A request that was sent in full or in part.
pub(crate) struct Exchange<'a> {
    runtime: &'a Runtime,
    stream: RequestStream<BidiStream<Bytes>, Bytes>,
}

impl Exchange<'_> {
    /// Sends a part of the body.
    pub(crate) fn send(&mut self, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let sent = self.runtime.block_on(in_time(self.stream.send_data(body)));
        sent.or_else(unless_answered).expect("sends a body");
    }

    /// Ends the body.
    pub(crate) fn finish(&mut self) {
        let ended = self.runtime.block_on(in_time(self.stream.finish()));
        ended.or_else(unless_answered).expect("ends the request");
    }

    /// Reads the response.
    pub(crate) fn read(mut self) -> Response {
        self.runtime.block_on(in_time(async {
            let head = self.stream.recv_response().await.expect("a response");
            let mut body = Vec::new();
            while let Some(mut piece) = self.stream.recv_data().await.expect("a body") {
                body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
            }
            Response { status: head.status().as_u16(), headers: head.headers().clone(), body }
        }))
    }

    /// Wants no response (STOP_SENDING), though the request is whole.
    pub(crate) fn stop(mut self) {
        self.stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    }

    /// Takes the request back before its end (RESET_STREAM), and wants no response.
    pub(crate) fn cancel(mut self) {
        self.stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        self.stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

fn config(authority: &str) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}
