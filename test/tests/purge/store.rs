//! A purge through the store of a fleet: its request waits until the store has acknowledged it, or is
//! told that the fleet does not know.

use std::time::Duration;

use phantom_token_test::fleet::{self, Fleet};
use phantom_token_test::process::{wait_for, wait_until};
use phantom_token_test::store::{self, Fault};
use phantom_token_test::{Gateway, Response};
use serde_json::Value;

/// One gateway, which need not hear the store.
fn alone(builder: fleet::Builder) -> (Fleet, Gateway) {
    let fleet = builder.start_none();
    let gateway = fleet.launch();
    (fleet, gateway)
}

/// The fleet's epoch, as it stands in the store; empty where there is none.
fn epoch(fleet: &Fleet) -> Vec<u8> {
    match fleet.store.ask(&["GET", "{phantom_token:1}:e"]) {
        store::Reply::Bulk(bytes) => bytes,
        _ => Vec::new(),
    }
}

/// How many purges the stream has.
fn events(fleet: &Fleet) -> i64 {
    fleet.store.ask(&["XLEN", "{phantom_token:1}:s"]).number()
}

fn sent(gateway: &Gateway, direction: &str) -> f64 {
    let body = gateway.get("/metrics", &[]).body;
    let line = format!("phantom_token_store_purges_total{{direction=\"{direction}\"}} ");
    let text = String::from_utf8(body).expect("text");
    let number = text.lines().find_map(|metric| metric.strip_prefix(&line));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}: {text}"))
}

#[track_caller]
fn assert_local_only(response: &Response, cause: &str) {
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{response:?}");
    let body: Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(body["code"], "server_error");
    let words = body["message"].as_str().expect("words");
    assert!(words.starts_with("purged at this gateway alone, and not in the fleet: "), "{words}");
    assert!(words.ends_with("; ask again") && words.contains(cause), "{words}, not {cause}");
}

#[test]
fn the_store_is_told_of_each() {
    let (fleet, gateway) = alone(Fleet::builder());
    // Who hears an empty stream puts something there.
    fleet::wait_until_in_sync(&gateway);
    let token = fleet.server.issue();
    fleet::pass(&gateway, &token);
    for form in [
        &format!("token={}", token.token),
        "sub=alice",
        "client_id=app",
        "sid=session-1",
        "jti=number-1",
        "all=1",
    ] {
        let (before, told) = ((sent(&gateway, "sent"), epoch(&fleet)), events(&fleet));
        let response = fleet::purge(&gateway, form);
        assert_eq!((response.status, response.text().as_str()), (204, ""), "{form}");
        assert_eq!(events(&fleet), told + 1, "{form}");
        assert_eq!(sent(&gateway, "sent"), before.0 + 1.0);
        let is_new = epoch(&fleet) != before.1;
        assert!(!epoch(&fleet).is_empty());
        if !before.1.is_empty() {
            assert_eq!(is_new, form == "all=1", "{form}");
        }
        if form.starts_with("token") || form == "all=1" {
            assert_eq!(fleet::pass(&gateway, &token), "MISS", "{form}: and here");
        }
    }
    assert_eq!(sent(&gateway, "refused"), 0.0);
}

#[test]
fn a_token_s_lease_goes() {
    let (fleet, gateway) = alone(Fleet::builder());
    let token = fleet.server.issue();
    fleet::wait_until_in_sync(&gateway);
    assert_eq!(fleet::pass(&gateway, &token), "MISS");
    let leases = || fleet.store.keys("phantom_token:1:*:g");
    wait_until("a lease", || leases().len() == 1);
    assert_eq!(fleet::purge(&gateway, &format!("token={}", token.token)).status, 204);
    assert_eq!(leases(), Vec::<String>::new());
}

#[test]
fn a_request_waits_and_its_worker_does_not() {
    let (fleet, gateway) = alone(Fleet::builder().through_proxy());
    fleet.proxy().spoil(Fault::Silent);
    let token = fleet.server.issue();
    fleet::pass(&gateway, &token);
    let mut purger = gateway.client();
    purger.send_request("POST", "/purge", &[], b"sub=alice");
    purger.wait_until_read();
    for _ in 0..20 {
        assert_eq!(fleet::pass(&gateway, &token), "HIT", "the worker serves on");
    }
    // A client that leaves costs nothing.
    let mut left = gateway.client();
    left.send_request("POST", "/purge", &[], b"sub=bob");
    left.wait_until_read();
    drop(left);
    fleet.proxy().close_connections();
    fleet.proxy().spoil(Fault::None);
    assert_local_only(&purger.read(), "the store closed the connection");
    assert_eq!(purger.get("/status", &[]).status, 200, "the connection goes on");
    assert_eq!(fleet::purge(&gateway, "sub=alice").status, 204, "asked again");
    wait_until("the other's end", || sent(&gateway, "refused") == 2.0);
}

/// Its worker is told to end, and another one takes its place.
#[test]
fn a_request_that_waits_outlives_a_reload() {
    let (fleet, gateway) = alone(Fleet::builder().through_proxy());
    fleet.proxy().spoil(Fault::Slow(Duration::from_millis(500)));
    let mut purger = gateway.client();
    purger.send_request("POST", "/purge", &[], b"sub=alice");
    purger.wait_until_read();
    gateway.reload();
    assert_eq!(purger.read().status, 204);
    fleet.proxy().spoil(Fault::None);
    assert_eq!(fleet::purge(&gateway, "sub=alice").status, 204);
}

#[test]
fn a_stream_of_http_2_waits_too() {
    let (fleet, gateway) = alone(Fleet::builder().through_proxy().each(|builder| builder.http2()));
    fleet.proxy().spoil(Fault::Slow(Duration::from_millis(50)));
    let url = format!("{}/purge", gateway.http2_url());
    let purge = ["--http2-prior-knowledge", "-d", "all=1", "-w", "%{http_code}", &url];
    assert_eq!(phantom_token_test::curl(&purge).output, "204");
    fleet.proxy().spoil(Fault::Closed);
    let refused = phantom_token_test::curl(&purge).output;
    assert!(refused.contains("at this gateway alone") && refused.ends_with("503"), "{refused}");
}

#[test]
fn a_store_that_does_not_acknowledge_makes_it_local() {
    let (fleet, gateway) = alone(Fleet::builder().through_proxy().block("timeout 1s;"));
    let token = fleet.server.issue();
    let mut refused = 0.0;
    for (fault, cause) in [
        (Fault::Silent, ""),
        (Fault::Closed, "the store closed the connection"),
        (Fault::Garbage, "the store's reply is not RESP"),
        (Fault::Numbers, "the store's reply is not RESP"),
        (Fault::Surplus, "the store sent what nobody asked for"),
        (Fault::LongBulk, "the store's reply is too large"),
        (Fault::Error("READONLY You can't write against a read only replica."), "replica"),
        (Fault::Error("OOM command not allowed when used memory > 'maxmemory'."), "full"),
        (Fault::Error("NOPERM this user has no permissions to run the 'xadd' command"), "allow"),
        (Fault::Error("LOADING Valkey is loading the dataset in memory"), "loading"),
    ] {
        fleet::pass(&gateway, &token);
        fleet.proxy().spoil(fault);
        fleet.proxy().close_connections();
        let response = fleet::purge(&gateway, &format!("token={}", token.token));
        assert_local_only(&response, cause);
        refused += 1.0;
        assert_eq!(sent(&gateway, "refused"), refused, "{fault:?}");
        assert_ne!(fleet::pass(&gateway, &token), "HIT", "it is purged here");
    }
    fleet.proxy().spoil(Fault::None);
    fleet.proxy().close_connections();
    assert_eq!(fleet::purge(&gateway, "all=1").status, 204);
    let line = gateway.wait_for_log(&["[error]", "did not take a purge", "purge again; "]);
    assert!(!line.contains(&token.token), "{line}");
}

#[test]
fn a_store_that_is_away_makes_it_local() {
    let (fleet, gateway) = alone(Fleet::builder());
    fleet.store.kill();
    assert_local_only(&fleet::purge(&gateway, "all=1"), "connection refused");
    fleet.store.start_empty();
    assert_eq!(fleet::purge(&gateway, "all=1").status, 204);
    assert!(events(&fleet) >= 1);
}

#[test]
fn only_what_is_understood_is_told() {
    let (fleet, gateway) = alone(Fleet::builder());
    fleet::wait_until_in_sync(&gateway);
    let told = events(&fleet);
    for form in ["", "token=abc%0A", "token=Bearer+abc", "all=0", "sub=", "sub=a&sid=b", "x=y"] {
        assert_eq!(fleet::purge(&gateway, form).status, 400, "{form}");
    }
    assert_eq!((events(&fleet), sent(&gateway, "sent")), (told, 0.0));
}

/// As a failover does whose replica has not followed.
#[test]
fn what_the_store_loses_is_told_again() {
    let (fleet, gateway) = alone(Fleet::builder());
    fleet::wait_until_in_sync(&gateway);
    assert_eq!(fleet::purge(&gateway, "sub=alice").status, 204);
    assert_eq!(fleet::purge(&gateway, "sid=session-1").status, 204);
    let told = events(&fleet);
    fleet.lose_last_purge();
    gateway.wait_for_log(&["[warn]", "has lost purges that it had acknowledged"]);
    // Whoever hears of the loss first says hello besides.
    assert!(events(&fleet) >= told);
    assert_eq!(sent(&gateway, "sent"), 2.0, "it is the same purge");
}

#[test]
fn many_at_a_time_all_end() {
    let (fleet, gateway) = alone(Fleet::builder().through_proxy());
    fleet.proxy().spoil(Fault::Slow(Duration::from_millis(20)));
    let mut clients: Vec<_> = (0..40).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send_request("POST", "/purge", &[], b"sub=alice");
    }
    let responses: Vec<_> = clients.iter_mut().map(|client| client.read()).collect();
    let done = responses.iter().filter(|response| response.status == 204).count();
    for response in responses.iter().filter(|response| response.status != 204) {
        assert_local_only(response, "too many purges are under way");
    }
    assert!(done >= 32, "{done}");
    let all = wait_for("their numbers", || {
        let all = (sent(&gateway, "sent"), sent(&gateway, "refused"));
        (all.0 + all.1 == 40.0).then_some(all)
    });
    assert_eq!(all.0, done as f64);
}

/// A server that has lost its database calls every token inactive.
#[test]
fn what_clients_meet_leaves_room_for_who_purges() {
    const TOKENS: usize = 48;
    // Two that believe each other's answers, and so their own.
    let fleet = Fleet::builder()
        .through_proxy()
        .block("connections 128;")
        .each(|builder| builder.location("/anew", &fleet::shown("phantom_token_cache_bypass 1;")))
        .start(2);
    let gateway = &fleet.gateways[0];
    let tokens: Vec<_> = (0..TOKENS).map(|_| fleet.server.issue()).collect();
    for token in &tokens {
        assert_eq!(fleet::pass(gateway, token), "MISS");
    }
    // Most have a lease and a value there.
    wait_until("their values", || fleet.store.keys("phantom_token:1:*").len() > TOKENS);
    tokens.iter().for_each(|token| fleet.server.revoke(&token.token));
    fleet.proxy().spoil(Fault::Slow(Duration::from_millis(200)));
    let mut clients: Vec<_> = tokens.iter().map(|_| gateway.client()).collect();
    for (client, token) in clients.iter_mut().zip(&tokens) {
        client.send_request("GET", "/anew", &[("Authorization", &token.bearer())], b"");
    }
    for client in &mut clients {
        assert_eq!(client.read().status, 401);
    }
    assert_eq!(fleet::purge(gateway, "all=1").status, 204);
    assert!(sent(gateway, "sent") + sent(gateway, "refused") > 16.0, "clients have met many");
}
