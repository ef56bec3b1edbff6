//! What runs out: descriptors, disks for logs, zones, memory. A request then fails or is not cached;
//! nobody is given a wrong answer, and all is well again without a restart once there is enough.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;

use phantom_token_test::authorization_server::Token;
use phantom_token_test::process::{
    address_space, alive, limit_address_space, wait_for, wait_until,
};
use phantom_token_test::{Api, AuthorizationServer, Client, Gateway, Mint, Response, Rig, Script};

/// A location that answers 204 and shows what the upstream would be sent.
const SHOWN: &str = "phantom_token on;\nadd_header Sent $http_authorization always;\n\
                     add_header Outcome $phantom_token_status always;\ntry_files /none =204;";

fn is_pass(response: &Response, token: &Token) -> bool {
    response.status == 204 && response.header("sent") == Some(token.phantom().as_str())
}

#[track_caller]
fn assert_outcome(response: &Response, token: &Token, outcome: &str) {
    assert!(is_pass(response, token), "{:?}", response.status);
    assert_eq!(response.header("outcome"), Some(outcome));
}

/// How many descriptors with numbers below this a process has open: beyond it may lie what it was
/// started with.
fn descriptors_below(pid: u32, bound: usize) -> usize {
    let open = |number: &usize| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
    (0..bound).filter(open).count()
}

#[test]
fn no_descriptors_are_left() {
    const MOST: usize = 48;
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .main(&format!("worker_rlimit_nofile {MOST};\nthread_pool phantom_token threads=2;"))
            // Our own want of descriptors is no fault of the endpoint.
            .endpoint(&format!("{} max_fails=1 fail_timeout=600s", server.introspection_url()))
            .location("/shown", SHOWN)
    });
    let known = rig.server.issue();
    // A connection kept from this call would spare a descriptor.
    let closing = Script::jwt(&known.jwt).header("Connection", "close").then_close();
    rig.server.script(&known.token, closing);
    let workers = rig.gateway.workers();
    let mut client = rig.gateway.client();
    assert_outcome(&client.get_as("/shown", &known.token), &known, "MISS");
    wait_until("its end", || rig.server.open_connections() == 0);
    let mut idle: Vec<Client> = Vec::new();
    // Some may be one too many: NGINX then takes no connections for half a second.
    wait_until("the last descriptor's use", || {
        let used = descriptors_below(workers[0], MOST);
        if used < MOST {
            idle.push(rig.gateway.client());
        }
        used == MOST
    });

    for _ in 0..3 {
        let new = rig.server.issue();
        assert_outcome(&client.get_as("/shown", &known.token), &known, "HIT");
        assert_eq!(client.get_as("/shown", &new.token).status, 500);
        assert_eq!(client.get_as("/shown", "unknown").status, 500, "nothing was learnt");
        assert_eq!(client.get("/shown", &[]).status, 401);
    }
    rig.gateway.wait_for_log(&["[error]", "phantom token", "no file descriptor left"]);
    assert_eq!(rig.server.introspections(), 1);
    drop(idle);
    let new = rig.server.issue();
    wait_until("descriptors", || is_pass(&client.get_as("/shown", &new.token), &new));
    assert_eq!(client.get_as("/shown", "unknown").status, 401);
    rig.assert_passes(&known);
    assert_eq!(rig.gateway.workers(), workers);
}

#[test]
fn the_disk_for_logs_is_full() {
    // No warning of a time limit that is longer than the endpoint's.
    let mut rig = Rig::start(|builder| {
        let limits = "phantom_token_timeout 6s;\nphantom_token_connect_timeout 6s;";
        builder.http(limits).allow("No space left on device")
    });
    let prefix = rig.gateway.prefix().to_owned();
    let (access, errors) = (prefix.join("full-access.log"), prefix.join("full-error.log"));
    for log in [&access, &errors] {
        symlink("/dev/full", log).unwrap();
    }
    rig.gateway.reload_with(|builder| {
        builder.server("access_log full-access.log;\nerror_log full-error.log info;")
    });
    let workers = rig.gateway.workers();
    let use_it = || {
        let token = rig.server.issue();
        for _ in 0..3 {
            rig.assert_passes(&token);
            assert_eq!(rig.get_as("unknown").status, 401);
            assert_eq!(rig.get_as("a b").status, 401);
        }
        assert_eq!(rig.server.introspections_of(&token.token), 1);
    };
    use_it();
    assert!(rig.gateway.module_lines().is_empty(), "they had another place to go to");

    // There is room again, and the logs are reopened.
    for log in [&access, &errors] {
        fs::remove_file(log).unwrap();
    }
    rig.gateway.signal(libc::SIGUSR1);
    let holds = |log, text: &str| fs::read_to_string(log).is_ok_and(|lines| lines.contains(text));
    wait_until("the module's lines", || {
        use_it();
        holds(&access, "GET /api") && holds(&errors, "phantom token: ")
    });
    assert_eq!(rig.gateway.workers(), workers);
}

/// The least a zone may have, as `nginx -t` tells.
fn least() -> String {
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let builder = Gateway::builder().protect(&server, &api);
    let check = builder.http("phantom_token_cache_zone zone=least:1k;").check();
    assert!(!check.ok);
    let (_, rest) = check.messages.split_once("write at least ").expect("what to write");
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_least_zone_there_can_be_serves() {
    let least = least();
    let rig = Rig::start(|builder| {
        builder
            .http(&format!("phantom_token_cache_zone zone=least:{least};"))
            .http("phantom_token_cache least;\nphantom_token_worker_cache 0;")
            .location("/shown", SHOWN)
    });
    let sizes = [0, 1_000, 5_000, 20_000, 60_000];
    let tokens: Vec<Token> =
        (0..60).map(|n| rig.server.mint(Mint::new().jwt_size(sizes[n % 5]))).collect();
    let mut client = rig.gateway.client();
    for token in tokens.iter().chain(&tokens) {
        let response = client.get_as("/shown", &token.token);
        assert!(is_pass(&response, token), "{}", response.status);
    }
    let last = rig.server.issue();
    for outcome in ["MISS", "HIT"] {
        assert_outcome(&client.get_as("/shown", &last.token), &last, outcome);
    }
}

#[test]
fn a_zone_that_cannot_be_mapped_leaves_the_old_configuration() {
    let mut rig = Rig::start(|builder| {
        builder.location("/shown", SHOWN).allow("[emerg]").allow("Cannot allocate memory")
    });
    let token = rig.server.issue();
    assert_outcome(&rig.gateway.get_as("/shown", &token.token), &token, "MISS");
    let workers = rig.gateway.workers();
    // More than there are addresses.
    rig.gateway.rewrite(|builder| builder.http("phantom_token_cache_zone zone=vast:300000000m;"));
    rig.gateway.signal(libc::SIGHUP);
    rig.gateway.wait_for_log(&["failed (12: Cannot allocate memory)"]);
    assert_outcome(&rig.gateway.get_as("/shown", &token.token), &token, "HIT");
    assert_eq!(rig.gateway.workers(), workers);
}

#[test]
fn more_endpoints_than_the_state_zone_has_places_for() {
    const ENDPOINTS: usize = 300;
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        (0..ENDPOINTS).fold(builder.location("/metrics", "phantom_token_status;"), |builder, n| {
            let url = format!("{}/{n}?n={n}", server.introspection_url());
            builder.location(
                &format!("= /own/{n}"),
                &format!("phantom_token_introspection_endpoint {url};\n{SHOWN}"),
            )
        })
    });
    // The development server answers at one path alone: what each comes to is a failure of its own.
    for n in 0..ENDPOINTS {
        assert_eq!(rig.gateway.get_as(&format!("/own/{n}"), "any").status, 500);
    }
    rig.assert_passes(&rig.server.issue());
    let metrics = rig.gateway.metrics();
    assert_eq!(metrics.failures("status"), ENDPOINTS as f64, "none is lost");
}

/// What came of a load without memory.
#[derive(Debug, Default)]
struct Starved {
    passed: usize,
    failed: usize,
    lost: usize,
    ended: usize,
}

const CROWD: usize = 40;
const WORKERS: usize = 2;

/// All clients ask for tokens never seen before, while their workers may take `room` bytes more.
fn starve(rig: &Rig, room: u64, seen: &mut Starved) {
    let long = "x".repeat(7_000);
    let mint = |n: usize| {
        let token = format!("{room}-{n}-{long}");
        rig.server.mint(Mint::new().token(&token).jwt_size([500, 60_000][n % 2]))
    };
    let tokens: Vec<Token> = (0..CROWD).map(mint).collect();
    let mut clients: Vec<Client> = (0..CROWD).map(|_| rig.gateway.client()).collect();
    // One that ended in the round before may only now be replaced.
    let workers = wait_for("the workers", || {
        let workers = rig.gateway.workers();
        (workers.len() == WORKERS).then_some(workers)
    });
    for &worker in &workers {
        // It may still be ending.
        let _ = limit_address_space(worker, Some(address_space(worker) + room));
    }
    let body = vec![b'b'; 60_000];
    for (n, (client, token)) in clients.iter_mut().zip(&tokens).enumerate() {
        let headers = [("Authorization", &*token.bearer())];
        let (method, body) = if n % 4 == 0 { ("POST", &body[..]) } else { ("GET", &b""[..]) };
        let request = client.request_bytes(method, "/shown", &headers, body);
        // Where the worker has ended, reading finds it.
        let _ = client.try_send(&request);
    }
    for (client, token) in clients.iter_mut().zip(&tokens) {
        match client.try_read(false) {
            Ok(response) if is_pass(&response, token) => seen.passed += 1,
            Ok(response) if matches!(response.status, 500 | 503) => seen.failed += 1,
            Ok(response) => panic!("{} with {room} bytes more", response.status),
            // A worker that has ended is not silent: its connections close.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("no answer with {room} bytes more")
            }
            Err(_) => seen.lost += 1,
        }
    }
    for &worker in &workers {
        // It may have ended.
        let _ = limit_address_space(worker, None);
    }
    wait_until("the workers", || rig.gateway.workers().len() == WORKERS);
    seen.ended += workers.iter().filter(|pid| !alive(**pid)).count();
}

#[test]
fn no_memory_is_left() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .workers(WORKERS)
            .main("thread_pool phantom_token threads=4;")
            .http("large_client_header_buffers 4 16k;\nphantom_token_timeout 5s;")
            .http("client_body_buffer_size 128k;\nphantom_token_worker_cache 0;")
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location("/shown", SHOWN)
            .allow("Cannot allocate memory")
            .allow("exited on signal 6")
            .allow("was locked by")
    });
    let kept = rig.server.mint(Mint::new().jwt_size(3_000));
    assert_outcome(&rig.gateway.get_as("/shown", &kept.token), &kept, "MISS");
    let (mut seen, mut calls) = (Starved::default(), 0);
    let rounds: Vec<u64> = (0..12).map(|n| n * 512 * 1024).collect();
    for room in &rounds {
        starve(&rig, *room, &mut seen);
        // Both what was kept and what is new. One that ended inside the zone has cost its entries.
        let response = rig.gateway.get_as("/shown", &kept.token);
        assert!(is_pass(&response, &kept), "{response:?}");
        calls += usize::from(response.header("outcome") != Some("HIT"));
        let new = rig.server.issue();
        assert_outcome(&rig.gateway.get_as("/shown", &new.token), &new, "MISS");
        assert_outcome(&rig.gateway.get_as("/shown", &new.token), &new, "HIT");
    }
    println!("{} rounds of {CROWD} requests without memory: {seen:?}", rounds.len());
    assert!(seen.failed + seen.lost > 0, "there was memory after all: {seen:?}");
    let inside = rig.gateway.error_log().matches("was locked by").count();
    assert!(calls <= inside, "the zone loses {calls} times what it had, {inside} ended inside");
}
