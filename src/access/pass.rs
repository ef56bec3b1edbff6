//! A request's passes: each sees the request as its client sent it.
//!
//! An internal redirect (`error_page`, `try_files`, `X-Accel-Redirect`, a named location) runs the
//! phases anew over the same request, whose `Authorization` may be ours by then. Before the first rewrite
//! phase of each pass the client's is put back, and with it all that was evaluated before ours was put on:
//! the operator's expressions must not judge what an earlier pass made. Where the location has the
//! module off, ours is put on again.

use core::ffi::c_void;
use core::ptr::NonNull;

use crate::access::ctx::Ctx;
use crate::conf::{LocConf, MainConf, Preceded};
use crate::nginx::assigned;
use crate::nginx::guard;
use crate::nginx::parser::Cf;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// What a decision of ours makes of the header.
#[derive(Clone, Copy)]
pub(crate) enum Rewrite {
    /// This value, followed by a NUL byte and kept for as long as the request lives.
    To(ngx_str_t),
    Remove,
}

/// What stands behind a rewrite of ours.
pub(crate) struct Original {
    header: Option<ngx_table_elt_t>,
    /// In the request's pool.
    evaluated: NonNull<c_void>,
}

/// Carries a decision out, and keeps it for a location that has the module off.
pub(crate) fn rewrite(r: Request, ctx: &mut Ctx, to: Rewrite) -> Result<(), NoMemory> {
    ctx.rewrite = Some(to);
    put_on(r, ctx)
}

/// Puts ours on the request, where there is one and it is not there already.
pub(crate) fn put_on(r: Request, ctx: &mut Ctx) -> Result<(), NoMemory> {
    let (Some(rewrite), None) = (ctx.rewrite, &ctx.original) else { return Ok(()) };
    let evaluated = r.keep_evaluated()?;
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
    let evaluated = original.evaluated;
    ctx.original = None;
    r.restore_evaluated(evaluated, &MainConf::of(r).assigned)
}

/// Sees to it that ours run before others in both rewrite phases, where the module is on anywhere.
pub(crate) fn precede_rewrites(cf: &mut Cf<'_>) {
    if cf.main_conf().http_authorization.is_none() {
        return;
    }
    let server = cf.phase_handlers(ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE);
    let location = cf.phase_handlers(ngx_http_phases_NGX_HTTP_REWRITE_PHASE);
    let address = |handler: &ngx_http_handler_pt| handler.map_or(0, |handler| handler as usize);
    // No other module has one handler for both.
    let place_of =
        |of: &[ngx_http_handler_pt], handler| of.iter().position(|h| address(h) == handler);
    let own = server.iter().map(address).find(|&own| place_of(location, own).is_some());

    let mut preceded = Preceded::default();
    for (handlers, before_rewrite, before_first, first) in [
        (server, before_server as Handler, before_servers_first as Handler, &mut preceded.server),
        (location, before_location, before_locations_first, &mut preceded.location),
    ] {
        let place = own.and_then(|own| place_of(handlers, own));
        if let Some(place) = place {
            preceded.rewrite = handlers[place].replace(before_rewrite);
        }
        if let Some(last) = handlers.len().checked_sub(1)
            && Some(last) != place
        {
            *first = handlers[last].replace(before_first);
        }
    }
    cf.main_conf().preceded = preceded;
    cf.main_conf().assigned = assigned::handlers(cf);
}

type Handler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// Begins a pass, but for a named location's.
unsafe extern "C" fn before_server(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    unsafe { before(Request::new(r), Phase::Server, |preceded| preceded.rewrite) }
}

unsafe extern "C" fn before_servers_first(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    unsafe { before(Request::new(r), Phase::Server, |preceded| preceded.server) }
}

/// A location is found: more than once in a pass where the URI changes.
unsafe extern "C" fn before_location(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    unsafe { before(Request::new(r), Phase::Location, |preceded| preceded.rewrite) }
}

unsafe extern "C" fn before_locations_first(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    unsafe { before(Request::new(r), Phase::Location, |preceded| preceded.location) }
}

enum Phase {
    Server,
    Location,
}

/// Prepares a redirected request for its rewrite phase, and lets that begin. Subrequests go on as they
/// were begun. To do it twice changes nothing.
///
/// # Safety
/// To be called from the phase whose preceded handler `next` names.
unsafe fn before(
    r: Request,
    phase: Phase,
    next: fn(&Preceded) -> ngx_http_handler_pt,
) -> ngx_int_t {
    if r.is_main() && r.is_internal() {
        let prepare = || match (Ctx::find(r), phase) {
            (None, _) => Ok(()),
            (Some(ctx), Phase::Location) if !LocConf::of(r).judges() => put_on(r, ctx),
            (Some(ctx), _) => put_back(r, ctx),
        };
        if guard::entry("the rewrite handler", || r.log(), Err(NoMemory), prepare).is_err() {
            return INTERNAL_SERVER_ERROR;
        }
    }
    match next(&MainConf::of(r).preceded) {
        // SAFETY: NGINX would have called it just now.
        Some(next) => unsafe { next(r.as_ptr()) },
        None => DECLINED,
    }
}
