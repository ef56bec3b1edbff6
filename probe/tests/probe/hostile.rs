//! Servers and people that mean no good.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phantom_token_test::authorization_server::INTROSPECTION_CLIENT;
use phantom_token_test::{AuthorizationServer, Script};
use serde_json::json;

use crate::program::Program;

const TOKEN: &str = "opaque-token-of-somebody";

fn program() -> Program {
    let (id, secret) = INTROSPECTION_CLIENT;
    Program::new().client(id, secret).token(TOKEN)
}

#[test]
fn nothing_a_server_sends_reaches_the_terminal_as_it_is() {
    let server = AuthorizationServer::start();
    let odd = "\x1b]0;owned\x07\x1b[2J\u{9b}1m\u{202e}";
    let body = json!({
        "active": true, "iss": odd, "aud": [odd, "a"], "scope": "a", "token_type": odd, odd: odd,
    });
    server.script(TOKEN, Script::json(&body));
    // What must not be shown is looked for wherever the program is run.
    program().ask(&server.introspection_url()).ends(0).holds(&["and 1 more"]);
    for raw in [
        "HTTP/1.1 200 \x1b[31mOK\x07\r\nContent-Type: text/\x1b[31m\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /\x1b[31m\u{9b}x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 \x1b[31m\r\n\r\n",
        "\x1b[31m\x07\x07\x07\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\x1b[31m: a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/\u{202e}\r\nContent-Length: 0\r\n\r\n",
    ] {
        server.script_own_calls(Script::raw(raw).then_close());
        program().ask(&server.introspection_url()).ends(1);
    }
}

#[test]
fn a_server_that_says_what_it_was_told_betrays_nothing() {
    let server = AuthorizationServer::start();
    let (_, secret) = INTROSPECTION_CLIENT;
    let jwt = phantom_token_test::jwt::unsigned(&json!({"sub": "a"}));
    let echo = format!("https://{TOKEN}.example");
    let body = json!({
        "active": true, "iss": echo, "aud": secret, "scope": jwt, "typ": TOKEN, TOKEN: 1, secret: 1,
        (jwt.clone()): 1, "email": "alice@example.com", "sub": "alice",
    });
    server.script(TOKEN, Script::json(&body));
    let program = program().hides("alice");
    program.ask(&server.introspection_url()).ends(0).holds(&["(hidden)", "email"]);
    // Not where it is written otherwise, nor what is the user's.
    let upper = TOKEN.to_uppercase();
    let written = STANDARD.encode(TOKEN);
    let cut = &TOKEN[..TOKEN.len() - 3];
    let body = json!({
        "active": true, "iss": written, "aud": upper, "scope": "smith@example.com read", "typ": "smith",
        cut: 1, "smith@example.com": 1,
    });
    let media_type = format!("application/json; a={upper}; b={written}; c={cut}");
    let script = Script::ok(&media_type, body.to_string());
    server.script(TOKEN, script);
    let program = program.hides(&upper).hides(&written).hides(cut).hides("smith");
    let said = program.ask(&server.introspection_url());
    said.holds(&["(hidden) read", "another value", "application/json, "]);
    let moved = Script::status(302).header("Location", &format!("/{TOKEN}"));
    server.script_own_calls(moved);
    program.ask(&server.introspection_url()).ends(1);
    server.script_own_calls(Script::status(401).header("Content-Type", TOKEN));
    program.ask(&server.introspection_url()).ends(1);
}

#[test]
fn answers_without_end_come_to_one() {
    let server = AuthorizationServer::start();
    let deep = format!("{{\"active\":true,\"a\":{}", "[".repeat(30_000));
    let nested = format!("{deep}{}}}", "]".repeat(30_000));
    let names: String = (0..5_000).map(|nth| format!(",\"a{nth}\":1")).collect();
    for (script, words) in [
        (Script::ok("application/json", deep), "it is not JSON"),
        (Script::ok("application/json", nested), "it is not JSON"),
        (Script::ok("application/json", format!("{{\"active\":true{names}}}")), "and 4961 more"),
    ] {
        server.script(TOKEN, script);
        program().ask(&server.introspection_url()).holds(&[words]);
    }
    // A body and a header that go on for ever.
    for head in ["Content-Type: application/json\r\n\r\n", "A: "] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/introspect", listener.local_addr().expect("an address"));
        let endless = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let begins = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
            let mut goes_on = begins.is_ok();
            while goes_on {
                goes_on = stream.write_all(&[b' '; 4096]).is_ok();
            }
        });
        let said = program().ask(&url);
        said.ends(1).holds(&["It does not work"]);
        drop(endless.join());
    }
}

#[test]
fn output_that_nobody_reads_ends_it() {
    let server = AuthorizationServer::start();
    let read = Arc::new(AtomicBool::new(false));
    server.script_own_calls(Script::status(204).after(&read));
    // Its files must be there for as long as it runs.
    let program = program();
    let mut child = program.spawn(&server.introspection_url(), Stdio::piped());
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut first = String::new();
    out.read_line(&mut first).expect("a line");
    assert!(first.starts_with("phantom-token-probe "), "{first}");
    drop(out);
    read.store(true, Ordering::Relaxed);
    let status = child.wait().expect("its end");
    let mut error = String::new();
    child.stderr.take().expect("its errors").read_to_string(&mut error).expect("text");
    assert_eq!((status.code(), error.as_str()), (Some(1), ""));
}

#[test]
fn an_interrupt_ends_it() {
    use std::os::unix::process::ExitStatusExt as _;
    let server = AuthorizationServer::start();
    server.script_own_calls(Script::hang());
    let program = program().argument("--timeout", "60");
    let mut child = program.spawn(&server.introspection_url(), Stdio::null());
    phantom_token_test::process::wait_until("a call", || server.own_calls() > 0);
    phantom_token_test::process::signal(child.id(), libc::SIGINT).expect("a process");
    assert_eq!(child.wait().expect("its end").signal(), Some(libc::SIGINT));
}
