//! The request's `Authorization` header: reading it, putting another in its place, and putting it back.
//!
//! NGINX keeps a request's headers in a list of arrays ("parts"), and points to some elements from
//! elsewhere: an element never moves. Subrequests hold a copy of the list's head, made when they are
//! begun, and share all else.

use core::ptr;

use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

const AUTHORIZATION: &[u8] = b"Authorization";
const AUTHORIZATION_LOWCASE: &[u8] = b"authorization\0";

impl Request {
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

    /// The header itself, name and all; as for [`Self::authorization`].
    pub(crate) fn authorization_header(self) -> Option<ngx_table_elt_t> {
        // SAFETY: NULL or an element of the request's header list.
        unsafe { pt_authorization(self.as_ptr()).as_ref().copied() }
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

    /// Gives the request this `Authorization` header, or none, in place of the one it has.
    ///
    /// Subrequests that were begun before go on with the one they have: nothing that they share is
    /// changed. Where there is no memory the request may be left without the header.
    pub(crate) fn replace_authorization(
        self,
        header: Option<ngx_table_elt_t>,
    ) -> Result<(), NoMemory> {
        // SAFETY: a live request; `split_out` and `append` keep the list well-formed.
        unsafe {
            let list = &raw mut (*self.as_ptr()).headers_in.headers;
            let fresh = header.map(|header| new_part(self.pool(), header)).transpose()?;
            own_parts(self.pool(), list)?;
            self.remove_authorization()?;
            close(self.pool(), list)?;
            if let Some((part, element)) = fresh {
                append(list, part);
                pt_set_authorization(self.as_ptr(), element);
            }
        }
        Ok(())
    }
}

/// A part of one element.
///
/// # Safety
/// `pool` must be live.
unsafe fn new_part(
    pool: *mut ngx_pool_t,
    header: ngx_table_elt_t,
) -> Result<(*mut ngx_list_part_t, *mut ngx_table_elt_t), NoMemory> {
    // SAFETY: NULL, or memory of the size and alignment of what is written there.
    unsafe {
        let element = ngx_palloc(pool, size_of::<ngx_table_elt_t>()).cast::<ngx_table_elt_t>();
        let part = ngx_palloc(pool, size_of::<ngx_list_part_t>()).cast::<ngx_list_part_t>();
        if element.is_null() || part.is_null() {
            return Err(NoMemory);
        }
        element.write(header);
        pt_table_elt_unlinked(element);
        part.write(ngx_list_part_t { elts: element.cast(), nelts: 1, next: ptr::null_mut() });
        Ok((part, element))
    }
}

/// Makes copies of all parts but the first, which is in the list's head: what is done to them from now
/// on is no business of those who hold another copy of the head.
///
/// # Safety
/// `list` must be a well-formed list whose memory is from `pool`.
unsafe fn own_parts(pool: *mut ngx_pool_t, list: *mut ngx_list_t) -> Result<(), NoMemory> {
    // SAFETY: the caller vouches for the list; each part is copied whole before it is linked.
    unsafe {
        let mut part: *mut ngx_list_part_t = &raw mut (*list).part;
        while let Some(next) = (*part).next.as_ref() {
            let copy = ngx_palloc(pool, size_of::<ngx_list_part_t>()).cast::<ngx_list_part_t>();
            if copy.is_null() {
                return Err(NoMemory);
            }
            copy.write(*next);
            if ptr::eq((*list).last, next) {
                (*list).last = copy;
            }
            (*part).next = copy;
            part = copy;
        }
    }
    Ok(())
}

/// Makes the list's last part full, so that nothing is written behind its elements, where others may have
/// some.
///
/// # Safety
/// As for [`own_parts`].
unsafe fn close(pool: *mut ngx_pool_t, list: *mut ngx_list_t) -> Result<(), NoMemory> {
    // SAFETY: the caller vouches for the list.
    unsafe {
        match (*(*list).last).nelts {
            // The first one, since no other is empty: it gets memory of its own.
            0 => {
                let elts = ngx_palloc(pool, size_of::<ngx_table_elt_t>());
                if elts.is_null() {
                    return Err(NoMemory);
                }
                (*(*list).last).elts = elts;
                (*list).nalloc = 1;
            }
            full => (*list).nalloc = full,
        }
    }
    Ok(())
}

/// Adds a full part to a list that was closed.
///
/// # Safety
/// As for [`own_parts`]; `part` must be in no list.
unsafe fn append(list: *mut ngx_list_t, part: *mut ngx_list_part_t) {
    // SAFETY: the caller vouches for both.
    unsafe {
        (*(*list).last).next = part;
        (*list).last = part;
        (*list).nalloc = (*part).nelts;
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
