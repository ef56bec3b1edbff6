//! Tokens judged before `limit_req` and `limit_conn`: what these then limit by, and what else is as in the
//! access phase.

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN};
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Reply, Response, Rig, Script};

/// One request a minute for each user, where it stands.
const ZONES: &str = "limit_req_zone $phantom_token_claim_sub zone=user:1m rate=1r/m;\n\
     limit_conn_zone $phantom_token_claim_sub zone=conn:1m;\n\
     limit_req_status 429;\nlimit_conn_status 429;";

const PREACCESS: &str = "phantom_token_phase preaccess;";

/// A gateway whose `/api` is judged before the limits.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.http(ZONES).directives(PREACCESS)))
}

fn user(rig: &Rig, name: &str) -> String {
    rig.server.mint(Mint::new().claim("sub", name)).token
}

/// The statuses of so many requests of one user.
fn statuses(gateway: &Gateway, target: &str, token: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| gateway.get_as(target, token).status).collect()
}

#[test]
fn limits_by_claims_count_where_the_token_is_judged_first() {
    let rig = Rig::start(|builder| {
        builder
            .http(ZONES)
            .location("/access", "phantom_token on;\nlimit_req zone=user;\ntry_files /none =204;")
            .location(
                "/preaccess",
                "phantom_token on;\nphantom_token_phase preaccess;\n\
                 limit_req zone=user;\ntry_files /none =204;",
            )
    });
    let (one, two) = (user(&rig, "one"), user(&rig, "two"));
    // The trap: the claim is not known when the limit asks for it, and nobody is limited.
    assert_eq!(statuses(&rig.gateway, "/access", &one, 5), [204; 5]);
    // Misses and hits alike.
    assert_eq!(statuses(&rig.gateway, "/preaccess", &one, 3), [204, 429, 429]);
    assert_eq!(statuses(&rig.gateway, "/preaccess", &two, 3), [204, 429, 429]);
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_user_s_connections_are_counted() {
    let rig = rig(|builder| {
        builder.directives("limit_conn conn 1;").location(
            "/quick",
            "phantom_token on;\nphantom_token_phase preaccess;\n\
             limit_conn conn 1;\ntry_files /none =204;",
        )
    });
    let (one, two) = (user(&rig, "one"), user(&rig, "two"));
    let bearer = format!("Bearer {one}");
    let headers = [("Authorization", bearer.as_str())];
    let whole = rig.gateway.client().request_bytes("POST", "/api", &headers, b"whole");
    // NGINX reads the body when the limits have let it in.
    let (begun, rest) = whole.split_at(whole.len() - 1);
    let mut client = rig.gateway.client();
    client.send(begun);
    wait_until("the limit", || rig.gateway.get_as("/quick", &one).status == 429);
    assert_eq!(rig.gateway.get_as("/quick", &two).status, 204);
    client.send(rest);
    assert_eq!(client.read().status, 200);
    wait_until("its end", || rig.gateway.get_as("/quick", &one).status == 204);
}

#[test]
fn refusals_are_the_same_and_count_for_no_limit() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .http(ZONES)
            .directives(PREACCESS)
            .directives("limit_req zone=user;")
            .location(
                "/scoped",
                "phantom_token on;\nphantom_token_phase preaccess;\n\
                 phantom_token_scope execute;\nlimit_req zone=user;\ntry_files /none =204;",
            )
    });
    rig.server.script("failing", Script::status(500));
    rig.server.script("limited", Script::status(429));
    let token = user(&rig, "one");
    let mut client = rig.gateway.client();
    let body = vec![b'x'; 100_000];
    for method in ["GET", "POST"] {
        let body = if method == "POST" { body.as_slice() } else { b"" };
        let mut ask = |target: &str, bearer: &str| {
            let headers = [("Authorization", bearer)];
            let headers = if bearer.is_empty() { &[][..] } else { &headers[..] };
            client.send_request(method, target, headers, body);
            let response = client.read();
            assert!(client.is_idle());
            response
        };
        for _ in 0..3 {
            Reply::unauthorized(CHALLENGE).assert(&ask("/api", ""));
            Reply::unauthorized(INVALID_TOKEN).assert(&ask("/api", "Bearer unknown"));
            Reply::failure().assert(&ask("/api", "Bearer failing"));
            Reply::unavailable("1").assert(&ask("/api", "Bearer limited"));
            assert_eq!(ask("/scoped", &format!("Bearer {token}")).status, 403);
        }
    }
    assert_eq!(rig.api.count(), 0);
    let (scoped, limited) = (rig.get_as(&token), rig.get_as(&token));
    assert_eq!((scoped.status, limited.status), (200, 429), "the first that counts");
}

#[test]
fn addresses_are_refused_after_the_token() {
    let rig = rig(|builder| builder.directives("deny all;"));
    let token = rig.server.issue();
    let refused = rig.get_as(&token.token);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("<html>"), "NGINX's own page: {refused:?}");
    assert_eq!((rig.server.introspections(), rig.api.count()), (1, 0), "it costs a call");
    Reply::unauthorized(INVALID_TOKEN).assert(&rig.get_as("unknown"));
}

/// What a response says that the module's variables held.
fn said(response: &Response) -> (u16, &str) {
    (response.status, response.header("outcome").unwrap_or("-"))
}

#[test]
fn a_token_is_judged_once_in_a_pass() {
    let rig = rig(|builder| {
        builder.http("phantom_token_cache off;").directives(
            "add_header Outcome \"$phantom_token_status $phantom_token_reason\" always;",
        )
    });
    let token = rig.server.issue();
    let response = rig.get_as(&token.token);
    assert_eq!(said(&response), (200, "MISS cache_off"));
    assert_eq!(rig.server.introspections(), 1);
    assert_eq!(rig.api.last().authorization(), [token.phantom()]);
}
