//! Log lines, in NGINX's words: `phantom token: what happened, and to whom`.
//!
//! Every line begins with `phantom token`, so that an operator can find them all. None ever holds
//! a token, a JWT, a secret or a byte of the authorization server's answer.

macro_rules! log_at {
    ($level:ident, $log:expr, $($arg:tt)+) => {{
        let log: *mut $crate::nginx::sys::ngx_log_t = $log;
        ngx::ngx_log_error!($crate::nginx::sys::$level, log, "phantom token: {}", format_args!($($arg)+));
    }};
}

/// A panic was caught.
macro_rules! crit { ($log:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_CRIT, $log, $($arg)+) } }
/// What the authorization server or the configuration did.
macro_rules! error { ($log:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_ERR, $log, $($arg)+) } }
/// Degraded, but served.
macro_rules! warning { ($log:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_WARN, $log, $($arg)+) } }
/// Said once, worth knowing.
macro_rules! notice { ($log:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_NOTICE, $log, $($arg)+) } }
/// What a client did.
macro_rules! info { ($log:expr, $($arg:tt)+) => { $crate::nginx::log::log_at!(NGX_LOG_INFO, $log, $($arg)+) } }
/// For whoever debugs (`error_log … debug`).
macro_rules! debug {
    ($log:expr, $($arg:tt)+) => {{
        let log: *mut $crate::nginx::sys::ngx_log_t = $log;
        ngx::ngx_log_debug!(mask: ngx::log::DebugMask::Http, log, "phantom token: {}", format_args!($($arg)+));
    }};
}

pub(crate) use {crit, debug, error, info, log_at, notice, warning};
