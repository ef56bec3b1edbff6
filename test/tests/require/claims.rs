//! `phantom_token_require`: the operator's own expressions over claims let a token in, or do not.

use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::rig::{INVALID_TOKEN, Reply};
use phantom_token_test::{AuthorizationServer, Mint, Response, Rig};
use serde_json::{Value, json};

const MAPS: &str = "map $phantom_token_claim_role $is_admin { admin 1; default 0; }
    map $phantom_token_claim_role $is_admin_anew { volatile; admin 1; default 0; }
    map $phantom_token_claim_tier $is_gold { gold yes; }";

/// A location that tells the decision, and otherwise answers 204.
fn location(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Status $phantom_token_status always;\n\
         add_header Reason $phantom_token_reason always;\n\
         add_header Unmet $phantom_token_unmet always;\n\
         try_files /none =204;"
    )
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.http(MAPS)))
}

fn token(rig: &Rig, claims: &[(&str, Value)]) -> String {
    let mint =
        claims.iter().fold(Mint::new(), |mint, (name, value)| mint.claim(name, value.clone()));
    rig.server.mint(mint).token
}

/// Status, reason, and what is not met.
fn said(response: &Response) -> (u16, String) {
    let header = |name| response.header(name).unwrap_or("-");
    (response.status, format!("{} {}", header("reason"), header("unmet")))
}

#[track_caller]
fn assert_said(rig: &Rig, target: &str, token: &str, status: u16, why: &str) {
    let response = rig.gateway.get_as(target, token);
    assert_eq!(said(&response), (status, why.to_owned()), "{target}");
    let refused = status >= 400;
    let outcome = response.header("status");
    assert_eq!(outcome == Some("DENIED"), refused, "{target}: {outcome:?}");
}

#[test]
fn a_claim_s_value_meets_a_requirement_or_does_not() {
    let rig = rig(|builder| {
        builder.location("/", &location("phantom_token_require $phantom_token_claim_it;"))
    });
    let long = "x".repeat(10_000);
    for (value, met) in [
        (None, false),
        (Some(json!(null)), false),
        (Some(json!("")), false),
        (Some(json!("0")), false),
        (Some(json!(0)), false),
        (Some(json!([])), false),
        (Some(json!(["", ""])), true),
        (Some(json!("a\r\nb")), false),
        (Some(json!("\u{0}")), false),
        (Some(json!(["a", "\u{7f}"])), false),
        (Some(json!("admin")), true),
        (Some(json!("00")), true),
        (Some(json!(1)), true),
        (Some(json!(-0.5)), true),
        (Some(json!(true)), true),
        (Some(json!(["admin"])), true),
        (Some(json!({"admin": false})), true),
        (Some(json!(long)), true),
    ] {
        let claims: Vec<_> = value.iter().map(|value| ("it", value.clone())).collect();
        let token = token(&rig, &claims);
        for _ in 0..2 {
            match met {
                true => assert_said(&rig, "/", &token, 204, "- -"),
                false => assert_said(&rig, "/", &token, 403, "require $phantom_token_claim_it"),
            }
        }
    }
}

#[test]
fn what_the_client_is_told() {
    let rig = rig(|builder| {
        builder.directives(
            "phantom_token_resource_metadata https://api.example/.well-known/x;
             phantom_token_scope read;
             phantom_token_require $is_admin $is_gold;
             phantom_token_require $phantom_token_claim_sub error=401;",
        )
    });
    let scoped = |claims: &[(&str, &str)]| {
        let mint = Mint::new().scope("read").claim("sub", Value::Null);
        let mint = claims.iter().fold(mint, |mint, (name, value)| mint.claim(name, *value));
        rig.server.mint(mint)
    };
    let good = scoped(&[("role", "admin"), ("tier", "gold"), ("sub", "alice")]);
    rig.assert_passes(&good);
    let neither = scoped(&[("role", "admin"), ("sub", "alice")]);
    let nobody = scoped(&[("role", "admin"), ("tier", "gold")]);
    let metadata = "resource_metadata=\"https://api.example/.well-known/x\"";
    let invalid = INVALID_TOKEN.replacen(", ", &format!(", scope=\"read\", {metadata}, "), 1);
    for _ in 0..2 {
        Reply::unmet().assert(&rig.get_as(&neither.token));
        Reply::unauthorized(&invalid).assert(&rig.get_as(&nobody.token));
    }
    // The same without a body, and the connection serves on.
    let mut client = rig.gateway.client();
    let bearer = neither.bearer();
    Reply::unmet().assert_head(&client.head("/api", &[("Authorization", &bearer)]));
    assert_eq!(client.get_as("/api", &good.token).status, 200);
    assert_eq!(rig.api.count(), 2, "the refused went no further");
    let lines = rig.gateway.module_lines();
    for line in ["the access token does not meet a requirement", "refused: require"] {
        assert!(lines.iter().any(|l| l.contains("[info]") && l.contains(line)), "{lines:?}");
    }
}

#[test]
fn the_first_of_several_that_is_not_met_answers() {
    let rig = rig(|builder| {
        builder
            .location(
                "/both",
                &location(
                    "phantom_token_require $is_gold error=401;\n\
                     phantom_token_require ${is_admin}$is_gold $is_admin error=403;",
                ),
            )
            .location(
                "/scoped",
                &location("phantom_token_require $is_gold;\nphantom_token_scope write;"),
            )
    });
    let none = token(&rig, &[]);
    let gold = token(&rig, &[("tier", json!("gold"))]);
    let both = token(&rig, &[("tier", json!("gold")), ("role", json!("admin"))]);
    assert_said(&rig, "/both", &none, 401, "require $is_gold");
    assert_said(&rig, "/both", &gold, 403, "require $is_admin");
    assert_said(&rig, "/both", &both, 204, "- -");
    assert_said(&rig, "/scoped", &none, 403, "scope write");
}

#[test]
fn levels_replace_each_other_and_share_what_is_known() {
    let rig = rig(|builder| {
        builder
            .server("phantom_token_require $is_admin;\nphantom_token_require $is_gold;")
            .location("/inherits", &location(""))
            .location("/gold", &location("phantom_token_require $is_gold;"))
            .location(
                "/methods",
                &location("limit_except GET {\nphantom_token_require $is_gold;\n}"),
            )
            .location(
                "/if",
                &format!(
                    "if ($arg_all) {{\nphantom_token_require $is_admin $is_gold;\n}}\n{}",
                    location("phantom_token_require $is_admin;")
                ),
            )
    });
    let admin = token(&rig, &[("role", json!("admin"))]);
    let gold = token(&rig, &[("tier", json!("gold"))]);
    assert_said(&rig, "/inherits", &admin, 403, "require $is_gold");
    assert_said(&rig, "/inherits", &gold, 403, "require $is_admin");
    assert_said(&rig, "/gold", &admin, 403, "require $is_gold");
    assert_said(&rig, "/gold", &gold, 204, "- -");
    assert_said(&rig, "/if", &admin, 204, "- -");
    assert_said(&rig, "/if?all=1", &admin, 403, "require $is_gold");
    assert_said(&rig, "/methods", &gold, 403, "require $is_admin");
    let mut client = rig.gateway.client();
    let bearer = format!("Bearer {gold}");
    client.send_request("POST", "/methods", &[("Authorization", &bearer)], b"");
    // NGINX serves no POST from the file system.
    assert_eq!(client.read().header("status"), Some("HIT"));
    for token in [&admin, &gold] {
        assert_eq!(rig.server.introspections_of(token), 1, "requirements are no identity");
    }
}

#[test]
fn a_map_that_was_asked_too_early_lets_nobody_in() {
    let rig = rig(|builder| {
        let of = |variable: &str| {
            location(&format!("set $early {variable};\nphantom_token_require {variable};"))
        };
        builder
            .location("/kept", &of("$is_admin"))
            .location("/anew", &of("$is_admin_anew"))
            .location("/late", &location("phantom_token_require $is_admin_anew;"))
    });
    let admin = token(&rig, &[("role", json!("admin"))]);
    for target in ["/kept", "/anew"] {
        for _ in 0..2 {
            let response = rig.gateway.get_as(target, &admin);
            let early = "early $phantom_token_claim_role".to_owned();
            assert_eq!(said(&response), (500, early), "{target}");
        }
    }
    assert_said(&rig, "/late", &admin, 204, "- -");
}

#[test]
fn after_a_refusal_nobody_sees_claims() {
    let claims = "\"$phantom_token_claim_role|$is_gold|$is_admin|$phantom_token_claim_tier\"";
    for (page, directives) in [
        ("= /page", ""),
        ("@page", ""),
        // In another's hands again, which has no requirements of its own.
        ("= /page", "phantom_token on;\nphantom_token_bypass yes;"),
    ] {
        let rig = Rig::start(|builder| {
            let page_uri = page.trim_start_matches("= ");
            builder
                .http(MAPS)
                .http(&format!("log_format shown {claims};\naccess_log shown.log shown;"))
                .location(
                    "/refused",
                    &format!(
                        "phantom_token on;\nphantom_token_require $is_gold $is_admin;\n\
                         error_page 403 {page_uri};\ntry_files /none =204;"
                    ),
                )
                .location(
                    page,
                    &format!(
                        "{directives}\nadd_header Claims {claims} always;\ntry_files /none =403;"
                    ),
                )
        });
        let gold = token(&rig, &[("tier", json!("gold")), ("role", json!("user"))]);
        for _ in 0..2 {
            let response = rig.gateway.get_as("/refused", &gold);
            assert_eq!(response.status, 403);
            assert_eq!(response.header("claims"), Some("||0|"), "{page} {directives}");
        }
        let log = rig.gateway.prefix().join("shown.log");
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_until("the log's lines", || text().lines().count() == 2);
        assert_eq!(text(), "-||0|-\n-||0|-\n", "{page} {directives}");
    }
}

#[test]
fn a_challenge_shows_no_claim_of_a_refused_token() {
    let rig = rig(|builder| {
        let refuses = "phantom_token_require $is_gold error=401;";
        builder.location(
            "/",
            &location(&format!(
                "{refuses}\nphantom_token_realm x$is_admin$phantom_token_claim_role;"
            )),
        )
    });
    let admin = token(&rig, &[("role", json!("admin"))]);
    let response = rig.gateway.get_as("/", &admin);
    let challenge = INVALID_TOKEN.replace("\"api\"", "\"x0\"");
    assert_eq!(response.header("www-authenticate"), Some(&*challenge));
    assert_said(&rig, "/", &admin, 401, "require $is_gold");
}

#[test]
fn requirements_are_judged_before_the_limits_too() {
    let rig = rig(|builder| {
        let limited = "phantom_token_phase preaccess;\nphantom_token_require $is_gold;\nlimit_req zone=roles;";
        builder
            .http("limit_req_zone $is_admin$phantom_token_claim_role zone=roles:1m rate=1r/m;")
            .location("/", &location(limited))
    });
    let gold = |role: &str| token(&rig, &[("tier", json!("gold")), ("role", json!(role))]);
    let (one, other) = (gold("user"), gold("admin"));
    let refused = token(&rig, &[("role", json!("admin"))]);
    assert_said(&rig, "/", &refused, 403, "require $is_gold");
    for token in [&one, &other] {
        assert_said(&rig, "/", token, 204, "- -");
        assert_eq!(rig.gateway.get_as("/", token).status, 503, "limited by a claim");
    }
    assert_said(&rig, "/", &refused, 403, "require $is_gold");
}

#[test]
fn captures_of_a_refused_token_are_forgotten() {
    let map = "map $phantom_token_claim_tenant $ours { \"~^(?<tenant>[a-z]+)-(.*)$\" 0; }";
    let rig = Rig::start(|builder| {
        builder.http(map).location(
            "~ ^/(?<first>[a-z]+)/(.+)$",
            "phantom_token on;\nphantom_token_require $ours;\n\
             rewrite ^/([a-z])([a-z]+)/.*$ $uri break;\n\
             add_header Seen \"$1|$2|$first|$tenant\" always;\ntry_files /none =204;",
        )
    });
    let token = token(&rig, &[("tenant", json!("secret-part"))]);
    let response = rig.gateway.get_as("/orders/7", &token);
    assert_eq!(response.status, 403);
    assert_eq!(response.header("seen"), Some("o|rders|orders|"));
}

/// Two servers that say different things of one token.
fn two_servers(change: impl FnOnce(Builder, &str) -> Builder) -> (Rig, AuthorizationServer) {
    let other = AuthorizationServer::start();
    let endpoint = format!("phantom_token_introspection_endpoint {};", other.introspection_url());
    let rig = Rig::start(|builder| change(builder.http(MAPS), &endpoint));
    (rig, other)
}

#[test]
fn one_server_s_word_does_not_count_in_a_later_pass() {
    let (rig, other) = two_servers(|builder, endpoint| {
        let target = location(&format!("{endpoint}\nphantom_token_require $is_admin;"));
        let first = "phantom_token on;\nphantom_token_require $is_admin;";
        builder
            .location("= /target", &target)
            .location("@target", &target)
            .location("/try", &format!("{first}\ntry_files /none /target;"))
            .location("/named", &format!("{first}\ntry_files /none @target;"))
            .location("/page", &format!("{first}\nroot none;\nerror_page 404 = /target;"))
            .location("/named-page", &format!("{first}\nroot none;\nerror_page 404 = @target;"))
            .location(
                "/accel",
                &format!("{first}\nproxy_pass http://127.0.0.1:$server_port/sends-on;"),
            )
            .location("= /sends-on", "add_header X-Accel-Redirect /target;\nreturn 200;")
            // The other way round: what one refused, another may let in.
            .location(
                "/refused",
                &format!(
                    "phantom_token on;\n{endpoint}\nphantom_token_require $is_admin;\n\
                     error_page 403 = @lets-in;\ntry_files /none =204;"
                ),
            )
            .location("@lets-in", &location("phantom_token_require $is_admin;"))
    });
    let answer = |role: &str| {
        let jwt = rig.server.mint(Mint::new().claim("role", role)).jwt;
        phantom_token_test::Script::jwt(&jwt)
    };
    rig.server.script("known-to-both", answer("admin"));
    other.script("known-to-both", answer("user"));
    for target in ["/try", "/named", "/page", "/named-page", "/accel"] {
        for _ in 0..2 {
            assert_said(&rig, target, "known-to-both", 403, "require $is_admin");
        }
    }
    assert_said(&rig, "/refused", "known-to-both", 204, "- -");
    // And so where both say it.
    other.script("known-to-both", answer("admin"));
    rig.gateway.reload();
    other.script("again", answer("admin"));
    rig.server.script("again", answer("admin"));
    for target in ["/try", "/named", "/page", "/named-page", "/accel"] {
        assert_said(&rig, target, "again", 204, "- -");
    }
}

#[test]
fn what_an_earlier_pass_let_in_is_not_seen_where_a_later_one_does_not() {
    let (rig, other) = two_servers(|builder, endpoint| {
        let shows = "add_header Claims \"$phantom_token_claim_role|$is_gold\" always;";
        let first = "phantom_token on;\nphantom_token_allow_options off;";
        builder
            .http("log_format role \"$phantom_token_claim_role|$is_gold\";")
            .server("access_log shown.log role;")
            .location(
                "@refuses",
                &format!(
                    "{shows}\n{}",
                    location(&format!("{endpoint}\nphantom_token_require $is_gold;"))
                ),
            )
            .location("/refuses", &format!("{first}\ntry_files /none @refuses;"))
            .location("@options", &format!("{shows}\n{}", location("")))
            .location("/options", &format!("{first}\ntry_files /none @options;"))
            .location("@bypass", &format!("{shows}\n{}", location("phantom_token_bypass yes;")))
            .location("/bypass", &format!("{first}\ntry_files /none @bypass;"))
    });
    let said = Mint::new().claim("role", "admin").claim("tier", "gold");
    rig.server.script("known", phantom_token_test::Script::jwt(&rig.server.mint(said).jwt));
    let said = Mint::new().claim("role", "admin");
    other.script("known", phantom_token_test::Script::jwt(&rig.server.mint(said).jwt));
    let bearer = [("Authorization", "Bearer known")];
    let mut expected = String::new();
    for (method, target, status) in
        [("GET", "/refuses", 403), ("OPTIONS", "/options", 204), ("GET", "/bypass", 204)]
    {
        let mut client = rig.gateway.client();
        client.send_request(method, target, &bearer, b"");
        let response = client.read();
        assert_eq!((response.status, response.header("claims")), (status, Some("|")), "{target}");
        expected.push_str("-|\n");
    }
    let log = rig.gateway.prefix().join("shown.log");
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the log's lines", || text().lines().count() == 3);
    assert_eq!(text(), expected);
}

#[test]
fn what_a_check_asks_is_not_asked_too_early() {
    let rig = rig(|builder| {
        let require = "phantom_token_require $phantom_token_provider$phantom_token_claim_role;";
        let first = format!("phantom_token on;\n{require}");
        builder
            .location("/first", &format!("{first}\ntry_files /none @then;"))
            .location("@then", &location(require))
            .location(
                "/refused",
                &format!("{first}\nphantom_token_require $is_gold;\nerror_page 403 = @then;"),
            )
    });
    let admin = token(&rig, &[("role", json!("admin"))]);
    for target in ["/first", "/refused"] {
        assert_said(&rig, target, &admin, 204, "- -");
    }
}

#[test]
fn a_pass_begins_without_the_claims_of_the_last() {
    let seen = "set $seen \"$phantom_token_claim_role|$is_gold\";\nadd_header Seen $seen always;";
    let rig = rig(|builder| {
        builder
            .location("/on", "phantom_token on;\ntry_files /none /then-on;")
            .location("/named", "phantom_token on;\ntry_files /none @then-on;")
            .location(
                "= /then-on",
                &location(&format!("{seen}\nadd_header Role $phantom_token_claim_role;")),
            )
            .location(
                "@then-on",
                &location(&format!("{seen}\nadd_header Role $phantom_token_claim_role;")),
            )
            .location("/off", "phantom_token on;\ntry_files /none @then-off;")
            .location("@then-off", &format!("{seen}\ntry_files /none =204;"))
    });
    let token = token(&rig, &[("role", json!("admin")), ("tier", json!("gold"))]);
    for target in ["/on", "/named"] {
        let response = rig.gateway.get_as(target, &token);
        assert_eq!((response.status, response.header("seen")), (204, Some("|")), "{target}");
        assert_eq!(response.header("role"), Some("admin"), "{target}");
    }
    // Where the module is off, the token of the pass before is the request's.
    assert_eq!(rig.gateway.get_as("/off", &token).header("seen"), Some("admin|yes"));
}

#[test]
fn other_ways_in_stay_open() {
    let rig = rig(|builder| {
        builder
            .location(
                "/any",
                &format!(
                    "satisfy any;\ndeny all;\nauth_basic api;\nauth_basic_user_file users;\n\
                     add_header Claims \"$phantom_token_claim_role|$is_gold\" always;\n{}",
                    location("phantom_token_require $is_gold;")
                ),
            )
            .location("/asks", "auth_request /any;\ntry_files /none =204;")
            .location(
                "/asked",
                &format!("auth_request /yes;\n{}", location("phantom_token_require $is_gold;")),
            )
            .location("= /yes", "return 204;")
            .location("/preflight", &location("phantom_token_require $is_gold;"))
            .file("users", "user:{PLAIN}pass\n")
    });
    let gold = token(&rig, &[("tier", json!("gold"))]);
    let admin = token(&rig, &[("role", json!("admin"))]);
    assert_said(&rig, "/any", &gold, 204, "- -");
    let refused = rig.gateway.get_as("/any", &admin);
    assert_eq!(refused.status, 401, "auth_basic has the last word");
    assert_eq!(refused.header("claims"), Some("|"));
    let basic = rig.gateway.get("/any", &[("Authorization", "Basic dXNlcjpwYXNz")]);
    assert_eq!(basic.status, 204);
    assert_said(&rig, "/asked", &gold, 204, "- -");
    assert_said(&rig, "/asked", &admin, 403, "require $is_gold");
    let mut client = rig.gateway.client();
    client.send_request("OPTIONS", "/preflight", &[], b"");
    assert_eq!(client.read().header("status"), Some("BYPASS"));
}

#[test]
fn subrequests_see_what_their_request_was_let_in_by() {
    let rig = Rig::start(|builder| {
        builder
            .http(MAPS)
            .directives(
                "phantom_token_require $is_admin;\nmirror /copy;\n\
                 proxy_set_header X-Role $phantom_token_claim_role;",
            )
            .location(
                "= /copy",
                "internal;\nphantom_token on;\nphantom_token_require $is_gold;\n\
                 proxy_set_header X-Role \"$phantom_token_claim_role|$is_admin\";\n\
                 proxy_pass http://127.0.0.1:$server_port/heard;",
            )
            .location(
                "= /heard",
                "access_log heard.log role;\nreturn 204;",
            )
            .http("log_format role \"$http_x_role\";")
            .location(
                "/page",
                "phantom_token on;\nphantom_token_require $is_admin;\nssi on;\nssi_types *;\n\
                 try_files /page.html =404;",
            )
            .location("= /part", "phantom_token on;\nphantom_token_require $is_gold;\nadd_header X y;\nreturn 200 \"part of $phantom_token_claim_role\";")
    });
    std::fs::create_dir_all(rig.gateway.prefix().join("html")).expect("a folder");
    let html = rig.gateway.prefix().join("html/page.html");
    std::fs::write(html, "<!--#include virtual=\"/part\" -->").expect("a page");
    let admin = token(&rig, &[("role", json!("admin"))]);
    let user = token(&rig, &[("role", json!("user"))]);
    assert_eq!(rig.get_as(&admin).status, 200);
    assert_eq!(rig.api.last().head.headers.get("X-Role"), Some("admin"));
    let log = rig.gateway.prefix().join("heard.log");
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the mirror's line", || text().ends_with('\n'));
    assert_eq!(text(), "admin|1\n");
    let page = rig.gateway.get_as("/page", &admin);
    assert_eq!((page.status, page.text().as_str()), (200, "part of admin"));
    assert_eq!(rig.gateway.get_as("/page", &user).status, 403);
    assert_eq!(rig.get_as(&user).status, 403);
    assert_eq!(rig.api.count(), 1);
}
