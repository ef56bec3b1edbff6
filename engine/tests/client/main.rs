//! The client against scripted servers on loopback: real sockets, real TLS.

mod framing;
mod pki;
mod request;
mod reuse;
mod server;
mod surplus;
mod time_limits;
mod tls;

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use phantom_token_engine::client::{
    Call, CallError, Common, Endpoint, Servers, Tls, TlsOptions, introspect,
};
use phantom_token_engine::http::response::Response;
use zeroize::Zeroizing;

/// TLS settings for calls that use none.
fn no_tls() -> Tls {
    Tls::new(TlsOptions { verify: false, ..TlsOptions::default() }).unwrap()
}

fn common(authorization: Option<&[u8]>) -> Common {
    let authorization = authorization.map(|value| Zeroizing::new(value.to_vec()));
    Common::new(authorization, b"application/jwt").unwrap()
}

/// A call to `url` with a generous deadline.
fn call(url: &str) -> Call {
    call_with(url, None, no_tls())
}

fn call_with(url: &str, connect: Option<&str>, tls: Tls) -> Call {
    // Each test has servers of its own.
    static SERVERS: LazyLock<Mutex<Servers>> = LazyLock::new(Mutex::default);
    let endpoint = Arc::new(Endpoint::parse(url, connect).unwrap());
    Call {
        connections: SERVERS.lock().connections(&endpoint, &tls),
        count: None,
        endpoint,
        common: common(Some(b"Basic aWQ6c2VjcmV0")),
        headers: Vec::new(),
        body: Zeroizing::new(b"token=opaque".to_vec()).into(),
        deadline: Instant::now() + Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
    }
}

/// Sends `call` with its deadline moved to `milliseconds` from now.
fn within(milliseconds: u64, call: &mut Call) -> Result<Response, CallError> {
    call.deadline = Instant::now() + Duration::from_millis(milliseconds);
    introspect(call)
}

/// The error of an answer that is none; `Response` has no `Debug`, since it holds a JWT.
fn error(outcome: Result<Response, CallError>) -> CallError {
    match outcome {
        Ok(response) => panic!("an answer with status {} came", response.status),
        Err(error) => error,
    }
}

fn body(outcome: Result<Response, CallError>) -> String {
    match outcome {
        Ok(response) => String::from_utf8(response.body.clone()).unwrap(),
        Err(error) => panic!("no answer: {error}"),
    }
}
