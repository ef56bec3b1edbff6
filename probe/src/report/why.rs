//! Why it does not work, and what to do.

use phantom_token_engine::answer::NoVerdict;
use phantom_token_engine::answer::json::{Object, Value};
use phantom_token_engine::client::ClientAuth;
use phantom_token_engine::http::form;
use phantom_token_engine::http::response::Response;
use phantom_token_engine::remedy::{Hints, Remedied};

use super::no_answer;
use crate::asking::{About, Asked};
use crate::finding::Why;
use crate::options::Options;
use crate::shown::Shown;

/// Values of `error` that are shown (RFC 6749 §5.2 and §4.1.2.1, RFC 6750 §3.1, RFC 7009 §2.2.1), and one
/// more that servers write.
const ERRORS: [&str; 12] = [
    "access_denied",
    "insufficient_scope",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_token",
    "server_error",
    "temporarily_unavailable",
    "unauthorized",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
];

/// The error that an answer names.
pub(super) fn error(response: &Response) -> Option<&'static str> {
    let answer = Object::parse(&response.body).ok()?;
    let named = answer.get("error").and_then(Value::as_str)?;
    ERRORS.into_iter().find(|error| *error == named)
}

/// Says that an answer is made for people.
pub(super) fn page(response: &Response) -> Option<String> {
    let content_type = response.content_type.as_deref().unwrap_or_default();
    let is_html = content_type.to_ascii_lowercase().starts_with(b"text/html")
        || response.body.trim_ascii_start().starts_with(b"<");
    is_html.then(|| "an HTML page: a login page, a proxy or a firewall answers, perhaps".to_owned())
}

/// What to say of it.
pub(super) fn lines(options: &Options, asked: &Asked, why: Why, shown: &Shown) -> Vec<String> {
    let (cause, remedy) = match why {
        Why::NoAnswer(error) => no_answer(options, &error),
        Why::NoVerdict(failure) => no_verdict(options, asked, failure, shown),
        Why::AllActive => (
            "the server calls a token active that nobody has: it would let anyone in".to_owned(),
            "check the endpoint's URL, which may be that of a stub, and the server".to_owned(),
        ),
        Why::Inactive => (
            "the server takes this client, and calls the token inactive".to_owned(),
            inactive(options),
        ),
        Why::Expired(seconds) => (
            format!("the server calls the token active, and its \"exp\" is {seconds} seconds ago"),
            "check both clocks, and that \"exp\" is this token's and not another's".to_owned(),
        ),
        Why::Kind => (
            "the server names this token as another kind than an access token".to_owned(),
            "give the access token in --token-file".to_owned(),
        ),
    };
    let mut lines = vec!["It does not work".to_owned(), String::new()];
    lines.push(format!("- Cause: {cause}."));
    lines.push(format!("- Remedy: {remedy}."));
    lines
}

fn inactive(options: &Options) -> String {
    let mut remedy = "check that the token has not expired and comes from this server, and that this client is told of it: some servers tell the client it was given to, or one in its \"aud\", alone; a server that takes its issuer from the host name it is asked by wants that of the token, with --connect where it is elsewhere; some servers answer so to a wrong secret".to_owned();
    let is_jwt = |token: &[u8]| token.split(|byte| *byte == b'.').count() == 3;
    if options.token.as_ref().is_some_and(|token| is_jwt(token)) {
        remedy.push_str("; the token looks like a JWT, and some servers introspect none of those");
    }
    remedy
}

fn no_verdict(
    options: &Options,
    asked: &Asked,
    failure: NoVerdict,
    shown: &Shown,
) -> (String, String) {
    let auth = asked.way.auth;
    let changes = match (&options.client_id, &options.secret) {
        (Some(id), Some(secret)) => form::encoding_changes(id.as_bytes(), &secret.bytes),
        _ => false,
    };
    let hints = Hints {
        encoded: changes && auth == ClientAuth::Basic,
        raw: changes && auth == ClientAuth::BasicRaw,
        certificate: options.certificate.is_some(),
        assertions: auth.signs(),
        key: auth == ClientAuth::PrivateKeyJwt,
    };
    let text = Remedied { failure, hints }.to_string();
    // A cause that holds its remedy ends in one.
    let (cause, remedy) = text.split_once("; ").unwrap_or((&text, "see docs/troubleshooting.md"));
    let mut remedy = remedy.to_owned();
    match failure {
        NoVerdict::Status(300..=399) => {
            if let Some(more) = redirect(options, asked, shown) {
                remedy = more;
            }
        }
        NoVerdict::Credentials(_) if asked.about != About::Invented => {
            remedy = "the server takes this client, and refuses this token: see the server's own log, or that of a firewall in front of it".to_owned();
        }
        NoVerdict::RateLimited { retry_after: Some(seconds) }
        | NoVerdict::Unavailable { retry_after: Some(seconds) } => {
            remedy.push_str(&format!("; it asks to be left alone for {seconds} seconds"));
        }
        _ => {}
    }
    (cause.to_owned(), remedy)
}

/// Where the server would send a browser.
fn redirect(options: &Options, asked: &Asked, shown: &Shown) -> Option<String> {
    let location = asked.seen.location.as_ref()?;
    let location = std::str::from_utf8(location).ok()?;
    // What stands behind may be anything.
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let location = &location[..end];
    let url = options.endpoint.url();
    let url = url.split('?').next().unwrap_or_default();
    let path = url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
    let with_slash = format!("{url}/");
    let remedy = if location == with_slash || location == format!("{path}/") {
        "redirects are not followed: write the URL with a slash at its end".to_owned()
    } else if url.strip_suffix('/').is_some_and(|url| url == location) {
        "redirects are not followed: write the URL without the slash at its end".to_owned()
    } else if location.strip_prefix("https://") == url.strip_prefix("http://") {
        "redirects are not followed: write https:// in the URL".to_owned()
    } else {
        format!(
            "redirects are not followed, and this one leads to \"{}\": write the final URL, or, where that is a login page, correct the path",
            shown.location(location)
        )
    };
    Some(remedy)
}

/// What to say where no token was given.
pub(super) fn no_token() -> Vec<String> {
    [
        "The server takes this client, and calls an invented token inactive",
        "",
        "- Whether a good token works is not known: give one in --token-file. A client of the server's gets",
        "  one for itself where it may (grant_type=client_credentials at the token endpoint); the JSON that",
        "  comes can be given as it is.",
    ]
    .map(str::to_owned)
    .to_vec()
}
