//! What is asked anew takes the place of what is there, and what is over is over for all.

use phantom_token_test::fleet::{Fleet, assert_passes, outcome, shown};
use phantom_token_test::keys::PemKey;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Mint, Response};

use crate::support::*;

fn bypassing() -> Fleet {
    Fleet::builder()
        .each(|builder| {
            let anew = shown("phantom_token_cache_bypass $http_anew;");
            builder.location("/anew", &anew)
        })
        .start(3)
}

fn anew(fleet: &Fleet, gateway: usize, token: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Anew", "1")];
    fleet.gateways[gateway].get("/anew", &headers)
}

#[test]
fn a_bypass_takes_the_place_of_what_is_there() {
    let fleet = bypassing();
    let old = fleet.server.issue();
    assert_eq!(fleet.pass(0, &old), "MISS");
    // The same token, about which the server says something else now.
    let new = fleet.server.mint(Mint::new().token(&old.token).scope("another"));
    assert_ne!(old.jwt, new.jwt);
    let response = anew(&fleet, 1, &new.token);
    assert_passes(&response, &new);
    assert_eq!((outcome(&response).as_str(), store_status(&response)), ("MISS", "MISS"));
    assert_eq!(fleet.server.introspections_of(&new.token), 2);
    assert_eq!(fleet.pass(2, &new), "STORE");
}

#[test]
fn a_revocation_that_one_gateway_learns_is_all_gateways() {
    let fleet = bypassing();
    let token = fleet.server.issue();
    for (gateway, outcome) in [(0, "MISS"), (1, "STORE"), (2, "STORE")] {
        assert_eq!(fleet.pass(gateway, &token), outcome);
    }
    fleet.server.revoke(&token.token);
    assert_eq!(fleet.pass(2, &token), "HIT", "it is kept");
    assert_eq!(anew(&fleet, 0, &token.token).status, 401);
    for gateway in [0, 1, 2] {
        wait_until("a gateway that has heard of it", || !fleet.admits(gateway, &token));
    }
}

/// Whatever becomes of telling it.
#[test]
fn a_revocation_that_the_store_is_not_told_is_this_gateway_s() {
    let fleet = Fleet::builder()
        .each(|builder| {
            let anew = shown("phantom_token_cache_bypass $http_anew;");
            builder
                .http("phantom_token_cache_inactive_valid 0;")
                .location("/anew", &anew)
                .allow("did not take a purge")
        })
        .start(2);
    let token = fleet.server.issue();
    assert_eq!((fleet.pass(1, &token).as_str(), fleet.pass(0, &token).as_str()), ("MISS", "STORE"));
    fleet.server.revoke(&token.token);
    fleet.store.ask(&["ACL", "SETUSER", "default", "-del"]);
    assert_eq!(anew(&fleet, 0, &token.token).status, 401);
    assert!(!fleet.admits(0, &token), "the answer that lies in the store is over");
    // Nobody has purged it who could do so again.
    let word = ["[error]", "did not take a purge", "not active any more, until"];
    let line = fleet.gateways[0].wait_for_log(&word);
    assert!(!line.contains("purge again"), "{line}");
}

fn minting(
    keys: &'static str,
) -> impl Fn(phantom_token_test::nginx::Builder) -> phantom_token_test::nginx::Builder {
    move |builder| {
        builder
            .http("phantom_token_forward mint;")
            .http("phantom_token_mint_issuer https://gateway.example;")
            .http("phantom_token_mint_audience https://api.example;")
            .http("include mint-keys.conf;")
            .file("mint-keys.conf", keys)
            .location("= /jwks", "phantom_token_publish_jwks;")
    }
}

#[test]
fn a_jwt_minted_by_a_key_that_is_not_published_here_is_left_alone() {
    let (one, other) = (PemKey::p256(), PemKey::p256());
    let fleet = Fleet::builder()
        .each(move |builder| {
            builder
                .file("one.key", one.private.as_bytes())
                .file("other.key", other.private.as_bytes())
                .file("other.pub", other.public.as_bytes())
        })
        .start_none();
    let launch = |keys| minting(keys)(fleet.configuration()).start();
    let first = launch("phantom_token_mint_key one.key;");
    let second = launch("phantom_token_mint_key other.key;");
    let both = launch("phantom_token_mint_key one.key; phantom_token_mint_key other.pub;");
    for gateway in [&first, &second, &both] {
        phantom_token_test::fleet::wait_until_in_sync(gateway);
    }
    let ask = |gateway: &phantom_token_test::Gateway, token: &str| {
        let response = gateway.get_as("/shown", token);
        assert_eq!(response.status, 204, "{response:?}");
        let sent = response.header("sent").unwrap_or_default().to_owned();
        (outcome(&response), sent)
    };
    // A gateway that has just begun believes nothing of what was asked for shortly before.
    wait_until("gateways that share", || {
        let token = fleet.server.issue();
        ask(&first, &token.token);
        std::thread::sleep(std::time::Duration::from_millis(50));
        ask(&both, &token.token).0 == "STORE"
    });
    let token = fleet.server.issue();
    let (_, minted) = ask(&first, &token.token);
    let (outcome, own) = ask(&second, &token.token);
    assert_eq!(outcome, "MISS");
    assert_ne!(own, minted, "its own");
    second.wait_for_log(&["[warn]", "minted by a key that is not published here"]);
    assert_eq!(ask(&both, &token.token), ("STORE".to_owned(), minted), "it was not overwritten");
}
