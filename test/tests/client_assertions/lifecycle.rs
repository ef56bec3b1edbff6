//! A server that refuses an assertion, new keys, reloads, clocks, and who shares answers with whom.

use std::fs;

use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Mint, Reply, Rig};

use crate::{AUDIENCE, BY_KEY, block, by_key, p256};

/// What the log says of refused credentials, with what to check.
fn wait_for_refusal(rig: &Rig) {
    rig.gateway.wait_for_log(&[
        "[error]",
        "refused this client's credentials with status 401",
        "check client_id and client_key, and that the client may introspect",
        "check the key id, the audience and both clocks",
        "provider: \"as\"",
    ]);
}

#[test]
fn a_new_key_opens_the_gate_that_the_old_one_has_shut() {
    let (mut rig, assertions) = by_key("", |builder| builder);
    let new = p256();
    assertions.know_key(&new);
    wait_until("the gate", || {
        Reply::failure().assert(&rig.get_as(&rig.server.issue().token));
        rig.gateway.error_log().contains("to the gateway's own calls too")
    });
    wait_for_refusal(&rig);
    let shut = rig.gateway.wait_for_log(&["[error]", "to the gateway's own calls too"]);
    for words in ["check client_id and client_key", "the audience and both clocks"] {
        assert!(shut.contains(words), "{shut}");
    }
    // Ten a second go out, and no more: the others are told at once.
    let before = rig.server.introspections();
    for _ in 0..50 {
        Reply::failure().assert(&rig.get_as(&rig.server.issue().token));
    }
    assert!(rig.server.introspections() - before < 50);

    // The file alone changes nothing.
    let file = rig.gateway.prefix().join("client.key");
    fs::write(&file, new.serialize_pem()).expect("writes the key");
    Reply::failure().assert(&rig.get_as(&rig.server.issue().token));
    rig.gateway.reload_with(|builder| builder);
    for _ in 0..20 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(assertions.repeated(), 0);
}

#[test]
fn a_reload_with_an_unreadable_key_keeps_the_old_workers() {
    let (rig, _) = by_key("", |builder| builder.allow("cannot be read"));
    let file = rig.gateway.prefix().join("client.key");
    let workers = rig.gateway.workers();
    fs::remove_file(&file).expect("removes the key");
    rig.gateway.signal(libc::SIGHUP);
    let line = rig.gateway.wait_for_log(&["[emerg]", "\"client_key\"", "cannot be read"]);
    assert!(line.contains("nginx.conf:"), "{line}");
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.gateway.workers(), workers);
}

#[test]
fn clocks_may_differ_by_seconds_and_not_by_minutes() {
    let (rig, assertions) = by_key("", |builder| builder);
    for ahead in [0, -4, 30] {
        assertions.set_clock(ahead);
        rig.assert_passes(&rig.server.issue());
    }
    for ahead in [-300, 300] {
        assertions.set_clock(ahead);
        Reply::failure().assert(&rig.get_as(&rig.server.issue().token));
        wait_for_refusal(&rig);
    }
    assertions.set_clock(0);
    wait_until("the gate", || rig.get_as(&rig.server.issue().token).status == 200);
}

#[test]
fn the_clock_is_the_one_on_the_wall_when_a_call_is_made() {
    let (rig, assertions) = by_key("", |builder| builder.own_clock());
    let endless = || rig.server.mint(Mint::new().without_expiry());
    rig.assert_passes(&endless());
    rig.gateway.set_clock(1000);
    assertions.set_clock(1000);
    rig.assert_passes(&endless());
    let [first, second] =
        [0, 1].map(|n| assertions.arrived()[n].claims["iat"].as_i64().expect("seconds"));
    assert!((1000..1100).contains(&(second - first)), "{first} {second}");
}

#[test]
fn answers_are_shared_by_method_and_not_by_key() {
    let anyone = AuthorizationServer::builder().no_client_auth().start().expect("starts");
    let secret = "s".repeat(32);
    let by_secret =
        format!("client_auth client_secret_jwt aud={AUDIENCE};\nclient_secret {secret};");
    let blocks = [
        ("same", BY_KEY.to_owned()),
        ("key", BY_KEY.replace("client.key", "other.key")),
        ("kid", BY_KEY.replace("client.key", "client.key kid=1")),
        ("audience", BY_KEY.replace("as.example", "other.example")),
        ("terms", BY_KEY.replace("as.example", "as.example valid=2m typ=JWT")),
        ("by_secret", by_secret),
        ("post", format!("client_auth post;\nclient_secret {secret};")),
    ];
    let location = |name| {
        format!(
            "phantom_token on;\nphantom_token_use {name};\nadd_header Outcome $phantom_token_status always;\ntry_files /none =204;"
        )
    };
    let rig = Rig::with(anyone, |builder, anyone| {
        let builder = builder
            .without_client()
            .directives("phantom_token_use base;")
            .file("client.key", p256().serialize_pem())
            .file("other.key", p256().serialize_pem())
            .http(&block("base", &[anyone], BY_KEY))
            .location("/base", &location("base"));
        blocks.iter().fold(builder, |builder, (name, members)| {
            builder
                .http(&block(name, &[anyone], members))
                .location(&format!("/{name}"), &location(name))
        })
    });
    for (name, _) in &blocks {
        let token = rig.server.issue();
        let asked = |target: &str| {
            let response = rig.gateway.get_as(target, &token.token);
            assert_eq!(response.status, 204, "{target}: {response:?}");
            response.header("Outcome").unwrap_or_default().to_owned()
        };
        assert_eq!(asked("/base"), "MISS");
        let expected = if ["by_secret", "post"].contains(name) { "MISS" } else { "HIT" };
        assert_eq!(asked(&format!("/{name}")), expected, "{name}");
    }
}
