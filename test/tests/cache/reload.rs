//! A reload keeps what is cached, whatever else it changes; another size begins anew, while workers
//! of before finish with what they have.

use phantom_token_test::process::{alive, wait_until};

use crate::support::*;

#[test]
fn entries_outlive_a_reload_and_a_changed_configuration() {
    let mut rig = rig(2, |builder| {
        builder.http("phantom_token_cache_zone zone=tokens:2m;\nphantom_token_cache tokens;")
    });
    let tokens: Vec<_> = (0..20).map(|_| rig.server.issue()).collect();
    for token in &tokens {
        pass(&rig.gateway, "/shown", token);
    }
    rig.gateway.reload();
    for token in &tokens {
        assert_eq!(pass(&rig.gateway, "/shown", token), "HIT");
    }
    rig.gateway.reload_with(|builder| {
        builder
            .workers(3)
            .http("phantom_token_cache_zone zone=another:1m;\nphantom_token_worker_cache 7;")
            .http("phantom_token_realm changed;\nphantom_token_timeout 3s;")
            .location("/new", &shown("phantom_token_scope read;"))
    });
    for token in &tokens {
        assert_eq!(pass(&rig.gateway, "/shown", token), "HIT");
        assert_eq!(pass(&rig.gateway, "/new", token), "HIT");
    }
    assert_eq!(rig.server.introspections(), 20);
    let requests = numbers(&rig.gateway)["requests"].clone();
    assert_eq!((&requests["miss"], &requests["hit"]), (&20.into(), &60.into()), "counters too");
}

#[test]
fn a_rejected_configuration_harms_nothing() {
    let mut rig = rig(2, |builder| builder.allow("[emerg]"));
    let token = rig.server.issue();
    pass(&rig.gateway, "/shown", &token);
    for (n, wrong) in
        ["phantom_token_cache_zone zone=phantom_token:1k;", "phantom_token_nonsense on;"]
            .into_iter()
            .enumerate()
    {
        rig.gateway.rewrite(|builder| builder.http(wrong));
        rig.gateway.signal(libc::SIGHUP);
        wait_until("the refusal", || rig.gateway.error_log().matches("[emerg]").count() == n + 1);
        assert_eq!(pass(&rig.gateway, "/shown", &token), "HIT");
    }
}

#[test]
fn another_size_begins_anew_and_both_generations_serve() {
    let mut rig = rig(2, |builder| builder);
    let (kept, flying) = (rig.server.issue(), rig.server.issue());
    pass(&rig.gateway, "/shown", &kept);
    let old = rig.gateway.workers();
    let hold = rig.server.hold_token(&flying.token);
    let mut early = rig.gateway.client();
    send(&mut early, "/shown", &flying.token);
    rig.server.wait_for_introspections(2);
    rig.gateway
        .reload_with(|builder| builder.http("phantom_token_cache_zone zone=phantom_token:3m;"));
    assert_eq!(entries(&rig.gateway), (0, 0));
    assert_eq!(pass(&rig.gateway, "/shown", &kept), "MISS");
    assert_eq!(pass(&rig.gateway, "/shown", &kept), "HIT");
    let mut late = rig.gateway.client();
    send(&mut late, "/shown", &flying.token);
    rig.server.wait_for_introspections(4);
    assert!(old.iter().any(|&pid| alive(pid)), "one still waits");
    drop(hold);
    for client in [&mut early, &mut late] {
        assert_passes(&client.read(), &flying);
    }
    assert_eq!(pass(&rig.gateway, "/shown", &flying), "HIT");
    drop((early, late));
    wait_until("the old workers' end", || old.iter().all(|&pid| !alive(pid)));
    assert_eq!(pass(&rig.gateway, "/shown", &flying), "HIT");
}
