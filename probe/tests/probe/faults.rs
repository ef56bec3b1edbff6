//! What goes wrong at first contact: each cause is named, with what to do about it.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use phantom_token_test::authorization_server::{INTROSPECTION_CLIENT, INTROSPECTION_PATH};
use phantom_token_test::tls::{Authority, Identity, server_config};
use phantom_token_test::{AuthorizationServer, Script, port};
use serde_json::json;

use crate::program::{Program, Said};

/// Asks as the client that may, about this token.
fn ask_about(token: &str, url: &str) -> Said {
    let (id, secret) = INTROSPECTION_CLIENT;
    Program::new().client(id, secret).token(token).argument("--timeout", "60").ask(url)
}

#[track_caller]
fn assert_fails(said: &Said, cause: &str, remedy: &str) {
    said.ends(1).lacks(&["Configuration"]);
    let line = |start: &str| {
        let line = said.out.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}\n{}{}", said.out, said.error)).to_owned()
    };
    assert!(line("- Cause: ").contains(cause), "{cause}\n{}", said.out);
    assert!(line("- Remedy: ").contains(remedy), "{remedy}\n{}", said.out);
}

#[test]
fn a_status_says_what_to_look_at() {
    let server = AuthorizationServer::start();
    let token = server.issue().token;
    let html = "<!DOCTYPE html><title>Log in</title>";
    for (script, cause, remedy) in [
        (Script::status(404), "status 404", "the endpoint's URL: its path"),
        (Script::status(405), "status 405", "no POST"),
        (Script::status(500), "status 500", "the server's own log"),
        (Script::status(502), "status 502", "the proxy in front"),
        (Script::status(503).header("Retry-After", "7"), "status 503", "alone for 7 seconds"),
        (Script::status(429), "too many requests", "ask less often"),
        (Script::status(401), "refused this client's credentials", "check phantom_token_client_id"),
        (Script::status(403), "with status 403", "that the client may introspect"),
        (Script::status(400), "status 400", "its own log"),
        (Script::status(406), "status 406", "phantom_token_introspection_accept"),
        (Script::ok("text/html", html), "its content type", "a login page"),
        (Script::ok("application/json", html), "it is not JSON", "check the endpoint's URL"),
        (Script::ok("application/json", "[]"), "not a JSON object", "check the endpoint's URL"),
        (Script::ok("application/json", "{}"), "no member \"active\"", "check the endpoint's URL"),
        (Script::ok("application/json", ""), "it is empty", "check the endpoint's URL"),
        (Script::ok("application/json", "x".repeat(70_000)), "over 64 KiB", "say less of a token"),
        (Script::status(302).header("Location", "/login?next=%2F"), "302", "leads to \"/login\""),
        (
            Script::status(302).header("Location", "file:///etc/passwd"),
            "302",
            "leads to \"file:///etc/passwd\"",
        ),
        (
            Script::status(301).header("Location", &format!("{INTROSPECTION_PATH}/")),
            "301",
            "with a slash at its end",
        ),
        (
            Script::status(301)
                .header("Location", &format!("{}/?next=1", server.introspection_url())),
            "301",
            "with a slash at its end",
        ),
        (
            Script::status(308)
                .header("Location", &server.introspection_url().replace("http:", "https:")),
            "308",
            "write https:// in the URL",
        ),
        (Script::status(302), "302", "write the final URL"),
        (Script::raw("\x16\x03\x01\0\0"), "not HTTP", "write https://"),
        (Script::close(), "closed before the answer", "see their logs"),
    ] {
        server.script_own_calls(script);
        let said = ask_about(&token, &server.introspection_url());
        assert_fails(&said, cause, remedy);
        said.lacks(&["Log in", "root:"]);
    }
}

#[test]
fn a_page_made_for_people_and_an_error_s_name_are_told() {
    let server = AuthorizationServer::start();
    let html = Script::status(403).header("Content-Type", "text/html").body("<h1>Blocked</h1>");
    server.script_own_calls(html);
    let said = ask_about("opaque", &server.introspection_url());
    said.holds(&["an HTML page", "text/html, 16 bytes"]).lacks(&["Blocked"]);
    let body = json!({"error": "unauthorized_client", "error_description": "private"});
    server.script_own_calls(Script::status(400).body(body.to_string()));
    let said = ask_about("opaque", &server.introspection_url());
    said.holds(&["\"error\": \"unauthorized_client\""]).lacks(&["private"]);
    server.script_own_calls(Script::status(400).body(json!({"error": "a\x1bb"}).to_string()));
    ask_about("opaque", &server.introspection_url()).ends(1).lacks(&["\"error\": "]);
}

#[test]
fn a_token_that_does_not_do_is_told() {
    let server = AuthorizationServer::start();
    let token = server.issue().token;
    let ask = || ask_about(&token, &server.introspection_url());
    server.script(&token, Script::status(401));
    assert_fails(&ask(), "status 401", "takes this client, and refuses this token");
    server.script(&token, Script::json(&json!({"active": false})));
    assert_fails(&ask(), "calls the token inactive", "has not expired");
    server.script(&token, Script::json(&json!({"active": true, "exp": 1_000_000_000})));
    assert_fails(&ask(), "seconds ago", "both clocks");
    server.script(&token, Script::json(&json!({"active": true, "token_type": "refresh_token"})));
    assert_fails(&ask(), "another kind", "--token-file");
    server.script(&token, Script::json(&json!({"active": true, "exp": "soon"})));
    assert_fails(&ask(), "\"exp\" is not a number", "at fault");
    server.script_all(Script::json(&json!({"active": true})));
    server.script_own_calls(Script::json(&json!({"active": true})));
    assert_fails(&ask(), "that nobody has", "a stub");
}

#[test]
fn without_a_token_it_says_how_far_it_came() {
    let server = AuthorizationServer::start();
    let (id, secret) = INTROSPECTION_CLIENT;
    let said = Program::new().client(id, secret).ask(&server.introspection_url());
    said.ends(1).holds(&["The server takes this client", "--token-file", "Configuration"]);
    assert_eq!(said.calls(), 1);
}

#[test]
fn what_keeps_tls_from_standing_is_told() {
    let authority = Authority::generate();
    let names = &["127.0.0.1"];
    for (identity, trusted, cause, remedy) in [
        (authority.expired_server(names), true, "has expired", "renew it"),
        (authority.future_server(names), true, "not valid yet", "clock"),
        (authority.server(&["other.example"]), true, "not valid for the host", "a name the"),
        (authority.server(names), false, "issuer is not trusted", "name the CA's certificate"),
        (Identity::self_signed_leaf(names), true, "self-signed", "name this certificate"),
    ] {
        let server = AuthorizationServer::builder()
            .tls(server_config(&identity, None), "127.0.0.1")
            .start()
            .expect("a server");
        let (id, secret) = INTROSPECTION_CLIENT;
        let program = Program::new().client(id, secret);
        let other = Authority::generate();
        let ca = if trusted { &authority.certificate } else { &other.certificate };
        let path = program.file("ca.pem", ca);
        let program = program.argument("--ssl-trusted-certificate", &path.to_string_lossy());
        assert_fails(&program.ask(&server.introspection_url()), cause, remedy);
        // By http:// on the same port.
        let url = server.introspection_url().replace("https:", "http:");
        assert_fails(&program.ask(&url), "", "https://");
    }
    // The other way round: a port without TLS.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/introspect", listener.local_addr().expect("an address"));
    let plain = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("an answer");
        stream
    });
    let said = ask_about("opaque", &url);
    assert_fails(&said, "does not speak TLS on this port", "write http://");
    drop(plain.join());
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let url = format!("http://127.0.0.1:{}/introspect", port::free());
    let said = ask_about("opaque", &url);
    assert_fails(&said, "connection refused", "at this host and port");
    let name = format!("http://{}.invalid/introspect", "x".repeat(63));
    let said = ask_about("opaque", &name);
    // Where there is no name server at all it cannot know.
    let known = said.out.contains("host name not found");
    let cause = if known { "not found" } else { "could not be looked up" };
    assert_fails(&said, cause, "/etc/resolv.conf");
    said.holds(&["begins with http://"]);
}

#[test]
fn a_server_that_takes_too_long_is_told() {
    let server = AuthorizationServer::start();
    let (id, secret) = INTROSPECTION_CLIENT;
    let program = Program::new().client(id, secret).argument("--timeout", "1");
    server.script_own_calls(Script::hang());
    let said = program.ask(&server.introspection_url());
    assert_fails(&said, "timed out while waiting", "the server is slow");
    let never = Arc::new(AtomicBool::new(false));
    let body = vec![b' '; 60_000];
    let drips = Script::ok("application/json", body).drip(10, Duration::from_millis(20));
    server.script_own_calls(drips.delivered(&never));
    let said = program.ask(&server.introspection_url());
    assert_fails(&said, "timed out while reading", "the server is slow");
}
