//! What a location asks of a token besides that it is active: checks, in the order in which they answer.
//!
//! They are judged on every request, since two locations may ask different things of one token. A new
//! check is a file in here and a line in [`apply`].

use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::local::Cached;

use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::nginx::request::{NoMemory, Request};
use crate::operate::counters::RequestResult;

mod audience;
mod binding;
mod early;
mod forwardable;
mod issuer;
mod kind;
mod require;
mod scope;
mod step_up;

/// What a token does not meet.
pub(crate) struct Unmet {
    /// What the client is told.
    pub(crate) refusal: Refusal,
    /// `$phantom_token_reason`.
    pub(crate) reason: Reason,
    /// `$phantom_token_status`.
    pub(crate) status: RequestResult,
    /// What the token lacks, for `$phantom_token_unmet`.
    pub(crate) lacking: Vec<u8>,
}

impl Unmet {
    /// The token is not good enough: it is denied.
    fn denied(reason: Reason, refusal: Refusal) -> Self {
        Self { refusal, reason, status: RequestResult::Denied, lacking: Vec::new() }
    }

    /// There was no memory to judge the token in.
    pub(super) fn unjudged(_: NoMemory) -> Self {
        let failed = Self::denied(Reason::Failed(FailureKind::Internal), Refusal::ServerError);
        Self { status: RequestResult::Error, ..failed }
    }
}

/// Applies all checks to a token that a request presents, and of which the server said this. They may
/// evaluate variables.
///
/// # Errors
/// The first that is not met.
pub(crate) fn apply(r: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    // Called one by one, what a location does not ask for costs a comparison; by a table, a call.
    binding::check(r, policy, facts)?;
    kind::check(r, policy, facts)?;
    issuer::check(r, policy, facts)?;
    audience::check(r, policy, facts)?;
    early::check(r, policy, facts)?;
    step_up::check(r, policy, facts)?;
    scope::check(r, policy, facts)?;
    require::check(r, policy, facts)?;
    forwardable::check(r, policy, facts)
}
