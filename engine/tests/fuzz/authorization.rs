//! The value of `Authorization`, and a bare token (`token=$variable`).

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::input::split;
use crate::http::form;
use crate::http::form::purge::Purge;
use crate::token::bearer::{self, Credentials, MAX_TOKEN_LEN, TokenSyntax};

/// Any value in either syntax is the token the plain reading below finds, or none; and what the
/// authorization server is asked about is that very token.
pub fn authorization(input: &[u8]) {
    for syntax in [TokenSyntax::B64token, TokenSyntax::Vschar] {
        let found = bearer::from_authorization(Some(input), syntax);
        check(found, expected(input, syntax), input, syntax);
        let bare = bearer::from_bare(input, syntax);
        let plain = match input {
            [] => Credentials::Absent,
            token if is_token(token, syntax) => Credentials::Token(token),
            _ => Credentials::Unusable,
        };
        check(bare, plain, input, syntax);
        percent_encoded(input, bare, syntax);

        // What stands around the value and the scheme's case make no difference.
        let mut other = b"  ".to_vec();
        other.extend(input.iter().take(6).map(u8::to_ascii_uppercase));
        other.extend(input.iter().skip(6));
        other.extend_from_slice(b" \t ");
        assert_eq!(bearer::from_authorization(Some(&other), syntax), found);
    }
    // Nothing that is a token in the narrow syntax is none in the wide one, nor the other way round
    // where it is another token's spelling.
    let narrow = bearer::from_authorization(Some(input), TokenSyntax::B64token);
    if matches!(narrow, Credentials::Token(_) | Credentials::Respelt) {
        assert_eq!(bearer::from_authorization(Some(input), TokenSyntax::Vschar), narrow);
    }
    assert_eq!(bearer::from_authorization(None, TokenSyntax::default()), Credentials::Absent);
}

/// Percent-encoding comes off once, whole.
fn percent_encoded(token: &[u8], bare: Credentials<'_>, syntax: TokenSyntax) {
    let encoded: String = token.iter().map(|byte| format!("%{byte:02x}")).collect();
    let mut room = vec![0; encoded.len()];
    let decoded = bearer::percent_decoded(encoded.as_bytes(), &mut room).expect("digits");
    assert_eq!(decoded, token);
    assert_eq!(bearer::from_bare(decoded, syntax), bare);
    let mut room = vec![0; token.len()];
    match bearer::percent_decoded(token, &mut room) {
        Some(decoded) => {
            let signs = token.iter().filter(|byte| **byte == b'%').count();
            assert_eq!(decoded.len() + 2 * signs, token.len());
        }
        None => assert!(token.contains(&b'%')),
    }
}

/// What it is but for its spelling.
fn expected(value: &[u8], syntax: TokenSyntax) -> Credentials<'_> {
    let value = blanks_off(value);
    let scheme_len = value
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(b))
        .unwrap_or(value.len());
    if !value[..scheme_len].eq_ignore_ascii_case(b"bearer") {
        return Credentials::Absent;
    }
    match value.get(scheme_len) {
        Some(b' ') => {
            let token = blanks_off(&value[scheme_len..]);
            if is_token(token, syntax) { Credentials::Token(token) } else { Credentials::Unusable }
        }
        _ => Credentials::Unusable,
    }
}

/// Blanks in front, and blanks and tabs behind.
fn blanks_off(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
    &value[start..end.max(start)]
}

/// Whether a token is another spelling of a JOSE token; `None` where that is hard to say.
pub(super) fn is_respelt(token: &[u8]) -> Option<bool> {
    let segments: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    if ![3, 5].contains(&segments.len())
        || segments.iter().all(|segment| URL_SAFE_NO_PAD.decode(segment).is_ok())
    {
        return Some(false);
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = String::from_utf8_lossy(segments[0]).replace('+', "-").replace('/', "_");
    let mut text = text.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c), "");
    text.truncate(text.len() - usize::from(text.len() % 4 == 1));
    let header = GeneralPurpose::new(&URL_SAFE, config).decode(text).expect("base64url");
    match serde_json::from_slice(&header) {
        Ok(Value::Object(members)) if header.len() < 500 => Some(members.contains_key("alg")),
        _ if !header.contains(&b'{') => Some(false),
        // An object that goes on after its end, or does not come to it.
        _ => None,
    }
}

pub(super) fn is_token(token: &[u8], syntax: TokenSyntax) -> bool {
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

/// Only the spelling may make a difference to what was expected.
fn check(found: Credentials<'_>, expected: Credentials<'_>, input: &[u8], syntax: TokenSyntax) {
    let Credentials::Token(token) = expected else { return assert_eq!(found, expected) };
    match is_respelt(token) {
        Some(true) => assert_eq!(found, Credentials::Respelt),
        Some(false) => assert_eq!(found, expected),
        None => assert!(found == expected || found == Credentials::Respelt),
    }
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
