//! Arguments of directives, as far as NGINX's own parser is not needed to read them.

pub mod credential;

/// The headers of the introspection request that are the module's own.
const OWN_HEADERS: [&str; 6] =
    ["host", "transfer-encoding", "connection", "accept", "accept-encoding", "expect"];

/// Variables of NGINX's own modules that are empty or not as a client likes.
const CLIENTS: [&str; 15] = [
    "ancient_browser",
    "content_length",
    "content_type",
    "http2",
    "http3",
    "invalid_referer",
    "modern_browser",
    "msie",
    "request_body",
    "request_body_file",
    "slice_range",
    "ssl_alpn_protocol",
    "ssl_early_data",
    "ssl_server_name",
    "uid_got",
];

/// Variables that no request leaves empty: none over TCP, and those of TLS none over TLS.
const NEVER_EMPTY: [&str; 33] = [
    "binary_remote_addr",
    "connection",
    "connection_requests",
    "connection_time",
    "document_uri",
    "host",
    "hostname",
    "msec",
    "nginx_version",
    "pid",
    "pipe",
    "proxy_add_x_forwarded_for",
    "remote_addr",
    "remote_port",
    "request",
    "request_filename",
    "request_id",
    "request_length",
    "request_method",
    "request_time",
    "request_uri",
    "scheme",
    "server_addr",
    "server_port",
    "server_protocol",
    "ssl_cipher",
    // NONE without a certificate.
    "ssl_client_verify",
    "ssl_protocol",
    "ssl_session_reused",
    // 000 so early.
    "status",
    "time_iso8601",
    "time_local",
    "uri",
];

/// The longest name of a zone, in bytes.
const MAX_ZONE_NAME: usize = 64;

/// Reads a decimal number, digits alone; `None` for anything else, and where it is too large.
pub fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
}

/// Takes `NAME=VALUE` apart at its first `=`; the value is empty where there is none.
pub fn parameter(arg: &[u8]) -> (&[u8], &[u8]) {
    match arg.iter().position(|byte| *byte == b'=') {
        Some(at) => (&arg[..at], &arg[at + 1..]),
        None => (arg, b""),
    }
}

/// Reads the name in `token=$NAME` or `token=${NAME}`; `None` where the argument is not of that form, or
/// the name cannot be a variable's: NGINX takes every name behind `http_`, and finds no header for it.
pub fn token_variable(arg: &[u8]) -> Option<&[u8]> {
    let variable = arg.strip_prefix(b"token=")?;
    match variable.strip_prefix(b"${") {
        Some(name) => name.strip_suffix(b"}").filter(|name| is_variable_name(name)),
        None => variable_name(variable),
    }
}

/// Reads the name in `$NAME`, which can be a variable's: letters, digits and `_`, but no digit first;
/// `None` where the argument is not of that form.
pub fn variable_name(arg: &[u8]) -> Option<&[u8]> {
    arg.strip_prefix(b"$").filter(|name| is_variable_name(name))
}

fn is_variable_name(name: &[u8]) -> bool {
    let is_word = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
    name.first().is_some_and(|first| !first.is_ascii_digit()) && name.iter().all(is_word)
}

/// Tells whether a string in which NGINX knows no variables looks as if it held one.
pub fn seems_variable(value: &[u8]) -> bool {
    value.windows(2).any(|pair| {
        pair[0] == b'$' && (pair[1].is_ascii_alphabetic() || matches!(pair[1], b'_' | b'{'))
    })
}

/// Tells whether a string in which NGINX knows variables holds one, or a capture (`$1`).
pub fn holds_variable(value: &[u8]) -> bool {
    seems_variable(value)
        || value.windows(2).any(|pair| pair[0] == b'$' && pair[1].is_ascii_digit())
}

/// Returns the names of the variables in a value that may hold some, as NGINX reads it
/// (`ngx_http_script_compile` in src/http/ngx_http_script.c).
pub fn variables(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_word = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
    value.split(|byte| *byte == b'$').skip(1).map(move |rest| {
        let name = rest.strip_prefix(b"{").unwrap_or(rest);
        let end = name.iter().position(|byte| !is_word(byte)).unwrap_or(name.len());
        &name[..end]
    })
}

/// Tells whether a value is one variable, and nothing else.
pub fn is_variable(value: &[u8]) -> bool {
    let Some(name) = value.strip_prefix(b"$") else { return false };
    let name = match name.strip_prefix(b"{") {
        Some(braced) => braced.strip_suffix(b"}").unwrap_or_default(),
        None => name,
    };
    !name.is_empty() && name.iter().all(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Tells whether text beside its variables keeps a value from ever being empty or `0`.
pub fn has_text(value: &[u8]) -> bool {
    let is_word = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
    let mut parts = value.split(|byte| *byte == b'$');
    let mut text = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (rest, end) = match part.strip_prefix(b"{") {
            Some(rest) => (rest, rest.iter().position(|byte| *byte == b'}').map(|at| at + 1)),
            None => (part, part.iter().position(|byte| !is_word(byte))),
        };
        text.extend_from_slice(&rest[end.unwrap_or(rest.len())..]);
    }
    !matches!(&text[..], b"" | b"0")
}

/// Who decides what a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The operator's: it holds no variable, or none that a client sets.
    Operator,
    /// The operator's in part: a client sets some of its variables.
    Both,
    /// The client's: it sets all of its variables.
    Client,
}

/// Judges who makes a value. `sets` tells whether a client sets a variable, by its name in lower
/// case.
pub fn maker(value: &[u8], sets: impl Fn(&[u8]) -> bool) -> Maker {
    let mut all = variables(value).map(|name| sets(&name.to_ascii_lowercase())).peekable();
    if all.peek().is_none() {
        return Maker::Operator;
    }
    match all.fold((false, true), |(any, only), client| (any || client, only && client)) {
        (_, true) => Maker::Client,
        (true, false) => Maker::Both,
        (false, false) => Maker::Operator,
    }
}

/// Tells whether a client gives a variable any value it likes, and any number of them.
pub fn is_free(name: &[u8]) -> bool {
    let is_of = |kind: &&[u8]| name.starts_with(kind);
    [&b"arg_"[..], b"cookie_", b"http_"].iter().any(is_of)
        || matches!(name, b"args" | b"query_string" | b"is_args")
}

/// Tells whether a client decides that a variable is not empty, and not `0`.
pub fn is_clients(name: &[u8]) -> bool {
    is_free(name) || CLIENTS.iter().any(|known| known.as_bytes() == name)
}

/// Tells whether no request leaves a variable empty.
pub fn is_never_empty(name: &[u8]) -> bool {
    NEVER_EMPTY.iter().any(|known| known.as_bytes() == name)
}

/// Tells whether a header's name can be one (`token` of RFC 9110 §5.6.2).
pub fn is_header_name(name: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_tchar)
}

/// Tells whether a header of the introspection request is for the module alone to set.
pub fn is_own_header(name: &[u8]) -> bool {
    let content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    content || OWN_HEADERS.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
}

/// Tells whether a value can stand in a header: it holds no control byte but HTAB (RFC 9110 §5.5).
pub fn is_header_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

/// Tells whether a media type, or a list of them, can be sent as `Accept`: visible ASCII and
/// spaces.
pub fn is_accept(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| (0x20..0x7f).contains(byte))
}

/// Reads a zone's name: 1 to 64 letters, digits, `_`, `-` and `.`; `None` for anything else.
pub fn zone_name(name: &[u8]) -> Option<&str> {
    let fits = (1..=MAX_ZONE_NAME).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    std::str::from_utf8(name).ok().filter(|_| fits)
}

/// Reads name and size, each as written, of `zone=NAME:SIZE`; `None` where the argument is not of
/// that form.
pub fn zone(arg: &[u8]) -> Option<(&[u8], &[u8])> {
    let zone = arg.strip_prefix(b"zone=")?;
    let colon = zone.iter().position(|byte| *byte == b':')?;
    Some((&zone[..colon], &zone[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_a_token() {
        for arg in ["token=$a_B9", "token=${a_B9}"] {
            assert_eq!(token_variable(arg.as_bytes()), Some(&b"a_B9"[..]), "{arg}");
        }
        for arg in
            ["", "token", "token=", "token=a", "token=$", "token=${}", "token=${a", "token=$a}"]
                .into_iter()
                .chain(["token=$1", "token=$a$b", "token=$a-b", "token=x$a", "$a", "Token=$a"])
        {
            assert_eq!(token_variable(arg.as_bytes()), None, "{arg}");
        }
    }

    #[test]
    fn one_variable_alone() {
        for alone in ["$a", "${a}", "$1", "$a_B9"] {
            assert!(is_variable(alone.as_bytes()), "{alone}");
        }
        for more in ["", "a", "$", "${}", "${a", "$a}", "$a$b", "${a}b", "a$b", "$a:b", "${a}${b}"]
        {
            assert!(!is_variable(more.as_bytes()), "{more}");
        }
    }

    #[test]
    fn whoever_sets_the_variables_makes_the_value() {
        for client in [
            "$arg_x",
            "${arg_x}",
            "$ARG_x",
            "$args",
            "$is_args",
            "$is_args$args",
            "x$cookie_y",
            "${http_x}0",
            "-$query_string-",
            "$request_body",
            "0$content_type",
            "$http_authorization",
        ] {
            assert_eq!(maker(client.as_bytes(), is_clients), Maker::Client, "{client}");
        }
        for both in ["$args$monitoring", "$monitoring${arg_x}", "$uri$args"] {
            assert_eq!(maker(both.as_bytes(), is_clients), Maker::Both, "{both}");
        }
        for operator in
            ["", "yes", "$monitoring", "x${monitoring}", "$has_arg_x", "$1", "$ssl_client_verify"]
        {
            assert_eq!(maker(operator.as_bytes(), is_clients), Maker::Operator, "{operator}");
        }
        assert_eq!(maker(b"$host", is_free), Maker::Operator);
        assert_eq!(maker(b"$host$arg_x", is_free), Maker::Both);
    }

    #[test]
    fn text_beside_variables_is_never_empty() {
        for text in ["x$a", "$a,$b", "${a}x", "$a-", "00$a", "1"] {
            assert!(has_text(text.as_bytes()), "{text}");
        }
        for none in ["", "$a", "$a$b", "${a}${b}", "${a}$b", "0$a", "${a}0"] {
            assert!(!has_text(none.as_bytes()), "{none}");
        }
    }

    #[test]
    fn a_header_s_value_holds_no_control_byte() {
        for value in ["", "a b", "a\tb", "caf\u{e9}", "\u{80}", "\u{c0}"] {
            assert!(is_header_value(value.as_bytes()), "{value:?}");
        }
        for byte in (0..=31).chain([127]).filter(|byte| *byte != b'\t') {
            assert!(!is_header_value(&[b'a', byte]), "{byte}");
        }
    }

    #[test]
    fn a_variable_s_name_is_one_word() {
        for (arg, name) in [("$x", "x"), ("$Roles_2", "Roles_2"), ("$_", "_")] {
            assert_eq!(variable_name(arg.as_bytes()), Some(name.as_bytes()), "{arg}");
        }
        for arg in ["", "$", "x", "$1", "${x}", "$x y", "$x-y", "$x$y", "$\u{e9}"] {
            assert_eq!(variable_name(arg.as_bytes()), None, "{arg}");
        }
    }

    #[test]
    fn a_dollar_alone_is_no_variable() {
        for text in ["$x", "a$_b", "${x}", "a ${", "$$x"] {
            assert!(seems_variable(text.as_bytes()) && holds_variable(text.as_bytes()), "{text}");
        }
        for text in ["", "$", "a$", "$1", "$ x", "$-", "$$", "price: 5$"] {
            assert!(!seems_variable(text.as_bytes()), "{text}");
            assert_eq!(holds_variable(text.as_bytes()), text == "$1", "{text}");
        }
    }
}
