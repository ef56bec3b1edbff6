//! How an input is taken apart: as text where a person should be able to write one.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The part in front of a separator, and what follows it; all and nothing where there is none.
pub(crate) fn split<'a>(input: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match input.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&input[..at], &input[at + separator.len()..]),
        None => (input, b""),
    }
}

/// Takes the first line off.
pub(crate) fn line<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let (line, rest) = split(input, b"\n");
    *input = rest;
    line
}

/// A number or whatever else a word stands for, with a value where it stands for none.
pub(crate) fn word<T: FromStr>(text: &[u8], otherwise: T) -> T {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// How deep `<…>` nest: each level is a third longer than what it holds.
const NESTED: usize = 6;

/// Writes `<…>` in base64url, nested ones from within: so a mutation of what a JWT says is one byte.
/// A bracket without its partner, or nested too deeply, stands for itself.
pub(crate) fn expand(template: &[u8]) -> Vec<u8> {
    let mut open: Vec<Vec<u8>> = Vec::new();
    let mut out = Vec::new();
    for &byte in template {
        match byte {
            b'<' if open.len() < NESTED => open.push(std::mem::take(&mut out)),
            b'>' if !open.is_empty() => {
                let encoded = URL_SAFE_NO_PAD.encode(&out);
                out = open.pop().unwrap_or_default();
                out.extend_from_slice(encoded.as_bytes());
            }
            _ => out.push(byte),
        }
    }
    while let Some(mut before) = open.pop() {
        before.push(b'<');
        before.append(&mut out);
        out = before;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_base64url() {
        assert_eq!(expand(b"<{}>.<a<b>>.c"), b"e30.YVln.c");
        assert_eq!(expand(b"a>b<c"), b"a>b<c");
    }
}
