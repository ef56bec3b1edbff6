//! The value of `Authorization`, and a bare token (`token=$variable`).

use super::input::split;
use crate::bearer::{self, Credentials, MAX_TOKEN_LEN, TokenSyntax};
use crate::form;
use crate::form::purge::Purge;

/// Any value in either syntax is the token the plain reading below finds, or none; and what the
/// authorization server is asked about is that very token.
pub fn authorization(input: &[u8]) {
    for syntax in [TokenSyntax::B64token, TokenSyntax::Vschar] {
        let found = bearer::from_authorization(Some(input), syntax);
        assert_eq!(found, expected(input, syntax));
        check(found, input, syntax);
        let bare = bearer::from_bare(input, syntax);
        let plain = match input {
            [] => Credentials::Absent,
            token if is_token(token, syntax) => Credentials::Token(token),
            _ => Credentials::Unusable,
        };
        assert_eq!(bare, plain);
        check(bare, input, syntax);

        // What stands around the value and the scheme's case make no difference.
        let mut other = b"  ".to_vec();
        other.extend(input.iter().take(6).map(u8::to_ascii_uppercase));
        other.extend(input.iter().skip(6));
        other.push(b' ');
        assert_eq!(bearer::from_authorization(Some(&other), syntax), found);
    }
    // Nothing that is a token in the narrow syntax is none in the wide one.
    if let Credentials::Token(token) =
        bearer::from_authorization(Some(input), TokenSyntax::B64token)
    {
        let wide = bearer::from_authorization(Some(input), TokenSyntax::Vschar);
        assert_eq!(wide, Credentials::Token(token));
    }
    assert_eq!(bearer::from_authorization(None, TokenSyntax::default()), Credentials::Absent);
}

fn expected(value: &[u8], syntax: TokenSyntax) -> Credentials<'_> {
    let value = spaces_off(value);
    let scheme_len = value
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(b))
        .unwrap_or(value.len());
    if !value[..scheme_len].eq_ignore_ascii_case(b"bearer") {
        return Credentials::Absent;
    }
    match value.get(scheme_len) {
        Some(b' ') => {
            let token = spaces_off(&value[scheme_len..]);
            if is_token(token, syntax) { Credentials::Token(token) } else { Credentials::Unusable }
        }
        _ => Credentials::Unusable,
    }
}

fn spaces_off(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|byte| *byte != b' ').map_or(start, |last| last + 1);
    &value[start..end]
}

fn is_token(token: &[u8], syntax: TokenSyntax) -> bool {
    let Ok(text) = std::str::from_utf8(token) else { return false };
    let fits = match syntax {
        TokenSyntax::B64token => {
            let body = text.trim_end_matches('=');
            let ours = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
            !body.is_empty() && body.chars().all(ours)
        }
        TokenSyntax::Vschar => {
            text.chars().all(|c| ('!'..='~').contains(&c) && c != '"' && c != ',')
        }
    };
    fits && !text.is_empty() && text.len() <= MAX_TOKEN_LEN
}

fn check(found: Credentials<'_>, input: &[u8], syntax: TokenSyntax) {
    let Credentials::Token(token) = found else { return };
    assert!(is_token(token, syntax));
    let range = input.as_ptr_range();
    assert!(range.contains(&token.as_ptr()) && token.as_ptr_range().end <= range.end);
    assert_eq!(format!("{found:?}"), format!("Token({})", token.len()));

    // The request's body is read back by the purge's reader, which is another one than its writer.
    let body = form::introspection_body(token, [(&b"token_type_hint"[..], &b"access_token"[..])])
        .expect("memory");
    let (pair, rest) = split(&body, b"&");
    assert_eq!(rest, b"token_type_hint=access_token");
    match Purge::parse(pair) {
        Ok(Purge::Token(read)) => assert_eq!(read.as_slice(), token),
        other => panic!("the token's own form is read as {other:?}"),
    }
}
