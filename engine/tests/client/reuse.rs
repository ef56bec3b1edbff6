//! Which connections serve another call, and when one is tried again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use phantom_token_engine::client::{
    AnswerCause, Body, Call, CallError, Once, RequestCause, introspect,
};
use phantom_token_engine::http::form::Form;
use zeroize::Zeroizing;

use crate::server::{Peer, Server, ok};
use crate::{body, call, call_with, error, no_tls};

/// Answers each request with the connection's number and the request's content.
fn echo(mut peer: Peer) {
    while let Some(request) = peer.request() {
        peer.answer(&format!("{} {}", peer.number, request.body));
    }
}

/// A pool of threads as NGINX has it: each call to another one, in turn, and so many at a time.
fn in_turn(calls: usize, at_a_time: usize, call: &Call) {
    const THREADS: usize = 64;
    let (done, free) = mpsc::channel();
    for _ in 0..at_a_time {
        done.send(()).unwrap();
    }
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (give, calls) = mpsc::channel::<()>();
                let done = done.clone();
                scope.spawn(move || {
                    for () in calls {
                        introspect(call).ok().unwrap();
                        done.send(()).unwrap();
                    }
                });
                give
            })
            .collect();
        for number in 0..calls {
            free.recv().unwrap();
            threads[number % THREADS].send(()).unwrap();
        }
    });
}

#[test]
fn as_many_connections_as_calls_at_a_time_whichever_threads_call() {
    for at_a_time in [1, 16] {
        let server = Server::start(echo);
        in_turn(640, at_a_time, &call(&server.url()));
        assert_eq!(server.requests().len(), 640);
        let accepted = server.accepted();
        assert!(accepted <= at_a_time, "{accepted} for {at_a_time} at a time");
    }
}

#[test]
fn the_connection_used_last_goes_first() {
    let answers = Arc::new(Barrier::new(4));
    let together = answers.clone();
    let server = Server::start(move |mut peer| {
        while let Some(request) = peer.request() {
            if request.body == "token=together" {
                together.wait();
            }
            peer.answer(&peer.number.to_string());
        }
    });
    let call = call(&server.url());
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut call = crate::call(&server.url());
            call.body = Zeroizing::new(b"token=together".to_vec()).into();
            scope.spawn(move || introspect(&call).ok().unwrap());
        }
    });
    assert_eq!(server.accepted(), 4);
    let last = body(introspect(&call));
    for _ in 0..8 {
        assert_eq!(body(introspect(&call)), last);
    }
    assert_eq!((server.accepted(), call.connections.close_ended(Instant::now())), (4, 4));
}

#[test]
fn one_call_at_a_time_keeps_one_connection_per_server() {
    let server = Server::start(echo);
    let mut call = call(&server.url());
    for number in 0..5 {
        call.body = Zeroizing::new(format!("token={number}").into_bytes()).into();
        assert_eq!(body(introspect(&call)), format!("0 token={number}"));
    }
    // Another path and parameters of the same server share it.
    let other = crate::call(&format!("http://{}/other?a=b", server.address));
    assert_eq!(body(introspect(&other)), "0 token=opaque");
    assert_eq!(server.accepted(), 1);
}

#[test]
fn every_framing_leaves_the_connection_usable() {
    for answer in [
        ok("x"),
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: v\r\n\r\n"
            .to_owned(),
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx".to_owned(),
    ] {
        let script = answer.clone();
        let server =
            Server::start(move |mut peer| while peer.request().is_some() && peer.send(&script) {});
        let call = call(&server.url());
        for _ in 0..3 {
            introspect(&call).ok().unwrap();
        }
        assert_eq!(server.accepted(), 1, "{answer:?}");
    }
}

#[test]
fn what_says_it_closes_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ] {
        // The server does not close: the client must.
        let server =
            Server::start(move |mut peer| while peer.request().is_some() && peer.send(answer) {});
        let call = call(&server.url());
        for expected in 1..=3 {
            introspect(&call).ok().unwrap();
            assert_eq!(server.accepted(), expected, "{answer:?}");
        }
    }
}

#[test]
fn connections_are_shared_by_threads_and_by_no_other_server() {
    let server = Server::start(echo);
    let url = server.url();
    introspect(&call(&url)).ok().unwrap();
    let thread_url = url.clone();
    thread::spawn(move || introspect(&call(&thread_url)).ok().unwrap()).join().unwrap();
    assert_eq!(server.accepted(), 1);

    // The same URL, but connections go elsewhere: another server.
    let other = Server::start(echo);
    let there = other.address.to_string();
    introspect(&call_with(&url, Some(&there), no_tls())).ok().unwrap();
    assert_eq!((server.accepted(), other.accepted()), (1, 1));
    introspect(&call(&url)).ok().unwrap();
    assert_eq!((server.accepted(), other.accepted()), (1, 1));

    // Without TLS, its settings make no difference.
    introspect(&call_with(&url, None, no_tls())).ok().unwrap();
    assert_eq!(server.accepted(), 1);

    // Those of another server are never taken, nor kept for it, whatever a call says.
    let mut astray = call(&url);
    astray.connections = call_with(&url, Some(&there), no_tls()).connections;
    introspect(&astray).ok().unwrap();
    assert_eq!((server.accepted(), other.accepted()), (2, 1));
    assert_eq!(astray.connections.close_ended(Instant::now()), 1);
}

#[test]
fn a_connection_closed_while_idle_is_replaced_unnoticed() {
    for reset in [false, true] {
        let (close, closing) = mpsc::channel();
        let (closed, done) = mpsc::channel();
        let (closing, closed) = (Mutex::new(closing), Mutex::new(closed));
        let server = Server::start(move |mut peer| {
            peer.request();
            peer.answer(&peer.number.to_string());
            closing.lock().recv().unwrap();
            if reset {
                peer.reset();
            } else {
                drop(peer);
            }
            closed.lock().send(()).unwrap();
        });
        let call = call(&server.url());
        for number in 0..3 {
            assert_eq!(body(introspect(&call)), number.to_string());
            close.send(()).unwrap();
            done.recv().unwrap();
        }
        assert_eq!(server.requests().len(), 3);
    }
}

#[test]
fn what_the_server_has_closed_does_not_hide_what_it_keeps_open() {
    let (close, closing) = mpsc::channel::<()>();
    let (closed, done) = mpsc::channel();
    let (closing, closed) = (Mutex::new(closing), Mutex::new(closed));
    let both = Barrier::new(2);
    let server = Server::start(move |mut peer| {
        peer.request();
        both.wait();
        if peer.number == 0 {
            // Answered first, and so used least recently.
            peer.answer("kept");
            while peer.request().is_some() {
                peer.answer("kept");
            }
            return;
        }
        closing.lock().recv().unwrap();
        peer.answer("closed");
        closing.lock().recv().unwrap();
        drop(peer);
        closed.lock().send(()).unwrap();
    });
    let call = call(&server.url());
    thread::scope(|scope| {
        let answers: Vec<_> = (0..2).map(|_| scope.spawn(|| body(introspect(&call)))).collect();
        while call.connections.close_ended(Instant::now()) < 1 {
            thread::yield_now();
        }
        close.send(()).unwrap();
        for answer in answers {
            answer.join().unwrap();
        }
    });
    close.send(()).unwrap();
    done.recv().unwrap();
    assert_eq!(body(introspect(&call)), "kept");
    assert_eq!((server.accepted(), call.connections.close_ended(Instant::now())), (2, 1));
}

#[test]
fn ended_connections_are_closed_without_a_call() {
    let (close, closing) = mpsc::channel::<()>();
    let closing = Mutex::new(closing);
    let server = Server::start(move |mut peer| {
        peer.request();
        peer.answer("x");
        closing.lock().recv().unwrap();
    });
    let call = call(&server.url());
    introspect(&call).ok().unwrap();
    assert_eq!(call.connections.close_ended(Instant::now()), 1);
    close.send(()).unwrap();
    while call.connections.close_ended(Instant::now()) > 0 {
        thread::yield_now();
    }
}

/// Serves one request on each connection; at the second it closes without an answer, or after a
/// part of one.
fn closing_at_the_second(reset: bool, part: &'static str) -> impl Fn(Peer) {
    move |mut peer: Peer| {
        peer.request();
        peer.answer(&peer.number.to_string());
        if peer.request().is_none() {
            return;
        }
        peer.send(part);
        peer.wait_until_delivered();
        if reset {
            peer.reset();
        }
    }
}

#[test]
fn a_kept_connection_closed_before_any_answer_is_retried_once_and_at_once() {
    for reset in [false, true] {
        let server = Server::start(closing_at_the_second(reset, ""));
        let call = call(&server.url());
        assert_eq!(body(introspect(&call)), "0");
        assert_eq!(body(introspect(&call)), "1");
        assert_eq!((server.accepted(), server.requests().len()), (2, 3));
    }
}

/// A form whose end is good for one attempt: the number of the attempt.
fn numbered() -> Body {
    let attempts = AtomicUsize::new(0);
    let once: Arc<Once> = Arc::new(move |form: Form| {
        let number = attempts.fetch_add(1, Ordering::Relaxed).to_string();
        form.pair(b"once", number.as_bytes()).map_err(|_| RequestCause::NoMemory)
    });
    Body::new(Zeroizing::new(b"token=a%2Bb".to_vec()), Some(once))
}

#[test]
fn what_is_good_for_one_attempt_is_made_anew_for_the_retry() {
    for reset in [false, true] {
        let server = Server::start(closing_at_the_second(reset, ""));
        let mut call = call(&server.url());
        call.body = numbered();
        assert_eq!(body(introspect(&call)), "0");
        assert_eq!(body(introspect(&call)), "1");
        let sent: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(
            sent,
            ["token=a%2Bb&once=0", "token=a%2Bb&once=1", "token=a%2Bb&once=2"],
            "reset: {reset}"
        );
    }
}

#[test]
fn nothing_is_sent_where_the_form_of_an_attempt_cannot_be_made() {
    let server = Server::start(echo);
    let mut call = call(&server.url());
    let once: Arc<Once> = Arc::new(|_| Err(RequestCause::NoMemory));
    call.body = Body::new(Zeroizing::new(b"token=opaque".to_vec()), Some(once));
    assert_eq!(error(introspect(&call)), CallError::Request(RequestCause::NoMemory));
    assert_eq!((server.accepted(), server.requests().len()), (0, 0));
}

#[test]
fn the_retry_is_not_made_on_another_kept_connection() {
    const KEPT: usize = 4;
    for reset in [false, true] {
        // Those that serve at a time first, each once; then each call on one of them ends it.
        let together = Barrier::new(KEPT);
        let server = Server::start(move |mut peer| {
            peer.request();
            if peer.number < KEPT {
                together.wait();
                peer.answer("early");
                peer.request();
                if reset {
                    peer.reset();
                }
            } else {
                peer.answer("late");
            }
        });
        let call = call(&server.url());
        thread::scope(|scope| {
            for _ in 0..KEPT {
                scope.spawn(|| introspect(&call).ok().unwrap());
            }
        });
        assert_eq!((server.accepted(), call.connections.close_ended(Instant::now())), (KEPT, KEPT));
        assert_eq!(body(introspect(&call)), "late");
        // The call that failed, and its retry.
        assert_eq!((server.accepted(), server.requests().len()), (KEPT + 1, KEPT + 2));
    }
}

#[test]
fn a_kept_connection_closed_within_the_answer_is_an_error() {
    for reset in [false, true] {
        for part in ["H", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"] {
            let server = Server::start(closing_at_the_second(reset, part));
            let call = call(&server.url());
            assert_eq!(body(introspect(&call)), "0");
            let closed = CallError::Answer(AnswerCause::Closed);
            assert_eq!(error(introspect(&call)), closed, "{part:?}");
            assert_eq!((server.accepted(), server.requests().len()), (1, 2));
        }
    }
}

#[test]
fn the_retry_is_not_retried_and_a_fresh_connection_never() {
    for reset in [false, true] {
        // The first connection serves one call; every later one closes without an answer.
        let server = Server::start(move |mut peer| {
            peer.request();
            if peer.number == 0 {
                peer.answer("0");
                peer.request();
            }
            if reset {
                peer.reset();
            }
        });
        let call = call(&server.url());
        let closed = CallError::Answer(AnswerCause::Closed);
        assert_eq!(body(introspect(&call)), "0");
        assert_eq!(error(introspect(&call)), closed);
        assert_eq!(server.accepted(), 2);
        assert_eq!(error(introspect(&call)), closed);
        assert_eq!(server.accepted(), 3);
    }
}

#[test]
fn no_failure_leaves_a_connection_behind() {
    for faulty in [
        "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n",
        "HTTP/1.1 204 No\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let ended = Arc::new(Mutex::new(0));
        let counter = ended.clone();
        let server = Server::start(move |mut peer| {
            peer.request();
            if peer.number == 0 {
                peer.send(faulty);
                // The client closes at once and does not wait for its thread to end.
                peer.wait_for_end();
                *counter.lock() += 1;
            } else {
                peer.answer("good");
            }
        });
        let call = call(&server.url());
        error(introspect(&call));
        while *ended.lock() == 0 {
            thread::yield_now();
        }
        assert_eq!(body(introspect(&call)), "good", "{faulty:?}");
        assert_eq!(server.accepted(), 2);
    }
}

#[test]
fn an_early_answer_counts_even_where_the_request_could_not_be_sent_whole() {
    const REFUSAL: &str =
        "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let reading = Server::start(|mut peer| {
        peer.send(REFUSAL);
        peer.wait_for_end();
    });
    // This one closes on what it has not read, which resets the connection.
    let closing = Server::start(|mut peer| {
        peer.send(REFUSAL);
        peer.wait_until_delivered();
    });
    for server in [reading, closing] {
        let mut call = call(&server.url());
        call.body = Zeroizing::new(vec![b'x'; 32 * 1024 * 1024]).into();
        assert_eq!(introspect(&call).ok().unwrap().status, 413);
        assert_eq!(server.accepted(), 1);
    }
}
