//! A location takes the tokens that were issued for it (`phantom_token_audience`).

use phantom_token_test::jwt::unsigned as jwt;
use phantom_token_test::nginx::Builder;
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Reply, Response, Rig, Script};
use serde_json::{Value, json};

/// What a location says of a request, and what the variables are in it.
fn location(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Outcome \"$phantom_token_status $phantom_token_reason $phantom_token_unmet\" always;\n\
         add_header Sub $phantom_token_claim_sub always;\n\
         try_files /none =204;"
    )
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, _| change(builder))
}

fn one(directives: &str) -> Rig {
    rig(|builder| builder.location("/one", &location(directives)))
}

#[track_caller]
fn assert_denied(gateway: &Gateway, target: &str, token: &str) -> Response {
    let response = gateway.get_as(target, token);
    assert_eq!(response.status, 401, "{target} {response:?}");
    assert_eq!(response.header("www-authenticate"), Some(INVALID_TOKEN), "{target}");
    assert_eq!(response.header("outcome"), Some("DENIED audience aud"), "{target}");
    response
}

#[track_caller]
fn assert_granted(gateway: &Gateway, target: &str, token: &str) {
    let response = gateway.get_as(target, token);
    assert_eq!(response.status, 204, "{target} {response:?}");
}

/// A token whose answer, or whose JWT alone, has this `aud`.
fn scripted(server: &AuthorizationServer, name: &str, aud: &Value, in_jwt: bool) {
    let (answer, claims) = if in_jwt { (&Value::Null, aud) } else { (aud, &json!("jwt's own")) };
    let jwt = jwt(&json!({ "sub": "me", "aud": claims }));
    let mut body = json!({"active": true, "sub": "me", "jwt": jwt});
    if !in_jwt {
        body["aud"] = answer.clone();
    }
    server.script(name, Script::json(&body));
}

#[test]
fn one_of_the_audiences_is_the_tokens() {
    let rig = rig(|builder| {
        builder
            .location("/one", &location("phantom_token_audience orders;"))
            .location("/two", &location("phantom_token_audience https://api.example/ orders;"))
            .location("/none", &location(""))
    });
    let long = "x".repeat(10_000);
    for (index, (aud, is_for)) in [
        (json!("orders"), true),
        (json!(["orders"]), true),
        (json!(["other", "orders", "third"]), true),
        (json!([long, "orders"]), true),
        (json!("other"), false),
        (json!("Orders"), false),
        (json!("orders "), false),
        (json!("orders other"), false),
        (json!(["orders other"]), false),
        (json!(long), false),
        (json!([long, "other"]), false),
        (json!([]), false),
        (json!(""), false),
        (json!(7), false),
        (json!(true), false),
        (json!({"orders": "orders"}), false),
        (json!([["orders"]]), false),
        (json!(["orders", 7]), false),
        (json!(["orders", "a\u{1}"]), false),
        (json!("orders\u{0}"), false),
        (json!("orders\n"), false),
    ]
    .into_iter()
    .enumerate()
    {
        for in_jwt in [false, true] {
            let token = format!("t{index}.{in_jwt}");
            scripted(&rig.server, &token, &aud, in_jwt);
            // The second time it is a hit, judged by what the first has read.
            for _ in 0..2 {
                for target in ["/one", "/two"] {
                    if is_for {
                        assert_granted(&rig.gateway, target, &token);
                    } else {
                        let response = assert_denied(&rig.gateway, target, &token);
                        assert_eq!(response.header("sub"), None, "no claim of a refused token");
                    }
                }
            }
            assert_granted(&rig.gateway, "/none", &token);
            assert_eq!(rig.server.introspections_of(&token), 1, "one answer for all locations");
        }
    }
}

#[test]
fn an_answers_audience_counts_and_else_the_jwts() {
    let rig = one("phantom_token_audience orders;");
    for (name, answer, claims, is_for) in [
        ("both", json!("orders"), json!("orders"), true),
        ("answer", json!("orders"), json!("other"), true),
        ("jwt", json!("other"), json!("orders"), false),
        ("number", json!(7), json!("orders"), false),
        ("null", json!(null), json!("orders"), true),
        ("nulls", json!(null), json!(null), false),
        ("jwt_null", json!("orders"), json!(null), true),
    ] {
        let jwt = jwt(&json!({ "aud": claims }));
        let body = json!({"active": true, "aud": answer, "jwt": jwt});
        rig.server.script(name, Script::json(&body));
        if is_for {
            assert_granted(&rig.gateway, "/one", name);
        } else {
            assert_denied(&rig.gateway, "/one", name);
        }
    }
    // Neither names any.
    let none = jwt(&json!({}));
    rig.server.script("absent", Script::json(&json!({"active": true, "jwt": none})));
    assert_denied(&rig.gateway, "/one", "absent");
    // An answer that is the JWT itself has its claims alone.
    rig.server.script("bare", Script::jwt(&jwt(&json!({"aud": ["x", "orders"]}))));
    assert_granted(&rig.gateway, "/one", "bare");
    // Nobody reads what an encrypted one says.
    rig.server.script("jwe", Script::jwt("eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn"));
    assert_denied(&rig.gateway, "/one", "jwe");
}

#[test]
fn every_byte_of_the_refusal_and_no_trace_of_the_token() {
    let rig = rig(|builder| {
        builder
            .directives("phantom_token_audience orders;\nphantom_token_scope read;")
            .directives("phantom_token_resource_metadata https://a.example/m;")
    });
    let token = rig.server.mint(Mint::new().scope("read"));
    let expected = INVALID_TOKEN
        .replace("api\"", "api\", scope=\"read\", resource_metadata=\"https://a.example/m\"");
    Reply::unauthorized(&expected).assert(&rig.get_as(&token.token));
    rig.gateway.wait_for_log(&["[info]", "the access token is refused: audience"]);
    assert_eq!(rig.api.count(), 0);
    let token = rig.server.mint(Mint::new().scope("read").claim("aud", "orders"));
    rig.assert_passes(&token);
}

#[test]
fn a_locations_audience_decides_for_no_other() {
    // From `http` on, replaced whole; and one location without, which cannot take it off.
    let rig = rig(|builder| {
        let audience = |names: &str| location(&format!("phantom_token_audience {names};"));
        builder
            .http("phantom_token_audience first;")
            .location("/outer", &location(""))
            .location("/second", &audience("second"))
            .location("/both", &audience("second first"))
            .location(
                "/none",
                &location("phantom_token_forward none;\nphantom_token_audience first;"),
            )
    });
    let [first, second] = ["first", "second"].map(|aud| {
        let mint = Mint::new().claim("aud", aud);
        rig.server.mint(mint).token
    });
    // In whichever order they are asked, and from whichever cache.
    for _ in 0..3 {
        assert_granted(&rig.gateway, "/outer", &first);
        assert_denied(&rig.gateway, "/second", &first);
        assert_granted(&rig.gateway, "/both", &first);
        assert_granted(&rig.gateway, "/none", &first);
        assert_denied(&rig.gateway, "/outer", &second);
        assert_granted(&rig.gateway, "/second", &second);
        assert_granted(&rig.gateway, "/both", &second);
        assert_denied(&rig.gateway, "/none", &second);
    }
    // One answer for each, and one more for what forwards none.
    assert_eq!(rig.server.introspections_of(&first), 2);
}

#[test]
fn the_order_is_kind_issuer_audience_step_up_scope() {
    let demands = "phantom_token_audience orders;\nphantom_token_step_up gold;\n\
                   phantom_token_scope admin;";
    let rig = one(demands);
    for (name, body, outcome, status) in [
        ("bound", json!({"cnf": {"jkt": "x"}, "token_use": "id"}), "DENIED bound", 401),
        ("kind", json!({"token_use": "refresh"}), "DENIED kind", 401),
        ("audience", json!({"aud": "other"}), "DENIED audience aud", 401),
        ("step_up", json!({"aud": "orders"}), "DENIED step_up acr", 401),
        ("scope", json!({"aud": "orders", "acr": "gold"}), "DENIED scope admin", 403),
        ("good", json!({"aud": "orders", "acr": "gold", "scope": "admin"}), "MISS", 204),
    ] {
        let mut body = body;
        body["active"] = true.into();
        body["jwt"] = jwt(&json!({})).into();
        rig.server.script(name, Script::json(&body));
        let response = rig.gateway.get_as("/one", name);
        let said = response.header("outcome").map(str::trim);
        assert_eq!((response.status, said), (status, Some(outcome)), "{name}");
    }
}

#[test]
fn each_pass_is_judged_by_the_location_it_arrives_in() {
    let rig = rig(|builder| {
        builder
            .location("/", &location("phantom_token_audience orders;\nerror_page 418 /refused;"))
            .location("/in", "phantom_token on;\ntry_files /none /one;")
            .location("/one", &location("phantom_token_audience orders;"))
            .location(
                "/lax",
                &location("phantom_token_audience orders;\nerror_page 401 = /answer;"),
            )
            .location("/answer", &location("phantom_token_audience other;"))
            .location(
                "/off",
                "phantom_token on;\nphantom_token_audience orders;\nerror_page 401 /page;",
            )
            .location(
                "/page",
                "add_header Authorization \"<$http_authorization>\" always;\ntry_files /none =204;",
            )
    });
    let [good, other] = ["orders", "other"].map(|aud| {
        let mint = Mint::new().claim("aud", aud);
        rig.server.mint(mint).token
    });
    // One answer serves both passes, and the first's verdict is none of the second's.
    assert_granted(&rig.gateway, "/in", &good);
    assert_denied(&rig.gateway, "/in", &other);
    // An error page that takes the other's is let in, and goes by its own audience.
    assert_granted(&rig.gateway, "/lax", &other);
    assert_granted(&rig.gateway, "/lax", &good);
    assert_eq!(rig.server.introspections_of(&other), 1);
    // A page without the module gets no JWT of a token that was refused.
    let page = rig.gateway.get_as("/off", &other);
    assert_eq!(page.status, 204, "{page:?}");
    assert_eq!(page.header("authorization"), Some(&*format!("<Bearer {other}>")));
    assert_eq!(page.header("www-authenticate"), Some(INVALID_TOKEN));
}

#[test]
fn what_nginx_t_says() {
    let refused = |directive: &str, words: &str| {
        let builder = Gateway::builder().location("/", directive);
        let check = builder.check();
        assert!(!check.ok, "{directive}");
        let at = format!("nginx.conf:{}", check.line_of(directive.lines().last().expect("a line")));
        let line = check.messages.lines().find(|line| line.contains("[emerg]")).expect("a line");
        let said = line.contains(words) && line.contains("\"phantom_token_audience\"");
        assert!(said && line.contains(&at), "{directive}: {line}");
    };
    for value in ["$host", "https://${host}/", "$_x"] {
        refused(
            &format!("phantom_token_audience orders \"{value}\";"),
            "it takes no variables; write the value itself",
        );
    }
    refused("phantom_token_audience \"\";", "has an empty value");
    refused(
        "phantom_token_audience \"a\x01\";",
        "write it as the server's tokens have it in \"aud\"",
    );
    refused("phantom_token_audience a;\nphantom_token_audience b;", "directive is duplicate");
    refused("phantom_token_audience;", "invalid number of arguments");
    refused(
        "phantom_token_audience orders\nphantom_token_scope read;",
        "is a \";\" missing before it?",
    );
    // Where no location goes by it, it protects nothing.
    let idle = Gateway::builder().location("/", "phantom_token_audience orders;\nreturn 204;");
    let messages = idle.check().messages;
    let words = "\"phantom_token_audience\" has no effect: no location goes by it";
    assert!(messages.contains(words), "{messages}");
}
