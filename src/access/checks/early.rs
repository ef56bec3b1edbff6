//! Where the operator's own expressions decide, none of them was evaluated before the token was known:
//! NGINX keeps what a `map` makes of an empty claim.

use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::key::hash_of;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::early;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::flight::desk;
use crate::nginx::log::error;
use crate::nginx::request::Request;
use crate::nginx::sys::now_ms;
use crate::operate::counters::RequestResult;

pub(super) fn check(r: &Request, policy: &Policy, _: &Cached) -> Result<(), Unmet> {
    if !policy.judges_by_variables() {
        return Ok(());
    }
    let Some(name) = early::asked(r).map_err(Unmet::unjudged)? else { return Ok(()) };
    say(*r, &name);
    let unmet = Unmet::denied(Reason::Early, Refusal::ServerError);
    Err(Unmet { status: RequestResult::Error, lacking: [b"$", &*name].concat(), ..unmet })
}

/// Once a minute for each variable.
fn say(r: Request, name: &[u8]) {
    let hash = hash_of(&[name]);
    let first = desk::with(|desk| {
        desk.worker.state.once(Notice::EarlyQuestion, hash, now_ms(), Some(60_000))
    });
    if first == Some(true) {
        error!(
            r,
            "\"${}\" was asked for before the token was judged: a \"map\" may have kept it, so that \"phantom_token_require\" and a \"phantom_token_scope\" of variables cannot decide; use it after the access phase, or write \"phantom_token_phase preaccess\" where limits need it",
            name.escape_ascii()
        );
    }
}
