//! The token is from the server that the location asks, as it calls itself (`issuer` in
//! `phantom_token_provider`).

use phantom_token_engine::answer::stated::Verdict;
use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::state::Notice;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::flight::desk;
use crate::nginx::log::error;
use crate::nginx::request::Request;
use crate::nginx::sys::now_ms;
use crate::operate::counters::RequestResult;

pub(super) fn check(r: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    let issuers = &policy.introspection.issuers;
    if issuers.is_empty() {
        return Ok(());
    }
    let is_wanted = |named: &str| issuers.iter().any(|issuer| **issuer == *named);
    match facts.judge(|stated| stated.issuer(is_wanted)) {
        Verdict::Wanted => Ok(()),
        Verdict::Unwanted => {
            let denied = Unmet::denied(Reason::Issuer, Refusal::InvalidToken);
            Err(Unmet { lacking: b"iss".to_vec(), ..denied })
        }
        Verdict::Contradiction => {
            say(*r, policy);
            let unmet = Unmet::denied(Reason::Failed(FailureKind::Answer), Refusal::ServerError);
            Err(Unmet { status: RequestResult::Error, ..unmet })
        }
    }
}

/// Once a minute for each server and client.
fn say(r: Request, policy: &Policy) {
    let Some(endpoint) = policy.introspection.endpoints.first() else { return };
    let client = endpoint.client_hash;
    let first = desk::with(|desk| {
        desk.worker.state.once(Notice::TwoIssuers, client, now_ms(), Some(60_000))
    });
    if first == Some(true) {
        let label = endpoint.endpoint.label();
        let line = format_args!(
            "\"{label}\" names one issuer in its answer and another in the JWT: see its own log"
        );
        error!(r, "{}", endpoint.said(line));
    }
}
