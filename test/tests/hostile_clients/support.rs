//! What these tests share.

use std::io;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Client, Response, Rig};

/// A location whose answer shows what the API would get, and how the module came to it.
pub(crate) const SHOWN: &str = "phantom_token on;\n\
     add_header X-Shown $http_authorization always;\n\
     add_header X-Outcome $phantom_token_status always;\n\
     try_files /none =204;";

/// A rig with `/shown` and `/metrics`, whose only endpoint never rests.
pub(crate) fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        change(
            builder
                .endpoint(&format!("{} max_fails=0", server.introspection_url()))
                .http("keepalive_requests 1000000000;")
                .location("/shown", SHOWN)
                .location("/metrics", "phantom_token_status;"),
        )
    })
}

/// Asserts that a token is let in from the cache, with its own JWT.
#[track_caller]
pub(crate) fn assert_hit(response: &Response, token: &Token) {
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(response.header("x-shown"), Some(&*token.phantom()));
    assert_eq!(response.header("x-outcome"), Some("HIT"));
}

/// A hit on a connection of its own.
#[track_caller]
pub(crate) fn hit(rig: &Rig, token: &Token) {
    assert_hit(&rig.gateway.get_as("/shown", &token.token), token);
}

/// A token that every later request finds in the cache.
pub(crate) fn cached_token(rig: &Rig) -> Token {
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/shown", &token.token).status, 204);
    hit(rig, &token);
    token
}

/// Waits until no call is pending and no request waits for one.
pub(crate) fn wait_for_calm(rig: &Rig) {
    rig.gateway.wait_for_metrics("no call and no waiter", |metrics| {
        metrics.get("introspections_pending") == 0.0 && metrics.get("requests_waiting") == 0.0
    });
}

/// Lets this process, and what it starts, open as many descriptors as the system allows; how many.
pub(crate) fn raise_descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the length of both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// The first configuration in docs/robustness.md.
pub(crate) fn recipe() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/robustness.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, block) = page.split_once("```nginx\n").expect("a configuration");
    block.split_once("```").expect("its end").0.to_owned()
}

/// A request's bytes, for `/shown` unless told otherwise.
pub(crate) fn request(target: &str, authorization: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n")
}

/// The status of what a server says to these bytes, which are all; `None` where it just closes.
pub(crate) fn status_of(port: u16, bytes: &[u8]) -> io::Result<Option<u16>> {
    let mut client = Client::try_connect(port)?;
    // The server may close before it has read all.
    let _ = client.try_send(bytes).and_then(|()| client.try_finish());
    match client.try_read(false) {
        Ok(response) => Ok(Some(response.status)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}
