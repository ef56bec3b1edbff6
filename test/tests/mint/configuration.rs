//! What `nginx -t` says of minting: every mistake is named with its directive, file and line.

use phantom_token_test::Gateway;
use phantom_token_test::keys::PemKey;
use phantom_token_test::nginx::{Builder, Check, assert_good};

/// Where the authorization server is, and who asks.
const ASKING: &str = "phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;\n\
    phantom_token_client_auth none;\nphantom_token_token_type_hint access_token;";
const ON: &str = "phantom_token on;\nphantom_token_forward mint;";
const KEY: &str = "phantom_token_mint_key mint.key;";
const ISSUER: &str = "phantom_token_mint_issuer https://gateway.example;";
const AUDIENCE: &str = "phantom_token_mint_audience https://api.example;";
const PUBLISH: &str = "phantom_token_publish_jwks;";

/// A location with these directives, beside one that shows the key of `mint.key`.
fn with(directives: &[&str]) -> Builder {
    let key = PemKey::p256();
    Gateway::builder()
        .http(ASKING)
        .file("mint.key", key.private)
        .file("mint.pub", key.public)
        .location("/", &format!("{}\nreturn 200;", directives.join("\n")))
        .location("= /jwks", &format!("{KEY}\n{PUBLISH}"))
}

/// The lines of one level. What is no more than a notice, NGINX writes to the error log alone.
fn lines<'a>(check: &'a Check, level: &str) -> Vec<&'a str> {
    let text = if level == "[notice]" { &check.log } else { &check.messages };
    text.lines().filter(|line| line.contains(level)).collect()
}

#[track_caller]
fn assert_refused(builder: &Builder, texts: &[&str]) {
    let check = builder.check();
    assert!(!check.ok, "accepted:\n{}", check.config);
    let line = *lines(&check, "[emerg]").first().expect("an [emerg]");
    for text in texts.iter().chain(&["nginx.conf:"]) {
        assert!(line.contains(text), "no {text:?} in: {line}");
    }
}

/// Asserts that a message of this level, which holds all these texts, is there, once.
#[track_caller]
fn assert_said(builder: &Builder, level: &str, texts: &[&str]) {
    let check = assert_good(builder);
    let such = lines(&check, level);
    let such: Vec<_> =
        such.iter().filter(|line| texts.iter().all(|text| line.contains(text))).collect();
    assert_eq!(such.len(), 1, "{texts:?}: {}{}", check.messages, check.log);
}

#[track_caller]
fn assert_silent(builder: &Builder) {
    let check = assert_good(builder);
    let said: Vec<_> =
        ["[warn]", "[notice]"].iter().flat_map(|level| lines(&check, level)).collect();
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_whole_one_is_taken_without_a_word() {
    assert_silent(&with(&[ON, KEY, ISSUER, AUDIENCE]));
}

#[test]
fn what_is_missing_is_named() {
    for missing in [KEY, ISSUER, AUDIENCE] {
        let name = missing.split(' ').next().expect("a name");
        let directives: Vec<_> =
            [ON, KEY, ISSUER, AUDIENCE].into_iter().filter(|one| *one != missing).collect();
        assert_refused(&with(&directives), &[name, "is missing", "phantom_token on", "write"]);
    }
    assert_refused(&with(&[ON]), &["phantom_token_mint_key", "is missing", "openssl genpkey"]);
}

#[test]
fn a_private_key_is_needed_to_sign() {
    let public = "phantom_token_mint_key mint.pub;";
    assert_refused(&with(&[ON, public, ISSUER, AUDIENCE]), &["public keys alone", "private"]);
    // Wherever it stands.
    let other = PemKey::p384();
    let both = with(&[ON, "phantom_token_mint_key other.pub;", KEY, ISSUER, AUDIENCE]);
    assert_good(&both.file("other.pub", other.public));
}

#[test]
fn one_key_is_named_once() {
    for second in [KEY, "phantom_token_mint_key mint.pub;", "phantom_token_mint_key ./mint.key;"] {
        let twice = with(&[ON, KEY, second, ISSUER, AUDIENCE]);
        assert_refused(&twice, &["phantom_token_mint_key", "a second time", "mint.key"]);
    }
    // On another level it takes the place of the outer ones.
    assert_good(&with(&[ON, KEY, ISSUER, AUDIENCE]).http(KEY));
}

#[test]
fn a_wrong_key_file_is_refused_and_the_words_say_what_to_write() {
    let pem = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let two = PemKey::p256().private + &PemKey::p256().private;
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/src/jose/tests/keys/refused");
    let file = |name: &str| std::fs::read(format!("{directory}/{name}")).expect("a file");
    for (content, words) in [
        (b"no key".to_vec(), "openssl genpkey"),
        (Vec::new(), "openssl genpkey"),
        (two.into_bytes(), "several PEM blocks"),
        (pem("PRIVATE KEY", "AAAA").into_bytes(), "damaged"),
        (pem("ENCRYPTED PRIVATE KEY", "AAAA").into_bytes(), "encrypted: write \"openssl pkcs8"),
        (pem("EC PRIVATE KEY", "AAAA").into_bytes(), "PKCS #8"),
        (pem("RSA PRIVATE KEY", "AAAA").into_bytes(), "PKCS #8"),
        (pem("CERTIFICATE", "AAAA").into_bytes(), "certificate"),
        (file("curve_p521.pem"), "curve that is not supported"),
        (file("kind_ed448.pem"), "kind that is not supported"),
        (file("rsa_too_small.pem"), "too small"),
        (file("point_none.pem"), "no public key in it"),
        (vec![b' '; 65 * 1024], "over 65536 bytes"),
    ] {
        let builder = with(&[ON, "phantom_token_mint_key wrong.key;", ISSUER, AUDIENCE]);
        let shown = String::from_utf8_lossy(&content[..content.len().min(80)]).into_owned();
        let builder = builder.file("wrong.key", content);
        assert_refused(&builder, &["phantom_token_mint_key", "wrong.key", words]);
        let said = builder.check().messages;
        let body = shown.lines().nth(1).unwrap_or("-none-");
        assert!(!said.contains(body), "a byte of the file is said: {said}");
    }
    let absent = with(&[ON, "phantom_token_mint_key absent.key;", ISSUER, AUDIENCE]);
    assert_refused(&absent, &["phantom_token_mint_key", "cannot be read", "absent.key"]);
}

#[test]
fn some_claims_cannot_be_named() {
    for (claims, words) in [
        ("sub iss", "\"iss\", \"aud\", \"exp\""),
        ("aud=client_id", "cannot be named"),
        ("exp", "cannot be named"),
        ("nbf", "cannot be named"),
        ("iat", "cannot be named"),
        ("jti", "cannot be named"),
        ("cnf", "cannot be named"),
        ("act", "cannot be named"),
        ("ISS", "cannot be named"),
        ("Exp=scope", "cannot be named"),
        ("SUB", "write \"sub\""),
        ("scope scope", "named twice"),
        ("scope Scope=client_id", "named twice"),
        ("a=b a=c", "named twice"),
        ("=a", "NAME=FROM"),
        ("a=", "NAME=FROM"),
        ("\"\"", "NAME=FROM"),
        ("gr\u{fc}n", "printable ASCII"),
        ("\"a b\"", "printable ASCII"),
        ("$claim", "variables"),
        ("active", "introspection answer"),
    ] {
        let directive = format!("phantom_token_mint_claims {claims};");
        let builder = with(&[ON, KEY, ISSUER, AUDIENCE, &directive]);
        assert_refused(&builder, &["phantom_token_mint_claims", words]);
    }
    for claims in ["sub", "scope client_id", "sub=username", "iss_=iss aud_=aud", "https://x/y=a.b"]
    {
        let directive = format!("phantom_token_mint_claims {claims};");
        assert_silent(&with(&[ON, KEY, ISSUER, AUDIENCE, &directive]));
    }
}

#[test]
fn values_are_checked() {
    for (wrong, words) in [
        ("phantom_token_mint_issuer \"\";", "empty"),
        ("phantom_token_mint_issuer https://$host;", "variables"),
        ("phantom_token_mint_issuer \"a\tb\";", "control characters"),
        ("phantom_token_mint_issuer one two;", "invalid number of arguments"),
        ("phantom_token_mint_audience \"\";", "empty"),
        ("phantom_token_mint_audience good ${host};", "variables"),
        ("phantom_token_mint_audience a b a;", "once"),
        ("phantom_token_mint_audience a phantom_token_mint_valid 5m;", "\";\" missing"),
        ("phantom_token_mint_valid 0;", "above 0"),
        ("phantom_token_mint_valid 1500ms;", "whole seconds"),
        ("phantom_token_mint_valid soon;", "write a time"),
        ("phantom_token_mint_key \"\";", "empty"),
        ("phantom_token_publish_jwks all;", "invalid number of arguments"),
    ] {
        let name = wrong.split(' ').next().expect("a name");
        assert_refused(&with(&[wrong]), &[name, words]);
    }
    for duplicate in
        [ISSUER, AUDIENCE, "phantom_token_mint_valid 5m;", "phantom_token_mint_claims sub;"]
    {
        assert_refused(&with(&[duplicate, duplicate]), &["duplicate"]);
    }
}

#[test]
fn the_gateway_does_not_call_itself_what_a_server_is_called() {
    let provider = "phantom_token_provider as {\nintrospection_endpoint http://127.0.0.1:9/;\n\
                    client_auth none;\nissuer https://as.example https://gateway.example;\n}";
    let mint = with(&[ON, KEY, ISSUER, AUDIENCE]);
    let words = ["phantom_token_mint_issuer", "issuer of \"phantom_token_provider as\""];
    assert_refused(&mint.http(provider), &words);
    // Also where the location asks that very server.
    let own = with(&["phantom_token_use as;", ON, KEY, ISSUER, AUDIENCE]);
    assert_refused(&own.http(provider), &words);
    let other = provider.replace("https://gateway.example", "https://gateway.example/");
    assert_good(&with(&[ON, KEY, ISSUER, AUDIENCE]).http(&other));
}

#[test]
fn what_mints_nothing_is_said() {
    for unused in
        [KEY, ISSUER, AUDIENCE, "phantom_token_mint_claims sub;", "phantom_token_mint_valid 5m;"]
    {
        let name = unused.split(' ').next().expect("a name");
        let words = [name, "has no effect", "phantom_token_forward mint", "nginx.conf:"];
        assert_said(&with(&[unused]), "[warn]", &words);
        // On, but not by minting.
        let kind = "phantom_token_kind declared;";
        assert_said(&with(&["phantom_token on;", kind, unused]), "[warn]", &words);
    }
    // One that is replaced where it counts.
    let replaced =
        with(&[ON, KEY, ISSUER, AUDIENCE]).http("phantom_token_mint_issuer https://outer;");
    assert_said(&replaced, "[warn]", &["phantom_token_mint_issuer", "has no effect"]);
    let inherited = with(&[ON]).http(&[KEY, ISSUER, AUDIENCE].join("\n"));
    let check = assert_good(&inherited);
    assert!(!check.messages.contains("has no effect"), "{}", check.messages);
}

#[test]
fn a_set_needs_a_key_and_a_key_that_signs_a_set() {
    let none = Gateway::builder().location("= /jwks", PUBLISH);
    assert_refused(
        &none,
        &["phantom_token_publish_jwks", "no key to publish", "phantom_token_mint_key"],
    );
    let elsewhere = Gateway::builder()
        .http(ASKING)
        .file("mint.key", PemKey::p256().private)
        .location("/", &[ON, KEY, ISSUER, AUDIENCE].join("\n"));
    assert_said(
        &elsewhere,
        "[warn]",
        &["phantom_token_mint_key", "no location publishes", "phantom_token_publish_jwks"],
    );
    // By its public half, too.
    let key = PemKey::p256();
    let public = Gateway::builder()
        .http(ASKING)
        .file("mint.key", key.private)
        .file("mint.pub", key.public)
        .location("/", &[ON, KEY, ISSUER, AUDIENCE].join("\n"))
        .location("= /jwks", "phantom_token_mint_key mint.pub;\nphantom_token_publish_jwks;");
    assert_silent(&public);
    assert_refused(&with(&[]).http(PUBLISH), &["not allowed here"]);
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    let key = PemKey::p256();
    let open = Gateway::builder()
        .http(ASKING)
        .file("open.pem", key.private)
        .file("open.pub", key.public)
        .location("/", &[ON, "phantom_token_mint_key open.pem;", ISSUER, AUDIENCE].join("\n"))
        .location("= /jwks", "phantom_token_mint_key open.pub;\nphantom_token_publish_jwks;");
    assert_said(&open, "[warn]", &["open.pem", "readable by all", "chmod o-r"]);
}

#[test]
fn what_rsa_costs_is_said() {
    let rsa = PemKey::rsa();
    let signs = with(&[ON, "phantom_token_mint_key rsa.key;", KEY, ISSUER, AUDIENCE])
        .file("rsa.key", &*rsa.private)
        .location("= /rsa", "phantom_token_mint_key rsa.key;\nphantom_token_publish_jwks;");
    let words = ["0.4 ms of a pool thread for each new token", "P-256 takes 0.015", "nginx.conf:"];
    assert_said(&signs, "[notice]", &words);
    let published = with(&[ON, KEY, "phantom_token_mint_key rsa.key;", ISSUER, AUDIENCE]);
    assert_silent(&published.file("rsa.key", &*rsa.private));
}

#[test]
fn whoever_trusts_the_servers_word_is_told_of_kinds() {
    let asking = ASKING.replace("phantom_token_token_type_hint access_token;", "");
    let key = PemKey::p256();
    let with = |directives: &[&str]| {
        Gateway::builder()
            .http(&asking)
            .file("mint.key", &*key.private)
            .location("/", &directives.join("\n"))
            .location("/second", &directives.join("\n"))
            .location("= /jwks", &format!("{KEY}\n{PUBLISH}"))
    };
    let mint = [ON, KEY, ISSUER, AUDIENCE];
    let none = ["phantom_token on;\nphantom_token_forward none;"];
    let words = |forward: &'static str| {
        [
            forward,
            "phantom_token_token_type_hint access_token",
            "phantom_token_kind declared",
            "Spring",
            "Glewlwyd",
        ]
    };
    for (directives, forward) in
        [(&mint[..], "phantom_token_forward mint"), (&none[..], "phantom_token_forward none")]
    {
        let check = assert_good(&with(directives));
        let such = lines(&check, "[notice]");
        assert_eq!(such.len(), 2, "one for each directive: {}", check.log);
        assert!(words(forward).iter().all(|word| such[0].contains(word)), "{}", such[0]);
        for enough in [
            "phantom_token_kind declared;",
            "phantom_token_kind any;",
            "phantom_token_token_type_hint access_token;",
            "phantom_token_introspection_param token_type_hint access_token;",
        ] {
            let check = assert_good(&with(&[directives, &[enough]].concat()));
            assert!(lines(&check, "[notice]").is_empty(), "{enough}: {}", check.log);
        }
    }
    let check = assert_good(&with(&["phantom_token on;"]));
    assert!(lines(&check, "[notice]").is_empty(), "{}", check.log);
    // Inherited by many, it is said once.
    let check = assert_good(&with(&["phantom_token on;"]).http("phantom_token_forward none;"));
    assert_eq!(lines(&check, "[notice]").len(), 1, "{}", check.log);
}
