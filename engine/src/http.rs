//! HTTP between the gateway and the authorization server, as far as meaning depends on it.

pub mod cache_control;
pub mod form;
pub mod response;
