//! `phantom_token_claim_set` and `$phantom_token_claims`: claims that no variable's name can say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_test::nginx::Builder;
use phantom_token_test::rig::FORBIDDEN;
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Rig, Script};
use serde_json::{Value, json};

const SETS: &str = "phantom_token_claim_set $tenant https://example.com/tenant;\n\
    phantom_token_claim_set $roles realm_access roles;\n\
    phantom_token_claim_set $Exact Sub;\n\
    phantom_token_claim_set $is_admin realm_access roles has=admin;\n\
    phantom_token_claim_set $is_gold plan has=gold;";

/// Shows the variables in headers of the response.
const SHOW: &str = "add_header Tenant \"[$tenant]\" always;\nadd_header Roles \"[$roles]\" always;\n\
    add_header Exact \"[$exact]\" always;\nadd_header Admin \"[$is_admin]\" always;\n\
    add_header Gold \"[$is_gold]\" always;\nadd_header All \"$phantom_token_claims\" always;";

fn on(directives: &str) -> String {
    format!("phantom_token on;\n{directives}\n{SHOW}\ntry_files /none =204;")
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.http(SETS).location("/shown", &on(""))))
}

/// What the variables say in a response.
#[track_caller]
fn shown(rig: &Rig, target: &str, token: &str, status: u16) -> [String; 5] {
    let response = rig.gateway.get_as(target, token);
    assert_eq!(response.status, status, "{target} {response:?}");
    ["tenant", "roles", "exact", "admin", "gold"]
        .map(|name| response.header(name).unwrap_or_default().to_owned())
}

fn decoded(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect(text)).expect("JSON")
}

#[test]
fn claims_deep_and_of_odd_names_are_variables() {
    let rig = rig(|builder| builder);
    let deep = |roles: Value| json!({"roles": roles, "Roles": "no"});
    let long = "x".repeat(10_000);
    for (realm_access, expected) in [
        (deep(json!(["user", "admin"])), ["[user admin]", "[1]"]),
        (deep(json!("admin")), ["[admin]", "[1]"]),
        (
            deep(json!(["auditor-admin-readonly", "administrator"])),
            ["[auditor-admin-readonly administrator]", "[0]"],
        ),
        (deep(json!("admin user")), ["[admin user]", "[0]"]),
        (deep(json!(["Admin"])), ["[Admin]", "[0]"]),
        (deep(json!(["an admin", "admin"])), ["[[\"an admin\",\"admin\"]]", "[1]"]),
        (deep(json!([1, "admin"])), ["[[1,\"admin\"]]", "[1]"]),
        (deep(json!({"admin": true})), ["[{\"admin\":true}]", "[0]"]),
        (deep(json!(7)), ["[7]", "[0]"]),
        (deep(json!(true)), ["[true]", "[0]"]),
        (deep(json!([])), ["[]", "[0]"]),
        (deep(json!(null)), ["[]", "[0]"]),
        (deep(json!(["admin", "a\r\nX:y"])), ["[]", "[0]"]),
        (deep(json!(["admin", "a\r\nX: y"])), ["[[\"admin\",\"a\\r\\nX: y\"]]", "[1]"]),
        (deep(json!("ü,\"")), ["[ü,\"]", "[0]"]),
        (deep(json!(long)), [&*format!("[{long}]"), "[0]"]),
        (json!({"ROLES": ["admin"]}), ["[]", "[0]"]),
        (json!({}), ["[]", "[0]"]),
        // A path leads through no array and no string.
        (json!([{"roles": ["admin"]}]), ["[]", "[0]"]),
        (json!(["roles", "admin"]), ["[]", "[0]"]),
        (json!("roles"), ["[]", "[0]"]),
        (json!(null), ["[]", "[0]"]),
    ] {
        let mint = Mint::new().claim("realm_access", realm_access.clone());
        let token = rig.server.mint(mint.claim("https://example.com/tenant", "acme"));
        // Not only when it is read first.
        for _ in 0..2 {
            let [tenant, roles, exact, admin, gold] = shown(&rig, "/shown", &token.token, 204);
            assert_eq!([&*roles, &*admin], expected, "{realm_access}");
            assert_eq!([&*tenant, &*exact, &*gold], ["[acme]", "[]", "[0]"]);
        }
    }
    let lines = rig.gateway.module_lines();
    let said = lines.iter().filter(|line| line.contains("holds a control byte"));
    assert_eq!(said.count(), 2, "once for each variable: {lines:#?}");
}

#[test]
fn a_json_answer_decides_before_its_jwt() {
    let server = AuthorizationServer::builder().jwt_member("phantom_token").start().unwrap();
    let rig = Rig::with(server, |builder, _| {
        builder
            .http(SETS)
            .location("/shown", &on("phantom_token_introspection_accept application/json;"))
    });
    let mint = Mint::new()
        .claim("plan", "gold")
        .claim("realm_access", json!({"roles": ["admin"]}))
        .answer("realm_access", json!({}))
        .answer("https://example.com/tenant", "acme");
    let token = rig.server.mint(mint);
    let response = rig.gateway.get_as("/shown", &token.token);
    let all = decoded(response.header("all").expect("claims"));
    let got = shown(&rig, "/shown", &token.token, 204);
    // The answer has the first name of the path: the JWT is not asked.
    assert_eq!(got, ["[acme]", "[]", "[]", "[0]", "[1]"]);
    assert_eq!(all["realm_access"], json!({}));
    assert_eq!(all["plan"], "gold");
    assert_eq!(all["active"], true);
    let text = all.to_string();
    let signature = token.jwt.rsplit('.').next().expect("a signature");
    assert!(!text.contains(&token.jwt) && !text.contains(signature), "{text}");
    assert!(all.get("phantom_token").is_none() && all.get("jwt").is_none(), "{text}");
}

#[test]
fn all_claims_of_a_jwt_are_one_header() {
    let rig = rig(|builder| builder.directives("proxy_set_header X-Claims $phantom_token_claims;"));
    let mint = Mint::new().claim("name", "Jürgen, \"J\"\r\nX: y").claim("none", json!(null));
    let token = rig.server.mint(mint);
    for _ in 0..2 {
        let sent = [("Authorization", &*token.bearer()), ("X-Claims", "forged")];
        assert_eq!(rig.gateway.get("/api", &sent).status, 200);
        let received = rig.api.last();
        let headers: Vec<_> = received.head.headers.all("x-claims").collect();
        let [header] = headers[..] else { panic!("{headers:?}") };
        let payload = token.jwt.split('.').nth(1).expect("a payload");
        let mut expected = decoded(payload);
        expected.as_object_mut().expect("an object").remove("none");
        assert_eq!(decoded(header), expected);
    }
}

#[test]
fn nothing_is_shown_of_a_token_that_is_not_let_in() {
    let rig = rig(|builder| {
        builder
            .http("map $http_x_open $open { yes 1; default \"\"; }")
            .location("/refused", &on("phantom_token_scope none;"))
            .location("/open", &on("phantom_token_bypass $open;"))
            .location("/off", &format!("{SHOW}\nreturn 204;"))
    });
    let mint = Mint::new().claim("plan", "gold").claim("realm_access", json!({"roles": "admin"}));
    let token = rig.server.mint(mint);
    let nothing = ["[]", "[]", "[]", "[0]", "[0]"];
    assert_eq!(shown(&rig, "/shown", &token.token, 204), ["[]", "[admin]", "[]", "[1]", "[1]"]);
    assert_eq!(shown(&rig, "/refused", &token.token, 403), nothing);
    assert_eq!(shown(&rig, "/shown", "unknown", 401), nothing);
    assert_eq!(shown(&rig, "/off", &token.token, 204), nothing);
    let response = rig.gateway.get("/open", &[("X-Open", "yes")]);
    assert_eq!(response.header("admin"), Some("[0]"));
    assert_eq!(response.header("all"), None);
}

#[test]
fn a_requirement_of_a_role_takes_that_role_alone() {
    let rig = rig(|builder| {
        builder
            .location("/admin", &on("phantom_token_require $is_admin;"))
            .location("/both", &on("phantom_token_require $is_admin $is_gold;"))
    });
    let token = |roles: Value, plan: &str| {
        let mint = Mint::new().claim("realm_access", json!({"roles": roles})).claim("plan", plan);
        rig.server.mint(mint).token
    };
    for (token, admin, both) in [
        (token(json!(["user", "admin"]), "gold"), 204, 204),
        (token(json!("admin"), "silver"), 204, 403),
        (token(json!(["auditor-admin-readonly"]), "gold"), 403, 403),
        (token(json!(null), "gold"), 403, 403),
    ] {
        for _ in 0..2 {
            let response = rig.gateway.get_as("/admin", &token);
            assert_eq!(response.status, admin);
            if admin == 403 {
                assert_eq!(response.header("admin"), Some("[0]"));
                assert_ne!(response.text(), FORBIDDEN);
            }
            assert_eq!(rig.gateway.get_as("/both", &token).status, both);
        }
    }
}

#[test]
fn before_the_decision_they_are_empty_and_named() {
    let rig = rig(|builder| {
        builder.location(
            "/early",
            &on("set $x \"[$is_admin$phantom_token_claims]\";\nadd_header X $x;"),
        )
    });
    let token = rig.server.mint(Mint::new().claim("realm_access", json!({"roles": "admin"})));
    let response = rig.gateway.get_as("/early", &token.token);
    assert_eq!((response.header("x"), response.header("admin")), (Some("[]"), Some("[1]")));
    for name in ["is_admin", "phantom_token_claims"] {
        rig.gateway.wait_for_log(&["[warn]", &format!("\"${name}\" is asked for before")]);
    }
}

#[test]
fn claims_of_an_answer_that_is_not_forwarded() {
    let rig = Rig::start(|builder| {
        builder.http(SETS).location(
            "/shown",
            &on(
                "phantom_token_forward none;\nphantom_token_introspection_accept application/json;",
            ),
        )
    });
    let answer = json!({
        "active": true, "sub": "alice", "realm_access": {"roles": ["admin"]}, "jwt": "not a JWT",
    });
    rig.server.script("opaque", Script::json(&answer));
    let got = shown(&rig, "/shown", "opaque", 204);
    assert_eq!(got, ["[]", "[admin]", "[]", "[1]", "[0]"]);
    let response = rig.gateway.get_as("/shown", "opaque");
    let mut expected = answer;
    expected.as_object_mut().expect("an object").remove("jwt");
    assert_eq!(decoded(response.header("all").expect("claims")), expected);
}

#[test]
fn nginx_refuses_what_cannot_be_set() {
    for (directive, said) in [
        (
            "phantom_token_claim_set roles realm_access;",
            "\"phantom_token_claim_set\" directive has an invalid value \"roles\": write the variable to set first, such as $roles in",
        ),
        ("phantom_token_claim_set $1 a;", "write the variable to set first"),
        ("phantom_token_claim_set ${a} a;", "write the variable to set first"),
        ("phantom_token_claim_set $a;", "invalid number of arguments"),
        (
            "phantom_token_claim_set $a has=b;",
            "\"phantom_token_claim_set\" directive names no claim: write its name, or the names of a path to it, between the variable and has=",
        ),
        (
            "phantom_token_claim_set $a b has=c has=d;",
            "invalid value \"has=d\": write has= once, or a variable for each value",
        ),
        (
            "phantom_token_claim_set $a b has=;",
            "invalid value \"has=\": write text in UTF-8 without control bytes, and not nothing",
        ),
        ("phantom_token_claim_set $a \"\";", "write text in UTF-8"),
        ("phantom_token_claim_set $a \"b\tc\";", "write text in UTF-8"),
        (
            "phantom_token_claim_set $a $b;",
            "invalid value \"$b\": it takes no variables; write the value itself",
        ),
        ("phantom_token_claim_set $a b has=$c;", "it takes no variables"),
        (
            "phantom_token_claim_set $phantom_token_claim_x x;",
            "such names are the module's own; write one that does not begin with $phantom_token_",
        ),
        (
            "phantom_token_claim_set $a b\nphantom_token_scope x;",
            "invalid value \"phantom_token_scope\": that is the name of a directive; is a \";\" missing before it?",
        ),
        (
            "phantom_token_claim_set $a b;\nphantom_token_claim_set $A c;",
            "invalid value \"$A\": it is set already, in ",
        ),
        (
            "phantom_token_claim_set $host b;",
            "\"phantom_token_claim_set\" sets the variable \"$host\", which NGINX or another directive defines: write another name, in ",
        ),
        ("phantom_token_claim_set $http_tenant b;", "sets the variable \"$http_tenant\""),
        ("phantom_token_claim_set $arg_a b;", "sets the variable \"$arg_a\""),
        ("map $uri $a { default 1; }\nphantom_token_claim_set $a b;", "sets the variable \"$a\""),
        ("phantom_token_claim_set $a b;\nmap $uri $a { default 1; }", "sets the variable \"$a\""),
        (
            "phantom_token_claim_set $a b;\nserver { listen 127.0.0.1:1; set $a 1; }",
            "sets the variable \"$a\"",
        ),
    ] {
        let check = Gateway::builder().http(directive).check();
        let messages = check.messages;
        assert!(!check.ok, "{directive}");
        assert!(messages.contains("[emerg]") && messages.contains(said), "{directive}: {messages}");
        assert!(messages.contains("nginx.conf:"), "{directive}: {messages}");
    }
    let check = Gateway::builder().server("phantom_token_claim_set $a b;").check();
    assert!(check.messages.contains("directive is not allowed here"), "{}", check.messages);
}

#[test]
fn nginx_warns_of_two_tests_in_one_requirement() {
    let sets = "phantom_token_claim_set $is_admin roles has=admin;\n\
                phantom_token_claim_set $is_owner roles has=owner;\n\
                phantom_token_claim_set $plan plan;\n\
                phantom_token_introspection_endpoint http://127.0.0.1:9/;\n\
                phantom_token_client_id x;\nphantom_token_client_secret y;";
    for (strings, warned) in [
        ("$is_admin$is_owner", true),
        ("\"${is_admin}${IS_OWNER}\"", true),
        ("$is_admin $is_owner", false),
        ("$is_admin$plan", false),
        ("$plan$plan", false),
    ] {
        let location = format!("phantom_token on;\nphantom_token_require {strings};");
        let check = Gateway::builder().http(sets).location("/", &location).check();
        assert!(check.ok, "{}", check.messages);
        let said = "it is never empty, and every request meets the requirement; derive the \
                    condition with map";
        let has = |text: &str| check.messages.contains(text);
        assert_eq!((has("[warn]"), has(said)), (warned, warned), "{strings}: {}", check.messages);
    }
}
