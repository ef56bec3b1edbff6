//! Arguments of directives, as far as NGINX's own parser is not needed to read them.

/// The headers of the introspection request that are the module's own.
const OWN_HEADERS: [&str; 6] =
    ["host", "transfer-encoding", "connection", "accept", "accept-encoding", "expect"];

/// The longest name of a zone, in bytes.
const MAX_ZONE_NAME: usize = 64;

/// A decimal number, digits alone.
pub fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
}

/// `NAME=VALUE` taken apart at its first `=`; the value is empty where there is none.
pub fn parameter(arg: &[u8]) -> (&[u8], &[u8]) {
    match arg.iter().position(|byte| *byte == b'=') {
        Some(at) => (&arg[..at], &arg[at + 1..]),
        None => (arg, b""),
    }
}

/// The name in `token=$NAME`.
pub fn token_variable(arg: &[u8]) -> Option<&[u8]> {
    arg.strip_prefix(b"token=$").filter(|name| !name.is_empty())
}

/// Whether a value is nothing but a variable that any client can set.
pub fn is_client_variable(value: &[u8]) -> bool {
    let name = value.strip_prefix(b"$").map(|name| {
        name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}")).unwrap_or(name)
    });
    name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        let word = name.iter().all(|byte| *byte == b'_' || byte.is_ascii_alphanumeric());
        word && [&b"arg_"[..], b"cookie_", b"http_"].iter().any(|kind| name.starts_with(kind))
    })
}

/// Whether a header's name can be one (`token` of RFC 9110 §5.6.2).
pub fn is_header_name(name: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_tchar)
}

/// Whether a header of the introspection request is for the module alone to set.
pub fn is_own_header(name: &[u8]) -> bool {
    let content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    content || OWN_HEADERS.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a media type, or a list of them, can be sent as `Accept`: visible ASCII and spaces.
pub fn is_accept(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| (0x20..0x7f).contains(byte))
}

/// A zone's name: 1 to 64 letters, digits, `_`, `-` and `.`.
pub fn zone_name(name: &[u8]) -> Option<&str> {
    let fits = (1..=MAX_ZONE_NAME).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    std::str::from_utf8(name).ok().filter(|_| fits)
}

/// Name and size, each as written, of `zone=NAME:SIZE`.
pub fn zone(arg: &[u8]) -> Option<(&[u8], &[u8])> {
    let zone = arg.strip_prefix(b"zone=")?;
    let colon = zone.iter().position(|byte| *byte == b':')?;
    Some((&zone[..colon], &zone[colon + 1..]))
}
