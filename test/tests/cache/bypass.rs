//! `phantom_token_cache_bypass`: the server is asked anew, and what is kept is replaced.

use phantom_token_test::{Rig, Script};

use crate::support::*;

fn refreshing(workers: usize, directives: &str) -> Rig {
    rig(workers, |builder| {
        builder
            .listen("reuseport")
            .http("map $arg_refresh $refresh { default $arg_refresh; }")
            .location(
                "/asked",
                &shown(&format!("phantom_token_cache_bypass $refresh;\n{directives}")),
            )
    })
}

#[test]
fn the_server_is_asked_where_a_value_is_set() {
    let rig = refreshing(1, "");
    let token = rig.server.issue();
    for (target, calls) in [
        ("/asked", 1),
        ("/asked", 1),
        ("/asked?refresh=1", 2),
        ("/asked?refresh=0", 2),
        ("/asked?refresh=", 2),
        ("/asked?refresh=yes", 3),
        ("/asked", 3),
    ] {
        assert_passes(&rig.gateway.get_as(target, &token.token), &token);
        assert_eq!(rig.server.introspections(), calls, "{target}");
    }
}

#[test]
fn the_new_answer_replaces_the_old_in_all_workers() {
    let rig = refreshing(4, "");
    let (old, new) = (rig.server.issue(), rig.server.issue());
    let mut clients = client_of_each_worker(&rig.gateway);
    for (_, client) in &mut clients {
        assert_passes(&client.get_as("/asked", &old.token), &old);
        assert_eq!(outcome(&client.get_as("/asked", &old.token)), "HIT");
    }
    rig.server.script(&old.token, Script::jwt(&new.jwt));
    assert_passes(&rig.gateway.get_as("/asked?refresh=1", &old.token), &new);
    for (_, client) in &mut clients {
        let response = client.get_as("/asked", &old.token);
        assert_passes(&response, &new);
        assert_eq!(outcome(&response), "HIT");
    }
    assert_eq!(rig.server.introspections(), 2);
}

#[test]
fn a_revoked_token_is_out_everywhere_once_one_has_looked() {
    for directives in ["", "phantom_token_cache_inactive_valid 0;"] {
        let rig = refreshing(4, directives);
        let token = rig.server.issue();
        let mut clients = client_of_each_worker(&rig.gateway);
        for (_, client) in &mut clients {
            assert_passes(&client.get_as("/asked", &token.token), &token);
        }
        rig.server.revoke(&token.token);
        assert_eq!(clients[0].1.get_as("/asked", &token.token).status, 204, "still kept");
        assert_eq!(clients[1].1.get_as("/asked?refresh=1", &token.token).status, 401);
        for (_, client) in &mut clients {
            assert_eq!(client.get_as("/asked", &token.token).status, 401, "{directives}");
        }
    }
}

#[test]
fn a_failed_look_leaves_what_is_kept() {
    let rig = refreshing(1, "");
    let token = rig.server.issue();
    pass(&rig.gateway, "/asked", &token);
    rig.server.script(&token.token, Script::status(500));
    assert_eq!(rig.gateway.get_as("/asked?refresh=1", &token.token).status, 500);
    assert_eq!(pass(&rig.gateway, "/asked", &token), "HIT");
}
