//! Connections that end in the middle of an answer, after each byte of it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use phantom_token_test::process::wait_until;
use phantom_token_test::random::setting;
use phantom_token_test::tls::{Authority, server_config};
use phantom_token_test::{AuthorizationServer, Rig, Script};

use crate::support::*;

/// One answer and where it is cut.
struct Cut {
    name: String,
    answer: Vec<u8>,
    at: usize,
    ending: Ending,
    jwt: String,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// In order; over TLS with its goodbye.
    Closed,
    Reset,
    /// In order, as far as TCP knows: TLS was not asked.
    HungUp,
}

use Ending::{Closed, HungUp, Reset};

/// Each way to frame an answer, its connection closed or reset after each byte.
fn cuts(framings: &[&str], endings: &[Ending]) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for framing in framings {
        for &ending in endings {
            let whole = framed(framing, "x").0.len() + 64;
            for at in 0..=whole {
                let name = format!("{framing}-{ending:?}-{at}");
                let (answer, jwt) = framed(framing, &name);
                if at <= answer.len() {
                    cuts.push(Cut { name, answer, at, ending, jwt });
                }
            }
        }
    }
    cuts
}

fn framed(framing: &str, name: &str) -> (Vec<u8>, String) {
    let jwt = jwt_of(name);
    let json = format!(r#"{{"active":true,"jwt":"{jwt}"}}"#);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/";
    let answer = match framing {
        "length" => answer("application/jwt", &jwt),
        "json" => answer("application/json", &json),
        "chunked" => {
            let (one, two) = jwt.split_at(jwt.len() / 2);
            format!(
                "{head}jwt\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x};x=y\r\n\
                 {two}\r\n0\r\nT: t\r\n\r\n",
                one.len(),
                two.len()
            )
            .into_bytes()
        }
        "until-close" => format!("{head}json\r\nConnection: close\r\n\r\n{json}").into_bytes(),
        _ => unreachable!("a framing of this file"),
    };
    (answer, jwt)
}

/// Asks for each cut answer, several at a time, and for a good token now and then. Gives how many
/// were let in: those whose answer was whole.
fn try_all(rig: &Rig, cuts: &[Cut], ends_with_connection: bool) -> usize {
    let (next, let_in) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut expected = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut expected) = (rig.gateway.client(), Vec::new());
                    while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let script = Script::raw(&cut.answer[..cut.at]);
                        let script = match cut.ending {
                            Closed => script.then_close(),
                            Reset => script.then_reset(),
                            HungUp => script.then_hang_up(),
                        };
                        rig.server.script(&cut.name, script);
                        let response = client.get_as("/api", &cut.name);
                        let passed = passes(&response, &cut.jwt);
                        let whole = cut.at == cut.answer.len();
                        // A reset may overtake the bytes before it.
                        assert!(passed == whole || whole && cut.ending != Closed, "{}", cut.name);
                        if passed {
                            let_in.fetch_add(1, Ordering::Relaxed);
                            expected.push(cut.jwt.clone());
                        }
                        if cut.at % 16 == 0 {
                            let token = rig.server.issue();
                            let response = client.get_as("/api", &token.token);
                            assert!(passes(&response, &token.jwt), "{}: {response:?}", cut.name);
                            expected.push(token.jwt);
                        }
                    }
                    expected
                })
            })
            .collect();
        for client in clients {
            expected.extend(client.join().expect("no wrong answer"));
        }
    });
    assert_received(&rig.api, &expected);
    let let_in = let_in.into_inner();
    let ending = if ends_with_connection { "the end of the connection" } else { "its framing" };
    println!(
        "{} cuts in answers that end with {ending}: {let_in} whole ones let in, 0 wrong answers",
        cuts.len(),
    );
    let_in
}

#[test]
fn an_answer_cut_anywhere_lets_nobody_in() {
    let rig = rig(|builder| builder.log_level("error"));
    let cuts = cuts(&["length", "json", "chunked"], &[Closed, Reset]);
    assert!(try_all(&rig, &cuts, false) >= 3, "the whole ones pass");
    let cuts = self::cuts(&["until-close"], &[Closed, Reset]);
    assert!(try_all(&rig, &cuts, true) >= 1, "the whole one passes");
}

#[test]
fn an_answer_cut_anywhere_over_tls_lets_nobody_in() {
    let ca = Authority::generate();
    let config = server_config(&ca.server(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let rig = Rig::with(server, |builder, server| {
        builder
            .log_level("error")
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .directives("phantom_token_ssl_trusted_certificate ca.pem;")
            .file("ca.pem", ca.certificate.as_str())
    });
    let framed = cuts(&["length", "json", "chunked"], &[Closed, Reset, HungUp]);
    assert!(try_all(&rig, &framed, false) >= 3, "the whole ones pass");
    assert!(try_all(&rig, &cuts(&["until-close"], &[Closed]), true) >= 1, "the whole one passes");
    // Without TLS's goodbye the end of the connection is not the end of the answer, not even of a
    // whole one (RFC 8446 section 6.1): nobody could tell.
    assert_eq!(try_all(&rig, &cuts(&["until-close"], &[Reset, HungUp]), true), 0);
}

/// Passes bytes on between a client and a server, and breaks each connection after so many bytes
/// from the server.
fn break_after(server: SocketAddr, limit: &'static AtomicUsize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(server)) else {
                return;
            };
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let limit = limit.load(Ordering::SeqCst) as u64;
            thread::spawn(move || {
                let mut piece = Vec::new();
                let mut left = limit;
                while left > 0 {
                    piece.resize(left.min(4_096) as usize, 0);
                    let Ok(count @ 1..) = server.read(&mut piece) else { break };
                    left -= count as u64;
                    if client.write_all(&piece[..count]).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

#[test]
fn tls_cut_anywhere_is_a_failure() {
    static LIMIT: AtomicUsize = AtomicUsize::new(0);
    let ca = Authority::generate();
    let config = server_config(&ca.server(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let relay = break_after(([127, 0, 0, 1], server.port()).into(), &LIMIT);
    let rig = Rig::with(server, |builder, server| {
        let endpoint = format!("{} connect={relay} max_fails=0", server.introspection_url());
        builder
            .log_level("error")
            .endpoint(&endpoint)
            .directives("phantom_token_ssl_trusted_certificate ca.pem;\nphantom_token_cache off;")
            .file("ca.pem", ca.certificate.as_str())
    });
    let token = rig.server.issue();
    let step = setting("PHANTOM_TOKEN_CUT_STEP", 29).max(1) as usize;
    let mut client = rig.gateway.client();
    let mut tried = 0;
    for limit in (0..).step_by(step) {
        LIMIT.store(limit, Ordering::SeqCst);
        rig.server.close_connections();
        wait_until("the connection's end", || rig.server.open_connections() == 0);
        let response = client.get_as("/api", &token.token);
        tried += 1;
        if passes(&response, &token.jwt) {
            break;
        }
        assert!(limit < 20_000, "a whole answer needs more");
    }
    assert_received(&rig.api, &[token.jwt]);
    println!("TLS cut at {tried} places: all failures but the last, which was whole");
    assert!(tried > 10);
}
