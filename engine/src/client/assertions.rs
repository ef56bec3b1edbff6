//! What a form has in place of a client secret: an assertion (RFC 7523 §2.2), a new one for each attempt.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::body::Once;
use super::error::RequestCause;
use crate::jose::assertion::{Assertion, AssertionKey, TYPE};

/// The names of the parameters that go with an assertion, and its own.
pub(super) const ASSERTION_PARAMS: &[&str] = &["client_id", TYPE_PARAM, PARAM];

const TYPE_PARAM: &str = "client_assertion_type";
const PARAM: &str = "client_assertion";

/// Returns what is the same in the form of every call that has an assertion.
pub fn assertion_params(client_id: &[u8]) -> [(&'static str, &[u8]); 2] {
    [("client_id", client_id), (TYPE_PARAM, TYPE.as_bytes())]
}

/// Appends an assertion to the form of each attempt, signed when that begins.
pub fn assertions(assertion: Assertion, key: AssertionKey) -> Arc<Once> {
    Arc::new(move |form| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let signed = assertion.sign(&key, now).map_err(|_| RequestCause::Assertion)?;
        let signed = Zeroizing::new(signed);
        form.pair(PARAM.as_bytes(), &signed).map_err(|_| RequestCause::NoMemory)
    })
}
