//! `phantom_token_purge`: what it forgets, and whom it listens to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phantom_token_test::{Response, Rig, Script};

use crate::support::*;

fn form(token: &str) -> String {
    format!("token={token}")
}

fn post(rig: &Rig, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut client = rig.gateway.client();
    client.send_request("POST", target, headers, body);
    client.read()
}

#[test]
fn a_token_is_forgotten_for_every_identity_and_zone_and_no_other() {
    let rig = rig(1, |builder| {
        builder
            .http("phantom_token_cache_zone zone=second:1m;")
            .location("/other", &shown("phantom_token_cache second;"))
            .location("/json", &shown("phantom_token_introspection_header X-Tenant a;"))
    });
    let (token, kept) = (rig.server.issue(), rig.server.issue());
    let targets = ["/shown", "/other", "/json"];
    for expected in ["MISS", "HIT"] {
        for target in targets {
            assert_eq!(pass(&rig.gateway, target, &token), expected);
            assert_eq!(pass(&rig.gateway, target, &kept), expected);
        }
    }
    let response = post(&rig, "/purge", &[], form(&token.token).as_bytes());
    assert_eq!((response.status, response.text().as_str()), (204, ""));
    for target in targets {
        assert_eq!(pass(&rig.gateway, target, &kept), "HIT");
        assert_eq!(pass(&rig.gateway, target, &token), "MISS");
    }
    assert_eq!(purge(&rig.gateway, &form("never-seen")), 204);
    assert_eq!(purge(&rig.gateway, "all=1"), 204);
    assert_eq!(entries(&rig.gateway), (0, 0));
    for target in targets {
        assert_eq!(pass(&rig.gateway, target, &kept), "MISS");
        assert_eq!(pass(&rig.gateway, target, &token), "MISS");
    }
}

#[test]
fn an_inactive_answer_is_forgotten_too() {
    let rig = rig(1, |builder| builder.http("phantom_token_cache_inactive_valid 300s;"));
    assert_eq!(rig.gateway.get_as("/shown", "soon-active").status, 401);
    let token = rig.server.mint(phantom_token_test::Mint::new().token("soon-active"));
    assert_eq!(rig.gateway.get_as("/shown", "soon-active").status, 401);
    assert_eq!(purge(&rig.gateway, &form("soon-active")), 204);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
}

#[test]
fn every_worker_sees_it_at_its_next_request() {
    let rig = rig(4, |builder| builder.listen("reuseport"));
    let mut clients = client_of_each_worker(&rig.gateway);
    let (token, kept) = (rig.server.issue(), rig.server.issue());
    for (_, client) in &mut clients {
        for token in [&token, &kept, &token, &kept] {
            assert_passes(&client.get_as("/shown", &token.token), token);
        }
        assert_eq!(outcome(&client.get_as("/shown", &token.token)), "HIT");
    }
    assert_eq!(rig.server.introspections(), 2);
    assert_eq!(purge(&rig.gateway, &form(&token.token)), 204);
    rig.server.revoke(&token.token);
    for (_, client) in &mut clients {
        assert_eq!(client.get_as("/shown", &token.token).status, 401);
        assert_eq!(outcome(&client.get_as("/shown", &kept.token)), "HIT");
    }
    rig.server.revoke(&kept.token);
    assert_eq!(purge(&rig.gateway, "all=1"), 204);
    for (_, client) in &mut clients {
        assert_eq!(client.get_as("/shown", &kept.token).status, 401);
    }
}

#[test]
fn a_call_in_flight_does_not_undo_it() {
    for all in [false, true] {
        let rig = rig(2, |builder| builder.listen("reuseport"));
        let (before, after) = (rig.server.issue(), rig.server.issue());
        let token = &before.token;
        let late = Arc::new(AtomicBool::new(false));
        rig.server.script(token, Script::jwt(&before.jwt).after(&late).times(1));
        // From before the purge on: the request that waits in the other worker asks anew at once.
        rig.server.script_all(Script::jwt(&after.jwt));
        let mut clients = client_of_each_worker(&rig.gateway);
        clients.extend(client_of_each_worker(&rig.gateway));
        let mut early = clients.split_off(2);
        for (_, client) in &mut early {
            send(client, "/shown", token);
        }
        wait_for_waiting(&rig.gateway, 2);
        rig.server.wait_for_introspections(1);
        let body = if all { "all=1".to_owned() } else { form(token) };
        assert_eq!(purge(&rig.gateway, &body), 204);
        // The caller's own worker, and the other one: whoever comes after the purge asks anew.
        for (_, client) in &mut clients {
            assert_passes(&client.get_as("/shown", token), &after);
        }
        late.store(true, Ordering::Relaxed);
        for (_, client) in &mut early {
            assert_eq!(client.read().status, 204);
        }
        for (_, client) in &mut clients {
            let response = client.get_as("/shown", token);
            assert_passes(&response, &after);
            assert_eq!(outcome(&response), "HIT", "the early answer is not kept");
        }
        assert_eq!(rig.server.introspections(), 2);
    }
}

#[test]
fn an_answer_that_comes_after_the_purge_is_not_kept() {
    let rig = rig(1, |builder| builder);
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut client = rig.gateway.client();
    send(&mut client, "/shown", &token.token);
    rig.server.wait_for_introspections(1);
    assert_eq!(purge(&rig.gateway, &form(&token.token)), 204);
    drop(hold);
    assert_passes(&client.read(), &token);
    assert_eq!(entries(&rig.gateway), (0, 0));
    assert_eq!(numbers(&rig.gateway)["uncached"]["purged"], 1);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
}

#[test]
fn only_whole_forms_are_understood() {
    let rig = rig(1, |builder| builder);
    let token = rig.server.issue();
    pass(&rig.gateway, "/shown", &token);
    let both = format!("{}&all=1", form(&token.token));
    let twice = format!("{0}&{0}", form(&token.token));
    for body in
        ["", "all=0", "all=", "token=", "x=1", "token", "all=1&x=2", "token=%zz", &both, &twice]
    {
        let response = post(&rig, "/purge", &[], body.as_bytes());
        assert_eq!(response.status, 400, "{body:?}");
        assert!(!response.text().contains(&token.token));
    }
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT", "nothing was forgotten");
    let encoded: String = token.token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(purge(&rig.gateway, &form(&encoded)), 204);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
}

#[test]
fn only_post_is_allowed() {
    let rig = rig(1, |builder| builder);
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let mut client = rig.gateway.client();
        client.send_request(method, "/purge", &[], b"");
        let response = client.try_read(method == "HEAD").unwrap();
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
    }
}

#[test]
fn other_origins_are_refused() {
    let rig = rig(1, |builder| builder);
    let token = rig.server.issue();
    pass(&rig.gateway, "/shown", &token);
    let own = rig.gateway.url();
    let other_port = format!("http://127.0.0.1:{}", rig.server.port());
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", other_port.as_str()),
        ("Origin", "null"),
        ("Origin", ""),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", ""),
    ] {
        let response = post(&rig, "/purge", &[(name, value)], b"all=1");
        assert_eq!(response.status, 403, "{name}: {value}");
    }
    let mixed = [("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(post(&rig, "/purge", &mixed, b"all=1").status, 403);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT", "nothing was forgotten");
    for headers in [
        vec![("Origin", own.as_str())],
        vec![("Sec-Fetch-Site", "same-origin")],
        vec![("Sec-Fetch-Site", "none")],
        vec![("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")],
    ] {
        assert_eq!(post(&rig, "/purge", &headers, b"all=1").status, 204, "{headers:?}");
    }
}

#[test]
fn other_hosts_are_refused() {
    // The real-IP module says whom the gateway takes for its peer.
    if !phantom_token_test::nginx::configured_with("--with-http_realip_module") {
        return;
    }
    let rig = rig(1, |builder| {
        builder
            .http("set_real_ip_from 127.0.0.1;\nreal_ip_header X-Peer;")
            .location("/purge-any", "phantom_token_purge any;")
    });
    for (peer, status) in [
        ("192.0.2.1", 403),
        ("10.0.0.1", 403),
        ("2001:db8::1", 403),
        ("127.0.0.2", 204),
        ("::1", 204),
    ] {
        let response = post(&rig, "/purge", &[("X-Peer", peer)], b"all=1");
        assert_eq!(response.status, status, "{peer}");
        assert_eq!(post(&rig, "/purge-any", &[("X-Peer", peer)], b"all=1").status, 204);
    }
}

#[test]
fn a_body_that_could_reach_a_file_is_not_read() {
    let rig = rig(1, |builder| {
        builder
            .location("/small", "phantom_token_purge;\nclient_body_buffer_size 1k;")
            .location("/file", "phantom_token_purge;\nclient_body_in_file_only on;")
    });
    let padded = |length: usize| format!("token={:a<1$}", "", length - 6);
    assert_eq!(post(&rig, "/small", &[], padded(1024).as_bytes()).status, 204);
    assert_eq!(post(&rig, "/small", &[], padded(1025).as_bytes()).status, 413);
    let expecting = [("Expect", "100-continue"), ("Content-Length", "1025")];
    let mut client = rig.gateway.client();
    client.send_request("POST", "/small", &expecting, b"");
    assert_eq!(client.read().status, 413, "before it is sent");
    let mut client = rig.gateway.client();
    client.send_request("POST", "/purge", &[("Transfer-Encoding", "chunked")], b"");
    client.send(b"5\r\nall=1\r\n0\r\n\r\n");
    assert_eq!(client.read().status, 413);
    // A body in pieces is one body.
    let mut client = rig.gateway.client();
    client.send_request("POST", "/purge", &[("Content-Length", "5")], b"");
    client.send(b"al");
    client.wait_until_read();
    client.send(b"l=1");
    assert_eq!(client.read().status, 204);
    assert_eq!(post(&rig, "/file", &[], b"token=secret-token").status, 204);
    let files = std::fs::read_dir(rig.gateway.prefix().join("client_body_temp"));
    assert_eq!(files.map_or(0, Iterator::count), 0, "no token in a file");
    assert!(!rig.gateway.error_log().contains("temporary file"));
}

#[test]
fn a_connection_goes_on_after_every_answer() {
    let rig = rig(1, |builder| builder);
    let mut client = rig.gateway.client();
    for (headers, body, status) in [
        (&[][..], &b"all=1"[..], 204),
        (&[], b"all=0", 400),
        (&[("Origin", "null")], b"all=1", 403),
        (&[], b"all=1", 204),
    ] {
        client.send_request("POST", "/purge", headers, body);
        assert_eq!(client.read().status, status);
    }
    assert_eq!(client.get("/worker", &[]).status, 204);
}

#[test]
fn a_purge_reaches_a_refreshing_call_too() {
    let rig = Rig::start(|builder| {
        builder
            .directives("phantom_token_cache_bypass $arg_fresh;")
            .location("/purge", "phantom_token_purge;")
    });
    let token = rig.server.issue();
    let hold = rig.server.hold_token(&token.token);
    let mut client = rig.gateway.client();
    let bearer = token.bearer();
    client.send_request("GET", "/api?fresh=1", &[("Authorization", &bearer)], b"");
    rig.server.wait_for_introspections(1);
    let mut purger = rig.gateway.client();
    let body = format!("token={}", token.token);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    purger.send_request("POST", "/purge", &form, body.as_bytes());
    assert_eq!(purger.read().status, 204);
    drop(hold);
    assert_eq!(client.read().status, 200);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections(), 2, "the answer from before the purge is not stored");
}
