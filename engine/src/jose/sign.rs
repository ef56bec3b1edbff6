//! The compact serialization of a JWS (RFC 7515 §7.1).

use crate::answer::json::write_string;
use crate::jose::encoding::{base64url_len, push_base64url};

/// No signature was made: the system gave no random numbers, or the key's own parts do not fit
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("nothing could be signed: no random numbers, or the key is not sound")]
pub struct SignError;

/// What stands in the header beside `alg` (RFC 7515 §4.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'a> {
    /// The media type of the whole, without `application/`.
    pub typ: Option<&'a str>,
    /// Which key signs.
    pub kid: Option<&'a str>,
}

/// Longer than any signature, in bytes: RSA with 4096 bits.
const SIGNATURE: usize = 512;

/// Writes header, payload and signature.
pub(super) fn compact(
    alg: &str,
    header: Header<'_>,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, SignError>,
) -> Result<Vec<u8>, SignError> {
    let mut json = Vec::with_capacity(128);
    json.extend_from_slice(b"{\"alg\":");
    write_string(&mut json, alg);
    for (name, value) in [("typ", header.typ), ("kid", header.kid)] {
        if let Some(value) = value {
            json.push(b',');
            write_string(&mut json, name);
            json.push(b':');
            write_string(&mut json, value);
        }
    }
    json.push(b'}');

    let lengths = [json.len(), payload.len(), SIGNATURE].map(base64url_len);
    // In one piece: no shorter copy is left behind.
    let mut out = String::with_capacity(lengths.into_iter().sum::<usize>() + 2);
    push_base64url(&mut out, &json);
    out.push('.');
    push_base64url(&mut out, payload);
    let made = sign(out.as_bytes())?;
    out.push('.');
    push_base64url(&mut out, &made);
    Ok(out.into_bytes())
}
