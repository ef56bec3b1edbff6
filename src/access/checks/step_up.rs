//! Whoever the token is of has been authenticated well enough, and lately (`phantom_token_step_up`, RFC
//! 9470).

use std::rc::Rc;

use phantom_token_engine::local::Cached;

use crate::access::checks::{Unmet, scope};
use crate::access::ctx::Reason;
use crate::access::refusal::{Refusal, StepUp};
use crate::conf::Policy;
use crate::nginx::request::Request;
use crate::nginx::sys::now_secs;

pub(super) fn check(r: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    let Some(wanted) = &policy.step_up else { return Ok(()) };
    let skew = policy.introspection.clock_skew_secs;
    let (well_enough, lately) = facts.judge(|stated| {
        let lately = |max_age| stated.is_recent(max_age, skew, now_secs());
        (wanted.takes(stated.acr()), wanted.max_age.is_none_or(lately))
    });
    let lacking: &[u8] = match (well_enough, lately) {
        (true, true) => return Ok(()),
        (false, true) => b"acr",
        (true, false) => b"auth_time",
        (false, false) => b"acr auth_time",
    };
    // What is missing besides is asked for at once (RFC 9470 §3).
    let missing = scope::lacking(*r, &policy.scope, facts.scope()).map_err(Unmet::unjudged)?;
    let asked = StepUp {
        acr_values: if well_enough { Rc::default() } else { wanted.acr_values.clone() },
        max_age: wanted.max_age.filter(|_| !lately),
        scope: missing.map(|lacking| lacking.required),
    };
    let denied = Unmet::denied(Reason::StepUp, Refusal::StepUp(asked));
    Err(Unmet { lacking: lacking.to_vec(), ..denied })
}
