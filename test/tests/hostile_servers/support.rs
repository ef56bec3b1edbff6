//! What these tests share.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_test::nginx::Builder;
use phantom_token_test::server::{After, Exchange, Server, Service};
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Response, Rig};

/// A short JWT that tells whose it is.
pub(crate) fn jwt_of(token: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode(r#"{"alg":"ES256"}"#), encode(&format!(r#"{{"jti":"{token}"}}"#)))
}

/// A whole answer with this media type and body, of known length.
pub(crate) fn answer(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A rig whose only endpoint never rests, for servers that fail all the time.
pub(crate) fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        change(builder.endpoint(&format!("{} max_fails=0", server.introspection_url())))
    })
}

/// Whether a token was let in with its own JWT; a failure otherwise, and nothing else.
#[track_caller]
pub(crate) fn passes(response: &Response, jwt: &str) -> bool {
    if response.status == 200 {
        assert!(response.text().contains(jwt), "another's JWT: {response:?}");
        return true;
    }
    Reply::failure().assert(response);
    false
}

/// Asserts that the API got these JWTs and no others, each at least once.
#[track_caller]
pub(crate) fn assert_received(api: &Api, expected: &[String]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for received in api.take() {
        let [value] = received.authorization()[..] else { panic!("one JWT: {received:?}") };
        *seen.entry(value.trim_start_matches("Bearer ").to_owned()).or_default() += 1;
    }
    let mut got: Vec<_> = seen.into_keys().collect();
    let mut expected = expected.to_vec();
    got.sort();
    expected.sort();
    expected.dedup();
    assert_eq!(got, expected);
}

/// A server of the test's own, with a gateway that asks it and an API.
pub(crate) struct Custom {
    pub(crate) gateway: Gateway,
    pub(crate) api: Api,
    pub(crate) server: Server,
    /// Never asked.
    pub(crate) honest: AuthorizationServer,
}

impl Custom {
    pub(crate) fn start(
        service: Arc<dyn Service>,
        change: impl FnOnce(Builder, &Api) -> Builder,
    ) -> Self {
        let server = Server::start(0, None, service).expect("starts a server");
        let (honest, api) = (AuthorizationServer::start(), Api::start());
        let endpoint = format!("http://{}/introspect max_fails=0", server.address());
        let builder = Gateway::builder().protect(&honest, &api).endpoint(&endpoint);
        Self { gateway: change(builder, &api).start(), api, server, honest }
    }
}

/// A service made of a function: the token asked for, and the exchange to answer it on.
pub(crate) struct Answering<F>(pub F);

impl<F> Service for Answering<F>
where
    F: Fn(&str, &mut Exchange<'_>) -> io::Result<After> + Send + Sync + 'static,
{
    fn serve(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        let body = exchange.read_body()?;
        let token = body.strip_prefix(b"token=").unwrap_or_default();
        let token = String::from_utf8_lossy(token.split(|&b| b == b'&').next().unwrap_or_default());
        (self.0)(&token, exchange)
    }
}
