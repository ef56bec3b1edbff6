//! Whoever gets the store's data, or listens to it, learns no token and nothing of anybody's.

use phantom_token_test::{Fleet, Store};

use crate::support::*;

#[test]
fn dump_monitor_and_logs_show_nothing_of_anybody() {
    let password = "the-stores-own-password";
    let acl =
        "~phantom_token:* ~{phantom_token:* resetchannels -@all +@read +@write +@stream +select";
    let fleet = Fleet::builder()
        .store(Store::builder().user("gateway", password, acl))
        .block("user gateway; password_file password.secret;")
        .each(move |builder| {
            builder.file("password.secret", password).log_level("debug").secret(password)
        })
        .secret(password)
        .start(2);
    let monitor = fleet.store.monitor();
    let mut secrets = vec![password.to_owned(), "introspection-client".to_owned()];
    secrets.extend(fleet.keys.iter().map(|key| key.trim().to_owned()));
    for nth in 0..10 {
        let name = format!("name-{nth}-of-somebody");
        let token = token_of(&fleet, &name);
        warm(&fleet, &token);
        secrets.push(name);
        secrets.push(token.token.clone());
        // Its parts, and what they say.
        secrets.extend(token.jwt.split('.').map(str::to_owned));
        if nth == 0 {
            assert_eq!(fleet.purge(0, &form(&token)), 204);
            assert_eq!(fleet.purge(1, "sub=sub-name-1-of-somebody"), 204);
        }
    }
    let seen = monitor.stop();
    assert!(seen.iter().any(|line| line.to_lowercase().contains("\"mget\"")), "{}", seen.len());
    let dump = fleet.store.dump();
    assert!(dump.len() > 10_000, "values are in it");
    let places = [
        ("the dump", dump),
        ("what it was sent", seen.join("\n").into_bytes()),
        ("its log", fleet.store.log().into_bytes()),
    ];
    for (place, bytes) in &places {
        for secret in &secrets {
            assert!(secret.len() >= 8);
            assert!(!contains(bytes, secret.as_bytes()), "{place} holds {secret}");
        }
    }
    // What the test looks for can be found.
    assert!(contains(&places[0].1, b"phantom_token:1:"));
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(bytes, text).is_some()
}
