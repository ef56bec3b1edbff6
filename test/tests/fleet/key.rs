//! One key for a fleet's gateways: they call a token the same, and with another key, or where a store
//! comes or goes, they begin with an empty cache.

use std::fs;
use std::net::TcpListener;

use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Gateway, Response, Rig};

const OLD: &[u8] = b"the old key of a fleet, of thirty-two bytes and more";
const NEW: &[u8] = b"the new key of a fleet, of thirty-two bytes and more";
const NAMED_OLD: &str = "phantom_token_key_file old.key;\n";
const NAMED_NEW: &str = "phantom_token_key_file new.key;\n";
/// A store that is not there.
const STORE: &str = "phantom_token_store { server unix:/nowhere/store.sock; }\n";

/// What tells how a token was found, and what the gateway calls it.
const SHOWN: &str = "add_header Status $phantom_token_status always;\n\
    add_header Id $phantom_token_id always;";

fn with_keys(builder: Builder, keys: &str) -> Builder {
    builder
        .http("include keys.conf;")
        .http(SHOWN)
        .location("= /metrics", "phantom_token_status;")
        .file("keys.conf", keys)
        .file("old.key", OLD)
        .file("new.key", NEW)
        .allow("/store.sock")
}

fn rig(keys: &str) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, _| with_keys(builder, keys))
}

/// How a token is found at a gateway.
fn status(gateway: &Gateway, token: &str) -> String {
    let response = gateway.get_as("/api", token);
    assert_eq!(response.status, 200);
    response.header("status").expect("a status").to_owned()
}

fn id(gateway: &Gateway, token: &str) -> String {
    let id = gateway.get_as("/api", token).header("id").expect("an id").to_owned();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    id
}

/// Goes on with other keys, or another store.
fn change(rig: &Rig, keys: &str) {
    fs::write(rig.gateway.prefix().join("keys.conf"), keys).expect("a file");
    rig.gateway.reload();
}

#[test]
fn gateways_with_one_key_call_a_token_the_same() {
    let (one, two) = (rig(NAMED_OLD), rig(&format!("{NAMED_OLD}{NAMED_NEW}")));
    let (other, none) = (rig(NAMED_NEW), rig(""));
    let ids = [&one, &two, &other, &none].map(|rig| id(&rig.gateway, &rig.server.issue().token));
    // Each server's first token is its own: ask about one and the same, active or not.
    let same = "an-opaque-token-that-nobody-has-issued";
    let of = |rig: &Rig| {
        let response = rig.gateway.get_as("/api", same);
        assert_eq!(response.status, 401);
        response.header("id").expect("an id").to_owned()
    };
    let [a, b, c, d] = [of(&one), of(&two), of(&other), of(&none)];
    assert_eq!(a, b, "what comes behind the first does not count");
    assert!(a != c && c != d && a != d, "{a} {c} {d}");
    assert!(!ids.contains(&a), "another token's");
    // Nor does a restart.
    drop(one);
    assert_eq!(of(&rig(NAMED_OLD)), a);
}

#[test]
fn another_first_key_begins_with_an_empty_cache_and_so_does_the_former_one() {
    let rig = rig(NAMED_OLD);
    let token = rig.server.issue().token;
    assert_eq!(status(&rig.gateway, &token), "MISS");
    assert_eq!(status(&rig.gateway, &token), "HIT");
    let before = id(&rig.gateway, &token);
    // A second key changes nothing.
    change(&rig, &format!("{NAMED_OLD}{NAMED_NEW}"));
    assert_eq!(status(&rig.gateway, &token), "HIT");
    change(&rig, &format!("{NAMED_NEW}{NAMED_OLD}"));
    assert_eq!(status(&rig.gateway, &token), "MISS");
    assert_eq!(status(&rig.gateway, &token), "HIT");
    assert_ne!(id(&rig.gateway, &token), before);
    change(&rig, NAMED_NEW);
    assert_eq!(status(&rig.gateway, &token), "HIT");
    // What the zone still holds of the first days is not found again: a purge may have been missed.
    change(&rig, NAMED_OLD);
    assert_eq!(status(&rig.gateway, &token), "MISS");
    assert_eq!(id(&rig.gateway, &token), before);
    change(&rig, "");
    assert_eq!(status(&rig.gateway, &token), "MISS");
    change(&rig, NAMED_OLD);
    assert_eq!(status(&rig.gateway, &token), "MISS");
    assert_eq!(rig.server.introspections(), 5);
}

#[test]
fn a_store_that_comes_or_goes_begins_with_an_empty_cache() {
    let rig = rig(NAMED_OLD);
    let token = rig.server.issue().token;
    let with_store = format!("{NAMED_OLD}{STORE}");
    for keys in [NAMED_OLD, &with_store, NAMED_OLD, &with_store] {
        change(&rig, keys);
        assert_eq!(status(&rig.gateway, &token), "MISS", "{keys}");
        assert_eq!(status(&rig.gateway, &token), "HIT", "{keys}");
        change(&rig, keys);
        assert_eq!(status(&rig.gateway, &token), "HIT", "{keys}");
    }
    // Nothing else of the store counts.
    change(&rig, &with_store.replace("nowhere", "elsewhere"));
    assert_eq!(status(&rig.gateway, &token), "HIT");
}

#[test]
fn a_purge_reaches_what_is_kept_under_a_fleet_s_key() {
    let purging = "client_body_buffer_size 128k;\nphantom_token_purge;";
    let rig = Rig::with(AuthorizationServer::start(), |builder, _| {
        with_keys(builder, NAMED_OLD).location("= /purge", purging)
    });
    let token = rig.server.issue().token;
    assert_eq!(status(&rig.gateway, &token), "MISS");
    for keys in [NAMED_OLD.to_owned(), format!("{NAMED_NEW}{NAMED_OLD}"), String::new()] {
        change(&rig, &keys);
        status(&rig.gateway, &token);
        assert_eq!(status(&rig.gateway, &token), "HIT");
        let mut client = rig.gateway.client();
        client.send_request("POST", "/purge", &[], format!("token={token}").as_bytes());
        assert_eq!(client.read().status, 204);
        assert_eq!(status(&rig.gateway, &token), "MISS", "{keys}");
    }
}

#[test]
fn a_purge_reaches_a_worker_that_goes_by_the_former_key() {
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
    let first = format!(
        "phantom_token on;\nerror_page 502 = /second;\nproxy_pass http://{};",
        upstream.local_addr().expect("an address")
    );
    // Another question: what the request has learnt in the first place says nothing here.
    let second = "phantom_token on;\nphantom_token_introspection_param kind second;\n\
        try_files /none =204;";
    let rig = Rig::with(AuthorizationServer::start(), |builder, _| {
        with_keys(builder, NAMED_OLD)
            .location("= /purge", "client_body_buffer_size 128k;\nphantom_token_purge;")
            .location("= /first", &first)
            .location("= /second", second)
            .allow("prematurely closed")
    });
    let token = rig.server.issue().token;
    let found = |response: Response| response.header("status").expect("a status").to_owned();
    assert_eq!(found(rig.gateway.get_as("/second", &token)), "MISS");
    assert_eq!(found(rig.gateway.get_as("/second", &token)), "HIT");
    let mut late = rig.gateway.client();
    let bearer = format!("Bearer {token}");
    late.send_request("GET", "/first", &[("Authorization", &bearer)], b"");
    let (held, _) = upstream.accept().expect("the gateway");
    change(&rig, &format!("{NAMED_NEW}{NAMED_OLD}"));
    let mut client = rig.gateway.client();
    client.send_request("POST", "/purge", &[], format!("token={token}").as_bytes());
    assert_eq!(client.read().status, 204);
    drop(held);
    assert_eq!(found(late.read()), "MISS");
}

#[test]
fn the_numbers_of_a_store_are_shown_where_there_is_one() {
    let rig = rig(NAMED_OLD);
    let has = |name: &str| rig.gateway.metrics().0.keys().any(|key| key.starts_with(name));
    assert!(!has("store_") && !has("requests_total{outcome=\"store\"}"));
    change(&rig, &format!("{NAMED_OLD}{STORE}"));
    assert!(has("store_requests_total{result=\"hit\"}"));
    assert!(has("requests_total{outcome=\"store\"}"));
    assert!(has("store_up{node=\"unix:/nowhere/store.sock\"}"));
}
