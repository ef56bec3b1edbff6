//! `nginx-conf/limits.conf`: limits by user and client behind judged tokens, by address in front of them; and
//! what a flood of invented tokens costs the authorization server with and without the server in front.

use std::time::Instant;

use phantom_token_test::example::{Example, endpoint, server};
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{Api, AuthorizationServer, Client, Gateway, Mint, Reply, Rig, curl};
use serde_json::Value;
use tempfile::TempDir;

/// The example with an authorization server and an API. Its limits are left as they are, or each is so many
/// requests and no more within a test.
struct Limits {
    gateway: Gateway,
    server: AuthorizationServer,
    api: Api,
    _socket: TempDir,
}

/// As the example has them.
const ADDRESSES: [&str; 2] = ["zone=addresses:10m rate=20r/s", "zone=addresses burst=40 "];
const USERS: [&str; 2] = ["zone=users:10m rate=5r/s", "zone=users burst=10 "];
const CLIENTS: [&str; 2] = ["zone=clients:10m rate=50r/s", "zone=clients burst=100 "];

impl Limits {
    /// `at_most`: the limit, and how many requests it lets pass.
    fn start(at_most: &[([&str; 2], usize)]) -> Self {
        let (server, api) = (server("api-gateway"), Api::start());
        let socket = tempfile::tempdir().unwrap();
        let path = socket.path().join("gateway.sock");
        let mut example = Example::read("limits.conf")
            .asks(&endpoint(), &server)
            .passes_to(&api)
            .replace("/run/phantom-token/gateway.sock", path.to_str().unwrap());
        for ([zone, burst], count) in at_most {
            // The first one counts for itself, the others for the burst; NGINX has no slower rate.
            let (name, _) = zone.split_once(" rate=").unwrap();
            example = example.replace(zone, &format!("{name} rate=1r/m"));
            let (name, _) = burst.split_once(" burst=").unwrap();
            example = example.replace(burst, &format!("{name} burst={} ", count - 1));
        }
        Self { gateway: example.start(), server, api, _socket: socket }
    }

    fn mint(&self, mint: Mint) -> String {
        self.server.mint(mint).token
    }

    fn statuses(&self, token: &str, count: usize) -> Vec<u16> {
        let mut client = self.gateway.client();
        (0..count).map(|_| client.get_as("/api", token).status).collect()
    }
}

#[test]
fn requests_pass_both_servers() {
    let limits = Limits::start(&[]);
    let token = limits.server.issue();
    let mut client = limits.gateway.client();
    Reply::unauthorized(CHALLENGE).assert(&client.get("/api", &[]));
    Reply::unauthorized(INVALID_TOKEN).assert(&client.get_as("/api", "unknown"));
    let bearer = token.bearer();
    // Nobody says where they come from.
    let headers = [("Authorization", bearer.as_str()), ("X-Real-IP", "192.0.2.9")];
    client.send_request("POST", "/api?x=1", &headers, &vec![b'x'; 3_000_000]);
    assert_eq!(client.read().status, 413, "what the server behind says of bodies");
    let mut client = limits.gateway.client();
    client.send_request("POST", "/api?x=1", &headers, b"body");
    assert_eq!(client.read().status, 200);
    let received = limits.api.last();
    assert_eq!(received.authorization(), [token.phantom()]);
    assert_eq!((received.head.target.as_str(), received.body_length), ("/api?x=1", 4));
    let line = limits.gateway.wait_for_access("POST /api?x=1 HTTP/1.1\" 200");
    assert!(line.starts_with("127.0.0.1 "), "{line}");
    assert!(!limits.gateway.access_log().iter().any(|line| line.contains("192.0.2.9")));
}

#[test]
fn a_user_has_a_limit_with_all_tokens() {
    let limits = Limits::start(&[(USERS, 3)]);
    let user = |name: &str| limits.mint(Mint::new().claim("sub", name));
    let (one, same, other) = (user("one"), user("one"), user("other"));
    assert_eq!(limits.statuses(&one, 2), [200, 200]);
    assert_eq!(limits.statuses(&same, 2), [200, 429]);
    assert_eq!(limits.statuses(&one, 1), [429]);
    assert_eq!(limits.statuses(&other, 4), [200, 200, 200, 429]);
    assert_eq!(limits.api.count(), 6);
    assert_eq!(limits.server.introspections(), 3);
}

#[test]
fn who_has_no_subject_is_limited_by_the_token() {
    let limits = Limits::start(&[(USERS, 2)]);
    let machine =
        || limits.mint(Mint::new().claim("sub", Value::Null).claim("client_id", "machine"));
    let (one, other) = (machine(), machine());
    assert_eq!(limits.statuses(&one, 3), [200, 200, 429]);
    assert_eq!(limits.statuses(&other, 3), [200, 200, 429]);
}

#[test]
fn a_client_has_a_limit_for_all_its_users() {
    let limits = Limits::start(&[(CLIENTS, 3)]);
    let of = |client: &str, user: &str| {
        limits.mint(Mint::new().claim("client_id", client).claim("sub", user))
    };
    for (client, user, status) in [
        ("app", "one", 200),
        ("app", "two", 200),
        ("app", "three", 200),
        ("app", "four", 429),
        ("other", "one", 200),
    ] {
        assert_eq!(limits.statuses(&of(client, user), 1), [status], "{client} {user}");
    }
}

#[test]
fn a_user_leaves_room_for_the_others_of_a_client() {
    const FOR_ALL: usize = 1_000_000;
    let limits = Limits::start(&[(ADDRESSES, FOR_ALL), (USERS, FOR_ALL), (CLIENTS, FOR_ALL)]);
    let user = |name: &str| limits.mint(Mint::new().claim("client_id", "app").claim("sub", name));
    let (one, other) = (user("one"), user("other"));
    // Requests whose bodies never end.
    let held = || {
        let mut client = limits.gateway.client();
        let head = format!(
            "POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {one}\r\n\
             Content-Length: 2\r\n\r\nx"
        );
        client.send(head.as_bytes());
        client
    };
    let held: Vec<_> = (0..10).map(|_| held()).collect();
    wait_until("all of them are counted", || limits.statuses(&one, 1) == [429]);
    assert_eq!(limits.statuses(&other, 3), [200; 3]);
    drop(held);
    wait_until("none of them is counted", || limits.statuses(&one, 1) == [200]);
}

#[test]
fn preflights_have_no_user() {
    let limits = Limits::start(&[(USERS, 2), (CLIENTS, 2)]);
    for _ in 0..5 {
        let mut client = limits.gateway.client();
        client.send_request("OPTIONS", "/api/echo", &[], b"");
        assert_eq!(client.read().status, 200);
    }
}

#[test]
fn an_address_has_a_limit_before_any_token_is_looked_at() {
    let limits = Limits::start(&[(ADDRESSES, 5)]);
    let token = limits.server.issue().token;
    let from = |address: &str, token: &str| {
        let url = format!("{}/api", limits.gateway.url());
        let header = format!("Authorization: Bearer {token}");
        let forged = "X-Real-IP: 192.0.2.9";
        let told = curl(&[
            "--interface",
            address,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &header,
            "-H",
            forged,
            &url,
        ]);
        told.output
    };
    for n in 0..5 {
        assert_eq!(from("127.0.0.2", &format!("unknown-{n}")), "401");
    }
    for n in 5..10 {
        assert_eq!(from("127.0.0.2", &format!("unknown-{n}")), "429");
        assert_eq!(from("127.0.0.2", &token), "429");
    }
    assert_eq!(limits.server.introspections(), 5);
    assert_eq!(from("127.0.0.3", &token), "200");
    let line = limits.gateway.wait_for_access("\" 200 ");
    assert!(line.starts_with("127.0.0.3 "), "the server behind knows the address: {line}");
}

/// So many requests with a new token each, from one address, ten at a time. How many were refused with 401
/// and with 429.
fn flood(port: u16, count: usize) -> (usize, usize) {
    let statuses = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|thread| {
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    (0..count / 10)
                        .map(|n| client.get_as("/api", &format!("invented-{thread}-{n}")).status)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let of = |wanted: u16| statuses.iter().filter(|&&status| status == wanted).count();
    assert_eq!(of(401) + of(429), count, "{statuses:?}");
    (of(401), of(429))
}

/// Prints the figures of docs/results.md.
#[test]
fn a_flood_costs_what_the_server_in_front_lets_pass() {
    const COUNT: usize = 2_000;
    // The limits of the example, in one server: those who are refused are not counted.
    let limit = "limit_req_status 429;\n\
                 limit_req_zone $binary_remote_addr zone=addresses:1m rate=20r/s;";
    let alone = |phase: &str| {
        let rig = Rig::start(|builder| {
            builder.http(limit).directives(&format!(
                "phantom_token_phase {phase};\nlimit_req zone=addresses burst=40 nodelay;"
            ))
        });
        let (refused, limited) = flood(rig.gateway.port(), COUNT);
        let calls = rig.server.introspections() as usize;
        println!("one server, {phase}: {COUNT} requests, {calls} calls, {limited} times 429");
        assert_eq!(calls, refused);
        calls
    };
    assert_eq!(alone("preaccess"), COUNT, "no limit counts who is refused before it");
    // There it is in front, and knows no users. As many as its burst and its rate allow are judged.
    let begun = Instant::now();
    let most = |begun: Instant| 1 + 40 + 20 * (1 + begun.elapsed().as_secs() as usize);
    let calls = alone("access");
    assert!(calls <= most(begun), "{calls}");

    let limits = Limits::start(&[]);
    let begun = Instant::now();
    let (refused, limited) = flood(limits.gateway.port(), COUNT);
    let calls = limits.server.introspections() as usize;
    println!("a server in front, preaccess: {COUNT} requests, {calls} calls, {limited} times 429");
    assert_eq!(calls, refused);
    assert!(calls <= most(begun), "{calls}");
    // Who has a good token has it judged as ever, once the address has calmed down.
    let token = limits.server.issue().token;
    wait_until("room in the limit", || limits.gateway.get_as("/api", &token).status == 200);
}
