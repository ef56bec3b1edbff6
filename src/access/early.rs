//! Questions before the decision: a variable of the module's is empty until its request is judged.
//!
//! NGINX keeps what a `map` makes of it, and of the decision the operator's expressions then see nothing.
//! So the log names the variable, and the request remembers that it was asked.

use std::cell::RefMut;

use crate::access::ctx::{Ctx, EarlyQuestion};
use crate::conf::LocConf;
use crate::flight::desk;
use crate::nginx::log::warning;
use crate::nginx::request::{Progress, Request};
use crate::nginx::variables::Asked;

/// Variables that a worker names at most: whoever looks one up by its name (`njs`, SSI) may let clients
/// choose it.
const MAX_NAMED: usize = 16;

/// Where a pass of a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It may yet be judged: its location is not found.
    Unplaced,
    /// It is yet to be judged.
    Undecided,
    /// It has been, or will not be.
    Settled,
}

/// The context that answers for a variable; `None` where there is none, and before the decision.
pub(crate) fn answering<'a>(asked: &'a Asked<'_>) -> Option<RefMut<'a, Ctx>> {
    // The checks look at the token before it is let in.
    let judging = Ctx::of_this_pass(&asked.r).filter(|ctx| ctx.candidate.is_some());
    if judging.is_some() {
        return judging;
    }
    let stage = stage(&asked.r);
    remember(*asked, stage == Stage::Unplaced);
    match stage {
        Stage::Settled => return Ctx::find(&asked.r),
        Stage::Undecided => say(asked.r, asked.name),
        Stage::Unplaced => {}
    }
    None
}

/// Remembers a question that each location answers otherwise, and that needs no decision.
pub(crate) fn note(asked: Asked<'_>) {
    remember(asked, false);
}

/// Names the variable that was asked for before this location was found to have the module on.
pub(super) fn say_of_this_pass(r: Request) {
    let Some(mut ctx) = Ctx::find(&r) else { return };
    if let Some(early) = ctx.early.as_mut().filter(|early| early.is_unsaid) {
        early.is_unsaid = false;
        say(r, &early.name);
    }
}

fn stage(r: &Request) -> Stage {
    // What is said of a response is not for whatever comes before it.
    let replies = r.status() != 0 || r.is_logged();
    let of_this_pass = Ctx::of_this_pass(r);
    match (of_this_pass, r.progress()) {
        _ if replies => Stage::Settled,
        (Some(ctx), _) if ctx.decided => Stage::Settled,
        (Some(_), _) => Stage::Undecided,
        (None, Progress::Unplaced) => Stage::Unplaced,
        (None, Progress::Access) if LocConf::of(*r).judges() => Stage::Undecided,
        (None, _) => Stage::Settled,
    }
}

/// Remembers the first question whose answer may outlive the decision: not what is evaluated while the
/// token is judged or its JWT is on the request, since that is forgotten with it.
fn remember(asked: Asked<'_>, is_unsaid: bool) {
    if asked.r.is_logged() {
        return;
    }
    // Without memory there is no decision either.
    let Ok(mut ctx) = Ctx::find_or_make(&asked.r) else { return };
    if ctx.candidate.is_none() && ctx.original.is_none() && ctx.early.is_none() {
        ctx.early = Some(EarlyQuestion { name: asked.name.into(), is_unsaid });
    }
}

/// Once for each variable in each worker.
fn say(r: Request, name: &[u8]) {
    let first = desk::with(|desk| {
        let said = &mut desk.worker.early;
        let first = said.len() < MAX_NAMED && said.iter().all(|known| **known != *name);
        if first {
            said.push(name.into());
        }
        first
    });
    if first == Some(true) {
        let name = name.escape_ascii();
        warning!(
            r,
            "\"${name}\" is asked for before the token is judged, and is empty: use it after the access phase, or write \"phantom_token_phase preaccess\" where limits need it; a \"map\" over it that is used again needs \"volatile\""
        );
    }
}
