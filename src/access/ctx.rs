//! What the module keeps for one request, over internal redirects too.
//!
//! An internal redirect (`error_page`, `try_files`, `X-Accel-Redirect`, a named location) clears
//! NGINX's module contexts and runs the phases anew, with the header already rewritten. The context
//! is therefore a pool cleanup, found again by its handler.

use core::ptr::{self, NonNull};
use std::rc::Rc;

use phantom_token_engine::local::Cached;
use phantom_token_engine::token::key::{Key, TokenHash};
use smallvec::SmallVec;

use crate::access::pass::{Original, Rewrite};
use crate::conf::Policy;
use crate::flight::outcome::Outcome;
use crate::flight::{Calls, Wait};
use crate::nginx::pinned::Pinned;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;
use crate::operate::counters::{self, Outcome as Status, UncachedReason};
use crate::worker;

/// An outcome that a request has learnt, and in which location.
pub(crate) struct Learnt {
    pub(crate) policy: Rc<Policy>,
    pub(crate) key: Key,
    pub(crate) outcome: Outcome,
    pub(crate) status: Status,
}

/// A request's context.
#[derive(Default)]
pub(crate) struct Ctx {
    /// The introspection the request waits for.
    pub(crate) wait: Option<Pinned<Wait>>,
    /// What was learnt so far, latest last: nothing is asked twice for one request and identity.
    pub(crate) learnt: SmallVec<[Learnt; 1]>,
    /// What the last decision made of the request's `Authorization`; `None`: nothing.
    pub(crate) rewrite: Option<Rewrite>,
    /// The client's own, while ours is on the request.
    pub(crate) original: Option<Original>,
    /// What NGINX's headers point into, or the variables of an earlier pass.
    pub(crate) grants: SmallVec<[Rc<Cached>; 1]>,
    /// The reply this pass gave.
    pub(crate) reply: Option<Reply>,
    /// A pass was refused: headers of ours may be in the response.
    pub(crate) refused: bool,
    /// The connection was to be kept before NGINX saw our 500.
    pub(crate) keepalive: bool,
    /// It must not rely on what is kept (`phantom_token_cache_bypass`).
    pub(crate) refresh: bool,
    /// The outcome was counted.
    pub(crate) counted: bool,
    /// A request cleanup that ends the wait is registered.
    pub(crate) has_cleanup: bool,
    pub(crate) status: Option<Status>,
    pub(crate) reason: &'static str,
    /// What the log line of a refusal says besides.
    pub(crate) detail: &'static str,
    /// Why the answer the request waited for was not kept.
    pub(crate) uncached: Option<UncachedReason>,
    /// What introspection cost this request, in milliseconds.
    pub(crate) introspection_ms: Option<u64>,
    /// The calls that were made for it, those of each pass together.
    pub(crate) calls: SmallVec<[Calls; 1]>,
    /// The token of this pass.
    pub(crate) token: Option<TokenHash>,
    /// What the token lacks.
    pub(crate) unmet: Vec<u8>,
}

/// A reply of ours: the status given to NGINX, and the body that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) body: &'static [u8],
    /// The filter has put the headers in, and the body is to follow.
    pub(crate) sending: bool,
    /// The body has gone out.
    pub(crate) sent: bool,
}

impl Ctx {
    /// The context in the request's slot, or of an earlier pass of the same request.
    ///
    /// It must not be held while NGINX evaluates variables, which take it too, nor beyond the callback.
    pub(crate) fn find<'a>(r: Request) -> Option<&'a mut Self> {
        // SAFETY: a context in the request's pool. One callback runs at a time, and none holds the
        // context while it, or a variable it has evaluated, takes it again.
        Self::pointer_in_slot(r)
            .or_else(|| Self::pointer_of_earlier(r))
            .map(|mut p| unsafe { p.as_mut() })
    }

    /// The context in the slot alone: that of this pass. As [`Self::find`].
    pub(crate) fn in_slot<'a>(r: Request) -> Option<&'a mut Self> {
        // SAFETY: as in `find`.
        Self::pointer_in_slot(r).map(|mut p| unsafe { p.as_mut() })
    }

    /// The context of an earlier pass, whose slot a redirect has cleared. As [`Self::find`].
    pub(crate) fn earlier<'a>(r: Request) -> Option<&'a mut Self> {
        // SAFETY: as in `find`.
        Self::pointer_of_earlier(r).map(|mut p| unsafe { p.as_mut() })
    }

    /// The request's context, made where there is none, and put in its slot. As [`Self::find`].
    pub(crate) fn of<'a>(r: Request) -> Result<&'a mut Self, NoMemory> {
        if let Some(ctx) = Self::in_slot(r) {
            return Ok(ctx);
        }
        let earlier = Self::pointer_of_earlier(r);
        let mut ctx = match earlier {
            Some(ctx) => ctx,
            None => Self::create(r)?,
        };
        r.set_ctx_slot(crate::ctx_index(), ctx.as_ptr().cast());
        // SAFETY: as in `find`.
        let ctx = unsafe { ctx.as_mut() };
        if earlier.is_some() {
            // A new pass: what the last one waited for or replied is over.
            ctx.wait = None;
            ctx.reply = None;
        }
        Ok(ctx)
    }

    /// The slot holds NULL or what `of` put there.
    fn pointer_in_slot(r: Request) -> Option<NonNull<Self>> {
        NonNull::new(r.ctx_slot(crate::ctx_index()).cast())
    }

    fn pointer_of_earlier(r: Request) -> Option<NonNull<Self>> {
        // SAFETY: the cleanup list of a live pool; a cleanup with our handler holds a `Ctx`.
        unsafe {
            let mut cleanup = (*r.pool()).cleanup;
            while !cleanup.is_null() {
                if (*cleanup).handler.is_some_and(|handler| ptr::fn_addr_eq(handler, DROP)) {
                    return NonNull::new((*cleanup).data.cast());
                }
                cleanup = (*cleanup).next;
            }
        }
        None
    }

    fn create(r: Request) -> Result<NonNull<Self>, NoMemory> {
        // SAFETY: the cleanup's data is as large as a `Ctx`, aligned as NGINX aligns pools, and is
        // written before its handler is set.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(r.pool(), size_of::<Self>());
            if cleanup.is_null() {
                return Err(NoMemory);
            }
            let ctx = NonNull::new((*cleanup).data.cast::<Self>()).ok_or(NoMemory)?;
            ctx.write(Self::default());
            (*cleanup).handler = Some(DROP);
            Ok(ctx)
        }
    }

    /// What was learnt of a token and identity earlier in the request. `key_as_of` gives their key in
    /// the zone of another location.
    pub(crate) fn learnt(&self, key_as_of: impl Fn(&Policy) -> Key) -> Option<&Learnt> {
        self.learnt.iter().rev().find(|known| known.key == key_as_of(&known.policy))
    }

    /// The client has left before its token was judged. NGINX writes the access log after this.
    fn gone(&mut self) {
        self.status = Some(Status::Error);
        self.reason = "client_closed";
        if !std::mem::replace(&mut self.counted, true) {
            worker::with(|worker| counters::request(worker, Status::Error));
        }
    }

    /// Ends the wait when NGINX ends the request, which is before its pool is destroyed.
    pub(crate) fn end_wait_with_request(&mut self, r: Request) -> Result<(), NoMemory> {
        if !self.has_cleanup {
            // SAFETY: a live request, whose slot holds this context; that outlives the request's
            // cleanups, being in its pool.
            unsafe {
                let cleanup = ngx_http_cleanup_add(r.as_ptr(), 0);
                if cleanup.is_null() {
                    return Err(NoMemory);
                }
                (*cleanup).handler = Some(end_wait);
                (*cleanup).data = r.ctx_slot(crate::ctx_index());
            }
            self.has_cleanup = true;
        }
        Ok(())
    }
}

const _: () = assert!(align_of::<Ctx>() <= NGX_ALIGNMENT, "pools must align contexts");

/// Recognises our contexts among a pool's cleanups.
const DROP: unsafe extern "C" fn(*mut core::ffi::c_void) = drop_ctx;

unsafe extern "C" fn drop_ctx(data: *mut core::ffi::c_void) {
    let dropped = crate::nginx::guard::catch("the end of a context", || {
        // SAFETY: NGINX runs a pool's cleanups once, and the data is the context `create` made.
        unsafe { data.cast::<Ctx>().drop_in_place() }
    });
    drop(dropped);
}

unsafe extern "C" fn end_wait(data: *mut core::ffi::c_void) {
    let ended = crate::nginx::guard::catch("the end of a request", || {
        // SAFETY: the context is in the request's pool, which outlives the request's cleanups, and no
        // callback that holds it ends its request.
        let ctx = unsafe { &mut *data.cast::<Ctx>() };
        if let Some(wait) = ctx.wait.take() {
            ctx.calls.push(wait.calls());
            ctx.gone();
        }
        // NGINX has emptied the list this handler was on.
        ctx.has_cleanup = false;
    });
    drop(ended);
}
