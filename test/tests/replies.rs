//! What the client sees when a request is refused: every reply byte for byte.

use std::time::Duration;

use phantom_token_test::process::wait_for;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN, challenge_parameters};
use phantom_token_test::tls::{Identity, server_config};
use phantom_token_test::{AuthorizationServer, Mint, Reply, Rig, Script, port};
use serde_json::json;

/// Asks with GET, HEAD and POST on one connection and asserts that each gets the reply.
#[track_caller]
fn assert_reply(rig: &Rig, headers: &[(&str, &str)], reply: Reply<'_>) {
    let mut client = rig.gateway.client();
    reply.assert(&client.get("/api", headers));
    reply.assert_head(&client.head("/api", headers));
    client.send_request("POST", "/api", headers, b"some body");
    reply.assert(&client.read());
    assert!(client.is_idle(), "the connection stays open, and nothing more comes");
}

#[test]
fn no_token_or_another_scheme() {
    let rig = Rig::start(|builder| builder);
    assert_reply(&rig, &[], Reply::unauthorized(CHALLENGE));
    for value in ["Basic dXNlcjpwYXNz", "DPoP abc", "Token abc", "Bearerabc", "abc", ""] {
        assert_reply(&rig, &[("Authorization", value)], Reply::unauthorized(CHALLENGE));
    }
    assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0));
}

#[test]
fn nothing_usable_after_the_scheme() {
    let rig = Rig::start(|builder| builder.http("large_client_header_buffers 4 64k;"));
    let long = format!("Bearer {}", "a".repeat(32_769));
    let values = [
        "Bearer",
        "Bearer ",
        "bearer",
        "Bearer a b",
        "Bearer  a  b",
        "Bearer a,b",
        "Bearer \"a\"",
        "Bearer a,",
        "Bearer a; Bearer b",
        "Bearer =",
        "Bearer a=b",
        "Bearer a\u{e4}",
        "Bearer {}",
        "Bearer %41",
        "Bearer a?",
        &long,
    ];
    for value in values {
        assert_reply(&rig, &[("Authorization", value)], Reply::unauthorized(INVALID_TOKEN));
    }
    assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0));
    let tab = rig.gateway.get("/api", &[("Authorization", "Bearer\tabc")]);
    assert_eq!(tab.status, 401);
    assert_eq!(rig.server.introspections(), 0);
}

#[test]
fn the_whole_alphabet_and_length_of_a_token_are_asked_about() {
    let rig = Rig::start(|builder| builder.http("large_client_header_buffers 4 32k;"));
    for token in ["aZ09-._~+/", "a==", &"a".repeat(32_000)] {
        let token = rig.server.mint(Mint::new().token(token));
        rig.assert_passes(&token);
        assert_eq!(rig.server.introspections_of(&token.token), 1);
    }
}

#[test]
fn an_inactive_token() {
    let rig = Rig::start(|builder| builder);
    let headers = [("Authorization", "Bearer unknown")];
    assert_reply(&rig, &headers, Reply::unauthorized(INVALID_TOKEN));
    for (token, script) in [
        ("a", Script::status(204)),
        ("b", Script::json(&json!({"active": false}))),
        (
            "c",
            Script::status(400)
                .body(r#"{"error":"unsupported_token_type"}"#)
                .header("Content-Type", "application/json"),
        ),
    ] {
        rig.server.script(token, script);
        let headers = [("Authorization", &*format!("Bearer {token}"))];
        assert_reply(&rig, &headers, Reply::unauthorized(INVALID_TOKEN));
    }
    assert_eq!(rig.api.count(), 0);
    assert!(rig.server.introspections() >= 4);
}

#[test]
fn a_token_that_has_run_out_or_is_bound_to_a_key() {
    let rig = Rig::start(|builder| builder);
    for mint in [Mint::new().expires_in(-5), Mint::new().dpop_bound()] {
        let token = rig.server.mint(mint);
        let headers = [("Authorization", &*token.bearer())];
        assert_reply(&rig, &headers, Reply::unauthorized(INVALID_TOKEN));
    }
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn a_missing_scope() {
    let rig = Rig::start(|builder| builder.directives("phantom_token_scope \"read execute\";"));
    for mint in
        [Mint::new().scope("read write"), Mint::new().scope(""), Mint::new().scope("executed read")]
    {
        let token = rig.server.mint(mint);
        let headers = [("Authorization", &*token.bearer())];
        let challenge =
            "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"read execute\"";
        let response = rig.gateway.get("/api", &headers);
        // The order of the parameters is free; the rest is not.
        let own = response.header("www-authenticate").unwrap().to_owned();
        assert_reply(&rig, &headers, Reply::forbidden(&own));
        let mut expected = challenge_parameters(&response);
        expected.sort();
        let wanted = [("error", "insufficient_scope"), ("realm", "api"), ("scope", "read execute")];
        assert_eq!(expected, wanted.map(|(n, v)| (n.to_owned(), v.to_owned())), "{challenge}");
    }
    assert_eq!(rig.api.count(), 0);
    let token = rig.server.mint(Mint::new().scope("execute write read"));
    rig.assert_passes(&token);
}

#[test]
fn challenges_name_scope_and_metadata() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_scope read;")
            .directives("phantom_token_resource_metadata https://api.example/.well-known/x;")
            .directives("phantom_token_realm \"the API\";")
    });
    let metadata = ("resource_metadata", "https://api.example/.well-known/x");
    let names = |parameters: &[(&str, &str)]| -> Vec<(String, String)> {
        parameters.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect()
    };
    let missing = challenge_parameters(&rig.gateway.get("/api", &[]));
    assert_eq!(missing, names(&[("realm", "the API"), metadata, ("scope", "read")]));
    let invalid = challenge_parameters(&rig.get_as("unknown"));
    let description = ("error_description", "The access token is invalid or expired");
    let error = ("error", "invalid_token");
    assert!(
        names(&[error, description, ("realm", "the API"), metadata])
            .iter()
            .all(|parameter| invalid.contains(parameter)),
        "{invalid:?}"
    );
    let token = rig.server.mint(Mint::new().scope("write"));
    let scope = challenge_parameters(&rig.get_as(&token.token));
    let error = ("error", "insufficient_scope");
    assert!(
        names(&[error, ("scope", "read"), ("realm", "the API"), metadata])
            .iter()
            .all(|parameter| scope.contains(parameter)),
        "{scope:?}"
    );

    let bare = Rig::start(|builder| {
        builder.directives("phantom_token_realm \"\";").directives("phantom_token_scope read;")
    });
    let missing = bare.gateway.get("/api", &[]);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer scope=\"read\""));
}

/// Asserts that an answer is a failure, is not kept, and does not hurt the next answer.
#[track_caller]
fn assert_failure(rig: &Rig, what: &str, script: Script) {
    let token = rig.server.issue();
    rig.server.script(&token.token, script);
    let response = rig.get_as(&token.token);
    assert_eq!(response.status, 500, "{what}: {response:?}");
    Reply::failure().assert(&response);
    assert_eq!(rig.server.introspections_of(&token.token), 1, "{what}: one call, no retry");
    rig.server.unscript();
    rig.assert_passes(&token);
}

fn no_rest(
    builder: phantom_token_test::nginx::Builder,
    server: &AuthorizationServer,
) -> phantom_token_test::nginx::Builder {
    builder.endpoint(&format!("{} max_fails=0", server.introspection_url()))
}

#[test]
fn statuses_that_are_failures() {
    let rig = Rig::with(AuthorizationServer::start(), no_rest);
    for status in [201, 202, 206, 301, 302, 303, 307, 308, 400, 404, 405, 406, 500, 501, 502, 504] {
        let script = Script::status(status).header("Location", &rig.server.introspection_url());
        assert_failure(&rig, &status.to_string(), script.body("a body"));
    }
    rig.gateway.wait_for_log(&["[error]", "phantom token"]);
}

#[test]
fn answers_that_cannot_be_understood() {
    let rig = Rig::with(AuthorizationServer::start(), no_rest);
    let jwt = rig.server.issue().jwt;
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let other = |header: &str, payload: &str| {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{signature}", encode(header), encode(payload))
    };
    let jwts = [
        ("empty", String::new()),
        ("two segments", signed.to_owned()),
        ("four segments", format!("{jwt}.e30")),
        ("an empty signature", format!("{signed}.")),
        ("not base64url", format!("{jwt}+")),
        ("no algorithm", other("{}", "{}")),
        ("alg none", other(r#"{"alg":"none"}"#, "{}")),
        ("a response JWT", other(r#"{"alg":"ES256","typ":"token-introspection+jwt"}"#, "{}")),
        ("a response's payload", other(r#"{"alg":"ES256"}"#, r#"{"token_introspection":{}}"#)),
        ("an answer's payload", other(r#"{"alg":"ES256"}"#, r#"{"active":true}"#)),
        ("payload no object", other(r#"{"alg":"ES256"}"#, "[]")),
        ("exp no number", other(r#"{"alg":"ES256"}"#, r#"{"exp":"soon"}"#)),
        ("exp negative", other(r#"{"alg":"ES256"}"#, r#"{"exp":-1}"#)),
        ("control bytes within", format!("{signed}\r\nX-Evil: 1\r\n.{signature}")),
        ("two tokens", format!("{jwt} {jwt}")),
        ("too long", format!("{jwt}{}", "a".repeat(65 * 1024))),
    ];
    for (what, text) in jwts {
        assert_failure(&rig, what, Script::jwt(&text));
    }
    let bodies = [
        ("no JSON", "nonsense".to_owned()),
        ("no object", "[]".to_owned()),
        ("no active", json!({"jwt": jwt}).to_string()),
        ("active no boolean", json!({"active": "true", "jwt": jwt}).to_string()),
        ("no JWT", json!({"active": true}).to_string()),
        ("JWT no string", json!({"active": true, "jwt": 1}).to_string()),
        ("JWT ill-formed", json!({"active": true, "jwt": "a.b.c"}).to_string()),
        (
            "cut off",
            json!({"active": true, "jwt": jwt}).to_string().trim_end_matches('}').to_owned(),
        ),
        ("duplicates", format!(r#"{{"active":false,"active":true,"jwt":"{jwt}"}}"#)),
    ];
    for (what, body) in bodies {
        assert_failure(&rig, what, Script::ok("application/json", body));
    }
    for (what, media_type) in
        [("HTML", "text/html"), ("plain text", "text/plain"), ("a longer name", "application/jwtx")]
    {
        assert_failure(&rig, what, Script::ok(media_type, jwt.clone()));
    }
    assert_failure(&rig, "no type", Script::status(200).body(jwt.clone()));
    assert_failure(&rig, "no HTTP", Script::raw("nonsense\r\n\r\n").then_close());
    for line in rig.gateway.module_lines() {
        assert!(!line.contains("nonsense") && !line.contains("X-Evil"), "{line}");
    }
}

#[test]
fn answers_in_every_form_that_is_understood() {
    let rig = Rig::with(AuthorizationServer::start(), no_rest);
    let token = rig.server.issue();
    let jwt = token.jwt.as_str();
    for (name, script) in [
        ("t1", Script::ok("application/jwt", jwt)),
        ("t2", Script::ok("application/jwt; charset=utf-8", jwt)),
        ("t3", Script::ok("Application/JWT", format!("\r\n {jwt}\r\n"))),
        ("t4", Script::jwt(jwt).chunked()),
        ("t5", Script::jwt(jwt).until_close()),
        ("t6", Script::jwt(jwt).drip(100, Duration::from_millis(1))),
        ("t7", Script::json(&json!({"active": true, "jwt": jwt}))),
        ("t8", Script::json(&json!({"active": true, "phantom_token": jwt, "jwt": "x"}))),
        (
            "t9",
            Script::ok(
                "application/json;charset=UTF-8",
                json!({"active": true, "jwt": jwt}).to_string(),
            ),
        ),
    ] {
        rig.server.script(name, script);
        let response = rig.get_as(name);
        assert_eq!(response.status, 200, "{name}: {response:?}");
        assert_eq!(rig.api.last().authorization(), [token.phantom()], "{name}");
    }
}

#[test]
fn credentials_the_server_refuses() {
    for script in [Script::status(401), Script::status(403)] {
        let rig = Rig::with(AuthorizationServer::start(), no_rest);
        rig.server.script_all(script);
        let first = rig.server.issue();
        assert_reply(&rig, &[("Authorization", &first.bearer())], Reply::failure());
        rig.gateway.wait_for_log(&["[error]", "phantom token"]);
        assert_eq!(rig.api.count(), 0);
    }
    let rig = Rig::with(AuthorizationServer::start(), |builder, _| {
        builder.client("introspection-client", "wrong-secret")
    });
    let token = rig.server.issue();
    Reply::failure().assert(&rig.get_as(&token.token));
}

#[test]
fn a_server_that_is_not_there() {
    let endpoint = format!("http://127.0.0.1:{}/introspect max_fails=0", port::free());
    let rig = Rig::start(|builder| builder.endpoint(&endpoint));
    assert_reply(&rig, &[("Authorization", "Bearer abc")], Reply::failure());
    rig.gateway.wait_for_log(&["[error]", "phantom token"]);
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn a_server_that_is_silent_or_slow_or_hangs_up() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        no_rest(builder, server).location(
            "/impatient",
            "phantom_token on;\nphantom_token_timeout 300ms;\ntry_files /none =204;",
        )
    });
    for (what, script) in [
        ("silent", Script::hang()),
        ("slow", Script::status(204).drip(1, Duration::from_millis(50))),
        ("late", Script::status(204).delay(Duration::from_millis(600))),
    ] {
        let token = rig.server.issue();
        rig.server.script(&token.token, script);
        let response = rig.gateway.get_as("/impatient", &token.token);
        assert_eq!(response.status, 500, "{what}");
        Reply::failure().assert(&response);
    }
    for (what, script) in [
        ("hangs up", Script::close()),
        ("half a head", Script::raw("HTTP/1.1 200 OK\r\nContent-Ty").then_close()),
        ("half a body", Script::raw("HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: 900\r\n\r\neyJ").then_close()),
    ] {
        let token = rig.server.issue();
        rig.server.script(&token.token, script);
        let response = rig.get_as(&token.token);
        assert_eq!(response.status, 500, "{what}: {response:?}");
        Reply::failure().assert(&response);
    }
    rig.server.unscript();
    let token = rig.server.issue();
    rig.assert_passes(&token);
}

#[test]
fn a_server_with_a_certificate_nobody_trusts() {
    let config = server_config(&Identity::self_signed(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let rig = Rig::with(server, no_rest);
    let token = rig.server.issue();
    assert_reply(&rig, &[("Authorization", &token.bearer())], Reply::failure());
    rig.gateway.wait_for_log(&["[error]", "phantom token"]);
    assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0));
}

/// Asserts a 503 whose `Retry-After` is within a range of seconds.
#[track_caller]
fn assert_unavailable(rig: &Rig, token: &str, seconds: std::ops::RangeInclusive<u64>) {
    let response = rig.get_as(token);
    let retry_after = response.header("retry-after").unwrap_or_default().to_owned();
    Reply::unavailable(&retry_after).assert(&response);
    assert!(seconds.contains(&retry_after.parse().unwrap()), "{retry_after}");
}

#[test]
fn a_server_that_rests() {
    let endpoint =
        format!("http://127.0.0.1:{}/introspect max_fails=2 fail_timeout=30s", port::free());
    let rig = Rig::start(|builder| builder.endpoint(&endpoint));
    Reply::failure().assert(&rig.get_as("a"));
    Reply::failure().assert(&rig.get_as("b"));
    rig.gateway.wait_for_log(&["[warn]", "rests for"]);
    assert_unavailable(&rig, "c", 1..=1);
    let head = rig.gateway.client().head("/api", &[("Authorization", "Bearer c")]);
    Reply::unavailable(head.header("retry-after").unwrap()).assert_head(&head);
}

#[test]
fn a_server_that_is_asked_too_often_or_is_not_ready() {
    let rig = Rig::start(|builder| builder);
    for status in [429, 503] {
        rig.server.script("a", Script::status(status).header("Retry-After", "7"));
        assert_unavailable(&rig, "a", 7..=7);
        rig.server.script("b", Script::status(status));
        assert_unavailable(&rig, "b", 1..=1);
    }
    let token = rig.server.issue();
    rig.assert_passes(&token);
}

#[test]
fn too_many_calls_pending() {
    let rig = Rig::start(|builder| builder.http("phantom_token_max_pending 1;"));
    let (first, second) = (rig.server.issue(), rig.server.issue());
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &first.bearer())], b"");
    rig.server.wait_for_introspections(1);
    assert_unavailable(&rig, &second.token, 1..=1);
    drop(hold);
    assert_eq!(client.read().status, 200);
    rig.assert_passes(&second);
}

#[test]
fn a_full_queue_of_the_thread_pool() {
    let rig =
        Rig::start(|builder| builder.main("thread_pool phantom_token threads=1 max_queue=1;"));
    let hold = rig.server.hold();
    let send = || {
        let token = rig.server.issue();
        let mut client = rig.gateway.client();
        client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
        client
    };
    let mut first = send();
    rig.server.wait_for_introspections(1);
    // One of these two waits in the queue, and the other finds it full.
    let mut others = [send(), send()];
    let refused = wait_for("a refusal", || others.iter_mut().position(|other| !other.is_idle()));
    Reply::unavailable("1").assert(&others[refused].read());
    drop(hold);
    assert_eq!(first.read().status, 200);
    assert_eq!(others[1 - refused].read().status, 200);
    rig.assert_passes(&rig.server.issue());
}

#[test]
fn two_authorization_lines_are_nginx_own_business() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let bearer = token.bearer();
    let headers = [("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())];
    assert_eq!(rig.gateway.get("/api", &headers).status, 400);
    assert_eq!((rig.server.introspections(), rig.api.count()), (0, 0));
}
