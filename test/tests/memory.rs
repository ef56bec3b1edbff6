//! A worker's event loop is given no large pieces of memory: the request that needs one gets 500,
//! and the same worker serves on.
//!
//! Needs the module that `injected_module` finds, which says what it means where there is none.

use std::fs;
use std::path::PathBuf;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::metrics::Metrics;
use phantom_token_test::nginx::{Builder, injected_module};
use phantom_token_test::process::{signal, wait_for, wait_until};
use phantom_token_test::rig::SERVER_ERROR;
use phantom_token_test::{AuthorizationServer, Client, Mint, Response, Rig, Script};
use tempfile::TempDir;

/// A location that answers 204 and shows what the upstream would be sent.
const SHOWN: &str = "phantom_token on;\nadd_header Sent $http_authorization always;\n\
                     add_header Outcome $phantom_token_status always;\n\
                     add_header Reason $phantom_token_reason always;\ntry_files /none =204;";

struct Scarce {
    rig: Rig,
    workers: Vec<u32>,
    known: Token,
    switch: PathBuf,
    _directory: TempDir,
}

impl Scarce {
    fn start() -> Option<Self> {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(Builder) -> Builder) -> Option<Self> {
        let module = injected_module()?;
        let directory = tempfile::tempdir().unwrap();
        let switch = directory.path().join("none");
        let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
            let endpoint = server.introspection_url();
            let value = "\"to $http_long\";";
            change(builder)
                .endpoint(&format!("{endpoint} max_fails=0"))
                .endpoint(&format!("{endpoint}?second max_fails=0"))
                .module_file(&module)
                .environment("PHANTOM_TOKEN_NO_MEMORY", switch.to_str().unwrap())
                .http("phantom_token_worker_cache 0;\nphantom_token_timeout 60s;")
                .http("large_client_header_buffers 4 16k;")
                .location("/shown", SHOWN)
                .location("/early", &format!("phantom_token_phase preaccess;\n{SHOWN}"))
                .location(
                    "/header",
                    &format!("phantom_token_introspection_header X-Long {value}\n{SHOWN}"),
                )
                .location(
                    "/param",
                    &format!("phantom_token_introspection_param long {value}\n{SHOWN}"),
                )
                .location("= /purge", "phantom_token_purge;")
                .location("= /metrics", "phantom_token_status;")
        });
        let (workers, known) = (rig.gateway.workers(), rig.server.issue());
        let scarce = Self { rig, workers, known, switch, _directory: directory };
        assert_passes(&scarce.get("/shown", &scarce.known, ""), &scarce.known, "MISS");
        Some(scarce)
    }

    /// Runs `work` while nothing large is to be had. What is small and known is served all the time.
    fn starved<T>(&self, work: impl FnOnce() -> T) -> T {
        fs::write(&self.switch, "").unwrap();
        let out = work();
        assert_passes(&self.get("/shown", &self.known, ""), &self.known, "HIT");
        fs::remove_file(&self.switch).unwrap();
        assert_eq!(self.rig.gateway.workers(), self.workers);
        out
    }

    /// GET with an access token and a header of the client's own length.
    fn get(&self, target: &str, token: &Token, long: &str) -> Response {
        let headers = [("Authorization", &*token.bearer()), ("Long", long)];
        self.rig.gateway.get(target, &headers)
    }
}

#[track_caller]
fn assert_passes(response: &Response, token: &Token, outcome: &str) {
    assert_eq!(response.status, 204);
    assert_eq!(response.header("sent"), Some(&*token.phantom()));
    assert_eq!(response.header("outcome"), Some(outcome));
}

#[track_caller]
fn assert_refused(response: &Response, what: &str) {
    assert_eq!((response.status, response.text().as_str()), (500, SERVER_ERROR), "{what}");
    assert_eq!(response.header("reason"), Some("internal"), "{what}");
}

#[test]
fn for_what_a_client_or_the_authorization_server_sizes() {
    let Some(scarce) = Scarce::start() else { return };
    let mint = |mint: Mint| scarce.rig.server.mint(mint);
    let small = scarce.rig.server.issue();
    assert_passes(&scarce.starved(|| scarce.get("/shown", &small, "")), &small, "MISS");
    let long = "x".repeat(7_000);
    for (what, target, token, long) in [
        ("a token", "/shown", mint(Mint::new().token(&long)), ""),
        ("a token, before the limits", "/early", mint(Mint::new().token(&"y".repeat(7_000))), ""),
        ("a JWT, before the limits", "/early", mint(Mint::new().jwt_size(60_000)), ""),
        ("a token that is encoded", "/shown", mint(Mint::new().token(&"/".repeat(900))), ""),
        ("a header", "/header", mint(Mint::new()), &*long),
        ("a parameter", "/param", mint(Mint::new()), &*long),
        ("a JWT", "/shown", mint(Mint::new().jwt_size(60_000)), ""),
    ] {
        let response = scarce.starved(|| scarce.get(target, &token, long));
        assert_refused(&response, what);
        assert_passes(&scarce.get(target, &token, long), &token, "MISS");
    }
}

#[test]
fn for_a_call_of_another_endpoint() {
    let Some(scarce) = Scarce::start() else { return };
    let server = &scarce.rig.server;
    let (token, long) = (server.issue(), "x".repeat(7_000));
    let headers = [("Authorization", &*token.bearer()), ("Long", &*long)];
    server.script(&token.token, Script::status(503));
    let hold = server.hold();
    let mut client = scarce.rig.gateway.client();
    client.send_request("GET", "/header", &headers, b"");
    server.wait_for_introspections(2);
    let response = scarce.starved(|| {
        drop(hold);
        client.read()
    });
    assert_refused(&response, "a header");
    server.unscript();
    assert_passes(&scarce.get("/header", &token, &long), &token, "MISS");
}

#[test]
fn for_what_the_zone_has() {
    let Some(scarce) = Scarce::start() else { return };
    // Without room for what is found, and then with it.
    let tokens = [60_000, 50_000].map(|size| scarce.rig.server.mint(Mint::new().jwt_size(size)));
    for token in &tokens {
        assert_passes(&scarce.get("/shown", token, ""), token, "MISS");
    }
    for token in &tokens {
        let response = scarce.starved(|| scarce.get("/shown", token, ""));
        assert_refused(&response, "a JWT");
        assert_passes(&scarce.get("/shown", token, ""), token, "HIT");
    }
}

#[test]
fn for_what_another_worker_was_told() {
    let workers = |builder: Builder| {
        builder.workers(2).listen("reuseport").location("= /worker", "return 200 $pid;")
    };
    let Some(scarce) = Scarce::with(workers) else { return };
    let client_of = |worker: u32| -> Client {
        wait_for("a connection to a worker", || {
            let mut client = scarce.rig.gateway.client();
            (client.get("/worker", &[]).text() == worker.to_string()).then_some(client)
        })
    };
    let (server, follower) = (&scarce.rig.server, scarce.workers[1]);
    let [mut calls, mut follows] = [client_of(scarce.workers[0]), client_of(follower)];
    let [larger, token] = [60_000, 50_000].map(|size| server.mint(Mint::new().jwt_size(size)));
    assert_passes(&follows.get_as("/shown", &larger.token), &larger, "MISS");
    // Now it has room for what it finds.
    assert_passes(&follows.get_as("/shown", &larger.token), &larger, "HIT");

    let hold = server.hold();
    calls.send_request("GET", "/shown", &[("Authorization", &token.bearer())], b"");
    server.wait_for_introspections(3);
    follows.send_request("GET", "/shown", &[("Authorization", &token.bearer())], b"");
    let waiting = |metrics: &Metrics| metrics.get("requests_waiting") == 2.0;
    scarce.rig.gateway.wait_for_metrics("two waiting", waiting);
    signal(follower, libc::SIGSTOP).unwrap();
    drop(hold);
    assert_passes(&calls.read(), &token, "MISS");
    let response = scarce.starved(|| {
        signal(follower, libc::SIGCONT).unwrap();
        follows.read()
    });
    assert_refused(&response, "a JWT");
    assert_passes(&follows.get_as("/shown", &token.token), &token, "HIT");
}

#[test]
fn for_a_purge() {
    let Some(scarce) = Scarce::start() else { return };
    let token = scarce.rig.server.mint(Mint::new().token(&"x".repeat(4_000)));
    assert_passes(&scarce.get("/shown", &token, ""), &token, "MISS");
    let purge = || {
        let mut client = scarce.rig.gateway.client();
        client.send_request("POST", "/purge", &[], format!("token={}", token.token).as_bytes());
        client.read().status
    };
    assert_eq!(scarce.starved(purge), 500);
    assert_passes(&scarce.get("/shown", &token, ""), &token, "HIT");
    assert_eq!(purge(), 204);
    assert_passes(&scarce.get("/shown", &token, ""), &token, "MISS");
}

#[test]
fn for_lists_that_grow_with_traffic() {
    const REQUESTS: usize = 150;
    let Some(scarce) = Scarce::start() else { return };
    let server = &scarce.rig.server;
    let one = server.issue();
    // Waiters of one call, and calls.
    for tokens in [vec![one; REQUESTS], (0..REQUESTS).map(|_| server.issue()).collect()] {
        let mut clients: Vec<Client> = tokens.iter().map(|_| scarce.rig.gateway.client()).collect();
        let holds: Vec<_> = tokens.iter().map(|token| server.hold_token(&token.token)).collect();
        scarce.starved(|| {
            for (client, token) in clients.iter_mut().zip(&tokens) {
                client.send_request("GET", "/shown", &[("Authorization", &token.bearer())], b"");
            }
            wait_until("a refusal", || clients.iter_mut().any(|client| !client.is_idle()));
        });
        drop(holds);
        let mut refused = 0;
        for (client, token) in clients.iter_mut().zip(&tokens) {
            let response = client.read();
            if response.status == 204 {
                assert_eq!(response.header("sent"), Some(&*token.phantom()));
                continue;
            }
            assert_refused(&response, "a place in a list");
            refused += 1;
        }
        assert!((1..REQUESTS).contains(&refused), "{refused}");
    }
}
