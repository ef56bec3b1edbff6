//! The variables, in logs and in headers to the upstream.

use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Mint, Rig, Script};
use serde_json::{Value, json};

fn rig(format: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        let endpoint = format!("{} max_fails=0", server.introspection_url());
        let format = format!("log_format shown '{format}';\naccess_log shown.log shown;");
        change(builder.endpoint(&endpoint).http(&format))
    })
}

/// The lines of the log so far, waiting for this many.
fn lines(rig: &Rig, count: usize) -> Vec<String> {
    phantom_token_test::process::wait_for("the log's lines", || {
        let text = std::fs::read_to_string(rig.gateway.prefix().join("shown.log")).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

#[test]
fn status_and_reason_are_fixed_words() {
    let rig = rig("$phantom_token_status:$phantom_token_reason", |builder| {
        builder
            .http("map $http_x_open $open { yes 1; default \"\"; }")
            .directives("phantom_token_bypass $open;")
            .location(
                "/scoped",
                "phantom_token on;\nphantom_token_scope admin;\ntry_files /none =204;",
            )
            .location("/off", "try_files /none =204;")
    });
    let token = rig.server.issue();
    rig.assert_passes(&token);
    rig.assert_passes(&token);
    rig.gateway.get_as("/scoped", &token.token);
    rig.gateway.get("/api", &[]);
    rig.get_as("a, b");
    rig.get_as("unknown");
    rig.get_as(&rig.server.mint(Mint::new().dpop_bound()).token);
    rig.gateway.get("/api", &[("X-Open", "yes")]);
    rig.gateway.get("/off", &[]);
    for (name, script) in [
        ("a", Script::status(500)),
        ("b", Script::ok("text/html", "<p>")),
        ("c", Script::status(401)),
    ] {
        rig.server.script(name, script);
        rig.get_as(name);
    }
    assert_eq!(
        lines(&rig, 12),
        [
            "MISS:-",
            "HIT:-",
            "DENIED:scope",
            "DENIED:missing",
            "DENIED:malformed",
            "INACTIVE:inactive",
            "DENIED:bound",
            "BYPASS:-",
            "-:-",
            "ERROR:status",
            "ERROR:answer",
            "ERROR:credentials",
        ]
    );
}

#[test]
fn a_shared_call_and_a_client_that_left() {
    let rig = rig("$status $phantom_token_status:$phantom_token_reason", |builder| builder);
    let token = rig.server.issue();
    let hold = rig.server.hold();
    let mut clients: Vec<_> = (0..3).map(|_| rig.gateway.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
        if at == 0 {
            rig.server.wait_for_introspections(1);
        }
    }
    drop(clients.pop());
    lines(&rig, 1);
    drop(hold);
    assert!(clients.iter_mut().all(|client| client.read().status == 200));
    let mut lines = lines(&rig, 3);
    lines.sort();
    assert_eq!(lines, ["200 MISS:-", "200 WAIT:-", "499 ERROR:client_closed"]);
}

#[test]
fn the_time_of_a_call_is_that_of_the_request() {
    let rig = rig("$phantom_token_introspection_time", |builder| builder);
    rig.server.set_delay(std::time::Duration::from_millis(120));
    let token = rig.server.issue();
    rig.assert_passes(&token);
    rig.assert_passes(&token);
    let lines = lines(&rig, 2);
    let (whole, fraction) = lines[0].split_once('.').expect("seconds with a fraction");
    assert_eq!(fraction.len(), 3);
    assert!(lines[0].parse::<f64>().unwrap() >= 0.119 && whole.len() == 1, "{lines:?}");
    assert_eq!(lines[1], "-", "no call, no time");
}

#[test]
fn a_client_that_left_has_waited_for_so_long() {
    let rig = rig("$phantom_token_reason $phantom_token_introspection_time", |builder| builder);
    rig.server.script("held", Script::hang());
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", "Bearer held")], b"");
    rig.server.wait_for_introspections(1);
    drop(client);
    let lines = lines(&rig, 1);
    let time = lines[0].strip_prefix("client_closed ").expect("a client that left");
    assert!(time.parse::<f64>().is_ok(), "{lines:?}");
}

#[test]
fn calls_are_listed_as_nginx_lists_upstreams() {
    let closed = phantom_token_test::port::free();
    let refuses = format!("http://127.0.0.1:{closed}/introspect");
    let format =
        "$phantom_token_status|$phantom_token_introspection_status|$phantom_token_endpoint";
    let rig = rig(format, |builder| {
        let location =
            |directives: &str| format!("phantom_token on;\n{directives}\ntry_files /none =204;");
        let first = format!("phantom_token_introspection_endpoint {refuses} max_fails=0;\n");
        builder
            .location("/refused", &location(&first))
            .location("/brief", &location("phantom_token_timeout 300ms;"))
            .location(
                "/again",
                "phantom_token on;\nphantom_token_introspection_header X-Pass first;\n\
                 try_files /none /refused-then;",
            )
            .location("= /refused-then", &location(&first))
    });
    let url = rig.server.introspection_url();
    let good = rig.server.issue();
    let mut expected = Vec::new();
    let mut ask = |target: &str, token: &str, status: u16, line: String| {
        assert_eq!(rig.gateway.get_as(target, token).status, status, "{line}");
        expected.push(line);
    };
    ask("/api", &good.token, 200, format!("MISS|200|{url}"));
    ask("/api", &good.token, 200, "HIT|-|-".to_owned());
    ask("/api", "a, b", 401, "DENIED|-|-".to_owned());
    for (token, script, status, shown) in [
        ("inactive", Script::status(204), 401, "INACTIVE|204"),
        ("fails", Script::status(500), 500, "ERROR|500"),
        ("rubbish", Script::ok("text/html", "<p>"), 500, "ERROR|200"),
        ("closes", Script::close(), 500, "ERROR|502"),
        ("no-http", Script::raw("rubbish\r\n\r\n").then_close(), 500, "ERROR|502"),
    ] {
        rig.server.script(token, script);
        ask("/api", token, status, format!("{shown}|{url}"));
    }
    rig.server.script("hangs", Script::hang());
    ask("/brief", "hangs", 500, format!("ERROR|504|{url}"));
    ask("/refused", &good.token, 500, format!("ERROR|502|{refuses}"));
    // Two passes, each with a call of its own.
    ask("/again", &good.token, 500, format!("ERROR|200 : 502|{url} : {refuses}"));
    let count = expected.len();
    assert_eq!(lines(&rig, count), expected);
}

#[test]
fn calls_of_a_failover_and_of_those_who_wait_and_leave() {
    let closed = phantom_token_test::port::free();
    let refuses = format!("http://127.0.0.1:{closed}/introspect");
    let shown = "$phantom_token_status|$phantom_token_introspection_status|$phantom_token_endpoint";
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let format = format!("log_format shown '{shown}';\naccess_log shown.log shown;");
        builder
            .http(&format)
            .endpoint(&format!("{refuses} max_fails=0"))
            .endpoint(&format!("{} max_fails=0", server.introspection_url()))
            .location(
                "/brief",
                "phantom_token on;\nphantom_token_timeout 600ms;\ntry_files /none =204;",
            )
    });
    let (url, token) = (rig.server.introspection_url(), rig.server.issue());
    let hold = rig.server.hold();
    let mut clients: Vec<_> = (0..3).map(|_| rig.gateway.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send_request("GET", "/api", &[("Authorization", &token.bearer())], b"");
        if at == 0 {
            rig.server.wait_for_introspections(1);
        }
    }
    drop(clients.pop());
    lines(&rig, 1);
    // Its own time is over before the call's is.
    assert_eq!(rig.gateway.get_as("/brief", &token.token).status, 500);
    drop(hold);
    assert!(clients.iter_mut().all(|client| client.read().status == 200));
    let mut lines = lines(&rig, 4);
    lines.sort();
    let both = format!("{refuses}, {url}");
    assert_eq!(
        lines,
        [
            format!("ERROR|502, -|{both}"),
            format!("ERROR|502, 504|{both}"),
            format!("MISS|502, 200|{both}"),
            format!("WAIT|502, 200|{both}"),
        ]
    );
}

#[test]
fn a_token_has_one_id_everywhere() {
    let rig = rig("$phantom_token_id", |builder| {
        builder
            .workers(2)
            .listen("reuseport")
            .http("phantom_token_cache_zone zone=second:1m;")
            .location("/off", "phantom_token on;\nphantom_token_cache off;\ntry_files /none =204;")
            .location(
                "/second",
                "phantom_token on;\nphantom_token_cache second;\n\
                 phantom_token_scope none;\ntry_files /none =204;",
            )
            .location("/arg", "phantom_token on token=$arg_t;\ntry_files /none =204;")
            .location("/open", "return 204;")
    });
    let (one, other) = (rig.server.issue(), rig.server.issue());
    let before = rig.gateway.workers();
    for _ in 0..8 {
        for target in ["/api", "/off", "/second"] {
            rig.gateway.get_as(target, &one.token);
        }
        rig.gateway
            .get(&format!("/arg?t=%{:02x}{}", one.token.as_bytes()[0], &one.token[1..]), &[]);
    }
    // In other workers, too, whatever they were told at their start.
    rig.gateway.reload();
    assert_ne!(rig.gateway.workers(), before);
    for _ in 0..8 {
        rig.gateway.get_as("/off", &one.token);
    }
    let all = lines(&rig, 40);
    let id = &all[0];
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!(all.iter().all(|line| line == id), "{all:?}");
    rig.get_as(&other.token);
    rig.get_as("unknown");
    rig.get_as("unknown");
    rig.get_as("a, b");
    rig.gateway.get("/api", &[]);
    rig.gateway.get_as("/open", &one.token);
    let lines = lines(&rig, 46).split_off(40);
    assert_ne!(&lines[0], id);
    assert_eq!(lines[1], lines[2], "an inactive one has one, too");
    assert_ne!(lines[1], "-");
    assert_eq!(lines[3..], ["-", "-", "-"], "no token");
}

#[test]
fn a_token_has_one_id_in_all_workers_without_a_zone() {
    let rig = rig("$pid $phantom_token_id", |builder| {
        builder.workers(2).listen("reuseport").http("phantom_token_cache off;")
    });
    let (token, workers) = (rig.server.issue(), rig.gateway.workers());
    let mut shown = Vec::new();
    phantom_token_test::process::wait_until("a line of each worker", || {
        rig.get_as(&token.token);
        shown = lines(&rig, shown.len() + 1);
        let of = |pid: &u32| shown.iter().any(|line| line.starts_with(&format!("{pid} ")));
        workers.iter().all(of)
    });
    let ids: std::collections::HashSet<_> =
        shown.iter().filter_map(|line| line.split_once(' ')).map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 1, "{shown:?}");
}

#[test]
fn unmet_names_what_the_scope_lacks() {
    let rig = rig("$phantom_token_reason:$phantom_token_unmet", |builder| {
        builder.directives("phantom_token_scope \"read write admin\";")
    });
    for scope in ["read", "admin read write", "", "reading write"] {
        rig.get_as(&rig.server.mint(Mint::new().scope(scope)).token);
    }
    rig.get_as("unknown");
    assert_eq!(
        lines(&rig, 5),
        ["scope:write admin", "-:-", "scope:read write admin", "scope:read admin", "inactive:-"]
    );
}

#[test]
fn claims_reach_the_upstream_whatever_their_type() {
    let claims: [(&str, Value, Option<&str>); 12] = [
        ("text", json!("plain"), Some("plain")),
        ("quoted", json!("say \"hi\", ü"), Some("say \"hi\", ü")),
        ("number", json!(42), Some("42")),
        ("fraction", json!(1.5), Some("1.5")),
        ("truth", json!(true), Some("true")),
        ("nothing", json!(null), None),
        ("words", json!(["a", "b", "c"]), Some("a b c")),
        ("spaced", json!(["a b", "c"]), Some("[\"a b\",\"c\"]")),
        ("mixed", json!(["a", 1]), Some("[\"a\",1]")),
        ("object", json!({"tier": {"name": "gold"}}), Some("{\"tier\":{\"name\":\"gold\"}}")),
        ("split", json!("a\r\nX-Admin: yes"), None),
        ("nul", json!("a\u{0}b"), None),
    ];
    let headers: String = claims
        .iter()
        .map(|(name, ..)| format!("proxy_set_header X-{name} $phantom_token_claim_{name};\n"))
        .collect();
    let rig = rig("-", |builder| {
        builder.directives(&headers).directives(
            "proxy_set_header X-camelCase $phantom_token_claim_camelCase;\n\
             proxy_set_header X-absent $phantom_token_claim_absent;",
        )
    });
    let mint =
        claims.iter().fold(Mint::new(), |mint, (name, value, _)| mint.claim(name, value.clone()));
    let token = rig.server.mint(mint.claim("camelCase", "found"));
    for _ in 0..2 {
        // What a client sends under these names does not get through.
        let sent = [
            ("Authorization", token.bearer()),
            ("X-text", "forged".to_owned()),
            ("X-absent", "forged".to_owned()),
            ("X-split", "forged".to_owned()),
        ];
        let sent: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(rig.gateway.get("/api", &sent).status, 200);
        let received = rig.api.last();
        for (name, _, expected) in &claims {
            let header = format!("X-{name}");
            let got: Vec<&str> = received.head.headers.all(&header).collect();
            assert_eq!(got, expected.iter().copied().collect::<Vec<_>>(), "{name}");
        }
        assert_eq!(received.head.headers.get("X-camelCase"), Some("found"));
        assert_eq!(received.head.headers.get("X-absent"), None);
        assert_eq!(received.head.headers.get("X-Admin"), None);
    }
    let info = rig.gateway.wait_for_log(&["[info]", "phantom token", "control byte"]);
    assert!(!info.contains("X-Admin"));
    let lines = rig.gateway.module_lines();
    let said = lines.iter().filter(|line| line.contains("control byte")).count();
    assert_eq!(said, 2, "once for each claim, not for each request");
}

#[test]
fn a_value_asked_for_before_the_decision_is_not_kept() {
    let rig = rig("$phantom_token_claim_sub $phantom_token_status", |builder| {
        builder.directives(
            "set $early \"$phantom_token_claim_sub/$phantom_token_status\";\n\
             if ($phantom_token_claim_sub) { return 418; }\n\
             proxy_set_header X-Early $early;\n\
             proxy_set_header X-Late \"$phantom_token_claim_sub/$phantom_token_status\";",
        )
    });
    let token = rig.server.mint(Mint::new().claim("sub", "alice"));
    for status in ["MISS", "HIT"] {
        rig.assert_passes(&token);
        let headers = rig.api.last().head.headers;
        assert_eq!(headers.get("X-Early"), Some("/"));
        assert_eq!(headers.get("X-Late"), Some(&*format!("alice/{status}")));
    }
    assert_eq!(lines(&rig, 2), ["alice MISS", "alice HIT"]);
}

#[test]
fn claims_come_from_the_answer_before_the_jwt_and_never_from_the_client() {
    let server = AuthorizationServer::builder().jwt_member("phantom_token").start().unwrap();
    let rig = Rig::with(server, |builder, _| {
        builder.directives(
            "phantom_token_introspection_accept application/json;\n\
             proxy_set_header X-Sub $phantom_token_claim_sub;\n\
             proxy_set_header X-Username $phantom_token_claim_username;",
        )
    });
    let mint = Mint::new().claim("sub", "of the jwt").answer("sub", "of the answer");
    let token = rig.server.mint(mint.answer("username", "alice"));
    rig.assert_passes(&token);
    let headers = rig.api.last().head.headers;
    assert_eq!(headers.get("X-Sub"), Some("of the answer"));
    assert_eq!(headers.get("X-Username"), Some("alice"));
    // Denied: no claims, though the token has some.
    assert_eq!(rig.get_as("unknown").status, 401);
}

#[test]
fn the_ready_log_format_is_json_without_tokens() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx-conf/log-format.conf");
    let format = std::fs::read_to_string(path).unwrap();
    let rig = Rig::start(|builder| {
        builder
            .file("log-format.conf", format)
            .http("include log-format.conf;\naccess_log shown.log phantom_token;")
    });
    let token = rig.server.mint(Mint::new().claim("sub", "al\"ice"));
    rig.assert_passes(&token);
    rig.gateway.get_as("/api?access_token=secret", "unknown");
    rig.gateway.get("/api", &[]);
    let lines: Vec<Value> =
        lines(&rig, 3).iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines[0]["token"], "MISS");
    assert_eq!(lines[0]["sub"], "al\"ice");
    assert_eq!(lines[0]["client_id"], "test-client");
    assert_eq!(lines[0]["status"], 200);
    assert!(lines[0]["introspection_seconds"].as_str().unwrap().parse::<f64>().is_ok());
    assert_eq!(lines[0]["introspection_status"], "200");
    assert_eq!(lines[0]["introspection_endpoint"], rig.server.introspection_url());
    assert_eq!(lines[0]["token_id"].as_str().map(str::len), Some(16));
    assert_eq!(lines[2]["token_id"], "");
    assert_eq!(lines[2]["token_unmet"], "");
    assert_eq!(lines[1]["token_reason"], "inactive");
    assert_eq!(lines[2]["token_reason"], "missing");
    let text = std::fs::read_to_string(rig.gateway.prefix().join("shown.log")).unwrap();
    for secret in [&*token.token, &*token.jwt, "unknown", "secret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn the_trace_goes_on_to_the_authorization_server() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let server = AuthorizationServer::start();
    let api = phantom_token_test::Api::start();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx-conf/opentelemetry.conf");
    let port = phantom_token_test::port::free();
    let config = std::fs::read_to_string(path)
        .unwrap()
        .replace("https://login.example.com/oauth/v2/oauth-introspect", &server.introspection_url())
        .replace("api-gateway", "introspection-client")
        .replace("127.0.0.1:3000", api.url().strip_prefix("http://").unwrap())
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
    let builder = phantom_token_test::Gateway::builder().verbatim(&config, port);
    let gateway = builder.file("phantom-token.secret", "Password1").start();
    let token = server.issue();
    let sent = [
        ("Authorization", &*token.bearer()),
        ("traceparent", TRACE),
        ("tracestate", "vendor=value"),
    ];
    assert_eq!(gateway.get("/api", &sent).status, 200);
    let seen = server.seen();
    assert_eq!(seen[0].head.headers.get("traceparent"), Some(TRACE));
    assert_eq!(seen[0].head.headers.get("tracestate"), Some("vendor=value"));
    assert_eq!(api.last().head.headers.get("traceparent"), Some(TRACE));
    // Another trace finds the same answer: it is not part of the key.
    let other = TRACE.replace("b7ad", "0000");
    let sent = [("Authorization", &*token.bearer()), ("traceparent", &*other)];
    assert_eq!(gateway.get("/api", &sent).status, 200);
    assert_eq!(server.introspections(), 1);
    // Without one, or with one that is none, a trace begins here, the same for both.
    for broken in ["", "garbage"] {
        let token = server.issue();
        let sent = [("Authorization", &*token.bearer()), ("traceparent", broken)];
        let response = gateway.get("/api", &sent);
        assert_eq!(response.status, 200);
        let begun = api.last().head.headers.get("traceparent").unwrap().to_owned();
        let seen = server.seen().last().unwrap().head.headers.get("traceparent").map(str::to_owned);
        assert_eq!(seen.as_deref(), Some(&*begun));
        let parts: Vec<usize> = begun.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{begun}");
        phantom_token_test::process::wait_until("the access log's line", || {
            let log = std::fs::read_to_string(gateway.prefix().join("logs/access.log"));
            log.unwrap_or_default().contains(&format!("trace={begun}"))
        });
    }
}

#[test]
fn a_token_from_a_variable_that_changes_is_the_last_one() {
    let rig = Rig::start(|builder| {
        builder.server("if ($arg_token = x) { return 418; }").location(
            "/changed",
            "phantom_token on token=$arg_token;\nset $args token=$http_x_token;\n\
             try_files /none =204;",
        )
    });
    let token = rig.server.issue();
    let got = rig.gateway.get("/changed?token=other", &[("X-Token", &token.token)]);
    assert_eq!(got.status, 204);
    assert_eq!(rig.server.introspections_of("other"), 0);
}
