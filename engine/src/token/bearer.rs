//! The opaque token as a client presents it (RFC 6750 §2.1, RFC 9110 §11.4).

use std::fmt;

mod spelling;

/// The longest opaque token that is looked at, in bytes: as long as NGINX's buffers for a header
/// can be made, and a token of any server that was met.
pub const MAX_TOKEN_LEN: usize = 32_768;

const SCHEME: &[u8] = b"bearer";

/// Which bytes an opaque token may consist of (`phantom_token_token_syntax`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TokenSyntax {
    /// `b64token` of RFC 6750 §2.1: letters, digits, `-._~+/`, then any number of `=`.
    #[default]
    B64token,
    /// Visible ASCII (RFC 6749 Appendix A.12) but `"` and `,`, which end a value in a header field.
    Vschar,
}

/// What a request offers as its access token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// Nothing that claims to be a Bearer token: the challenge carries no error code
    /// (RFC 6750 §3.1).
    Absent,
    /// A Bearer token that cannot be one; the authorization server need not be asked.
    Unusable,
    /// A JOSE token that is not canonically spelt: the same token has another spelling, under which
    /// it would be kept apart, and purged apart.
    Respelt,
    /// A token in the configured alphabet, 1 to [`MAX_TOKEN_LEN`] bytes.
    Token(&'a [u8]),
}

impl fmt::Debug for Credentials<'_> {
    /// Says everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Absent => f.write_str("Absent"),
            Credentials::Unusable => f.write_str("Unusable"),
            Credentials::Respelt => f.write_str("Respelt"),
            Credentials::Token(token) => f.debug_tuple("Token").field(&token.len()).finish(),
        }
    }
}

/// Reads the value of an `Authorization` field (RFC 6750 §2.1); `None` stands for a request without
/// one.
///
/// The scheme is compared in any case and followed by one or more SP; blanks and tabs behind the
/// token do not count (RFC 9110 §5.5). Another scheme (`DPoP` is one) counts as no token at all.
///
/// ```
/// use phantom_token_engine::token::bearer::{Credentials, TokenSyntax, from_authorization};
///
/// let read = |value: &'static [u8]| from_authorization(Some(value), TokenSyntax::B64token);
/// assert!(matches!(read(b"Bearer 2YotnFZFEjr1zCsicMWpAA"), Credentials::Token(_)));
/// assert!(matches!(read(b"Basic dXNlcjpwYXNz"), Credentials::Absent));
/// ```
pub fn from_authorization(value: Option<&[u8]>, syntax: TokenSyntax) -> Credentials<'_> {
    let Some(value) = value else { return Credentials::Absent };
    let value = trim_start(trim_end(value));
    let Some((scheme, rest)) = value.split_at_checked(SCHEME.len()) else {
        return Credentials::Absent;
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Credentials::Absent;
    }
    match rest {
        [b' ', rest @ ..] => checked(trim_start(rest), syntax),
        // The scheme's name goes on: it is another one.
        [byte, ..] if is_tchar(*byte) => Credentials::Absent,
        _ => Credentials::Unusable,
    }
}

/// Reads a token that stands alone (`token=$variable`); an empty one is [`Credentials::Absent`].
pub fn from_bare(token: &[u8], syntax: TokenSyntax) -> Credentials<'_> {
    if token.is_empty() { Credentials::Absent } else { checked(token, syntax) }
}

/// Decodes `%XX` in a token from a query or a cookie (RFC 6750 §2.3), once, into `room`, which is
/// as long as the value; `None` where two digits do not follow a `%`.
pub fn percent_decoded<'a>(value: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let (mut bytes, mut len) = (value.iter(), 0);
    while let Some(&byte) = bytes.next() {
        *room.get_mut(len)? = match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            _ => byte,
        };
        len += 1;
    }
    room.get(..len)
}

fn checked(token: &[u8], syntax: TokenSyntax) -> Credentials<'_> {
    let (body, outside) = match syntax {
        TokenSyntax::B64token => (trim_padding(token), NOT_B64TOKEN),
        TokenSyntax::Vschar => (token, NOT_VSCHAR),
    };
    if body.is_empty() || token.len() > MAX_TOKEN_LEN {
        return Credentials::Unusable;
    }
    let seen = seen_in(body);
    if seen & outside != 0 {
        return Credentials::Unusable;
    }
    let base64url = seen & NOT_BASE64URL == 0 && body.len() == token.len();
    if seen & DOT != 0 && spelling::is_respelt(token, base64url) {
        return Credentials::Respelt;
    }
    Credentials::Token(token)
}

/// What the bytes of a text are not, together. By eights, which a processor works on side by side.
fn seen_in(text: &[u8]) -> u8 {
    let one_by_one =
        |bytes: &[u8]| bytes.iter().fold(0, |seen, byte| seen | CLASSES[usize::from(*byte)]);
    let (eights, rest) = text.as_chunks::<8>();
    eights.iter().fold(one_by_one(rest), |seen, eight| seen | one_by_one(eight))
}

/// Neither in the body of a `b64token`.
const NOT_B64TOKEN: u8 = 1;
/// Nor among the characters of [`TokenSyntax::Vschar`].
const NOT_VSCHAR: u8 = 2;
/// Neither in base64url nor a dot.
const NOT_BASE64URL: u8 = 4;
const DOT: u8 = 8;

/// What a byte is not, in a table: every request's token is checked.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        let b = byte as u8;
        let base64url = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let b64token = base64url || matches!(b, b'.' | b'~' | b'+' | b'/');
        let vschar = b.is_ascii_graphic() && b != b'"' && b != b',';
        classes[byte] = if b64token { 0 } else { NOT_B64TOKEN }
            | if vschar { 0 } else { NOT_VSCHAR }
            | if base64url || b == b'.' { 0 } else { NOT_BASE64URL }
            | if b == b'.' { DOT } else { 0 };
        byte += 1;
    }
    classes
};

/// `tchar` of RFC 9110 §5.6.2, what an auth-scheme is made of.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn trim_start(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = value {
        value = rest;
    }
    value
}

fn trim_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn trim_padding(mut token: &[u8]) -> &[u8] {
    while let [rest @ .., b'='] = token {
        token = rest;
    }
    token
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Credentials<'_> {
        from_authorization(Some(value.as_bytes()), TokenSyntax::B64token)
    }

    #[test]
    fn no_header_or_another_scheme_is_absent() {
        assert_eq!(from_authorization(None, TokenSyntax::B64token), Credentials::Absent);
        for value in [
            "",
            " ",
            "Basic dXNlcjpwYXNz",
            "DPoP abc",
            "dpop abc",
            "Bearerx",
            "Bearerx abc",
            "Bearer-x abc",
            "XBearer abc",
            "abc",
            "\tBearer abc",
            "\"Bearer\" abc",
            "Bear er abc",
            ",Bearer abc",
        ] {
            assert_eq!(read(value), Credentials::Absent, "{value:?}");
        }
    }

    #[test]
    fn bearer_without_a_usable_token_is_unusable() {
        for value in [
            "Bearer",
            "bearer",
            "Bearer ",
            "Bearer    ",
            "Bearer\tabc",
            "Bearer\t",
            "Bearer \t",
            "Bearer \tabc",
            "Bearer a b",
            "Bearer a  b",
            "Bearer a,b",
            "Bearer a, Bearer b",
            "Bearer \"abc\"",
            "Bearer abc\0",
            "Bearer ab=c",
            "Bearer =",
            "Bearer ==abc",
            "Bearer a%20b",
            "Bearer a\u{e9}",
            "Bearer,abc",
            "Bearer=abc",
            "Bearer: abc",
            "Bearer/abc",
            "Bearer token=abc;x",
            "Bearer abc\r\nX: y",
        ] {
            assert_eq!(read(value), Credentials::Unusable, "{value:?}");
        }
    }

    #[test]
    fn scheme_in_any_case_and_any_number_of_spaces() {
        for value in
            ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR                abc ", " Bearer abc"]
        {
            assert_eq!(read(value), Credentials::Token(b"abc"), "{value:?}");
        }
        assert_eq!(read("Bearer aZ09-._~+/=="), Credentials::Token(b"aZ09-._~+/=="));
        assert_eq!(read("Bearer a.b.c"), Credentials::Token(b"a.b.c"));
    }

    #[test]
    fn blanks_and_tabs_behind_the_token_do_not_count() {
        for value in ["Bearer abc\t", "Bearer abc \t ", "Bearer  abc\t\t", " Bearer abc \t"] {
            assert_eq!(read(value), Credentials::Token(b"abc"), "{value:?}");
        }
    }

    #[test]
    fn percent_encoding_is_taken_off_once() {
        let decoded = |value: &str| {
            let mut room = vec![0; value.len()];
            percent_decoded(value.as_bytes(), &mut room).map(<[u8]>::to_vec)
        };
        for (value, expected) in [
            ("abc", Some("abc")),
            ("", Some("")),
            ("%61%62c", Some("abc")),
            ("a%2Bb%2f%3D%3d", Some("a+b/==")),
            ("a+b", Some("a+b")),
            ("%2541", Some("%41")),
            ("%00", Some("\0")),
            ("%", None),
            ("a%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%4g", None),
            ("%%41", None),
        ] {
            assert_eq!(decoded(value).as_deref(), expected.map(str::as_bytes), "{value:?}");
        }
        assert_eq!(percent_decoded(b"abc", &mut [0; 2]), None);
    }

    #[test]
    fn length_is_bounded() {
        for syntax in [TokenSyntax::B64token, TokenSyntax::Vschar] {
            let longest = "a".repeat(MAX_TOKEN_LEN);
            let value = format!("Bearer {longest}");
            assert_eq!(
                from_authorization(Some(value.as_bytes()), syntax),
                Credentials::Token(longest.as_bytes())
            );
            let value = format!("Bearer {longest}a");
            assert_eq!(from_authorization(Some(value.as_bytes()), syntax), Credentials::Unusable);
            assert_eq!(from_bare(&value.as_bytes()[7..], syntax), Credentials::Unusable);
        }
    }

    #[test]
    fn vschar_is_visible_ascii_but_quote_and_comma() {
        for byte in 0..=255u8 {
            let token = [b'a', byte, b'b'];
            let expected = if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b',' {
                Credentials::Token(&token)
            } else {
                Credentials::Unusable
            };
            assert_eq!(from_bare(&token, TokenSyntax::Vschar), expected, "{byte:#x}");
        }
    }

    #[test]
    fn a_bare_token_is_taken_as_it_is() {
        assert_eq!(from_bare(b"", TokenSyntax::B64token), Credentials::Absent);
        assert_eq!(from_bare(b"abc", TokenSyntax::B64token), Credentials::Token(b"abc"));
        for token in [" ", " abc", "abc ", "Bearer abc", "a\tb", "{abc}"] {
            assert_eq!(
                from_bare(token.as_bytes(), TokenSyntax::B64token),
                Credentials::Unusable,
                "{token:?}"
            );
        }
    }

    #[test]
    fn debug_hides_the_token() {
        assert_eq!(format!("{:?}", Credentials::Token(b"secret")), "Token(6)");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_clean_token_or_none(value: Vec<u8>, vschar: bool) {
            let syntax = if vschar { TokenSyntax::Vschar } else { TokenSyntax::B64token };
            for bytes in [value.clone(), [b"Bearer ".as_slice(), &value].concat()] {
                if let Credentials::Token(token) = from_authorization(Some(&bytes), syntax) {
                    prop_assert!(!token.is_empty() && token.len() <= MAX_TOKEN_LEN);
                    prop_assert!(token.iter().all(|b| b.is_ascii_graphic() && !b"\",".contains(b)));
                    prop_assert_eq!(from_bare(token, syntax), Credentials::Token(token));
                }
            }
        }

        #[test]
        fn a_printed_header_reads_back(
            token in "[A-Za-z0-9._~+/-]{1,60}={0,3}",
            scheme in "[bB][eE][aA][rR][eE][rR]",
            spaces in 1usize..9,
        ) {
            let value = format!("{scheme}{}{token}", " ".repeat(spaces));
            prop_assert_eq!(read(&value), Credentials::Token(token.as_bytes()));
        }
    }
}
