//! More than one gateway, or more than one cache in it.

use phantom_token_test::process::wait_until;
use phantom_token_test::{AuthorizationServer, Client, Gateway, Rig};

use crate::support::*;

/// Another instance beside a rig's.
fn another(rig: &Rig) -> Gateway {
    let builder = Gateway::builder().protect(&rig.server, &rig.api);
    gateway(builder, &rig.server, "").start()
}

#[test]
fn two_instances_revoked_then_purged_at_one() {
    let one = rig("", |builder| builder);
    let other = another(&one);
    let token = token(&one);
    keep(&one.gateway, &token);
    let kept = keep(&other, &token);
    one.server.revoke(&token.token);
    purge(&one.gateway, "all=1");
    assert!(!is_let_in(&one.gateway, &token));
    let_in_for(&other, &token, kept, 0).assert();
}

#[test]
fn two_instances_revoked_then_purged_at_each() {
    let one = rig("", |builder| builder);
    let other = another(&one);
    let token = token(&one);
    for gateway in [&one.gateway, &other] {
        keep(gateway, &token);
    }
    one.server.revoke(&token.token);
    for gateway in [&one.gateway, &other] {
        purge(gateway, "all=1");
        assert_refused_at_once(gateway, &token);
    }
}

/// For a while two binaries serve side by side, each with a cache of its own.
#[test]
fn a_binary_upgrade_is_under_way_revoked_then_purged_once() {
    let server = AuthorizationServer::start();
    let api = phantom_token_test::Api::start();
    let builder = gateway(Gateway::builder().protect(&server, &api), &server, "");
    let mut daemon = builder.start_daemon();
    let token = server.mint(mint());
    daemon.upgrade();
    // A connection to a worker of each.
    let mut clients: Vec<(String, Client)> = Vec::new();
    wait_until("a connection to each", || {
        let mut client = Client::connect(daemon.port());
        let response = client.get_as("/checked", &token.token);
        assert_eq!(response.status, 204);
        let worker = response.header("worker").expect("its process id").to_owned();
        if clients.iter().all(|(known, _)| *known != worker) {
            clients.push((worker, client));
        }
        clients.len() == 2
    });
    server.revoke(&token.token);
    clients[0].1.send_request("POST", "/purge", &[], b"all=1");
    assert_eq!(clients[0].1.read().status, 204);
    assert_eq!(clients[0].1.get_as("/checked", &token.token).status, 401);
    assert_eq!(clients[1].1.get_as("/checked", &token.token).status, 204, "as without a purge");
    assert_eq!(told(), Some(300));
}
