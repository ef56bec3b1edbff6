//! Answering a request with content of our own: what operators' locations share.

use core::ptr;

use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// Sends a whole response that nobody keeps. An empty body has no content type.
pub(crate) fn send(
    r: Request,
    status: u32,
    content_type: &'static [u8],
    headers: &[(&'static [u8], &'static [u8])],
    body: &[u8],
) -> Result<ngx_int_t, NoMemory> {
    r.add_header_out(b"Cache-Control", str_of(b"no-store"))?;
    send_whole(r, status, content_type, headers, body)
}

/// Sends a document that may be kept for as long as `cache_control` says, and by its `ETag` be asked for
/// again: NGINX answers 304 where the client has it (RFC 9110 §13.1.2).
pub(crate) fn send_document(
    r: Request,
    content_type: &'static [u8],
    cache_control: &'static [u8],
    etag: &[u8],
    body: &[u8],
) -> Result<ngx_int_t, NoMemory> {
    let etag = r.add_header_out(b"ETag", r.copy(etag)?)?;
    r.link_etag(etag);
    let headers = [(&b"Cache-Control"[..], cache_control)];
    send_whole(r, NGX_HTTP_OK, content_type, &headers, body)
}

fn send_whole(
    r: Request,
    status: u32,
    content_type: &'static [u8],
    headers: &[(&'static [u8], &'static [u8])],
    body: &[u8],
) -> Result<ngx_int_t, NoMemory> {
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

/// A refusal in our own JSON, for the purge. Both texts stand in JSON strings as they are.
pub(crate) fn problem(
    r: Request,
    status: u32,
    code: &str,
    message: &str,
) -> Result<ngx_int_t, NoMemory> {
    let body = format!("{{\"code\":\"{code}\",\"message\":\"{message}\"}}\n");
    send(r, status, b"application/json", &[], body.as_bytes())
}
