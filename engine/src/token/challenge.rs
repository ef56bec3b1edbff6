//! What a refused client is told: `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1) and the bodies.

use crate::answer::scope;

/// The JSON body of every 401 of the module.
pub const UNAUTHORIZED_BODY: &[u8] =
    b"{\"code\":\"unauthorized\",\"message\":\"Missing, invalid or expired access token\"}\n";

/// The JSON body of every 403 of the module.
pub const FORBIDDEN_BODY: &[u8] =
    b"{\"code\":\"forbidden\",\"message\":\"The token does not contain the required scope\"}\n";

/// The JSON body of every 500 and 503 of the module.
pub const SERVER_ERROR_BODY: &[u8] =
    b"{\"code\":\"server_error\",\"message\":\"Problem encountered authorizing the HTTP request\"}\n";

/// Why a challenge cannot be made of the configuration; the words say what to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// A byte that would have to be escaped, or cannot be sent.
    #[error("a realm is printable ASCII without '\"' and '\\'")]
    Realm,
    /// Not values of RFC 6749 §3.3.
    #[error(
        "a scope is one or more values separated by spaces, each of printable ASCII without '\"' \
         and '\\', such as \"read write\""
    )]
    Scope,
    /// Not an URL that fits in a quoted string.
    #[error(
        "the protected resource metadata is an absolute URL without a fragment, such as \
         \"https://api.example.com/.well-known/oauth-protected-resource\""
    )]
    ResourceMetadata,
    /// A challenge has at least one parameter (RFC 6750 §3).
    #[error("an empty realm needs a scope or a resource_metadata URL beside it: set a realm")]
    Empty,
}

/// The three values of `WWW-Authenticate` of one location, made when it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    missing: Vec<u8>,
    invalid_token: Vec<u8>,
    insufficient_scope: Vec<u8>,
}

impl Challenge {
    /// Makes the three values of `phantom_token_realm`, `phantom_token_scope` and
    /// `phantom_token_resource_metadata`. An empty realm is left out; `None` leaves out the
    /// parameter.
    ///
    /// # Errors
    /// The first value that cannot stand in a challenge, or that all of them are left out.
    pub fn new(
        realm: Option<&[u8]>,
        scope: Option<&[u8]>,
        resource_metadata: Option<&[u8]>,
    ) -> Result<Challenge, ChallengeError> {
        let realm = realm.filter(|realm| !realm.is_empty());
        realm.map_or(Ok(()), check_realm)?;
        scope.map_or(Ok(()), check_scope)?;
        resource_metadata.map_or(Ok(()), check_resource_metadata)?;

        let scope = scope.map(|scope| scope::values(scope).collect::<Vec<_>>().join(&b' '));
        let realm = ("realm", realm);
        let scope = ("scope", scope.as_deref());
        let metadata = ("resource_metadata", resource_metadata);
        if [realm, scope, metadata].iter().all(|(_, value)| value.is_none()) {
            return Err(ChallengeError::Empty);
        }
        let error = |code: &'static str| ("error", Some(code.as_bytes()));
        let description =
            ("error_description", Some(&b"The access token is invalid or expired"[..]));
        Ok(Challenge {
            missing: bearer(&[realm, scope, metadata]),
            invalid_token: bearer(&[realm, scope, metadata, error("invalid_token"), description]),
            insufficient_scope: bearer(&[realm, metadata, error("insufficient_scope"), scope]),
        })
    }

    /// Returns the value for a request without a token: no error code (RFC 6750 §3.1).
    pub fn missing(&self) -> &[u8] {
        &self.missing
    }

    /// Returns the value for a token that is unusable, inactive or bound to its sender (RFC 6750
    /// §3.1).
    pub fn invalid_token(&self) -> &[u8] {
        &self.invalid_token
    }

    /// Returns the value for a token that is good, but lacks a required scope (RFC 6750 §3.1).
    pub fn insufficient_scope(&self) -> &[u8] {
        &self.insufficient_scope
    }
}

/// Checks a realm: a quoted string in which nothing has to be escaped (RFC 9110 §11.5).
///
/// # Errors
/// A byte in it would have to be escaped, or cannot be sent.
pub fn check_realm(realm: &[u8]) -> Result<(), ChallengeError> {
    let fits = realm.iter().all(|byte| *byte == b' ' || is_scope_byte(*byte));
    if fits { Ok(()) } else { Err(ChallengeError::Realm) }
}

/// Checks a scope: one or more values (RFC 6749 §3.3) separated by SP.
///
/// # Errors
/// It holds no value, or a byte that no value has.
pub fn check_scope(scope: &[u8]) -> Result<(), ChallengeError> {
    let some = scope::values(scope).next().is_some();
    let fits = scope.iter().all(|byte| *byte == b' ' || is_scope_byte(*byte));
    if some && fits { Ok(()) } else { Err(ChallengeError::Scope) }
}

/// Checks the URL of protected resource metadata (RFC 9728 §3): absolute, `https` or, for tests,
/// `http`, without a fragment, and of characters that an URL may have (RFC 3986 §2).
///
/// # Errors
/// It is not such a URL.
pub fn check_resource_metadata(url: &[u8]) -> Result<(), ChallengeError> {
    let authority = |scheme: &[u8]| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
        start.eq_ignore_ascii_case(scheme).then_some(&rest[..end])
    };
    let authority = authority(b"https://").or_else(|| authority(b"http://"));
    let has_host = authority.is_some_and(|authority| {
        !authority.is_empty() && !authority.starts_with(b":") && !authority.contains(&b'@')
    });
    let is_url_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(byte);
    if has_host && url.iter().all(is_url_byte) {
        Ok(())
    } else {
        Err(ChallengeError::ResourceMetadata)
    }
}

/// `NQCHAR` of RFC 6749 Appendix A: %x21 / %x23-5B / %x5D-7E.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// `Bearer` and its parameters. The values were checked: none needs an escape.
fn bearer(params: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut out = b"Bearer".to_vec();
    let mut separator = " ";
    for (name, value) in params {
        let Some(value) = value else { continue };
        for part in [separator.as_bytes(), name.as_bytes(), b"=\"", value, b"\""] {
            out.extend_from_slice(part);
        }
        separator = ", ";
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn challenge(realm: &str, scope: Option<&str>, metadata: Option<&str>) -> Challenge {
        Challenge::new(
            Some(realm.as_bytes()),
            scope.map(str::as_bytes),
            metadata.map(str::as_bytes),
        )
        .expect("a challenge")
    }

    fn text(value: &[u8]) -> &str {
        std::str::from_utf8(value).expect("ascii")
    }

    #[test]
    fn realm_alone() {
        let challenge = challenge("api", None, None);
        assert_eq!(text(challenge.missing()), "Bearer realm=\"api\"");
        assert_eq!(
            text(challenge.invalid_token()),
            "Bearer realm=\"api\", error=\"invalid_token\", \
             error_description=\"The access token is invalid or expired\""
        );
        assert_eq!(
            text(challenge.insufficient_scope()),
            "Bearer realm=\"api\", error=\"insufficient_scope\""
        );
    }

    #[test]
    fn everything() {
        let url = "https://api.example.com/.well-known/oauth-protected-resource?a=b";
        let challenge = challenge("my api", Some("  read   write "), Some(url));
        assert_eq!(
            text(challenge.missing()),
            format!("Bearer realm=\"my api\", scope=\"read write\", resource_metadata=\"{url}\"")
        );
        assert_eq!(
            text(challenge.invalid_token()),
            format!(
                "Bearer realm=\"my api\", scope=\"read write\", resource_metadata=\"{url}\", \
                 error=\"invalid_token\", \
                 error_description=\"The access token is invalid or expired\""
            )
        );
        assert_eq!(
            text(challenge.insufficient_scope()),
            format!(
                "Bearer realm=\"my api\", resource_metadata=\"{url}\", \
                 error=\"insufficient_scope\", scope=\"read write\""
            )
        );
    }

    #[test]
    fn an_empty_realm_is_left_out_where_something_else_stands() {
        assert_eq!(text(challenge("", Some("read"), None).missing()), "Bearer scope=\"read\"");
        assert_eq!(
            text(challenge("", None, Some("https://a")).missing()),
            "Bearer resource_metadata=\"https://a\""
        );
        assert_eq!(Challenge::new(Some(b""), None, None), Err(ChallengeError::Empty));
        assert_eq!(Challenge::new(None, None, None), Err(ChallengeError::Empty));
    }

    #[test]
    fn each_byte_of_realm_and_scope() {
        for byte in 0..=255u8 {
            let fits = byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            let value = [b'a', byte, b'b'];
            assert_eq!(check_realm(&value).is_ok(), fits || byte == b' ', "{byte:#x}");
            assert_eq!(check_scope(&value).is_ok(), fits || byte == b' ', "{byte:#x}");
        }
        assert_eq!(check_scope(b""), Err(ChallengeError::Scope));
        assert_eq!(check_scope(b"  "), Err(ChallengeError::Scope));
        assert_eq!(Challenge::new(Some(b"a\"b"), None, None), Err(ChallengeError::Realm));
        assert_eq!(Challenge::new(Some(b"a"), Some(b" "), None), Err(ChallengeError::Scope));
        assert_eq!(
            Challenge::new(Some(b"a"), None, Some(b"")),
            Err(ChallengeError::ResourceMetadata)
        );
    }

    #[test]
    fn urls() {
        for url in [
            "https://a",
            "https://a/",
            "HTTPS://a:8443/b?c=d",
            "http://localhost/x",
            "https://[::1]:1/",
            "https://a/%20;b=c,d",
            "https://a?b=c@d",
        ] {
            assert_eq!(check_resource_metadata(url.as_bytes()), Ok(()), "{url}");
        }
        for url in [
            "",
            "a",
            "/a",
            "//a",
            "https:",
            "https://",
            "https:///a",
            "https://?a",
            "https://:8443/a",
            "ftp://a",
            "https://a b",
            "https://a\"b",
            "https://a\\b",
            "https://a#b",
            "https://u:p@a/",
            "https://a\n",
            "https://a\u{e9}",
            "https://<a>",
            "javascript:a",
        ] {
            assert_eq!(
                check_resource_metadata(url.as_bytes()),
                Err(ChallengeError::ResourceMetadata),
                "{url}"
            );
        }
    }

    #[test]
    fn bodies_are_those_of_the_lua_plugin() {
        for (body, code, message) in [
            (UNAUTHORIZED_BODY, "unauthorized", "Missing, invalid or expired access token"),
            (FORBIDDEN_BODY, "forbidden", "The token does not contain the required scope"),
            (SERVER_ERROR_BODY, "server_error", "Problem encountered authorizing the HTTP request"),
        ] {
            let expected = format!("{{\"code\":\"{code}\",\"message\":\"{message}\"}}\n");
            assert_eq!(text(body), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_can_be_sent(
            realm: Vec<u8>, scope: Option<Vec<u8>>, url: Option<Vec<u8>>,
        ) {
            if let Ok(challenge) = Challenge::new(Some(&realm), scope.as_deref(), url.as_deref()) {
                for value in
                    [challenge.missing(), challenge.invalid_token(), challenge.insufficient_scope()]
                {
                    prop_assert!(value.iter().all(|byte| (0x20..0x7f).contains(byte)));
                    prop_assert_eq!(value.iter().filter(|byte| **byte == b'"').count() % 2, 0);
                }
            }
        }
    }
}
