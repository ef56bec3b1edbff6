//! What clients and upstreams speak: HTTP/1.0 and 2, gRPC, FastCGI, uwsgi, `Expect`, uploads.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use phantom_token_test::grpc::{Called, call};
use phantom_token_test::process::own_memory;
use phantom_token_test::rig::{CHALLENGE, UNAUTHORIZED};
use phantom_token_test::{AuthorizationServer, Client, GrpcServer, Rig, Script};

#[test]
fn http_1_0() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let ask = |fields: &str| {
        let mut client = rig.gateway.client();
        client.send(format!("GET /api HTTP/1.0\r\n{fields}\r\n").as_bytes());
        let response = client.read();
        let stays = fields.contains("keep-alive");
        assert_eq!(response.header("connection"), Some(if stays { "keep-alive" } else { "close" }));
        if stays {
            assert!(client.is_idle())
        } else {
            assert!(client.closes())
        }
        response
    };
    for keep in ["", "Connection: keep-alive\r\n"] {
        let refused = ask(keep);
        assert_eq!((refused.status, refused.text().as_str()), (401, UNAUTHORIZED));
        assert_eq!(refused.header("www-authenticate"), Some(CHALLENGE));
        let passed = ask(&format!("Authorization: {}\r\n{keep}", token.bearer()));
        assert_eq!(passed.status, 200);
        assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    }
    assert_eq!(rig.server.introspections(), 1);
}

#[test]
fn http_2_with_a_body_and_every_reply() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.http2().endpoint(&format!("{} max_fails=0", server.introspection_url()))
    });
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    let token = rig.server.issue();
    let url = format!("{}/api", rig.gateway.http2_url());
    let body = rig.gateway.prefix().join("body");
    std::fs::write(&body, "x".repeat(200_000)).unwrap();
    for (bearer, status) in
        [(&*token.token, 200), ("unknown", 401), ("failing", 500), ("limited", 503)]
    {
        // Not curl: NGINX resets a stream it has answered before the body's end (RFC 9113 §8.1),
        // which old versions of it take for an error before they have read the response.
        let output = std::process::Command::new("nghttp")
            .args(["--verbose", "--no-dep", "--timeout=30", "--header"])
            .arg(format!("authorization: Bearer {bearer}"))
            .arg("--data")
            .arg(&body)
            .arg(&url)
            .output()
            .expect("nghttp is installed");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(&format!(" :status: {status}\n")), "{status}: {told}");
    }
    assert_eq!(rig.api.count(), 1);
    assert_eq!(rig.api.last().body_length, 200_000);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
}

#[test]
fn grpc_calls() {
    let upstream = GrpcServer::start();
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.http2().endpoint(&format!("{} max_fails=0", server.introspection_url())).location(
            "/test.Echo",
            &format!("phantom_token on;\ngrpc_pass grpc://127.0.0.1:{};", upstream.port()),
        )
    });
    let token = rig.server.issue();
    let phantom = token.phantom();
    let [unary, stream] = call(rig.gateway.http2_port(), &token.token);
    assert_eq!(unary, Called { code: 0, replies: vec![format!("hello {phantom}")] });
    let messages = (0..3).map(|n| format!("message {n} {phantom}")).collect();
    assert_eq!(stream, Called { code: 0, replies: messages });
    assert_eq!(rig.server.introspections(), 1);

    // gRPC's own mapping of HTTP statuses: UNAUTHENTICATED, UNKNOWN, UNAVAILABLE.
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    for (token, code) in [("", 16), ("unknown", 16), ("failing", 2), ("limited", 14)] {
        for called in call(rig.gateway.http2_port(), token) {
            assert_eq!(called, Called { code, replies: Vec::new() }, "{token}");
        }
    }
}

/// A server of one response to each connection, which `serve` reads from and writes to.
fn one_shot(serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = serve(&mut stream);
        }
    });
    port
}

/// The value of a CGI variable among length-prefixed pairs, whose lengths `lengths` reads; `absent`
/// where it is not among them.
fn cgi_variable(
    mut pairs: &[u8],
    name: &[u8],
    lengths: impl Fn(&mut &[u8]) -> (usize, usize),
    apart: bool,
) -> Vec<u8> {
    while !pairs.is_empty() {
        let (key, value);
        if apart {
            let (length, _) = lengths(&mut pairs);
            key = pairs.split_off(..length).unwrap();
            let (length, _) = lengths(&mut pairs);
            value = pairs.split_off(..length).unwrap();
        } else {
            let (key_length, value_length) = lengths(&mut pairs);
            key = pairs.split_off(..key_length).unwrap();
            value = pairs.split_off(..value_length).unwrap();
        }
        if key == name {
            return value.to_vec();
        }
    }
    b"absent".to_vec()
}

/// A FastCGI responder (FastCGI 1.0 §3, §5) that answers with its `HTTP_AUTHORIZATION`.
fn fastcgi() -> u16 {
    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
    }
    fn length(pairs: &mut &[u8]) -> usize {
        let first = pairs.split_off_first().copied().unwrap();
        if first < 128 {
            return usize::from(first);
        }
        let rest = pairs.split_off(..3).unwrap();
        u32::from_be_bytes([first & 127, rest[0], rest[1], rest[2]]) as usize
    }
    one_shot(|stream| {
        let mut params = Vec::new();
        loop {
            let mut head = [0; 8];
            stream.read_exact(&mut head)?;
            let size = usize::from(u16::from_be_bytes([head[4], head[5]]));
            let mut content = vec![0; size + usize::from(head[6])];
            stream.read_exact(&mut content)?;
            match head[1] {
                4 => params.extend_from_slice(&content[..size]),
                5 if size == 0 => break,
                _ => {}
            }
        }
        let lengths = |pairs: &mut &[u8]| (length(pairs), length(pairs));
        let value = cgi_variable(&params, b"HTTP_AUTHORIZATION", lengths, false);
        let answer = [b"Content-Type: text/plain\r\n\r\n", &*value].concat();
        stream.write_all(&[record(6, &answer), record(6, b""), record(3, &[0; 8])].concat())
    })
}

/// A uwsgi responder (the uwsgi protocol, modifier 0) that answers with its `HTTP_AUTHORIZATION`.
fn uwsgi() -> u16 {
    one_shot(|stream| {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut params = vec![0; usize::from(u16::from_le_bytes([head[1], head[2]]))];
        stream.read_exact(&mut params)?;
        let lengths = |pairs: &mut &[u8]| {
            let bytes = pairs.split_off(..2).unwrap();
            (usize::from(u16::from_le_bytes([bytes[0], bytes[1]])), 0)
        };
        let value = cgi_variable(&params, b"HTTP_AUTHORIZATION", lengths, true);
        let length = value.len();
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), &value].concat())
    })
}

#[test]
fn fastcgi_and_uwsgi_get_the_jwt_as_http_authorization() {
    let (fastcgi, uwsgi) = (fastcgi(), uwsgi());
    let rig = Rig::start(|builder| {
        builder
            .location("/fastcgi", &format!("phantom_token on;\nfastcgi_pass 127.0.0.1:{fastcgi};"))
            .location("/uwsgi", &format!("phantom_token on;\nuwsgi_pass 127.0.0.1:{uwsgi};"))
    });
    let token = rig.server.issue();
    for target in ["/fastcgi", "/uwsgi"] {
        for _ in 0..2 {
            let response = rig.gateway.get_as(target, &token.token);
            assert_eq!((response.status, response.text()), (200, token.phantom()), "{target}");
        }
        assert_eq!(rig.gateway.get(target, &[]).status, 401);
        // Let through without a token: the header must be gone, not empty or stale.
        let mut client = rig.gateway.client();
        client.send_request("OPTIONS", target, &[("Authorization", &token.bearer())], b"");
        let options = client.read();
        assert_eq!((options.status, options.text().as_str()), (200, "absent"), "{target}");
    }
}

#[test]
fn kept_upstream_connections_carry_each_request_its_own_jwt() {
    let api = phantom_token_test::Api::start();
    let address = api.url().strip_prefix("http://").unwrap().to_owned();
    let rig = Rig::start(|builder| {
        builder.http(&format!("upstream kept {{\nserver {address};\nkeepalive 4;\n}}")).location(
            "/kept",
            "phantom_token on;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
                 proxy_pass http://kept;",
        )
    });
    let tokens: Vec<_> = (0..3)
        .map(|n| rig.server.mint(phantom_token_test::Mint::new().claim("sub", format!("{n}"))))
        .collect();
    for token in tokens.iter().chain(&tokens) {
        assert_eq!(rig.gateway.get_as("/kept", &token.token).status, 200);
        assert_eq!(api.last().authorization(), [token.phantom()]);
        assert_eq!(rig.gateway.get("/kept", &[]).status, 401);
    }
    assert_eq!(api.count(), 6);
}

#[test]
fn a_body_is_invited_only_after_the_decision() {
    let rig = Rig::start(|builder| builder.directives("proxy_http_version 1.1;"));
    let token = rig.server.issue();
    let head = |bearer: &str| {
        format!(
            "POST /api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n\
             Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    let mut client = rig.gateway.client();
    let hold = rig.server.hold();
    client.send(head(&token.token).as_bytes());
    rig.server.wait_for_introspections(1);
    assert!(client.is_idle(), "nothing is invited while the token is not judged");
    drop(hold);
    assert_eq!(client.read_some(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"hello");
    assert_eq!(client.read().status, 200);
    assert_eq!(rig.api.last().body_length, 5);

    let mut refused = rig.gateway.client();
    refused.send(head("unknown").as_bytes());
    let first = String::from_utf8(refused.read_some()).unwrap();
    assert!(first.starts_with("HTTP/1.1 401 "), "{first}");
}

#[test]
fn an_upload_of_a_gigabyte_streams_through() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 1024;
    let sink = one_shot(|stream| {
        // Reads the head and counts the body.
        let (mut buffer, mut head, mut body) = (vec![0; PIECE], Vec::new(), 0);
        while body < PIECE * PIECES {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if body == 0 && !head.ends_with(b"\r\n\r\n") {
                for &byte in &buffer[..length] {
                    if head.ends_with(b"\r\n\r\n") {
                        body += 1;
                    } else {
                        head.push(byte);
                    }
                }
            } else {
                body += length;
            }
        }
        let head = String::from_utf8_lossy(&head);
        let sent = head.lines().find_map(|line| line.strip_prefix("Authorization: ")).unwrap();
        let length = sent.len();
        stream.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{sent}").as_bytes(),
        )
    });
    let rig = Rig::start(|builder| {
        builder.http("client_max_body_size 0;").location(
            "/sink",
            &format!(
                "phantom_token on;\nproxy_request_buffering off;\nproxy_http_version 1.1;\n\
                 proxy_pass http://127.0.0.1:{sink};"
            ),
        )
    });
    let worker = rig.gateway.workers()[0];
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get("/sink", &[]).status, 401);
    let before = own_memory(worker);
    let mut client = Client::connect(rig.gateway.port());
    let head = format!(
        "PUT /sink HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
        token.bearer(),
        PIECE * PIECES
    );
    client.send(head.as_bytes());
    let piece = vec![b'x'; PIECE];
    for _ in 0..PIECES {
        client.send(&piece);
    }
    let response = client.read();
    assert_eq!((response.status, response.text()), (200, token.phantom()));
    assert!(client.is_idle(), "the connection is as usable as before");
    let grown = own_memory(worker).saturating_sub(before);
    assert!(grown < 16 * 1024, "the worker keeps no body: {grown} KiB more");
}
