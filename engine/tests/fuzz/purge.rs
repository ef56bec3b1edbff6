//! The body of a purge.

use super::authorization::{is_respelt, is_token};
use crate::http::form::Form;
use crate::http::form::purge::{Purge, PurgeError};
use crate::token::bearer::TokenSyntax;

/// A body means what a plain reader of forms finds in it, and a token that is taken comes back
/// through the writer of forms.
pub fn purge(input: &[u8]) {
    let found = Purge::parse(input);
    let is_other_spelling = found == Err(PurgeError::Respelt);
    assert_eq!(found.is_ok() || is_other_spelling, expected(input).is_some());
    match &found {
        Ok(Purge::Token(token)) => {
            assert_ne!(is_respelt(token), Some(true));
            assert_eq!(expected(input), Some(Some(token.to_vec())));
            let written = Form::new().pair(b"token", token).expect("memory").finish();
            assert!(Purge::parse(&written).as_ref() == Ok(found.as_ref().expect("a token")));
            assert_eq!(format!("{found:?}"), format!("Ok(Token({}))", token.len()));
        }
        Ok(Purge::All) => assert_eq!(expected(input), Some(None)),
        Err(PurgeError::NoMemory(error)) => panic!("{error}"),
        Err(PurgeError::Respelt) => match expected(input) {
            Some(Some(token)) => assert_ne!(is_respelt(&token), Some(false)),
            other => panic!("{other:?} has one spelling"),
        },
        Err(PurgeError::Malformed | PurgeError::Repeated | PurgeError::Unknown) => {}
        Err(PurgeError::Value | PurgeError::NotOne) => {}
    }
    // A second field never adds to what is forgotten.
    for more in [&b"&all=1"[..], b"&token=x", b"&", b"&x=1", b"\n"] {
        assert!(Purge::parse(&[input, more].concat()).is_err() || input.is_empty());
    }
    assert!(!matches!(Purge::parse(&[b"token=", input].concat()), Ok(Purge::All)));
}

/// `Some(Some(token))`, however it is spelt, `Some(None)` for all, `None` for what is to be refused.
fn expected(body: &[u8]) -> Option<Option<Vec<u8>>> {
    let body = std::str::from_utf8(body).ok()?;
    // Two fields are one too many, whatever they are.
    if body.contains('&') || !body.chars().all(|c| c.is_ascii_graphic()) {
        return None;
    }
    let (name, value) = body.split_once('=')?;
    let (name, value) = (decode(name)?, decode(value)?);
    match (&name[..], &value[..]) {
        (b"token", token) if is_token(token, TokenSyntax::Vschar) => Some(Some(token.to_vec())),
        (b"all", b"1") => Some(None),
        _ => None,
    }
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
