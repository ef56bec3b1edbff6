//! What becomes of each answer, and what the JWT says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phantom_token_test::jose::{Check, Verifier};
use phantom_token_test::keys::{self, PemKey};
use phantom_token_test::rig::INVALID_TOKEN;
use phantom_token_test::{Reply, Script, jwt};
use serde_json::{Value, json};

use crate::support::*;

/// A JWT of the server's, which nobody verifies here.
pub(crate) fn theirs(typ: &str, claims: &Value) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let header = part(json!({"alg": "RS256", "typ": typ}).to_string());
    format!("{header}.{}.c2lnbmF0dXJl", part(claims.to_string()))
}

#[test]
fn an_active_answer_becomes_a_jwt_of_the_gateways() {
    let rig = rig(|builder| builder);
    let exp = now() + 120;
    let answer = json!({
        "active": true, "sub": "alice", "client_id": "app", "scope": "read write", "exp": exp,
        "username": "Alice", "iss": "https://server.example", "aud": "app", "jti": "theirs",
        "nbf": 1, "iat": 1, "act": {"sub": "eve"}, "token_type": "Bearer",
    });
    rig.server.script("opaque", Script::json(&answer));
    let (minted, outcome) = pass(&rig.gateway, "/shown", "opaque");
    assert_eq!(outcome, "MISS");
    let header = keys::header(&minted).expect("a header");
    let kid = key_set(&rig.gateway)["keys"][0]["kid"].clone();
    assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}));
    let mut claims = claims(&rig.gateway, "/shown", "opaque");
    let (iat, jti) = (claims["iat"].take(), claims["jti"].take());
    assert!(iat.as_u64().is_some_and(|iat| now().abs_diff(iat) < 60), "{iat}");
    assert!(jti.as_str().is_some_and(|jti| jti.len() == 22), "{jti}");
    let expected = json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": null, "exp": exp, "jti": null,
        "sub": "alice", "client_id": "app", "scope": "read write",
    });
    assert_eq!(claims, expected);
    // One JWT for one answer, however many requests it serves.
    assert_eq!(pass(&rig.gateway, "/shown", "opaque"), (minted, "HIT".to_owned()));
    assert_eq!(rig.gateway.metrics().get("mints_total"), 1.0);
}

#[test]
fn the_jwt_goes_upstream_and_nothing_of_the_opaque_token() {
    let rig = rig(|builder| builder);
    rig.server.script("opaque", active(&json!({})));
    assert_eq!(rig.get_as("opaque").status, 200);
    let last = rig.api.last();
    let [authorization] = last.authorization()[..] else { panic!("{last:?}") };
    let jwt = authorization.strip_prefix("Bearer ").expect("a bearer token");
    assert!(keys::verifies(&key_set(&rig.gateway), jwt), "{jwt}");
    rig.gateway.secret(jwt);
}

#[test]
fn jwts_of_every_key_verify_with_other_peoples_libraries() {
    for (key, algorithm) in [
        (PemKey::p256(), "ES256"),
        (PemKey::p384(), "ES384"),
        (PemKey::ed25519(), "EdDSA"),
        (PemKey::rsa(), "RS256"),
    ] {
        let rig = rig_with(&key, |builder| {
            builder
                .location("/two", &shown("phantom_token_mint_audience other https://api.example;"))
        });
        let odd =
            json!({"scope": "read \u{fc}", "sub": "al\u{1f642}ce \"\\\u{7f}", "exp": now() + 200});
        rig.server.script("opaque", active(&odd));
        let tokens = ["/shown", "/two"].map(|target| pass(&rig.gateway, target, "opaque").0);
        let set = key_set(&rig.gateway);
        let checks = tokens.each_ref().map(|token| Check {
            token,
            issuer: ISSUER,
            audience: AUDIENCE,
            algorithm,
            typ: Some("at+jwt"),
            secret: None,
        });
        for verifier in Verifier::installed() {
            for verdict in verifier.verify(&set, &checks) {
                let claims =
                    verdict.unwrap_or_else(|why| panic!("{verifier:?} {algorithm}: {why}"));
                assert_eq!((&claims["sub"], &claims["scope"]), (&odd["sub"], &odd["scope"]));
            }
        }
    }
}

#[test]
fn every_form_of_an_active_answer_is_minted_and_a_jwt_of_the_servers_is_dropped() {
    let rig = rig(|builder| {
        builder.location("/claims", &shown("add_header Acr $phantom_token_claim_acr always;"))
    });
    let said = json!({"iss": "https://server.example", "sub": "alice", "acr": "high"});
    let with = |more: Value| {
        let mut all = said.clone();
        all.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        all
    };
    let introspection = json!({"iss": "https://server.example", "token_introspection": with(json!({"active": true}))});
    let typ = "token-introspection+jwt";
    for (token, script) in [
        ("json", Script::json(&with(json!({"active": true})))),
        ("jwt", Script::ok("application/jwt", theirs("JWT", &said))),
        ("member", Script::json(&json!({"active": true, "jwt": theirs("JWT", &said)}))),
        ("phantom", Script::json(&json!({"active": true, "phantom_token": theirs("JWT", &said)}))),
        ("odd", Script::json(&with(json!({"active": true, "jwt": "no JWT"})))),
        ("signed", Script::ok(&format!("application/{typ}"), theirs(typ, &introspection))),
        ("draft", Script::ok("application/jwt", theirs("JWT", &with(json!({"active": true}))))),
    ] {
        rig.server.script(token, script);
        for outcome in ["MISS", "HIT"] {
            let response = rig.gateway.get_as("/claims", token);
            assert_eq!(crate::support::said(&response), (204, outcome, "-"), "{token}");
            // The server's word, not the gateway's.
            assert_eq!(response.header("acr"), Some("high"), "{token}");
        }
        let claims = claims(&rig.gateway, "/claims", token);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(ISSUER), &json!("alice")), "{token}");
        assert_eq!(claims.get("acr"), None);
    }
}

#[test]
fn whatever_is_not_active_is_as_without_minting() {
    let rig = rig(|builder| builder.directives("phantom_token_scope write;"));
    rig.server.script("inactive", Script::json(&json!({"active": false, "sub": "alice"})));
    rig.server.script("expired", active(&json!({"exp": now() - 5, "scope": "write"})));
    rig.server.script("refused", Script::status(403));
    rig.server.script("odd", Script::json(&json!({"active": "true", "sub": "alice"})));
    rig.server.script("weak", active(&json!({"scope": "read"})));
    for token in ["inactive", "expired"] {
        let challenge = INVALID_TOKEN.replace("error=", "scope=\"write\", error=");
        let response = rig.get_as(token);
        assert_eq!(response.status, 401, "{token}: {challenge}");
    }
    for token in ["refused", "odd"] {
        Reply::failure().assert(&rig.get_as(token));
    }
    assert_eq!(rig.get_as("weak").status, 403);
    assert_eq!(rig.api.count(), 0);
    // The weak one alone is somebody's.
    assert_eq!(rig.gateway.metrics().get("mints_total"), 1.0);
}

#[test]
fn a_user_is_never_taken_for_another() {
    let rig = rig(|builder| {
        builder
            .location("/named", &shown("phantom_token_mint_claims sub=username scope;"))
            .location("/mapped", &shown("phantom_token_mint_claims sub=uid;"))
    });
    let scripts = [
        ("named", json!({"active": true, "username": "alice", "client_id": "app"})),
        ("app", json!({"active": true, "client_id": "app"})),
        ("nobody", json!({"active": true})),
        ("null", json!({"active": true, "sub": null, "username": "alice", "client_id": "app"})),
        ("number", json!({"active": true, "sub": 7, "client_id": "app"})),
        ("empty", json!({"active": true, "sub": "", "username": "alice", "client_id": "app"})),
        ("both", json!({"active": true, "sub": "7", "username": "alice", "client_id": "app"})),
        ("uid", json!({"active": true, "sub": "7", "uid": "u7", "client_id": "app"})),
    ];
    for (token, answer) in &scripts {
        rig.server.script(token, Script::json(answer));
    }
    let none = None;
    // Whose token it is, with the claims as they come, with sub=username, and with sub=uid.
    for (token, subs) in [
        ("named", [none, Some("alice"), none]),
        ("app", [Some("app"), Some("app"), Some("app")]),
        ("nobody", [none, none, none]),
        ("null", [none, Some("alice"), none]),
        ("number", [none, none, none]),
        ("empty", [none, Some("alice"), none]),
        ("both", [Some("7"), Some("alice"), none]),
        ("uid", [Some("7"), none, Some("u7")]),
    ] {
        for (target, sub) in ["/shown", "/named", "/mapped"].into_iter().zip(subs) {
            match sub {
                Some(sub) => {
                    assert_eq!(claims(&rig.gateway, target, token)["sub"], sub, "{target} {token}");
                }
                None => {
                    for _ in 0..2 {
                        let response = rig.gateway.get_as(target, token);
                        assert_eq!(said(&response), (500, "ERROR", "answer"), "{target} {token}");
                    }
                    // Nothing is kept.
                    assert!(rig.server.introspections_of(token) > 1);
                }
            }
        }
    }
    rig.gateway.wait_for_log(&["[error]", "no JWT can be made", "write \"sub=username\""]);
    let failed = rig.gateway.metrics().sum("failures_total", "answer");
    assert!(failed >= 10.0, "{failed}");
    assert!(!rig.gateway.error_log().contains("alice"));
}

#[test]
fn a_jwt_that_no_header_would_hold_is_a_failure() {
    let rig = rig(|builder| {
        builder
            .location("/groups", &shown("phantom_token_mint_claims groups;"))
            .http("large_client_header_buffers 4 64k;")
    });
    let groups: Vec<_> = (0..2_000).map(|n| format!("group-{n}")).collect();
    rig.server.script("large", active(&json!({ "groups": groups })));
    for _ in 0..2 {
        assert_eq!(said(&rig.gateway.get_as("/groups", "large")), (500, "ERROR", "answer"));
    }
    assert_eq!(rig.server.introspections_of("large"), 2, "nothing is kept");
    rig.gateway.wait_for_log(&["[error]", "longer than 16 kilobytes"]);
    // It is the JWT that is too long, not the answer.
    assert_eq!(pass(&rig.gateway, "/shown", "large").1, "MISS");
}

#[test]
fn claims_are_copied_as_they_are() {
    let rig = rig(|builder| {
        let claims =
            "phantom_token_mint_claims roles=realm.roles tenant ok n https://x/y=deep absent none;";
        builder.location("/claims", &shown(claims))
    });
    let deep = json!({"a": [1, {"b": null}], "c": "\u{e9}\n"});
    let answer = json!({
        "realm.roles": ["a", "b c"], "tenant": "t\"1", "ok": false, "n": 1, "deep": deep, "none": null,
        "scope": "read", "cnf": {},
    });
    rig.server.script("opaque", active(&answer));
    let claims = claims(&rig.gateway, "/claims", "opaque");
    let names = claims.as_object().expect("an object").keys();
    let expected =
        ["iss", "sub", "aud", "iat", "exp", "jti", "roles", "tenant", "ok", "n", "https://x/y"];
    let mut expected: Vec<_> = expected.into_iter().collect();
    expected.sort_unstable();
    let mut names: Vec<_> = names.map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(claims["roles"], json!(["a", "b c"]));
    assert_eq!(
        (&claims["tenant"], &claims["ok"], &claims["n"]),
        (&json!("t\"1"), &json!(false), &json!(1))
    );
    assert_eq!(claims["https://x/y"], deep);
}

#[test]
fn a_bound_token_is_nobodys_whose_proof_nobody_checks() {
    let rig = rig(|builder| builder.location("/pass", &shown("phantom_token_bound_tokens pass;")));
    for (token, more) in [
        ("key", json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})),
        ("type", json!({"token_type": "DPoP"})),
        (
            "certificate",
            json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}),
        ),
        ("other", json!({"cnf": {"kid": "k"}})),
    ] {
        rig.server.script(token, active(&more));
        assert_eq!(said(&rig.gateway.get_as("/shown", token)), (401, "DENIED", "bound"), "{token}");
        // Who takes them all the same hands on a JWT that is bound to nothing.
        assert_eq!(claims(&rig.gateway, "/pass", token).get("cnf"), None);
    }
}

#[test]
fn no_claim_of_the_gateways_own_meets_a_demand() {
    let rig = rig(|builder| {
        let own = format!(
            "phantom_token_audience {AUDIENCE};\nadd_header Iss $phantom_token_claim_iss always;"
        );
        builder.location("/audience", &shown(&own)).location(
            "/claims",
            &shown(
                "add_header Iss $phantom_token_claim_iss always;\n\
                 add_header Jti $phantom_token_claim_jti always;",
            ),
        )
    });
    rig.server.script("nobodys", active(&json!({})));
    rig.server.script("ours", active(&json!({"aud": ["other", AUDIENCE], "jti": "theirs"})));
    for _ in 0..2 {
        assert_eq!(said(&rig.gateway.get_as("/audience", "nobodys")), (401, "DENIED", "audience"));
        assert_eq!(rig.gateway.get_as("/audience", "ours").status, 204);
    }
    let response = rig.gateway.get_as("/claims", "ours");
    assert_eq!((response.header("iss"), response.header("jti")), (None, Some("theirs")));
    assert_eq!(rig.server.introspections_of("ours"), 1);
}

#[test]
fn two_issuers_in_one_answer_are_one_too_many() {
    let rig = rig(|builder| builder);
    let answer = json!({"iss": "https://one.example", "jwt": theirs("JWT", &json!({"iss": "https://other.example"}))});
    rig.server.script("two", active(&answer));
    assert_eq!(said(&rig.gateway.get_as("/shown", "two")), (500, "ERROR", "answer"));
    rig.gateway.wait_for_log(&["[error]", "names one issuer, and the JWT in it another"]);
}

#[test]
fn each_location_asks_for_what_it_needs() {
    let rig = rig(|builder| {
        builder
            .location("/jwt", &shown("phantom_token_forward jwt;"))
            .location("/none", &shown("phantom_token_forward none;"))
            .location(
                "/own",
                &shown("phantom_token_introspection_accept application/token-introspection+jwt;"),
            )
    });
    let token = rig.server.issue();
    for (target, accept, status) in [
        ("/shown", "application/json", 204),
        ("/jwt", "application/jwt", 204),
        ("/none", "application/jwt", 204),
        ("/own", "application/token-introspection+jwt", 204),
    ] {
        assert_eq!(rig.gateway.get_as(target, &token.token).status, status, "{target}");
        let seen = rig.server.seen();
        let last = seen.last().expect("a call");
        assert_eq!(last.head.headers.get("accept"), Some(accept), "{target}");
    }
    assert_eq!(rig.server.introspections_of(&token.token), 4);
    let (sent, _) = pass(&rig.gateway, "/jwt", &token.token);
    assert_eq!(sent, token.jwt);
    assert_ne!(jwt::payload(&pass(&rig.gateway, "/shown", &token.token).0), jwt::payload(&sent));
}
