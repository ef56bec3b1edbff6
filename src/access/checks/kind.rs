//! Only access tokens open an API, not the refresh tokens or codes that a server calls active as well
//! (`phantom_token_kind`).

use phantom_token_engine::local::Cached;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::nginx::request::Request;

pub(super) fn check(_: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    if !policy.kind.takes(facts.nature.kind) {
        return Err(Unmet::denied(Reason::Kind, Refusal::InvalidToken));
    }
    Ok(())
}
