//! Variables that are asked for before the token is judged: empty, and the log says which.

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::SERVER_ERROR;
use phantom_token_test::{AuthorizationServer, Mint, Rig, Script};

/// The lines that name a variable.
fn named(rig: &Rig) -> Vec<String> {
    let mut lines = rig.gateway.module_lines();
    lines.retain(|line| line.contains("before the token is judged"));
    lines
}

#[track_caller]
fn assert_named(rig: &Rig, variables: &[&str]) {
    let lines = named(rig);
    for variable in variables {
        let of_it = |line: &&String| line.contains(&format!("\"${variable}\""));
        assert_eq!(lines.iter().filter(of_it).count(), 1, "{variable}: {lines:#?}");
    }
    assert_eq!(lines.len(), variables.len(), "{lines:#?}");
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(change)
}

/// A location with the module on, and these directives.
fn on(directives: &str) -> String {
    format!("phantom_token on;\n{directives}\ntry_files /none =204;")
}

#[test]
fn a_limit_by_a_claim_limits_nobody_and_the_log_says_so() {
    let rig = rig(|builder| {
        builder
            .http("limit_req_zone $phantom_token_claim_sub zone=subjects:1m rate=1r/m;")
            .location("/limited", &on("limit_req zone=subjects;"))
    });
    let token = rig.server.mint(Mint::new().claim("sub", "alice"));
    let statuses: Vec<_> =
        (0..5).map(|_| rig.gateway.get_as("/limited", &token.token).status).collect();
    assert_eq!(statuses, [204; 5]);
    assert_named(&rig, &["phantom_token_claim_sub"]);
    let line = named(&rig).remove(0);
    assert!(line.contains("[warn]"), "{line}");
    let said = "phantom token: \"$phantom_token_claim_sub\" is asked for before the token is judged, \
                and is empty: use it after the access phase, or write \"phantom_token_phase \
                preaccess\" where limits need it; a \"map\" over it that is used again needs \
                \"volatile\"";
    assert!(line.contains(said), "{line}");
}

#[test]
fn every_way_to_ask_too_early_is_named() {
    let rig = rig(|builder| {
        builder
            .http("map $phantom_token_claim_of_map $mapped { default none; }")
            .server("set $server $phantom_token_claim_of_server;")
            .location("/set", &on("set $x $phantom_token_status;"))
            .location("/if", &on("if ($phantom_token_claim_of_if) { return 418; }"))
            .location("/return", &on("if ($phantom_token_reason = \"\") { return 418; }"))
            .location("/text", "phantom_token on;\nreturn 200 $phantom_token_claim_of_text;")
            .location("/address", "phantom_token on;\nreturn 302 /$phantom_token_claim_of_address;")
            .location("/map", &on("set $x $mapped;"))
            .location("/bypass", &on("phantom_token_bypass $phantom_token_claim_of_bypass;"))
            .location(
                "/cache_bypass",
                &on("phantom_token_cache_bypass $phantom_token_claim_of_cache_bypass;"),
            )
            .location(
                "/header",
                &on("phantom_token_introspection_header X-A $phantom_token_claim_of_header;"),
            )
            .location(
                "/param",
                &on("phantom_token_introspection_param a $phantom_token_claim_of_param;"),
            )
            .location(
                "/token",
                "phantom_token on token=$phantom_token_claim_of_token;\ntry_files /none =204;",
            )
            .location("/inside", "if ($arg_on) { phantom_token on; }\nset $x $phantom_token_id;")
            .location("/off", "return 204;")
    });
    let token = rig.server.issue().token;
    // Where the module is off, the server's own question was not early.
    rig.gateway.get("/off", &[]);
    assert_named(&rig, &[]);
    for (target, status) in [
        ("/set", 204),
        ("/if", 204),
        ("/return", 418),
        ("/text", 200),
        ("/address", 302),
        ("/map", 204),
        ("/bypass", 204),
        ("/cache_bypass", 204),
        ("/header", 204),
        ("/param", 204),
        ("/token", 401),
        ("/inside?on=1", 404),
    ] {
        for _ in 0..2 {
            assert_eq!(rig.gateway.get_as(target, &token).status, status, "{target}");
        }
    }
    assert_named(
        &rig,
        &[
            "phantom_token_claim_of_server",
            "phantom_token_status",
            "phantom_token_claim_of_if",
            "phantom_token_reason",
            "phantom_token_claim_of_text",
            "phantom_token_claim_of_address",
            "phantom_token_claim_of_map",
            "phantom_token_claim_of_bypass",
            "phantom_token_claim_of_cache_bypass",
            "phantom_token_claim_of_header",
            "phantom_token_claim_of_param",
            "phantom_token_claim_of_token",
            "phantom_token_id",
        ],
    );
}

#[test]
fn nobody_is_warned_of_what_is_not_early() {
    let ask = "add_header Asked \"$phantom_token_status$phantom_token_claim_sub\" always;";
    let rig = rig(|builder| {
        builder
            .http("log_format asked $phantom_token_reason;\naccess_log asked.log asked;")
            .http("map $http_x_open $open { yes 1; default \"\"; }")
            .http("limit_req_zone $server_port zone=one:1m rate=1r/m;")
            .server("set $unset $arg_x;")
            .location("/on", &on(&format!("phantom_token_bypass $open;\n{ask}")))
            .location("/off", &format!("set $x $phantom_token_claim_sub;\n{ask}\nreturn 204;"))
            .location(
                "/off_twice",
                "set $x $phantom_token_claim_sub;\nset $y $phantom_token_claim_iss;\n\
                 add_header Asked \"$phantom_token_claim_aud\" always;\n\
                 return 200 \"$phantom_token_status$phantom_token_id\";",
            )
            .location("/denied", &on(&format!("deny all;\n{ask}")))
            .location("/limited", &on(&format!("limit_req zone=one;\n{ask}")))
            .location("/returned", &format!("phantom_token on;\n{ask}\nreturn 204;"))
            .location("/unmodified", &format!("phantom_token on;\n{ask}\nreturn 200 text;"))
            .location(
                "/page",
                &on(
                    "error_page 401 =403 /why;\nphantom_token_kind declared;\nerror_page 404 /why;",
                ),
            )
            .location("= /why", "internal;\nset $x $phantom_token_reason;\nreturn 403 \"$x\";")
            .location("/any", &on(&format!("satisfy any;\nallow 127.0.0.1;\ndeny all;\n{ask}")))
    });
    let token = rig.server.issue().token;
    for (target, token, status, asked) in [
        ("/on", &*token, 204, "MISStest-client"),
        ("/on", "unknown", 401, "INACTIVE"),
        ("/on", "a, b", 401, "DENIED"),
        ("/off", &token, 204, ""),
        ("/off_twice", &token, 200, ""),
        ("/denied", &token, 403, ""),
        ("/limited", &token, 204, "HITtest-client"),
        ("/limited", &token, 503, ""),
        ("/returned", &token, 204, ""),
        ("/any", &token, 204, ""),
    ] {
        let response = rig.gateway.get_as(target, token);
        let got = response.header("asked").unwrap_or_default().to_owned();
        assert_eq!((response.status, &*got), (status, asked), "{target} {token}");
    }
    let open = [("X-Open", "yes")];
    assert_eq!(rig.gateway.get("/on", &open).header("asked"), Some("BYPASS"));
    // What is not modified has neither a length nor a type.
    let unchanged = [("If-None-Match", "*")];
    assert_eq!(rig.gateway.get("/unmodified", &unchanged).status, 304);
    // An error page where the module is off tells why.
    let response = rig.gateway.get_as("/page", "unknown");
    assert_eq!((response.status, &*response.text()), (403, "inactive"));
    assert_named(&rig, &[]);
    wait_until("the access log", || {
        let log = std::fs::read_to_string(rig.gateway.prefix().join("asked.log"));
        log.unwrap_or_default().lines().count() >= 13
    });
    assert_named(&rig, &[]);
}

#[test]
fn each_worker_says_it_once() {
    let rig = rig(|builder| {
        builder
            .workers(2)
            .listen("reuseport")
            .location("/set", &on("set $x $phantom_token_claim_sub;"))
    });
    let token = rig.server.issue().token;
    wait_until("a line of each worker", || {
        rig.gateway.get_as("/set", &token);
        named(&rig).len() == 2
    });
    for _ in 0..20 {
        rig.gateway.get_as("/set", &token);
    }
    assert_eq!(named(&rig).len(), 2);
}

#[test]
fn a_client_that_leaves_is_logged_as_before() {
    let rig = rig(|builder| {
        builder.http(
            "log_format left \"$status $phantom_token_status:$phantom_token_reason\";\n\
             access_log left.log left;",
        )
    });
    rig.server.script("held", Script::hang());
    let mut client = rig.gateway.client();
    client.send_request("GET", "/api", &[("Authorization", "Bearer held")], b"");
    rig.server.wait_for_introspections(1);
    drop(client);
    wait_until("the access log", || {
        let log = std::fs::read_to_string(rig.gateway.prefix().join("left.log"));
        log.unwrap_or_default() == "499 ERROR:client_closed\n"
    });
    assert_named(&rig, &[]);
}

#[test]
fn a_later_pass_sees_nothing_of_an_earlier_one_s_token_before_its_own_is_judged() {
    let other = AuthorizationServer::start();
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let of = |url: &str| format!("phantom_token_introspection_endpoint {url};");
        let shown = "set $early \"$phantom_token_claim_sub$phantom_token_status\";\n\
                     add_header Early \"[$server_early$early]\" always;\n\
                     add_header Late \"$phantom_token_claim_sub $phantom_token_status\" always;";
        builder
            .server("set $server_early \"$phantom_token_claim_sub$phantom_token_status\";")
            .location(
                "/first",
                &format!(
                    "phantom_token on;\n{}\ntry_files /none /second;",
                    of(&server.introspection_url())
                ),
            )
            .location("= /second", &format!("{}\n{shown}", on(&of(&other.introspection_url()))))
    });
    let token = rig.server.mint(Mint::new().claim("sub", "alice"));
    let answer = other.mint(Mint::new().claim("sub", "bob"));
    let said = serde_json::json!({"active": true, "sub": "bob", "jwt": answer.jwt});
    other.script(&token.token, Script::json(&said));
    let response = rig.gateway.get_as("/first", &token.token);
    assert_eq!(response.status, 204);
    assert_eq!(response.header("early"), Some("[]"));
    assert_eq!(response.header("late"), Some("bob MISS"));
}

/// A map that lets all but one role in: of an empty claim it makes what lets everybody in.
const NOT_BLOCKED: &str = "map $phantom_token_claim_role $not_blocked { blocked 0; default 1; }";

#[track_caller]
fn assert_early(rig: &Rig, target: &str, token: &str, name: &str) {
    let response = rig.gateway.get_as(target, token);
    let header = |name| response.header(name).unwrap_or_default();
    assert_eq!(response.status, 500, "{target}");
    assert_eq!(response.text(), SERVER_ERROR, "{target}");
    assert_eq!(response.header("www-authenticate"), None, "{target}");
    let said = [header("outcome"), header("reason"), header("lacks")];
    assert_eq!(said, ["ERROR", "early", &format!("${name}")], "{target}");
}

#[test]
fn what_was_made_of_an_empty_claim_lets_nobody_in() {
    let shown = "add_header Outcome $phantom_token_status always;\n\
                 add_header Reason $phantom_token_reason always;\n\
                 add_header Lacks $phantom_token_unmet always;";
    let requires = |directives: &str| {
        on(&format!("{directives}\nphantom_token_require $not_blocked;\n{shown}"))
    };
    let leads_on = |directives: &str| {
        let page = "error_page 404 = /late?$not_blocked;";
        format!("phantom_token on;\n{directives}\n{page}\nroot none;")
    };
    let rig = rig(|builder| {
        builder
            .http(NOT_BLOCKED)
            .http("map $http_x_open $open { yes 1; default \"\"; }")
            .http("phantom_token_claim_set $deep a b;")
            .http("map $phantom_token_claim_role $needed { blocked admin; default read; }")
            .location("/late", &requires(""))
            .location("/set", &requires("set $x $not_blocked;"))
            .location("/own", &requires("set $x $phantom_token_status;"))
            .location("/deep", &requires("if ($deep) { return 418; }"))
            .location("/bypass", &requires("phantom_token_bypass $phantom_token_claim_none;"))
            .location("/provider", &requires("set $x $phantom_token_provider;"))
            .location(
                "/scope",
                &on(&format!("set $x $not_blocked;\nphantom_token_scope $needed;\n{shown}")),
            )
            // The step-up challenge would name the scope.
            .location(
                "/step-up",
                &on(&format!(
                    "set $x $not_blocked;\nphantom_token_scope $needed;\n\
                     phantom_token_step_up gold;\n{shown}"
                )),
            )
            .location(
                "/fixed-scope",
                &on(&format!("set $x $not_blocked;\nphantom_token_scope none;\n{shown}")),
            )
            .location("/none", &on(&format!("set $x $not_blocked;\n{shown}")))
            .location("/off", "set $x $not_blocked;\ntry_files /no /late;")
            .location("/page", "set $y $not_blocked;\nroot none;\nerror_page 404 = /late;")
            // Evaluated after a bypass, which is a decision, but not of this token.
            .location("/bypassed", &leads_on("phantom_token_bypass $open;"))
            .location("/passed", &leads_on(""))
    });
    let [good, blocked] =
        ["user", "blocked"].map(|role| rig.server.mint(Mint::new().claim("role", role)).token);
    assert_eq!(rig.gateway.get_as("/late", &good).status, 204);
    assert_eq!(rig.gateway.get_as("/late", &blocked).status, 403);
    for token in [&good, &blocked] {
        for _ in 0..2 {
            assert_early(&rig, "/set", token, "phantom_token_claim_role");
            assert_early(&rig, "/own", token, "phantom_token_status");
            assert_early(&rig, "/deep", token, "deep");
            assert_early(&rig, "/bypass", token, "phantom_token_claim_none");
            assert_early(&rig, "/provider", token, "phantom_token_provider");
            assert_early(&rig, "/scope", token, "phantom_token_claim_role");
            assert_early(&rig, "/step-up", token, "phantom_token_claim_role");
            assert_eq!(rig.gateway.get_as("/fixed-scope", token).status, 403);
            assert_early(&rig, "/off", token, "phantom_token_claim_role");
            assert_early(&rig, "/page", token, "phantom_token_claim_role");
            // Without a requirement nothing is decided by it.
            assert_eq!(rig.gateway.get_as("/none", token).status, 204);
        }
    }
    // After an earlier pass was let in, all that was made of its claims is forgotten.
    assert_eq!(rig.gateway.get_as("/passed", &good).status, 204);
    assert_eq!(rig.gateway.get_as("/passed", &blocked).status, 403);
    let sent = [("X-Open", "yes"), ("Authorization", &*format!("Bearer {blocked}"))];
    let response = rig.gateway.get("/bypassed", &sent);
    assert_eq!((response.status, response.header("reason")), (500, Some("early")));

    let lines = rig.gateway.module_lines();
    let errors: Vec<_> = lines.iter().filter(|line| line.contains("[error]")).collect();
    let of = |name: &str| {
        errors
            .iter()
            .filter(|line| line.contains(&format!("\"${name}\" was asked for before")))
            .count()
    };
    for name in
        ["phantom_token_claim_role", "phantom_token_status", "deep", "phantom_token_provider"]
    {
        assert_eq!(of(name), 1, "once a minute: {name}: {errors:#?}");
    }
    let line = errors.iter().find(|line| line.contains("\"$deep\"")).expect("a line");
    assert!(
        line.contains(
            "phantom token: \"$deep\" was asked for before the token was judged: a \"map\" may have \
             kept it, so that \"phantom_token_require\" and a \"phantom_token_scope\" of variables \
             cannot decide; use it after the access phase, or write \"phantom_token_phase \
             preaccess\" where limits need it"
        ),
        "{line}"
    );
}

#[test]
fn another_identity_s_claims_decide_for_no_later_pass() {
    // The first server calls alice an admin, the second does not.
    let other = AuthorizationServer::start();
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let of = |url: &str| format!("phantom_token_introspection_endpoint {url};");
        let (first, second) = (of(&server.introspection_url()), of(&other.introspection_url()));
        let admins = "phantom_token_require $is_admin;";
        builder
            .http("map $phantom_token_claim_role $is_admin { admin 1; default 0; }")
            .location(
                "/let-in",
                &format!("phantom_token on;\n{first}\n{admins}\ntry_files /no /second;"),
            )
            .location(
                "/refused",
                &format!(
                    "phantom_token on;\n{first}\nphantom_token_require $is_admin $phantom_token_claim_none;\n\
                     error_page 403 = /second;\ntry_files /no =204;"
                ),
            )
            .location("= /second", &on(&format!("{second}\n{admins}")))
    });
    let token = rig.server.mint(Mint::new().claim("role", "admin"));
    let said = |role: &str| {
        let jwt = other.mint(Mint::new().claim("role", role)).jwt;
        Script::ok("application/jwt", jwt)
    };
    for (role, status) in [("user", 403), ("admin", 204)] {
        let token = if role == "user" {
            token.clone()
        } else {
            rig.server.mint(Mint::new().claim("role", "admin"))
        };
        other.script(&token.token, said(role));
        for target in ["/let-in", "/refused"] {
            assert_eq!(rig.gateway.get_as(target, &token.token).status, status, "{target} {role}");
        }
    }
}

#[test]
fn subrequests_show_what_was_decided_of_their_main_request() {
    let rig = rig(|builder| {
        builder
            .location(
                "/first",
                &on("auth_request /verdict;\nauth_request_set $sub $x;\n\
                     add_header Sub \"[$sub]\";\nphantom_token_require $phantom_token_claim_sub;"),
            )
            .location("= /verdict", "internal;\nset $x $phantom_token_claim_sub;\nreturn 204;")
    });
    let token = rig.server.mint(Mint::new().claim("sub", "alice"));
    let response = rig.gateway.get_as("/first", &token.token);
    assert_eq!((response.status, response.header("sub")), (204, Some("[alice]")));
    assert_named(&rig, &[]);
}
