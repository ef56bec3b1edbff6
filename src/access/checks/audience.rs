//! The token is for this API (`phantom_token_audience`).

use phantom_token_engine::local::Cached;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::nginx::request::Request;

pub(super) fn check(_: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    let audiences = &policy.audiences;
    if audiences.is_empty()
        || facts.judge(|stated| audiences.iter().any(|audience| stated.is_for(audience)))
    {
        return Ok(());
    }
    let denied = Unmet::denied(Reason::Audience, Refusal::InvalidToken);
    Err(Unmet { lacking: b"aud".to_vec(), ..denied })
}
