//! JWTs made of answers.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{PRIVATE, key, open, verifies};
use crate::fuzz::input::expand;
use crate::jose::mint::{ClaimError, Claims, MAX_LEN, MintError, Terms, mint, signer};

const NOW: u64 = 1_700_000_000;

fn claims(arguments: &[&str]) -> Claims {
    let mut claims = Claims::none();
    for argument in arguments {
        claims.add(argument.as_bytes()).expect(argument);
    }
    claims
}

fn terms(claims: Claims) -> Terms {
    Terms {
        issuer: "https://gateway.example".into(),
        audience: vec!["api".into()],
        claims,
        valid: 420,
    }
}

/// What is minted of an answer, without what is the same of all of them.
fn minted(claims: Claims, answer: &str, jwt: &str) -> Result<Value, MintError> {
    let jwt = expand(jwt.as_bytes());
    let made = mint(&terms(claims), &key("ed25519"), answer.as_bytes(), &jwt, None, NOW)?;
    let (_, mut payload, ..) = open(&made.jwt);
    let members = payload.as_object_mut().expect("an object");
    for always in ["iss", "aud", "iat", "exp", "jti"] {
        members.remove(always).expect(always);
    }
    Ok(payload)
}

#[test]
fn a_minted_jwt_is_an_access_token_of_rfc_9068() {
    let answer = br#"{"active":true,"sub":"me","client_id":"app","scope":"read","iss":"other"}"#;
    for (name, ..) in PRIVATE {
        let key = key(name);
        let made = mint(&terms(Claims::default()), &key, answer, b"", Some(NOW + 60), NOW);
        let made = made.expect("a JWT");
        assert!(verifies(key.public(), &made.jwt), "{name}");
        assert_eq!(made.exp, NOW + 60);
        assert_eq!(made.signer, key.thumbprint()[..8]);
        assert_eq!(made.signer, signer(&key.public().thumbprint()));
        let (header, mut payload, ..) = open(&made.jwt);
        let alg = key.algorithm().name();
        assert_eq!(header, json!({ "alg": alg, "typ": "at+jwt", "kid": key.kid() }));
        let jti = payload.as_object_mut().expect("claims").remove("jti").expect("jti");
        assert_eq!(jti.as_str().expect("text").len(), 22);
        assert_eq!(
            payload,
            json!({
                "iss": "https://gateway.example",
                "aud": "api",
                "sub": "me",
                "iat": NOW,
                "exp": NOW + 60,
                "client_id": "app",
                "scope": "read",
            })
        );
        assert!(!format!("{made:?}").contains("eyJ"));
    }
}

#[test]
fn a_jwt_ends_with_its_token_or_before() {
    let exp = |exp, now, valid| {
        let terms = Terms { valid, ..terms(Claims::default()) };
        let made = mint(&terms, &key("ed25519"), br#"{"sub":"me"}"#, b"", exp, now);
        let made = made.expect("a JWT");
        assert_eq!(open(&made.jwt).1["exp"], made.exp);
        made.exp
    };
    assert_eq!(exp(None, NOW, 420), NOW + 420);
    assert_eq!(exp(Some(NOW + 419), NOW, 420), NOW + 419);
    assert_eq!(exp(Some(NOW + 421), NOW, 420), NOW + 420);
    assert_eq!(exp(Some(u64::MAX), NOW, 420), NOW + 420);
    assert_eq!(exp(None, NOW, u64::MAX), u64::MAX);
    assert_eq!(exp(Some(1), NOW, 420), 1);
}

#[test]
fn no_two_jwts_have_one_id() {
    let key = key("ed25519");
    let ids: HashSet<String> = (0..1_000)
        .map(|_| {
            let made = mint(&terms(Claims::default()), &key, br#"{"sub":"me"}"#, b"", None, NOW);
            open(&made.expect("a JWT").jwt).1["jti"].as_str().expect("text").to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1_000);
}

#[test]
fn an_audience_is_a_string_and_more_are_an_array() {
    let audience = |audience: &[&str]| {
        let audience = audience.iter().map(|one| (*one).to_owned()).collect();
        let terms = Terms { audience, ..terms(Claims::default()) };
        let made = mint(&terms, &key("ed25519"), br#"{"sub":"me"}"#, b"", None, NOW);
        open(&made.expect("a JWT").jwt).1["aud"].clone()
    };
    assert_eq!(audience(&["a\"b"]), json!("a\"b"));
    assert_eq!(audience(&["a", "b"]), json!(["a", "b"]));
    assert_eq!(audience(&[]), json!([]));
}

#[test]
fn no_token_becomes_another_user_s() {
    let default = || claims(&["sub", "client_id"]);
    let renamed = || claims(&["sub=username"]);
    let mail = || claims(&["sub=email"]);
    for (claims, answer, expected) in [
        (default(), r#"{"sub":"me","client_id":"app"}"#, Ok("me")),
        (default(), r#"{"sub":"me","username":"other"}"#, Ok("me")),
        // RFC 9068 §2.2: a client's own token.
        (default(), r#"{"client_id":"app"}"#, Ok("app")),
        (default(), r#"{"sub":null,"username":null,"client_id":"app"}"#, Ok("app")),
        (default(), r#"{"username":"me","client_id":"app"}"#, Err(MintError::Username)),
        (default(), r#"{"username":"","client_id":"app"}"#, Err(MintError::Username)),
        (default(), r#"{"username":7,"client_id":"app"}"#, Err(MintError::Username)),
        (default(), r#"{"sub":null,"username":"me"}"#, Err(MintError::Username)),
        (default(), r#"{"sub":"","client_id":"app"}"#, Err(MintError::Subject)),
        (default(), r#"{"sub":"","username":"me"}"#, Err(MintError::Subject)),
        (default(), r#"{"sub":7,"client_id":"app"}"#, Err(MintError::Subject)),
        (default(), r#"{"sub":true}"#, Err(MintError::Subject)),
        (default(), r#"{"sub":["me"]}"#, Err(MintError::Subject)),
        (default(), r#"{"sub":{"a":1}}"#, Err(MintError::Subject)),
        (default(), r#"{"client_id":7}"#, Err(MintError::Subject)),
        (default(), r#"{"client_id":""}"#, Err(MintError::Subject)),
        (default(), r#"{"Sub":"me"}"#, Err(MintError::NoSubject)),
        (default(), r#"{"active":true}"#, Err(MintError::NoSubject)),
        (default(), "", Err(MintError::NoSubject)),
        (renamed(), r#"{"username":"me","client_id":"app"}"#, Ok("me")),
        (renamed(), r#"{"username":"me","sub":"other"}"#, Ok("me")),
        (renamed(), r#"{"client_id":"app"}"#, Ok("app")),
        // The names of users and those in `sub` are not of one kind.
        (renamed(), r#"{"sub":"me","client_id":"app"}"#, Err(MintError::NoSubject)),
        (renamed(), r#"{"username":"","client_id":"app"}"#, Err(MintError::Subject)),
        (mail(), r#"{"email":"me@x","sub":"1","username":"me"}"#, Ok("me@x")),
        (mail(), r#"{"sub":"1"}"#, Err(MintError::NoSubject)),
        (mail(), r#"{"username":"me"}"#, Err(MintError::NoSubject)),
        (mail(), r#"{"client_id":"app"}"#, Ok("app")),
        // `sub` is written where it is not named, too.
        (claims(&["scope"]), r#"{"sub":"me"}"#, Ok("me")),
    ] {
        let sub = minted(claims, answer, "").map(|payload| payload["sub"].clone());
        assert_eq!(sub, expected.map(Value::from), "{answer}");
    }
}

#[test]
fn named_claims_are_copied_as_they_are() {
    let named = claims(&["client_id", "roles=realm.roles", "n", "o", "empty", "gone", "null"]);
    let answer = r#"{"sub":"me", "client_id" : 7, "realm.roles":["a", "b c"], "n": 1.50e2,
        "o": {"x" : [ 1, {"y": "\u00e9\u0001 \" "} ]}, "empty":"", "null":null, "more":"x"}"#;
    let payload = minted(named, answer, "").expect("a JWT");
    assert_eq!(
        payload,
        json!({
            "sub": "me",
            "client_id": 7,
            "roles": ["a", "b c"],
            "n": 150.0,
            "o": {"x": [1, {"y": "\u{e9}\u{1} \" "}]},
            "empty": "",
        })
    );
    // To the digit.
    let made = mint(
        &terms(claims(&["n"])),
        &key("ed25519"),
        br#"{"sub":"me","n":123456789012345678901234567890.10}"#,
        b"",
        None,
        NOW,
    );
    let text = made.expect("a JWT").jwt;
    let payload = super::decode(
        std::str::from_utf8(&text).expect("text").split('.').nth(1).expect("payload"),
    );
    assert!(payload.ends_with(b"\"n\":123456789012345678901234567890.10}"));
}

#[test]
fn claims_come_from_the_answer_and_then_from_its_jwt() {
    let jwt = r#"<{"alg":"ES256"}>.<{"sub":"of-jwt","client_id":"app","username":"me"}>.sig"#;
    let default = Claims::default;
    let of = |payload: Result<Value, MintError>, name: &str| payload.expect("a JWT")[name].clone();
    assert_eq!(of(minted(default(), "", jwt), "sub"), "of-jwt");
    assert_eq!(of(minted(default(), "", jwt), "client_id"), "app");
    assert_eq!(of(minted(default(), r#"{"sub":"of-answer"}"#, jwt), "sub"), "of-answer");
    assert_eq!(of(minted(default(), r#"{"sub":null}"#, jwt), "sub"), "of-jwt");
    // Whoever is named in either is not overlooked.
    let named = r#"<{"alg":"ES256"}>.<{"username":"me"}>.sig"#;
    assert_eq!(minted(default(), r#"{"client_id":"app"}"#, named), Err(MintError::Username));
    let encrypted = r#"<{"alg":"dir","enc":"A256GCM"}>..iv.text.tag"#;
    assert_eq!(of(minted(default(), r#"{"sub":"me"}"#, encrypted), "sub"), "me");
    assert_eq!(minted(default(), "", encrypted), Err(MintError::NoSubject));
}

#[test]
fn what_is_too_long_is_not_made() {
    let answer = |len: usize| json!({ "sub": "s".repeat(len) }).to_string();
    // Two thirds of it are payload.
    assert_eq!(minted(Claims::none(), &answer(MAX_LEN), ""), Err(MintError::TooLong));
    assert_eq!(minted(Claims::none(), &answer(MAX_LEN * 3 / 4), ""), Err(MintError::TooLong));
    let sub = answer(MAX_LEN * 3 / 4 - 400);
    let made = mint(&terms(Claims::none()), &key("p256"), sub.as_bytes(), b"", None, NOW);
    let len = made.expect("a JWT").jwt.len();
    assert!(len <= MAX_LEN && len > MAX_LEN - 400, "{len}");
}

#[test]
fn names_that_are_the_gateway_s_own_are_refused_in_any_case() {
    let refused = |argument: &[u8]| Claims::default().add(argument).err();
    for name in ["iss", "aud", "exp", "nbf", "iat", "jti", "cnf", "act"] {
        for name in [name.to_owned(), name.to_uppercase(), format!("{}=other", name)] {
            assert_eq!(refused(name.as_bytes()), Some(ClaimError::Reserved), "{name}");
        }
        // What it is taken from is another matter.
        assert_eq!(refused(format!("its_{name}={name}").as_bytes()), None);
    }
    for (argument, error) in [
        ("", ClaimError::Empty),
        ("=", ClaimError::Empty),
        ("=sub", ClaimError::Empty),
        ("roles=", ClaimError::Empty),
        ("Sub", ClaimError::LikeSub),
        ("SUB=username", ClaimError::LikeSub),
        ("sub", ClaimError::Twice),
        ("sub=username", ClaimError::Twice),
        ("Scope", ClaimError::Twice),
        ("active", ClaimError::OfAnswers),
        ("Token_Introspection", ClaimError::OfAnswers),
        // Go's readers take this for "iss".
        ("i\u{17f}s", ClaimError::Characters),
        ("a b", ClaimError::Characters),
        ("a\"b", ClaimError::Characters),
        ("a\\b", ClaimError::Characters),
        ("a\u{7f}", ClaimError::Characters),
        ("a=b\nc", ClaimError::Source),
        ("a=b\u{85}", ClaimError::Source),
    ] {
        assert_eq!(refused(argument.as_bytes()), Some(error), "{argument:?}");
        let words = error.to_string();
        assert!(!words.contains("  ") && !words.ends_with('.'), "{words}");
    }
    assert_eq!(refused(b"\xff"), Some(ClaimError::Characters));
    assert_eq!(refused(b"a=\xff"), Some(ClaimError::Source));
    for argument in ["https://example.com/roles", "a=b=c", "r=r\u{f4}les", "x5t#S256"] {
        assert_eq!(refused(argument.as_bytes()), None, "{argument}");
    }
}

proptest! {
    /// The judge is the fuzz target's.
    #[test]
    fn any_answer_is_minted_as_the_judge_has_it(
        sub in proptest::option::of(any::<String>()),
        username in proptest::option::of(any::<String>()),
        client_id in proptest::option::of(any::<String>()),
        other in any::<f64>(),
        source in "[a-z]{1,3}|sub|username|client_id",
        (now, valid, exp) in any::<(u64, u32, Option<u64>)>(),
    ) {
        let answer = json!({ "sub": sub, "username": username, "client_id": client_id, "a": other });
        let exp = exp.map_or("-".to_owned(), |exp| exp.to_string());
        let input = format!("sub={source} client_id a\nissuer\none two\n{valid} {now} {exp}\n{answer}\n");
        crate::fuzz::jose_mint(input.as_bytes());
    }
}
