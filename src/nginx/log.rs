//! Log lines, in NGINX's words: `phantom token: what happened, and to whom`.
//!
//! Every line begins with `phantom token`, so that an operator can find them all. None ever holds
//! a token, a JWT, a secret or a byte of the authorization server's answer.

use core::fmt;

use crate::nginx::sys::*;

/// What has a log of its own: a request, the parser, or a log itself.
pub(crate) trait HasLog {
    /// A live log.
    fn log(&self) -> *mut ngx_log_t;
}

/// The running cycle, for what no request owns.
#[derive(Clone, Copy)]
pub(crate) struct Cycle;

impl HasLog for Cycle {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: `ngx_cycle` points to a cycle from NGINX's first step on, and its log is always set.
        unsafe { (*core::ptr::addr_of!(ngx_cycle).read()).log }
    }
}

impl HasLog for *mut ngx_log_t {
    fn log(&self) -> *mut ngx_log_t {
        *self
    }
}

/// A function that gives a log, asked for it only where there is a line to write.
impl<F: Fn() -> *mut ngx_log_t> HasLog for F {
    fn log(&self) -> *mut ngx_log_t {
        self()
    }
}

/// Writes a line, where the log takes lines of this level.
pub(crate) fn write(level: u32, who: &impl HasLog, line: fmt::Arguments<'_>) {
    ngx::ngx_log_error!(level, who.log(), "phantom token: {line}");
}

/// Writes a line for whoever debugs, where NGINX is built for that.
pub(crate) fn write_debug(who: &impl HasLog, line: fmt::Arguments<'_>) {
    ngx::ngx_log_debug!(mask: ngx::log::DebugMask::Http, who.log(), "phantom token: {line}");
}

macro_rules! log_at {
    ($level:ident, $who:expr, $($arg:tt)+) => {
        $crate::nginx::log::write($crate::nginx::sys::$level, &$who, format_args!($($arg)+))
    };
}

/// A panic was caught.
macro_rules! crit { ($who:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_CRIT, $who, $($arg)+) } }
/// What the authorization server or the configuration did.
macro_rules! error { ($who:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_ERR, $who, $($arg)+) } }
/// Degraded, but served.
macro_rules! warning { ($who:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_WARN, $who, $($arg)+) } }
/// Said once, worth knowing.
macro_rules! notice { ($who:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_NOTICE, $who, $($arg)+) } }
/// What a client did.
macro_rules! info { ($who:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_INFO, $who, $($arg)+) } }
/// For whoever debugs (`error_log … debug`).
macro_rules! debug {
    ($who:expr, $($arg:tt)+) => { $crate::nginx::log::write_debug(&$who, format_args!($($arg)+)) };
}

pub(crate) use {crit, debug, error, info, log_at, notice, warning};
