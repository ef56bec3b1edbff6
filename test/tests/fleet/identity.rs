//! What another gateway may not take: another identity's answer, another key's, another time's.

use phantom_token_test::fleet::{outcome, pass, shown};
use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::process::wait_until;
use phantom_token_test::{Fleet, Gateway, Script};
use serde_json::json;

use crate::support::*;

fn said(gateway: &Gateway, target: &str, token: &str) -> (u16, String) {
    let response = gateway.get_as(target, token);
    (response.status, outcome(&response))
}

#[test]
fn locations_that_ask_otherwise_share_nothing() {
    let fleet = Fleet::builder()
        .each(|builder| {
            builder
                .location("/tenant", &shown("phantom_token_introspection_header X-Tenant $arg_t;"))
                .location("/none", &shown("phantom_token_forward none;"))
                .allow("is made only of what a client sets")
        })
        .start(2);
    let token = fleet.server.issue();
    fleet.server.script(&token.token, Script::jwt(&token.jwt));
    assert_eq!(fleet.pass(0, &token), "MISS");
    for target in ["/tenant?t=a", "/tenant?t=b"] {
        assert_eq!(said(&fleet.gateways[0], target, &token.token), (204, "MISS".to_owned()));
        assert_eq!(said(&fleet.gateways[1], target, &token.token), (204, "STORE".to_owned()));
    }
    assert_eq!(said(&fleet.gateways[1], "/none", &token.token), (204, "MISS".to_owned()));
    assert_eq!(fleet.pass(1, &token), "STORE");
}

#[test]
fn another_key_shares_nothing() {
    let fleet = Fleet::start(2);
    let token = fleet.server.issue();
    assert_eq!([fleet.pass(0, &token), fleet.pass(1, &token)], ["MISS", "STORE"]);

    let other_key = fleet
        .configuration()
        .file("fleet.key", "another key of 32 bytes and more, which nobody else has\n")
        .start();
    phantom_token_test::fleet::wait_until_in_sync(&other_key);
    for _ in 0..2 {
        let token = fleet.server.issue();
        assert_eq!([fleet.pass(0, &token), pass(&other_key, &token)], ["MISS", "MISS"]);
        assert_eq!([fleet.pass(0, &token), pass(&other_key, &token)], ["HIT", "HIT"]);
        assert_eq!(fleet.pass(1, &token), "STORE");
    }
    fleet.gateways[0].wait_for_metrics("a peer with another key", |now| {
        now.get("store_peers{state=\"other_key\"}") == 1.0
            && now.get("store_peers{state=\"same\"}") >= 1.0
    });
}

#[test]
fn a_new_epoch_finds_nothing_of_the_old_one() {
    let fleet = Fleet::start(2);
    let token = fleet.server.issue();
    assert_eq!(fleet.pass(0, &token), "MISS");
    let before = fleet.store.ask(&["GET", "{phantom_token:1}:e"]);
    fleet.store.ask(&["DEL", "{phantom_token:1}:e"]);
    wait_until("a new epoch", || {
        let now = fleet.store.ask(&["GET", "{phantom_token:1}:e"]);
        now != before && now != phantom_token_test::store::Reply::Nil
    });
    fleet.gateways[1].wait_for_metrics("a gap", |now| now.sum("store_gaps_total", "") >= 1.0);
    assert_eq!(fleet.pass(1, &token), "MISS");
}

#[test]
fn values_that_are_exchanged_spoilt_or_brought_back_do_not_open() {
    let fleet = Fleet::start(2);
    let values = |token: &phantom_token_test::authorization_server::Token| {
        let before = fleet.store.keys("phantom_token:*");
        assert_eq!(fleet.pass(0, token), "MISS");
        let mut new = Vec::new();
        wait_until("a value in the store", || {
            new = fleet.store.keys("phantom_token:*");
            new.retain(|key| !before.contains(key));
            new.iter().any(|key| fleet.store.ask(&["STRLEN", key]).number() > 512)
        });
        new.into_iter().filter(|key| !key.ends_with(":g")).collect::<Vec<_>>()
    };
    let get = |key: &str| match fleet.store.ask(&["GET", key]) {
        phantom_token_test::store::Reply::Bulk(bytes) => bytes,
        other => panic!("{key}: {other:?}"),
    };
    let set = |key: &str, value: &[u8]| {
        let (key, px) = (key.as_bytes(), b"300000".as_slice());
        fleet.store.ask(&[b"SET", key, value, b"PX", px]);
    };

    // Another token's value in its place.
    let (one, other) = (fleet.server.issue(), fleet.server.issue());
    let (key_of_one, key_of_other) = (values(&one)[0].clone(), values(&other)[0].clone());
    set(&key_of_one, &get(&key_of_other));
    assert_eq!(fleet.pass(1, &one), "MISS");
    // Any byte of it changed, cut short, made longer.
    let token = fleet.server.issue();
    let key = values(&token)[0].clone();
    let whole = get(&key);
    let mut spoilt: Vec<Vec<u8>> = Vec::new();
    for at in [0, 1, 2, 13, 14, whole.len() / 2, whole.len() - 1] {
        let mut value = whole.clone();
        value[at] ^= 1;
        spoilt.push(value);
    }
    spoilt.extend([whole[..whole.len() - 1].to_vec(), [&whole[..], b"x"].concat(), Vec::new()]);
    for value in spoilt {
        let token = fleet.server.issue();
        let key = values(&token)[0].clone();
        set(&key, &value);
        assert_eq!(fleet.pass(1, &token), "MISS");
    }
    let errors = fleet.gateways[1].metrics().get("store_errors_total{reason=\"unsealed\"}");
    assert!(errors >= 1.0);

    // Brought back after a purge, as an old copy of the store would.
    let token = token_of(&fleet, "back");
    let keys = values(&token);
    let lease = format!("{}g", keys[0].rsplit_once(':').unwrap().0.to_owned() + ":");
    let (old_lease, old_value) = (get(&lease), get(&keys[0]));
    fleet.server.revoke(&token.token);
    assert_eq!(fleet.purge(0, &form(&token)), 204);
    fleet.gateways[1].wait_for_metrics("the purge", |now| {
        now.sum("store_purges_total{", "direction=\"heard\"") >= 1.0
    });
    set(&keys[0], &old_value);
    assert!(!fleet.admits(1, &token), "a value without its lease");
    set(&lease, &old_lease);
    set(&keys[0], &old_value);
    assert!(!fleet.admits(1, &token), "a value with its lease, older than a purge that was heard");
    assert!(!fleet.admits(0, &token));
}

/// The key that a JWT was signed with.
fn key_id(jwt: &str) -> String {
    keys::header(jwt).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[test]
fn a_minted_jwt_is_taken_where_its_key_is_shown() {
    let (first, second) = (PemKey::p256(), PemKey::p256());
    let keys = [first.private.clone(), second.private.clone()];
    let fleet = Fleet::builder()
        .each(move |builder| {
            builder
                .file("first.key", keys[0].as_bytes())
                .file("second.key", keys[1].as_bytes())
                .http(
                    "phantom_token_forward mint;\n\
                     phantom_token_mint_issuer https://gateway.example;\n\
                     phantom_token_mint_audience https://api.example;",
                )
                .location("= /jwks", "phantom_token_publish_jwks;")
        })
        .start_none();
    let gateway = |mint_keys: &str| {
        let gateway = fleet.configuration().http(mint_keys).start();
        phantom_token_test::fleet::wait_until_in_sync(&gateway);
        gateway
    };
    // One signs with the first key, one knows it, one does not.
    let signs = gateway("phantom_token_mint_key first.key;");
    let knows = gateway("phantom_token_mint_key second.key; phantom_token_mint_key first.key;");
    let not = gateway("phantom_token_mint_key second.key;");
    let answer = json!({"active": true, "sub": "alice", "client_id": "app"});
    let key_of = |gateway: &Gateway, token: &str| {
        let response = gateway.get_as("/shown", token);
        assert_eq!(response.status, 204, "{response:?}");
        let jwt = response.header("sent").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        (key_id(&jwt), outcome(&response))
    };
    let mut nth = 0;
    wait_until("a minted JWT that is shared", || {
        nth += 1;
        let token = format!("minted-{nth}");
        fleet.server.script(&token, Script::json(&answer));
        let (kid, how) = key_of(&signs, &token);
        assert_eq!(how, "MISS");
        let (other, how) = key_of(&knows, &token);
        if how != "STORE" {
            return false;
        }
        assert_eq!(other, kid);
        let (own, how) = key_of(&not, &token);
        assert_eq!(how, "MISS");
        assert_ne!(own, kid);
        // It has not overwritten what it could not use.
        let again = gateway("phantom_token_mint_key second.key; phantom_token_mint_key first.key;");
        let (theirs, how) = key_of(&again, &token);
        assert!(how == "MISS" || theirs == kid, "{how}");
        true
    });
    not.wait_for_log(&["[warn]", "phantom token", "key"]);
}
