//! A request's passes: each sees the request as its client sent it.
//!
//! An internal redirect (`error_page`, `try_files`, `X-Accel-Redirect`, a named location) runs the
//! phases anew over the same request, whose `Authorization` may be ours by then. Before the first rewrite
//! phase of each pass the client's is put back, and with it all that was evaluated before ours was put on:
//! the operator's expressions must not judge what an earlier pass made. Where the location has the
//! module off, ours is put on again.

use core::ffi::c_void;
use core::ptr::NonNull;

use crate::conf::{Cf, LocConf, MainConf, assigned};
use crate::ctx::Ctx;
use crate::guard;
use crate::request::{NoMemory, Request};
use crate::sys::*;

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
    r.restore_evaluated(original.evaluated, &MainConf::of(r).assigned);
    ctx.original = None;
    Ok(())
}

/// The handlers that ours precede in the server's rewrite phase and in the location's.
#[derive(Default)]
pub(crate) struct Preceded {
    server: ngx_http_handler_pt,
    location: ngx_http_handler_pt,
}

/// Sees to it that ours run first in both rewrite phases, where the module is on anywhere.
pub(crate) fn precede_rewrites(cf: &mut Cf<'_>) -> ngx_int_t {
    if cf.main_conf().http_authorization.is_none() {
        return OK;
    }
    let mut preceded = Preceded::default();
    for (phase, handler, preceded) in [
        (
            ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE,
            Some(server_rewrite as _),
            &mut preceded.server,
        ),
        (
            ngx_http_phases_NGX_HTTP_REWRITE_PHASE,
            Some(location_rewrite as _),
            &mut preceded.location,
        ),
    ] {
        // SAFETY: a live parser, at the end of the `http` block.
        if unsafe { pt_precede_handler(cf.as_ptr(), phase as ngx_uint_t, handler, preceded) } != OK
        {
            return ERROR;
        }
    }
    cf.main_conf().preceded = preceded;
    cf.main_conf().assigned = assigned::handlers(cf);
    OK
}

/// The first handler of a pass, but for a named location's.
unsafe extern "C" fn server_rewrite(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    unsafe { before(Request::new(r), put_back, |preceded| preceded.server) }
}

/// The first handler once a location is found: more than once in a pass where the URI changes.
unsafe extern "C" fn location_rewrite(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    let prepare = if LocConf::of(r).judges() { put_back } else { put_on };
    // SAFETY: as above.
    unsafe { before(r, prepare, |preceded| preceded.location) }
}

/// Prepares a redirected request for its rewrite phase, and lets that begin. Subrequests go on as they
/// were begun.
///
/// # Safety
/// To be called from the phase whose preceded handler `next` names.
unsafe fn before(
    r: Request,
    prepare: fn(Request, &mut Ctx) -> Result<(), NoMemory>,
    next: fn(&Preceded) -> ngx_http_handler_pt,
) -> ngx_int_t {
    if r.is_main() && r.is_internal() {
        let ready = guard::entry(
            "the rewrite handler",
            || r.log(),
            Err(NoMemory),
            || Ctx::find(r).map_or(Ok(()), |ctx| prepare(r, ctx)),
        );
        if ready.is_err() {
            return INTERNAL_SERVER_ERROR;
        }
    }
    match next(&MainConf::of(r).preceded) {
        // SAFETY: NGINX would have called it just now.
        Some(next) => unsafe { next(r.as_ptr()) },
        None => DECLINED,
    }
}
