//! The configuration that goes with what was found.

use std::path::Path;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::nature::TokenKind;
use phantom_token_engine::client::ClientAuth;

use phantom_token_engine::shared::health::Limits;

use crate::asking::{HINT, Way};
use crate::facts::Facts;
use crate::input::STDIN;
use crate::options::Options;

/// What it is made of.
pub(crate) struct Found<'a> {
    pub(crate) way: Way,
    /// What the location forwards, and what came about the token; `None`: not known.
    pub(crate) token: Option<(Forward, &'a Facts)>,
    /// A refresh token passes for an access token.
    pub(crate) is_unsafe: bool,
    /// The server's `Cache-Control` would leave nothing to keep.
    pub(crate) ignores_cache_control: bool,
    /// The answer takes longer than the module waits as it comes.
    pub(crate) is_slow: bool,
    /// The token has characters that RFC 6750 does not give it.
    pub(crate) vschar: bool,
}

/// Below which `fail_timeout` need not be written, in milliseconds.
const LEAST_FAIL_TIMEOUT_MS: u128 = Limits::OF_ENDPOINT.fail_timeout_ms as u128;

/// A directive of a server: its name, its value, and what to know about it.
type Line = (&'static str, String, &'static str);

/// Writes it out: what says how the server is asked, and what a location demands.
pub(crate) fn text(options: &Options, found: &Found<'_>) -> String {
    let server = server(options, found);
    let location = location(found);
    let block = match (&options.provider, found.way.auth.signs()) {
        (Some(name), _) => Some(name.as_str()),
        // Only a block has it.
        (None, true) => Some("login"),
        (None, false) => None,
    };
    let mut out = String::new();
    let Some(name) = block else {
        out.push_str("# in http, server or location\n");
        for (directive, value, note) in &server {
            out.push_str(&format!("phantom_token_{directive} {value};{}\n", comment(note)));
        }
        out.push_str("\n# in the location\nphantom_token on;\n");
        out.push_str(&location);
        return out;
    };
    out.push_str(&format!("# in http\nphantom_token_provider {name} {{\n"));
    let issuer = found.token.and_then(|(_, facts)| facts.issuer.as_deref());
    let issuer = issuer.map(|issuer| ("issuer", quoted(issuer), ""));
    for (directive, value, note) in server.iter().chain(&issuer) {
        out.push_str(&format!("    {directive} {value};{}\n", comment(note)));
    }
    out.push_str(&format!(
        "}}\n\n# in the location\nphantom_token on;\nphantom_token_use {name};\n"
    ));
    out.push_str(&location);
    out
}

fn comment(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!("  # {note}") }
}

fn server(options: &Options, found: &Found<'_>) -> Vec<Line> {
    let Way { auth, accept, hint } = found.way;
    let mut endpoint = quoted(&options.endpoint.url());
    if let Some(place) = options.endpoint.connect() {
        endpoint.push_str(&format!(" connect={place}"));
    }
    let timeout = options.timeout.filter(|_| found.is_slow);
    if let Some(timeout) = timeout.filter(|timeout| timeout.as_millis() > LEAST_FAIL_TIMEOUT_MS) {
        // Time-outs in a row would not count as one row, and `nginx -t` says so.
        endpoint.push_str(&format!(" fail_timeout={}s", timeout.as_secs()));
    }
    let mut lines: Vec<Line> = vec![("introspection_endpoint", endpoint, "")];
    let mut line = |name, value: String| lines.push((name, value, ""));
    line("introspection_accept", quoted(accept.text(options)));
    if hint {
        line("token_type_hint", HINT.to_owned());
    }
    if let (Some(id), false) = (&options.client_id, auth == ClientAuth::None) {
        line("client_id", quoted(id));
    }
    match (auth, &options.secret, &options.key) {
        (ClientAuth::None, ..) => {}
        (ClientAuth::PrivateKeyJwt, _, Some(key)) => {
            let kid = options.kid.as_ref();
            let kid = kid.map(|kid| format!(" {}", quoted(&format!("kid={kid}"))));
            line("client_key", path(key, "client.key") + &kid.unwrap_or_default());
        }
        (_, Some(secret), _) => {
            line("client_secret_file", path(&secret.path, "introspection-secret"));
        }
        _ => {}
    }
    let audience = options.audience.as_ref().filter(|_| auth.signs());
    let audience = audience.map(|audience| format!(" {}", quoted(&format!("aud={audience}"))));
    line("client_auth", auth.word().to_owned() + &audience.unwrap_or_default());
    if let (Some(id), ClientAuth::None) = (&options.client_id, auth) {
        line("introspection_param", format!("client_id {}", quoted(id)));
    }
    for (name, value) in &options.params {
        line("introspection_param", format!("{} {}", quoted(name), quoted(value)));
    }
    if let Some(file) = &options.trusted {
        line("ssl_trusted_certificate", path(file, "ca.pem"));
    }
    if let Some((certificate, key)) = &options.certificate {
        line("ssl_certificate", path(certificate, "client.pem"));
        line("ssl_certificate_key", path(key, "client.key"));
    }
    if let Some(timeout) = timeout {
        lines.push(("timeout", format!("{}s", timeout.as_secs()), ""));
    }
    if found.ignores_cache_control {
        let note = "else no answer is kept";
        lines.push(("cache_control", "ignore".to_owned(), note));
    }
    lines
}

fn location(found: &Found<'_>) -> String {
    let mut out = String::new();
    if found.vschar {
        out.push_str("phantom_token_token_syntax vschar;\n");
    }
    let Some((forward, facts)) = found.token else { return out };
    if found.is_unsafe {
        out.push_str(UNSAFE);
    }
    if facts.nature.kind == TokenKind::Named {
        out.push_str(
            "phantom_token_kind declared;  # the server names the kind of access tokens\n",
        );
    }
    if forward == Forward::Jwt {
        out.push_str("phantom_token_forward jwt;\n");
        return out;
    }
    out.push_str(NONE);
    for (claim, header) in &facts.passed {
        out.push_str(&format!("proxy_set_header {header} $phantom_token_claim_{claim};\n"));
    }
    if let Some(audience) = &facts.audience {
        let audience = quoted(audience);
        out.push_str(&format!(
            "# If this names the API, demand it; nobody else does: phantom_token_audience {audience};\n"
        ));
    }
    out
}

const UNSAFE: &str = "\
# NOT SAFE as it is: at this server a refresh token passes for an access token, for as long as it
# lives. Have the server introspect access tokens alone.
";

const NONE: &str = "\
# No JWT comes: the API gets claims, and must be reached through the gateway alone. Set every
# header it looks at, or a client can. Or let the gateway sign one: phantom_token_forward mint.
phantom_token_forward none;
";

/// A file as NGINX finds it wherever it was started; `name` in /etc/nginx where it was standard input.
fn path(path: &Path, name: &str) -> String {
    if path == Path::new(STDIN) {
        return format!("/etc/nginx/{name}");
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    quoted(&whole.to_string_lossy())
}

/// A value as NGINX's own parser reads it.
fn quoted(value: &str) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?&=@%+,*!()[]".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asking::Accept;
    use crate::options::{self, Command};

    #[test]
    fn a_value_is_quoted_where_nginx_would_read_something_else() {
        for plain in ["a", "https://as.example:8443/introspect?x=1&y=2", "/etc/nginx/a-b_c.pem"] {
            assert_eq!(quoted(plain), plain);
        }
        for (value, written) in [
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a;b", "\"a;b\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a{b}", "\"a{b}\""),
            ("#a", "\"#a\""),
            ("a'b", "\"a'b\""),
            ("ü", "\"ü\""),
        ] {
            assert_eq!(quoted(value), written);
        }
    }

    #[test]
    fn who_waits_longer_counts_time_outs_in_a_row_for_longer() {
        let text = |timeout: &str, is_slow| {
            let args = ["--timeout", timeout, "http://127.0.0.1/introspect"];
            let read = options::read(lexopt::Parser::from_args(args)).expect("options");
            let Command::Probe(options) = read else { panic!("no URL") };
            let way = Way { auth: ClientAuth::None, accept: Accept::Json, hint: true };
            let found = Found {
                way,
                token: None,
                is_unsafe: false,
                ignores_cache_control: false,
                is_slow,
                vschar: false,
            };
            super::text(&options, &found)
        };
        let long = text("20", true);
        assert!(long.contains("/introspect fail_timeout=20s;"), "{long}");
        assert!(long.contains("phantom_token_timeout 20s;"), "{long}");
        let short = text("10", true);
        assert!(short.contains("phantom_token_timeout 10s;"), "{short}");
        assert!(!short.contains("fail_timeout"), "{short}");
        assert!(!text("20", false).contains("timeout"));
    }
}
