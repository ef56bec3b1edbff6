//! How an input is taken apart: as text where a person should be able to write one. The rig, which sends
//! the corpus' answers to a gateway, includes this file.

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

/// The most that a server sends in all, in bytes.
const MOST: usize = 160 * 1024;

/// Takes an input of the target `http` apart: pieces, first answer, second answer.
///
/// ```text
/// 12 1 500                      bytes in each piece the answer comes in
/// 40 10 3                       repeat 10 bytes from 40 on 3 times more
/// HTTP/1.1 200 OK …
/// ----
/// HTTP/1.1 200 OK …             what the next call on the same connection is answered
/// ```
pub(crate) fn answers(mut input: &[u8]) -> (Vec<usize>, Vec<u8>, Vec<u8>) {
    let mut numbers = || line(&mut input).split(|byte| *byte == b' ').map(|text| word(text, 0));
    let pieces = numbers().collect();
    let mut repeat = numbers();
    let [from, len, times] = [(); 3].map(|()| repeat.next().unwrap_or(0));
    let (first, second) = split(input, b"\n----\n");
    (pieces, repeated(&lines_end_in_crlf(first), from, len, times), lines_end_in_crlf(second))
}

/// A header is written in lines: what ends in LF alone ends in CRLF, so that inputs can be read. A
/// backslash in front of the LF keeps it bare.
fn lines_end_in_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 32);
    for &byte in text {
        match (byte, out.last()) {
            (b'\n', Some(b'\\')) => {
                out.pop();
                out.push(b'\n');
            }
            (b'\n', Some(b'\r')) => out.push(b'\n'),
            (b'\n', _) => out.extend_from_slice(b"\r\n"),
            _ => out.push(byte),
        }
    }
    out
}

/// Repeats `len` bytes from `from` on so many times more, as far as there is room.
fn repeated(text: &[u8], from: usize, len: usize, times: usize) -> Vec<u8> {
    let from = from.min(text.len());
    let to = from.saturating_add(len).min(text.len());
    let times = times.min(MOST / (to - from).max(1));
    let mut out = [&text[..from], &text[from..to].repeat(times), &text[from..]].concat();
    out.truncate(MOST);
    out
}
