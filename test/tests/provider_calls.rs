//! Servers in blocks at work: who shares answers with whom, what is checked, and what operators see.

use std::fs;
use std::thread;

use phantom_token_test::authorization_server::{INTROSPECTION_CLIENT, Token};
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::tls::{Authority, Identity};
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Response, Rig, Script};
use serde_json::{Value, json};

/// The members that ask this server as the test's own client.
fn members(server: &AuthorizationServer) -> String {
    let (id, secret) = INTROSPECTION_CLIENT;
    let url = server.introspection_url();
    format!(
        "introspection_endpoint {url};\nclient_id {id};\nclient_secret {secret};\ntimeout 60s;\nconnect_timeout 30s;\n"
    )
}

fn block(name: &str, members: &str) -> String {
    format!("phantom_token_provider {name} {{\n{members}}}\n")
}

/// A location that answers 204 to whoever gets in, and shows how it came to that.
fn shown(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Sent $http_authorization always;\n\
         add_header Outcome \"$phantom_token_status $phantom_token_reason\" always;\n\
         add_header Unmet \"$phantom_token_unmet\" always;\n\
         add_header Provider \"$phantom_token_provider\" always;\n\
         try_files /none =204;"
    )
}

fn using(name: &str) -> String {
    shown(&format!("phantom_token_use {name};"))
}

fn header(response: &Response, name: &str) -> String {
    response.header(name).unwrap_or_default().trim().to_owned()
}

#[track_caller]
fn outcome(gateway: &Gateway, target: &str, token: &Token) -> String {
    let response = gateway.get_as(target, &token.token);
    assert_eq!(response.status, 204, "{target}: {response:?}");
    assert_eq!(response.header("Sent"), Some(token.phantom().as_str()));
    header(&response, "Outcome")
}

#[test]
fn an_answer_is_shared_by_what_blocks_say_and_not_by_names() {
    let server = AuthorizationServer::builder().no_client_auth().start().unwrap();
    let authority = Authority::generate();
    let url = server.introspection_url();
    let port = server.port();
    let client = format!("client_id {};\n", INTROSPECTION_CLIENT.0);
    let endpoint = format!("introspection_endpoint {url};\n");
    let secret = "client_secret s;\n";
    let base = format!("{endpoint}{client}{secret}");
    let certificate = "ssl_certificate client.pem;\nssl_certificate_key client.key;\n";
    let without_id = format!("{endpoint}{secret}");
    let parts = [
        format!("{without_id}client_id another;"),
        format!("{base}client_auth post;"),
        format!("{base}client_auth basic_raw;"),
        format!("{base}introspection_accept application/json;"),
        format!("{base}token_type_hint access_token;"),
        format!("{base}introspection_header X-Tenant a;"),
        format!("{base}introspection_param audience a;"),
        format!("{base}ssl_verify off;"),
        format!("{base}cache_control strict;"),
        format!("{base}ssl_trusted_certificate ca.pem;"),
        format!("{base}{certificate}"),
        format!("{base}introspection_endpoint {url}?2 backup;"),
        format!("introspection_endpoint {url}?x=1;\n{client}{secret}"),
        format!("introspection_endpoint {url} connect=127.0.0.1:{port};\n{client}{secret}"),
    ];
    let shared = [
        base.clone(),
        format!("{endpoint}{client}client_secret another;"),
        format!("{endpoint}{client}client_secret_file a.secret;"),
        format!("{base}timeout 5s;\nconnect_timeout 1s;"),
        format!("{base}thread_pool default;"),
        format!("{base}issuer https://elsewhere;"),
        format!("{base}introspection_header X-Trace $request_id nokey;"),
        format!("introspection_endpoint {url} max_fails=9 fail_timeout=60s;\n{client}{secret}"),
    ];
    // Another key of the same certificate's.
    let keys = [
        format!("{base}{certificate}"),
        format!("{base}ssl_certificate client.pem;\nssl_certificate_key same.key;"),
    ];
    let identity: Identity = authority.client("client");
    let rig = Rig::with(server, |builder, _| {
        let mut builder = builder
            .file("ca.pem", authority.certificate.clone())
            .file("client.pem", identity.certificate.clone())
            .file("client.key", identity.key.clone())
            .file("same.key", identity.key.clone())
            .file("a.secret", "t\n")
            .http(&block("base", &base))
            .location("/base", &using("base"))
            .location(
                "/forward",
                &using("base")
                    .replace("phantom_token on;", "phantom_token on;\nphantom_token_forward none;"),
            );
        for (kind, blocks) in [("part", &parts[..]), ("share", &shared[..]), ("key", &keys[..])] {
            for (n, members) in blocks.iter().enumerate() {
                let name = format!("{kind}{n}");
                builder = builder
                    .http(&block(&name, &format!("{members}\n")))
                    .location(&format!("/{name}"), &using(&name));
            }
        }
        builder
    });
    let shares = |one: &str, other: &str| {
        let token = rig.server.issue();
        assert_eq!(outcome(&rig.gateway, one, &token), "MISS");
        let before = rig.server.introspections();
        let response = rig.gateway.get_as(other, &token.token);
        assert!([204, 401, 500].contains(&response.status), "{other}: {response:?}");
        rig.server.introspections() == before
    };
    for (n, members) in parts.iter().enumerate() {
        assert!(!shares("/base", &format!("/part{n}")), "{members}");
    }
    assert!(!shares("/base", "/forward"));
    for (n, members) in shared.iter().enumerate() {
        assert!(shares("/base", &format!("/share{n}")), "{members}");
    }
    assert!(shares("/key0", "/key1"), "another key file");
}

/// A gateway whose blocks and locations are in files, which a reload can replace.
struct Replaceable {
    server: AuthorizationServer,
    gateway: Gateway,
}

fn location(path: &str, directives: &str) -> String {
    format!("location {path} {{\n{directives}\n}}\n")
}

impl Replaceable {
    fn start(text: impl Fn(&AuthorizationServer) -> (String, String)) -> Self {
        let server = AuthorizationServer::start();
        let (http, locations) = text(&server);
        let gateway = Gateway::builder()
            .secret(INTROSPECTION_CLIENT.1)
            .http("include http.conf;")
            .server("include locations.conf;")
            .file("http.conf", http)
            .file("locations.conf", locations)
            .start();
        Self { server, gateway }
    }

    fn write(&self, http: &str, locations: &str) {
        let prefix = self.gateway.prefix();
        fs::write(prefix.join("http.conf"), http).expect("writes http.conf");
        fs::write(prefix.join("locations.conf"), locations).expect("writes locations.conf");
    }

    fn replace(&self, http: &str, locations: &str) {
        self.write(http, locations);
        self.gateway.reload();
    }

    fn outcome(&self, target: &str, token: &Token) -> String {
        outcome(&self.gateway, target, token)
    }
}

#[test]
fn a_move_into_a_block_and_a_rename_keep_what_is_cached() {
    let it = Replaceable::start(|server| {
        let flat = members(server);
        let flat: String = flat.lines().map(|line| format!("phantom_token_{line}\n")).collect();
        (flat, location("/one", &shown("")))
    });
    let token = it.server.issue();
    assert_eq!(it.outcome("/one", &token), "MISS");
    let members = members(&it.server);
    for name in ["a", "renamed"] {
        it.replace(&block(name, &members), &location("/one", &using(name)));
        assert_eq!(it.outcome("/one", &token), "HIT", "{name}");
    }
    let two = format!("{}{}", block("c", &members), block("d", &members));
    let locations = format!("{}{}", location("/one", &using("c")), location("/two", &using("d")));
    it.replace(&two, &locations);
    assert_eq!(it.outcome("/one", &token), "HIT");
    assert_eq!(it.outcome("/two", &token), "HIT");
    let other = it.server.issue();
    assert_eq!(it.outcome("/two", &other), "MISS");
    assert_eq!(it.outcome("/one", &other), "HIT");
    assert_eq!(it.server.introspections(), 2);
}

#[test]
fn a_reload_changes_blocks_while_calls_are_in_flight() {
    let it =
        Replaceable::start(|server| (block("a", &members(server)), location("/one", &using("a"))));
    let members = members(&it.server);
    let two = format!("{}{}", block("a", &members), block("b", &members));
    let both = format!("{}{}", location("/one", &using("a")), location("/two", &using("b")));
    for (what, http, locations) in [
        ("added", &two, &both),
        ("renamed", &block("c", &members), &location("/one", &using("c"))),
        ("removed", &String::new(), &location("/one", "return 404;")),
    ] {
        let token = it.server.issue();
        let held = it.server.hold_token(&token.token);
        thread::scope(|scope| {
            let asked = scope.spawn(|| it.gateway.get_as("/one", &token.token));
            it.server.wait_for_introspections_of(&token.token, 1);
            it.replace(http, locations);
            drop(held);
            let response = asked.join().expect("a response");
            assert_eq!(response.status, 204, "{what}: {response:?}");
            assert_eq!(response.header("Sent"), Some(token.phantom().as_str()), "{what}");
        });
        if what != "removed" {
            assert_eq!(it.outcome("/one", &token), "HIT", "{what}");
        }
    }
    assert_eq!(it.gateway.get("/one", &[]).status, 404);
}

#[test]
fn a_reload_with_a_wrong_block_keeps_the_running_ones() {
    let it =
        Replaceable::start(|server| (block("a", &members(server)), location("/one", &using("a"))));
    it.gateway.allow("[emerg]");
    let workers = it.gateway.workers();
    it.write(&block("b", &members(&it.server)), &location("/one", &using("a")));
    it.gateway.signal(libc::SIGHUP);
    it.gateway.wait_for_log(&["[emerg]", "names the provider \"a\"", "there are b"]);
    assert_eq!(it.outcome("/one", &it.server.issue()), "MISS");
    assert_eq!(it.gateway.workers(), workers);
}

/// A gateway with the block `a`, these members in it too, and `/one` that uses it.
fn rig_with(more: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        change(builder)
            .http(&block("a", &format!("{}{more}\n", members(server))))
            .location("/one", &using("a"))
            .location("= /status", "phantom_token_status json;")
    })
}

#[test]
fn the_issuer_must_be_one_that_is_named() {
    let (good, other) = ("https://good", "https://other");
    for accept in ["application/jwt", "application/json"] {
        let more = format!("introspection_accept {accept};\nissuer https://first {good};");
        let scoped = using("a").replacen("on;", "on;\nphantom_token_scope nobody;", 1);
        let rig = rig_with(&more, |builder| builder.location("/scoped", &scoped));
        rig.gateway.allow("names one issuer in its answer");
        // With these issuers in the answer, where that is JSON, and in the JWT.
        let mint = |answer: &Value, jwt: &Value| {
            let token = rig.server.mint(Mint::new().claim("iss", jwt.clone()));
            if accept == "application/json" {
                let body = json!({"active": true, "phantom_token": token.jwt, "iss": answer});
                rig.server.script(&token.token, Script::json(&body));
            }
            token
        };
        let both = |issuer: &Value| mint(issuer, issuer);
        let ask = |target: &str, token: &Token| {
            let response = rig.gateway.get_as(target, &token.token);
            (response.status, header(&response, "Outcome"), response)
        };
        let token = both(&good.into());
        assert_eq!(outcome(&rig.gateway, "/one", &token), "MISS");
        assert_eq!(outcome(&rig.gateway, "/one", &token), "HIT");

        for issuer in [
            other.into(),
            "https://good/".into(),
            "HTTPS://good".into(),
            Value::Null,
            7.into(),
            json!([good]),
        ] {
            let token = both(&issuer);
            // Cached or not.
            for _ in 0..2 {
                let (status, outcome, response) = ask("/one", &token);
                assert_eq!((status, &*outcome), (401, "DENIED issuer"), "{issuer}");
                assert_eq!(response.header("Unmet"), Some("iss"));
                let challenge = response.header("WWW-Authenticate").unwrap_or_default();
                assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            }
        }
        // Before the scope.
        assert_eq!(ask("/scoped", &both(&other.into())).1, "DENIED issuer");
        assert_eq!(ask("/scoped", &both(&good.into())).1, "DENIED scope");

        if accept == "application/json" {
            let (status, said, _) = ask("/one", &mint(&other.into(), &good.into()));
            assert_eq!((status, &*said), (500, "ERROR answer"));
            let words = ["[error]", "names one issuer in its answer and another in the JWT"];
            let line = rig.gateway.wait_for_log(&words);
            assert!(line.contains("provider: \"a\""), "{line}");
            // One of them will do.
            for (answer, jwt) in [(good.into(), Value::Null), (Value::Null, good.into())] {
                assert_eq!(outcome(&rig.gateway, "/one", &mint(&answer, &jwt)), "MISS");
            }
        }
    }
}

#[test]
fn a_servers_name_is_shown() {
    let rig = rig_with("", |builder| {
        builder.location("/flat", &shown("")).location(
            "/off",
            "add_header Provider \"[$phantom_token_provider]\" always;\nreturn 204;",
        )
    });
    let token = rig.server.issue();
    let provider = |target: &str| header(&rig.gateway.get_as(target, &token.token), "Provider");
    assert_eq!(provider("/one"), "a");
    assert_eq!(provider("/flat"), "");
    assert_eq!(provider("/off"), "[]");
    // Refused or not.
    assert_eq!(header(&rig.gateway.get("/one", &[]), "Provider"), "a");

    let label = rig.server.introspection_url();
    let metrics = rig.gateway.get("/status?format=prometheus", &[]).body;
    let metrics = String::from_utf8(metrics).expect("text");
    let line = format!("phantom_token_provider_info{{provider=\"a\",endpoint=\"{label}\"}} 1");
    assert!(metrics.lines().any(|known| known == line), "no {line} in: {metrics}");
    let numbers: Value =
        serde_json::from_slice(&rig.gateway.get("/status", &[]).body).expect("JSON");
    assert_eq!(numbers["providers"], json!([{"provider": "a", "endpoint": label}]));
}

#[test]
fn log_lines_name_the_server_in_its_own_words() {
    let rig = rig_with("", |builder| builder.location("/flat", &shown("")));
    rig.gateway.allow("introspection at ");
    rig.server.script("odd", Script::ok("text/html", "<p>"));
    assert_eq!(rig.gateway.get_as("/one", "odd").status, 500);
    let line = rig.gateway.wait_for_log(&["introspection at", "provider: \"a\""]);
    assert!(line.contains("check the endpoint's URL, introspection_accept and what"), "{line}");
    rig.server.script("oddtoo", Script::ok("text/html", "<p>"));
    assert_eq!(rig.gateway.get_as("/flat", "oddtoo").status, 500);
    let line =
        rig.gateway.wait_for_log(&["introspection at", "phantom_token_introspection_accept"]);
    assert!(!line.contains("provider"), "{line}");
}

#[test]
fn ready_is_who_can_ask_its_servers() {
    let other = AuthorizationServer::start();
    let rig = rig_with("", |builder| {
        let resting =
            members(&other).replace(";\nclient_id", " max_fails=1 fail_timeout=60s;\nclient_id");
        builder
            .http(&block("b", &resting))
            .location("/two", &using("b"))
            .location("= /ready", "phantom_token_ready;")
            .location("= /ready-a", "phantom_token_ready a;")
            .location("= /ready-b", "phantom_token_ready b;")
            .location("= /ready-both", "phantom_token_ready a b;")
    });
    let ready = |target: &str| {
        let response = rig.gateway.get(target, &[]);
        (response.status, String::from_utf8(response.body).expect("text"))
    };
    let all = ["/ready", "/ready-a", "/ready-b", "/ready-both"];
    for target in all {
        assert_eq!(ready(target), (200, "ready\n".to_owned()), "{target}");
    }
    let response = rig.gateway.get("/ready", &[]);
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    let mut client = rig.gateway.client();
    client.send_request("POST", "/ready", &[], b"");
    let posted = client.read();
    assert_eq!((posted.status, posted.header("Allow")), (405, Some("GET, HEAD")));

    rig.gateway.allow("introspection at ");
    rig.gateway.allow("rests for now");
    rig.gateway.allow("is up again");
    other.script_all(Script::close());
    other.script_own_calls(Script::close());
    wait_until("a rest", || {
        rig.gateway.get_as("/two", &other.issue().token);
        ready("/ready-b").0 == 503
    });
    for target in ["/ready", "/ready-b", "/ready-both"] {
        assert_eq!(ready(target), (503, "resting b\n".to_owned()), "{target}");
    }
    assert_eq!(ready("/ready-a").0, 200);
    let head = rig.gateway.client().head("/ready", &[]);
    assert_eq!((head.status, head.body.len()), (503, 0));
    other.unscript();
    wait_until("the end of the rest", || ready("/ready").0 == 200);
}

#[test]
fn a_shut_gate_is_not_ready() {
    let rig = rig_with("", |builder| {
        builder
            .client("introspection-client", "wrong")
            .location("/flat", &shown(""))
            .location("= /ready", "phantom_token_ready;")
            .location("= /ready-a", "phantom_token_ready a;")
    });
    rig.gateway.allow("introspection at ");
    rig.gateway.allow("refuses this client's credentials");
    let ready = |target: &str| {
        let response = rig.gateway.get(target, &[]);
        (response.status, String::from_utf8(response.body).expect("text"))
    };
    wait_until("a shut gate", || {
        rig.gateway.get_as("/flat", &rig.server.issue().token);
        ready("/ready").0 == 503
    });
    let label = rig.server.introspection_url();
    assert_eq!(ready("/ready").1, format!("credentials {label}\n"));
    assert_eq!(ready("/ready-a").0, 200);
}
