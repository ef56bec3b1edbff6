//! Mistakes that are more than a wrong argument, and what may not be meant: one row each, with what is
//! said of it and of which line.

use phantom_token_test::Gateway;
use phantom_token_test::keys::PemKey;
use phantom_token_test::nginx::{Builder, Check};
use phantom_token_test::tls::Identity;

const ON: &str = "phantom_token on;";
const ENDPOINT: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;";
const HTTPS: &str = "phantom_token_introspection_endpoint https://127.0.0.1:9/introspect;";
const CLIENT: &str = "phantom_token_client_id me;\nphantom_token_client_secret s3cret;";
const BLOCK: &str = "phantom_token_provider a {\nintrospection_endpoint http://127.0.0.1:9/introspect;\nclient_auth none;\n}";
const STORE: &str =
    "phantom_token_key_file fleet.key;\nphantom_token_store {\nserver redis://127.0.0.1:9;\n}";

/// A gateway with these lines in `http`, and in a location.
fn with(http: &str, location: &str) -> Builder {
    Gateway::builder().http(http).location("/a", location)
}

/// A location that is on and good, with one more line.
fn on(line: &str) -> Builder {
    with("", &format!("{ON}\n{ENDPOINT}\n{CLIENT}\n{line}"))
}

fn lines<'a>(check: &'a Check, level: &str) -> Vec<&'a str> {
    check.messages.lines().filter(|line| line.contains(level)).collect()
}

/// One line of this level is said, with these words, and ends in the place of the first line that holds
/// `at`; nothing else is said of that level.
#[track_caller]
fn assert_said(builder: &Builder, level: &str, at: &str, words: &[&str]) {
    let check = builder.check();
    assert_eq!(check.ok, level == "[warn]", "{}\n{}", check.messages, check.config);
    let said = lines(&check, level);
    let [line] = said[..] else {
        panic!("{} lines for {at:?}: {}\n{}", said.len(), check.messages, check.config)
    };
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    let place = format!("nginx.conf:{}", check.line_of(at));
    assert!(line.ends_with(&place), "not at {place}: {line}\n{}", check.config);
    assert!(!line.contains("s3cret"), "{line}");
}

#[track_caller]
fn assert_silent(builder: &Builder) {
    let check = builder.check();
    assert!(check.ok && lines(&check, "[warn]").is_empty(), "{}\n{}", check.messages, check.config);
}

#[test]
fn what_is_missing_is_missing_in_a_location_or_a_server() {
    let missing = "\"phantom_token_introspection_endpoint\" is missing in ";
    let named = |builder: &Builder, block: &str, begins: &str, words: &[&str]| {
        let check = builder.check();
        let [line] = lines(&check, "[emerg]")[..] else { panic!("{}", check.messages) };
        let [at, switch] = [begins, ON].map(|text| format!("nginx.conf:{}", check.line_of(text)));
        for part in [
            missing,
            &format!("{block} of "),
            &format!("{at}, for \"phantom_token on\" in"),
            &switch,
        ] {
            assert!(line.contains(part), "no {part:?} in: {line}");
        }
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {line}");
        }
    };
    let both = |builder: Builder| {
        builder.location("/b", &format!("{ENDPOINT}\n{CLIENT}")).location("/c", "return 200;")
    };
    // Switched on outside: the server itself has none, whatever its locations have.
    let server = ["requests that no location takes need it too"];
    named(&both(with(ON, &format!("{ENDPOINT}\n{CLIENT}"))), "the server", "server {", &server);
    let other = both(with(ON, &format!("{ENDPOINT}\n{CLIENT}"))).server("root html;");
    named(&other, "the server", "server {", &server);
    // In one of them alone.
    named(&both(with("", ON)), "location \"/a\"", "location /a {", &["write the URL"]);
    let within = with("", &format!("if ($arg_x) {{\n{ON}\n}}"));
    named(&within, "\"if\" or \"limit_except\" of location \"/a\"", "if ($arg_x)", &[]);
    let regex = Gateway::builder().location("~ ^/x", ON);
    named(&regex, "location \"^/x\"", "location ~ ^/x {", &[]);
}

#[test]
fn each_fault_is_at_the_line_of_its_directive() {
    let tls = Identity::self_signed(&["client"]);
    let [ca, certificate, key] = [
        "phantom_token_ssl_trusted_certificate ca.pem;",
        "phantom_token_ssl_certificate c.pem;",
        "phantom_token_ssl_certificate_key c.key;",
    ];
    let https = |lines: &str| {
        with("", &format!("{ON}\n{HTTPS}\n{CLIENT}\n{lines}"))
            .file("c.pem", tls.certificate.as_str())
            .file("c.key", tls.key.as_str())
    };
    let pair = format!("{certificate}\n{key}");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let scope =
        "phantom_token_mint_issuer https://gateway.example;\nphantom_token_mint_audience a;";
    for (builder, at, words) in [
        (https(ca).file("ca.pem", "no certificate\n"), ca, &["\"phantom_token_ssl_trusted_certificate\" names ", "ca.pem", "holds no PEM certificate"][..]),
        (https(ca).file("ca.pem", ""), ca, &["ca.pem", "holds no PEM certificate"]),
        (https(&pair).file("c.key", encrypted), key, &["\"phantom_token_ssl_certificate_key\" names ", "encrypted", "openssl pkey"]),
        (https(&pair).file("c.key", PemKey::p256().private), certificate, &["\"phantom_token_ssl_certificate\" names ", "\"phantom_token_ssl_certificate_key\" of ", "do not belong together"]),
        (https(certificate), certificate, &["\"phantom_token_ssl_certificate_key\" is missing beside", "write both"]),
        (on("phantom_token_realm \"\";"), "_realm", &["\"phantom_token_realm\" is empty", "write a realm"]),
        (on("phantom_token_thread_pool nowhere;"), "_thread_pool", &["\"phantom_token_thread_pool\" names the unknown thread pool \"nowhere\"", "write \"thread_pool nowhere threads=32;\" outside of http"]),
        (with(&BLOCK.replace("client_auth", "thread_pool nowhere;\nclient_auth"), ""), "thread_pool nowhere", &["unknown thread pool \"nowhere\""]),
        (on("phantom_token_cache on;"), "_cache on", &["\"phantom_token_cache on\" names no zone: write a zone's name or \"off\""]),
        (on("phantom_token_cache other;").http("phantom_token_cache_zone zone=one:1m;"), "_cache other", &["write phantom_token_cache_zone zone=other:10m in http, or one of \"one\""]),
        (on("phantom_token_introspection_header Authorization x;"), "_header", &["sets Authorization", "write phantom_token_client_auth none"]),
        (with("", &format!("{ON}\n{ENDPOINT}\n{CLIENT}\n{scope}\nphantom_token_forward mint;\nphantom_token_mint_key mint.pub;")).file("mint.pub", PemKey::p256().public), "_mint_key", &["names public keys alone", "write the file of the private key"]),
        (on("phantom_token_phase preaccess;\nsatisfy any;"), "preaccess", &["cannot stand beside \"satisfy any\"", "location \"/a\" of"]),
        // Grammar, the value, and what it is not.
        (with("", "phantom_token_introspection_endpoint curity;"), "curity", &["directive has an invalid value \"curity\": the URL must begin with"]),
        (with("", "phantom_token_introspection_endpoint https://$host/introspect;"), "$host", &["invalid value \"https://$host/introspect\"", "takes no variables"]),
        (with("", "phantom_token_introspection_endpoint http://a:99999/;"), "99999", &["invalid value \"http://a:99999/\"", "from 1 to 65535"]),
        (with("", "phantom_token_introspection_endpoint http://a/ connect=b;"), "connect=b", &["invalid value \"b\"", "must be HOST:PORT"]),
        (with("", "phantom_token_introspection_endpoint http://u:s3cret@a/;"), "@a", &["has an invalid value: the URL must not hold a user name"]),
        (with("", "phantom_token_introspection_endpoint http://a/ max_fails=1 max_fails=2;"), "max_fails", &["invalid value \"max_fails=2\": write it once"]),
        // The form is shown.
        (with("", "phantom_token_cache_valid 5 minutes;"), "minutes", &["write \"phantom_token_cache_valid TIME;\" with a time such as 5m"]),
        (with("", "phantom_token_cache_valid 200 60s;"), "60s", &["write \"phantom_token_cache_valid TIME;\""]),
        (with("", "phantom_token_realm my api;"), "my api", &["write \"phantom_token_realm STRING;\" with quotation marks around"]),
        (with("", "phantom_token_status\nallow all;"), "allow", &["write \"phantom_token_status [prometheus | json | html];\"", "\"allow\" is the name of a directive: is a \";\" missing before it?"]),
        (with("", "phantom_token_purge\nproxy_pass http://127.0.0.1:9;"), "proxy_pass", &["\"phantom_token_purge\"", "is a \";\" missing before it?"]),
        (with("phantom_token_use b;\nphantom_token_ready_;", ""), "ready_", &["unknown directive \"phantom_token_ready_\""]),
    ] {
        assert_said(&builder, "[emerg]", at, words);
    }
}

#[test]
fn each_risk_is_at_the_line_of_its_directive() {
    let open = "phantom_token_client_secret_file open;";
    let own = "phantom_token_introspection_endpoint";
    for (builder, at, words) in [
        (
            with("", &format!("{ON}\n{own} http://192.0.2.1/x;\n{CLIENT}")),
            own,
            &["unencrypted", "use https"][..],
        ),
        (
            with("", &format!("{ON}\n{HTTPS}\n{CLIENT}\nphantom_token_ssl_verify off;")),
            "_verify",
            &["\"phantom_token_ssl_verify off\""],
        ),
        (
            with("", &format!("{ON}\n{own} http://127.0.0.1/x fail_timeout=1s;\n{CLIENT}")),
            own,
            &["fail_timeout", "is below phantom_token_timeout", "write a longer one"],
        ),
        (
            with("", &format!("{ON}\n{ENDPOINT}\nphantom_token_client_id me;\n{open}"))
                .file("open", "s3cret"),
            open,
            &["readable by all: chmod o-r it"],
        ),
        (
            on("phantom_token_thread_pool default;\naio threads;"),
            "_thread_pool",
            &["\"aio threads\" shares"],
        ),
        (on("aio threads=phantom_token;"), ON, &["\"aio threads\" shares"]),
    ] {
        assert_said(&builder, "[warn]", at, words);
    }
}

#[test]
fn what_passes_and_may_not_be_meant_is_warned_of() {
    let own = "phantom_token_introspection_endpoint";
    let endpoint = |rest: &str| with("", &format!("{ON}\n{own} {rest};\n{CLIENT}"));
    let tls = Identity::self_signed(&["client"]);
    let none =
        format!("{ON}\n{ENDPOINT}\nphantom_token_client_auth none;\nphantom_token_client_id me;");
    let mut wrong = Vec::new();
    let uncached = |line: &str| on(&format!("phantom_token_cache off;\n{line}"));
    for (builder, at, words) in [
        // Lists.
        (on("phantom_token_scope read,write;"), "read,write", &["takes \"read,write\" for one value: write \"read write\""][..]),
        (on("phantom_token_scope read or write;"), " or ", &["takes \"or\" for a value", "match=any"]),
        (on("phantom_token_audience a,b;"), "a,b", &["write \"a b\""]),
        (on("phantom_token_scope read\nroot html;"), "root html", &["\"root\" for a value, and it is the name of a directive: is a \";\" missing"]),
        (on("phantom_token_step_up loa3 5m;"), "5m", &["takes \"5m\" for a value of acr: write max_age=5m"]),
        (on("phantom_token_step_up 300;"), "300", &["write max_age=300"]),
        (on("phantom_token_scope openid\nlocation email;"), "location email", &["\"location\" for a value", "is a \";\" missing"]),
        (on("phantom_token_step_up on;"), "_step_up", &["takes \"on\" for a value of acr: write"]),
        (on("").http("phantom_token_claim_set $roles realm_access.roles;"), "realm_access", &["write \"realm_access roles\""]),
        (with(&BLOCK.replace("client_auth", "issuer https://a,https://b;\nclient_auth"), "phantom_token on;\nphantom_token_use a;"), "issuer", &["\"issuer\" takes \"https://a,https://b\" for one value"]),
        // What is asked, and how.
        (on("phantom_token_introspection_accept \"application/jwt, application/json\";"), "_accept", &["write one media type"]),
        (on("phantom_token_introspection_accept jwt;"), "_accept", &["write one media type"]),
        (on("phantom_token_introspection_header X-A nokey;"), "nokey", &["takes \"nokey\" for the value: write a value"]),
        (on("phantom_token_introspection_param audience=api x;"), "audience=", &["write \"audience api\" for a name and its value"]),
        (endpoint("https://as.example"), own, &["without a path: write the whole URL"]),
        (endpoint("https://as.example/.well-known/openid-configuration"), own, &["metadata: write the \"introspection_endpoint\""]),
        (endpoint("https://as.example/x;\nphantom_token_introspection_endpoint https://as.example/x backup"), "backup", &["a second time"]),
        (endpoint("https://as.example/oauth2/token"), own, &["another endpoint", "introspection endpoint"]),
        (endpoint("https://as.example/userinfo?x=1"), own, &["another endpoint"]),
        (endpoint("https://as.example/oauth2/token/"), own, &["another endpoint"]),
        (with("", &format!("{ON}\n{ENDPOINT}\nphantom_token_client_id me;\nphantom_token_client_secret ${{AS_SECRET}};")), "AS_SECRET", &["in a template", "write the secret"]),
        (with("", &format!("{ON}\n{ENDPOINT}\nphantom_token_client_id me;\nphantom_token_client_secret <secret>;")), "<secret>", &["in a template"]),
        (with("", &format!("{ON}\n{ENDPOINT}\nphantom_token_client_id me;\nphantom_token_client_secret $AS_SECRET;")), "$AS_SECRET", &["in a template"]),
        (on("phantom_token_connect_timeout 7s;"), "_connect_timeout", &["is longer than \"phantom_token_timeout\" of 6000ms", "write a shorter one"]),
        (on("phantom_token_timeout 6000;"), "_timeout", &["is 6000 seconds", "write the unit"]),
        (with("", &none).location("/b", "phantom_token_client_secret s3cret;\nphantom_token on;\nphantom_token_client_auth none;\nphantom_token_introspection_endpoint http://127.0.0.1:9/x;"), "s3cret", &["\"phantom_token_client_secret\" has no effect", "leave it out, or", "client_auth none"]),
        (with("", &format!("{ON}\n{ENDPOINT}\nphantom_token_client_id me;\nphantom_token_client_secret /etc/hostname;")), "hostname", &["is the path of a file", "write phantom_token_client_secret_file"]),
        (on("phantom_token_ssl_trusted_certificate ca.pem;").file("ca.pem", tls.certificate.as_str()), "ca.pem", &["\"phantom_token_ssl_trusted_certificate\" has no effect", "write an \"https://\" URL"]),
        (on("phantom_token_ssl_verify off;"), "_verify", &["\"phantom_token_ssl_verify\" has no effect"]),
        (on("phantom_token_resource_metadata https://api.example;"), "_metadata", &["/.well-known/", "write the URL of the metadata"]),
        // What lets in more than is meant.
        (on("phantom_token_bypass off;"), "_bypass", &["\"phantom_token_bypass off\" holds for every request", "leave it out"]),
        (on("phantom_token_cache_bypass no;"), "_cache_bypass", &["\"phantom_token_cache_bypass no\" holds for every request"]),
        (on("phantom_token_bypass /public;"), "_bypass", &["\"phantom_token_bypass /public\" holds for every request", "with map"]),
        (on("phantom_token_bypass OPTIONS;"), "_bypass", &["\"phantom_token_bypass OPTIONS\" holds for every request"]),
        (on("phantom_token_bypass $ssl_client_verify;"), "_bypass", &["it is never empty"]),
        (on("phantom_token_bypass $remote_addr;"), "_bypass", &["it is never empty"]),
        // What is there for nothing.
        (on("").http("phantom_token_cache_zone zone=other:1m;"), "zone=other", &["\"phantom_token_cache_zone\" has no effect", "write \"phantom_token_cache other\" there"]),
        (uncached("phantom_token_cache_stale 1m;"), "_stale", &["\"phantom_token_cache_stale\" has no effect", "\"phantom_token_cache off\""]),
        (uncached("phantom_token_cache_valid 1m;"), "_valid", &["\"phantom_token_cache_valid\" has no effect"]),
        (uncached("phantom_token_cache_refresh_ahead 9s;"), "_ahead", &["\"phantom_token_cache_refresh_ahead\" has no effect"]),
        (uncached("").location("/purge", "phantom_token_purge;\nclient_body_buffer_size 128k;"), "_purge", &["has nothing to forget", "write \"phantom_token on\""]),
        (with("", "phantom_token_ready;"), "_ready", &["has no server to look at", "write \"phantom_token on\""]),
        (with(BLOCK, ""), "phantom_token_provider a {", &["\"phantom_token_provider a\" has no effect: write \"phantom_token_use a\""]),
        (with(BLOCK, "phantom_token_use a;"), "_use a", &["\"phantom_token_use\" has no effect", "write \"phantom_token on\""]),
        (with("", ENDPOINT), own, &["\"phantom_token_introspection_endpoint\" has no effect: \"phantom_token on\" stands nowhere"]),
        (with("", "phantom_token_status;\nproxy_pass http://127.0.0.1:9;"), "_status", &["has no effect: another directive answers", "one of its own"]),
        (with("", "phantom_token_status;\nphantom_token_publish_jwks;\nphantom_token_mint_key mint.key;").file("mint.key", PemKey::p256().private), "_status", &["another directive answers"]),
        (with("", "phantom_token_ready;\nproxy_pass http://127.0.0.1:9;"), "_ready", &["another directive answers"]),
        (with("", "phantom_token_purge;\nclient_body_buffer_size 128k;\nproxy_pass http://127.0.0.1:9;"), "_purge", &["another directive answers"]),
        (with("", "phantom_token_publish_jwks;\nphantom_token_mint_key mint.key;\nproxy_pass http://127.0.0.1:9;").file("mint.key", PemKey::p256().private), "_publish", &["another directive answers"]),
        // What nobody sees.
        (on("phantom_token_token_type_hint access_token\u{a0};"), "_hint", &["invisible character U+00A0", "leave it out"]),
        (on("phantom_token_token_type_hint \u{feff}access_token;"), "_hint", &["invisible character U+FEFF"]),
        (on("phantom_token_token_type_hint access_token\u{200b};"), "_hint", &["invisible character U+200B"]),
        (on("phantom_token_token_type_hint «access_token»;"), "_hint", &["quotation mark «", "write \" in its place"]),
        (on("phantom_token_token_type_hint access_token»;"), "_hint", &["quotation mark »"]),
        (on("phantom_token_token_type_hint ‘access_token’;"), "_hint", &["quotation mark ‘"]),
    ] {
        let check = builder.check();
        // One doubt may bring another.
        let said = lines(&check, "[warn]");
        let place = format!("nginx.conf:{}", check.line_of(at));
        assert!(check.ok, "{}\n{}", check.messages, check.config);
        let such = said
            .iter()
            .filter(|line| line.ends_with(&place) && words.iter().all(|word| line.contains(word)));
        if such.count() != 1 {
            wrong.push(format!("{words:?} at {place}: {}", check.messages));
        }
        assert!(!check.messages.contains("s3cret"), "{}", check.messages);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_meant_is_passed_in_silence() {
    let mut wrong = Vec::new();
    let tls = Identity::self_signed(&["client"]);
    let ca = "phantom_token_ssl_trusted_certificate ca.pem;";
    let plain = format!("{ON}\n{ENDPOINT}\n{CLIENT}");
    let pair = "phantom_token_ssl_certificate c.pem;\nphantom_token_ssl_certificate_key c.key;";
    let tls_lines = format!("{ON}\n{HTTPS}\n{CLIENT}\n{ca}\n{pair}");
    let unverified = format!("{ON}\n{HTTPS}\n{CLIENT}\nphantom_token_ssl_verify off;");
    let twice = |lines: &str| with("", lines).location("/b", lines);
    let another_server = |lines: &str| format!("server {{\nlisten unix:another.sock;\n{lines}\n}}");
    for builder in [
        on("phantom_token_scope openid user index internal;"),
        on("phantom_token_scope openid location email;"),
        on("phantom_token_scope openid limit_rate 1;"),
        on("phantom_token_scope openid auth_basic x;"),
        on("phantom_token_scope\nopenid\nlocation\nemail;"),
        on("phantom_token_audience \"cn=api,dc=example,dc=com\";"),
        on("phantom_token_step_up 1 2;"),
        on("phantom_token_step_up 10 20 100;"),
        on("phantom_token_step_up urn:mace:incommon:iap:silver max_age=300;"),
        on("phantom_token_audience https://api.example;"),
        on("phantom_token_bypass \"\" 0;"),
        on("phantom_token_bypass 1 on yes true;"),
        on("phantom_token_timeout 1500ms;\nphantom_token_connect_timeout 1500ms;"),
        on("").http("phantom_token_claim_set $a https://example.com/roles;"),
        on("").http("phantom_token_claim_set $a urn:zitadel.x:roles;"),
        on("")
            .http("phantom_token_cache_zone zone=phantom_token:1m;\nphantom_token_cache_stale 1m;"),
        on("phantom_token_cache off;\nphantom_token_cache_valid 0;\nphantom_token_cache_stale 0;"),
        on("").location("/purge", "phantom_token_purge;\nclient_body_buffer_size 128k;"),
        on("").location("/b", "phantom_token_ready;"),
        // Shared by several, of which one goes by it.
        on(&format!("{HTTPS}\n{ca}")),
        with(ca, &format!("{ON}\n{HTTPS}\n{CLIENT}"))
            .location("/b", &format!("{ON}\n{ENDPOINT}\n{CLIENT}")),
        // The same server, written in full by each: in two locations, a server and its location, two servers.
        twice(&plain),
        twice(&plain.replace("client_secret s3cret", "client_secret_file a.secret")),
        twice(&tls_lines),
        twice(&unverified),
        with("", &tls_lines).server(&tls_lines),
        with("", &unverified).server(&unverified),
        with("", &tls_lines).http(&another_server(&tls_lines)),
        with("", &plain).http(&another_server(&plain)),
        // A server's secret is not sent to another that takes none.
        with(&format!("{ENDPOINT}\n{CLIENT}"), ON).location(
            "/b",
            &format!(
                "{ON}\n{HTTPS}\nphantom_token_client_auth none;\nphantom_token_ssl_verify off;"
            ),
        ),
        // It was switched off.
        with("", &format!("phantom_token off;\n{ENDPOINT}\n{CLIENT}")),
        with(BLOCK, "phantom_token_ready a;"),
        with(&format!("{STORE}\n{ENDPOINT}\n{CLIENT}"), ON)
            .file("fleet.key", [7; 32])
            .file("x", ""),
    ] {
        let check = builder
            .file("ca.pem", tls.certificate.as_str())
            .file("c.pem", tls.certificate.as_str())
            .file("c.key", tls.key.as_str())
            .file("a.secret", "s3cret\n")
            .check();
        let said = lines(&check, "[warn]");
        let is_risk =
            |line: &str| line.contains("readable by all") || line.contains("whoever answers for");
        let said: Vec<_> = said.iter().filter(|line| !is_risk(line)).collect();
        if !check.ok || !said.is_empty() {
            wrong.push(format!("{}\n{}", check.messages, check.config));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_silent(&on(""));
}

/// Where no `;` can be missing, none is asked for.
#[test]
fn a_name_of_a_directive_in_a_values_place_is_a_wrong_value() {
    for (line, asks) in [
        ("phantom_token_cache_valid expires;", false),
        ("phantom_token_introspection_endpoint root;", false),
        ("phantom_token_introspection_endpoint http://a/ root;", true),
    ] {
        let check = with("", line).check();
        let said = check.emerg();
        assert_eq!(said.contains("missing before it?"), asks, "{line}: {said}");
    }
}

#[test]
fn an_include_has_lines_of_its_own() {
    let included = |content: &str| {
        with("", &format!("{ON}\n{ENDPOINT}\ninclude more.conf;")).file("more.conf", content)
    };
    for (content, number, words) in [
        ("phantom_token_client_id me;\r\nphantom_token_timeout x;\r\n", 2, "invalid value \"x\""),
        (
            "# first\n\nphantom_token_realm \"\";\nphantom_token_client_auth none;\n",
            3,
            "write a realm",
        ),
        ("phantom_token_client_auth none;\nphantom_token_cache nowhere;\n", 2, "not declared"),
        (
            "phantom_token_client_auth none;\nphantom_token_thread_pool nowhere;\n",
            2,
            "unknown thread pool",
        ),
        (
            "phantom_token_client_auth none;\nphantom_token_scope a,b;\nphantom_token_cache on;\n",
            3,
            "names no zone",
        ),
    ] {
        let check = included(content).check();
        let [line] = lines(&check, "[emerg]")[..] else { panic!("{}", check.messages) };
        assert!(line.contains(words) && line.ends_with(&format!("more.conf:{number}")), "{line}");
        for warned in lines(&check, "[warn]") {
            assert!(warned.ends_with("more.conf:2"), "{warned}");
        }
    }
}
