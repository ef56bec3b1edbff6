//! What `nginx -t` takes, and what it says to write.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use phantom_token_test::Gateway;
use phantom_token_test::nginx::{Builder, Check};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

const KEY: &str = "client_key client.key;";
const SIGNS: &str = "client_auth private_key_jwt aud=https://as.example;";
const BY_SECRET: &str = "client_auth client_secret_jwt aud=https://as.example;";
const SECRET: &str = "client_secret 0123456789abcdef0123456789abcdef;";

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    KeyPair::generate_for(algorithm).expect("a key pair").serialize_pem()
}

/// A key as `openssl genpkey` makes it, or another of its commands.
fn openssl(arguments: &str) -> Vec<u8> {
    let made = Command::new("openssl").args(arguments.split(' ')).output().expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// A gateway that uses the provider `a` with these members, and a key in a file.
fn with(key: impl Into<Vec<u8>>, members: &str) -> Builder {
    let block = format!(
        "phantom_token_provider a {{\nintrospection_endpoint http://127.0.0.1:9/;\nclient_id me;\n{members}\n}}"
    );
    let inside = "phantom_token on;\nphantom_token_use a;\nreturn 200;";
    Gateway::builder().http(&block).location("/", inside).file("client.key", key)
}

fn usual(members: &str) -> Builder {
    with(key(&PKCS_ECDSA_P256_SHA256), members)
}

#[track_caller]
fn assert_good(builder: &Builder) -> Check {
    let check = builder.check();
    assert!(check.ok, "{}\n{}", check.messages, check.config);
    assert!(!check.messages.contains("[warn]"), "{}", check.messages);
    check
}

/// It is refused with these words, and with the place where `at` stands.
#[track_caller]
fn assert_refused(builder: &Builder, words: &[&str], at: &str) {
    let check = builder.check();
    let line = check.emerg();
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    let place = format!("nginx.conf:{}", check.line_of(at));
    // At the end, or before what to write.
    assert!(
        line.ends_with(&place) || line.contains(&format!("{place}: ")),
        "not at {at:?}: {line}"
    );
    assert!(!line.contains("phantom_token_client"), "not in the block's words: {line}");
    assert!(!line.contains("0123456789abcdef"), "{line}");
}

#[test]
fn what_can_be_signed_with() {
    let rsa = openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    for (key, algs) in [
        (key(&PKCS_ECDSA_P256_SHA256).into_bytes(), &["ES256"][..]),
        (key(&PKCS_ECDSA_P384_SHA384).into_bytes(), &["ES384"]),
        (key(&PKCS_ED25519).into_bytes(), &["EdDSA", "Ed25519"]),
        (openssl("genpkey -algorithm ed25519"), &["EdDSA"]),
        (openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"), &["ES256"]),
        (rsa, &["RS256", "PS256", "RS512"]),
    ] {
        assert_good(&with(key.clone(), &format!("{SIGNS}\n{KEY}")));
        for alg in algs {
            let named = format!("{SIGNS}\nclient_key client.key alg={alg} kid=k1;");
            assert_good(&with(key.clone(), &named));
        }
    }
    let all = "client_auth private_key_jwt aud=https://as.example valid=2m typ=client-authentication+jwt;";
    assert_good(&usual(&format!("{all}\n{KEY}")));
    assert_good(&usual(&format!("{BY_SECRET}\n{SECRET}")));
    assert_good(
        &usual(&format!("{BY_SECRET}\nclient_secret_file s.secret;")).file("s.secret", [b'x'; 32]),
    );
}

#[test]
fn the_audience_is_the_one_issuer_or_written() {
    let by_issuer =
        |issuers: &str| usual(&format!("client_auth private_key_jwt;\n{KEY}\n{issuers}"));
    assert_good(&by_issuer("issuer https://as.example;"));
    let words = ["\"client_auth\" has no audience", "write aud=STRING", "or one issuer"];
    let begin = "phantom_token_provider a {";
    assert_refused(&by_issuer(""), &words, begin);
    assert_refused(&by_issuer("issuer https://as.example https://other.example;"), &words, begin);
    let both = format!("{SIGNS}\n{KEY}\nissuer https://as.example https://other.example;");
    assert_good(&usual(&both));
}

#[test]
fn a_wrong_parameter_is_named() {
    for (member, words) in [
        ("client_auth private_key_jwt aud=;", &["\"client_auth\"", "has an empty value"][..]),
        ("client_auth private_key_jwt aud=$host;", &["\"$host\"", "takes no variables"]),
        ("client_auth private_key_jwt aud=a aud=b;", &["\"aud=b\"", "write it once"]),
        ("client_auth private_key_jwt aud=a\x01;", &["leave the control character out"]),
        ("client_auth private_key_jwt valid=0;", &["\"0\"", "write a time above 0"]),
        ("client_auth private_key_jwt valid=1500ms;", &["\"1500ms\"", "whole seconds"]),
        ("client_auth private_key_jwt valid=soon;", &["\"soon\"", "write a time of whole seconds"]),
        ("client_auth private_key_jwt valid=;", &["write a time"]),
        ("client_auth private_key_jwt typ=;", &["has an empty value"]),
        ("client_auth private_key_jwt \"typ=a b\";", &["\"a b\"", "client-authentication+jwt"]),
        ("client_auth private_key_jwt x=y;", &["\"x=y\"", "write aud=, valid= or typ="]),
        ("client_auth private_key_jwt https://as;", &["write aud=, valid= or typ="]),
        ("client_auth private_key_jwt aud=a valid=1s typ=b x;", &["invalid number of arguments"]),
        ("client_auth basic aud=a;", &["parameters go with the ways that sign"]),
        ("client_auth none valid=60s;", &["parameters go with the ways that sign"]),
        ("client_auth jwt;", &["private_key_jwt or client_secret_jwt"]),
        ("client_key nowhere.key;", &["\"client_key\"", "cannot be read", "nowhere.key"]),
        ("client_key client.key alg=HS256;", &["\"HS256\"", "there are RS256"]),
        ("client_key client.key alg=none;", &["\"none\"", "there are RS256"]),
        ("client_key client.key kid=;", &["\"client_key\"", "has an empty value"]),
        ("client_key client.key kid=$x;", &["takes no variables"]),
        ("client_key client.key kid=a kid=b;", &["\"kid=b\"", "write it once"]),
        ("client_key client.key k1;", &["\"k1\"", "write alg= or kid="]),
        ("client_key;", &["invalid number of arguments"]),
    ] {
        assert_refused(&usual(member), words, member);
    }
    let twice = format!("{KEY} # once\n{KEY} # again");
    assert_refused(&usual(&twice), &["\"client_key\" directive is duplicate"], "# again");
    let twice = format!("{SIGNS} # once\n{SIGNS} # again");
    assert_refused(&usual(&twice), &["\"client_auth\" directive is duplicate"], "# again");
}

#[test]
fn a_key_that_cannot_sign_is_named_with_what_to_write() {
    let p256 = key(&PKCS_ECDSA_P256_SHA256);
    let public = KeyPair::generate().expect("a key pair").public_key_pem();
    for (content, words) in [
        (Vec::new(), &["no PEM block", "openssl genpkey"][..]),
        (b"no key".to_vec(), &["no PEM block"]),
        (format!("{p256}{p256}").into_bytes(), &["several PEM blocks"]),
        (public.into_bytes(), &["public key", "a private one is needed"]),
        (
            openssl(
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc -pass pass:x",
            ),
            &["encrypted", "openssl pkcs8"],
        ),
        (openssl("ecparam -name prime256v1 -genkey -noout"), &["PKCS #8", "openssl pkcs8"]),
        (openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521"), &["curve"]),
        (openssl("genpkey -algorithm ed448"), &["kind"]),
        (openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024"), &["RSA", "too small"]),
        (vec![b'x'; 70_000], &["over 65536 bytes"]),
    ] {
        let builder = with(content, &format!("{SIGNS}\n{KEY}"));
        assert_refused(&builder, &[&["\"client_key\"", "client.key"], words].concat(), KEY);
    }
    for (key, alg) in [
        (&PKCS_ECDSA_P256_SHA256, "ES384"),
        (&PKCS_ECDSA_P256_SHA256, "RS256"),
        (&PKCS_ECDSA_P384_SHA384, "ES256"),
        (&PKCS_ED25519, "ES256"),
    ] {
        let member = format!("client_key client.key alg={alg};");
        let builder = with(self::key(key), &format!("{SIGNS}\n{member}"));
        assert_refused(&builder, &["\"client_key\"", "does not fit the key"], &member);
    }
}

#[test]
fn a_private_key_that_all_may_read_is_warned_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("client.pem");
    fs::write(&path, key(&PKCS_ED25519)).expect("writes the key");
    let check = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("sets the mode");
        let members = format!("{SIGNS}\nclient_key {};", path.display());
        let check = usual(&members).check();
        assert!(check.ok, "{}", check.messages);
        check.messages.matches("is readable by all: chmod o-r it").count()
    };
    assert_eq!([0o644, 0o640, 0o400].map(check), [1, 0, 0]);
}

#[test]
fn what_does_not_go_together_is_named() {
    let begin = "phantom_token_provider a {";
    for (members, words, at) in [
        (
            SIGNS.to_owned(),
            &["\"client_key\" is missing", "write the file of the private key"][..],
            begin,
        ),
        (BY_SECRET.to_owned(), &["\"client_secret\" is missing"], begin),
        (
            format!("{SIGNS}\n{KEY}\n{SECRET}"),
            &["\"client_secret\" is not sent", "keep one of client_secret and client_key"],
            SECRET,
        ),
        (
            format!("{BY_SECRET}\n{SECRET}\n{KEY}"),
            &["\"client_key\" signs for client_auth private_key_jwt alone"],
            KEY,
        ),
        (
            format!("{SECRET}\n{KEY}"),
            &["\"client_key\" signs for client_auth private_key_jwt alone"],
            KEY,
        ),
        (
            format!("client_auth none;\n{KEY}"),
            &["\"client_key\" signs for client_auth private_key_jwt alone"],
            KEY,
        ),
        (
            format!("{BY_SECRET}\nclient_secret 0123456789abcdef0123456789abcde;"),
            &["\"client_secret\"", "too short", "32 bytes"],
            "client_secret 0123456789abcdef0123456789abcde;",
        ),
    ] {
        assert_refused(&usual(&members), words, at);
    }
    let file = "client_secret_file s.secret;";
    let both = usual(&format!("{SIGNS}\n{KEY}\n{file}")).file("s.secret", [b'x'; 40]);
    assert_refused(&both, &["keep one of client_secret and client_key"], file);
    let short = usual(&format!("{BY_SECRET}\n{file}")).file("s.secret", [b'x'; 31]);
    assert_refused(&short, &["too short"], file);

    let anonymous = format!(
        "phantom_token_provider a {{\nintrospection_endpoint http://127.0.0.1:9/;\n{SIGNS}\n{KEY}\n}}"
    );
    let check = Gateway::builder().http(&anonymous).file("client.key", key(&PKCS_ED25519)).check();
    assert!(check.messages.contains("\"client_id\" is missing in \"phantom_token_provider a\""));
}

#[test]
fn what_goes_with_an_assertion_is_no_parameter() {
    for name in ["client_assertion", "client_assertion_type", "client_id"] {
        let param = format!("introspection_param {name} x;");
        let words = [&*format!("\"introspection_param {name}\""), "is set by the module already"];
        assert_refused(&usual(&format!("{SIGNS}\n{KEY}\n{param}")), &words, &param);
        assert_refused(&usual(&format!("{BY_SECRET}\n{SECRET}\n{param}")), &words, &param);
        assert_good(&usual(&format!("client_auth none;\n{param}")));
    }
    let header = "introspection_header Authorization x;";
    let words = ["\"introspection_header\" sets Authorization"];
    assert_refused(&usual(&format!("{SIGNS}\n{KEY}\n{header}")), &words, header);
}

#[test]
fn only_a_block_has_it() {
    for (flat, words) in [
        (
            "phantom_token_client_auth private_key_jwt;",
            &["only a block has it", "write client_auth private_key_jwt in phantom_token_provider"]
                [..],
        ),
        (
            "phantom_token_client_auth client_secret_jwt aud=x;",
            &[
                "only a block has it",
                "write client_auth client_secret_jwt in phantom_token_provider",
            ],
        ),
        ("phantom_token_client_auth basic x;", &["parameters go with the ways that sign"]),
        ("phantom_token_client_auth jwt;", &["write basic or basic_raw or post or none in"]),
        (
            "phantom_token_client_key client.key;",
            &["only a block has it", "write client_key in phantom_token_provider"],
        ),
    ] {
        for builder in [
            Gateway::builder().http(flat),
            Gateway::builder().server(flat),
            Gateway::builder().location("/", flat),
        ] {
            let check = builder.check();
            let line = check.messages.lines().find(|line| line.contains("[emerg]"));
            let line = line.expect("an [emerg]");
            for word in words {
                assert!(line.contains(word), "no {word:?} in: {line}");
            }
            assert!(line.ends_with(&format!("nginx.conf:{}", check.line_of(flat))), "{line}");
        }
    }
}
