//! The development authorization server and the API by themselves.

use phantom_token_test::authorization_server::{
    CLIENT, INTROSPECTION_CLIENT, INTROSPECTION_PATH, JWKS_PATH, REVOCATION_PATH, TOKEN_PATH,
};
use phantom_token_test::tls::{Authority, server_config};
use phantom_token_test::{Api, AuthorizationServer, Client, Mint, Response, Script, curl, jwt};
use serde_json::Value;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn basic((id, secret): (&str, &str)) -> String {
    use base64::Engine as _;
    let text = format!("{id}:{secret}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

fn post(
    server: &AuthorizationServer,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut client = Client::connect(server.port());
    client.send_request("POST", path, headers, body.as_bytes());
    client.read()
}

fn introspect(server: &AuthorizationServer, token: &str, accept: &str) -> Response {
    let credentials = basic(INTROSPECTION_CLIENT);
    let headers = [FORM, ("Authorization", credentials.as_str()), ("Accept", accept)];
    post(server, INTROSPECTION_PATH, &headers, &format!("token={token}"))
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn issues_introspects_and_revokes() {
    let server = AuthorizationServer::start();
    let (id, secret) = CLIENT;
    let answer = curl(&[
        "-u",
        &format!("{id}:{secret}"),
        "-d",
        "grant_type=client_credentials",
        "-d",
        "scope=read write",
        &server.token_url(),
    ]);
    let answer: Value = serde_json::from_str(&answer.output).unwrap();
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["expires_in"], 300);
    assert_eq!(answer["scope"], "read write");
    let token = answer["access_token"].as_str().unwrap();
    assert!(jwt::payload(token).is_none(), "the access token is opaque");

    let active = introspect(&server, token, "application/jwt");
    assert_eq!((active.status, active.header("content-type")), (200, Some("application/jwt")));
    let max_age = active.header("cache-control").unwrap().strip_prefix("max-age=").unwrap();
    assert!((200..=300).contains(&max_age.parse::<u64>().unwrap()));
    assert!(server.key().verifies(&active.text()));
    let claims = jwt::payload(&active.text()).unwrap();
    assert_eq!(claims["scope"], "read write");
    assert_eq!(claims["client_id"], id);
    for name in ["iss", "sub", "aud", "exp", "iat", "jti"] {
        assert!(!claims[name].is_null(), "{name}");
    }

    let answer = json(&introspect(&server, token, "application/json"));
    assert_eq!(answer["active"], true);
    assert_eq!(answer["sub"], claims["sub"]);

    let credentials = basic(CLIENT);
    let headers = [FORM, ("Authorization", credentials.as_str())];
    assert_eq!(post(&server, REVOCATION_PATH, &headers, &format!("token={token}")).status, 200);
    assert_eq!(introspect(&server, token, "application/jwt").status, 204);
    let inactive = introspect(&server, token, "*/*");
    assert_eq!(inactive.text(), r#"{"active":false}"#);
    assert_eq!(server.introspections_of(token), 4);
}

#[test]
fn answers_introspections_as_signed_responses() {
    let server = AuthorizationServer::builder().jwt_member("jwt").start().unwrap();
    let token = server.issue();
    let accept = "application/token-introspection+jwt";
    let answer = introspect(&server, &token.token, accept);
    assert_eq!(answer.header("content-type"), Some(accept));
    assert!(server.key().verifies(&answer.text()));
    let claims = jwt::payload(&answer.text()).unwrap();
    assert_eq!(claims["aud"], INTROSPECTION_CLIENT.0);
    assert_eq!(claims["token_introspection"]["jwt"], token.jwt);
    assert!(claims["exp"].is_null() && claims["sub"].is_null(), "RFC 9701 section 5");
    let inactive = introspect(&server, "unknown", accept);
    let claims = jwt::payload(&inactive.text()).unwrap();
    assert_eq!(claims["token_introspection"], serde_json::json!({"active": false}));
}

#[test]
fn refuses_wrong_clients_and_forms() {
    let server = AuthorizationServer::start();
    let wrong = basic((CLIENT.0, "wrong"));
    let right = basic(CLIENT);
    let grant = "grant_type=client_credentials";
    let refused = post(&server, TOKEN_PATH, &[FORM, ("Authorization", &wrong)], grant);
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic "));
    assert_eq!(json(&refused)["error"], "invalid_client");
    let headers = [FORM, ("Authorization", right.as_str())];
    for (body, error) in [
        ("", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=a%22b", "invalid_scope"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
    ] {
        let refused = post(&server, TOKEN_PATH, &headers, body);
        assert_eq!(
            (refused.status, json(&refused)["error"].as_str()),
            (400, Some(error)),
            "{body}"
        );
    }
    let (id, secret) = CLIENT;
    let posted = format!("{grant}&client_id={id}&client_secret={secret}");
    assert_eq!(post(&server, TOKEN_PATH, &[FORM], &posted).status, 200);
    // The client that gets tokens may not introspect.
    assert_eq!(post(&server, INTROSPECTION_PATH, &headers, "token=x").status, 401);
    assert_eq!(post(&server, "/elsewhere", &[FORM], "").status, 404);
    assert_eq!(Client::connect(server.port()).get(TOKEN_PATH, &[]).status, 405);
}

#[test]
fn decodes_basic_credentials_from_the_form_encoding() {
    let credentials = basic(("a%3Ab", "p%2B+%25"));
    let headers = [FORM, ("Authorization", credentials.as_str())];
    let server =
        AuthorizationServer::builder().introspection_client("a:b", "p+ %").start().unwrap();
    assert_eq!(post(&server, INTROSPECTION_PATH, &headers, "token=x").status, 200);
    let raw = AuthorizationServer::builder().introspection_client("ab", "p+%25").raw_basic();
    let raw = raw.start().unwrap();
    let credentials = basic(("ab", "p+%25"));
    let headers = [FORM, ("Authorization", credentials.as_str())];
    assert_eq!(post(&raw, INTROSPECTION_PATH, &headers, "token=x").status, 200);
}

#[test]
fn persists_connections_and_reads_chunks() {
    let server = AuthorizationServer::start();
    let token = server.issue();
    let mut client = Client::connect(server.port());
    let body =
        format!("5\r\ntoken\r\n1\r\n=\r\n{:x}\r\n{}\r\n0\r\n\r\n", token.token.len(), token.token);
    for _ in 0..3 {
        client.send_request(
            "POST",
            INTROSPECTION_PATH,
            &[
                FORM,
                ("Authorization", &basic(INTROSPECTION_CLIENT)),
                ("Accept", "application/jwt"),
                ("Transfer-Encoding", "chunked"),
            ],
            b"",
        );
        client.send(body.as_bytes());
        assert_eq!(client.read().text(), token.jwt);
    }
    assert_eq!(server.connections(), 1);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].body, format!("token={}", token.token).as_bytes());
    assert_eq!(seen[0].token, token.token);
    assert!(client.is_idle());
    server.close_connections();
    assert!(client.closes());
}

#[test]
fn holds_answers_back() {
    let server = AuthorizationServer::start();
    let token = server.issue();
    let hold = server.hold_token(&token.token);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| introspect(&server, &token.token, "application/jwt"));
        server.wait_for_introspections(1);
        assert_eq!(introspect(&server, "another", "application/jwt").status, 204);
        assert!(!asked.is_finished());
        drop(hold);
        assert_eq!(asked.join().unwrap().status, 200);
    });
}

#[test]
fn plays_scripts() {
    let server = AuthorizationServer::start();
    let ask = |token: &str| introspect(&server, token, "application/jwt");
    server.script("a", Script::status(503).header("Retry-After", "7").body("x").times(1));
    let answer = ask("a");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("7")));
    assert_eq!(ask("a").status, 204);
    server.script("a", Script::ok("text/plain", "chunks").chunked());
    let answer = ask("a");
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("chunks", None));
    server.script("a", Script::ok("text/plain", "to the end").until_close());
    assert_eq!(ask("a").text(), "to the end");
    server.script("a", Script::ok("text/plain", "drop by drop").drip(3, std::time::Duration::ZERO));
    assert_eq!(ask("a").text(), "drop by drop");
    server.script_all(Script::status(500));
    assert_eq!(ask("b").status, 500);
    server.unscript();
    assert_eq!(ask("b").status, 204);

    let request = |client: &mut Client, token: &str| {
        let credentials = basic(INTROSPECTION_CLIENT);
        let headers = [FORM, ("Authorization", credentials.as_str())];
        let body = format!("token={token}");
        client.send_request("POST", INTROSPECTION_PATH, &headers, body.as_bytes());
    };
    server.script("c", Script::close());
    let mut client = Client::connect(server.port());
    request(&mut client, "c");
    assert!(client.closes());
    server.script("d", Script::ok("text/plain", "one").surplus("HTTP/1.1 200 OK\r\n\r\n"));
    let mut client = Client::connect(server.port());
    request(&mut client, "d");
    assert_eq!(client.read().text(), "one");
    assert!(!client.is_idle());
}

#[test]
fn speaks_tls_and_asks_for_client_certificates() {
    let authority = Authority::generate();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &authority.certificate).unwrap();
    let (certificate, key) = authority.client("gateway").write(directory.path(), "client");
    let config = server_config(&authority.server(&["localhost"]), Some(&authority.certificate));
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let url = format!("{}{JWKS_PATH}", server.url());
    let ca = ca.to_str().unwrap();
    let trusted = curl(&[
        "--cacert",
        ca,
        "--cert",
        certificate.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
        &url,
    ]);
    assert!(trusted.output.contains("\"keys\""), "{trusted:?}");
    assert_ne!(curl(&["--cacert", ca, &url]).code, 0);
    assert_ne!(curl(&[&url]).code, 0);
}

#[test]
fn the_api_shows_the_jwt_and_refuses_anything_else() {
    let server = AuthorizationServer::start();
    let token = server.mint(Mint::new().claim("sub", "alice").jwt_size(20_000));
    let api = Api::start();
    let port = api.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut client = Client::connect(port);
    let answer = client.get("/api", &[("Authorization", &token.phantom())]);
    let body = json(&answer);
    assert_eq!(body["message"], format!("API Received JWT: {}", token.jwt));
    assert_eq!(body["tokenPayload"]["sub"], "alice");
    assert_eq!(client.get("/api", &[("Authorization", &token.bearer())]).status, 401);
    assert_eq!(client.get("/api", &[]).status, 401);
    let echo = json(&client.get("/x/echo?y", &[("X-Y", "z")]));
    assert_eq!(echo["target"], "/x/echo?y");
    assert!(echo["headers"].as_array().unwrap().contains(&serde_json::json!(["X-Y", "z"])));
    assert_eq!(api.count(), 4);
    let upload = vec![7; 3_000_000];
    client.send_request("POST", "/echo", &[("Expect", "100-continue")], &upload);
    assert_eq!(client.read().status, 200);
    assert_eq!(api.last().body_digest, phantom_token_test::api::digest(&upload));
    client.send_request(
        "GET",
        "/ws",
        &[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        b"",
    );
    let accepted = client.read();
    assert_eq!(accepted.status, 101);
    // The example of RFC 6455 section 1.3.
    assert_eq!(accepted.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send(b"frame");
    assert_eq!(client.read_some(), b"frame");
}
