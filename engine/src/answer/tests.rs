use proptest::prelude::*;

use super::*;
use crate::answer::binding::{Binding, Bound};
use crate::answer::jwt::Compact;
use crate::answer::jwt::tests::{access_token, jwe, jws};
use crate::answer::nature::Nature;
use crate::answer::nature::TokenKind;
use crate::answer::subjects::Subjects;

mod facts;
mod statuses;

const NOW: u64 = 1_700_000_000;
const INTROSPECTION_HEADER: &str = r#"{"alg":"RS256","typ":"token-introspection+jwt"}"#;
const JWT: &str = "application/jwt";
const JSON: &str = "application/json";
const TOKEN_INTROSPECTION_JWT: &str = "application/token-introspection+jwt";

fn response(status: u16, content_type: &str, body: &str) -> Response {
    let mut response = Response::default();
    response.status = status;
    response.content_type = (!content_type.is_empty()).then(|| content_type.into());
    response.body = body.into();
    response
}

fn ok(content_type: &str, body: &str) -> Answer {
    read(&response(200, content_type, body), Forward::Jwt, NOW)
}

fn ok_without_jwt(body: &str) -> Answer {
    read(&response(200, JSON, body), Forward::None, NOW)
}

fn active(answer: Answer) -> Grant {
    match answer {
        Answer::Active(grant) => grant,
        other => panic!("active, not {other:?}"),
    }
}

fn not_understood(cause: Cause) -> Answer {
    Answer::Failed(NoVerdict::NotUnderstood(cause))
}

fn status(status: u16) -> Answer {
    Answer::Failed(NoVerdict::Status(status))
}

/// An active JSON answer with `jwt` and more members, written as JSON.
fn json_with(jwt: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!("{{\"active\":true{comma}{members},\"phantom_token\":\"{jwt}\"}}")
}

#[test]
fn a_jwt_is_the_phantom_token() {
    let jwt = access_token(r#"{"sub":"a","exp":1700000001,"scope":"read write"}"#);
    let expected = Grant {
        jwt: jwt.clone().into(),
        scope: b"read write".to_vec(),
        claims: Vec::new(),
        exp: Some(NOW + 1),
        nature: Nature { kind: TokenKind::Unnamed, binding: Binding::default() },
        is_endless: false,
        signer: None,
        subjects: Subjects::default(),
    };
    for content_type in [
        JWT,
        "Application/JWT",
        "application/jwt;charset=UTF-8",
        "application/jwt ; charset=\"utf-8\"; a=b",
        " application/jwt ",
    ] {
        assert_eq!(active(ok(content_type, &jwt)), expected, "{content_type}");
    }
    for body in [format!("{jwt}\r\n"), format!("{jwt}\n"), format!("\n \t{jwt} \r\n\n")] {
        assert_eq!(active(ok(JWT, &body)), expected, "{body:?}");
    }
    let without = read(&response(200, JWT, &jwt), Forward::None, NOW);
    assert_eq!(active(without), expected);
}

#[test]
fn a_jwe_is_the_phantom_token_too() {
    let jwt = jwe(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#, "a2V5");
    let grant = active(ok(JWT, &jwt));
    assert_eq!(grant.jwt, jwt.as_bytes());
    assert_eq!((grant.scope.as_slice(), grant.exp), (&b""[..], None));
    assert_eq!(grant.nature, Nature::default());
    let grant = active(ok(JSON, &json_with(&jwt, "\"scope\":\"read\",\"exp\":1700000009")));
    assert_eq!((grant.scope.as_slice(), grant.exp), (&b"read"[..], Some(NOW + 9)));
}

#[test]
fn text_that_is_no_jwt_is_not_forwarded() {
    let good = access_token("{}");
    for (body, cause) in [
        ("", Cause::Empty),
        (" \r\n", Cause::Empty),
        ("<html></html>", Cause::Segments),
        (r#"{"active":true}"#, Cause::Segments),
        (r#"{"active":false}"#, Cause::Segments),
        ("opaque", Cause::Segments),
        ("a.b.c", Cause::Segments),
        ("YQ.YQ.YQ", Cause::Header),
        (&format!("\"{good}\""), Cause::Segments),
        (&format!("Bearer {good}"), Cause::Segments),
        (&format!("{good} {good}"), Cause::Segments),
        (&format!("{good}\r\nX-Evil: 1"), Cause::Segments),
        (&format!("{good}\0"), Cause::Segments),
        (&format!("{good}\x0b"), Cause::Segments),
        (&format!("\u{feff}{good}"), Cause::Segments),
        (&jws(r#"{"alg":"none"}"#, "{}"), Cause::Alg),
        (&jws(r#"{"alg":"None"}"#, r#"{"exp":1}"#), Cause::Alg),
        (&access_token("[]"), Cause::Payload),
        (&access_token(r#"{"exp":"soon"}"#), Cause::Exp),
        (&access_token(r#"{"exp":-1}"#), Cause::Exp),
        (&access_token(r#"{"scope":7}"#), Cause::Scope),
        (&access_token(r#"{"scp":{"a":1}}"#), Cause::Scope),
        (&access_token(r#"{"cnf":"x"}"#), Cause::Cnf),
    ] {
        assert_eq!(ok(JWT, body), not_understood(cause), "{body:?}");
        let without = read(&response(200, JWT, body), Forward::None, NOW);
        assert_eq!(without, not_understood(cause), "{body:?}");
    }
}

#[test]
fn an_introspection_answer_is_never_the_phantom_token() {
    // RFC 9701 under the wrong content type.
    let inside = r#"{"iss":"a","aud":"b","iat":1,"token_introspection":{"active":true}}"#;
    let answer = not_understood(Cause::IntrospectionAnswer);
    assert_eq!(ok(JWT, &jws(INTROSPECTION_HEADER, inside)), answer);
    let prefixed = r#"{"alg":"RS256","typ":"application/Token-Introspection+JWT"}"#;
    assert_eq!(ok(JWT, &jws(prefixed, inside)), answer);
    // The early drafts: application/jwt, and the answer's members at the top.
    let early = r#"{"iss":"a","aud":"b","iat":1,"active":true,"scope":"read","exp":1700000100}"#;
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"RS256","typ":"JWT"}"#, INTROSPECTION_HEADER] {
        assert_eq!(ok(JWT, &jws(header, early)), answer);
    }
    // Encrypted, its `typ` still tells.
    let encrypted = jwe(r#"{"alg":"RSA-OAEP","typ":"token-introspection+jwt"}"#, "a2V5");
    assert_eq!(ok(JWT, &encrypted), answer);
    assert!(Cause::IntrospectionAnswer.words().contains("introspection_accept application/json"));
    // What calls itself an access token and holds one is neither.
    for forward in [Forward::Jwt, Forward::None] {
        let neither = read(&response(200, JWT, &access_token(inside)), forward, NOW);
        assert_eq!(neither, not_understood(Cause::IntrospectionPayload));
    }
    // In a JSON answer it is no token either.
    for jwt in [jws(INTROSPECTION_HEADER, inside), jws(INTROSPECTION_HEADER, "{}"), encrypted] {
        assert_eq!(ok(JSON, &json_with(&jwt, "")), not_understood(Cause::Typ));
    }
    assert_eq!(
        ok(JSON, &json_with(&access_token(early), "")),
        not_understood(Cause::IntrospectionPayload)
    );
}

#[test]
fn where_none_is_forwarded_an_early_introspection_answer_is_read() {
    let ok = |body: &str| read(&response(200, JWT, body), Forward::None, NOW);
    let token = access_token(r#"{"sub":"a","exp":1700000050}"#);
    // Its own members, as Glewlwyd sends them.
    let early = format!(
        r#"{{"iss":"a","aud":"b","iat":1,"active":true,"scope":"read","exp":1700000100,"jwt":"{token}"}}"#
    );
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"RS256","typ":"JWT"}"#, INTROSPECTION_HEADER] {
        let grant = active(ok(&jws(header, &early)));
        assert_eq!((grant.scope.as_slice(), grant.exp), (&b"read"[..], Some(NOW + 50)));
        assert_eq!(grant.jwt, token.as_bytes());
        let claims =
            br#"{"iss":"a","aud":"b","iat":1,"active":true,"scope":"read","exp":1700000100}"#;
        assert_eq!(grant.claims, claims);
    }
    // Or the object of RFC 9701, which then decides alone.
    let wrap = |object: &str| {
        let payload = format!(r#"{{"iss":"a","active":true,"token_introspection":{object}}}"#);
        jws(INTROSPECTION_HEADER, &payload)
    };
    let grant = active(ok(&wrap(r#"{"active":true,"sub":"b","exp":0}"#)));
    assert_eq!(
        (grant.claims.as_slice(), grant.exp),
        (&br#"{"active":true,"sub":"b","exp":0}"#[..], None)
    );
    assert!(grant.jwt.is_empty());
    assert_eq!(ok(&wrap(r#"{"active":false}"#)), Answer::Inactive(None));
    assert_eq!(ok(&wrap(r#"{"active":true,"exp":1700000000}"#)), Answer::Inactive(Some(Skew(0))));
    for (body, cause) in [
        (jws(INTROSPECTION_HEADER, "{}"), Cause::NoActive),
        (access_token(r#"{"active":"true"}"#), Cause::ActiveType),
        (access_token(r#"{"active":null}"#), Cause::ActiveType),
        (access_token(r#"{"active":true,"scope":1}"#), Cause::Scope),
        (wrap("null"), Cause::NoTokenIntrospection),
        (wrap(r#""{}""#), Cause::NoTokenIntrospection),
        (wrap("{}"), Cause::NoActive),
        (jws(r#"{"alg":"none"}"#, &early), Cause::Alg),
        (jws(r#"{"alg":"none","typ":"token-introspection+jwt"}"#, &early), Cause::Alg),
        (
            jwe(r#"{"alg":"RSA-OAEP","typ":"token-introspection+jwt"}"#, "a2V5"),
            Cause::EncryptedAnswer,
        ),
    ] {
        assert_eq!(ok(&body), not_understood(cause), "{body}");
    }
}

#[test]
fn a_jwt_that_says_inactive() {
    let inactive = r#"{"iss":"a","active":false}"#;
    for header in [r#"{"alg":"RS256"}"#, INTROSPECTION_HEADER, r#"{"alg":"none"}"#] {
        assert_eq!(ok(JWT, &jws(header, inactive)), Answer::Inactive(None), "{header}");
    }
    for payload in [r#"{"active":"false"}"#, r#"{"active":0}"#, r#"{"active":null}"#] {
        assert_eq!(ok(JWT, &access_token(payload)), not_understood(Cause::IntrospectionAnswer));
    }
    assert_eq!(
        ok(JWT, &access_token(r#"{"active":true,"active":false}"#)),
        not_understood(Cause::Payload)
    );
}

#[test]
fn json_says_inactive() {
    for body in [
        r#"{"active":false}"#,
        " {\"active\" : false}\r\n",
        r#"{"active":false,"exp":"x","scope":1,"jwt":7}"#,
        &format!("{{\"active\":false,\"jwt\":\"{}\"}}", access_token("{}")),
    ] {
        assert_eq!(ok(JSON, body), Answer::Inactive(None), "{body}");
        assert_eq!(ok_without_jwt(body), Answer::Inactive(None), "{body}");
    }
    assert_eq!(ok("application/json;charset=UTF-8", r#"{"active":false}"#), Answer::Inactive(None));
}

#[test]
fn a_member_of_a_json_answer_is_the_phantom_token() {
    let first = access_token(r#"{"n":1}"#);
    let second = access_token(r#"{"n":2}"#);
    for (members, expected) in [
        (format!(r#""phantom_token":"{first}""#), &first),
        (format!(r#""jwt":"{second}""#), &second),
        (format!(r#""jwt":"{second}","phantom_token":"{first}""#), &first),
        (format!(r#""phantom_token":null,"jwt":"{second}""#), &second),
        (format!(r#""phantom_token":true,"jwt":"{second}""#), &second),
    ] {
        let grant = active(ok(JSON, &format!("{{\"active\":true,{members}}}")));
        assert_eq!(grant.jwt, expected.as_bytes(), "{members}");
    }
}

#[test]
fn active_alone_forwards_nothing() {
    let good = access_token("{}");
    for (members, cause) in [
        (String::new(), Cause::NoJwt),
        (r#","jwt":null"#.to_owned(), Cause::NoJwt),
        (r#","jwt":{"alg":"RS256"}"#.to_owned(), Cause::NoJwt),
        (format!(r#","jwt":["{good}"]"#), Cause::NoJwt),
        (format!(r#","JWT":"{good}","Phantom_Token":"{good}""#), Cause::NoJwt),
        (format!(r#","access_token":"{good}","token":"{good}""#), Cause::NoJwt),
        (format!(r#","ext":{{"jwt":"{good}"}}"#), Cause::NoJwt),
        (r#","jwt":"""#.to_owned(), Cause::Segments),
        (r#","jwt":"opaque""#.to_owned(), Cause::Segments),
        (format!(r#","jwt":" {good}""#), Cause::Segments),
        (format!(r#","jwt":"{good}\r\nX-Evil: 1""#), Cause::Segments),
        // The first counts, even where the second would do.
        (format!(r#","phantom_token":"opaque","jwt":"{good}""#), Cause::Segments),
        (format!(r#","jwt":"{}""#, jws(r#"{"alg":"none"}"#, "{}")), Cause::Alg),
    ] {
        let body = format!("{{\"active\":true{members}}}");
        assert_eq!(ok(JSON, &body), not_understood(cause), "{body}");
    }
}

#[test]
fn json_that_is_not_understood() {
    let good = access_token("{}");
    let with = |members: &str| format!("{{{members},\"jwt\":\"{good}\"}}");
    for (body, cause) in [
        ("", Cause::Empty),
        ("\n", Cause::Empty),
        ("{", Cause::Json),
        ("active", Cause::Json),
        (&good, Cause::Json),
        ("[]", Cause::NotAnObject),
        ("true", Cause::NotAnObject),
        ("null", Cause::NotAnObject),
        ("{}", Cause::NoActive),
        (&with(r#""Active":true"#), Cause::NoActive),
        (&with(r#""token_introspection":{"active":true}"#), Cause::NoActive),
        (&with(r#""active":"true""#), Cause::ActiveType),
        (&with(r#""active":1"#), Cause::ActiveType),
        (&with(r#""active":null"#), Cause::ActiveType),
        (&with(r#""active":{}"#), Cause::ActiveType),
        (&with(r#""active":[true]"#), Cause::ActiveType),
        (&with(r#""active":true,"active":true"#), Cause::Duplicate),
        (&with(r#""active":false,"active":true"#), Cause::Duplicate),
        (&with(r#""active":true,"jwt":"a""#), Cause::Duplicate),
        (&with(r#""active":true,"cnf":{"jkt":"a","jkt":"b"}"#), Cause::Duplicate),
        (&with("\"active\":true,\"sub\":\"a\u{1}\""), Cause::Json),
        (&with("\"active\":true,\"sub\":\"a\nb\""), Cause::Json),
        (&with(r#""active":true,"exp":"1800000000.5""#), Cause::Exp),
        (&with(r#""active":true,"exp":"""#), Cause::Exp),
        (&with(r#""active":true,"exp":-1"#), Cause::Exp),
        (&with(r#""active":true,"exp":true"#), Cause::Exp),
        (&with(r#""active":true,"scope":1"#), Cause::Scope),
        (&with(r#""active":true,"scope":["a",1]"#), Cause::Scope),
        (&with(r#""active":true,"scope":"a\nb""#), Cause::Scope),
        (&with(r#""active":true,"cnf":"x""#), Cause::Cnf),
        (&format!("{} {{}}", with(r#""active":true"#)), Cause::Json),
    ] {
        assert_eq!(ok(JSON, body), not_understood(cause), "{body:?}");
        assert_eq!(ok_without_jwt(body), not_understood(cause), "{body:?}");
    }
    let mut not_utf8 = response(200, JSON, r#"{"active":false,"sub":"x"}"#);
    not_utf8.body[23] = 0xff;
    assert_eq!(read(&not_utf8, Forward::Jwt, NOW), not_understood(Cause::Json));
}

#[test]
fn content_types_that_are_not_read() {
    let jwt = access_token("{}");
    for content_type in [
        "text/plain",
        "text/html",
        "application/octet-stream",
        "application/jwt+json",
        "application/at+jwt",
        "application/problem+json",
        "application/json-seq",
        "application/jwt, application/json",
        "jwt",
        ";",
        "application/ jwt",
    ] {
        for body in [jwt.as_str(), r#"{"active":false}"#] {
            assert_eq!(
                ok(content_type, body),
                not_understood(Cause::ContentType),
                "{content_type}"
            );
        }
    }
    assert_eq!(ok("", &jwt), not_understood(Cause::NoContentType));
}

#[test]
fn encodings_and_sizes() {
    let jwt = access_token("{}");
    let encoded = |coding: &[u8]| {
        let mut response = response(200, JWT, &jwt);
        response.content_encoding = Some(coding.to_vec());
        read(&response, Forward::Jwt, NOW)
    };
    for coding in [&b"identity"[..], b"Identity", b"", b" identity "] {
        active(encoded(coding));
    }
    for coding in [&b"gzip"[..], b"br", b"identity, gzip", b"x"] {
        assert_eq!(encoded(coding), not_understood(Cause::ContentEncoding));
    }
    let padded = |len: usize| format!("{}{}", " ".repeat(len - jwt.len()), jwt);
    active(ok(JWT, &padded(MAX_BODY)));
    assert_eq!(ok(JWT, &padded(MAX_BODY + 1)), not_understood(Cause::TooLarge));
}

#[test]
fn rfc_9701() {
    let token = access_token(r#"{"sub":"a"}"#);
    let wrap = |object: &str| {
        jws(INTROSPECTION_HEADER, &format!("{{\"iss\":\"i\",\"token_introspection\":{object}}}"))
    };
    let object = format!(r#"{{"active":true,"scope":"read","exp":1700000009,"jwt":"{token}"}}"#);
    for content_type in [TOKEN_INTROSPECTION_JWT, "Application/Token-Introspection+JWT; a=b"] {
        let grant = active(ok(content_type, &wrap(&object)));
        assert_eq!(grant.jwt, token.as_bytes());
        assert_eq!(grant.scope, b"read");
        assert_eq!(grant.exp, Some(NOW + 9));
        assert_eq!(grant.claims, br#"{"active":true,"scope":"read","exp":1700000009}"#);
    }
    let read_as =
        |forward, body: &str| read(&response(200, TOKEN_INTROSPECTION_JWT, body), forward, NOW);
    assert_eq!(read_as(Forward::Jwt, &wrap(r#"{"active":false}"#)), Answer::Inactive(None));
    assert_eq!(read_as(Forward::None, &wrap(r#"{"active":false}"#)), Answer::Inactive(None));
    // The answer itself is never taken for the token.
    assert_eq!(read_as(Forward::Jwt, &wrap(r#"{"active":true}"#)), not_understood(Cause::NoJwt));
    let grant = active(read_as(Forward::None, &wrap(r#"{"active":true,"sub":"b"}"#)));
    assert!(grant.jwt.is_empty());
    assert_eq!(grant.claims, br#"{"active":true,"sub":"b"}"#);
    for (body, cause) in [
        (wrap("{}"), Cause::NoActive),
        (wrap(r#"{"active":"true"}"#), Cause::ActiveType),
        (wrap("null"), Cause::NoTokenIntrospection),
        (wrap(r#""{}""#), Cause::NoTokenIntrospection),
        (wrap(r#"{"active":true,"active":false}"#), Cause::Payload),
        (jws(INTROSPECTION_HEADER, r#"{"active":true}"#), Cause::NoTokenIntrospection),
        (jws(INTROSPECTION_HEADER, r#"{"active":false}"#), Cause::NoTokenIntrospection),
        (access_token(r#"{"token_introspection":{"active":true}}"#), Cause::Typ),
        (wrap(&object).replace('.', ","), Cause::Segments),
        (object.clone(), Cause::Segments),
        (token.clone(), Cause::Typ),
        (String::new(), Cause::Empty),
        (
            jwe(r#"{"alg":"RSA-OAEP","typ":"token-introspection+jwt"}"#, "a2V5"),
            Cause::EncryptedAnswer,
        ),
        (
            jws(
                r#"{"alg":"none","typ":"token-introspection+jwt"}"#,
                r#"{"token_introspection":{"active":true}}"#,
            ),
            Cause::Alg,
        ),
    ] {
        assert_eq!(read_as(Forward::Jwt, &body), not_understood(cause), "{body}");
        assert_eq!(read_as(Forward::None, &body), not_understood(cause), "{body}");
    }
}

#[test]
fn forward_none_needs_no_jwt() {
    let grant = active(ok_without_jwt(
        r#"{"active":true,"scope":["a","b"],"exp":1700000001.5,"sub":"c","cnf":{"jkt":"d"}}"#,
    ));
    assert!(grant.jwt.is_empty());
    assert_eq!(grant.scope, b"a b");
    assert_eq!(grant.exp, Some(NOW + 1));
    assert!(grant.nature.binding.dpop.is_bound());
    // A JWT that comes along still counts for what it says,
    let jwt = access_token(r#"{"exp":1700000001,"scope":"x","cnf":{"jkt":"d"}}"#);
    let grant = active(ok_without_jwt(&json_with(&jwt, r#""exp":1700000009"#)));
    assert_eq!(grant.jwt, jwt.as_bytes());
    assert_eq!((grant.scope.as_slice(), grant.exp), (&b"x"[..], Some(NOW + 1)));
    assert!(grant.nature.binding.dpop.is_bound());
    // and one that cannot be read is not needed, and not shown either.
    let grant = active(ok_without_jwt(r#"{"active":true,"jwt":"opaque","sub":"a"}"#));
    assert!(grant.jwt.is_empty());
    assert_eq!(grant.claims, br#"{"active":true,"sub":"a"}"#);
}

#[test]
fn claims_hold_no_token() {
    let jwt = access_token("{}");
    let body = format!(
        "{{ \"phantom_token\": \"{jwt}\", \"active\": true,\n \"n\": 1.0, \"jwt\": \"{jwt}\", \
         \"o\": {{ \"a b\": [ 1, 2 ] }}, \"\\u0041\\n\": \"\\u00e9\" }}"
    );
    let grant = active(ok(JSON, &body));
    assert_eq!(grant.claims, br#"{"active":true,"n":1.0,"o":{"a b":[1,2]},"A\n":"\u00e9"}"#);
    assert!(active(ok(JWT, &jwt)).claims.is_empty());
}

#[test]
fn debug_shows_neither_token_nor_answer() {
    let jwt = access_token(r#"{"sub":"secret"}"#);
    let response = response(200, JSON, &json_with(&jwt, r#""sub":"secret","scope":"secret""#));
    let answer = read(&response, Forward::Jwt, NOW);
    for text in [format!("{response:?}"), format!("{answer:?}")] {
        assert!(!text.contains("secret") && !text.contains(&jwt[..12]), "{text}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read_without_a_panic(
        status in prop_oneof![Just(200u16), Just(204), Just(400), Just(401), Just(429), any::<u16>()],
        content_type in prop_oneof![
            Just(JWT), Just(JSON), Just(TOKEN_INTROSPECTION_JWT), Just("text/plain"), Just(""),
        ],
        body: Vec<u8>, retry_after: Option<Vec<u8>>, none: bool, now: u64,
    ) {
        let mut response = response(status, content_type, "");
        response.body = body;
        response.retry_after = retry_after;
        let forward = if none { Forward::None } else { Forward::Jwt };
        read(&response, forward, now);
    }

    /// Whatever a server writes into its members, what goes upstream is a JWT and is in time.
    #[test]
    fn a_grant_always_carries_a_jwt_to_forward(
        active in prop_oneof![
            Just("true"), Just("true"), Just("false"), Just("1"), Just("\"true\""), Just("null"),
        ],
        member in prop_oneof![Just("phantom_token"), Just("jwt"), Just("token")],
        token in prop_oneof![
            Just(access_token("{}")), Just(access_token(r#"{"active":true}"#)),
            Just(jws(INTROSPECTION_HEADER, "{}")), "[a-zA-Z0-9._-]{0,40}",
        ],
        exp in prop_oneof![Just(None), any::<i64>().prop_map(Some)],
        more in "[a-z]{1,3}",
    ) {
        let exp = exp.map_or(String::new(), |exp| format!(",\"exp\":{exp}"));
        let body = format!("{{\"active\":{active},\"{member}\":\"{token}\",\"{more}\":1{exp}}}");
        if let Answer::Active(grant) = ok(JSON, &body) {
            prop_assert_eq!(active, "true");
            prop_assert!(Compact::parse(&grant.jwt).is_ok());
            prop_assert_eq!(&grant.jwt, token.as_bytes());
            prop_assert!(grant.exp.is_none_or(|exp| exp > NOW));
            prop_assert!(Object::parse(&grant.claims).is_ok());
        }
    }
}
