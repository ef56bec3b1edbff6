//! How well, and how lately, whoever a token is of was authenticated (`phantom_token_step_up`, RFC
//! 9470).

use phantom_token_test::jwt::unsigned as jwt;
use phantom_token_test::nginx::{Builder, Check};
use phantom_token_test::rig::UNAUTHORIZED;
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Reply, Rig, Script};
use serde_json::{Value, json};

const LEVEL: &str = "error=\"insufficient_user_authentication\", \
     error_description=\"A different authentication level is required\"";
const RECENT: &str = "error=\"insufficient_user_authentication\", \
     error_description=\"More recent authentication is required\"";
const BOTH: &str = "error=\"insufficient_user_authentication\", \
     error_description=\"A different authentication level is required. \
     More recent authentication is required\"";

fn location(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Outcome \"$phantom_token_status $phantom_token_reason $phantom_token_unmet\" always;\n\
         try_files /none =204;"
    )
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, _| change(builder))
}

/// A token whose answer, or whose JWT alone, makes these claims.
fn script(server: &AuthorizationServer, name: &str, claims: &Value, in_jwt: bool) {
    let none = json!({});
    let mut body = if in_jwt { none.clone() } else { claims.clone() };
    body["active"] = true.into();
    body["jwt"] = jwt(if in_jwt { claims } else { &none }).into();
    server.script(name, Script::json(&body));
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs().try_into().expect("a time")
}

/// 401 with this challenge behind the realm, and this for `$phantom_token_unmet`.
#[track_caller]
fn assert_step_up(gateway: &Gateway, target: &str, token: &str, challenge: &str, unmet: &str) {
    let response = gateway.get_as(target, token);
    let value = format!("Bearer realm=\"api\", {challenge}");
    assert_eq!(response.status, 401, "{target} {token} {response:?}");
    assert_eq!(response.header("www-authenticate"), Some(&*value), "{target} {token}");
    assert_eq!(response.text(), UNAUTHORIZED, "{target} {token}");
    let outcome = format!("DENIED step_up {unmet}");
    assert_eq!(response.header("outcome"), Some(&*outcome), "{target} {token}");
}

#[track_caller]
fn assert_granted(gateway: &Gateway, target: &str, token: &str) {
    let response = gateway.get_as(target, token);
    assert_eq!(response.status, 204, "{target} {token} {response:?}");
}

#[test]
fn one_of_the_levels_is_the_tokens() {
    let rig = rig(|builder| {
        builder
            .location("/gold", &location("phantom_token_step_up gold;"))
            .location("/list", &location("phantom_token_step_up urn:example:mfa silver gold;"))
            .location("/off", &location(""))
    });
    let long = "x".repeat(10_000);
    for (index, (acr, is_met)) in [
        (Some(json!("gold")), true),
        (Some(json!("GOLD")), false),
        (Some(json!("gold silver")), false),
        (Some(json!("")), false),
        (Some(json!(long)), false),
        (Some(json!("gold\u{0}")), false),
        (Some(json!("gold\n")), false),
        (Some(json!(["gold"])), false),
        (Some(json!({"gold": 1})), false),
        (Some(json!(1)), false),
        (Some(json!(true)), false),
        (Some(json!(null)), false),
        (None, false),
    ]
    .into_iter()
    .enumerate()
    {
        let claims = acr.map_or_else(|| json!({}), |acr| json!({ "acr": acr }));
        for in_jwt in [false, true] {
            let token = format!("t{index}.{in_jwt}");
            script(&rig.server, &token, &claims, in_jwt);
            for _ in 0..2 {
                if is_met {
                    assert_granted(&rig.gateway, "/gold", &token);
                    assert_granted(&rig.gateway, "/list", &token);
                } else {
                    let one = format!("{LEVEL}, acr_values=\"gold\"");
                    assert_step_up(&rig.gateway, "/gold", &token, &one, "acr");
                    let list = format!("{LEVEL}, acr_values=\"urn:example:mfa silver gold\"");
                    assert_step_up(&rig.gateway, "/list", &token, &list, "acr");
                }
            }
            assert_granted(&rig.gateway, "/off", &token);
            assert_eq!(rig.server.introspections_of(&token), 1, "one answer for all locations");
        }
    }
    // The answer's counts, whatever the JWT says.
    for (name, acr, is_met) in [("other", json!("bronze"), false), ("null", json!(null), true)] {
        let jwt = jwt(&json!({"acr": "gold"}));
        let body = json!({"active": true, "acr": acr, "jwt": jwt});
        rig.server.script(name, Script::json(&body));
        assert_eq!(rig.gateway.get_as("/gold", name).status == 204, is_met, "{name}");
    }
}

#[test]
fn an_authentication_is_not_long_ago() {
    let rig = rig(|builder| {
        builder
            .location("/hour", &location("phantom_token_step_up max_age=1h;"))
            .location("/day", &location("phantom_token_step_up max_age=1d;"))
    });
    // Half an hour is much more than a test takes.
    let now = now();
    for (name, auth_time, hour, day) in [
        ("now", json!(now), true, true),
        ("half_an_hour", json!(now - 1_800), true, true),
        ("fraction", json!(now as f64 - 1_800.5), true, true),
        ("two_hours", json!(now - 7_200), false, true),
        ("two_days", json!(now - 172_800), false, false),
        ("zero", json!(0), false, false),
        ("negative", json!(-1), false, false),
        // Within the skew of the clocks, and beyond it.
        ("ahead", json!(now + 25), true, true),
        ("far_ahead", json!(now + 3_600), false, false),
        // Spring writes milliseconds.
        ("milliseconds", json!(now * 1_000), false, false),
        ("huge", json!(1e300), false, false),
        ("string", json!(now.to_string()), false, false),
        ("array", json!([now]), false, false),
        ("object", json!({"at": now}), false, false),
        ("null", json!(null), false, false),
    ] {
        for in_jwt in [false, true] {
            let token = format!("{name}.{in_jwt}");
            script(&rig.server, &token, &json!({ "auth_time": auth_time }), in_jwt);
            for (target, is_met, max_age) in [("/hour", hour, 3_600), ("/day", day, 86_400)] {
                if is_met {
                    assert_granted(&rig.gateway, target, &token);
                } else {
                    let challenge = format!("{RECENT}, max_age=\"{max_age}\"");
                    assert_step_up(&rig.gateway, target, &token, &challenge, "auth_time");
                }
            }
        }
    }
    script(&rig.server, "absent", &json!({}), false);
    let challenge = format!("{RECENT}, max_age=\"3600\"");
    assert_step_up(&rig.gateway, "/hour", "absent", &challenge, "auth_time");
}

#[test]
fn what_is_kept_grows_old() {
    // The clock of the gateway alone moves on; the answer is the one it has kept.
    let rig = rig(|builder| {
        builder
            .own_clock()
            .http("phantom_token_cache_valid 2h;")
            .location("/hour", &location("phantom_token_step_up max_age=1h;"))
    });
    let auth_time = now();
    script(&rig.server, "token", &json!({ "auth_time": auth_time }), false);
    assert_granted(&rig.gateway, "/hour", "token");
    rig.gateway.set_clock(5_400);
    // It is read once in each turn of NGINX's event loop.
    assert_eq!(rig.gateway.get("/hour", &[]).status, 401);
    let challenge = format!("{RECENT}, max_age=\"3600\"");
    assert_step_up(&rig.gateway, "/hour", "token", &challenge, "auth_time");
    assert_eq!(rig.server.introspections_of("token"), 1);
}

#[test]
fn the_challenge_names_what_is_not_met_and_the_scope_where_that_is_missing_too() {
    let rig = rig(|builder| {
        builder.location(
            "/pay",
            &location(
                "phantom_token_step_up gold silver max_age=5m;\nphantom_token_scope \"pay read\";",
            ),
        )
    });
    let recent = now();
    for (name, claims, challenge, unmet) in [
        (
            "neither",
            json!({"scope": "read pay"}),
            format!("{BOTH}, acr_values=\"gold silver\", max_age=\"300\""),
            "acr auth_time",
        ),
        (
            "nothing",
            json!({"scope": "read"}),
            format!("{BOTH}, acr_values=\"gold silver\", max_age=\"300\", scope=\"pay read\""),
            "acr auth_time",
        ),
        (
            "recent",
            json!({"auth_time": recent, "scope": "pay read"}),
            format!("{LEVEL}, acr_values=\"gold silver\""),
            "acr",
        ),
        (
            "recent_scopeless",
            json!({"auth_time": recent}),
            format!("{LEVEL}, acr_values=\"gold silver\", scope=\"pay read\""),
            "acr",
        ),
        (
            "level",
            json!({"acr": "silver", "scope": "pay read"}),
            format!("{RECENT}, max_age=\"300\""),
            "auth_time",
        ),
        (
            "level_scopeless",
            json!({"acr": "silver", "scope": "pay"}),
            format!("{RECENT}, max_age=\"300\", scope=\"pay read\""),
            "auth_time",
        ),
    ] {
        script(&rig.server, name, &claims, false);
        assert_step_up(&rig.gateway, "/pay", name, &challenge, unmet);
    }
    // What alone is missing is a matter of scope.
    script(&rig.server, "scope", &json!({"acr": "gold", "auth_time": recent}), false);
    let response = rig.gateway.get_as("/pay", "scope");
    let challenge = "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"pay read\"";
    assert_eq!((response.status, response.header("www-authenticate")), (403, Some(challenge)));
    let claims = json!({"acr": "gold", "auth_time": recent, "scope": "read pay"});
    script(&rig.server, "good", &claims, false);
    assert_granted(&rig.gateway, "/pay", "good");
}

#[test]
fn the_scope_it_names_is_the_one_of_the_request() {
    let rig = rig(|builder| {
        builder.http("map $arg_do $needed { pay orders.pay; look orders.look; }").location(
            "/made",
            &location("phantom_token_step_up gold;\nphantom_token_scope read $needed;"),
        )
    });
    script(&rig.server, "bronze", &json!({"acr": "bronze", "scope": "read orders.look"}), false);
    let level = format!("{LEVEL}, acr_values=\"gold\"");
    assert_step_up(&rig.gateway, "/made?do=look", "bronze", &level, "acr");
    let pay = format!("{level}, scope=\"read orders.pay\"");
    assert_step_up(&rig.gateway, "/made?do=pay", "bronze", &pay, "acr");
    // What comes to no scope is not met, and cannot be named.
    let neither = format!("{level}, scope=\"read\"");
    assert_step_up(&rig.gateway, "/made", "bronze", &neither, "acr");
    rig.gateway.allow("phantom_token_scope");
}

#[test]
fn every_byte_of_the_refusal_and_no_trace_of_the_token() {
    let rig = rig(|builder| {
        builder
            .directives("phantom_token_step_up gold max_age=5m;")
            .directives("phantom_token_resource_metadata https://a.example/m;")
    });
    let token = rig.server.mint(Mint::new().claim("acr", "bronze"));
    let expected = format!(
        "Bearer realm=\"api\", resource_metadata=\"https://a.example/m\", {BOTH}, \
         acr_values=\"gold\", max_age=\"300\""
    );
    Reply::unauthorized(&expected).assert(&rig.get_as(&token.token));
    rig.gateway.wait_for_log(&[
        "[info]",
        "the access token is refused: its user must be authenticated anew",
    ]);
    assert_eq!(rig.api.count(), 0);
    let token = rig.server.mint(Mint::new().claim("acr", "gold").claim("auth_time", now()));
    rig.assert_passes(&token);
}

#[test]
fn a_providers_clock_skew_counts() {
    let rig = Rig::with(AuthorizationServer::start(), |builder, server| {
        let block = |name: &str, skew: &str| {
            format!(
                "phantom_token_provider {name} {{\nintrospection_endpoint {};\n\
                 client_id gateway-client;\nclient_auth none;\n{skew}\n}}",
                server.introspection_url()
            )
        };
        let uses = |name: &str| {
            format!(
                "phantom_token on;\nphantom_token_use {name};\n\
                 phantom_token_step_up max_age=1h;\ntry_files /none =204;"
            )
        };
        let builder = builder
            .http(&block("default", ""))
            .http(&block("none", "clock_skew 0;"))
            .http(&block("wide", "clock_skew 3h;"));
        let all = ["default", "none", "wide"];
        all.iter().fold(builder, |builder, name| builder.location(&format!("/{name}"), &uses(name)))
    });
    let ahead = |name: &str, seconds: i64| {
        script(&rig.server, name, &json!({"auth_time": now() + seconds}), false);
    };
    ahead("near", 25);
    ahead("far", 7_200);
    // Much more than a test may take, or the near one would be past.
    ahead("later", 5_400);
    let status = |location: &str, token: &str| rig.gateway.get_as(location, token).status;
    assert_eq!([status("/default", "near"), status("/wide", "near")], [204, 204]);
    assert_eq!(["/default", "/none", "/wide"].map(|to| status(to, "far")), [401, 401, 204]);
    assert_eq!(["/default", "/none", "/wide"].map(|to| status(to, "later")), [401, 401, 204]);
    // It is no part of what answers are kept by.
    for token in ["far", "later"] {
        assert_eq!(rig.server.introspections_of(token), 1, "{token}");
    }
}

#[test]
fn levels_and_blocks_replace_it_whole() {
    let rig = rig(|builder| {
        builder
            .http("phantom_token_step_up gold max_age=1h;")
            .location("/outer", &location(""))
            .location("/level", &location("phantom_token_step_up silver;"))
            .location("/off", &location("phantom_token_step_up off;"))
            .location(
                "/if",
                &format!(
                    "{}\nif ($arg_pay) {{\nphantom_token_step_up platinum;\nset $x 1;\n}}",
                    location("phantom_token_step_up off;")
                ),
            )
            .location(
                "/limit",
                &format!(
                    "{}\nlimit_except GET {{\nphantom_token_step_up platinum;\n}}",
                    location("phantom_token_step_up off;")
                ),
            )
    });
    script(&rig.server, "silver", &json!({"acr": "silver"}), false);
    script(&rig.server, "platinum", &json!({"acr": "platinum"}), false);
    let outer = format!("{BOTH}, acr_values=\"gold\", max_age=\"3600\"");
    assert_step_up(&rig.gateway, "/outer", "silver", &outer, "acr auth_time");
    assert_granted(&rig.gateway, "/level", "silver");
    assert_granted(&rig.gateway, "/off", "silver");
    let platinum = format!("{LEVEL}, acr_values=\"platinum\"");
    assert_granted(&rig.gateway, "/if", "silver");
    assert_step_up(&rig.gateway, "/if?pay=1", "silver", &platinum, "acr");
    // `try_files` does not hold in `if`.
    assert_eq!(rig.gateway.get_as("/if?pay=1", "platinum").status, 404);
    assert_granted(&rig.gateway, "/limit", "silver");
    let mut client = rig.gateway.client();
    for (token, status) in [("silver", 401), ("platinum", 405)] {
        let bearer = format!("Bearer {token}");
        client.send_request("POST", "/limit", &[("Authorization", &bearer)], b"");
        // What is let in is not for POST.
        let response = client.read();
        assert_eq!(response.status == 401, status == 401, "{token} {response:?}");
    }
}

#[test]
fn each_pass_is_judged_by_the_location_it_arrives_in() {
    let rig = rig(|builder| {
        builder
            .location("/in", "phantom_token on;\ntry_files /none /pay;")
            .location("/pay", &location("phantom_token_step_up gold;"))
            .location(
                "/page",
                "phantom_token on;\nphantom_token_step_up gold;\nerror_page 401 = @anew;",
            )
            .location("@anew", "add_header Anew 1 always;\ntry_files /none =204;")
    });
    script(&rig.server, "gold", &json!({"acr": "gold"}), false);
    script(&rig.server, "bronze", &json!({"acr": "bronze"}), false);
    let challenge = format!("{LEVEL}, acr_values=\"gold\"");
    assert_granted(&rig.gateway, "/in", "gold");
    assert_step_up(&rig.gateway, "/in", "bronze", &challenge, "acr");
    assert_eq!(rig.server.introspections_of("bronze"), 1);
    // The operator's own page wins over the body; the challenge stays.
    let page = rig.gateway.get_as("/page", "bronze");
    assert_eq!((page.status, page.header("anew")), (204, Some("1")), "{page:?}");
    let value = format!("Bearer realm=\"api\", {challenge}");
    assert_eq!(page.header("www-authenticate"), Some(&*value));
}

fn check(directives: &str) -> Check {
    Gateway::builder().location("/", directives).check()
}

#[track_caller]
fn assert_refused(directive: &str, words: &str) {
    let check = check(directive);
    assert!(!check.ok, "{directive}");
    let at = format!("nginx.conf:{}", check.line_of(directive.lines().last().expect("a line")));
    let line = check.messages.lines().find(|line| line.contains("[emerg]")).expect("a line");
    let said = line.contains(words) && line.contains("\"phantom_token_step_up\"");
    assert!(said && line.contains(&at), "{directive}: {line}");
}

#[test]
fn what_nginx_t_says() {
    let acr = "a value of acr is printable ASCII without spaces, '\"' and '\\'; \
               write each as an argument of its own";
    assert_refused("phantom_token_step_up;", "invalid number of arguments");
    assert_refused("phantom_token_step_up max_age=0;", "write a time above 0");
    assert_refused("phantom_token_step_up max_age=0s;", "write a time above 0");
    assert_refused("phantom_token_step_up gold max_age=0;", "write a time above 0");
    for time in ["soon", "-1", "500ms", "1x"] {
        let write = "write a time of whole seconds, such as 300s or 5m";
        assert_refused(&format!("phantom_token_step_up max_age={time};"), write);
    }
    for spelling in ["max_age", "max_age=", "max-age=5m", "maxage=5m", "Max_Age=5m"] {
        let write = "write max_age=TIME, such as max_age=5m";
        assert_refused(&format!("phantom_token_step_up gold {spelling};"), write);
    }
    assert_refused("phantom_token_step_up max_age=1m max_age=2m;", "write max_age once");
    for value in ["\"gold silver\"", "\"\"", "\" \"", "'a\"b'", "g\u{f6}ld", "\"a\x01\"", "'a\\b'"]
    {
        assert_refused(&format!("phantom_token_step_up {value};"), acr);
    }
    for value in ["$acr", "urn:${acr}", "$_x"] {
        assert_refused(
            &format!("phantom_token_step_up \"{value}\";"),
            "it takes no variables; write the value itself",
        );
    }
    for list in ["off gold", "gold off", "off max_age=5m"] {
        assert_refused(&format!("phantom_token_step_up {list};"), "write it alone");
    }
    assert_refused("phantom_token_step_up a;\nphantom_token_step_up b;", "directive is duplicate");
    assert_refused(
        "phantom_token_step_up gold\nphantom_token_scope read;",
        "is a \";\" missing before it?",
    );
    for good in ["off", "max_age=1s", "gold", "urn:example:mfa=2 https://a.example/acr max_age=1d"]
    {
        let check = check(&format!("phantom_token_step_up {good};\nreturn 204;"));
        assert!(check.ok, "{good}: {}", check.messages);
        // What is switched off demands nothing.
        let words = "\"phantom_token_step_up\" has no effect: no location goes by it";
        assert_eq!(check.messages.contains(words), good != "off", "{good}: {}", check.messages);
    }
}

#[test]
fn what_nginx_t_says_of_a_clock_skew() {
    let refused = |block: &str, words: &str| {
        let check = Gateway::builder().http(block).check();
        assert!(!check.ok, "{block}");
        let line = check.messages.lines().find(|line| line.contains("[emerg]")).expect("a line");
        assert!(line.contains(words), "{block}: {line}");
    };
    let block = |members: &str| format!("phantom_token_provider a {{\n{members}\n}}");
    for time in ["soon", "-1", "500ms"] {
        refused(
            &block(&format!("clock_skew {time};")),
            &format!(
                "\"clock_skew\" directive has an invalid value \"{time}\": write a time of whole"
            ),
        );
    }
    refused(&block("clock_skew 1s;\nclock_skew 2s;"), "\"clock_skew\" directive is duplicate");
    refused(&block("clock_skew;"), "invalid number of arguments in \"clock_skew\"");
    refused(
        &block("phantom_token_clock_skew 1s;"),
        "\"phantom_token_clock_skew\" directive has a prefix, which goes in a block: write clock_skew",
    );
    refused("phantom_token_clock_skew 1s;", "only a block has it; write clock_skew in");
    refused(
        &block("step_up gold;"),
        "write phantom_token_step_up outside, where phantom_token_use stands",
    );
    refused(
        &block("audience orders;"),
        "write phantom_token_audience outside, where phantom_token_use stands",
    );
}
