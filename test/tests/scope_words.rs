//! `phantom_token_scope` whose values hold variables, or of which any is enough.

use phantom_token_test::nginx::Builder;
use phantom_token_test::rig::{CHALLENGE, INVALID_TOKEN, Reply};
use phantom_token_test::{Gateway, Mint, Response, Rig};

const MAPS: &str = r#"map $http_x_need $need {
    default "";
    one     read;
    two     "read  write";
    blank   "  ";
    quote   'read"';
    back    "a\\b";
    control "aXb";
    latin   "caf\xc3\xa9";
}
map $phantom_token_claim_tier $tier_scope { gold write; silver read; }"#;

fn maps() -> String {
    MAPS.replace("aXb", "a\u{1}b").replace("caf\\xc3\\xa9", "café")
}

fn location(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Reason $phantom_token_reason always;\n\
         add_header Unmet $phantom_token_unmet always;\n\
         try_files /none =204;"
    )
}

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::start(|builder| change(builder.http(&maps())))
}

fn scoped(rig: &Rig, scope: &str) -> String {
    rig.server.mint(Mint::new().scope(scope)).token
}

fn get(rig: &Rig, target: &str, token: &str, need: &str) -> Response {
    let bearer = format!("Bearer {token}");
    rig.gateway.get(target, &[("Authorization", &bearer), ("X-Need", need)])
}

/// 403 whose challenge asks for this scope, and what is missing.
#[track_caller]
fn assert_lacks(response: &Response, scope: &str, unmet: &str) {
    let asked = match scope {
        "" => String::new(),
        scope => format!(", scope=\"{scope}\""),
    };
    let challenge = format!("Bearer realm=\"api\", error=\"insufficient_scope\"{asked}");
    assert_eq!(response.status, 403);
    assert_eq!(response.header("www-authenticate"), Some(&*challenge));
    assert_eq!((response.header("reason"), response.header("unmet")), (Some("scope"), Some(unmet)));
}

#[test]
fn what_a_value_comes_to_is_what_a_token_must_have() {
    let rig = rig(|builder| {
        builder
            .location("/all", &location("phantom_token_scope $need base;"))
            .location("/any", &location("phantom_token_scope $need base match=any;"))
    });
    let token = |scope| scoped(&rig, scope);
    let (none, base, read) = (token(""), token("base"), token("base read"));
    let (write, all) = (token("write"), token("write base read"));
    // Under what is needed: who passes of all and of any, and what the one with nothing is told.
    for (need, of_all, of_any, asked, unmet) in [
        (
            "one",
            [false, false, true, false, true],
            [false, true, true, false, true],
            "read base",
            "read base",
        ),
        (
            "two",
            [false, false, false, false, true],
            [false, true, true, true, true],
            "read write base",
            "read write base",
        ),
        ("", [false; 5], [false, true, true, false, true], "base", "$need base"),
        ("blank", [false; 5], [false, true, true, false, true], "base", "$need base"),
        ("quote", [false; 5], [false, true, true, false, true], "base", "$need base"),
        ("back", [false; 5], [false, true, true, false, true], "base", "$need base"),
        ("control", [false; 5], [false, true, true, false, true], "base", "$need base"),
        ("latin", [false; 5], [false, true, true, false, true], "base", "$need base"),
    ] {
        for (target, passes) in [("/all", of_all), ("/any", of_any)] {
            for (token, passes) in [&none, &base, &read, &write, &all].iter().zip(passes) {
                let response = get(&rig, target, token, need);
                let expected = if passes { 204 } else { 403 };
                assert_eq!(response.status, expected, "{target} {need:?} {token}");
            }
            assert_lacks(&get(&rig, target, &none, need), asked, unmet);
        }
    }
    assert_lacks(&get(&rig, "/all", &base, "two"), "read write base", "read write");
    assert_lacks(&get(&rig, "/all", &base, "quote"), "base", "$need");
    for token in [&none, &base, &read, &write, &all] {
        assert_eq!(rig.server.introspections_of(token), 1, "what is demanded is no identity");
    }
}

#[test]
fn a_value_with_text_in_it_is_one() {
    let rig = rig(|builder| {
        builder
            .http("map $http_x_need $tool { default $http_x_need; }")
            .location("/all", &location("phantom_token_scope tool:$tool;"))
            .location("/any", &location("phantom_token_scope tool:${tool} base match=any;"))
            .location("/two", &location("phantom_token_scope $tool$tool base match=any;"))
    });
    let token = scoped(&rig, "read tool:x");
    for need in ["x read", "x  read", "read x"] {
        // Whoever chooses the need must not choose another value by it, which is all it takes.
        assert_lacks(&get(&rig, "/any", &token, need), "base", "tool:${tool} base");
        assert_lacks(&get(&rig, "/two", &token, need), "base", "$tool$tool base");
        assert_lacks(&get(&rig, "/all", &token, need), "", "tool:$tool");
    }
    for target in ["/all", "/any"] {
        assert_eq!(get(&rig, target, &token, "x").status, 204, "{target}");
    }
    rig.gateway.wait_for_log(&["\"tool:${tool}\" in \"phantom_token_scope\" comes to no scope"]);
}

#[test]
fn a_value_that_is_no_scope_is_named_once_a_minute_and_never_shown() {
    let rig = rig(|builder| {
        builder
            .location("/one", &location("phantom_token_scope $need;"))
            .location("/other", &location("phantom_token_scope x.$need;"))
    });
    let token = scoped(&rig, "read x.read");
    for need in ["quote", "control", "quote", ""] {
        for target in ["/one", "/other"] {
            // A value is what all of it comes to: "x." is one.
            let (asked, unmet) =
                if (target, need) == ("/other", "") { ("x.", "x.") } else { ("", "") };
            let response = get(&rig, target, &token, need);
            let unmet = match (target, unmet) {
                ("/one", _) => "$need",
                (_, "") => "x.$need",
                (_, unmet) => unmet,
            };
            assert_lacks(&response, asked, unmet);
        }
    }
    rig.gateway.wait_for_log(&["\"x.$need\" in \"phantom_token_scope\" comes to no scope"]);
    let lines = rig.gateway.module_lines();
    let said: Vec<_> = lines.iter().filter(|line| line.contains("comes to no scope")).collect();
    assert_eq!(said.len(), 2, "{lines:?}");
    for line in said {
        assert!(line.contains("[error]") && line.contains("nginx.conf:"), "{line}");
        assert!(!line.contains("read\""), "{line}");
    }
    assert_eq!(get(&rig, "/one", &token, "one").status, 204);
    assert_eq!(get(&rig, "/other", &token, "one").status, 204);
}

#[test]
fn before_the_token_is_known_the_words_without_variables_are_named() {
    let rig = rig(|builder| {
        builder
            .location("/some", &location("phantom_token_scope $need base \"more ${need}x\";"))
            .location("/none", &location("phantom_token_scope $need;"))
    });
    let with = |challenge: &str| challenge.replacen("\"api\"", "\"api\", scope=\"base more\"", 1);
    let need = [("X-Need", "one")];
    let missing = rig.gateway.get("/some", &need);
    assert_eq!(missing.header("www-authenticate"), Some(&*with(CHALLENGE)));
    let invalid = get(&rig, "/some", "unknown", "one");
    assert_eq!(invalid.header("www-authenticate"), Some(&*with(INVALID_TOKEN)));
    let missing = rig.gateway.get("/none", &need);
    assert_eq!(missing.header("www-authenticate"), Some(CHALLENGE));
    let token = scoped(&rig, "base");
    assert_lacks(&get(&rig, "/some", &token, "one"), "read base more readx", "read more readx");
}

#[test]
fn any_of_several_is_enough() {
    let rig = rig(|builder| {
        builder
            .directives("phantom_token_scope read \"write admin\" match=any;")
            .location("/all", &location("phantom_token_scope match=all read write;"))
    });
    for scope in ["read", "write", "admin x", "x admin write read"] {
        rig.assert_passes(&rig.server.mint(Mint::new().scope(scope)));
    }
    for scope in ["", "reader", "rea d"] {
        let token = scoped(&rig, scope);
        let challenge =
            "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"read write admin\"";
        for _ in 0..2 {
            Reply::forbidden(challenge).assert(&rig.get_as(&token));
        }
    }
    assert_lacks(&get(&rig, "/all", &scoped(&rig, "read"), ""), "read write", "write");
}

#[test]
fn a_claim_says_which_scope_is_needed() {
    let rig = rig(|builder| {
        builder
            .location(
                "/tenant",
                &location("phantom_token_scope tenant:$phantom_token_claim_tid $tier_scope;"),
            )
            .location(
                "/if",
                &format!(
                    "if ($arg_more) {{\nphantom_token_scope read $tier_scope;\n}}\n{}",
                    location("phantom_token_scope read;")
                ),
            )
            .location("~ ^/of/([a-z]+)$", &location("phantom_token_scope of:$1;"))
    });
    let token = |tid: &str, tier: &str, scope: &str| {
        let mint = Mint::new().scope(scope).claim("tid", tid).claim("tier", tier);
        rig.server.mint(mint).token
    };
    let good = token("7", "gold", "tenant:7 write of:alice");
    assert_eq!(get(&rig, "/tenant", &good, "").status, 204);
    let other = token("8", "silver", "tenant:7 read");
    assert_lacks(&get(&rig, "/tenant", &other, ""), "tenant:8 read", "tenant:8");
    let nothing = token("8", "lead", "tenant:8 read");
    assert_lacks(&get(&rig, "/tenant", &nothing, ""), "tenant:8", "$tier_scope");
    assert_eq!(get(&rig, "/if", &other, "").status, 204);
    let gold = token("7", "gold", "read");
    assert_lacks(&get(&rig, "/if?more=1", &gold, ""), "read write", "write");
    assert_eq!(get(&rig, "/of/alice", &good, "").status, 204);
    assert_lacks(&get(&rig, "/of/bob", &good, ""), "of:bob", "of:bob");
}

#[test]
fn after_a_refusal_nobody_sees_claims() {
    let rig = rig(|builder| {
        builder
            .location(
                "/refused",
                "phantom_token on;\nphantom_token_scope $tier_scope;\nerror_page 403 @page;\n\
                 try_files /none =204;",
            )
            .location(
                "@page",
                "add_header Seen \"$tier_scope|$phantom_token_claim_tier\" always;\n\
                 try_files /none =403;",
            )
    });
    let token = rig.server.mint(Mint::new().scope("read").claim("tier", "gold"));
    let response = get(&rig, "/refused", &token.token, "");
    let challenge = response.header("www-authenticate").expect("a challenge");
    assert!(challenge.ends_with(", scope=\"write\""), "{challenge}");
    assert_eq!((response.status, response.header("seen")), (403, Some("|")));
}

mod configuration {
    use super::*;

    const ASKING: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/;
        phantom_token_client_id me;
        phantom_token_client_secret s3cret;";

    fn http() -> Builder {
        Gateway::builder().http(&format!("{}\n{ASKING}", maps()))
    }

    #[test]
    fn what_is_refused_and_what_to_write() {
        let client = "any client can set it and choose the scope that is required; derive the condition with map";
        for (line, words) in [
            ("phantom_token_scope match=any;", "has no value: write the scope"),
            (
                "phantom_token_scope read match=some;",
                "\"match=some\": write match=all or match=any",
            ),
            ("phantom_token_scope read match=;", "\"match=\": write match=all or match=any"),
            ("phantom_token_scope match=any read match=any;", "\"match=any\": write match= once"),
            ("phantom_token_scope $arg_scope;", client),
            ("phantom_token_scope read \"write x$http_x_y\";", client),
            ("phantom_token_scope $args;", client),
            ("phantom_token_scope x$cookie_y;", client),
            ("phantom_token_scope \"\";", "a scope is one or more values"),
            ("phantom_token_scope 'a\"$need';", "a scope is one or more values"),
            ("phantom_token_scope $need phantom_token_realm;", "is a \";\" missing"),
            ("phantom_token_scope read;\nphantom_token_scope $need;", "directive is duplicate"),
            ("phantom_token_scope $no_such_variable;", "unknown \"no_such_variable\" variable"),
        ] {
            let builder = http().location("/", &format!("phantom_token on;\n{line}\nreturn 204;"));
            let check = builder.check();
            let message = check.emerg();
            assert!(message.contains(words), "no {words:?} in {message}");
            if !words.starts_with("unknown") {
                assert!(message.contains("\"phantom_token_scope\""), "{message}");
                let last = line.lines().last().expect("a line");
                let place = format!("nginx.conf:{}", check.line_of(last));
                assert!(message.ends_with(&place), "not at {place}: {message}");
            }
        }
    }

    #[test]
    fn what_a_client_sets_in_part_is_warned_of() {
        for (value, warned) in [("$need", false), ("$uri:$need", false), ("$need:$arg_x", true)] {
            let line = format!("phantom_token_scope {value};");
            let check = http().location("/", &format!("phantom_token on;\n{line}")).check();
            assert!(check.ok, "{}", check.messages);
            let words = format!(
                "\"phantom_token_scope\" has a doubtful value \"{value}\": any client can set some of it, and choose the scope that is required"
            );
            assert_eq!(check.messages.contains(&words), warned, "{}", check.messages);
            assert_eq!(check.messages.contains("[warn]"), warned, "{}", check.messages);
        }
    }

    #[test]
    fn what_an_inner_level_no_longer_demands_is_warned_of() {
        let scope = |values: &str| format!("phantom_token_scope {values};");
        let require = |values: &str| format!("phantom_token_require {values};");
        for (outer, inner, lost) in [
            (scope("read"), scope("read write"), ""),
            (scope("read"), scope("\"write read\""), ""),
            (scope("read write"), scope("write"), "read write"),
            (scope("read"), scope("write"), "read"),
            (scope("read"), scope("read write match=any"), "read"),
            (scope("read"), scope("read match=any"), ""),
            (scope("read write match=any"), scope("read admin"), ""),
            (scope("read write match=any"), scope("write match=any"), ""),
            (scope("read write match=any"), scope("write admin match=any"), "read write"),
            (scope("read write match=any"), scope("admin"), "read write"),
            (scope("$need"), scope("read $need"), ""),
            (scope("$need read"), scope("read"), "$need read"),
            (require("$need"), require("$tier_scope $need"), ""),
            (require("$need"), require("$need error=401"), ""),
            (require("$need"), require("$tier_scope"), "$need"),
            (require("$need $tier_scope"), require("$tier_scope"), "$need"),
            (
                format!("{}\n{}", require("$tier_scope"), require("$need")),
                require("$need"),
                "$tier_scope",
            ),
            (require("$need"), format!("{}\n{}", require("$tier_scope"), require("$need")), ""),
            (require("$need"), scope("read"), ""),
            (require("$need"), String::new(), ""),
        ] {
            let on = "phantom_token on;";
            let nested = |block: &str| format!("{on}\n{outer}\n{block} {{\n{inner}\n}}");
            let builders = [
                http().http(&outer).server(&inner).location("/", on),
                http().server(&outer).location("/", &format!("{on}\n{inner}")),
                http().location("/", &nested("if ($arg_x)")),
                http().location("/", &nested("limit_except GET")),
                http().location("/", &nested("location /in")),
            ];
            for builder in builders {
                let check = builder.check();
                assert!(check.ok, "{}\n{}", check.messages, check.config);
                let lines: Vec<_> = check
                    .messages
                    .lines()
                    .filter(|line| line.contains(" replaces that of "))
                    .collect();
                if lost.is_empty() {
                    assert_eq!(lines, [""; 0], "{}", check.config);
                    continue;
                }
                let [line] = lines[..] else { panic!("one line: {lines:?}\n{}", check.config) };
                let name = outer.split(' ').next().expect("a name");
                let start = format!("[warn] phantom token: \"{name}\" replaces that of ");
                let rest = format!(
                    "nginx.conf:{}, and \"{lost}\" is not demanded here: repeat it if it shall be, in ",
                    check.line_of(outer.lines().next().expect("a line"))
                );
                assert!(line.contains(&start) && line.contains(&rest), "no {rest:?} in {line}");
            }
        }
    }
}
