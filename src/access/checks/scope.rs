//! The granted scope covers the required one (`phantom_token_scope`).

use phantom_token_engine::answer::scope;
use phantom_token_engine::local::Cached;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::nginx::request::Request;

pub(super) fn check(_: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    if policy.scope.is_empty() || scope::covers(facts.scope(), &policy.scope) {
        return Ok(());
    }
    // Without memory the log says less.
    let lacking = scope::missing(facts.scope(), &policy.scope).unwrap_or_default();
    let refusal = Refusal::InsufficientScope(policy.scope.clone());
    Err(Unmet { lacking, ..Unmet::denied(Reason::Scope, refusal) })
}
