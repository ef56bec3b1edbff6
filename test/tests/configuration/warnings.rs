//! What `nginx -t` warns of in configurations that are good: risks, and what has no effect.

use phantom_token_test::Gateway;
use phantom_token_test::nginx::{Builder, assert_at, assert_good};
use phantom_token_test::tls::Identity;

const ENDPOINT: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;";
const ID: &str = "phantom_token_client_id me;";
const SECRET: &str = "phantom_token_client_secret s3cret;";

fn with(directives: &[&str]) -> Builder {
    Gateway::builder().location("/", &format!("{}\nreturn 200;", directives.join("\n")))
}

#[test]
fn credentials_that_go_to_another_server_are_warned_of() {
    let identity = Identity::self_signed(&["localhost"]);
    let a = "phantom_token_introspection_endpoint https://127.0.0.1:8/a;";
    let b = "phantom_token_introspection_endpoint https://127.0.0.1:9/b;";
    let on = "phantom_token on;\nreturn 200;";
    let secret = format!("{ID}\n{SECRET}");
    let own = "phantom_token_client_secret s3cret; # own";
    let builder = |http: &str, server: &str, location: &str| {
        Gateway::builder()
            .file("ca.pem", identity.certificate.clone())
            .file("c.pem", identity.certificate.clone())
            .file("c.key", identity.key.clone())
            .http(http)
            .server(server)
            .location("/", &format!("{location}\n{on}"))
    };
    let [ca, certificate, key] = [
        "phantom_token_ssl_trusted_certificate ca.pem;",
        "phantom_token_ssl_certificate c.pem;",
        "phantom_token_ssl_certificate_key c.key;",
    ];
    let beside_a = format!("{a}\n{secret}");
    let other_path = "phantom_token_introspection_endpoint https://127.0.0.1:8/other;";
    let plain = "phantom_token_introspection_endpoint http://127.0.0.1:9/b;";
    for (config, warned) in [
        // All on one level, or inherited together.
        (builder(&beside_a, "", ""), vec![]),
        (builder(&beside_a, "", other_path), vec![]),
        // For all servers, since it stands beside none.
        (builder(&secret, "", b), vec![]),
        (builder(&secret, a, b), vec![]),
        (builder(&format!("{secret}\n{ca}"), a, b), vec![]),
        // The endpoint alone is another.
        (builder(&beside_a, "", b), vec!["phantom_token_client_secret"]),
        (builder(&beside_a, b, ""), vec!["phantom_token_client_secret"]),
        (builder(&format!("{a}\n{ID}"), SECRET, b), vec!["phantom_token_client_secret"]),
        (builder(&beside_a, &format!("{b}\n{own}"), a), vec!["phantom_token_client_secret"]),
        (builder(&beside_a, "", &format!("{a}\n{b}")), vec!["phantom_token_client_secret"]),
        (builder(&beside_a, "", &format!("{b}\n{own}")), vec![]),
        (builder(&beside_a, &format!("{b}\n{own}"), ""), vec![]),
        (builder(&beside_a, &format!("{b}\n{own}"), &format!("{a}\n{own}")), vec![]),
        (builder(&beside_a, "", &format!("{b}\nphantom_token_client_auth none;")), vec![]),
        (
            builder(&format!("{beside_a}\n{ca}"), "", &format!("{b}\n{own}")),
            vec!["phantom_token_ssl_trusted_certificate"],
        ),
        (builder(&format!("{beside_a}\n{ca}"), "", &format!("{plain}\n{own}")), vec![]),
        (
            builder(&format!("{beside_a}\n{certificate}\n{key}"), "", &format!("{b}\n{own}")),
            vec!["phantom_token_ssl_certificate", "phantom_token_ssl_certificate_key"],
        ),
    ] {
        let check = assert_good(&config);
        let lines = check.messages.lines().filter(|line| line.contains("for another server"));
        let said: Vec<_> =
            lines.inspect(|line| assert!(line.contains("[warn]"), "{line}")).collect();
        assert_eq!(said.len(), warned.len(), "{}\n{}", check.messages, check.config);
        for name in warned {
            assert!(said.iter().any(|line| line.contains(&format!("\"{name}\""))), "{said:?}");
        }
    }
    let check = assert_good(&builder(&beside_a, "", b));
    assert_at(&check, SECRET);
    assert_at(&check, b);
    assert!(check.messages.contains("https://127.0.0.1:9/b") && !check.messages.contains("s3cret"));
}

#[test]
fn a_doubtful_bypass_is_warned_of() {
    let map = "map $remote_addr $internal { default \"\"; 10.0.0.1 1; }";
    for (value, words) in [
        ("$remote_user", "auth_basic has not judged it"),
        ("x${REMOTE_USER}", "auth_basic has not judged it"),
        ("$internal$args", "any client can set some of it"),
        ("$request_method", "never empty"),
        ("$uri", "never empty"),
        ("$internal", ""),
        ("yes", ""),
    ] {
        let bypass = format!("phantom_token_bypass {value};");
        let check =
            assert_good(&with(&["phantom_token on;", ENDPOINT, ID, SECRET, &bypass]).http(map));
        assert_eq!(check.messages.contains("[warn]"), !words.is_empty(), "{}", check.messages);
        assert!(check.messages.contains(words), "{}", check.messages);
        if !words.is_empty() {
            assert_at(&check, &bypass);
        }
    }
    for (value, warned) in [("x$cookie_y", true), ("$is_args$args", true), ("$host", false)] {
        let header = format!("phantom_token_introspection_header X-Key {value};");
        let check = assert_good(&with(&["phantom_token on;", ENDPOINT, ID, SECRET, &header]));
        assert_eq!(check.messages.contains("write nokey"), warned, "{}", check.messages);
    }
}

#[test]
fn a_demand_where_nothing_is_judged_is_warned_of() {
    let scope = "phantom_token_scope read;";
    let asking = format!("{ENDPOINT}\n{ID}\n{SECRET}");
    let builder = || Gateway::builder().http(&asking);
    let on = format!("phantom_token on;\n{scope}");
    for (builder, warned) in [
        (builder().location("/", scope), true),
        (builder().location("/", &format!("phantom_token off;\n{scope}")), true),
        (builder().server(scope), true),
        (builder().http(scope), true),
        (builder().location("/", &format!("if ($arg_x) {{\n{scope}\n}}")), true),
        (builder().location("/", &format!("limit_except GET {{\n{scope}\n}}")), true),
        (builder().location("/", &on), false),
        (builder().http(scope).location("/", "phantom_token on;"), false),
        (builder().server(scope).location("/", "location /a {\nphantom_token on;\n}"), false),
        (
            builder().location("/", &format!("{scope}\nif ($arg_x) {{\nphantom_token on;\n}}")),
            false,
        ),
        (
            builder().location("/", &format!("phantom_token on;\nif ($arg_x) {{\n{scope}\n}}")),
            false,
        ),
    ] {
        let check = assert_good(&builder);
        let line = check.messages.lines().find(|line| line.contains("no location goes by it"));
        assert_eq!(line.is_some(), warned, "{}\n{}", check.messages, check.config);
        if let Some(line) = line {
            assert!(line.contains("[warn]") && line.contains("\"phantom_token_scope\""), "{line}");
            assert_at(&check, scope);
        }
    }
    for (directive, warned) in [
        ("phantom_token_kind declared;", true),
        ("phantom_token_kind any;", false),
        ("phantom_token_bound_tokens reject;", true),
        ("phantom_token_bound_tokens pass;", false),
        ("phantom_token_realm orders;", false),
    ] {
        let elsewhere = "phantom_token off;";
        let builder = builder().location("/", directive).location("/off", elsewhere);
        let check = assert_good(&builder);
        assert_eq!(check.messages.contains("[warn]"), warned, "{}", check.messages);
    }
}

#[test]
fn risks_are_warned_of() {
    let on = "phantom_token on;";
    for (directives, word) in [
        (["phantom_token_introspection_endpoint http://192.0.2.1/;", ""], "http://"),
        (
            [
                "phantom_token_introspection_endpoint https://192.0.2.1/;",
                "phantom_token_ssl_verify off;",
            ],
            "phantom_token_ssl_verify",
        ),
        (
            ["phantom_token_introspection_endpoint http://127.0.0.1/ fail_timeout=1s;", ""],
            "fail_timeout",
        ),
        (
            [ENDPOINT, "phantom_token_token_type_hint refresh_token;"],
            "token_type_hint refresh_token",
        ),
        ([ENDPOINT, "phantom_token_token_type_hint opaque;"], "token_type_hint opaque"),
        (
            [ENDPOINT, "phantom_token_introspection_param token_type_hint refresh_token;"],
            "token_type_hint refresh_token",
        ),
        ([ENDPOINT, "phantom_token_purge;"], "client_body_buffer_size 128k"),
        (
            [ENDPOINT, "phantom_token_purge;\nclient_body_buffer_size 99k;"],
            "client_body_buffer_size 128k",
        ),
    ] {
        let check = assert_good(&with(&[on, ID, SECRET, directives[0], directives[1]]));
        let warned =
            check.messages.lines().any(|line| line.contains("[warn]") && line.contains(word));
        assert!(warned, "no warning with {word:?}: {}", check.messages);
    }
    for quiet in [
        "",
        "phantom_token_token_type_hint access_token;",
        "phantom_token_introspection_param token_type_hint access_token;",
        "phantom_token_purge;\nclient_body_buffer_size 100k;",
    ] {
        let check = assert_good(&with(&[on, ENDPOINT, ID, SECRET, quiet]));
        assert!(!check.messages.contains("[warn]"), "{}", check.messages);
    }
}

#[test]
fn a_thread_pool_shared_with_slow_disks_is_warned_of() {
    let on = ["phantom_token on;", ENDPOINT, ID, SECRET];
    let builder = || with(&on).http("phantom_token_thread_pool default;");
    for (builder, shared) in [
        (builder().server("aio threads;"), true),
        (builder().http("aio threads;"), true),
        (builder().location("/before", "aio threads;"), true),
        (builder().http("server { location / { aio threads; } }"), true),
        (builder().main("thread_pool disk threads=2;").http("aio threads=disk;"), false),
        // A pool of its own, as it comes.
        (with(&on).http("aio threads;"), false),
        (with(&on).http("aio threads=phantom_token;"), true),
    ] {
        let check = assert_good(&builder);
        let warned = check.messages.lines().any(|line| {
            line.contains("[warn]") && line.contains("\"aio threads\" shares its thread pool")
        });
        assert_eq!(warned, shared, "{}", check.messages);
    }
}

#[test]
fn a_time_to_renew_that_is_more_than_a_third_is_warned_of() {
    const WARNING: &str = "\"phantom_token_cache_refresh_ahead\" is more than a third of";
    let [long, short, valid, brief] = [
        "phantom_token_cache_refresh_ahead 101s;",
        "phantom_token_cache_refresh_ahead 100s;",
        "phantom_token_cache_valid 600s;",
        "phantom_token_cache_valid 30s;",
    ];
    for (http, server, location, warned) in [
        ("", "", long, true),
        ("", "", short, false),
        (long, "", "", true),
        // In either order, and from an outer level.
        ("", "", &*format!("{long}\n{valid}"), false),
        ("", "", &*format!("{brief}\n{short}"), true),
        (valid, "", long, false),
        (brief, "", short, true),
        (&*format!("{valid}\n{long}"), "", "", false),
        (&*format!("{brief}\n{short}"), "", "", true),
        // A level that keeps answers shorter has what is left.
        (short, "", brief, false),
        (short, brief, "", false),
    ] {
        let check = Gateway::builder()
            .http(&format!("{ENDPOINT}\n{ID}\n{SECRET}\n{http}"))
            .server(server)
            .location("/", &format!("phantom_token on;\n{location}\nreturn 200;"))
            .location("/other", "phantom_token on;\nreturn 200;")
            .check();
        let what = format!("{http} | {server} | {location}: {}", check.messages);
        assert!(check.ok, "{what}");
        assert_eq!(check.messages.matches(WARNING).count(), usize::from(warned), "{what}");
    }
}
