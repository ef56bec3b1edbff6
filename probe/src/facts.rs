//! What an answer about a good token holds, as far as it is shown or decides what is to be configured:
//! the names of claims, and the values of few.

use phantom_token_engine::answer::claims::{ClaimValue, Wanted, lookup};
use phantom_token_engine::answer::grant::Grant;
use phantom_token_engine::answer::json::Object;
use phantom_token_engine::answer::jwt;
use phantom_token_engine::answer::nature::Nature;

use crate::shown::Shown;

/// How many names are shown, at most.
const MAX_NAMES: usize = 40;

/// Claims whose values say something of the server or the kind of token, and nothing of the user.
const SHOWN: [&str; 8] =
    ["iss", "aud", "scope", "token_type", "token_use", "token_usage", "token_class", "typ"];

/// Claims that a location may pass to an API that gets no JWT, and the header that its example does it in.
pub(crate) const PASSED: [(&str, &str); 4] =
    [("sub", "X-Subject"), ("username", "X-User"), ("client_id", "X-Client"), ("scope", "X-Scope")];

/// What is known of a good token.
pub(crate) struct Facts {
    /// The names of the JSON answer's members.
    pub(crate) answer: Vec<String>,
    /// The JWT's length in bytes, and the names of its claims, where it is not encrypted; `None`: there is
    /// no JWT.
    pub(crate) jwt: Option<(usize, Option<Vec<String>>)>,
    /// Name and value.
    pub(crate) values: Vec<(&'static str, String)>,
    /// The server's issuer, where it can be written into a configuration.
    pub(crate) issuer: Option<String>,
    /// The one audience, where it can be.
    pub(crate) audience: Option<String>,
    /// What the API may get of the answer.
    pub(crate) passed: Vec<(&'static str, &'static str)>,
    pub(crate) nature: Nature,
    pub(crate) exp: Option<u64>,
}

impl Facts {
    pub(crate) fn of(grant: &Grant, shown: &Shown) -> Self {
        let names = |document: &[u8]| {
            let object = Object::of_checked(document)?;
            let all = object.members().count();
            let named = object.members().filter_map(|(name, _)| shown.name(name));
            let mut names: Vec<_> = named.collect();
            names.sort_unstable();
            names.truncate(MAX_NAMES);
            if names.len() < all {
                names.push(format!("and {} more", all - names.len()));
            }
            Some(names)
        };
        let claim =
            |name: &str| match lookup(&grant.claims, &grant.jwt, Wanted::Named(name.as_bytes())) {
                ClaimValue::Text(text) => String::from_utf8(text).ok(),
                ClaimValue::Absent | ClaimValue::Unprintable => None,
            };
        let payload = || names(&jwt::payload_of_checked(&grant.jwt)?);
        let values =
            SHOWN.into_iter().filter_map(|name| Some((name, shown.value(name, &claim(name)?))));
        // In a configuration it must be what it is: not cut, not hidden, and no variable.
        let is_plain = |name: &'static str| {
            move |value: &String| {
                let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'$';
                !value.is_empty() && value.bytes().all(fits) && *value == shown.value(name, value)
            }
        };
        Self {
            answer: names(&grant.claims).unwrap_or_default(),
            jwt: (!grant.jwt.is_empty()).then(|| (grant.jwt.len(), payload())),
            values: values.collect(),
            issuer: claim("iss").filter(is_plain("iss")),
            // Several are joined by blanks.
            audience: claim("aud").filter(is_plain("aud")),
            passed: PASSED.into_iter().filter(|(name, _)| claim(name).is_some()).collect(),
            nature: grant.nature,
            exp: grant.exp,
        }
    }
}
