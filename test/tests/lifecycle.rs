//! Clients that leave, workers that come and go, and calls in flight meanwhile.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use phantom_token_test::authorization_server::Token;
use phantom_token_test::process::{self, alive, wait_until};
use phantom_token_test::server::{After, Exchange, Server, Service};
use phantom_token_test::tls::{Identity, server_config};
use phantom_token_test::{Client, Rig};

/// No call's time is over within a test.
const PATIENT: &str = "phantom_token_timeout 30m; phantom_token_connect_timeout 30m;";

/// A client that asks for something with a token, and has not looked for the response.
fn ask(rig: &Rig, token: &Token) -> Client {
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    client
}

/// Clients that wait for the introspection of a token each.
fn in_flight(rig: &Rig, tokens: &[Token]) -> Vec<Client> {
    let before = rig.server.introspections();
    let clients = tokens.iter().map(|token| ask(rig, token)).collect();
    rig.server.wait_for_introspections(before + tokens.len() as u64);
    clients
}

fn issue(rig: &Rig, count: usize) -> Vec<Token> {
    (0..count).map(|_| rig.server.issue()).collect()
}

#[test]
fn the_call_of_a_client_that_left_fills_the_cache() {
    let rig = Rig::start(|builder| builder);
    let token = rig.server.issue();
    let hold = rig.server.hold();
    drop(in_flight(&rig, std::slice::from_ref(&token)));
    rig.gateway.wait_for_access("\" 499 ");
    drop(hold);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(rig.api.count(), 1, "the request of the client that left went nowhere");
}

#[test]
fn clients_that_leave_harm_nobody() {
    let rig = Rig::start(|builder| builder.workers(2));
    let worker = rig.gateway.workers();
    for round in 0..20 {
        let tokens = issue(&rig, 8);
        let hold = rig.server.hold();
        let mut clients = in_flight(&rig, &tokens);
        // Half of them leave, before the answer, with it or after it.
        let mut stay = clients.split_off(4);
        match round % 3 {
            0 => drop(clients),
            1 => drop((hold, clients)),
            _ => {
                drop(hold);
                thread::yield_now();
                drop(clients);
            }
        }
        for client in &mut stay {
            if round % 3 != 0 {
                assert_eq!(client.read().status, 200);
            }
        }
        if round % 3 == 0 {
            drop(stay);
        }
    }
    // Requests of those who left may reach the API meanwhile: they are not counted.
    assert_eq!(rig.get_as(&rig.server.issue().token).status, 200);
    assert_eq!(rig.gateway.workers(), worker, "no worker died");
}

#[test]
fn a_reload_loses_nothing() {
    let rig = Rig::start(|builder| builder.workers(2));
    let kept = rig.server.issue();
    rig.assert_passes(&kept);
    let tokens = issue(&rig, 10);
    let hold = rig.server.hold();
    let mut clients = in_flight(&rig, &tokens);
    let old = rig.gateway.workers();
    rig.gateway.reload();
    // The new workers serve what is cached while the old ones still wait.
    rig.assert_passes(&kept);
    assert!(old.iter().any(|&pid| alive(pid)));
    drop(hold);
    for (client, token) in clients.iter_mut().zip(&tokens) {
        let response = client.read();
        assert_eq!(response.status, 200);
        assert!(response.text().contains(&token.jwt));
    }
    drop(clients);
    wait_until("the old workers' end", || old.iter().all(|&pid| !alive(pid)));
    // What the old workers fetched serves the new ones.
    for token in &tokens {
        rig.assert_passes(token);
    }
    assert_eq!(rig.server.introspections(), 11);
}

#[test]
fn a_graceful_end_loses_nothing() {
    let rig = Rig::start(|builder| builder.workers(2));
    let tokens = issue(&rig, 10);
    let hold = rig.server.hold();
    let mut clients = in_flight(&rig, &tokens);
    rig.gateway.quit();
    wait_until("the listener's end", || Client::try_connect(rig.gateway.port()).is_err());
    drop(hold);
    for client in &mut clients {
        assert_eq!(client.read().status, 200);
    }
    rig.gateway.wait_exit();
}

#[test]
fn a_graceful_end_does_not_wait_for_a_call_nobody_waits_for() {
    let rig = Rig::start(|builder| builder.http(PATIENT));
    let _hold = rig.server.hold();
    drop(in_flight(&rig, &issue(&rig, 3)));
    rig.gateway.wait_for_access("\" 499 ");
    rig.gateway.quit();
    rig.gateway.wait_exit();
}

#[test]
fn a_reload_leaves_a_call_to_those_who_still_wait_for_it() {
    let rig = Rig::start(|builder| {
        builder.http(PATIENT).location("= /status", "phantom_token_status json;")
    });
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let caller = in_flight(&rig, std::slice::from_ref(&token));
    let old = rig.gateway.workers();
    rig.gateway.reload();
    let mut client = ask(&rig, &token);
    wait_until("another request", || number(&rig, "requests_waiting") == 2);
    assert_eq!(rig.server.introspections(), 1, "it waits for the old worker's call");
    drop(caller);
    wait_for_end(&rig, old[0]);
    rig.server.wait_for_introspections(2);
    drop(hold);
    let response = client.read();
    assert_eq!(response.status, 200);
    assert!(response.text().contains(&token.jwt));
}

#[test]
fn a_fast_end_is_clean_with_calls_in_flight() {
    let rig = Rig::start(|builder| builder.http(PATIENT));
    let _hold = rig.server.hold();
    let mut clients = in_flight(&rig, &issue(&rig, 5));
    end_fast(&rig);
    for client in &mut clients {
        assert!(client.closes(), "without a response");
    }
    assert_eq!(rig.api.count(), 0);
}

#[test]
fn a_fast_end_leaves_calls_in_the_queue_unsent() {
    let few = format!("{PATIENT} phantom_token_thread_pool few;");
    let rig = Rig::start(|builder| {
        builder
            .main("thread_pool few threads=2;")
            .http(&few)
            .location("= /status", "phantom_token_status json;")
    });
    let _hold = rig.server.hold();
    let _clients: Vec<_> = issue(&rig, 40).iter().map(|token| ask(&rig, token)).collect();
    wait_until("pending calls", || number(&rig, "introspections_pending") == 40);
    rig.server.wait_for_introspections(2);
    end_fast(&rig);
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_fast_end_does_not_wait_for_a_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let _fill = fill(&full);
    let url = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    for endpoint in [
        format!("https://{}/", url(&silent)),
        format!("http://{}/", url(&full)),
        "http://hangs.test/".to_owned(),
    ] {
        let rig = Rig::start(|builder| {
            builder
                .count_calls()
                .endpoint(&endpoint)
                .http(PATIENT)
                .location("= /status", "phantom_token_status json;")
        });
        let sockets = rig.gateway.calls(b's');
        let _client = ask(&rig, &rig.server.issue());
        if endpoint.starts_with("https") {
            assert!(silent.accept().unwrap().0.peek(&mut [0]).unwrap() > 0);
        } else {
            wait_until("a socket or a look-up", || {
                rig.gateway.calls(b's') > sockets || rig.gateway.calls(b'd') > 0
            });
        }
        end_fast(&rig);
    }
}

/// Answers 204 to all, once to a connection, and tells how that ended.
struct Inactive(Mutex<mpsc::Sender<io::Result<Vec<u8>>>>);

impl Service for Inactive {
    fn serve(&self, exchange: &mut Exchange<'_>) -> io::Result<After> {
        exchange.read_body()?;
        exchange.respond(204, &[], b"")?;
        let end = exchange.read_some();
        self.0.lock().send(end).expect("the test goes on");
        Ok(After::Close)
    }
}

#[test]
fn a_worker_that_ends_says_goodbye_on_idle_connections() {
    let (tell, ends) = mpsc::channel();
    let identity = Identity::self_signed(&["localhost"]);
    let tls = server_config(&identity, None);
    let server = Server::start(0, Some(tls), Arc::new(Inactive(Mutex::new(tell)))).unwrap();
    let url = format!("https://localhost:{}/", server.address().port());
    let rig =
        Rig::start(|builder| builder.endpoint(&url).directives("phantom_token_ssl_verify off;"));
    assert_eq!(rig.get_as("unknown").status, 401);
    end_fast(&rig);
    // Without TLS's goodbye it would be an error (RFC 8446 §6.1).
    assert_eq!(ends.recv().unwrap().expect("a goodbye"), b"");
}

/// One of the gateway's numbers, at `/status`.
fn number(rig: &Rig, name: &str) -> u64 {
    let status = rig.gateway.get("/status", &[]);
    let numbers: serde_json::Value = serde_json::from_slice(&status.body).expect("JSON");
    numbers[name].as_u64().expect("a number")
}

/// Tells the only worker to end at once, and waits for that: it is not its master that ends, which
/// would kill it after a second or two.
fn end_fast(rig: &Rig) {
    let worker = rig.gateway.workers()[0];
    process::signal(worker, libc::SIGTERM).unwrap();
    wait_for_end(rig, worker);
}

fn wait_for_end(rig: &Rig, worker: u32) {
    wait_until("a worker's end", || !alive(worker));
    rig.gateway.wait_for_log(&[&format!("worker process {worker} exited with code 0")]);
}

/// Connects to a listener until its queue is full and nothing connects any more.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    // SAFETY: listening again on an open listening socket changes the length of its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        fill.push(socket);
        assert!(fill.len() < 100, "the queue does not fill up");
    }
    fill
}

#[test]
fn many_reloads_under_load_lose_nothing() {
    let rig = Rig::start(|builder| builder.workers(2));
    rig.server.accept_prefix("load-", phantom_token_test::Mint::new());
    let port = rig.gateway.port();
    thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    (0..200)
                        .filter(|n| {
                            let token = format!("load-{thread}-{}", n % 50);
                            // A connection each: a worker that ends closes idle ones.
                            Client::connect(port).get_as("/api", &token).status != 200
                        })
                        .count()
                })
            })
            .collect();
        for _ in 0..3 {
            rig.gateway.reload();
        }
        let lost: usize = load.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(lost, 0);
    });
}
