//! A request's header lists: the client's, and the response's.

use core::ptr::{self, NonNull};

use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

impl Request {
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
    ) -> Result<HeaderOut, NoMemory> {
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
            Ok(HeaderOut(element))
        }
    }

    /// Changes the value of the response header that was added under this very `key`, or adds one.
    pub(crate) fn set_header_out(
        self,
        key: &'static [u8],
        value: ngx_str_t,
    ) -> Result<HeaderOut, NoMemory> {
        let Some(header) = self.own_header_out(key) else {
            return self.add_header_out(key, value);
        };
        // SAFETY: an element of the list.
        unsafe {
            (*header.as_ptr()).hash = 1;
            (*header.as_ptr()).value = value;
        }
        Ok(HeaderOut(header))
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

    /// Makes a response header the response's `WWW-Authenticate`: `satisfy any` hides it through this.
    pub(crate) fn link_www_authenticate(self, header: HeaderOut) {
        // SAFETY: an element of the response's header list.
        unsafe { pt_set_www_authenticate(self.as_ptr(), header.0.as_ptr()) };
    }

    /// Makes a response header the response's `ETag`, by which NGINX judges conditions of the request.
    pub(crate) fn link_etag(self, header: HeaderOut) {
        // SAFETY: an element of the response's header list.
        unsafe { pt_set_etag(self.as_ptr(), header.0.as_ptr()) };
    }
}

/// A response header that is in the list.
pub(crate) struct HeaderOut(NonNull<ngx_table_elt_t>);
