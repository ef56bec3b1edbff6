//! What the module keeps for one request, over internal redirects too.
//!
//! An internal redirect (`error_page`, `try_files`, `X-Accel-Redirect`, a named location) clears NGINX's
//! module contexts. The context is therefore a pool cleanup, found again by its handler, as in
//! ngx_http_realip_module.c.

use core::cell::{RefCell, RefMut};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::nginx::guard;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// A request's context.
pub(crate) trait Context: Default {
    /// NGINX ends the request, and writes the access log after this.
    fn ended(&mut self);
}

type Cleanup = unsafe extern "C" fn(*mut c_void);

/// Where the contexts of all requests are found. A `static`, of which there is one for the module: it
/// recognises its own among a pool's cleanups by the address in it.
pub(crate) struct Contexts<T> {
    drop: Cleanup,
    contexts: PhantomData<fn() -> T>,
}

impl<T: Context> Contexts<T> {
    const ALIGNED: () = assert!(align_of::<RefCell<T>>() <= NGX_ALIGNMENT, "as pools align");

    pub(crate) const fn new() -> Self {
        const { Self::ALIGNED };
        Self { drop: drop_context::<T>, contexts: PhantomData }
    }

    /// The context in the request's slot, or that of an earlier pass.
    ///
    /// It must not be held while NGINX evaluates variables, whose handlers take it too: they would panic.
    #[inline]
    pub(crate) fn find<'r>(&self, r: &'r Request) -> Option<RefMut<'r, T>> {
        self.in_slot(r).or_else(|| self.earlier(r))
    }

    /// The context in the slot alone: that of this pass. As [`Self::find`].
    #[inline]
    pub(crate) fn in_slot<'r>(&self, r: &'r Request) -> Option<RefMut<'r, T>> {
        // SAFETY: the slot holds NULL or what `enter` put there, which is in the request's pool and
        // lives as long as the request.
        let context = unsafe { r.ctx_slot().cast::<RefCell<T>>().as_ref() };
        context.map(RefCell::borrow_mut)
    }

    /// The context of an earlier pass, whose slot a redirect has cleared. As [`Self::find`].
    pub(crate) fn earlier<'r>(&self, r: &'r Request) -> Option<RefMut<'r, T>> {
        // SAFETY: as in `in_slot`.
        self.among_cleanups(r).map(|context| unsafe { context.as_ref() }.borrow_mut())
    }

    /// Puts the context of an earlier pass, or a new one, into the empty slot. As [`Self::find`].
    pub(crate) fn enter<'r>(&self, r: &'r Request) -> Result<RefMut<'r, T>, NoMemory> {
        let context = match self.among_cleanups(r) {
            Some(context) => context,
            None => self.create(r)?,
        };
        r.set_ctx_slot(context.as_ptr().cast());
        // SAFETY: as in `in_slot`.
        Ok(unsafe { context.as_ref() }.borrow_mut())
    }

    /// The context, or a new one that is not in the slot: as an earlier pass leaves it. As [`Self::find`].
    pub(crate) fn find_or_make<'r>(&self, r: &'r Request) -> Result<RefMut<'r, T>, NoMemory> {
        if let Some(context) = self.find(r) {
            return Ok(context);
        }
        // SAFETY: as in `in_slot`.
        Ok(unsafe { self.create(r)?.as_ref() }.borrow_mut())
    }

    /// The context of an earlier time, or a new one, that is in no slot: of handlers whose requests may
    /// have another context there. As [`Self::find`].
    pub(crate) fn beside<'r>(&self, r: &'r Request) -> Result<RefMut<'r, T>, NoMemory> {
        let context = match self.among_cleanups(r) {
            Some(context) => context,
            None => self.create(r)?,
        };
        // SAFETY: as in `in_slot`.
        Ok(unsafe { context.as_ref() }.borrow_mut())
    }

    /// Has [`Context::ended`] called when NGINX ends the request, which is before its pool is destroyed.
    /// To be called once, with the context in the slot.
    pub(crate) fn tell_of_end(&self, r: &Request) -> Result<(), NoMemory> {
        // SAFETY: a live request. Its slot's context is in its pool, which outlives its cleanups.
        unsafe {
            let cleanup = ngx_http_cleanup_add(r.as_ptr(), 0);
            if cleanup.is_null() {
                return Err(NoMemory);
            }
            (*cleanup).handler = Some(end_context::<T>);
            (*cleanup).data = r.ctx_slot();
        }
        Ok(())
    }

    fn among_cleanups(&self, r: &Request) -> Option<NonNull<RefCell<T>>> {
        // SAFETY: the cleanup list of a live pool; a cleanup with our handler holds a context.
        unsafe {
            let mut cleanup = (*r.pool()).cleanup;
            while !cleanup.is_null() {
                if (*cleanup).handler.is_some_and(|handler| ptr::fn_addr_eq(handler, self.drop)) {
                    return NonNull::new((*cleanup).data.cast());
                }
                cleanup = (*cleanup).next;
            }
        }
        None
    }

    fn create(&self, r: &Request) -> Result<NonNull<RefCell<T>>, NoMemory> {
        // SAFETY: the cleanup's data has the size of what is written there, and a pool's alignment
        // (`ALIGNED`); it is written before its handler is set.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(r.pool(), size_of::<RefCell<T>>());
            if cleanup.is_null() {
                return Err(NoMemory);
            }
            let context = NonNull::new((*cleanup).data.cast::<RefCell<T>>()).ok_or(NoMemory)?;
            context.write(RefCell::default());
            (*cleanup).handler = Some(self.drop);
            Ok(context)
        }
    }
}

unsafe extern "C" fn drop_context<T>(data: *mut c_void) {
    let dropped = guard::catch("the end of a context", || {
        // SAFETY: NGINX runs a pool's cleanups once, and the data is the context `create` made.
        unsafe { data.cast::<RefCell<T>>().drop_in_place() }
    });
    drop(dropped);
}

unsafe extern "C" fn end_context<T: Context>(data: *mut c_void) {
    let ended = guard::catch("the end of a request", || {
        // SAFETY: the context is in the request's pool, which outlives the request's cleanups.
        unsafe { &*data.cast::<RefCell<T>>() }.borrow_mut().ended();
    });
    drop(ended);
}
