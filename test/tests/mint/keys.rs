//! By which key a JWT is signed, and whether it may go on.

use std::fs;
use std::thread;

use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Gateway, Rig, Script};
use serde_json::{Value, json};

use crate::support::*;

const NEAR: [&str; 2] = ["phantom_token_worker_cache 1024;", "phantom_token_worker_cache 0;"];

/// A rig whose `keys.conf` names the keys, and the files of three.
fn rig_of(keys: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| {
        let builder = ["one", "two", "three"].iter().fold(builder, |builder, name| {
            let key = PemKey::p256();
            builder
                .file(&format!("{name}.key"), key.private)
                .file(&format!("{name}.pub"), key.public)
        });
        let builder = builder
            .file("keys.conf", named(keys))
            .http(TERMS)
            .http("include keys.conf;")
            .location("/shown", &shown(""))
            .location("= /jwks", "phantom_token_publish_jwks;")
            .location("/metrics", "phantom_token_status;");
        change(builder)
    })
}

fn named(keys: &str) -> String {
    keys.split(' ').map(|key| format!("phantom_token_mint_key {key};\n")).collect()
}

/// Names other keys, and reloads.
fn rotate(gateway: &Gateway, keys: &str) {
    fs::write(gateway.prefix().join("keys.conf"), named(keys)).expect("writes a file");
    gateway.reload();
}

/// The `kid`s of the set, in its order.
fn kids(gateway: &Gateway) -> Vec<String> {
    let set = key_set(gateway);
    let kid = |key: &Value| key["kid"].as_str().expect("a kid").to_owned();
    set["keys"].as_array().expect("keys").iter().map(kid).collect()
}

#[test]
fn a_rotation_empties_no_cache_and_ends_what_an_old_key_signed() {
    for near in NEAR {
        let rig = rig_of("one.key", |builder| builder.http(near));
        let gateway = &rig.gateway;
        rig.server.script("opaque", active(&json!({})));
        rig.server.script("later", active(&json!({})));
        let (by_one, _) = pass(gateway, "/shown", "opaque");
        let [one] = &kids(gateway)[..] else { panic!("one key") };
        assert_eq!(kid(&by_one), *one);

        rotate(gateway, "one.key two.key");
        let [_, two] = &kids(gateway)[..] else { panic!("two keys") };
        assert_eq!(pass(gateway, "/shown", "opaque"), (by_one.clone(), "HIT".to_owned()));

        rotate(gateway, "two.key one.key");
        assert_eq!(kids(gateway), [two.clone(), one.clone()]);
        for _ in 0..2 {
            assert_eq!(pass(gateway, "/shown", "opaque"), (by_one.clone(), "HIT".to_owned()));
        }
        assert_eq!(kid(&pass(gateway, "/shown", "later").0), *two);
        assert_eq!(rig.server.introspections_of("opaque"), 1);

        // A public key is as good: another gateway signs by it.
        rotate(gateway, "two.key one.pub");
        assert_eq!(pass(gateway, "/shown", "opaque"), (by_one.clone(), "HIT".to_owned()));

        rotate(gateway, "two.key");
        let (by_two, outcome) = pass(gateway, "/shown", "opaque");
        assert_eq!((kid(&by_two), &*outcome), (two.clone(), "MISS"), "{near}");
        assert_eq!(pass(gateway, "/shown", "opaque"), (by_two, "HIT".to_owned()));
        assert_eq!(pass(gateway, "/shown", "later").1, "HIT");
        assert_eq!(rig.server.introspections_of("opaque"), 2);
        assert_eq!(gateway.metrics().get("mints_total"), 3.0);
    }
}

#[test]
fn many_who_come_after_a_key_has_gone_cost_one_call() {
    for near in NEAR {
        let rig = rig_of("one.key", |builder| builder.http(near).workers(2).listen("reuseport"));
        rig.server.script("opaque", active(&json!({})));
        pass(&rig.gateway, "/shown", "opaque");
        rotate(&rig.gateway, "two.key");
        let hold = rig.server.hold_token("opaque");
        let mut clients: Vec<_> = (0..12).map(|_| rig.gateway.client()).collect();
        for client in &mut clients {
            client.send_request("GET", "/shown", &[("Authorization", "Bearer opaque")], b"");
        }
        rig.server.wait_for_introspections_of("opaque", 2);
        rig.gateway.wait_for_metrics("twelve waiting requests", |metrics| {
            metrics.get("requests_waiting") == 12.0
        });
        drop(hold);
        let set = key_set(&rig.gateway);
        for mut client in clients {
            let response = client.read();
            let sent = response.header("sent").expect("a JWT").to_owned();
            assert!(keys::verifies(&set, sent.trim_start_matches("Bearer ")), "{response:?}");
        }
        assert_eq!(rig.server.introspections_of("opaque"), 2, "{near}");
    }
}

#[test]
fn a_stale_jwt_by_a_key_that_has_gone_serves_nobody() {
    let rig = rig_of("one.key", |builder| {
        builder
            .count_calls()
            .http("phantom_token_cache_valid 100s;\nphantom_token_cache_stale 100s;")
    });
    rig.server.script("opaque", active(&json!({"exp": now() + 3600})));
    pass(&rig.gateway, "/shown", "opaque");
    rig.server.script("opaque", Script::status(500));
    rig.gateway.pass_time(std::time::Duration::from_secs(101));
    assert_eq!(pass(&rig.gateway, "/shown", "opaque").1, "STALE");
    rotate(&rig.gateway, "two.key");
    let asked = rig.server.introspections_of("opaque");
    assert_eq!(said(&rig.gateway.get_as("/shown", "opaque")), (500, "ERROR", "status"));
    assert_eq!(rig.server.introspections_of("opaque"), asked + 1, "nobody asks again for it");
}

/// Two locations that say the same by keys that the other does not publish.
pub(crate) fn two_signers(change: impl FnOnce(Builder) -> Builder) -> Rig {
    rig_of("three.key", |builder| {
        let builder = builder
            .location("/one", &shown("phantom_token_mint_key one.key;"))
            .location("/two", &shown("phantom_token_mint_key two.key;"))
            .location(
                "/both",
                &shown("phantom_token_mint_key two.key;\nphantom_token_mint_key one.pub;"),
            )
            .location("= /jwks-one", "phantom_token_mint_key one.key;\nphantom_token_publish_jwks;")
            .location(
                "= /jwks-two",
                "phantom_token_mint_key two.key;\nphantom_token_publish_jwks;",
            );
        change(builder)
    })
}

/// Whether the set at `target` has the key of this JWT.
fn has_key_of(gateway: &Gateway, target: &str, jwt: &str) -> bool {
    let set = serde_json::from_slice(&gateway.get(target, &[]).body).expect("a key set");
    keys::verifies(&set, jwt)
}

#[test]
fn a_location_hands_on_what_its_own_keys_signed_alone() {
    for near in NEAR {
        let rig = two_signers(|builder| builder.http(near));
        rig.server.script("opaque", active(&json!({})));
        for round in 0..3 {
            for name in ["one", "two"] {
                let (jwt, _) = pass(&rig.gateway, &format!("/{name}"), "opaque");
                assert!(has_key_of(&rig.gateway, &format!("/jwks-{name}"), &jwt), "{near} {round}");
            }
        }
        // Whoever publishes both takes either.
        let (jwt, _) = pass(&rig.gateway, "/one", "opaque");
        assert_eq!(pass(&rig.gateway, "/both", "opaque"), (jwt, "HIT".to_owned()));
    }
}

#[test]
fn whoever_waits_for_the_call_of_another_location_has_the_jwt_of_its_own() {
    for workers in [1, 2] {
        let rig = two_signers(|builder| {
            builder.workers(workers).listen(if workers > 1 { "reuseport" } else { "" })
        });
        rig.server.script("opaque", active(&json!({})));
        let hold = rig.server.hold_token("opaque");
        let ask = |target: &str| {
            let mut client = rig.gateway.client();
            client.send_request("GET", target, &[("Authorization", "Bearer opaque")], b"");
            client
        };
        let first = ask("/one");
        rig.server.wait_for_introspections_of("opaque", 1);
        let rest: Vec<_> = (0..8)
            .map(|n| (["one", "two"][n % 2], ask(&format!("/{}", ["one", "two"][n % 2]))))
            .collect();
        rig.gateway.wait_for_metrics("nine waiting requests", |metrics| {
            metrics.get("requests_waiting") == 9.0
        });
        drop(hold);
        for (name, mut client) in [("one", first)].into_iter().chain(rest) {
            let response = client.read();
            assert_eq!(response.status, 204, "{response:?}");
            let sent = response.header("sent").expect("a JWT").to_owned();
            let jwt = sent.trim_start_matches("Bearer ");
            assert!(has_key_of(&rig.gateway, &format!("/jwks-{name}"), jwt), "{workers} {name}");
        }
    }
}

#[test]
fn what_an_earlier_pass_was_granted_does_not_go_on_by_another_key() {
    let rig = two_signers(|builder| {
        builder.location(
            "/first",
            "phantom_token on;\nphantom_token_mint_key one.key;\nphantom_token_scope never;\n\
             error_page 403 = /two;\ntry_files /none =204;",
        )
    });
    rig.server.script("opaque", active(&json!({})));
    let (jwt, _) = pass(&rig.gateway, "/first", "opaque");
    assert!(has_key_of(&rig.gateway, "/jwks-two", &jwt));
}

#[test]
fn whoever_asks_anew_meets_the_demands_as_before() {
    let rig = rig_of("one.key", |builder| {
        builder
            .location("/scope", &shown("phantom_token_scope write;"))
            .location("/require", &shown("phantom_token_require $phantom_token_claim_ok;"))
    });
    rig.server.script("opaque", active(&json!({"scope": "read", "ok": "yes"})));
    pass(&rig.gateway, "/shown", "opaque");
    rotate(&rig.gateway, "two.key");
    // It has neither the scope nor a key that is published.
    let response = rig.gateway.get_as("/scope", "opaque");
    assert_eq!(said(&response), (403, "DENIED", "scope"));
    assert_eq!(pass(&rig.gateway, "/require", "opaque").1, "HIT");
    assert_eq!(rig.server.introspections_of("opaque"), 2);
}

#[test]
fn a_purge_ends_minted_jwts() {
    let rig = rig(|builder| {
        builder.location("= /purge", "client_body_buffer_size 128k;\nphantom_token_purge;")
    });
    rig.server.script("opaque", active(&json!({})));
    let (first, _) = pass(&rig.gateway, "/shown", "opaque");
    let mut client = rig.gateway.client();
    client.send_request(
        "POST",
        "/purge",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        b"token=opaque",
    );
    assert_eq!(client.read().status, 204);
    let (second, outcome) = pass(&rig.gateway, "/shown", "opaque");
    assert_eq!(outcome, "MISS");
    assert_ne!(second, first);
}

#[test]
fn a_reload_with_a_file_that_cannot_be_read_keeps_the_old_workers() {
    let rig = rig_of("one.key", |builder| {
        builder
            .allow("[emerg]")
            .file("trusted.pem", "")
            .location(
                "/unused",
                "phantom_token_client_secret_file client.secret;\n\
             phantom_token_ssl_certificate client.pem;\n\
             phantom_token_ssl_certificate_key client.key;\nreturn 204;",
            )
            .file("client.secret", "s3cret")
            .file("client.pem", PemKey::p256().public)
            .file("client.key", PemKey::p256().private)
    });
    rig.server.script("opaque", active(&json!({})));
    let (jwt, _) = pass(&rig.gateway, "/shown", "opaque");
    let workers = rig.gateway.workers();
    for file in ["one.key", "client.secret", "client.pem", "client.key"] {
        let path = rig.gateway.prefix().join(file);
        let path = if path.exists() { path } else { rig.gateway.prefix().join("conf").join(file) };
        let content = fs::read(&path).expect("a file");
        fs::remove_file(&path).expect("removes it");
        rig.gateway.signal(libc::SIGHUP);
        let refused = || {
            let log = rig.gateway.error_log();
            log.lines().any(|line| line.contains("[emerg]") && line.contains(file))
        };
        wait_until("the reload to be refused", refused);
        assert_eq!(rig.gateway.workers(), workers, "{file}");
        assert_eq!(pass(&rig.gateway, "/shown", "opaque"), (jwt.clone(), "HIT".to_owned()));
        fs::write(&path, content).expect("writes it again");
    }
    rig.gateway.reload();
    assert_eq!(pass(&rig.gateway, "/shown", "opaque"), (jwt, "HIT".to_owned()));
}

#[test]
fn no_byte_of_a_key_is_shown_or_logged() {
    let key = PemKey::p256();
    let rig = rig_with(&key, |builder| builder.log_level("debug"));
    let lines: Vec<String> =
        key.private.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    lines.iter().for_each(|line| rig.gateway.secret(line));
    rig.server.script("opaque", active(&json!({})));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| pass(&rig.gateway, "/shown", "opaque"));
        }
    });
    rig.gateway.reload();
    for shown in ["/jwks", "/metrics", "/metrics?format=json"] {
        let text = rig.gateway.get(shown, &[]).text();
        assert!(lines.iter().all(|line| !text.contains(line)), "{shown}");
    }
    let log = rig.gateway.error_log();
    assert!(lines.iter().all(|line| !log.contains(line)));
}
