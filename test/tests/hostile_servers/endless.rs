//! Answers of a gibibyte: what is read of them is bounded, and so is the memory they take.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use phantom_token_test::process::{assert_grown_less, own_memory};
use phantom_token_test::server::{After, Exchange};

use crate::support::*;

const GIBIBYTE: u64 = 1 << 30;

/// What a socket may take of bytes nobody reads, on both ends, and what the gateway reads at most.
const TAKEN: u64 = 32 << 20;

/// Ways to send a gibibyte: the beginning, and what follows again and again.
fn floods() -> Vec<(&'static str, String, Vec<u8>)> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\n";
    let x = vec![b'x'; 16 * 1024];
    let repeat = |text: &str| text.repeat(16 * 1024 / text.len()).into_bytes();
    vec![
        ("length", format!("{head}Content-Length: {GIBIBYTE}\r\n\r\n"), x.clone()),
        ("until-close", format!("{head}\r\n"), x.clone()),
        ("one-chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\n40000000\r\n"), x.clone()),
        (
            "small-chunks",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n"),
            repeat("4\r\nxxxx\r\n"),
        ),
        (
            "blank-chunks",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n"),
            repeat("4\r\n    \r\n"),
        ),
        ("chunk-extension", format!("{head}Transfer-Encoding: chunked\r\n\r\n4;"), x.clone()),
        ("chunk-length", format!("{head}Transfer-Encoding: chunked\r\n\r\n"), repeat("0")),
        ("trailers", format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n"), repeat("X: y\r\n")),
        ("one-trailer", format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\nX: "), x.clone()),
        ("field", format!("{head}X: "), x.clone()),
        ("field-name", head.to_owned(), x.clone()),
        ("fields", head.to_owned(), repeat("X: y\r\n")),
        ("continue", String::new(), repeat("HTTP/1.1 100 Continue\r\n\r\n")),
        ("early-hints", String::new(), repeat("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")),
        ("blank-lines", String::new(), repeat("\r\n")),
        ("status-line", "HTTP/1.1 200 ".to_owned(), x.clone()),
        ("not-http", String::new(), x),
    ]
}

#[test]
fn a_gibibyte_is_not_read() {
    let floods: HashMap<_, _> =
        floods().into_iter().map(|(name, head, piece)| (name.to_owned(), (head, piece))).collect();
    let names: Vec<String> = floods.keys().cloned().collect();
    let sent = Arc::new(AtomicU64::new(0));
    let service = {
        let sent = sent.clone();
        Answering(move |token: &str, exchange: &mut Exchange<'_>| {
            let Some((head, piece)) = floods.get(token) else {
                exchange.write(&answer("application/jwt", &jwt_of(token)))?;
                return Ok(After::KeepAlive);
            };
            exchange.write(head.as_bytes())?;
            let mut left = GIBIBYTE;
            while left > 0 {
                let written: io::Result<()> = exchange.write(piece);
                if written.is_err() {
                    break;
                }
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                left = left.saturating_sub(piece.len() as u64);
            }
            Ok(After::Close)
        })
    };
    let custom = Custom::start(Arc::new(service), |builder, _| {
        builder.log_level("error").main("thread_pool phantom_token threads=2;")
    });
    let mut client = custom.gateway.client();
    let mut ask = |token: &str| client.get_as("/api", token);
    // Warm: buffers and the threads' connections.
    (0..20).for_each(|n| assert_eq!(ask(&format!("warm-{n}")).status, 200));
    let worker = custom.gateway.workers()[0];
    let before = own_memory(worker);
    let mut most = (0, Duration::ZERO);
    for name in &names {
        let (begin, already) = (Instant::now(), sent.load(Ordering::Relaxed));
        assert!(!passes(&ask(name), "none"), "{name}");
        let took = sent.load(Ordering::Relaxed) - already;
        assert!(took < TAKEN, "{name}: {took} bytes");
        most = (most.0.max(took), most.1.max(begin.elapsed()));
        let good = format!("after-{name}");
        assert!(passes(&ask(&good), &jwt_of(&good)), "{name}");
    }
    assert_eq!(custom.gateway.workers(), [worker], "the same worker");
    let grown = own_memory(worker).saturating_sub(before);
    println!(
        "{} answers of 1 GiB: 0 let in, at most {} KiB left the server and {:.1?} went by; \
         the worker's memory grew by {grown} KiB",
        names.len(),
        most.0 / 1024,
        most.1,
    );
    assert_grown_less(grown, 8 * 1024);
}
