//! base64url without padding, as all of JOSE writes bytes (RFC 7515 §2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns the text of some bytes.
pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the text of some bytes.
pub(super) fn push_base64url(out: &mut String, bytes: &[u8]) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Returns the length of the text of so many bytes.
pub(super) fn base64url_len(bytes: usize) -> usize {
    (bytes.saturating_mul(4)).div_ceil(3)
}
