//! `phantom_token_purge`: forgetting one token, or all.

use phantom_token_engine::http::form::purge::{Purge, PurgeError};
use phantom_token_engine::memory;

use crate::conf::operate::Purger;
use crate::conf::{LocConf, MainConf};
use crate::nginx::guard;
use crate::nginx::log::notice;
use crate::nginx::reply;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

const NO_CONTENT: u32 = NGX_HTTP_NO_CONTENT;

/// NGINX's content handler.
pub(crate) unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    guard::entry(
        "the purge handler",
        || r.log(),
        INTERNAL_SERVER_ERROR,
        || begin(r).unwrap_or(INTERNAL_SERVER_ERROR),
    )
}

fn begin(r: Request) -> Result<ngx_int_t, NoMemory> {
    if r.method() != NGX_HTTP_POST {
        r.add_header_out(b"Allow", str_of(b"POST"))?;
        return Ok(NGX_HTTP_NOT_ALLOWED as ngx_int_t);
    }
    let from_anywhere = LocConf::of(r).operate.purge.get() == Some(&Purger::Any);
    if !(from_anywhere || is_local(r)) || is_cross_origin(r) {
        return Ok(NGX_HTTP_FORBIDDEN as ngx_int_t);
    }
    // A token must not reach a temporary file: only a body that fits into memory is read.
    // SAFETY: a live request.
    let (most, chunked) =
        unsafe { (pt_client_body_buffer_size(r.as_ptr()), pt_request_is_chunked(r.as_ptr()) != 0) };
    let length = r.raw().headers_in.content_length_n;
    if chunked || usize::try_from(length).is_ok_and(|length| length > most) {
        return Ok(NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as ngx_int_t);
    }
    // SAFETY: a live request; NGINX calls back once the body is there.
    let rc = unsafe {
        pt_request_body_in_memory(r.as_ptr());
        ngx_http_read_client_request_body(r.as_ptr(), Some(body_is_there))
    };
    Ok(if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t { rc } else { NGX_DONE as ngx_int_t })
}

/// A peer on this machine: a loopback address, or a UNIX-domain socket.
fn is_local(r: Request) -> bool {
    // SAFETY: a live request's connection has its peer's address, of the family's size.
    unsafe {
        let address = (*(*r.as_ptr()).connection).sockaddr.cast::<libc::sockaddr>();
        match i32::from((*address).sa_family) {
            libc::AF_UNIX => true,
            libc::AF_INET => {
                let v4 = &*address.cast::<libc::sockaddr_in>();
                std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).is_loopback()
            }
            libc::AF_INET6 => {
                let v6 = &*address.cast::<libc::sockaddr_in6>();
                std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical().is_loopback()
            }
            _ => false,
        }
    }
}

/// A browser sent it for another site's page.
fn is_cross_origin(r: Request) -> bool {
    if let Some(site) = r.header(b"sec-fetch-site")
        && site != b"same-origin"
        && site != b"none"
    {
        return true;
    }
    let Some(origin) = r.header(b"origin") else { return false };
    let host = r.header(b"host").unwrap_or_default();
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_none_or(|authority| host.is_empty() || !authority.eq_ignore_ascii_case(host))
}

unsafe extern "C" fn body_is_there(r: *mut ngx_http_request_t) {
    // SAFETY: NGINX passes the request whose body it has read.
    let request = unsafe { Request::new(r) };
    let rc = guard::entry(
        "the end of a purge's body",
        || request.log(),
        INTERNAL_SERVER_ERROR,
        || finish(request).unwrap_or(INTERNAL_SERVER_ERROR),
    );
    // SAFETY: as NGINX's own content handlers end after reading a body.
    unsafe { ngx_http_finalize_request(r, rc) };
}

fn finish(r: Request) -> Result<ngx_int_t, NoMemory> {
    let Some(body) = body(r)? else {
        return reply::problem(r, NGX_HTTP_BAD_REQUEST, "the body could not be read");
    };
    let purged = match Purge::parse(&body) {
        Err(PurgeError::NoMemory(no_memory)) => return Err(no_memory.into()),
        Err(error) => {
            return reply::problem(r, NGX_HTTP_BAD_REQUEST, &error.to_string().replace('"', "'"));
        }
        Ok(purge) => run(r, &purge),
    };
    if !purged {
        // The zone's lock could not be had: the caller must not believe it is done.
        return Ok(NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t);
    }
    reply::send(r, NO_CONTENT, b"", &[], b"")
}

/// Forgets. Whether every zone could be reached.
///
/// The generation rises before a zone is walked, so that no call under way stores its answer
/// after, and once more when it was, so that no worker keeps near what it copied in between.
fn run(r: Request, purge: &Purge) -> bool {
    let main = MainConf::of(r);
    let Some(state) = main.cache.state.as_ref().and_then(|zone| zone.state()) else {
        return false;
    };
    let mut done = true;
    match purge {
        Purge::All => {
            state.purge_all();
            for zone in &main.cache.zones {
                done &= zone.locked(|locked| locked.clear()).is_some();
            }
            state.purge_all();
            notice!(r.log(), "all cached tokens are purged");
        }
        Purge::Token(token) => {
            for zone in &main.cache.zones {
                let Some(arena) = zone.arena() else { continue };
                let hash = arena.hash_key().token(token);
                state.purge_token(&hash);
                done &= zone.locked(|locked| locked.purge(&hash)).is_some();
                state.purge_token(&hash);
            }
        }
    }
    state.announce_answer();
    done
}

/// The request's body, in one piece; `None` where some of it is not in memory.
fn body(r: Request) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, NoMemory> {
    // SAFETY: a live request.
    let most = unsafe { pt_client_body_buffer_size(r.as_ptr()) };
    // All of the room at once: what grows leaves copies behind.
    let mut out = zeroize::Zeroizing::new(memory::with_room(most)?);
    // SAFETY: the chain of buffers NGINX has read the body into, all in memory.
    unsafe {
        let Some(body) = (*r.as_ptr()).request_body.as_ref() else { return Ok(None) };
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
