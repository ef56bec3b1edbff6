//! Bodies of every size, and connections that stay usable after every answer.

use std::thread;

use phantom_token_test::api::digest;
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{AuthorizationServer, Client, Mint, Reply, Rig, Script};

#[test]
fn jwts_of_any_size_reach_the_api_whole() {
    let rig = Rig::start(|builder| builder);
    for size in [1, 8, 32] {
        let token = rig.server.mint(Mint::new().jwt_size(size * 1024));
        // A miss, then hits: of the shared zone, and of the worker's own cache.
        for _ in 0..3 {
            rig.assert_passes(&token);
        }
        assert_eq!(rig.server.introspections_of(&token.token), 1, "{size} KB");
    }
}

/// 20 MB that do not repeat.
fn upload() -> Vec<u8> {
    let mut state = 1_u32;
    let mut bytes = Vec::with_capacity(20 << 20);
    while bytes.len() < 20 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

#[test]
fn a_large_upload_during_a_cold_introspection() {
    let upload = upload();
    for buffering in ["on", "off"] {
        let rig = Rig::start(|builder| {
            builder
                .http("client_max_body_size 0;")
                .directives(&format!("proxy_request_buffering {buffering};"))
                .directives("proxy_http_version 1.1;")
        });
        for chunked in [false, true] {
            let token = rig.server.issue();
            let hold = rig.server.hold();
            let mut client = rig.gateway.client();
            let before = rig.server.introspections();
            thread::scope(|scope| {
                let sent = scope.spawn(|| {
                    client.send_upload("/api", &token.token, &upload, chunked);
                    client.read().status
                });
                rig.server.wait_for_introspections(before + 1);
                assert_eq!(rig.api.count(), usize::from(chunked), "nothing before the decision");
                drop(hold);
                assert_eq!(sent.join().unwrap(), 200);
            });
            let received = rig.api.last();
            assert_eq!(received.body_length, upload.len() as u64);
            assert_eq!(received.body_digest, digest(&upload));
            assert_eq!(received.authorization(), [token.phantom()]);
            assert!(client.is_idle());
        }
    }
}

#[test]
fn one_connection_sees_every_reply() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.endpoint(&format!("{} max_fails=0", server.introspection_url())).location(
            "/scoped",
            "phantom_token on;\nphantom_token_scope execute;\ntry_files /none =204;",
        )
    });
    let token = rig.server.issue();
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    let mut client = rig.gateway.client();
    let body = vec![b'x'; 100_000];
    for _ in 0..2 {
        for method in ["GET", "POST"] {
            let body = if method == "POST" { body.as_slice() } else { b"" };
            let mut ask = |target: &str, bearer: &str| {
                let headers = [("Authorization", bearer)];
                let headers = if bearer.is_empty() { &[][..] } else { &headers[..] };
                client.send_request(method, target, headers, body);
                let response = client.read();
                assert!(client.is_idle());
                response
            };
            Reply::unauthorized(CHALLENGE).assert(&ask("/api", ""));
            Reply::unauthorized(INVALID_TOKEN).assert(&ask("/api", "Bearer unknown"));
            Reply::failure().assert(&ask("/api", "Bearer failing"));
            Reply::unavailable("1").assert(&ask("/api", "Bearer limited"));
            assert_eq!(ask("/scoped", &token.bearer()).status, 403);
            assert_eq!(ask("/api", &token.bearer()).status, 200);
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start(|builder| {
        builder.endpoint("http://127.0.0.1:1/ max_fails=0").location("/open", "return 204;")
    });
    let mut client = rig.gateway.client();
    let mut requests = Vec::new();
    for _ in 0..5 {
        for authorization in ["Basic eDp5", "Bearer failing", "Bearer a b"] {
            let headers = [("Authorization", authorization)];
            requests.extend(client.request_bytes("GET", "/api", &headers, b""));
            requests.extend(client.request_bytes("POST", "/api", &headers, b"body"));
        }
        requests.extend(client.request_bytes("GET", "/open", &[], b""));
    }
    client.send(&requests);
    for _ in 0..5 {
        for reply in
            [Reply::unauthorized(CHALLENGE), Reply::failure(), Reply::unauthorized(INVALID_TOKEN)]
        {
            reply.assert(&client.read());
            reply.assert(&client.read());
        }
        assert_eq!(client.read().status, 204);
    }
    assert!(client.is_idle());
}

#[test]
fn pipelined_misses_and_hits_are_answered_in_order() {
    let rig = Rig::start(|builder| builder);
    let tokens: Vec<_> =
        (0..5).map(|n| rig.server.mint(Mint::new().claim("sub", format!("user-{n}")))).collect();
    let mut client = rig.gateway.client();
    let mut requests = Vec::new();
    for token in tokens.iter().chain(&tokens) {
        let headers = [("Authorization", &*token.bearer())];
        requests.extend(client.request_bytes("GET", "/api", &headers, b""));
    }
    client.send(&requests);
    for token in tokens.iter().chain(&tokens) {
        let response = client.read();
        assert_eq!(response.status, 200);
        assert!(response.text().contains(&token.jwt));
    }
    assert_eq!(rig.server.introspections(), 5);
}

#[test]
fn a_client_may_close_its_sending_half() {
    let rig = Rig::start(|builder| builder);
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[], b"");
    client.finish();
    assert_eq!(client.read().status, 401);
    wait_until("the connection's end", || client.closes());
}

#[test]
fn upgraded_connections_pass() {
    let rig = Rig::start(|builder| {
        builder.directives(
            "proxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Connection upgrade;",
        )
    });
    let token = rig.server.issue();
    let mut client = rig.gateway.client();
    let bearer = token.bearer();
    client.send_request(
        "GET",
        "/api",
        &[
            ("Authorization", &bearer),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        b"",
    );
    assert_eq!(client.read().status, 101);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
    for message in [b"one", b"two"] {
        client.send(message);
        assert_eq!(client.read_some(), message);
    }
}

#[test]
fn http_2_streams_share_a_connection_with_refusals() {
    let rig = Rig::start(|builder| {
        builder.http2().location("/q", "phantom_token on token=$arg_t;\ntry_files /none =204;")
    });
    let token = rig.server.issue();
    rig.server.script("failing", Script::status(500));
    let url = |query: &str| format!("{}/q{query}", rig.gateway.http2_url());
    let good = format!("?t={}", token.token);
    let output = std::process::Command::new("h2load")
        .args(["-n", "80", "-c", "1", "-m", "20"])
        .args([url(""), url("?t=unknown"), url(&good), url("?t=failing")])
        .output()
        .expect("h2load is installed");
    let output = String::from_utf8_lossy(&output.stdout);
    let status = output.lines().find(|line| line.starts_with("status codes:"));
    assert_eq!(status, Some("status codes: 20 2xx, 0 3xx, 40 4xx, 20 5xx"), "{output}");
    assert!(output.contains(" 80 done,") && output.contains(" 0 errored,"), "{output}");
}

/// A request whose chunked body is none, and behind it what must not be taken for another request.
fn malformed(path: &str, authorization: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{authorization}Transfer-Encoding: chunked\r\n\r\n\
         xyz\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    .into_bytes()
}

/// Reads one response, and asserts that the connection then ends without another.
#[track_caller]
fn assert_ends(mut client: Client) {
    assert_eq!(client.pending(), b"", "nothing is answered behind it");
    assert!(client.closes(), "the connection ends");
}

#[test]
fn a_malformed_body_ends_the_connection() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location("/paged", "phantom_token on;\nerror_page 500 /page;\ntry_files /none =204;")
            .location("/page", "return 200 \"page\\n\";")
            .location("/checked", "phantom_token on;\nerror_page 500 /open;\ntry_files /none =204;")
            .location("/open", "try_files /none =404;")
            .location("/smuggled", "return 200 \"smuggled\\n\";")
    });
    rig.server.script("failing", Script::status(500));
    for (path, authorization, status) in [
        ("/api", "", 401),
        ("/api", "Authorization: Bearer failing\r\n", 500),
        ("/paged", "Authorization: Bearer failing\r\n", 400),
        ("/checked", "Authorization: Bearer failing\r\n", 404),
    ] {
        let mut client = rig.gateway.client();
        client.send(&malformed(path, authorization));
        let response = client.read();
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("connection"), Some("close"), "{path} {status}");
        assert_ends(client);
    }
}

#[test]
fn a_failure_keeps_the_connection_whose_body_is_read_or_to_be_dropped() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location("/paged", "phantom_token on;\nerror_page 500 /page;\ntry_files /none =204;")
            .location("/page", "return 200 \"page\\n\";")
            .location("/checked", "phantom_token on;\nerror_page 500 /open;\ntry_files /none =204;")
            .location("/open", "try_files /none =404;")
    });
    rig.server.script("failing", Script::status(500));
    let mut client = rig.gateway.client();
    for path in ["/api", "/paged", "/checked"] {
        for framing in [
            "Content-Length: 3\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            client.send(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer failing\r\n{framing}"
                )
                .as_bytes(),
            );
            let response = client.read();
            assert_eq!(response.header("connection"), Some("keep-alive"), "{path} {framing}");
        }
    }
}
