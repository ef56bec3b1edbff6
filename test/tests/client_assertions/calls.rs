//! What is sent, and that no assertion is sent twice.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use phantom_token_test::authorization_server::{Assertion, Assertions, Seen};
use phantom_token_test::process::wait_until;
use phantom_token_test::{Reply, Rig, Script};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

use crate::{AUDIENCE, BY_KEY, ID, SECRET, block, by_key, p256, rig, server};

fn body(seen: &Seen) -> String {
    String::from_utf8(seen.body.clone()).expect("a form")
}

fn last(assertions: &Assertions) -> Assertion {
    assertions.arrived().pop().expect("an assertion")
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn an_assertion_goes_with_the_form_and_nothing_in_the_header() {
    let more = "token_type_hint access_token;\nintrospection_param audience api;";
    let (rig, assertions) = by_key(more, |builder| builder);
    let token = rig.server.issue();
    rig.assert_passes(&token);
    let seen = rig.server.seen().pop().expect("an introspection");
    let one = last(&assertions);
    assert_eq!(
        body(&seen),
        format!(
            "token={}&token_type_hint=access_token&client_id={ID}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&audience=api&client_assertion={}",
            token.token, one.jwt
        )
    );
    assert_eq!(seen.head.headers.all("authorization").count(), 0);

    assert_eq!(one.header, json!({"alg": "ES256"}));
    assert_eq!(names(&one.claims), ["aud", "exp", "iat", "iss", "jti", "sub"].into());
    for (claim, value) in [("iss", ID), ("sub", ID), ("aud", AUDIENCE)] {
        assert_eq!(one.claims[claim], value);
    }
    let [iat, exp] = ["iat", "exp"].map(|name| one.claims[name].as_u64().expect("seconds"));
    assert_eq!(exp - iat, 65);
    let now = UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    assert!((now - 65..=now - 5).contains(&iat), "{iat} at {now}");
    assert_eq!(one.jti().expect("a jti").len(), 22, "128 bits");
}

#[test]
fn parameters_say_what_it_says() {
    let key = p256();
    let assertions = Assertions::new(ID, "https://as.example/token ü").with_key(&key);
    let members = "client_auth private_key_jwt \"aud=https://as.example/token ü\" valid=3m typ=client-authentication+jwt;\nclient_key client.key alg=ES256 \"kid=key 1/ä\";";
    let rig = rig(server(&assertions), members, |builder| {
        builder.file("client.key", key.serialize_pem())
    });
    rig.assert_passes(&rig.server.issue());
    let one = last(&assertions);
    assert_eq!(
        one.header,
        json!({"alg": "ES256", "typ": "client-authentication+jwt", "kid": "key 1/ä"})
    );
    let [iat, exp] = ["iat", "exp"].map(|name| one.claims[name].as_u64().expect("seconds"));
    assert_eq!(exp - iat, 185);
}

#[test]
fn odd_names_arrive_as_they_are_written() {
    let (id, audience) = ("a\"\\b&c=ü +%41", "https://as.example/\"q\\\u{1f642}");
    let key = p256();
    let assertions = Assertions::new(id, audience).with_key(&key);
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let members = format!(
        "client_auth private_key_jwt \"aud={}\";\nclient_key client.key;",
        quoted(audience)
    );
    let server = server(&assertions);
    let named = block("as", &[&server], &members)
        .replace(&format!("client_id {ID};"), &format!("client_id \"{}\";", quoted(id)));
    let rig = Rig::with(server, |builder, _| {
        let builder = builder.without_client().file("client.key", key.serialize_pem());
        builder.http(&named).directives("phantom_token_use as;")
    });
    rig.assert_passes(&rig.server.issue());
    assert_eq!(last(&assertions).claims["sub"], id);
}

#[test]
fn each_kind_of_key_signs_and_so_does_a_secret() {
    for kind in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(kind).expect("a key pair");
        let assertions = Assertions::new(ID, AUDIENCE).with_key(&key);
        let rig = rig(server(&assertions), BY_KEY, |builder| {
            builder.file("client.key", key.serialize_pem())
        });
        rig.assert_passes(&rig.server.issue());
    }
    let assertions = Assertions::new(ID, AUDIENCE).with_secret(SECRET);
    let secret =
        format!("client_auth client_secret_jwt aud={AUDIENCE};\nclient_secret \"{SECRET}\";");
    let rig = rig(server(&assertions), &secret, |builder| builder.secret(SECRET));
    rig.assert_passes(&rig.server.issue());
    assert_eq!(last(&assertions).header, json!({"alg": "HS256"}));
    // A server that knows another one refuses it once, and is not tried with the secret itself.
    let _ = assertions.clone().with_secret("another secret of thirty-two bytes");
    let before = rig.server.introspections();
    Reply::failure().assert(&rig.get_as(&rig.server.issue().token));
    assert_eq!(rig.server.introspections(), before + 1);
    assert!(rig.server.seen().iter().all(|seen| !body(seen).contains("client_secret")));
}

#[test]
fn the_issuer_is_the_audience_where_none_is_written() {
    let key = p256();
    let assertions = Assertions::new(ID, "https://issuer.example").with_key(&key);
    let members =
        "client_auth private_key_jwt;\nclient_key client.key;\nissuer https://issuer.example;";
    let rig = rig(server(&assertions), members, |builder| {
        builder.file("client.key", key.serialize_pem())
    });
    // The gateway is answered; it is the token's issuer that is another.
    assert_eq!(rig.get_as(&rig.server.issue().token).status, 401);
    assert_eq!(last(&assertions).claims["aud"], "https://issuer.example");
}

/// Asserts that this many came, each with a `jti` of its own.
#[track_caller]
fn assert_all_different(assertions: &Assertions, count: usize) {
    assert_eq!((assertions.arrived().len(), assertions.repeated()), (count, 0));
}

#[test]
fn the_silent_retry_has_a_new_one() {
    let (rig, assertions) = by_key("", |builder| builder);
    rig.assert_passes(&rig.server.issue());
    for n in 1..=3 {
        let token = rig.server.issue();
        // The kept connection is closed once the request has come.
        rig.server.script(&token.token, Script::close().times(1));
        rig.assert_passes(&token);
        assert_eq!(rig.server.introspections_of(&token.token), 2);
        assert_all_different(&assertions, 1 + 2 * n);
    }
}

#[test]
fn each_endpoint_of_a_failover_has_its_own() {
    let key = p256();
    let assertions = Assertions::new(ID, AUDIENCE).with_key(&key);
    let [first, second] = [server(&assertions), server(&assertions)];
    let rig = Rig::with(first, |builder, first| {
        builder
            .without_client()
            .file("client.key", key.serialize_pem())
            .http(&block("as", &[first, &second], BY_KEY))
            .directives("phantom_token_use as;")
    });
    for (n, script) in
        [Script::status(502), Script::close(), Script::status(503)].into_iter().enumerate()
    {
        let token = second.issue();
        rig.server.script(&token.token, script);
        rig.assert_passes(&token);
        assert_eq!(second.introspections(), n as u64 + 1);
    }
    // Own calls are among them.
    assert!(assertions.arrived().len() >= 7, "{}", assertions.arrived().len());
    assert_eq!(assertions.repeated(), 0);
}

#[test]
fn a_call_of_the_gateway_s_own_has_its_own() {
    let (rig, assertions) = by_key("", |builder| builder);
    for n in 0..3 {
        let odd = format!("odd-{n}");
        rig.server.script(&odd, Script::status(401));
        Reply::failure().assert(&rig.get_as(&odd));
        rig.assert_passes(&rig.server.issue());
    }
    wait_until("an own call", || rig.server.own_calls() > 0);
    let own = rig.server.own_seen();
    assert!(own.iter().all(|seen| body(seen).contains("&client_assertion=")));
    assert_eq!(assertions.repeated(), 0);
    assert!(!rig.gateway.error_log().contains("own calls too"));
    // Answered as of an unknown token: nobody is held back.
    for _ in 0..3 {
        rig.assert_passes(&rig.server.issue());
    }
}

#[test]
fn many_calls_at_a_time_share_none() {
    let (rig, assertions) =
        by_key("", |builder| builder.workers(2).http("phantom_token_cache off;"));
    let token = rig.server.issue();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = rig.gateway.client();
                for _ in 0..25 {
                    assert_eq!(client.get_as("/api", &token.token).status, 200);
                }
            });
        }
    });
    assert_all_different(&assertions, 200);
}
