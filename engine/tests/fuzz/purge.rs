//! The body of a purge.

use super::authorization::{is_respelt, is_token};
use crate::http::form::Form;
use crate::http::form::purge::{Purge, PurgeError};
use crate::token::bearer::TokenSyntax;

/// A body means what a plain reader of forms finds in it, and what is taken comes back through the
/// writer of forms.
pub fn purge(input: &[u8]) {
    let found = Purge::parse(input);
    let expected = expected(input);
    let is_other_spelling = found == Err(PurgeError::Respelt);
    assert_eq!(found.is_ok() || is_other_spelling, expected.is_some());
    match &found {
        Ok(Purge::Token(token)) => {
            assert_ne!(is_respelt(token), Some(true));
            assert_comes_back(&found, &expected, "token", token);
            assert_eq!(format!("{found:?}"), format!("Ok(Token({}))", token.len()));
        }
        Ok(Purge::Subject(subject, name)) => {
            assert_comes_back(&found, &expected, subject.word(), name);
            assert_eq!(format!("{found:?}"), format!("Ok(Subject({subject:?}, {}))", name.len()));
        }
        Ok(Purge::All) => assert_comes_back(&found, &expected, "all", b"1"),
        Err(PurgeError::NoMemory(error)) => panic!("{error}"),
        Err(PurgeError::Respelt) => match &expected {
            Some((name, token)) if name == b"token" => assert_ne!(is_respelt(token), Some(false)),
            other => panic!("{other:?} has one spelling"),
        },
        // What it is refused with stands in a JSON string as it is.
        Err(error) => assert!(!error.to_string().contains(['"', '\\', '\n'])),
    }
    // A second field never adds to what is forgotten, and an issuer changes nothing.
    if expected.is_some() {
        for more in [&b"&all=1"[..], b"&token=x", b"&sub=x", b"&", b"&x=1", b"\n"] {
            assert!(Purge::parse(&[input, more].concat()).is_err());
        }
        let issued = Purge::parse(&[input, b"&iss=x"].concat());
        assert!(issued == found || issued == Err(PurgeError::Repeated));
    }
    for name in [&b"token="[..], b"sub="] {
        assert!(!matches!(Purge::parse(&[name, input].concat()), Ok(Purge::All)));
    }
}

fn assert_comes_back(
    found: &Result<Purge, PurgeError>,
    expected: &Option<(Vec<u8>, Vec<u8>)>,
    name: &str,
    value: &[u8],
) {
    assert_eq!(*expected, Some((name.into(), value.into())));
    let written = Form::new().pair(name.as_bytes(), value).expect("memory").finish();
    assert!(Purge::parse(&written) == *found);
}

/// The one field that counts and its value, a token however it is spelt; `None` for what is to be
/// refused.
fn expected(body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let body = std::str::from_utf8(body).ok()?;
    if !body.chars().all(|c| c.is_ascii_graphic()) {
        return None;
    }
    let fields = body.split('&').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((decode(name)?, decode(value)?))
    });
    let fields: Vec<(Vec<u8>, Vec<u8>)> = fields.collect::<Option<_>>()?;
    let (issuers, mut fields): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(name, _)| name == b"iss");
    if issuers.len() > 1 || fields.len() != 1 {
        return None;
    }
    let (name, value) = fields.pop()?;
    let is_good = match &name[..] {
        b"token" => is_token(&value, TokenSyntax::Vschar),
        b"all" => value == b"1",
        b"sub" | b"client_id" | b"sid" | b"jti" => std::str::from_utf8(&value)
            .is_ok_and(|text| !text.is_empty() && !text.bytes().any(|b| b < b' ' || b == 0x7f)),
        _ => false,
    };
    is_good.then_some((name, value))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let plain = |part: &str| part.replace('+', " ").into_bytes();
    let mut out = plain(parts.next()?);
    for part in parts {
        let digits =
            part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        out.extend(plain(&part[2..]));
    }
    Some(out)
}
