use proptest::prelude::*;

use super::*;

fn encoded(text: &[u8]) -> String {
    let mut out = Vec::new();
    encode(&mut out, text);
    assert_eq!(out.len(), encoded_len(text));
    String::from_utf8(out).expect("ascii")
}

#[test]
fn each_byte() {
    for byte in 0..=255u8 {
        let expected = match byte {
            b' ' => "+".to_owned(),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        assert_eq!(encoded(&[byte]), expected);
    }
    // RFC 6749 Appendix B's own example.
    assert_eq!(encoded(" %&+£€".as_bytes()), "+%25%26%2B%C2%A3%E2%82%AC");
}

#[test]
fn no_token_can_add_a_parameter() {
    let body =
        introspection_body(b"a&client_id=b+/=", [(&b"token_type_hint"[..], &b"x y"[..])]).unwrap();
    assert_eq!(*body, b"token=a%26client_id%3Db%2B%2F%3D&token_type_hint=x+y");
    assert_eq!(*introspection_body(b"abc", []).unwrap(), b"token=abc");
    assert_eq!(
        *introspection_body(b"abc", [(&b"a&b"[..], &b""[..])]).unwrap(),
        b"token=abc&a%26b="
    );
}

#[test]
fn basic_credentials() {
    // base64("client%3A1:s%2Bcr+t") and base64("client:s+cr t").
    assert_eq!(*basic(b"client:1", b"s+cr t"), b"Basic Y2xpZW50JTNBMTpzJTJCY3IrdA==");
    assert_eq!(
        basic_raw(b"client", b"s+cr t").as_deref(),
        Ok(&b"Basic Y2xpZW50OnMrY3IgdA==".to_vec())
    );
    assert_eq!(basic_raw(b"client:1", b"secret"), Err(BasicError::Colon));
    assert_eq!(*basic(b"", b""), b"Basic Og==");
}

#[test]
fn encoding_changes_what_it_would_escape() {
    assert!(!encoding_changes(b"client-1", b"Secret_~.*"));
    for (id, secret) in [("a:b", "c"), ("a", "b c"), ("a", "b+c"), ("a", "é")] {
        assert!(encoding_changes(id.as_bytes(), secret.as_bytes()), "{id} {secret}");
    }
    assert_eq!(Some(basic(b"a", b"b~*")), basic_raw(b"a", b"b~*").ok());
}

proptest! {
    #[test]
    fn the_whole_form_fits_what_was_reserved(
        pairs in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..6),
    ) {
        let form = pairs.iter().fold(Form::new(), |form, (name, value)| form.pair(name, value).unwrap());
        let body = form.finish();
        let expected: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        prop_assert_eq!(std::str::from_utf8(&body).expect("ascii"), expected.join("&"));
    }
}
