//! Questions before the decision: a variable of the module's is empty until its request is judged.
//!
//! NGINX keeps what a `map` makes of it, and of the decision the operator's expressions then see nothing.
//! So the log names the variable, and the request remembers that it was asked.

use crate::access::ctx::{Ctx, EarlyQuestion};
use crate::conf::LocConf;
use crate::flight::desk;
use crate::nginx::log::warning;
use crate::nginx::request::{NoMemory, Progress, Request};
use crate::nginx::sys::now_secs;
use crate::nginx::variables::Asked;

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

/// Whether a variable has its value. Before the decision it has none, and the question is remembered.
pub(crate) fn is_settled(asked: Asked<'_>) -> bool {
    let stage = stage(&asked.r);
    remember(asked, stage == Stage::Unplaced);
    if stage == Stage::Undecided {
        say(asked.r, asked.name);
    }
    stage == Stage::Settled
}

/// Remembers a question that each location answers otherwise, and that needs no decision.
pub(crate) fn note(asked: Asked<'_>) {
    remember(asked, false);
}

/// Names the variable that was asked for before this location was found to have the module on.
pub(super) fn say_of_this_pass(r: Request, ctx: &mut Ctx) {
    if let Some(early) = ctx.early.as_mut().filter(|early| early.is_unsaid) {
        early.is_unsaid = false;
        say(r, &early.name);
    }
}

/// The first variable whose value from before the decision may be kept. It is not to decide.
///
/// # Errors
/// There was no memory to remember one, in some request that ran beside this one.
pub(super) fn asked(r: &Request) -> Result<Option<Box<[u8]>>, NoMemory> {
    if desk::with(|desk| desk.worker.early.were_lost_since(r.start_secs())) == Some(true) {
        return Err(NoMemory);
    }
    Ok(Ctx::find(r).and_then(|ctx| Some(ctx.early.as_ref()?.name.clone())))
}

fn stage(r: &Request) -> Stage {
    if let Some(ctx) = Ctx::of_this_pass(r)
        // The checks look at the token before it is let in.
        && (ctx.decided || ctx.candidate.is_some())
    {
        return Stage::Settled;
    }
    // What a response shows is nothing that comes before the decision; what it is made of is.
    if (r.status() != 0 && !r.is_made_by_return()) || r.is_logged() {
        return Stage::Settled;
    }
    if Ctx::of_this_pass(r).is_some() {
        return Stage::Undecided;
    }
    match r.progress() {
        Progress::Unplaced => Stage::Unplaced,
        Progress::Access if LocConf::of(*r).judges() => Stage::Undecided,
        Progress::Access | Progress::Beyond => Stage::Settled,
    }
}

/// Remembers the first question whose answer may outlive the decision: not what is evaluated while the
/// token is judged or its JWT is on the request, since that is forgotten with it.
fn remember(asked: Asked<'_>, is_unsaid: bool) {
    if asked.r.is_logged() {
        return;
    }
    let Ok(mut ctx) = Ctx::find_or_make(&asked.r) else {
        desk::with(|desk| desk.worker.early.lose(now_secs()));
        return;
    };
    if ctx.candidate.is_none() && ctx.original.is_none() && ctx.early.is_none() {
        ctx.early = Some(Box::new(EarlyQuestion { name: asked.name.into(), is_unsaid }));
    }
}

/// Once for each variable in each worker.
fn say(r: Request, name: &[u8]) {
    let first = desk::with(|desk| desk.worker.early.is_new(name));
    if first == Some(true) {
        let name = name.escape_ascii();
        warning!(
            r,
            "\"${name}\" is asked for before the token is judged, and is empty: use it after the access phase, or write \"phantom_token_phase preaccess\" where limits need it; a \"map\" over it that is used again needs \"volatile\""
        );
    }
}
