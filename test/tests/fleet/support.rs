//! What the tests of a fleet share.

use phantom_token_test::authorization_server::Token;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Client, Fleet, Gateway, Mint};

/// A form that purges one token.
pub(crate) fn form(token: &Token) -> String {
    format!("token={}", token.token)
}

/// Sends a request to `/shown` without waiting for its response.
pub(crate) fn send(gateway: &Gateway, token: &str) -> Client {
    let mut client = gateway.client();
    let authorization = format!("Bearer {token}");
    client.send_request("GET", "/shown", &[("Authorization", &authorization)], b"");
    client
}

/// Waits until a gateway refuses a token that it let in: sooner than its answer ends.
pub(crate) fn wait_until_refused(fleet: &Fleet, gateway: usize, token: &Token) {
    wait_until(&format!("gateway {gateway} to refuse a purged token"), || {
        !fleet.admits(gateway, token)
    });
}

/// A token of this subject, its client, its session and its own id.
pub(crate) fn token_of(fleet: &Fleet, name: &str) -> Token {
    let mint = Mint::new()
        .client(&format!("client-{name}"))
        .claim("sub", format!("sub-{name}"))
        .claim("sid", format!("sid-{name}"))
        .claim("jti", format!("jti-{name}"));
    fleet.server.mint(mint)
}

/// Lets every gateway of the fleet take a token into its own cache.
pub(crate) fn warm(fleet: &Fleet, token: &Token) {
    for gateway in 0..fleet.gateways.len() {
        fleet.pass(gateway, token);
        assert_eq!(fleet.pass(gateway, token), "HIT");
    }
}

/// How often gateways have asked for a token.
pub(crate) fn calls(fleet: &Fleet, token: &Token) -> usize {
    fleet.server.introspections_of(&token.token)
}
