//! Every wait ends at the deadline.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use phantom_token_engine::client::{Call, CallError, Phase, introspect};
use zeroize::Zeroizing;

use crate::pki::Authority;
use crate::server::{Peer, Server};
use crate::{body, call, call_with, error, within};

/// Checks that `call` times out in `phase`, however long its peer would take.
///
/// A busy machine may not get as far as the phase in a short time: it gets a longer one.
fn times_out(call: &mut Call, phase: Phase) {
    for milliseconds in [150, 1000, 5000] {
        let begin = Instant::now();
        let outcome = error(within(milliseconds, call));
        // Generous: a wait that missed the deadline lasts the 20 s and more of the peers here.
        assert!(begin.elapsed() < Duration::from_secs(15));
        match outcome {
            CallError::Timeout(found) if found == phase => return,
            CallError::Timeout(_) if milliseconds < 5000 => {}
            other => panic!("{other}"),
        }
    }
}

/// A listener whose queue is full: the kernel drops further handshakes. The sockets keep it so.
fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: listening again on an open listening socket changes the length of its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let mut fill = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        fill.push(socket);
        assert!(fill.len() < 100, "the queue does not fill up");
    }
    (listener, fill)
}

#[test]
fn connecting_ends_at_the_deadline_or_at_its_own_limit() {
    let (listener, _fill) = black_hole();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "https"] {
        let mut call = call(&format!("{scheme}://{address}/i"));
        times_out(&mut call, Phase::Connect);

        // The limit for connecting alone.
        call.deadline = Instant::now() + Duration::from_secs(60);
        call.connect_timeout = Duration::from_millis(150);
        let begin = Instant::now();
        assert_eq!(error(introspect(&call)), CallError::Timeout(Phase::Connect));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn the_tls_handshake_ends_at_the_deadline_or_at_the_limit_for_connecting() {
    let server = Server::start(|mut peer| peer.wait_for_end());
    let mut call = call(&format!("https://{}/i", server.address));
    times_out(&mut call, Phase::Tls);
    call.deadline = Instant::now() + Duration::from_secs(60);
    call.connect_timeout = Duration::from_millis(150);
    let begin = Instant::now();
    assert_eq!(error(introspect(&call)), CallError::Timeout(Phase::Tls));
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// Sends `start`, then `piece` again and again, each within the deadline of any one read.
fn dripping(start: &'static str, piece: &'static str) -> impl Fn(Peer) + Clone {
    move |mut peer: Peer| {
        peer.request();
        peer.send(start);
        while peer.send(piece) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn answers_end_at_the_deadline_however_they_drip() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    for (start, phase) in [("", Phase::Wait), (head, Phase::Read)] {
        let then_silent = move |mut peer: Peer| {
            peer.request();
            peer.send(start);
            peer.wait_for_end();
        };
        let mut call = call(&Server::start(then_silent).url());
        times_out(&mut call, phase);
    }

    for (start, piece) in [
        ("HTTP/1.1 200 OK\r\nX: ", "y"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", "z"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nz\r\n"),
        ("HTTP/1.1 200 OK\r\n\r\n", "z"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        let mut call = call(&Server::start(dripping(start, piece)).url());
        times_out(&mut call, Phase::Read);
    }

    let authority = Authority::new();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
    let server = Server::start_tls(authority.server(&["localhost"]), dripping(head, "z"));
    let url = format!("https://localhost:{}/i", server.address.port());
    let address = server.address.to_string();
    let mut call = call_with(&url, Some(&address), authority.trusting());
    times_out(&mut call, Phase::Read);
}

#[test]
fn sending_ends_at_the_deadline() {
    let over = Arc::new(parking_lot::Mutex::new(()));
    let held = over.lock();
    let gate = over.clone();
    let server = Server::start(move |peer| {
        // Reads nothing and keeps the connection until the client is gone.
        drop(gate.lock());
        drop(peer);
    });
    let mut call = call(&server.url());
    call.body = Zeroizing::new(vec![b'x'; 32 * 1024 * 1024]).into();
    times_out(&mut call, Phase::Send);
    drop(held);
}

#[test]
fn a_deadline_that_is_past_sends_nothing() {
    let server = Server::start(|mut peer| {
        peer.request();
    });
    let mut call = call(&server.url());
    assert_eq!(error(within(0, &mut call)), CallError::Timeout(Phase::Start));
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_late_answer_does_not_reach_the_next_call() {
    let release = Arc::new(parking_lot::Mutex::new(()));
    let held = release.lock();
    let gate = release.clone();
    let server = Server::start(move |mut peer| {
        while let Some(request) = peer.request() {
            drop(gate.lock());
            peer.answer(&request.body);
        }
    });
    let mut call = call(&server.url());
    call.body = Zeroizing::new(b"token=one".to_vec()).into();
    times_out(&mut call, Phase::Wait);
    drop(held);
    call.body = Zeroizing::new(b"token=two".to_vec()).into();
    assert_eq!(body(within(20_000, &mut call)), "token=two");
    assert!(server.accepted() > 1);
}

#[test]
fn names_are_resolved_and_every_address_is_tried() {
    // "localhost" may be ::1 and 127.0.0.1; the server has but one of them.
    let server = Server::start(|mut peer| while peer.request().is_some() && peer.answer("x") {});
    let url = format!("http://localhost:{}/i", server.address.port());
    assert_eq!(body(introspect(&call(&url))), "x");
}
