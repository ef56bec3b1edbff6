//! `application/token-introspection+jwt` (RFC 9701 §5): the JSON answer is a claim of a JWT, which is
//! itself never forwarded.

use crate::answer::cause::Cause;
use crate::answer::grant::Judged;
use crate::answer::json_body;
use crate::answer::jwt::Compact;
use crate::answer::terms::Terms;

pub(super) fn read(body: &[u8], terms: Terms) -> Result<Judged, Cause> {
    json_body::of(&Compact::decode(body)?.token_introspection()?, terms)
}
