//! What a refused client is told: `WWW-Authenticate` (RFC 6750 §3, RFC 9470 §3, RFC 9728 §5.1) and
//! the bodies.

use crate::answer::scope;
use crate::memory::{self, NoMemory};

/// The realm of challenges that would have no parameter.
pub const DEFAULT_REALM: &[u8] = b"api";

/// The JSON body of every 401 of the module.
pub const UNAUTHORIZED_BODY: &[u8] =
    b"{\"code\":\"unauthorized\",\"message\":\"Missing, invalid or expired access token\"}\n";

/// The JSON body of a 403 for a token without a required scope.
pub const FORBIDDEN_BODY: &[u8] =
    b"{\"code\":\"forbidden\",\"message\":\"The token does not contain the required scope\"}\n";

/// The JSON body of a 403 for a token that does not meet other requirements.
pub const UNMET_BODY: &[u8] =
    b"{\"code\":\"forbidden\",\"message\":\"The token does not meet the requirements\"}\n";

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
    #[error("a challenge without a realm needs a scope or a resource_metadata URL: write a realm")]
    Empty,
}

/// What the challenges of a location say of it. Each value fits in a quoted string ([`check_realm`],
/// [`check_scope`], [`check_resource_metadata`]); an empty one is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// `phantom_token_realm`.
    pub realm: &'a [u8],
    /// The scope to ask for, values joined by single spaces.
    pub scope: &'a [u8],
    /// `phantom_token_resource_metadata`.
    pub resource_metadata: &'a [u8],
}

/// What a client has not met, and can meet with another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet<'a> {
    /// It presents no token: no error code (RFC 6750 §3.1).
    Token,
    /// Its token is unusable, inactive, or one that the location does not take (RFC 6750 §3.1).
    Validity,
    /// Its token is good, but lacks a required scope (RFC 6750 §3.1).
    Scope,
    /// Whoever the token is of has not been authenticated well enough, or too long ago (RFC 9470
    /// §3).
    Authentication(StepUp<'a>),
}

/// The authentication that is asked for (RFC 9470 §3): of what is not met, at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepUp<'a> {
    /// Values of `acr`, one of which must be met, joined by single spaces; empty: any may be.
    pub acr_values: &'a [u8],
    /// How long ago it may be, in seconds.
    pub max_age: Option<u64>,
    /// A required scope is missing too.
    pub lacks_scope: bool,
}

impl Challenge<'_> {
    /// Makes the value of `WWW-Authenticate`. Where neither realm nor scope nor metadata is known the
    /// realm is [`DEFAULT_REALM`], since a challenge has at least one parameter (RFC 6750 §3).
    ///
    /// # Errors
    /// The system gives no memory for it.
    pub fn for_unmet(self, unmet: Unmet<'_>) -> Result<Vec<u8>, NoMemory> {
        let of_nothing = self.scope.is_empty() && self.resource_metadata.is_empty();
        let realm = match self.realm {
            b"" if of_nothing => DEFAULT_REALM,
            realm => realm,
        };
        let (realm, scope) = (("realm", realm), ("scope", self.scope));
        let metadata = ("resource_metadata", self.resource_metadata);
        match unmet {
            Unmet::Token => bearer(&[realm, scope, metadata]),
            Unmet::Validity => {
                let description = "The access token is invalid or expired";
                let [error, description] = error("invalid_token", description);
                bearer(&[realm, scope, metadata, error, description])
            }
            Unmet::Scope => {
                let [error, _] = error("insufficient_scope", "");
                bearer(&[realm, metadata, error, scope])
            }
            Unmet::Authentication(step_up) => {
                let [error, description] =
                    error("insufficient_user_authentication", step_up.description());
                let max_age =
                    step_up.max_age.map_or_else(String::new, |max_age| max_age.to_string());
                let acr_values = ("acr_values", step_up.acr_values);
                let scope = ("scope", if step_up.lacks_scope { self.scope } else { b"" });
                let max_age = ("max_age", max_age.as_bytes());
                bearer(&[realm, metadata, error, description, acr_values, max_age, scope])
            }
        }
    }
}

impl StepUp<'_> {
    /// The words of RFC 9470 §3.
    fn description(&self) -> &'static str {
        match (self.acr_values.is_empty(), self.max_age.is_some()) {
            (false, false) => "A different authentication level is required",
            (true, _) => "More recent authentication is required",
            (false, true) => {
                "A different authentication level is required. \
                 More recent authentication is required"
            }
        }
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

type Param<'a> = (&'static str, &'a [u8]);

fn error(code: &'static str, description: &'static str) -> [Param<'static>; 2] {
    [("error", code.as_bytes()), ("error_description", description.as_bytes())]
}

/// `Bearer` and its parameters, but for empty ones. The values were checked: none needs an escape.
fn bearer(params: &[Param<'_>]) -> Result<Vec<u8>, NoMemory> {
    const SCHEME: &[u8] = b"Bearer";
    const AROUND: usize = b", =\"\"".len();
    let len = params.iter().map(|(name, value)| AROUND + name.len() + value.len()).sum::<usize>();
    let mut out = memory::with_room(SCHEME.len() + len)?;
    out.extend_from_slice(SCHEME);
    let mut separator = " ";
    for (name, value) in params.iter().filter(|(_, value)| !value.is_empty()) {
        for part in [separator.as_bytes(), name.as_bytes(), b"=\"", value, b"\""] {
            out.extend_from_slice(part);
        }
        separator = ", ";
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(realm: &str, scope: &str, metadata: &str, unmet: Unmet<'_>) -> String {
        let [realm, scope, resource_metadata] = [realm, scope, metadata].map(str::as_bytes);
        let challenge = Challenge { realm, scope, resource_metadata };
        text(&challenge.for_unmet(unmet).expect("memory")).to_owned()
    }

    fn text(value: &[u8]) -> &str {
        std::str::from_utf8(value).expect("ascii")
    }

    const URL: &str = "https://api.example.com/.well-known/oauth-protected-resource?a=b";

    #[test]
    fn realm_alone() {
        assert_eq!(said("api", "", "", Unmet::Token), "Bearer realm=\"api\"");
        assert_eq!(
            said("api", "", "", Unmet::Validity),
            "Bearer realm=\"api\", error=\"invalid_token\", \
             error_description=\"The access token is invalid or expired\""
        );
        assert_eq!(
            said("api", "", "", Unmet::Scope),
            "Bearer realm=\"api\", error=\"insufficient_scope\""
        );
    }

    #[test]
    fn everything() {
        assert_eq!(
            said("my api", "read write", URL, Unmet::Token),
            format!("Bearer realm=\"my api\", scope=\"read write\", resource_metadata=\"{URL}\"")
        );
        assert_eq!(
            said("my api", "read write", URL, Unmet::Validity),
            format!(
                "Bearer realm=\"my api\", scope=\"read write\", resource_metadata=\"{URL}\", \
                 error=\"invalid_token\", \
                 error_description=\"The access token is invalid or expired\""
            )
        );
        assert_eq!(
            said("my api", "read write", URL, Unmet::Scope),
            format!(
                "Bearer realm=\"my api\", resource_metadata=\"{URL}\", \
                 error=\"insufficient_scope\", scope=\"read write\""
            )
        );
    }

    #[test]
    fn a_step_up_asks_for_what_is_not_met() {
        let level = StepUp { acr_values: b"gold silver", ..StepUp::default() };
        let recent = StepUp { max_age: Some(300), ..StepUp::default() };
        let both = StepUp { max_age: Some(300), lacks_scope: true, ..level };
        for (step_up, expected) in [
            (
                level,
                "error_description=\"A different authentication level is required\", \
                 acr_values=\"gold silver\"",
            ),
            (
                recent,
                "error_description=\"More recent authentication is required\", max_age=\"300\"",
            ),
            (
                both,
                "error_description=\"A different authentication level is required. \
                 More recent authentication is required\", \
                 acr_values=\"gold silver\", max_age=\"300\", scope=\"read\"",
            ),
        ] {
            assert_eq!(
                said("api", "read", URL, Unmet::Authentication(step_up)),
                format!(
                    "Bearer realm=\"api\", resource_metadata=\"{URL}\", \
                     error=\"insufficient_user_authentication\", {expected}"
                )
            );
        }
    }

    #[test]
    fn an_empty_realm_is_left_out_where_something_else_stands() {
        assert_eq!(said("", "read", "", Unmet::Token), "Bearer scope=\"read\"");
        assert_eq!(
            said("", "", "https://a", Unmet::Token),
            "Bearer resource_metadata=\"https://a\""
        );
        assert_eq!(said("", "", "", Unmet::Token), "Bearer realm=\"api\"");
        assert_eq!(
            said("", "", "", Unmet::Scope),
            "Bearer realm=\"api\", error=\"insufficient_scope\""
        );
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
    fn bodies_are_in_the_form_of_the_lua_plugin_s() {
        for (body, code, message) in [
            (UNAUTHORIZED_BODY, "unauthorized", "Missing, invalid or expired access token"),
            (FORBIDDEN_BODY, "forbidden", "The token does not contain the required scope"),
            (UNMET_BODY, "forbidden", "The token does not meet the requirements"),
            (SERVER_ERROR_BODY, "server_error", "Problem encountered authorizing the HTTP request"),
        ] {
            let expected = format!("{{\"code\":\"{code}\",\"message\":\"{message}\"}}\n");
            assert_eq!(text(body), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_can_be_sent(realm: Vec<u8>, scope: Vec<u8>, url: Vec<u8>) {
            let given = |value, check: fn(&[u8]) -> Result<(), ChallengeError>| {
                if check(value).is_ok() { value } else { &[][..] }
            };
            let challenge = Challenge {
                realm: given(&realm, check_realm),
                scope: given(&scope, check_scope),
                resource_metadata: given(&url, check_resource_metadata),
            };
            let step_up = StepUp { acr_values: b"a", max_age: Some(u64::MAX), lacks_scope: true };
            for unmet in
                [Unmet::Token, Unmet::Validity, Unmet::Scope, Unmet::Authentication(step_up)]
            {
                let value = challenge.for_unmet(unmet).expect("memory");
                prop_assert!(value.iter().all(|byte| (0x20..0x7f).contains(byte)));
                prop_assert_eq!(value.iter().filter(|byte| **byte == b'"').count() % 2, 0);
            }
        }
    }
}
