//! A panic at each entry from C: the request fails closed, one `[crit]` line tells where, and the
//! worker serves on.
//!
//! Needs the module built with its feature `inject-panics`, which `make test` puts into
//! `build/inject-panics`; where it is not there, as after a plain `cargo build`, nothing is tested.

use std::path::{Path, PathBuf};

use phantom_token_test::{AuthorizationServer, Rig};

fn module() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    match std::env::var_os("NGINX_INJECTED_MODULE") {
        Some(path) => Some(workspace.join(path)),
        // One built for another NGINX than the one under test is of no use.
        None if std::env::var_os("NGINX_MODULE").is_some() => None,
        None => {
            let usual = "build/inject-panics/ngx_http_phantom_token_module.so";
            Some(workspace.join(usual)).filter(|path| path.exists())
        }
    }
}

/// A gateway whose module panics once, in the entry named.
fn rig(entry: &str) -> Option<Rig> {
    let Some(module) = module() else {
        eprintln!("skipped: no module with injected panics; `make test` builds one");
        return None;
    };
    Some(Rig::with(AuthorizationServer::start(), |builder, _| {
        builder
            .module_file(&module)
            .environment("PHANTOM_TOKEN_PANIC_AT", entry)
            .allow(&format!("caught a panic in {entry} at "))
            .http("phantom_token_timeout 2s;\nphantom_token_connect_timeout 1s;")
            .location("= /purge", "phantom_token_purge;")
            .location("= /status", "phantom_token_status;")
            .location("/named", "return 200 \"$phantom_token_status\\n\";")
    }))
}

/// The line is there, once, with no word of the panic's own; all goes on with the same worker.
fn assert_serves_on(rig: &Rig, entry: &str, worker: &[u32]) {
    let line = rig.gateway.wait_for_log(&["[crit]", &format!("caught a panic in {entry} at ")]);
    assert!(line.contains("src/guard.rs:") && !line.contains("injected"), "{line}");
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
fn in_content_handlers() {
    for (entry, method, target) in
        [("the purge handler", "POST", "/purge"), ("the status handler", "GET", "/status")]
    {
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
fn while_the_configuration_is_read() {
    let Some(module) = module() else { return };
    let entries =
        ["a configuration", "the variables", "a directive", "merging configurations", "a zone"];
    for entry in entries {
        let server = AuthorizationServer::start();
        let api = phantom_token_test::Api::start();
        let check = phantom_token_test::Gateway::builder()
            .protect(&server, &api)
            .module_file(&module)
            .environment("PHANTOM_TOKEN_PANIC_AT", entry)
            .check();
        assert!(!check.ok, "{entry}: {}", check.messages);
        let told = format!("caught a panic in {entry} at src/guard.rs:");
        assert!(check.messages.contains(&told), "{entry}: {}", check.messages);
    }
}
