//! The authorization server's HTTP answer, as far as it is looked at.

use std::fmt;

use zeroize::Zeroize;

use crate::http::cache_control::Caching;

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// One HTTP answer. Dropping it wipes the body, which may hold a token.
#[derive(Clone, Default, PartialEq, Eq, Zeroize)]
#[zeroize(drop)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// `Content-Type`, parameters included.
    pub content_type: Option<Vec<u8>>,
    /// `Cache-Control` and `Age`.
    #[zeroize(skip)]
    pub caching: Caching,
    /// `Retry-After`.
    pub retry_after: Option<Vec<u8>>,
    /// `Content-Encoding`.
    pub content_encoding: Option<Vec<u8>>,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

impl fmt::Debug for Response {
    /// Says nothing that the server wrote but the status.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}
