//! Answers that are to get a JWT minted for another, for longer, or for what nobody has proved.

use phantom_token_test::Script;
use serde_json::{Value, json};

use crate::answers::theirs;
use crate::support::*;

/// An answer in this very spelling.
fn spelt(members: &str) -> Script {
    Script::ok("application/json", format!("{{\"active\":true{members}}}"))
}

#[test]
fn what_the_servers_own_jwt_says_binds_the_one_that_is_minted() {
    let rig = rig(|builder| builder.location("/kind", &shown("phantom_token_kind declared;")));
    let inside = |typ: &str, claims: Value| active(&json!({"jwt": theirs(typ, &claims)}));
    let exp = now() + 60;
    for (token, script, expected) in [
        ("plain", inside("JWT", json!({"sub": "alice"})), (204, "MISS", "-")),
        (
            "bound",
            inside("JWT", json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})),
            (401, "DENIED", "bound"),
        ),
        ("over", inside("JWT", json!({"exp": now() - 60})), (401, "INACTIVE", "inactive")),
        ("ends", inside("JWT", json!({"exp": exp})), (204, "MISS", "-")),
        (
            "alone",
            Script::ok(
                "application/jwt",
                theirs("JWT", &json!({"sub": "alice", "cnf": {"kid": "k"}})),
            ),
            (401, "DENIED", "bound"),
        ),
    ] {
        rig.server.script(token, script);
        assert_eq!(said(&rig.gateway.get_as("/shown", token)), expected, "{token}");
    }
    assert_eq!(claims(&rig.gateway, "/shown", "ends")["exp"], exp);
}

#[test]
fn odd_answers_are_nobodys() {
    let rig = rig(|builder| {
        builder.location("/copies", &shown("phantom_token_mint_claims x=Exp y=ISS z;"))
    });
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let failure = (500, "ERROR", "answer");
    let passes = (204, "MISS", "-");
    for (token, members, expected) in [
        ("twice", r#","sub":"alice","sub":"mallory""#.to_owned(), failure),
        ("twice-spelt", r#","sub":"alice","\u0073ub":"mallory""#.to_owned(), failure),
        ("twice-deep", r#","sub":"alice","z":{"a":1,"\u0061":2}"#.to_owned(), failure),
        ("active-twice", r#","sub":"alice","\u0061ctive":false"#.to_owned(), failure),
        ("array", r#","sub":["alice"],"client_id":"app""#.to_owned(), failure),
        ("object", r#","sub":{},"client_id":"app""#.to_owned(), failure),
        ("boolean", r#","sub":true,"client_id":"app""#.to_owned(), failure),
        ("half", r#","sub":"\ud800""#.to_owned(), failure),
        ("half-too", r#","sub":"a\udc00\ud800""#.to_owned(), failure),
        ("raw", ",\"sub\":\"a\u{1}\"".to_owned(), failure),
        ("deep", format!(r#","sub":"alice","z":{deep}"#), failure),
        ("exp-text", r#","sub":"alice","exp":"soon""#.to_owned(), failure),
        ("exp-list", r#","sub":"alice","exp":[1]"#.to_owned(), failure),
        ("exp-minus", r#","sub":"alice","exp":-1"#.to_owned(), failure),
        ("exp-null", r#","sub":"alice","exp":null"#.to_owned(), passes),
        ("exp-none", r#","sub":"alice","exp":0"#.to_owned(), passes),
        ("exp-far", r#","sub":"alice","exp":1e18"#.to_owned(), passes),
        (
            "exp-case",
            r#","sub":"alice","Exp":1,"EXP":"x","ISS":"mallory","IsS":7"#.to_owned(),
            passes,
        ),
        ("exp-1", r#","sub":"alice","exp":1"#.to_owned(), (401, "INACTIVE", "inactive")),
        ("empty-name", r#","sub":"alice","":"mallory""#.to_owned(), passes),
    ] {
        rig.server.script(token, spelt(&members));
        for target in ["/shown", "/copies"] {
            let response = rig.gateway.get_as(target, token);
            assert_eq!(said(&response), expected, "{token} {target}");
            if expected.0 != 204 {
                continue;
            }
            let claims = claims(&rig.gateway, target, token);
            assert_eq!((&claims["sub"], &claims["iss"]), (&json!("alice"), &json!(ISSUER)));
            let exp = claims["exp"].as_u64().expect("a number");
            assert!(exp > now() && exp <= now() + 360, "{token} {claims}");
        }
    }
    assert!(!rig.gateway.error_log().contains("mallory"));
}
