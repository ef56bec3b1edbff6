//! The key set that APIs fetch (RFC 7517 §5).

use crate::jose::encoding::base64url;
use crate::jose::key::PublicKey;
use crate::jose::primitives::sha256;

/// Its media type (RFC 7517 §8.5.2).
pub const CONTENT_TYPE: &str = "application/jwk-set+json";

/// Writes the key set: public members alone, keys in their order, none twice.
pub fn published<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Vec<u8> {
    let mut known: Vec<[u8; 32]> = Vec::new();
    let mut out = String::from("{\"keys\":[");
    for key in keys {
        if known.contains(&key.thumbprint()) {
            continue;
        }
        if !known.is_empty() {
            out.push(',');
        }
        known.push(key.thumbprint());
        out.push_str(&key.jwk());
    }
    out.push_str("]}");
    out.into_bytes()
}

/// Returns a strong entity tag (RFC 9110 §8.8.3) that changes with the document's bytes, quotes
/// included.
pub fn etag(document: &[u8]) -> String {
    format!("\"{}\"", base64url(&sha256(document)[..16]))
}
