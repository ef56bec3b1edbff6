//! An NGINX request, with a safe face: reading and rewriting its headers.

use core::ptr::{self, NonNull};

use crate::sys::*;

/// A request inside one of NGINX's callbacks.
///
/// Made only at the entry points, for the time of the callback, so the pointer is live. NGINX runs
/// a worker's requests on one thread, one callback at a time.
#[derive(Clone, Copy)]
pub(crate) struct Request(NonNull<ngx_http_request_t>);

/// No memory left, in a pool or at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl From<phantom_token_core::memory::NoMemory> for NoMemory {
    fn from(_: phantom_token_core::memory::NoMemory) -> Self {
        NoMemory
    }
}

const AUTHORIZATION: &[u8] = b"Authorization";
const AUTHORIZATION_LOWCASE: &[u8] = b"authorization\0";

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
        // SAFETY: live for the callback (see `new`); no `&mut` to it is ever made.
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
    pub(crate) fn loc_conf(self, ctx_index: usize) -> *mut core::ffi::c_void {
        // SAFETY: `loc_conf` has one slot for each HTTP module.
        unsafe { *self.raw().loc_conf.add(ctx_index) }
    }

    /// What the module with this `ctx_index` keeps for the request; NULL after a redirect.
    pub(crate) fn ctx_slot(self, ctx_index: usize) -> *mut core::ffi::c_void {
        // SAFETY: `ctx` has one slot for each HTTP module.
        unsafe { *self.raw().ctx.add(ctx_index) }
    }

    pub(crate) fn set_ctx_slot(self, ctx_index: usize, ctx: *mut core::ffi::c_void) {
        // SAFETY: as above; NGINX only stores the pointer.
        unsafe { *self.raw().ctx.add(ctx_index) = ctx }
    }

    pub(crate) fn is_internal(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_request_internal(self.as_ptr()) != 0 }
    }

    /// The request's `Authorization` value, if it has one. NGINX refuses two (400).
    ///
    /// The bytes live as long as the request: in its header buffers, its pool, or (after a
    /// rewrite) in an answer the request's context keeps alive.
    pub(crate) fn authorization<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: NULL or an element of the request's header list.
        let header = unsafe { pt_authorization(self.as_ptr()).as_ref() }?;
        // SAFETY: see above for how long the bytes live.
        Some(unsafe { bytes(&header.value) })
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

    /// Makes `value` the request's `Authorization`: in place where there is one, so that every
    /// pointer to the header stays right, added where there is none.
    ///
    /// `value` must be followed by a NUL byte and live as long as the request.
    pub(crate) fn set_authorization(self, value: ngx_str_t) -> Result<(), NoMemory> {
        // SAFETY: a live request; the list and its elements are NGINX's own.
        unsafe {
            let mut header = pt_authorization(self.as_ptr());
            if header.is_null() {
                header = ngx_list_push(&raw mut (*self.as_ptr()).headers_in.headers).cast();
                if header.is_null() {
                    return Err(NoMemory);
                }
                (*header).hash =
                    ngx_hash_key_lc(AUTHORIZATION.as_ptr().cast_mut(), AUTHORIZATION.len());
                (*header).key = str_of(AUTHORIZATION);
                (*header).lowcase_key = AUTHORIZATION_LOWCASE.as_ptr().cast_mut();
                pt_table_elt_unlinked(header);
                pt_set_authorization(self.as_ptr(), header);
            }
            (*header).value = value;
        }
        Ok(())
    }

    /// Takes the `Authorization` header out of the request. The other elements keep their
    /// addresses, which NGINX's parsed headers point to: the part is split around it.
    pub(crate) fn remove_authorization(self) -> Result<(), NoMemory> {
        // SAFETY: a live request; `split_out` keeps the list well-formed.
        unsafe {
            let header = pt_authorization(self.as_ptr());
            if header.is_null() {
                return Ok(());
            }
            let list = &raw mut (*self.as_ptr()).headers_in.headers;
            let mut part: *mut ngx_list_part_t = &raw mut (*list).part;
            while !part.is_null() {
                let first = (*part).elts.cast::<ngx_table_elt_t>();
                for i in 0..(*part).nelts {
                    if ptr::eq(first.add(i), header) {
                        split_out(self.pool(), list, part, i)?;
                        pt_set_authorization(self.as_ptr(), ptr::null_mut());
                        return Ok(());
                    }
                }
                part = (*part).next;
            }
        }
        Ok(())
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
}

/// Takes element `i` out of a part of a list, whose other elements stay where they are.
///
/// NGINX's loops step into a part without asking whether it is empty, so none but the first may be
/// left empty.
///
/// # Safety
/// `part` must be a part of `list`, `i` below its `nelts`, and `pool` the list's.
unsafe fn split_out(
    pool: *mut ngx_pool_t,
    list: *mut ngx_list_t,
    part: *mut ngx_list_part_t,
    i: usize,
) -> Result<(), NoMemory> {
    // SAFETY: the caller vouches for the list; every pointer below stays inside its parts.
    unsafe {
        let last = ptr::eq((*list).last, part);
        let after = (*part).nelts - i - 1;

        if after == 0 {
            // The slot behind is free again for the next push.
            (*part).nelts = i;
            if i == 0 {
                unlink_empty(list, part);
            }
            return Ok(());
        }

        if i == 0 {
            (*part).elts = (*part).elts.cast::<ngx_table_elt_t>().add(1).cast();
            (*part).nelts = after;
        } else {
            let rest = ngx_palloc(pool, size_of::<ngx_list_part_t>()).cast::<ngx_list_part_t>();
            if rest.is_null() {
                return Err(NoMemory);
            }
            (*rest).elts = (*part).elts.cast::<ngx_table_elt_t>().add(i + 1).cast();
            (*rest).nelts = after;
            (*rest).next = (*part).next;
            (*part).next = rest;
            (*part).nelts = i;
            if last {
                (*list).last = rest;
            }
        }
        if last {
            // The last part now begins later in its memory: it is full, and the next push begins
            // a part of its own.
            (*list).nalloc = after;
        }
    }
    Ok(())
}

/// Unlinks a part that became empty, unless it is the first, which is the list's own.
///
/// # Safety
/// `part` must be a part of `list`.
unsafe fn unlink_empty(list: *mut ngx_list_t, part: *mut ngx_list_part_t) {
    // SAFETY: the caller vouches for the list.
    unsafe {
        let mut before: *mut ngx_list_part_t = &raw mut (*list).part;
        while !before.is_null() && !ptr::eq((*before).next, part) {
            before = (*before).next;
        }
        if before.is_null() {
            return;
        }
        (*before).next = (*part).next;
        if ptr::eq((*list).last, part) {
            (*list).last = before;
            (*list).nalloc = (*before).nelts.max(1);
        }
    }
}
