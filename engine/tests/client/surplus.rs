//! Bytes behind a complete answer: they must never become part of the next one.

use std::io::Write;
use std::sync::mpsc;
use std::thread;

use parking_lot::Mutex;
use phantom_token_engine::client::{Call, introspect};
use zeroize::Zeroizing;

use crate::pki::Authority;
use crate::server::{Peer, Server, ok};
use crate::{body, call, call_with};

/// A whole answer nobody asked for.
fn foreign() -> String {
    ok("somebody else's")
}

/// Servers over plain TCP and over TLS with the same script, and calls to them.
fn both(script: impl Fn(Peer) + Clone + Send + Sync + 'static) -> [(Server, Call); 2] {
    let plain = Server::start(script.clone());
    let plain_call = call(&plain.url());
    let authority = Authority::new();
    let tls = Server::start_tls(authority.server(&["localhost"]), script);
    let url = format!("https://localhost:{}/i", tls.address.port());
    let address = tls.address.to_string();
    let tls_call = call_with(&url, Some(&address), authority.trusting());
    [(plain, plain_call), (tls, tls_call)]
}

/// Makes two calls with different tokens; the second must get its own answer.
fn second_is_its_own(server: &Server, call: &mut Call, between: impl FnOnce()) {
    call.body = Zeroizing::new(b"token=one".to_vec()).into();
    assert_eq!(body(introspect(call)), "token=one");
    between();
    call.body = Zeroizing::new(b"token=two".to_vec()).into();
    assert_eq!(body(introspect(call)), "token=two");
    assert_eq!(server.accepted(), 2);
}

#[test]
fn surplus_in_the_same_write_as_the_answer() {
    for surplus in [foreign(), "x".to_owned(), "\r\n".to_owned()] {
        let script = move |mut peer: Peer| {
            while let Some(request) = peer.request() {
                peer.send(format!("{}{surplus}", ok(&request.body)));
            }
        };
        for (server, mut call) in both(script) {
            second_is_its_own(&server, &mut call, || ());
        }
    }
}

#[test]
fn surplus_behind_answers_without_content() {
    // A content that the status does not allow is surplus, whatever its length says.
    let script = |mut peer: Peer| {
        peer.request();
        if peer.number == 0 {
            peer.send(format!(
                "HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{}",
                foreign().len(),
                foreign()
            ));
            peer.wait_for_end();
        } else {
            peer.answer("own");
        }
    };
    for (server, call) in both(script) {
        assert_eq!(body(introspect(&call)), "");
        assert_eq!(body(introspect(&call)), "own");
        assert_eq!(server.accepted(), 2);
    }
}

#[test]
fn surplus_that_arrives_before_the_next_call() {
    let (go, gone) = mpsc::channel();
    let (sent, arrived) = mpsc::channel();
    let gone = std::sync::Arc::new(Mutex::new(gone));
    let script = move |mut peer: Peer| {
        let sent: &mpsc::Sender<()> = &sent.clone();
        let request = peer.request().unwrap();
        peer.answer(&request.body);
        if peer.number == 0 {
            gone.lock().recv().unwrap();
            peer.send(foreign());
            peer.wait_until_delivered();
            sent.send(()).unwrap();
            // The connection stays open: only the surplus tells.
            peer.wait_for_end();
        }
    };
    for (server, mut call) in both(script) {
        second_is_its_own(&server, &mut call, || {
            go.send(()).unwrap();
            arrived.recv().unwrap();
        });
    }
}

#[test]
fn half_a_tls_record_behind_the_answer_completed_later() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["localhost"]), |mut peer| {
        let request = peer.request().unwrap();
        if peer.number > 0 {
            peer.answer(&request.body);
            return;
        }
        // The answer's record whole and the surplus' first half in one write.
        let tls = peer.tls.as_mut().unwrap();
        let mut records = Vec::new();
        tls.writer().write_all(ok(&request.body).as_bytes()).unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut records).unwrap();
        }
        let first = records.len();
        tls.writer().write_all(foreign().as_bytes()).unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut records).unwrap();
        }
        let middle = first + (records.len() - first) / 2;
        peer.socket.write_all(&records[..middle]).unwrap();
        // The other half as soon as another request comes on this connection, if one does.
        if peer.request().is_some() {
            peer.socket.write_all(&records[middle..]).unwrap();
            thread::yield_now();
        }
    });
    let url = format!("https://localhost:{}/i", server.address.port());
    let address = server.address.to_string();
    let mut call = call_with(&url, Some(&address), authority.trusting());
    second_is_its_own(&server, &mut call, || ());
}

#[test]
fn bytes_behind_the_tls_goodbye() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server(&["localhost"]), |mut peer| {
        let request = peer.request().unwrap();
        let tls = peer.tls.as_mut().unwrap();
        let mut records = Vec::new();
        tls.writer().write_all(ok(&request.body).as_bytes()).unwrap();
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut records).unwrap();
        }
        records.extend([b'x'; 14_000]);
        peer.socket.write_all(&records).unwrap();
        peer.wait_for_end();
    });
    let url = format!("https://localhost:{}/i", server.address.port());
    let address = server.address.to_string();
    let mut call = call_with(&url, Some(&address), authority.trusting());
    second_is_its_own(&server, &mut call, || ());
}
