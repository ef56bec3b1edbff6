//! A token bound to a key or certificate (RFC 9449 §7.2, RFC 8705 §3) is not for whoever only has it
//! (`phantom_token_bound_tokens`).

use phantom_token_engine::local::Cached;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::conf::demands::BoundTokens;
use crate::nginx::request::Request;

pub(super) fn check(_: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    let unchecked = facts.nature.binding.is_unchecked(policy.forward);
    if unchecked && policy.bound_tokens == BoundTokens::Reject {
        return Err(Unmet::denied(Reason::Bound, Refusal::InvalidToken));
    }
    Ok(())
}
