//! There is a phantom token, where one is to be forwarded (`phantom_token_forward`), and one that APIs
//! can verify, where the gateway signed it.

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
    let may_go_on = match policy.forward {
        Forward::Jwt => facts.header().is_some(),
        Forward::Mint => policy.may_forward_minted(facts.signer),
        Forward::None => true,
    };
    if !may_go_on {
        let unmet = Unmet::denied(Reason::Failed(FailureKind::Answer), Refusal::ServerError);
        return Err(Unmet { status: RequestResult::Error, ..unmet });
    }
    Ok(())
}
