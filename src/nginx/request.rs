//! An NGINX request, with a safe face: reading and rewriting its headers.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

pub(crate) use phantom_token_engine::memory::NoMemory;

use crate::nginx::log::HasLog;
use crate::nginx::sys::*;

mod authorization;
mod client;
mod evaluated;
mod headers;

pub(crate) use evaluated::Evaluated;

/// A request inside one of NGINX's callbacks.
///
/// Made only at the entry points, for the time of the callback, so the pointer is live. NGINX runs
/// a worker's requests on one thread, one callback at a time.
#[derive(Clone, Copy)]
pub(crate) struct Request(NonNull<ngx_http_request_t>);

/// How far a pass of a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its location is not found yet: the configuration is the server's.
    Unplaced,
    /// It has not passed its access phase.
    Access,
    /// It has.
    Beyond,
}

impl HasLog for Request {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: a live request has a connection, and a connection has a log.
        unsafe { (*self.raw().connection).log }
    }
}

impl Request {
    /// # Safety
    /// `r` must point to a live request, and the value must not outlive the callback.
    pub(crate) unsafe fn new(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: NGINX never calls back with a NULL request; the caller vouches for it.
        Self(unsafe { NonNull::new_unchecked(r) })
    }

    pub(crate) fn as_ptr(self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    pub(crate) fn raw(&self) -> &ngx_http_request_t {
        // SAFETY: live for the callback (see `new`). Fields are read and the reference let go, before
        // NGINX may change them; no `&mut` to it is ever made.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn pool(self) -> *mut ngx_pool_t {
        self.raw().pool
    }

    pub(crate) fn is_main(self) -> bool {
        ptr::eq(self.raw().main, self.as_ptr())
    }

    pub(crate) fn method(self) -> u32 {
        self.raw().method as u32
    }

    /// This location's configuration of the module with this `ctx_index`.
    pub(crate) fn loc_conf(self, ctx_index: usize) -> *mut c_void {
        // SAFETY: `loc_conf` has one slot for each HTTP module.
        unsafe { *self.raw().loc_conf.add(ctx_index) }
    }

    /// What the module keeps for the request; NULL after a redirect.
    #[inline]
    pub(crate) fn ctx_slot(self) -> *mut c_void {
        // SAFETY: `ctx` has one slot for each HTTP module.
        unsafe { *self.raw().ctx.add(crate::ctx_index()) }
    }

    pub(crate) fn set_ctx_slot(self, ctx: *mut c_void) {
        // SAFETY: as above; NGINX only stores the pointer.
        unsafe { *self.raw().ctx.add(crate::ctx_index()) = ctx }
    }

    /// The request that this one is a subrequest of, or is.
    pub(crate) fn main(self) -> Self {
        // SAFETY: a live request has a live main request.
        unsafe { Self::new(self.raw().main) }
    }

    pub(crate) fn is_internal(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_request_internal(self.as_ptr()) != 0 }
    }

    /// Whether the location has `satisfy any`.
    pub(crate) fn satisfies_any(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_satisfies_any(self.as_ptr()) != 0 }
    }

    /// Whether the request has not passed its access phase.
    pub(crate) fn is_in_access_phase(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_request_in_access(self.as_ptr()) != 0 }
    }

    /// When it began, in seconds since the Unix epoch.
    pub(crate) fn start_secs(self) -> u64 {
        self.raw().start_sec.max(0) as u64
    }

    /// How far this pass has come.
    pub(crate) fn progress(self) -> Progress {
        // SAFETY: a live request.
        match unsafe { pt_request_progress(self.as_ptr()) } {
            0 => Progress::Unplaced,
            1 => Progress::Access,
            _ => Progress::Beyond,
        }
    }

    /// Whether NGINX writes the request's line to the access log: the last that happens to it.
    pub(crate) fn is_logged(self) -> bool {
        // SAFETY: a live request, whose connection has a log.
        unsafe { pt_request_is_logged(self.as_ptr()) != 0 }
    }

    /// The response's status; 0 where there is none yet.
    pub(crate) fn status(self) -> u32 {
        self.raw().headers_out.status as u32
    }

    /// Whether `return` is evaluating the text or the address that it answers with: a response that has
    /// a status, and no length and no type yet (`ngx_http_send_response`). That of 304 has none either.
    pub(crate) fn is_made_by_return(self) -> bool {
        let out = &self.raw().headers_out;
        !matches!(self.status(), 0 | NGX_HTTP_NOT_MODIFIED)
            && out.content_length_n < 0
            && out.content_type.len == 0
    }

    /// The status that NGINX ended the request with by itself; 0: it did not.
    pub(crate) fn error_status(self) -> u32 {
        // SAFETY: a live request.
        unsafe { pt_request_err_status(self.as_ptr()) as u32 }
    }

    /// Whether the location's `server_tokens` lets the version be told.
    pub(crate) fn tells_version(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_server_tokens(self.as_ptr()) != 0 }
    }

    /// The query string, without the `?`.
    pub(crate) fn args(&self) -> &[u8] {
        // SAFETY: the arguments of a live request.
        unsafe { bytes(&self.raw().args) }
    }

    /// What the response's body is: of a type, and of a length in bytes.
    pub(crate) fn set_content(self, content_type: &'static [u8], len: usize) {
        // SAFETY: a live request; the type is a constant of this binary.
        unsafe {
            let out = &raw mut (*self.as_ptr()).headers_out;
            (*out).content_type = str_of(content_type);
            (*out).content_type_len = content_type.len();
            (*out).content_type_lowcase = ptr::null_mut();
            (*out).charset = ngx_str_t { len: 0, data: ptr::null_mut() };
            (*out).content_length_n = len as off_t;
        }
    }

    /// So many bytes, zeros, that live as long as the request.
    pub(crate) fn room(self, len: usize) -> Result<&'static mut [u8], NoMemory> {
        // SAFETY: a live pool gives that many writable bytes or NULL, and nobody else has them;
        // 'static only says that nothing here frees them.
        unsafe {
            let room = ngx_pnalloc(self.pool(), len).cast::<u8>();
            if room.is_null() {
                return Err(NoMemory);
            }
            room.write_bytes(0, len);
            Ok(core::slice::from_raw_parts_mut(room, len))
        }
    }

    /// A copy that lives as long as the request.
    pub(crate) fn copy(self, bytes: &[u8]) -> Result<ngx_str_t, NoMemory> {
        // SAFETY: a live pool.
        unsafe { pool_copy(self.pool(), bytes) }.ok_or(NoMemory)
    }
}
