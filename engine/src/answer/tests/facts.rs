//! When a token ends, what it grants, what kind it is and to what it is bound.

use std::num::NonZeroU64;

use super::*;
use crate::answer::subjects::Subject;
use crate::lifetime::Life;
use crate::token::key::HashKey;

#[test]
fn the_earlier_exp_counts() {
    for (answer, jwt, expected) in [
        ("", "", None),
        (r#""exp":1700000005"#, "", Some(NOW + 5)),
        ("", r#""exp":1700000005"#, Some(NOW + 5)),
        (r#""exp":1700000005"#, r#""exp":1700000009"#, Some(NOW + 5)),
        (r#""exp":1700000009"#, r#""exp":1700000005"#, Some(NOW + 5)),
        (r#""exp":"1700000005""#, r#""exp":"1700000009""#, Some(NOW + 5)),
        (r#""exp":"1700000009""#, r#""exp":1700000005.5"#, Some(NOW + 5)),
        // No end, in the words of different servers.
        (r#""exp":null"#, "", None),
        (r#""exp":null"#, r#""exp":null"#, None),
        (r#""exp":0"#, "", None),
        (r#""exp":0.0"#, "", None),
        (r#""exp":"0""#, "", None),
        (r#""exp":null"#, r#""exp":1700000005"#, Some(NOW + 5)),
        (r#""exp":0"#, r#""exp":1700000005"#, Some(NOW + 5)),
        (r#""exp":1700000005"#, r#""exp":null"#, Some(NOW + 5)),
    ] {
        let body = json_with(&access_token(&format!("{{{jwt}}}")), answer);
        assert_eq!(active(ok(JSON, &body)).exp, expected, "{answer} {jwt}");
    }
    let body = json_with(&access_token(r#"{"exp":"x"}"#), r#""exp":1700000005"#);
    assert_eq!(ok(JSON, &body), not_understood(Cause::Exp));
}

#[test]
fn an_exp_that_passed_is_inactive() {
    for (exp, skew) in [
        ("1700000000", 0),
        ("1699999970", 30),
        ("\"1699999970\"", 30),
        ("0.4", NOW),
        ("1700000000.9", 0),
    ] {
        let expected = Answer::Inactive(Some(Skew(skew)));
        let jwt = access_token(&format!("{{\"exp\":{exp}}}"));
        assert_eq!(ok(JWT, &jwt), expected, "{exp}");
        assert_eq!(ok(JSON, &json_with(&jwt, r#""exp":1800000000"#)), expected, "{exp}");
        let body = json_with(&access_token("{}"), &format!("\"exp\":{exp}"));
        assert_eq!(ok(JSON, &body), expected, "{exp}");
        assert_eq!(ok_without_jwt(&format!("{{\"active\":true,\"exp\":{exp}}}")), expected);
    }
    // Only of an answer 0 means that there is no end; a JWT that says so has long been over.
    let expected = Answer::Inactive(Some(Skew(NOW)));
    let jwt = access_token(r#"{"exp":0}"#);
    assert_eq!(ok(JWT, &jwt), expected);
    assert_eq!(ok(JSON, &json_with(&jwt, r#""exp":0"#)), expected);
}

#[test]
fn one_scope_counts_and_never_a_union() {
    for (answer, jwt, expected) in [
        ("", "", ""),
        (r#""scope":"a b""#, "", "a b"),
        (r#""scope":["a","b"]"#, "", "a b"),
        (r#""scope":"a""#, r#""scope":"b""#, "a"),
        (r#""scope":"""#, r#""scope":"b""#, ""),
        (r#""scope":[]"#, r#""scope":"b""#, ""),
        (r#""scope":null"#, r#""scope":"b""#, "b"),
        ("", r#""scope":"b","scp":"c""#, "b"),
        ("", r#""scp":["c","d"]"#, "c d"),
        ("", r#""scp":"c d""#, "c d"),
        (r#""scp":"a""#, r#""scope":"b""#, "b"),
    ] {
        let body = json_with(&access_token(&format!("{{{jwt}}}")), answer);
        assert_eq!(active(ok(JSON, &body)).scope, expected.as_bytes(), "{answer} {jwt}");
    }
}

#[test]
fn a_binding_in_either_place_counts() {
    use Bound::{No, Nobody, Unsaid};
    let of = |name: &str, text: &str| format!("\"cnf\":{{\"{name}\":\"{}\"}}", text.repeat(43));
    let (jkt, other_jkt, x5t) =
        (&of("jkt", "A")[..], &of("jkt", "E")[..], &of("x5t#S256", "A")[..]);
    let (bad_jkt, bad_x5t) = (r#""cnf":{"jkt":"a"}"#, r#""cnf":{"x5t#S256":"a"}"#);
    let (typed, kid) = (r#""token_type":"DPoP""#, r#""cnf":{"kid":"a"}"#);
    let to = Bound::To([0; 32]);
    for (answer, jwt, dpop, certificate, other) in [
        ("", "", No, No, false),
        (x5t, "", No, to, false),
        ("", x5t, No, to, false),
        (jkt, "", to, No, false),
        ("", jkt, to, No, false),
        (jkt, jkt, to, No, false),
        (jkt, x5t, to, to, false),
        (x5t, jkt, to, to, false),
        (typed, "", Unsaid, No, false),
        ("", typed, Unsaid, No, false),
        (typed, x5t, Unsaid, to, false),
        (typed, jkt, to, No, false),
        (kid, jkt, to, No, true),
        (jkt, kid, to, No, true),
        // Nobody has two keys in one.
        (jkt, other_jkt, Nobody, No, false),
        (bad_jkt, jkt, Nobody, No, false),
        (jkt, bad_jkt, Nobody, No, false),
        (bad_x5t, x5t, No, Nobody, false),
    ] {
        let expected = Binding { dpop, certificate, other };
        let token = access_token(&format!("{{{jwt}}}"));
        let body = json_with(&token, answer);
        assert_eq!(active(ok(JSON, &body)).nature.binding, expected, "{answer} {jwt}");
        assert_eq!(active(ok_without_jwt(&body)).nature.binding, expected, "{answer} {jwt}");
    }
    let of_jwt = |cnf| active(ok(JWT, &access_token(&format!("{{{cnf}}}")))).nature.binding;
    assert_eq!((of_jwt(jkt).dpop, of_jwt(x5t).certificate, of_jwt(kid).other), (to, to, true));
}

#[test]
fn a_kind_in_either_place_counts_and_never_one_in_a_header() {
    let (named, other) = (r#""token_type":"Bearer""#, r#""typ":"Refresh""#);
    for (answer, jwt, expected) in [
        ("", "", TokenKind::Unnamed),
        (named, "", TokenKind::Named),
        ("", named, TokenKind::Named),
        (other, "", TokenKind::Other),
        // As Keycloak 25 gives it: a JWT of the realm that is a refresh token.
        ("", other, TokenKind::Other),
        (named, other, TokenKind::Other),
        (other, named, TokenKind::Other),
    ] {
        let token = jws(r#"{"alg":"RS256","typ":"JWT"}"#, &format!("{{{jwt}}}"));
        let body = json_with(&token, answer);
        assert_eq!(active(ok(JSON, &body)).nature.kind, expected, "{answer} {jwt}");
        assert_eq!(active(ok_without_jwt(&body)).nature.kind, expected, "{answer} {jwt}");
        if answer.is_empty() {
            assert_eq!(active(ok(JWT, &token)).nature.kind, expected, "{jwt}");
        }
        // A JWT's header says what the JWT is, which is for the API to judge.
        for typ in ["refresh_token", "id_token", "logout+jwt", "at+jwt"] {
            let token = jws(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#), &format!("{{{jwt}}}"));
            let body = json_with(&token, answer);
            assert_eq!(active(ok(JSON, &body)).nature.kind, expected, "{typ} {answer} {jwt}");
        }
        let wrapped =
            format!(r#"{{"typ":"Refresh","token_introspection":{{"active":true,{}"#, answer);
        let wrapped = wrapped.trim_end_matches(',').to_owned() + "}}";
        let response = response(200, TOKEN_INTROSPECTION_JWT, &jws(INTROSPECTION_HEADER, &wrapped));
        let inner = active(read(&response, Forward::None, NOW)).nature.kind;
        assert_eq!(inner == TokenKind::Other, answer == other, "the answer's own members alone");
    }
    // A JWE says nothing.
    let jwt = jwe(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","typ":"refresh"}"#, "a2V5");
    assert_eq!(active(ok(JWT, &jwt)).nature, Nature::default());
    assert_eq!(active(ok(JSON, &json_with(&jwt, other))).nature.kind, TokenKind::Other);
}

#[test]
fn every_format_names_its_subjects() {
    let key = HashKey([7; 16]);
    let read = |content_type: &str, body: &str, forward: Forward| {
        let terms = Terms::from(forward).naming_subjects(key);
        active(read(&response(200, content_type, body), terms, NOW)).subjects
    };
    let hash = |subject: Subject, name: &str| Some(subject.hash(&key, name.as_bytes()));
    let of = |sub, client_id| {
        Subjects([hash(Subject::Sub, sub), hash(Subject::ClientId, client_id), None, None])
    };
    let jwt = access_token(r#"{"sub":"a","azp":"b"}"#);
    assert_eq!(read(JWT, &jwt, Forward::Jwt), of("a", "b"));
    assert_eq!(read(JSON, &json_with(&jwt, r#""sub":7"#), Forward::Jwt), of("7", "b"));
    assert_eq!(read(JSON, &json_with(&jwt, r#""sub":7"#), Forward::None), of("7", "b"));
    assert_eq!(
        read(JSON, r#"{"active":true,"sub":"a","client_id":"b"}"#, Forward::None),
        of("a", "b")
    );
    // What cannot be read names nobody.
    let jwe = jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "");
    let named = r#""sub":"a","client_id":"b""#;
    assert_eq!(read(JSON, &json_with(&jwe, named), Forward::Jwt), of("a", "b"));
    assert_eq!(read(JSON, &json_with(&jwe, ""), Forward::Jwt), Subjects::default());
    // A wrapped answer counts for what is in it; its own `sub` is not the token's.
    let inner = json_with(&jwt, r#""client_id":"c""#);
    let wrapped =
        jws(INTROSPECTION_HEADER, &format!(r#"{{"sub":"x","token_introspection":{inner}}}"#));
    assert_eq!(read(TOKEN_INTROSPECTION_JWT, &wrapped, Forward::Jwt), of("a", "c"));
    assert_eq!(read(JWT, &wrapped, Forward::None), of("a", "c"));
    // Without a key nothing is read.
    assert_eq!(active(ok(JWT, &jwt)).subjects, Subjects::default());
}

#[test]
fn facts_are_what_the_grant_says() {
    let nature = Nature {
        kind: TokenKind::Named,
        binding: Binding { dpop: Bound::To([1; 32]), certificate: Bound::Nobody, other: true },
    };
    let (signer, subjects) = (Some(*b"signer 8"), Subjects([NonZeroU64::new(1), None, None, None]));
    let texts = [b"a.b.c".to_vec(), b"read".to_vec(), b"{}".to_vec()];
    let [jwt, scope, claims] = texts.clone();
    let grant =
        Grant { jwt, scope, claims, exp: Some(NOW), is_endless: false, nature, signer, subjects };
    let life = Life::of_none(5, None);
    let facts = grant.facts(life);
    assert_eq!(facts.texts(), texts.each_ref().map(|text| &text[..]));
    assert_eq!((facts.nature, facts.signer, facts.subjects), (nature, signer, subjects));
    assert_eq!(facts.life, life);
}
