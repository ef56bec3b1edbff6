//! The keys by which APIs verify what the gateway signs (`phantom_token_publish_jwks`).

use phantom_token_test::keys::PemKey;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{Gateway, Response};
use serde_json::{Value, json};

/// A gateway that shows these keys at `/jwks`; those of a public half end in `.pub`.
fn showing(keys: &[(&str, &str)], change: impl FnOnce(Builder) -> Builder) -> Gateway {
    let named: String =
        keys.iter().map(|(name, _)| format!("phantom_token_mint_key {name};\n")).collect();
    let builder =
        Gateway::builder().http(&named).location("= /jwks", "phantom_token_publish_jwks;");
    let builder = keys.iter().fold(builder, |builder, (name, key)| builder.file(name, *key));
    change(builder).start()
}

fn ask(gateway: &Gateway, method: &str, headers: &[(&str, &str)]) -> Response {
    let mut client = gateway.client();
    match method {
        "HEAD" => client.head("/jwks", headers),
        method => {
            client.send_request(method, "/jwks", headers, b"");
            client.read()
        }
    }
}

fn set(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn the_set_has_the_public_members_of_each_key_in_order_and_no_others() {
    let (p256, p384) = (PemKey::p256(), PemKey::p384());
    let (ed25519, rsa) = (PemKey::ed25519(), PemKey::rsa());
    let keys = [
        ("p256.key", &*p256.private),
        ("p384.pub", &*p384.public),
        ("ed25519.key", &*ed25519.private),
        ("rsa.key", &*rsa.private),
    ];
    let gateway = showing(&keys, |builder| builder);
    let set = set(&ask(&gateway, "GET", &[]));
    assert_eq!(set.as_object().expect("an object").keys().collect::<Vec<_>>(), ["keys"]);
    let expected: [(&str, &[&str]); 4] = [
        ("ES256", &["alg", "crv", "kid", "kty", "use", "x", "y"]),
        ("ES384", &["alg", "crv", "kid", "kty", "use", "x", "y"]),
        ("EdDSA", &["alg", "crv", "kid", "kty", "use", "x"]),
        ("RS256", &["alg", "e", "kid", "kty", "n", "use"]),
    ];
    let shown = set["keys"].as_array().expect("keys");
    assert_eq!(shown.len(), expected.len());
    for (key, (alg, members)) in shown.iter().zip(expected) {
        let mut names: Vec<_> = key.as_object().expect("a key").keys().collect();
        names.sort_unstable();
        // None of d, p, q, dp, dq, qi, oth, k.
        assert_eq!(names, members, "{alg}");
        assert_eq!((&key["alg"], &key["use"]), (&json!(alg), &json!("sig")));
        assert_eq!(key["kid"].as_str().map(str::len), Some(43));
    }
    // A public half is shown as the private key's.
    let public = showing(&[("p256.pub", &*p256.public)], |builder| builder);
    assert_eq!(self::set(&ask(&public, "GET", &[]))["keys"][0], shown[0]);
}

#[test]
fn it_may_be_kept_for_five_minutes_and_asked_for_by_its_tag() {
    let key = PemKey::p256();
    let gateway = showing(&[("mint.key", &*key.private)], |builder| builder);
    let whole = ask(&gateway, "GET", &[]);
    let tag = whole.header("etag").expect("a tag").to_owned();
    let length = whole.body.len().to_string();
    let fields = [
        ("cache-control", "public, max-age=300"),
        ("connection", "keep-alive"),
        ("content-length", &*length),
        ("content-type", "application/jwk-set+json"),
        ("etag", &*tag),
    ];
    let got = |response: &Response| response.fields();
    let expected: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!((whole.status, got(&whole)), (200, expected.clone()));
    let head = ask(&gateway, "HEAD", &[]);
    assert_eq!((head.status, got(&head)), (200, expected));
    for (given, status) in [
        (&*tag, 304),
        ("*", 304),
        (&format!("\"other\", W/{tag}"), 304),
        ("\"other\"", 200),
        (tag.trim_matches('"'), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let response = ask(&gateway, method, &[("If-None-Match", given)]);
            assert_eq!(response.status, status, "{method} {given}");
            assert_eq!(response.header("etag"), Some(&*tag));
            assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(response.body.is_empty(), method == "HEAD" || status == 304, "{given}");
        }
    }
    assert_eq!(ask(&gateway, "GET", &[("If-Match", "\"other\"")]).status, 412);
}

#[test]
fn the_tag_is_the_sets() {
    let (one, two) = (PemKey::p256(), PemKey::p256());
    let tag = |keys: &[(&str, &str)]| {
        let gateway = showing(keys, |builder| builder.workers(2));
        let tags = [(); 4].map(|()| ask(&gateway, "GET", &[]).header("etag").map(str::to_owned));
        assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
        gateway.reload();
        assert_eq!(ask(&gateway, "GET", &[]).header("etag"), tags[0].as_deref());
        tags[0].clone().expect("a tag")
    };
    let keys = [("one.key", &*one.private), ("two.key", &*two.private)];
    let tags = [tag(&keys), tag(&keys[..1]), tag(&[("one.pub", &*one.public)])];
    assert_eq!(tags[1], tags[2], "the same document");
    assert_ne!(tags[0], tags[1]);
}

#[test]
fn other_methods_are_refused_and_bodies_dropped() {
    let key = PemKey::p256();
    let gateway = showing(&[("mint.key", &*key.private)], |builder| builder);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let response = ask(&gateway, method, &[]);
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("GET, HEAD"), "{method}");
    }
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send_request("GET", "/jwks", &[], b"a body");
        assert_eq!(client.read().status, 200);
    }
}

#[test]
fn a_level_shows_the_keys_that_count_there() {
    let [outer, server, inner] = [PemKey::p256(), PemKey::p256(), PemKey::p256()];
    let gateway = showing(&[("outer.key", &*outer.private)], |builder| {
        builder
            .file("server.key", server.private)
            .file("inner.key", inner.private)
            .server("phantom_token_mint_key server.key;")
            .location("= /inner", "phantom_token_mint_key inner.key;\nphantom_token_publish_jwks;")
            .location("= /if", "phantom_token_publish_jwks;\nif ($arg_x) {\nadd_header X yes;\n}")
            .location(
                "/prefix",
                "phantom_token_publish_jwks;\nlocation /prefix/deeper {\nreturn 204;\n}",
            )
    });
    let kid = |target: &str| {
        let response = gateway.get(target, &[]);
        assert_eq!(response.status, 200, "{target}");
        let set = set(&response);
        assert_eq!(set["keys"].as_array().map(Vec::len), Some(1), "{target}");
        set["keys"][0]["kid"].as_str().expect("a kid").to_owned()
    };
    assert_eq!(kid("/jwks"), kid("/if"));
    assert_eq!(kid("/jwks"), kid("/if?x=1"));
    assert_eq!(kid("/jwks"), kid("/prefix/anything"));
    assert_ne!(kid("/jwks"), kid("/inner"));
    assert_eq!(gateway.get("/prefix/deeper", &[]).status, 204);
}

/// A client's, for a server that wants its key so.
#[test]
fn a_public_key_alone_does_and_is_no_key_of_another_location() {
    let (ours, client) = (PemKey::p256(), PemKey::p256());
    let gateway = showing(&[("mint.key", &*ours.private)], |builder| {
        builder.file("client.pub", &*client.public).location(
            "= /client",
            "phantom_token_mint_key client.pub;\nphantom_token_publish_jwks;",
        )
    });
    let [own, other] = ["/jwks", "/client"].map(|target| set(&gateway.get(target, &[])));
    for set in [&own, &other] {
        assert_eq!(set["keys"].as_array().map(Vec::len), Some(1), "{set}");
        assert_eq!(set["keys"][0].get("d"), None);
    }
    assert_ne!(own["keys"][0]["kid"], other["keys"][0]["kid"]);
}

#[test]
fn it_needs_nothing_else_of_the_module() {
    let key = PemKey::p256();
    // No authorization server, no location that is on.
    let gateway = showing(&[("mint.key", &*key.private)], |builder| builder.http("gzip on;"));
    let response = ask(&gateway, "GET", &[("Accept-Encoding", "gzip")]);
    assert_eq!((response.status, response.header("content-encoding")), (200, None));
}
