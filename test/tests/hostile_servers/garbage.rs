//! Answers that are hardly HTTP, and answers that lead elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use phantom_token_test::server::{After, Exchange};
use phantom_token_test::{AuthorizationServer, Script};

use crate::support::*;

/// Beginnings of an answer, up to where a status line ends.
const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.0 200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/0.9 200 OK",
    "HTTP/2 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/11 200 OK",
    "http/1.1 200 OK",
    "HTTP /1.1 200 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1 0200 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2 00 OK",
    "HTTP/1.1 -200 OK",
    "HTTP/1.1 +200 OK",
    "HTTP/1.1 0x0C8 OK",
    "HTTP/1.1 200OK",
    "HTTP/1.1 099 OK",
    "HTTP/1.1 000 OK",
    "HTTP/1.1 600 OK",
    "HTTP/1.1 999 OK",
    "HTTP/1.1 200 O\0K",
    "HTTP/1.1 200 O\rK",
    "HTTP/1.1 200 \u{e9}\u{1f600}",
    " HTTP/1.1 200 OK",
    "\r\nHTTP/1.1 200 OK",
    "\0HTTP/1.1 200 OK",
    "\u{feff}HTTP/1.1 200 OK",
    "ICY 200 OK",
    "RTSP/1.0 200 OK",
    "200 OK",
    "SSH-2.0-OpenSSH_9.9",
    "220 smtp.example ESMTP",
    "<!doctype html>",
    "{\"active\":true}",
    "\u{16}\u{3}\u{1}\u{2}",
    "PRI * HTTP/2.0",
    "GET / HTTP/1.1",
    "",
];

/// Header sections; `LENGTH` stands for the body's length.
const FIELDS: &[&str] = &[
    "Content-Length: LENGTH",
    "content-length:LENGTH",
    "Content-Length:   LENGTH  ",
    "Content-Length: LENGTH\r\nContent-Length: LENGTH",
    "Content-Length: LENGTH, LENGTH",
    "Content-Length: -1",
    "Content-Length: 0",
    "Content-Length: 0xff",
    "Content-Length: LENGTH.0",
    "Content-Length: LENGTHx",
    "Content-Length: 1e3",
    "Content-Length: 99999999999999999999999999",
    "Content-Length: 18446744073709551616",
    "Content-Length: 18446744073709551615",
    "Content-Length:",
    "Content-Length: \"LENGTH\"",
    "Content-Length : LENGTH",
    "Content-Length\r\n: LENGTH",
    " Content-Length: LENGTH",
    "Content-Length: 5\r\n LENGTH",
    "X: y\r\n\tfolded: z\r\nContent-Length: LENGTH",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:\u{b}chunked\r\nContent-Length: LENGTH",
    "Transfer-Encoding : chunked\r\nContent-Length: LENGTH",
    ": empty\r\nContent-Length: LENGTH",
    "no colon\r\nContent-Length: LENGTH",
    "X\0: y\r\nContent-Length: LENGTH",
    "X: y\0\r\nContent-Length: LENGTH",
    "X: y\rZ: w\r\nContent-Length: LENGTH",
    "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: LENGTH",
];

/// Header sections that must let nobody in: they leave open how long the body is, or what it is.
const REFUSED_FIELDS: &[&str] = &[
    "Content-Length: LENGTH\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: LENGTH",
    "Content-Length: 5, LENGTH",
    "Content-Length: +LENGTH",
    "Content-Length: LENGTH\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: LENGTH",
    "Transfer-Encoding: identity\r\nContent-Length: LENGTH",
    "Transfer-Encoding: xchunked\r\nContent-Length: LENGTH",
    "Content-Type: text/html\r\nContent-Length: LENGTH",
    "Content-Encoding: gzip\r\nContent-Length: LENGTH",
    "Content-Encoding: gzip\r\nContent-Encoding: identity\r\nContent-Length: LENGTH",
];

/// Chunked bodies; `JWT` stands for the JWT and `SIZE` for its length, in hexadecimal.
const CHUNKS: &[&str] = &[
    "SIZE\r\nJWT\r\n0\r\n\r\n",
    "SIZE;a=b\r\nJWT\r\n0;c\r\nT: t\r\n\r\n",
    "000000SIZE\r\nJWT\r\n0\r\n\r\n",
    "0xSIZE\r\nJWT\r\n0\r\n\r\n",
    "+SIZE\r\nJWT\r\n0\r\n\r\n",
    "-1\r\nJWT\r\n0\r\n\r\n",
    "SIZE \r\nJWT\r\n0\r\n\r\n",
    " SIZE\r\nJWT\r\n0\r\n\r\n",
    "SIZE\nJWT\n0\n\n",
    "SIZE\r\nJWTx\r\n0\r\n\r\n",
    "SIZE\r\nJWT0\r\n\r\n",
    "SIZE\r\nJWT\r\n1\r\n",
    "SIZE\r\nJWT\r\n",
    "FFFFFFFFFFFFFFFF\r\nJWT\r\n0\r\n\r\n",
    "10000000000000000\r\nJWT\r\n0\r\n\r\n",
    "1000000000000000SIZE\r\nJWT\r\n0\r\n\r\n",
    "\r\nJWT\r\n0\r\n\r\n",
    ";\r\nJWT\r\n0\r\n\r\n",
    "zz\r\nJWT\r\n0\r\n\r\n",
    "JWT",
];

#[test]
fn what_is_hardly_http_lets_nobody_in_by_mistake() {
    let rig = rig(|builder| builder.log_level("error"));
    let mut client = rig.gateway.client();
    let (mut cases, mut expected) = (0, Vec::new());
    let mut ask = |answer: &dyn Fn(&str) -> String| {
        cases += 1;
        let token = format!("case-{cases}");
        let jwt = jwt_of(&token);
        let text = answer(&jwt);
        rig.server.script(&token, Script::raw(text.clone()).then_close());
        let response = client.get_as("/api", &token);
        // What is taken for a whole answer is this token's own JWT, whole. The first of each list is.
        let passed = passes(&response, &jwt);
        if passed {
            expected.push(jwt);
        }
        let good = rig.server.issue();
        assert!(passes(&client.get_as("/api", &good.token), &good.jwt), "after {text:?}");
        expected.push(good.jwt);
        passed
    };
    let jwt_head = "Content-Type: application/jwt";
    let mut let_in = Vec::new();
    for (nth, line) in STATUS_LINES.iter().enumerate() {
        for end in ["\r\n", "\n"] {
            let passed = ask(&|jwt| {
                let length = jwt.len();
                format!("{line}{end}{jwt_head}\r\nContent-Length: {length}\r\n\r\n{jwt}")
            });
            assert!(passed || nth > 0 || end == "\n", "{line}");
            let_in.extend(passed.then(|| format!("{line}{end}")));
        }
    }
    let with_fields = |fields: &str, jwt: &str| {
        let fields = fields.replace("LENGTH", &jwt.len().to_string());
        format!("HTTP/1.1 200 OK\r\n{jwt_head}\r\n{fields}\r\n\r\n{jwt}")
    };
    for (nth, fields) in FIELDS.iter().enumerate() {
        let passed = ask(&|jwt| with_fields(fields, jwt));
        assert!(passed || nth > 0, "{fields}");
        let_in.extend(passed.then(|| (*fields).to_owned()));
    }
    for fields in REFUSED_FIELDS {
        let passed = ask(&|jwt| with_fields(fields, jwt));
        assert!(!passed, "{fields}");
    }
    for (nth, chunks) in CHUNKS.iter().enumerate() {
        let passed = ask(&|jwt| {
            let body = chunks.replace("JWT", jwt).replace("SIZE", &format!("{:x}", jwt.len()));
            format!("HTTP/1.1 200 OK\r\n{jwt_head}\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
        });
        assert!(passed || nth > 0, "{chunks}");
        let_in.extend(passed.then(|| (*chunks).to_owned()));
    }
    assert_received(&rig.api, &expected);
    println!(
        "{cases} answers: {} taken for whole, each with its own JWT; 0 wrong: {let_in:?}",
        let_in.len()
    );
}

#[test]
fn nobody_is_followed_elsewhere() {
    let elsewhere = AuthorizationServer::start();
    let here = "/introspect".to_owned();
    let locations = [
        elsewhere.introspection_url(),
        elsewhere.introspection_url().replace("http:", ""),
        here,
        "file:///etc/passwd".to_owned(),
        "\u{7f}".to_owned(),
    ];
    let asked = Arc::new(AtomicUsize::new(0));
    let service = {
        let (asked, locations) = (asked.clone(), locations.clone());
        Answering(move |token: &str, exchange: &mut Exchange<'_>| {
            // Whoever follows comes without a token.
            asked.fetch_add(1, Ordering::SeqCst);
            let mut parts = token.split('-').filter_map(|part| part.parse::<usize>().ok());
            let (status, nth) = (parts.next().unwrap_or(302), parts.next().unwrap_or(0));
            let location = &locations[nth];
            let fields = [
                ("Location", location.as_str()),
                ("Refresh", &format!("0; url={location}")),
                ("Content-Type", "application/jwt"),
            ];
            exchange.respond(status as u16, &fields, jwt_of(token).as_bytes())?;
            Ok(After::KeepAlive)
        })
    };
    let custom = Custom::start(Arc::new(service), |builder, _| builder.log_level("error"));
    let mut tried = 0;
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for (nth, location) in locations.iter().enumerate() {
            let token = format!("moved-{status}-{nth}");
            let response = custom.gateway.get_as("/api", &token);
            assert!(!passes(&response, &jwt_of(&token)), "{status} {location:?}");
            tried += 1;
            assert_eq!(asked.load(Ordering::SeqCst), tried, "{status} {location:?}");
        }
    }
    println!("{tried} redirects: none followed");
    assert_eq!((elsewhere.connections(), custom.api.count()), (0, 0));
}
