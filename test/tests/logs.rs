//! What the module writes into the error log, and what it does not.

use std::collections::HashSet;

use phantom_token_test::tls::{Identity, server_config};
use phantom_token_test::{AuthorizationServer, Mint, Rig, Script};
use serde_json::json;

#[test]
fn no_secret_is_logged_at_any_level() {
    const CANARY: &str = "canary-of-the-answer";
    let server = AuthorizationServer::start();
    let rig = Rig::with(server, |builder, server| {
        builder
            .log_level("debug")
            .secret(CANARY)
            .secret("unknown-token-1234")
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location(
                "/impatient",
                "phantom_token on;\nphantom_token_timeout 1s;\ntry_files /none =204;",
            )
            .location(
                "/scoped",
                "phantom_token on;\nphantom_token_scope execute;\ntry_files /none =204;",
            )
    });
    let token = rig.server.issue();
    rig.assert_passes(&token);
    rig.assert_passes(&token);
    assert_eq!(rig.gateway.get_as("/scoped", &token.token).status, 403);
    assert_eq!(rig.get_as("unknown-token-1234").status, 401);
    assert_eq!(rig.get_as("unknown-token-1234, x").status, 401);
    let bound = rig.server.mint(Mint::new().dpop_bound());
    assert_eq!(rig.get_as(&bound.token).status, 401);
    let expired = rig.server.mint(Mint::new().expires_in(-60));
    assert_eq!(rig.get_as(&expired.token).status, 401);
    for script in [
        Script::status(500).body(CANARY),
        Script::status(302).header("Location", CANARY),
        Script::ok(&format!("text/{CANARY}"), CANARY),
        Script::jwt(CANARY),
        Script::json(&json!({"active": CANARY})),
        Script::json(&json!({"active": true, "jwt": CANARY})),
        Script::json(&json!({"active": true, CANARY: 1})),
        Script::ok("application/json", format!("{{\"{CANARY}\": 1, \"{CANARY}\": 2}}")),
        Script::raw(format!("{CANARY}\r\n\r\n")).then_close(),
        Script::raw(format!("HTTP/1.1 200 {CANARY}\r\n{CANARY}: \u{1}\r\n\r\n")).then_close(),
        Script::close(),
    ] {
        let token = rig.server.issue();
        rig.server.script(&token.token, script);
        assert_eq!(rig.get_as(&token.token).status, 500);
        assert_eq!(rig.get_as(&token.token).status, 500);
    }
    let silent = rig.server.issue();
    rig.server.script(&silent.token, Script::hang());
    for _ in 0..2 {
        assert_eq!(rig.gateway.get_as("/impatient", &silent.token).status, 500);
    }
    rig.server.script("refused", Script::status(401).body(CANARY));
    assert_eq!(rig.get_as("refused").status, 500);
    if phantom_token_test::nginx::configured_with("--with-debug") {
        // Lines of one token can be found, and no other's: twelve were asked about twice.
        let names = |line: &str| {
            line.split_once("begins, for token ").map(|(_, name)| name[..8].to_owned())
        };
        let begun: Vec<String> =
            rig.gateway.module_lines().iter().filter_map(|line| names(line)).collect();
        let different: HashSet<&String> = begun.iter().collect();
        assert!(different.len() > 12, "{begun:?}");
        assert_eq!(begun.len(), different.len() + 12, "{begun:?}");
        assert!(begun.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }
    // The gateway's end reads the log; here, that there was something to read.
    assert!(rig.gateway.module_lines().len() > 10, "{:#?}", rig.gateway.module_lines());
}

#[test]
fn levels_say_whose_fault_it_is() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.endpoint(&format!("{} max_fails=0", server.introspection_url()))
    });
    let own = |level: &str| {
        let lines = rig.gateway.module_lines();
        lines.iter().filter(|line| line.contains(&format!(" [{level}] "))).count()
    };
    rig.gateway.get("/api", &[]);
    rig.get_as("a b");
    rig.get_as("unknown");
    assert_eq!((own("info"), own("error"), own("warn")), (3, 0, 0), "what a client did is info");
    rig.server.script("failing", Script::status(500));
    rig.get_as("failing");
    assert_eq!(own("error"), 1, "what the authorization server did is an error");
    assert_eq!(own("crit"), 0);
}

#[test]
fn an_error_names_its_cause() {
    let config = server_config(&Identity::self_signed(&["localhost"]), None);
    let server = AuthorizationServer::builder().tls(config, "localhost").start().unwrap();
    let rig = Rig::with(server, |builder, _| builder);
    rig.get_as("a");
    let line = rig.gateway.wait_for_log(&["[error]", "phantom token"]);
    assert!(line.to_lowercase().contains("tls") || line.contains("certificate"), "{line}");
}

#[test]
fn failures_that_repeat_are_summed_up() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.endpoint(&format!("{} max_fails=0", server.introspection_url()))
    });
    rig.server.script_all(Script::status(500));
    let mut client = rig.gateway.client();
    for number in 0..30 {
        assert_eq!(client.get_as("/api", &format!("failing-{number}")).status, 500);
    }
    let own = |text: &str| {
        let lines = rig.gateway.module_lines();
        lines.iter().filter(|line| line.contains("[error]") && line.contains(text)).count()
    };
    assert_eq!(own("status 500"), 5, "the first few one by one");
    // Another cause is another row.
    rig.server.script_all(Script::status(503));
    assert_eq!(client.get_as("/api", "other").status, 503);
    assert_eq!(own("status 503"), 1);
    // One more than is said, of a third.
    rig.server.script_all(Script::status(502));
    for number in 0..6 {
        assert_eq!(client.get_as("/api", &format!("bad-{number}")).status, 500);
    }
    drop(client);
    // The rest is said when the minute ends, or the worker does.
    rig.gateway.quit();
    rig.gateway.wait_exit();
    let line =
        rig.gateway.wait_for_log(&["[error]", "phantom token: 25 more times within a minute"]);
    assert!(line.contains("status 500; see the server's own log"), "{line}");
    assert_eq!(own("more times"), 1);
    let line = rig.gateway.wait_for_log(&["[error]", "phantom token: once more within a minute: "]);
    assert!(line.contains("status 502"), "{line}");
}

#[test]
fn a_flood_of_requests_that_cannot_be_sent_is_said_once() {
    let rig =
        Rig::start(|builder| builder.directives("phantom_token_introspection_header X-Path $uri;"));
    for _ in 0..10 {
        let token = rig.server.issue();
        assert_eq!(rig.gateway.get_as("/api/a%0d%0ab", &token.token).status, 500);
    }
    let lines = rig.gateway.module_lines();
    let said = lines.iter().filter(|line| line.contains("holds a control byte")).count();
    assert_eq!(said, 1, "{lines:#?}");
    assert_eq!(rig.server.introspections(), 0);
}

#[test]
fn the_summary_comes_when_the_minute_ends() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        builder.count_calls().endpoint(&format!("{} max_fails=0", server.introspection_url()))
    });
    rig.server.script_all(Script::status(500));
    for number in 0..8 {
        assert_eq!(rig.get_as(&format!("failing-{number}")).status, 500);
    }
    rig.gateway.pass_time(std::time::Duration::from_secs(60));
    rig.gateway.get("/", &[]);
    rig.gateway.wait_for_log(&["[error]", "phantom token: 3 more times within a minute"]);
}
