//! Where nothing is asked for ahead: it would not help, or the authorization server is not to be asked more
//! than it must.

use phantom_token_test::authorization_server::Hold;
use phantom_token_test::process::wait_until;

use super::*;

/// Hits do not have an entry asked for.
#[track_caller]
fn assert_not_asked(rig: &Rig, target: &str, token: &Token, what: &str) {
    let before = rig.server.introspections_of(&token.token);
    for _ in 0..3 {
        assert_eq!(pass(&rig.gateway, target, token), "HIT", "{what}");
    }
    // A call that had begun would be counted before it is sent.
    assert_eq!(numbers(&rig.gateway)["introspections_pending"], 0, "{what}");
    assert_eq!(rig.server.introspections_of(&token.token), before, "{what}");
}

#[test]
fn an_entry_that_exp_ends() {
    let rig = refreshing(1, |builder| {
        builder.location("/short", &shown("phantom_token_cache_valid 240s;"))
    });
    let token = rig.server.mint(Mint::new().expires_in(290));
    assert_eq!(pass(&rig.gateway, "/shown", &token), "MISS");
    rig.gateway.pass_time(210 * SECOND);
    assert_not_asked(&rig, "/shown", &token, "exp ends it");
    assert_eq!(refreshes(&rig.gateway, "dropped"), 0.0);
    // There the time of the location does.
    assert_eq!(pass(&rig.gateway, "/short", &token), "HIT");
    rig.server.wait_for_introspections(2);
}

#[test]
fn an_entry_that_cache_control_ends_where_that_is_obeyed() {
    let rig = refreshing(1, |builder| {
        builder.location("/strict", &shown("phantom_token_cache_control strict;"))
    });
    for (target, max_age, asks) in
        [("/strict", 240, false), ("/strict", 3_000, true), ("/shown", 240, true)]
    {
        let token = long_lived(&rig);
        let answer = Script::jwt(&token.jwt);
        let control = format!("max-age={max_age}");
        rig.server.script(&token.token, answer.header("Cache-Control", &control));
        assert_eq!(pass(&rig.gateway, target, &token), "MISS");
        rig.gateway.pass_time(if max_age == 240 { 220 * SECOND } else { LATE });
        match asks {
            false => assert_not_asked(&rig, target, &token, &control),
            true => {
                assert_eq!(pass(&rig.gateway, target, &token), "HIT", "{target} {control}");
                rig.server.wait_for_introspections_of(&token.token, 2);
            }
        }
    }
}

#[test]
fn where_the_endpoint_rests() {
    let rig = refreshing_with(1, |builder, server| {
        builder.endpoint(&format!("{} max_fails=1 fail_timeout=600s", server.introspection_url()))
    });
    let token = about_to_end(&rig);
    rig.server.stop();
    wait_until("the rest", || {
        rig.gateway.get_as("/shown", "another").header("reason") == Some("resting")
    });
    assert_not_asked(&rig, "/shown", &token, "resting");
    assert_eq!(refreshes(&rig.gateway, "dropped"), 1.0, "and not looked at again for a while");
    rig.server.resume().unwrap();
    rig.gateway.wait_for_log(&["is up again"]);
    rig.gateway.pass_time(21 * SECOND);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    wait_for_refreshes(&rig.gateway, "active", 1);
}

#[test]
fn where_the_gate_is_shut() {
    let rig = refreshing(1, |builder| builder);
    let (token, other) = (about_to_end(&rig), long_lived(&rig));
    rig.server.script_own_calls(Script::status(401));
    rig.server.script(&other.token, Script::status(401));
    assert_eq!(rig.gateway.get_as("/shown", &other.token).status, 500);
    let shut = format!("gate_shut{{endpoint=\"{}\"}}", rig.server.introspection_url());
    rig.gateway.wait_for_metrics("the gate to shut", |metrics| metrics.get(&shut) == 1.0);
    assert_not_asked(&rig, "/shown", &token, "the gate is shut");
    assert_eq!(refreshes(&rig.gateway, "dropped"), 1.0, "and not looked at again for a while");
    rig.server.unscript();
    rig.gateway.wait_for_metrics("the gate to open", |metrics| metrics.get(&shut) == 0.0);
    rig.gateway.pass_time(21 * SECOND);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    wait_for_refreshes(&rig.gateway, "active", 1);
}

#[test]
fn where_a_429_lasts() {
    let rig = refreshing(2, |builder| builder);
    let (token, other) = (about_to_end(&rig), long_lived(&rig));
    let limited = Script::status(429).header("Retry-After", "20");
    rig.server.script(&other.token, limited);
    for (_, mut client) in client_of_each_worker(&rig.gateway).into_iter().take(1) {
        assert_eq!(client.get_as("/shown", &other.token).status, 503);
    }
    for (_, mut client) in client_of_each_worker(&rig.gateway) {
        assert_passes(&client.get_as("/shown", &token.token), &token);
    }
    assert_not_asked(&rig, "/shown", &token, "429");
    assert_eq!(refreshes(&rig.gateway, "dropped"), 2.0, "one a worker");
    // It ends, and what is kept anew is asked for.
    rig.gateway.pass_time(25 * SECOND);
    let token = about_to_end(&rig);
    assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    wait_for_refreshes(&rig.gateway, "active", 1);
}

#[test]
fn where_more_than_half_of_max_pending_is_in_use() {
    let rig = refreshing(1, |builder| builder.http("phantom_token_max_pending 6;"));
    let tokens = [long_lived(&rig), long_lived(&rig)];
    for token in &tokens {
        assert_eq!(pass(&rig.gateway, "/shown", token), "MISS");
    }
    rig.gateway.pass_time(LATE);
    let others: Vec<_> = (0..4).map(|_| long_lived(&rig)).collect();
    let holds: Vec<Hold> = others.iter().map(|one| rig.server.hold_token(&one.token)).collect();
    let mut crowd: Vec<_> = others.iter().map(|_| rig.gateway.client()).collect();
    let hold = rig.server.hold_token(&tokens[0].token);
    // Three of six are in use: one more may be.
    for (client, other) in crowd.iter_mut().zip(&others).take(3) {
        send(client, "/shown", &other.token);
    }
    rig.server.wait_for_introspections(5);
    assert_eq!(pass(&rig.gateway, "/shown", &tokens[0]), "HIT");
    rig.server.wait_for_introspections(6);
    // Four are.
    assert_eq!(pass(&rig.gateway, "/shown", &tokens[1]), "HIT");
    assert_eq!(refreshes(&rig.gateway, "dropped"), 1.0);
    assert_eq!(rig.server.introspections_of(&tokens[1].token), 1);
    // Misses are made as ever.
    send(&mut crowd[3], "/shown", &others[3].token);
    rig.server.wait_for_introspections(7);
    drop((holds, hold));
    for (client, other) in crowd.iter_mut().zip(&others) {
        assert_passes(&client.read(), other);
    }
    // Half of what was left has passed.
    rig.gateway.pass_time(21 * SECOND);
    assert_eq!(pass(&rig.gateway, "/shown", &tokens[1]), "HIT");
    wait_for_refreshes(&rig.gateway, "active", 2);
}

#[test]
fn an_answer_that_a_purge_overtook_is_for_nobody() {
    for all in [false, true] {
        let rig = refreshing(2, |builder| builder);
        let token = about_to_end(&rig);
        let hold = rig.server.hold();
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        rig.server.wait_for_introspections(2);
        let form = if all { "all=1".to_owned() } else { format!("token={}", token.token) };
        assert_eq!(purge(&rig.gateway, &form), 204);
        // Who comes after it asks anew.
        let mut clients = client_of_each_worker(&rig.gateway);
        send(&mut clients[0].1, "/shown", &token.token);
        rig.server.wait_for_introspections(3);
        drop(hold);
        assert_passes(&clients[0].1.read(), &token);
        wait_for_refreshes(&rig.gateway, "dropped", 1);

        // Nor is it kept where nobody comes meanwhile.
        rig.gateway.pass_time(LATE);
        let hold = rig.server.hold();
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
        rig.server.wait_for_introspections(4);
        assert_eq!(purge(&rig.gateway, &form), 204);
        rig.server.revoke(&token.token);
        drop(hold);
        wait_until("its end", || numbers(&rig.gateway)["introspections_pending"] == 0);
        for (_, client) in &mut clients {
            assert_eq!(client.get_as("/shown", &token.token).status, 401);
        }
    }
}
