//! What `nginx -t` says: every mistake is named with its directive, file and line.

use phantom_token_test::nginx::{Builder, Check, assert_at, assert_good};
use phantom_token_test::tls::Identity;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Rig};

const ENDPOINT: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;";
const ID: &str = "phantom_token_client_id me;";
const SECRET: &str = "phantom_token_client_secret s3cret;";

fn with(directives: &[&str]) -> Builder {
    Gateway::builder().location("/", &format!("{}\nreturn 200;", directives.join("\n")))
}

#[track_caller]
fn assert_refused(builder: &Builder, texts: &[&str]) -> Check {
    let check = builder.check();
    assert!(!check.ok, "accepted:\n{}", check.config);
    let line = check
        .messages
        .lines()
        .find(|line| line.contains("[emerg]"))
        .unwrap_or_else(|| panic!("no [emerg]: {}", check.messages));
    for text in texts {
        assert!(line.contains(text), "no {text:?} in: {line}");
    }
    let number = line.split_once("nginx.conf:").and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
    });
    assert!(number.is_some_and(|n| n <= check.config.lines().count()), "no line number: {line}");
    assert!(!line.contains("s3cret"), "{line}");
    check
}

/// A wrong value of one directive: the message names it and the line it stands on.
#[track_caller]
fn assert_wrong(directive: &str) {
    let name = directive.split([' ', ';']).next().unwrap();
    let mut directives = Vec::new();
    for required in ["phantom_token on;", ENDPOINT, ID, SECRET] {
        if !required.starts_with(&format!("{name} ")) {
            directives.push(required);
        }
    }
    directives.push(directive);
    let builder = with(&directives);
    let check = assert_refused(&builder, &[name]);
    assert_at(&check, directive);
}

#[test]
fn missing_options_are_named() {
    let on = "phantom_token on;";
    assert_refused(&with(&[on, ID, SECRET]), &["phantom_token_introspection_endpoint"]);
    assert_refused(&with(&[on]), &["phantom_token_introspection_endpoint"]);
    assert_refused(&with(&[on, ENDPOINT, SECRET]), &["phantom_token_client_id"]);
    assert_refused(&with(&[on, ENDPOINT, ID]), &["phantom_token_client_secret"]);
    let misspelt = "phantom_token_introspectionn_endpoint http://127.0.0.1:9/;";
    assert_refused(&with(&[on, misspelt, ID, SECRET]), &["phantom_token_introspectionn_endpoint"]);
    assert_good(&with(&[on, ENDPOINT, ID, SECRET]));
    assert_good(&with(&[on, ENDPOINT, "phantom_token_client_auth none;"]));
}

#[test]
fn what_is_off_needs_nothing() {
    assert_good(&with(&["phantom_token off;"]));
    assert_good(&with(&[]));
    assert_good(&with(&[ID, "phantom_token_cache_valid 900s;"]));
}

/// As with NGINX's own flags and choices.
#[test]
fn the_case_of_a_choice_makes_no_difference() {
    assert_good(&with(&[
        "phantom_token ON;",
        ENDPOINT,
        ID,
        SECRET,
        "phantom_token_client_auth Post;",
        "phantom_token_allow_options Off;",
        "phantom_token_cache_control STRICT;",
        "phantom_token_scope read match=Any;",
        "phantom_token_step_up OFF;",
        "phantom_token_cache Off;",
    ]));
    assert_refused(&with(&["phantom_token ONE;"]), &["phantom_token", "write on or off"]);
}

#[test]
fn the_variable_of_a_token_is_one() {
    for variable in ["$http_x_token", "${arg_a}"] {
        assert_good(&with(&[&format!("phantom_token on token={variable};"), ENDPOINT, ID, SECRET]));
    }
    for variable in ["$http_x-token", "$arg_a$arg_b", "$1"] {
        let directive = format!("phantom_token on token={variable};");
        let words = ["phantom_token", "write token=$variable"];
        let check = assert_refused(&with(&[&directive, ENDPOINT, ID, SECRET]), &words);
        assert_at(&check, &directive);
    }
}

#[test]
fn options_are_inherited() {
    let builder = Gateway::builder()
        .http(&format!("{ENDPOINT}\n{ID}\n{SECRET}"))
        .server("phantom_token on;")
        .location("/a", "return 200;")
        .location("/b", "phantom_token off;\nreturn 200;")
        .location(
            "/c",
            "if ($arg_x) {\nphantom_token off;\n}\nlimit_except GET {\nphantom_token on;\n}",
        );
    assert_good(&builder);
}

#[test]
fn a_secret_from_a_file() {
    let on = "phantom_token on;";
    let file = "phantom_token_client_secret_file secret;";
    let directives = [on, ENDPOINT, ID, file];
    assert_good(&with(&directives).file("secret", "s3cret\n"));
    assert_good(&with(&directives).file("secret", "s3cret\r\n"));
    assert_refused(&with(&directives), &["phantom_token_client_secret_file"]);
    for (content, why) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (&[b's'; 4097], "is over 4096 bytes"),
        (&[b's'; 5000], "is over"),
        (b"s3cret\0", "holds a control character"),
        (b"s3cret\n\n", "holds a control character"),
        (b"s3cret\r", "holds a control character"),
        (b"two\nlines\n", "holds a control character"),
        (b"s3\tcret\n", "holds a control character"),
        ("s3\u{85}cret".as_bytes(), "holds a control character"),
        (b"\xef\xbb\xbfs3cret\n", "begins with a byte order mark"),
        (b"\xff\xfes\x003\0", "begins with a byte order mark"),
        (b"s3cr\xe9t", "is not UTF-8"),
    ] {
        let builder = with(&directives).file("secret", content);
        let words = ["phantom_token_client_secret_file", why];
        let check = assert_refused(&builder, if why == "is over" { &words[..1] } else { &words });
        assert_at(&check, file);
    }
    // What is odd and yet may be meant.
    let warned = |content: &str| {
        let check = assert_good(&with(&directives).file("secret", content));
        check
            .messages
            .lines()
            .any(|line| line.contains("[warn]") && line.contains("ends in a blank"))
    };
    assert!(warned("s3cret \n") && !warned(" s3cret\n") && !warned("schl\u{fc}ssel\n"));
    let both = [on, ENDPOINT, ID, SECRET, file];
    assert_refused(&with(&both).file("secret", "x"), &["phantom_token_client_secret"]);

    let server = AuthorizationServer::start();
    let api = Api::start();
    let gateway = Gateway::builder()
        .protect(&server, &api)
        .without_client()
        .http(&format!("{}\n{file}", "phantom_token_client_id introspection-client;"))
        .file("secret", "Password1\n")
        .start();
    assert_eq!(gateway.get_as("/api", &server.issue().token).status, 200);
}

#[test]
fn ids_and_secrets_are_text() {
    let (on, bad_id, bad_secret) = ("phantom_token on;", "client_id", "client_secret");
    for name in [bad_id, bad_secret] {
        let other = if name == bad_id { SECRET } else { ID };
        let client = |value: &[u8]| {
            let line = [format!("phantom_token_{name} \"").as_bytes(), value, b"\";\n"].concat();
            with(&[on, ENDPOINT, other, "include client.conf;"]).file("client.conf", line)
        };
        for (value, why) in [
            (&b""[..], "empty"),
            (b"s3\\tcret", "holds a control character"),
            (b"s3\x07cret", "holds a control character"),
            ("s3\u{9f}cret".as_bytes(), "holds a control character"),
            (b"\xef\xbb\xbfs3cret", "begins with a byte order mark"),
            (b"s3cr\xe9t", "is not UTF-8"),
        ] {
            let check = client(value).check();
            let line = check.messages.lines().find(|line| line.contains("[emerg]"));
            let line = line.unwrap_or_else(|| panic!("accepted: {value:?}"));
            let (said, _) = line.split_once(" in /").expect("a place");
            assert!(!check.ok && said.contains(why) && !said.contains("s3"), "{line}");
            assert!(line.contains(&format!("\"phantom_token_{name}\"")), "{line}");
            assert!(line.contains("client.conf:1"), "{line}");
        }
        for (value, warned) in [("sch\u{fc}ssel", false), (" two words", false), ("s3cret ", true)]
        {
            let check = assert_good(&client(value.as_bytes()));
            let warns = check.messages.contains("[warn]");
            assert_eq!(warns, warned, "{}", check.messages);
            assert!(!warned || check.messages.contains("ends in a blank"), "{}", check.messages);
        }
    }
}

#[test]
fn wrong_values_are_named_with_their_line() {
    for directive in [
        "phantom_token maybe;",
        "phantom_token on tokens=$x;",
        "phantom_token_introspection_endpoint 127.0.0.1:9;",
        "phantom_token_introspection_endpoint ftp://127.0.0.1/;",
        "phantom_token_introspection_endpoint http://;",
        "phantom_token_introspection_endpoint http://user:pass@127.0.0.1/;",
        "phantom_token_introspection_endpoint http://127.0.0.1:0/;",
        "phantom_token_introspection_endpoint http://127.0.0.1:99999/;",
        "phantom_token_introspection_endpoint http://127.0.0.1/ max_fails=x;",
        "phantom_token_introspection_endpoint http://127.0.0.1/ fail_timeout=x;",
        "phantom_token_introspection_endpoint http://127.0.0.1/ nonsense;",
        "phantom_token_client_id \"\";",
        "phantom_token_client_secret \"\";",
        "phantom_token_client_auth digest;",
        "phantom_token_forward opaque;",
        "phantom_token_scope \"a\\\"b\";",
        "phantom_token_realm \"a\\\"b\";",
        "phantom_token_resource_metadata \"not a url\";",
        "phantom_token_allow_options perhaps;",
        "phantom_token_bypass $http_x_internal;",
        "phantom_token_bypass $arg_x;",
        "phantom_token_bypass $cookie_x;",
        "phantom_token_bypass ${arg_x};",
        "phantom_token_bypass $HTTP_x;",
        "phantom_token_bypass x$cookie_y;",
        "phantom_token_bypass \"$cookie_y \";",
        "phantom_token_bypass $args;",
        "phantom_token_bypass $is_args;",
        "phantom_token_bypass $ssl_early_data;",
        "phantom_token_bypass $is_args$args;",
        "phantom_token_bypass $query_string;",
        "phantom_token_bypass $request_body;",
        "phantom_token_bypass $content_type;",
        "phantom_token_bypass $remote_addr $args;",
        "phantom_token_bound_tokens keep;",
        "phantom_token_kind refresh;",
        "phantom_token_kind \"\";",
        "phantom_token_token_syntax jwt;",
        "phantom_token_introspection_header Host x;",
        "phantom_token_introspection_param token x;",
        "phantom_token_connect_timeout soon;",
        "phantom_token_timeout 1x;",
        "phantom_token_ssl_verify yes;",
        "phantom_token_ssl_trusted_certificate no-such-file.pem;",
        "phantom_token_thread_pool;",
        "phantom_token_cache no_such_zone;",
        "phantom_token_cache_valid forever;",
        "phantom_token_cache_inactive_valid -1s;",
        "phantom_token_cache_control obey;",
    ] {
        assert_wrong(directive);
    }
    for directive in [
        "phantom_token_worker_cache many;",
        "phantom_token_max_pending -1;",
        "phantom_token_cache_zone 10m;",
        "phantom_token_cache_zone zone=tokens;",
        "phantom_token_cache_zone zone=tokens:1k;",
    ] {
        let builder = with(&[]).http(directive);
        let check = assert_refused(&builder, &[directive.split(' ').next().unwrap()]);
        assert_at(&check, directive);
    }
}

#[test]
fn a_forgotten_semicolon_is_asked_for() {
    for begun in [
        "phantom_token_scope read",
        "phantom_token_bypass $internal",
        "phantom_token_cache_bypass $internal",
        "phantom_token_introspection_endpoint http://127.0.0.1:8/",
        "phantom_token_use a",
        "phantom_token_ready",
        "phantom_token_ready a",
    ] {
        for next in ["proxy_pass http://127.0.0.1:9;", "phantom_token_realm api;"] {
            let builder = with(&[begun, next]).http("map $remote_addr $internal { default 1; }");
            let name = next.split(' ').next().expect("a name");
            let invalid = format!("\"{name}\": that is the name of a directive");
            let words =
                [begun.split(' ').next().unwrap(), &invalid, "is a \";\" missing before it?"];
            assert_refused(&builder, &words);
        }
    }
    // A directive that may stand alone.
    let invalid = "\"allow\": that is the name of a directive; is a \";\" missing before it?";
    assert_refused(
        &with(&["phantom_token_ready", "allow all;"]),
        &["phantom_token_ready", invalid],
    );
    // Others are values.
    assert_good(&with(&[
        "phantom_token on;",
        ENDPOINT,
        ID,
        SECRET,
        "phantom_token_scope user proxy_passs a_b;",
    ]));
}

/// What is written for one server and goes to another, by what `nginx -t` says.

#[test]
fn what_stands_twice_on_a_level_is_refused() {
    let twice = |builder: Builder, directive: &str| {
        let name = directive.split([' ', ';']).next().unwrap();
        let check = assert_refused(&builder, &[name, "is duplicate"]);
        assert_eq!(check.config.matches(directive).count(), 2, "{}", check.config);
    };
    for directive in [
        "phantom_token off;",
        "phantom_token_client_id me;",
        "phantom_token_client_auth post;",
        "phantom_token_forward jwt;",
        "phantom_token_scope read;",
        "phantom_token_realm orders;",
        "phantom_token_resource_metadata https://api.example.com/.well-known/oauth-protected-resource;",
        "phantom_token_allow_options off;",
        "phantom_token_bypass $request_method;",
        "phantom_token_cache_bypass $request_method;",
        "phantom_token_bound_tokens pass;",
        "phantom_token_kind declared;",
        "phantom_token_token_syntax vschar;",
        "phantom_token_token_type_hint access_token;",
        "phantom_token_introspection_accept application/jwt;",
        "phantom_token_connect_timeout 1s;",
        "phantom_token_timeout 5s;",
        "phantom_token_ssl_verify on;",
        "phantom_token_ssl_trusted_certificate ca.pem;",
        "phantom_token_ssl_certificate client.pem;",
        "phantom_token_ssl_certificate_key client.key;",
        "phantom_token_thread_pool default;",
        "phantom_token_cache off;",
        "phantom_token_cache_valid 1m;",
        "phantom_token_cache_inactive_valid 1s;",
        "phantom_token_cache_stale 1m;",
        "phantom_token_cache_refresh_ahead 10s;",
        "phantom_token_cache_control strict;",
        "phantom_token_status;",
        "phantom_token_purge;",
    ] {
        let identity = Identity::self_signed(&["client"]);
        let builder = with(&[directive, directive])
            .file("ca.pem", identity.certificate.as_str())
            .file("client.pem", identity.certificate.as_str())
            .file("client.key", identity.key.as_str());
        twice(builder, directive);
    }
    for directive in ["phantom_token_max_pending 9;", "phantom_token_worker_cache 64;"] {
        twice(Gateway::builder().http(&format!("{directive}\n{directive}")), directive);
    }
}

#[test]
fn credentials_of_two_kinds_are_refused() {
    let header = "phantom_token_introspection_header Authorization x;";
    let name = "phantom_token_introspection_header";
    assert_refused(&with(&["phantom_token on;", ENDPOINT, ID, SECRET, header]), &[name]);
    let none = "phantom_token_client_auth none;";
    assert_good(&with(&["phantom_token on;", ENDPOINT, none, header]));
}

#[test]
fn a_thread_pool_that_is_not_there_is_named() {
    let on = "phantom_token on;";
    let builder = with(&[on, ENDPOINT, ID, SECRET, "phantom_token_thread_pool nowhere;"]);
    let check = builder.check();
    assert!(!check.ok);
    assert!(check.messages.contains("[emerg]") && check.messages.contains("nowhere"));
    assert_good(&builder.main("thread_pool nowhere threads=2;"));
}

#[test]
fn every_directive_takes_its_documented_values() {
    let builder = with(&[
        "phantom_token on;",
        "phantom_token_introspection_endpoint https://as.example/introspect?x=1 max_fails=5 fail_timeout=20s;",
        "phantom_token_introspection_endpoint https://[::1]:8443/introspect backup connect=127.0.0.1:8443;",
        ID,
        SECRET,
        "phantom_token_client_auth post;",
        "phantom_token_forward none;",
        "phantom_token_scope \"read write\" execute match=all;",
        "phantom_token_require $internal$phantom_token_claim_sub error=401;",
        "phantom_token_realm api;",
        "phantom_token_resource_metadata https://api.example/.well-known/oauth-protected-resource;",
        "phantom_token_allow_options preflight;",
        "phantom_token_bypass $internal;",
        "phantom_token_cache_bypass $internal;",
        "phantom_token_bound_tokens pass;",
        "phantom_token_kind any;",
        "phantom_token_token_syntax vschar;",
        "phantom_token_token_type_hint access_token;",
        "phantom_token_introspection_accept application/json;",
        "phantom_token_introspection_header X-Trace $request_id nokey;",
        "phantom_token_introspection_param audience api;",
        "phantom_token_connect_timeout 1s;",
        "phantom_token_timeout 3s;",
        "phantom_token_ssl_verify on;",
        "phantom_token_thread_pool default;",
        "phantom_token_cache tokens;",
        "phantom_token_cache_valid 900s;",
        "phantom_token_cache_inactive_valid 0;",
        "phantom_token_cache_stale 60s;",
        "phantom_token_cache_refresh_ahead 60s;",
        "phantom_token_cache_control strict;",
    ])
    .http("phantom_token_worker_cache 0;")
    .http("map $remote_addr $internal { default \"\"; 10.0.0.1 1; }")
    .http("phantom_token_cache_zone zone=tokens:2m;")
    .http("phantom_token_max_pending 64;")
    .location("/status", "phantom_token_status json;")
    .location("/purge", "phantom_token_purge local;\nclient_body_buffer_size 128k;");
    let check = assert_good(&builder);
    assert!(!check.messages.contains("[warn]"), "{}", check.messages);
}

#[test]
fn a_dollar_in_a_string_without_variables_is_noticed() {
    let on = ["phantom_token on;", ENDPOINT, ID, SECRET];
    for value in ["$host", "x${host}", "$_x"] {
        for name in ["phantom_token_introspection_accept", "phantom_token_token_type_hint"] {
            assert_wrong(&format!("{name} \"{value}\";"));
        }
        assert_wrong(&format!("phantom_token_introspection_endpoint \"http://{value}/\";"));
        let connect = format!("{ENDPOINT} connect={value}:80;").replace("; connect", " connect");
        assert_wrong(&connect);

        let id = format!("phantom_token_client_id \"{value}\";");
        let check = assert_good(&with(&[on[0], ENDPOINT, &id, SECRET]));
        assert!(check.messages.contains("[warn]"), "{}", check.messages);
        assert!(check.messages.contains("takes no variables"), "{}", check.messages);
        assert_at(&check, &id);
        // Secrets hold anything.
        let secret = format!("phantom_token_client_secret \"{value}\";");
        let check = assert_good(&with(&[on[0], ENDPOINT, ID, &secret]));
        assert!(!check.messages.contains("[warn]"), "{}", check.messages);
        let file = "phantom_token_client_secret_file \"of $host\";";
        let builder = with(&[on[0], ENDPOINT, ID, file]).file("of $host", "s3cret");
        assert!(!assert_good(&builder.file("x", "")).messages.contains("takes no variables"));
    }
    for value in ["a$", "$1", "$ x"] {
        let realm = format!("phantom_token_realm \"{value}\";");
        assert_good(&with(&[on[0], ENDPOINT, ID, SECRET, &realm]));
    }
}

#[test]
fn a_wrong_configuration_leaves_the_running_one_in_place() {
    let mut rig = Rig::start(|builder| builder.allow("phantom_token_nonsense"));
    let token = rig.server.issue();
    rig.assert_passes(&token);
    rig.gateway.rewrite(|builder| builder.http("phantom_token_nonsense on;"));
    rig.gateway.signal(libc::SIGHUP);
    rig.gateway.wait_for_log(&["[emerg]", "phantom_token_nonsense"]);
    rig.assert_passes(&token);
    assert_eq!(rig.server.introspections(), 1);
}
