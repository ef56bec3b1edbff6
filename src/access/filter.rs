//! The module's second half: puts our own body into our own refusals.
//!
//! NGINX makes an HTML page for the status the access handler returned. The header filter turns it
//! into our JSON reply where the response is still ours: the context is in the request's slot (an
//! `error_page` clears it) and the status is the one we gave.

use std::rc::Rc;

use crate::access::ctx::{Ctx, Reply};
use crate::access::refusal;
use crate::conf::phase::Phase;
use crate::conf::{LocConf, Policy};
use crate::nginx::filters::{Body, Filter};
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

const CONTENT_TYPE: &[u8] = b"application/json";

/// The filter of refusals.
pub(crate) struct OwnReplies;

impl Filter for OwnReplies {
    fn headers(r: Request) -> Result<(), NoMemory> {
        let Some(mut ctx) = Ctx::of_this_pass(&r) else {
            // An `error_page` of our 500 in a location that runs no access phase.
            if let Some(mut ctx) = Ctx::of_earlier_pass(&r) {
                keep_connection(r, &mut ctx);
            }
            return Ok(());
        };
        let (status, error) = (r.status(), r.error_status());
        // The same status from the upstream is not ours: "satisfy any" may have let the request in.
        // A request that is refused before its limits goes no further in this pass.
        let before_limits = |policy: &Rc<Policy>| policy.phase == Phase::Preaccess;
        let refused_here =
            || r.is_in_access_phase() || LocConf::of(r).policy.as_ref().is_some_and(before_limits);
        let ours = |reply: &&mut Reply| {
            error == status && reply.status == status && !reply.sending && refused_here()
        };
        let Some(reply) = ctx.reply.as_mut().filter(ours) else {
            // An `error_page` of a refusal may send the client elsewhere, within the same pass.
            let is_sent_elsewhere = (300..400).contains(&error) && refused_here();
            if !matches!(error, NGX_HTTP_UNAUTHORIZED | NGX_HTTP_FORBIDDEN) && !is_sent_elsewhere {
                refusal::hide_challenge(r, &ctx);
            }
            return Ok(());
        };
        reply.sending = true;
        r.add_header_out(b"Cache-Control", str_of(b"no-store"))?;
        r.set_content(CONTENT_TYPE, reply.body.len());
        keep_connection(r, &mut ctx);
        Ok(())
    }

    fn body(r: Request) -> Body {
        let Some(mut ctx) = Ctx::of_this_pass(&r) else { return Body::AsItIs };
        match &mut ctx.reply {
            Some(reply) if reply.sending && !reply.sent => {
                reply.sent = true;
                Body::Instead(reply.body)
            }
            Some(reply) if reply.sending => Body::Nothing,
            _ => Body::AsItIs,
        }
    }
}

/// Keeps the connection after our 500, but where NGINX had to give up the request's body: what is
/// left of that one must not be read as another request.
fn keep_connection(r: Request, ctx: &mut Ctx) {
    if r.body_is_settled() {
        refusal::keep_connection(r, ctx);
    }
}
