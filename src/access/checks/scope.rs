//! The granted scope covers the required one (`phantom_token_scope`).

use std::rc::Rc;

use phantom_token_engine::answer::scope;
use phantom_token_engine::local::Cached;
use phantom_token_engine::memory;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::challenge;
use phantom_token_engine::token::key::hash_of;
use smallvec::SmallVec;

use crate::access::checks::Unmet;
use crate::access::ctx::Reason;
use crate::access::refusal::Refusal;
use crate::conf::Policy;
use crate::conf::demands::scope::{Match, Scope, Value};
use crate::flight::desk;
use crate::nginx::log::error;
use crate::nginx::parser::ComplexValue;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::now_ms;

pub(super) fn check(r: &Request, policy: &Policy, facts: &Cached) -> Result<(), Unmet> {
    if policy.scope.is_empty() {
        return Ok(());
    }
    match lacking(*r, &policy.scope, facts.scope()).map_err(Unmet::unjudged)? {
        None => Ok(()),
        Some(Lacking { required, missing }) => {
            let denied = Unmet::denied(Reason::Scope, Refusal::InsufficientScope(required));
            Err(Unmet { lacking: missing, ..denied })
        }
    }
}

/// What a token without the required scope lacks.
pub(super) struct Lacking {
    /// What it would have to have, for a challenge: values joined by single spaces, those left out that
    /// none can stand for.
    pub(super) required: Rc<Vec<u8>>,
    /// What is missing, and what could not be met, as it is written.
    pub(super) missing: Vec<u8>,
}

/// Compares the granted scope with the required one; `None` where it is enough. It may evaluate
/// variables.
pub(super) fn lacking(
    r: Request,
    scope: &Scope,
    granted: &[u8],
) -> Result<Option<Lacking>, NoMemory> {
    if !scope.made.is_empty() {
        return lacking_of_made(r, scope, granted);
    }
    let fixed = &scope.fixed;
    let is_met = fixed.is_empty()
        || match scope.matching {
            Match::All => scope::covers(granted, fixed),
            Match::Any => scope::meets(granted, fixed),
        };
    if is_met {
        return Ok(None);
    }
    // Without memory the log says less.
    let missing = scope::missing(granted, fixed).unwrap_or_default();
    Ok(Some(Lacking { required: fixed.clone(), missing }))
}

fn lacking_of_made(r: Request, scope: &Scope, granted: &[u8]) -> Result<Option<Lacking>, NoMemory> {
    // What is required, and what it stands for.
    let mut required: SmallVec<[(&[u8], bool); 4]> = SmallVec::new();
    for value in &scope.made {
        match value {
            Value::Fixed(value) => required.push((value, true)),
            Value::Made { value, may_be_several } => {
                let text = r.complex_value(*value)?;
                // Of several each would be enough for "match=any", one that a client has put in too.
                let is_scope = challenge::check_scope(text).is_ok()
                    && (*may_be_several || !text.contains(&b' '));
                if !is_scope {
                    say(r, scope, value);
                }
                required.push(if is_scope { (text, true) } else { (value.source(), false) });
            }
        }
    }
    let mut is_met = required.iter().map(|(value, is_scope)| {
        *is_scope
            && match scope.matching {
                Match::All => scope::covers(granted, value),
                Match::Any => scope::meets(granted, value),
            }
    });
    let is_enough = match scope.matching {
        Match::All => is_met.all(|is_met| is_met),
        Match::Any => is_met.any(|is_met| is_met),
    };
    if is_enough {
        return Ok(None);
    }
    let room = required.iter().map(|(value, _)| value.len() + 1).sum();
    let (mut asked, mut missing) = (memory::with_room(room)?, memory::with_room(room)?);
    let add = |to: &mut Vec<u8>, value: &[u8]| {
        if !to.is_empty() {
            to.push(b' ');
        }
        to.extend_from_slice(value);
    };
    for (value, is_scope) in required {
        if !is_scope {
            add(&mut missing, value);
            continue;
        }
        for value in scope::values(value) {
            add(&mut asked, value);
            if !scope::covers(granted, value) {
                add(&mut missing, value);
            }
        }
    }
    Ok(Some(Lacking { required: Rc::new(asked), missing }))
}

/// Once a minute for each directive and value.
fn say(r: Request, scope: &Scope, value: &ComplexValue) {
    let Some(line) = &scope.line else { return };
    let (place, source) = (line.to_string(), value.source());
    let hash = hash_of(&[place.as_bytes(), source]);
    let once =
        desk::with(|desk| desk.worker.state.once(Notice::UnfitScope, hash, now_ms(), Some(60_000)));
    if once == Some(true) {
        let source = String::from_utf8_lossy(source);
        error!(
            r,
            "\"{source}\" in \"phantom_token_scope\" comes to no scope, and no token meets it: let it come to values of printable ASCII, without '\"' and '\\', and to one where it is not one variable alone, in {line}"
        );
    }
}
