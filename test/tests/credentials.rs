//! How the module authenticates at the authorization server, and what it does when it is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phantom_token_test::authorization_server::Seen;
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::tls::Authority;
use phantom_token_test::{Api, AuthorizationServer, Gateway, Reply, Rig, Script};

/// Form-urlencoding changes both (RFC 6749 §2.3.1).
const ID: &str = "https://gateway";
const SECRET: &str = "p+ss %&ä";
const ENCODED_SECRET: &str = "p%2Bss+%25%26%C3%A4";

fn rig(
    server: phantom_token_test::authorization_server::Builder,
    change: impl FnOnce(Builder) -> Builder,
) -> Rig {
    Rig::with(server.start().unwrap(), |builder, _| change(builder.client(ID, SECRET)))
}

/// The Authorization header and the body of the last introspection.
fn last(rig: &Rig) -> (Option<String>, String) {
    let seen = rig.server.seen().pop().expect("an introspection");
    let values: Vec<_> = seen.head.headers.all("authorization").collect();
    assert!(values.len() <= 1);
    (values.first().map(|&value| value.to_owned()), String::from_utf8(seen.body).unwrap())
}

#[test]
fn basic_encodes_both_parts() {
    let rig = rig(AuthorizationServer::builder().introspection_client(ID, SECRET), |b| b);
    let token = rig.server.issue();
    rig.assert_passes(&token);
    let encoded = "https%3A%2F%2Fgateway:p%2Bss+%25%26%C3%A4";
    let basic = format!("Basic {}", STANDARD.encode(encoded));
    assert_eq!(last(&rig), (Some(basic), format!("token={}", token.token)));
}

#[test]
fn basic_raw_encodes_nothing() {
    // With a colon in it, an id cannot be told from the secret.
    let server = AuthorizationServer::builder().introspection_client("gateway", SECRET).raw_basic();
    let rig = rig(server, |builder| {
        builder.client("gateway", SECRET).directives("phantom_token_client_auth basic_raw;")
    });
    rig.assert_passes(&rig.server.issue());
    let basic = format!("Basic {}", STANDARD.encode(format!("gateway:{SECRET}")));
    assert_eq!(last(&rig).0, Some(basic));

    let api = Api::start();
    let builder = Gateway::builder().protect(&rig.server, &api).client(ID, SECRET);
    let check = builder.directives("phantom_token_client_auth basic_raw;").check();
    assert!(!check.ok && check.messages.contains("phantom_token_client_id"), "{}", check.messages);
    assert!(!check.messages.contains(SECRET));
}

#[test]
fn post_sends_both_in_the_body() {
    let server = AuthorizationServer::builder().introspection_client(ID, SECRET);
    let rig = rig(server, |builder| builder.directives("phantom_token_client_auth post;"));
    let token = rig.server.issue();
    rig.assert_passes(&token);
    let body = format!(
        "token={}&client_id=https%3A%2F%2Fgateway&client_secret=p%2Bss+%25%26%C3%A4",
        token.token
    );
    assert_eq!(last(&rig), (None, body));
}

#[test]
fn none_sends_nothing_or_what_is_configured() {
    let none = "phantom_token_client_auth none;";
    let server = || AuthorizationServer::builder().no_client_auth();
    let rig_ = rig(server(), |builder| builder.without_client().directives(none));
    let token = rig_.server.issue();
    rig_.assert_passes(&token);
    assert_eq!(last(&rig_), (None, format!("token={}", token.token)));

    let header = "phantom_token_introspection_header Authorization \"Bearer of-the-gateway\";";
    let rig_ =
        rig(server(), |builder| builder.without_client().directives(none).directives(header));
    rig_.assert_passes(&rig_.server.issue());
    assert_eq!(last(&rig_).0.as_deref(), Some("Bearer of-the-gateway"));
}

#[test]
fn letters_beyond_ascii_are_sent_as_they_are() {
    let (id, secret) = ("g\u{e4}tew\u{e4}y", "schl\u{fc}ssel \u{20ac}");
    for (auth, raw) in [("basic", false), ("basic_raw", true), ("post", false)] {
        let server = AuthorizationServer::builder().introspection_client(id, secret);
        let server = if raw { server.raw_basic() } else { server };
        let rig = rig(server, |builder| {
            builder.client(id, secret).directives(&format!("phantom_token_client_auth {auth};"))
        });
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn a_secret_file_loses_one_line_end() {
    for (content, secret) in [
        ("s3cret s", "s3cret s"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s3cret \n", " s3cret "),
    ] {
        let server = AuthorizationServer::builder().introspection_client("gateway", secret);
        let rig = Rig::with(server.start().unwrap(), |builder, _| {
            builder
                .without_client()
                .http("phantom_token_client_id gateway;")
                .http("phantom_token_client_secret_file secret;")
                .file("secret", content)
        });
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn a_secret_file_that_all_may_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "s3cret\n").unwrap();
    let check = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (server, api) = (AuthorizationServer::start(), Api::start());
        let check = Gateway::builder()
            .protect(&server, &api)
            .without_client()
            .http("phantom_token_client_id gateway;")
            .http(&format!("phantom_token_client_secret_file {};", path.display()))
            .check();
        assert!(check.ok && !check.messages.contains("s3cret"), "{}", check.messages);
        check.messages.contains("[warn]") && check.messages.contains("readable by all")
    };
    assert!(check(0o644));
    assert!(!check(0o640));
    assert!(!check(0o400));
}

#[test]
fn secret_files_that_cannot_be_right_are_refused() {
    for (content, words) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"\r\n", "empty"),
        (b"s3c\0ret", "control character"),
        (&[b'x'; 4097], "4096 bytes"),
    ] {
        let (server, api) = (AuthorizationServer::start(), Api::start());
        let check = Gateway::builder()
            .protect(&server, &api)
            .without_client()
            .http("phantom_token_client_id gateway;")
            .http("phantom_token_client_secret_file secret;")
            .file("secret", content)
            .check();
        let line = check.messages.lines().find(|line| line.contains("[emerg]"));
        let line = line.expect("an [emerg]");
        assert!(
            line.contains("phantom_token_client_secret_file") && line.contains(words),
            "{line}"
        );
        assert!(!line.contains("s3c"), "{line}");
    }
}

#[test]
fn another_client_is_not_held_back_by_refused_credentials() {
    let rig = Rig::start(|builder| {
        builder.location(
            "/wrong",
            "phantom_token on;\nphantom_token_client_id nobody;\ntry_files /none =204;",
        )
    });
    assert_eq!(rig.gateway.get_as("/wrong", "a").status, 500);
    assert_eq!(rig.gateway.get_as("/wrong", "b").status, 500);
    rig.assert_passes(&rig.server.issue());
    assert_eq!(rig.gateway.get_as("/wrong", "c").status, 500);
}

/// A server that does not decode, as most do not.
fn raw_server() -> phantom_token_test::authorization_server::Builder {
    AuthorizationServer::builder().introspection_client("gateway", SECRET).raw_basic()
}

/// What Basic credentials look like, encoded and raw.
fn forms() -> [String; 2] {
    [format!("gateway:{ENCODED_SECRET}"), format!("gateway:{SECRET}")]
        .map(|pair| format!("Basic {}", STANDARD.encode(pair)))
}

/// How many introspections had the credentials in each form, encoded and raw.
fn counts(seen: &[Seen]) -> [usize; 2] {
    forms().map(|form| {
        seen.iter().filter(|seen| seen.head.headers.get("authorization") == Some(&form)).count()
    })
}

#[test]
fn a_server_that_does_not_decode_is_asked_once_more_and_remembered_by_all() {
    let rig = Rig::with(raw_server().start().unwrap(), |builder, _| {
        builder.client("gateway", SECRET).workers(4)
    });
    rig.assert_passes(&rig.server.issue());
    assert_eq!(counts(&rig.server.seen()), [1, 1]);
    for _ in 0..12 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(counts(&rig.server.seen()), [1, 13]);
    rig.gateway.wait_for_log(&["[notice]", "phantom_token_client_auth basic_raw"]);
    let said = rig.gateway.module_lines();
    assert_eq!(said.iter().filter(|line| line.contains("basic_raw")).count(), 1, "{said:#?}");
    // What a firewall in front refuses says nothing of the form.
    for n in 0..10 {
        let odd = format!("odd-{n}");
        rig.server.script(&odd, Script::status(401));
        Reply::failure().assert(&rig.get_as(&odd));
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(counts(&rig.server.seen()), [1, 33]);
}

#[test]
fn our_own_call_finds_the_form_where_the_first_token_is_unknown() {
    let rig =
        Rig::with(raw_server().start().unwrap(), |builder, _| builder.client("gateway", SECRET));
    // Inactive may be what a server says to credentials that it does not know.
    assert_eq!(rig.get_as("unknown").status, 401);
    rig.gateway.wait_for_log(&["[notice]", "phantom_token_client_auth basic_raw"]);
    assert_eq!(counts(&rig.server.own_seen()), [1, 1]);
    for _ in 0..3 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(counts(&rig.server.seen()), [1, 4]);
}

#[test]
fn a_server_that_decodes_never_sees_the_raw_form() {
    let server = AuthorizationServer::builder().introspection_client("gateway", SECRET);
    let rig = Rig::with(server.start().unwrap(), |builder, _| {
        builder.client("gateway", SECRET).workers(2)
    });
    rig.assert_passes(&rig.server.issue());
    for n in 0..10 {
        let odd = format!("odd-{n}");
        rig.server.script(&odd, Script::status(401));
        Reply::failure().assert(&rig.get_as(&odd));
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(counts(&rig.server.seen()), [21, 0]);
    assert_eq!(counts(&rig.server.own_seen())[1], 0);
}

#[test]
fn a_wrong_secret_is_tried_raw_at_most_once_in_ten_seconds() {
    for id in ["gateway", "urn:gateway"] {
        let server = AuthorizationServer::builder().introspection_client(id, "another");
        let rig = Rig::with(server.start().unwrap(), |builder, _| {
            builder.client(id, SECRET).workers(2).count_calls()
        });
        for n in 0..8 {
            Reply::failure().assert(&rig.get_as(&format!("token-{n}")));
        }
        let raw = format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}")));
        let tried = || {
            let seen = rig.server.seen();
            let tried = seen.iter().filter(|s| s.head.headers.get("authorization") == Some(&raw));
            tried.count()
        };
        // An id with a colon cannot be sent as it is.
        let once = usize::from(id == "gateway");
        assert_eq!(tried(), once, "{id}");
        rig.gateway.pass_time(Duration::from_secs(11));
        for n in 0..8 {
            Reply::failure().assert(&rig.get_as(&format!("later-{n}")));
        }
        assert_eq!(tried(), 2 * once, "{id}");
        let line = rig.gateway.wait_for_log(&["[error]", "refused this client's credentials"]);
        assert!(
            line.contains("phantom_token_client_secret") && line.contains("firewall"),
            "{line}"
        );
    }
}

#[test]
fn a_server_that_learns_to_decode_is_noticed_at_once() {
    let rig =
        Rig::with(raw_server().start().unwrap(), |builder, _| builder.client("gateway", SECRET));
    rig.assert_passes(&rig.server.issue());
    let (port, gateway, api) = (rig.server.port(), rig.gateway, rig.api);
    drop(rig.server);
    let server = AuthorizationServer::builder().introspection_client("gateway", SECRET);
    let server = server.port(port).start().expect("the same port");
    let rig = Rig { gateway, server, api };
    // What was answered of late keeps the gate open; but nobody waits for its minute.
    wait_until("the other form", || rig.get_as(&rig.server.issue().token).status == 200);
    for _ in 0..3 {
        rig.assert_passes(&rig.server.issue());
    }
    assert_eq!(counts(&rig.server.seen())[0], 4);
}

#[test]
fn a_refusal_names_what_may_be_wrong() {
    // A server that cannot decode what was not encoded.
    let rig = Rig::start(|builder| {
        builder.client("gateway", "100%").directives("phantom_token_client_auth basic_raw;")
    });
    rig.server.script_all(Script::status(400));
    Reply::failure().assert(&rig.get_as("opaque"));
    let line = rig.gateway.wait_for_log(&["[error]", "with status 400"]);
    assert!(line.contains("\"phantom_token_client_auth basic\""), "{line}");

    let rig = Rig::start(|builder| builder.client("gateway", "plain"));
    rig.server.script_all(Script::status(400));
    Reply::failure().assert(&rig.get_as("opaque"));
    let line = rig.gateway.wait_for_log(&["[error]", "with status 400"]);
    assert!(!line.contains("client_auth"), "{line}");

    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::generate().client("gateway").write(directory.path(), "client");
    let files = format!(
        "phantom_token_ssl_certificate {};\nphantom_token_ssl_certificate_key {};",
        cert.display(),
        key.display()
    );
    let rig = Rig::start(|builder| builder.directives(&files));
    rig.server.script_all(Script::status(401));
    Reply::failure().assert(&rig.get_as("opaque"));
    let line = rig.gateway.wait_for_log(&["[error]", "refused this client's credentials"]);
    assert!(line.contains("issuing CA"), "{line}");
}
