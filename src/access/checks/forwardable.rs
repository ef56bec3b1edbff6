//! There is a phantom token, where one is to be forwarded: the entry may be from a location that asks
//! for none (`phantom_token_forward`).

use phantom_token_engine::answer::Forward;
use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::local::Cached;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::nginx::request::Request;
use crate::operate::counters::RequestResult;

pub(super) fn check(_: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    if policy.forward == Forward::Jwt && facts.jwt().is_empty() {
        let unmet = Unmet::denied(Reason::Failed(FailureKind::Answer), Refusal::ServerError);
        return Err(Unmet { status: RequestResult::Error, ..unmet });
    }
    Ok(())
}
