//! A request's client: its address, its connection, and the body it sends.

use std::net::{Ipv4Addr, Ipv6Addr};

use zeroize::Zeroizing;

use phantom_token_engine::memory;

use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

impl Request {
    /// Whether the peer is on this machine: at a loopback address, or a UNIX-domain socket.
    pub(crate) fn is_local(self) -> bool {
        // SAFETY: a live request's connection has its peer's address, of the family's size.
        unsafe {
            let address = (*self.raw().connection).sockaddr.cast::<libc::sockaddr>();
            match i32::from((*address).sa_family) {
                libc::AF_UNIX => true,
                libc::AF_INET => {
                    let v4 = &*address.cast::<libc::sockaddr_in>();
                    Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).is_loopback()
                }
                libc::AF_INET6 => {
                    let v6 = &*address.cast::<libc::sockaddr_in6>();
                    Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical().is_loopback()
                }
                _ => false,
            }
        }
    }

    /// Whether the connection is to serve further requests.
    pub(crate) fn keepalive(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_request_keepalive(self.as_ptr()) != 0 }
    }

    /// Lets the connection serve further requests.
    pub(crate) fn set_keepalive(self) {
        // SAFETY: a live request.
        unsafe { pt_request_set_keepalive(self.as_ptr(), 1) };
    }

    /// While the request waits, notices when its client leaves (as ngx_http_limit_req_module.c does).
    pub(crate) fn watch_client(self) -> Result<(), NoMemory> {
        // SAFETY: a live request and its connection.
        unsafe {
            let read = (*self.raw().connection).read;
            if pt_event_ready(read) != 0 {
                pt_post_event(read);
            } else if ngx_handle_read_event(read, 0) != OK {
                return Err(NoMemory);
            }
            (*self.as_ptr()).read_event_handler = Some(ngx_http_test_reading);
        }
        Ok(())
    }

    /// The request goes on: what its client sends is read by whoever comes next.
    pub(crate) fn stop_watching_client(self) -> Result<(), NoMemory> {
        // SAFETY: a live request and its connection.
        unsafe {
            let read = (*self.raw().connection).read;
            if ngx_handle_read_event(read, 0) != OK {
                return Err(NoMemory);
            }
            (*self.as_ptr()).read_event_handler = Some(ngx_http_block_reading);
        }
        Ok(())
    }

    /// Whether nothing of the request's body can be left in the connection by surprise.
    pub(crate) fn body_is_settled(self) -> bool {
        // SAFETY: a live request.
        unsafe { pt_request_body_is_settled(self.as_ptr()) != 0 }
    }

    /// Reads the body and drops it. `NGX_OK`, or what a content handler is to give.
    pub(crate) fn discard_body(self) -> ngx_int_t {
        // SAFETY: a live request.
        unsafe { ngx_http_discard_request_body(self.as_ptr()) }
    }

    /// `client_body_buffer_size` of the location, in bytes.
    pub(crate) fn body_buffer_size(self) -> usize {
        // SAFETY: a live request.
        unsafe { pt_client_body_buffer_size(self.as_ptr()) }
    }

    /// Whether the body may be longer than so many bytes.
    pub(crate) fn body_may_exceed(self, most: usize) -> bool {
        let length = self.raw().headers_in.content_length_n;
        // SAFETY: a live request.
        let chunked = unsafe { pt_request_is_chunked(self.as_ptr()) != 0 };
        chunked || usize::try_from(length).is_ok_and(|length| length > most)
    }

    /// The body that was read, in one piece; `None` where some of it is not in memory.
    pub(crate) fn body(self) -> Result<Option<Zeroizing<Vec<u8>>>, NoMemory> {
        // All of the room at once: what grows leaves copies behind.
        let mut out = Zeroizing::new(memory::with_room(self.body_buffer_size())?);
        // SAFETY: the chain of buffers NGINX has read the body into, all in memory.
        unsafe {
            let Some(body) = self.raw().request_body.as_ref() else { return Ok(None) };
            let mut link = body.bufs;
            while let Some(part) = link.as_ref() {
                if pt_buf_in_memory(part.buf) == 0 && pt_buf_size(part.buf) > 0 {
                    return Ok(None);
                }
                let (pos, last) = ((*part.buf).pos, (*part.buf).last);
                if !pos.is_null() {
                    let len = last.offset_from(pos) as usize;
                    out.extend_from_slice(core::slice::from_raw_parts(pos, len));
                }
                link = part.next;
            }
        }
        Ok(Some(out))
    }
}
