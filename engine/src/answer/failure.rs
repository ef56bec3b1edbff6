//! Answers that say nothing about the token.

use std::time::{Duration, UNIX_EPOCH};

use super::Cause;
use crate::jose::mint::MintError;

/// The longest `Retry-After` that is passed on, in seconds.
pub const MAX_RETRY_AFTER: u32 = 3_600;

/// Why an answer decided nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// A status that has no meaning here.
    #[error("the authorization server answered with status {0}")]
    Status(u16),
    /// 429 (RFC 6585 §4).
    #[error("the authorization server answered that it gets too many requests")]
    RateLimited {
        /// How long the server wants to be left alone, in seconds, 1 to [`MAX_RETRY_AFTER`].
        retry_after: Option<u32>,
    },
    /// 503 (RFC 9110 §15.6.4).
    #[error("the authorization server answered with status 503")]
    Unavailable {
        /// As of [`NoVerdict::RateLimited`].
        retry_after: Option<u32>,
    },
    /// 401, 403, or 400 with RFC 6749 §5.2's `invalid_client` or `unauthorized_client`: the server
    /// refuses our own credentials (RFC 7662 §2.3), or so it looks.
    #[error("the authorization server refused this client's credentials with status {0}")]
    Credentials(u16),
    /// The server does not know the token type hint that was sent.
    #[error("the authorization server refused the token type hint with status {0}")]
    Hint(u16),
    /// 200 with something that cannot be taken as an answer.
    #[error("the authorization server's answer is not understood: {0}")]
    NotUnderstood(#[from] Cause),
    /// The token is active, and the gateway could make no JWT of that.
    #[error("no JWT can be made of the authorization server's answer: {0}")]
    NotMinted(#[from] MintError),
}

impl NoVerdict {
    /// Whether the endpoint is out of order, so that the next one is asked and, where there is
    /// another, the failure counts towards its rest. An odd token must not bring this about.
    pub fn is_outage(self) -> bool {
        matches!(self, NoVerdict::Unavailable { .. } | NoVerdict::Status(502..=504))
    }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date that is compared with `now` in seconds
/// since the Unix epoch.
pub(super) fn retry_after(value: Option<&[u8]>, now: u64) -> Option<u32> {
    let value = std::str::from_utf8(value?).ok()?.trim_matches([' ', '\t']);
    let seconds = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // All digits: what does not fit is only too large.
        value.parse().unwrap_or(u64::MAX)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        let now = UNIX_EPOCH.checked_add(Duration::from_secs(now))?;
        until.duration_since(now).unwrap_or_default().as_secs()
    };
    u32::try_from(seconds.clamp(1, MAX_RETRY_AFTER.into())).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: u64 = 784_111_777;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let cases: [(&str, Option<u32>); 17] = [
            ("120", Some(120)),
            (" 7\t", Some(7)),
            ("0", Some(1)),
            ("3600", Some(3_600)),
            ("3601", Some(3_600)),
            ("99999999999999999999999999", Some(3_600)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun Nov  6 08:49:47 1994", Some(10)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(1)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(1)),
            ("Sun, 06 Nov 2044 08:49:37 GMT", Some(3_600)),
            ("", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (value, expected) in cases {
            assert_eq!(retry_after(Some(value.as_bytes()), NOW), expected, "{value:?}");
        }
        assert_eq!(retry_after(None, NOW), None);
        assert_eq!(retry_after(Some(b"\xff"), NOW), None);
    }

    #[test]
    fn an_outage_is_502_503_or_504() {
        let rate_limited = NoVerdict::RateLimited { retry_after: None };
        for (failure, outage) in [
            (NoVerdict::Status(201), false),
            (NoVerdict::Status(302), false),
            (NoVerdict::Status(400), false),
            (NoVerdict::Status(404), false),
            (NoVerdict::Status(500), false),
            (NoVerdict::Status(501), false),
            (NoVerdict::Status(502), true),
            (NoVerdict::Unavailable { retry_after: None }, true),
            (NoVerdict::Status(504), true),
            (rate_limited, false),
            (NoVerdict::Credentials(400), false),
            (NoVerdict::Credentials(401), false),
            (NoVerdict::Credentials(403), false),
            (NoVerdict::Hint(400), false),
            (NoVerdict::NotUnderstood(Cause::Json), false),
        ] {
            assert_eq!(failure.is_outage(), outage, "{failure}");
        }
    }

    proptest! {
        #[test]
        fn any_retry_after_stays_in_bounds(value: Vec<u8>, now: u64) {
            if let Some(seconds) = retry_after(Some(&value), now) {
                prop_assert!((1..=MAX_RETRY_AFTER).contains(&seconds));
            }
        }
    }
}
