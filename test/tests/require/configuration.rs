//! `phantom_token_require`: what `nginx -t` refuses, what it warns of, and what it says to write.

use phantom_token_test::Gateway;
use phantom_token_test::nginx::Builder;

const MAPS: &str = "map $phantom_token_claim_role $is_admin { admin 1; default 0; }
    map $phantom_token_claim_tier $is_gold { gold yes; }";

const ASKING: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/;
    phantom_token_client_id me;
    phantom_token_client_secret s3cret;";

fn builder(directives: &str) -> Builder {
    Gateway::builder()
        .http(&format!("{MAPS}\n{ASKING}"))
        .location("/", &format!("phantom_token on;\n{directives}\nreturn 204;"))
}

#[test]
fn what_is_refused_and_what_to_write() {
    let client = "any client can set it and meet the requirement; derive the condition with map";
    let fixed = "it holds no variable, and every token would fare alike";
    for (line, words) in [
        ("phantom_token_require 1;", fixed),
        ("phantom_token_require \"\";", fixed),
        ("phantom_token_require $is_admin yes;", fixed),
        ("phantom_token_require error=401;", "has no value: write a variable"),
        ("phantom_token_require $is_admin error=402;", "\"error=402\": write 401 or 403"),
        ("phantom_token_require $is_admin error=;", "\"error=\": write 401 or 403"),
        (
            "phantom_token_require $is_admin error=401 error=401;",
            "\"error=401\": write error= once",
        ),
        ("phantom_token_require $arg_key;", client),
        ("phantom_token_require $is_admin x$cookie_y;", client),
        ("phantom_token_require $HTTP_X_role;", client),
        ("phantom_token_require $is_args$args;", client),
        ("phantom_token_require 0$content_type;", client),
        ("phantom_token_require $is_admin phantom_token_scope read;", "is a \";\" missing"),
        ("phantom_token_require;", "invalid number of arguments"),
        ("phantom_token_require $no_such_variable;", "unknown \"no_such_variable\" variable"),
    ] {
        let check = builder(line).check();
        let message = check.emerg();
        assert!(message.contains(words), "no {words:?} in {message}");
        if !words.starts_with("unknown") {
            assert!(message.contains("\"phantom_token_require\""), "{message}");
            let place = format!("nginx.conf:{}", check.line_of(line));
            assert!(message.ends_with(&place), "not at {place}: {message}");
        }
    }
}

/// The module's warnings.
fn warnings(builder: &Builder) -> Vec<String> {
    let check = builder.check();
    assert!(check.ok, "{}\n{}", check.messages, check.config);
    let lines = check.messages.lines().filter(|line| line.contains("[warn]"));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_is_warned_of() {
    for (value, words) in [
        ("$is_admin", ""),
        ("$is_admin$is_gold", ""),
        ("0$is_admin", ""),
        ("$is_admin$arg_x", "any client can set some of it, and meet the requirement"),
        ("$remote_user", "any client can send a name"),
        ("$uri", "it is never empty, and every request meets the requirement"),
        ("x$is_admin", "it is never empty, and every request meets the requirement"),
    ] {
        let warnings = warnings(&builder(&format!("phantom_token_require {value};")));
        match words {
            "" => assert_eq!(warnings, [""; 0]),
            _ => {
                let [line] = &warnings[..] else { panic!("one line: {warnings:?}") };
                let start =
                    format!("\"phantom_token_require\" has a doubtful value \"{value}\": {words}");
                assert!(line.contains(&start), "no {start:?} in {line}");
            }
        }
    }
}

#[test]
fn several_without_force_are_each_warned_of() {
    let two = "phantom_token_require $is_admin;\nphantom_token_require $is_gold;";
    let http = format!("{MAPS}\n{ASKING}");
    let off = Gateway::builder().http(&http).server(two).location("/", "phantom_token off;");
    let warnings = warnings(&off);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for line in &warnings {
        assert!(line.contains("\"phantom_token_require\" has no effect"), "{line}");
    }
    let on = Gateway::builder().http(&http).server(two).location("/", "phantom_token on;");
    assert_eq!(self::warnings(&on), [""; 0]);
}
