//! An NGINX request, with a safe face: reading and rewriting its headers.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::nginx::sys::*;

mod authorization;

/// A request inside one of NGINX's callbacks.
///
/// Made only at the entry points, for the time of the callback, so the pointer is live. NGINX runs
/// a worker's requests on one thread, one callback at a time.
#[derive(Clone, Copy)]
pub(crate) struct Request(NonNull<ngx_http_request_t>);

/// No memory left, in a pool or at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl From<phantom_token_engine::memory::NoMemory> for NoMemory {
    fn from(_: phantom_token_engine::memory::NoMemory) -> Self {
        NoMemory
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

    pub(crate) fn log(self) -> *mut ngx_log_t {
        // SAFETY: a live request has a connection, and a connection has a log.
        unsafe { (*self.raw().connection).log }
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

    /// What the module with this `ctx_index` keeps for the request; NULL after a redirect.
    pub(crate) fn ctx_slot(self, ctx_index: usize) -> *mut c_void {
        // SAFETY: `ctx` has one slot for each HTTP module.
        unsafe { *self.raw().ctx.add(ctx_index) }
    }

    pub(crate) fn set_ctx_slot(self, ctx_index: usize, ctx: *mut c_void) {
        // SAFETY: as above; NGINX only stores the pointer.
        unsafe { *self.raw().ctx.add(ctx_index) = ctx }
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

    /// The value of any request header, by its lower-case name.
    pub(crate) fn header<'a>(self, lowcase: &[u8]) -> Option<&'a [u8]> {
        // SAFETY: the list of a live request; its elements were filled by NGINX's parsers.
        unsafe {
            let mut part: *const ngx_list_part_t =
                &raw const (*self.as_ptr()).headers_in.headers.part;
            while let Some(p) = part.as_ref() {
                for i in 0..p.nelts {
                    let h = &*p.elts.cast::<ngx_table_elt_t>().add(i);
                    if bytes(&h.key).eq_ignore_ascii_case(lowcase) {
                        return Some(bytes(&h.value));
                    }
                }
                part = p.next;
            }
        }
        None
    }

    /// Adds a response header. The value must live as long as the request.
    pub(crate) fn add_header_out(
        self,
        key: &'static [u8],
        value: ngx_str_t,
    ) -> Result<NonNull<ngx_table_elt_t>, NoMemory> {
        // SAFETY: a live request; a pushed element is filled at once.
        unsafe {
            let header = ngx_list_push(&raw mut (*self.as_ptr()).headers_out.headers)
                .cast::<ngx_table_elt_t>();
            let element = NonNull::new(header).ok_or(NoMemory)?;
            (*header).hash = 1;
            (*header).key = str_of(key);
            (*header).value = value;
            (*header).lowcase_key = ptr::null_mut();
            pt_table_elt_unlinked(header);
            Ok(element)
        }
    }

    /// Changes the value of the response header that was added under this very `key`, or adds one.
    pub(crate) fn set_header_out(
        self,
        key: &'static [u8],
        value: ngx_str_t,
    ) -> Result<NonNull<ngx_table_elt_t>, NoMemory> {
        let Some(header) = self.own_header_out(key) else {
            return self.add_header_out(key, value);
        };
        // SAFETY: an element of the list.
        unsafe {
            (*header.as_ptr()).hash = 1;
            (*header.as_ptr()).value = value;
        }
        Ok(header)
    }

    /// Keeps the response header that was added under this very `key` from being sent.
    pub(crate) fn hide_header_out(self, key: &'static [u8]) {
        if let Some(header) = self.own_header_out(key) {
            // SAFETY: an element of the list.
            unsafe { (*header.as_ptr()).hash = 0 };
        }
    }

    /// The response header that was added under this very `key`, wherever others of that name come
    /// from. Looked for each time: NGINX empties the list when a filter fails, and fills it anew.
    fn own_header_out(self, key: &'static [u8]) -> Option<NonNull<ngx_table_elt_t>> {
        // SAFETY: the list of a live request, whose parts hold `nelts` elements each.
        unsafe {
            let mut part: *const ngx_list_part_t =
                &raw const (*self.as_ptr()).headers_out.headers.part;
            while let Some(p) = part.as_ref() {
                for i in 0..p.nelts {
                    let header = p.elts.cast::<ngx_table_elt_t>().add(i);
                    if ptr::eq((*header).key.data, key.as_ptr()) {
                        return NonNull::new(header);
                    }
                }
                part = p.next;
            }
        }
        None
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

    /// Evaluates a complex value. The bytes live in the request's pool.
    pub(crate) fn complex_value<'a>(
        self,
        value: *mut ngx_http_complex_value_t,
    ) -> Result<&'a [u8], NoMemory> {
        let mut out = ngx_str_t { len: 0, data: ptr::null_mut() };
        // SAFETY: a compiled value of this configuration cycle and a live request.
        unsafe {
            if ngx_http_complex_value(self.as_ptr(), value, &mut out) != OK {
                return Err(NoMemory);
            }
            Ok(bytes(&out))
        }
    }

    /// An indexed variable's value, evaluated anew where NGINX says it may change; empty where it is
    /// not found. The bytes live in the request.
    pub(crate) fn variable<'a>(self, index: usize) -> &'a [u8] {
        // SAFETY: the index was given by ngx_http_get_variable_index for this configuration.
        unsafe {
            let mut len = 0;
            let value = ngx_http_get_flushed_variable(self.as_ptr(), index);
            let data = pt_variable_data(value, &mut len);
            bytes(&ngx_str_t { len, data })
        }
    }

    /// Forgets an indexed variable's value, so that it is evaluated anew.
    pub(crate) fn forget_variable(self, index: usize) {
        // SAFETY: as above; a live request has all its variables' slots.
        unsafe { pt_forget_variable(self.as_ptr(), index) }
    }

    /// What evaluating expressions has left behind so far, in the request's pool.
    pub(crate) fn keep_evaluated(self) -> Result<NonNull<c_void>, NoMemory> {
        // SAFETY: a live request.
        NonNull::new(unsafe { pt_keep_evaluated(self.as_ptr()) }).ok_or(NoMemory)
    }

    /// Puts back what [`Self::keep_evaluated`] gave for this request, once; but variables of the
    /// handlers `assigned` keep their value, and the captures of the location's own expression are made
    /// anew.
    pub(crate) fn restore_evaluated(
        self,
        kept: NonNull<c_void>,
        assigned: &[ngx_http_get_variable_pt],
    ) -> Result<(), NoMemory> {
        let (handlers, count) = (assigned.as_ptr().cast_mut(), assigned.len());
        // SAFETY: a live request, and what was kept for it, whose array it takes over; the handlers are
        // only compared.
        let restored =
            unsafe { pt_restore_evaluated(self.as_ptr(), kept.as_ptr(), handlers, count) };
        if restored == OK { Ok(()) } else { Err(NoMemory) }
    }
}
