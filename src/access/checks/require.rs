//! The operator's own expressions hold, most of them over claims (`phantom_token_require`).

use phantom_token_engine::local::Cached;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::conf::demands::require::Error;
use crate::nginx::request::Request;

pub(super) fn check(r: &Request, policy: &Policy, _: &Cached) -> Result<(), Unmet> {
    for requirement in policy.require.iter() {
        for value in &*requirement.values {
            let text = r.complex_value(*value).map_err(Unmet::unjudged)?;
            if text.is_empty() || text == b"0" {
                let refusal = match requirement.error {
                    Error::Unauthorized => Refusal::InvalidToken,
                    Error::Forbidden => Refusal::Requirement,
                };
                let denied = Unmet::denied(Reason::Require, refusal);
                return Err(Unmet { lacking: value.source().to_vec(), ..denied });
            }
        }
    }
    Ok(())
}
