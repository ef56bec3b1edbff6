//! Where an answer ends, and what is none.

use phantom_token_engine::client::{AnswerCause, CallError, introspect};
use phantom_token_engine::http::response::MAX_BODY;

use crate::server::{Server, ok};
use crate::{body, call, error};

fn cause_of(answer: impl Into<Vec<u8>>) -> AnswerCause {
    let server = Server::answering(answer);
    let error = error(introspect(&call(&server.url())));
    // A fresh connection is never tried twice.
    assert_eq!(server.accepted(), 1);
    match error {
        CallError::Answer(cause) => cause,
        other => panic!("not a fault of the answer: {other}"),
    }
}

fn content_of(answer: impl Into<Vec<u8>>) -> String {
    body(introspect(&call(&Server::answering(answer).url())))
}

#[test]
fn contents_are_read_to_the_end_their_framing_gives() {
    for (answer, content) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n05;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello"),
    ] {
        assert_eq!(content_of(answer), content, "{answer:?}");
    }
}

#[test]
fn answers_may_come_in_any_pieces() {
    for answer in [
        ok("hello"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello".to_owned(),
    ] {
        for size in [1, 2, 7, 40] {
            let answer = answer.clone();
            let server = Server::start(move |mut peer| {
                peer.request();
                for piece in answer.as_bytes().chunks(size) {
                    peer.send(piece);
                    peer.wait_until_delivered();
                }
            });
            assert_eq!(body(introspect(&call(&server.url()))), "hello");
        }
    }
}

#[test]
fn interim_answers_are_skipped_and_upgrades_refused() {
    assert_eq!(content_of(format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("x"))), "x");
    let hints = "HTTP/1.1 103 Early Hints\r\nContent-Length: 99\r\n\r\n";
    assert_eq!(content_of(format!("{hints}{hints}{}", ok("x"))), "x");
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(cause_of(format!("{upgrade}{}", ok("x"))), AnswerCause::Upgrade);
}

#[test]
fn ambiguous_lengths_and_unknown_codings_are_errors() {
    use AnswerCause::{AmbiguousLength, TransferCoding};
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (head, cause) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", AmbiguousLength),
        ("Transfer-Encoding: chunked\r\nContent-Length: 15", AmbiguousLength),
        ("Transfer-Encoding: identity\r\nContent-Length: 15", AmbiguousLength),
        ("Content-Length: 5\r\nContent-Length: 15", AmbiguousLength),
        ("Content-Length: 5, 15", AmbiguousLength),
        ("Content-Length: 05\r\nContent-Length: 5", AmbiguousLength),
        ("Content-Length: 05, 5", AmbiguousLength),
        ("Content-Length: +5", AmbiguousLength),
        ("Content-Length: -1", AmbiguousLength),
        ("Content-Length: 0x5", AmbiguousLength),
        ("Content-Length:", AmbiguousLength),
        ("Content-Length: 99999999999999999999", AmbiguousLength),
        ("Transfer-Encoding: gzip, chunked", TransferCoding),
        ("Transfer-Encoding: chunked, gzip", TransferCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", TransferCoding),
        ("Transfer-Encoding: xchunked", TransferCoding),
    ] {
        assert_eq!(cause_of(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{chunks}")), cause, "{head}");
        // Where the status allows no content, the connection is doubtful all the same.
        let head = format!("HTTP/1.1 204 No\r\n{head}\r\n\r\n");
        assert_eq!(cause_of(head), cause);
    }
    let old = format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(cause_of(old), TransferCoding);
    for chunks in ["x\r\n", "\r\n", "5\r\nhelloX", "-1\r\n", "ffffffffffffffffff\r\n"] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}\r\n\r\n");
        assert_eq!(cause_of(answer), TransferCoding, "{chunks:?}");
    }
}

#[test]
fn folded_header_lines_are_read() {
    for (fields, content) in [
        ("A: b\r\n folded: c\r\nContent-Length: 5", "hello"),
        ("A: b\r\n \r\n\t c\r\nContent-Length:\r\n 5", "hello"),
        // A field of another one's value is none.
        ("Content-Length: 5\r\nA: b\r\n Content-Length: 2", "hello"),
    ] {
        assert_eq!(content_of(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello")), content);
    }
    let answer = "HTTP/1.1 103 Hints\r\nLink: </a>,\r\n </b>\r\n\r\nHTTP/1.1 200 OK\r\n\
        Content-Type: text/plain;\r\n charset=utf-8\r\nContent-Length: 8\r\n\r\nhe\r\n ld\r";
    for size in [1, 3, 1000] {
        let server = Server::start(move |mut peer| {
            peer.request();
            for piece in answer.as_bytes().chunks(size) {
                peer.send(piece);
                peer.wait_until_delivered();
            }
        });
        let response = introspect(&call(&server.url())).ok().unwrap();
        assert_eq!(response.content_type.as_deref(), Some(&b"text/plain;   charset=utf-8"[..]));
        assert_eq!(response.body, b"he\r\n ld\r");
    }
    // What would be two lengths, or none, is refused as it would be on one line.
    let ambiguous = AnswerCause::AmbiguousLength;
    assert_eq!(cause_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 0\r\n\r\nhello"), ambiguous);
}

#[test]
fn what_is_not_http_is_an_error() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "{\"active\":true}\r\n\r\n",
        "\x15\x03\x03\x00\x02\x02\x28",
        "ICY 200 OK\r\n\r\n",
    ] {
        assert_eq!(cause_of(answer), AnswerCause::NotHttp, "{answer:?}");
    }
    for answer in ["", "HTTP/1.1", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
        assert_eq!(cause_of(answer), AnswerCause::Closed, "{answer:?}");
    }
}

#[test]
fn contents_end_at_64_kib() {
    let framings: [fn(usize) -> Vec<u8>; 3] = [
        |size| ok(&"x".repeat(size)).into_bytes(),
        |size| {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in vec![b'x'; size].chunks(1000) {
                answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                answer.extend(chunk);
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
            answer
        },
        |size| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(size)).into_bytes(),
    ];
    for framing in framings {
        assert_eq!(content_of(framing(MAX_BODY)).len(), MAX_BODY);
        assert_eq!(cause_of(framing(MAX_BODY + 1)), AnswerCause::BodyTooLarge);
    }
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert_eq!(cause_of(announced), AnswerCause::BodyTooLarge);
}

#[test]
fn a_status_that_says_it_all_may_have_a_body_of_any_size() {
    let pages: [fn(u16) -> Vec<u8>; 3] = [
        |status| format!("HTTP/1.1 {status} X\r\nContent-Length: 70000\r\n\r\n").into_bytes(),
        |status| format!("HTTP/1.1 {status} X\r\n\r\n{}", "x".repeat(70_000)).into_bytes(),
        |status| {
            let head = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
            format!("{head}11170\r\n{}\r\n0\r\n\r\n", "x".repeat(70_000)).into_bytes()
        },
    ];
    for page in pages {
        for status in [302, 401, 403, 404, 429, 500, 502, 503] {
            let server = Server::start(move |mut peer| {
                peer.request();
                peer.send(page(status));
                peer.wait_until_delivered();
            });
            let call = call(&server.url());
            for _ in 0..2 {
                let answer = introspect(&call).expect("an answer");
                assert_eq!((answer.status, answer.body.len()), (status, 0));
            }
            assert_eq!(server.accepted(), 2, "a connection with an unread body is not used again");
        }
        for status in [200, 400] {
            assert_eq!(cause_of(page(status)), AnswerCause::BodyTooLarge);
        }
    }
}

#[test]
fn nothing_goes_on_without_end() {
    for (head, piece, cause) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxx", AnswerCause::BodyTooLarge),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "8\r\nxxxxxxxx\r\n",
            AnswerCause::BodyTooLarge,
        ),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n", AnswerCause::HeaderTooLarge),
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyyyy", AnswerCause::HeaderTooLarge),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n", AnswerCause::TooLong),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "T: v\r\n",
            AnswerCause::TooLong,
        ),
    ] {
        let server = Server::start(move |mut peer| {
            peer.request();
            peer.send(head);
            while peer.send(piece.repeat(100)) {}
        });
        let error = error(introspect(&call(&server.url())));
        assert_eq!(error, CallError::Answer(cause), "{head:?} {piece:?}");
    }
}

#[test]
fn an_answer_cut_anywhere_is_an_error() {
    for answer in [
        ok("hello"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let length = answer.len();
        let server = Server::start(move |mut peer| {
            peer.request();
            // Each length twice: ended in order, and reset.
            peer.send(&answer.as_bytes()[..peer.number / 2]);
            peer.wait_until_delivered();
            if peer.number % 2 == 1 {
                peer.reset();
            }
        });
        let call = call(&server.url());
        for cut in 0..length {
            for _ in 0..2 {
                let error = error(introspect(&call));
                assert_eq!(error, CallError::Answer(AnswerCause::Closed), "after {cut} bytes");
            }
        }
        assert_eq!(server.accepted(), 2 * length);
    }
}

#[test]
fn a_reset_does_not_pass_for_the_end_of_a_content_without_length() {
    let server = Server::start(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
        peer.wait_until_delivered();
        peer.reset();
    });
    let error = error(introspect(&call(&server.url())));
    assert_eq!(error, CallError::Answer(AnswerCause::Closed));
}
