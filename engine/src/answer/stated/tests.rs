use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;

fn jwt(payload: &str) -> Vec<u8> {
    let segments = [r#"{"alg":"RS256"}"#, payload, "signature"];
    segments.map(|segment| URL_SAFE_NO_PAD.encode(segment)).join(".").into_bytes()
}

fn stated(answer: &str, payload: &str) -> Stated {
    Stated::read(answer.as_bytes(), &jwt(payload))
}

fn issuer(answer: &str, payload: &str) -> Verdict {
    stated(answer, payload).issuer(|issuer| issuer == "https://good")
}

#[test]
fn the_answers_issuer_counts_and_else_the_jwts() {
    let (good, other) = (r#"{"iss":"https://good"}"#, r#"{"iss":"https://other"}"#);
    let none = "{}";
    for (answer, payload, verdict) in [
        (good, good, Verdict::Wanted),
        (good, none, Verdict::Wanted),
        (none, good, Verdict::Wanted),
        ("", good, Verdict::Wanted),
        (r#"{"iss":null}"#, good, Verdict::Wanted),
        (good, r#"{"iss":null}"#, Verdict::Wanted),
        (r#"{"iss":"https:\/\/g\u006fod"}"#, none, Verdict::Wanted),
        (other, other, Verdict::Unwanted),
        (other, none, Verdict::Unwanted),
        (none, other, Verdict::Unwanted),
        (none, none, Verdict::Unwanted),
        ("", "", Verdict::Unwanted),
        (r#"{"iss":"https://good/"}"#, none, Verdict::Unwanted),
        (r#"{"iss":"HTTPS://good"}"#, none, Verdict::Unwanted),
        (r#"{"iss":["https://good"]}"#, none, Verdict::Unwanted),
        (r#"{"iss":7}"#, none, Verdict::Unwanted),
        (r#"{"ISS":"https://good"}"#, none, Verdict::Unwanted),
        (good, other, Verdict::Contradiction),
        (other, good, Verdict::Contradiction),
        (r#"{"iss":7}"#, good, Verdict::Contradiction),
        (good, r#"{"iss":["https://good"]}"#, Verdict::Contradiction),
    ] {
        assert_eq!(issuer(answer, payload), verdict, "{answer} {payload}");
    }
}

#[test]
fn what_is_no_jws_states_nothing() {
    for jwt in [&b""[..], b"a.b.c.d.e", b"a.b"] {
        let stated = Stated::read(b"{}", jwt);
        assert_eq!(stated.issuer(|_| true), Verdict::Unwanted);
        assert!(!stated.is_for("") && stated.acr().is_none());
        assert!(!stated.is_recent(u64::MAX, u64::MAX, u64::MAX));
        assert_eq!(stated.size(), 0);
    }
}

#[test]
fn an_audience_is_a_string_or_among_an_array_of_strings() {
    for (aud, is_for) in [
        (r#""api""#, true),
        (r#"["api"]"#, true),
        (r#"["other","api"]"#, true),
        (r#"["api","other"]"#, true),
        (r#""a\u0070i""#, true),
        (r#"[ "x" , "api" ]"#, true),
        (r#""other""#, false),
        (r#""API""#, false),
        (r#""api/""#, false),
        (r#""api other""#, false),
        (r#"["api other"]"#, false),
        (r#""""#, false),
        ("[]", false),
        ("{}", false),
        (r#"{"api":"api"}"#, false),
        ("7", false),
        ("true", false),
        ("null", false),
        (r#"[["api"]]"#, false),
        // One element that is no text, and the claim is none of an audience.
        (r#"["api",7]"#, false),
        (r#"["api",null]"#, false),
        (r#"["api","a\u0001"]"#, false),
        (r#""api\u0000""#, false),
        (r#""x\u0000api""#, false),
        (r#""api\n""#, false),
    ] {
        for (answer, payload) in [(format!("{{\"aud\":{aud}}}"), "{}"), ("{}".into(), aud)] {
            let payload =
                if payload == "{}" { payload.into() } else { format!("{{\"aud\":{aud}}}") };
            assert_eq!(stated(&answer, &payload).is_for("api"), is_for, "{aud}");
        }
        // The answer's decides, whatever the JWT says.
        let both = stated(&format!("{{\"aud\":{aud}}}"), r#"{"aud":"api"}"#);
        assert_eq!(both.is_for("api"), is_for || aud == "null", "{aud}");
    }
    assert!(!stated(r#"{"AUD":"api"}"#, "{}").is_for("api"));
    assert!(!stated(r#"{"aud":["",""]}"#, "{}").is_for(""), "nobody is named by nothing");
}

#[test]
fn an_authentication_class_is_a_string() {
    for (acr, expected) in [
        (r#""gold""#, Some("gold")),
        (r#""g\u006fld""#, Some("gold")),
        (r#""""#, Some("")),
        ("1", None),
        ("true", None),
        ("null", None),
        (r#"["gold"]"#, None),
        (r#"{"gold":1}"#, None),
        (r#""gold\u0000""#, None),
        (r#""gold\u007f""#, None),
    ] {
        assert_eq!(stated(&format!("{{\"acr\":{acr}}}"), "{}").acr(), expected, "{acr}");
        assert_eq!(stated("{}", &format!("{{\"acr\":{acr}}}")).acr(), expected, "{acr}");
    }
}

#[test]
fn an_authentication_is_recent_or_not() {
    const NOW: u64 = 1_800_000_000;
    let recent = |auth_time: &str, max_age| {
        stated(&format!("{{\"auth_time\":{auth_time}}}"), "{}").is_recent(max_age, 30, NOW)
    };
    for (auth_time, max_age, expected) in [
        ("1800000000", 1, true),
        ("1799999700", 300, true),
        ("1799999699", 300, false),
        ("1799999700.9", 300, true),
        ("1799999699.9", 300, false),
        ("1.8e9", 300, true),
        ("1800000030", 1, true),
        ("1800000031", 1, false),
        ("1800000031", u64::MAX, false),
        // Spring writes milliseconds.
        ("1800000000000", 300, false),
        ("1e300", 300, false),
        ("99999999999999999999999", u64::MAX, false),
        ("0", 300, false),
        ("0", u64::MAX, true),
        ("-1", u64::MAX, false),
        ("-0.0", u64::MAX, false),
        (r#""1800000000""#, 300, false),
        ("null", 300, false),
        ("true", 300, false),
        ("[1800000000]", 300, false),
        ("{}", 300, false),
    ] {
        assert_eq!(recent(auth_time, max_age), expected, "{auth_time} {max_age}");
    }
    assert!(!stated("{}", "{}").is_recent(300, 30, NOW));
    assert!(stated("{}", r#"{"auth_time":1800000000}"#).is_recent(300, 30, NOW));
}

proptest! {
    #[test]
    fn audiences_are_those_that_are_listed(
        listed in proptest::collection::vec("[ -~é]{0,6}", 0..5),
        asked in "[ -~é]{0,6}",
    ) {
        let answer = serde_json::json!({ "aud": listed }).to_string();
        let stated = Stated::read(answer.as_bytes(), b"");
        for audience in &listed {
            prop_assert_eq!(stated.is_for(audience), !audience.is_empty());
        }
        prop_assert_eq!(stated.is_for(&asked), !asked.is_empty() && listed.contains(&asked));
        // It takes no more room than the text it was read from.
        prop_assert!(stated.size() <= answer.len());
    }
}
