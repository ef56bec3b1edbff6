//! NGINX as the rest of the module sees it: the bindings, the C helpers of `sys/helpers.h`, and the
//! few conversions everyone needs.

pub(crate) use ngx::ffi::*;
use phantom_token_engine::shared::process::{self, Here};

/// The C helpers, compiled against the real headers by `build.rs`.
#[allow(missing_docs, unreachable_pub, non_camel_case_types, clippy::all)]
mod helpers {
    include!(concat!(env!("OUT_DIR"), "/helpers.rs"));
}
pub(crate) use helpers::*;

/// An NGINX whose structures are laid out otherwise than the bindings say does not build.
mod layout {
    use ngx::ffi::*;
    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}

/// `NGX_OK`, as callbacks return it.
pub(crate) const OK: ngx_int_t = NGX_OK as ngx_int_t;
/// `NGX_ERROR`.
pub(crate) const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;
/// `NGX_DECLINED`: not ours, go on.
pub(crate) const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;
/// `NGX_AGAIN`: the answer comes later.
pub(crate) const AGAIN: ngx_int_t = NGX_AGAIN as ngx_int_t;
/// `NGX_CONF_ERROR`, which NGINX defines as a cast pointer.
pub(crate) const CONF_ERROR: *mut core::ffi::c_char = core::ptr::without_provenance_mut(usize::MAX);
/// 500, for what must not happen.
pub(crate) const INTERNAL_SERVER_ERROR: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;

/// The bytes of an NGINX string.
///
/// # Safety
/// `s.data` must point to `s.len` bytes that live and stay unchanged for `'a` (or `s.len` is 0).
pub(crate) unsafe fn bytes<'a>(s: &ngx_str_t) -> &'a [u8] {
    if s.len == 0 || s.data.is_null() {
        return &[];
    }
    // SAFETY: the caller vouches for `s.len` readable bytes at `s.data` during 'a.
    unsafe { core::slice::from_raw_parts(s.data, s.len) }
}

/// An NGINX string over bytes that outlive its use. NGINX never writes through it.
pub(crate) fn str_of(bytes: &'static [u8]) -> ngx_str_t {
    ngx_str_t { len: bytes.len(), data: bytes.as_ptr().cast_mut() }
}

/// Copies bytes into a pool, with a NUL behind them as NGINX's own parsed strings have.
/// `None` where the pool has no memory left.
///
/// # Safety
/// `pool` must be a live pool.
pub(crate) unsafe fn pool_copy(pool: *mut ngx_pool_t, bytes: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: the pool is live; `ngx_pnalloc` gives `len + 1` writable bytes or NULL.
    unsafe {
        let data = ngx_pnalloc(pool, bytes.len() + 1).cast::<u8>();
        if data.is_null() {
            return None;
        }
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        *data.add(bytes.len()) = 0;
        Some(ngx_str_t { len: bytes.len(), data })
    }
}

/// NGINX's monotonic clock, in milliseconds, as of this turn of the event loop.
pub(crate) fn now_ms() -> u64 {
    // SAFETY: a plain word that only the event loop's thread writes; this runs on that thread.
    unsafe { ngx_current_msec as u64 }
}

/// Wall-clock time in seconds since the Unix epoch, as of this turn of the event loop.
pub(crate) fn now_secs() -> u64 {
    // SAFETY: `ngx_cached_time` always points to a filled slot; this runs on the event loop.
    unsafe { (*core::ptr::addr_of!(ngx_cached_time).read_volatile()).sec.max(0) as u64 }
}

/// This process's id, as NGINX knows it.
pub(crate) fn pid() -> u32 {
    // SAFETY: written once per process, before any request.
    unsafe { ngx_pid as u32 }
}

/// This process, now.
pub(crate) fn here() -> Here<'static> {
    Here { pid: pid(), now_ms: now_ms(), alive: &process::runs }
}

/// Whether the worker is ending, once its requests have.
pub(crate) fn exiting() -> bool {
    // SAFETY: a plain word that only the event loop's thread writes; this runs on that thread.
    unsafe { ngx_exiting != 0 }
}
