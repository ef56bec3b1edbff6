use proptest::prelude::*;

use super::*;

/// A JWS of a header and a payload, with a signature that nobody checks.
pub(crate) fn jws(header: &str, payload: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// An ordinary access token (RFC 9068) with this payload.
pub(crate) fn access_token(payload: &str) -> String {
    jws(r#"{"alg":"RS256","typ":"at+jwt","kid":"1"}"#, payload)
}

/// A JWE whose key, IV, ciphertext and tag are of no consequence.
pub(crate) fn jwe(header: &str, encrypted_key: &str) -> String {
    format!("{}.{encrypted_key}.aXY.Y2lwaGVydGV4dA.dGFn", URL_SAFE_NO_PAD.encode(header))
}

fn cause(text: &str) -> Cause {
    Compact::parse(text.as_bytes()).err().expect("a cause")
}

#[test]
fn an_access_token_is_read() {
    let text = access_token(r#"{"exp":1700000000,"scope":"a b","cnf":{"jkt":"x"}}"#);
    let jwt = Compact::parse(text.as_bytes()).expect("a JWT");
    assert_eq!(jwt.exp(), Ok(Some(1_700_000_000)));
    assert_eq!(jwt.scope(), Ok(Some(b"a b".to_vec())));
    assert!(jwt.nature().is_ok_and(|nature| nature.binding.dpop.is_bound()));
    assert_eq!(jwt.payload(), Some(&br#"{"exp":1700000000,"scope":"a b","cnf":{"jkt":"x"}}"#[..]));
}

#[test]
fn a_jwe_is_taken_unread() {
    for text in [
        jwe(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#, "a2V5"),
        jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, ""),
        jwe(r#"{"alg":"ECDH-ES","enc":"A256GCM"}"#, ""),
    ] {
        let jwt = Compact::parse(text.as_bytes()).expect("a JWT");
        assert!(jwt.payload().is_none());
        assert_eq!(jwt.exp(), Ok(None));
        assert_eq!(jwt.scope(), Ok(None));
        assert_eq!(jwt.nature(), Ok(Nature::default()));
    }
}

#[test]
fn segments_are_base64url_and_there() {
    let good = access_token("{}");
    let [header, payload, signature] =
        good.split('.').collect::<Vec<_>>().try_into().expect("three segments");
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        "abc".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{good}."),
        format!("{good}.a"),
        format!("{good}.a.b.c"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.a+b"),
        format!("{header}.{payload}.a/b"),
        format!("{header}.{payload}.a\r\nX-Evil: 1"),
        format!("{header}.{payload}.é"),
        // Lengths and trailing bits that no encoder leaves.
        format!("{header}.e30A0.{signature}"),
        format!("{header}.e31.{signature}"),
        format!("Bearer {good}"),
        // A JWE's segments are there too; only the key of direct agreement is not.
        jwe(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#, ""),
        jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "a+b"),
        jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "").replace("aXY", ""),
        jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "").replace("Y2lwaGVydGV4dA", ""),
        jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "").replace("dGFn", ""),
    ] {
        assert_eq!(cause(&text), Cause::Segments, "{text:?}");
    }
}

#[test]
fn headers() {
    for (header, expected) in [
        ("[]", Cause::Header),
        ("\"alg\"", Cause::Header),
        ("not json", Cause::Header),
        (r#"{"alg":"RS256","alg":"none"}"#, Cause::Header),
        (r#"{"alg":"RS256"}x"#, Cause::Header),
        (r#"{"alg":1}"#, Cause::Header),
        (r#"{"alg":null}"#, Cause::Header),
        (r#"{"alg":["RS256"]}"#, Cause::Header),
        (r#"{"alg":"RS256","typ":1}"#, Cause::Header),
        (r#"{"alg":"RS256","typ":null}"#, Cause::Header),
        ("{}", Cause::Alg),
        (r#"{"typ":"JWT"}"#, Cause::Alg),
        (r#"{"ALG":"RS256"}"#, Cause::Alg),
        (r#"{"alg":""}"#, Cause::Alg),
        (r#"{"alg":"none"}"#, Cause::Alg),
        (r#"{"alg":"None"}"#, Cause::Alg),
        (r#"{"alg":"NONE"}"#, Cause::Alg),
        (r#"{"alg":"nOnE "}"#, Cause::Alg),
        (r#"{"alg":"\u006eone"}"#, Cause::Alg),
        (r#"{"alg":"RS256","typ":"token-introspection+jwt"}"#, Cause::Typ),
        (r#"{"alg":"RS256","typ":"Token-Introspection+JWT"}"#, Cause::Typ),
        (r#"{"alg":"RS256","typ":"application/token-introspection+jwt"}"#, Cause::Typ),
        (r#"{"alg":"RS256","typ":"APPLICATION/Token-introspection+jwt"}"#, Cause::Typ),
        (r#"{"alg":"RS256","typ":" token-introspection+jwt ; a=b"}"#, Cause::Typ),
    ] {
        assert_eq!(cause(&jws(header, "{}")), expected, "{header}");
        assert_eq!(cause(&jwe(header, "a2V5")), expected, "JWE {header}");
    }
    for header in [
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"nonesuch"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"at+jwt"}"#,
        r#"{"alg":"RS256","typ":"application/at+jwt"}"#,
        r#"{"alg":"RS256","typ":""}"#,
        r#"{"alg":"RS256","typ":"é"}"#,
    ] {
        assert!(Compact::parse(jws(header, "{}").as_bytes()).is_ok(), "{header}");
    }
}

#[test]
fn payloads() {
    for (payload, expected) in [
        ("[]", Cause::Payload),
        ("null", Cause::Payload),
        ("text", Cause::Payload),
        (r#"{"a":1}{"b":2}"#, Cause::Payload),
        (r#"{"exp":1,"exp":2}"#, Cause::Payload),
        (r#"{"a":{"b":1,"b":2}}"#, Cause::Payload),
        (r#"{"active":true}"#, Cause::IntrospectionPayload),
        (r#"{"active":false}"#, Cause::IntrospectionPayload),
        (r#"{"active":"yes"}"#, Cause::IntrospectionPayload),
        (r#"{"active":null}"#, Cause::IntrospectionPayload),
        (r#"{"\u0061ctive":true}"#, Cause::IntrospectionPayload),
        (r#"{"token_introspection":{"active":true}}"#, Cause::IntrospectionPayload),
        (r#"{"token_introspection":null}"#, Cause::IntrospectionPayload),
    ] {
        assert_eq!(cause(&access_token(payload)), expected, "{payload}");
    }
    for payload in ["{}", r#"{"Active":true}"#, r#"{"a":{"active":true}}"#] {
        assert!(Compact::parse(access_token(payload).as_bytes()).is_ok(), "{payload}");
    }
}

#[test]
fn only_false_says_inactive() {
    for (payload, expected) in [
        (r#"{"active":false}"#, true),
        (r#"{"active":true}"#, false),
        (r#"{"active":"false"}"#, false),
        (r#"{"active":0}"#, false),
        (r#"{"a":{"active":false}}"#, false),
        ("{}", false),
    ] {
        let text = access_token(payload);
        let compact = Compact::decode(text.as_bytes()).expect("a JWT");
        assert_eq!(compact.says_inactive(), expected, "{payload}");
    }
}

#[test]
fn an_introspection_answer_is_not_anything_else() {
    let read = |text: String| {
        let compact = Compact::decode(text.as_bytes())?;
        compact.token_introspection().map(|answer| answer.members().count())
    };
    let typ = r#"{"alg":"RS256","typ":"token-introspection+jwt"}"#;
    let answer = r#"{"iss":"a","token_introspection":{"active":true,"sub":"b"}}"#;
    assert_eq!(read(jws(typ, answer)), Ok(2));
    assert_eq!(read(jws(r#"{"alg":"RS256"}"#, answer)), Ok(2));
    assert_eq!(
        read(jws(r#"{"alg":"ES256","typ":"application/Token-Introspection+jwt"}"#, answer)),
        Ok(2)
    );
    assert_eq!(read(jws(r#"{"alg":"RS256","typ":"at+jwt"}"#, answer)), Err(Cause::Typ));
    assert_eq!(read(jws(r#"{"alg":"RS256","typ":"JWT"}"#, answer)), Err(Cause::Typ));
    assert_eq!(
        read(jws(r#"{"alg":"none","typ":"token-introspection+jwt"}"#, answer)),
        Err(Cause::Alg)
    );
    assert_eq!(
        read(jwe(r#"{"alg":"RSA-OAEP","typ":"token-introspection+jwt"}"#, "a2V5")),
        Err(Cause::EncryptedAnswer)
    );
    for payload in [
        "{}",
        r#"{"active":true}"#,
        r#"{"token_introspection":null}"#,
        r#"{"token_introspection":true}"#,
        r#"{"token_introspection":"{\"active\":true}"}"#,
        r#"{"token_introspection":[{"active":true}]}"#,
    ] {
        assert_eq!(read(jws(typ, payload)), Err(Cause::NoTokenIntrospection), "{payload}");
    }
}

#[test]
fn the_payload_of_a_checked_jwt() {
    let payload = payload_of_checked(access_token(r#"{"a":1}"#).as_bytes()).expect("a payload");
    assert_eq!(*payload, br#"{"a":1}"#);
    assert!(payload_of_checked(jwe(r#"{"alg":"dir"}"#, "").as_bytes()).is_none());
    for text in ["", ".", "a.b", "a.b.c.d"] {
        assert!(payload_of_checked(text.as_bytes()).is_none(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(text: Vec<u8>) {
        let _ = Compact::parse(&text);
        let _ = payload_of_checked(&text);
    }

    #[test]
    fn what_is_accepted_can_be_sent_in_a_header(
        header in "[ -~]{0,40}", payload in "[ -~]{0,40}", signature in "[ -~\r\n]{0,20}",
    ) {
        for (header, payload) in [(header.as_str(), payload.as_str()), (r#"{"alg":"a"}"#, "{}")] {
            let mut text = jws(header, payload);
            text.truncate(text.rfind('.').expect("a dot") + 1);
            text.push_str(&signature);
            if Compact::parse(text.as_bytes()).is_ok() {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn a_printed_payload_reads_back(sub: String, exp in 0u64..1 << 52) {
        let payload = serde_json::json!({ "sub": sub, "exp": exp }).to_string();
        let text = access_token(&payload);
        let jwt = Compact::parse(text.as_bytes()).expect("a JWT");
        prop_assert_eq!(jwt.payload(), Some(payload.as_bytes()));
        prop_assert_eq!(jwt.exp(), Ok(Some(exp)));
        prop_assert_eq!(&*payload_of_checked(text.as_bytes()).expect("a payload"), payload.as_bytes());
    }
}
