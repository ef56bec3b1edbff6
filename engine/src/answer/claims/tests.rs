use proptest::prelude::*;

use super::*;
use crate::answer::jwt::tests::{access_token, jwe};

fn in_answer(claims: &str, name: &str) -> ClaimValue {
    lookup(claims.as_bytes(), b"", name.as_bytes())
}

fn text(text: &str) -> ClaimValue {
    ClaimValue::Text(text.as_bytes().to_vec())
}

#[test]
fn each_type_has_a_text() {
    for (value, expected) in [
        (r#""abc""#, "abc"),
        (r#""""#, ""),
        (r#""a \"b\" \u00e9 é""#, "a \"b\" é é"),
        ("0", "0"),
        ("-1.50", "-1.50"),
        ("1e3", "1e3"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("true", "true"),
        ("false", "false"),
        ("[]", ""),
        (r#"["a"]"#, "a"),
        (r#"["a", "b", "a"]"#, "a b a"),
        (r#"["a", "b c"]"#, r#"["a","b c"]"#),
        (r#"[ 1, 2 ]"#, "[1,2]"),
        (r#"["a", 1]"#, r#"["a",1]"#),
        (r#"[null]"#, "[null]"),
        (r#"[["a"]]"#, r#"[["a"]]"#),
        ("{}", "{}"),
        ("{ \"a\" : [ 1 ,\n\t{\"b c\": null} ] }", r#"{"a":[1,{"b c":null}]}"#),
        // As JSON an escape stays an escape.
        (r#"{"a":"\u0000\n"}"#, r#"{"a":"\u0000\n"}"#),
        (r#"["a b","\n"]"#, r#"["a b","\n"]"#),
    ] {
        assert_eq!(in_answer(&format!("{{\"c\": {value} }}"), "c"), text(expected), "{value}");
    }
    assert_eq!(in_answer(r#"{"c":null}"#, "c"), ClaimValue::Absent);
    assert_eq!(in_answer("{}", "c"), ClaimValue::Absent);
}

#[test]
fn a_control_byte_is_never_given_out() {
    for value in [
        r#""a\nb""#,
        r#""a\r\nX-Evil: 1""#,
        r#""\u0000""#,
        r#""\t""#,
        r#""\u001f""#,
        r#""\u007f""#,
        "\"\u{7f}\"",
        r#"["a","b\n"]"#,
        "{\"a\":\"\u{7f}\"}",
    ] {
        assert_eq!(
            in_answer(&format!("{{\"c\":{value}}}"), "c"),
            ClaimValue::Unprintable,
            "{value}"
        );
    }
}

#[test]
fn names_match_in_any_case_and_exactly_first() {
    let claims = r#"{"clientId":"a","CLIENTID":"b","clientid":"c","Sub":"d","SUB":"e"}"#;
    assert_eq!(in_answer(claims, "clientid"), text("c"));
    assert_eq!(in_answer(claims, "CLIENTID"), text("b"));
    assert_eq!(in_answer(claims, "ClientID"), text("a"));
    assert_eq!(in_answer(claims, "sub"), text("d"));
    assert_eq!(in_answer(claims, "su"), ClaimValue::Absent);
    assert_eq!(in_answer(claims, ""), ClaimValue::Absent);
    assert_eq!(lookup(claims.as_bytes(), b"", b"\xff"), ClaimValue::Absent);
}

#[test]
fn the_answer_comes_before_the_jwt() {
    let claims = br#"{"active":true,"sub":"answer","empty":"","gone":null}"#;
    let jwt = access_token(r#"{"sub":"jwt","iss":"jwt","empty":"jwt","gone":"jwt"}"#);
    let find = |name: &str| lookup(claims, jwt.as_bytes(), name.as_bytes());
    assert_eq!(find("sub"), text("answer"));
    assert_eq!(find("SUB"), text("answer"));
    assert_eq!(find("iss"), text("jwt"));
    assert_eq!(find("empty"), text(""));
    assert_eq!(find("gone"), text("jwt"));
    assert_eq!(find("active"), text("true"));
    assert_eq!(find("aud"), ClaimValue::Absent);
    assert_eq!(lookup(b"", jwt.as_bytes(), b"sub"), text("jwt"));
    assert_eq!(lookup(b"", b"", b"sub"), ClaimValue::Absent);
    assert_eq!(lookup(b"", jwe(r#"{"alg":"dir"}"#, "").as_bytes(), b"alg"), ClaimValue::Absent);
}

#[test]
fn an_unprintable_claim_is_not_looked_for_elsewhere() {
    let jwt = access_token(r#"{"sub":"jwt"}"#);
    assert_eq!(lookup(br#"{"sub":"\n"}"#, jwt.as_bytes(), b"sub"), ClaimValue::Unprintable);
}

proptest! {
    #[test]
    fn any_bytes_give_printable_text_or_none(claims: Vec<u8>, jwt: Vec<u8>, name: Vec<u8>) {
        if let ClaimValue::Text(text) = lookup(&claims, &jwt, &name) {
            prop_assert!(!text.iter().any(u8::is_ascii_control));
        }
    }

    #[test]
    fn a_string_is_its_own_text(name in "[a-z_]{1,8}", value: String) {
        let claims = serde_json::json!({ &name: &value }).to_string();
        let expected = if value.bytes().any(|byte| byte.is_ascii_control()) {
            ClaimValue::Unprintable
        } else {
            text(&value)
        };
        prop_assert_eq!(in_answer(&claims, &name), expected.clone());
        prop_assert_eq!(in_answer(&claims, &name.to_uppercase()), expected);
    }
}
