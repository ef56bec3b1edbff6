//! A panic at each entry from C: the request fails closed, one `[crit]` line tells where, and the
//! worker serves on.
//!
//! Needs the module that `injected_module` finds, which says what it means where there is none.

use std::time::Duration;

use phantom_token_test::fleet::{self, Fleet};
use phantom_token_test::nginx::{Builder, injected_module};
use phantom_token_test::process::{wait_for, wait_until};
use phantom_token_test::{Api, AuthorizationServer, Client, Gateway, Reply, Rig, Script};

/// A gateway whose module panics once, in the entry named.
fn rig(entry: &str) -> Option<Rig> {
    rig_with(entry, |builder, _| builder)
}

fn rig_with(
    entry: &str,
    change: impl FnOnce(Builder, &AuthorizationServer) -> Builder,
) -> Option<Rig> {
    let module = injected_module()?;
    Some(Rig::with(AuthorizationServer::start(), |builder, server| {
        change(builder, server)
            .module_file(&module)
            .environment("PHANTOM_TOKEN_PANIC_AT", entry)
            .allow(&format!("caught a panic in {entry} at "))
            .http("phantom_token_timeout 5s;\nphantom_token_connect_timeout 5s;")
            .location("= /purge", "phantom_token_purge;")
            .location("= /status", "phantom_token_status;")
            .location("= /ready", "phantom_token_ready;")
            .location("/named", "return 200 \"$phantom_token_status\\n\";")
    }))
}

/// The line is there, once, with no word of the panic's own; all goes on with the same worker.
fn assert_serves_on(rig: &Rig, entry: &str, worker: &[u32]) {
    let line = rig.gateway.wait_for_log(&["[crit]", &format!("caught a panic in {entry} at ")]);
    assert!(line.contains("src/nginx/guard.rs:") && !line.contains("injected"), "{line}");
    for _ in 0..3 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(rig.gateway.get("/api", &[]).status, 401);
    assert_eq!(rig.gateway.workers(), worker);
    let lines = rig.gateway.module_lines();
    assert_eq!(lines.iter().filter(|line| line.contains("caught a panic")).count(), 1);
}

#[test]
fn where_a_request_waits_for_it() {
    let entries = [
        "the access handler",
        "an introspection",
        "a thread task",
        "the end of an introspection",
        "resuming a request",
        "the header filter",
    ];
    for entry in entries {
        let Some(rig) = rig(entry) else { return };
        let worker = rig.gateway.workers();
        let response = rig.get_as(&rig.server.issue().token);
        if entry == "a thread task" {
            // The task is handed back undone, and without a line: the flight tells.
            assert_eq!(response.status, 500, "{entry}: {response:?}");
            rig.assert_passes(&rig.server.issue());
            assert_eq!(rig.gateway.workers(), worker);
            continue;
        }
        assert_eq!(response.status, 500, "{entry}: {response:?}");
        if entry != "the header filter" {
            assert_eq!(rig.api.count(), 0, "{entry}: fails closed");
        }
        let entry = if entry == "an introspection" { "introspection" } else { entry };
        rig.gateway.allow("caught a panic in introspection at ");
        assert_serves_on(&rig, entry, &worker);
    }
}

#[test]
fn where_a_request_is_judged_before_the_limits() {
    for entry in ["the preaccess handler", "resuming a request", "the header filter"] {
        let before_limits = |builder: Builder, _: &AuthorizationServer| {
            builder.directives("phantom_token_phase preaccess;")
        };
        let Some(rig) = rig_with(entry, before_limits) else { return };
        let worker = rig.gateway.workers();
        let response = rig.get_as(&rig.server.issue().token);
        assert_eq!(response.status, 500, "{entry}: {response:?}");
        if entry != "the header filter" {
            assert_eq!(rig.api.count(), 0, "{entry}: fails closed");
        }
        assert_serves_on(&rig, entry, &worker);
    }
}

#[test]
fn where_a_redirected_request_begins_anew() {
    let entry = "the rewrite handler";
    let change = |builder: Builder, _: &AuthorizationServer| {
        builder.location("/first", "phantom_token on;\ntry_files /none /api;")
    };
    let Some(rig) = rig_with(entry, change) else { return };
    let worker = rig.gateway.workers();
    let token = rig.server.issue();
    assert_eq!(rig.gateway.get_as("/first", &token.token).status, 500);
    assert_eq!(rig.api.count(), 0, "fails closed");
    assert_serves_on(&rig, entry, &worker);
    assert_eq!(rig.gateway.get_as("/first", &token.token).status, 200);
}

#[test]
fn in_content_handlers() {
    for (entry, method, target) in [
        ("the purge handler", "POST", "/purge"),
        ("the end of a purge's body", "POST", "/purge"),
        ("the status handler", "GET", "/status"),
        ("the readiness handler", "GET", "/ready"),
    ] {
        let Some(rig) = rig(entry) else { return };
        let worker = rig.gateway.workers();
        let ask = || {
            let mut client = rig.gateway.client();
            client.send_request(method, target, &[], if method == "POST" { b"all=1" } else { b"" });
            client.read().status
        };
        assert_eq!(ask(), 500, "{entry}");
        assert_ne!(ask(), 500, "{entry}");
        assert_serves_on(&rig, entry, &worker);
    }
}

#[test]
fn where_a_response_has_begun() {
    let Some(rig) = rig("the body filter") else { return };
    let worker = rig.gateway.workers();
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[], b"");
    assert!(client.try_read(false).is_err(), "headers are out: the connection ends");
    assert_serves_on(&rig, "the body filter", &worker);
}

#[test]
fn in_what_no_response_depends_on() {
    for entry in ["a variable", "the end of a context", "the end of a request"] {
        let Some(rig) = rig(entry) else { return };
        // Two of them have no log to write to that outlives the request.
        let quiet = entry != "a variable";
        let worker = rig.gateway.workers();
        let response = rig.gateway.get("/named", &[]);
        assert_eq!((response.status, response.text().as_str()), (200, "\n"), "{entry}");
        rig.assert_passes(&rig.server.issue());
        if quiet {
            rig.assert_passes(&rig.server.issue());
            assert_eq!(rig.gateway.workers(), worker);
        } else {
            assert_serves_on(&rig, entry, &worker);
        }
    }
}

#[test]
fn in_a_variable_that_decides() {
    // A claim that cannot be read must not look absent.
    let maps = "map $phantom_token_claim_blocked $is_allowed { default 1; true 0; }
                map $phantom_token_claim_tier $needed { default read; gold write; }";
    for directive in ["phantom_token_require $is_allowed;", "phantom_token_scope $needed;"] {
        let rig = rig_with("a variable", |builder, _| builder.http(maps).directives(directive));
        let Some(rig) = rig else { return };
        let worker = rig.gateway.workers();
        let token = rig.server.issue();
        Reply::failure().assert(&rig.get_as(&token.token));
        assert_eq!(rig.api.count(), 0);
        rig.assert_passes(&token);
        assert_serves_on(&rig, "a variable", &worker);
    }
}

#[test]
fn in_a_call_of_the_gateway_s_own() {
    for entry in ["an own call", "the end of an own call", "looking after doubts"] {
        let Some(rig) = rig(entry) else { return };
        rig.gateway.allow("caught a panic in a call of the gateway's own at ");
        let worker = rig.gateway.workers();
        // The first one says nothing, and the next one decides.
        rig.server.script_all(Script::status(401));
        wait_until("the gate shuts", || {
            assert_eq!(rig.get_as("refused").status, 500);
            rig.gateway.error_log().contains("to the gateway's own calls too")
        });
        rig.server.unscript();
        // Where the timer had no next look, the next request sees to it.
        wait_until("the gate opens", || {
            rig.get_as("unknown");
            rig.gateway.error_log().contains("takes this client's credentials again")
        });
        match entry {
            "an own call" => assert_serves_on(&rig, "a call of the gateway's own", &worker),
            "looking after doubts" => assert_serves_on(&rig, entry, &worker),
            // Nothing depends on it, and nobody is told.
            _ => rig.assert_passes(&rig.server.issue()),
        }
        assert_eq!(rig.gateway.workers(), worker);
    }
}

#[test]
fn while_a_call_of_another_worker_is_followed() {
    let entry = "following a call";
    let Some(rig) = rig_with(entry, |builder, _| {
        builder.workers(2).listen("reuseport").location("= /worker", "return 200 $pid;")
    }) else {
        return;
    };
    let workers = rig.gateway.workers();
    let client_of = |worker: u32| -> Client {
        wait_for("a connection to a worker", || {
            let mut client = rig.gateway.client();
            (client.get("/worker", &[]).text() == worker.to_string()).then_some(client)
        })
    };
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let [mut calls, mut follows] = [client_of(workers[0]), client_of(workers[1])];
    calls.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    rig.server.wait_for_introspections(1);
    follows.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
    rig.gateway.wait_for_log(&["[crit]", "caught a panic in following a call at "]);
    assert_eq!(follows.read().status, 500, "it learns nothing before its deadline");
    assert_eq!(rig.api.count(), 0);
    drop(hold);
    calls.read();
    assert_serves_on(&rig, entry, &workers);
    assert_eq!(follows.get_as("/api", &rig.server.issue().token).status, 200);
}

/// A gateway of a fleet, whose module panics once in the entry named.
fn in_a_fleet(entry: &str) -> Option<(Fleet, Gateway)> {
    let (module, entry) = (injected_module()?, entry.to_owned());
    let panicking = move |builder: Builder| {
        builder
            .module_file(&module)
            .environment("PHANTOM_TOKEN_PANIC_AT", &entry)
            .allow(&format!("caught a panic in {entry} at "))
    };
    let fleet = Fleet::builder().each(panicking).start_none();
    let gateway = fleet.launch();
    fleet::wait_until_in_sync(&gateway);
    Some((fleet, gateway))
}

#[test]
fn while_the_store_is_told_of_a_purge() {
    let entry = "a purge through the store";
    let Some((fleet, gateway)) = in_a_fleet(entry) else { return };
    let (token, workers) = (fleet.server.issue(), gateway.workers());
    fleet::pass(&gateway, &token);
    let form = format!("token={}", token.token);
    // It is gone here all the same; whoever purged knows that the fleet was not told.
    fleet.server.revoke(&token.token);
    assert_eq!(fleet::purge(&gateway, &form).status, 503);
    assert_eq!(gateway.get_as("/shown", &token.token).status, 401);
    gateway.wait_for_log(&["[crit]", &format!("caught a panic in {entry} at src/nginx/guard.rs:")]);
    assert_eq!(fleet::purge(&gateway, &form).status, 204);
    assert_eq!(gateway.workers(), workers);
}

#[test]
fn while_purges_are_looked_for_again() {
    let entry = "a second look at purges";
    let Some((fleet, gateway)) = in_a_fleet(entry) else { return };
    let workers = gateway.workers();
    assert_eq!(fleet::purge(&gateway, "sub=alice").status, 204);
    gateway.wait_for_log(&["[crit]", &format!("caught a panic in {entry} at src/nginx/guard.rs:")]);
    // What it held is forgotten. The next one is looked after.
    assert_eq!(fleet::purge(&gateway, "sub=bob").status, 204);
    fleet.lose_last_purge();
    gateway.wait_for_log(&["[warn]", "has lost purges that it had acknowledged"]);
    assert_eq!(gateway.workers(), workers);
}

#[test]
fn while_failures_are_summed_up() {
    let entry = "summing up failures";
    let Some(rig) = rig_with(entry, |builder, server| {
        builder.count_calls().endpoint(&format!("{} max_fails=0", server.introspection_url()))
    }) else {
        return;
    };
    let worker = rig.gateway.workers();
    rig.server.script("failing", Script::status(500));
    for _ in 0..8 {
        assert_eq!(rig.get_as("failing").status, 500);
    }
    rig.gateway.pass_time(Duration::from_secs(60));
    rig.gateway.get("/", &[]);
    assert_serves_on(&rig, entry, &worker);
}

#[test]
fn while_idle_connections_are_looked_at() {
    let entry = "closing connections";
    let Some(rig) = rig_with(entry, |builder, _| builder.count_calls()) else { return };
    let worker = rig.gateway.workers();
    rig.assert_passes(&rig.server.issue());
    rig.gateway.pass_time(Duration::from_secs(10));
    rig.gateway.get("/", &[]);
    assert_serves_on(&rig, entry, &worker);
    // The next call sets the timer again.
    rig.gateway.pass_time(Duration::from_secs(70));
    wait_until("the connection's end", || {
        rig.gateway.get("/", &[]);
        rig.server.open_connections() == 0
    });
}

#[test]
fn when_a_worker_starts() {
    let Some(module) = injected_module() else { return };
    let (server, api) = (AuthorizationServer::start(), Api::start());
    let started = Gateway::builder()
        .protect(&server, &api)
        .module_file(&module)
        .environment("PHANTOM_TOKEN_PANIC_AT", "the start of a worker")
        .allow("caught a panic in the start of a worker at ")
        .main("master_process off;")
        .workers(0)
        .try_start();
    // It may have listened for a moment.
    let log = started.map_or_else(
        |log| log,
        |gateway| {
            gateway.wait_exit();
            gateway.error_log()
        },
    );
    assert!(log.contains("[crit]"), "{log}");
    assert!(
        log.contains("caught a panic in the start of a worker at src/nginx/guard.rs:"),
        "{log}"
    );
    assert_eq!(api.count(), 0);
}

#[test]
fn when_a_worker_or_a_configuration_ends() {
    for entry in ["the end of calls", "the end of a worker"] {
        let Some(rig) = rig(entry) else { return };
        rig.assert_passes(&rig.server.issue());
        rig.gateway.reload();
        let words = format!("caught a panic in {entry} at src/nginx/guard.rs:");
        rig.gateway.wait_for_log(&["[crit]", &words]);
        rig.assert_passes(&rig.server.issue());
        rig.gateway.quit();
        rig.gateway.wait_exit();
    }

    // It has no log of its own any more.
    let Some(rig) = self::rig("the end of a configuration") else { return };
    for _ in 0..3 {
        rig.gateway.reload();
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn while_the_configuration_is_read() {
    let Some(module) = injected_module() else { return };
    let entries = [
        "a configuration",
        "the variables",
        "a directive",
        "a directive of a block",
        "the whole configuration",
        "merging configurations",
        "the end of the configuration",
        "the order of phases",
        "the filters",
        "a zone",
        "a zone of words",
        "the thread pool",
    ];
    for entry in entries {
        let server = AuthorizationServer::start();
        let api = Api::start();
        let check = Gateway::builder()
            .protect(&server, &api)
            .http("phantom_token_provider unused {\ninclude unused.conf;\nclient_auth none;\n}")
            .file("unused.conf", "introspection_endpoint http://127.0.0.1:9/;\n")
            .module_file(&module)
            .environment("PHANTOM_TOKEN_PANIC_AT", entry)
            .check();
        assert!(!check.ok, "{entry}: {}", check.messages);
        let told = format!("caught a panic in {entry} at src/nginx/guard.rs:");
        assert!(check.messages.contains(&told), "{entry}: {}", check.messages);
        // It ends there: nothing that was to follow finds anything amiss.
        assert!(!check.messages.contains("[emerg]"), "{entry}: {}", check.messages);
    }
}
