//! One token, one spelling.
//!
//! Many servers decode base64 leniently: in either alphabet, padded or not, with any spare bits, past
//! bytes that belong to neither. One JOSE token (RFC 7515 §7.1, RFC 7516 §7.1) then has thousands of
//! spellings, each with a cache entry of its own, and a purge would forget one of them. So it is taken
//! in its canonical spelling alone, the one it was issued in: base64url without padding, spare bits 0.

use core::cell::Cell;
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Bytes of a header that are read; one that is longer is a header where these begin an object.
const HEADER: usize = 512;

/// "Not a character of base64", in [`VALUES`].
const NONE: u8 = 64;

/// What each character stands for, in either alphabet.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut at = 0;
    while at < alphabet.len() {
        values[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    values[b'+' as usize] = values[b'-' as usize];
    values[b'/' as usize] = values[b'_' as usize];
    values
};

/// Whether a token with a dot in it is a JOSE token in another spelling than the canonical one.
/// `base64url`: it has no other bytes than those of base64url and dots, so that only the end of each
/// segment is left to look at.
pub(super) fn is_respelt(token: &[u8], base64url: bool) -> bool {
    let (mut segments, mut from, mut header, mut canonical) = (0, 0, &[][..], base64url);
    for end in memchr::memchr_iter(b'.', token).chain([token.len()]) {
        let segment = &token[from..end];
        canonical &= ends_canonically(segment);
        if segments == 0 {
            header = segment;
        }
        (segments, from) = (segments + 1, end + 1);
    }
    matches!(segments, 3 | 5) && !canonical && is_jose_header(header)
}

/// Whether a segment of base64url encodes whole bytes and has no spare bit set.
fn ends_canonically(segment: &[u8]) -> bool {
    let spare = match segment.len() % 4 {
        0 => return true,
        1 => return false,
        2 => 0b1111,
        _ => 0b11,
    };
    segment.last().is_some_and(|last| VALUES[usize::from(*last)] & spare == 0)
}

/// Whether a segment, read as leniently as any server may, is a JSON object with a member `alg`.
fn is_jose_header(segment: &[u8]) -> bool {
    let mut text = [0; HEADER];
    let (mut len, mut bits, mut held) = (0, 0u32, 0);
    for value in segment.iter().map(|byte| VALUES[usize::from(*byte)]).filter(|v| *v != NONE) {
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            let Some(place) = text.get_mut(len) else { break };
            *place = (bits >> held) as u8;
            len += 1;
        }
    }
    let text = &text[..len];
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).trim_ascii_start();
    let (text, cut) = match core::str::from_utf8(text) {
        Ok(whole) => (whole, len == HEADER),
        Err(error) => {
            let text = core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default();
            (text, len == HEADER && error.error_len().is_none())
        }
    };
    let has_alg = Cell::new(false);
    let read = HasAlg(&has_alg).deserialize(&mut serde_json::Deserializer::from_str(text));
    // What follows the member, or breaks the object off, changes nothing.
    has_alg.get() || (cut && read.is_err_and(|error| error.is_eof()))
}

/// Looks for a member `alg` in an object, whose members may be repeated.
struct HasAlg<'a>(&'a Cell<bool>);

impl<'de> DeserializeSeed<'de> for HasAlg<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HasAlg<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key_seed(Name)? {
            if name {
                self.0.set(true);
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Whether a member's name is `alg`.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == "alg")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use crate::token::bearer::{Credentials, TokenSyntax, from_bare};

    const HEADER: &str = r#"{"alg":"ES256"}"#;

    fn segment(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn is_taken(token: &str, syntax: TokenSyntax) -> bool {
        match from_bare(token.as_bytes(), syntax) {
            Credentials::Token(found) => {
                assert_eq!(found, token.as_bytes());
                true
            }
            Credentials::Respelt => false,
            other => panic!("{token}: {other:?}"),
        }
    }

    #[track_caller]
    fn assert_respelt(token: &str) {
        assert!(!is_taken(token, TokenSyntax::Vschar), "{token}");
        assert!(!matches!(
            from_bare(token.as_bytes(), TokenSyntax::B64token),
            Credentials::Token(_)
        ));
    }

    #[track_caller]
    fn assert_taken(token: &str) {
        assert!(is_taken(token, TokenSyntax::Vschar), "{token}");
    }

    #[test]
    fn a_jws_and_a_jwe_have_one_spelling() {
        let header = segment(HEADER);
        for (canonical, respelt) in [
            // Spare bits: four, two.
            ("e30.AA", "e30.AB"),
            ("e30.AA", "e30.AP"),
            ("e30.AAA", "e30.AAB"),
            ("e30.AAA", "e30.AAD"),
            ("e30.AAAA.AA.AA", "e31.AAAA.AA.AA"),
            ("e30.AAAA.AA.AA", "e30.AAAA.AA.AH"),
            // The other alphabet.
            ("e30.-___", "e30.+///"),
            // Padding, and what no decoder needs.
            ("e30.AA", "e30.AA=="),
            ("e30.AAAA", "e30.AAAA="),
            ("e30.AAAA", "e30.AA~AA"),
            // No whole byte.
            ("e30.AAAA", "e30.AAAAA"),
            // An empty segment is spelt as it can be.
            ("e30.", "e31."),
            (".AAAA.AAAA.AA", ".AAAA.AAAA.AB"),
        ] {
            assert_taken(&format!("{header}.{canonical}"));
            assert_respelt(&format!("{header}.{respelt}"));
        }
    }

    #[test]
    fn a_header_is_found_in_every_spelling() {
        for header in [
            r#"{"typ":"JWT","alg":"RS256"}"#,
            " \n{\"alg\":1}",
            "\u{feff}{\"alg\":\"x\"}",
            r#"{"alg":"a","alg":"b"}"#,
            r#"{"\u0061lg":"x"}"#,
            r#"{"x":{"a":[1,2,{}]},"alg":"x"} and more"#,
            r#"{"alg":"x","broken"#,
        ] {
            assert_respelt(&format!("{}.e30.AB", segment(header)));
        }
        // The header's own segment may be the one that is respelt.
        let header = r#"{"alg":"x","?":">>>???"}"#;
        let standard = STANDARD.encode(header);
        assert!(standard.contains(['+', '/']));
        for respelt in [
            standard.trim_end_matches('=').to_owned(),
            segment(r#"{"alg":"x"}"#).replace("ey", "e!y"),
            format!("{}==AAAA", segment(r#"{"alg":"xyz"}"#)),
        ] {
            assert_respelt(&format!("{respelt}.e30.AA"));
        }
        // One that is too long to be read to its end.
        for begins in ["a", "ab"] {
            let header = format!("{{\"{begins}\":\"{}\",\"alg\":1}}", "ü".repeat(400));
            assert_respelt(&format!("{}.e30.AB", segment(header)));
        }
    }

    #[test]
    fn tokens_of_other_shapes_are_taken_as_they_are() {
        let header = segment(HEADER);
        for token in [
            "a.b.c",
            "a.b.c.d.e",
            "AB.AB.AB",
            "abc~+/.x.y==",
            &format!("{header}.AB"),
            &format!("{header}.e30.AB.AB"),
            &format!("{header}.e30.AB.AB.AB.AB"),
            &format!("{}.e30.AB", segment("[\"alg\"]")),
            &format!("{}.e30.AB", segment(r#"{"typ":"alg"}"#)),
            &format!("{}.e30.AB", segment(r#"{"x":{"alg":"x"}}"#)),
            &format!("{}.e30.AB", segment("\"alg\"")),
            &format!("{}.e30.AB", segment(format!("{:x<2000}", ""))),
            &format!("{}.e30.AB", segment(format!("{{{:x<2000}", ""))),
            &format!("{}.e30.AB", segment(b"{\"x\":\"\xff\",\"alg\":\"x\"}")),
            &format!("{}.e30.AB", segment(b"{\x86")),
            ".e30.AB",
            "..AB",
        ] {
            assert_taken(token);
        }
    }

    proptest! {
        /// Of all tokens that a lenient decoder reads alike, one is taken.
        #[test]
        fn one_of_all_spellings_is_taken(
            payload: Vec<u8>,
            signature in prop::collection::vec(any::<u8>(), 0..40),
            at in 0usize..3,
            how in 0usize..5,
            place: prop::sample::Index,
            spare in 1u8..16,
        ) {
            let mut segments = [segment(HEADER), segment(payload), segment(signature)];
            let token = segments.join(".");
            prop_assert!(is_taken(&token, TokenSyntax::B64token));
            prop_assert!(is_taken(&token, TokenSyntax::Vschar));
            let respelt = &mut segments[at];
            match how {
                0 => *respelt = respelt.replace('-', "+").replace('_', "/"),
                1 => respelt.push_str(["", "", "==", "="][respelt.len() % 4]),
                2 => respelt.insert(place.index(respelt.len() + 1), ['~', '!', ':'][at]),
                3 => {
                    let bits = [0, 0, 0b1111, 0b11][respelt.len() % 4] & spare;
                    if let Some(last) = respelt.pop() {
                        let value = super::VALUES[last as usize] | bits;
                        let alphabet = (b'0'..=b'z').chain(*b"-").map(char::from);
                        let with = |c: &char| super::VALUES[*c as usize] == value;
                        respelt.extend(alphabet.filter(|c| *c != '/').find(with));
                    }
                }
                _ => respelt.push('A'),
            }
            let respelt = segments.join(".");
            let taken = is_taken(&respelt, TokenSyntax::Vschar);
            // Four characters more are another token's, in whichever segment.
            let longer = how == 4 && segments[at].len() % 4 != 1;
            prop_assert_eq!(taken, respelt == token || longer, "{}", respelt);
        }
    }
}
