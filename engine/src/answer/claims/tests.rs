use proptest::prelude::*;

use super::*;
use crate::answer::jwt::tests::{access_token, jwe};

fn in_answer(claims: &str, name: &str) -> ClaimValue {
    lookup(claims.as_bytes(), b"", Wanted::Named(name.as_bytes()))
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
    assert_eq!(lookup(claims.as_bytes(), b"", Wanted::Named(b"\xff")), ClaimValue::Absent);
}

#[test]
fn the_answer_comes_before_the_jwt() {
    let claims = br#"{"active":true,"sub":"answer","empty":"","gone":null}"#;
    let jwt = access_token(r#"{"sub":"jwt","iss":"jwt","empty":"jwt","gone":"jwt"}"#);
    let find = |name: &str| lookup(claims, jwt.as_bytes(), Wanted::Named(name.as_bytes()));
    assert_eq!(find("sub"), text("answer"));
    assert_eq!(find("SUB"), text("answer"));
    assert_eq!(find("iss"), text("jwt"));
    assert_eq!(find("empty"), text(""));
    assert_eq!(find("gone"), text("jwt"));
    assert_eq!(find("active"), text("true"));
    assert_eq!(find("aud"), ClaimValue::Absent);
    assert_eq!(lookup(b"", jwt.as_bytes(), Wanted::Named(b"sub")), text("jwt"));
    assert_eq!(lookup(b"", b"", Wanted::Named(b"sub")), ClaimValue::Absent);
    assert_eq!(
        lookup(b"", jwe(r#"{"alg":"dir"}"#, "").as_bytes(), Wanted::Named(b"alg")),
        ClaimValue::Absent
    );
}

#[test]
fn an_unprintable_claim_is_not_looked_for_elsewhere() {
    let jwt = access_token(r#"{"sub":"jwt"}"#);
    assert_eq!(
        lookup(br#"{"sub":"\n"}"#, jwt.as_bytes(), Wanted::Named(b"sub")),
        ClaimValue::Unprintable
    );
}

fn at(claims: &str, jwt: &str, names: &[&str], has: Option<&str>) -> ClaimValue {
    lookup(claims.as_bytes(), jwt.as_bytes(), Wanted::At(&Path::new(names, has)))
}

#[test]
fn a_path_leads_into_objects_by_exact_names() {
    let claims = r#"{
        "realm_access": {"roles": ["admin", "user"], "Roles": ["x"], "deep": {"er": 7}},
        "https://example.com/tenant": "acme", "array": [{"a": 1}], "text": "a", "none": null,
        "inner": {"none": null, "": "empty", "\u0061": "escaped", "nul": "\u0000"}
    }"#;
    for (names, expected) in [
        (&["realm_access", "roles"][..], text("admin user")),
        (&["realm_access", "Roles"], text("x")),
        (&["realm_access", "deep", "er"], text("7")),
        (&["realm_access", "deep"], text(r#"{"er":7}"#)),
        (&["https://example.com/tenant"], text("acme")),
        (&["inner", ""], text("empty")),
        (&["inner", "a"], text("escaped")),
        (&["inner", "nul"], ClaimValue::Unprintable),
        (&["Realm_access", "roles"], ClaimValue::Absent),
        (&["realm_access", "ROLES"], ClaimValue::Absent),
        (&["realm_access", "roles", "admin"], ClaimValue::Absent),
        (&["realm_access", "roles", "0"], ClaimValue::Absent),
        (&["array", "a"], ClaimValue::Absent),
        (&["array", "0", "a"], ClaimValue::Absent),
        (&["text", "a"], ClaimValue::Absent),
        (&["none"], ClaimValue::Absent),
        (&["none", "a"], ClaimValue::Absent),
        (&["inner", "none"], ClaimValue::Absent),
        (&["roles"], ClaimValue::Absent),
        (&["realm_access.roles"], ClaimValue::Absent),
        (&[], ClaimValue::Absent),
    ] {
        assert_eq!(at(claims, "", names, None), expected, "{names:?}");
        assert_eq!(at("", &access_token(claims), names, None), expected, "{names:?}");
    }
}

#[test]
fn the_answer_decides_where_it_has_the_first_name_of_a_path() {
    let jwt = access_token(r#"{"a":{"b":"jwt"},"c":{"d":"jwt"},"e":{"f":"jwt"},"g":"jwt"}"#);
    let claims = r#"{"a":{"b":"answer"},"c":{},"e":null,"g":["x"]}"#;
    assert_eq!(at(claims, &jwt, &["a", "b"], None), text("answer"));
    assert_eq!(at(claims, &jwt, &["c", "d"], None), ClaimValue::Absent);
    assert_eq!(at(claims, &jwt, &["e", "f"], None), text("jwt"));
    assert_eq!(at(claims, &jwt, &["a"], Some("jwt")), text("0"));
    assert_eq!(at(claims, &jwt, &["c", "d"], Some("jwt")), text("0"));
    assert_eq!(at(claims, &jwt, &["e", "f"], Some("jwt")), text("1"));
    assert_eq!(at(claims, &jwt, &["g"], Some("jwt")), text("0"));
}

#[test]
fn a_test_holds_for_the_very_string_or_an_array_with_it() {
    for (value, holds) in [
        (r#""admin""#, true),
        (r#""\u0061dmin""#, true),
        (r#"["admin"]"#, true),
        (r#"["user", "admin", "admin"]"#, true),
        (r#"[1, null, {"admin": "admin"}, "admin"]"#, true),
        (r#""Admin""#, false),
        (r#"" admin""#, false),
        (r#""admin ""#, false),
        (r#""admin user""#, false),
        (r#""auditor-admin-readonly""#, false),
        (r#"["auditor-admin-readonly", "administrator", "an admin"]"#, false),
        (r#"[["admin"]]"#, false),
        (r#"{"admin": true}"#, false),
        (r#"[{"admin": "admin"}]"#, false),
        ("[]", false),
        (r#""""#, false),
        ("true", false),
        ("1", false),
        ("null", false),
    ] {
        let claims = format!(r#"{{"a": {{"b": {value}}}, "c": {value}}}"#);
        let expected = text(if holds { "1" } else { "0" });
        assert_eq!(at(&claims, "", &["a", "b"], Some("admin")), expected, "{value}");
        assert_eq!(at(&claims, "", &["c"], Some("admin")), expected, "{value}");
        assert_eq!(at("", &access_token(&claims), &["c"], Some("admin")), expected, "{value}");
    }
    assert_eq!(at("{}", "", &["c"], Some("admin")), text("0"));
    assert_eq!(at("", "", &["c"], Some("admin")), text("0"));
    assert_eq!(at(r#"{"c": 1, "d": true}"#, "", &["c"], Some("1")), text("0"));
    assert_eq!(at(r#"{"c": "", "d": [""]}"#, "", &["d"], Some("")), text("1"));
    // What is left empty as a variable meets nothing.
    for value in [r#"["admin","\n"]"#, r#""admin\n""#] {
        let claims = format!(r#"{{"c": {value}}}"#);
        assert_eq!(at(&claims, "", &["c"], Some("admin")), ClaimValue::Unprintable, "{value}");
    }
}

/// All claims, decoded.
fn all_of(claims: &str, jwt: &str) -> Option<String> {
    match lookup(claims.as_bytes(), jwt.as_bytes(), Wanted::All) {
        ClaimValue::Text(text) => {
            assert!(text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
            let json = URL_SAFE_NO_PAD.decode(text).expect("base64url");
            Some(String::from_utf8(json).expect("UTF-8"))
        }
        ClaimValue::Absent => None,
        ClaimValue::Unprintable => panic!("all of base64url is printable"),
    }
}

#[test]
fn all_claims_are_the_answers_and_the_rest_of_the_jwts() {
    let jwt = access_token(r#"{"sub":"jwt", "iss" : "jwt","gone":"jwt","n":null,"o":{"b":2}}"#);
    let claims =
        r#"{"active":true,"sub":"answer","gone":null,"o":{"a": [1, "\n"]},"ü":"é\"\u007f"}"#;
    assert_eq!(
        all_of(claims, &jwt).as_deref(),
        Some(
            "{\"active\":true,\"sub\":\"answer\",\"o\":{\"a\":[1,\"\\n\"]},\"ü\":\"é\\\"\\u007f\",\
             \"iss\":\"jwt\",\"gone\":\"jwt\"}"
        )
    );
    let alone = r#"{"active":true,"sub":"answer","o":{"a":[1,"\n"]},"ü":"é\"\u007f"}"#;
    assert_eq!(all_of(claims, "").as_deref(), Some(alone));
    assert_eq!(
        all_of("", &jwt).as_deref().map(|json| &json[..20]),
        Some(r#"{"sub":"jwt","iss":""#)
    );
    assert_eq!(all_of("{}", "").as_deref(), Some("{}"));
    assert_eq!(all_of("", "").as_deref(), None);
    assert_eq!(all_of("", &jwe(r#"{"alg":"dir"}"#, "")).as_deref(), None);
    // Names in another case are other claims.
    let jwt = access_token(r#"{"Sub":"b"}"#);
    assert_eq!(all_of(r#"{"sub":"a"}"#, &jwt).as_deref(), Some(r#"{"sub":"a","Sub":"b"}"#));
}

proptest! {
    #[test]
    fn any_bytes_give_printable_text_or_none(claims: Vec<u8>, jwt: Vec<u8>, name: Vec<u8>) {
        if let ClaimValue::Text(text) = lookup(&claims, &jwt, Wanted::Named(&name)) {
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

    #[test]
    fn a_path_finds_what_lies_there(
        names in proptest::collection::vec(any::<String>(), 1..5),
        value in any::<String>(),
        in_jwt: bool,
    ) {
        let nested = names.iter().rev().fold(serde_json::json!(value), |inner, name| {
            serde_json::json!({ name: inner })
        });
        let nested = nested.to_string();
        let jwt = access_token(&nested);
        let (claims, jwt) = if in_jwt { ("", &*jwt) } else { (&*nested, "") };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let printable = !value.bytes().any(|byte| byte.is_ascii_control());
        let found = at(claims, jwt, &names, None);
        prop_assert_eq!(found, if printable { text(&value) } else { ClaimValue::Unprintable });
        if printable {
            prop_assert_eq!(at(claims, jwt, &names, Some(&value)), text("1"));
            prop_assert_eq!(at(claims, jwt, &names, Some(&format!("{value}x"))), text("0"));
        }
    }

    #[test]
    fn a_test_is_equality_with_one_of_the_strings(
        values in proptest::collection::vec("[ab ,]{0,3}", 0..5),
        wanted in "[ab ,]{0,3}",
    ) {
        let claims = serde_json::json!({ "c": values }).to_string();
        let holds = values.contains(&wanted);
        prop_assert_eq!(at(&claims, "", &["c"], Some(&wanted)), text(if holds { "1" } else { "0" }));
    }

    #[test]
    fn all_claims_are_each_of_them(
        answer in proptest::collection::btree_map("[a-d]|\\PC", any::<Option<String>>(), 0..5),
        payload in proptest::collection::btree_map("[a-d]|\\PC", any::<Option<String>>(), 0..5),
    ) {
        let mut expected = payload.clone();
        expected.extend(answer.clone().into_iter().filter(|(_, value)| value.is_some()));
        expected.retain(|_, value| value.is_some());
        let jwt = access_token(&serde_json::json!(payload).to_string());
        let all = all_of(&serde_json::json!(answer).to_string(), &jwt).expect("claims");
        let read: serde_json::Value = serde_json::from_str(&all).expect("JSON");
        prop_assert_eq!(read, serde_json::json!(expected));
    }
}
