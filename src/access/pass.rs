//! A request's passes: each sees the request as its client sent it.
//!
//! An internal redirect (`error_page`, `try_files`, `X-Accel-Redirect`, a named location) runs the
//! phases anew over the same request, whose `Authorization` may be ours by then. Before the first rewrite
//! phase of each pass the client's is put back, and with it all that was evaluated before ours was put on:
//! the operator's expressions must not judge what an earlier pass made. Where the location has the
//! module off, ours is put on again.

use std::rc::Rc;

use phantom_token_engine::local::Cached;

use crate::access::ctx::{Candidate, Ctx, Original, Rewrite};
use crate::conf::{LocConf, MainConf, Preceded};
use crate::nginx::assigned;
use crate::nginx::handlers::{Displaced, Precede, address};
use crate::nginx::parser::Cf;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// Carries a decision out, and keeps it for a location that has the module off.
pub(crate) fn rewrite(r: Request, ctx: &mut Ctx, to: Rewrite) -> Result<(), NoMemory> {
    ctx.rewrite = Some(to);
    put_on(r, ctx)
}

/// Puts ours on the request, where there is one and it is not there already.
pub(crate) fn put_on(r: Request, ctx: &mut Ctx) -> Result<(), NoMemory> {
    let (Some(rewrite), None) = (ctx.rewrite, &ctx.original) else { return Ok(()) };
    let evaluated = match ctx.candidate.take() {
        Some(candidate) => candidate.evaluated,
        None => r.keep_evaluated()?,
    };
    ctx.original = Some(Original { header: r.authorization_header(), evaluated });
    match rewrite {
        Rewrite::To(value) => r.set_authorization(value)?,
        Rewrite::Remove => r.remove_authorization()?,
    }
    // What an earlier phase has seen is evaluated anew.
    if let Some(index) = MainConf::of(r).http_authorization {
        r.forget_variable(index);
    }
    Ok(())
}

/// Puts the client's own header back, where ours is on the request, and what was evaluated before ours was.
pub(crate) fn put_back(r: Request, ctx: &mut Ctx) -> Result<(), NoMemory> {
    let Some(original) = &ctx.original else { return Ok(()) };
    r.replace_authorization(original.header)?;
    match ctx.original.take() {
        Some(original) => {
            r.restore_evaluated(original.evaluated, &MainConf::of(r).assigned);
            r.match_location()
        }
        None => Ok(()),
    }
}

/// Lets the operator's expressions see the claims of a token before it is let in.
pub(super) fn show(r: Request, grant: &Rc<Cached>) -> Result<(), NoMemory> {
    let evaluated = r.keep_evaluated()?;
    Ctx::of(&r)?.candidate =
        Some(Candidate { grant: Rc::clone(grant), evaluated, has_failed: false });
    Ok(())
}

/// Forgets a token that is not let in, and what the expressions made of its claims.
pub(super) fn forget_candidate(r: Request, ctx: &mut Ctx) {
    if let Some(candidate) = ctx.candidate.take() {
        r.restore_evaluated(candidate.evaluated, &MainConf::of(r).assigned);
    }
}

/// Sees to it that ours run before others in both rewrite phases, where the module is on anywhere.
pub(crate) fn precede_rewrites(cf: &mut Cf<'_>) {
    if cf.main_conf().http_authorization.is_none() {
        return;
    }
    let server = cf.phase_handlers(ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE);
    let location = cf.phase_handlers(ngx_http_phases_NGX_HTTP_REWRITE_PHASE);
    // No other module has one handler for both.
    let place_of =
        |of: &[ngx_http_handler_pt], handler| of.iter().position(|h| address(h) == handler);
    let own = server.iter().map(address).find(|&own| place_of(location, own).is_some());

    let mut preceded = Preceded::default();
    for (handlers, rewrite, first, displaced) in [
        (server, before::<SERVER, REWRITE>(), before::<SERVER, FIRST>(), &mut preceded.server),
        (
            location,
            before::<LOCATION, REWRITE>(),
            before::<LOCATION, FIRST>(),
            &mut preceded.location,
        ),
    ] {
        let place = own.and_then(|own| place_of(handlers, own));
        if let Some(place) = place {
            preceded.rewrite = rewrite(&mut handlers[place]);
        }
        if let Some(last) = handlers.len().checked_sub(1)
            && Some(last) != place
        {
            *displaced = first(&mut handlers[last]);
        }
    }
    let main = MainConf::of_parser(cf);
    main.preceded = preceded;
    let assigned = assigned::handlers(cf);
    MainConf::of_parser(cf).assigned = assigned;
}

/// Puts ours in the place of another handler.
type Displace = fn(&mut ngx_http_handler_pt) -> Displaced;

fn before<const PHASE: u8, const PLACE: u8>() -> Displace {
    Displaced::by::<Before<PHASE, PLACE>>
}

/// Runs before a handler of a rewrite phase. To do it twice in a phase changes nothing.
struct Before<const PHASE: u8, const PLACE: u8>;

/// Begins a pass, but for a named location's.
const SERVER: u8 = 0;
/// A location is found: more than once in a pass where the URI changes.
const LOCATION: u8 = 1;

/// Before the rewrite module's handler.
const REWRITE: u8 = 0;
/// Before the handler that runs first.
const FIRST: u8 = 1;

impl<const PHASE: u8, const PLACE: u8> Precede for Before<PHASE, PLACE> {
    const WHAT: &'static str = "the rewrite handler";

    fn prepare(r: Request) -> Result<(), NoMemory> {
        let Some(mut ctx) = Ctx::find(&r) else { return Ok(()) };
        // Where judging it has failed.
        forget_candidate(r, &mut ctx);
        if PHASE == LOCATION && !LocConf::of(r).judges() {
            put_on(r, &mut ctx)
        } else {
            put_back(r, &mut ctx)
        }
    }

    fn displaced(r: &Request) -> &Displaced {
        let preceded = &MainConf::of(*r).preceded;
        match (PLACE, PHASE) {
            (REWRITE, _) => &preceded.rewrite,
            (_, SERVER) => &preceded.server,
            _ => &preceded.location,
        }
    }
}
