//! HTTP/1.1 answers that leave no doubt (RFC 9112), read in the simplest way.

use crate::http::response::MAX_BODY;

/// What some bytes are.
pub(super) enum Plain {
    /// One answer, whole.
    Whole {
        status: u16,
        /// Names in lower case.
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        /// Bytes behind it.
        surplus: usize,
        /// The connection may serve again.
        stays: bool,
    },
    /// One that ends too early, is too long, or gives its length in two ways (RFC 9112 §6.3).
    Refused,
    /// Something else, which may be an answer or not.
    Odd,
}

/// Reads an answer. Whatever is unusual, if only a little, is [`Plain::Odd`].
pub(super) fn plainly(sent: &[u8]) -> Plain {
    read(sent).unwrap_or(Plain::Odd)
}

fn read(sent: &[u8]) -> Option<Plain> {
    let head_end = find(sent, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&sent[..head_end]).ok()?;
    let rest = &sent[head_end + 4..];
    let (status_line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    if fields.starts_with(' ') {
        return None;
    }
    // Folded lines (RFC 9112 §5.2).
    let head = format!("{status_line}\r\n{}", fields.replace("\r\n ", "   "));
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let (status, reason) = lines.next()?.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
    let status = status.parse::<u16>().ok().filter(|_| status.len() == 3)?;
    if !is_text(reason) || head.len() > 16 * 1024 {
        return None;
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if name.is_empty() || !is_name || !is_text(value) {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.trim_matches(' ').as_bytes().to_vec()));
    }
    let named = |name: &str| -> Vec<&[u8]> {
        headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &value[..]).collect()
    };
    if !(200..=599).contains(&status) || headers.len() > 50 || !named("connection").is_empty() {
        return None;
    }

    // Where the status says it all, so does the beginning of a body that is too long.
    let too_long = || match status {
        200 | 400 => Plain::Refused,
        _ => {
            let (headers, body) = (headers.clone(), Vec::new());
            Plain::Whole { status, headers, body, surplus: 0, stays: false }
        }
    };
    let whole = |body: &[u8], taken: usize, stays| {
        if body.len() > MAX_BODY {
            return Some(too_long());
        }
        let (headers, body, surplus) = (headers.clone(), body.to_vec(), rest.len() - taken);
        Some(Plain::Whole { status, headers, body, surplus, stays })
    };
    match (&named("content-length")[..], &named("transfer-encoding")[..]) {
        _ if status == 204 || status == 304 || (300..400).contains(&status) => None,
        ([length], []) => {
            let length = std::str::from_utf8(length).ok()?;
            let is_plain =
                (1..=6).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit());
            let length: usize = length.parse().ok().filter(|_| is_plain)?;
            match rest.get(..length) {
                _ if length > MAX_BODY => Some(too_long()),
                Some(body) => whole(body, length, true),
                None => Some(Plain::Refused),
            }
        }
        ([], [b"chunked"]) => {
            let mut body = Vec::new();
            let mut at = rest;
            loop {
                let Some(line_end) = find(at, b"\r\n") else {
                    return is_hex(at).then_some(Plain::Refused);
                };
                let size = &at[..line_end];
                if size.is_empty() || !is_hex(size) || size.len() > 5 {
                    return None;
                }
                let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
                at = &at[line_end + 2..];
                if body.len() + size.min(at.len()) > MAX_BODY {
                    return Some(too_long());
                }
                let Some(chunk) = at.get(..size) else { return Some(Plain::Refused) };
                match at.get(size..size + 2) {
                    Some(b"\r\n") => {}
                    Some(_) => return None, // a trailer, or nothing that is allowed
                    None => return (at.len() == size).then_some(Plain::Refused),
                }
                body.extend_from_slice(chunk);
                at = &at[size + 2..];
                if size == 0 {
                    return whole(&body, rest.len() - at.len(), true);
                }
            }
        }
        ([_, ..], [_, ..]) => Some(Plain::Refused),
        ([one, rest @ ..], []) if rest.iter().any(|other| other != one) => Some(Plain::Refused),
        ([], []) => whole(rest, rest.len(), false),
        _ => None,
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn is_text(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_hexdigit)
}
