//! Answering a request with content of our own: what the status page and the purge share.

use core::ptr;

use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// Sends a whole response. An empty body has no content type.
pub(crate) fn send(
    r: Request,
    status: u32,
    content_type: &'static [u8],
    headers: &[(&'static [u8], &'static [u8])],
    body: &[u8],
) -> Result<ngx_int_t, NoMemory> {
    r.add_header_out(b"Cache-Control", str_of(b"no-store"))?;
    for (name, value) in headers {
        r.add_header_out(name, str_of(value))?;
    }
    // SAFETY: a live request; the body is copied into its pool.
    unsafe {
        (*r.as_ptr()).headers_out.status = status as ngx_uint_t;
        match body.is_empty() {
            true => (*r.as_ptr()).headers_out.content_length_n = 0,
            false => r.set_content(content_type, body.len()),
        }
        let rc = ngx_http_send_header(r.as_ptr());
        if rc == ERROR || rc > OK || pt_request_header_only(r.as_ptr()) != 0 {
            return Ok(rc);
        }
        let copy = r.copy(body)?;
        let buf = pt_reply_buf(r.pool(), copy.data, copy.len, u32::from(r.is_main()) as ngx_uint_t);
        let link = ngx_alloc_chain_link(r.pool());
        if buf.is_null() || link.is_null() {
            return Err(NoMemory);
        }
        (*link).buf = buf;
        (*link).next = ptr::null_mut();
        Ok(ngx_http_output_filter(r.as_ptr(), link))
    }
}

/// A refusal in our own JSON, for the purge.
pub(crate) fn problem(r: Request, status: u32, message: &str) -> Result<ngx_int_t, NoMemory> {
    let body = format!("{{\"code\":\"invalid_request\",\"message\":\"{message}\"}}\n");
    send(r, status, b"application/json", &[], body.as_bytes())
}
