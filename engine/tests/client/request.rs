//! What is sent.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc;

use phantom_token_engine::client::{CallError, Common, RequestCause, introspect};
use phantom_token_engine::http::cache_control::{CacheControl, Caching};
use zeroize::Zeroizing;

use crate::server::{Peer, Server, ok};
use crate::{body, call, call_with, error, no_tls};

fn one_answer(mut peer: Peer) {
    while peer.request().is_some() && peer.answer("a.b.c") {}
}

fn header(name: &str, value: &[u8]) -> (Arc<str>, Zeroizing<Vec<u8>>) {
    (name.into(), Zeroizing::new(value.to_vec()))
}

#[test]
fn the_request_is_a_form_posted_as_configured() {
    let server = Server::start(one_answer);
    let mut call = call(&format!("http://{}/as/introspect?tenant=a%20b", server.address));
    call.headers =
        vec![header("X-One", b"1"), header("x-two", b"caf\xc3\xa9"), header("X-One", b"2")];
    call.body = Zeroizing::new(b"token=a%2Bb&token_type_hint=access_token".to_vec()).into();
    assert_eq!(body(introspect(&call)), "a.b.c");

    let request = server.requests().remove(0);
    assert_eq!(request.body, "token=a%2Bb&token_type_hint=access_token");
    let line = request.head.lines().next().unwrap();
    assert_eq!(line, "POST /as/introspect?tenant=a%20b HTTP/1.1");
    let version = env!("CARGO_PKG_VERSION");
    for (name, values) in [
        ("host", vec![server.address.to_string().as_str()]),
        ("authorization", vec!["Basic aWQ6c2VjcmV0"]),
        ("accept", vec!["application/jwt"]),
        ("content-type", vec!["application/x-www-form-urlencoded"]),
        ("content-length", vec![request.body.len().to_string().as_str()]),
        ("user-agent", vec![format!("ngx-phantom-token/{version}").as_str()]),
        ("x-one", vec!["1", "2"]),
        ("x-two", vec!["caf\u{e9}"]),
        ("transfer-encoding", vec![]),
        ("accept-encoding", vec!["identity"]),
        ("expect", vec![]),
        ("connection", vec![]),
        ("cookie", vec![]),
    ] {
        assert_eq!(request.header(name), values, "{name}");
    }
    // Nothing but these.
    assert_eq!(request.head.lines().count(), 1 + 7 + 3);
}

#[test]
fn a_configured_user_agent_takes_the_place_of_ours() {
    let server = Server::start(one_answer);
    let mut call = call(&server.url());
    call.headers = vec![header("User-Agent", b"gateway/1"), header("x-one", b"1")];
    introspect(&call).ok().unwrap();
    assert_eq!(server.requests()[0].header("user-agent"), ["gateway/1"]);
}

#[test]
fn host_names_a_port_only_where_it_is_not_the_default() {
    let server = Server::start(one_answer);
    let connect = server.address.to_string();
    for (url, host) in [
        ("http://as.example/i", "as.example"),
        ("http://AS.example:80/i", "as.example"),
        ("http://as.example:8080/i", "as.example:8080"),
        ("http://[::1]:8080/i", "[::1]:8080"),
        ("http://[::1]/i", "[::1]"),
    ] {
        introspect(&call_with(url, Some(&connect), no_tls())).ok().unwrap();
        assert_eq!(server.requests().last().unwrap().header("host"), [host], "{url}");
    }
}

#[test]
fn head_and_body_leave_in_one_segment() {
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |mut peer| {
        while peer.request().is_some() {
            sender.send(data_segments(&peer)).unwrap();
            peer.answer("a.b.c");
        }
    });
    let call = call(&server.url());
    for expected in 1..=3 {
        introspect(&call).ok().unwrap();
        assert_eq!(receiver.recv().unwrap(), expected);
    }
    assert_eq!(server.accepted(), 1);
}

/// How many segments with data the kernel has received on a connection.
fn data_segments(peer: &Peer) -> u32 {
    // SAFETY: `tcp_info` is plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointer is valid for `size` bytes; the descriptor is open.
    let outcome = unsafe {
        libc::getsockopt(
            peer.socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut size,
        )
    };
    assert_eq!(outcome, 0);
    info.tcpi_data_segs_in
}

#[test]
fn large_requests_arrive_whole() {
    let server = Server::start(one_answer);
    let mut call = call(&server.url());
    for size in [1, 1000, 16 * 1024, 64 * 1024, 300 * 1024] {
        call.body = Zeroizing::new(format!("token={}", "x".repeat(size)).into_bytes()).into();
        call.headers = vec![header("x-large", &vec![b'y'; size.min(20 * 1024)])];
        assert_eq!(body(introspect(&call)), "a.b.c");
        let request = server.requests().pop().unwrap();
        assert_eq!(request.body.len(), 6 + size);
        assert_eq!(request.header("x-large")[0].len(), size.min(20 * 1024));
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn what_is_no_header_is_refused_before_anything_is_dialled() {
    let server = Server::start(one_answer);
    let refused = CallError::Request(RequestCause::Header);
    for (name, value) in [
        ("x", &b"a\r\nX-Evil: 1"[..]),
        ("x", b"a\0"),
        ("x", b"a\x7f"),
        ("x y", b"a"),
        ("", b"a"),
        ("x\r\n", b"a"),
    ] {
        let mut call = call(&server.url());
        call.headers = vec![header(name, value)];
        assert_eq!(error(introspect(&call)), refused, "{name:?}");
    }
    assert_eq!(server.accepted(), 0);

    let basic = Zeroizing::new(b"Basic a\r\nb".to_vec());
    assert_eq!(Common::new(Some(basic), b"a/b").err(), Some(RequestCause::Header));
    assert_eq!(Common::new(None, b"a\nb").err(), Some(RequestCause::Header));
}

#[test]
fn statuses_are_answers_and_redirects_are_not_followed() {
    let elsewhere = Server::start(one_answer);
    for status in [200, 301, 302, 303, 307, 308, 400, 401, 403, 404, 407, 429, 500, 502, 503, 599] {
        let location = elsewhere.url();
        let server = Server::answering(format!(
            "HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nabc"
        ));
        let response = introspect(&call(&server.url())).ok().unwrap();
        assert_eq!((response.status, response.body.as_slice()), (status, &b"abc"[..]));
        assert_eq!(server.accepted(), 1);
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[test]
fn the_headers_that_matter_come_through() {
    let server = Server::answering(
        "HTTP/1.1 429 Too Many\r\n\
         content-type: application/json; charset=utf-8\r\n\
         Cache-Control: no-store\r\n\
         Age: 7\r\n\
         cache-control: max-age=60, private\r\n\
         Retry-After: 12\r\n\
         Content-Encoding: gzip\r\n\
         Set-Cookie: a=b\r\n\
         Content-Length: 2\r\n\r\n{}",
    );
    let response = introspect(&call(&server.url())).ok().unwrap();
    assert_eq!(response.status, 429);
    assert_eq!(response.content_type.clone().unwrap(), b"application/json; charset=utf-8");
    let control = CacheControl::parse(["no-store", "max-age=60, private"]);
    assert_eq!(response.caching, Caching { control, age: 7 });
    assert_eq!(response.retry_after.clone().unwrap(), b"12");
    assert_eq!(response.content_encoding.clone().unwrap(), b"gzip");

    let server = Server::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Type: application/jwt\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let response = introspect(&call(&server.url())).ok().unwrap();
    // Neither of two is picked.
    assert_eq!(response.content_type.clone().unwrap(), b"application/json, application/jwt");
    assert_eq!(response.caching, Caching::default());

    let server = Server::answering(ok("x"));
    assert_eq!(body(introspect(&call(&server.url()))), "x");
}
