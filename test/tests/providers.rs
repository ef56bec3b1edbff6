//! `phantom_token_provider` and `phantom_token_use`: what `nginx -t` takes, and what it says to write.

use phantom_token_test::Gateway;
use phantom_token_test::nginx::{Builder, Check, assert_good};

const ENDPOINT: &str = "introspection_endpoint http://127.0.0.1:9/introspect;";
const ID: &str = "client_id me;";
const SECRET: &str = "client_secret s3cret;";
const USE: &str = "phantom_token on;\nphantom_token_use a;\nreturn 200;";

/// A block with what it needs, and these members.
fn block(name: &str, members: &str) -> String {
    format!("phantom_token_provider {name} {{\n{ENDPOINT}\n{ID}\n{SECRET}\n{members}\n}}")
}

fn using(blocks: &str) -> Builder {
    Gateway::builder().http(blocks).location("/", USE)
}

/// The line of `nginx -t` about what is wrong.
#[track_caller]
fn emerg(check: &Check) -> &str {
    assert!(!check.ok, "accepted:\n{}", check.config);
    let mut lines = check.messages.lines().filter(|line| line.contains("[emerg]"));
    let line = lines.next().unwrap_or_else(|| panic!("no [emerg]: {}", check.messages));
    assert_eq!(lines.next(), None, "one line says it");
    assert!(!line.contains("s3cret"), "{line}");
    line
}

/// It is refused with these words, and with the place where `at` stands.
#[track_caller]
fn assert_refused(builder: &Builder, words: &[&str], at: &str) {
    let check = builder.check();
    let line = emerg(&check);
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    assert!(line.ends_with(&place(&check, at)), "not at {at:?}: {line}");
}

fn place(check: &Check, text: &str) -> String {
    format!("nginx.conf:{}", check.line_of(text))
}

#[test]
fn a_block_says_what_a_server_is() {
    assert_good(&using(&block("a", "")));
    let all = "
        introspection_accept application/json;
        introspection_header X-A b;
        introspection_header X-C $host nokey;
        introspection_param a b;
        token_type_hint access_token;
        issuer https://issuer https://other/;
        ssl_verify on;
        connect_timeout 1s;
        timeout 5s;
        thread_pool phantom_token;
        cache_control strict;
        introspection_endpoint http://127.0.0.1:8/introspect backup;
        client_auth post;";
    assert_good(&using(&block("a", all)));
    let none = format!("phantom_token_provider a {{ {ENDPOINT} client_auth none; }}");
    assert_good(&using(&none));
    for name in ["a", "A-b_9", "-", "9"] {
        let inside = format!("phantom_token on;\nphantom_token_use {name};\nreturn 200;");
        assert_good(&Gateway::builder().http(&block(name, "")).location("/", &inside));
    }
}

#[test]
fn a_use_may_precede_its_block_and_is_inherited_as_one() {
    let both = format!("{}\n{}", block("a", ""), block("b", ""));
    // Behind the server, which is where `http` ends.
    let late = format!("phantom_token_use a;\nserver {{ listen unix:late.sock; }}\n{both}");
    assert_good(&Gateway::builder().http(&late).location("/", "phantom_token on;\nreturn 200;"));
    let nested = "phantom_token_use b;\nlocation /in {\nphantom_token_use a;\nreturn 200;\n}";
    let builder = Gateway::builder().http(&both).server("phantom_token on;\nphantom_token_use a;");
    assert_good(&builder.location("/", nested));
}

#[test]
fn flat_settings_above_are_shadowed() {
    let flat = "phantom_token_introspection_endpoint http://127.0.0.1:7/;\nphantom_token_client_id x;\nphantom_token_client_secret y;";
    let builder = || Gateway::builder().http(&block("a", "")).http(flat);
    assert_good(&builder().location("/", USE));
    // Even where they would not do.
    let flat = "phantom_token_introspection_endpoint http://127.0.0.1:7/;";
    assert_good(&Gateway::builder().http(&block("a", "")).http(flat).location("/", USE));
    let server = "phantom_token_use a;";
    let inner = "phantom_token on;\nreturn 200;";
    assert_good(&builder().server(server).location("/", inner));
}

#[test]
fn a_flat_setting_beneath_or_beside_a_use_has_no_effect() {
    let flat = "phantom_token_client_id you;";
    let words = ["\"phantom_token_client_id\" has no effect", "put it into the block"];
    let http = || Gateway::builder().http(&block("a", ""));
    let use_a = "phantom_token_use a;";
    let on = "phantom_token on;\nreturn 200;";
    for builder in [
        // Beside, in both orders, on every level.
        http().location("/", &format!("{use_a}\n{flat}\n{on}")),
        http().location("/", &format!("{flat}\n{use_a}\n{on}")),
        http().server(&format!("{use_a}\n{flat}")).location("/", on),
        http().http(&format!("{use_a}\n{flat}")).location("/", on),
        http().http(&format!("{flat}\n{use_a}")),
        // Beneath.
        http().http(use_a).server(flat),
        http().http(use_a).location("/", &format!("{flat}\n{on}")),
        http().server(use_a).location("/", &format!("{flat}\n{on}")),
        http().server(use_a).location("/", &format!("location /in {{\n{flat}\n}}\n{on}")),
        // Where the module is off, too.
        http().server(use_a).location("/", &format!("{flat}\nreturn 200;")),
    ] {
        let check = builder.check();
        assert!(emerg(&check).contains("beneath \"phantom_token_use a\" of "));
        let line = emerg(&check);
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {line}");
        }
        assert!(line.contains(&format!("{}: ", place(&check, use_a))), "{line}");
        assert!(line.ends_with(&place(&check, flat)), "{line}");
    }
    for directive in [
        "phantom_token_introspection_endpoint http://127.0.0.1:9/;",
        "phantom_token_introspection_accept application/jwt;",
        "phantom_token_introspection_header X-A b;",
        "phantom_token_introspection_param a b;",
        "phantom_token_token_type_hint access_token;",
        "phantom_token_client_secret s3cret;",
        "phantom_token_client_auth none;",
        "phantom_token_ssl_verify on;",
        "phantom_token_connect_timeout 1s;",
        "phantom_token_timeout 1s;",
        "phantom_token_thread_pool phantom_token;",
        "phantom_token_cache_control cap;",
    ] {
        let builder = http().server(use_a).location("/", &format!("{directive}\n{on}"));
        assert_refused(&builder, &["has no effect beneath \"phantom_token_use a\""], directive);
    }
}

#[test]
fn what_a_block_lacks_is_named_used_or_not() {
    let blocks = [
        ("", "\"introspection_endpoint\" is missing", "write the URL"),
        (ID, "\"introspection_endpoint\" is missing", "write the URL"),
        (ENDPOINT, "\"client_id\" is missing", "or client_auth none"),
        (
            "introspection_endpoint http://127.0.0.1:9/ backup; client_id a; client_secret b;",
            "\"introspection_endpoint\" names nothing but backups",
            "",
        ),
        (
            "introspection_endpoint http://127.0.0.1:9/;\nclient_id me;",
            "\"client_secret\" is missing",
            "write it, or client_secret_file, or client_auth none",
        ),
    ];
    for (members, missing, write) in blocks {
        let begin = "phantom_token_provider a {";
        let blocks = format!("{begin}\n{members}\n}}");
        for builder in [using(&blocks), Gateway::builder().http(&blocks)] {
            let check = builder.check();
            let line = emerg(&check);
            let place = format!("{}: ", place(&check, begin));
            for word in [missing, write, "in \"phantom_token_provider a\" of ", &place] {
                assert!(line.contains(word), "no {word:?} in: {line}");
            }
            assert!(!line.contains("phantom_token_client"), "{line}");
        }
    }
    let builder = using(&block("a", "ssl_certificate cert;")).file("cert", "");
    let check = builder.check();
    assert!(emerg(&check).contains("\"ssl_certificate_key\" is missing beside \"ssl_certificate\" in \"phantom_token_provider a\""), "{}", check.messages);
}

#[test]
fn an_unknown_provider_is_named_with_those_there_are() {
    let other = "phantom_token on;\nphantom_token_use c;\nreturn 200;";
    let both = format!("{}\n{}", block("a", ""), block("b", ""));
    let names = ["\"phantom_token_use\" names the provider \"c\"", "there are a, b"];
    assert_refused(&Gateway::builder().http(&both).location("/", other), &names, "_use c;");
    // Where the module is off, too, and where no server is.
    let off = "phantom_token_use c;";
    assert_refused(&Gateway::builder().http(&both).http(off), &names, "_use c;");
    let none = ["names the provider \"c\"", "write phantom_token_provider c { ... } in http"];
    assert_refused(&Gateway::builder().location("/", other), &none, "_use c;");
}

#[test]
fn a_name_is_a_name() {
    for (name, words) in [
        ("$host", &["\"$host\"", "takes no variables"][..]),
        ("a.b", &["\"a.b\"", "letters, digits, _ and -"]),
        ("\"\"", &["letters, digits, _ and -"]),
        ("\"a b\"", &["\"a b\"", "letters, digits, _ and -"]),
        ("a b", &["\"b\"", "one name and no more"]),
    ] {
        let used = format!("phantom_token_use {name};");
        let builder = Gateway::builder().http(&block("a", ""));
        assert_refused(&builder.location("/", &used), words, &used);
        let begin = format!("phantom_token_provider {name} {{");
        assert_refused(&Gateway::builder().http(&block(name, "")), words, &begin);
    }
    let bare = Gateway::builder().http("phantom_token_provider {\n}");
    assert!(emerg(&bare.check()).contains("invalid number of arguments"));
}

#[test]
fn a_name_stands_for_one_block() {
    let builder = using(&format!("{}\n{}", block("a", ""), block("a", "# again")));
    let check = builder.check();
    let line = emerg(&check);
    let first = format!("nginx.conf:{} already", check.line_of("phantom_token_provider a {"));
    for word in ["\"phantom_token_provider\" directive defines \"a\" a second time", &first] {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
}

#[test]
fn what_has_no_place_in_a_block_is_told_where_to_go() {
    for (member, words) in [
        ("phantom_token_client_id you;", &["\"phantom_token_client_id\"", "write client_id"][..]),
        ("phantom_token_issuer x;", &["\"phantom_token_issuer\"", "write issuer"]),
        (
            "scope read;",
            &["\"scope\"", "write phantom_token_scope outside", "phantom_token_use stands"],
        ),
        ("phantom_token_scope read;", &["write phantom_token_scope outside"]),
        ("forward none;", &["write phantom_token_forward outside"]),
        ("kind any;", &["write phantom_token_kind outside"]),
        ("realm x;", &["write phantom_token_realm outside"]),
        ("cache_valid 1s;", &["write phantom_token_cache_valid outside"]),
        ("bound_tokens pass;", &["write phantom_token_bound_tokens outside"]),
        ("phantom_token on;", &["write phantom_token outside"]),
        ("phantom_token_use a;", &["write phantom_token_use outside"]),
        ("max_pending 3;", &["write phantom_token_max_pending outside"]),
        (
            "proxy_pass http://x;",
            &[
                "\"proxy_pass\" directive is unknown in phantom_token_provider",
                "there are introspection_endpoint, client_id,",
                "issuer and include",
            ],
        ),
        ("jwks x;", &["\"jwks\" directive is unknown"]),
        ("client_idd x;", &["\"client_idd\" directive is unknown"]),
    ] {
        assert_refused(&using(&block("a", member)), words, member);
    }
}

#[test]
fn what_stands_twice_in_a_block_is_refused() {
    for member in [
        "client_id you;",
        "introspection_accept a/b;",
        "token_type_hint access_token;",
        "client_auth basic;",
        "issuer x;",
        "ssl_verify on;",
        "connect_timeout 1s;",
        "timeout 9s;",
        "thread_pool phantom_token;",
        "cache_control cap;",
    ] {
        let name = member.split(' ').next().expect("a name");
        let twice = format!("{member}\n{member} # again");
        let begun = format!("phantom_token_provider a {{\n{ENDPOINT}\n{twice}\n}}");
        let words = [&format!("\"{name}\" directive is duplicate")[..]];
        assert_refused(&using(&begun), &words, &format!("{member} # again"));
    }
    let second = "client_secret other;";
    let words = [
        "\"client_secret\" directive is a second secret",
        "keep one of client_secret and client_secret_file",
    ];
    assert_refused(&using(&block("a", second)), &words, second);
}

#[test]
fn a_wrong_value_is_named_as_outside() {
    for (member, words) in [
        ("timeout x;", &["\"timeout\" directive has an invalid value \"x\""][..]),
        ("introspection_endpoint ftp://x;", &["\"introspection_endpoint\""]),
        ("client_auth private;", &["\"client_auth\"", "write basic or basic_raw or post or none"]),
        ("issuer $host;", &["\"issuer\"", "takes no variables"]),
        ("issuer \"\";", &["\"issuer\" directive has an empty value"]),
        ("client_secret_file nowhere;", &["\"client_secret_file\"", "cannot be read"]),
        ("introspection_header Host x;", &["\"introspection_header\"", "sets this header itself"]),
        ("timeout;", &["invalid number of arguments in \"timeout\" directive"]),
        ("timeout 1s 2s;", &["invalid number of arguments in \"timeout\" directive"]),
        ("issuer;", &["invalid number of arguments in \"issuer\" directive"]),
        ("include;", &["\"include\""]),
        ("location / {", &["unexpected \"{\""]),
        ("phantom_token_provider b {", &["unexpected \"{\""]),
    ] {
        assert_refused(&using(&block("a", member)), words, member);
    }
}

#[test]
fn warnings_are_in_the_words_of_the_block() {
    let members = "introspection_endpoint http://198.51.100.1/;\ntoken_type_hint refresh_token;\nclient_auth basic_raw;";
    let check = assert_good(&using(&block("a", members)));
    assert!(
        check.messages.contains("\"token_type_hint refresh_token\": some servers"),
        "{}",
        check.messages
    );
    assert!(!check.messages.contains("phantom_token_token_type_hint"), "{}", check.messages);
    assert!(check.messages.contains("unencrypted"), "{}", check.messages);
}

#[test]
fn a_forgotten_semicolon_is_asked_for() {
    let begun = "client_id me";
    let blocks =
        format!("phantom_token_provider a {{\n{ENDPOINT}\n{begun}\nclient_secret s3cret;\n}}");
    let check = using(&blocks).check();
    let line = emerg(&check);
    for word in [
        "\"client_id\"",
        "\"client_secret\": that is the name of a directive",
        "is a \";\" missing before it?",
    ] {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    let list = "issuer https://a\nclient_auth post;";
    let check = using(&block("a", list)).check();
    assert!(emerg(&check).contains("\"client_auth\": that is the name of a directive"));
    // What a member is not may be a value, and so may a word without an underscore.
    assert_good(&using(&block("a", "issuer a proxy_pass timeout phantom_token_timeout;")));
}

#[test]
fn an_include_is_a_part_of_the_block() {
    let include = "phantom_token_provider a {\ninclude members.conf;\nclient_id me;\n}";
    let builder = || using(include);
    let good = "introspection_endpoint http://127.0.0.1:9/;\nclient_secret s3cret;\n";
    assert_good(&builder().file("members.conf", good));
    let nested = "include more.conf;\n";
    assert_good(&builder().file("members.conf", nested).file("more.conf", good));
    for (content, words) in [
        (
            "introspection_endpoint http://127.0.0.1:9/;\nscope a;\n",
            "write phantom_token_scope outside",
        ),
        ("introspection_endpoint http://127.0.0.1:9/;\ntimeout x;\n", "\"timeout\""),
        ("introspection_endpoint http://127.0.0.1:9/;\n}\n", "unexpected \"}\""),
    ] {
        let check = builder().file("members.conf", content).check();
        let line = emerg(&check);
        assert!(line.contains(words) && line.ends_with("members.conf:2"), "{line}");
    }
    let check = builder().check();
    assert!(emerg(&check).contains("members.conf"), "{}", check.messages);
    // And a block may stand in a file.
    let included = Gateway::builder().http("include provider.conf;").location("/", USE);
    assert_good(&included.file("provider.conf", block("a", "")));
}

#[test]
fn a_block_stands_in_http_and_its_use_not_in_if() {
    let check = Gateway::builder().server(&block("a", "")).check();
    assert!(emerg(&check).contains("\"phantom_token_provider\" directive is not allowed here"));
    for inner in
        ["if ($arg_x) {\nphantom_token_use a;\n}", "limit_except GET {\nphantom_token_use a;\n}"]
    {
        let check = Gateway::builder().http(&block("a", "")).location("/", inner).check();
        assert!(emerg(&check).contains("\"phantom_token_use\" directive is not allowed here"));
    }
    // What they inherit they go by.
    let inner = "phantom_token_use a;\nif ($arg_x) {\nphantom_token on;\n}\nreturn 200;";
    assert_good(&Gateway::builder().http(&block("a", "")).location("/", inner));
    let open = Gateway::builder().http("phantom_token_provider a;").check();
    assert!(emerg(&open).contains("has no opening \"{\""));
    let endless = Gateway::builder().http("include provider.conf;");
    let check =
        endless.file("provider.conf", "phantom_token_provider a {\nclient_id me;\n").check();
    assert!(emerg(&check).contains("unexpected end of file, expecting \"}\""));
}

#[test]
fn what_only_a_block_has_is_not_written_flat() {
    for builder in [
        Gateway::builder().http("phantom_token_issuer x;"),
        Gateway::builder().server("phantom_token_issuer x;"),
        Gateway::builder().location("/", "phantom_token_issuer x;"),
    ] {
        let words = ["\"phantom_token_issuer\"", "write issuer in phantom_token_provider"];
        assert_refused(&builder, &words, "phantom_token_issuer x;");
    }
}

#[test]
fn a_thread_pool_that_is_not_there_is_named() {
    let check = Gateway::builder().http(&block("a", "thread_pool nowhere;")).check();
    assert!(emerg(&check).contains("nowhere"), "{}", check.messages);
}
