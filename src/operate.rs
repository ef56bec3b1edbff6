//! What those who run the gateway see of it, and do to it.

#![forbid(unsafe_code)]

pub(crate) mod counters;
pub(crate) mod publish_jwks;
pub(crate) mod purge;
pub(crate) mod ready;
pub(crate) mod status;
pub(crate) mod variables;
